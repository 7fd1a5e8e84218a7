use crate::error::WaitError;
use crate::lockable::Lockable;
use multiproc_core::deadline::Deadline;
use multiproc_core::places::{Place, Places};
use multiproc_core::prim::{AtomicU64, Ordering::*};
use multiproc_core::robust::RobustGuard;
use multiproc_core::wait::{self, Slept, Spin};
use multiproc_core::{const_unless_loom, step, unless_broken};
#[cfg(not(loom))]
use multiproc_segment::Shareable;
use std::fmt;
use std::time::Duration;

const WAITING: u32 = 1;
const NOTIFIED: u32 = 2;
const LEFT: u32 = 3;
/// Of a dead waiter: its notify goes to the place of that number.
const PASSED: u32 = 1 << 31;

/// A condition variable, for processes and threads; lives in any `Shared<T>`.
///
/// `WAITERS` is how many can wait at a time; one more gets [`WaitError::Full`]. It takes 48
/// bytes, and 24 for each of them (1,584 for the 64 of [`Condition::new`]).
///
/// See the [crate](crate) for an example.
#[doc(alias = "multiprocessing.Condition")]
#[doc(alias = "threading.Condition")]
#[doc(alias = "Condvar")]
#[cfg_attr(not(loom), derive(Shareable), shareable(crate = multiproc_segment))]
#[repr(C)]
pub struct Condition<const WAITERS: usize = 64> {
    /// The next number. Under the table's lock.
    numbers: AtomicU64,
    places: Places<WAITERS>,
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<Condition>() == 48 + 64 * 24);

/// What a predicate may return: as in Python, a wait returns the predicate's own value.
pub trait Truth {
    /// Is that what was waited for?
    fn is_true(&self) -> bool;
}

impl Truth for bool {
    fn is_true(&self) -> bool {
        *self
    }
}

impl<T> Truth for Option<T> {
    fn is_true(&self) -> bool {
        self.is_some()
    }
}

impl<T, E> Truth for Result<T, E> {
    fn is_true(&self) -> bool {
        self.is_ok()
    }
}

impl Condition {
    const_unless_loom! {
        /// A condition for up to 64 waiters at a time. (For more or fewer:
        /// [`Condition::sized`].)
        pub fn new() -> Self {
            Self::sized()
        }
    }
}

impl<const WAITERS: usize> Condition<WAITERS> {
    const_unless_loom! {
        /// A condition for up to `WAITERS` waiters at a time: `Condition::<500>::sized()`.
        pub fn sized() -> Self {
            Self { numbers: AtomicU64::new(0), places: Places::new() }
        }
    }

    /// How many wait, and were not notified yet. Stale as soon as it is said, but for who
    /// holds the lock. A killed waiter counts until another one notices.
    pub fn waiting(&self) -> usize {
        self.places
            .all()
            .iter()
            .filter(|place| is_waiting(place))
            .count()
    }

    /// Releases the lock (all levels of a recursive one), and takes it back afterwards.
    /// *Blocks until* notified. *Wakes when* somebody who has the lock notifies. *If a peer
    /// dies* that waits too, its wake-up goes to another one; if one dies with the lock, see
    /// the errors. Signals do not end the wait.
    ///
    /// # Errors
    ///
    /// [`WaitError`], with the guard.
    pub fn wait<G: Lockable>(&self, guard: G) -> Result<G, WaitError<G>> {
        Ok(self.wait_until(guard, Deadline::NEVER)?.0)
    }

    /// [`Condition::wait`], for so long at most; then the lock is taken back, however long that
    /// takes. True: notified; false: the time was up.
    ///
    /// *Blocks until* notified or the time is up, and then until the lock is free. *Wakes when*
    /// and *if a peer dies*: as [`Condition::wait`].
    ///
    /// # Errors
    ///
    /// [`WaitError`], with the guard.
    pub fn wait_timeout<G: Lockable>(
        &self,
        guard: G,
        timeout: Duration,
    ) -> Result<(G, bool), WaitError<G>> {
        self.wait_until(guard, Deadline::after(timeout))
    }

    /// [`Condition::wait_timeout`] with a deadline.
    ///
    /// *Blocks*, *wakes* and *if a peer dies*: as there.
    ///
    /// # Errors
    ///
    /// [`WaitError`], with the guard.
    pub fn wait_until<G: Lockable>(
        &self,
        guard: G,
        deadline: Deadline,
    ) -> Result<(G, bool), WaitError<G>> {
        if !guard.is_held() {
            return Err(WaitError::NotHeld(guard));
        }
        let Some(place) = self.enter() else {
            return Err(WaitError::Full(guard));
        };
        let released = guard.release_all();
        step!("condition: lock released");
        let notified = self.sleep(place, deadline);
        step!("condition: about to take the lock back");
        let restored = G::restore(released);
        if notified {
            // Only now has the notify been had: until here, another one would get it.
            step!("condition: lock back");
            self.places.all()[place].vacate();
        }
        match restored {
            Ok(guard) => Ok((guard, notified)),
            Err(guard) => Err(WaitError::OwnerDied(guard)),
        }
    }

