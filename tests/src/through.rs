//! One process dies by SIGKILL at the first step of an operation, one at the second, and so on
//! until one comes through.

use common::{ends, start};
use multiproc_core::step;
use multiproc_process::{Exit, Process};

/// Runs `scene(n)` for 0, 1, … until its victim comes through, which must not be before step
/// `least`.
#[track_caller]
pub fn at_each_step(least: u64, mut scene: impl FnMut(u64) -> bool) {
    let deaths = (0..).find(|n| scene(*n)).unwrap();
    assert!(
        deaths >= least,
        "only {deaths} steps were passed: are they armed?"
    );
    println!("{deaths} deaths");
}

/// A process that dies at step `n` of `f`, if that has so many.
#[track_caller]
pub fn victim(n: u64, f: impl FnOnce()) -> Process {
    start(move || {
        step::arm(n);
        f();
        step::disarm();
    })
}

/// Did it come through?
#[track_caller]
pub fn came_through(victim: &Process) -> bool {
    match ends(victim) {
        Exit::Signal(libc::SIGKILL) => false,
        exit => {
            assert_eq!(exit, Exit::Code(0), "{victim:?}");
            true
        }
    }
}

/// Runs `f` in a child that dies at step `n` of it. True if it came through.
#[track_caller]
pub fn killed_at(n: u64, f: impl FnOnce()) -> bool {
    came_through(&victim(n, f))
}
