//! What is not the object asked for is refused, by a sentence that says what was expected and
//! what was found.

use common::{Name, Outcome, children_in_another_pid_namespace, in_bare_fork};
use multiproc_process::{Process, test};
use multiproc_segment::{HEADER_BYTES, HeaderError, OpenError, Shareable, Shared};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering::*};

test::main! {
    another_type_is_refused_and_both_are_named,
    another_size_is_refused_and_both_are_named,
    another_alignment_is_refused,
    another_version_is_refused_and_both_are_named,
    a_file_without_the_magic_is_refused,
    a_truncated_file_is_refused,
    a_file_that_grew_is_refused,
    damaged_fields_are_refused_by_name,
    garbage_is_refused,
    directories_fifos_and_symlinks_are_refused,
    another_pid_namespace_is_refused,
    a_header_rewritten_under_a_mapping_is_refused,
    a_refused_open_leaks_no_descriptor,
}

fn edit(name: &Name) -> File {
    OpenOptions::new()
        .read(true)
        .write(true)
        .open(name.path())
        .unwrap()
}

fn open(name: &Name) -> OpenError {
    Shared::<AtomicU32>::open(name).expect_err("it was opened")
}

fn another_type_is_refused_and_both_are_named() -> Outcome {
    let name = Name::new("type");
    let _made = Shared::create(&name, AtomicI32::new(0))?;
    let error = open(&name);
    assert!(matches!(error, OpenError::Type { .. }));
    let both = format!("{:?} holds Atomic<i32>, not Atomic<u32>", &*name);
    let plain = format!("{:?} holds AtomicI32, not AtomicU32", &*name);
    assert!([both, plain].contains(&error.to_string()), "{error}");
    Ok(())
}

mod one {
    use super::*;
    #[derive(Shareable)]
    #[repr(C)]
    pub(super) struct Board(pub(super) [AtomicU32; 2]);
}

mod two {
    use super::*;
    #[derive(Shareable)]
    #[repr(C)]
    pub(super) struct Board(pub(super) [AtomicU32; 3]);
}

mod three {
    use super::*;
    #[derive(Shareable)]
    #[repr(C)]
    pub(super) struct Board(pub(super) AtomicU64);
}

fn another_size_is_refused_and_both_are_named() -> Outcome {
    let name = Name::new("layout");
    let _made = Shared::create(&name, one::Board([const { AtomicU32::new(0) }; 2]))?;
    let error = Shared::<two::Board>::open(&name)
        .err()
        .expect("it was opened");
    assert!(matches!(error, OpenError::Layout { .. }));
    assert_eq!(
        error.to_string(),
        format!(
            "{:?} holds a Board of 8 bytes (aligned to 4), and here a Board has 12 (aligned to 4)",
            &*name
        )
    );
    Ok(())
}

fn another_alignment_is_refused() -> Outcome {
    let name = Name::new("layout");
    let _made = Shared::create(&name, one::Board([const { AtomicU32::new(0) }; 2]))?;
    let error = Shared::<three::Board>::open(&name)
        .err()
        .expect("it was opened");
    assert!(matches!(
        error,
        OpenError::Layout {
            found_align: 4,
            expected_align: 8,
            ..
        }
    ));
    Ok(())
}

fn another_version_is_refused_and_both_are_named() -> Outcome {
    let name = Name::new("version");
    Shared::create(&name, AtomicU32::new(0))?;
    edit(&name).write_all_at(&9_u64.to_ne_bytes(), 8)?;
    let error = open(&name);
    let OpenError::NotASegment {
        why: HeaderError::Version { expected, found },
        ..
    } = &error
    else {
        panic!("{error}");
    };
    assert_eq!((*expected, *found), (multiproc_segment::LAYOUT_VERSION, 9));
    assert!(error.to_string().ends_with(&format!(
        "it has layout version 9, and this build reads version {expected}"
    )));
    Ok(())
}

fn a_file_without_the_magic_is_refused() -> Outcome {
    let name = Name::new("magic");
    Shared::create(&name, AtomicU32::new(0))?;
    edit(&name).write_all_at(b"M", 0)?;
    let error = open(&name);
    assert_eq!(
        error.to_string(),
        format!(
            "{:?} is not a segment that can be opened: it does not begin as a multiproc segment does",
            &*name
        )
    );
    Ok(())
}

fn a_truncated_file_is_refused() -> Outcome {
    let name = Name::new("short");
    Shared::create(&name, AtomicU32::new(0))?;
    for bytes in [HEADER_BYTES as u64 + 3, HEADER_BYTES as u64] {
        edit(&name).set_len(bytes)?;
        let error = open(&name);
        assert!(matches!(error, OpenError::Size { .. }));
        assert_eq!(
            error.to_string(),
            format!(
                "{:?} has {bytes} bytes, and its header says {}",
                &*name,
                HEADER_BYTES + 4
            )
        );
    }
    for bytes in [HEADER_BYTES as u64 - 1, 1, 0] {
        edit(&name).set_len(bytes)?;
        assert!(matches!(
            open(&name),
            OpenError::NotASegment {
                why: HeaderError::Magic,
                ..
            }
        ));
    }
    Ok(())
}

