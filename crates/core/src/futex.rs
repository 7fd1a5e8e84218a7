//! The system call under every wait: shared futexes, with absolute monotonic deadlines.
//!
//! Never the PRIVATE form: it would not reach another process. Under loom a small model
//! with the same contract takes its place.

#[cfg(not(loom))]
use crate::deadline::Deadline;

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waited {
    /// Woken, or the word had another value: look again.
    Look,
    /// The deadline passed.
    TimedOut,
}

#[cfg(not(loom))]
mod real {
    use super::{Deadline, Waited};
    use std::sync::atomic::{AtomicU32, Ordering::Release};

    /// FUTEX_OP(SET, 0, CMP_EQ, 0): store 0; wake on the second word if it was 0 (never:
    /// the caller held the lock).
    const SET_ZERO: u32 = 0;
    /// FUTEX_OP(ADD, 1, CMP_NE, -1): add 1; wake on the second word (unless it was -1,
    /// once in 2^32 times: then a slice helps).
    const ADD_ONE: u32 = 1 << 28 | 1 << 24 | 1 << 12 | 0xfff;
    /// FUTEX_OP(OR, 1, CMP_EQ, 0): set bit 0; the second wake-up is the first one's word again.
    const OR_ONE: u32 = 2 << 28 | 1 << 12;

    /// Sleeps while `word` holds `expected`, until woken or `deadline`. A signal whose handler
    /// runs meanwhile does not end it: who gets one every few milliseconds would never have slept
    /// for a whole slice.
    pub(crate) fn wait(word: &AtomicU32, expected: u32, deadline: Deadline) -> Waited {
        let until = deadline.nanos();
        let at = libc::timespec {
            tv_sec: (until / 1_000_000_000) as libc::time_t,
            tv_nsec: (until % 1_000_000_000) as libc::c_long,
        };
        let timeout = if deadline == Deadline::NEVER {
            std::ptr::null()
        } else {
            &raw const at
        };
        // SAFETY: the word is borrowed, the timeout is local. The kernel compares and
        // sleeps in one step; a peer that scribbles on the word can make us look again or
        // sleep until the deadline, no more.
        let sleep = || unsafe {
            libc::syscall(
                libc::SYS_futex,
                word.as_ptr(),
                libc::FUTEX_WAIT_BITSET,
                expected,
                timeout,
                std::ptr::null::<u32>(),
                libc::FUTEX_BITSET_MATCH_ANY,
            )
        };
        loop {
            let r = sleep();
            // SAFETY: errno is this thread's own.
            match unsafe { *libc::__errno_location() } {
                libc::EINTR if r == -1 => {}
                libc::ETIMEDOUT if r == -1 => return Waited::TimedOut,
                _ => return Waited::Look,
            }
        }
    }

    /// Wakes up to `n` sleepers on `word`.
    pub(crate) fn wake(word: &AtomicU32, n: i32) {
        // SAFETY: the address is only a key for the kernel.
        unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, n) };
    }

    /// Changes `changed` by `op`, wakes `n` on `first`, and all on `changed` if `op` says so.
    fn wake_op(first: &AtomicU32, n: i32, changed: &AtomicU32, op: u32) -> bool {
        // SAFETY: both words are borrowed; the kernel changes `changed` atomically, and a
        // peer that scribbles there meanwhile makes a number another one.
        let r = unsafe {
            libc::syscall(
                libc::SYS_futex,
                first.as_ptr(),
                libc::FUTEX_WAKE_OP,
                n,
                i32::MAX as usize,
                changed.as_ptr(),
                op,
            )
        };
        // A kernel or a sandbox without WAKE_OP: the callers take two steps then, and the
        // slices of waiting bound what a kill between them costs.
        r != -1
    }

    /// In one system call, so that no kill falls between: stores 0 in `lock` and wakes one
    /// who sleeps on it.
    pub(crate) fn zero_and_wake_one(lock: &AtomicU32) {
        if !wake_op(lock, 1, lock, SET_ZERO) {
            lock.store(0, Release);
            wake(lock, 1);
        }
    }

    /// In one system call: changes `bell` and wakes all who sleep on it, and one who sleeps
    /// on `lock`.
    pub(crate) fn ring(bell: &AtomicU32, lock: &AtomicU32) {
        if !wake_op(lock, 1, bell, ADD_ONE) {
            bell.fetch_add(1, Release);
            wake(bell, i32::MAX);
            wake(lock, 1);
        }
    }

    /// In one system call: sets bit 0 of `word` and wakes all who sleep on it.
    pub(crate) fn set_one_and_wake_all(word: &AtomicU32) {
        if !wake_op(word, i32::MAX, word, OR_ONE) {
            word.fetch_or(1, Release);
            wake(word, i32::MAX);
        }
    }
}

#[cfg(not(loom))]
pub(crate) use real::{ring, set_one_and_wake_all, wait, wake, zero_and_wake_one};

#[cfg(loom)]
pub(crate) use crate::model::{ring, set_one_and_wake_all, wait, wake, zero_and_wake_one};
