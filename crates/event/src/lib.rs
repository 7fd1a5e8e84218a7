//! An event between processes: one sets it, whoever waits goes on.
//!
//! ```rust,standalone_crate
//! use multiproc_event::Event;
//! use multiproc_process::Process;
//! use multiproc_segment::Shared;
//!
//! let go = Shared::new(Event::new())?;
//! let runner = Process::start(|| go.wait())?; // the child waits here
//! go.set();
//! runner.join()?.ok()?;
//! assert!(go.is_set());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # States
//!
//! One word of 32 bits; an event takes 4 bytes wherever it lies.
//!
//! ```text
//! word   bit 0      SET
//!        bit 1      WAITERS: somebody sleeps, or is about to
//!        bits 2..   turn: how often the event was cleared
//!
//!            set                        a wait begun at turn t is over when
//!   unset t ─────▶ set t                  SET, or the turn is not t any more
//!      ▲             │
//!      └─ t+1 ───────┘ clear
//! ```
//!
//! # Invariants
//!
//! 1. The turn changes in `clear`, and only from SET: a new turn means that the event was
//!    set meanwhile. So whoever waited when `set` was called returns, also when `clear`
//!    follows at once.
//! 2. `set` only adds a bit. It does the same however often it is done, and needs no look
//!    at what the word was: the kernel does it in the call that wakes the sleepers, so that
//!    no kill falls between the two.
//! 3. WAITERS is set by those who are about to sleep, while SET is not, and goes with
//!    `clear`. Nobody sleeps on a word without it.
//!
//! The turn comes round after 2^30 clears: a waiter that was stopped for exactly as many
//! waits on.
//!
//! # If a process dies here
//!
//! * waiting: the kernel takes it off the futex; WAITERS stays, and costs the next `set`
//!   a system call. There is nothing that anybody would wait for.
//! * in `set`: the event is set and all are woken, or nothing happened. (Where a sandbox
//!   refuses `FUTEX_WAKE_OP` there are two steps, and the sleepers find out within a slice
//!   of 50 ms.)
//! * in `clear`: it is cleared, or not.
//!
//! # Signal handlers
//!
//! [`Event::set`], [`Event::clear`] and [`Event::is_set`] take no lock and allocate nothing:
//! they may be called from a signal handler, also while the interrupted thread is inside
//! [`Event::wait`] of the same event, which then returns.
#![cfg_attr(not(feature = "raw_sync"), forbid(unsafe_code))]
#![deny(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(all(feature = "raw_sync", not(loom)))]
pub mod interop;

use multiproc_core::deadline::Deadline;
use multiproc_core::prim::{AtomicU32, Ordering::*};
use multiproc_core::wait::{self, Slept, Spin};
use multiproc_core::{const_unless_loom, step, unless_broken};
#[cfg(not(loom))]
use multiproc_segment::Shareable;
use std::fmt;
use std::time::Duration;

const SET: u32 = 1;
const WAITERS: u32 = 2;
const TURN: u32 = 4;

/// An event: unset or set, for any number of processes and threads. 4 bytes; lives in any
/// `Shared<T>`.
///
/// See the crate for an example.
#[doc(alias = "multiprocessing.Event")]
#[doc(alias = "threading.Event")]
#[cfg_attr(not(loom), derive(Shareable), shareable(crate = multiproc_segment))]
#[repr(C)]
pub struct Event {
    word: AtomicU32,
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<Event>() == 4);

impl Event {
    const_unless_loom! {
        /// An event that is not set.
        pub fn new() -> Self {
            Self { word: AtomicU32::new(0) }
        }
    }

    /// Is it set? Stale as soon as it is said, where others may clear it.
    #[doc(alias = "isSet")]
    #[inline]
    pub fn is_set(&self) -> bool {
        // Acquire. PAIRS event: what was done before `set` is seen.
        self.word.load(Acquire) & SET != 0
    }

