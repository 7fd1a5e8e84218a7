use crate::error::{BrokenBarrier, Outcome, PartiesError, WaitError};
use multiproc_core::deadline::Deadline;
use multiproc_core::places::Places;
use multiproc_core::prim::{AtomicU32, Ordering::*};
use multiproc_core::robust::{RobustGuard, RobustLock};
use multiproc_core::wait::{self, Slept, Spin};
use multiproc_core::{const_unless_loom, step, unless_broken};
#[cfg(not(loom))]
use multiproc_segment::Shareable;
use std::fmt;
use std::time::Duration;

const BROKEN: u32 = 1;
const RELEASED: u32 = 2;
/// Bits of history.
const REMEMBERED: u32 = 8;
const HISTORY: u32 = ((1 << REMEMBERED) - 1) << 1;
const TURN_SHIFT: u32 = REMEMBERED + 1;
const TURN_ONE: u32 = 1 << TURN_SHIFT;

fn turn_of(word: u32) -> u32 {
    word >> TURN_SHIFT
}

/// The word when a turn has ended: `RELEASED`, `BROKEN`, or 0 (broken, and reset at once).
fn ended(word: u32, how: u32) -> u32 {
    let history = (word & HISTORY) << 1 & HISTORY | how & RELEASED;
    (word & !(HISTORY | BROKEN)).wrapping_add(TURN_ONE) | history | how & BROKEN
}

/// How the turn `turn` ended, which is over.
fn outcome(word: u32, turn: u32) -> Result<(), BrokenBarrier> {
    let since = turn_of(word).wrapping_sub(turn) & (u32::MAX >> TURN_SHIFT);
    // 0: not over. Only a peer's scribble makes that.
    let back = unless_broken!("barrier: history", since, 1).wrapping_sub(1);
    match back < REMEMBERED && word & RELEASED << back != 0 {
        true => Ok(()),
        false => Err(BrokenBarrier),
    }
}

/// A barrier for a number of parties, for processes and threads; lives in any `Shared<T>`.
///
/// `PLACES` is the most parties that it can be made for: it takes 48 bytes, and 64 per
/// place (4,144 for the 64 of [`Barrier::new`]).
///
/// See the [crate](crate) for an example.
#[doc(alias = "multiprocessing.Barrier")]
#[doc(alias = "threading.Barrier")]
#[cfg_attr(not(loom), derive(Shareable), shareable(crate = multiproc_segment))]
#[repr(C)]
pub struct Barrier<const PLACES: usize = 64> {
    word: AtomicU32,
    /// Never written after the start.
    parties: AtomicU32,
    places: Places<PLACES>,
    pulses: [RobustLock; PLACES],
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<Barrier>() == 48 + 64 * (24 + 40));

#[cfg(not(loom))]
const fn pulses<const PLACES: usize>() -> [RobustLock; PLACES] {
    [const { RobustLock::new() }; PLACES]
}

#[cfg(loom)]
fn pulses<const PLACES: usize>() -> [RobustLock; PLACES] {
    std::array::from_fn(|_| RobustLock::new())
}

/// What somebody holds who has arrived.
struct Arrived<'a> {
    /// The word when it did.
    word: u32,
    place: usize,
    /// 0: the last one. (Reckoned once: a peer may write another number of parties.)
    index: usize,
    /// The kernel marks it if the holder dies. Given up when the wait is over.
    _pulse: Option<RobustGuard<'a>>,
}

impl Barrier {
    const_unless_loom! {
        /// A barrier for 1 to 64 parties. (For more: [`Barrier::sized`].)
        ///
        /// # Panics
        ///
        /// If `parties` is 0 or more than 64; in a constant, that does not compile.
        ///
        /// ```compile_fail
        /// # use multiproc_barrier::Barrier;
        /// const NOBODY: Barrier = Barrier::new(0);
        /// # let _ = NOBODY;
        /// ```
        pub fn new(parties: usize) -> Self {
            Self::sized(parties)
        }
    }

    const_unless_loom! {
        /// The same, with an error in place of the panic.
        ///
        /// # Errors
        ///
        /// [`PartiesError`].
        pub fn try_new(parties: usize) -> Result<Self, PartiesError> {
            Self::try_sized(parties)
        }
    }
}

