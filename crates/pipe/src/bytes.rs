//! Byte connections: messages of bytes, with borders; and as streams, without.

use crate::codec::Bytes;
use crate::connection::Connection;
use crate::ends::{Receiver, Sender};
use crate::error::{BufferTooShort, RecvBytesError, RecvBytesIntoError, RecvError};
use crate::stream::Stream;
use multiproc_core::deadline::Deadline;
use multiproc_message::loan::ReadLoan;
use multiproc_ring::{Ring, Wait};
use std::io::{self, Read, Write};

impl Receiver<Vec<u8>, Bytes> {
    /// Receives the next message, if it has at most `most` bytes. *Blocks*, *wakes* and *if a
    /// peer dies*: as [`Receiver::recv`].
    ///
    /// # Errors
    ///
    /// [`RecvBytesError::TooLong`] closes this receiving end, before the message was read into
    /// memory.
    pub fn recv_bytes(&self, most: usize) -> Result<Vec<u8>, RecvBytesError> {
        let get = |ring, wait: Wait<'_>| {
            let loan = ReadLoan::of(ring, wait)?;
            Ok((loan.len(), (loan.len() <= most).then(|| loan.to_vec())))
        };
        let from_stream = |stream: &Stream| {
            let mut message = Vec::new();
            stream.get_bytes(&mut message, Deadline::NEVER)?;
            Ok((message.len(), (message.len() <= most).then_some(message)))
        };
        let got = self.get(Deadline::NEVER, get, from_stream);
        match got.map_err(RecvError::from)? {
            (_, Some(message)) => Ok(message),
            (len, None) => {
                self.close();
                Err(RecvBytesError::TooLong { len, most })
            }
        }
    }

    /// Receives the next message into `buffer`, whose rest stays as it is; returns its length.
    /// *Blocks*, *wakes* and *if a peer dies*: as [`Receiver::recv`].
    ///
    /// # Errors
    ///
    /// [`RecvBytesIntoError::TooShort`] has the message, complete.
    pub fn recv_bytes_into(&self, buffer: &mut [u8]) -> Result<usize, RecvBytesIntoError> {
        let mut fit = |bytes: &[u8]| match buffer.get_mut(..bytes.len()) {
            Some(place) => {
                place.copy_from_slice(bytes);
                Ok(bytes.len())
            }
            None => Err(BufferTooShort {
                message: bytes.to_vec(),
                room: buffer.len(),
            }),
        };
        let mut message = Vec::new();
        let from_stream = |stream: &Stream| {
            stream.get_bytes(&mut message, Deadline::NEVER)?;
            Ok(None)
        };
        let get = |ring, wait: Wait<'_>| Ok(Some(ReadLoan::of(ring, wait)?));
        let got = self.get(Deadline::NEVER, get, from_stream);
        Ok(match got.map_err(RecvError::from)? {
            Some(loan) => fit(&loan)?,
            None => fit(&message)?,
        })
    }

    /// Receives the next message into `to`, whose content it replaces: no new allocation.
    /// *Blocks*, *wakes* and *if a peer dies*: as [`Receiver::recv`].
    ///
    /// # Errors
    ///
    /// See [`RecvError`].
    pub fn recv_into_vec(&self, to: &mut Vec<u8>) -> Result<(), RecvError> {
        let to = std::cell::RefCell::new(to);
        let get = |ring: &Ring, wait: Wait<'_>| Ok(ring.get_into(&mut to.borrow_mut(), wait)?);
        let from_stream =
            |stream: &Stream| Ok(stream.get_bytes(&mut to.borrow_mut(), Deadline::NEVER)?);
        Ok(self.get(Deadline::NEVER, get, from_stream)?)
    }
}

impl Connection<Vec<u8>, Vec<u8>, Bytes> {
    /// As [`Receiver::recv_bytes`]. *Blocks*, *wakes* and *if a peer dies*: as there.
    ///
    /// # Errors
    ///
    /// As there: after `TooLong` this end still sends.
    pub fn recv_bytes(&self, most: usize) -> Result<Vec<u8>, RecvBytesError> {
        self.receiver.recv_bytes(most)
    }

    /// As [`Receiver::recv_bytes_into`]. *Blocks*, *wakes* and *if a peer dies*: as there.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn recv_bytes_into(&self, buffer: &mut [u8]) -> Result<usize, RecvBytesIntoError> {
        self.receiver.recv_bytes_into(buffer)
    }

    /// As [`Receiver::recv_into_vec`]. *Blocks*, *wakes* and *if a peer dies*: as there.
    ///
    /// # Errors
    ///
    /// See [`RecvError`].
    pub fn recv_into_vec(&self, to: &mut Vec<u8>) -> Result<(), RecvError> {
        self.receiver.recv_into_vec(to)
    }
}

fn read_error(error: RecvError) -> io::Error {
    match error {
        RecvError::Corrupted => io::Error::new(io::ErrorKind::InvalidData, error),
        other => io::Error::other(other),
    }
}

/// The messages' bytes one after the other, without their borders. What one `read` leaves of a
/// message, the next one gets; the other methods receive the next message.
impl Read for Receiver<Vec<u8>, Bytes> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        // An empty message is no end of file.
        while self.rest.position() >= self.rest.get_ref().len() as u64 {
            let mut message = std::mem::take(&mut self.rest).into_inner();
            match self.recv_into_vec(&mut message) {
                Ok(()) => self.rest = io::Cursor::new(message),
                Err(RecvError::Closed) => return Ok(0),
                Err(other) => return Err(read_error(other)),
            }
        }
        self.rest.read(buffer)
    }
}

/// Each `write` is a message.
impl Write for Sender<Vec<u8>, Bytes> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        match self.send_bytes(bytes) {
            Ok(()) => Ok(bytes.len()),
            Err(error @ crate::SendError::Closed(())) => {
                Err(io::Error::new(io::ErrorKind::BrokenPipe, error))
            }
            Err(error) => Err(io::Error::other(error)),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Connection<Vec<u8>, Vec<u8>, Bytes> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.receiver.read(buffer)
    }
}

impl Write for Connection<Vec<u8>, Vec<u8>, Bytes> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.sender.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