    /// [`Condition::wait`] until `predicate` is true, which is looked at under the lock, at
    /// first before any waiting; the guard, and the predicate's own value.
    ///
    /// *Blocks*, *wakes* and *if a peer dies*: as [`Condition::wait`], each time.
    ///
    /// # Errors
    ///
    /// [`WaitError`], with the guard.
    pub fn wait_for<G: Lockable, P: Truth>(
        &self,
        mut guard: G,
        mut predicate: impl FnMut(&mut G) -> P,
    ) -> Result<(G, P), WaitError<G>> {
        loop {
            let value = predicate(&mut guard);
            if value.is_true() {
                return Ok((guard, value));
            }
            guard = self.wait(guard)?;
        }
    }

    /// [`Condition::wait_for`], for so long at most, counted from the call; then the value
    /// is the predicate's last, whatever it was.
    ///
    /// *Blocks*, *wakes* and *if a peer dies*: as [`Condition::wait_timeout`], each time.
    ///
    /// # Errors
    ///
    /// [`WaitError`], with the guard.
    pub fn wait_for_timeout<G: Lockable, P: Truth>(
        &self,
        mut guard: G,
        timeout: Duration,
        mut predicate: impl FnMut(&mut G) -> P,
    ) -> Result<(G, P), WaitError<G>> {
        let deadline = Deadline::after(timeout);
        let mut over = timeout.is_zero();
        loop {
            let value = predicate(&mut guard);
            if over || value.is_true() {
                return Ok((guard, value));
            }
            let notified;
            (guard, notified) = self.wait_until(guard, deadline)?;
            over = !notified;
        }
    }

    /// Wakes the `n` who have waited longest, or all there are. Nobody there: nothing happens, and
    /// nothing is remembered. A guard shows that the lock is held; of a bare lock nobody asks it,
    /// and a notify without it may come between a waiter's look and its sleep, and miss that one.
    /// Never blocks for longer than others are inside the table. *If a peer dies* that was chosen,
    /// before its `wait` returns, another one who waited then is woken in its place.
    pub fn notify<G: Lockable>(&self, _held: &G, n: usize) {
        self.choose(n);
    }

    /// Wakes the one who has waited longest, if anybody does. See [`Condition::notify`].
    ///
    /// Never blocks, and *if a peer dies*: as there.
    pub fn notify_one<G: Lockable>(&self, held: &G) {
        self.notify(held, 1);
    }

    /// Wakes all who wait. See [`Condition::notify`].
    ///
    /// Never blocks, and *if a peer dies*: as there.
    #[doc(alias = "notifyAll")]
    pub fn notify_all<G: Lockable>(&self, held: &G) {
        self.notify(held, usize::MAX);
    }

