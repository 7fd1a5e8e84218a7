//! Waiting for many things at a time: objects of shared memory, processes, any descriptor.
//!
//! An object with a courier can be waited for with `poll`: it is *armed* (the next writer
//! rings, once), and then its courier becomes readable when something comes. Who waits looks at
//! everything, arms what has nothing, looks again, sleeps in `poll` for a slice at most, and
//! looks at what became readable. What nobody can ring for (a peer that was killed) it finds out
//! at the end of the slice.
//!
//! If a process dies here: what it has armed costs one bell; nothing else is shared.

use multiproc_core::deadline::Deadline;
use multiproc_core::fd;
use multiproc_core::identity::Identity;
use multiproc_core::wait::SLICE;
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
    /// again. `rang`: the courier has been readable since the last time.
    #[doc(hidden)]
    fn arm(&self, rang: bool) -> bool;

    /// What becomes readable then. `None`: made without a courier, or shared by name.
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

/// A slice for objects for which not everybody can ring: shared by name, or made without a
/// courier.
const MUTE_SLICE: Duration = Duration::from_millis(2);

/// *Blocks until* at least one of these is ready, or `timeout` (`None`: for ever) is over.
/// Returns the positions of all that are ready, in order; none after the timeout.
///
/// A connection or consumer is ready when it has a message, and when none will come any more; a
/// queue when it has a message; a process (see [`Source::descriptor`]) when it has ended; a
/// descriptor when it can be read. *Wakes when* one of them becomes so. *If a peer dies*: that
/// makes its connections ready within 100 ms.
///
/// Objects that are shared by name, or made without a courier, have nothing that could ring:
/// with one of these among them, the wait looks every 2 ms.
///
/// # Errors
///
/// [`WaitError`].
#[doc(alias = "multiprocessing.connection.wait")]
pub fn wait<'a, S: Into<Source<'a>>>(
    sources: impl IntoIterator<Item = S>,
    timeout: Option<Duration>,
) -> Result<Vec<usize>, WaitError> {
    let sources: Vec<Source<'a>> = sources.into_iter().map(Into::into).collect();
    let deadline = timeout.map_or(Deadline::NEVER, Deadline::after);
    Waiting::new(&sources, deadline).run()
}

struct Waiting<'s, 'a> {
    sources: &'s [Source<'a>],
    deadline: Deadline,
    polled: Vec<libc::pollfd>,
    /// Objects are among these that cannot ring, or ring for nothing.
    mute: bool,
    /// Wake-ups in a row for which there was no reason.
    in_vain: u32,
}

/// After so many wake-ups in vain, the couriers that rang are not heard any more in this wait: a
/// peer may keep them readable (a reader that died left descriptors there, say).
const MOST_IN_VAIN: u32 = 16;

impl<'s, 'a> Waiting<'s, 'a> {
    fn new(sources: &'s [Source<'a>], deadline: Deadline) -> Self {
        let fd = |source: &Source<'_>| match source {
            // A negative one is skipped by `poll`.
            Source::Object(object) => object.courier().map_or(-1, |fd| fd.as_raw_fd()),
            Source::Descriptor(fd) => fd.as_raw_fd(),
        };
        let pollfd = |source| libc::pollfd {
            fd: fd(source),
            events: libc::POLLIN,
            revents: 0,
        };
        let mute = |source: &Source<'_>| matches!(source, Source::Object(object) if object.courier().is_none());
        Self {
            sources,
            deadline,
            polled: sources.iter().map(pollfd).collect(),
            mute: sources.iter().any(mute),
            in_vain: 0,
        }
    }

    fn run(mut self) -> Result<Vec<usize>, WaitError> {
        let mut next_look = Deadline::after(SLICE);
        loop {
            let last = self.deadline.passed();
            let mut ready = self.objects_ready(false);
            if ready.is_empty() && (last || next_look.passed()) {
                // At the end of a slice, and before giving up: who is alive?
                ready = self.objects_ready(true);
                next_look = Deadline::after(SLICE);
            }
            if !ready.is_empty() {
                self.poll(Duration::ZERO)?;
                return Ok(self.everything_ready(ready));
            }
            // What is not armed has something, or a writer is busy there: no sleep then.
            let sleep = match !last && self.arm_all() {
                true => self.slice(),
                false => Duration::ZERO,
            };
            if self.poll(sleep)? {
                let ready = self.everything_ready(ready);
                if !ready.is_empty() {
                    return Ok(ready);
                }
                // A bell, and somebody else was faster.
                self.woken_in_vain();
            } else if !sleep.is_zero() {
                self.in_vain = 0;
            }
            if last {
                return Ok(Vec::new());
            }
        }
    }

    #[cold]
    fn woken_in_vain(&mut self) {
        self.in_vain += 1;
        if self.in_vain < MOST_IN_VAIN {
            return;
        }
        self.in_vain = 0;
        for polled in self.polled.iter_mut().filter(|polled| polled.revents != 0) {
            polled.fd = -1;
            self.mute = true;
        }
    }

    fn slice(&self) -> Duration {
        let slice = if self.mute { MUTE_SLICE } else { SLICE };
        self.deadline
            .remaining()
            .map_or(slice, |left| left.min(slice))
    }

    /// Arms every object. False: one of them is not worth sleeping for.
    fn arm_all(&self) -> bool {
        let mut sources = self.sources.iter().zip(&self.polled);
        sources.all(|(source, polled)| match source {
            Source::Object(object) => object.courier().is_none() || object.arm(polled.revents != 0),
            Source::Descriptor(_) => true,
        })
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
    fn everything_ready(&self, known: Vec<usize>) -> Vec<usize> {
        let mut known = known.into_iter().peekable();
        let mut ready = Vec::new();
        for (index, (source, polled)) in self.sources.iter().zip(&self.polled).enumerate() {
            let is_known = known.next_if_eq(&index).is_some();
            let is_ready = match source {
                Source::Object(object) => {
                    is_known || (polled.revents != 0 && object.is_ready(None))
                }
                Source::Descriptor(_) => polled.revents != 0,
            };
            if is_ready {
                ready.push(index);
            }
        }
        ready
    }

    /// True if something can be read; false after `sleep`, or a signal.
    fn poll(&mut self, sleep: Duration) -> io::Result<bool> {
        fd::poll(&mut self.polled, sleep)
    }
}
