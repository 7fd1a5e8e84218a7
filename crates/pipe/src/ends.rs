use crate::codec::{Bytes, Codec, GetFailure, PutFailure, Serde};
use crate::error::{
    RecvError, RecvTimeoutError, SendError, SendTimeoutError, TryRecvError, TrySendError,
};
use crate::stream::Stream;
use multiproc_core::deadline::Deadline;
use multiproc_core::identity::Identity;
use multiproc_message::ends::{Reader, Writer};
use multiproc_message::loan::{ReadLoan, WriteLoan};
use multiproc_message::ready::{self, Ready};
use multiproc_ring::{Ring, Wait};
use std::fmt;
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

/// What a sender sends through.
#[derive(Clone)]
enum SendLine {
    Ring(Writer),
    Stream(Stream),
}

/// What a receiver receives from.
#[derive(Clone)]
enum RecvLine {
    Ring(Reader),
    Stream(Stream),
}

/// Said of what needs shared memory and is asked of TCP.
const NOT_OVER_TCP: &str = "a connection over TCP has no shared memory for this";

/// The sending end of a direction.
///
/// `Clone` registers another end. Moved into a child (`Process::start(move || …)`) it belongs to
/// the child; borrowed by a child it stays the parent's, and the child registers its own on
/// first use; in a message it travels. At most 512 sending ends of one direction exist at a
/// time.
#[doc(alias = "multiprocessing.connection.Connection")]
#[doc(alias = "fileno")]
#[doc(alias = "writable")]
pub struct Sender<T, C = Serde> {
    line: SendLine,
    types: PhantomData<fn(T) -> C>,
}

/// The receiving end of a direction.
///
/// `Clone`, children and limits as for [`Sender`].
#[doc(alias = "multiprocessing.connection.Connection")]
#[doc(alias = "fileno")]
#[doc(alias = "readable")]
pub struct Receiver<T, C = Serde> {
    line: RecvLine,
    types: PhantomData<fn(C) -> T>,
    /// What [`std::io::Read`] has not read yet of a message that it received.
    pub(crate) rest: std::io::Cursor<Vec<u8>>,
}

impl<T, C> Sender<T, C> {
    pub(crate) fn new(end: Writer) -> Self {
        Self {
            line: SendLine::Ring(end),
            types: PhantomData,
        }
    }

    pub(crate) fn over(stream: Stream) -> Self {
        Self {
            line: SendLine::Stream(stream),
            types: PhantomData,
        }
    }

    pub(crate) fn into_end(self) -> Result<Writer, &'static str> {
        match self.line {
            SendLine::Ring(end) => Ok(end),
            SendLine::Stream(_) => Err(NOT_OVER_TCP),
        }
    }

    /// The registered end, unless it sends over TCP.
    pub(crate) fn end(&self) -> Result<&Writer, &'static str> {
        match &self.line {
            SendLine::Ring(end) => Ok(end),
            SendLine::Stream(_) => Err(NOT_OVER_TCP),
        }
    }

    /// The socket, if it sends over TCP.
    #[cfg(feature = "tokio")]
    pub(crate) fn socket(&self) -> Option<BorrowedFd<'_>> {
        match &self.line {
            SendLine::Ring(_) => None,
            SendLine::Stream(stream) => Some(stream.socket()),
        }
    }

    /// Messages that were sent and that nobody has received; exact at the instant it looks. Over
    /// TCP nobody can tell: `None`.
    pub fn unreceived(&self) -> Option<usize> {
        match &self.line {
            SendLine::Ring(end) => Some(end.ring().len()),
            SendLine::Stream(_) => None,
        }
    }

    /// Closes this end, as dropping it does; once more is harmless.
    pub fn close(&self) {
        match &self.line {
            SendLine::Ring(end) => end.close(),
            SendLine::Stream(stream) => stream.close(),
        }
    }

    /// Can this end not be used any more: was it closed here?
    #[doc(alias = "closed")]
    pub fn is_closed(&self) -> bool {
        match &self.line {
            SendLine::Ring(end) => !end.is_open(),
            SendLine::Stream(stream) => stream.is_closed(),
        }
    }
}

impl<T, C: Codec<T>> Sender<T, C> {
    #[inline]
    pub(crate) fn send_by(&self, message: &T, deadline: Deadline) -> Result<(), PutFailure> {
        let end = match &self.line {
            SendLine::Ring(end) => end,
            SendLine::Stream(stream) => return stream.put::<T, C>(message, deadline),
        };
        end.check()?;
        let in_vain = |thorough| !end.is_open() || end.others_gone(thorough);
        let in_vain = &in_vain;
        C::put(end.ring(), message, Wait { deadline, in_vain })
    }

