//! The lock that anybody may release.
//!
//! ```text
//! state  0                  free
//!        holder             held by that process (see `word`)
//!        holder | WAITERS   held; the release must ring
//! bell   changes when a release finds WAITERS: what sleepers sleep on
//! ```
//!
//! # Invariants
//!
//! 1. One compare-and-swap takes the lock and says who did: no holder is ever unknown.
//! 2. WAITERS is set before anybody sleeps, and `bell` was read before that. Who takes the
//!    lock after having slept sets it again: others may sleep too, and one was woken.
//! 3. `turn` changes with every acquisition; a guard releases its own only.
//!
//! # If a process dies here
//!
//! * holding, or anywhere after the swap: a waiter finds its identity dead, at the first look
//!   (after a millisecond) or at that of a later slice, and swaps itself in.
//! * between that swap and `damaged`: it is a dead holder itself.
//! * after freeing, before ringing: sleepers look again within a slice.
//! * woken, before it takes the lock: so do the others.

use crate::error::{AcquireTimeoutError, NotHeld, OwnerDied, TryAcquireError};
use crate::word::{self, WAITERS};
use multiproc_core::deadline::Deadline;
use multiproc_core::fork::HeldHere;
use multiproc_core::prim::{AtomicU32, AtomicU64, Ordering::*};
use multiproc_core::robust::TimedOut;
use multiproc_core::wait::{self, Slept, Spin};
use multiproc_core::watch::Watch;
use multiproc_core::{const_unless_loom, step, unless_broken};
#[cfg(not(loom))]
use multiproc_segment::Shareable;
use std::fmt;
use std::time::Duration;

/// Python's `Lock`: any process, any thread may release what another has acquired.
///
/// ```rust,standalone_crate
/// use multiproc_lock::Lock;
/// use multiproc_process::Process;
/// use multiproc_segment::Shared;
///
/// let lock = Shared::new(Lock::new())?;
/// lock.acquire().unwrap();
/// let child = Process::start(|| lock.release())?; // not the one who acquired it
/// assert!(child.join()?.success());
/// assert!(!lock.is_locked());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// The holder is a *process*: that one of its threads ends frees nothing, nor does `exec`,
/// and a second thread of the process waits like anybody else. Not re-entrant.
///
/// When the process that acquired it last dies, the next acquirer gets [`OwnerDied`], with a
/// guard, and so does every later one until somebody says [`mended`](LockGuard::mended). A
/// release by another process after that death frees the lock and does not mend.
#[doc(alias = "multiprocessing.Lock")]
#[repr(C)]
#[cfg_attr(not(loom), derive(Shareable))]
pub struct Lock {
    state: AtomicU64,
    bell: AtomicU32,
    turn: AtomicU32,
    /// 1 = a holder died, and nobody has said `mended`.
    damaged: AtomicU32,
    unused: AtomicU32,
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<Lock>() <= 64);

impl Lock {
    const_unless_loom! {
        /// A free lock.
        pub fn new() -> Self {
            Self {
                state: AtomicU64::new(0),
                bell: AtomicU32::new(0),
                turn: AtomicU32::new(0),
                damaged: AtomicU32::new(0),
                unused: AtomicU32::new(0),
            }
        }
    }

