//! Locks that their holder may take again, between processes, and that survive kill -9.
//!
//! ```rust,standalone_crate
//! use multiproc_process::Process;
//! use multiproc_rlock::RLock;
//! use multiproc_segment::Shared;
//!
//! let lock = Shared::new(RLock::new())?;
//! let child = Process::start(|| {
//!     let outer = lock.lock().unwrap();
//!     let inner = lock.lock().unwrap(); // does not wait for itself
//!     assert_eq!(lock.count(), 2);
//!     std::mem::forget((outer, inner)); // and it ends holding both
//! })?;
//! assert!(child.join()?.success());
//! let Err(multiproc_rlock::OwnerDied(mut held)) = lock.lock() else { panic!() };
//! assert_eq!(lock.count(), 1); // the dead holder's count is gone with it
//! held.mended();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | type | is |
//! |---|---|
//! | [`RLock`] | Python's `RLock`: acquire and release, or a guard |
//! | [`ReentrantMutex<T>`](ReentrantMutex) | the same with its data, given out as `&Cell<T>` |
//!
//! # States
//!
//! ```text
//! lock      a robust lock: free, or held by one thread of one process
//! count     how often that thread has acquired it; says nothing while the lock is free
//! damaged   1 = a holder died, and nobody has said `mended`
//! ```
//!
//! # Invariants
//!
//! 1. The holder is a thread of a process: the lock's word has its thread id, which no other
//!    thread of any process has meanwhile. A forked child has another one, and holds nothing.
//! 2. `count` and `damaged` are written by the holder only, `count` to 1 by whoever takes the
//!    lock anew: so what a dead holder left there does not matter.
//! 3. The lock is free when, and only when, its holder counted down to 0.
//!
//! # If a process dies here
//!
//! * holding it, however often, or in the middle of acquiring or releasing: the kernel frees
//!   the lock, and the next acquirer gets [`OwnerDied`], with count 1. So does every later one
//!   until somebody says [`mended`](RLockGuard::mended).
//! * between taking it from the dead and noting that: the word says again that a holder died.
//! * waiting: nobody notices.
//!
//! The end of the holding thread is a death, and so is `exec`.
#![deny(unsafe_code)]

mod reentrant;
mod rlock;

pub use multiproc_lock::{AcquireTimeoutError, OwnerDied, PlainData, TryAcquireError};
pub use reentrant::{ReentrantGuard, ReentrantMutex};
pub use rlock::{Levels, RLock, RLockGuard, ReleaseError};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
