use crate::codec::{GetFailure, PutFailure};
use multiproc_ring::{GetError as RingGetError, PutError as RingPutError};
use std::fmt;
use thiserror::Error;

pub use multiproc_core::ends::EndError as RegisterError;
pub use multiproc_segment::{OpenError, UnlinkError};

/// Why a queue was not made. Nothing is left behind.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CreateError {
    /// No such capacity.
    #[error("a queue holds 1 to 2147483647 messages, not {0}")]
    Capacity(usize),
    /// Its memory was not to be had.
    #[error(transparent)]
    Segment(#[from] multiproc_segment::CreateError),
}

/// Why neither opening nor creating worked.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenOrCreateError {
    /// It is there and could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// It is not there and could not be made.
    #[error(transparent)]
    Create(#[from] CreateError),
}

macro_rules! put_errors {
    ($(
        $(#[$meta:meta])*
        $name:ident { $($(#[$extra_meta:meta])* $extra:ident($text:literal)),* }
    )*) => {$(
        $(#[$meta])*
        #[derive(Error)]
        #[non_exhaustive]
        pub enum $name<T> {
            $($(#[$extra_meta])* #[error($text)] $extra(T),)*
            /// This process closed the queue, it was shut down, or every registered
            /// consumer has closed or died.
            #[error("the queue is closed")]
            Closed(T),
            /// The message could not be encoded, or handles in it cannot travel through this
            /// queue.
            #[error("the message could not be encoded: {why}")]
            Encode {
                /// The message.
                message: T,
                /// The codec's reason.
                why: String,
            },
            /// The encoded message is larger than the queue can ever hold.
            #[error("a message of {bytes} bytes does not fit: at most {most} do")]
            TooLarge {
                /// The message.
                message: T,
                /// Its bytes.
                bytes: usize,
                /// Bytes that fit.
                most: usize,
            },
            /// The system has no memory for the queue to grow.
            #[error("no memory for {bytes} more bytes")]
            NoMemory {
                /// The message.
                message: T,
                /// Bytes that were to be allocated.
                bytes: usize,
            },
            /// Somebody wrote garbage into the shared memory.
            #[error("the queue's shared memory is corrupted")]
            Corrupted(T),
        }

        impl<T> $name<T> {
            /// The message that was not put.
            pub fn into_message(self) -> T {
                match self {
                    $(Self::$extra(message) |)*
                    Self::Closed(message)
                    | Self::Encode { message, .. }
                    | Self::TooLarge { message, .. }
                    | Self::NoMemory { message, .. }
                    | Self::Corrupted(message) => message,
                }
            }

            /// The error alone; the message is dropped.
            pub fn without_message(self) -> $name<()> {
                match self {
                    $(Self::$extra(_) => $name::$extra(()),)*
                    Self::Closed(_) => $name::Closed(()),
                    Self::Encode { why, .. } => $name::Encode { message: (), why },
                    Self::TooLarge { bytes, most, .. } => {
                        $name::TooLarge { message: (), bytes, most }
                    }
                    Self::NoMemory { bytes, .. } => $name::NoMemory { message: (), bytes },
                    Self::Corrupted(_) => $name::Corrupted(()),
                }
            }

            pub(crate) fn new(message: T, failure: PutFailure) -> Self {
                match failure {
                    PutFailure::Encode(why) => Self::Encode { message, why },
                    PutFailure::Ring(RingPutError::Full) => put_errors!(@full $name message $($extra)*),
                    PutFailure::Ring(RingPutError::TooLarge { bytes, most }) => {
                        Self::TooLarge { message, bytes, most }
                    }
                    PutFailure::Ring(RingPutError::NoMemory { bytes }) => {
                        Self::NoMemory { message, bytes }
                    }
                    PutFailure::Ring(RingPutError::Carry(why)) => {
                        Self::Encode { message, why: why.to_string() }
                    }
                    PutFailure::Ring(RingPutError::Corrupted) => Self::Corrupted(message),
                    PutFailure::Ring(_) => Self::Closed(message),
                }
            }
        }

        impl<T> fmt::Debug for $name<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }
    )*};
    // A put that waits for ever does not end for want of room.
    (@full $name:ident $message:ident) => { $name::Closed($message) };
    (@full $name:ident $message:ident $extra:ident) => { $name::$extra($message) };
}

put_errors! {
    /// Why `put` did not put. The message comes back.
    PutError {}
    /// Why `try_put` did not put. The message comes back.
    TryPutError {
        /// As many messages are queued as may be.
        Full("the queue is full")
    }
    /// Why `put_timeout` did not put. The message comes back.
    PutTimeoutError {
        /// Full until the deadline; a get would make room.
        Timeout("the queue was full until the deadline")
    }
}

macro_rules! get_errors {
    ($(
        $(#[$meta:meta])*
        $name:ident { $($(#[$extra_meta:meta])* $extra:ident($text:literal)),* }
    )*) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, Error)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$extra_meta])* #[error($text)] $extra,)*
            /// Nothing is left, and nothing will come: this process closed the queue, it was
            /// shut down, or every registered producer has closed or died.
            #[error("the queue is closed")]
            Closed,
            /// A message came that is none of this type. It is consumed.
            #[error("the message could not be decoded: {0}")]
            Decode(String),
            /// As many tasks are in work as can be kept track of. Nothing was consumed.
            #[error("too many tasks are in work at this moment")]
            TooManyTasks,
            /// The message has descriptors, and this process can have no more. Nothing was
            /// consumed.
            #[error("no descriptors left for those that came with the message")]
            NoDescriptors,
            /// The system has no memory to keep the task. Nothing was consumed.
            #[error("no memory for {bytes} more bytes")]
            NoMemory {
                /// Bytes that were to be allocated.
                bytes: usize,
            },
            /// Somebody wrote garbage into the shared memory.
            #[error("the queue's shared memory is corrupted")]
            Corrupted,
        }

        impl From<GetFailure> for $name {
            fn from(failure: GetFailure) -> Self {
                match failure {
                    GetFailure::Decode(why) => Self::Decode(why),
                    GetFailure::Ring(RingGetError::Corrupted) => Self::Corrupted,
                    GetFailure::Ring(RingGetError::TooManyTasks) => Self::TooManyTasks,
                    GetFailure::Ring(RingGetError::NoDescriptors) => Self::NoDescriptors,
                    GetFailure::Ring(RingGetError::NoMemory { bytes }) => Self::NoMemory { bytes },
                    $(GetFailure::Ring(RingGetError::Empty) => Self::$extra,)*
                    GetFailure::Ring(_) => Self::Closed,
                }
            }
        }
    )*};
}

get_errors! {
    /// Why `get` has no message.
    GetError {}
    /// Why `try_get` has no message.
    TryGetError {
        /// Nothing is queued.
        Empty("the queue is empty")
    }
    /// Why `get_timeout` has no message.
    GetTimeoutError {
        /// Nothing came until the deadline.
        Timeout("nothing came until the deadline")
    }
}
