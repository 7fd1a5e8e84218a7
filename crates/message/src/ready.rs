//! Waiting for many things at a time: objects of shared memory, processes, any descriptor.
//!
//! An object with a courier can be waited for with `poll`: it is *armed* (the next writer
//! rings, once), and then its courier becomes readable when something comes. Who waits looks at
//! everything, arms what has nothing, sleeps in `poll` for a slice at most, and looks at what
//! became readable. What nobody can ring for (a peer that was killed) it finds out at the end of
//! the slice.
//!
//! # From an event loop
//!
//! Connections, receivers, queues and consumers are descriptors, too (`AsFd`, `AsRawFd`): for
//! `epoll`, mio and the like. Readable means: look again (`try_recv`, `try_get`). There may be
//! nothing; there is never something while the descriptor is not readable, and an `epoll` that
//! wants edges gets one for whatever comes after a look that found nothing. So:
//!
//! * by level: take a message when it is readable, and come back.
//! * by edge: take messages until there are none (`Empty`).
//!
//! A look that finds nothing arms the object again; only those of this process count, and only
//! from the first `as_fd` on. Nobody rings for a peer that was killed: an event loop that is to
//! hear of it (or of what a peer that was killed in the middle of sending had sent) looks every
//! now and then, every 50 ms if it is to be as fast as a blocking call, or waits for the
//! process's sentinel, too. What was opened by name, or made without a courier, has nothing that
//! could ring: its descriptor becomes readable every 2 ms.
//!
//! If a process dies here: what it has armed costs one bell; nothing else is shared.

mod many;

use many::Many;
use multiproc_core::deadline::Deadline;
use multiproc_core::fd::{self, TICK};
use multiproc_core::identity::Identity;
use multiproc_core::wait::SLICE;
use multiproc_ring::Ring;
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

/// Something of shared memory that one can wait for.
pub trait Ready {
    /// Would taking something from it return at once: a message, or that nothing will come?
    /// `alive`: looks at the processes of the other side, too, asking this.
    #[doc(hidden)]
    fn is_ready(&self, alive: Option<&mut dyn FnMut(Identity) -> bool>) -> bool;

    /// Is a look at the processes of the other side due, though nothing asks for one? What is
    /// waited for beside something that is always ready hears of a death all the same.
    #[doc(hidden)]
    fn look_is_due(&self) -> bool {
        false
    }

    /// Has the courier rung when that changes. True: armed, and nothing there. False: look
    /// again. `quieten`: what it has rung for so far is done with.
    #[doc(hidden)]
    fn arm(&self, quieten: bool) -> bool;

    /// A number for life of the courier, if it is one.
    #[doc(hidden)]
    fn token(&self) -> Option<u64> {
        None
    }

    /// What becomes readable then. `None`: made without a courier, or opened by name.
    #[doc(hidden)]
    fn courier(&self) -> Option<BorrowedFd<'_>>;
}

/// One of the things that [`wait`] waits for.
#[derive(Clone, Copy)]
pub enum Source<'a> {
    /// A connection, a queue, ….
    Object(&'a dyn Ready),
    /// A descriptor that becomes readable: a process's sentinel, a socket, a pipe, ….
    Descriptor(BorrowedFd<'a>),
}

impl<'a> Source<'a> {
    /// A descriptor: a process (ready when it has ended), a socket, a pipe, ….
    #[doc(alias = "sentinel")]
    pub fn descriptor(fd: &'a impl AsFd) -> Self {
        Self::Descriptor(fd.as_fd())
    }
}

impl<'a, T: Ready> From<&'a T> for Source<'a> {
    fn from(object: &'a T) -> Self {
        Self::Object(object)
    }
}

impl fmt::Debug for Source<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Object(_) => f.write_str("Object"),
            Self::Descriptor(fd) => f.debug_tuple("Descriptor").field(fd).finish(),
        }
    }
}

/// Why there was no waiting.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WaitError {
    /// What `poll` says: above all, more descriptors than this process may have.
    #[error("cannot wait for so many things: {0}")]
    Poll(#[from] io::Error),
}

/// What an object whose ring this is gives to an event loop of the user's own.
#[doc(hidden)]
pub fn watched<'r>(object: &dyn Ready, ring: &'r Ring) -> BorrowedFd<'r> {
    let fd = ring.watched();
    arm_again(object, ring);
    fd
}

