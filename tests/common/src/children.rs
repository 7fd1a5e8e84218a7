//! Starting, watching and ending children.

use crate::proc::{sleeps_in_poll, sleeps_on_futex};
use crate::{PATIENCE, ok, until};
use multiproc_process::{Exit, ExitValue, Process, StartError};
use std::io;

/// Starts a helper: a daemon, so that a test that fails does not wait for it.
#[track_caller]
pub fn start<R: ExitValue>(f: impl FnOnce() -> R) -> Process {
    let helper = Process::builder().daemon(true).start(f);
    helper.map_err(StartError::from).unwrap()
}

/// Waits until the child sleeps in a blocking call (a futex wait). Panics if it ends instead.
#[track_caller]
pub fn blocked(child: &Process) {
    until("a child to block", || {
        assert!(
            child.is_alive(),
            "the child ended instead of blocking: {child:?}"
        );
        sleeps_on_futex(child.pid())
    });
}

/// Waits until the child sleeps in a blocking call, or has ended: false.
#[track_caller]
pub fn blocked_or_gone(child: &Process) -> bool {
    let mut blocked = false;
    until("a child to block or to end", || {
        blocked = sleeps_on_futex(child.pid());
        blocked || !child.is_alive()
    });
    blocked
}

/// Waits until the child sleeps in `poll`. Panics if it ends instead.
#[track_caller]
pub fn polls(child: &Process) {
    until("a child to sleep in poll", || {
        assert!(child.is_alive(), "the child ended instead: {child:?}");
        sleeps_in_poll(child.pid())
    });
}

/// Joins a child that must end by itself soon, and well.
#[track_caller]
pub fn ends_well(child: &Process) {
    assert_eq!(ends(child), Exit::Code(0), "{child:?}");
}

/// Joins a child that must end by itself soon.
#[track_caller]
pub fn ends(child: &Process) -> Exit {
    match child.join_timeout(PATIENCE) {
        Ok(exit) => exit,
        Err(error) => panic!("{child:?}: {error}"),
    }
}

/// Kills a child with SIGKILL and collects it.
#[track_caller]
pub fn kill(child: &Process) {
    child.kill().unwrap();
    assert_eq!(ends(child), Exit::Signal(libc::SIGKILL));
}

/// Sends a signal to a child that was not collected yet.
pub fn send_signal(child: &Process, signal: i32) {
    // SAFETY: numbers only. The pid is a child's that nobody has collected.
    unsafe { libc::kill(child.pid() as i32, signal) };
}

/// Ends this process as `kill -9` does.
pub fn kill_me() -> ! {
    // SAFETY: a signal to this very process, which it does not survive.
    unsafe {
        libc::kill(libc::getpid(), libc::SIGKILL);
        loop {
            libc::pause();
        }
    }
}

/// Ends this process at once, as a crash does: no destructors, no flushing.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: always allowed.
    unsafe { libc::_exit(code) }
}

/// Waits to be killed.
pub fn for_ever() -> ! {
    loop {
        std::thread::park();
    }
}

/// A child forked by hand: the toolkit's own fork refuses while a guard is held. Exit code
/// 101 after a panic.
pub fn bare_fork(f: impl FnOnce()) -> io::Result<libc::pid_t> {
    // SAFETY: tests of the runner have one thread, or say why it does not matter.
    let pid = ok(unsafe { libc::fork() })?;
    if pid == 0 {
        let end = std::panic::catch_unwind(std::panic::AssertUnwindSafe(f));
        exit_now(if end.is_ok() { 0 } else { 101 });
    }
    Ok(pid)
}

/// How a child of [`bare_fork`] ended, as `waitpid` says it.
pub fn status_of(pid: libc::pid_t) -> io::Result<libc::c_int> {
    let mut status = 0;
    // SAFETY: our own child and a local.
    ok(unsafe { libc::waitpid(pid, &mut status, 0) })?;
    Ok(status)
}

/// Runs `f` in a child forked by hand, and says how it ended, as `waitpid` does.
pub fn in_bare_fork(f: impl FnOnce()) -> io::Result<libc::c_int> {
    status_of(bare_fork(f)?)
}
