//! What a condition asks of a lock.

use multiproc_core::deadline::Deadline;
use multiproc_core::robust::{RobustGuard, RobustLock};

/// A held lock that a wait can give up and get back: a guard, or (as Python has it) a
/// reference to a lock on which the caller has said `acquire`.
pub trait Lockable: Sized {
    /// What is left of it meanwhile: the lock, and how often it was held.
    type Released;

    /// Does the caller hold it? A guard is the proof.
    fn is_held(&self) -> bool {
        true
    }

    /// Releases it, all levels of a recursive one.
    fn release_all(self) -> Self::Released;

    /// *Blocks until* the lock is free, and takes it as often as it was held. *Wakes when* its
    /// holder releases it. *If a peer dies* holding it, the lock is free.
    ///
    /// # Errors
    ///
    /// The guard too: its last owner died.
    fn restore(released: Self::Released) -> Result<Self, Self>;
}

impl<'a> Lockable for RobustGuard<'a> {
    type Released = &'a RobustLock;

    fn release_all(self) -> &'a RobustLock {
        self.lock()
    }

    fn restore(lock: &'a RobustLock) -> Result<Self, Self> {
        loop {
            // Without a deadline there is no timeout.
            match lock.acquire(Deadline::NEVER) {
                Ok(guard) if guard.owner_died() => return Err(guard),
                Ok(guard) => return Ok(guard),
                Err(_) => {}
            }
        }
    }
}

#[cfg(not(loom))]
mod locks {
    use super::Lockable;
    use multiproc_lock::{Lock, Mutex, MutexGuard, OwnerDied};
    use multiproc_rlock::{Levels, RLock, RLockGuard};

    impl<'a, T> Lockable for MutexGuard<'a, T> {
        type Released = &'a Mutex<T>;

        fn release_all(self) -> &'a Mutex<T> {
            MutexGuard::mutex(&self)
        }

        fn restore(mutex: &'a Mutex<T>) -> Result<Self, Self> {
            mutex.lock().map_err(OwnerDied::into_guard)
        }
    }

    impl<'a> Lockable for &'a Lock {
        type Released = &'a Lock;

        fn is_held(&self) -> bool {
            self.is_locked()
        }

        fn release_all(self) -> &'a Lock {
            // An error: somebody else has released it, as anybody may.
            let _ = self.release();
            self
        }

        fn restore(lock: &'a Lock) -> Result<Self, Self> {
            match lock.acquire() {
                Ok(()) => Ok(lock),
                Err(OwnerDied(guard)) => {
                    guard.keep();
                    Err(lock)
                }
            }
        }
    }

    impl<'a> Lockable for &'a RLock {
        type Released = (&'a RLock, Option<Levels>);

        fn is_held(&self) -> bool {
            self.is_mine()
        }

        fn release_all(self) -> Self::Released {
            (self, self.release_all_levels())
        }

        fn restore((lock, levels): Self::Released) -> Result<Self, Self> {
            match levels.map_or(Ok(()), |levels| lock.restore(levels)) {
                Ok(()) => Ok(lock),
                Err(_) => Err(lock),
            }
        }
    }

    trait ReleaseAll {
        fn release_all_levels(&self) -> Option<Levels>;
    }

    impl ReleaseAll for RLock {
        fn release_all_levels(&self) -> Option<Levels> {
            RLock::release_all(self).ok()
        }
    }

    impl<'a> Lockable for RLockGuard<'a> {
        type Released = (&'a RLock, Option<Levels>);

        fn release_all(self) -> Self::Released {
            let lock = RLockGuard::rlock(&self);
            self.keep();
            (lock, lock.release_all_levels())
        }

        fn restore(released: Self::Released) -> Result<Self, Self> {
            let lock = released.0;
            let restored = <&RLock>::restore(released);
            // A guard for one of the levels that are back.
            let guard = lock.lock().unwrap_or_else(OwnerDied::into_guard);
            let _ = lock.release();
            match restored {
                Ok(_) => Ok(guard),
                Err(_) => Err(guard),
            }
        }
    }
}
