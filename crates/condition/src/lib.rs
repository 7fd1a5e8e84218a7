//! A condition variable between processes: wait, under a lock, until somebody notifies.
//!
//! ```rust,standalone_crate
//! use multiproc_condition::Condition;
//! use multiproc_lock::Mutex;
//! use multiproc_process::Process;
//! use multiproc_segment::{Shareable, Shared};
//!
//! #[derive(Shareable)]
//! #[repr(C)]
//! struct Steps {
//!     count: Mutex<u64>,
//!     changed: Condition,
//! }
//!
//! let steps = Shared::new(Steps { count: Mutex::new(0), changed: Condition::new() })?;
//! let child = Process::start(|| {
//!     for _ in 0..3 {
//!         let mut count = steps.count.lock().unwrap();
//!         *count += 1;
//!         steps.changed.notify_all(&count);
//!     }
//! })?;
//! let count = steps.count.lock().unwrap();
//! let (count, _) = steps.changed.wait_for(count, |count| **count == 3).unwrap();
//! drop(count);
//! child.join()?.ok()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! It works with the guards of `Mutex`, `RLock` and whatever else is [`Lockable`]; all who use
//! one condition use one lock.
//!
//! # States
//!
//! Each waiter has a place in a table (`multiproc_core::places`), with a word of its own to
//! sleep on: a notify chooses *who* goes on. (With one word for all, one notify can release
//! two.)
//!
//! ```text
//! place   ticket   the number of the waiter, or of the notify that chose it: both are
//!                  drawn from one counter, so "who waited before that notify" is a comparison
//!         word     WAITING ──────▶ NOTIFIED ─────▶ (free) by the waiter, when it has the lock
//!                     │ notify                         again
//!                     └──────────▶ LEFT (time is up) ─▶ (free)
//!                  PASSED | heir   of a dead waiter: its notify goes to that place
//! ```
//!
//! # Invariants
//!
//! 1. A waiter has its place before it releases the lock, so a notify by whoever has the
//!    lock next finds it.
//! 2. WAITING is left once, by one compare-and-swap: either the notify has it, or the
//!    timeout. So a waiter whose time was up has eaten no notify.
//! 3. A notify chooses the oldest who wait, and only those who waited before it. What it
//!    finds nobody for is not remembered.
//! 4. A place that shows NOTIFIED and is a dead process's is a notify that nobody has had:
//!    it goes to the oldest who waited before that notify, if there is one.
//!
//! # If a process dies here
//!
//! * waiting: its place is a dead process's. Each waiter watches the next one at the end of
//!   its slice (50 ms), and frees the places of the dead. (Behind one that is stopped, and so
//!   watches nobody, it takes longer: each also looks at one more, at another one each time.)
//! * chosen, until its `wait` is about to return: as Invariant 4 says, within a slice. To pass
//!   it on has two steps; PASSED says where it goes, so that the one who does it may die too:
//!   whoever locks the table next is told of that death, and does this first.
//! * in `notify`: some are chosen, others not; the lock says that its holder died. Who was
//!   chosen and not woken finds out at the end of its slice.
//! * holding the lock: the one whose `wait` gets it next is told:
//!   [`WaitError::OwnerDied`], with the guard.
#![forbid(unsafe_code)]

mod condition;
mod error;
mod lockable;

pub use condition::{Condition, Truth};
pub use error::WaitError;
pub use lockable::Lockable;

#[cfg(all(doctest, not(loom)))]
#[doc = include_str!("../README.md")]
struct Readme;
