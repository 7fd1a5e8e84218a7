//! The socket beside a ring: descriptors that travel with records, and bells for those who
//! wait with `poll`.
//!
//! One Unix datagram socket, connected to itself: whoever has the descriptor, by fork or
//! because it was sent to him, can put datagrams in and take them out. What lies in it is
//! kept by the kernel, whoever dies; it goes when the last process closes the socket.
//!
//! ```text
//! bell       tag 0, no descriptors: "look again"
//! deposit    tag of a record, its descriptors
//! ```
//!
//! # Invariants
//!
//! 1. A deposit is made by the holder of the ring's put lock before it commits the record,
//!    with a tag above all earlier ones. So deposits lie in the order of their records.
//! 2. Deposits are taken by the holder of the get lock. One below the tag of the record at
//!    the head belongs to a record that never was, or is gone: it is dropped.
//! 3. A bell says nothing but "look again": one too many is harmless.
//! 4. Whoever takes something out looks first what it is, and holds the get lock; or the put
//!    lock, while nothing is in the ring and the holder of the get lock waits. So it takes out
//!    what it has seen, and not a deposit behind it.
//!
//! # If a process dies here
//!
//! * between deposit and commit: the deposit belongs to no record; Invariant 2.
//! * between looking at a deposit and giving the record up: both are still there.
//! * between giving the record up and removing the deposit: Invariant 2.
//!
//! A peer may put any datagram in: descriptors that nobody asked for are closed, and a record
//! whose deposit is missing is an error to its reader.

use crate::fd::{self, Received};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, bind, connect, getsockname, socket,
};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

pub use crate::fd::MOST_DESCRIPTORS;

const BELL: u64 = 0;

/// More than the kernel keeps: a peer that puts some in as fast as we take them out does not
/// keep us for ever.
const MOST_DATAGRAMS: usize = 4096;

/// See the module.
#[derive(Debug)]
pub struct Courier {
    socket: OwnedFd,
    /// No other courier of this process ever has it.
    number: u64,
    /// Does an event loop of the user's own wait for it, in this process?
    watched: AtomicBool,
}

/// What lies at the front.
enum Front {
    Nothing,
    Deposit {
        tag: u64,
        fds: Vec<OwnedFd>,
        cut: bool,
    },
}

/// Why a deposit was not had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Withdrawal {
    /// It is not there.
    Missing,
    /// This process can have no more descriptors; the deposit is still there.
    NoDescriptors,
}

impl Courier {
    /// A new one.
    ///
    /// # Errors
    ///
    /// What the kernel says; above all that there are no descriptors left.
    pub fn new() -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Unix, SockType::Datagram, flags, None)?;
        // A name that the kernel makes up, so that it can be connected to itself: then
        // nobody else can send to it.
        bind(socket.as_raw_fd(), &UnixAddr::new_unnamed())?;
        let address: UnixAddr = getsockname(socket.as_raw_fd())?;
        connect(socket.as_raw_fd(), &address)?;
        Ok(Self::over(socket))
    }

    fn over(socket: OwnedFd) -> Self {
        static MADE: AtomicU64 = AtomicU64::new(0);
        Self {
            socket,
            // Relaxed: only different numbers are wanted.
            number: MADE.fetch_add(1, Relaxed),
            watched: AtomicBool::new(false),
        }
    }

    /// A number that no other courier of this process ever has.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The socket, for an event loop of the user's own; and [`Courier::is_watched`] from now on.
    pub fn watched(&self) -> BorrowedFd<'_> {
        self.watched.store(true, Relaxed);
        self.as_fd()
    }

    /// Does an event loop in this process wait for it? Relaxed: a flag that orders nothing; who
    /// gave it to an event loop has armed it.
    #[inline]
    pub fn is_watched(&self) -> bool {
        self.watched.load(Relaxed)
    }

    /// One that came from somebody else.
    ///
    /// # Errors
    ///
    /// It is no such socket.
    pub fn from_descriptor(socket: OwnedFd) -> io::Result<Self> {
        let wrong = || io::Error::from(io::ErrorKind::InvalidInput);
        use nix::sys::socket::{getsockopt, sockopt};
        if getsockopt(&socket, sockopt::SockType)? != SockType::Datagram {
            return Err(wrong());
        }
        let mine: UnixAddr = getsockname(socket.as_raw_fd())?;
        let peer: UnixAddr = nix::sys::socket::getpeername(socket.as_raw_fd())?;
        if mine != peer || mine.as_abstract().is_none() {
            return Err(wrong());
        }
        Ok(Self::over(socket))
    }

    /// Puts the descriptors in, under a tag that is not 0.
    ///
    /// # Errors
    ///
    /// `WouldBlock`: it is full. Else what the kernel says.
    pub fn deposit(&self, tag: u64, fds: &[OwnedFd]) -> io::Result<()> {
        debug_assert!(tag != BELL && fds.len() <= MOST_DESCRIPTORS);
        let fds: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
        self.send(tag, &fds)
    }

    fn send(&self, tag: u64, fds: &[RawFd]) -> io::Result<()> {
        fd::send_with(self.as_fd(), &tag.to_ne_bytes(), fds).map(drop)
    }

    /// Rings: whoever polls the socket wakes. False: it is full, so readable anyway; but one who
    /// waits for it to change (an edge) hears nothing.
    pub fn ring(&self) -> bool {
        self.send(BELL, &[]).is_ok()
    }

    fn front(&self, peek: bool) -> Front {
        let mut bytes = [0; 8];
        match fd::recv_with(self.as_fd(), &mut bytes, peek) {
            Ok(Received { fds, cut, .. }) => Front::Deposit {
                tag: u64::from_ne_bytes(bytes),
                fds,
                cut,
            },
            Err(_) => Front::Nothing,
        }
    }

    /// A look at the front without its descriptors: its tag.
    fn front_tag(&self) -> Option<u64> {
        let mut bytes = [0; 8];
        let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
        loop {
            match nix::sys::socket::recv(self.socket.as_raw_fd(), &mut bytes, flags) {
                Err(Errno::EINTR) => {}
                Err(_) => return None,
                Ok(_) => return Some(u64::from_ne_bytes(bytes)),
            }
        }
    }

    /// Drops what lies before the tag, and bells at the front.
    fn drop_below(&self, tag: u64) {
        for _ in 0..MOST_DATAGRAMS {
            match self.front_tag() {
                Some(front) if front == BELL || front < tag => drop(self.front(false)),
                _ => return,
            }
        }
    }

    /// Duplicates of the descriptors under this tag; the deposit stays. Under the get lock.
    ///
    /// # Errors
    ///
    /// [`Withdrawal`].
    pub fn look(&self, tag: u64) -> Result<Vec<OwnedFd>, Withdrawal> {
        self.drop_below(tag);
        match self.front(true) {
            Front::Deposit {
                tag: front,
                fds,
                cut,
            } if front == tag => match cut {
                true => Err(Withdrawal::NoDescriptors),
                false => Ok(fds),
            },
            _ => Err(Withdrawal::Missing),
        }
    }

    /// Removes the deposit, and what lies before it. Under the get lock.
    pub fn remove(&self, tag: u64) {
        if let Some(next) = tag.checked_add(1) {
            self.drop_below(next);
        }
    }

    /// Removes the bells at the front. Under the get lock.
    pub fn quieten(&self) {
        self.drop_below(BELL);
    }

    /// Does nothing lie in it?
    pub fn is_empty(&self) -> bool {
        self.front_tag().is_none()
    }

    /// Removes everything. Under both locks while the ring is empty, or when nobody will get
    /// anything any more.
    pub fn clear(&self) {
        self.drop_below(u64::MAX);
    }
}

