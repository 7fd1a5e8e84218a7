use crate::error::{AcquireManyError, ReleaseError, ValueError};
use crate::permit::Permit;
use multiproc_core::deadline::Deadline;
use multiproc_core::fork::HeldHere;
use multiproc_core::places::Places;
use multiproc_core::prim::{AtomicU32, AtomicU64, Ordering::*};
use multiproc_core::robust::RobustGuard;
use multiproc_core::wait::{self, Slept, Spin};
use multiproc_core::watch::Watch;
use multiproc_core::{const_unless_loom, step, unless_broken};
#[cfg(not(loom))]
use multiproc_segment::Shareable;
use std::fmt;
use std::time::Duration;

/// The largest value: 2^31 - 1, as in Python.
pub const MOST: u32 = i32::MAX as u32;

const WAITERS: u64 = 1 << 31;
const STAMP_ONE: u64 = 1 << 32;
const GIVE: u64 = 1 << 63;

fn value_of(state: u64) -> u32 {
    state as u32 & MOST
}

fn stamp_of(state: u64) -> u32 {
    (state >> 32) as u32
}

/// A semaphore, for any number of processes and threads; lives in any `Shared<T>`.
///
/// `HOLDERS` is how many [`Permit`]s there can be at a time, each in a place of 24 bytes
/// (a semaphore takes 64 bytes and those). `Semaphore<0>` has no permits, only Python's
/// ownerless `acquire` and `release`.
///
/// See the [crate](crate) for an example.
#[doc(alias = "multiprocessing.Semaphore")]
#[cfg_attr(not(loom), derive(Shareable), shareable(crate = multiproc_segment))]
#[repr(C)]
pub struct Semaphore<const HOLDERS: usize = 64> {
    state: AtomicU64,
    bell: AtomicU32,
    /// The value may not become more. Never written after the start.
    bound: AtomicU32,
    journal: AtomicU64,
    places: Places<HOLDERS>,
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<Semaphore<0>>() == 64);

/// Why no permits were taken.
enum Refused {
    /// This state had too small a value.
    Value(u64),
    /// Every place is held; WAITERS is set.
    Full,
    /// Somebody has the table's lock, and the deadline is over.
    Busy,
}

impl Semaphore {
    const_unless_loom! {
        /// A semaphore that starts at `value`, with room for 64 permits at a time. (Other
        /// sizes: [`Semaphore::sized`].)
        ///
        /// # Panics
        ///
        /// If `value` is above [`MOST`]; in a constant, that does not compile.
        ///
        /// ```compile_fail
        /// # use multiproc_semaphore::Semaphore;
        /// Semaphore::new(-1);
        /// ```
        pub fn new(value: u32) -> Self {
            Self::sized(value)
        }
    }

    const_unless_loom! {
        /// The same, with an error in place of the panic.
        ///
        /// # Errors
        ///
        /// [`ValueError`] if `value` is above [`MOST`].
        pub fn try_new(value: u32) -> Result<Self, ValueError> {
            Self::try_sized(value)
        }
    }
}

impl<const HOLDERS: usize> Semaphore<HOLDERS> {
    const_unless_loom! {
        /// A semaphore that starts at `value`: `Semaphore::<0>::sized(3)`.
        ///
        /// # Panics
        ///
        /// If `value` is above [`MOST`]; in a constant, that does not compile.
        pub fn sized(value: u32) -> Self {
            match Self::try_sized(value) {
                Ok(semaphore) => semaphore,
                Err(_) => panic!("a semaphore starts at 0 to 2147483647"),
            }
        }
    }

    const_unless_loom! {
        /// The same, with an error in place of the panic.
        ///
        /// # Errors
        ///
        /// [`ValueError`] if `value` is above [`MOST`].
        pub fn try_sized(value: u32) -> Result<Self, ValueError> {
            if value > MOST {
                return Err(ValueError(value));
            }
            Ok(Self::bounded_at(MOST, value))
        }
    }

    const_unless_loom! {
        pub(crate) fn bounded_at(bound: u32, value: u32) -> Self {
            Self {
                state: AtomicU64::new(value as u64),
                bell: AtomicU32::new(0),
                bound: AtomicU32::new(bound),
                journal: AtomicU64::new(0),
                places: Places::new(),
            }
        }
    }

