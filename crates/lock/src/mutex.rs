//! Data and its lock, in one.
#![allow(unsafe_code)]

use crate::error::{AcquireTimeoutError, OwnerDied, TryAcquireError};
use multiproc_core::deadline::Deadline;
use multiproc_core::guarded::{PlainCell, PlainData};
use multiproc_core::holder::Holder;
use multiproc_core::prim::{AtomicU32, Ordering::Relaxed};
use multiproc_core::robust::{RobustGuard, RobustLock};
use multiproc_core::{const_unless_loom, step, unless_broken};
#[cfg(not(loom))]
use multiproc_segment::Shareable;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

/// Mutual exclusion around data, between processes and threads.
///
/// ```rust,standalone_crate
/// use multiproc_lock::{Mutex, OwnerDied};
/// use multiproc_process::Process;
/// use multiproc_segment::Shared;
///
/// let pair = Shared::new(Mutex::new([0_u64, 0]))?;
/// let child = Process::start(|| {
///     let mut held = pair.lock().unwrap();
///     held[0] += 1; // and it ends before the second half is done
///     std::mem::forget(held);
/// })?;
/// let _ = child.join()?;
///
/// let Err(OwnerDied(mut held)) = pair.lock() else { panic!() };
/// held[1] = held[0];
/// held.mended(); // or the next one is told again
/// drop(held);
/// assert_eq!(*pair.lock().unwrap(), [1, 1]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # The data
///
/// [`PlainData`], so that whatever bytes another process leaves there are a `T`: garbage is
/// a wrong number, never undefined behaviour. `&T` and `&mut T` are given out under the lock,
/// and the compiler believes in them: peers are assumed to write there under the lock only.
///
/// # When the holder dies
///
/// The kernel frees the lock at once, and the next acquirer gets [`OwnerDied`], with the
/// guard. So does every later one, until a guard's [`mended`](MutexGuard::mended) is called:
/// nobody reads half-done data unawares because somebody else ignored the news. A panic is
/// no death: it unwinds, and the guard releases.
///
/// The holder is a *thread*, so its end is a death too, and so is `exec`. Fork: the child
/// does not hold what its parent holds, and its copy of a guard does nothing.
#[repr(C)]
#[cfg_attr(not(loom), derive(Shareable))]
pub struct Mutex<T> {
    lock: RobustLock,
    /// 1 = a holder died, and nobody has said `mended`. Written by the holder only.
    damaged: AtomicU32,
    data: PlainCell<T>,
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<Mutex<()>>() <= 64);

impl<T> Mutex<T> {
    const_unless_loom! {
        /// A free mutex around `value`.
        pub fn new(value: T) -> Self
        where
            T: PlainData,
        {
            Self { lock: RobustLock::new(), damaged: AtomicU32::new(0), data: PlainCell::new(value) }
        }
    }

    /// Takes the lock. *Blocks until* it is free. *Wakes when* its holder releases it. *If a
    /// peer dies* holding it, it is free at once, and the next one is told.
    ///
    /// Not re-entrant: a thread that holds it already waits for itself.
    ///
    /// # Errors
    ///
    /// [`OwnerDied`] hands the guard over.
    #[doc(alias = "acquire")]
    #[inline]
    pub fn lock(&self) -> Result<MutexGuard<'_, T>, OwnerDied<MutexGuard<'_, T>>> {
        loop {
            // A wait without a deadline does not time out.
            if let Ok(held) = self.lock.acquire(Deadline::NEVER) {
                return self.taken(held);
            }
        }
    }

    /// Takes the lock if it is free. Never blocks.
    ///
    /// # Errors
    ///
    /// [`TryAcquireError::Held`], or [`TryAcquireError::OwnerDied`] with the guard.
    #[inline]
    pub fn try_lock(&self) -> Result<MutexGuard<'_, T>, TryAcquireError<MutexGuard<'_, T>>> {
        match self.lock.try_acquire() {
            Some(held) => Ok(self.taken(held)?),
            None => Err(TryAcquireError::Held),
        }
    }

