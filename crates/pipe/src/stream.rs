//! A connection over TCP: messages with their length before them.
//!
//! The two directions each have a lock in shared memory, so that several processes may share an
//! end: whoever has it sends, or receives, a whole message.
//!
//! # If a process dies here
//!
//! * in the middle of sending: the kernel hands the lock on, and the next sender finds out that
//!   a message was cut short: the direction is broken, for this end and (by the end of the
//!   stream in the middle of a message) for the other.
//! * in the middle of receiving: in the same way, nobody can tell where the next message begins.
//! * otherwise: the end of the stream comes when the last process that has the socket closes it
//!   or ends: unlike shared memory, a socket is inherited by every child, so an end that a
//!   killed process held stays open as long as a sibling that was forked meanwhile lives.

use crate::codec::{Codec, GetFailure, PutFailure, with_scratch};
use crate::connection::Connection;
use crate::ends::{Receiver, Sender};
use multiproc_core::deadline::Deadline;
use multiproc_core::fd;
use multiproc_core::robust::{RobustGuard, RobustLock};
use multiproc_core::wait::SLICE;
use multiproc_parcel as parcel;
use multiproc_ring::{CarryError, GetError, PutError};
use multiproc_segment::{Shareable, Shared};
use std::fmt;
use std::io;
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::time::Duration;

/// The most bytes of a message over TCP: what a peer says of a length is believed so far.
pub(crate) const MOST: usize = 1 << 30;
/// How long a peer may take for the next piece of a message that it has begun.
const PATIENCE: Duration = Duration::from_secs(30);
/// What is read at a time, so that memory is spent on what has come and not on what is promised.
const PIECE: usize = 1 << 20;

#[derive(Shareable)]
#[shareable(crate = multiproc_segment)]
#[repr(C)]
struct Direction {
    lock: RobustLock,
    /// Not 0 once nobody can tell where a message begins.
    broken: AtomicU32,
}

#[derive(Shareable)]
#[shareable(crate = multiproc_segment)]
#[repr(C)]
struct Directions {
    sends: Direction,
    receives: Direction,
}

const fn direction() -> Direction {
    Direction {
        lock: RobustLock::new(),
        broken: AtomicU32::new(0),
    }
}

/// One end of a stream, or a half of it.
#[derive(Clone)]
pub(crate) struct Stream {
    socket: Arc<TcpStream>,
    directions: Shared<Directions>,
    closed: Arc<AtomicBool>,
    half: Shutdown,
    /// Bytes of a message.
    most: usize,
}

/// A connection over this socket.
pub(crate) fn connection<S, R, C>(
    socket: TcpStream,
    max_message: Option<usize>,
) -> io::Result<Connection<S, R, C>> {
    socket.set_nonblocking(true)?;
    let directions = Shared::new(Directions {
        sends: direction(),
        receives: direction(),
    });
    let socket = Arc::new(socket);
    let directions = directions.map_err(io::Error::other)?;
    let half = |half| Stream {
        socket: socket.clone(),
        directions: directions.clone(),
        closed: Arc::default(),
        half,
        most: max_message.map_or(MOST, |most| most.min(MOST)),
    };
    Ok(Connection::new(
        Sender::over(half(Shutdown::Write)),
        Receiver::over(half(Shutdown::Read)),
    ))
}

/// Why a lock was not had.
enum Refused {
    TimedOut,
    Broken,
}

impl Direction {
    fn lock(&self, deadline: Deadline) -> Result<RobustGuard<'_>, Refused> {
        let guard = match deadline == Deadline::NOW {
            true => self.lock.try_acquire().ok_or(Refused::TimedOut)?,
            false => self.lock.acquire(deadline).map_err(|_| Refused::TimedOut)?,
        };
        if guard.owner_died() {
            // Perhaps between two messages; nobody can tell.
            self.broken.store(1, Relaxed); // Relaxed: under the lock
        }
        match self.broken.load(Relaxed) {
            0 => Ok(guard),
            _ => Err(Refused::Broken),
        }
    }
}

