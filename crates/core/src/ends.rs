//! Who holds an end: registration and hand-over.
//!
//! An end (a producer or consumer of a queue, a side of a pipe) is a slot in the segment:
//! the identity of the process that holds it, and a generation. End of file follows from
//! these slots and from nothing that a fork duplicates.
//!
//! ```text
//! slot   owner   0 free | identity of the holder
//!        generation     raised whenever the slot is given up, so that a handle which
//!                       remembers an older one knows that the slot is not its own
//!
//!            register                  close
//!   free ───────────────▶ owned by P ─────────▶ free (generation + 1)
//!                          │  ▲   │
//!              hand-over   ▼  │   └─ P dies: counts as closed; the next register that
//!                       owned by C   finds no free slot takes it over (generation + 1)
//! ```
//!
//! # Invariants
//!
//! 1. `owner` goes from 0 or from a dead owner to a new one only under the table's lock.
//! 2. Only the holder (its thread that drops the end) gives a slot up or hands it over.
//! 3. A handle owns its slot if and only if owner is this process and the generation is
//!    the one it remembers.
//! 4. One store makes a registration: the owner's. A slot that was ever owned shows it, by its
//!    owner or by its generation: so "none alive" is told from "none yet".
//! 5. `registrations` changes after a slot is owned and before the registration is done: a look
//!    at all slots that finds none owned holds only if the number is the same afterwards. (An
//!    end that moves to a slot behind the looker's back was never gone.)
//!
//! # If a process dies here
//!
//! Registering: the lock is robust, and the slot is free, or owned by a dead process: both
//! are right as they are. Closing: the generation is raised and the owner dead: closed.
//! Handing over: the owner is the parent (dead: closed) or the child. Holding: closed, as
//! soon as somebody looks.
//!
//! In a message (see [`Ticket`]) an end is owned by the sender until the receiver has taken it
//! over, and its generation says that it travels. A sender that dies before has closed it. So
//! has a message that is lost (its receiver died, could not decode it, or nobody was left to take
//! it): what carries the message holds something for the end (whoever looks brings that
//! question), and an end that travels and is held by nothing is freed by who finds it so, before
//! it tells anybody. The receiver takes over first and looks then whether the sender still
//! lives: else somebody may have told already that the end is closed.
//!
//! A peer may write anything here: an owner is a number that is alive or not; lengths are
//! the type's own.

use crate::deadline::Deadline;
use crate::fork;
use crate::handover;
use crate::identity::Identity;
use crate::robust::{RobustGuard, RobustLock};
use crate::step;
use multiproc_segment::Shareable;
use std::fmt;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::*};
use std::time::Duration;
use thiserror::Error;

/// Ends of one kind that one object can have at a time. 16 bytes each.
pub const MOST_ENDS: usize = 512;

/// The table is locked for microseconds: after so long, something is wrong with who holds it.
const MOST_BUSY: Duration = Duration::from_secs(1);

#[derive(Shareable)]
#[shareable(crate = multiproc_segment)]
#[repr(C)]
struct Slot {
    owner: AtomicU64,
    generation: AtomicU64,
}

/// In a generation: the end is in a message, and in nobody's hands.
const TRAVELS: u64 = 1 << 63;

/// The generation after this one was given up.
fn given_up(generation: u64) -> u64 {
    (generation & !TRAVELS).wrapping_add(1) & !TRAVELS
}

impl Slot {
    fn address(&self) -> usize {
        std::ptr::from_ref(self) as usize
    }

    const fn free() -> Self {
        Self {
            owner: AtomicU64::new(0),
            generation: AtomicU64::new(0),
        }
    }
}

/// The table of an object's ends of one kind, in shared memory.
#[derive(Shareable)]
#[shareable(crate = multiproc_segment)]
#[repr(C)]
pub struct Ends {
    lock: RobustLock,
    registrations: AtomicU32,
    /// Slots below this have been used.
    high: AtomicU32,
    slots: [Slot; MOST_ENDS],
}