    /// Takes the lock, to be given up by [`Lock::release`]. *Blocks until* it is free. *Wakes
    /// when* somebody releases it. *If a peer dies* that holds it, the lock is taken from it
    /// within a slice (50 ms), as a rule after a millisecond.
    ///
    /// # Errors
    ///
    /// [`OwnerDied`] with a guard: to hold on without one, [`LockGuard::keep`] it.
    #[inline]
    pub fn acquire(&self) -> Result<(), OwnerDied<LockGuard<'_>>> {
        loop {
            // A wait without a deadline does not time out.
            if self.take(Deadline::NEVER).is_ok() {
                return self.told();
            }
        }
    }

    /// Takes the lock if it is free. Never blocks. A refusal costs some microseconds where
    /// another process holds it: is it alive?
    ///
    /// # Errors
    ///
    /// [`TryAcquireError::Held`], or [`TryAcquireError::OwnerDied`] as [`Lock::acquire`].
    #[inline]
    pub fn try_acquire(&self) -> Result<(), TryAcquireError<LockGuard<'_>>> {
        match self.take(Deadline::NOW) {
            Ok(()) => Ok(self.told()?),
            Err(TimedOut) => Err(TryAcquireError::Held),
        }
    }

    /// Takes the lock within `timeout`. *Blocks until* it is free or the time is over. *Wakes
    /// when* somebody releases it. *If a peer dies*: as [`Lock::acquire`].
    ///
    /// # Errors
    ///
    /// [`AcquireTimeoutError::Timeout`], or [`AcquireTimeoutError::OwnerDied`] as
    /// [`Lock::acquire`].
    #[inline]
    pub fn acquire_timeout(
        &self,
        timeout: Duration,
    ) -> Result<(), AcquireTimeoutError<LockGuard<'_>>> {
        match self.take(Deadline::after(timeout)) {
            Ok(()) => Ok(self.told()?),
            Err(TimedOut) => Err(AcquireTimeoutError::Timeout),
        }
    }

    /// [`Lock::acquire`], released when the guard is dropped. *Blocks*, *wakes* and *if a peer
    /// dies*: as there.
    ///
    /// # Errors
    ///
    /// [`OwnerDied`] with the guard.
    #[doc(alias = "__enter__")]
    #[inline]
    pub fn lock(&self) -> Result<LockGuard<'_>, OwnerDied<LockGuard<'_>>> {
        self.acquire()?;
        Ok(self.guard())
    }

    /// [`Lock::try_acquire`], released when the guard is dropped.
    ///
    /// # Errors
    ///
    /// As [`Lock::try_acquire`].
    #[inline]
    pub fn try_lock(&self) -> Result<LockGuard<'_>, TryAcquireError<LockGuard<'_>>> {
        self.try_acquire()?;
        Ok(self.guard())
    }

    /// [`Lock::acquire_timeout`], released when the guard is dropped. *Blocks*, *wakes* and
    /// *if a peer dies*: as there.
    ///
    /// # Errors
    ///
    /// As [`Lock::acquire_timeout`].
    #[inline]
    pub fn lock_timeout(
        &self,
        timeout: Duration,
    ) -> Result<LockGuard<'_>, AcquireTimeoutError<LockGuard<'_>>> {
        self.acquire_timeout(timeout)?;
        Ok(self.guard())
    }

    /// Frees the lock, whoever acquired it.
    ///
    /// # Errors
    ///
    /// [`NotHeld`]: it was free, and stays so.
    #[inline]
    pub fn release(&self) -> Result<(), NotHeld> {
        // Release. PAIRS owned: the Acquire of the next taker.
        let order = unless_broken!("lock: free", Release, Relaxed);
        if self
            .state
            .compare_exchange(word::me(), 0, order, Relaxed)
            .is_ok()
        {
            step!("lock: given up");
            return Ok(());
        }
        self.release_slowly()
    }

    /// Is it held, by whomever? Stale as soon as it is said.
    #[doc(alias = "locked")]
    pub fn is_locked(&self) -> bool {
        self.state.load(Relaxed) & !WAITERS != 0
    }

    /// What the lock stands for is in order again: as [`LockGuard::mended`], for those who
    /// hold it without a guard.
    pub fn mended(&self) {
        self.damaged.store(0, Relaxed);
        step!("lock: mended");
    }

    /// The guard of a lock that was just taken.
    #[inline]
    fn guard(&self) -> LockGuard<'_> {
        let turn = self.turn.load(Relaxed);
        LockGuard {
            lock: self,
            turn,
            holder: word::me(),
            _held: HeldHere::new(),
        }
    }

    #[inline]
    fn told(&self) -> Result<(), OwnerDied<LockGuard<'_>>> {
        // Relaxed: stored before the last release, or by us.
        if self.damaged.load(Relaxed) != 0 {
            Err(OwnerDied(self.guard()))
        } else {
            Ok(())
        }
    }

    #[inline]
    fn take(&self, deadline: Deadline) -> Result<(), TimedOut> {
        step!("lock: about to take");
        // Acquire. PAIRS owned: the Release in `release`.
        if self
            .state
            .compare_exchange(0, word::me(), Acquire, Relaxed)
            .is_err()
        {
            return self.take_contended(deadline);
        }
        self.taken();
        Ok(())
    }

    #[inline]
    fn taken(&self) {
        step!("lock: taken, turn not counted");
        // Relaxed: only who took the lock counts.
        self.turn
            .store(self.turn.load(Relaxed).wrapping_add(1), Relaxed);
        step!("lock: owned");
    }

    #[cold]
    fn take_contended(&self, deadline: Deadline) -> Result<(), TimedOut> {
        let me = word::me();
        let (mut spin, mut watch) = (Spin::new(), Watch::new());
        let mut keep = 0;
        loop {
            // Acquire. PAIRS owned-bell: read before WAITERS is set, so a ring that belongs to
            // that mark changes it (Invariant 2).
            let bell = self.bell.load(Acquire);
            let state = self.state.load(Relaxed);
            if state == 0 {
                // Acquire. PAIRS owned.
                if self
                    .state
                    .compare_exchange(0, me | keep, Acquire, Relaxed)
                    .is_ok()
                {
                    spin.learn();
                    self.taken();
                    return Ok(());
                }
                continue;
            }
            if !cfg!(loom) && deadline != Deadline::NOW && spin.back_off() {
                continue;
            }
            if deadline.passed() {
                return if self.take_from_dead(state, keep) {
                    Ok(())
                } else {
                    Err(TimedOut)
                };
            }
            let marked = state | unless_broken!("lock: mark", WAITERS, 0);
            // Relaxed: the mark orders nothing; who frees the word sees it there.
            if state != marked
                && self
                    .state
                    .compare_exchange(state, marked, Relaxed, Relaxed)
                    .is_err()
            {
                continue;
            }
            keep = unless_broken!("lock: mark again", WAITERS, 0);
            // In a model no slice ends by itself: who died before is seen here, and who dies
            // later is followed by an `end_slice`.
            if cfg!(loom) && self.take_from_dead(marked, keep) {
                return Ok(());
            }
            step!("lock: about to wait");
            let slept = watch.sleep(&self.bell, bell, deadline);
            if slept != Slept::Look && self.take_from_dead(marked, keep) {
                return Ok(());
            }
        }
    }

    /// Takes the lock from the process that `state` names, if the lock is still in that state
    /// and that process is dead.
    fn take_from_dead(&self, state: u64, keep: u64) -> bool {
        if self.state.load(Relaxed) != state || word::is_alive(state & !WAITERS) {
            return false;
        }
        let mine = word::me() | state & WAITERS | keep;
        // Acquire. PAIRS owned. The dead released nothing: what it wrote is seen because the
        // kernel says that it is dead only after it ran last.
        if self
            .state
            .compare_exchange(state, mine, Acquire, Relaxed)
            .is_err()
        {
            return false;
        }
        step!("lock: taken from the dead");
        self.damaged
            .store(unless_broken!("lock: note the death", 1, 0), Relaxed);
        self.taken();
        multiproc_segment::trace!(
            warn,
            pid = word::pid(state & !WAITERS),
            "lock recovered: its holder died"
        );
        true
    }

    #[cold]
    fn release_slowly(&self) -> Result<(), NotHeld> {
        let mut state = self.state.load(Relaxed);
        loop {
            if state & !WAITERS == 0 {
                return Err(NotHeld);
            }
            if state & !WAITERS != word::me() && !word::is_alive(state & !WAITERS) {
                // It is no longer there to say how far it came. Noted by whoever takes the lock
                // out of its hands and by nobody else, who might be late and undo a `mended`.
                unless_broken!(
                    "lock: take it first",
                    {
                        self.take_from_dead(state, 0);
                        step!("lock: a dead holder's, to be freed");
                        state = self.state.load(Relaxed);
                        continue;
                    },
                    self.damaged.store(1, Relaxed)
                );
            }
            // Release. PAIRS owned.
            match self.state.compare_exchange(state, 0, Release, Relaxed) {
                Ok(_) => break,
                Err(now) => state = now,
            }
        }
        step!("lock: given up, the bell not rung");
        if state & WAITERS != 0 {
            self.ring();
        }
        Ok(())
    }

    fn ring(&self) {
        // Release. PAIRS owned-bell: who sees the new number sees the lock free.
        self.bell.fetch_add(1, Release);
        wait::wake_one(&self.bell);
        step!("lock: the bell rung");
    }

    /// Ends a slice of all who wait, as time does outside of a model.
    #[cfg(loom)]
    #[doc(hidden)]
    pub fn end_slice(&self) {
        self.bell.fetch_add(1, Release);
        wait::wake_all(&self.bell);
    }
}