    /// Sends a message. When it has returned, the message is in shared memory, whatever happens
    /// to this process.
    ///
    /// *Blocks until* there is room. *Wakes when* a message is received, or the last receiver
    /// closes. *If a peer dies*: when it was the last receiver, `Closed` within 100 ms; in the
    /// middle of a send, nothing of its message is seen.
    ///
    /// # Errors
    ///
    /// [`SendError`] hands the message back.
    #[inline]
    pub fn send(&self, message: T) -> Result<(), SendError<T>> {
        self.send_by(&message, Deadline::NEVER)
            .map_err(|e| SendError::new(message, e))
    }

    /// Sends a message if there is room. Never blocks.
    ///
    /// # Errors
    ///
    /// [`TrySendError`] hands the message back.
    pub fn try_send(&self, message: T) -> Result<(), TrySendError<T>> {
        self.send_by(&message, Deadline::NOW)
            .map_err(|e| TrySendError::new(message, e))
    }

    /// Sends a message. *Blocks until* there is room or `timeout` is over. *Wakes when* and *if
    /// a peer dies*: as [`Sender::send`].
    ///
    /// # Errors
    ///
    /// [`SendTimeoutError`] hands the message back.
    pub fn send_timeout(&self, message: T, timeout: Duration) -> Result<(), SendTimeoutError<T>> {
        self.send_by(&message, Deadline::after(timeout))
            .map_err(|e| SendTimeoutError::new(message, e))
    }
}

impl Sender<Vec<u8>, Bytes> {
    /// Sends these bytes as one message: [`Sender::send`] without a `Vec`. *Blocks*, *wakes* and
    /// *if a peer dies*: as there.
    ///
    /// # Errors
    ///
    /// [`SendError`].
    pub fn send_bytes(&self, bytes: &[u8]) -> Result<(), SendError<()>> {
        let deadline = Deadline::NEVER;
        let send = || {
            let end = match &self.line {
                SendLine::Ring(end) => end,
                SendLine::Stream(stream) => return stream.put_bytes(bytes, deadline),
            };
            end.check()?;
            let in_vain = |thorough| !end.is_open() || end.others_gone(thorough);
            let in_vain = &in_vain;
            end.ring().put(bytes, Wait { deadline, in_vain })
        };
        send().map_err(|e| SendError::new((), e.into()))
    }

    /// Room for a message of `len` bytes, to be written in place; others who share this end wait
    /// meanwhile. Not over TCP. *Blocks*, *wakes* and *if a peer dies*: as [`Sender::send`].
    ///
    /// # Errors
    ///
    /// [`SendError`].
    pub fn send_loan(&self, len: usize) -> Result<WriteLoan<'_>, SendError<()>> {
        let loan = || {
            let end = self.end().map_err(|why| PutFailure::Encode(why.into()))?;
            end.check()?;
            let in_vain = |thorough| !end.is_open() || end.others_gone(thorough);
            let in_vain = &in_vain;
            let deadline = Deadline::NEVER;
            Ok(WriteLoan::of(end.ring(), len, Wait { deadline, in_vain })?)
        };
        loan().map_err(|e| SendError::new((), e))
    }
}

impl<T, C> Receiver<T, C> {
    pub(crate) fn new(end: Reader) -> Self {
        Self {
            line: RecvLine::Ring(end),
            types: PhantomData,
            rest: std::io::Cursor::default(),
        }
    }

    pub(crate) fn over(stream: Stream) -> Self {
        Self {
            line: RecvLine::Stream(stream),
            types: PhantomData,
            rest: std::io::Cursor::default(),
        }
    }

