//! The floor under every primitive: words, waits, robust locks, and who is alive.
//!
//! ```rust,standalone_crate
//! use multiproc_core::{deadline::Deadline, robust::RobustLock};
//! use multiproc_process::Process;
//! use multiproc_segment::Shared;
//!
//! let lock = Shared::new(RobustLock::new())?;
//! let child = Process::start(|| {
//!     let held = lock.acquire(Deadline::NEVER);
//!     std::mem::forget(held); // this process ends, and never released it
//! })?;
//! let _ = child.join()?;
//! let held = lock.acquire(Deadline::NEVER).unwrap();
//! assert!(held.owner_died());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | module | holds |
//! |---|---|
//! | [`wait`] | the one place where anybody sleeps: spin, slice, futex |
//! | [`robust`] | the lock whose holder may be killed |
//! | [`holder`] | the same without guards; who holds it |
//! | [`guarded`] | plain data under a lock |
//! | [`watch`] | waiting for a process that may be dead |
//! | [`identity`] | who is alive: pid and start time |
//! | [`idle`] | workers without work, and who is to be woken |
//! | [`places`] | a table of who holds a permit, or waits for its turn |
//! | [`ends`] | registration: who holds an end of a queue or pipe |
//! | [`handover`] | ends that move into a child |
//! | [`courier`] | the socket beside a ring: descriptors that travel, bells for `poll` |
//! | [`fork`] | what a child must forget; what a thread holds |
//! | [`deadline`], [`fd`] | absolute monotonic deadlines; waiting for a descriptor |
//! | [`prim`] | the loom seam |
//! | [`mod@step`] | named steps for kill tests |
//!
//! # Invariants
//!
//! 1. Nobody sleeps on a word but through [`wait`], and no such sleep is longer than a slice
//!    ([`wait::SLICE`]): whatever wake-up a killed process took with it costs one slice. (What the
//!    kernel tells of, the end of a process above all, is waited for through [`fd`].)
//! 2. Nobody is declared dead by a clock. The kernel says so (robust list, /proc).
//! 3. What this layer reads from shared memory (words, owners, generations) is a number;
//!    no value of it becomes an address or an index unchecked.
//!
//! # Names of ordering pairs
//!
//! Each atomic access that orders memory carries a label `PAIRS name`; grep finds both ends.

#[cfg(not(loom))]
pub mod courier;
pub mod deadline;
#[cfg(not(loom))]
pub mod ends;
pub mod fd;
pub mod fork;
mod futex;
pub mod guarded;
#[cfg(not(loom))]
pub mod handover;
pub mod holder;
pub mod identity;
pub mod idle;
#[cfg(loom)]
pub mod model;
pub mod places;
pub mod prim;
pub mod robust;
pub mod step;
pub mod wait;
pub mod watch;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