    /// How many could be taken now. Stale as soon as it is said. What a dead process holds
    /// counts as taken until somebody wants it.
    #[doc(alias = "get_value")]
    #[doc(alias = "locked")]
    pub fn value(&self) -> u32 {
        value_of(self.state.load(Relaxed)) // Relaxed: a number
    }

    pub(crate) fn bound(&self) -> u32 {
        self.bound.load(Relaxed).min(MOST) // Relaxed: never written
    }

    // ---- ownerless, as in Python ----

    /// *Blocks until* the value is at least 1, and takes 1. *Wakes when* somebody releases.
    /// *If a peer dies* that acquired: what it took stays taken; if it held a [`Permit`],
    /// that comes back.
    #[inline]
    pub fn acquire(&self) {
        let _always = self.acquire_until(1, Deadline::NEVER);
    }

    /// Takes 1 if there is 1. Never blocks.
    #[must_use = "false: nothing was acquired"]
    #[inline]
    pub fn try_acquire(&self) -> bool {
        self.try_acquire_many(1)
    }

    /// *Blocks until* the value is at least 1, and takes 1 (true), or until the time is up
    /// (false). *Wakes when* somebody releases. *If a peer dies*: as [`Semaphore::acquire`].
    #[must_use = "false: nothing was acquired"]
    #[inline]
    pub fn acquire_timeout(&self, timeout: Duration) -> bool {
        self.acquire_many_timeout(1, timeout)
    }

    /// [`Semaphore::acquire`] of `n` at once. Smaller wishes of others may overtake.
    ///
    /// *Blocks*, *wakes* and *if a peer dies*: as there.
    ///
    /// # Errors
    ///
    /// [`AcquireManyError`] if `n` is more than there can ever be; nothing was acquired.
    ///
    /// ```
    /// use multiproc_semaphore::{AcquireManyError, BoundedSemaphore};
    ///
    /// let gate = BoundedSemaphore::new(3);
    /// let refused = AcquireManyError::AboveBound { n: 4, bound: 3 };
    /// assert_eq!(gate.acquire_many(4), Err(refused));
    /// assert_eq!(gate.permits(4).unwrap_err(), refused);
    /// assert_eq!(gate.value(), 3);
    /// # gate.acquire_many(3)?;
    /// # Ok::<(), AcquireManyError>(())
    /// ```
    #[inline]
    pub fn acquire_many(&self, n: u32) -> Result<(), AcquireManyError> {
        self.check(n)?;
        let _always = self.acquire_until(n, Deadline::NEVER);
        Ok(())
    }

    /// Can there ever be so many?
    #[inline]
    fn check(&self, n: u32) -> Result<(), AcquireManyError> {
        match self.bound() {
            bound if n > bound => Err(AcquireManyError::AboveBound { n, bound }),
            _ => Ok(()),
        }
    }

    /// [`Semaphore::try_acquire`] of `n` at once.
    #[must_use = "false: nothing was acquired"]
    #[inline]
    pub fn try_acquire_many(&self, n: u32) -> bool {
        self.acquire_until(n, Deadline::NOW)
    }

    /// [`Semaphore::acquire_timeout`] of `n` at once.
    ///
    /// *Blocks*, *wakes* and *if a peer dies*: as there.
    #[must_use = "false: nothing was acquired"]
    #[inline]
    pub fn acquire_many_timeout(&self, n: u32, timeout: Duration) -> bool {
        self.take_value(n).is_ok() || self.acquire_until(n, Deadline::after(timeout))
    }

    #[inline]
    fn acquire_until(&self, n: u32, deadline: Deadline) -> bool {
        match self.take_value(n) {
            Ok(()) => true,
            Err(_) => self
                .wait(deadline, |_| self.take_value(n).map_err(Refused::Value))
                .is_some(),
        }
    }

    #[inline]
    fn take_value(&self, n: u32) -> Result<(), u64> {
        let mut state = self.state.load(Relaxed);
        loop {
            if value_of(state) < n {
                return Err(state);
            }
            // Acquire. PAIRS semaphore-release.
            let less = state - u64::from(n);
            match self
                .state
                .compare_exchange_weak(state, less, Acquire, Relaxed)
            {
                Ok(_) => {
                    step!("semaphore: acquired");
                    return Ok(());
                }
                Err(now) => state = now,
            }
        }
    }