impl Default for Lock {
    fn default() -> Self {
        Self::new()
    }
}

/// Says who holds it.
impl fmt::Debug for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.state.load(Relaxed) & !WAITERS {
            0 => write!(f, "Lock(free")?,
            me if me == word::me() => write!(f, "Lock(held by this process")?,
            other if word::is_alive(other) => {
                write!(f, "Lock(held by process {}", word::pid(other))?;
            }
            dead => write!(f, "Lock(held by process {}, which died", word::pid(dead))?,
        }
        if self.damaged.load(Relaxed) != 0 {
            write!(f, ", not mended")?;
        }
        write!(f, ")")
    }
}

/// A [`Lock`] that is released on drop: this very acquisition, and only by the process that
/// made it. If somebody else has released it meanwhile, dropping the guard does nothing.
#[must_use = "the lock is released when the guard is dropped"]
pub struct LockGuard<'a> {
    lock: &'a Lock,
    turn: u32,
    /// The process that took it; 0: keeps it.
    holder: u64,
    /// Counted by its thread, which cannot start a process meanwhile: the copy of the guard
    /// there would be a second one. So it is not `Send`; what may move is the lock, by
    /// [`keep`](LockGuard::keep).
    _held: HeldHere,
}

impl LockGuard<'_> {
    /// What the lock stands for is in order again: from the next acquirer on, nobody is told
    /// of the death.
    pub fn mended(&mut self) {
        self.lock.mended();
    }

    /// Did a holder die, and nobody has said [`mended`](LockGuard::mended) since?
    pub fn owner_died(&self) -> bool {
        self.lock.damaged.load(Relaxed) != 0
    }

    /// Goes on holding the lock without the guard: until somebody calls [`Lock::release`].
    pub fn keep(mut self) {
        self.holder = 0; // nobody: the drop, which ends the count, releases nothing
    }
}

impl Drop for LockGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        #[cfg(loom)]
        if multiproc_core::model::dead() {
            return;
        }
        // Released and taken again meanwhile, or copied by a fork: not ours.
        if self.lock.turn.load(Relaxed) == self.turn && word::me() == self.holder {
            // Free already: somebody was faster, which is no error for a guard.
            let _ = self.lock.release();
        }
    }
}

impl fmt::Debug for LockGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockGuard")
            .field("owner_died", &self.owner_died())
            .finish_non_exhaustive()
    }
}
