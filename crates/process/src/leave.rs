//! Leaving in good order: at a normal end a process takes its children with it, then runs its
//! exit hooks.

use crate::house::{Hook, at_home, house};
use crate::record::Child;
use multiproc_core::deadline::Deadline;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

/// How long a terminated daemon may take to end before it is killed.
const GRACE: Duration = Duration::from_secs(1);

/// Has `hook` run when this process ends normally: when `main` or the child's function returns
/// or panics, or by `std::process::exit`. Not when it is killed.
///
/// Hooks run once, in the reverse order of their registration, after the children have been
/// joined. A hook that panics does not keep the others from running. A child inherits none of
/// its parent's hooks.
///
/// ```
/// multiproc_process::at_exit(|| println!("bye"));
/// ```
#[doc(alias = "atexit")]
pub fn at_exit(hook: impl FnOnce() + Send + 'static) {
    at_exit_with_priority(0, hook);
}

/// As [`at_exit`], in an order of your own: hooks of higher priority run first, and of two with
/// the same the newer one. Those above 0 run before the children are joined: the place to tell
/// these that they may end.
///
/// The hook may also be run before its time, or taken back, by what this returns.
///
/// ```
/// use multiproc_process::at_exit_with_priority;
///
/// let hook = at_exit_with_priority(-10, || println!("last of all"));
/// assert!(hook.cancel());
/// ```
#[doc(alias = "Finalize")]
#[doc(alias = "exitpriority")]
pub fn at_exit_with_priority(priority: i32, hook: impl FnOnce() + Send + 'static) -> ExitHook {
    ExitHook {
        number: house(|house| house.add_hook(priority, Box::new(hook))),
        process: crate::sys::pid(),
    }
}

/// A hook that will run at exit. Dropping this changes nothing.
#[derive(Debug)]
pub struct ExitHook {
    number: u64,
    process: u32,
}

impl ExitHook {
    /// Runs it now, and not again at exit. False if it has run, or belongs to the parent.
    pub fn run(self) -> bool {
        self.take().map(|hook| (hook.run)()).is_some()
    }

    /// Has it not run at all. False if it has run, or belongs to the parent.
    pub fn cancel(self) -> bool {
        // The closure is dropped here and not under the lock.
        self.take().is_some()
    }

    fn take(&self) -> Option<Hook> {
        (self.process == crate::sys::pid())
            .then(|| house(|house| house.take_hook(self.number)))
            .flatten()
    }
}

/// Has `hook` run in every child that is made by fork from now on ([`Process::start`],
/// [`fork()`](crate::fork())), and in their children, before anything else of theirs: to replace
/// what a copy must not share with its original, such as a connection or a random seed.
///
/// Hooks run in the order of their registration. A hook that panics prints its message, and the
/// child goes on. Processes that are no copies (by [`Process::spawn`]) have nothing to replace;
/// in children of a fork server runs what was registered before
/// [`entry`](crate::entry).
///
/// [`Process::start`]: crate::Process::start
/// [`Process::spawn`]: crate::Process::spawn
///
/// ```
/// multiproc_process::after_fork(|| println!("a new process: {}", std::process::id()));
/// ```
#[doc(alias = "register_after_fork")]
#[doc(alias = "register_at_fork")]
pub fn after_fork(hook: impl Fn() + Send + Sync + 'static) {
    house(|house| house.after_fork.push(Arc::new(hook)));
}

/// Runs what was registered by [`after_fork`], in the child.
pub(crate) fn greet() {
    let hooks = house(|house| house.after_fork.clone());
    for hook in hooks {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| hook())) {
            std::mem::forget(panic);
        }
    }
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

/// Runs the hooks above 0, terminates daemons, joins the other children, runs the other hooks.
///
/// *Blocks until* every child that is no daemon has ended, and each daemon has (a second after
/// SIGTERM it gets SIGKILL). *Wakes when* the kernel reports an end. *If a peer dies*: a dead
/// child is one less to wait for.
pub(crate) fn say_goodbye() {
    loop {
        while run_hook(1) {}
        join_children();
        // One at a time: a hook may register another, or start a child.
        if !run_hook(i32::MIN) {
            break;
        }
    }
    crate::server::dismiss();
}

/// Runs the next hook, if it has as high a priority. Outside the lock.
fn run_hook(lowest: i32) -> bool {
    let Some(hook) = house(|house| house.next_hook(lowest)) else {
        return false;
    };
    if let Err(panic) = catch_unwind(AssertUnwindSafe(hook.run)) {
        std::mem::forget(panic);
    }
    true
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
