//! Connections in tasks of tokio (feature `tokio`).

use crate::codec::{Codec, GetFailure, PutFailure};
use crate::connection::Connection;
use crate::ends::{Receiver, Sender};
use crate::error::{RecvError, SendError};
use multiproc_core::deadline::Deadline;
use multiproc_message::asynchronous::{got, put, written};
use multiproc_ring::{GetError, PutError};

impl<T, C: Codec<T>> Receiver<T, C> {
    /// Receives the next message, as [`Receiver::recv`], without holding the thread up.
    ///
    /// *Waits until* there is one, or every sender is gone. *Wakes when* one is sent, or the last
    /// sender closes. *If a peer dies*: when it was the last sender, what it had sent comes first,
    /// then `Closed`, within 100 ms.
    ///
    /// Cancel-safe: nothing was received by a future that is dropped before it completes.
    ///
    /// Where several processes share this end, it stops for the moment in which another one takes
    /// a message, as [`Receiver::try_recv`] does. Over TCP, a message that has begun to come is
    /// received to its end without a pause.
    ///
    /// ```rust,standalone_crate
    /// use multiproc_pipe::Pipe;
    /// use multiproc_process::Process;
    ///
    /// let (receiver, sender) = Pipe::<String>::simplex()?;
    /// let child = Process::start(move || sender.send("hello".into()).unwrap())?;
    /// let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    /// runtime.block_on(async {
    ///     assert_eq!(receiver.recv_async().await.as_deref(), Ok("hello"));
    ///     assert!(receiver.recv_async().await.is_err()); // the end of the stream
    /// });
    /// assert!(child.join()?.success());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// See [`RecvError`].
    ///
    /// # Panics
    ///
    /// Where it has to wait outside of a tokio runtime that has both its I/O and its time enabled.
    #[cfg_attr(docsrs, doc(cfg(feature = "tokio")))]
    pub async fn recv_async(&self) -> Result<T, RecvError> {
        let attempt = || match self.recv_by(Deadline::NOW) {
            Err(GetFailure::Ring(GetError::Empty)) => None,
            other => Some(other),
        };
        Ok(got(self, attempt).await?)
    }
}

impl<T, C: Codec<T>> Sender<T, C> {
    /// Sends a message, as [`Sender::send`], without holding the thread up. When it has completed,
    /// the message is in shared memory, whatever happens to this process.
    ///
    /// *Waits until* there is room. *Wakes when* a message is received, or the last receiver
    /// closes. *If a peer dies*: when it was the last receiver, `Closed` within 100 ms.
    ///
    /// Cancel-safe: nothing was sent by a future that is dropped before it completes. The message
    /// goes with it.
    ///
    /// # Errors
    ///
    /// [`SendError`] hands the message back.
    ///
    /// # Panics
    ///
    /// As [`Receiver::recv_async`].
    #[cfg_attr(docsrs, doc(cfg(feature = "tokio")))]
    pub async fn send_async(&self, message: T) -> Result<(), SendError<T>> {
        // Owned by the attempts, so that the future is `Send` where the message is.
        let mut message = Some(message);
        let attempt = move || {
            let sent = self.send_by(message.as_ref()?, Deadline::NOW);
            match sent {
                Ok(()) => Some(Ok(())),
                Err(PutFailure::Ring(PutError::Full)) => None,
                Err(other) => Some(Err(SendError::new(message.take()?, other))),
            }
        };
        match (self.end(), self.socket()) {
            (Ok(end), _) => put(end.ring(), attempt).await,
            (Err(_), Some(socket)) => written(socket, attempt).await,
            (Err(_), None) => unreachable!("over a ring, or over a socket"),
        }
    }
}

impl<S, R, C: Codec<R>> Connection<S, R, C> {
    /// As [`Receiver::recv_async`]. *Waits*, *wakes* and *if a peer dies*: as there.
    ///
    /// # Errors
    ///
    /// See [`RecvError`].
    ///
    /// # Panics
    ///
    /// As there.
    #[cfg_attr(docsrs, doc(cfg(feature = "tokio")))]
    pub async fn recv_async(&self) -> Result<R, RecvError> {
        self.receiver.recv_async().await
    }
}

impl<S, R, C: Codec<S>> Connection<S, R, C> {
    /// As [`Sender::send_async`]. *Waits*, *wakes* and *if a peer dies*: as there.
    ///
    /// # Errors
    ///
    /// [`SendError`] hands the message back.
    ///
    /// # Panics
    ///
    /// As there.
    #[cfg_attr(docsrs, doc(cfg(feature = "tokio")))]
    pub async fn send_async(&self, message: S) -> Result<(), SendError<S>> {
        self.sender.send_async(message).await
    }
}
