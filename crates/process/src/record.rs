//! What a process notes of a child: once, for all handles of it and for the list of children.

use crate::exit::Exit;
use crate::report::Report;
use crate::sys;
use multiproc_core::deadline::Deadline;
use multiproc_core::fd::wait_readable;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// One child, shared by its handles and by the list of children of the process that started it.
pub(crate) struct Child {
    pub(crate) pid: u32,
    pub(crate) name: String,
    pub(crate) daemon: bool,
    /// Who started it; in any other process the handle is somebody else's.
    pub(crate) parent: u32,
    pub(crate) pidfd: OwnedFd,
    /// A child of the fork server: that collects it, and tells us here.
    pub(crate) report: Option<Report>,
    pub(crate) end: End,
}

/// How a child ended, once that is known. Written under the house lock, once; read anywhere.
#[derive(Default)]
pub(crate) struct End(AtomicU64);

const KIND: u64 = 7 << 32;
const CODE: u64 = 1 << 32;
const SIGNAL: u64 = 2 << 32;
const COLLECTED: u64 = 3 << 32;
const SERVER_DIED: u64 = 4 << 32;

impl End {
    // Relaxed: the word is all there is; nothing else is published with it.
    pub(crate) fn get(&self) -> Option<Result<Exit, Lost>> {
        let word = self.0.load(Relaxed);
        let number = word as u32 as i32;
        match word & KIND {
            CODE => Some(Ok(Exit::Code(number))),
            SIGNAL => Some(Ok(Exit::Signal(number))),
            COLLECTED => Some(Err(Lost::Collected)),
            SERVER_DIED => Some(Err(Lost::ServerDied)),
            _ => None,
        }
    }

    fn set(&self, end: Result<Exit, Lost>) {
        let word = match end {
            Ok(Exit::Code(n)) => CODE | u64::from(n as u32),
            Ok(Exit::Signal(n)) => SIGNAL | u64::from(n as u32),
            Err(Lost::Collected) => COLLECTED,
            Err(Lost::ServerDied) => SERVER_DIED,
        };
        self.0.store(word, Relaxed);
    }
}

/// Why nobody can tell how the child ended.
#[derive(Clone, Copy)]
pub(crate) enum Lost {
    /// Somebody else collected it.
    Collected,
    /// The fork server did not live to report it.
    ServerDied,
}

impl Child {
    /// Collects the child if it has ended. Under the house lock, so that no two threads ask the
    /// kernel at once.
    pub(crate) fn collect(&self) -> io::Result<Option<Result<Exit, Lost>>> {
        if let Some(end) = self.end.get() {
            return Ok(Some(end));
        }
        let pidfd = self.pidfd.as_fd();
        let (seen, lost) = match &self.report {
            None => (sys::reap(pidfd), Lost::Collected),
            Some(report) => (report.read(pidfd), Lost::ServerDied),
        };
        let end = match seen {
            Ok(None) => return Ok(None),
            Ok(Some(exit)) => Ok(exit),
            Err(error) if error.raw_os_error() == Some(libc::ECHILD) => Err(lost),
            Err(error) => return Err(error),
        };
        self.end.set(end);
        Ok(Some(end))
    }

    pub(crate) fn still_runs(&self) -> bool {
        matches!(self.collect(), Ok(None))
    }

    pub(crate) fn signal(&self, signal: libc::c_int) -> io::Result<()> {
        match sys::pidfd_signal(self.pidfd.as_fd(), signal) {
            // It has ended, which is what the signal was for.
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            done => done,
        }
    }

    /// Waits for its end, without collecting it.
    pub(crate) fn ended_by(&self, deadline: Deadline) -> io::Result<bool> {
        wait_readable(self.pidfd.as_fd(), deadline)
    }

    /// Waits until it can be collected, or the deadline.
    pub(crate) fn told_by(&self, deadline: Deadline) -> io::Result<()> {
        match &self.report {
            None => self.ended_by(deadline).map(drop),
            Some(report) => report.wait(self.pidfd.as_fd(), deadline),
        }
    }
}
