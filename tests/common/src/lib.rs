//! What the tests of all crates have in common: starting, watching and killing children, waiting
//! for what another process does, numbers by dice, messages that show whether they are torn.
//!
//! Crates have it as a development dependency by path alone, so that their packages go without.
//! It stands on `segment` and `process` and switches on no feature of theirs: the named steps
//! are for the tests beside it (`multiproc-tests`).

mod children;
mod counter;
mod dice;
mod limits;
mod name;
mod pattern;
mod pipes;
mod proc;

pub use children::{
    bare_fork, blocked, blocked_or_gone, ends, ends_well, exit_now, for_ever, in_bare_fork, kill,
    kill_me, polls, send_signal, start, status_of,
};
pub use counter::{Counter, shared};
pub use dice::Dice;
pub use limits::{
    children_in_another_pid_namespace, limit, limit_descriptors, on_signal, own_small_dev_shm,
};
pub use name::Name;
pub use pattern::{number_of, pattern};
pub use pipes::{all_of, lines, wait_for_end};
pub use proc::{
    children_of, cpu_of, is_gone, open_descriptors, resident, sleeps_in_poll, sleeps_on_futex,
    state_of,
};

use std::io;
use std::time::{Duration, Instant};

/// What a test returns that uses `?`.
pub type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

/// How long anything may take that takes no time: the watchdog of a single wait, below that of
/// a test, so that the failure says what was waited for.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A wait that is to time out.
pub const SHORT: Duration = Duration::from_millis(100);

/// Polls until `done`, and panics with `what` when [`PATIENCE`] is over.
#[track_caller]
pub fn until(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(
            begun.elapsed() < PATIENCE,
            "waited {PATIENCE:?} in vain: {what}"
        );
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// Spends about so many microseconds, so that a kill falls anywhere.
pub fn spin(micros: u64) {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_micros(micros) {
        std::hint::spin_loop();
    }
}

/// A number from the environment, for longer runs.
pub fn setting(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{name}={text} is no number")),
        Err(_) => default,
    }
}

/// Median, 99th percentile and the longest.
pub fn spread(mut times: Vec<Duration>) -> String {
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

/// What a system call returned, or its error.
pub fn ok(r: libc::c_int) -> io::Result<libc::c_int> {
    if r == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(r)
    }
}
