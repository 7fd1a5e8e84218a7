//! Queues in tasks of tokio (feature `tokio`).

use crate::codec::{Codec, GetFailure, PutFailure};
use crate::ends::{Consumer, Producer};
use crate::error::{GetError, PutError};
use crate::queue::Queue;
use multiproc_core::deadline::Deadline;
use multiproc_message::asynchronous::{got, put};
use multiproc_ring::{GetError as RingGetError, PutError as RingPutError};

/// `None` where nothing is there.
fn found<T>(got: Result<T, GetFailure>) -> Option<Result<T, GetError>> {
    match got {
        Err(GetFailure::Ring(RingGetError::Empty)) => None,
        other => Some(other.map_err(GetError::from)),
    }
}

/// Attempts to put a message, until one does. They own it, so that the future is `Send` where the
/// message is.
fn attempts<T>(
    message: T,
    put: impl Fn(&T) -> Result<(), PutFailure>,
) -> impl FnMut() -> Option<Result<(), PutError<T>>> {
    let mut message = Some(message);
    move || {
        let done = put(message.as_ref()?);
        match done {
            Ok(()) => Some(Ok(())),
            Err(PutFailure::Ring(RingPutError::Full)) => None,
            Err(other) => Some(Err(PutError::new(message.take()?, other))),
        }
    }
}

impl<T, C: Codec<T>> Queue<T, C> {
    /// Takes the oldest message, as [`Queue::get`], without holding the thread up.
    ///
    /// *Waits until* there is one. *Wakes when* a writer puts one. *If a peer dies*: as
    /// [`Queue::get`].
    ///
    /// Cancel-safe: nothing was taken by a future that is dropped before it completes. It stops
    /// for the moment in which another process takes a message, as [`Queue::try_get`] does. A
    /// queue that was opened by name has nothing that could ring: it is looked at every 2 ms.
    ///
    /// # Errors
    ///
    /// See [`GetError`].
    ///
    /// # Panics
    ///
    /// Where it has to wait outside of a tokio runtime that has both its I/O and its time enabled.
    #[cfg_attr(docsrs, doc(cfg(feature = "tokio")))]
    pub async fn get_async(&self) -> Result<T, GetError> {
        got(self, || found(self.get_by(Deadline::NOW, &|_| false))).await
    }

    /// Puts a message, as [`Queue::put`], without holding the thread up.
    ///
    /// *Waits until* there is room. *Wakes when* a reader takes a message. *If a peer dies*: as
    /// [`Queue::put`].
    ///
    /// Cancel-safe: nothing was put by a future that is dropped before it completes. The message
    /// goes with it.
    ///
    /// # Errors
    ///
    /// [`PutError`] hands the message back.
    ///
    /// # Panics
    ///
    /// As [`Queue::get_async`].
    #[cfg_attr(docsrs, doc(cfg(feature = "tokio")))]
    pub async fn put_async(&self, message: T) -> Result<(), PutError<T>> {
        let attempt = |message: &T| self.put_by(message, Deadline::NOW, &|_| false);
        put(&self.ring, attempts(message, attempt)).await
    }
}

impl<T, C: Codec<T>> Consumer<T, C> {
    /// Takes the oldest message, as [`Consumer::get`], without holding the thread up.
    ///
    /// *Waits until* there is one, or every registered producer is gone. *Wakes when* a writer
    /// puts one, or the last producer closes. *If a peer dies*: when the last registered producer
    /// did, `Closed` within 100 ms, after everything that was put.
    ///
    /// Cancel-safe, as [`Queue::get_async`].
    ///
    /// # Errors
    ///
    /// See [`GetError`].
    ///
    /// # Panics
    ///
    /// As [`Queue::get_async`].
    #[cfg_attr(docsrs, doc(cfg(feature = "tokio")))]
    pub async fn get_async(&self) -> Result<T, GetError> {
        got(self, || found(self.get_by(Deadline::NOW))).await
    }
}

impl<T, C: Codec<T>> Producer<T, C> {
    /// Puts a message, as [`Producer::put`], without holding the thread up.
    ///
    /// *Waits until* there is room. *Wakes when* a reader takes a message, or the last registered
    /// consumer closes. *If a peer dies*: when the last registered consumer did, `Closed` within
    /// 100 ms.
    ///
    /// Cancel-safe, as [`Queue::put_async`].
    ///
    /// # Errors
    ///
    /// [`PutError`] hands the message back.
    ///
    /// # Panics
    ///
    /// As [`Queue::get_async`].
    #[cfg_attr(docsrs, doc(cfg(feature = "tokio")))]
    pub async fn put_async(&self, message: T) -> Result<(), PutError<T>> {
        let attempt = |message: &T| self.put_by(message, Deadline::NOW);
        put(self.end().ring(), attempts(message, attempt)).await
    }
}
