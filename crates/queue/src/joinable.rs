use crate::codec::{Codec, GetFailure, Serde, with_scratch};
use crate::ends::Iter;
use crate::error::{
    CreateError, GetError, GetTimeoutError, OpenError, PutError, PutTimeoutError, TryGetError,
    TryPutError, UnlinkError,
};
use crate::queue::Queue;
use multiproc_core::deadline::Deadline;
use multiproc_parcel as parcel;
use multiproc_ring::{GetError as RingGetError, Ring, Task as RingTask, TasksLost, Wait};
use serde::{Serialize, de::DeserializeOwned};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::time::Duration;
use thiserror::Error;

/// A queue that one can wait for: every message is to be reported done, and
/// [`JoinableQueue::join`] waits until all are.
///
/// The count rises in `put`, before any get; so a join right after a put waits. A join looks
/// again when it wakes: a put between "nothing unfinished" and the wake-up extends the wait.
///
/// ```rust,standalone_crate
/// use multiproc_process::Process;
/// use multiproc_queue::JoinableQueue;
///
/// let jobs = JoinableQueue::<u32>::unbounded()?;
/// let workers = Process::builder().daemon(true).start_each(0..2, |_| {
///     while let Ok(job) = jobs.get_task() {
///         assert!(*job < 20); // done on drop; delivered again if this process dies
///     }
/// })?;
/// for n in 0..20 {
///     jobs.put(n)?;
/// }
/// jobs.join()?;
/// # drop(workers);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[doc(alias = "multiprocessing.JoinableQueue")]
#[derive(Debug)]
pub struct JoinableQueue<T, C = Serde> {
    queue: Queue<T, C>,
    redeliver_on_panic: bool,
}

/// A message taken as a task: reported done when it is dropped, delivered again if this
/// process dies before.
///
/// Handles and descriptors in a message come with its first delivery only: one that has some and
/// is delivered again is `Decode`.
///
/// A task whose holder panics is done, too, unless the queue says otherwise
/// ([`JoinableQueue::redeliver_on_panic`]).
#[must_use = "a task is done when it is dropped"]
pub struct Task<'a, T> {
    message: T,
    claim: Option<RingTask<'a>>,
    redeliver_on_panic: bool,
}

impl<T> Task<'_, T> {
    /// How often it was delivered, this time included: 1 unless a holder died with it or
    /// gave it back.
    pub fn attempt(&self) -> u32 {
        self.claim.as_ref().map_or(1, RingTask::attempt)
    }

    /// Reports it done, as dropping it does.
    pub fn done(self) {}

    /// Gives it back: it is delivered again, to whoever asks next.
    pub fn give_back(mut self) {
        if let Some(claim) = self.claim.take() {
            claim.give_back();
        }
    }
}

impl<T> Deref for Task<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.message
    }
}

impl<T> DerefMut for Task<'_, T> {
    /// This process's copy; what is delivered again after a death is the original.
    fn deref_mut(&mut self) -> &mut T {
        &mut self.message
    }
}

impl<T> Drop for Task<'_, T> {
    fn drop(&mut self) {
        match self.claim.take() {
            Some(claim) if self.redeliver_on_panic && std::thread::panicking() => claim.give_back(),
            Some(claim) => claim.done(),
            None => {}
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for Task<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task")
            .field("message", &self.message)
            .field("attempt", &self.attempt())
            .finish()
    }
}

/// Why `join` did not wait to the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum JoinError {
    /// So many were taken by plain gets of processes that died before they reported. They
    /// are written off: the next join does not tell of them again.
    #[error("{0} tasks were lost with the processes that had taken them")]
    TasksLost(usize),
    /// This process closed the queue.
    #[error("the queue is closed")]
    Closed,
}

/// Why `join_timeout` did not wait to the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum JoinTimeoutError {
    /// As [`JoinError::TasksLost`].
    #[error("{0} tasks were lost with the processes that had taken them")]
    TasksLost(usize),
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