impl AsFd for Courier {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn null() -> OwnedFd {
        std::fs::File::open("/dev/null").unwrap().into()
    }

    #[test]
    fn deposits_come_back_in_order_and_stale_ones_are_dropped() {
        let courier = Courier::new().unwrap();
        courier.deposit(1, &[null()]).unwrap();
        courier.ring();
        courier.deposit(2, &[null(), null()]).unwrap();
        assert_eq!(
            courier.look(2).unwrap().len(),
            2,
            "1 was dropped, the bell too"
        );
        assert_eq!(courier.look(2).unwrap().len(), 2, "a look leaves it");
        courier.remove(2);
        assert_eq!(courier.look(2).unwrap_err(), Withdrawal::Missing);
    }

    #[test]
    fn a_later_deposit_stays_when_an_earlier_one_is_missing() {
        let courier = Courier::new().unwrap();
        courier.deposit(7, &[null()]).unwrap();
        assert_eq!(courier.look(6).unwrap_err(), Withdrawal::Missing);
        assert_eq!(courier.look(7).unwrap().len(), 1);
    }

    #[test]
    fn it_is_full_some_time_and_then_takes_again() {
        let courier = Courier::new().unwrap();
        let full = (1..).find(|tag| courier.deposit(*tag, &[null()]).is_err());
        let full = full.unwrap();
        assert!(full > 50, "{full}");
        courier.remove(1);
        courier.deposit(full, &[null()]).unwrap();
        courier.clear();
        assert!(courier.front_tag().is_none());
    }

    #[test]
    fn bells_never_keep_a_deposit_out() {
        let courier = Courier::new().unwrap();
        let rung = (0..10_000).take_while(|_| courier.ring()).count();
        assert!((50..10_000).contains(&rung), "{rung}");
        assert!(courier.deposit(1, &[null()]).is_err());
        courier.quieten();
        courier.deposit(1, &[null()]).unwrap();
        assert_eq!(courier.look(1).unwrap().len(), 1);
    }

    #[test]
    fn another_descriptor_is_no_courier() {
        assert!(Courier::from_descriptor(null()).is_err());
        let (a, _b) = std::os::unix::net::UnixDatagram::pair().unwrap();
        assert!(Courier::from_descriptor(a.into()).is_err());
        let mine = Courier::new().unwrap();
        let copy = mine.as_fd().try_clone_to_owned().unwrap();
        Courier::from_descriptor(copy).unwrap().ring();
        assert_eq!(mine.front_tag(), Some(BELL));
    }
}