impl<const PLACES: usize> Barrier<PLACES> {
    const_unless_loom! {
        /// A barrier for 1 to `PLACES` parties: `Barrier::<200>::sized(120)`.
        ///
        /// # Panics
        ///
        /// If `parties` is 0 or more than `PLACES`; in a constant, that does not compile.
        pub fn sized(parties: usize) -> Self {
            match Self::try_sized(parties) {
                Ok(barrier) => barrier,
                Err(PartiesError::Zero) => panic!("a barrier is for at least 1 party"),
                Err(_) => panic!("more parties than the barrier has places"),
            }
        }
    }

    const_unless_loom! {
        /// The same, with an error in place of the panic.
        ///
        /// # Errors
        ///
        /// [`PartiesError`].
        pub fn try_sized(parties: usize) -> Result<Self, PartiesError> {
            if parties == 0 {
                return Err(PartiesError::Zero);
            }
            if parties > PLACES || parties > u32::MAX as usize {
                return Err(PartiesError::TooMany { parties, places: PLACES });
            }
            Ok(Self {
                word: AtomicU32::new(0),
                parties: AtomicU32::new(parties as u32),
                places: Places::new(),
                pulses: pulses(),
            })
        }
    }

    /// How many it waits for.
    #[inline]
    pub fn parties(&self) -> usize {
        // Relaxed: never written. A peer may have: then it is another number in range.
        (self.parties.load(Relaxed) as usize).clamp(1, PLACES)
    }

    /// How many wait now. Stale as soon as it is said.
    #[doc(alias = "n_waiting")]
    pub fn waiting(&self) -> usize {
        self.arrived(turn_of(self.word.load(Acquire))) // PAIRS barrier-turn
    }

    /// Is it broken? Stale as soon as it is said.
    #[doc(alias = "broken")]
    pub fn is_broken(&self) -> bool {
        self.word.load(Relaxed) & BROKEN != 0 // Relaxed: a flag
    }

    /// How many have arrived in this turn.
    fn arrived(&self, turn: u32) -> usize {
        let there = |at: &usize| self.is_there(*at, turn);
        (0..self.parties()).take_while(there).count()
    }

    #[inline]
    fn is_there(&self, at: usize, turn: u32) -> bool {
        let place = &self.places.all()[at];
        !place.is_free() && place.ticket() == u64::from(turn)
    }

    /// *Blocks until* as many as it is for are in `wait`; all of them get different
    /// indices below [`Barrier::parties`]. *Wakes when* the last one arrives, or the barrier
    /// breaks. *If a peer dies* that waits here, it breaks, within 50 ms.
    ///
    /// # Errors
    ///
    /// [`BrokenBarrier`].
    #[inline]
    pub fn wait(&self) -> Result<usize, BrokenBarrier> {
        Ok(self.wait_until(Deadline::NEVER, || ())?)
    }

    /// [`Barrier::wait`]; when the time is up, the barrier breaks for all.
    ///
    /// *Blocks until* as many as it is for are in `wait`, or the time is up. *Wakes when* and
    /// *if a peer dies*: as [`Barrier::wait`].
    ///
    /// # Errors
    ///
    /// [`BrokenBarrier`].
    pub fn wait_timeout(&self, timeout: Duration) -> Result<usize, BrokenBarrier> {
        Ok(self.wait_until(Deadline::after(timeout), || ())?)
    }

    /// [`Barrier::wait`]; the last to arrive (who gets 0) runs its `action` before anybody
    /// is released. If that fails, the barrier breaks for the others; so it does when the
    /// action panics.
    ///
    /// *Blocks*, *wakes* and *if a peer dies*: as [`Barrier::wait`]; the others wait for the
    /// action, too.
    ///
    /// # Errors
    ///
    /// [`WaitError::Action`]: what the action said, which this call ran;
    /// [`WaitError::Broken`].
    #[doc(alias = "action")]
    pub fn wait_with<R: Outcome>(
        &self,
        action: impl FnOnce() -> R,
    ) -> Result<usize, WaitError<R::Error>> {
        self.wait_until(Deadline::NEVER, action)
    }

    /// [`Barrier::wait_with`]; when the time is up, the barrier breaks for all, also for one
    /// that runs its action.
    ///
    /// *Blocks*, *wakes* and *if a peer dies*: as [`Barrier::wait_timeout`].
    ///
    /// # Errors
    ///
    /// As [`Barrier::wait_with`].
    pub fn wait_with_timeout<R: Outcome>(
        &self,
        timeout: Duration,
        action: impl FnOnce() -> R,
    ) -> Result<usize, WaitError<R::Error>> {
        self.wait_until(Deadline::after(timeout), action)
    }

