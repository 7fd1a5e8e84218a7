//! The line between a process and one that it starts: messages with descriptors, over a pair of
//! sockets.
//!
//! ```text
//! message   kind u32 | descriptors u32 | length u64    the first 253 descriptors go with this
//!           one byte per 253 further descriptors, which go with it
//!           the bytes
//! ```
//!
//! Whoever sends or receives also watches the other side's end by a descriptor of its process.
//! The socket alone lies: a third process that was forked at the wrong moment may hold a copy,
//! and keep it open for ever. So nobody waits for somebody who is dead, whoever else lives.
//!
//! # If a process dies here
//!
//! Sending: the other side has part of a message, sees this side's end, and gives up. Receiving:
//! the same the other way round. Descriptors on their way are closed by the kernel with the
//! sockets.

use crate::sys::{self, socket};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// What a message is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Kind {
    /// To the starter: the program runs, and has reached its entry.
    Entered = 0x6d70_0001,
    /// To a fork server: fork. With the child's line and the pipe for its report.
    Fork,
    /// From a fork server to the starter: the child's pid and a descriptor of it.
    Forked,
    /// From a fork server to the starter: no child, and the system's error.
    NotForked,
    /// To the child: who it is and what to run.
    Letter,
    /// To the starter: the arguments are decoded.
    Ready,
    /// To the starter: they are not, and why.
    Refused,
    /// To the child: run.
    Go,
}

impl Kind {
    fn from_number(number: u32) -> Option<Self> {
        use Kind::*;
        [Entered, Fork, Forked, NotForked, Letter, Ready, Refused, Go]
            .into_iter()
            .find(|kind| *kind as u32 == number)
    }
}

/// One message, received.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) kind: Kind,
    pub(crate) bytes: Vec<u8>,
    pub(crate) descriptors: Vec<OwnedFd>,
}

/// Why nothing was sent or received.
#[derive(Debug)]
pub(crate) enum LineError {
    /// The other side has ended or hung up.
    Gone,
    /// The system refused, or what came is no message.
    System(io::Error),
}

impl From<io::Error> for LineError {
    fn from(error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::EPIPE | libc::ECONNRESET) => LineError::Gone,
            _ => LineError::System(error),
        }
    }
}

/// One end of the line.
#[derive(Debug)]
pub(crate) struct Line(OwnedFd);

const HEADER: usize = 16;
/// Read ahead at most so much of what a header promises.
const CHUNK: usize = 1 << 20;

impl Line {
    pub(crate) fn pair() -> io::Result<(Line, Line)> {
        let (ours, theirs) = socket::pair()?;
        Ok((Line(ours), Line(theirs)))
    }

    /// *Blocks until* the message is on its way. *Wakes when* there is room for more of it. *If a
    /// peer dies*: `Gone`. `peer` is a descriptor of the process at the other end.
    pub(crate) fn send(
        &self,
        kind: Kind,
        parts: &[&[u8]],
        descriptors: &[BorrowedFd<'_>],
        peer: BorrowedFd<'_>,
    ) -> Result<(), LineError> {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        let mut header = [0; HEADER];
        header[..4].copy_from_slice(&(kind as u32).to_ne_bytes());
        header[4..8].copy_from_slice(&(descriptors.len() as u32).to_ne_bytes());
        header[8..].copy_from_slice(&(length as u64).to_ne_bytes());

        let mut batches = descriptors.chunks(socket::MOST_AT_ONCE);
        let first = batches.next().unwrap_or_default();
        let mut pending: Vec<&[u8]> = vec![&header];
        // The usual message goes out in one call.
        if batches.len() == 0 {
            pending.extend(parts);
        }
        self.send_all(pending, first, peer)?;
        if descriptors.len() > first.len() {
            for batch in batches {
                self.send_all(vec![&[0]], batch, peer)?;
            }
            self.send_all(parts.to_vec(), &[], peer)?;
        }
        Ok(())
    }

    fn send_all(
        &self,
        mut parts: Vec<&[u8]>,
        mut descriptors: &[BorrowedFd<'_>],
        peer: BorrowedFd<'_>,
    ) -> Result<(), LineError> {
        parts.retain(|part| !part.is_empty());
        while !parts.is_empty() {
            let mut sent = match socket::send(self.0.as_fd(), &parts, descriptors) {
                Ok(sent) => sent,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    match sys::ready_or_ended(self.0.as_fd(), libc::POLLOUT, peer)? {
                        (false, _) => return Err(LineError::Gone),
                        (true, _) => continue,
                    }
                }
                Err(error) => return Err(error.into()),
            };
            // They went with the first byte.
            descriptors = &[];
            while let Some(part) = parts.first_mut() {
                let gone = sent.min(part.len());
                sent -= gone;
                *part = &part[gone..];
                if !part.is_empty() {
                    break;
                }
                parts.remove(0);
            }
        }
        Ok(())
    }

    /// *Blocks until* a whole message is here. *Wakes when* bytes come. *If a peer dies*: what it
    /// had sent is still received; then `Gone`.
    pub(crate) fn receive(&self, peer: BorrowedFd<'_>) -> Result<Message, LineError> {
        let mut descriptors = Vec::new();
        let mut header = [0; HEADER];
        self.fill(&mut header, &mut descriptors, peer)?;
        let word = |at: usize| {
            u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
        };
        let (low, high) = (u64::from(word(8)), u64::from(word(12)));
        let length = if cfg!(target_endian = "little") {
            low | high << 32
        } else {
            high | low << 32
        };
        let Some(kind) = Kind::from_number(word(0)) else {
            return Err(LineError::System(io::ErrorKind::InvalidData.into()));
        };
        let expected = word(4) as usize;
        let batches = expected.div_ceil(socket::MOST_AT_ONCE);
        for _ in 1..batches {
            self.fill(&mut [0], &mut descriptors, peer)?;
        }
        let mut bytes = Vec::new();
        let mut left = length;
        while left > 0 {
            let next = left.min(CHUNK as u64) as usize;
            let from = bytes.len();
            bytes.resize(from + next, 0);
            self.fill(&mut bytes[from..], &mut descriptors, peer)?;
            left -= next as u64;
        }
        if descriptors.len() != expected {
            return Err(LineError::System(io::ErrorKind::InvalidData.into()));
        }
        Ok(Message {
            kind,
            bytes,
            descriptors,
        })
    }

    fn fill(
        &self,
        mut bytes: &mut [u8],
        descriptors: &mut Vec<OwnedFd>,
        peer: BorrowedFd<'_>,
    ) -> Result<(), LineError> {
        let mut ended = false;
        while !bytes.is_empty() {
            match socket::receive(self.0.as_fd(), bytes, descriptors) {
                Ok(0) => return Err(LineError::Gone),
                Ok(n) => bytes = &mut bytes[n..],
                // It ended before this look, so there is nothing more to come.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && ended => {
                    return Err(LineError::Gone);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    (_, ended) = sys::ready_or_ended(self.0.as_fd(), libc::POLLIN, peer)?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Ends the line: the other side finds it so at once, whoever else holds a copy.
    pub(crate) fn hang_up(&self) {
        socket::hang_up(self.0.as_fd());
    }
}

impl From<OwnedFd> for Line {
    fn from(socket: OwnedFd) -> Self {
        Line(socket)
    }
}

impl From<Line> for OwnedFd {
    fn from(line: Line) -> Self {
        line.0
    }
}

impl AsFd for Line {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::unix::fs::MetadataExt;

    fn us() -> OwnedFd {
        sys::pidfd_open(std::process::id()).unwrap()
    }

    #[test]
    fn a_message_arrives_whole() {
        let (a, b) = Line::pair().unwrap();
        let us = us();
        for size in [0, 1, 100_000, 3 * CHUNK + 5] {
            let text: Vec<u8> = (0..size).map(|n| n as u8).collect();
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    let cut = size / 3;
                    a.send(Kind::Letter, &[&text[..cut], &text[cut..]], &[], us.as_fd())
                        .unwrap();
                });
                let message = b.receive(us.as_fd()).unwrap();
                assert_eq!(message.kind, Kind::Letter);
                assert!(message.bytes == text);
                assert!(message.descriptors.is_empty());
            });
        }
    }

