use multiproc_message::{get_errors, put_errors};
use thiserror::Error;

pub use multiproc_core::ends::RegisterError;
pub use multiproc_segment::{OpenError, UnlinkError};

/// Why a queue was not made. Nothing is left behind.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CreateError {
    /// No such capacity.
    #[error("a queue holds 1 to 2147483647 messages, not {0}; an unbounded one is `unbounded()`")]
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

put_errors! {
    "queue":
    /// Why `put` did not put. The message comes back.
    #[doc(alias = "queue.ShutDown")]
    PutError {}
    /// Why `try_put` did not put. The message comes back.
    #[doc(alias = "queue.Full")]
    TryPutError {
        /// As many messages are queued as may be.
        Full("the queue is full")
    }
    /// Why `put_timeout` did not put. The message comes back.
    #[doc(alias = "queue.Full")]
    PutTimeoutError {
        /// Full until the deadline; a get would make room.
        Timeout("the queue was full until the deadline")
    }
}

get_errors! {
    "queue":
    /// Why `get` has no message.
    #[doc(alias = "queue.ShutDown")]
    GetError {}
    /// Why `try_get` has no message.
    #[doc(alias = "queue.Empty")]
    TryGetError {
        /// Nothing is queued.
        Empty("the queue is empty")
    }
    /// Why `get_timeout` has no message.
    #[doc(alias = "queue.Empty")]
    GetTimeoutError {
        /// Nothing came until the deadline.
        Timeout("nothing came until the deadline")
    }
}
