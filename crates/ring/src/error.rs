#[cfg(not(loom))]
use multiproc_core::courier::MOST_DESCRIPTORS;
use thiserror::Error;

#[cfg(loom)]
const MOST_DESCRIPTORS: usize = 253;

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
    /// The record's descriptors cannot go with it.
    #[error("{0}")]
    Carry(CarryError),
    /// Somebody wrote garbage into the shared memory.
    #[error("the ring's shared memory is corrupted")]
    Corrupted,
}

/// Why descriptors do not travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CarryError {
    /// The ring was made without a courier, or opened by name: nothing here can carry
    /// descriptors.
    #[error(
        "handles and descriptors cannot travel through an object that was opened by name or made without a courier"
    )]
    NoCourier,
    /// More than the kernel sends at once.
    #[error("a message carries at most {MOST_DESCRIPTORS} descriptors, not {0}")]
    TooMany(usize),
    /// The user's limit of descriptors that are on their way is reached (`RLIMIT_NOFILE`).
    #[error("too many descriptors are on their way at this moment")]
    TooManyOnTheirWay,
    /// The kernel refused; an error number.
    #[error("the descriptors cannot be sent: {}", std::io::Error::from_raw_os_error(*.0))]
    Refused(i32),
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
    /// The record has descriptors, and this process can have no more. Nothing was consumed.
    #[error("no descriptors left for those that came with the record")]
    NoDescriptors,
    /// Nothing, and nobody will write any more.
    #[error("the ring is empty and closed")]
    Closed,
    /// Somebody wrote garbage into the shared memory.
    #[error("the ring's shared memory is corrupted")]
    Corrupted,
}
