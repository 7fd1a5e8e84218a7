//! A barrier between processes: all wait until all are there. It breaks, and does not hang,
//! when one that waits is killed.
//!
//! ```rust,standalone_crate
//! use multiproc_barrier::Barrier;
//! use multiproc_process::Process;
//! use multiproc_segment::Shared;
//!
//! let barrier = Shared::new(Barrier::new(2))?;
//! let child = Process::start(|| {
//!     for _ in 0..3 {
//!         barrier.wait().unwrap();
//!     }
//! })?;
//! for phase in 0..3 {
//!     let index = barrier.wait_with(|| println!("both are at {phase}"))?;
//!     assert!(index < 2);
//! }
//! child.join()?.ok()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # States
//!
//! ```text
//! word     bits 31..9  turn: how many rounds have ended, well or badly
//!          bits 8..1   how the last eight ended: 1 released, 0 broken; the last one lowest
//!          bit 0       BROKEN: nobody may wait until a reset
//! places   who has arrived in which turn, in order (`multiproc_core::places`); place k is
//!          that of index parties - 1 - k
//! pulses   robust locks: all but the last hold one while they wait (its place says which), and the kernel marks
//!          it in the moment of a death
//!
//!            last arrival, its action done: turn + 1, history 1
//!   open ───────────────────────────────────────────────────▶ open
//!    │  ▲
//!    │  └── reset: turn + 1, history 0 ──┐
//!    └── abort, timeout, failed action, ─┴▶ BROKEN
//!        death: turn + 1, history 0
//! ```
//!
//! # Invariants
//!
//! 1. The word changes by compare-and-swap, and each change of the turn ends the wait of
//!    all who arrived in it. What became of them stands in the history, also when more
//!    rounds have ended before they look (after more than eight, they are told: broken).
//! 2. A place counts if its ticket is the turn. So a new turn empties the table by itself.
//!    Places are taken in order, under the table's lock.
//! 3. Place `parties - 1` is taken by one alone, who runs the action and then ends the turn.
//!    Until then, every other arrival waits outside for the next turn.
//!
//! # If a process dies here
//!
//! * before its place shows its identity: it was never there.
//! * having arrived (asleep, or in the action): its pulse is gone. The last to arrive looks at
//!   all of them before it lets anybody go, so a round with a dead party never ends well; and
//!   whoever waits looks at the end of its slice (50 ms), and breaks the barrier. Who arrives
//!   and gets the pulse of one that died in this turn breaks it at once. (Where the kernel does
//!   not mark locks, the last one looks whose threads are there, and who waits watches the next
//!   one by its identity.)
//! * having ended the turn, before the wake-up: the others see it at the end of their slice.
//! * released, but not yet back from `wait`: the round is over, and nobody is told; as when
//!   it dies between two rounds, those who wait for it in the next one wait for somebody
//!   who is not there (use [`Barrier::wait_timeout`]).
//! * with the table's lock: that is robust, and the places are right as they are.
#![forbid(unsafe_code)]

mod barrier;
mod error;

pub use barrier::Barrier;
pub use error::{BrokenBarrier, Outcome, PartiesError, WaitError};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
