use thiserror::Error;

/// Why a record was not put. Nothing of it is visible to anybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PutError {
    /// No room before the deadline.
    #[error("the ring is full")]
    Full,
    /// Nobody will read it, or the ring was shut down.
    #[error("the ring is closed")]
    Closed,
    /// Larger than the ring can ever hold.
    #[error("a record of {bytes} bytes does not fit: at most {most} do")]
    TooLarge {
        /// Bytes of the record.
        bytes: usize,
        /// Bytes that a record may have here.
        most: usize,
    },
    /// The system has no memory for the ring to grow.
    #[error("no memory for {bytes} more bytes")]
    NoMemory {
        /// Bytes that were to be allocated.
        bytes: usize,
    },
    /// Somebody wrote garbage into the shared memory.
    #[error("the ring's shared memory is corrupted")]
    Corrupted,
}

/// Why no record was had. None was consumed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum GetError {
    /// Nothing before the deadline.
    #[error("the ring is empty")]
    Empty,
    /// As many tasks are taken (or processes have taken some) as can be kept track of.
    #[error("too many tasks are taken at this moment")]
    TooManyTasks,
    /// The system has no memory to keep the task.
    #[error("no memory for {bytes} more bytes")]
    NoMemory {
        /// Bytes that were to be allocated.
        bytes: usize,
    },
    /// Nothing, and nobody will write any more.
    #[error("the ring is empty and closed")]
    Closed,
    /// Somebody wrote garbage into the shared memory.
    #[error("the ring's shared memory is corrupted")]
    Corrupted,
}
