//! The gate: a pipe at which a new child waits until its parent has handed over what the
//! closure captured.
//!
//! One byte opens it. Its end without a byte, or the parent's death without a byte, means that
//! the hand-over was cut short: then the child must not run. The parent's pidfd is watched
//! beside the pipe because a pipe alone lies: where other threads fork (`start_unchecked`), a
//! stranger may have inherited its writing end and keep it open for ever.

use multiproc_core::deadline::Deadline;
use multiproc_core::fd::wait_readable;
use std::io::{PipeWriter, Write, pipe};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Before the fork: both ends, both close-on-exec.
pub(crate) struct Gate {
    reader: OwnedFd,
    writer: OwnedFd,
}

impl Gate {
    pub(crate) fn closed() -> std::io::Result<Self> {
        let (reader, writer) = pipe()?;
        Ok(Gate {
            reader: reader.into(),
            writer: writer.into(),
        })
    }

    /// The parent lets the child go. Dropping the gate instead sends it home.
    pub(crate) fn open(self) {
        // Our own reading end is still open, so this cannot raise SIGPIPE, also when the child
        // is dead; and a byte fits into an empty pipe. Should it fail all the same, the drop
        // below tells the child not to run.
        let _ = PipeWriter::from(self.writer).write_all(b"!");
    }

    /// The child waits. True: run. False: the parent gave up or died.
    ///
    /// *Blocks until* the parent opens or drops its gate. *If a peer dies*: the parent's death
    /// ends the wait.
    pub(crate) fn pass(self, parent: BorrowedFd<'_>) -> bool {
        let Gate { reader, writer } = self;
        drop(writer);
        let open = match crate::sys::ready_or_ended(reader.as_fd(), libc::POLLIN, parent) {
            Ok((true, _)) => true,
            // It may have opened the gate between the look at that and the look at itself, and
            // an opened gate counts although its opener died.
            Ok((false, _)) => matches!(wait_readable(reader.as_fd(), Deadline::NOW), Ok(true)),
            Err(_) => false,
        };
        open && crate::sys::read_byte(reader.as_fd())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn us() -> OwnedFd {
        crate::sys::pidfd_open(std::process::id()).unwrap()
    }

    #[test]
    fn an_opened_gate_lets_pass() {
        let gate = Gate::closed().unwrap();
        let child = Gate {
            reader: gate.reader.try_clone().unwrap(),
            writer: gate.writer.try_clone().unwrap(),
        };
        gate.open();
        assert!(child.pass(us().as_fd()));
    }

    #[test]
    fn a_dropped_gate_does_not() {
        let gate = Gate::closed().unwrap();
        let child = Gate {
            reader: gate.reader.try_clone().unwrap(),
            writer: gate.writer.try_clone().unwrap(),
        };
        drop(gate);
        assert!(!child.pass(us().as_fd()));
    }

    #[test]
    fn a_dead_parent_does_not_although_somebody_holds_the_pipe() {
        let gate = Gate::closed().unwrap();
        let child = Gate {
            reader: gate.reader.try_clone().unwrap(),
            writer: gate.writer.try_clone().unwrap(),
        };
        let mut parent = std::process::Command::new("true").spawn().unwrap();
        let pidfd = crate::sys::pidfd_open(parent.id()).unwrap();
        assert!(!child.pass(pidfd.as_fd()));
        parent.wait().unwrap();
        drop(gate);
    }
}
