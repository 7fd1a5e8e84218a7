//! Waiting for a file descriptor, by the same deadlines as everything else.

use crate::deadline::Deadline;
use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, MsgFlags, UnixAddr, sendmsg};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use std::io::{self, IoSlice, IoSliceMut, Seek, SeekFrom};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::OnceLock;
use std::time::Duration;

/// The most descriptors that one message can carry: what the kernel sends at once.
pub const MOST_DESCRIPTORS: usize = 253;

/// Room for that many, and for what a peer can have the kernel add (credentials, a process, a
/// label, times).
const CONTROL_WORDS: usize = (MOST_DESCRIPTORS * size_of::<RawFd>() + 16 + 512).div_ceil(8);

const SCM_PIDFD: libc::c_int = 4;

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
    let peek = if peek { libc::MSG_PEEK } else { 0 };
    let flags = peek | libc::MSG_CMSG_CLOEXEC | libc::MSG_DONTWAIT;
    let mut control = [0_u64; CONTROL_WORDS];
    let mut part = IoSliceMut::new(to);
    // SAFETY: zeroes are a `msghdr`: nothing.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = (&raw mut part).cast(); // an `iovec`, as IoSliceMut promises
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    let bytes = loop {
        message.msg_controllen = size_of_val(&control) as _;
        // SAFETY: both buffers are ours, of the sizes that the message says.
        let got = unsafe { libc::recvmsg(socket.as_raw_fd(), &mut message, flags) };
        match Errno::result(got) {
            Err(Errno::EINTR) => {}
            other => break other? as usize,
        }
    };
    Ok(Received {
        bytes,
        fds: taken_from(&message),
        cut: message.msg_flags & libc::MSG_CTRUNC != 0,
    })
}

/// The descriptors that came with a message just received. Also with one that was cut (where
/// nix's iterator gives none): what came of it is ours, and stays open until somebody closes it.
fn taken_from(message: &libc::msghdr) -> Vec<OwnedFd> {
    let mut fds = Vec::new();
    // SAFETY: as the kernel has filled it in.
    let mut next = unsafe { libc::CMSG_FIRSTHDR(message) };
    // SAFETY: null, or a header inside the control buffer, which is aligned.
    while let Some(header) = unsafe { next.as_ref() } {
        // SAFETY: a header inside the buffer.
        let (data, before) = unsafe { (libc::CMSG_DATA(next), libc::CMSG_LEN(0)) };
        #[allow(clippy::unnecessary_cast)] // another C library's is another type
        let bytes = (header.cmsg_len as usize).saturating_sub(before as usize);
        let numbers = (0..bytes / size_of::<RawFd>()).map(|nth| {
            // SAFETY: the kernel wrote so many numbers there.
            unsafe { data.cast::<RawFd>().add(nth).read_unaligned() }
        });
        // SAFETY: the kernel has just made these for us, and nobody else knows their numbers. A
        // peer chose what they are descriptors of, and no more.
        let own = |fd| unsafe { OwnedFd::from_raw_fd(fd) };
        match (header.cmsg_level, header.cmsg_type) {
            (libc::SOL_SOCKET, libc::SCM_RIGHTS) => fds.extend(numbers.map(own)),
            // Nobody asked for it; but whoever has the socket can switch it on.
            (libc::SOL_SOCKET, SCM_PIDFD) => {
                numbers
                    .take(1)
                    .filter(|fd| *fd >= 0)
                    .map(own)
                    .for_each(drop);
            }
            _ => {}
        }
        // SAFETY: as above.
        next = unsafe { libc::CMSG_NXTHDR(message, next) };
    }
    fds
}

// ---- bytes of a file that are held ----
//
// An open file description may hold a byte of its file (by a lock of the kernel's), whose number
// is its position. It is held as long as a descriptor of that opening is open anywhere: in a
// process, or on its way in a socket. So a death, too, lets it go.

fn lock(fd: BorrowedFd<'_>, command: libc::c_int, kind: libc::c_int, at: u64) -> io::Result<i32> {
    // SAFETY: zeroes are a `flock`.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = kind as _;
    lock.l_whence = libc::SEEK_SET as _;
    lock.l_start = at as _;
    lock.l_len = 1;
    // SAFETY: reads and writes that local.
    let done = unsafe { libc::fcntl(fd.as_raw_fd(), command, &raw mut lock) };
    Errno::result(done)?;
    Ok(lock.l_type.into())
}

/// A new opening of the file behind `fd`, at this position.
fn open_again(fd: BorrowedFd<'_>, at: u64) -> io::Result<OwnedFd> {
    let mut file = std::fs::File::open(format!("/proc/self/fd/{}", fd.as_raw_fd()))?;
    file.seek(SeekFrom::Start(at))?;
    Ok(file.into())
}