/// A look at the object whose ring this is has found nothing.
#[doc(hidden)]
#[inline]
pub fn found_nothing(object: &dyn Ready, ring: &Ring) {
    if ring.is_watched() {
        arm_again(object, ring);
    }
}

#[cold]
fn arm_again(object: &dyn Ready, ring: &Ring) {
    if object.courier().is_none() {
        ring.quieten_ticker();
    } else if !object.arm(true) {
        // Something came just now: readable, so that the event loop looks again.
        ring.ring_watchers();
    }
}

/// *Blocks until* at least one of these is ready, or `timeout` (`None`: for ever) is over.
/// Returns the positions of all that are ready, in order; none after the timeout.
///
/// A connection or consumer is ready when it has a message, and when none will come any more; a
/// queue when it has a message; a process (see [`Source::descriptor`]) when it has ended; a
/// descriptor when it can be read. *Wakes when* one of them becomes so. *If a peer dies*: that
/// makes its connections ready within 100 ms.
///
/// Objects that were opened by name, or made without a courier, have nothing that could ring:
/// with one of these among them, the wait looks every 2 ms.
///
/// # Errors
///
/// [`WaitError`].
#[doc(alias = "multiprocessing.connection.wait")]
#[doc(alias = "object_list")]
pub fn wait<'a, S: Into<Source<'a>>>(
    sources: impl IntoIterator<Item = S>,
    timeout: Option<Duration>,
) -> Result<Vec<usize>, WaitError> {
    let sources: Vec<Source<'a>> = sources.into_iter().map(Into::into).collect();
    let deadline = timeout.map_or(Deadline::NEVER, Deadline::after);
    Waiting::new(&sources, deadline).run()
}

/// So many bells in a row for nothing are too many: then those who ring are left out for a tick.
const MOST_IN_VAIN: u32 = 16;

struct Waiting<'s, 'a> {
    sources: &'s [Source<'a>],
    deadline: Deadline,
    /// What is waited for with `poll`, and the indices of the sources (of the last entry, if there
    /// is an `epoll`, none).
    polled: Vec<libc::pollfd>,
    whose: Vec<usize>,
    many: Option<Box<Many>>,
    /// Can one of the objects not ring?
    mute: bool,
    /// Who showed something in the last sleep, in order.
    rang: Vec<usize>,
    /// Bells in a row for which nothing was there.
    in_vain: u32,
}