    /// Takes the lock within `timeout`. *Blocks until* it is free or the time is over. *Wakes
    /// when* its holder releases it. *If a peer dies*: as [`Mutex::lock`].
    ///
    /// # Errors
    ///
    /// [`AcquireTimeoutError::Timeout`], or [`AcquireTimeoutError::OwnerDied`] with the guard.
    #[inline]
    pub fn lock_timeout(
        &self,
        timeout: Duration,
    ) -> Result<MutexGuard<'_, T>, AcquireTimeoutError<MutexGuard<'_, T>>> {
        match self.lock.acquire(Deadline::after(timeout)) {
            Ok(held) => Ok(self.taken(held)?),
            Err(_) => Err(AcquireTimeoutError::Timeout),
        }
    }

    #[inline(always)]
    fn taken<'a>(
        &'a self,
        held: RobustGuard<'a>,
    ) -> Result<MutexGuard<'a, T>, OwnerDied<MutexGuard<'a, T>>> {
        if held.owner_died() {
            self.note_death();
        }
        // Relaxed, here and below: read and written by the holder; the lock orders.
        let damaged = self.damaged.load(Relaxed) != 0;
        let guard = MutexGuard { mutex: self, held };
        if damaged {
            Err(OwnerDied(guard))
        } else {
            Ok(guard)
        }
    }

    /// Before anything else is done with the lock: if this process dies before the store, the
    /// word says again that an owner died.
    #[cold]
    fn note_death(&self) {
        step!("mutex: taken from the dead");
        self.damaged
            .store(unless_broken!("mutex: note the death", 1, 0), Relaxed);
        step!("mutex: death noted");
    }

    /// Is it held, by whomever? Stale as soon as it is said.
    #[doc(alias = "locked")]
    pub fn is_locked(&self) -> bool {
        self.lock.is_held()
    }

    /// The data, of a mutex that nobody shares.
    pub fn get_mut(&mut self) -> &mut T {
        self.data.get_mut()
    }

    /// The data, of a mutex that nobody shares.
    pub fn into_inner(self) -> T {
        self.data.into_inner()
    }
}

impl<T: PlainData + Default> Default for Mutex<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T: PlainData> From<T> for Mutex<T> {
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

/// Says who holds it, and does not touch the data.
impl<T> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mutex({}", Holder::of(&self.lock))?;
        if self.damaged.load(Relaxed) != 0 {
            write!(f, ", not mended")?;
        }
        write!(f, ")")
    }
}

/// A held [`Mutex`]: its data. Released on drop, by the thread that acquired it.
#[must_use = "the lock is released when the guard is dropped"]
pub struct MutexGuard<'a, T> {
    mutex: &'a Mutex<T>,
    /// Makes the guard neither `Send` nor `Sync`.
    held: RobustGuard<'a>,
}

impl<'a, T> MutexGuard<'a, T> {
    /// The data is in order again: from the next acquirer on, nobody is told of the death.
    pub fn mended(&mut self) {
        step!("mutex: about to be mended");
        self.mutex.damaged.store(0, Relaxed);
        step!("mutex: mended");
    }

    /// Did a holder die, and nobody has said [`mended`](MutexGuard::mended) since?
    pub fn owner_died(&self) -> bool {
        self.mutex.damaged.load(Relaxed) != 0
    }

    /// The mutex that it holds: for a condition, which releases and acquires again.
    pub fn mutex(this: &Self) -> &'a Mutex<T> {
        this.mutex
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        let _ = &self.held;
        // SAFETY: `held` holds the lock, which every use of the cell is under: no other
        // guard exists in this process, and peers keep the protocol (see Mutex). Any bits are
        // a `T`. A dead holder's half-done stores are such bits.
        unsafe { &*self.mutex.data.get() }
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`; and this guard is borrowed mutably.
        unsafe { &mut *self.mutex.data.get() }
    }
}

impl<T: fmt::Debug> fmt::Debug for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: fmt::Display> fmt::Display for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
