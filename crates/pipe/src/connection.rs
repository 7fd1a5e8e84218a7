use crate::codec::{Bytes, Codec, Serde};
use crate::ends::{Iter, Receiver, Sender};
use crate::error::{
    RecvError, RecvTimeoutError, SendError, SendTimeoutError, TryRecvError, TrySendError,
};
use multiproc_core::identity::Identity;
use multiproc_message::ends::{Reader, Writer};
use multiproc_message::loan::{ReadLoan, WriteLoan};
use multiproc_message::ready::Ready;
use std::fmt;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

/// One end of a duplex pipe: sends `S`, receives `R`.
///
/// `Clone` registers another end on the same side. Moved into a child (`Process::start(move ||
/// …)`) it belongs to the child; borrowed by a child it stays the parent's, and the child
/// registers its own on first use; in a message it travels. Several processes and threads may
/// share a side: a message is sent whole and received by one of them.
#[doc(alias = "multiprocessing.connection.Connection")]
#[doc(alias = "fileno")]
pub struct Connection<S, R = S, C = Serde> {
    pub(crate) sender: Sender<S, C>,
    pub(crate) receiver: Receiver<R, C>,
}

impl<S, R, C> Connection<S, R, C> {
    pub(crate) fn new(sender: Sender<S, C>, receiver: Receiver<R, C>) -> Self {
        Self { sender, receiver }
    }

    /// The two directions of this end, each on its own: one may go to another process or
    /// thread.
    pub fn split(self) -> (Receiver<R, C>, Sender<S, C>) {
        (self.receiver, self.sender)
    }

    /// Its registered ends.
    pub(crate) fn into_ends(self) -> Result<(Writer, Reader), String> {
        Ok((self.sender.into_end()?, self.receiver.into_end()?))
    }

    /// The sending half.
    pub fn sender(&self) -> &Sender<S, C> {
        &self.sender
    }

    /// The receiving half.
    pub fn receiver(&self) -> &Receiver<R, C> {
        &self.receiver
    }

    /// Closes this end, as dropping it does; once more is harmless.
    pub fn close(&self) {
        self.sender.close();
        self.receiver.close();
    }

    /// Can this end not be used any more: was it closed here?
    #[doc(alias = "closed")]
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed() && self.receiver.is_closed()
    }

    /// Does it still receive? Python's `readable`.
    #[doc(alias = "readable")]
    pub fn is_readable(&self) -> bool {
        !self.receiver.is_closed()
    }

    /// Does it still send? Python's `writable`.
    #[doc(alias = "writable")]
    pub fn is_writable(&self) -> bool {
        !self.sender.is_closed()
    }

    /// As [`Receiver::poll`]. *Blocks*, *wakes* and *if a peer dies*: as there.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn poll(&self, timeout: Duration) -> Result<bool, RecvError> {
        self.receiver.poll(timeout)
    }
}

impl<S, R, C: Codec<S>> Connection<S, R, C> {
    /// As [`Sender::send`]. *Blocks*, *wakes* and *if a peer dies*: as there.
    ///
    /// # Errors
    ///
    /// [`SendError`] hands the message back.
    #[inline]
    pub fn send(&self, message: S) -> Result<(), SendError<S>> {
        self.sender.send(message)
    }

    /// As [`Sender::try_send`]. Never blocks.
    ///
    /// # Errors
    ///
    /// [`TrySendError`] hands the message back.
    pub fn try_send(&self, message: S) -> Result<(), TrySendError<S>> {
        self.sender.try_send(message)
    }

    /// As [`Sender::send_timeout`]. *Blocks*, *wakes* and *if a peer dies*: as there.
    ///
    /// # Errors
    ///
    /// [`SendTimeoutError`] hands the message back.
    pub fn send_timeout(&self, message: S, timeout: Duration) -> Result<(), SendTimeoutError<S>> {
        self.sender.send_timeout(message, timeout)
    }
}

impl<S, R, C: Codec<R>> Connection<S, R, C> {
    /// As [`Receiver::recv`]. *Blocks*, *wakes* and *if a peer dies*: as there.
    ///
    /// # Errors
    ///
    /// See [`RecvError`].
    #[inline]
    pub fn recv(&self) -> Result<R, RecvError> {
        self.receiver.recv()
    }

    /// As [`Receiver::try_recv`]. Never blocks.
    ///
    /// # Errors
    ///
    /// See [`TryRecvError`].
    pub fn try_recv(&self) -> Result<R, TryRecvError> {
        self.receiver.try_recv()
    }

    /// As [`Receiver::recv_timeout`]. *Blocks*, *wakes* and *if a peer dies*: as there.
    ///
    /// # Errors
    ///
    /// See [`RecvTimeoutError`].
    pub fn recv_timeout(&self, timeout: Duration) -> Result<R, RecvTimeoutError> {
        self.receiver.recv_timeout(timeout)
    }

    /// As [`Receiver::iter`]. *Blocks*, *wakes* and *if a peer dies*: as there.
    pub fn iter(&self) -> Iter<'_, R, C> {
        self.receiver.iter()
    }
}

impl Connection<Vec<u8>, Vec<u8>, Bytes> {
    /// As [`Sender::send_bytes`]. *Blocks*, *wakes* and *if a peer dies*: as there.
    ///
    /// # Errors
    ///
    /// [`SendError`].
    pub fn send_bytes(&self, bytes: &[u8]) -> Result<(), SendError<()>> {
        self.sender.send_bytes(bytes)
    }

    /// As [`Sender::send_loan`]. *Blocks*, *wakes* and *if a peer dies*: as there.
    ///
    /// # Errors
    ///
    /// [`SendError`].
    pub fn send_loan(&self, len: usize) -> Result<WriteLoan<'_>, SendError<()>> {
        self.sender.send_loan(len)
    }

    /// As [`Receiver::recv_loan`]. *Blocks*, *wakes* and *if a peer dies*: as there.
    ///
    /// # Errors
    ///
    /// See [`RecvError`].
    pub fn recv_loan(&self) -> Result<ReadLoan<'_>, RecvError> {
        self.receiver.recv_loan()
    }
}

impl<S, R, C> Clone for Connection<S, R, C> {
    fn clone(&self) -> Self {
        Self {
            sender: self.sender.clone(),
            receiver: self.receiver.clone(),
        }
    }
}

impl<S, R, C> fmt::Debug for Connection<S, R, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("sender", &self.sender)
            .field("receiver", &self.receiver)
            .finish()
    }
}

impl<S, R, C> Ready for Connection<S, R, C> {
    fn is_ready(&self, alive: Option<&mut dyn FnMut(Identity) -> bool>) -> bool {
        self.receiver.is_ready(alive)
    }

    fn token(&self) -> Option<u64> {
        self.receiver.token()
    }

    fn look_is_due(&self) -> bool {
        self.receiver.look_is_due()
    }

    fn arm(&self, quieten: bool) -> bool {
        self.receiver.arm(quieten)
    }

    fn courier(&self) -> Option<BorrowedFd<'_>> {
        self.receiver.courier()
    }
}

/// For event loops: readable when there may be something to receive. See
/// [`ready`](multiproc_message::ready).
impl<S, R, C> AsFd for Connection<S, R, C> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.receiver.as_fd()
    }
}

impl<S, R, C> AsRawFd for Connection<S, R, C> {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl<'a, S, R, C: Codec<R>> IntoIterator for &'a Connection<S, R, C> {
    type Item = Result<R, RecvError>;
    type IntoIter = Iter<'a, R, C>;

    fn into_iter(self) -> Iter<'a, R, C> {
        self.iter()
    }
}
