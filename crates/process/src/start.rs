//! Starting a child: checks, fork, hand-over, gate.

use crate::bond;
use crate::child::{self, Origin};
use crate::context::StartMethod;
use crate::current::{Me, Parent};
use crate::entry;
use crate::exit::ExitValue;
use crate::gate::Gate;
use crate::house::{house, move_in};
use crate::not_started::{NotAllStarted, NotStarted, StartError};
use crate::process::Process;
use crate::record::{Child, End};
use crate::sys::{self, Split};
use crate::told;
use multiproc_core::deadline::Deadline;
use multiproc_core::{fork, handover, step};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::time::Duration;

/// How long a thread that was just joined may still show in the kernel's count.
const JOINED_THREADS_LINGER: Duration = Duration::from_millis(10);

/// A task that is a type of its own: Python's subclass of `Process` with a `run` method.
///
/// ```standalone_crate
/// use multiproc_process::{Process, Run};
///
/// struct Greet(&'static str);
///
/// impl Run for Greet {
///     type Output = ();
///
///     fn run(self) {
///         println!("hello, {}", self.0);
///     }
///
///     fn name(&self) -> Option<String> {
///         Some(format!("greet {}", self.0))
///     }
/// }
///
/// let child = Process::start_with(Greet("world"))?;
/// assert_eq!(child.name(), "greet world");
/// child.join()?.ok()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Run {
    /// What `run` returns: the exit code.
    type Output: ExitValue;

    /// The child's work.
    fn run(self) -> Self::Output;

    /// The child's name; `None` for the usual `Process-1`. A name given to the [`Builder`] goes
    /// before it.
    fn name(&self) -> Option<String> {
        None
    }

    /// Whether the child is a daemon. The [`Builder`]'s word goes before it.
    fn is_daemon(&self) -> bool {
        false
    }
}

/// What to settle before a child starts. From [`Process::builder`].
#[derive(Clone, Debug, Default)]
#[must_use = "this starts nothing until `start`"]
pub struct Builder {
    name: Option<String>,
    daemon: Option<bool>,
    even_in_daemon: bool,
}

impl Process {
    /// Starts a child that runs `f`, a copy of this process from here on.
    ///
    /// **What `f` captures by move is dropped in both processes**: in the child as it runs,
    /// here at once. Ends of queues and pipes are handed over by that (the child has them then,
    /// nobody else); but a `BufWriter` would write its buffer twice and a temporary directory
    /// vanish under the child. So move in what the child should own, and borrow the rest: `f`
    /// need not be `'static` nor `Send`, as the child has a copy of the whole stack.
    ///
    /// What `f` returns is the exit code, see [`ExitValue`]; a panic is 1. The child then
    /// terminates its own daemons, joins its other children, runs its [exit
    /// hooks](crate::at_exit) and ends, without waiting for its threads and without running the
    /// destructors of what it inherited. Its stdin is `/dev/null` (what this process has read
    /// ahead into std's buffer is copied, though).
    ///
    /// Fails, and gives `f` back, in a process with more than one thread, while the calling
    /// thread holds a guard, in a daemon, and where the system refuses. If a destructor of what
    /// `f` captured panics here, the child starts all the same and the panic goes on from this
    /// call; [`active_children`](crate::active_children) has the child.
    ///
    /// *Blocks until* the child is forked and the captures are dropped here; it does not wait
    /// for `f`. *If a peer dies*: a child killed at any moment is a child that ended; if this
    /// process is killed before `start` returns, the child either never runs `f` or owns
    /// everything that was moved into it.
    ///
    /// ```standalone_crate
    /// use multiproc_process::Process;
    ///
    /// let words = vec!["borrowed", "from", "the", "parent"];
    /// let child = Process::start(|| words.len() as i32)?;
    /// assert_eq!(child.join()?.code(), 4);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "target")]
    pub fn start<F, R>(f: F) -> Result<Process, NotStarted<F>>
    where
        F: FnOnce() -> R,
        R: ExitValue,
    {
        Builder::new().start(f)
    }

    /// Starts one child per item; each runs `f` on its own item.
    ///
    /// The items are moved, and handed over as [`Process::start`] does with captures. `f` is
    /// shared: what it captures by move is *not* handed over, and is dropped here at the end of
    /// this call. So an end of a queue or pipe for each child is a part of its item:
    /// `start_each((0..3).map(|n| (n, tx.clone())), |(n, tx)| …)`. One that `f` captures or borrows
    /// remains this process's, and is closed for those children who come to use it after
    /// this process has dropped it.
    ///
    /// If one does not start, those before it keep running and come back in the error together
    /// with the item; the items after it are dropped.
    ///
    /// *Blocks until* all are forked; and *if a peer dies*: as [`Process::start`].
    ///
    /// ```standalone_crate
    /// use multiproc_process::{Process, join_all};
    ///
    /// let children = Process::start_each(["one", "two"], |word| println!("{word}"))?;
    /// join_all(children)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn start_each<I, F, R>(items: I, f: F) -> Result<Vec<Process>, NotAllStarted<I::Item>>
    where
        I: IntoIterator,
        F: Fn(I::Item) -> R,
        R: ExitValue,
    {
        Builder::new().start_each(items, f)
    }

