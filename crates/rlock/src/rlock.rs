//! The lock and its count.

use multiproc_core::deadline::Deadline;
use multiproc_core::holder::{Holder, ThreadLock};
use multiproc_core::prim::{AtomicU32, AtomicU64, Ordering::Relaxed};
use multiproc_core::{const_unless_loom, step};
use multiproc_lock::{AcquireTimeoutError, OwnerDied, TryAcquireError};
#[cfg(not(loom))]
use multiproc_segment::Shareable;
use std::fmt;
use std::marker::PhantomData;
use std::num::NonZeroU64;
use std::time::Duration;
use thiserror::Error;

/// Why a release was refused. The lock is as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ReleaseError {
    /// It is free: one release too many.
    #[error("the lock is not held")]
    NotHeld,
    /// Another thread holds it, of this process or of another.
    #[error("the lock is {0}, not by this thread")]
    NotOwner(Holder),
}

/// Python's `RLock`: mutual exclusion that its holder passes freely, between processes and
/// threads.
///
/// The holder is a thread of a process; it releases as often as it acquired. A forked child
/// does not hold what its parent holds.
///
/// ```
/// use multiproc_rlock::RLock;
///
/// static LOCK: RLock = RLock::new();
/// LOCK.acquire()?;
/// LOCK.acquire()?;
/// LOCK.release()?;
/// assert!(LOCK.is_locked());
/// LOCK.release()?;
/// assert!(LOCK.release().is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[doc(alias = "multiprocessing.RLock")]
#[repr(C)]
#[cfg_attr(not(loom), derive(Shareable))]
pub struct RLock {
    lock: ThreadLock,
    // Relaxed throughout, both: the holder's own; the lock orders. Others look for show.
    count: AtomicU64,
    damaged: AtomicU32,
    unused: AtomicU32,
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<RLock>() <= 64);

/// How often a thread held a lock that it gave up wholly; see [`RLock::release_all`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "to be restored"]
pub struct Levels(NonZeroU64);

impl Levels {
    /// The number.
    pub fn get(self) -> u64 {
        self.0.get()
    }
}

impl RLock {
    const_unless_loom! {
        /// A free lock.
        pub fn new() -> Self {
            Self {
                lock: ThreadLock::new(),
                count: AtomicU64::new(0),
                damaged: AtomicU32::new(0),
                unused: AtomicU32::new(0),
            }
        }
    }

