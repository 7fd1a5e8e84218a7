//! The protocol, over any [`Memory`], so that loom can run it. Here what both sides use: the
//! lock, the wait of a leader. [`put`], [`get`], [`count`] and [`mod@watch`] hold
//! the rest.
//!
//! Ordering pairs here: `record` (COMMIT and who reads a header), `room` (RELEASE and who
//! reuses the memory), `finished` (the last task done and who joins), `waiting` (a
//! writer without room, and who counts). The locks' own pair is `lock`, the bells' is `bell`.

mod count;
mod get;
mod lag;
mod put;
mod watch;

use crate::error::{GetError, PutError};
use crate::place::{Place, View};
use crate::record::{self, Header, Position, UNIT};
use crate::state::State;
use multiproc_core::deadline::Deadline;
use multiproc_core::prim::{AtomicU32, AtomicU64, Ordering::*, fence};
use multiproc_core::robust::{RobustGuard, RobustLock};
use multiproc_core::wait::{self, Slept, Spin};
use multiproc_core::{step, unless_broken};
use std::time::Duration;

/// Records below this stay in the fast caches; above it a writer first hopes for the
/// reader.
const HOT: usize = 1 << 20;

/// A window above this is given back when the ring runs empty, but for [`KEEP`].
const GIVE_BACK: usize = 16 << 20;
const KEEP: usize = 64 << 10;

/// How far a writer goes above the hot window without another look.
const STRIDE: usize = 1 << 16;

/// The bytes behind a ring.
pub trait Memory {
    /// The header at this offset, a multiple of 8 below the reserve.
    fn word(&self, at: usize) -> &AtomicU64;

    /// Copies `bytes` to the offset.
    ///
    /// # Safety
    ///
    /// `at + bytes.len()` is inside the reserve and allocated, and the caller holds the
    /// put lock with this range beyond the frontier's header.
    unsafe fn write(&self, at: usize, bytes: &[u8]);

    /// Makes `from..to` usable.
    ///
    /// # Errors
    ///
    /// No memory.
    fn grow(&self, from: usize, to: usize) -> Result<(), PutError>;

    /// Gives `from..to` back. Nobody uses it.
    fn punch(&self, from: usize, to: usize);

    /// A reader died holding the get lock, which we hold now; so many records are released
    /// (modulo 2^32).
    fn reader_died(&self, _released: u32) {}

    /// The record whose descriptors have this tag was given up.
    fn delivered(&self, _tag: u64) {}

    /// Rings for those who wait with `poll`. False: there are so many bells that one more has no
    /// room.
    fn ring_watchers(&self) -> bool {
        true
    }

    /// Drops what lies with the courier though no record is there: all of it, or only the
    /// bells.
    fn tidy(&self, _all: bool) {}

    /// Bytes in all, allocated or not; never from shared memory.
    fn reserve(&self) -> usize;
}

/// How long to wait, and what else ends a wait.
#[derive(Clone, Copy)]
pub struct Wait<'a> {
    /// Until when.
    pub deadline: Deadline,
    /// Is it in vain? Asked before sleeping (with false: only what costs nothing to know)
    /// and after each slice and at the deadline (with true: also who is alive).
    pub in_vain: &'a dyn Fn(bool) -> bool,
}

impl std::fmt::Debug for Wait<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wait")
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

impl Wait<'static> {
    /// For ever.
    pub const FOREVER: Self = Self {
        deadline: Deadline::NEVER,
        in_vain: &|_| false,
    };
    /// Not at all.
    pub const NOT: Self = Self {
        deadline: Deadline::NOW,
        in_vain: &|_| false,
    };
}

/// The protocol over one ring's words and bytes.
#[derive(Clone, Copy)]
#[allow(missing_debug_implementations)]
pub struct Flow<'a, M> {
    /// The ring's words.
    pub state: &'a State,
    /// Its bytes.
    pub memory: M,
}

/// Room for one record, under the put lock.
#[allow(missing_debug_implementations)]
pub struct Reserved<'a, M> {
    flow: Flow<'a, M>,
    guard: RobustGuard<'a>,
    position: Position,
    len: usize,
}

/// The next record, under the get lock.
#[allow(missing_debug_implementations)]
pub struct Claimed<'a, M> {
    flow: Flow<'a, M>,
    guard: RobustGuard<'a>,
    found: Found,
}

/// A committed record, checked against the reserve.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    pub(crate) position: Position,
    /// Bytes, those of the tag included.
    whole: usize,
    pub(crate) carries: bool,
}

impl Found {
    /// Offset of the record's own bytes.
    #[inline(always)]
    pub(crate) fn at(self) -> usize {
        self.position.at + UNIT + self.before()
    }