    /// [`Barrier::wait_with`] with a deadline.
    ///
    /// *Blocks*, *wakes* and *if a peer dies*: as [`Barrier::wait_timeout`].
    ///
    /// # Errors
    ///
    /// As [`Barrier::wait_with`].
    pub fn wait_until<R: Outcome>(
        &self,
        deadline: Deadline,
        action: impl FnOnce() -> R,
    ) -> Result<usize, WaitError<R::Error>> {
        let arrived = self.arrive(deadline)?;
        let (word, place, index) = (arrived.word, arrived.place, arrived.index);
        let turn = turn_of(word);
        if index > 0 {
            self.wait_for_turn(word, deadline, Some(place));
            outcome(self.word.load(Acquire), turn)?; // PAIRS barrier-turn
            return Ok(index);
        }
        // If the action panics, the barrier breaks on the way out.
        let open = Open {
            barrier: self,
            turn,
        };
        step!("barrier: all there");
        if self.a_pulse_is_gone(turn, true) {
            return Err(WaitError::Broken);
        }
        action().into_result().map_err(WaitError::Action)?;
        step!("barrier: action done");
        if self.a_pulse_is_gone(turn, true) {
            return Err(WaitError::Broken);
        }
        std::mem::forget(open);
        match self.end_turn(turn, RELEASED) {
            true => Ok(0),
            false => Err(WaitError::Broken),
        }
    }

