//! The lock with its data.
#![allow(unsafe_code)]

use crate::rlock::{RLock, RLockGuard};
use multiproc_core::const_unless_loom;
use multiproc_core::guarded::{PlainCell, PlainData};
use multiproc_lock::{AcquireTimeoutError, OwnerDied, TryAcquireError};
#[cfg(not(loom))]
use multiproc_segment::Shareable;
use std::cell::Cell;
use std::fmt;
use std::ops::Deref;
use std::time::Duration;

/// A recursive lock around data, between processes and threads.
///
/// The holder may hold several guards, so none gives `&mut T`: they give `&Cell<T>`, with
/// `get`, `set` and `replace`, and `as_array_of_cells` for arrays.
///
/// ```rust,standalone_crate
/// use multiproc_process::Process;
/// use multiproc_rlock::ReentrantMutex;
/// use multiproc_segment::Shared;
///
/// fn add(total: &ReentrantMutex<u64>, n: u64) {
///     let held = total.lock().unwrap();
///     held.set(held.get() + n);
/// }
///
/// let total = Shared::new(ReentrantMutex::new(0))?;
/// let child = Process::start(|| {
///     let both = total.lock().unwrap(); // nobody sees the sum in between
///     add(&total, 1);
///     add(&total, 1);
///     drop(both);
/// })?;
/// assert!(child.join()?.success());
/// assert_eq!(total.lock().unwrap().get(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// The data is [`PlainData`], and peers are assumed to write it under the lock only, as in
/// a `Mutex`.
#[repr(C)]
#[cfg_attr(not(loom), derive(Shareable))]
pub struct ReentrantMutex<T> {
    lock: RLock,
    data: PlainCell<T>,
}

impl<T> ReentrantMutex<T> {
    const_unless_loom! {
        /// A free mutex around `value`.
        pub fn new(value: T) -> Self
        where
            T: PlainData,
        {
            Self { lock: RLock::new(), data: PlainCell::new(value) }
        }
    }

    /// Takes the lock, once more if this thread holds it. *Blocks until* no other thread
    /// holds it. *Wakes when* that one drops its last guard. *If a peer dies* holding it, it
    /// is free at once, and the next one is told.
    ///
    /// # Errors
    ///
    /// [`OwnerDied`] hands the guard over.
    #[inline]
    pub fn lock(&self) -> Result<ReentrantGuard<'_, T>, OwnerDied<ReentrantGuard<'_, T>>> {
        match self.lock.lock() {
            Ok(held) => Ok(self.guard(held)),
            Err(OwnerDied(held)) => Err(OwnerDied(self.guard(held))),
        }
    }

    /// Takes the lock if no other thread holds it. Never blocks.
    ///
    /// # Errors
    ///
    /// [`TryAcquireError::Held`], or [`TryAcquireError::OwnerDied`] with the guard.
    pub fn try_lock(
        &self,
    ) -> Result<ReentrantGuard<'_, T>, TryAcquireError<ReentrantGuard<'_, T>>> {
        match self.lock.try_lock() {
            Ok(held) => Ok(self.guard(held)),
            Err(error) => Err(match error.into_guard() {
                Some(held) => TryAcquireError::OwnerDied(self.guard(held)),
                None => TryAcquireError::Held,
            }),
        }
    }

    /// Takes the lock within `timeout`. *Blocks until* no other thread holds it or the time
    /// is over; *wakes* and *if a peer dies*: as [`ReentrantMutex::lock`].
    ///
    /// # Errors
    ///
    /// [`AcquireTimeoutError::Timeout`], or [`AcquireTimeoutError::OwnerDied`] with the guard.
    pub fn lock_timeout(
        &self,
        timeout: Duration,
    ) -> Result<ReentrantGuard<'_, T>, AcquireTimeoutError<ReentrantGuard<'_, T>>> {
        match self.lock.lock_timeout(timeout) {
            Ok(held) => Ok(self.guard(held)),
            Err(error) => Err(match error.into_guard() {
                Some(held) => AcquireTimeoutError::OwnerDied(self.guard(held)),
                None => AcquireTimeoutError::Timeout,
            }),
        }
    }

    /// Is it held, by whomever? Stale as soon as it is said.
    #[doc(alias = "locked")]
    pub fn is_locked(&self) -> bool {
        self.lock.is_locked()
    }

    /// How many guards the calling thread holds.
    pub fn count(&self) -> u64 {
        self.lock.count()
    }

    /// The data, of a mutex that nobody shares.
    pub fn get_mut(&mut self) -> &mut T {
        self.data.get_mut()
    }

    /// The data, of a mutex that nobody shares.
    pub fn into_inner(self) -> T {
        self.data.into_inner()
    }

    #[inline]
    fn guard<'a>(&'a self, held: RLockGuard<'a>) -> ReentrantGuard<'a, T> {
        ReentrantGuard { mutex: self, held }
    }
}

impl<T: PlainData + Default> Default for ReentrantMutex<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T: PlainData> From<T> for ReentrantMutex<T> {
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

/// Says who holds it, and does not touch the data.
impl<T> fmt::Debug for ReentrantMutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ReentrantMutex").field(&self.lock).finish()
    }
}

/// One acquisition of a [`ReentrantMutex`]: a cell with its data. Released on drop.
#[must_use = "the lock is released when the guard is dropped"]
pub struct ReentrantGuard<'a, T> {
    mutex: &'a ReentrantMutex<T>,
    /// Makes the guard neither `Send` nor `Sync`.
    held: RLockGuard<'a>,
}

impl<T> ReentrantGuard<'_, T> {
    /// The data is in order again: from the next acquirer on, nobody is told of the death.
    pub fn mended(&mut self) {
        self.held.mended();
    }

    /// Did a holder die, and nobody has said [`mended`](ReentrantGuard::mended) since?
    pub fn owner_died(&self) -> bool {
        self.held.owner_died()
    }
}

impl<T> Deref for ReentrantGuard<'_, T> {
    type Target = Cell<T>;

    #[inline]
    fn deref(&self) -> &Cell<T> {
        // SAFETY: this thread holds the lock as long as the guard lives, and the cell does not
        // leave it (neither is `Sync`). Nobody else in this process looks at the data, peers
        // keep the protocol, and all that this thread has of it are such cells. A `Cell<T>`
        // lies as a `T` does, any bits of which are one.
        unsafe { &*self.mutex.data.get().cast::<Cell<T>>() }
    }
}

impl<T: Copy + fmt::Debug> fmt::Debug for ReentrantGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}
