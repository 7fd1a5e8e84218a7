//! A table of places that processes hold: who has a permit, who stands at a barrier, who
//! waits for a notify.
//!
//! ```text
//! place  owner    0 free | identity of the process that holds it
//!        ticket   what the table's user counts by: a turn, a round
//!        word     a state to sleep on, or a number of permits: the user's business
//!
//!           occupy (ticket and word first, then owner)
//!   free ──────────────────────────▶ held ──────────▶ free
//!                                     │      vacate
//!                                     └ its process dies: held by a dead one, until
//!                                       somebody looks, and does what the primitive promises
//! ```
//!
//! The table knows who is alive and no more: what a dead holder's place means (give the
//! permits back, break the barrier, pass the wake-up on) is said by the crate above.
//!
//! # Invariants
//!
//! 1. A place goes from free to held under the table's lock only.
//! 2. `owner` is the last word that [`Place::occupy`] writes: a place that shows an owner
//!    is filled in.
//! 3. Giving a place up is one store.
//!
//! # If a process dies here
//!
//! Occupying: the place is free still, or held by a dead process. Giving up: held by a dead
//! process, or free. With the lock: it is robust, and every change above is one store; where
//! a change of a place belongs to another one elsewhere, the crate above keeps a journal.
//!
//! A peer may write anything here: an owner is a number that is alive or not, and places
//! are found by the type's own length.

use crate::deadline::Deadline;
#[cfg(not(loom))]
use crate::identity::Identity;
use crate::prim::{AtomicU32, AtomicU64, Ordering::*};
use crate::robust::{RobustGuard, RobustLock, TimedOut};
use crate::step;
#[cfg(not(loom))]
use multiproc_segment::Shareable;
use std::fmt;

/// This process, as it stands in a place.
#[cfg(not(loom))]
fn me() -> u64 {
    Identity::me().to_bits()
}

#[cfg(not(loom))]
fn is_alive(owner: u64) -> bool {
    Identity::from_bits(owner).is_some_and(Identity::is_alive)
}

/// In a model, each thread is a process of its own.
#[cfg(loom)]
fn me() -> u64 {
    crate::model::me().into()
}

#[cfg(loom)]
fn is_alive(owner: u64) -> bool {
    crate::model::is_alive(owner as u32)
}

/// One place: 24 bytes.
#[cfg_attr(not(loom), derive(Shareable), shareable(crate = multiproc_segment))]
#[repr(C)]
pub struct Place {
    owner: AtomicU64,
    ticket: AtomicU64,
    /// The holder's state, on which it may sleep, or a number of its own.
    pub word: AtomicU32,
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<Place>() == 24);

impl Place {
    crate::const_unless_loom! {
        fn free() -> Self {
            Self {
                owner: AtomicU64::new(0),
                ticket: AtomicU64::new(0),
                word: AtomicU32::new(0),
            }
        }
    }

    /// Does nobody hold it?
    #[inline]
    pub fn is_free(&self) -> bool {
        self.owner.load(Acquire) == 0 // PAIRS place-held
    }

    /// Does this process hold it?
    pub fn is_mine(&self) -> bool {
        // Relaxed: only this process writes its own identity there.
        self.owner.load(Relaxed) == me()
    }

    /// Does a dead process hold it? Looks into /proc.
    pub fn is_dead(&self) -> bool {
        let owner = self.owner.load(Acquire); // PAIRS place-held
        owner != 0 && !is_alive(owner)
    }

    /// By what the holder's turn is known.
    #[inline]
    pub fn ticket(&self) -> u64 {
        // Relaxed: read under the table's lock, or after the owner. PAIRS place-held
        self.ticket.load(Relaxed)
    }

    /// Under the table's lock.
    pub fn set_ticket(&self, ticket: u64) {
        self.ticket.store(ticket, Relaxed); // Relaxed: as above
    }