impl<'s, 'a> Waiting<'s, 'a> {
    fn new(sources: &'s [Source<'a>], deadline: Deadline) -> Self {
        let candidates = || {
            let known = |(index, source): (usize, &Source<'a>)| match source {
                Source::Object(object) => Some((index, (object.token()?, object.courier()?))),
                Source::Descriptor(_) => None,
            };
            let all: Vec<_> = sources.iter().enumerate().filter_map(known).collect();
            (all.len() >= many::MANY).then(|| Many::of(&all)).flatten()
        };
        let many = (sources.len() >= many::MANY).then(candidates).flatten();
        let mut waiting = Self {
            sources,
            deadline,
            polled: Vec::new(),
            whose: Vec::new(),
            many,
            mute: false,
            rang: Vec::new(),
            in_vain: 0,
        };
        for (index, source) in sources.iter().enumerate() {
            match source {
                Source::Descriptor(fd) => waiting.poll_too(index, fd.as_raw_fd()),
                Source::Object(object) if waiting.many.is_some() && object.token().is_some() => {}
                Source::Object(object) => match object.courier() {
                    Some(fd) => waiting.poll_too(index, fd.as_raw_fd()),
                    None => waiting.mute = true,
                },
            }
        }
        if let Some(fd) = waiting.many.as_ref().map(|many| many.descriptor()) {
            waiting.poll_too(usize::MAX, fd);
        }
        waiting
    }

    fn poll_too(&mut self, index: usize, fd: i32) {
        self.whose.push(index);
        self.polled.push(libc::pollfd {
            fd,
            events: libc::POLLIN,
            revents: 0,
        });
    }

    fn run(mut self) -> Result<Vec<usize>, WaitError> {
        let mut thorough = false;
        let mut next_look = Deadline::after(SLICE);
        loop {
            // Also where bells keep coming, the dead are looked for once a slice.
            if thorough || next_look.passed() {
                thorough = true;
                next_look = Deadline::after(SLICE);
            }
            let ready = self.objects_ready(thorough);
            if !ready.is_empty() {
                self.poll(Duration::ZERO)?;
                return Ok(self.everything_ready(ready));
            }
            if thorough && self.deadline.passed() {
                return Ok(ready);
            }
            // Something came just now, perhaps; but no wait is longer than was said.
            thorough = self.deadline.passed();
            if !self.arm_all() {
                continue;
            }
            if self.sleep()? {
                let ready = self.everything_ready(ready);
                if !ready.is_empty() {
                    return Ok(ready);
                }
                // A bell, and somebody else was faster.
                self.in_vain += 1;
                if self.many.as_ref().is_some_and(|many| many.is_crowded()) {
                    self = Self::new(self.sources, self.deadline);
                }
            } else {
                // At the end of a slice, and before giving up: who is alive?
                thorough = true;
                self.in_vain = 0;
            }
        }
    }

    fn slice(&self) -> Duration {
        let slice = if self.mute { TICK } else { SLICE };
        self.deadline
            .remaining()
            .map_or(slice, |left| left.min(slice))
    }

    /// Arms every object. False: one of them is not worth sleeping for. What has just rung for
    /// nothing is quietened.
    fn arm_all(&self) -> bool {
        let mut rang = self.rang.iter().peekable();
        self.sources.iter().enumerate().all(|(index, source)| {
            let has_rung = rang.next_if_eq(&&index).is_some();
            match source {
                Source::Object(object) => object.courier().is_none() || object.arm(has_rung),
                Source::Descriptor(_) => true,
            }
        })
    }

    /// True if something rang or can be read; false after a slice, or a signal.
    fn sleep(&mut self) -> io::Result<bool> {
        let slice = self.slice();
        if self.in_vain < MOST_IN_VAIN {
            return self.poll(slice);
        }
        // A bell that cannot be taken away (its peer was stopped in the middle of something), or
        // a peer that rings and rings.
        let flip = |waiting: &mut Self, noisy: &[usize]| {
            for at in noisy {
                waiting.polled[*at].fd = !waiting.polled[*at].fd;
            }
        };
        let is_object =
            |index: usize| !matches!(self.sources.get(index), Some(Source::Descriptor(_)));
        let noisy: Vec<usize> = (0..self.polled.len())
            .filter(|at| is_object(self.whose[*at]) && self.polled[*at].revents != 0)
            .collect();
        flip(self, &noisy);
        let slept = self.poll(slice.min(TICK));
        flip(self, &noisy);
        slept
    }

    fn objects_ready(&self, thorough: bool) -> Vec<usize> {
        let mut known = HashMap::new();
        let mut alive = |id: Identity| *known.entry(id).or_insert_with(|| id.is_alive());
        let mut ready = Vec::new();
        for (index, source) in self.sources.iter().enumerate() {
            if let Source::Object(object) = source {
                let thorough = thorough || object.look_is_due();
                let alive: Option<&mut dyn FnMut(Identity) -> bool> = match thorough {
                    true => Some(&mut alive),
                    false => None,
                };
                if object.is_ready(alive) {
                    ready.push(index);
                }
            }
        }
        ready
    }

    /// What is ready after a `poll`: descriptors that can be read, objects that rang and have
    /// something, and those known to have.
    fn everything_ready(&self, mut ready: Vec<usize>) -> Vec<usize> {
        let known = ready.len();
        for index in &self.rang {
            let is_ready = match &self.sources[*index] {
                Source::Object(object) => {
                    ready[..known].binary_search(index).is_err() && object.is_ready(None)
                }
                Source::Descriptor(_) => true,
            };
            if is_ready {
                ready.push(*index);
            }
        }
        ready.sort_unstable();
        ready
    }

    /// True if something rang or can be read; false after `sleep`, or a signal.
    fn poll(&mut self, sleep: Duration) -> io::Result<bool> {
        self.rang.clear();
        if !fd::poll(&mut self.polled, sleep)? {
            return Ok(false);
        }
        let shown = self.whose.iter().zip(&self.polled);
        let shown = shown.filter(|(index, polled)| polled.revents != 0 && **index != usize::MAX);
        self.rang.extend(shown.map(|(index, _)| *index));
        if let Some(many) = &mut self.many {
            many.rang(&mut self.rang);
            self.rang.sort_unstable();
        }
        Ok(true)
    }
}

impl Drop for Waiting<'_, '_> {
    fn drop(&mut self) {
        if let Some(many) = self.many.take() {
            many.keep();
        }
    }
}