fn a_file_that_grew_is_refused() -> Outcome {
    let name = Name::new("long");
    Shared::create(&name, AtomicU32::new(0))?;
    edit(&name).set_len(1 << 20)?;
    assert!(matches!(
        open(&name),
        OpenError::Size {
            found: 0x10_0000,
            expected: 260,
            ..
        }
    ));
    Ok(())
}

fn damaged_fields_are_refused_by_name() -> Outcome {
    let cases = [
        (16, 0, "the body's size is 0"),
        (16, u64::MAX, "the body's size is 18446744073709551615"),
        (24, 3, "the alignment is 3"),
        (24, 512, "the alignment is 512"),
        (32, 5, "the fixed part's size is 5"),
        (56, 129, "the tag's length is 129"),
    ];
    for (at, value, sentence) in cases {
        let name = Name::new("field");
        Shared::create(&name, AtomicU32::new(0))?;
        edit(&name).write_all_at(&u64::to_ne_bytes(value), at)?;
        let error = open(&name);
        assert!(error.to_string().ends_with(sentence), "{error}");
    }
    Ok(())
}

fn garbage_is_refused() -> Outcome {
    let name = Name::new("garbage");
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    for round in 0..2_000 {
        let mut bytes = vec![0; (random() % 2_000) as usize];
        bytes.fill_with(|| random() as u8);
        if round % 2 == 0 && bytes.len() >= 16 {
            // Past the first two hurdles.
            bytes[..8].copy_from_slice(b"multipr\x01");
            bytes[8..16].copy_from_slice(&1_u64.to_ne_bytes());
        }
        std::fs::write(name.path(), &bytes)?;
        open(&name);
    }
    Ok(())
}

fn directories_fifos_and_symlinks_are_refused() -> Outcome {
    let name = Name::new("thing");
    std::fs::create_dir(name.path())?;
    assert!(matches!(open(&name), OpenError::Io { .. }));
    std::fs::remove_dir(name.path())?;

    let path = std::ffi::CString::new(name.path().to_str().unwrap())?;
    // SAFETY: a C string.
    common::ok(unsafe { libc::mkfifo(path.as_ptr(), 0o600) })?;
    // Without a writer at the other end: this must not wait for one.
    assert!(matches!(open(&name), OpenError::NotASegment { .. }));
    std::fs::remove_file(name.path())?;

    let other = Name::new("other");
    Shared::create(&other, AtomicU32::new(0))?;
    std::os::unix::fs::symlink(other.path(), name.path())?;
    assert!(matches!(open(&name), OpenError::Io { .. }));
    Ok(())
}

fn another_pid_namespace_is_refused() -> Outcome {
    let name = Name::new("pidns");
    Shared::create(&name, AtomicU32::new(0))?;
    // SAFETY: see `in_bare_fork`; a helper, because the namespace change is for good.
    let helper = Process::start(|| {
        if let Err(error) = children_in_another_pid_namespace() {
            println!("skipped: no PID namespaces here: {error}");
            return;
        }
        let end = in_bare_fork(|| {
            let error = open(&name);
            assert!(matches!(error, OpenError::OtherPidNamespace(_)), "{error}");
            let sentence = format!("{:?} belongs to another PID namespace", &*name);
            assert_eq!(error.to_string(), sentence);
        });
        assert_eq!(end.unwrap(), 0);
    })?;
    helper.join()?.ok()?;
    Shared::<AtomicU32>::open(&name)?;
    Ok(())
}

/// The file was mapped as one thing, and then somebody who may write to it made a larger one of
/// it. The mapping that this process has is too small for that.
fn a_header_rewritten_under_a_mapping_is_refused() -> Outcome {
    let (small, large) = (Name::new("small"), Name::new("large"));
    let made = Shared::create(&small, AtomicU32::new(1))?;
    Shared::create(&large, [const { AtomicU64::new(0) }; 4096])?;
    let mut header = [0; HEADER_BYTES];
    edit(&large).read_exact_at(&mut header, 0)?;
    let file = edit(&small);
    file.set_len(edit(&large).metadata()?.len())?;
    file.write_all_at(&header, 0)?;

    let forged = Shared::<[AtomicU64; 4096]>::open(&small);
    if let Ok(forged) = &forged {
        let mapped = forged.segment().body_bytes();
        assert!(
            mapped >= 8 * 4096,
            "{mapped} bytes are mapped, and safe code reaches 32768"
        );
    }
    assert!(matches!(forged, Err(OpenError::InUseOtherwise(_))));
    assert_eq!(made.load(Relaxed), 1);
    Ok(())
}

fn a_refused_open_leaks_no_descriptor() -> Outcome {
    let name = Name::new("leak");
    Shared::create(&name, AtomicI32::new(0))?;
    let count = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let before = count();
    for _ in 0..10 {
        open(&name);
    }
    assert_eq!(count(), before);
    Ok(())
}