    /// Makes this process the holder. Under the table's lock.
    #[inline]
    pub fn occupy(&self, ticket: u64, word: u32) {
        // Relaxed: they stand below the Release of the owner; a reader without the lock
        // that sees the old owner with the new ticket sees a place that is given up.
        self.owner.store(0, Relaxed);
        self.ticket.store(ticket, Relaxed);
        self.word.store(word, Relaxed);
        step!("place: filled in");
        // Release. PAIRS place-held: who sees the owner sees the rest.
        self.owner.store(me(), Release);
        step!("place: held");
    }

    /// Gives it up. By its holder, or for one that is dead.
    #[inline]
    pub fn vacate(&self) {
        // Release. PAIRS place-held: whoever takes it next sees what the holder did.
        self.owner.store(0, Release);
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place")
            .field("free", &self.is_free())
            .field("ticket", &self.ticket())
            .field("word", &self.word.load(Relaxed))
            .finish()
    }
}

/// `N` places and their lock: 40 + 24 × N bytes.
#[cfg_attr(not(loom), derive(Shareable), shareable(crate = multiproc_segment))]
#[repr(C)]
pub struct Places<const N: usize> {
    lock: RobustLock,
    places: [Place; N],
}

impl<const N: usize> Places<N> {
    /// A table that nobody holds a place of.
    #[cfg(not(loom))]
    #[allow(clippy::new_without_default)]
    pub const fn new() -> Self {
        Self {
            lock: RobustLock::new(),
            places: [const { Place::free() }; N],
        }
    }

    /// A table that nobody holds a place of.
    #[cfg(loom)]
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        Self {
            lock: RobustLock::new(),
            places: std::array::from_fn(|_| Place::free()),
        }
    }

    /// *Blocks until* the table's lock is free or the deadline passes. *Wakes when* it is
    /// released, some dozen instructions after it was taken. *If a peer dies* holding it,
    /// [`RobustGuard::owner_died`] says so: consult the journal.
    ///
    /// # Errors
    ///
    /// [`TimedOut`].
    #[inline]
    pub fn lock(&self, deadline: Deadline) -> Result<RobustGuard<'_>, TimedOut> {
        self.lock.acquire(deadline)
    }

    /// The same if the lock is free. Never blocks.
    pub fn try_lock(&self) -> Option<RobustGuard<'_>> {
        self.lock.try_acquire()
    }

    /// All places.
    #[inline]
    pub fn all(&self) -> &[Place; N] {
        &self.places
    }

    /// The first free place. Under the lock.
    #[inline]
    pub fn first_free(&self) -> Option<usize> {
        self.places.iter().position(Place::is_free)
    }

    /// Is any place held, by a living process or a dead one?
    pub fn any_held(&self) -> bool {
        self.places.iter().any(|place| !place.is_free())
    }

    /// Does a dead process hold the next place that counts, from `first` on and round? Where
    /// each holder watches the next one, all are watched, at one look into /proc each.
    pub fn next_is_dead(&self, first: usize, counts: impl Fn(usize, &Place) -> bool) -> bool {
        let (before, after) = self.places.split_at(first.min(N));
        let from = first.min(N);
        let round = (from..).zip(after).chain((0..).zip(before));
        let next = round.into_iter().find(|(at, place)| counts(*at, place));
        next.is_some_and(|(_, place)| place.is_dead())
    }

    /// The places that dead processes hold. Looks into /proc, once per process that holds
    /// several in a row.
    pub fn dead(&self) -> impl Iterator<Item = (usize, &Place)> {
        let mut last = (0, false);
        self.places.iter().enumerate().filter(move |(_, place)| {
            let owner = place.owner.load(Acquire); // PAIRS place-held
            if owner != last.0 {
                last = (owner, owner != 0 && !is_alive(owner));
            }
            last.1
        })
    }
}

impl<const N: usize> fmt::Debug for Places<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let held = self.places.iter().filter(|place| !place.is_free());
        f.debug_list().entries(held).finish()
    }
}