/// Why an end cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// It was closed, or the process that it was borrowed from has closed it.
    #[error("this end is closed")]
    Closed,
    /// The table is full.
    #[error("{MOST_ENDS} ends of this kind are in use already")]
    Full,
    /// Somebody holds the table for longer than there is a reason: it was stopped right there, or
    /// the memory is scribbled on.
    #[error("another process holds the table of ends, and does not go on")]
    Busy,
}

/// What a look at all ends of a kind shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Holders {
    /// None was ever registered: nothing can be said.
    NeverAny,
    /// At least one is held by a living process.
    Alive,
    /// There were some, and all are closed or their processes dead.
    AllGone,
}

impl Ends {
    /// A table without ends.
    #[allow(clippy::new_without_default)]
    pub const fn new() -> Self {
        Self {
            lock: RobustLock::new(),
            registrations: AtomicU32::new(0),
            high: AtomicU32::new(0),
            slots: [const { Slot::free() }; MOST_ENDS],
        }
    }

    fn used(&self) -> &[Slot] {
        let high = self.high.load(Acquire) as usize; // PAIRS slot-used
        &self.slots[..high.min(MOST_ENDS)]
    }

    /// Registers an end for this process.
    ///
    /// # Errors
    ///
    /// [`RegisterError::Full`] when every slot is held by a living process; [`RegisterError::Busy`].
    pub fn register(&self) -> Result<End, RegisterError> {
        let end = End::later();
        self.take_slot(&end)?;
        Ok(end)
    }

