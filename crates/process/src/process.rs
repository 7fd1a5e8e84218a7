//! The handle of a child: look at it, wait for it, end it.

use crate::exit::Exit;
use crate::house::house;
use crate::record::{Child, Lost};
use crate::start::Builder;
use multiproc_core::deadline::Deadline;
use std::borrow::Borrow;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

/// A child process that has been started.
///
/// A handle may be cloned and dropped at will: dropping one neither waits for the child nor
/// ends it. The child is collected (its entry in the process table freed) by the next start,
/// join, [`active_children`] or exit.
///
/// The handle works in the process that started the child. A copy that came into another
/// process by fork can still tell [`pid`](Process::pid), [`name`](Process::name) and
/// [`is_alive`](Process::is_alive); what only a parent can do is an error there.
///
/// Python lets one call things in the wrong order and raises an error. Here they cannot be
/// written: a `Process` exists only once it runs, and daemon is settled before that.
///
/// ```compile_fail
/// # use multiproc_process::Process;
/// let child = Process::builder().name("not started");
/// child.join(); // no such method: it has not been started
/// ```
///
/// ```compile_fail
/// # use multiproc_process::Process;
/// fn late(child: Process) {
///     child.daemon(true); // no such method: it has been started
/// }
/// ```
#[derive(Clone)]
pub struct Process {
    pub(crate) child: Arc<Child>,
}

impl Process {
    /// A name, or daemon: for what goes beyond [`Process::start`].
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// The child's process id.
    #[doc(alias = "ident")]
    pub fn pid(&self) -> u32 {
        self.child.pid
    }

    /// The name it was started under.
    pub fn name(&self) -> &str {
        &self.child.name
    }

    /// Whether it was started as a daemon.
    #[doc(alias = "daemon")]
    pub fn is_daemon(&self) -> bool {
        self.child.daemon
    }

    /// Whether it still runs. Never blocks, and may be asked in any process. Once false, it
    /// stays false.
    pub fn is_alive(&self) -> bool {
        self.child.end.get().is_none() && matches!(self.child.ended_by(Deadline::NOW), Ok(false))
    }

    /// How it ended, as Python's number (`-n` after signal `n`); `None` while it runs, or where
    /// nobody can tell any more. Never blocks. [`try_join`](Process::try_join) tells more.
    #[doc(alias = "exitcode")]
    pub fn exit_code(&self) -> Option<i32> {
        self.try_join().ok().flatten().map(Exit::code)
    }

    /// How it ended, or `None` while it runs. Never blocks.
    pub fn try_join(&self) -> Result<Option<Exit>, JoinError> {
        self.wait(Deadline::NOW)
    }

    /// Waits for its end.
    ///
    /// *Blocks until* the child has ended; a signal that this process handles meanwhile does
    /// not cut the wait short. *Wakes when* the kernel reports the child's end. *If a peer
    /// dies*: the child's death, however it came, is what this waits for; another process's
    /// does not matter.
    pub fn join(&self) -> Result<Exit, JoinError> {
        loop {
            // With no deadline `None` does not come; should it, looking again is right.
            if let Some(exit) = self.wait(Deadline::NEVER)? {
                return Ok(exit);
            }
        }
    }

    /// Waits for its end, but no longer than `timeout`.
    ///
    /// *Blocks until* the child has ended or the time is up. *Wakes when* the kernel reports
    /// the child's end. *If a peer dies*: as [`join`](Process::join).
    #[must_use = "the child may still run"]
    pub fn join_timeout(&self, timeout: Duration) -> Result<Exit, JoinTimeoutError> {
        let ended = self.wait(Deadline::after(timeout))?;
        ended.ok_or(JoinTimeoutError::Timeout)
    }

    /// Asks it to end: SIGTERM, which by default ends it at once, without its exit hooks or
    /// destructors. Does not wait for its end. No error if it has ended.
    pub fn terminate(&self) -> Result<(), SignalError> {
        self.signal(libc::SIGTERM)
    }

    /// Ends it: SIGKILL, which it can neither handle nor ignore. No error if it has ended.
    pub fn kill(&self) -> Result<(), SignalError> {
        self.signal(libc::SIGKILL)
    }

    /// Interrupts it: SIGINT, as Ctrl-C does. No error if it has ended.
    pub fn interrupt(&self) -> Result<(), SignalError> {
        self.signal(libc::SIGINT)
    }

    /// Gives the handle up: no error if the child has ended, and then it is collected. One that
    /// still runs comes back. Never blocks.
    ///
    /// Dropping a handle is always allowed; this is for who wants to be sure that nothing is left.
    /// Python's errors after `close` cannot be written:
    ///
    /// ```compile_fail
    /// # use multiproc_process::Process;
    /// fn twice(child: Process) {
    ///     let _ = child.close();
    ///     let _ = child.is_alive(); // it is gone
    /// }
    /// ```
    pub fn close(self) -> Result<(), CloseError> {
        match self.try_join() {
            Ok(Some(_)) | Err(JoinError::Collected | JoinError::ServerDied) => Ok(()),
            Ok(None) => Err(CloseError::Running(self)),
            Err(JoinError::NotParent) => Err(CloseError::NotParent(self)),
            Err(JoinError::System(error)) => Err(CloseError::System(self, error)),
        }
    }

