//! Semaphores between processes, whose permits come back when their holder is killed.
//!
//! ```rust,standalone_crate
//! use multiproc_process::Process;
//! use multiproc_segment::Shared;
//! use multiproc_semaphore::Semaphore;
//!
//! let gate = Shared::new(Semaphore::new(1))?;
//! let child = Process::start(|| {
//!     let permit = gate.permit();
//!     std::mem::forget(permit); // this process ends, and never gave it back
//! })?;
//! let _ = child.join()?;
//! let _permit = gate.permit(); // it is back
//! assert_eq!(gate.value(), 0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | to take | to give | if the process that took is killed |
//! |---|---|---|
//! | [`Semaphore::acquire`] and kin | [`Semaphore::release`], by anybody | taken for good, as in Python: nobody owns it |
//! | [`Semaphore::permit`] and kin | dropping the [`Permit`] | it comes back |
//!
//! # States
//!
//! ```text
//! state    bits 63..32   stamp: changed with each permit taken or given, kept by all else
//!          bit 31        WAITERS: somebody sleeps, or is about to
//!          bits 30..0    value
//! bell     changed when WAITERS was wiped: what the sleepers sleep on
//! journal  0, or: bit 63 GIVE | place + 1 | the stamp that will be (one permit at a time,
//!          under the table's lock)
//! places   who holds how many permits (`multiproc_core::places`)
//!
//! permit:  lock; journal; place filled in; state (value - n, stamp + 1); journal 0; unlock
//! give:    lock; journal; state (value + n, stamp + 1); place free;      journal 0; unlock
//! ```
//!
//! # Invariants
//!
//! 1. The value changes by compare-and-swap of the whole state. So the stamp tells whether
//!    the change that the journal announces has been made, whatever others did to the value
//!    meanwhile.
//! 2. A place is held if and only if its permits are missing from the value, but for the
//!    one in the journal.
//! 3. WAITERS is set by compare-and-swap against a value that did not suffice (or, where
//!    the table was full, under its lock), after the bell was read. Whoever raises the
//!    value or frees a place wipes it, and then changes the bell and wakes all.
//!
//! # If a process dies here
//!
//! * between permit and give: its place is that of a dead process. Who waits finds it (at
//!   first after a millisecond, then with each slice of 50 ms), who fails to take without
//!   waiting looks too, and gives the permits back.
//! * taking a permit: with the stamp of the journal in the state, it held it; else the place
//!   is freed. Giving: with the stamp there, the place is freed; else it holds it still.
//!   Whoever locks the table next is told of the death by the lock, and does this first.
//! * in `acquire` or `release`: one compare-and-swap, done or not.
//! * before the bell: the sleepers look again at the end of their slice.
//! * waiting: WAITERS stays, and costs the next release a system call.
#![forbid(unsafe_code)]

mod bounded;
mod error;
mod permit;
mod semaphore;

pub use bounded::BoundedSemaphore;
pub use error::{AcquireManyError, ReleaseError, ValueError};
pub use permit::Permit;
pub use semaphore::{MOST, Semaphore};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
