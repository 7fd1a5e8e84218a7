//! What ties a daemon to its parent's life.
//!
//! The kernel can send a signal when a parent dies, and that costs nothing. But its parent is the
//! *thread* that started us: when that ends, the signal comes although the process lives. So it
//! serves where the main thread did the starting, which ends with its process. Elsewhere a
//! thread of the daemon's own sleeps on a descriptor of the parent, and kills the daemon with
//! the same SIGKILL. (A daemon that is stopped is then killed when it is continued.)
//!
//! If the parent dies before the tie: whoever ties looks afterwards whether it still lives.

use crate::sys;
use multiproc_core::deadline::Deadline;
use multiproc_core::fd::wait_readable;
use nix::sys::signal::{SigSet, SigmaskHow};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// The watching thread needs no more.
const STACK: usize = 64 << 10;

/// The process in which a watching thread runs. Relaxed: a pid, written before it is asked for.
static WATCHED: AtomicU32 = AtomicU32::new(0);

/// Binds this process, a daemon, to its parent. Does not return if the parent is dead.
pub(crate) fn tie(parent: &Arc<OwnedFd>, from_main_thread: bool) -> io::Result<()> {
    if from_main_thread {
        sys::die_with_parent()?;
    } else {
        watch(Arc::clone(parent))?;
    }
    // It may have died before we were bound. Its descriptor, unlike getppid, is not fooled by a
    // reused pid, a subreaper or another pid namespace.
    if !matches!(wait_readable(parent.as_fd(), Deadline::NOW), Ok(false)) {
        sys::leave(crate::child::NEVER_RAN);
    }
    Ok(())
}

/// How many threads of this process are ours. They hold nothing that a fork could find locked.
pub(crate) fn threads() -> usize {
    usize::from(WATCHED.load(Relaxed) == sys::pid())
}

fn watch(parent: Arc<OwnedFd>) -> io::Result<()> {
    // The thread is to handle none of the program's signals.
    let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
    let thread = std::thread::Builder::new()
        .name("parent watch".to_owned())
        .stack_size(STACK)
        .spawn(move || {
            // An error is as bad as its death: we could not tell it any more.
            let _ = wait_readable(parent.as_fd(), Deadline::NEVER);
            sys::kill_me()
        });
    before.thread_set_mask()?;
    thread?;
    WATCHED.store(sys::pid(), Relaxed);
    Ok(())
}
