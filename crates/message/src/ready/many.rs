//! An `epoll` that a thread keeps between its waits.
//!
//! `poll` looks at every descriptor twice, and joins and leaves as many queues: a hundred
//! microseconds for a thousand. Most programs wait for the same things again and again. So who
//! waits for many objects joins their queues once, and a bell costs what rings.
//!
//! It asks for edges: what rang and was ignored (because another wait is on, for other objects)
//! does not come again, and is not missed, as every wait looks at its objects before it sleeps.
//!
//! Objects are known by the number of their courier, which no other has while this process lives.
//! A descriptor that was closed here can stay a member, if another process has the same socket
//! open: its bells are told by their number, and too many of them have the `epoll` made anew.
//! A forked child makes its own: that of its parent would be shared.

use multiproc_core::fork;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use std::cell::Cell;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

/// One who can be a member: the number of the courier, and the courier.
pub(super) type Candidate<'a> = (u64, BorrowedFd<'a>);

/// Objects from which on it pays.
pub(super) const MANY: usize = 32;

/// Bells of those who are no members any more, until the `epoll` is made anew.
const MOST_STRANGERS: usize = 64;

pub(super) struct Many {
    epoll: Epoll,
    made_in: u64,
    members: HashMap<u64, Member>,
    /// Who takes part in this wait, in order.
    part: Vec<u64>,
    wait: u64,
    strangers: usize,
}

struct Member {
    index: usize,
    wait: u64,
}

thread_local! {
    static KEPT: Cell<Option<Box<Many>>> = const { Cell::new(None) };
}

impl Many {
    /// For a wait for these, each with its index. `None`: it does not work out (no descriptor is
    /// left, or one of them is there twice), and `poll` has to do.
    pub(super) fn of(candidates: &[(usize, Candidate<'_>)]) -> Option<Box<Self>> {
        let kept = KEPT.try_with(Cell::take).ok().flatten();
        let kept = kept.filter(|kept| kept.serves(candidates.len()));
        let mut many = match kept {
            Some(kept) => kept,
            None => Box::new(Self::new()?),
        };
        many.gather(candidates)?;
        Some(many)
    }

    fn new() -> Option<Self> {
        Some(Self {
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).ok()?,
            made_in: fork::generation(),
            members: HashMap::new(),
            part: Vec::new(),
            wait: 0,
            strangers: 0,
        })
    }

    fn serves(&self, count: usize) -> bool {
        self.made_in == fork::generation()
            && !self.is_crowded()
            && self.members.len() <= 2 * count + MOST_STRANGERS
    }

    /// Do so many ring that are no members any more that a new one is better?
    pub(super) fn is_crowded(&self) -> bool {
        self.strangers >= MOST_STRANGERS
    }

    fn gather(&mut self, candidates: &[(usize, Candidate<'_>)]) -> Option<()> {
        // The same as the last time, in the same places?
        let same = |(told, (index, (token, _))): (&u64, &(usize, Candidate<'_>))| {
            told == token && self.members.get(token).is_some_and(|m| m.index == *index)
        };
        if self.part.len() == candidates.len() && self.part.iter().zip(candidates).all(same) {
            return Some(());
        }
        self.wait += 1;
        self.part.clear();
        for (index, (token, fd)) in candidates {
            let member = Member {
                index: *index,
                wait: self.wait,
            };
            match self.members.entry(*token) {
                Entry::Occupied(mut known) => {
                    if known.insert(member).wait == self.wait {
                        self.part.clear();
                        return None;
                    }
                }
                Entry::Vacant(place) => {
                    place.insert(member);
                    self.join(*token, *fd)?;
                }
            }
            self.part.push(*token);
        }
        Some(())
    }

    fn join(&self, token: u64, fd: BorrowedFd<'_>) -> Option<()> {
        let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLET;
        let mut event = EpollEvent::new(flags, token);
        match self.epoll.add(fd, event) {
            // The same socket under the same number, in an object that is gone.
            Err(Errno::EEXIST) => self.epoll.modify(fd, &mut event).ok(),
            other => other.ok(),
        }
    }

    /// What `poll` is to wait for: readable when somebody rang.
    pub(super) fn descriptor(&self) -> i32 {
        self.epoll.0.as_fd().as_raw_fd()
    }

    /// The indices of those who rang.
    pub(super) fn rang(&mut self, to: &mut Vec<usize>) {
        let mut events = [EpollEvent::empty(); 64];
        loop {
            let rang = self.epoll.wait(&mut events, EpollTimeout::ZERO);
            let rang = rang.unwrap_or_default();
            for event in &events[..rang] {
                match self.members.get(&event.data()) {
                    Some(member) if member.wait == self.wait => to.push(member.index),
                    _ => self.strangers += 1,
                }
            }
            if rang < events.len() {
                break;
            }
        }
    }

    /// Keeps it for the next wait of this thread.
    pub(super) fn keep(self: Box<Self>) {
        let _ = KEPT.try_with(|cell| cell.set(Some(self)));
    }
}
