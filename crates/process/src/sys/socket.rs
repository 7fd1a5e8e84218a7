//! Bytes and descriptors over a socket pair.

use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, Shutdown, SockFlag, SockType,
    recvmsg, sendmsg, shutdown, socketpair,
};
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// As many descriptors as the kernel takes in one message.
pub(crate) const MOST_AT_ONCE: usize = 253;

/// Two connected stream sockets, close-on-exec.
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(
        AddressFamily::Unix,
        SockType::Stream,
        None,
        SockFlag::SOCK_CLOEXEC,
    )?)
}

/// Sends what fits at once: how many bytes that was, with all the descriptors, or
/// `WouldBlock`.
pub(crate) fn send(
    socket: BorrowedFd<'_>,
    bytes: &[&[u8]],
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<usize> {
    let parts: Vec<_> = bytes.iter().map(|part| IoSlice::new(part)).collect();
    let numbers: Vec<RawFd> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
    let control = [ControlMessage::ScmRights(&numbers)];
    let control = if numbers.is_empty() {
        &control[..0]
    } else {
        &control[..]
    };
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    loop {
        match sendmsg::<()>(socket.as_raw_fd(), &parts, control, flags, None) {
            Err(nix::Error::EINTR) => {}
            done => return Ok(done?),
        }
    }
}

/// Receives what is there: how many bytes, 0 at the end, or `WouldBlock`. Descriptors that came
/// along are added to `descriptors`.
pub(crate) fn receive(
    socket: BorrowedFd<'_>,
    bytes: &mut [u8],
    descriptors: &mut Vec<OwnedFd>,
) -> io::Result<usize> {
    let mut room = nix::cmsg_space!([RawFd; MOST_AT_ONCE]);
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
    loop {
        let mut parts = [IoSliceMut::new(bytes)];
        let received = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut room), flags);
        let message = match received {
            Err(nix::Error::EINTR) => continue,
            other => other?,
        };
        let mut numbers: Vec<RawFd> = Vec::new();
        let cut_short = match message.cmsgs() {
            Ok(control) => {
                for part in control {
                    if let ControlMessageOwned::ScmRights(fds) = part {
                        numbers.extend(fds);
                    }
                }
                false
            }
            // Some did not fit into this process's table of descriptors. Those that did cannot
            // be read from here any more; whoever receives half a message gives up.
            Err(_) => true,
        };
        let n = message.bytes;
        // SAFETY: the kernel has just made these descriptors for this process, so nobody else
        // owns them. Whoever sent them may be dead; they stay valid.
        descriptors.extend(
            numbers
                .into_iter()
                .map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }),
        );
        if cut_short {
            return Err(io::Error::from_raw_os_error(libc::EMFILE));
        }
        return Ok(n);
    }
}

/// Ends the connection in both directions, also where others hold copies of this socket.
pub(crate) fn hang_up(socket: BorrowedFd<'_>) {
    // An error means that there is no connection any more.
    let _ = shutdown(socket.as_raw_fd(), Shutdown::Both);
}
