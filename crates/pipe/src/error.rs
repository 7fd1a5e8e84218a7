use crate::address::{Address, InvalidAddress};
use crate::handshake::HandshakeError;
use multiproc_message::{get_errors, put_errors};
use std::io;
use thiserror::Error;

pub use multiproc_core::ends::RegisterError;
pub use multiproc_segment::CreateError;

put_errors! {
    "connection":
    /// Why `send` did not send. The message comes back. `Closed` is what Python calls a broken
    /// pipe.
    #[doc(alias = "BrokenPipeError")]
    SendError {}
    /// Why `try_send` did not send. The message comes back.
    TrySendError {
        /// As many bytes wait to be received as may be.
        Full("the connection is full")
    }
    /// Why `send_timeout` did not send. The message comes back.
    SendTimeoutError {
        /// Full until the deadline; a `recv` would make room.
        Timeout("the connection was full until the deadline")
    }
}

get_errors! {
    "connection":
    /// Why `recv` has no message. `Closed` is the end of the stream.
    #[doc(alias = "EOFError")]
    RecvError {}
    /// Why `try_recv` has no message.
    TryRecvError {
        /// Nothing was sent that was not received.
        Empty("nothing to receive")
    }
    /// Why `recv_timeout` has no message.
    RecvTimeoutError {
        /// Nothing came until the deadline.
        Timeout("nothing came until the deadline")
    }
}

/// Why `recv_bytes` has no message.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RecvBytesError {
    /// The message is longer than allowed. It is lost, and this end receives no more, as in
    /// Python: whoever sends more than was agreed may send anything.
    #[error("a message of {len} bytes came where at most {most} were allowed")]
    TooLong {
        /// Its bytes.
        len: usize,
        /// The bytes allowed.
        most: usize,
    },
    /// As `recv`.
    #[error(transparent)]
    Recv(#[from] RecvError),
}

/// A message that is longer than the buffer given for it: here it is. It is received.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("a message of {} bytes did not fit into the buffer of {room}", message.len())]
pub struct BufferTooShort {
    /// The message, complete.
    pub message: Vec<u8>,
    /// Bytes that would have fitted.
    pub room: usize,
}

/// Why `recv_bytes_into` has no message in the buffer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RecvBytesIntoError {
    /// See there.
    #[error(transparent)]
    TooShort(#[from] BufferTooShort),
    /// As `recv`.
    #[error(transparent)]
    Recv(#[from] RecvError),
}

/// Why nobody listens.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BindError {
    /// The text is no address.
    #[error(transparent)]
    Address(#[from] InvalidAddress),
    /// Somebody listens there already.
    #[error("{0} is in use")]
    InUse(Address),
    /// What the system says.
    #[error("cannot listen on {address}: {source}")]
    Io {
        /// Where.
        address: Address,
        /// Why not.
        source: io::Error,
    },
}

/// Why nobody was accepted. The listener goes on with the next.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AcceptError {
    /// Somebody came, and it did not work out.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    /// The listener was closed.
    #[error("the listener is closed")]
    Closed,
    /// What the system says; above all that no descriptors are left.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Why `accept_timeout` accepted nobody.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AcceptTimeoutError {
    /// Nobody came before the deadline.
    #[error("nobody connected before the deadline")]
    Timeout,
    /// As without one.
    #[error(transparent)]
    Accept(#[from] AcceptError),
}

/// Why there is no connection.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The text is no address.
    #[error(transparent)]
    Address(#[from] InvalidAddress),
    /// There is nobody.
    #[error("nobody listens on {0}")]
    NotFound(Address),
    /// It did not work out.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    /// What the system says.
    #[error("cannot connect to {address}: {source}")]
    Io {
        /// Where.
        address: Address,
        /// Why not.
        source: io::Error,
    },
}

impl From<std::convert::Infallible> for BindError {
    fn from(never: std::convert::Infallible) -> Self {
        match never {}
    }
}

impl From<std::convert::Infallible> for ConnectError {
    fn from(never: std::convert::Infallible) -> Self {
        match never {}
    }
}
