//! The lock whose holder may be killed at any instruction.
//!
//! The word follows the kernel's robust-futex protocol, and a held lock is linked into the
//! list that the kernel walks when a thread ends: `list` does the linking. So a dead
//! holder frees its locks as it dies, and the next acquirer learns of it.
//!
//! ```text
//! word   0                  free
//!        TID                held
//!        TID | WAITERS      held; the release must wake
//!        WAITERS            free; the next holder must wake at its release
//!        … | OWNER_DIED     free; the last holder died holding it (the kernel wrote this)
//!
//! bytes  0 word   4 settled   8 unlinked   12..24 (unused)   24 prev   32 next     (40 in all)
//! ```
//!
//! `unlinked` is the TID of a holder that could not link the lock: of its death the kernel will
//! not tell. (Stale for any other holder.)
//!
//! Offsets 24 and 32 are glibc's for `pthread_mutex_t` on 64-bit machines: the list is the
//! thread's own, shared with pthread's robust mutexes, and the kernel knows one offset per
//! list.
//!
//! # Invariants
//!
//! 1. Only the thread that acquired a lock releases it (the guard is not `Send`).
//! 2. A lock is linked only if it was settled in a segment: it will not move. On a stack
//!    it works, and the kernel never hears of it.
//! 3. `list_op_pending` names the lock from before the word is taken until after it is
//!    linked, and from before it is unlinked until after the word is free.
//! 4. WAITERS is set before anybody sleeps on the word, and kept by whoever takes the lock
//!    after having slept.
//!
//! # If a process dies here
//!
//! * before the compare-and-swap: nothing happened. The kernel finds the lock pending and
//!   free, and wakes one sleeper, in case our wake-up was the one it needed.
//! * between taking and linking: pending, with our TID: the kernel marks it OWNER_DIED.
//! * holding: linked: the kernel marks it OWNER_DIED and wakes one sleeper.
//! * between unlinking and freeing: pending, as above: OWNER_DIED, though the holder was done:
//!   the next one repairs what needs no repair.
//! * freeing with sleepers: one system call stores 0 and wakes, so no kill falls between
//!   (with a bell to ring, the word is freed first: see there).
//! * asleep, or woken: the kernel passes the wake-up on (pending and free), and what it
//!   misses a slice bounds.
//!
//! Where the list cannot be used (another C library; or a thread holds more than 2,046
//! locks: the kernel has a limit) a waiter finds out at the end of a slice that no thread of
//! the holder's id exists any more, and takes the lock as from a dead owner: out of the very
//! state that it looked at, for meanwhile another may have it. One who does not wait for so long
//! looks before it gives up. Slower, and blind to a thread id that was given to somebody new, and
//! to an `exec`.
//!
//! A peer may scribble on the word: then the lock misbehaves as a lock. It cannot make
//! this process write anywhere: links are written for the kernel and never read back.

use crate::deadline::Deadline;
#[cfg(not(loom))]
use crate::identity::thread_is_there;
#[cfg(loom)]
use crate::model::is_alive as thread_is_there;
use crate::prim::{AtomicU32, AtomicU64, Ordering::*, fence};
use crate::wait::{self, Slept, Spin};
use crate::{futex, step, unless_broken};
use multiproc_segment::Shareable;
use std::fmt;
use std::marker::PhantomData;

#[cfg(not(loom))]
mod list;
#[cfg(loom)]
use crate::model::list;

pub(crate) use list::{forget_in_child, held_here};

const WAITERS: u32 = 1 << 31;
const OWNER_DIED: u32 = 1 << 30;
const TID: u32 = OWNER_DIED - 1;

/// A mutual exclusion lock for shared memory. Use it through the guard that
/// [`RobustLock::acquire`] gives.
#[repr(C)]
pub struct RobustLock {
    word: AtomicU32,
    settled: AtomicU32,
    // Relaxed: a number that goes with the word; who reads an old one looks again.
    unlinked: AtomicU32,
    unused: [AtomicU32; 3],
    prev: AtomicU64,
    next: AtomicU64,
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<RobustLock>() == 40);

// SAFETY: repr(C), no address (the links are never read back), any bits are a value, all
// use is atomic.
unsafe impl Shareable for RobustLock {
    unsafe fn settle(&self) {
        // Relaxed: nobody else sees the segment yet.
        self.settled.store(1, Relaxed);
    }
}

