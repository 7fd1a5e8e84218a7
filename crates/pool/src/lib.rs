//! Pools of worker processes that survive kill -9.
//!
//! ```rust,standalone_crate
//! use multiproc_pool::Pool;
//!
//! fn square(n: u64) -> u64 {
//!     n * n
//! }
//!
//! let pool = Pool::new(2)?; // two workers, and a process that keeps them
//! assert_eq!(pool.apply(square, 7)?, 49);
//! assert_eq!(pool.map(square, 0..4)?, [0, 1, 4, 9]);
//! let later = pool.apply_async(square, 8)?.callback(|n| println!("{n} came"));
//! assert_eq!(later.get()?, 64);
//! for result in pool.imap(square, 0..3)? {
//!     println!("{}", result?);
//! }
//! pool.close().join()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | type | is |
//! |---|---|
//! | [`Pool`] | the workers: made, closed, terminated, joined |
//! | [`Tasks`] | gives tasks: `apply`, `map`, `imap` and their kin, with timeout, retries, chunk size; a pool derefs to it, threads have clones |
//! | [`AsyncResult`] | a result on its way: `get`, callbacks, `cancel`; a future |
//! | [`Imap`] | results one by one, while the items are taken from an iterator |
//! | [`CapturingPool`] | a pool around a closure |
//!
//! # What a task is
//!
//! A plain function, or a closure that captures nothing, of one argument (a tuple, for more); and
//! the argument: anything with serde, handles (queues, pipes, sockets) among it. What it returns
//! comes back the same way; its own `Err` is a value. A [`TaskError`] says that no value came: the
//! task panicked (with message, place and backtrace), its worker died, it took too long, it was
//! cancelled, or something could not be encoded.
//!
//! # The processes
//!
//! ```text
//!           ┌───── tasks' ring ──────────────────────▶ worker ─┐
//!   owner ──┤                                        ▶ worker ─┤
//!     ▲     └─ commands ──▶ keeper ── forks, collects ─▶ …     │
//!     │                       │ what the dead had              │
//!     └──── answers' ring ◀───┴────────────────────────────────┘
//! ```
//!
//! The *keeper* is a process with one thread that forks the workers, and new ones in their place;
//! the owner may have threads, and so could not. Workers take tasks from one ring, first come first
//! served, and put answers into another. Whoever waits in the owner reads that ring himself: no
//! thread stands between. Beside the rings lies a *board* of words: who runs what, who sleeps,
//! what was cancelled.
//!
//! # The states of a task
//!
//! ```text
//!   queued ──▶ running ──▶ answered
//!     │           │ worker dies, or is killed for it (timeout, cancelled)
//!     │           ├──▶ lost: queued again where retries were asked for, else an error
//!     └─ cancelled: passed over
//! ```
//!
//! # Invariants
//!
//! 1. Each task has one outcome. The owner's table of open tasks decides: what comes for a task
//!    that is not in it, or of an attempt that was given up, is dropped.
//! 2. A worker's slot on the board names its task from before the record leaves the ring until
//!    after the answer is put. So whatever a dead worker had is found in its slot, or is still in
//!    the ring, or has its answer.
//! 3. A worker is killed for a task only after that very task was marked in its slot; it ends a
//!    task only if there is no mark. So no kill hits the task after.
//! 4. Nothing of the user's runs under a lock that another result needs, and a panic of it is caught.
//! 5. A record that was scribbled over is an error, never a jump: functions are named by numbers
//!    with a seal over a secret of this pool ([`Functions`](multiproc_process::Functions)).
//!
//! # If a process dies here
//!
//! | who | when | then |
//! |---|---|---|
//! | worker | idle | another takes its place |
//! | worker | with a task | that task is lost ([`TaskError::WorkerLost`]) or tried again; another takes its place; all others go on |
//! | worker | after it has put the answer | the answer counts |
//! | worker | in its initializer | another takes its place; nine times in one place: the pool ends, with an error |
//! | keeper | any time | its workers are killed with it; every open task, and `join`, say so |
//! | owner | any time | keeper and workers end |
//!
//! A task that is tried again is run again from its begin: what it did before is done twice.
//!
//! # Threads
//!
//! A pool may be used from any number of threads. It has a thread of its own from the first
//! callback, progress hook or poll of a future on, until it is joined or dropped; without one it
//! has none, so a program that only uses `apply`, `map` and `get` may go on forking.
#![forbid(unsafe_code)]

mod board;
mod call;
mod capturing;
mod error;
mod imap;
mod keeper;
mod owner;
mod pool;
mod record;
mod result;
mod setup;
mod tasks;
mod ticket;
mod worker;

pub use board::MOST_WORKERS;
pub use capturing::{CapturingPool, CapturingTasks};
pub use error::{CreateError, Ended, GetTimeoutError, JoinError, NotReady, SubmitError, TaskError};
pub use imap::Imap;
pub use pool::{BasicPool, Builder, Closing, Pool};
pub use result::{AsyncResult, Awaited};
pub use tasks::Tasks;
pub use ticket::Progress;

/// The README is a test, too.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
