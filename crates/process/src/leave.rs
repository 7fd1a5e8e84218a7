//! Leaving in good order: at a normal end a process takes its children with it, then runs its
//! exit hooks.

use crate::house::{at_home, house};
use crate::process::Child;
use multiproc_core::deadline::Deadline;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

/// How long a terminated daemon may take to end before it is killed.
const GRACE: Duration = Duration::from_secs(1);

/// Has `hook` run when this process ends normally: when `main` or the child's function returns
/// or panics, or by `std::process::exit`. Not when it is killed.
///
/// Hooks run in the reverse order of their registration, after the children have been joined. A
/// hook that panics does not keep the others from running. A child inherits none of its
/// parent's hooks.
///
/// ```
/// multiproc_process::at_exit(|| println!("bye"));
/// ```
#[doc(alias = "atexit")]
#[doc(alias = "Finalize")]
pub fn at_exit(hook: impl FnOnce() + Send + 'static) {
    house(|house| {
        house.hooks.push(Box::new(hook));
        if !house.at_exit {
            house.at_exit = crate::sys::at_normal_exit(at_exit_of_process);
        }
    });
}

/// What the C library calls. In a child that somebody else's code forked, the list of children
/// is the parent's: hands off.
pub(crate) extern "C" fn at_exit_of_process() {
    if at_home() {
        // Nothing may unwind into C. The exit code is settled already.
        if let Err(panic) = catch_unwind(say_goodbye) {
            std::mem::forget(panic);
        }
    }
}

/// Terminates daemons, joins the other children, runs the hooks.
///
/// *Blocks until* every child that is no daemon has ended, and each daemon has (a second after
/// SIGTERM it gets SIGKILL). *Wakes when* the kernel reports an end. *If a peer dies*: a dead
/// child is one less to wait for.
pub(crate) fn say_goodbye() {
    loop {
        join_children();
        // One at a time and outside the lock: a hook may register another, or start a child.
        let Some(hook) = house(|house| house.hooks.pop()) else {
            break;
        };
        if let Err(panic) = catch_unwind(AssertUnwindSafe(hook)) {
            std::mem::forget(panic);
        }
    }
}

fn join_children() {
    let children: Vec<Arc<Child>> = house(|house| {
        house.sweep();
        house.children.clone()
    });
    if children.is_empty() {
        return;
    }
    let (daemons, others): (Vec<_>, Vec<_>) = children.into_iter().partition(|child| child.daemon);
    for daemon in &daemons {
        let _ = daemon.signal(libc::SIGTERM);
    }
    let patience = Deadline::after(GRACE);
    for daemon in &daemons {
        if !matches!(daemon.ended_by(patience), Ok(true)) {
            let _ = daemon.signal(libc::SIGKILL);
            let _ = daemon.ended_by(Deadline::after(GRACE));
        }
    }
    for child in &others {
        // An error means that there is nothing to wait on; exit must not hang over it.
        let _ = child.ended_by(Deadline::NEVER);
    }
    house(|house| house.sweep());
}
