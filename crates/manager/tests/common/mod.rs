//! What the tests across processes have in common.
#![allow(dead_code, reason = "each test target uses its own part")]

use multiproc_manager::Manager;
use multiproc_process::Process;
use multiproc_segment::Shared;
use std::fs;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

pub(crate) type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

/// How long anything may take that takes no time: the watchdog of a single wait, below that of
/// a test, so that the failure says what was waited for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Polls until `done`, and panics with `what` when [`PATIENCE`] is over.
#[track_caller]
pub(crate) fn until(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(
            begun.elapsed() < PATIENCE,
            "waited {PATIENCE:?} in vain: {what}"
        );
        std::thread::sleep(Duration::from_micros(500));
    }
}

/// Ends this process as `kill -9` does.
pub(crate) fn kill_me() -> ! {
    let me = nix::unistd::Pid::this();
    let _ = nix::sys::signal::kill(me, nix::sys::signal::Signal::SIGKILL);
    unreachable!("nobody survives that")
}

#[track_caller]
pub(crate) fn ends_well(child: &Process) {
    child.join().unwrap().ok().unwrap();
}

/// A number that processes share.
pub(crate) fn shared(n: u64) -> Shared<AtomicU64> {
    Shared::new(AtomicU64::new(n)).unwrap()
}

/// Waits until another process has raised the number so far.
#[track_caller]
pub(crate) fn reaches(number: &Shared<AtomicU64>, n: u64) {
    until("a step of another process", || number.load(SeqCst) >= n);
}

/// Waits until the process sleeps: in its call, as it has nothing else to do.
#[track_caller]
pub(crate) fn sleeps(child: &Process) {
    until("a child to wait", || {
        assert!(child.is_alive(), "it ended instead of waiting: {child:?}");
        let stat = fs::read_to_string(format!("/proc/{}/stat", child.pid())).unwrap_or_default();
        let state = stat
            .rfind(')')
            .and_then(|end| stat[end + 1..].trim_start().chars().next());
        state == Some('S')
    });
}

/// Waits until the server has so many objects.
#[track_caller]
pub(crate) fn objects(manager: &Manager, n: u64) {
    until(&format!("{n} objects in the server"), || {
        manager.numbers().unwrap().objects == n
    });
}