    #[test]
    fn descriptors_arrive_in_order_however_many() {
        let (a, b) = Line::pair().unwrap();
        let us = us();
        let null = File::open("/dev/null").unwrap();
        let exe = File::open("/proc/self/exe").unwrap();
        let inode = |fd: &OwnedFd| {
            let file = File::from(fd.try_clone().unwrap());
            file.metadata().unwrap().ino()
        };
        for count in [0, 1, 253, 254, 600] {
            let mut sent = vec![null.as_fd(); count];
            if let Some(last) = sent.last_mut() {
                *last = exe.as_fd();
            }
            a.send(Kind::Ready, &[b"with ", b"them"], &sent, us.as_fd())
                .unwrap();
            let message = b.receive(us.as_fd()).unwrap();
            assert_eq!(message.bytes, b"with them");
            assert_eq!(message.descriptors.len(), count);
            if let Some(last) = message.descriptors.last() {
                assert_eq!(inode(last), exe.metadata().unwrap().ino());
            }
            // The next message is not confused by it.
            a.send(Kind::Go, &[], &[], us.as_fd()).unwrap();
            assert_eq!(b.receive(us.as_fd()).unwrap().kind, Kind::Go);
        }
    }

    #[test]
    fn a_line_that_was_hung_up_is_gone_although_somebody_holds_a_copy() {
        let (a, b) = Line::pair().unwrap();
        let us = us();
        let copy = a.as_fd().try_clone_to_owned().unwrap();
        a.hang_up();
        drop(a);
        assert!(matches!(b.receive(us.as_fd()), Err(LineError::Gone)));
        let sent = b.send(Kind::Go, &[], &[], us.as_fd());
        assert!(matches!(sent, Err(LineError::Gone)));
        drop(copy);
    }

    #[test]
    fn a_dead_process_is_gone_although_somebody_holds_its_end() {
        let (a, b) = Line::pair().unwrap();
        let us = us();
        let mut other = std::process::Command::new("true").spawn().unwrap();
        let pidfd = sys::pidfd_open(other.id()).unwrap();
        other.wait().unwrap();
        a.send(Kind::Go, &[], &[], us.as_fd()).unwrap();
        // What it had sent counts.
        assert!(b.receive(pidfd.as_fd()).is_ok());
        assert!(matches!(b.receive(pidfd.as_fd()), Err(LineError::Gone)));
        let endless = vec![0; 64 << 20];
        let sent = b.send(Kind::Letter, &[&endless], &[], pidfd.as_fd());
        assert!(matches!(sent, Err(LineError::Gone)));
    }

    #[test]
    fn garbage_is_an_error() {
        use std::io::Write;
        let us = us();
        for garbage in [[0xff; 64], [0; 64]] {
            let (a, b) = Line::pair().unwrap();
            let mut raw = std::os::unix::net::UnixStream::from(a.0);
            raw.write_all(&garbage).unwrap();
            assert!(matches!(b.receive(us.as_fd()), Err(LineError::System(_))));
        }
    }
}
