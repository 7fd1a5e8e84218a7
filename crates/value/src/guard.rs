//! The guard over plain data: exclusive access, as long as the lock is held.
#![allow(unsafe_code)]

use multiproc_lock::MutexGuard;
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

/// Exclusive access to what a [`crate::Value`] (`T`) or an [`crate::Array`] (`[T]`) holds.
/// The lock is released on drop, by the thread that acquired it.
///
/// It stands for the protocol: everybody who writes holds the lock. A peer that has the
/// segment and writes without it breaks what this reference promises; give segments only to
/// those that you would give your process's memory to.
#[must_use = "the lock is released when the guard is dropped"]
pub struct Guard<'a, T: ?Sized> {
    // Not a reference: a guard passed to a function, `drop` say, is no longer exclusive when
    // the function has released the lock.
    data: NonNull<T>,
    held: MutexGuard<'a, ()>,
    lifetime: PhantomData<&'a mut T>,
}

impl<'a, T: ?Sized> Guard<'a, T> {
    /// A guard over what `view` finds while the lock is held; without it, `held` comes back.
    #[inline]
    pub(crate) fn new(
        mut held: MutexGuard<'a, ()>,
        view: impl for<'h> FnOnce(&'h mut MutexGuard<'a, ()>) -> Option<&'h mut T>,
    ) -> Result<Self, MutexGuard<'a, ()>> {
        match view(&mut held).map(NonNull::from) {
            Some(data) => Ok(Self {
                data,
                held,
                lifetime: PhantomData,
            }),
            None => Err(held),
        }
    }

    /// The data is in order again: from the next acquirer on, nobody is told of the death.
    pub fn mended(&mut self) {
        self.held.mended();
    }

    /// Did a holder die, and nobody has mended the data since?
    pub fn owner_died(&self) -> bool {
        self.held.owner_died()
    }
}

impl<T: ?Sized> Deref for Guard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: made from an exclusive reference that was valid while `held` is, and `held`
        // lives as long as `self`. Its bytes were checked to be a `T` when the lock was taken,
        // after the last holder's end, however it ended; since then only we write (or a peer
        // that breaks the protocol, see above).
        unsafe { self.data.as_ref() }
    }
}

impl<T: ?Sized> DerefMut for Guard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`; exclusive, as `self` is.
        unsafe { self.data.as_mut() }
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for Guard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl<T: ?Sized + fmt::Display> fmt::Display for Guard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&**self, f)
    }
}