    pub(crate) fn into_end(self) -> Result<Reader, &'static str> {
        match self.line {
            RecvLine::Ring(end) => Ok(end),
            RecvLine::Stream(_) => Err(NOT_OVER_TCP),
        }
    }

    /// The registered end, unless it receives over TCP.
    pub(crate) fn end(&self) -> Result<&Reader, &'static str> {
        match &self.line {
            RecvLine::Ring(end) => Ok(end),
            RecvLine::Stream(_) => Err(NOT_OVER_TCP),
        }
    }

    /// Closes this end, as dropping it does; once more is harmless.
    pub fn close(&self) {
        match &self.line {
            RecvLine::Ring(end) => end.close(),
            RecvLine::Stream(stream) => stream.close(),
        }
    }

    /// Can this end not be used any more: was it closed here?
    #[doc(alias = "closed")]
    pub fn is_closed(&self) -> bool {
        match &self.line {
            RecvLine::Ring(end) => !end.is_open(),
            RecvLine::Stream(stream) => stream.is_closed(),
        }
    }

    /// Is there something to receive, or the end of the stream? *Blocks until* there is, or
    /// `timeout` is over. *Wakes when* a message comes or the last sender closes. *If a peer
    /// dies*: when it was the last sender, true within 100 ms. Takes nothing.
    ///
    /// # Errors
    ///
    /// [`RecvError::Closed`] when this end was closed here; `Corrupted`.
    pub fn poll(&self, timeout: Duration) -> Result<bool, RecvError> {
        if self.is_closed() {
            return Err(RecvError::Closed);
        }
        let deadline = Deadline::after(timeout);
        let end = match &self.line {
            RecvLine::Ring(end) => end,
            RecvLine::Stream(stream) => return Ok(stream.poll(deadline)),
        };
        let in_vain = &|thorough| end.others_gone(thorough);
        match end.ring().claim(Wait { deadline, in_vain }) {
            Ok(claim) => drop(claim),
            Err(multiproc_ring::GetError::Empty) => {
                ready::found_nothing(self, end.ring());
                return Ok(false);
            }
            Err(multiproc_ring::GetError::Closed) => {}
            Err(other) => return Err(GetFailure::from(other).into()),
        }
        Ok(true)
    }

    /// Gets from the ring, or from the stream.
    #[inline]
    pub(crate) fn get<'s, R>(
        &'s self,
        deadline: Deadline,
        from_ring: impl FnOnce(&'s Ring, Wait<'_>) -> Result<R, GetFailure>,
        from_stream: impl FnOnce(&Stream) -> Result<R, GetFailure>,
    ) -> Result<R, GetFailure> {
        let end = match &self.line {
            RecvLine::Ring(end) => end,
            RecvLine::Stream(stream) => return from_stream(stream),
        };
        end.check()?;
        let in_vain = |thorough| !end.is_open() || end.others_gone(thorough);
        let in_vain = &in_vain;
        let got = from_ring(end.ring(), Wait { deadline, in_vain });
        if let Err(GetFailure::Ring(multiproc_ring::GetError::Empty)) = &got {
            ready::found_nothing(self, end.ring());
        }
        got
    }
}

impl<T, C: Codec<T>> Receiver<T, C> {
    #[inline]
    pub(crate) fn recv_by(&self, deadline: Deadline) -> Result<T, GetFailure> {
        self.get(deadline, C::get, |stream| stream.get::<T, C>(deadline))
    }

    /// Receives the next message. *Blocks until* there is one, or every sender is gone. *Wakes
    /// when* one is sent, or the last sender closes. *If a peer dies*: when it was the last
    /// sender, what it had sent comes first, then `Closed`, within 100 ms.
    ///
    /// # Errors
    ///
    /// See [`RecvError`].
    #[inline]
    pub fn recv(&self) -> Result<T, RecvError> {
        Ok(self.recv_by(Deadline::NEVER)?)
    }

    /// Receives the next message, if there is one. Never blocks.
    ///
    /// # Errors
    ///
    /// See [`TryRecvError`].
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        Ok(self.recv_by(Deadline::NOW)?)
    }

    /// Receives the next message. *Blocks until* there is one, every sender is gone, or
    /// `timeout` is over. *Wakes when* and *if a peer dies*: as [`Receiver::recv`].
    ///
    /// # Errors
    ///
    /// See [`RecvTimeoutError`].
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T, RecvTimeoutError> {
        Ok(self.recv_by(Deadline::after(timeout))?)
    }

    /// Messages as they come, until the end of the stream. *Blocks*, *wakes* and *if a peer
    /// dies*: as [`Receiver::recv`].
    pub fn iter(&self) -> Iter<'_, T, C> {
        Iter {
            receiver: self,
            over: false,
        }
    }
}

impl Receiver<Vec<u8>, Bytes> {
    /// The next message, in place. Not over TCP. *Blocks*, *wakes* and *if a peer dies*: as
    /// [`Receiver::recv`].
    ///
    /// # Errors
    ///
    /// See [`RecvError`].
    pub fn recv_loan(&self) -> Result<ReadLoan<'_>, RecvError> {
        let refused = |_: &Stream| Err(GetFailure::Decode(NOT_OVER_TCP.into()));
        let loan = |ring, wait: Wait<'_>| Ok(ReadLoan::of(ring, wait)?);
        Ok(self.get(Deadline::NEVER, loan, refused)?)
    }
}

impl<T, C> Clone for Sender<T, C> {
    fn clone(&self) -> Self {
        Self {
            line: self.line.clone(),
            types: PhantomData,
        }
    }
}

impl<T, C> Clone for Receiver<T, C> {
    fn clone(&self) -> Self {
        Self {
            line: self.line.clone(),
            types: PhantomData,
            rest: std::io::Cursor::default(),
        }
    }
}

