//! The pool as its owner holds it: made, closed, terminated, joined.

use crate::board::{Board, MOST_WORKERS};
use crate::error::{CreateError, Ended, JoinError};
use crate::keeper::{STARTED, keep};
use crate::owner::Owner;
use crate::setup::{Initializer, Setup, Way};
use crate::tasks::{Options, Tasks};
use multiproc_core::deadline::Deadline;
use multiproc_core::fd::wait_readable;
use multiproc_core::{step, wait};
use multiproc_process::{
    Descriptor, ExitHook, ExitValue, Functions, NotStarted, Process, StartError, StartMethod,
    at_exit_with_priority, cpu_count, start_method,
};
use multiproc_ring::{Ring, Settings};
use multiproc_segment::Shared;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;
use std::io::{self, Read};
use std::marker::PhantomData;
use std::ops::Deref;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

/// A pool of worker processes.
///
/// Its workers exist from its construction and do one task after the other: see the methods of
/// [`Tasks`], which a pool has all. It belongs to the process that made it. Dropped, it is
/// [terminated](BasicPool::terminate).
///
/// ```standalone_crate
/// use multiproc_pool::Pool;
///
/// let pool = Pool::new(2)?;
/// assert_eq!(pool.map(|n: u64| n * n, 0..5)?, [0, 1, 4, 9, 16]);
/// pool.close().join()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Only what was closed or terminated can be joined:
///
/// ```compile_fail
/// # use multiproc_pool::Pool;
/// Pool::new(2).unwrap().join(); // no such method
/// ```
pub type Pool = BasicPool<JoinError>;

/// A [`Pool`] whose [`join`](Closing::join) has the error `E`: the package `multiproc` has its own
/// error there.
#[doc(alias = "Pool")]
pub struct BasicPool<E> {
    tasks: Tasks,
    hook: Option<ExitHook>,
    error: PhantomData<fn() -> E>,
}

/// What a pool is to be like. From [`Pool::builder`](BasicPool::builder).
#[must_use = "this makes nothing until `build`"]
pub struct Builder<E> {
    workers: Option<usize>,
    most_tasks: Option<u64>,
    method: Option<StartMethod>,
    options: Options,
    in_daemon: bool,
    initializer: Option<Box<dyn FnOnce(Functions) -> Initializer>>,
    error: PhantomData<fn() -> E>,
}

/// A pool that takes no more tasks. [Joined](Closing::join), it has ended; dropped, it is
/// terminated.
#[must_use = "a pool that is closed and dropped is terminated; `join` waits for its tasks"]
pub struct Closing<E> {
    pool: BasicPool<E>,
    terminated: bool,
}

impl<E> BasicPool<E> {
    /// A pool of so many workers.
    ///
    /// *Blocks until* they are started (not until they are ready). *Wakes when* the keeper says so.
    /// *If a peer dies*: an error.
    ///
    /// # Errors
    ///
    /// [`CreateError`]; nothing is left behind.
    pub fn new(workers: usize) -> Result<Self, CreateError> {
        Self::builder().workers(workers).build()
    }

    /// A pool with options.
    ///
    /// ```standalone_crate
    /// use multiproc_pool::Pool;
    ///
    /// fn greet(name: String) {
    ///     println!("{name} begins in {}", std::process::id());
    /// }
    ///
    /// let pool = Pool::builder()
    ///     .workers(2)
    ///     .initializer(greet, "a worker".to_owned())
    ///     .max_tasks_per_child(100)
    ///     .build()?;
    /// assert_eq!(pool.apply(|(a, b): (i32, i32)| a + b, (20, 22))?, 42);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn builder() -> Builder<E> {
        Builder {
            workers: None,
            most_tasks: None,
            method: None,
            options: Options::default(),
            in_daemon: false,
            initializer: None,
            error: PhantomData,
        }
    }

    pub(crate) fn over(owner: Arc<Owner>, options: Options) -> Self {
        let weak = Arc::downgrade(&owner);
        // Before this process's children are joined, the keeper is one of them.
        let hook = at_exit_with_priority(i32::MAX, move || {
            if let Some(owner) = weak.upgrade() {
                owner.end(Ended::Terminated);
            }
        });
        Self {
            tasks: Tasks { owner, options },
            hook: Some(hook),
            error: PhantomData,
        }
    }

    /// Takes no more tasks; those that were given are done. Does not wait for them: what this gives
    /// can be joined.
    pub fn close(self) -> Closing<E> {
        if self.tasks.owner.is_here() {
            self.tasks.owner.close();
        }
        Closing {
            pool: self,
            terminated: false,
        }
    }

    /// Kills the workers. Tasks that are not done end with [`PoolEnded`], and error callbacks are
    /// told. Does not wait for that: what this gives can be joined.
    ///
    /// [`PoolEnded`]: crate::TaskError::PoolEnded
    pub fn terminate(self) -> Closing<E> {
        if self.tasks.owner.is_here() {
            self.tasks.owner.end(Ended::Terminated);
        }
        Closing {
            pool: self,
            terminated: true,
        }
    }

    /// A clone of what gives tasks to it, for other threads.
    pub fn tasks(&self) -> Tasks {
        self.tasks.clone()
    }

    /// The pid of the process that keeps the workers, which are its children.
    pub fn keeper_pid(&self) -> u32 {
        self.tasks.owner.keeper().pid()
    }
}