    /// Gives 1, which nobody need have taken. Never blocks; by whomever.
    ///
    /// # Errors
    ///
    /// [`ReleaseError`]: above the bound, or above [`MOST`]; the value is what it was.
    #[inline]
    pub fn release(&self) -> Result<(), ReleaseError> {
        self.release_many(1)
    }

    /// Gives `n`, all or none.
    ///
    /// # Errors
    ///
    /// As [`Semaphore::release`].
    #[inline]
    pub fn release_many(&self, n: u32) -> Result<(), ReleaseError> {
        let mut state = self.state.load(Relaxed);
        loop {
            if n > self.bound().saturating_sub(value_of(state)) {
                return Err(match self.bound() {
                    MOST => ReleaseError::Overflow,
                    bound => ReleaseError::AboveBound { bound },
                });
            }
            let more = (state & !WAITERS) + u64::from(n);
            // Release. PAIRS semaphore-release: what was done before is seen by the taker.
            match self
                .state
                .compare_exchange_weak(state, more, Release, Relaxed)
            {
                Ok(_) => {
                    step!("semaphore: released, the bell not rung");
                    self.ring(state);
                    return Ok(());
                }
                Err(now) => state = now,
            }
        }
    }

    /// Wakes the sleepers, if the state had any when it was changed.
    #[inline]
    fn ring(&self, before: u64) {
        if before & WAITERS != 0 {
            // Release. PAIRS semaphore-bell: who sees the new bell sees the new state.
            self.bell.fetch_add(1, Release);
            step!("semaphore: bell changed, nobody woken");
            unless_broken!("semaphore: wake", wait::wake_all(&self.bell), ());
            step!("semaphore: woken");
        }
    }

    // ---- permits ----