    /// The record's own bytes.
    #[inline(always)]
    pub(crate) fn len(self) -> usize {
        self.whole - self.before()
    }

    /// Bytes of the tag, which stands first.
    #[inline(always)]
    fn before(self) -> usize {
        if self.carries { UNIT } else { 0 }
    }

    #[inline(always)]
    fn after(self) -> Position {
        self.position.after_record(self.whole)
    }
}

/// Why a side's lock was not had.
enum NotLocked {
    TimedOut,
    InVain,
}

/// Takes a side's lock, to be released with `bell`. `waiting` says that its holder itself
/// waits: then there is nothing to be had for one who does not.
#[inline]
fn lock<'a>(
    lock: &'a RobustLock,
    bell: &'a AtomicU32,
    waiting: &AtomicU32,
    wait: &Wait<'_>,
) -> Result<RobustGuard<'a>, NotLocked> {
    match lock.try_acquire_free() {
        Some(guard) => Ok(guard.with_bell(bell)),
        None => Ok(lock_contended(lock, waiting, wait)?.with_bell(bell)),
    }
}

/// How often a count is tried while others change it.
const MOST_LOOKS: usize = 100;

/// Pauses until one who must not block takes it that the lock is held for longer.
const MOMENT: usize = 100;

/// How long one who does not wait still waits for another's copy to be done, unless it is
/// stopped in the middle.
const MOST_COPYING: Duration = Duration::from_millis(50);

#[cold]
fn lock_contended<'a>(
    lock: &'a RobustLock,
    waiting: &AtomicU32,
    wait: &Wait<'_>,
) -> Result<RobustGuard<'a>, NotLocked> {
    let at_once = wait.deadline == Deadline::NOW;
    let (until, slice) = match at_once {
        true => (Deadline::after(MOST_COPYING), Duration::from_millis(1)),
        false => (wait.deadline, wait::SLICE),
    };
    loop {
        // Relaxed: a hint. Whoever put or got before our call has released since.
        if at_once && waiting.load(Relaxed) != 0 {
            // Unless it waits no more, and nobody was told that it died.
            return lock.try_acquire().ok_or(NotLocked::TimedOut);
        }
        if let Ok(guard) = lock.acquire(Deadline::after(slice).sooner(until)) {
            return Ok(guard);
        }
        if !at_once && (wait.in_vain)(true) {
            return Err(NotLocked::InVain);
        }
        if until.passed() {
            return Err(NotLocked::TimedOut);
        }
    }
}

/// A leader's wait for data or room, between two looks.
struct Leader<'w> {
    spin: Spin,
    /// The bell as it was before the other side was asked to ring it.
    asked: Option<u32>,
    waiting: &'w AtomicU32,
    wait: Wait<'w>,
}

/// What to do after a wait.
enum Next {
    Look,
    TimedOut,
    InVain,
}

impl<'w> Leader<'w> {
    fn new(waiting: &'w AtomicU32, wait: Wait<'w>) -> Self {
        Self {
            spin: Spin::new(),
            asked: None,
            waiting,
            wait,
        }
    }

    /// Waits a little, because the last look found nothing.
    fn wait(&mut self, bell: &AtomicU32, other: &RobustLock) -> Next {
        if self.wait.deadline == Deadline::NOW {
            return self.out_of_time();
        }
        let Some(seen) = self.asked else {
            if self.spin.again() {
                return Next::Look;
            }
            // Release. PAIRS waiting: what was put before is counted.
            self.waiting.store(1, Release);
            // Acquire. PAIRS bell.
            self.asked = Some(bell.load(Acquire));
            other.ask_for_bell();
            step!("ring: asked for the bell");
            return if (self.wait.in_vain)(false) {
                Next::InVain
            } else {
                Next::Look
            };
        };
        self.asked = None;
        match wait::sleep(bell, seen, self.wait.deadline) {
            Slept::TimedOut => self.out_of_time(),
            Slept::SliceOver if (self.wait.in_vain)(true) => Next::InVain,
            // Who is woken again and again for nothing is not kept beyond its time.
            Slept::Look | Slept::SliceOver if self.wait.deadline.passed() => self.out_of_time(),
            Slept::Look | Slept::SliceOver => {
                step!("ring: woken");
                Next::Look
            }
        }
    }

    /// Also who never waits for a whole slice hears of it when the others have died.
    fn out_of_time(&self) -> Next {
        if (self.wait.in_vain)(true) {
            Next::InVain
        } else {
            Next::TimedOut
        }
    }
}

impl Drop for Leader<'_> {
    fn drop(&mut self) {
        #[cfg(loom)]
        if multiproc_core::model::dead() {
            return;
        }
        self.spin.learn();
        if self.waiting.load(Relaxed) != 0 {
            self.waiting.store(0, Relaxed);
        }
    }
}
