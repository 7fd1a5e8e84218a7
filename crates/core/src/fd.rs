//! Waiting for a file descriptor, by the same deadlines as everything else.

use crate::deadline::Deadline;
use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, UnixAddr, recvmsg, sendmsg};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::OnceLock;
use std::time::Duration;

/// The most descriptors that one message can carry: what the kernel sends at once.
pub const MOST_DESCRIPTORS: usize = 253;

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

/// Sends bytes and descriptors over a socket; how many bytes went (the descriptors go with the
/// first). Never blocks, and never raises SIGPIPE.
///
/// # Errors
///
/// `WouldBlock` where there is no room; else what the kernel says.
pub fn send_with(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[RawFd]) -> io::Result<usize> {
    let rights = [ControlMessage::ScmRights(fds)];
    let rights = if fds.is_empty() {
        &rights[..0]
    } else {
        &rights
    };
    let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
    loop {
        let parts = [IoSlice::new(bytes)];
        match sendmsg::<UnixAddr>(socket.as_raw_fd(), &parts, rights, flags, None) {
            Err(Errno::EINTR) => {}
            other => return Ok(other?),
        }
    }
}

/// What [`recv_with`] received.
#[derive(Debug)]
pub struct Received {
    /// So many bytes; none at the end of the stream.
    pub bytes: usize,
    /// The descriptors that came with them.
    pub fds: Vec<OwnedFd>,
    /// This process could have no more descriptors: some are missing.
    pub cut: bool,
}

/// Receives bytes and descriptors from a socket, or with `peek` copies of them. Never blocks.
///
/// # Errors
///
/// `WouldBlock` where nothing is there; else what the kernel says.
pub fn recv_with(socket: BorrowedFd<'_>, to: &mut [u8], peek: bool) -> io::Result<Received> {
    let mut space = nix::cmsg_space!([RawFd; MOST_DESCRIPTORS]);
    let mut flags = MsgFlags::MSG_CMSG_CLOEXEC | MsgFlags::MSG_DONTWAIT;
    flags.set(MsgFlags::MSG_PEEK, peek);
    loop {
        let mut parts = [IoSliceMut::new(to)];
        let got = recvmsg::<UnixAddr>(socket.as_raw_fd(), &mut parts, Some(&mut space), flags);
        let message = match got {
            Err(Errno::EINTR) => continue,
            other => other?,
        };
        let mut fds = Vec::new();
        for control in message.cmsgs().into_iter().flatten() {
            if let ControlMessageOwned::ScmRights(raw) = control {
                // SAFETY: the kernel has just made these for us, and nobody else knows their
                // numbers. A peer chose what they are descriptors of, and no more.
                fds.extend(raw.iter().map(|fd| unsafe { OwnedFd::from_raw_fd(*fd) }));
            }
        }
        return Ok(Received {
            bytes: message.bytes,
            fds,
            cut: message.flags.contains(MsgFlags::MSG_CTRUNC),
        });
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

/// A descriptor that becomes readable every 2 ms, for those who wait for something that cannot
/// ring. Made when it is first asked for.
#[derive(Debug, Default)]
pub struct Ticker(OnceLock<TimerFd>);

/// Between two looks at something that cannot ring.
pub const TICK: Duration = Duration::from_millis(2);

impl Ticker {
    /// One that is not there yet.
    pub const fn new() -> Self {
        Self(OnceLock::new())
    }

    /// Has it been asked for?
    #[inline]
    pub fn is_there(&self) -> bool {
        self.0.get().is_some()
    }

    /// Not readable any more, until the next tick.
    pub fn quieten(&self) {
        if let Some(timer) = self.0.get() {
            let _ = nix::unistd::read(timer, &mut [0; 8]);
        }
    }

    fn make() -> nix::Result<TimerFd> {
        let flags = TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?;
        timer.set(
            Expiration::Interval(TimeSpec::from_duration(TICK)),
            TimerSetTimeFlags::empty(),
        )?;
        Ok(timer)
    }
}

/// # Panics
///
/// If this process can have no more descriptors.
impl AsFd for Ticker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        let made = self.0.get_or_init(|| match Self::make() {
            Ok(timer) => timer,
            Err(why) => panic!("no descriptor to wait for: {why}"),
        });
        made.as_fd()
    }
}