impl<E> Deref for BasicPool<E> {
    type Target = Tasks;

    fn deref(&self) -> &Tasks {
        &self.tasks
    }
}

impl<E> Drop for BasicPool<E> {
    fn drop(&mut self) {
        let owner = &self.tasks.owner;
        if !owner.is_here() {
            return;
        }
        owner.end(Ended::Terminated);
        // An error: somebody else has collected the keeper. It has ended, and that is all.
        let _ = owner.clear_away();
        if let Some(hook) = self.hook.take() {
            hook.cancel();
        }
    }
}

impl<E: From<JoinError>> Closing<E> {
    /// Waits for its end: of a closed pool until all tasks are done and all callbacks have been
    /// called.
    ///
    /// *Blocks until* keeper and workers have ended. *Wakes when* the last answer comes, then when
    /// the keeper ends. *If a peer dies*: a worker is replaced as ever; with the keeper, everything
    /// ends at once.
    ///
    /// # Errors
    ///
    /// [`JoinError`], where a pool that was to finish its tasks could not.
    pub fn join(self) -> Result<(), E> {
        let owner = &self.pool.tasks.owner;
        if !owner.is_here() {
            return Err(JoinError::NotOwner.into());
        }
        if !self.terminated {
            owner.settle();
            owner.end(Ended::Closed); // unless it has ended
        }
        let joined = owner.clear_away();
        match owner.ended() {
            Some(Ended::Closed) | None => joined.map_err(|e| JoinError::from(e).into()),
            Some(Ended::Terminated) if self.terminated => Ok(()),
            Some(why) => Err(JoinError::Ended(why).into()),
        }
    }
}

impl<E> Builder<E> {
    /// How many workers; by default as many as there are processors
    /// ([`cpu_count`]).
    #[doc(alias = "processes")]
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = Some(workers);
        self
    }

    /// Each worker calls `f` with `argument` before its first task, the replacements as well. Handles
    /// in the argument work in each of them. A worker whose initializer panics, or returns what is
    /// not success, ends; when that happens in one place again and again, the pool ends.
    #[doc(alias = "initargs")]
    pub fn initializer<I, R>(mut self, f: fn(I) -> R, argument: I) -> Self
    where
        I: Serialize + DeserializeOwned + Send + 'static,
        R: ExitValue + 'static,
    {
        self.initializer = Some(Box::new(move |functions| {
            Initializer::new(functions, f, argument)
        }));
        self
    }

    /// A worker is replaced by a new one after so many tasks (chunks, of maps); at least 1.
    #[doc(alias = "maxtasksperchild")]
    pub fn max_tasks_per_child(mut self, tasks: u64) -> Self {
        self.most_tasks = Some(tasks);
        self
    }

    /// How the keeper is started (it forks the workers in any case). By default as the program's
    /// [`start_method`] says; where that is fork and this process has threads, by spawn, if the
    /// program has called [`entry`](multiproc_process::entry).
    #[doc(alias = "context")]
    pub fn start_method(mut self, method: StartMethod) -> Self {
        self.method = Some(method);
        self
    }

    /// For a pool in a daemon, which may not have children otherwise. Keeper and workers end with
    /// the daemon, however it ends; the keeper is spawned.
    pub fn even_in_daemon(mut self) -> Self {
        self.in_daemon = true;
        self.start_method(StartMethod::Spawn)
    }

    /// As [`Tasks::timeout`], for all tasks.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.options.timeout = Some(timeout);
        self
    }

    /// As [`Tasks::retries`], for all tasks.
    pub fn retries(mut self, retries: u32) -> Self {
        self.options.retries = retries;
        self
    }

    /// Makes the pool, as [`Pool::new`](BasicPool::new).
    ///
    /// # Errors
    ///
    /// [`CreateError`]; nothing is left behind.
    pub fn build(self) -> Result<BasicPool<E>, CreateError> {
        let (method, in_daemon) = (self.method, self.in_daemon);
        let (owner, options) = self.make(|setup| start_keeper(method, in_daemon, setup))?;
        Ok(BasicPool::over(Arc::new(owner), options))
    }

    /// Everything but the keeper, and then that.
    pub(crate) fn make(
        self,
        start: impl FnOnce(Setup) -> Result<Process, StartError>,
    ) -> Result<(Owner, Options), CreateError> {
        let workers = self.workers.unwrap_or_else(cpu_count);
        match workers {
            0 => return Err(CreateError::NoWorkers),
            1..=MOST_WORKERS => {}
            more => return Err(CreateError::TooManyWorkers(more)),
        }
        if self.most_tasks == Some(0) {
            return Err(CreateError::NoTasksPerChild);
        }
        let board = Shared::new(Board::new())?;
        let mut rings = Ring::pipe("pool", &Settings::default(), 2)?;
        let (Some(answers), Some(tasks)) = (rings.pop(), rings.pop()) else {
            unreachable!("two were asked for");
        };
        let functions = Functions::new()?;
        let (mut control, theirs) = UnixStream::pair()?;
        let setup = Setup {
            workers,
            most_tasks: self.most_tasks,
            board: board.clone(),
            tasks: Way(tasks.clone()),
            answers: Way(answers.clone()),
            functions: functions.clone(),
            initializer: self.initializer.map(|make| make(functions.clone())),
            control: Descriptor(theirs),
        };
        step!("pool owner: about to start the keeper");
        let keeper = start(setup).map_err(CreateError::Keeper)?;
        step!("pool owner: keeper started");
        if let Err(error) = all_started(&mut control, &keeper) {
            let _ = keeper.kill();
            let _ = keeper.join();
            return Err(error);
        }
        let owner = Owner::new(workers, board, tasks, answers, functions, keeper, control);
        Ok((owner, self.options))
    }

    pub(crate) fn method_of(&self) -> Option<StartMethod> {
        self.method
    }
}