/// The deadline passed before the lock was free.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the lock was not free before the deadline")]
pub struct TimedOut;

/// What a lock's word says, for those who look at a lock without using it. Stale as soon as it
/// is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LockWord {
    /// The holder's thread id; 0: nobody has it.
    pub thread: u32,
    /// Somebody waits for it, or did before being killed.
    pub awaited: bool,
    /// Nobody has it, and its last holder died holding it.
    pub orphaned: bool,
}

impl LockWord {
    /// Of a lock's first 4 bytes, as they are copied out of shared memory. Any number says
    /// something.
    pub fn read(word: u32) -> Self {
        Self {
            thread: word & TID,
            awaited: word & WAITERS != 0,
            orphaned: word & (TID | OWNER_DIED) == OWNER_DIED,
        }
    }
}

impl RobustLock {
    crate::const_unless_loom! {
        /// A free lock.
        #[allow(clippy::new_without_default)]
        pub fn new() -> Self {
            Self {
                word: AtomicU32::new(0),
                settled: AtomicU32::new(0),
                unlinked: AtomicU32::new(0),
                unused: [AtomicU32::new(0), AtomicU32::new(0), AtomicU32::new(0)],
                prev: AtomicU64::new(0),
                next: AtomicU64::new(0),
            }
        }
    }

