//! The same minor version means the same memory layout (docs/compatibility.md): the number in the
//! header follows the version of the crates, and what that number stands for is written down here.
//!
//! Whoever changes a layout meets this file. Then the next release is a new minor version: raise it
//! and `LAYOUT_VERSION`, and write the new layout down.

use common::Name;
use multiproc::core::robust::RobustLock;
use multiproc::segment::{HEADER_BYTES, Header, Kind, LAYOUT_VERSION, look};
use multiproc::{
    Array, Barrier, BoundedSemaphore, Condition, Event, Lock, Mutex, Queue, RLock, RawValue,
    ReentrantMutex, RwLock, Semaphore, ShareableList, Shared, SharedMemory, Value,
};
use std::fs;
use std::path::{Path, PathBuf};

/// The root of the workspace.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[test]
fn the_layout_version_is_the_minor_version() {
    let (major, minor) = (
        env!("CARGO_PKG_VERSION_MAJOR").parse::<u32>().unwrap(),
        env!("CARGO_PKG_VERSION_MINOR").parse::<u32>().unwrap(),
    );
    // 0.1 is 1, and 1.0 would be 10,000: no two versions that differ in either have one number.
    assert_eq!(
        LAYOUT_VERSION,
        major * 10_000 + minor,
        "layout version and version go together: see docs/compatibility.md"
    );
}

#[test]
fn all_crates_have_one_version() {
    for entry in fs::read_dir(root().join("crates")).unwrap().flatten() {
        let Ok(manifest) = fs::read_to_string(entry.path().join("Cargo.toml")) else {
            continue;
        };
        assert!(
            manifest.contains("\nversion.workspace = true\n"),
            "{} has a version of its own",
            entry.path().display()
        );
    }
}

#[test]
fn the_header_is_as_version_1_has_it() {
    let header = Header {
        kind: Kind {
            tag: "Mutex<u64>".to_owned(),
            fixed: 56,
            align: 8,
        },
        body: 4096,
        pid_namespace: 0x1122_3344,
    };
    let bytes = header.encode();
    let mut expected = [0; HEADER_BYTES];
    let mut put = |at: usize, word: u64| expected[at..at + 8].copy_from_slice(&word.to_le_bytes());
    put(0, u64::from_le_bytes(*b"multipr\x01"));
    put(8, 1);
    put(16, 4096);
    put(24, 8);
    put(32, 56);
    put(40, 0x1122_3344);
    put(48, 0xed79_4d2c_a41a_deb1);
    put(56, 10);
    expected[64..74].copy_from_slice(b"Mutex<u64>");
    assert_eq!(bytes, expected);
    assert_eq!(Header::decode(&bytes).unwrap().0, header);
}

/// Size and alignment of what lives in a segment.
macro_rules! sizes {
    ($($type:ty),* $(,)?) => {
        [$((stringify!($type), size_of::<$type>(), align_of::<$type>())),*]
    };
}

#[test]
fn the_types_are_as_large_as_version_1_has_them() {
    let here = sizes!(
        RobustLock,
        Mutex<u64>,
        RwLock<u64>,
        Lock,
        RLock,
        ReentrantMutex<u64>,
        Semaphore,
        BoundedSemaphore,
        Event,
        Condition,
        Barrier,
    );
    let version_1 = [
        ("RobustLock", 40, 8),
        ("Mutex<u64>", 56, 8),
        ("RwLock<u64>", 576, 8),
        ("Lock", 24, 8),
        ("RLock", 56, 8),
        ("ReentrantMutex<u64>", 64, 8),
        ("Semaphore", 1600, 8),
        ("BoundedSemaphore", 1600, 8),
        ("Event", 4, 4),
        ("Condition", 1584, 8),
        ("Barrier", 4144, 8),
    ];
    assert_eq!(here, version_1);
}

/// What the header of an object says that `make` makes under a name: tag, fixed part, alignment.
fn made<T>(make: impl FnOnce(&str) -> T) -> (String, usize, usize) {
    let name = Name::new("layout");
    let _made = make(&name);
    let named = look(&name).unwrap();
    let kind = &named.header().expect("a segment").kind;
    (kind.tag.clone(), kind.fixed, kind.align)
}

#[test]
fn the_objects_are_tagged_as_version_1_has_them() {
    let here = [
        made(|name| Shared::create(name, Mutex::new(0_u64)).unwrap()),
        made(|name| Queue::<String>::create(name).unwrap()),
        made(|name| Value::create(name, 0_u64).unwrap()),
        made(|name| Array::<u64>::create(name, 10).unwrap()),
        made(|name| RawValue::create(name, 0_u64).unwrap()),
        made(|name| SharedMemory::create(name, 100).unwrap()),
        made(|name| ShareableList::create(name, [1_i64.into()]).unwrap()),
    ];
    let here: Vec<(&str, usize, usize)> =
        here.iter().map(|(t, f, a)| (t.as_str(), *f, *a)).collect();
    let version_1 = [
        ("Mutex<u64>", 56, 8),
        ("Queue<String> (serde, 24 bytes)", 33280, 128),
        ("Value<u64> (8 bytes, under its own lock)", 56, 8),
        ("Array<u64> (8 bytes, under its own lock)", 48, 8),
        ("RawValue<u64> of 8 bytes without a lock", 8, 8),
        ("shared memory", 0, 16),
        ("a shareable list", 64, 8),
    ];
    assert_eq!(here, version_1);
}
