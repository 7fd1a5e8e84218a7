//! Queues between processes that survive kill -9.
//!
//! ```rust,standalone_crate
//! use multiproc_process::Process;
//! use multiproc_queue::Queue;
//!
//! let (tx, rx) = Queue::<String>::bounded(100)?.split();
//! let producer = Process::start(move || {
//!     for i in 0..3 {
//!         tx.put(format!("m{i}")).unwrap();
//!     }
//! })?; // `tx` belongs to the child now
//! let got: Vec<String> = rx.iter().collect::<Result<_, _>>()?; // ends with the child
//! assert_eq!(got, ["m0", "m1", "m2"]);
//! assert!(producer.join()?.success());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | type | is |
//! |---|---|
//! | [`Queue`] | both ends in one handle, for any number of processes |
//! | [`Producer`], [`Consumer`] | registered ends: the other side notices when all are gone |
//! | [`JoinableQueue`] | a queue that one can wait for: `task_done` and `join` |
//! | [`Queue::put_many`], [`Queue::get_many`] | several messages in one step |
//! | [`Queue::put_loan`], [`Queue::get_loan`] | bytes written and read in place |
//! | [`SimpleQueue`] | `put`, `get`, `is_empty`, `close`, a loop over it, and no more |
//! | [`codec`] | how messages become bytes: serde (the default), plain data, bytes |
//!
//! # What a put promises
//!
//! There is no feeder thread. When `put` has returned, the message is in shared memory:
//! every reader sees it, and the writer may exit or die at once. What cannot be encoded is
//! an error from `put` itself, which hands the message back; nothing of it was written.
//!
//! # States
//!
//! A message is *not there* → *queued* (the ring's COMMIT, the last step of a put) → *gone*
//! (its RELEASE, the last step of a get). A queue is *open* → *shut down*
//! ([`Queue::shut_down`], for everybody: puts fail, gets take what is left). Apart from
//! that, a process may [`Queue::close`] its own use; others go on.
//!
//! # If a process dies here
//!
//! * inside `put`: its message was never there, or is whole.
//! * inside `get`: the message is still queued, for another reader; or it is gone with the
//!   one that took it, if the last step was done.
//! * while it waits: nobody else notices.
//! * holding the last registered producer (consumer): the others' `get` gives what is
//!   left, then [`GetError::Closed`] (their `put` gives [`PutError::Closed`]), within a
//!   slice of 50 ms.
//!
//! This crate adds no state to the ring's: see `multiproc_ring` for the words and their
//! invariants.
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "tokio")]
mod asynchronous;
mod ends;
mod error;
mod joinable;
mod loan;
mod many;
mod options;
mod queue;
mod ready;
mod simple;
mod travel;

pub use ends::{Consumer, Iter, Producer};
pub use error::{
    CreateError, GetError, GetTimeoutError, OpenError, OpenOrCreateError, PutError,
    PutTimeoutError, RegisterError, TryGetError, TryPutError, UnlinkError,
};
pub use joinable::{JoinError, JoinTimeoutError, JoinableQueue, Task, TaskDoneError};
pub use many::PutManyError;
pub use multiproc_message::codec;
pub use multiproc_message::loan::{NotThatSlice, ReadLoan, WriteLoan};
pub use multiproc_message::ready::{Ready, Source, WaitError, wait};
pub use options::QueueOptions;
pub use queue::Queue;
pub use simple::SimpleQueue;

/// The README is a test, too.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
