//! Where a spawned process turns off into its task: the hook at the start of `main`.
//!
//! # How a process knows that it was spawned
//!
//! The starter leaves a socket at descriptor 3 and says in the environment which one that is, by
//! its inode, and who the starter is. Environments are inherited by whatever a spawned process
//! runs later; descriptor 3 is not. So who finds that very socket there was spawned, and nobody
//! else. A program with borrowed rights (set-user-ID) believes none of this.
//!
//! # Why there is no endless chain of processes
//!
//! A process that has not passed its own hook starts nothing by spawn: its child would run the
//! same `main` and not get to the hook either. And one that was spawned and has not got to the
//! hook starts nothing at all.
//!
//! # If a process dies here
//!
//! The starter, before the hook: the spawned process finds it dead and leaves. The spawned
//! process: the starter sees its end.

use crate::line::Line;
use crate::sys::{self, exec};
use crate::{child, task};
use multiproc_core::identity::Identity;
use std::ffi::CString;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Names the socket and the starter, for the new process.
const TICKET: &str = "MULTIPROC_SPAWN";

/// This process has passed [`entry`]. Inherited by fork, as is right: the program reaches it.
// Relaxed: one word, and nothing that it publishes.
static PASSED: AtomicBool = AtomicBool::new(false);

/// The place where spawned processes turn off: the first line of `main` in a program that uses
/// [`Process::spawn`](crate::Process::spawn) or a fork server.
///
/// A process that is spawned begins as this program begins, at `main`. There it gets here, does
/// what it was started for, and ends: for it, this call does not return. In all other processes
/// it returns at once. What stands before it happens in every spawned process, too (exit hooks
/// that are registered there are forgotten).
///
/// This is the guard `if __name__ == "__main__":` of Python's programs, the other way round: not
/// everything below it is indented, but everything below it is for the main process alone.
///
/// A program that never gets here cannot spawn; it is told so instead of starting itself for
/// ever. Test targets of [`mod@crate::test`] need no call, as [`test::run`](crate::test::run)
/// begins with one.
///
/// ```standalone_crate
/// use multiproc_process::{Process, entry};
///
/// fn double(n: i32) -> i32 {
///     2 * n
/// }
///
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     entry();
///     let child = Process::spawn(double, 21)?;
///     assert_eq!(child.join()?.code(), 42);
///     Ok(())
/// }
/// ```
#[doc(alias = "freeze_support")]
#[doc(alias = "__main__")]
pub fn entry() {
    if let Some(line) = my_line() {
        if exec::has_borrowed_rights() {
            let _ = writeln!(
                io::stderr(),
                "a program that runs with borrowed rights cannot be spawned"
            );
            sys::leave(child::NEVER_RAN)
        }
        match starter() {
            Some(starter) => task::enter(line, starter),
            // It died while we were starting.
            None => sys::leave(child::NEVER_RAN),
        }
    }
}

/// Whether this process has passed the hook, and so its children will.
pub(crate) fn is_passed() -> bool {
    PASSED.load(Relaxed)
}

/// Whether this process was spawned, and has not got to its hook yet.
pub(crate) fn is_before_entry() -> bool {
    !is_passed() && ticket().is_some_and(|(inode, _)| exec::is_given(inode))
}

/// What the environment says: the socket's inode, and the starter.
fn ticket() -> Option<(u64, u64)> {
    let text = std::env::var(TICKET).ok()?;
    let (inode, starter) = text.split_once(':')?;
    Some((inode.parse().ok()?, starter.parse().ok()?))
}

/// Passes the hook: the line to the starter, in a process that was spawned, the first time.
fn my_line() -> Option<Line> {
    if PASSED.swap(true, Relaxed) {
        return None;
    }
    let (inode, _) = ticket()?;
    // SAFETY: one call only gets past the swap. The starter put this very socket there before
    // the program began, so whatever other code opened has another number.
    unsafe { exec::given(inode) }.map(Line::from)
}

/// A descriptor of the process that spawned this one; `None` if it is dead.
fn starter() -> Option<OwnedFd> {
    let (_, starter) = ticket()?;
    let starter = Identity::from_bits(starter)?;
    let pidfd = sys::pidfd_open(starter.pid()).ok()?;
    // Opened first, asked then: so it is a descriptor of whom we mean.
    (starter.is_alive() && std::os::unix::process::parent_id() == starter.pid()).then_some(pidfd)
}

/// Runs this program in a new process that will find `line` at its hook: its pid.
pub(crate) fn run_again(line: &Line) -> io::Result<u32> {
    let inode = sys::inode(line.as_fd())?;
    let me = Identity::me().to_bits();
    let text = |text: Vec<u8>| CString::new(text).map_err(|_| io::ErrorKind::InvalidInput.into());
    let arguments: io::Result<Vec<CString>> = std::env::args_os()
        .map(|argument| text(argument.into_vec()))
        .collect();
    let mut environment = vec![text(format!("{TICKET}={inode}:{me}").into_bytes())?];
    for (name, value) in std::env::vars_os() {
        if name != TICKET {
            let mut entry = name.into_vec();
            entry.push(b'=');
            entry.extend(value.into_vec());
            environment.push(text(entry)?);
        }
    }
    exec::this_program(&arguments?, &environment, line.as_fd())
}
