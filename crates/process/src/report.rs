//! How a child of the fork server ended: the server, whose child it is, writes it into a pipe.
//!
//! If the server dies before it does, the pipe ends without a word. Then the child has become
//! another process's: ours, if this process adopts orphans, and we collect it; else some kernels
//! (from 6.15) still tell how it ended, through its descriptor, once its new parent has collected
//! it; that gets a moment's time. Else nobody can tell.

use crate::exit::Exit;
use crate::sys::{self, Told};
use multiproc_core::deadline::Deadline;
use multiproc_core::fd::wait_readable;
use std::io::{self, PipeReader, PipeWriter, Read, Write, pipe};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;
use std::time::Duration;

/// How long a stranger may take to collect a child of a server that died.
const PATIENCE: Duration = Duration::from_millis(100);

/// The reading end, in the process that asked for the child.
pub(crate) struct Report {
    pipe: PipeReader,
    /// Set when a stranger is found to have the child.
    until: OnceLock<Deadline>,
}

/// The writing end, in the server.
pub(crate) struct Reporter(PipeWriter);

pub(crate) fn line() -> io::Result<(Report, Reporter)> {
    let (reader, writer) = pipe()?;
    let report = Report {
        pipe: reader,
        until: OnceLock::new(),
    };
    Ok((report, Reporter(writer)))
}

impl Report {
    /// How the process behind `pidfd` ended; `None` while it runs or is not reported. Never
    /// blocks. `ECHILD`: nobody can tell.
    pub(crate) fn read(&self, pidfd: BorrowedFd<'_>) -> io::Result<Option<Exit>> {
        let now = Deadline::NOW;
        if !wait_readable(pidfd, now)? || !wait_readable(self.pipe.as_fd(), now)? {
            return Ok(None);
        }
        let mut word = [0; 8];
        if (&self.pipe).read(&mut word)? == word.len() {
            return Ok(Some(exit_of(word)));
        }
        match sys::reap(pidfd) {
            Err(error) if error.raw_os_error() == Some(libc::ECHILD) => {
                match sys::exit_of_other(pidfd) {
                    Told::Exit(exit) => Ok(Some(exit)),
                    Told::NotYet if !self.until().passed() => Ok(None),
                    Told::NotYet | Told::Never => Err(error),
                }
            }
            other => other,
        }
    }

    fn until(&self) -> Deadline {
        *self.until.get_or_init(|| Deadline::after(PATIENCE))
    }

    /// Waits for what [`read`](Report::read) then finds.
    ///
    /// *Blocks until* the exit is known, or it is known that it will not be, or the deadline.
    /// *Wakes when* the kernel reports the child's end, and the server how it was. *If a peer
    /// dies*: the child: that is what this waits for; the server: as the module says.
    pub(crate) fn wait(&self, pidfd: BorrowedFd<'_>, deadline: Deadline) -> io::Result<()> {
        if !wait_readable(pidfd, deadline)? || !wait_readable(self.pipe.as_fd(), deadline)? {
            return Ok(());
        }
        match self.until.get() {
            Some(until) => sys::collected_by(pidfd, deadline.sooner(*until)),
            None => Ok(()),
        }
    }
}

impl Reporter {
    /// Tells it to whoever asked for the child, if that process still wants to know.
    pub(crate) fn tell(mut self, exit: Exit) {
        let (kind, number) = match exit {
            Exit::Code(n) => (0_i32, n),
            Exit::Signal(n) => (1, n),
        };
        let mut word = [0; 8];
        word[..4].copy_from_slice(&kind.to_ne_bytes());
        word[4..].copy_from_slice(&number.to_ne_bytes());
        // So few bytes fit into an empty pipe, and go whole.
        let _ = self.0.write_all(&word);
    }
}

fn exit_of(word: [u8; 8]) -> Exit {
    let [a, b, c, d, e, f, g, h] = word;
    let number = i32::from_ne_bytes([e, f, g, h]);
    match i32::from_ne_bytes([a, b, c, d]) {
        0 => Exit::Code(number),
        _ => Exit::Signal(number),
    }
}

impl AsFd for Reporter {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<OwnedFd> for Reporter {
    fn from(fd: OwnedFd) -> Self {
        Reporter(PipeWriter::from(fd))
    }
}
