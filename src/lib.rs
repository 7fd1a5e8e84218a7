//! Python's `multiprocessing` for Rust: processes, and what they share.
//!
//! ```rust,standalone_crate
//! use multiproc::{self as mp, Process, Queue};
//!
//! fn main() -> mp::Result {
//!     let (tx, rx) = Queue::<String>::bounded(100)?.split();
//!     let producer = Process::start(move || -> mp::Result {
//!         for i in 0..1_000 { tx.put(format!("m{i}"))?; }
//!         Ok(())
//!     })?; // `tx` belongs to the child now
//!     let consumer = Process::start(move || -> mp::Result {
//!         for message in rx { println!("got {}", message?); }
//!         Ok(())
//!     })?; // the loop ends by itself, also after a kill -9
//!     mp::join_all([producer, consumer])
//! }
//! ```
//!
//! Any participant may be killed with SIGKILL at any instruction: nobody else hangs,
//! nothing committed is lost, and no data is torn unnoticed.
//!
//! # What is where
//!
//! | crate | holds |
//! |---|---|
//! | [`process`] | [`Process`], exit codes, daemons, the test runner [`test`](mod@test) |
//! | [`queue`] | [`Queue`], its registered ends, [`SimpleQueue`], [`JoinableQueue`], codecs |
//! | [`segment`] | [`Shared<T>`](Shared), names, [`Shareable`](trait@Shareable) |
//! | [`ring`], [`core`] | what these are built on: records, waits, robust locks |
//!
//! # Two programs that meet at a queue
//!
//! ```rust,standalone_crate
//! use multiproc::{self as mp, Process, Queue};
//! use serde::{Deserialize, Serialize};
//! use std::time::Duration;
//!
//! #[derive(Serialize, Deserialize, Debug)]
//! struct Job { id: u32, path: String }
//!
//! fn program_one(name: &str) -> mp::Result {
//!     let jobs = Queue::<Job>::options().capacity(1_000).mode(0o660).create(name)?;
//!     for job in &jobs { println!("{:?}", job?); }
//!     Ok(())
//! }
//! fn program_two(name: &str) -> mp::Result {
//!     let jobs = Queue::<Job>::open(name)?; // another item type is refused, saying both
//!     jobs.put_timeout(Job { id: 1, path: "a.txt".into() }, Duration::from_secs(1))?;
//!     Ok(())
//! }
//!
//! # fn main() -> mp::Result {
//! # let name = format!("facade-doc-{}", std::process::id());
//! # let one = Process::start(|| program_one(&name))?;
//! # while let Err(mp::segment::OpenError::NotFound(_)) = Queue::<Job>::open(&name) {
//! #     std::thread::yield_now();
//! # }
//! # program_two(&name)?;
//! # Queue::<Job>::open(&name)?.shut_down();
//! # Queue::<Job>::unlink(&name)?;
//! # mp::join_all([one])
//! # }
//! ```

//!
//! # A work queue that one can wait for
//!
//! ```rust,standalone_crate
//! use multiproc::{self as mp, JoinableQueue, Process};
//!
//! fn main() -> mp::Result {
//!     let jobs = JoinableQueue::<u32>::unbounded()?;
//!     let _workers = Process::builder().daemon(true).start_each(0..4, |_| -> mp::Result {
//!         loop {
//!             let job = jobs.get_task()?; // done on drop; redelivered if this process dies
//!             println!("{} does {}", mp::current().name(), *job);
//!         }
//!     })?;
//!     for n in 0..20 { jobs.put(n)?; }
//!     Ok(jobs.join()?)
//! }
//! ```

mod error;

pub use error::{Error, Result};

#[doc(inline)]
pub use multiproc_core as core;
#[doc(inline)]
pub use multiproc_process as process;
#[doc(inline)]
pub use multiproc_queue as queue;
#[doc(inline)]
pub use multiproc_ring as ring;
#[doc(inline)]
pub use multiproc_segment as segment;

pub use multiproc_process::{
    Builder, Exit, ExitValue, Fork, Process, Run, active_children, at_exit, cpu_count, current,
    fork, parent, test,
};
pub use multiproc_queue::{
    Consumer, GetError, GetTimeoutError, JoinableQueue, Producer, PutError, PutTimeoutError, Queue,
    SimpleQueue, TryGetError, TryPutError, codec,
};
pub use multiproc_segment::{Shareable, Shared, unlink};

/// Waits for all children, then says which was the first that failed; see
/// [`process::join_all`].
///
/// *Blocks until* every one has ended. *Wakes when* the last one ends. *If a peer dies*: a
/// killed child is one that failed; the wait for the others goes on.
///
/// # Errors
///
/// [`Error::JoinAll`] of the first, in the order given, that did not end with success.
pub fn join_all<I>(children: I) -> Result
where
    I: IntoIterator,
    I::Item: std::borrow::Borrow<Process>,
{
    Ok(multiproc_process::join_all(children)?)
}

/// The README is a test, too.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
