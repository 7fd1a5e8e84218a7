//! The fork server: a process of one thread that forks on request, so that a program with
//! threads gets children for the price of a fork.
//!
//! ```text
//!   starter                         server                        child
//!   spawned when first asked  --->  waits: requests, the
//!                                   starter's end, children's ends
//!   a line and a report pipe  --->  forks  --------------------->  waits for its letter
//!   the child's descriptor    <---  keeps the report pipe
//!   the letter, and so on, as with a spawned process  ---------->  its function
//!   join reads the report     <---  collects it                   ended
//! ```
//!
//! # Whose child it is
//!
//! The kernel's parent of the child is the server. That it be the starter is possible
//! (`CLONE_PARENT`), but not through the C library's fork: its record of the thread, its list of
//! robust locks and the handlers of everybody who must know of a fork would be the server's in
//! the child, and robust locks are what the rest stands on. So the server collects, and reports. All
//! else goes through a descriptor of the child and does not care whose it is.
//!
//! # If a process dies here
//!
//! | who | when | then |
//! |---|---|---|
//! | starter | any time | the server sees it and ends; daemons see it themselves; others run on |
//! | server | while it starts, or before a child is known to the starter | that child finds its line hung up and leaves; the start is tried again with a new server |
//! | server | later | children run on; the next start makes a new server; how they end is told as [`crate::report`] says |
//! | child | any time | the server reports it |
//!
//! The server ignores SIGINT: Ctrl-C is for the program, and ends the server by that.

use crate::child::Origin;
use crate::context::StartMethod;
use crate::current::Me;
use crate::exit::Exit;
use crate::house::house;
use crate::line::{Kind, Line, LineError};
use crate::newcomer::Newcomer;
use crate::not_started::StartError;
use crate::report::{self, Reporter};
use crate::sys::{self, Split};
use crate::{letter, spawn, task};
use multiproc_core::step;
use multiproc_parcel::Descriptor;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

/// As often may a server die on us in one start.
const ATTEMPTS: usize = 5;

const KILLED: Exit = Exit::Signal(libc::SIGKILL);

/// The server, seen from its starter.
pub(crate) struct Server {
    /// Who started it. In a fork's copy this is somebody else.
    starter: u32,
    pidfd: OwnedFd,
    control: Line,
}

/// A child of the server, waiting for its letter.
///
/// *Blocks until* the server has forked. *Wakes when* it says so. *If a peer dies*: if the server
/// does, another one is asked.
pub(crate) fn fork() -> Result<Newcomer, StartError> {
    let mut why = StartError::Server;
    for _ in 0..ATTEMPTS {
        let server = match current() {
            Ok(server) => server,
            // It was killed while it started.
            Err(killed @ (StartError::NeverEntered(KILLED) | StartError::Ended(KILLED))) => {
                why = killed;
                continue;
            }
            Err(other) => return Err(other),
        };
        match server.ask() {
            Ok(newcomer) => return Ok(newcomer),
            Err(Refusal::Dead) => forget(&server),
            Err(Refusal::Not(why)) => return Err(why),
        }
    }
    Err(why)
}

enum Refusal {
    Dead,
    Not(StartError),
}

impl From<LineError> for Refusal {
    fn from(error: LineError) -> Self {
        match error {
            LineError::Gone => Refusal::Dead,
            LineError::System(error) => Refusal::from(error),
        }
    }
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Refusal::Not(StartError::System(error))
    }
}

