//! What the tests across processes have in common.
#![allow(dead_code, reason = "each test target uses its own part")]

use multiproc_process::{Exit, Process};
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
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// Does this process sleep on a futex right now?
pub(crate) fn sleeps_on_futex(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat
        .rfind(')')
        .and_then(|end| stat[end + 1..].trim_start().chars().next());
    // Where the kernel does not tell the place, the state has to do.
    let place = fs::read_to_string(format!("/proc/{pid}/wchan")).unwrap_or_default();
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

/// Waits until the child sleeps in a blocking call, or has ended: false.
pub(crate) fn blocked_or_gone(child: &Process) -> bool {
    let mut blocked = false;
    until("a child to block or to end", || {
        blocked = sleeps_on_futex(child.pid());
        blocked || !child.is_alive()
    });
    blocked
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
    assert_eq!(ends(child), Exit::Signal(9));
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
        self.add(1)
    }

    /// Adds some; the number before.
    pub(crate) fn add(&self, some: u64) -> u64 {
        self.0.fetch_add(some, SeqCst)
    }

    /// Waits until it is at least `value`.
    #[track_caller]
    pub(crate) fn reach(&self, value: u64) {
        until(&format!("a counter to reach {value}"), || {
            self.get() >= value
        });
    }
}

/// The same numbers for the same seed: xorshift64*.
#[derive(Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn roll(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// One of `0..n`.
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        (self.roll() >> 16) % n
    }
}

/// Bytes (at least 8) that tell their number, and whether they are whole.
pub(crate) fn pattern(number: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![(number % 251) as u8; len.max(8)];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    bytes
}

/// The number of a [`pattern`]; panics where it is torn.
#[track_caller]
pub(crate) fn number_of(bytes: &[u8]) -> u64 {
    let number = u64::from_le_bytes(bytes[..8].try_into().unwrap());
    assert!(
        bytes == pattern(number, bytes.len()),
        "torn: {} bytes of message {number}",
        bytes.len()
    );
    number
}

/// Has `handler` called at `signal`; system calls are not restarted.
pub(crate) fn on_signal(signal: i32, handler: extern "C" fn(i32)) {
    // SAFETY: zeroes are a `sigaction` (no flags: no SA_RESTART). The handlers given here
    // touch atomics only.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as *const () as libc::sighandler_t;
        assert_eq!(
            libc::sigaction(signal, &action, std::ptr::null_mut()),
            0,
            "sigaction"
        );
    }
}

/// Sends a signal to a child that was not collected yet.
pub(crate) fn send_signal(child: &Process, signal: i32) {
    // SAFETY: numbers only. The pid is a child's that nobody has collected.
    unsafe { libc::kill(child.pid() as i32, signal) };
}

/// As `kill -9` from outside: this process is gone at once.
pub(crate) fn kill_me() {
    // SAFETY: a signal to this process.
    unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
}

/// Ends this process at once, as a crash does: no destructors, no flushing.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: always allowed.
    unsafe { libc::_exit(code) }
}

/// Changes this process's soft limit.
pub(crate) fn limit(resource: libc::__rlimit_resource_t, soft: u64) {
    // SAFETY: zeroes are an `rlimit`; the calls read and write that local.
    unsafe {
        let mut limit: libc::rlimit = std::mem::zeroed();
        assert_eq!(libc::getrlimit(resource, &mut limit), 0);
        limit.rlim_cur = soft.min(limit.rlim_max);
        assert_eq!(libc::setrlimit(resource, &limit), 0);
    }
}