/// Starts the keeper of a pool of plain functions.
fn start_keeper(
    method: Option<StartMethod>,
    in_daemon: bool,
    setup: Setup,
) -> Result<Process, StartError> {
    let start = |method: StartMethod, setup: Box<Setup>| {
        let mut keeper = Process::builder().name("PoolKeeper");
        if in_daemon {
            keeper = keeper.even_in_daemon();
        }
        keeper.start_in(method, keep, setup)
    };
    let chosen = method.unwrap_or_else(start_method);
    match start(chosen, Box::new(setup)) {
        Err(NotStarted {
            why: why @ (StartError::Threads(_) | StartError::HoldsGuard),
            task: setup,
            ..
        }) if method.is_none() => match start(StartMethod::Spawn, setup) {
            // The first reason is the one to do something about.
            Err(NotStarted {
                why: StartError::NoEntry,
                ..
            }) => Err(why),
            other => Ok(other?),
        },
        other => Ok(other?),
    }
}

/// *Blocks until* the keeper says that all workers are there. *If a peer dies*: an error. From then
/// on nobody blocks on `control`.
fn all_started(control: &mut UnixStream, keeper: &Process) -> Result<(), CreateError> {
    let gone = || CreateError::Worker("their keeper died".to_owned());
    let mut heard = Vec::new();
    control.set_nonblocking(true)?;
    loop {
        let alive = keeper.is_alive();
        let readable = wait_readable(
            control.as_fd(),
            Deadline::after(match alive {
                true => wait::SLICE,
                false => Duration::ZERO,
            }),
        )?;
        if readable {
            let mut some = [0; 512];
            match control.read(&mut some) {
                Ok(0) => {}
                Ok(n) => {
                    heard.extend_from_slice(&some[..n]);
                    if heard.first() == Some(&STARTED) {
                        return Ok(());
                    }
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => {}
            }
        } else if alive {
            continue;
        }
        // It has said what it had to say.
        return Err(match heard.get(1..) {
            Some(why) if !why.is_empty() => {
                CreateError::Worker(String::from_utf8_lossy(why).into_owned())
            }
            _ => gone(),
        });
    }
}

impl<E> fmt::Debug for BasicPool<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let owner = &self.tasks.owner;
        let mut pool = f.debug_struct("Pool");
        pool.field("workers", &owner.workers);
        if owner.is_here() {
            pool.field("open", &owner.open())
                .field("ended", &owner.ended());
        }
        pool.finish_non_exhaustive()
    }
}

impl<E> fmt::Debug for Closing<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Closing")
            .field("pool", &self.pool)
            .field("terminated", &self.terminated)
            .finish()
    }
}

impl<E> fmt::Debug for Builder<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("workers", &self.workers)
            .field("max_tasks_per_child", &self.most_tasks)
            .field("start_method", &self.method)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}