impl Server {
    fn ask(&self) -> Result<Newcomer, Refusal> {
        let (line, theirs) = Line::pair()?;
        let (report, reporter) = report::line()?;
        self.control.send(
            Kind::Fork,
            &[],
            &[theirs.as_fd(), reporter.as_fd()],
            self.pidfd.as_fd(),
        )?;
        drop((theirs, reporter));
        step!("fork server: asked");
        let answer = line.receive(self.pidfd.as_fd()).inspect_err(|_| {
            // If it has forked before it died, nobody will know of that child: send it home.
            line.hang_up();
        })?;
        let number =
            || -> Option<u32> { Some(u32::from_ne_bytes(answer.bytes[..].try_into().ok()?)) };
        match (answer.kind, number()) {
            (Kind::Forked, Some(pid)) => match answer.descriptors.into_iter().next() {
                Some(pidfd) => Ok(Newcomer {
                    pid,
                    pidfd,
                    line,
                    report: Some(report),
                    entered: true,
                }),
                None => Err(Refusal::Dead),
            },
            (Kind::NotForked, Some(error)) => {
                Err(io::Error::from_raw_os_error(error.cast_signed()).into())
            }
            (Kind::Refused, _) => {
                let why = String::from_utf8_lossy(&answer.bytes).into_owned();
                Err(Refusal::Not(StartError::Refused(why)))
            }
            _ => Err(Refusal::Dead),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A fork's copy only closes its descriptors.
        if self.starter == sys::pid() {
            self.control.hang_up();
            // It holds nothing that is not ours to end.
            let _ = sys::pidfd_signal(self.pidfd.as_fd(), libc::SIGKILL);
            sys::reap_fd(self.pidfd.as_fd());
        }
    }
}

/// This process's server; started now if there is none.
fn current() -> Result<Arc<Server>, StartError> {
    if let Some(server) = house(|house| house.server.clone()) {
        return Ok(server);
    }
    // Not under the lock, as it takes its time. Who comes second takes the first one's.
    let ours = Arc::new(start()?);
    Ok(house(|house| {
        Arc::clone(house.server.get_or_insert_with(|| Arc::clone(&ours)))
    }))
}

fn forget(server: &Arc<Server>) {
    let gone = house(|house| house.server.take_if(|current| Arc::ptr_eq(current, server)));
    drop(gone); // not under the lock: it may wait for the server's end
}

/// Ends this process's server, if there is one: its children have been joined.
pub(crate) fn dismiss() {
    let server = house(|house| house.server.take());
    drop(server);
}

fn start() -> Result<Server, StartError> {
    let (control, theirs) = Line::pair().map_err(StartError::System)?;
    let errand = spawn::errand(serve as fn(Descriptor<OwnedFd>) -> i32)?;
    let (parent, authkey) =
        house(|house| Ok((house.me(), house.authkey()?))).map_err(StartError::System)?;
    let me = Me {
        name: "fork server".to_owned(),
        ..Me::default()
    };
    let (arguments, parcel) =
        multiproc_parcel::pack(|| postcard::to_allocvec(&Descriptor(OwnedFd::from(theirs))));
    let arguments = arguments.map_err(|error| StartError::Arguments(error.to_string()))?;
    let letter = letter::write(&errand.of(&me, &parent.name, &authkey, StartMethod::ForkServer))
        .map_err(|error| StartError::Arguments(error.to_string()))?;
    let newcomer = spawn::new_process()?.instruct(&letter, &arguments, parcel.descriptors())?;
    drop(parcel.into_descriptors());
    let pidfd = newcomer.go();
    Ok(Server {
        starter: sys::pid(),
        pidfd,
        control,
    })
}

/// A child, in the server.
struct Charge {
    pidfd: OwnedFd,
    reporter: Reporter,
}

/// The server's life. *Blocks until* the starter has ended or hung up. *Wakes when* it asks for a
/// child, and when a child ends. *If a peer dies*: see the module's table.
fn serve(Descriptor(control): Descriptor<OwnedFd>) -> i32 {
    let Some(starter) = crate::parent().map(|parent| parent.pidfd) else {
        return 1;
    };
    let before = sys::ignore_interrupts();
    let control = Line::from(control);
    let mut charges: Vec<Charge> = Vec::new();
    loop {
        let mut watched = vec![control.as_fd(), starter.as_fd()];
        watched.extend(charges.iter().map(|charge| charge.pidfd.as_fd()));
        let Ok(ready) = sys::readable_of(&watched) else {
            return 1;
        };
        if ready[1] {
            return 0;
        }
        for (at, _) in ready[2..]
            .iter()
            .enumerate()
            .rev()
            .filter(|(_, ready)| **ready)
        {
            // `None`: a debugger has it for now.
            if let Some(exit) = collect(charges[at].pidfd.as_fd()) {
                charges.swap_remove(at).reporter.tell(exit);
            }
        }
        if !ready[0] {
            continue;
        }
        let Ok(request) = control.receive(starter.as_fd()) else {
            return 0;
        };
        let mut descriptors = request.descriptors.into_iter();
        let (Kind::Fork, Some(line), Some(reporter)) =
            (request.kind, descriptors.next(), descriptors.next())
        else {
            return 1;
        };
        let (line, reporter) = (Line::from(line), Reporter::from(reporter));
        match split(&line, &starter) {
            Some(Split::Parent(pid)) => match sys::pidfd_open(pid) {
                Ok(pidfd) => {
                    step!("fork server: forked");
                    // If nobody takes it, nobody sends it a letter: it leaves.
                    let _ = line.send(
                        Kind::Forked,
                        &[&pid.to_ne_bytes()],
                        &[pidfd.as_fd()],
                        starter.as_fd(),
                    );
                    step!("fork server: told");
                    charges.push(Charge { pidfd, reporter });
                }
                Err(error) => {
                    // No way to watch it. It has done nothing yet: send it home.
                    tell_error(&line, &error, starter.as_fd());
                    line.hang_up();
                    sys::reap_pid(pid);
                }
            },
            Some(Split::Child) => {
                // What is the server's is none of the child's.
                drop((charges, control, reporter));
                sys::handle_interrupts(before);
                task::obey(line, starter, Origin::Forked)
            }
            None => {}
        }
    }
}

/// Forks, or says why not.
fn split(line: &Line, starter: &OwnedFd) -> Option<Split> {
    if let Err(error) = crate::start::alone() {
        let why = format!("in the fork server {error}");
        let _ = line.send(Kind::Refused, &[why.as_bytes()], &[], starter.as_fd());
        return None;
    }
    // SAFETY: one thread runs in the server, as was just counted.
    match unsafe { sys::fork_here() } {
        Ok(split) => Some(split),
        Err(error) => {
            tell_error(line, &error, starter.as_fd());
            None
        }
    }
}

fn tell_error(line: &Line, error: &io::Error, starter: BorrowedFd<'_>) {
    let number = error.raw_os_error().unwrap_or(libc::EAGAIN);
    let _ = line.send(Kind::NotForked, &[&number.to_ne_bytes()], &[], starter);
}

fn collect(pidfd: BorrowedFd<'_>) -> Option<Exit> {
    // Whatever went wrong: nobody will hear more of it.
    sys::reap(pidfd).unwrap_or(Some(KILLED))
}
