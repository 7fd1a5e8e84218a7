//! Child processes as Python's `multiprocessing` has them: start, join, exit codes, daemons.
//!
//! ```standalone_crate
//! use multiproc_process::Process;
//! use std::io::{Read, Write, pipe};
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let (mut from_child, mut to_parent) = pipe()?;
//!     let child = Process::start(move || write!(to_parent, "hello from {}", std::process::id()))?;
//!
//!     let mut text = String::new();
//!     from_child.read_to_string(&mut text)?;
//!     assert_eq!(text, format!("hello from {}", child.pid()));
//!     child.join()?.ok()?;
//!     Ok(())
//! }
//! ```
//!
//! A child is a fork: it has a copy of everything, so a closure may borrow what it uses and
//! need not be `Send`. What it captures by *move* is dropped in both processes; read
//! [`Process::start`] before moving anything with a destructor.
//!
//! # The states of a child
//!
//! ```text
//!   parent                          child
//!   checks: guards, threads
//!   fork ------------------------>  at the gate: own name, own list of children,
//!   note the child down             daemons: bound to the parent's life
//!   drop the captures, handing
//!     their ends over
//!   open the gate --------------->  running: the function
//!                                   leaving: daemons terminated, children joined,
//!                                     exit hooks, buffers flushed
//!                                   ended: _exit, a zombie
//!   join, start, active_children
//!     or exit collects it --------  gone
//! ```
//!
//! # Invariants
//!
//! 1. A child runs its function only after the parent has dropped its copy of the captures:
//!    whatever end the child then finds registered in its name is one that was moved into it.
//! 2. Nothing is run or dropped of a task whose child did not start: it comes back.
//! 3. Only the parent collects a child, once, under one lock; whoever asks later reads the
//!    noted result. Signals go through a descriptor of the process, so they reach that child or
//!    nobody, also when its pid has been given away.
//! 4. The record of children belongs to one pid. A forked copy of it is emptied before it is
//!    used.
//! 5. Whatever may block waits on the kernel's report of a process's end, never on a clock
//!    alone.
//!
//! # If a process dies here
//!
//! | who | when | then |
//! |---|---|---|
//! | parent | before the fork | nothing has happened |
//! | parent | between fork and gate | the child leaves without running; ends handed over to it are a dead process's, which counts as closed |
//! | parent | after the gate | the child runs on; a daemon is killed by the kernel |
//! | child | at the gate | the parent hands over to a dead process, which counts as closed; `join` reports the signal |
//! | child | running or leaving | `join` reports the signal; its own daemons are killed by the kernel |
//! | anyone | while a third waits in `join` | nothing, unless it is the child waited for |
//!
//! The kernel's binding of a daemon (`PR_SET_PDEATHSIG`) is to the *thread* that started it,
//! and is lost when the daemon changes its user or executes a set-user-ID program.
//!
//! # Threads
//!
//! Fork copies only the calling thread. A lock that another one holds stays locked in the child
//! for ever, so starting is an error in a process that has more than one. A child may start
//! threads as it likes; it does not wait for them at its end.
//!
//! # Tests
//!
//! The standard test harness runs tests in threads. [`mod@test`] is one that runs each in a process
//! of its own.

#[cfg(not(target_os = "linux"))]
compile_error!(
    "multiproc-process needs Linux: it rests on fork, pidfds and the parent-death signal"
);

mod child;
mod current;
mod exit;
mod fork;
mod gate;
mod house;
mod leave;
mod process;
mod start;
mod sys;
pub mod test;

pub use current::{AuthKey, Current, Parent, cpu_count, current, parent};
pub use exit::{Exit, ExitError, ExitValue};
pub use fork::{Fork, fork};
pub use leave::at_exit;
pub use process::{
    JoinAllError, JoinError, JoinTimeoutError, Process, SignalError, active_children, join_all,
};
pub use start::{Builder, NotAllStarted, NotStarted, Run, StartError};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
