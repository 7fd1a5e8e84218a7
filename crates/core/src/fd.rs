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

/// *Blocks until* one of these is ready, a signal comes or `sleep` is over. True if one is; all
/// tell by their `revents`. *Wakes when* one becomes so. *If a peer dies*: as [`wait_readable`].
///
/// # Errors
///
/// What `poll` says: above all, more of them than descriptors are allowed.
pub fn poll(fds: &mut [libc::pollfd], sleep: std::time::Duration) -> io::Result<bool> {
    let timeout = libc::timespec {
        tv_sec: sleep.as_secs().min(i32::MAX as u64) as libc::time_t,
        tv_nsec: sleep.subsec_nanos().into(),
    };
    // SAFETY: so many pollfds, of which the kernel writes `revents`; no signal mask.
    let n = unsafe { libc::ppoll(fds.as_mut_ptr(), fds.len() as _, &timeout, std::ptr::null()) };
    match n {
        0.. => Ok(n > 0),
        _ => match io::Error::last_os_error() {
            e if e.kind() == io::ErrorKind::Interrupted => {
                fds.iter_mut().for_each(|fd| fd.revents = 0);
                Ok(false)
            }
            e => Err(e),
        },
    }
}