    /// A descriptor that is readable once the child has ended, for `poll` and the like. It
    /// stays so.
    pub fn sentinel(&self) -> BorrowedFd<'_> {
        self.child.pidfd.as_fd()
    }

    fn signal(&self, signal: libc::c_int) -> Result<(), SignalError> {
        if !self.is_mine() {
            return Err(SignalError::NotParent);
        }
        self.child.signal(signal).map_err(SignalError::System)
    }

    fn is_mine(&self) -> bool {
        self.child.parent == crate::sys::pid()
    }

    fn wait(&self, deadline: Deadline) -> Result<Option<Exit>, JoinError> {
        if !self.is_mine() {
            return Err(JoinError::NotParent);
        }
        loop {
            let seen = house(|house| {
                let seen = self.child.collect();
                if !matches!(seen, Ok(None)) {
                    house.forget_child(&self.child);
                    // While we are at it: those whose handles were dropped.
                    house.sweep();
                }
                seen
            });
            match seen.map_err(JoinError::System)? {
                Some(Ok(exit)) => return Ok(Some(exit)),
                Some(Err(Lost::Collected)) => return Err(JoinError::Collected),
                Some(Err(Lost::ServerDied)) => return Err(JoinError::ServerDied),
                None if deadline.passed() => return Ok(None),
                None => {}
            }
            // Readable yet not collected happens while a debugger has the child: look again.
            self.child.told_by(deadline).map_err(JoinError::System)?;
        }
    }
}

impl AsFd for Process {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.sentinel()
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.child.end.get() {
            Some(Ok(Exit::Code(n))) => format!("exit code {n}"),
            Some(Ok(Exit::Signal(n))) => format!("signal {n}"),
            Some(Err(Lost::Collected)) => "collected elsewhere".to_owned(),
            Some(Err(Lost::ServerDied)) => "ended after its fork server".to_owned(),
            None if self.is_alive() => "running".to_owned(),
            None => "ended".to_owned(),
        };
        f.debug_struct("Process")
            .field("name", &self.child.name)
            .field("pid", &self.child.pid)
            .field("daemon", &self.child.daemon)
            .field("parent", &self.child.parent)
            .field("state", &format_args!("{state}"))
            .finish()
    }
}

/// The children of this process that still run. Collects those that have ended.
///
/// ```standalone_crate
/// use multiproc_process::{Process, active_children};
///
/// let (start, wait) = std::io::pipe()?;
/// let child = Process::start(move || drop(start))?;
/// child.join()?.ok()?;
/// assert!(active_children().is_empty());
/// # drop(wait);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn active_children() -> Vec<Process> {
    house(|house| {
        house.sweep_each();
        let alive = |child: &&Arc<Child>| matches!(child.ended_by(Deadline::NOW), Ok(false));
        house
            .children
            .iter()
            .filter(alive)
            .map(|child| Process {
                child: Arc::clone(child),
            })
            .collect()
    })
}

/// Waits for all of them, then reports the first (in the order given) that did not end with
/// success.
///
/// *Blocks until* every one has ended. *Wakes when* the kernel reports an end. *If a peer
/// dies*: a killed child is one that did not end with success; the wait for the others goes on.
pub fn join_all<I>(children: I) -> Result<(), JoinAllError>
where
    I: IntoIterator,
    I::Item: Borrow<Process>,
{
    let mut first = Ok(());
    for child in children {
        let child: &Process = child.borrow();
        let result = match child.join() {
            Ok(exit) if exit.success() => Ok(()),
            Ok(exit) => Err(JoinAllError::Failed {
                name: child.name().to_owned(),
                pid: child.pid(),
                exit,
            }),
            Err(source) => Err(JoinAllError::Join {
                name: child.name().to_owned(),
                pid: child.pid(),
                source,
            }),
        };
        if first.is_ok() {
            first = result;
        }
    }
    first
}

/// Why there was nothing to wait for.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// This handle came here by fork: only the process that started the child can wait for it.
    #[error("only the process that started a child can join it")]
    NotParent,
    /// Other code of this process waited for all children (or ignores SIGCHLD), so the exit
    /// code is gone.
    #[error(
        "the child has ended, but other code of this process has already collected its exit code"
    )]
    Collected,
    /// It was a child of the fork server, which was killed before it, and this system does not
    /// tell strangers how a process ended.
    #[error("the child has ended, but its fork server was killed before it could report how")]
    ServerDied,
    /// The system refused.
    #[error("waiting for the child failed")]
    System(#[source] io::Error),
}

/// Why [`Process::join_timeout`] has no exit to show.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum JoinTimeoutError {
    /// It still ran when the time was up.
    #[error("the process still ran when the time was up")]
    Timeout,
    /// As without a timeout.
    #[error(transparent)]
    Join(#[from] JoinError),
}

/// Why [`join_all`] is not content. All children have ended, as far as they could be waited
/// for.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum JoinAllError {
    /// This one ended, but not with success.
    #[error("{name} (pid {pid}) {exit}")]
    Failed {
        /// Its name.
        name: String,
        /// Its process id.
        pid: u32,
        /// How it ended.
        exit: Exit,
    },
    /// This one could not be waited for.
    #[error("cannot join {name} (pid {pid})")]
    Join {
        /// Its name.
        name: String,
        /// Its process id.
        pid: u32,
        /// Why not.
        source: JoinError,
    },
}

/// Why a signal was not sent.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum SignalError {
    /// This handle came here by fork: only the process that started the child ends it.
    #[error("only the process that started a child can terminate it")]
    NotParent,
    /// The system refused; the child may have changed its user.
    #[error("sending the signal failed")]
    System(#[source] io::Error),
}

/// Why a handle was not closed; here it is.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum CloseError {
    /// The child has not ended: join it, or end it, first.
    #[error("{} (pid {}) still runs", .0.name(), .0.pid())]
    Running(Process),
    /// This handle came here by fork: only the process that started the child can close it.
    #[error("only the process that started a child can close its handle")]
    NotParent(Process),
    /// The system refused to tell whether it has ended.
    #[error("asking after the child failed")]
    System(Process, #[source] io::Error),
}
