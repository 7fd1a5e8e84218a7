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
//! A child made so is a fork: it has a copy of everything, so a closure may borrow what it uses
//! and need not be `Send`. What it captures by *move* is dropped in both processes; read
//! [`Process::start`] before moving anything with a destructor.
//!
//! # Three ways to start
//!
//! Fork works where one thread runs. A program with threads has two other [methods](StartMethod),
//! which run a plain function on arguments that are sent: [`Process::spawn`] runs the program
//! anew, and a *fork server* is a process that was spawned once and forks children on request. Both
//! need one line, [`entry`], at the head of `main`. [`Context`] is for code that takes any of the
//! three.
//!
//! # The states of a child
//!
//! By fork; how the other two come to *running* is told in `newcomer.rs`, `task.rs` and
//! `server.rs`.
//!
//! ```text
//!   parent                          child
//!   checks: guards, threads
//!   fork ------------------------>  at the gate; daemons: bound to the parent's life
//!   note the child down
//!   drop the captures, handing
//!     their ends over
//!   open the gate --------------->  running: own name, own list of children; the function
//!                                   leaving: daemons terminated, children joined,
//!                                     exit hooks, buffers flushed
//!                                   ended: _exit, a zombie
//!   join, start, active_children
//!     or exit collects it --------  gone
//! ```
//!
//! # Invariants
//!
//! 1. A child runs its function only after the parent has dropped its copy of the captures or
//!    arguments: whatever end the child then finds registered in its name is one that was moved
//!    into it.
//! 2. Nothing is run or dropped of a task whose child did not start: it comes back.
//! 3. Only the parent (or the fork server, for it) collects a child, once, under one lock;
//!    whoever asks later reads the noted result. Signals go through a descriptor of the process, so they reach that child or
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
//! | parent | after the gate | the child runs on; a daemon is killed |
//! | child | at the gate, by fork | the parent hands over to a dead process, which counts as closed; `join` reports the signal |
//! | child | at the gate, otherwise | start is an error and gives the arguments back |
//! | child | running or leaving | `join` reports the signal; its own daemons are killed |
//! | fork server | any time | its children run on, and the next start makes a new one |
//! | anyone | while a third waits in `join` | nothing, unless it is the child waited for |
//!
//! # Daemons
//!
//! A daemon whose parent's main thread started it is bound to the parent by the kernel's
//! parent-death signal, which is lost when the daemon changes its user or executes a set-user-ID
//! program. That signal comes when the starting *thread* ends: a daemon that another thread
//! started has a thread of its own that watches the parent's process instead.
//!
//! # Ctrl-C
//!
//! A terminal sends SIGINT to every process of the foreground job: to the program and, as they
//! are in its process group, to all its descendants. By default that ends each of them at once, and
//! with the program its daemons and its fork server (which ignores the signal) also where they
//! left the group. No exit hook runs then, and no destructor. A program that wants to leave in good
//! order handles SIGINT itself. Its children by spawn and fork server have the default and end;
//! [`join`](Process::join) reports signal 2, and the fork server serves on. Its children by fork
//! have a copy of its handler.
//!
//! # Threads
//!
//! Fork copies only the calling thread. A lock that another one holds stays locked in the child
//! for ever, so starting by fork is an error in a process that has more than one. The other
//! methods do not mind. A child may start threads as it likes; it does not wait for them at its
//! end.
//!
//! # Tests
//!
//! The standard test harness runs tests in threads. [`mod@test`] is one that runs each in a process
//! of its own.

#[cfg(not(target_os = "linux"))]
compile_error!(
    "multiproc-process needs Linux: it rests on fork, pidfds and the parent-death signal"
);

mod bond;
mod child;
mod context;
mod current;
mod entry;
mod exit;
mod fork;
mod gate;
mod house;
mod leave;
mod letter;
mod line;
mod newcomer;
mod not_started;
mod process;
mod record;
mod report;
mod server;
mod spawn;
mod start;
mod sys;
mod task;
pub mod test;

pub use context::{
    AlreadySet, Context, StartMethod, UnknownMethod, force_start_method, set_start_method,
    start_method,
};
pub use current::{AuthKey, Current, Parent, cpu_count, current, parent};
pub use entry::entry;
pub use exit::{Exit, ExitError, ExitValue};
pub use fork::{Fork, fork};
pub use leave::{ExitHook, after_fork, at_exit, at_exit_with_priority};
#[doc(inline)]
pub use multiproc_parcel::{Descriptor, descriptor};
pub use not_started::{NotAllStarted, NotStarted, StartError};
pub use process::{
    CloseError, JoinAllError, JoinError, JoinTimeoutError, Process, SignalError, active_children,
    join_all,
};
pub use start::{Builder, Run};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