    /// A stopped holder makes us wait, but not for ever; a dead one does not (its half-done
    /// change needs no repair: see the essay).
    fn lock(&self) -> Result<RobustGuard<'_>, RegisterError> {
        let held = self.lock.acquire(Deadline::after(MOST_BUSY));
        held.map_err(|_| RegisterError::Busy)
    }

    fn take_slot(&self, end: &End) -> Result<(), RegisterError> {
        let me = Identity::me();
        let held = self.lock()?;
        if end.valid_in.load(Relaxed) == fork::generation() {
            return Ok(()); // another thread was faster
        }
        let free = self.slots.iter().position(|s| s.owner.load(Acquire) == 0); // PAIRS slot-free
        let index = match free {
            Some(index) => index,
            None => self.dead_slot().ok_or(RegisterError::Full)?,
        };
        let slot = &self.slots[index];
        if self.high.load(Relaxed) as usize <= index {
            self.high.store(index as u32 + 1, Release); // PAIRS slot-used
        }
        let mut generation = slot.generation.load(Relaxed);
        if generation & TRAVELS != 0 {
            // Whoever freed a lost end died before this.
            generation = given_up(generation);
            slot.generation.store(generation, Relaxed);
        }
        step!("ends: slot chosen");
        // Release. PAIRS slot-owned: who sees us as owner sees the slot below `high`.
        slot.owner.store(me.to_bits(), Release);
        step!("ends: slot owned");
        self.registrations.fetch_add(1, Release); // PAIRS registrations
        end.index.store(index as u32, Relaxed);
        end.generation.store(generation, Relaxed);
        end.valid_in.store(fork::generation(), Relaxed);
        drop(held);
        if free.is_none() {
            multiproc_segment::trace!(debug, index, "slot of a dead end taken back");
        }
        Ok(())
    }

    /// A slot whose owner is dead, its generation raised. Under the lock.
    fn dead_slot(&self) -> Option<usize> {
        let mut alive = None;
        let index = self.slots.iter().position(|slot| {
            let owner = Identity::from_bits(slot.owner.load(Acquire));
            if owner == alive {
                return false;
            }
            match owner {
                Some(id) if id.is_alive() => {
                    alive = owner;
                    false
                }
                _ => true,
            }
        })?;
        let generation = &self.slots[index].generation;
        generation.store(given_up(generation.load(Relaxed)), Relaxed);
        Some(index)
    }

    /// Looks at every end: is one held by a living process? Costs a look into /proc per
    /// distinct holder; meant for waiters, once a slice.
    pub fn holders(&self) -> Holders {
        self.holders_by(&mut Identity::is_alive, &|_| true)
    }

    /// The same, by somebody's own way to tell who is alive (one who looks at many objects
    /// remembers whom he has seen), and whether the end whose slot has this address is still in
    /// a message.
    pub fn holders_by(
        &self,
        alive: &mut dyn FnMut(Identity) -> bool,
        in_message: &dyn Fn(usize) -> bool,
    ) -> Holders {
        // Somebody registers at every look: then there is somebody (Invariant 5).
        let look = |_| self.look(alive, in_message);
        (0..16).find_map(look).unwrap_or(Holders::Alive)
    }

    /// `None`: an end was registered meanwhile.
    fn look(
        &self,
        alive: &mut dyn FnMut(Identity) -> bool,
        in_message: &dyn Fn(usize) -> bool,
    ) -> Option<Holders> {
        let before = self.registrations.load(Acquire); // PAIRS registrations
        let mut dead = None;
        let mut ever = false;
        for slot in self.used() {
            let owner = Identity::from_bits(slot.owner.load(Acquire)); // PAIRS slot-owned
            // Acquire. PAIRS slot-given-up. Who sees a slot given up sees its generation by the
            // line above.
            let generation = slot.generation.load(Acquire);
            ever |= owner.is_some() || generation != 0;
            match owner {
                None => {}
                Some(_) if owner == dead => {}
                // It may have been handed over before its holder died.
                Some(id) if !alive(id) => match slot.owner.load(Acquire) {
                    now if now == id.to_bits() => dead = owner, // PAIRS slot-owned
                    _ => return None,
                },
                Some(_) if generation & TRAVELS == 0 || in_message(slot.address()) => {
                    return Some(Holders::Alive);
                }
                Some(id) => self.free_lost(slot, id, generation)?,
            }
        }
        if self.registrations.load(Acquire) != before {
            return None; // PAIRS registrations
        }
        Some(if ever {
            Holders::AllGone
        } else {
            Holders::NeverAny
        })
    }

    /// Frees the slot of an end whose message is lost. `None`: it has changed, or somebody
    /// registers; look again.
    #[cold]
    fn free_lost(&self, slot: &Slot, owner: Identity, generation: u64) -> Option<()> {
        let held = self.lock.try_acquire()?;
        // Acquire. PAIRS slot-owned, slot-given-up: arrived after all?
        let owned = slot.owner.load(Acquire) == owner.to_bits();
        if !owned || slot.generation.load(Acquire) != generation {
            return None;
        }
        slot.owner.store(0, Release); // PAIRS slot-free
        step!("ends: lost end freed");
        slot.generation.store(given_up(generation), Release); // PAIRS slot-given-up
        drop(held);
        multiproc_segment::trace!(debug, pid = owner.pid(), "end lost with its message");
        Some(())
    }

    /// Frees the slots of ends whose messages are lost; see [`Ends::holders_by`].
    pub fn sweep(&self, in_message: &dyn Fn(usize) -> bool) {
        for slot in self.used() {
            let owner = Identity::from_bits(slot.owner.load(Acquire)); // PAIRS slot-owned
            let generation = slot.generation.load(Acquire); // PAIRS slot-given-up
            if let Some(owner) = owner
                && generation & TRAVELS != 0
                && !in_message(slot.address())
            {
                let _ = self.free_lost(slot, owner, generation);
            }
        }
    }

    /// Where the slot of an end in a message lies.
    pub fn address(&self, ticket: &Ticket) -> usize {
        let slot = self.slots.get(ticket.index as usize);
        slot.map_or(0, Slot::address)
    }

    /// Were there ends, and are all of them closed? Looks at no process: a dead holder's
    /// end counts as open here. Cheap enough for every call.
    #[inline]
    pub fn all_closed(&self) -> bool {
        let before = self.registrations.load(Acquire); // PAIRS registrations
        let mut ever = false;
        for slot in self.used() {
            if slot.owner.load(Acquire) != 0 {
                return false; // PAIRS slot-free
            }
            ever |= slot.generation.load(Relaxed) != 0; // Relaxed: as in `look`
        }
        ever && self.registrations.load(Acquire) == before
    }

    /// Ends held by living processes, for a reader of debug output.
    pub fn count_alive(&self) -> usize {
        self.used()
            .iter()
            .filter_map(|s| Identity::from_bits(s.owner.load(Acquire)))
            .filter(|id| id.is_alive())
            .count()
    }
}

