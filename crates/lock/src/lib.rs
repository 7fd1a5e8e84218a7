//! Locks between processes that survive kill -9.
//!
//! ```rust,standalone_crate
//! use multiproc_lock::Mutex;
//! use multiproc_process::Process;
//! use multiproc_segment::Shared;
//!
//! let total = Shared::new(Mutex::new(0_u64))?;
//! let children = Process::start_each(0..4, |_| {
//!     for _ in 0..1_000 {
//!         *total.lock().unwrap() += 1;
//!     }
//! })?;
//! for child in children {
//!     assert!(child.join()?.success());
//! }
//! assert_eq!(*total.lock().unwrap(), 4_000);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | type | is | held by |
//! |---|---|---|
//! | [`Mutex<T>`](Mutex) | a lock with its data | a thread |
//! | [`Lock`] | Python's `Lock`: anybody may release it | a process |
//! | [`RwLock<T>`](RwLock) | a lock with its data: many readers, or one writer | a writer's thread; a reader's process |
//! | [`RawLock`], [`RawLockUnpoisoned`] | what lock_api's types are made with | a thread |
//!
//! All are plain types, made by a `const fn`, that live in any `Shared<T>`, alone or as fields
//! of a struct that derives `Shareable`. Outside of one they work between threads.
//!
//! # States
//!
//! *free* → *held* → *free*, and beside that *in order* → *damaged* (its holder died) → *in
//! order* ([`mended`](MutexGuard::mended)). Who acquires a damaged lock holds it, and is told by
//! an error that carries the guard.
//!
//! # Invariants
//!
//! 1. A lock never stays with a dead holder: the kernel frees what threads hold, waiters free
//!    what processes hold.
//! 2. `damaged` is written under the lock, before anything else is done with it by who took
//!    it from the dead. Until then the lock itself says that its holder died.
//! 3. `damaged` is cleared by `mended` alone.
//!
//! # If a process dies here
//!
//! | type | killed | the others |
//! |---|---|---|
//! | `Mutex` | holding it, or in the middle of acquiring or releasing | the next one has it at once, [`OwnerDied`] |
//! | `Lock` | having acquired it last | the next one has it after about a millisecond, within a slice (50 ms) at the latest, `OwnerDied` |
//! | `RwLock` | writing | as `Mutex` |
//! | `RwLock` | reading | a waiting writer goes on after about a millisecond, and is told nothing: nothing was written |
//! | all | waiting | notice nothing; a wake-up that it took along costs a slice |
//! | all | between an `OwnerDied` and `mended` | the next one is told |
//!
//! *Dead* is said by the kernel (robust list, /proc), never by a clock: a holder that is
//! stopped holds on. What is held by a *thread* is also lost when that thread ends, or when
//! its process runs another program (`exec`); a [`Lock`] is not.
#![deny(unsafe_code)]

mod error;
mod lock;
mod mutex;
#[cfg(not(loom))]
mod raw;
mod rwlock;
mod word;

pub use error::{AcquireTimeoutError, NotHeld, OwnerDied, TryAcquireError};
pub use lock::{Lock, LockGuard};
pub use mutex::{Mutex, MutexGuard};
#[cfg(not(loom))]
pub use raw::{ApiMutex, RawLock, RawLockUnpoisoned};
pub use rwlock::{RwLock, RwLockReadGuard, RwLockWriteGuard};

#[doc(no_inline)]
pub use multiproc_core::guarded::PlainData;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