    /// Takes the lock if it is free, its last holder did not die and nobody waits for
    /// anything. Never blocks; the fast part of [`RobustLock::try_acquire`].
    #[inline(always)]
    pub fn try_acquire_clean(&self) -> Option<RobustGuard<'_>> {
        self.take_free()
    }

    /// Takes the lock if it is free. Never blocks; a refusal costs some microseconds where the
    /// kernel would not tell of the holder's death: is it alive?
    #[inline]
    pub fn try_acquire(&self) -> Option<RobustGuard<'_>> {
        self.try_acquire_free().or_else(|| self.take_untold())
    }

    /// As [`RobustLock::try_acquire`], for one who waits if it is refused, and looks then who is
    /// alive.
    #[inline]
    pub fn try_acquire_free(&self) -> Option<RobustGuard<'_>> {
        self.take_free().or_else(|| self.take_marked())
    }

    /// *Blocks until* the lock is free or the deadline passes. *Wakes when* the holder
    /// releases it. *If a peer dies* holding it, the lock is free (by the kernel, at
    /// once), and [`RobustGuard::owner_died`] says so.
    ///
    /// Not re-entrant: who acquires twice waits for itself.
    ///
    /// # Errors
    ///
    /// [`TimedOut`].
    #[inline]
    pub fn acquire(&self, deadline: Deadline) -> Result<RobustGuard<'_>, TimedOut> {
        match self.take_free() {
            Some(guard) => Ok(guard),
            None => self.acquire_contended(deadline),
        }
    }

    #[inline(always)]
    fn take_free(&self) -> Option<RobustGuard<'_>> {
        let mine = list::mine(self);
        list::about_to(self, mine);
        step!("lock: pending");
        // Acquire. PAIRS lock: the Release in `release`.
        if self
            .word
            .compare_exchange(0, mine.tid(), Acquire, Relaxed)
            .is_ok()
        {
            step!("lock: taken, not linked");
            Some(self.taken(mine, false))
        } else {
            list::done(self, mine);
            None
        }
    }

    #[inline(always)]
    fn taken(&self, mine: list::Mine, owner_died: bool) -> RobustGuard<'_> {
        list::link(self, mine);
        list::done(self, mine);
        step!("lock: held");
        RobustGuard {
            lock: self,
            bell: Bell(owner_died.into(), PhantomData),
            thread: PhantomData,
        }
    }

    /// One try at a word that is free but for WAITERS or OWNER_DIED.
    #[cold]
    fn take_marked(&self) -> Option<RobustGuard<'_>> {
        let mine = list::mine(self);
        list::about_to(self, mine);
        loop {
            let word = self.word.load(Relaxed);
            if word & TID != 0 {
                list::done(self, mine);
                return None;
            }
            if let Some(guard) = self.take(word, word & WAITERS, mine) {
                return Some(guard);
            }
        }
    }

    /// Takes the lock from a word that shows no living owner, keeping `keep` of its marks.
    fn take(&self, word: u32, keep: u32, mine: list::Mine) -> Option<RobustGuard<'_>> {
        // Acquire. PAIRS lock.
        self.word
            .compare_exchange(word, mine.tid() | keep, Acquire, Relaxed)
            .ok()?;
        step!("lock: taken, not linked");
        Some(self.taken(mine, word & OWNER_DIED != 0 || word & TID != 0))
    }

    #[cold]
    fn acquire_contended(&self, deadline: Deadline) -> Result<RobustGuard<'_>, TimedOut> {
        let mine = list::mine(self);
        list::about_to(self, mine);
        let mut spin = Spin::new();
        let mut keep = 0;
        loop {
            let word = self.word.load(Relaxed);
            if word & TID == 0 {
                if let Some(guard) = self.take(word, word & WAITERS | keep, mine) {
                    spin.learn();
                    return Ok(guard);
                }
                continue;
            }
            if deadline != Deadline::NOW && spin.back_off() {
                continue;
            }
            let marked = word | WAITERS;
            if word != marked
                && self
                    .word
                    .compare_exchange(word, marked, Relaxed, Relaxed)
                    .is_err()
            {
                // Relaxed: the mark orders nothing; the word itself does (Invariant 4).
                continue;
            }
            keep = unless_broken!("lock: keep the mark", WAITERS, 0);
            if deadline.passed() {
                // Who comes again and again, and never stays for a slice, finds out here.
                let taken = self.take_from_untold(marked, mine);
                if taken.is_none() {
                    list::done(self, mine);
                }
                return taken.ok_or(TimedOut);
            }
            // In a model no slice ends by itself: who vanished before is seen here.
            if cfg!(loom)
                && let Some(guard) = self.take_from_vanished(marked, mine)
            {
                return Ok(guard);
            }
            step!("lock: about to sleep");
            let slept = wait::sleep(&self.word, marked, deadline);
            if slept == Slept::Look {
                continue;
            }
            // Also for those who never wait for a whole slice.
            if let Some(guard) = self.take_from_vanished(marked, mine) {
                return Ok(guard);
            }
            if slept == Slept::TimedOut {
                list::done(self, mine);
                return Err(TimedOut);
            }
        }
    }

    /// One try at a lock whose holder may be gone, without the kernel having told.
    #[cold]
    fn take_untold(&self) -> Option<RobustGuard<'_>> {
        let mine = list::mine(self);
        let word = self.word.load(Relaxed);
        if word & TID == 0 {
            return None;
        }
        list::about_to(self, mine);
        let taken = self.take_from_untold(word, mine);
        if taken.is_none() {
            list::done(self, mine);
        }
        taken
    }

    /// [`RobustLock::take_from_vanished`], where the kernel does not tell of the holder's death.
    fn take_from_untold(&self, word: u32, mine: list::Mine) -> Option<RobustGuard<'_>> {
        let holder = word & TID;
        let told = mine.is_told() && self.unlinked.load(Relaxed) != holder;
        if told || holder == mine.tid() {
            return None;
        }
        self.take_from_vanished(word, mine)
    }

    /// Takes the lock from the thread that `word` names, if that one is gone and the lock is
    /// still in that state: by now the kernel may have freed it, or another waiter taken it.
    #[cold]
    fn take_from_vanished(&self, word: u32, mine: list::Mine) -> Option<RobustGuard<'_>> {
        if self.word.load(Relaxed) != word || thread_is_there(word & TID) {
            return None;
        }
        let looked_at = unless_broken!("lock: that state", word, self.word.load(Relaxed));
        self.take(looked_at, WAITERS, mine)
    }

    /// Is it held, by whomever? Stale as soon as it is said.
    pub fn is_held(&self) -> bool {
        self.word.load(Relaxed) & TID != 0
    }

    /// The thread id of its holder; 0 if it is free. Stale as soon as it is said.
    pub fn holder(&self) -> u32 {
        self.word.load(Relaxed) & TID
    }

    /// Does the calling thread hold it?
    #[inline]
    pub fn is_mine(&self) -> bool {
        // Relaxed: only this thread writes its own id there, and only it takes it away.
        let holder = self.word.load(Relaxed) & TID;
        holder != 0 && holder == list::mine(self).tid()
    }

    /// The guard again, of a lock whose guard was forgotten.
    ///
    /// # Safety
    ///
    /// The calling thread holds the lock, and there is no guard of it.
    #[inline]
    pub unsafe fn resume(&self) -> RobustGuard<'_> {
        RobustGuard {
            lock: self,
            bell: Bell(0, PhantomData),
            thread: PhantomData,
        }
    }

    /// Did its last holder die holding it, and nobody has taken it since? Costs some microseconds
    /// where somebody holds it of whose death the kernel would not tell.
    pub fn is_orphaned(&self) -> bool {
        self.is_marked_orphaned() || self.is_held_by_vanished()
    }

    /// The same, as far as the kernel tells.
    pub fn is_marked_orphaned(&self) -> bool {
        // Acquire. PAIRS lock: what the dead holder wrote is seen.
        self.word.load(Acquire) & (TID | OWNER_DIED) == OWNER_DIED
    }

    fn is_held_by_vanished(&self) -> bool {
        // Acquire. PAIRS lock: as above.
        let holder = self.word.load(Acquire) & TID;
        let told = || list::mine(self).is_told() && self.unlinked.load(Relaxed) != holder;
        let gone = holder != 0 && !told() && !thread_is_there(holder);
        // Or it had released the lock before it ended: then it is no longer named.
        gone && self.word.load(Acquire) & TID == holder
    }

    /// Asks whoever releases the lock next to ring its bell (see
    /// [`RobustGuard::with_bell`]). Afterwards, look once more for what you wait for,
    /// and only then sleep on the bell as it was before the call: all that the last holders
    /// wrote before they released is seen after it. In the same way that release, if it is by
    /// [`RobustGuard::release`] with a bell, sees what was written before this call.
    pub fn ask_for_bell(&self) {
        // AcqRel. PAIRS lock: reads from the last release, so its writes are seen; a later
        // release finds the mark and rings. One word, so no fence is needed.
        let mark = unless_broken!("lock: ask", WAITERS, 0);
        self.word.fetch_or(mark, AcqRel);
    }

    #[cfg(loom)]
    pub(crate) fn word_address(&self) -> usize {
        &raw const self.word as usize
    }

    /// True if the word was marked: what whoever marked it did before is seen.
    #[inline(always)]
    fn release(&self, bell: Option<&AtomicU32>) -> bool {
        let mine = list::mine(self);
        list::about_to(self, mine);
        list::unlink(self, mine);
        step!("lock: unlinked");
        // Release. PAIRS lock: the Acquire of the next taker.
        let order = unless_broken!("lock: release", Release, Relaxed);
        let marked = self
            .word
            .compare_exchange(mine.tid(), 0, order, Relaxed)
            .is_err();
        if marked {
            self.release_marked(mine, bell);
        }
        step!("lock: freed");
        list::done(self, mine);
        marked
    }

    /// With a bell, frees first and rings afterwards: a mark that is set once the bell has
    /// changed belongs to the next release, and must not be wiped by this one (a model
    /// found the lost wake-up of the other order). Killed in between, the kernel wakes one
    /// who waits for the lock, and the bell's sleepers look again within a slice.
    #[cold]
    fn release_marked(&self, mine: list::Mine, bell: Option<&AtomicU32>) {
        if self.word.load(Relaxed) & TID != mine.tid() {
            // Not ours: a copy of the guard in a forked child, or a peer's scribble.
            return;
        }
        let Some(bell) = bell else {
            fence(Release); // PAIRS lock: the kernel's store of 0 frees the lock.
            return futex::zero_and_wake_one(&self.word);
        };
        // AcqRel. PAIRS lock: also with who marked the word, see `ask_for_bell`.
        self.word.swap(0, AcqRel);
        step!("lock: free, the bell not rung");
        fence(Release); // PAIRS bell: the kernel's increment follows what was written.
        futex::ring(bell, &self.word);
    }
}