impl fmt::Debug for Ends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ends")
            .field("alive", &self.count_alive())
            .finish_non_exhaustive()
    }
}

/// In place of a slot's index: closed.
const CLOSED: u32 = u32::MAX;
/// In place of a slot's index: none was free yet; the next use tries again.
const LATER: u32 = u32::MAX - 1;

/// An end on its way in a message: a slot of its own, owned by the sender until it
/// [arrives](End::arrive).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    /// The slot.
    pub index: u32,
    /// Its generation.
    pub generation: u64,
    /// The sender.
    pub owner: u64,
}

/// One handle's memory of its slot. The owner of the handle calls [`End::check`] before
/// each use and [`End::close`] on drop.
#[derive(Debug)]
pub struct End {
    index: AtomicU32,
    generation: AtomicU64,
    /// The fork generation in which the slot was found to be ours; 0: never.
    valid_in: AtomicU64,
}

impl End {
    /// An end that holds no slot and is closed.
    pub const fn closed() -> Self {
        Self {
            index: AtomicU32::new(CLOSED),
            generation: AtomicU64::new(0),
            valid_in: AtomicU64::new(0),
        }
    }

    /// An end that is registered by its first [`End::check`] that finds a free slot.
    pub const fn later() -> Self {
        Self {
            index: AtomicU32::new(LATER),
            generation: AtomicU64::new(0),
            valid_in: AtomicU64::new(0),
        }
    }

    /// May this process use the end? Adopts one that was handed over, and registers anew
    /// one that the parent holds.
    ///
    /// # Errors
    ///
    /// [`RegisterError::Closed`] once closed, here or by the parent that held it;
    /// [`RegisterError::Full`] when it would have to be registered and cannot.
    #[inline]
    pub fn check(&self, ends: &Ends) -> Result<(), RegisterError> {
        if self.valid_in.load(Relaxed) == fork::generation() {
            return Ok(());
        }
        self.adopt(ends)
    }