    /// Sets it: whoever waits goes on, and nobody waits until it is cleared. What this
    /// thread did before is seen by all who then go on.
    ///
    /// Never blocks; may be called from a signal handler. *If a peer dies* waiting, nothing
    /// is different.
    #[inline]
    pub fn set(&self) {
        let mut word = self.word.load(Relaxed);
        loop {
            if word & WAITERS != 0 && word & SET == 0 {
                step!("event: sleepers seen");
                // The kernel sets the bit. PAIRS event: with a Release fence before.
                unless_broken!("event: wake", wait::set_one_and_wake_all(&self.word), {
                    self.word.fetch_or(SET, Release);
                });
                step!("event: set, sleepers woken");
                return;
            }
            // Also if it is set: who sees it set after us sees what we did. Release. PAIRS event.
            match self
                .word
                .compare_exchange_weak(word, word | SET, Release, Relaxed)
            {
                Ok(_) => {
                    step!("event: set");
                    return;
                }
                Err(now) => word = now,
            }
        }
    }

    /// Clears it: from now on, whoever waits does so until it is set again. Never blocks.
    #[inline]
    pub fn clear(&self) {
        let mut word = self.word.load(Relaxed);
        while word & SET != 0 {
            let turn = unless_broken!("event: turn", TURN, 0);
            let cleared = (word & !(SET | WAITERS)).wrapping_add(turn);
            // AcqRel. PAIRS event: a waiter that learns of the set by the new turn sees
            // what was done before it.
            match self
                .word
                .compare_exchange_weak(word, cleared, AcqRel, Relaxed)
            {
                Ok(_) => {
                    step!("event: cleared");
                    return;
                }
                Err(now) => word = now,
            }
        }
    }

    /// *Blocks until* the event is set. *Wakes when* somebody sets it, also if it is cleared
    /// right after. *If a peer dies*: nothing changes; if nobody is left to set it, this
    /// waits on.
    #[inline]
    pub fn wait(&self) {
        let _always = self.wait_until(Deadline::NEVER);
    }

    /// *Blocks until* the event is set (true) or the time is up (false). *Wakes when*
    /// somebody sets it, also if it is cleared right after. *If a peer dies*: nothing
    /// changes. With no time at all it is [`Event::is_set`].
    #[must_use = "false: the event was not set in time"]
    #[inline]
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        self.is_set() || self.wait_until(Deadline::after(timeout))
    }

    /// [`Event::wait_timeout`] with a deadline.
    ///
    /// *Blocks*, *wakes* and *if a peer dies*: as there.
    #[must_use = "false: the event was not set in time"]
    #[inline]
    pub fn wait_until(&self, deadline: Deadline) -> bool {
        // Acquire. PAIRS event.
        let word = self.word.load(Acquire);
        word & SET != 0 || self.wait_unset(word, deadline)
    }

    /// For models: is somebody asleep, or about to be?
    #[cfg(loom)]
    pub fn is_awaited(&self) -> bool {
        let word = self.word.fetch_or(0, Relaxed); // the latest
        word & WAITERS != 0 && word & SET == 0
    }

    #[cold]
    fn wait_unset(&self, mut word: u32, deadline: Deadline) -> bool {
        let turn = word & !(SET | WAITERS);
        let mut spin = Spin::new();
        let came = loop {
            if word & SET != 0 || word & !(SET | WAITERS) != turn {
                break true;
            }
            if deadline == Deadline::NOW {
                break false;
            }
            if spin.again() {
                word = self.word.load(Acquire); // PAIRS event
                continue;
            }
            let marked = word | WAITERS;
            if word != marked {
                // Relaxed: the mark orders nothing; one word, so `set` sees it or comes
                // before it, and then this fails. The failure loads as above.
                step!("event: about to mark");
                if let Err(now) = self.word.compare_exchange(word, marked, Relaxed, Acquire) {
                    word = now;
                    continue;
                }
            }
            step!("event: about to sleep");
            let slept = wait::sleep(&self.word, marked, deadline);
            word = self.word.load(Acquire); // PAIRS event
            // Also of one that is woken again and again for nothing.
            if slept == Slept::TimedOut || deadline.passed() {
                break word & SET != 0 || word & !(SET | WAITERS) != turn;
            }
        };
        spin.learn();
        came
    }
}

impl Default for Event {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Event({})", if self.is_set() { "set" } else { "unset" })
    }
}

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