// Bounds on each function: there the compiler says what to derive.
impl<T> JoinableQueue<T> {
    /// As [`Queue::bounded`].
    ///
    /// # Errors
    ///
    /// [`CreateError`].
    pub fn bounded(capacity: usize) -> Result<Self, CreateError>
    where
        T: Serialize + DeserializeOwned,
    {
        Ok(Queue::bounded(capacity)?.into())
    }

    /// As [`Queue::unbounded`].
    ///
    /// # Errors
    ///
    /// [`CreateError`].
    pub fn unbounded() -> Result<Self, CreateError>
    where
        T: Serialize + DeserializeOwned,
    {
        Ok(Queue::unbounded()?.into())
    }
}

impl<T: Serialize + DeserializeOwned> JoinableQueue<T> {
    /// As [`Queue::create`]. (With other options: any queue can be made joinable by `into()`.)
    ///
    /// # Errors
    ///
    /// [`CreateError`], among them `AlreadyExists`; nothing is left behind.
    pub fn create(name: &str) -> Result<Self, CreateError> {
        Ok(Queue::create(name)?.into())
    }

    /// As [`Queue::open`]: to open as joinable what was made as a queue is no error.
    ///
    /// # Errors
    ///
    /// [`OpenError`] says what was expected and what was found.
    pub fn open(name: &str) -> Result<Self, OpenError> {
        Ok(Queue::open(name)?.into())
    }
}

impl<T> JoinableQueue<T> {
    /// As [`Queue::unlink`].
    ///
    /// # Errors
    ///
    /// [`UnlinkError`].
    pub fn unlink(name: &str) -> Result<(), UnlinkError> {
        Queue::<T>::unlink(name)
    }
}

impl<T, C> From<Queue<T, C>> for JoinableQueue<T, C> {
    /// Any queue can be joined, also a named one; what was put before counts.
    fn from(queue: Queue<T, C>) -> Self {
        Self {
            queue,
            redeliver_on_panic: false,
        }
    }
}

impl<T, C> JoinableQueue<T, C> {
    /// The queue itself.
    pub fn queue(&self) -> &Queue<T, C> {
        &self.queue
    }

    /// Whether a task whose holder panics is delivered again; not so by default.
    #[must_use]
    pub fn redeliver_on_panic(mut self, redeliver: bool) -> Self {
        self.redeliver_on_panic = redeliver;
        self
    }

    pub(crate) fn ring_of(&self) -> &Ring {
        &self.queue.ring
    }

    pub(crate) fn redelivers_on_panic(&self) -> bool {
        self.redeliver_on_panic
    }

    /// Messages queued, as [`Queue::len`], with tasks that wait to be delivered again.
    #[doc(alias = "qsize")]
    pub fn len(&self) -> usize {
        self.queue.len() + self.queue.ring.orphans()
    }

    /// Nothing queued?
    #[doc(alias = "empty")]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// As many queued as may be?
    #[doc(alias = "full")]
    pub fn is_full(&self) -> bool {
        self.queue.is_full()
    }

    /// Messages put and not yet reported done.
    pub fn unfinished(&self) -> usize {
        self.queue.ring.unfinished()
    }

    /// Ends this process's use, as [`Queue::close`].
    pub fn close(&self) {
        self.queue.close();
    }

    /// Ends the queue for everybody, as [`Queue::shut_down`].
    pub fn shut_down(&self) {
        self.queue.shut_down();
    }

    /// Reports one message done.
    ///
    /// # Errors
    ///
    /// [`TaskDoneError::TooMany`]; nothing changed.
    pub fn task_done(&self) -> Result<(), TaskDoneError> {
        if self.queue.ring.task_done() {
            Ok(())
        } else {
            Err(TaskDoneError::TooMany)
        }
    }

    /// *Blocks until* every message put was reported done. *Wakes when* the last one is.
    /// *If a peer dies* with a task ([`JoinableQueue::get_task`]), another gets it, and the
    /// wait goes on; or, delivered too often, it becomes a dead letter, also if nobody asks for
    /// tasks any more; with a message from a plain `get`, that one is lost: `TasksLost`, once
    /// nothing else is unfinished.
    ///
    /// # Errors
    ///
    /// [`JoinError`].
    pub fn join(&self) -> Result<(), JoinError> {
        if self.queue.is_closed_here() {
            return Err(JoinError::Closed);
        }
        match self.queue.ring.join(Deadline::NEVER) {
            Ok(_) => Ok(()),
            Err(TasksLost(n)) => Err(JoinError::TasksLost(n)),
        }
    }

