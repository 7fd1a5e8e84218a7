//! A process that is to do what a letter says, seen from its starter.
//!
//! ```text
//!   made       by exec, or by a fork server; its line to us is open
//!   entered    its program runs and has found its entry (told by the server, if there is one)
//!   letter     sent, with the arguments and their descriptors
//!   ready      it has decoded them. Up to here a failure gives everything back
//!   let go     our arguments are dropped, the child noted down, and it may run
//! ```
//!
//! # If a process dies here
//!
//! The newcomer, before *ready*: an error, with what it said or how it ended, and the arguments
//! back. After: `join` tells. The starter, before *go*: the newcomer leaves without having run
//! anything. Nobody who looks on can hold this up: both watch each other's process, not the
//! line's end alone.

use crate::current::Me;
use crate::exit::Exit;
use crate::house::house;
use crate::line::{Kind, Line, LineError};
use crate::not_started::StartError;
use crate::process::Process;
use crate::record::{Child, End};
use crate::report::Report;
use crate::{sys, told};
use multiproc_core::deadline::Deadline;
use multiproc_core::fd::wait_readable;
use multiproc_core::step;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

/// A new process that has not been let go.
pub(crate) struct Newcomer {
    pub(crate) pid: u32,
    pub(crate) pidfd: OwnedFd,
    pub(crate) line: Line,
    /// Where its exit is reported, if it is not our own child.
    pub(crate) report: Option<Report>,
    pub(crate) entered: bool,
}

impl Newcomer {
    /// Waits for a message of this kind, the only one that is right now.
    fn expect(&self, kind: Kind) -> Result<(), Setback> {
        match self.line.receive(self.pidfd.as_fd()) {
            Ok(message) if message.kind == kind => Ok(()),
            Ok(message) if message.kind == Kind::Refused => Err(Setback::Said(
                String::from_utf8_lossy(&message.bytes).into_owned(),
            )),
            Ok(_) => Err(Setback::Said("it spoke out of turn".to_owned())),
            Err(error) => Err(error.into()),
        }
    }

    /// *Blocks until* its program has reached the entry. *Wakes when* it says so. *If a peer
    /// dies*: an error.
    pub(crate) fn enter(mut self) -> Result<Self, StartError> {
        match self.expect(Kind::Entered) {
            Ok(()) => {
                self.entered = true;
                Ok(self)
            }
            Err(setback) => Err(self.send_away(setback)),
        }
    }

    /// Gives it its letter. *Blocks until* it has decoded the arguments. *Wakes when* it says so.
    /// *If a peer dies*: an error.
    pub(crate) fn instruct(
        self,
        letter: &[u8],
        arguments: &[u8],
        descriptors: &[OwnedFd],
    ) -> Result<Self, StartError> {
        let descriptors: Vec<BorrowedFd<'_>> = descriptors.iter().map(AsFd::as_fd).collect();
        let told = self
            .line
            .send(
                Kind::Letter,
                &[letter, arguments],
                &descriptors,
                self.pidfd.as_fd(),
            )
            .map_err(Setback::from)
            // It may have refused before it had read everything: what it says explains more.
            .or_else(|setback| match setback {
                Setback::Gone => Ok(()),
                other => Err(other),
            })
            .and_then(|()| {
                step!("spawn: letter sent");
                self.expect(Kind::Ready)
            });
        match told {
            Ok(()) => Ok(self),
            Err(setback) => Err(self.send_away(setback)),
        }
    }

    /// Notes the child down and lets it run.
    pub(crate) fn let_go(self, me: Me) -> Process {
        let child = Arc::new(Child {
            pid: self.pid,
            name: me.name,
            daemon: me.daemon,
            parent: sys::pid(),
            pidfd: self.pidfd,
            report: self.report,
            end: End::default(),
        });
        house(|house| house.children.push(Arc::clone(&child)));
        step!("spawn: noted down");
        // If it has died meanwhile, `join` tells.
        let _ = self.line.send(Kind::Go, &[], &[], child.pidfd.as_fd());
        step!("spawn: let go");
        told::started(&child);
        Process { child }
    }

    /// Lets it run without noting it down: a helper that is not counted among the children.
    pub(crate) fn go(self) -> OwnedFd {
        // If it has died meanwhile, whoever talks to it finds out.
        let _ = self.line.send(Kind::Go, &[], &[], self.pidfd.as_fd());
        self.pidfd
    }

    /// Ends it, and says why it did not get further.
    fn send_away(self, setback: Setback) -> StartError {
        let entered = self.entered;
        let exit = self.dismiss();
        match (setback, exit) {
            (Setback::Said(why), _) => StartError::Refused(why),
            (Setback::System(error), _) => StartError::System(error),
            (Setback::Gone, Some(exit)) if entered => StartError::Ended(exit),
            (Setback::Gone, Some(exit)) => StartError::NeverEntered(exit),
            // Nobody knows how it ended.
            (Setback::Gone, None) => StartError::Ended(Exit::Signal(libc::SIGKILL)),
        }
    }

    /// Ends it, whatever it is doing, and collects it: how it ended, if that can be told. One
    /// that was ending by itself shows its own exit.
    pub(crate) fn dismiss(self) -> Option<Exit> {
        self.line.hang_up();
        // An error means that it has gone.
        let _ = sys::pidfd_signal(self.pidfd.as_fd(), libc::SIGKILL);
        let _ = wait_readable(self.pidfd.as_fd(), Deadline::NEVER);
        match &self.report {
            None => sys::reap(self.pidfd.as_fd()).ok().flatten(),
            Some(report) => loop {
                // An error means that nobody can tell.
                if let known @ Some(_) = report.read(self.pidfd.as_fd()).ok()? {
                    break known;
                }
                report.wait(self.pidfd.as_fd(), Deadline::NEVER).ok()?;
            },
        }
    }
}

/// Why a newcomer did not get to its next state.
enum Setback {
    /// It ended or hung up.
    Gone,
    /// It told us why.
    Said(String),
    System(std::io::Error),
}

impl From<LineError> for Setback {
    fn from(error: LineError) -> Self {
        match error {
            LineError::Gone => Setback::Gone,
            LineError::System(error) => Setback::System(error),
        }
    }
}
