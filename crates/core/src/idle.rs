//! Workers of one queue that have nothing to do, and who is to be woken when something comes.
//!
//! At most one idle worker is the *searcher*: it spins. The others sleep, each on its own bell, with
//! their bit set. Whoever puts something looks: while there is a searcher it wakes nobody, else it
//! wakes one sleeper. A searcher (or a woken one) that takes something steps down, and wakes the next
//! sleeper if more is there. So a conversation of one task at a time keeps one worker awake and
//! costs no system call, and a load of tasks wakes all.
//!
//! ```text
//! putter                          worker that goes to sleep
//!   put                             searcher = 0, its bit = 1
//!   fence                           fence
//!   searcher? bits? wake            something there? then back; else sleep
//! ```
//!
//! One of the two sees the other (PAIRS idle).
//!
//! # If a process dies here
//!
//! As the searcher, asleep, or on the way to wake another: somebody must notice, and
//! [`bury`](Idle::bury) it; that wakes the others where something is left to take. (If nobody does, a
//! sleeper looks around at the end of its slice.)
//!
//! A peer may write anything here: a searcher that is none keeps putters from waking, until the end of
//! a slice; bits are bounded by the type's own length.

use crate::deadline::Deadline;
use crate::prim::{AtomicU32, AtomicU64, Ordering::*, fence};
use crate::wait::{self, Spin};
use crate::{step, unless_broken};
#[cfg(not(loom))]
use multiproc_segment::Shareable;

/// The words of so many places for workers, whose bits fill so many words.
#[cfg_attr(not(loom), derive(Shareable), shareable(crate = multiproc_segment))]
#[repr(C)]
pub struct Idle<const PLACES: usize, const WORDS: usize> {
    /// The number of the place of the worker that searches, and one; 0: nobody.
    searcher: AtomicU32,
    /// A bit for each worker that sleeps.
    asleep: [AtomicU64; WORDS],
    bells: [AtomicU32; PLACES],
}

/// Why a worker looks for something.
#[derive(Clone, Copy, PartialEq)]
enum Awake {
    /// It has just done something else.
    Work,
    /// It is the searcher.
    Search,
    /// Somebody woke it, or a slice is over.
    Bell,
}

impl<const PLACES: usize, const WORDS: usize> std::fmt::Debug for Idle<PLACES, WORDS> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Relaxed: stale as soon as it is said.
        f.debug_struct("Idle")
            .field("searcher", &self.searcher.load(Relaxed))
            .finish_non_exhaustive()
    }
}

impl<const PLACES: usize, const WORDS: usize> Idle<PLACES, WORDS> {
    #[cfg(not(loom))]
    /// Nobody is idle.
    #[allow(clippy::new_without_default)]
    pub const fn new() -> Self {
        const { assert!(PLACES <= WORDS * 64) };
        Self {
            searcher: AtomicU32::new(0),
            asleep: [const { AtomicU64::new(0) }; WORDS],
            bells: [const { AtomicU32::new(0) }; PLACES],
        }
    }

