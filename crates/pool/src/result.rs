//! The result to come, in the owner's hands.

use crate::error::{GetTimeoutError, NotReady, TaskError};
use crate::owner::{Owner, key_of};
use crate::ticket::{Progress, Ticket};
use multiproc_core::deadline::Deadline;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

/// The result of a task, or of a map, that is on its way.
///
/// Dropping it changes nothing: the task is done all the same, and callbacks are called. It can
/// be awaited, too.
pub struct AsyncResult<T> {
    owner: Arc<Owner>,
    ticket: Arc<Ticket<T>>,
    /// The numbers of its tasks, neighbours together.
    tasks: Tasks,
}

/// Numbers of tasks, mostly one or one range.
#[derive(Debug, Default, Clone)]
pub(crate) struct Tasks(Vec<(u64, u64)>);

impl Tasks {
    pub(crate) fn add(&mut self, task: u64) {
        match self.0.last_mut() {
            Some((_, last)) if *last + 1 == task => *last = task,
            _ => self.0.push((task, task)),
        }
    }

    pub(crate) fn ranges(&self) -> &[(u64, u64)] {
        &self.0
    }
}

impl<T: Send + 'static> AsyncResult<T> {
    pub(crate) fn new(owner: Arc<Owner>, ticket: Arc<Ticket<T>>, tasks: Tasks) -> Self {
        Self {
            owner,
            ticket,
            tasks,
        }
    }

    /// The result.
    ///
    /// *Blocks until* it is there. *Wakes when* the answer comes, and callbacks have been called.
    /// *If a peer dies*: see [`TaskError::WorkerLost`]; nobody waits for the dead.
    ///
    /// # Errors
    ///
    /// [`TaskError`], where there is no value.
    pub fn get(self) -> Result<T, TaskError> {
        match self.wait_until(Deadline::NEVER)? {
            true => self.ticket.take(),
            false => Err(TaskError::Taken), // a deadline that never comes does not pass
        }
    }

    /// The result, if it comes in time. It can be had once.
    ///
    /// *Blocks until* it is there, or `timeout` is over. *Wakes when* the answer comes. *If a peer
    /// dies*: as [`AsyncResult::get`].
    ///
    /// # Errors
    ///
    /// [`GetTimeoutError`].
    pub fn get_timeout(&self, timeout: Duration) -> Result<T, GetTimeoutError> {
        match self.wait_until(Deadline::after(timeout))? {
            true => Ok(self.ticket.take()?),
            false => Err(GetTimeoutError::Timeout),
        }
    }

    /// The result, if it is there.
    ///
    /// # Errors
    ///
    /// [`GetTimeoutError`].
    pub fn try_get(&self) -> Result<T, GetTimeoutError> {
        self.get_timeout(Duration::ZERO)
    }

    fn wait_until(&self, deadline: Deadline) -> Result<bool, TaskError> {
        if !self.owner.is_here() {
            return Err(TaskError::NotOwner);
        }
        let done = || self.ticket.is_done();
        Ok(self.owner.wait_for(key_of(&self.ticket), deadline, &done))
    }

    /// Waits, and leaves the result where it is.
    ///
    /// *Blocks until* it is there. *Wakes when* the answer comes. *If a peer dies*: as
    /// [`AsyncResult::get`].
    pub fn wait(&self) {
        let _ = self.wait_until(Deadline::NEVER);
    }

    /// The same, for so long at most. Is it there?
    ///
    /// *Blocks until* it is there, or `timeout` is over. *Wakes when* the answer comes. *If a peer
    /// dies*: as [`AsyncResult::get`].
    #[must_use = "false: the result is not there"]
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        matches!(self.wait_until(Deadline::after(timeout)), Ok(true))
    }

    /// Is the result there? Never blocks.
    #[doc(alias = "ready")]
    pub fn is_ready(&self) -> bool {
        matches!(self.wait_until(Deadline::NOW), Ok(true))
    }

    /// As [`AsyncResult::is_ready`], under Python's name.
    pub fn ready(&self) -> bool {
        self.is_ready()
    }

    /// Is the result a value, and no error?
    ///
    /// # Errors
    ///
    /// [`NotReady`].
    pub fn successful(&self) -> Result<bool, NotReady> {
        match self.is_ready() {
            true => Ok(self.ticket.is_value()),
            false => Err(NotReady),
        }
    }

    /// Has `f` called with the value when it comes: in this process, in one thread for all
    /// callbacks of the pool, one after the other. `get` still works, and returns after the callback
    /// has. A callback that panics harms nobody (the panic's message is printed).
    pub fn callback(self, f: impl FnOnce(&T) + Send + 'static) -> Self {
        if self.owner.is_here() {
            self.owner.attend(self.ticket.set_callback(Box::new(f)));
        }
        self
    }

    /// Has `f` called with the error, if there is no value: as [`AsyncResult::callback`].
    pub fn error_callback(self, f: impl FnOnce(&TaskError) + Send + 'static) -> Self {
        if self.owner.is_here() {
            self.owner
                .attend(self.ticket.set_error_callback(Box::new(f)));
        }
        self
    }

    /// Has `f` called as the items of a map are done, in the callbacks' thread; perhaps not for each
    /// one, but for the last. A progress bar hangs on this:
    ///
    /// ```text
    /// let bar = indicatif::ProgressBar::new(items.len() as u64);
    /// let seen = bar.clone();
    /// pool.map_async(work, items)?.progress(move |p| seen.set_position(p.done as u64)).get()?;
    /// ```
    pub fn progress(self, f: impl FnMut(Progress) + Send + 'static) -> Self {
        if self.owner.is_here() {
            self.owner.attend(self.ticket.set_progress(Box::new(f)));
        }
        self
    }

    /// Cancels it: what has not begun does not run, and the workers of what has are killed and
    /// replaced. The outcome is [`TaskError::Cancelled`], for all that was not done. False if
    /// nothing was left to cancel, or if a thousand other groups of tasks that were cancelled still
    /// wait for their turn to be passed over; then the rest of it is done.
    pub fn cancel(&self) -> bool {
        if !self.owner.is_here() || self.is_ready() {
            return false;
        }
        self.owner.cancel(self.tasks.ranges())
    }
}

/// An [`AsyncResult`] that is awaited: what its [`IntoFuture::into_future`] gives.
///
/// A type of its own, as a future that nobody polls does nothing, and a task is done all the same.
#[derive(Debug)]
pub struct Awaited<T>(AsyncResult<T>);

impl<T: Send + 'static> IntoFuture for AsyncResult<T> {
    type Output = Result<T, TaskError>;
    type IntoFuture = Awaited<T>;

    fn into_future(self) -> Awaited<T> {
        Awaited(self)
    }
}

impl<T: Send + 'static> Future for Awaited<T> {
    type Output = Result<T, TaskError>;

    /// Ready as soon as the result is there. A thread of the pool's reads the answers meanwhile;
    /// any runtime will do.
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let AsyncResult { owner, ticket, .. } = &self.0;
        if !owner.is_here() {
            return Poll::Ready(Err(TaskError::NotOwner));
        }
        match ticket.set_waker(context.waker()) {
            None => Poll::Ready(ticket.take()),
            Some(watched) => {
                owner.attend((None, watched));
                Poll::Pending
            }
        }
    }
}

impl<T> fmt::Debug for AsyncResult<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncResult")
            .field("tasks", &self.tasks.0)
            .finish_non_exhaustive()
    }
}
