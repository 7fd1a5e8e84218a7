//! A pool around a closure that captures: inherited by its workers at the construction.

use crate::call::{CAPTURED, Call};
use crate::error::{CreateError, SubmitError, TaskError};
use crate::imap::{Imap, Order};
use crate::keeper::keep_with;
use crate::pool::{BasicPool, Builder, Closing};
use crate::result::AsyncResult;
use crate::tasks::Tasks;
use multiproc_process::{Process, StartError, StartMethod};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

/// A pool whose tasks all call one closure, which captured what it needs: see
/// [`Pool::capturing`](BasicPool::capturing).
pub struct CapturingPool<A, R, E> {
    pool: BasicPool<E>,
    tasks: CapturingTasks<A, R>,
}

/// A way to give arguments to a [`CapturingPool`]: what it gives by `Deref`, and clones of that.
pub struct CapturingTasks<A, R> {
    tasks: Tasks,
    types: PhantomData<fn(A) -> R>,
}

impl<E> BasicPool<E> {
    /// A pool around `f`, which may capture what it likes: its workers are forked and have a copy.
    /// It is dropped here; ends of queues and pipes that were moved into it are the keeper's then.
    ///
    /// Works where [`Process::start`] does: in a process with one thread.
    ///
    /// ```standalone_crate
    /// use multiproc_pool::Pool;
    ///
    /// let table = vec!["zero", "one", "two"];
    /// let names = Pool::capturing(2, |n: usize| table[n].to_owned())?;
    /// assert_eq!(names.map([2, 1, 0])?, ["two", "one", "zero"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Pool::new`](BasicPool::new).
    pub fn capturing<A, R, F>(workers: usize, f: F) -> Result<CapturingPool<A, R, E>, CreateError>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned + Send + 'static,
        F: Fn(A) -> R,
    {
        Self::builder().workers(workers).build_capturing(f)
    }
}

impl<E> Builder<E> {
    /// Makes a pool around a closure, as [`Pool::capturing`](BasicPool::capturing).
    ///
    /// # Errors
    ///
    /// [`CreateError`]; nothing is left behind. A start method other than fork is refused.
    pub fn build_capturing<A, R, F>(self, f: F) -> Result<CapturingPool<A, R, E>, CreateError>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned + Send + 'static,
        F: Fn(A) -> R,
    {
        if !matches!(self.method_of(), None | Some(StartMethod::Fork)) {
            return Err(CreateError::Keeper(StartError::Function));
        }
        let (owner, options) = self.make(|setup| {
            let started = Process::builder().name("PoolKeeper").start(move || {
                let run = |call: &mut Call| call.run::<A, R>(&f);
                keep_with(setup, Some(&run))
            });
            Ok(started?)
        })?;
        let pool = BasicPool::<E>::over(Arc::new(owner), options);
        let tasks = CapturingTasks {
            tasks: pool.tasks(),
            types: PhantomData,
        };
        Ok(CapturingPool { pool, tasks })
    }
}

impl<A, R, E> CapturingPool<A, R, E> {
    /// As [`Pool::close`](BasicPool::close).
    pub fn close(self) -> Closing<E> {
        self.pool.close()
    }

    /// As [`Pool::terminate`](BasicPool::terminate).
    pub fn terminate(self) -> Closing<E> {
        self.pool.terminate()
    }
}

impl<A, R, E> Deref for CapturingPool<A, R, E> {
    type Target = CapturingTasks<A, R>;

    fn deref(&self) -> &CapturingTasks<A, R> {
        &self.tasks
    }
}

impl<A, R> CapturingTasks<A, R> {
    fn with(&self, tasks: Tasks) -> Self {
        Self {
            tasks,
            types: PhantomData,
        }
    }

    /// As [`Tasks::timeout`].
    pub fn timeout(&self, timeout: Duration) -> Self {
        self.with(self.tasks.timeout(timeout))
    }

    /// As [`Tasks::retries`].
    pub fn retries(&self, retries: u32) -> Self {
        self.with(self.tasks.retries(retries))
    }

    /// As [`Tasks::chunk_size`].
    #[doc(alias = "chunksize")]
    pub fn chunk_size(&self, items: usize) -> Self {
        self.with(self.tasks.chunk_size(items))
    }

    /// As [`Tasks::read_ahead`].
    pub fn read_ahead(&self, chunks: usize) -> Self {
        self.with(self.tasks.read_ahead(chunks))
    }
}

impl<A, R> CapturingTasks<A, R>
where
    A: Serialize + DeserializeOwned,
    R: Serialize + DeserializeOwned + Send + 'static,
{
    /// As [`Tasks::apply`].
    ///
    /// *Blocks*, *wakes* and *if a peer dies*: as there.
    ///
    /// # Errors
    ///
    /// [`TaskError`], where there is no value.
    pub fn apply(&self, arguments: A) -> Result<R, TaskError> {
        self.tasks.apply_code(Some(CAPTURED), arguments)
    }

    /// As [`Tasks::apply_async`].
    ///
    /// Does not block, as there.
    ///
    /// # Errors
    ///
    /// [`SubmitError`] hands the arguments back.
    pub fn apply_async(&self, arguments: A) -> Result<AsyncResult<R>, SubmitError<A>> {
        self.tasks
            .apply_code_async(Some(CAPTURED), arguments, false)
    }

    /// As [`Tasks::map`].
    ///
    /// *Blocks*, *wakes* and *if a peer dies*: as there.
    ///
    /// # Errors
    ///
    /// The first [`TaskError`], in the order of the items.
    pub fn map<I: IntoIterator<Item = A>>(&self, items: I) -> Result<Vec<R>, TaskError> {
        self.tasks.map_code(Some(CAPTURED), items)
    }

    /// As [`Tasks::map_async`].
    ///
    /// Does not block, as there.
    ///
    /// # Errors
    ///
    /// As [`Tasks::map_async`].
    pub fn map_async<I: IntoIterator<Item = A>>(
        &self,
        items: I,
    ) -> Result<AsyncResult<Vec<R>>, SubmitError<()>> {
        self.tasks.map_code_async(Some(CAPTURED), items)
    }

    /// As [`Tasks::imap`].
    ///
    /// *Blocks*, *wakes* and *if a peer dies*: as there.
    ///
    /// # Errors
    ///
    /// As [`Tasks::imap`].
    pub fn imap<I: IntoIterator<Item = A>>(
        &self,
        items: I,
    ) -> Result<Imap<I::IntoIter, R>, SubmitError<()>> {
        Imap::new(
            &self.tasks,
            Some(CAPTURED),
            items.into_iter(),
            Order::OfItems,
        )
    }

    /// As [`Tasks::imap_unordered`].
    ///
    /// *Blocks*, *wakes* and *if a peer dies*: as there.
    ///
    /// # Errors
    ///
    /// As [`Tasks::imap`].
    pub fn imap_unordered<I: IntoIterator<Item = A>>(
        &self,
        items: I,
    ) -> Result<Imap<I::IntoIter, R>, SubmitError<()>> {
        Imap::new(
            &self.tasks,
            Some(CAPTURED),
            items.into_iter(),
            Order::AsTheyCome,
        )
    }
}

impl<A, R> Clone for CapturingTasks<A, R> {
    fn clone(&self) -> Self {
        self.with(self.tasks.clone())
    }
}

impl<A, R> fmt::Debug for CapturingTasks<A, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.tasks.fmt(f)
    }
}

impl<A, R, E> fmt::Debug for CapturingPool<A, R, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.pool.fmt(f)
    }
}
