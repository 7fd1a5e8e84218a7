//! The derive, end to end: what it accepts works between processes, what it refuses does not
//! compile, and which handles may go to another thread.

use multiproc_segment::{OpenError, Segment, Shareable, Shared, type_tag};
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering::*};

#[derive(Shareable)]
#[repr(C)]
struct Progress<const N: usize> {
    done: AtomicU64,
    per_worker: [AtomicU32; N],
    inner: Inner<AtomicI64>,
}

#[derive(Shareable)]
#[repr(transparent)]
struct Inner<T>(T);

impl<const N: usize> Progress<N> {
    const fn new() -> Self {
        Self {
            done: AtomicU64::new(0),
            per_worker: [const { AtomicU32::new(0) }; N],
            inner: Inner(AtomicI64::new(-1)),
        }
    }
}

#[test]
fn a_derived_struct_lives_in_a_segment() {
    let progress = Shared::new(Progress::<3>::new()).unwrap();
    let other = progress.clone();
    other.per_worker[2].store(7, Relaxed);
    other.done.store(8, Relaxed);
    other.inner.0.fetch_sub(1, Relaxed);
    assert_eq!(progress.per_worker[2].load(Relaxed), 7);
    assert_eq!(progress.done.load(Relaxed), 8);
    assert_eq!(progress.inner.0.load(Relaxed), -2);
}

#[test]
fn constant_parameters_are_part_of_the_type() {
    let name = format!("{}-derived", std::process::id());
    let _made = Shared::create(&name, Progress::<3>::new()).unwrap();
    let refused = Shared::<Progress<4>>::open(&name);
    let opened = Shared::<Progress<3>>::open(&name);
    multiproc_segment::unlink(&name).unwrap();
    let error = refused.err().expect("it was opened");
    assert!(matches!(error, OpenError::Type { .. }), "{error}");
    assert_eq!(
        error.to_string(),
        format!("{name:?} holds Progress<3>, not Progress<4>")
    );
    opened.unwrap();
}

#[test]
fn every_field_settles_once() {
    static SETTLED: AtomicU32 = AtomicU32::new(0);
    #[repr(C)]
    struct Counts(AtomicU32);
    // SAFETY: an atomic in a repr(C) struct.
    unsafe impl Shareable for Counts {
        unsafe fn settle(&self) {
            SETTLED.fetch_add(self.0.load(Relaxed), Relaxed);
        }
    }
    #[derive(Shareable)]
    #[repr(C)]
    struct Outer {
        first: Counts,
        more: [Inner<Counts>; 3],
    }
    let counts = |n| Counts(AtomicU32::new(n));
    let _made = Shared::new(Outer {
        first: counts(1),
        more: [Inner(counts(10)), Inner(counts(100)), Inner(counts(1_000))],
    })
    .unwrap();
    assert_eq!(SETTLED.load(Relaxed), 1_111);
}

#[test]
fn tags_are_type_names_without_paths() {
    assert_eq!(type_tag::<Progress<3>>(), "Progress<3>");
    assert_eq!(
        type_tag::<Inner<Inner<Progress<1>>>>(),
        "Inner<Inner<Progress<1>>>"
    );
}

#[test]
fn handles_go_to_other_threads() {
    fn goes<T: Send + Sync>() {}
    goes::<Shared<AtomicU64>>();
    goes::<Shared<Progress<2>>>();
    goes::<Segment>();
    goes::<OpenError>();
}

/// The words of the compiler change from version to version; these were recorded with one.
const RECORDED_WITH: &str = "rustc 1.95.";

#[test]
fn what_cannot_be_shared_does_not_compile() {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = std::process::Command::new(rustc).arg("--version").output();
    let version = version.map_or_else(|_| Vec::new(), |output| output.stdout);
    if !version.starts_with(RECORDED_WITH.as_bytes()) {
        println!("skipped: the compiler's messages were recorded with {RECORDED_WITH}");
        return;
    }
    let cases = trybuild::TestCases::new();
    cases.pass("tests/derive/accepted/*.rs"); // so that all are built, not only checked
    cases.compile_fail("tests/derive/*.rs");
}
