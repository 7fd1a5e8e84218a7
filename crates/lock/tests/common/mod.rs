//! What the tests across processes have in common.
#![allow(dead_code, reason = "each test target uses its own part")]

use multiproc_process::{Exit, Process};
use multiproc_segment::Shared;
use std::fs;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

pub(crate) type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

/// The watchdog of a single wait, below that of a test, so that the failure says what was
/// waited for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A wait that is to time out.
pub(crate) const SHORT: Duration = Duration::from_millis(100);

/// Polls until `done`, and panics with `what` when [`PATIENCE`] is over.
#[track_caller]
pub(crate) fn until(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(
            begun.elapsed() < PATIENCE,
            "waited {PATIENCE:?} in vain: {what}"
        );
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// Does this thread sleep on a futex right now?
pub(crate) fn sleeps_on_futex(tid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{tid}/stat")).unwrap_or_default();
    let state = stat
        .rfind(')')
        .and_then(|end| stat[end + 1..].trim_start().chars().next());
    // Where the kernel does not tell the place, the state has to do.
    let place = fs::read_to_string(format!("/proc/{tid}/wchan")).unwrap_or_default();
    state == Some('S') && (place.is_empty() || place == "0" || place.contains("futex"))
}

/// Waits until the child sleeps in a blocking call (a futex wait). Panics if it ends instead.
#[track_caller]
pub(crate) fn blocked(child: &Process) {
    until("a child to block", || {
        assert!(
            child.is_alive(),
            "the child ended instead of blocking: {child:?}"
        );
        sleeps_on_futex(child.pid())
    });
}

/// Joins a child that must end by itself soon, and well.
#[track_caller]
pub(crate) fn ends_well(child: &Process) {
    assert_eq!(ends(child), Exit::Code(0), "{child:?}");
}

/// Joins a child that must end by itself soon.
#[track_caller]
pub(crate) fn ends(child: &Process) -> Exit {
    match child.join_timeout(PATIENCE) {
        Ok(exit) => exit,
        Err(error) => panic!("{child:?}: {error}"),
    }
}

/// Kills a child with SIGKILL and collects it.
#[track_caller]
pub(crate) fn kill(child: &Process) {
    child.kill().unwrap();
    assert_eq!(ends(child), Exit::Signal(libc::SIGKILL));
}

/// A child forked by hand: the toolkit's own fork refuses while a guard is held. Its exit
/// status as `waitpid` says it; 101 after a panic.
pub(crate) fn in_bare_fork(f: impl FnOnce()) -> libc::c_int {
    // SAFETY: tests of the runner have one thread, or say why it does not matter.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let end = std::panic::catch_unwind(std::panic::AssertUnwindSafe(f));
        // SAFETY: ends the child without running what belongs to the parent.
        unsafe { libc::_exit(if end.is_ok() { 0 } else { 101 }) };
    }
    assert!(pid > 0);
    let mut status = 0;
    // SAFETY: our own child and a local.
    assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
    status
}

/// Ends this process as `kill -9` does.
pub(crate) fn kill_me() -> ! {
    // SAFETY: a signal to this very process, which it does not survive.
    unsafe {
        libc::kill(libc::getpid(), libc::SIGKILL);
        loop {
            libc::pause();
        }
    }
}

/// A number that several processes share.
#[derive(Clone)]
pub(crate) struct Counter(Shared<AtomicU64>);

impl Counter {
    pub(crate) fn new() -> Self {
        Counter(Shared::new(AtomicU64::new(0)).unwrap())
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(SeqCst)
    }

    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, SeqCst);
    }

    /// Adds one; the number before.
    pub(crate) fn count(&self) -> u64 {
        self.0.fetch_add(1, SeqCst)
    }

    /// Waits until it is at least `value`.
    #[track_caller]
    pub(crate) fn reach(&self, value: u64) {
        until(&format!("a counter to reach {value}"), || {
            self.get() >= value
        });
    }
}

/// Small numbers that nobody can foresee, the same in every run of a seed.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

/// A number from the environment, for longer runs.
pub(crate) fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

/// Median, 99th percentile and the longest.
pub(crate) fn spread(mut times: Vec<Duration>) -> String {
    times.sort();
    let at = |part: usize| times[(times.len() - 1) * part / 100];
    format!(
        "p50 {:?}, p99 {:?}, max {:?} of {}",
        at(50),
        at(99),
        at(100),
        times.len()
    )
}
