//! A robust lock without guards, and who holds it.
//!
//! [`ThreadLock`] is for primitives whose users say *acquire* and *release* in two places:
//! the holder is a thread, and only that thread releases. It is a [`RobustLock`] of which
//! nobody has a guard, so nothing is left to prove: the word itself says whose it is.
//!
//! If a process dies here: as in [`crate::robust`]. Whoever takes the lock next is told.

use crate::deadline::Deadline;
use crate::robust::{LockWord, RobustGuard, RobustLock, TimedOut};
use multiproc_segment::Shareable;
use std::fmt;

/// Who holds a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// Nobody.
    Nobody,
    /// Nobody: the last holder died, and nobody has taken the lock since.
    Died,
    /// The calling thread.
    ThisThread,
    /// Another thread of this process.
    ThisProcess {
        /// Its thread id.
        thread: u32,
    },
    /// Another process.
    Other {
        /// Its process id; 0 if it cannot be found any more.
        pid: u32,
        /// Its thread id.
        thread: u32,
    },
}

impl Holder {
    /// Of a lock. Stale as soon as it is said.
    pub fn of(lock: &RobustLock) -> Self {
        let thread = lock.holder();
        match thread {
            0 if lock.is_orphaned() => Self::Died,
            0 => Self::Nobody,
            _ if lock.is_mine() => Self::ThisThread,
            _ => match process_of(thread).unwrap_or(0) {
                pid if pid == std::process::id() => Self::ThisProcess { thread },
                pid => Self::Other { pid, thread },
            },
        }
    }
}

impl Holder {
    /// Of a lock whose word was copied out of shared memory, by somebody who does not use the
    /// lock. Of the calling thread, too, it says [`Holder::ThisProcess`].
    pub fn in_word(word: LockWord) -> Self {
        let thread = word.thread;
        match thread {
            0 if word.orphaned => Self::Died,
            0 => Self::Nobody,
            _ => match process_of(thread).unwrap_or(0) {
                pid if pid == std::process::id() => Self::ThisProcess { thread },
                pid => Self::Other { pid, thread },
            },
        }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nobody => write!(f, "free"),
            Self::Died => write!(f, "free, its owner died"),
            Self::ThisThread => write!(f, "held by this thread"),
            Self::ThisProcess { thread } => write!(f, "held by thread {thread} of this process"),
            Self::Other { pid: 0, thread } => write!(f, "held by thread {thread}, which is gone"),
            Self::Other { pid, .. } => write!(f, "held by process {pid}"),
        }
    }
}

/// The process that a thread belongs to.
fn process_of(thread: u32) -> Option<u32> {
    let status = std::fs::read_to_string(format!("/proc/{thread}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("Tgid:"))?;
    line.trim().parse().ok()
}

/// A robust lock that one thread acquires and the same thread releases, without a guard.
#[repr(transparent)]
#[derive(Shareable)]
pub struct ThreadLock(RobustLock);

impl ThreadLock {
    crate::const_unless_loom! {
        /// A free lock.
        #[allow(clippy::new_without_default)]
        pub fn new() -> Self {
            Self(RobustLock::new())
        }
    }

    /// *Blocks until* the lock is free or the deadline passes. *Wakes when* the holder
    /// releases it. *If a peer dies* holding it, the lock is free, and the answer is true:
    /// its last owner died. Not re-entrant.
    ///
    /// # Errors
    ///
    /// [`TimedOut`].
    #[inline]
    pub fn acquire(&self, deadline: Deadline) -> Result<bool, TimedOut> {
        self.0.acquire(deadline).map(keep)
    }

    /// Takes the lock if it is free, as [`ThreadLock::acquire`]. Never blocks.
    #[inline]
    pub fn try_acquire(&self) -> Option<bool> {
        self.0.try_acquire().map(keep)
    }

    /// Frees the lock, if the calling thread holds it; else says false and leaves it.
    #[inline]
    pub fn release(&self) -> bool {
        #[cfg(loom)]
        if crate::model::dead() {
            return true;
        }
        if !self.0.is_mine() {
            return false;
        }
        // SAFETY: this thread holds the lock, and of its guards, all forgotten by `keep`,
        // there is none left (a peer's scribble in the word makes the lock misbehave, no
        // more: nothing is followed from there).
        drop(unsafe { self.0.resume() });
        true
    }

    /// Does the calling thread hold it?
    #[inline]
    pub fn is_mine(&self) -> bool {
        self.0.is_mine()
    }

    /// Is it held, by whomever? Stale as soon as it is said.
    pub fn is_held(&self) -> bool {
        self.0.is_held()
    }

    /// Who holds it? Stale as soon as it is said.
    pub fn holder(&self) -> Holder {
        Holder::of(&self.0)
    }
}

#[inline]
fn keep(guard: RobustGuard<'_>) -> bool {
    let owner_died = guard.owner_died();
    std::mem::forget(guard);
    #[cfg(feature = "tracing")]
    if owner_died {
        crate::robust::tell_of_recovery(); // held, but by its user, who is told by us, too
    }
    owner_died
}

impl fmt::Debug for ThreadLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ThreadLock({})", self.holder())
    }
}