    /// [`JoinableQueue::join`] with a deadline. *Blocks until* every message was reported
    /// done or `timeout` is over. *Wakes when* the last one is. *If a peer dies*: as `join`.
    ///
    /// # Errors
    ///
    /// [`JoinTimeoutError`].
    pub fn join_timeout(&self, timeout: Duration) -> Result<(), JoinTimeoutError> {
        if self.queue.is_closed_here() {
            return Err(JoinTimeoutError::Closed);
        }
        match self.queue.ring.join(Deadline::after(timeout)) {
            Ok(true) => Ok(()),
            Ok(false) => Err(JoinTimeoutError::Timeout {
                unfinished: self.unfinished(),
            }),
            Err(TasksLost(n)) => Err(JoinTimeoutError::TasksLost(n)),
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
        self.queue.put(message)
    }

    /// As [`Queue::try_put`].
    ///
    /// # Errors
    ///
    /// [`TryPutError`] hands the message back.
    #[doc(alias = "put_nowait")]
    pub fn try_put(&self, message: T) -> Result<(), TryPutError<T>> {
        self.queue.try_put(message)
    }

    /// As [`Queue::put_timeout`]: *blocks*, *wakes* and *if a peer dies* as there.
    ///
    /// # Errors
    ///
    /// [`PutTimeoutError`] hands the message back.
    pub fn put_timeout(&self, message: T, timeout: Duration) -> Result<(), PutTimeoutError<T>> {
        self.queue.put_timeout(message, timeout)
    }

    fn get_by(&self, deadline: Deadline) -> Result<T, GetFailure> {
        self.check()?;
        let in_vain = |_| self.queue.is_closed_here();
        let wait = Wait {
            deadline,
            in_vain: &in_vain,
        };
        self.looked(with_scratch(|scratch| {
            let mut fds = Vec::new();
            self.ring_of().get_counted(scratch, &mut fds, wait)?;
            parcel::unpack(fds, || C::decode(scratch)).map_err(GetFailure::Decode)
        }))
    }

    fn task_by(&self, deadline: Deadline) -> Result<Task<'_, T>, GetFailure> {
        self.check()?;
        let in_vain = |_| self.queue.is_closed_here();
        let wait = Wait {
            deadline,
            in_vain: &in_vain,
        };
        self.looked(with_scratch(|scratch| {
            let mut fds = Vec::new();
            let claim = self.ring_of().take_task(scratch, &mut fds, wait)?;
            match parcel::unpack(fds, || C::decode(scratch)) {
                Ok(message) => Ok(Task {
                    message,
                    claim: Some(claim),
                    redeliver_on_panic: self.redeliver_on_panic,
                }),
                Err(why) => {
                    claim.done(); // it will not become a message by being delivered again
                    Err(GetFailure::Decode(why))
                }
            }
        }))
    }

    fn check(&self) -> Result<(), GetFailure> {
        match self.queue.is_closed_here() {
            true => Err(RingGetError::Closed.into()),
            false => Ok(()),
        }
    }