    /// Takes the lock, once more if this thread holds it: to be given up by
    /// [`RLock::release`]. *Blocks until* no other thread holds it. *Wakes when* that one's
    /// last release comes. *If a peer dies* holding it, it is free at once, and the next one
    /// is told.
    ///
    /// # Errors
    ///
    /// [`OwnerDied`] with a guard: to hold on without one, [`RLockGuard::keep`] it. Taking it
    /// once more is no error: the holder knows.
    #[inline]
    pub fn acquire(&self) -> Result<(), OwnerDied<RLockGuard<'_>>> {
        loop {
            // A wait without a deadline does not time out.
            if let Some(told) = self.take(|| self.lock.acquire(Deadline::NEVER).ok()) {
                return told;
            }
        }
    }

    /// Takes the lock if no other thread holds it. Never blocks.
    ///
    /// # Errors
    ///
    /// [`TryAcquireError::Held`], or [`TryAcquireError::OwnerDied`] as [`RLock::acquire`].
    #[inline]
    pub fn try_acquire(&self) -> Result<(), TryAcquireError<RLockGuard<'_>>> {
        let told = self.take(|| self.lock.try_acquire());
        Ok(told.ok_or(TryAcquireError::Held)??)
    }

    /// Takes the lock within `timeout`. *Blocks until* no other thread holds it or the time
    /// is over; *wakes* and *if a peer dies*: as [`RLock::acquire`].
    ///
    /// # Errors
    ///
    /// [`AcquireTimeoutError::Timeout`], or [`AcquireTimeoutError::OwnerDied`] as
    /// [`RLock::acquire`].
    #[inline]
    pub fn acquire_timeout(
        &self,
        timeout: Duration,
    ) -> Result<(), AcquireTimeoutError<RLockGuard<'_>>> {
        let told = self.take(|| self.lock.acquire(Deadline::after(timeout)).ok());
        Ok(told.ok_or(AcquireTimeoutError::Timeout)??)
    }

    /// [`RLock::acquire`], released once when the guard is dropped. *Blocks*, *wakes* and *if
    /// a peer dies*: as there.
    ///
    /// # Errors
    ///
    /// [`OwnerDied`] with the guard.
    #[doc(alias = "__enter__")]
    #[inline]
    pub fn lock(&self) -> Result<RLockGuard<'_>, OwnerDied<RLockGuard<'_>>> {
        self.acquire()?;
        Ok(RLockGuard::of(self))
    }

    /// [`RLock::try_acquire`], released once when the guard is dropped.
    ///
    /// # Errors
    ///
    /// As [`RLock::try_acquire`].
    #[inline]
    pub fn try_lock(&self) -> Result<RLockGuard<'_>, TryAcquireError<RLockGuard<'_>>> {
        self.try_acquire()?;
        Ok(RLockGuard::of(self))
    }

    /// [`RLock::acquire_timeout`], released once when the guard is dropped. *Blocks*, *wakes*
    /// and *if a peer dies*: as there.
    ///
    /// # Errors
    ///
    /// As [`RLock::acquire_timeout`].
    #[inline]
    pub fn lock_timeout(
        &self,
        timeout: Duration,
    ) -> Result<RLockGuard<'_>, AcquireTimeoutError<RLockGuard<'_>>> {
        self.acquire_timeout(timeout)?;
        Ok(RLockGuard::of(self))
    }

    /// Takes back one acquisition of the calling thread; the last one frees the lock.
    ///
    /// # Errors
    ///
    /// [`ReleaseError`]: this thread does not hold it. Nothing is changed.
    #[inline]
    pub fn release(&self) -> Result<(), ReleaseError> {
        if !self.is_mine() {
            return Err(self.refused());
        }
        match self.count.load(Relaxed) {
            // 0: a peer's scribble.
            0 | 1 => self.free(),
            more => {
                self.count.store(more - 1, Relaxed);
                step!("rlock: counted down");
            }
        }
        Ok(())
    }

    /// Is it held, by whomever? Stale as soon as it is said.
    #[doc(alias = "locked")]
    pub fn is_locked(&self) -> bool {
        self.lock.is_held()
    }

    /// Does the calling thread hold it?
    #[inline]
    #[doc(alias = "_is_owned")]
    pub fn is_mine(&self) -> bool {
        self.lock.is_mine()
    }

    /// How often the calling thread holds it; 0 if another one does, or nobody.
    pub fn count(&self) -> u64 {
        if self.is_mine() {
            self.count.load(Relaxed)
        } else {
            0
        }
    }

    /// What the lock stands for is in order again: as [`RLockGuard::mended`], for those who
    /// hold it without a guard.
    ///
    /// # Errors
    ///
    /// [`ReleaseError`]: this thread does not hold it. Nothing is changed.
    pub fn mended(&self) -> Result<(), ReleaseError> {
        if !self.is_mine() {
            return Err(self.refused());
        }
        self.damaged.store(0, Relaxed);
        step!("rlock: mended");
        Ok(())
    }

    /// Frees the lock however often this thread holds it, as a wait for a condition does;
    /// [`RLock::restore`] with what this gives takes it back as often.
    ///
    /// # Errors
    ///
    /// [`ReleaseError`]: this thread does not hold it.
    pub fn release_all(&self) -> Result<Levels, ReleaseError> {
        if !self.is_mine() {
            return Err(self.refused());
        }
        let levels = NonZeroU64::new(self.count.load(Relaxed)).unwrap_or(NonZeroU64::MIN);
        self.free();
        Ok(Levels(levels))
    }

    /// Takes the lock as often as it was held before [`RLock::release_all`]. *Blocks*, *wakes*
    /// and *if a peer dies*: as [`RLock::acquire`].
    ///
    /// # Errors
    ///
    /// [`OwnerDied`] of nothing: a holder died meanwhile. The lock is held as often as asked,
    /// and released by releases.
    pub fn restore(&self, levels: Levels) -> Result<(), OwnerDied<()>> {
        let told = self.acquire();
        // Also when it was not free of this thread: then they add up.
        let others = self.count.load(Relaxed).saturating_sub(1);
        self.count
            .store(others.saturating_add(levels.get()), Relaxed);
        step!("rlock: restored");
        match told {
            Ok(()) => Ok(()),
            Err(OwnerDied(guard)) => {
                guard.keep();
                Err(OwnerDied(()))
            }
        }
    }

    /// `None`: not taken.
    #[inline]
    fn take(
        &self,
        acquire: impl FnOnce() -> Option<bool>,
    ) -> Option<Result<(), OwnerDied<RLockGuard<'_>>>> {
        if self.is_mine() {
            self.count
                .store(self.count.load(Relaxed).saturating_add(1), Relaxed);
            step!("rlock: counted up");
            return Some(Ok(()));
        }
        let owner_died = acquire()?;
        if owner_died {
            step!("rlock: taken from the dead");
            self.damaged.store(1, Relaxed);
        }
        step!("rlock: taken, not counted");
        self.count.store(1, Relaxed);
        step!("rlock: held");
        let damaged = self.damaged.load(Relaxed) != 0;
        Some(if damaged {
            Err(OwnerDied(RLockGuard::of(self)))
        } else {
            Ok(())
        })
    }

    #[inline]
    fn free(&self) {
        self.count.store(0, Relaxed);
        step!("rlock: counted down to 0");
        self.lock.release();
        step!("rlock: free");
    }

    #[cold]
    fn refused(&self) -> ReleaseError {
        match self.lock.holder() {
            Holder::Nobody | Holder::Died => ReleaseError::NotHeld,
            holder => ReleaseError::NotOwner(holder),
        }
    }

    pub(crate) fn is_damaged(&self) -> bool {
        self.damaged.load(Relaxed) != 0
    }
}

