//! `socketpair(AF_UNIX, SOCK_SEQPACKET)`: one packet per message, or packets of 64 KiB where it is larger, as a packet
//! must fit the default send buffer.

use crate::channel::{Channel, Receiver, Sender};
use crate::sys::{self, Res};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

const PACKET: usize = 64 << 10;

/// The two ends; one direction is used.
#[derive(Debug)]
pub(crate) struct SocketPair([OwnedFd; 2]);

/// One end.
#[derive(Debug)]
pub(crate) struct End<'a>(&'a OwnedFd);

impl Channel for SocketPair {
    type Sender<'a> = End<'a>;
    type Receiver<'a> = End<'a>;

    fn create(_size: usize) -> Res<Self> {
        let mut ends = [-1; 2];
        let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC;
        // SAFETY: room for two descriptors.
        sys::check(unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, ends.as_mut_ptr()) })?;
        // SAFETY: both are fresh and owned by nobody else.
        Ok(SocketPair(
            ends.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }),
        ))
    }

    fn sender(&self) -> Res<End<'_>> {
        Ok(End(&self.0[0]))
    }

    fn receiver(&self) -> Res<End<'_>> {
        Ok(End(&self.0[1]))
    }
}

impl Sender for End<'_> {
    fn send(&mut self, message: &[u8]) -> Res {
        for packet in message.chunks(PACKET) {
            // SAFETY: `packet` is valid for its length.
            let n =
                unsafe { libc::send(self.0.as_raw_fd(), packet.as_ptr().cast(), packet.len(), 0) };
            if n != packet.len() as isize {
                return Err(io::Error::last_os_error().into());
            }
        }
        Ok(())
    }
}

impl Receiver for End<'_> {
    fn receive(&mut self, into: &mut [u8]) -> Res<usize> {
        for packet in into.chunks_mut(PACKET) {
            // SAFETY: `packet` is writable for its length.
            let n = unsafe {
                libc::recv(
                    self.0.as_raw_fd(),
                    packet.as_mut_ptr().cast(),
                    packet.len(),
                    0,
                )
            };
            if n != packet.len() as isize {
                return Err(io::Error::last_os_error().into());
            }
        }
        Ok(into.len())
    }
}