/// A new opening of the file behind `fd` that holds the byte `at`.
///
/// # Errors
///
/// There are no descriptors left; or the file is not to be opened again.
pub fn hold(fd: BorrowedFd<'_>, at: u64) -> io::Result<OwnedFd> {
    let held = open_again(fd, at)?;
    lock(held.as_fd(), libc::F_OFD_SETLK, libc::F_RDLCK, at)?;
    Ok(held)
}

/// Does some opening of the file behind `fd` hold the byte `at`?
///
/// # Errors
///
/// What the kernel says.
pub fn is_held(fd: BorrowedFd<'_>, at: u64) -> io::Result<bool> {
    let found = lock(fd, libc::F_OFD_GETLK, libc::F_WRLCK, at)?;
    Ok(found != libc::F_UNLCK)
}

/// Holds by new openings what these hold, and has the old ones (copies of which may be anywhere)
/// let go: of all, or of none. What holds nothing stays as it is: a peer may have sent anything.
///
/// # Errors
///
/// There are no descriptors left; nothing changed.
pub fn take_over(held: &mut [OwnedFd]) -> io::Result<()> {
    let again = |held: &OwnedFd| {
        let at = position_in_shared_memory(held.as_fd());
        match at.map(|at| hold(held.as_fd(), at)) {
            Some(Ok(again)) => Ok(Some(again)),
            Some(Err(e)) if matches!(e.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) => Err(e),
            _ => Ok(None),
        }
    };
    let again = held.iter().map(again).collect::<io::Result<Vec<_>>>()?;
    for (held, again) in held.iter_mut().zip(again) {
        let Some(again) = again else { continue };
        if let Some(at) = position_in_shared_memory(held.as_fd()) {
            let _ = lock(held.as_fd(), libc::F_OFD_SETLK, libc::F_UNLCK, at);
        }
        *held = again;
    }
    Ok(())
}

/// `None`: it is something else, which might block when it is opened.
fn position_in_shared_memory(fd: BorrowedFd<'_>) -> Option<u64> {
    // SAFETY: zeroes are a `statfs` and a `stat`; they are written to those locals. The position
    // is only read.
    let (system, file, at) = unsafe {
        let mut system: libc::statfs = std::mem::zeroed();
        let mut file: libc::stat = std::mem::zeroed();
        let number = fd.as_raw_fd();
        if libc::fstatfs(number, &mut system) != 0 || libc::fstat(number, &mut file) != 0 {
            return None;
        }
        (system, file, libc::lseek(number, 0, libc::SEEK_CUR))
    };
    // Devices and named pipes lie there, too.
    let is_shared_memory =
        system.f_type == libc::TMPFS_MAGIC && file.st_mode & libc::S_IFMT == libc::S_IFREG;
    u64::try_from(at).ok().filter(|_| is_shared_memory)
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixDatagram;

    fn shared_memory() -> OwnedFd {
        // SAFETY: a fresh descriptor.
        unsafe {
            let fd = libc::memfd_create(c"test".as_ptr(), libc::MFD_CLOEXEC);
            assert!(fd >= 0);
            OwnedFd::from_raw_fd(fd)
        }
    }

    #[test]
    fn a_byte_is_held_as_long_as_its_opening_is_open_anywhere() {
        let file = shared_memory();
        assert!(!is_held(file.as_fd(), 7).unwrap());
        let held = hold(file.as_fd(), 7).unwrap();
        let other = hold(file.as_fd(), 8).unwrap();
        assert!(is_held(file.as_fd(), 7).unwrap());
        let (here, there) = UnixDatagram::pair().unwrap();
        send_with(here.as_fd(), b"x", &[held.as_raw_fd()]).unwrap();
        drop(held);
        assert!(is_held(file.as_fd(), 7).unwrap(), "it is on its way");
        let copy = recv_with(there.as_fd(), &mut [0], true).unwrap();
        // Taken over, it is not the sockets' any more, though a copy is still there.
        let mut taken = copy.fds;
        take_over(&mut taken).unwrap();
        assert!(is_held(file.as_fd(), 7).unwrap());
        drop(taken);
        assert!(!is_held(file.as_fd(), 7).unwrap());
        assert!(is_held(file.as_fd(), 8).unwrap());
        drop((here, there, other));
        assert!(!is_held(file.as_fd(), 8).unwrap());
    }

    #[test]
    fn what_is_no_token_stays_as_it_is() {
        let (here, _there) = UnixDatagram::pair().unwrap();
        let null = std::fs::File::open("/dev/null").unwrap();
        let numbers = [here.as_raw_fd(), null.as_raw_fd()];
        let mut anything = [OwnedFd::from(here), null.into()];
        take_over(&mut anything).unwrap();
        assert_eq!(anything.map(|fd| fd.as_raw_fd()), numbers);
    }
}
