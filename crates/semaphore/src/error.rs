use thiserror::Error;

/// No semaphore starts at this value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a semaphore starts at 0 to 2147483647, not {0}")]
pub struct ValueError(pub u32);

/// Why nothing was acquired, nor waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AcquireManyError {
    /// More than there can ever be.
    #[error("{n} cannot be acquired at once: this semaphore has {bound} at most")]
    AboveBound {
        /// So many were asked for.
        n: u32,
        /// So many there can be.
        bound: u32,
    },
}

/// Why nothing was released. The value is what it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ReleaseError {
    /// It would be more than a bounded semaphore started with.
    #[error("released more often than acquired: the bound is {bound}")]
    AboveBound {
        /// What it started with.
        bound: u32,
    },
    /// It would be more than any semaphore counts.
    #[error("a semaphore counts to 2147483647 at most")]
    Overflow,
}