    /// Starts a child that runs a task of your own type. All that [`Process::start`] says holds
    /// for what is in the task.
    ///
    /// *Blocks*, and *if a peer dies*: as there.
    pub fn start_with<T: Run>(task: T) -> Result<Process, NotStarted<T>> {
        Builder::new().start_with(task)
    }

    /// As [`Process::start`], in a process that may have other threads.
    ///
    /// *Blocks*, and *if a peer dies*: as there.
    ///
    /// # Safety
    ///
    /// The child is a copy in which the other threads do not run, and whatever they were doing
    /// stays half done: a mutex that one of them held (std's around stdout, an allocator's
    /// other than glibc's) is locked for ever. Until it ends, the child must not touch anything
    /// that another thread might have been in the middle of changing, not even to print.
    pub unsafe fn start_unchecked<F, R>(f: F) -> Result<Process, NotStarted<F>>
    where
        F: FnOnce() -> R,
        R: ExitValue,
    {
        // SAFETY: the caller's promise is the one asked for.
        unsafe { Builder::new().start_unchecked(f) }
    }
}

impl Builder {
    /// Nothing settled: names `Process-1` and so on, not daemons.
    pub fn new() -> Self {
        Builder::default()
    }

    /// The child's name; with [`start_each`](Builder::start_each), the start of their names:
    /// `name-1`, `name-2`, …
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Whether the child is a daemon: one that is terminated when this process exits, is killed
    /// when this process is killed, and may not have children of its own.
    pub fn daemon(mut self, daemon: bool) -> Self {
        self.daemon = Some(daemon);
        self
    }

    /// As [`Process::start`].
    ///
    /// *Blocks*, and *if a peer dies*: as there.
    pub fn start<F, R>(self, f: F) -> Result<Process, NotStarted<F>>
    where
        F: FnOnce() -> R,
        R: ExitValue,
    {
        launch(
            Threads::One,
            self.name,
            self.daemon.unwrap_or(false),
            f,
            |f| f(),
        )
    }

    /// As [`Process::start_each`].
    ///
    /// *Blocks*, and *if a peer dies*: as there.
    pub fn start_each<I, F, R>(self, items: I, f: F) -> Result<Vec<Process>, NotAllStarted<I::Item>>
    where
        I: IntoIterator,
        F: Fn(I::Item) -> R,
        R: ExitValue,
    {
        let mut started = Vec::new();
        for item in items {
            let name = self
                .name
                .as_ref()
                .map(|name| format!("{name}-{}", started.len() + 1));
            match launch(Threads::One, name, self.daemon.unwrap_or(false), item, &f) {
                Ok(child) => started.push(child),
                Err(NotStarted { why, task: item }) => {
                    return Err(NotAllStarted { why, item, started });
                }
            }
        }
        Ok(started)
    }

    /// As [`Process::start_with`].
    ///
    /// *Blocks*, and *if a peer dies*: as there.
    pub fn start_with<T: Run>(self, task: T) -> Result<Process, NotStarted<T>> {
        let name = self.name.or_else(|| task.name());
        let daemon = self.daemon.unwrap_or_else(|| task.is_daemon());
        launch(Threads::One, name, daemon, task, T::run)
    }

    /// As [`Process::start_unchecked`].
    ///
    /// *Blocks*, and *if a peer dies*: as there.
    ///
    /// # Safety
    ///
    /// As [`Process::start_unchecked`].
    pub unsafe fn start_unchecked<F, R>(self, f: F) -> Result<Process, NotStarted<F>>
    where
        F: FnOnce() -> R,
        R: ExitValue,
    {
        launch(
            Threads::Any,
            self.name,
            self.daemon.unwrap_or(false),
            f,
            |f| f(),
        )
    }

    /// A plain function, by fork.
    pub(crate) fn start_in_fork<A, R: ExitValue>(
        self,
        f: fn(A) -> R,
        arguments: A,
    ) -> Result<Process, NotStarted<A>> {
        let (name, daemon) = self.settled();
        launch(Threads::One, name, daemon, arguments, |arguments| {
            StartMethod::Fork.settle();
            f(arguments)
        })
    }

    /// [Spawned](Process::spawn) also where this process is a daemon, which may not have children
    /// otherwise, as nobody would end them when it is killed: for a child that sees to its own
    /// end when this process ends, in any way. By fork, a daemon starts none all the same.
    pub fn even_in_daemon(mut self) -> Self {
        self.even_in_daemon = true;
        self
    }

    pub(crate) fn is_refused(&self) -> bool {
        crate::current().is_daemon() && !self.even_in_daemon
    }

    /// The name, and whether it is a daemon.
    pub(crate) fn settled(self) -> (Option<String>, bool) {
        (self.name, self.daemon.unwrap_or(false))
    }
}

/// How many threads the caller may have.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Threads {
    One,
    /// Said only by the `unsafe` functions.
    Any,
}