impl fmt::Debug for RobustLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = self.word.load(Relaxed);
        let state = match (word & TID, word & OWNER_DIED != 0) {
            (0, false) => "free".to_owned(),
            (0, true) => "free, its owner died".to_owned(),
            (tid, _) => format!("held by thread {tid}"),
        };
        write!(f, "RobustLock({state})")
    }
}

/// A held [`RobustLock`]; released on drop, by the thread that acquired it.
///
/// Two words, so that it travels in registers: it is made and given up with every message.
#[must_use = "the lock is released when the guard is dropped"]
pub struct RobustGuard<'a> {
    lock: &'a RobustLock,
    bell: Bell<'a>,
    /// Not `Send`: it is the thread that holds.
    thread: PhantomData<*const ()>,
}

/// A bell or none, and whether the last holder died: the lowest bit, as words are aligned.
#[derive(Clone, Copy)]
struct Bell<'a>(usize, PhantomData<&'a AtomicU32>);

impl<'a> Bell<'a> {
    const DIED: usize = 1;

    #[inline]
    fn get(self) -> Option<&'a AtomicU32> {
        let address = self.0 & !Self::DIED;
        // SAFETY: 0, or made from a reference by `with_bell`, which lives as long as 'a.
        unsafe { (address as *const AtomicU32).as_ref() }
    }
}