    /// Takes a message as a task: done when the guard is dropped, delivered again when this
    /// process dies before. One slow task stalls nobody.
    ///
    /// *Blocks until* there is one. *Wakes when* a writer puts one. *If a peer dies* holding
    /// a task, that is the next one, within a slice (50 ms) of somebody waiting for it.
    ///
    /// # Errors
    ///
    /// See [`GetError`]; `TooManyTasks` when 256 are in work.
    pub fn get_task(&self) -> Result<Task<'_, T>, GetError> {
        Ok(self.task_by(Deadline::NEVER)?)
    }

    /// As [`JoinableQueue::get_task`], if there is a task. Never blocks.
    ///
    /// # Errors
    ///
    /// See [`TryGetError`].
    pub fn try_get_task(&self) -> Result<Task<'_, T>, TryGetError> {
        Ok(self.task_by(Deadline::NOW)?)
    }

    /// As [`JoinableQueue::get_task`]. *Blocks until* there is one or `timeout` is over. *Wakes
    /// when* and *if a peer dies*: as there.
    ///
    /// # Errors
    ///
    /// See [`GetTimeoutError`].
    pub fn get_task_timeout(&self, timeout: Duration) -> Result<Task<'_, T>, GetTimeoutError> {
        Ok(self.task_by(Deadline::after(timeout))?)
    }

    /// The tasks that were delivered as often as `max_deliveries` allows and never done:
    /// taken off the list. They count as done for a join. A task whose last holder has died is one
    /// within a slice (50 ms) of somebody waiting for tasks, or for all of them ([`join`]).
    ///
    /// Does not wait for those who wait for tasks.
    ///
    /// [`join`]: JoinableQueue::join
    ///
    /// # Errors
    ///
    /// `Corrupted`, or `Decode` for one that is no message.
    pub fn take_dead_letters(&self) -> Result<Vec<T>, GetError> {
        let letters = self
            .ring_of()
            .take_dead_letters()
            .map_err(GetFailure::from)?;
        letters
            .iter()
            .map(|bytes| C::decode(bytes).map_err(GetError::Decode))
            .collect()
    }

    /// Takes a message; report it with [`JoinableQueue::task_done`]. *Blocks* and *wakes*: as
    /// [`Queue::get`]. *If a peer dies* between its `get` and its `task_done`, its message is
    /// lost: a join tells.
    ///
    /// # Errors
    ///
    /// See [`GetError`]; `TooManyTasks` when 256 processes have messages.
    pub fn get(&self) -> Result<T, GetError> {
        Ok(self.get_by(Deadline::NEVER)?)
    }

    /// As [`JoinableQueue::get`], if there is a message. Never blocks.
    ///
    /// # Errors
    ///
    /// See [`TryGetError`].
    #[doc(alias = "get_nowait")]
    pub fn try_get(&self) -> Result<T, TryGetError> {
        Ok(self.get_by(Deadline::NOW)?)
    }

    /// Messages as they come, until the queue is shut down or this process closed it; each to be
    /// reported with [`JoinableQueue::task_done`]. *Blocks*, *wakes*, and *if a peer dies*: as
    /// [`JoinableQueue::get`].
    ///
    /// ```
    /// use multiproc_queue::JoinableQueue;
    /// # let name = format!("joinable-doc-{}", std::process::id());
    /// # let name = name.as_str();
    ///
    /// let jobs = JoinableQueue::<u32>::create(name)?;
    /// let there = JoinableQueue::<u32>::open(name)?; // in this program or another
    /// jobs.put(1)?;
    /// jobs.put(2)?;
    /// jobs.shut_down();
    /// for job in &there {
    ///     println!("does {}", job?);
    ///     there.task_done()?;
    /// }
    /// jobs.join()?;
    /// JoinableQueue::<u32>::unlink(name)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn iter(&self) -> Iter<'_, T> {
        Iter::new(move || self.get())
    }

    /// As [`JoinableQueue::get`]. *Blocks until* there is a message or `timeout` is over.
    /// *Wakes when* and *if a peer dies*: as there.
    ///
    /// # Errors
    ///
    /// See [`GetTimeoutError`].
    pub fn get_timeout(&self, timeout: Duration) -> Result<T, GetTimeoutError> {
        Ok(self.get_by(Deadline::after(timeout))?)
    }
}

impl<'a, T, C: Codec<T>> IntoIterator for &'a JoinableQueue<T, C> {
    type Item = Result<T, GetError>;
    type IntoIter = Iter<'a, T>;

    /// As [`JoinableQueue::iter`].
    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}

impl<T, C> Clone for JoinableQueue<T, C> {
    fn clone(&self) -> Self {
        Self {
            queue: self.queue.clone(),
            redeliver_on_panic: self.redeliver_on_panic,
        }
    }
}