    fn slot<'a>(&self, ends: &'a Ends) -> Option<&'a Slot> {
        ends.slots.get(self.index.load(Relaxed) as usize)
    }

    fn owner(&self, slot: &Slot) -> Option<Identity> {
        let owner = Identity::from_bits(slot.owner.load(Acquire)); // PAIRS slot-owned
        let current = slot.generation.load(Acquire) == self.generation.load(Relaxed);
        owner.filter(|_| current) // PAIRS slot-given-up
    }

    #[cold]
    fn adopt(&self, ends: &Ends) -> Result<(), RegisterError> {
        if self.index.load(Relaxed) == LATER {
            return ends.take_slot(self);
        }
        let slot = self.slot(ends).ok_or(RegisterError::Closed)?;
        match self.owner(slot) {
            Some(id) if id == Identity::me() => {
                self.valid_in.store(fork::generation(), Relaxed);
                Ok(())
            }
            Some(id) if id.is_alive() => ends.take_slot(self),
            _ => Err(RegisterError::Closed),
        }
    }

    /// A second end like this one, for a clone of the handle. Where no slot is free, the
    /// clone tries again at its first use, which can tell.
    #[must_use]
    pub fn another(&self, ends: &Ends) -> Self {
        if self.check(ends).is_err() {
            return Self::closed();
        }
        let end = Self::later();
        // Where no slot is free, the first use tries again.
        let _ = end.check(ends);
        end
    }

    /// A slot for a second end like this one that travels in a message.
    ///
    /// # Errors
    ///
    /// [`RegisterError`].
    pub fn travel(&self, ends: &Ends) -> Result<Ticket, RegisterError> {
        self.check(ends)?;
        let end = Self::later();
        end.check(ends)?;
        step!("ends: travels");
        Ok(Ticket {
            index: end.index.load(Relaxed),
            generation: end.generation.load(Relaxed),
            owner: Identity::me().to_bits(),
        })
    }

    /// The end is in the message's hands: from now on it counts as held only as long as
    /// something carries it.
    pub fn set_off(ends: &Ends, ticket: &mut Ticket) {
        if let Some(slot) = ends.slots.get(ticket.index as usize) {
            ticket.generation |= TRAVELS;
            // Release. PAIRS slot-given-up.
            slot.generation.store(ticket.generation, Release);
        }
    }

    /// Takes over the end that came in a message, which the caller has in its hands.
    ///
    /// # Errors
    ///
    /// [`RegisterError::Closed`]: the sender died first, or somebody took it already;
    /// [`RegisterError::Busy`].
    pub fn arrive(ends: &Ends, ticket: Ticket) -> Result<Self, RegisterError> {
        let slot = ends.slots.get(ticket.index as usize);
        let slot = slot.ok_or(RegisterError::Closed)?;
        let me = Identity::me();
        let sender = Identity::from_bits(ticket.owner).ok_or(RegisterError::Closed)?;
        // Against those who find the sender dead and take its slot.
        let _held = ends.lock()?;
        let current = slot.generation.load(Acquire) == ticket.generation; // PAIRS slot-given-up
        if !current || slot.owner.load(Acquire) != ticket.owner {
            return Err(RegisterError::Closed); // PAIRS slot-owned
        }
        step!("ends: about to arrive");
        slot.owner.store(me.to_bits(), Release); // PAIRS slot-owned
        step!("ends: arrived, not sure");
        if !sender.is_alive() {
            // Perhaps it was dead before the end was ours, and somebody has told of that.
            slot.owner.store(ticket.owner, Release); // PAIRS slot-owned
            return Err(RegisterError::Closed);
        }
        let generation = ticket.generation & !TRAVELS;
        slot.generation.store(generation, Release); // PAIRS slot-given-up
        step!("ends: arrived");
        let end = Self::closed();
        end.index.store(ticket.index, Relaxed);
        end.generation.store(generation, Relaxed);
        end.valid_in.store(fork::generation(), Relaxed);
        Ok(end)
    }

    /// Closes the end of a message that was not sent.
    pub fn stay(ends: &Ends, ticket: Ticket) {
        if let Ok(end) = Self::arrive(ends, ticket) {
            end.close(ends);
        }
    }

    /// Gives the slot up, or hands it to the child in hand-over mode. True if a slot was
    /// given up: then somebody may wait for that.
    pub fn close(&self, ends: &Ends) -> bool {
        let Some(slot) = self.slot(ends) else {
            return false;
        };
        let mine = self.owner(slot) == Some(Identity::me());
        self.index.store(CLOSED, Relaxed);
        self.valid_in.store(0, Relaxed);
        if !mine {
            return false;
        }
        if let Some(heir) = handover::heir() {
            step!("ends: handing over");
            // Release. PAIRS slot-owned: the child adopts after its gate opened.
            slot.owner.store(heir.to_bits(), Release);
            step!("ends: handed over");
            return false;
        }
        // Release. PAIRS slot-given-up: the generation is raised before the owner is gone.
        slot.generation.fetch_add(1, Release);
        step!("ends: generation raised");
        slot.owner.store(0, Release); // PAIRS slot-free
        step!("ends: slot free");
        true
    }
}
