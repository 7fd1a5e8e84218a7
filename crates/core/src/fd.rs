//! Waiting for a file descriptor, by the same deadlines as everything else.

use crate::deadline::Deadline;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// *Blocks until* `fd` can be read (for a pidfd: its process ended; for a pipe: data or
/// end of file), or the deadline. True if it can.
///
/// *Wakes when* the descriptor becomes ready; signals do not end it early. *If a peer
/// dies*: a pidfd becomes ready, a pipe whose last writer it was as well.
///
/// # Errors
///
/// What `poll` says.
pub fn wait_readable(fd: BorrowedFd<'_>, deadline: Deadline) -> io::Result<bool> {
    let mut poll = libc::pollfd {
        fd: fd.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    loop {
        let left = deadline.remaining().map(|d| libc::timespec {
            tv_sec: d.as_secs().min(i32::MAX as u64) as libc::time_t,
            tv_nsec: d.subsec_nanos().into(),
        });
        let timeout = left.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        // SAFETY: one pollfd and an optional timespec, both local; no signal mask.
        let n = unsafe { libc::ppoll(&mut poll, 1, timeout, std::ptr::null()) };
        match n {
            0 if deadline.passed() => return Ok(false),
            0 => {}
            1.. => return Ok(true),
            _ => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
}