impl Default for RLock {
    fn default() -> Self {
        Self::new()
    }
}

/// Says who holds it, and how often, as far as that is known here.
impl fmt::Debug for RLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let holder = self.lock.holder();
        write!(f, "RLock({holder}, count ")?;
        match holder {
            Holder::Nobody | Holder::Died => write!(f, "0")?,
            Holder::ThisThread => write!(f, "{}", self.count.load(Relaxed))?,
            _ => write!(f, "nonzero")?,
        }
        if self.is_damaged() {
            write!(f, ", not mended")?;
        }
        write!(f, ")")
    }
}

/// One acquisition of an [`RLock`]; released on drop, by the thread that acquired it.
#[must_use = "the lock is released when the guard is dropped"]
pub struct RLockGuard<'a> {
    lock: &'a RLock,
    /// Neither `Send` nor `Sync`: it is the thread that holds.
    thread: PhantomData<*const ()>,
}

impl<'a> RLockGuard<'a> {
    fn of(lock: &'a RLock) -> Self {
        Self {
            lock,
            thread: PhantomData,
        }
    }

    /// What the lock stands for is in order again: from the next acquirer on, nobody is told
    /// of the death.
    pub fn mended(&mut self) {
        // Not ours any more: released behind the guard's back, and nothing to say.
        let _ = self.lock.mended();
    }

    /// Did a holder die, and nobody has said [`mended`](RLockGuard::mended) since?
    pub fn owner_died(&self) -> bool {
        self.lock.is_damaged()
    }

    /// The lock that it holds: for a condition, which releases and acquires again.
    pub fn rlock(this: &Self) -> &'a RLock {
        this.lock
    }

    /// Goes on holding the lock without the guard: until [`RLock::release`].
    pub fn keep(self) {
        std::mem::forget(self);
    }
}

impl Drop for RLockGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        // Released behind the guard's back, or the copy of a forked child: nothing to do.
        let _ = self.lock.release();
    }
}

impl fmt::Debug for RLockGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RLockGuard")
            .field("lock", self.lock)
            .finish()
    }
}
