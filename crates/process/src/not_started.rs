//! Why a child was not started, with what it should have run.

use crate::exit::Exit;
use crate::process::Process;
use std::error::Error;
use std::fmt;
use std::io;

/// Why no child was started.
///
/// Its `Debug` is its sentence, too: that is what `main` and `unwrap` print.
#[non_exhaustive]
#[derive(thiserror::Error)]
pub enum StartError {
    /// The calling thread holds a guard, permit, claim or loan, and fork would make a second
    /// one of it: release it first.
    #[error(
        "this thread holds a guard, permit, claim or loan, which fork would duplicate; release it before starting a process"
    )]
    HoldsGuard,
    /// This many threads run. What the others hold at this moment would stay locked in the
    /// child for ever: start processes before threads, or by [`Process::spawn`], which does not mind.
    #[error(
        "{0} threads run in this process, and a fork is safe only where one does: start it before the threads, or by spawn, with `entry()` as the first line of `main`"
    )]
    Threads(usize),
    /// A daemon may not have children, as nobody would end them when it is killed.
    #[error("a daemon process may not have children")]
    InDaemon,
    /// The program has not called [`entry`](crate::entry), so a process that runs it anew would
    /// not find its task, but do again what this one did.
    #[error(
        "this program has not called multiproc's `entry()`; make it the first line of `main`, so that spawned processes find their task there"
    )]
    NoEntry,
    /// This program runs with more rights than whoever started it (set-user-ID, say): a new process
    /// of it cannot believe what it is told to run.
    #[error("a program that runs with borrowed rights cannot start itself anew")]
    BorrowedRights,
    /// The function is not part of the program itself but of a shared library, where another
    /// process would not find it.
    #[error("the function is not part of the program's own file, so a new process cannot find it")]
    Function,
    /// The arguments cannot be sent to another process.
    #[error("the arguments cannot be sent to a new process: {0}")]
    Arguments(String),
    /// The new process ended before it reached [`entry`](crate::entry): something before that in
    /// `main` ends the program, or it could not run at all.
    #[error("the new process {0} before it reached `entry()`")]
    NeverEntered(Exit),
    /// The new process ended after `entry` and before it was ready to run the function.
    #[error("the new process {0} before it could take its task")]
    Ended(Exit),
    /// The new process said why it cannot do its task.
    #[error("the new process gave its task back: {0}")]
    Refused(String),
    /// The fork server ended, and so did those that were started in its place.
    #[error("the fork server ends as often as it is started")]
    Server,
    /// The system refused.
    #[error("the system did not start a process{}", limit(.0))]
    System(#[source] io::Error),
}

impl fmt::Debug for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.source() {
            Some(cause) => write!(f, "StartError({self}: {cause})"),
            None => write!(f, "StartError({self})"),
        }
    }
}

/// What to look at, where a limit was reached.
fn limit(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EAGAIN) => {
            ": as many run as may (`ulimit -u`, the control group's `pids.max`, `kernel.threads-max`)"
        }
        Some(libc::EMFILE) => {
            ": as many descriptors are open in this process as may be (`ulimit -n`)"
        }
        Some(libc::ENFILE) => ": as many files are open in the system as may be (`fs.file-max`)",
        Some(libc::ENOMEM) => ": there is not enough memory",
        _ => "",
    }
}

/// No child was started, and here is what it should have run: nothing of it has been run or
/// dropped.
///
/// `?` turns this into a [`StartError`], or into a boxed error, and drops the task. (It is no
/// `Error` itself: then `?` into a box would work only with closures that borrow nothing.)
#[non_exhaustive]
pub struct NotStarted<T> {
    /// The reason.
    pub why: StartError,
    /// The closure or task.
    pub task: T,
}

/// One of several children was not started. Those before it run on.
///
/// `?` turns this into a [`StartError`], or into a boxed error: then the item and the handles
/// are dropped, and the children that did start run on, to be joined (daemons: terminated) at
/// exit.
#[non_exhaustive]
pub struct NotAllStarted<T> {
    /// The reason.
    pub why: StartError,
    /// The item whose child was not started.
    pub item: T,
    /// The children that were.
    pub started: Vec<Process>,
}

impl<T> fmt::Debug for NotStarted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NotStarted")
            .field("why", &self.why)
            .finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for NotAllStarted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NotAllStarted")
            .field("why", &self.why)
            .field("started", &self.started)
            .finish_non_exhaustive()
    }
}

impl<T> fmt::Display for NotStarted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.why.fmt(f)
    }
}

impl<T> fmt::Display for NotAllStarted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "after {} processes: {}", self.started.len(), self.why)
    }
}

macro_rules! leads_to {
    ($($gone:ident)*) => {$(
        impl<T> From<$gone<T>> for StartError {
            fn from(gone: $gone<T>) -> Self {
                gone.why
            }
        }

        impl<T> From<$gone<T>> for Box<dyn Error> {
            fn from(gone: $gone<T>) -> Self {
                gone.why.into()
            }
        }

        impl<T> From<$gone<T>> for Box<dyn Error + Send + Sync> {
            fn from(gone: $gone<T>) -> Self {
                gone.why.into()
            }
        }
    )*};
}
leads_to!(NotStarted NotAllStarted);