    #[cfg(loom)]
    /// Nobody is idle.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        Self {
            searcher: AtomicU32::new(0),
            asleep: std::array::from_fn(|_| AtomicU64::new(0)),
            bells: std::array::from_fn(|_| AtomicU32::new(0)),
        }
    }

    /// For whoever has put something: wakes a sleeper unless somebody searches.
    #[inline]
    pub fn announce(&self) {
        unless_broken!("idle: announce", fence(SeqCst), ()); // PAIRS idle
        // Relaxed: ordered by the fence.
        if self.searcher.load(Relaxed) == 0 {
            self.wake_one();
        }
    }

    /// Wakes a sleeper, if there is one: the lowest, so that few work where few are needed.
    fn wake_one(&self) {
        for (nth, word) in self.asleep.iter().enumerate() {
            // Relaxed: ordered by the fences of `announce` and `pass_on`.
            let mut bits = word.load(Relaxed);
            while bits != 0 {
                let bit = bits.trailing_zeros();
                // Relaxed: who clears the bit wakes; the next one takes another. (To clear it
                // afterwards could clear the bit of its next sleep.)
                let before = word.fetch_and(!(1 << bit), Relaxed);
                if before & 1 << bit != 0 {
                    step!("idle: about to wake");
                    return self.ring(nth * 64 + bit as usize);
                }
                bits = before & !(1 << bit);
            }
        }
    }

    fn ring(&self, place: usize) {
        if let Some(bell) = self.bells.get(place) {
            // Release. PAIRS idle-bell: what was put is seen by who is woken.
            bell.fetch_add(1, Release);
            step!("idle: rung");
            wait::wake_one(bell);
        }
    }

    /// Wakes everybody in the first so many places, also those whose waker died on the way. What they
    /// are to find is to be written before.
    pub fn wake_all(&self, places: usize) {
        fence(SeqCst); // PAIRS idle
        (0..places).for_each(|place| self.ring(place));
    }

    /// Something that `take` gives, for the worker of this place; `None` once it is `over`. Both are
    /// asked by who is awake; `queued` says whether `take` might give something.
    ///
    /// *Blocks until* there is something. *Wakes when* somebody announces it. *If a peer dies*: see
    /// the module.
    #[inline]
    pub fn seek<T>(
        &self,
        place: usize,
        queued: impl Fn() -> bool,
        over: impl Fn() -> bool,
        mut take: impl FnMut() -> Option<T>,
    ) -> Option<T> {
        let mut awake = Awake::Work;
        loop {
            let taken = match over() {
                true => None,
                false if queued() => match take() {
                    Some(taken) => Some(taken),
                    // Another was quicker.
                    None => {
                        self.wait(place, &mut awake, &queued, &over);
                        continue;
                    }
                },
                false => {
                    self.wait(place, &mut awake, &queued, &over);
                    continue;
                }
            };
            if awake == Awake::Search {
                // Relaxed: before the fence in `pass_on`.
                self.searcher.store(0, Relaxed);
            }
            if awake != Awake::Work {
                step!("idle: about to pass on");
                unless_broken!("idle: pass on", self.pass_on(&queued), ());
            }
            return taken;
        }
    }

    /// Searches for a while if nobody else does, and then sleeps.
    fn wait(
        &self,
        place: usize,
        awake: &mut Awake,
        queued: &impl Fn() -> bool,
        over: &impl Fn() -> bool,
    ) {
        let me = place as u32 + 1;
        // Relaxed, here and where it is given up: a hint, until the fences.
        let searcher = &self.searcher;
        if *awake != Awake::Search && searcher.compare_exchange(0, me, Relaxed, Relaxed).is_ok() {
            *awake = Awake::Search;
            step!("idle: searches");
            let mut spin = Spin::new();
            while spin.again() && !queued() {}
            spin.learn();
            if queued() {
                return;
            }
        }
        if *awake == Awake::Search {
            searcher.store(0, Relaxed);
        }
        let (bell, word, bit) = (
            &self.bells[place],
            &self.asleep[place / 64],
            1 << (place % 64),
        );
        // Acquire. PAIRS idle-bell.
        let heard = bell.load(Acquire);
        word.fetch_or(bit, Relaxed);
        step!("idle: about to sleep");
        unless_broken!("idle: sleep", fence(SeqCst), ()); // PAIRS idle
        if !queued() && !over() {
            // Whatever woke us: we look around.
            let _ = wait::sleep(bell, heard, Deadline::NEVER);
        }
        step!("idle: awake");
        word.fetch_and(!bit, Relaxed);
        *awake = Awake::Bell;
    }

    /// After something was taken: the next one's turn, if more is there.
    fn pass_on(&self, queued: &impl Fn() -> bool) {
        fence(SeqCst); // PAIRS idle
        if queued() && self.searcher.load(Relaxed) == 0 {
            self.wake_one();
        }
    }

    /// Cleans up after the dead worker of this place: it neither searches nor sleeps. If something is
    /// left to take, everybody in the first so many places wakes up: it may have died on the way to
    /// wake any of them.
    pub fn bury(&self, place: usize, places: usize, queued: impl Fn() -> bool) {
        let me = place as u32 + 1;
        let _ = self.searcher.compare_exchange(me, 0, Relaxed, Relaxed);
        self.asleep[place / 64].fetch_and(!(1 << (place % 64)), Relaxed);
        fence(SeqCst); // PAIRS idle
        if queued() {
            unless_broken!("idle: bury", self.wake_all(places), ());
        }
    }
}