impl<T, C> fmt::Debug for Sender<T, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender")
            .field("closed", &self.is_closed())
            .field("over", &self.line)
            .finish()
    }
}

impl<T, C> fmt::Debug for Receiver<T, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver")
            .field("closed", &self.is_closed())
            .field("over", &self.line)
            .finish()
    }
}

impl<T, C> Ready for Receiver<T, C> {
    fn is_ready(&self, alive: Option<&mut dyn FnMut(Identity) -> bool>) -> bool {
        match &self.line {
            RecvLine::Ring(end) => end.ring().has_next() || end.is_over(alive),
            RecvLine::Stream(stream) => stream.poll(Deadline::NOW),
        }
    }

    fn look_is_due(&self) -> bool {
        matches!(&self.line, RecvLine::Ring(end) if end.look_is_due())
    }

    fn arm(&self, quieten: bool) -> bool {
        match &self.line {
            RecvLine::Ring(end) => end.arm(quieten),
            RecvLine::Stream(stream) => !stream.poll(Deadline::NOW),
        }
    }

    fn token(&self) -> Option<u64> {
        match &self.line {
            RecvLine::Ring(end) => end.ring().courier_number(),
            RecvLine::Stream(_) => None,
        }
    }

    fn courier(&self) -> Option<BorrowedFd<'_>> {
        match &self.line {
            RecvLine::Ring(end) => end.ring().bell(),
            RecvLine::Stream(stream) => Some(stream.socket()),
        }
    }
}

/// For event loops: readable when there may be something to receive. See
/// [`ready`](multiproc_message::ready).
///
/// # Panics
///
/// Without a courier ([`PipeOptions::without_courier`](crate::PipeOptions::without_courier)), if
/// this process can have no more descriptors.
impl<T, C> AsFd for Receiver<T, C> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.line {
            RecvLine::Ring(end) => ready::watched(self, end.ring()),
            RecvLine::Stream(stream) => stream.socket(),
        }
    }
}

impl<T, C> AsRawFd for Receiver<T, C> {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl fmt::Debug for SendLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ring(end) => end.ring().fmt(f),
            Self::Stream(stream) => stream.fmt(f),
        }
    }
}

impl fmt::Debug for RecvLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ring(end) => end.ring().fmt(f),
            Self::Stream(stream) => stream.fmt(f),
        }
    }
}

/// Messages as they come, until the end of the stream, or after an error that every further
/// `recv` would meet, too.
pub struct Iter<'a, T, C = Serde> {
    receiver: &'a Receiver<T, C>,
    over: bool,
}

impl<T, C: Codec<T>> Iterator for Iter<'_, T, C> {
    type Item = Result<T, RecvError>;

    fn next(&mut self) -> Option<Self::Item> {
        next(self.receiver, &mut self.over)
    }
}

fn next<T, C: Codec<T>>(
    receiver: &Receiver<T, C>,
    over: &mut bool,
) -> Option<Result<T, RecvError>> {
    if *over {
        return None;
    }
    let next = receiver.recv();
    *over = matches!(next, Err(RecvError::Closed | RecvError::Corrupted));
    match next {
        Err(RecvError::Closed) => None,
        other => Some(other),
    }
}

impl<T, C: Codec<T>> std::iter::FusedIterator for Iter<'_, T, C> {}

impl<T, C> fmt::Debug for Iter<'_, T, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Iter")
            .field("over", &self.over)
            .finish_non_exhaustive()
    }
}

impl<'a, T, C: Codec<T>> IntoIterator for &'a Receiver<T, C> {
    type Item = Result<T, RecvError>;
    type IntoIter = Iter<'a, T, C>;

    fn into_iter(self) -> Iter<'a, T, C> {
        self.iter()
    }
}

/// As [`Iter`], with the receiver: dropped, it closes this end.
#[derive(Debug)]
pub struct IntoIter<T, C = Serde> {
    receiver: Receiver<T, C>,
    over: bool,
}

impl<T, C: Codec<T>> Iterator for IntoIter<T, C> {
    type Item = Result<T, RecvError>;

    fn next(&mut self) -> Option<Self::Item> {
        next(&self.receiver, &mut self.over)
    }
}

impl<T, C: Codec<T>> std::iter::FusedIterator for IntoIter<T, C> {}

impl<T, C: Codec<T>> IntoIterator for Receiver<T, C> {
    type Item = Result<T, RecvError>;
    type IntoIter = IntoIter<T, C>;

    fn into_iter(self) -> IntoIter<T, C> {
        IntoIter {
            receiver: self,
            over: false,
        }
    }
}
