//! The one place to wait.
//!
//! Every blocking call of every crate comes here: a bounded spin where another CPU could
//! be bringing the news (none on a machine with one), then a shared futex in slices. How
//! long to spin is learnt: where both sides are bound to the same CPU it never pays, and
//! soon costs next to nothing; where they are bound to two, it does. A slice bounds what a
//! wake-up that a killed process swallowed can cost, and is when a waiter looks at who is alive;
//! a sleeper wakes at most 20 times a second. Signals neither end a slice nor make it longer.
//!
//! If a process dies here, as a sleeper: the kernel takes it off the futex; a wake-up
//! meant for it may be lost, and the others find out within a slice. As a waker: what it
//! published before is seen within a slice.

use crate::deadline::Deadline;
use crate::futex::{self, Waited};
use crate::prim::{self, AtomicU32};
use std::cell::Cell;
use std::sync::atomic::Ordering::{Relaxed, Release};
use std::time::Duration;

/// The longest that anybody sleeps without looking around.
pub const SLICE: Duration = Duration::from_millis(50);

/// How a slice of sleep ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Slept {
    /// Woken, or the word had changed already: look again.
    Look,
    /// Nothing for a whole slice: look again, also at who is alive.
    SliceOver,
    /// The deadline passed.
    TimedOut,
}

/// *Blocks until* `word` no longer holds `expected` at a wake-up, the slice is over, or the
/// deadline passes. *Wakes when* somebody wakes `word`. *If a peer dies*: returns at the
/// end of the slice.
pub fn sleep(word: &AtomicU32, expected: u32, deadline: Deadline) -> Slept {
    let slice = Deadline::after(SLICE);
    let until = slice.sooner(deadline);
    match futex::wait(word, expected, until) {
        Waited::Look => Slept::Look,
        Waited::TimedOut if until == deadline => Slept::TimedOut,
        Waited::TimedOut => Slept::SliceOver,
    }
}

/// Wakes everybody who sleeps on `word`.
pub fn wake_all(word: &AtomicU32) {
    futex::wake(word, i32::MAX);
}

/// Wakes one who sleeps on `word`.
pub fn wake_one(word: &AtomicU32) {
    futex::wake(word, 1);
}

/// Sets bit 0 of `word` and wakes everybody who sleeps on it, in one system call, so that
/// no kill falls between. All that this thread did before is seen by whoever sees the bit.
pub fn set_one_and_wake_all(word: &AtomicU32) {
    prim::fence(Release); // the kernel's change of the word comes after what was written
    futex::set_one_and_wake_all(word);
}

/// The most pauses that an ordinary wait spins (3 to 6 microseconds on current machines).
const MOST: u32 = 200;
/// The fewest: half a microsecond.
const FEWEST: u32 = 25;
/// Now and then a wait spins longer than a sleep and a wake-up take. Two processes that
/// answer each other within a microsecond could otherwise put each other to sleep for ever:
/// once one of them sleeps, its answer takes longer than the other spins.
const PROBE: u32 = 3_000;
/// The most pauses between two looks at a word that others take turns with: about a microsecond.
const LONGEST_STEP: u32 = 32;
/// Waits between two probes: doubled with each one in vain, up to the second number.
const PROBE_EVERY: (u32, u32) = (8, 256);

/// What a thread has learnt about spinning.
#[derive(Clone, Copy)]
struct Learnt {
    budget: u32,
    until_probe: u32,
    probe_every: u32,
}

thread_local! {
    static LEARNT: Cell<Learnt> = const {
        Cell::new(Learnt {
            budget: MOST,
            until_probe: PROBE_EVERY.0,
            probe_every: PROBE_EVERY.0,
        })
    };
}

/// Has this machine several CPUs? (Those of *this* process say nothing: its peer may be
/// bound to another one.)
fn several_cpus() -> bool {
    // 0 = not asked yet. Relaxed: a number.
    static ONLINE: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let mut online = ONLINE.load(Relaxed);
    if online == 0 {
        // SAFETY: only asks.
        online = unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) }.max(1) as u32;
        ONLINE.store(online, Relaxed);
    }
    online > 1
}