/// A child that waits at its gate, seen from its parent.
pub(crate) struct Hatching {
    gate: Gate,
    pub(crate) process: Process,
}

/// Forks and runs `run(task)` in the child. `task` is what is handed over; `run` is only ever
/// shared or empty.
fn launch<T, R: ExitValue>(
    threads: Threads,
    name: Option<String>,
    daemon: bool,
    task: T,
    run: impl FnOnce(T) -> R,
) -> Result<Process, NotStarted<T>> {
    if crate::current().is_daemon() {
        return Err(NotStarted {
            why: StartError::InDaemon,
            task,
        });
    }
    match split(threads, name, daemon) {
        Err(why) => Err(NotStarted { why, task }),
        Ok(None) => child::live(Origin::Forked, move || run(task)),
        Ok(Some(hatching)) => {
            step!("process-start-before-handover");
            // Every end in the task becomes the child's instead of being closed. The child is
            // in nobody's way meanwhile: it waits at the gate, and would leave if we died here.
            let dropped = handover::to(hatching.process.pid(), || {
                catch_unwind(AssertUnwindSafe(|| drop(task)))
            });
            step!("process-start-before-gate");
            let process = hatching.open();
            step!("process-start-after-gate");
            match dropped {
                Ok(()) => Ok(process),
                Err(panic) => resume_unwind(panic),
            }
        }
    }
}

impl Hatching {
    pub(crate) fn open(self) -> Process {
        self.gate.open();
        told::started(&self.process.child);
        self.process
    }
}

/// Everything up to the gate. `None` is the child, past its gate.
pub(crate) fn split(
    threads: Threads,
    name: Option<String>,
    daemon: bool,
) -> Result<Option<Hatching>, StartError> {
    if fork::held_here() != 0 {
        return Err(StartError::HoldsGuard);
    }
    if entry::is_before_entry() {
        return Err(StartError::NoEntry);
    }
    if threads == Threads::One {
        alone()?;
    }
    let parent = sys::pid();
    let from_main_thread = sys::is_main_thread();
    let pidfd = Arc::new(sys::pidfd_open(parent).map_err(StartError::System)?);
    let gate = Gate::closed().map_err(StartError::System)?;
    let me = house(|house| {
        house.sweep();
        house.authkey()?;
        house.leave_by_us();
        let parent = Parent {
            pid: parent,
            name: house.me().name.clone(),
            pidfd,
        };
        // Whatever the child needs is made here: each page that it writes to costs it a copy.
        Ok(Arc::new(house.next_child(Some(parent), name, daemon)))
    })
    .map_err(StartError::System)?;
    // What is buffered here would otherwise be written twice.
    let _ = io::stdout().flush();
    sys::flush_c();

    step!("process-start-before-fork");
    // SAFETY: `alone` has just counted one thread, this one, so nobody can have made another
    // since. With `Threads::Any` an `unsafe fn` was called, whose caller promises what is asked
    // here.
    match unsafe { sys::fork_here() }.map_err(StartError::System)? {
        Split::Child => {
            hatch(gate, me, from_main_thread);
            crate::leave::greet();
            Ok(None)
        }
        Split::Parent(pid) => {
            step!("process-start-after-fork");
            match sys::pidfd_open(pid) {
                Ok(pidfd) => {
                    let end = End::default();
                    let child = Arc::new(Child {
                        pid,
                        name: me.name.clone(),
                        daemon,
                        parent,
                        pidfd,
                        report: None,
                        end,
                    });
                    house(|house| house.children.push(Arc::clone(&child)));
                    Ok(Some(Hatching {
                        gate,
                        process: Process { child },
                    }))
                }
                Err(error) => {
                    // No way to wait for it. It has done nothing yet: send it home, and nothing
                    // has happened.
                    drop(gate);
                    sys::reap_pid(pid);
                    Err(StartError::System(error))
                }
            }
        }
    }
}

/// The child's first steps. Returns past the gate, or not at all.
fn hatch(gate: Gate, me: Arc<Me>, from_main_thread: bool) {
    step!("process-child-before-gate");
    let Some(parent) = &me.parent else {
        sys::leave(child::NEVER_RAN)
    };
    // Before the gate: from the moment at which the parent may go on without us, its death
    // reaches us.
    let bound = !me.daemon || bond::tie(&parent.pidfd, from_main_thread).is_ok();
    if !bound || !gate.pass(parent.pidfd.as_fd()) {
        sys::leave(child::NEVER_RAN);
    }
    // Moved: to count another handle on it would copy a page.
    move_in(me);
    step!("process-child-after-gate");
}

/// Succeeds once this thread is the only one.
pub(crate) fn alone() -> Result<(), StartError> {
    let patience = Deadline::after(JOINED_THREADS_LINGER);
    loop {
        match fork::thread_count().saturating_sub(bond::threads()) {
            0 | 1 => return Ok(()),
            n if patience.passed() => return Err(StartError::Threads(n)),
            // A joined thread needs the processor to leave: let it have ours.
            _ => std::thread::yield_now(),
        }
    }
}
