//! Pipes between processes: two ends, each held by somebody, and an end of stream that comes.
//!
//! ```rust,standalone_crate
//! use multiproc_pipe::Pipe;
//! use multiproc_process::Process;
//!
//! // `Pipe::<Request, Reply>` where the two directions differ.
//! let (left, right) = Pipe::<u32>::duplex()?;
//! let echo = Process::start(move || {
//!     for n in &right {
//!         right.send(n.unwrap() + 1).unwrap();
//!     }
//! })?; // `right` belongs to the child now
//! let mut n = 0;
//! while n < 1_000 {
//!     left.send(n)?;
//!     n = left.recv()?;
//! }
//! drop(left); // the child's loop ends
//! assert!(echo.join()?.success());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | type | is |
//! |---|---|
//! | [`Pipe`] | makes the two ends: [`duplex`](Pipe::duplex), [`simplex`](Pipe::simplex), [`options`](Pipe::options) |
//! | [`Connection`] | an end that sends `S` and receives `R` |
//! | [`Sender`], [`Receiver`] | ends of one direction: the wrong one does not compile |
//! | [`Listener`], [`Client`] | connections between programs that were started apart |
//! | [`wait`] | for many connections, queues, processes and descriptors at a time |
//!
//! # States
//!
//! A direction is a ring of records with a table of those who may write and those who may read.
//! An end is *open* (its slot is owned by a living process) → *closed* (given up by `drop`,
//! [`close`](Connection::close) or the process's end; or its process was killed). A direction is
//! *flowing* → *ended*, when no writer is open: what was sent is received, then `Closed`; or →
//! *broken*, when no reader is open: sends are `Closed`.
//!
//! # Invariants
//!
//! 1. A message exists from one store on (the ring's COMMIT), whole; it is received by one. So
//!    several processes may share an end, and nothing is interleaved.
//! 2. Who holds an end is in its slot and nowhere else: descriptors and mappings that a forked
//!    sibling inherited say nothing. Moved into a child, an end belongs to the child; in a
//!    message it travels; borrowed by a child, the child registers its own.
//! 3. What was sent before an end closed is received before the end of the stream.
//!
//! # If a process dies here
//!
//! * in `send`: its message was never there, or is whole.
//! * in `recv`: the message is still there for others who share the end, or is gone with it.
//! * holding the last end of a side: the other side sees the end of the stream, or that the
//!   pipe is broken, within 100 ms.
//! * with an end in a message that nobody has taken: the end is closed.
//!
//! This crate adds no word of its own to the ring's and the ends' (see `multiproc_ring` and
//! `multiproc_core::ends`).
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod address;
#[cfg(feature = "tokio")]
mod asynchronous;
mod bytes;
mod connection;
mod ends;
mod error;
mod handshake;
mod listener;
mod options;
mod stream;
mod travel;

pub use address::{Address, InvalidAddress};
pub use connection::Connection;
pub use ends::{IntoIter, Iter, Receiver, Sender};
pub use error::{
    AcceptError, AcceptTimeoutError, BindError, BufferTooShort, ConnectError, CreateError,
    RecvBytesError, RecvBytesIntoError, RecvError, RecvTimeoutError, RegisterError, SendError,
    SendTimeoutError, TryRecvError, TrySendError,
};
pub use handshake::HandshakeError;
pub use listener::{Client, Listener, ListenerOptions};
pub use multiproc_message::codec;
pub use multiproc_message::loan::{NotThatSlice, ReadLoan, WriteLoan};
pub use multiproc_message::ready::{self, Ready, Source, WaitError, wait};
pub use options::{Pipe, PipeOptions};

/// The README is a test, too.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