/// A bounded, adaptive spin: longer where spinning paid lately, shorter where it did not.
#[derive(Debug)]
pub struct Spin {
    left: Option<u32>,
    probes: bool,
    /// Pauses in the next step of [`Spin::back_off`].
    step: u32,
}

impl Spin {
    /// A spin that has not begun.
    #[inline]
    #[allow(clippy::new_without_default)]
    pub const fn new() -> Self {
        Self {
            left: None,
            probes: false,
            step: 1,
        }
    }

    /// Pauses once and says true, or says false: time to sleep.
    #[inline]
    pub fn again(&mut self) -> bool {
        match self.left {
            Some(0) => return false,
            Some(left) => self.left = Some(left - 1),
            None => {
                self.begin();
                if self.left == Some(0) {
                    return false;
                }
            }
        }
        prim::pause();
        true
    }

    /// As [`Spin::again`], with more pauses from step to step: for a word that its holder is busy
    /// with, as each look at it takes the cache line away from the one who is waited for.
    #[inline]
    pub fn back_off(&mut self) -> bool {
        if !self.again() {
            return false;
        }
        let more = self.left.map_or(0, |left| left.min(self.step - 1));
        for _ in 0..more {
            prim::pause();
        }
        self.left = self.left.map(|left| left - more);
        self.step = (self.step * 2).min(LONGEST_STEP);
        true
    }

    #[cold]
    fn begin(&mut self) {
        if cfg!(loom) || !several_cpus() {
            self.left = Some(0);
            return;
        }
        let mut learnt = LEARNT.get();
        self.probes = learnt.until_probe == 0;
        learnt.until_probe = match learnt.until_probe {
            0 => learnt.probe_every,
            n => n - 1,
        };
        LEARNT.set(learnt);
        self.left = Some(if self.probes { PROBE } else { learnt.budget });
    }

    /// The wait is over: if what was waited for came while spinning, the next ones spin
    /// longer, else shorter.
    pub fn learn(&self) {
        let mut learnt = LEARNT.get();
        match (self.left, self.probes) {
            (None, _) => return,
            (Some(0), false) => learnt.budget = (learnt.budget / 2).max(FEWEST),
            (Some(0), true) => learnt.probe_every = (learnt.probe_every * 2).min(PROBE_EVERY.1),
            (Some(_), false) => learnt.budget = (learnt.budget + 25).min(MOST),
            (Some(_), true) => {
                learnt.budget = MOST;
                learnt.probe_every = PROBE_EVERY.0;
            }
        }
        LEARNT.set(learnt);
    }
}

/// Up to `pauses` pauses until `done()`; none when there is one CPU. True if it came.
pub fn patiently(pauses: usize, mut done: impl FnMut() -> bool) -> bool {
    if cfg!(loom) || !several_cpus() {
        return false;
    }
    for _ in 0..pauses {
        if done() {
            return true;
        }
        prim::pause();
    }
    false
}

/// Remembers when somebody last looked who is alive: a look costs a trip through /proc, and
/// once a slice is enough.
#[derive(Debug, Default)]
pub struct LookAround(std::sync::atomic::AtomicU64);

impl LookAround {
    /// Nobody has looked yet.
    pub const fn new() -> Self {
        Self(std::sync::atomic::AtomicU64::new(0))
    }

    /// Is a slice over since the last time this said so? By the coarse clock: 5 ns.
    #[inline]
    pub fn is_due(&self) -> bool {
        let now = crate::deadline::coarse_now();
        // Relaxed: a number; two threads may both look.
        let due = now.wrapping_sub(self.0.load(Relaxed)) >= SLICE.as_nanos() as u64;
        if due {
            self.0.store(now, Relaxed);
        }
        due
    }

    /// The look showed somebody dead: look again next time, too.
    pub fn again(&self) {
        self.0.store(0, Relaxed);
    }
}