    fn table(&self) -> RobustGuard<'_> {
        loop {
            // Without a deadline there is no timeout. Whoever died with the lock left
            // nothing that is not right as it is, or that PASSED does not say; and what that
            // says is done first: the heir may not be given another notify before.
            if let Ok(held) = self.places.lock(Deadline::NEVER) {
                if held.owner_died() {
                    self.bury_the_dead();
                }
                return held;
            }
        }
    }

    fn number(&self) -> u64 {
        // Relaxed: under the lock. (A peer may have written any number.)
        let number = self.numbers.load(Relaxed).wrapping_add(1);
        self.numbers.store(number, Relaxed);
        number
    }

    /// Takes a place. `None`: none is free.
    fn enter(&self) -> Option<usize> {
        let _held = self.table();
        let at = self.places.first_free().or_else(|| {
            self.bury_the_dead();
            self.places.first_free()
        })?;
        let number = self.number();
        step!("condition: about to enter");
        self.places.all()[at].occupy(number, WAITING);
        Some(at)
    }

    /// Sleeps until notified (true) or the time is up (false, and the place is free).
    fn sleep(&self, at: usize, deadline: Deadline) -> bool {
        let place = &self.places.all()[at];
        let mut spin = Spin::new();
        let mut slices = 0;
        loop {
            // Acquire. PAIRS condition-notify.
            if place.word.load(Acquire) != WAITING {
                spin.learn();
                return true;
            }
            let over = deadline == Deadline::NOW || {
                if spin.again() {
                    continue;
                }
                step!("condition: about to sleep");
                match wait::sleep(&place.word, WAITING, deadline) {
                    Slept::Look => false,
                    Slept::SliceOver => {
                        slices += 1;
                        self.look_around(at, slices);
                        false
                    }
                    Slept::TimedOut => true,
                }
            };
            if over {
                spin.learn();
                // Relaxed: nothing was published. Acquire on failure: PAIRS condition-notify.
                let left = place.word.compare_exchange(WAITING, LEFT, Relaxed, Acquire);
                if left.is_ok() {
                    step!("condition: left");
                    place.vacate();
                }
                return left.is_err();
            }
        }
    }

    /// Chooses the oldest `n` who wait now.
    fn choose(&self, n: usize) {
        let _held = self.table();
        let number = self.number();
        step!("condition: about to choose");
        let mut left = n;
        while left > 0 {
            let Some(at) = self.oldest(number) else {
                return;
            };
            left -= usize::from(self.give(at, number));
        }
    }

    /// Who has waited longest, of those who waited before that number was drawn.
    fn oldest(&self, number: u64) -> Option<usize> {
        let all = self.places.all().iter().enumerate();
        let waiting = all.filter(|(_, place)| is_waiting(place) && place.ticket() <= number);
        waiting
            .min_by_key(|(_, place)| place.ticket())
            .map(|(at, _)| at)
    }

    /// Gives a notify of that number to a place, if it waits still. Under the lock.
    fn give(&self, at: usize, number: u64) -> bool {
        let place = &self.places.all()[at];
        if place.ticket() > number {
            return false; // not the one it was
        }
        place.set_ticket(number);
        // AcqRel. PAIRS condition-notify; fails if its time was up.
        if place
            .word
            .compare_exchange(WAITING, NOTIFIED, AcqRel, Relaxed)
            .is_err()
        {
            return false;
        }
        step!("condition: chosen, not woken");
        unless_broken!("condition: wake", wait::wake_all(&place.word), ());
        step!("condition: woken");
        true
    }

    /// At the end of a slice, of which this wait has had `slices`: is the next one in the table
    /// dead? The next one may be stopped, and watch nobody; so also another one, in turn.
    #[cold]
    fn look_around(&self, me: usize, slices: usize) {
        let others = |at: usize, place: &Place| at != me && !place.is_free();
        let another = me.wrapping_add(1).wrapping_add(slices) % WAITERS.max(1);
        if (self.places.next_is_dead(me + 1, others) || self.places.next_is_dead(another, others))
            && let Some(_held) = self.places.try_lock()
        {
            self.bury_the_dead();
        }
    }

    /// For models: every slice ends, and everybody looks around.
    #[cfg(loom)]
    pub fn end_slice(&self) {
        let held = self.table();
        self.bury_the_dead();
        drop(held);
        for place in self.places.all() {
            wait::wake_all(&place.word);
        }
    }

    /// Frees the places of the dead; what they were notified of goes to others. Under the
    /// lock.
    #[cold]
    fn bury_the_dead(&self) {
        for (_, place) in self.places.dead() {
            // Acquire. PAIRS condition-notify.
            if matches!(place.word.load(Acquire), WAITING | LEFT) {
                place.vacate();
            }
        }
        step!("condition: about to pass on");
        for (_, place) in self.places.dead() {
            let (number, word) = (place.ticket(), place.word.load(Acquire));
            if matches!(word, WAITING | LEFT) {
                place.vacate(); // dead only now: nobody had notified it
                continue;
            }
            let mut heir = match word & PASSED {
                0 => self.oldest(number),
                // A peer may have written any number.
                _ => Some((word & !PASSED) as usize).filter(|at| *at < WAITERS),
            };
            while let Some(at) = unless_broken!("condition: heir", heir, None) {
                place.word.store(PASSED | at as u32, Relaxed); // Relaxed: under the lock
                step!("condition: heir named");
                // Also done if a dead process had given it already; but not if the heir's
                // time was up.
                if self.give(at, number) || self.places.all()[at].word.load(Relaxed) != LEFT {
                    break;
                }
                heir = self.oldest(number);
            }
            step!("condition: passed on");
            place.vacate();
        }
    }
}

fn is_waiting(place: &Place) -> bool {
    !place.is_free() && place.word.load(Relaxed) == WAITING // Relaxed: under the lock
}

impl Default for Condition {
    fn default() -> Self {
        Self::new()
    }
}

impl<const WAITERS: usize> fmt::Debug for Condition<WAITERS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Condition")
            .field("waiting", &self.waiting())
            .finish_non_exhaustive()
    }
}
