use crate::codec::{Codec, Serde};
use crate::error::{
    CreateError, GetError, GetTimeoutError, PutError, PutTimeoutError, TryGetError, TryPutError,
};
use crate::queue::Queue;
use multiproc_core::deadline::Deadline;
use serde::{Serialize, de::DeserializeOwned};
use std::time::Duration;
use thiserror::Error;

/// A queue that one can wait for: every message is to be reported done, and
/// [`JoinableQueue::join`] waits until all are.
///
/// The count rises in `put`, before any get; so a join right after a put waits. A join looks
/// again when it wakes: a put between "nothing unfinished" and the wake-up extends the wait.
#[doc(alias = "multiprocessing.JoinableQueue")]
#[derive(Debug)]
pub struct JoinableQueue<T, C = Serde>(Queue<T, C>);

/// Why `join` did not wait to the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum JoinError {
    /// This process closed the queue.
    #[error("the queue is closed")]
    Closed,
}

/// Why `join_timeout` did not wait to the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum JoinTimeoutError {
    /// This process closed the queue.
    #[error("the queue is closed")]
    Closed,
    /// Some are unfinished still.
    #[error("{unfinished} tasks were unfinished at the deadline")]
    Timeout {
        /// How many.
        unfinished: usize,
    },
}

/// Why `task_done` was refused. The count is as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TaskDoneError {
    /// More reports than messages.
    #[error("task_done was called more often than there were messages")]
    TooMany,
}

impl<T: Serialize + DeserializeOwned> JoinableQueue<T> {
    /// As [`Queue::bounded`].
    ///
    /// # Errors
    ///
    /// [`CreateError`].
    pub fn bounded(capacity: usize) -> Result<Self, CreateError> {
        Ok(Self(Queue::bounded(capacity)?))
    }

    /// As [`Queue::unbounded`].
    ///
    /// # Errors
    ///
    /// [`CreateError`].
    pub fn unbounded() -> Result<Self, CreateError> {
        Ok(Self(Queue::unbounded()?))
    }
}

impl<T, C> From<Queue<T, C>> for JoinableQueue<T, C> {
    /// Any queue can be joined; what was put before counts.
    fn from(queue: Queue<T, C>) -> Self {
        Self(queue)
    }
}

impl<T, C> JoinableQueue<T, C> {
    /// The queue itself.
    pub fn queue(&self) -> &Queue<T, C> {
        &self.0
    }

    /// Messages queued, as [`Queue::len`].
    #[doc(alias = "qsize")]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Nothing queued?
    #[doc(alias = "empty")]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As many queued as may be?
    #[doc(alias = "full")]
    pub fn is_full(&self) -> bool {
        self.0.is_full()
    }

    /// Messages put and not yet reported done.
    pub fn unfinished(&self) -> usize {
        self.0.ring.unfinished()
    }

    /// Ends this process's use, as [`Queue::close`].
    pub fn close(&self) {
        self.0.close();
    }

    /// Ends the queue for everybody, as [`Queue::shut_down`].
    pub fn shut_down(&self) {
        self.0.shut_down();
    }

    /// Reports one message done.
    ///
    /// # Errors
    ///
    /// [`TaskDoneError::TooMany`]; nothing changed.
    pub fn task_done(&self) -> Result<(), TaskDoneError> {
        if self.0.ring.task_done() {
            Ok(())
        } else {
            Err(TaskDoneError::TooMany)
        }
    }

    /// *Blocks until* every message put was reported done. *Wakes when* the last one is.
    /// *If a peer dies* between its `get` and its `task_done`, nobody reports for it, and
    /// the wait goes on.
    ///
    /// # Errors
    ///
    /// [`JoinError`].
    pub fn join(&self) -> Result<(), JoinError> {
        if self.0.is_closed_here() {
            return Err(JoinError::Closed);
        }
        let _ = self.0.ring.join(Deadline::NEVER);
        Ok(())
    }

    /// [`JoinableQueue::join`] with a deadline. *Blocks until* every message was reported
    /// done or `timeout` is over. *Wakes when* the last one is. *If a peer dies*: as `join`.
    ///
    /// # Errors
    ///
    /// [`JoinTimeoutError`].
    pub fn join_timeout(&self, timeout: Duration) -> Result<(), JoinTimeoutError> {
        if self.0.is_closed_here() {
            return Err(JoinTimeoutError::Closed);
        }
        if self.0.ring.join(Deadline::after(timeout)) {
            Ok(())
        } else {
            Err(JoinTimeoutError::Timeout {
                unfinished: self.unfinished(),
            })
        }
    }
}

impl<T, C: Codec<T>> JoinableQueue<T, C> {
    /// Puts a message, and raises the count of unfinished ones. *Blocks*, *wakes* and *if a
    /// peer dies*: as [`Queue::put`].
    ///
    /// # Errors
    ///
    /// [`PutError`] hands the message back.
    pub fn put(&self, message: T) -> Result<(), PutError<T>> {
        self.0.put(message)
    }

    /// As [`Queue::try_put`].
    ///
    /// # Errors
    ///
    /// [`TryPutError`] hands the message back.
    #[doc(alias = "put_nowait")]
    pub fn try_put(&self, message: T) -> Result<(), TryPutError<T>> {
        self.0.try_put(message)
    }

    /// As [`Queue::put_timeout`]: *blocks*, *wakes* and *if a peer dies* as there.
    ///
    /// # Errors
    ///
    /// [`PutTimeoutError`] hands the message back.
    pub fn put_timeout(&self, message: T, timeout: Duration) -> Result<(), PutTimeoutError<T>> {
        self.0.put_timeout(message, timeout)
    }

    /// Takes a message; report it with [`JoinableQueue::task_done`]. *Blocks*, *wakes* and
    /// *if a peer dies*: as [`Queue::get`].
    ///
    /// # Errors
    ///
    /// See [`GetError`].
    pub fn get(&self) -> Result<T, GetError> {
        self.0.get()
    }

    /// As [`Queue::try_get`].
    ///
    /// # Errors
    ///
    /// See [`TryGetError`].
    #[doc(alias = "get_nowait")]
    pub fn try_get(&self) -> Result<T, TryGetError> {
        self.0.try_get()
    }

    /// As [`Queue::get_timeout`]: *blocks*, *wakes* and *if a peer dies* as there.
    ///
    /// # Errors
    ///
    /// See [`GetTimeoutError`].
    pub fn get_timeout(&self, timeout: Duration) -> Result<T, GetTimeoutError> {
        self.0.get_timeout(timeout)
    }
}

impl<T, C> Clone for JoinableQueue<T, C> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}