    /// Takes the next place of this turn.
    fn arrive(&self, deadline: Deadline) -> Result<Arrived<'_>, BrokenBarrier> {
        // Somebody is at work there for a moment; who has no time to wait for the others has that.
        let patience = match deadline {
            Deadline::NOW => Deadline::after(wait::SLICE),
            later => later,
        };
        loop {
            let word = {
                let Ok(_held) = self.places.lock(patience) else {
                    // Somebody was stopped with the lock, and the time is up.
                    self.abort();
                    return Err(BrokenBarrier);
                };
                let word = self.word.load(Acquire); // PAIRS barrier-turn
                if word & BROKEN != 0 {
                    return Err(BrokenBarrier);
                }
                let turn = turn_of(word);
                let (place, parties) = (self.arrived(turn), self.parties());
                if place < parties {
                    step!("barrier: about to arrive");
                    // The last one does not wait: it may fork in its action, and is watched by
                    // its identity.
                    let waits = place + 1 < parties;
                    let (pulse, number) = waits.then(|| self.pulse(place)).flatten().unzip();
                    if pulse.as_ref().is_some_and(RobustGuard::owner_died)
                        && self.is_named(number, place)
                    {
                        // Now that it is ours, it does not tell of that death any more.
                        step!("barrier: a dead one's pulse taken");
                        self.end_turn(turn, BROKEN);
                        return Err(BrokenBarrier);
                    }
                    self.places.all()[place].occupy(turn.into(), number.unwrap_or(0));
                    step!("barrier: arrived");
                    return Ok(Arrived {
                        word,
                        place,
                        index: parties - 1 - place,
                        _pulse: pulse,
                    });
                }
                word
            };
            // Full: its action runs, or its last arrival died. We are for the next turn.
            self.wait_for_turn(word, deadline, None);
            if self.is_broken() {
                return Err(BrokenBarrier);
            }
        }
    }

    /// Waits until the turn is over; breaks the barrier when the time is up, or somebody who
    /// has arrived is dead. `mine` is our place, if we have one.
    fn wait_for_turn(&self, word: u32, deadline: Deadline, mine: Option<usize>) {
        let turn = turn_of(word);
        let mut spin = Spin::new();
        loop {
            let now = self.word.load(Acquire); // PAIRS barrier-turn
            if turn_of(now) != turn || now & BROKEN != 0 {
                spin.learn();
                return;
            }
            if deadline != Deadline::NOW && spin.again() {
                continue;
            }
            step!("barrier: about to sleep");
            let over = deadline == Deadline::NOW
                || match wait::sleep(&self.word, now, deadline) {
                    // Who is woken for nothing is not kept beyond its time.
                    Slept::Look => deadline.passed(),
                    Slept::SliceOver => {
                        self.a_pulse_is_gone(turn, false) || self.a_neighbour_is_dead(turn, mine)
                    }
                    Slept::TimedOut => true,
                };
            if over {
                step!("barrier: about to break");
                self.end_turn(turn, BROKEN);
            }
        }
    }

    /// A lock to hold while waiting, and its number, from 1. There is one for each party; where
    /// more processes than parties come and go, there may be none.
    fn pulse(&self, place: usize) -> Option<(RobustGuard<'_>, u32)> {
        let mut all = (0..PLACES).map(|n| (place + n) % PLACES);
        all.find_map(|at| Some((self.pulses[at].try_acquire()?, at as u32 + 1)))
    }

    /// Is this the pulse of one of the first `places` to arrive in this turn? Under the
    /// table's lock.
    #[cold]
    fn is_named(&self, number: Option<u32>, places: usize) -> bool {
        let mut all = self.places.all()[..places].iter();
        // Relaxed: written under the lock.
        all.any(|place| Some(place.word.load(Relaxed)) == number)
    }

    /// Has somebody died who had arrived in this turn? A look at words that the kernel writes; for
    /// sure also where it does not, at a look into /proc for each of them.
    fn a_pulse_is_gone(&self, turn: u32, for_sure: bool) -> bool {
        let gone = |pulse: &RobustLock| match for_sure {
            true => pulse.is_orphaned(),
            false => pulse.is_marked_orphaned(),
        };
        (0..self.parties())
            .filter(|at| self.is_there(*at, turn))
            .any(|at| {
                let place = &self.places.all()[at];
                // Relaxed: written before the owner. A peer may have written any number.
                let number = place.word.load(Relaxed) as usize;
                match number.checked_sub(1).and_then(|at| self.pulses.get(at)) {
                    Some(pulse) => unless_broken!("barrier: pulse", gone(pulse), false),
                    None => place.is_dead(),
                }
            })
    }

    /// Where the kernel does not tell: is the next one who arrived in this turn dead? By way of the next living one, all are
    /// watched.
    #[cold]
    fn a_neighbour_is_dead(&self, turn: u32, mine: Option<usize>) -> bool {
        let first = mine.map_or(0, |at| at + 1);
        self.places
            .next_is_dead(first, |at, _| Some(at) != mine && self.is_there(at, turn))
    }

    /// Ends this turn, if it is not over, and wakes all who wait for that.
    fn end_turn(&self, turn: u32, how: u32) -> bool {
        let mut word = self.word.load(Relaxed);
        loop {
            if turn_of(word) != turn || word & BROKEN != 0 {
                return false;
            }
            // AcqRel. PAIRS barrier-turn: who is released sees what all did before they
            // arrived (the last one saw it by the table's lock, and passes it on).
            match self
                .word
                .compare_exchange(word, ended(word, how), AcqRel, Relaxed)
            {
                Ok(_) => break,
                Err(now) => word = now,
            }
        }
        step!("barrier: turn over, nobody woken");
        self.wake();
        step!("barrier: woken");
        true
    }

    fn wake(&self) {
        unless_broken!("barrier: wake", wait::wake_all(&self.word), ());
    }

    /// Breaks it: all who wait, and all who come, get [`BrokenBarrier`] until a reset. Never
    /// blocks.
    pub fn abort(&self) {
        let word = self.word.load(Relaxed);
        if word & BROKEN == 0 && !self.end_turn(turn_of(word), BROKEN) && !self.is_broken() {
            self.abort(); // a round ended meanwhile
        }
    }

    /// Makes it new: those who wait get [`BrokenBarrier`], and whoever comes waits. Never
    /// blocks.
    pub fn reset(&self) {
        let mut word = self.word.load(Relaxed);
        // AcqRel. PAIRS barrier-turn.
        while let Err(now) = self
            .word
            .compare_exchange(word, ended(word, 0), AcqRel, Relaxed)
        {
            word = now;
        }
        step!("barrier: reset, nobody woken");
        self.wake();
    }
}

/// Breaks the barrier if it is dropped: its turn has been left in the middle.
struct Open<'a, const PLACES: usize> {
    barrier: &'a Barrier<PLACES>,
    turn: u32,
}

impl<const PLACES: usize> Drop for Open<'_, PLACES> {
    fn drop(&mut self) {
        #[cfg(loom)]
        if multiproc_core::model::dead() {
            return;
        }
        self.barrier.end_turn(self.turn, BROKEN);
    }
}

impl<const PLACES: usize> fmt::Debug for Barrier<PLACES> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Barrier")
            .field("parties", &self.parties())
            .field("waiting", &self.waiting())
            .field("broken", &self.is_broken())
            .finish_non_exhaustive()
    }
}
