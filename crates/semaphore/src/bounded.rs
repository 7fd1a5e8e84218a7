//! The semaphore with a bound.

use crate::error::ValueError;
use crate::semaphore::{MOST, Semaphore};
use multiproc_core::const_unless_loom;
#[cfg(not(loom))]
use multiproc_segment::Shareable;
use std::fmt;
use std::ops::Deref;

/// A [`Semaphore`] that refuses to be released above the value it started with. All its
/// methods are the semaphore's.
#[doc(alias = "multiprocessing.BoundedSemaphore")]
#[cfg_attr(not(loom), derive(Shareable), shareable(crate = multiproc_segment))]
#[repr(transparent)]
pub struct BoundedSemaphore<const HOLDERS: usize = 64>(Semaphore<HOLDERS>);

impl BoundedSemaphore {
    const_unless_loom! {
        /// A semaphore that starts at `value` and stays at most there, with room for 64
        /// permits at a time.
        ///
        /// # Panics
        ///
        /// If `value` is above [`MOST`]; in a constant, that does not compile.
        pub fn new(value: u32) -> Self {
            Self::sized(value)
        }
    }

    const_unless_loom! {
        /// The same, with an error in place of the panic.
        ///
        /// # Errors
        ///
        /// [`ValueError`] if `value` is above [`MOST`].
        pub fn try_new(value: u32) -> Result<Self, ValueError> {
            Self::try_sized(value)
        }
    }
}

impl<const HOLDERS: usize> BoundedSemaphore<HOLDERS> {
    const_unless_loom! {
        /// A semaphore that starts at `value` and stays at most there.
        ///
        /// # Panics
        ///
        /// If `value` is above [`MOST`]; in a constant, that does not compile.
        pub fn sized(value: u32) -> Self {
            match Self::try_sized(value) {
                Ok(semaphore) => semaphore,
                Err(_) => panic!("a semaphore starts at 0 to 2147483647"),
            }
        }
    }

    const_unless_loom! {
        /// The same, with an error in place of the panic.
        ///
        /// # Errors
        ///
        /// [`ValueError`] if `value` is above [`MOST`].
        pub fn try_sized(value: u32) -> Result<Self, ValueError> {
            if value > MOST {
                return Err(ValueError(value));
            }
            Ok(Self(Semaphore::bounded_at(value, value)))
        }
    }
}

impl Default for BoundedSemaphore {
    /// One that starts at 1, as in Python.
    fn default() -> Self {
        Self::new(1)
    }
}

impl<const HOLDERS: usize> Deref for BoundedSemaphore<HOLDERS> {
    type Target = Semaphore<HOLDERS>;

    fn deref(&self) -> &Semaphore<HOLDERS> {
        &self.0
    }
}

impl<const HOLDERS: usize> fmt::Debug for BoundedSemaphore<HOLDERS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoundedSemaphore")
            .field("value", &self.value())
            .field("bound", &self.0.bound())
            .finish_non_exhaustive()
    }
}