impl<'a> RobustGuard<'a> {
    /// Did the holder before us die holding it? Then what the lock protects may be half
    /// done.
    #[inline]
    pub fn owner_died(&self) -> bool {
        self.bell.0 & Bell::DIED != 0
    }

    /// The lock that is held.
    #[inline]
    pub fn lock(&self) -> &'a RobustLock {
        self.lock
    }

    /// The same guard, with a bell: if somebody asks for it ([`RobustLock::ask_for_bell`]),
    /// or waits for the lock, the release changes `bell` and wakes all who sleep on it.
    #[inline]
    pub fn with_bell(mut self, bell: &'a AtomicU32) -> Self {
        self.bell.0 = std::ptr::from_ref(bell) as usize | self.bell.0 & Bell::DIED;
        self
    }

    /// Frees the lock, as dropping the guard does. True: somebody asked for the bell, or waited
    /// for the lock.
    #[inline(always)]
    pub fn release(self) -> bool {
        #[cfg(loom)]
        if crate::model::dead() {
            return false;
        }
        let guard = std::mem::ManuallyDrop::new(self);
        let asked = guard.lock.release(guard.bell.get());
        guard.tell();
        asked
    }

    /// Only once the lock is free: whoever listens runs their own code.
    #[inline(always)]
    fn tell(&self) {
        #[cfg(feature = "tracing")]
        if self.owner_died() {
            tell_of_recovery();
        }
    }
}

/// To whoever listens: this thread had a lock from a dead holder.
#[cfg(feature = "tracing")]
#[cold]
pub(crate) fn tell_of_recovery() {
    multiproc_segment::trace!(warn, "lock recovered: its holder died");
}

impl Drop for RobustGuard<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        #[cfg(loom)]
        if crate::model::dead() {
            return;
        }
        self.lock.release(self.bell.get());
        self.tell();
    }
}

impl fmt::Debug for RobustGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RobustGuard")
            .field("owner_died", &self.owner_died())
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::holder::Holder;

    #[test]
    fn a_word_says_what_its_lock_does() {
        let lock = RobustLock::new();
        let word = || LockWord::read(lock.word.load(Relaxed));
        assert_eq!(Holder::in_word(word()), Holder::Nobody);
        let held = lock.try_acquire().unwrap();
        lock.ask_for_bell();
        let thread = lock.holder();
        let (awaited, orphaned) = (true, false);
        assert_eq!(
            word(),
            LockWord {
                thread,
                awaited,
                orphaned
            }
        );
        assert_eq!(Holder::in_word(word()), Holder::ThisProcess { thread });
        drop(held);
        let died = LockWord::read(OWNER_DIED | WAITERS);
        assert_eq!(Holder::in_word(died), Holder::Died);
        let gone = LockWord::read(TID);
        assert_eq!(
            Holder::in_word(gone),
            Holder::Other {
                pid: 0,
                thread: TID
            }
        );
        assert_eq!(
            LockWord::read(u32::MAX),
            LockWord {
                thread: TID,
                awaited: true,
                orphaned: false
            }
        );
    }
}