    /// *Blocks until* the value is at least 1 and a place in the table is free; takes 1 until
    /// the permit is dropped. *Wakes when* somebody releases or gives a permit back. *If a
    /// peer dies* that holds permits, they come back, after a millisecond at best and 50 ms
    /// at worst.
    ///
    /// A semaphore without places has no permits:
    ///
    /// ```compile_fail
    /// # use multiproc_semaphore::Semaphore;
    /// let gate = Semaphore::<0>::sized(1);
    /// let _permit = gate.permit();
    /// ```
    #[doc(alias = "__enter__")]
    #[inline]
    pub fn permit(&self) -> Permit<'_, HOLDERS> {
        self.permits_for_sure(1)
    }

    /// A permit if there is one. Never blocks, but for the few dozen instructions that another
    /// process may be inside the table (a slice of 50 ms, if it is stopped there); a look at
    /// who is alive comes before a no.
    #[must_use = "a permit is given back when it is dropped"]
    #[inline]
    pub fn try_permit(&self) -> Option<Permit<'_, HOLDERS>> {
        self.permits_until(1, Deadline::NOW)
    }

    /// [`Semaphore::permit`], or `None` when the time is up.
    ///
    /// *Blocks until* there is one, or the time is up. *Wakes when* and *if a peer dies*: as
    /// there.
    #[must_use = "a permit is given back when it is dropped"]
    #[inline]
    pub fn permit_timeout(&self, timeout: Duration) -> Option<Permit<'_, HOLDERS>> {
        self.permits_until(1, Deadline::after(timeout))
    }

    /// [`Semaphore::permit`] for `n` at once, in one place of the table.
    ///
    /// *Blocks*, *wakes* and *if a peer dies*: as there.
    ///
    /// # Errors
    ///
    /// [`AcquireManyError`] if `n` is more than there can ever be; nothing was acquired.
    pub fn permits(&self, n: u32) -> Result<Permit<'_, HOLDERS>, AcquireManyError> {
        self.check(n)?;
        Ok(self.permits_for_sure(n))
    }

    #[inline]
    fn permits_for_sure(&self, n: u32) -> Permit<'_, HOLDERS> {
        loop {
            if let Some(permit) = self.permits_until(n, Deadline::NEVER) {
                return permit;
            }
        }
    }

    /// [`Semaphore::try_permit`] for `n` at once.
    #[must_use = "a permit is given back when it is dropped"]
    pub fn try_permits(&self, n: u32) -> Option<Permit<'_, HOLDERS>> {
        self.permits_until(n, Deadline::NOW)
    }

    /// [`Semaphore::permit_timeout`] for `n` at once.
    ///
    /// *Blocks*, *wakes* and *if a peer dies*: as there.
    #[must_use = "a permit is given back when it is dropped"]
    pub fn permits_timeout(&self, n: u32, timeout: Duration) -> Option<Permit<'_, HOLDERS>> {
        self.permits_until(n, Deadline::after(timeout))
    }

    fn permits_until(&self, n: u32, deadline: Deadline) -> Option<Permit<'_, HOLDERS>> {
        const { assert!(HOLDERS > 0, "a semaphore without places has no permits") };
        let (place, serial) = match self.take_permits(n, deadline) {
            Ok(taken) => taken,
            Err(_) => self.wait(deadline, |deadline| self.take_permits(n, deadline))?,
        };
        Some(Permit {
            semaphore: self,
            place,
            serial,
            count: n,
            _held: HeldHere::new(),
        })
    }

    /// The table, in order.
    fn table(&self, deadline: Deadline) -> Option<RobustGuard<'_>> {
        // Somebody is at work there for a moment; a no for that reason would be a wrong one.
        // Who was stopped in the middle is not waited for longer than a slice.
        let deadline = match deadline {
            Deadline::NOW => Deadline::after(wait::SLICE),
            later => later,
        };
        let held = self.places.lock(deadline).ok()?;
        if held.owner_died() {
            unless_broken!("semaphore: journal", self.finish_what_was_begun(), ());
        }
        Some(held)
    }

    /// Somebody died with the table's lock: its change is made, or undone.
    #[cold]
    fn finish_what_was_begun(&self) {
        // Relaxed, here and where it is written: under the lock.
        let journal = self.journal.load(Relaxed);
        let at = (journal >> 32 & 0x7fff_ffff) as usize;
        // A peer may have written any number here.
        if let Some(place) = at.checked_sub(1).and_then(|at| self.places.all().get(at)) {
            let done = stamp_of(self.state.load(Relaxed)) == journal as u32;
            let gives = journal & GIVE != 0;
            step!("semaphore: about to repair");
            if gives == done {
                place.vacate();
            }
            step!("semaphore: repaired");
        }
        self.journal.store(0, Relaxed);
    }

    fn announce(&self, gives: u64, at: usize, stamp: u32) {
        let journal = gives | (at as u64 + 1) << 32 | u64::from(stamp);
        self.journal.store(journal, Relaxed); // Relaxed: under the lock
        step!("semaphore: announced");
    }

    fn take_permits(&self, n: u32, deadline: Deadline) -> Result<(usize, u64), Refused> {
        let seen = self.state.load(Relaxed);
        if value_of(seen) < n {
            return Err(Refused::Value(seen));
        }
        let _held = self.table(deadline).ok_or(Refused::Busy)?;
        let Some(at) = self.places.first_free() else {
            // Under the lock: whoever frees a place does so after this, and sees it.
            // Acquire: as below.
            self.state.fetch_or(WAITERS, Acquire);
            return Err(Refused::Full);
        };
        let place = &self.places.all()[at];
        let mut state = self.state.load(Relaxed);
        if value_of(state) < n {
            return Err(Refused::Value(state));
        }
        let stamp = stamp_of(state).wrapping_add(1); // changed under the lock only
        let serial = place.ticket().wrapping_add(1);
        self.announce(0, at, stamp);
        place.occupy(serial, n);
        loop {
            if value_of(state) < n {
                place.vacate();
                self.journal.store(0, Relaxed);
                return Err(Refused::Value(state));
            }
            let less = (state - u64::from(n)).wrapping_add(STAMP_ONE);
            // Acquire. PAIRS semaphore-release.
            match self.state.compare_exchange(state, less, Acquire, Relaxed) {
                Ok(_) => break,
                Err(now) => state = now,
            }
        }
        step!("semaphore: permit taken");
        self.journal.store(0, Relaxed);
        step!("semaphore: permit noted");
        Ok((at, serial))
    }

    /// The permits of a place, if it is that holder's still.
    pub(crate) fn give_back(&self, at: usize, serial: u64) {
        let place = &self.places.all()[at];
        if !place.is_mine() || place.ticket() != serial {
            return; // a copy of the guard in a forked child
        }
        let Some(held) = self.table(Deadline::NEVER) else {
            return;
        };
        let before = self.give(at);
        drop(held);
        step!("semaphore: permit given, the bell not rung");
        self.ring(before);
    }

    /// Frees a place and raises the value by what it held; the state before. Under the
    /// lock.
    fn give(&self, at: usize) -> u64 {
        let place = &self.places.all()[at];
        let count = place.word.load(Relaxed);
        let mut state = self.state.load(Relaxed);
        let stamp = stamp_of(state).wrapping_add(1);
        self.announce(GIVE, at, stamp);
        loop {
            // What others released too often has taken the room: never above the bound.
            let value = value_of(state).saturating_add(count).min(self.bound());
            let more = u64::from(stamp) << 32 | u64::from(value);
            // Release. PAIRS semaphore-release.
            match self.state.compare_exchange(state, more, Release, Relaxed) {
                Ok(_) => break,
                Err(now) => state = now,
            }
        }
        step!("semaphore: value raised, place held");
        place.vacate();
        self.journal.store(0, Relaxed);
        step!("semaphore: place free");
        state
    }

    /// Gives back what dead processes hold. True if there was something.
    #[cold]
    fn bury_the_dead(&self) -> bool {
        if !self.places.any_held() && self.journal.load(Relaxed) == 0 {
            return false;
        }
        let Some(held) = self.table(Deadline::NOW) else {
            return false;
        };
        let mut before = 0;
        let mut any = false;
        for (at, _) in self.places.dead() {
            before |= self.give(at);
            any = true;
        }
        drop(held);
        self.ring(before);
        any
    }

    // ---- waiting ----

    /// Tries until it works or the deadline is over.
    #[cold]
    fn wait<T>(
        &self,
        deadline: Deadline,
        take: impl Fn(Deadline) -> Result<T, Refused>,
    ) -> Option<T> {
        let mut spin = Spin::new();
        let mut watch = Watch::new();
        loop {
            // Acquire. PAIRS semaphore-bell: read before the state is looked at.
            let rung = self.bell.load(Acquire);
            match take(deadline) {
                Ok(taken) => {
                    spin.learn();
                    return Some(taken);
                }
                Err(_) if deadline == Deadline::NOW => {
                    let back = self.bury_the_dead();
                    return if back { take(deadline).ok() } else { None };
                }
                Err(_) if spin.back_off() => continue,
                Err(Refused::Busy) => return None,
                Err(Refused::Full) => {}
                Err(Refused::Value(state)) => {
                    let marked = unless_broken!("semaphore: mark", state | WAITERS, state);
                    // AcqRel: the bell was read before. Fails if the value has changed.
                    if self
                        .state
                        .compare_exchange(state, marked, AcqRel, Relaxed)
                        .is_err()
                    {
                        continue;
                    }
                }
            }
            step!("semaphore: about to sleep");
            match watch.sleep(&self.bell, rung, deadline) {
                // Who is woken again and again for nothing is not kept beyond its time.
                Slept::Look if !deadline.passed() => {}
                Slept::SliceOver if !deadline.passed() => {
                    self.bury_the_dead();
                }
                _ => {
                    // A last look, also at who is alive.
                    self.bury_the_dead();
                    return take(Deadline::NOW).ok();
                }
            }
        }
    }
}

impl<const HOLDERS: usize> fmt::Debug for Semaphore<HOLDERS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let permits = self
            .places
            .all()
            .iter()
            .filter(|place| !place.is_free())
            .count();
        f.debug_struct("Semaphore")
            .field("value", &self.value())
            .field("permits", &permits)
            .finish_non_exhaustive()
    }
}

impl Default for Semaphore {
    /// One that starts at 1, as in Python.
    fn default() -> Self {
        Self::new(1)
    }
}