impl Stream {
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Relaxed)
    }

    /// Ends this half for everybody who shares the end: the peer sees it at once.
    pub(crate) fn close(&self) {
        if !self.closed.swap(true, Relaxed) {
            let _ = self.socket.shutdown(self.half);
        }
    }

    pub(crate) fn put<T, C: Codec<T>>(
        &self,
        message: &T,
        deadline: Deadline,
    ) -> Result<(), PutFailure> {
        with_scratch(|bytes| {
            let (encoded, parcel) = parcel::pack(|| C::encode(message, bytes));
            encoded.map_err(PutFailure::Encode)?;
            if !parcel.descriptors().is_empty() {
                return Err(PutError::Carry(CarryError::NoCourier).into());
            }
            self.put_bytes(bytes, deadline)?;
            parcel.sent();
            Ok(())
        })
    }

    pub(crate) fn get<T, C: Codec<T>>(&self, deadline: Deadline) -> Result<T, GetFailure> {
        with_scratch(|bytes| {
            self.get_bytes(bytes, deadline)?;
            parcel::unpack(Vec::new(), || C::decode(bytes)).map_err(GetFailure::Decode)
        })
    }

    /// Sends these bytes as one message.
    pub(crate) fn put_bytes(&self, bytes: &[u8], deadline: Deadline) -> Result<(), PutError> {
        if bytes.len() > self.most {
            return Err(PutError::TooLarge {
                bytes: bytes.len(),
                most: self.most,
            });
        }
        let direction = &self.directions.sends;
        let guard = direction.lock(deadline).map_err(|e| match e {
            Refused::TimedOut => PutError::Full,
            Refused::Broken => PutError::Closed,
        })?;
        let mut frame = Vec::with_capacity(8 + bytes.len());
        frame.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        frame.extend_from_slice(bytes);
        let (mut sent, mut until) = (0, deadline);
        while sent < frame.len() {
            if self.is_closed() {
                return Err(PutError::Closed);
            }
            match fd::send_with(self.socket.as_fd(), &frame[sent..], &[]) {
                Ok(n) => {
                    // Once begun, a message is finished, unless the peer stands still.
                    sent += n;
                    until = Deadline::after(PATIENCE);
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    if until.passed() && sent == 0 {
                        return Err(PutError::Full);
                    }
                    if until.passed() {
                        break;
                    }
                    let _ = self.sleep(libc::POLLOUT, until);
                }
                Err(_) => break,
            }
        }
        let whole = sent == frame.len();
        if !whole {
            direction.broken.store(1, Relaxed);
        }
        drop(guard);
        if whole { Ok(()) } else { Err(PutError::Closed) }
    }

    /// Receives one message into `to`, whose content it replaces.
    pub(crate) fn get_bytes(&self, to: &mut Vec<u8>, deadline: Deadline) -> Result<(), GetError> {
        to.clear();
        let direction = &self.directions.receives;
        let _guard = direction.lock(deadline).map_err(|e| match e {
            Refused::TimedOut => GetError::Empty,
            Refused::Broken => GetError::Closed,
        })?;
        let mut len = [0; 8];
        match self.read(&mut len, deadline) {
            Ok(8) => {}
            Ok(0) => return Err(GetError::Empty),
            // The end of the stream, or one in the middle of a length.
            _ => {
                direction.broken.store(1, Relaxed);
                return Err(GetError::Closed);
            }
        }
        let len = u64::from_le_bytes(len);
        if len > self.most as u64 {
            direction.broken.store(1, Relaxed);
            return Err(GetError::Corrupted);
        }
        while (to.len() as u64) < len {
            let begin = to.len();
            to.resize(begin + PIECE.min(len as usize - begin), 0);
            let wanted = to.len() - begin;
            if !matches!(self.read(&mut to[begin..], Deadline::after(PATIENCE)), Ok(n) if n == wanted)
            {
                direction.broken.store(1, Relaxed);
                return Err(GetError::Closed);
            }
        }
        Ok(())
    }

    /// Fills `to`, or gives 0 where nothing at all came before the deadline.
    ///
    /// # Errors
    ///
    /// The end of the stream, or a peer that stands still in the middle.
    fn read(&self, to: &mut [u8], deadline: Deadline) -> io::Result<usize> {
        let (mut got, mut until) = (0, deadline);
        while got < to.len() {
            if self.is_closed() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            match fd::recv_with(self.socket.as_fd(), &mut to[got..], false) {
                Ok(received) if received.bytes == 0 => {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                Ok(received) => {
                    got += received.bytes;
                    until = Deadline::after(PATIENCE);
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    if until.passed() {
                        return match got {
                            0 => Ok(0),
                            _ => Err(io::ErrorKind::TimedOut.into()),
                        };
                    }
                    self.sleep(libc::POLLIN, until)?;
                }
                Err(e) => return Err(e),
            }
        }
        Ok(got)
    }

    /// In slices, so that a `close` of another thread's is noticed.
    fn sleep(&self, events: i16, until: Deadline) -> io::Result<bool> {
        let mut polled = [libc::pollfd {
            fd: self.socket.as_raw_fd(),
            events,
            revents: 0,
        }];
        let left = until.remaining().map_or(SLICE, |left| left.min(SLICE));
        fd::poll(&mut polled, left)
    }

    /// Is there something to receive, or the end of the stream? *Blocks until* there is, or the
    /// deadline passes.
    pub(crate) fn poll(&self, deadline: Deadline) -> bool {
        loop {
            if self.is_closed() || !matches!(self.sleep(libc::POLLIN, deadline), Ok(false)) {
                return true;
            }
            if deadline.passed() {
                return false;
            }
        }
    }

    pub(crate) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // The last handle of this half in this process, and not a forked copy's: the peer
        // hears of it even if another half or a sibling has the socket still.
        if Arc::strong_count(&self.closed) == 1 && !multiproc_core::handover::is_on() {
            self.close();
        }
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream")
            .field("socket", &self.socket)
            .field("closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}
