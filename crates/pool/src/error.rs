use crate::board::MOST_WORKERS;
use multiproc_process::{Exit, StartError};
use serde::{Deserialize, Serialize};
use std::fmt;
use thiserror::Error;

/// Why a pool was not made. Nothing is left behind.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CreateError {
    /// A pool without workers does nothing.
    #[error("a pool needs at least one worker")]
    NoWorkers,
    /// More than a pool can have.
    #[error("a pool has at most {MOST_WORKERS} workers, not {0}")]
    TooManyWorkers(usize),
    /// A worker that does no task at all.
    #[error("a worker must be allowed at least one task before it is replaced")]
    NoTasksPerChild,
    /// Its memory was not to be had.
    #[error(transparent)]
    Segment(#[from] multiproc_segment::CreateError),
    /// The process that keeps the workers was not started.
    #[error("the pool's keeper was not started: {0}")]
    Keeper(#[source] StartError),
    /// A worker was not started; those before it were stopped.
    #[error("the pool's workers were not started: {0}")]
    Worker(String),
    /// The system refused.
    #[error("the system did not make what a pool needs: {0}")]
    System(#[from] std::io::Error),
}

/// Why a pool works no more.
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Ended {
    /// It was closed, and everything was done.
    #[error("the pool was closed")]
    Closed,
    /// It was terminated, or dropped.
    #[error("the pool was terminated")]
    Terminated,
    /// The process that keeps the workers died, and they with it.
    #[error("the pool's keeper died")]
    KeeperDied,
    /// Workers end in their initializer again and again.
    #[error("the pool's workers cannot begin: {0}")]
    Initializer(String),
    /// No worker can be started in the place of those that died.
    #[error("the pool's workers cannot be replaced: {0}")]
    Workers(String),
    /// Somebody wrote garbage into the pool's shared memory.
    #[error("the pool's shared memory is corrupted")]
    Corrupted,
}

/// Why no value came of a task. (An `Err` that the task itself returns is a value.)
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum TaskError {
    /// The task panicked.
    #[error("the task panicked at {location}: {message}")]
    Panicked {
        /// What it said.
        message: String,
        /// Where: file, line and column.
        location: String,
        /// How it got there, in the worker.
        backtrace: String,
    },
    /// The worker ended in the middle of the task, and of each other attempt at it.
    #[error("the task's worker {exit}, at attempt {attempts}")]
    WorkerLost {
        /// How the last of them ended.
        exit: Exit,
        /// How often it was tried.
        attempts: u32,
    },
    /// The task took longer than it may; its worker was replaced.
    #[error("the task took longer than it may")]
    Timeout,
    /// The task was cancelled.
    #[error("the task was cancelled")]
    Cancelled,
    /// What it was to return, or its arguments, could not be encoded or decoded.
    #[error("the task's arguments or result cannot be sent between processes: {0}")]
    NotSerialisable(String),
    /// The iterator of arguments panicked, and said this.
    #[error("the iterator over the arguments panicked: {0}")]
    Input(String),
    /// The pool did not take it.
    #[error(transparent)]
    NotSubmitted(#[from] SubmitError<()>),
    /// The pool ended before the task did.
    #[error("the task has no result: {0}")]
    PoolEnded(#[from] Ended),
    /// Somebody has got the result already.
    #[error("the result was taken before")]
    Taken,
    /// A pool belongs to the process that made it, and this is another one.
    #[error("the pool belongs to the process that made it")]
    NotOwner,
}

/// Why a pool did not take a task. The arguments come back.
#[derive(Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum SubmitError<A> {
    /// The pool was closed or has ended.
    #[error("the pool takes no tasks: {1}")]
    Closed(A, Ended),
    /// The arguments cannot be encoded, or handles in them cannot travel.
    #[error("the arguments cannot be sent to another process: {1}")]
    Encode(A, String),
    /// More tasks wait than there is memory for.
    #[error("the pool has no room for more tasks")]
    Full(A),
    /// The encoded arguments are larger than can ever be sent.
    #[error("arguments of {bytes} bytes do not fit: at most {most} do")]
    TooLarge {
        /// The arguments.
        arguments: A,
        /// Their bytes.
        bytes: usize,
        /// Bytes that fit.
        most: usize,
    },
    /// The function is not part of the program's own file, so a worker would not find it.
    #[error("the function is not part of the program's own file, so a worker cannot find it")]
    Function(A),
    /// A chunk has at least one task.
    #[error("a chunk has at least one task")]
    NoChunk(A),
    /// A pool belongs to the process that made it, and this is another one.
    #[error("the pool belongs to the process that made it")]
    NotOwner(A),
}

impl<A> SubmitError<A> {
    /// The arguments that were not taken.
    pub fn into_arguments(self) -> A {
        match self {
            Self::Closed(arguments, _)
            | Self::Encode(arguments, _)
            | Self::Full(arguments)
            | Self::TooLarge { arguments, .. }
            | Self::Function(arguments)
            | Self::NoChunk(arguments)
            | Self::NotOwner(arguments) => arguments,
        }
    }

    /// The error alone; the arguments are dropped.
    pub fn without_arguments(self) -> SubmitError<()> {
        self.with(()).0
    }

    /// The same error with other arguments, and those that it had.
    pub(crate) fn with<B>(self, other: B) -> (SubmitError<B>, A) {
        match self {
            Self::Closed(a, why) => (SubmitError::Closed(other, why), a),
            Self::Encode(a, why) => (SubmitError::Encode(other, why), a),
            Self::Full(a) => (SubmitError::Full(other), a),
            Self::TooLarge {
                arguments,
                bytes,
                most,
            } => (
                SubmitError::TooLarge {
                    arguments: other,
                    bytes,
                    most,
                },
                arguments,
            ),
            Self::Function(a) => (SubmitError::Function(other), a),
            Self::NoChunk(a) => (SubmitError::NoChunk(other), a),
            Self::NotOwner(a) => (SubmitError::NotOwner(other), a),
        }
    }
}

impl<A> fmt::Debug for SubmitError<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SubmitError({self})")
    }
}

impl Clone for SubmitError<()> {
    fn clone(&self) -> Self {
        match self {
            Self::Closed((), why) => Self::Closed((), why.clone()),
            Self::Encode((), why) => Self::Encode((), why.clone()),
            Self::Full(()) => Self::Full(()),
            Self::TooLarge { bytes, most, .. } => Self::TooLarge {
                arguments: (),
                bytes: *bytes,
                most: *most,
            },
            Self::Function(()) => Self::Function(()),
            Self::NoChunk(()) => Self::NoChunk(()),
            Self::NotOwner(()) => Self::NotOwner(()),
        }
    }
}

impl PartialEq for SubmitError<()> {
    fn eq(&self, other: &Self) -> bool {
        self.to_string() == other.to_string()
    }
}

impl Eq for SubmitError<()> {}

/// Why `get_timeout` has no value.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum GetTimeoutError {
    /// The task was not done before the deadline. It goes on, and can be asked for again.
    #[error("the task was not done before the deadline")]
    #[doc(alias = "TimeoutError")]
    Timeout,
    /// There is no value and will be none.
    #[error(transparent)]
    Task(#[from] TaskError),
}

/// [`AsyncResult::successful`](crate::AsyncResult::successful) was asked before the task was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the task is not done")]
pub struct NotReady;

/// Why a pool did not end as it should.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum JoinError {
    /// It had ended before, by itself.
    #[error(transparent)]
    Ended(#[from] Ended),
    /// A pool belongs to the process that made it, and this is another one.
    #[error("the pool belongs to the process that made it")]
    NotOwner,
    /// The system did not tell how the keeper ended.
    #[error("the end of the pool's keeper cannot be waited for: {0}")]
    Keeper(#[from] multiproc_process::JoinError),
}
