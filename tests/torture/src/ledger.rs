//! What a lock protects, and how a breach of it shows: words that are all the same but in the
//! middle of a turn, and numbers that are each given once.

use crate::crowd::{Player, Table};
use crate::storm::spin;
use multiproc_core::identity::Identity;
use multiproc_segment::Shareable;
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst, compiler_fence};
use std::time::{Duration, Instant};

/// Words under a lock.
pub(crate) const WIDE: usize = 8;
/// Numbers that are remembered as given.
const GIVEN: usize = 1 << 10;
/// Entries whose time is remembered.
const STAMPS: usize = 1 << 16;

/// Beside what is protected, and written by holders of its lock.
#[derive(Shareable)]
#[repr(C)]
pub(crate) struct Ledger {
    /// The identity of who is inside.
    owner: AtomicU64,
    entries: AtomicU64,
    /// The last numbers that were given.
    given: [AtomicU64; GIVEN],
    stamps: [AtomicU64; STAMPS],
}

impl Ledger {
    pub(crate) const fn new() -> Self {
        Ledger {
            owner: AtomicU64::new(0),
            entries: AtomicU64::new(0),
            given: [const { AtomicU64::new(0) }; GIVEN],
            stamps: [const { AtomicU64::new(0) }; STAMPS],
        }
    }

    /// How often somebody had it alone.
    pub(crate) fn entries(&self) -> u64 {
        self.entries.load(SeqCst)
    }

    /// When somebody had it for the `entry`th time, if that is remembered.
    pub(crate) fn stamp(&self, entry: u64) -> Option<u64> {
        let stamp = self.stamps[entry as usize % STAMPS].load(SeqCst);
        (stamp > 0 && self.entries() < entry + STAMPS as u64).then_some(stamp)
    }

    fn was_given(&self, number: u64) -> bool {
        self.given[number as usize % GIVEN].load(SeqCst) == number
    }

    /// Who is inside: nobody, one who lives, or one who died there. The lock may be free before
    /// all can see that its holder is dead: hence the patience.
    pub(crate) fn look_inside(&self) -> Inside {
        Inside::of(self.owner.load(SeqCst))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Inside {
    Nobody,
    Alive,
    Dead,
}

impl Inside {
    fn of(owner: u64) -> Self {
        let Some(owner) = Identity::from_bits(owner) else {
            return Inside::Nobody;
        };
        let begun = Instant::now();
        while owner.is_alive() {
            if begun.elapsed() > Duration::from_secs(1) {
                return Inside::Alive;
            }
            std::thread::yield_now();
        }
        Inside::Dead
    }
}

/// Words that are written one after the other.
pub(crate) trait Data {
    fn len(&self) -> usize;
    fn get(&self, at: usize) -> u64;
    fn set(&mut self, at: usize, value: u64);

    fn is_whole(&self) -> bool {
        (1..self.len()).all(|at| self.get(at) == self.get(0))
    }
}

impl Data for [u64] {
    fn len(&self) -> usize {
        <[u64]>::len(self)
    }

    fn get(&self, at: usize) -> u64 {
        self[at]
    }

    fn set(&mut self, at: usize, value: u64) {
        self[at] = value;
        // The compiler may not put the writes together, or out of their order.
        std::hint::black_box(&mut *self);
        compiler_fence(SeqCst);
    }
}

impl Data for &[AtomicU64] {
    fn len(&self) -> usize {
        <[_]>::len(self)
    }

    fn get(&self, at: usize) -> u64 {
        self[at].load(SeqCst)
    }

    fn set(&mut self, at: usize, value: u64) {
        self[at].store(value, SeqCst);
    }
}

impl Data for &[Cell<u64>] {
    fn len(&self) -> usize {
        <[_]>::len(self)
    }

    fn get(&self, at: usize) -> u64 {
        self[at].get()
    }

    fn set(&mut self, at: usize, value: u64) {
        self[at].set(value);
        std::hint::black_box(self);
        compiler_fence(SeqCst);
    }
}

/// What a holder knows of its predecessor.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum News {
    None,
    /// The lock said that a holder died.
    Died,
    /// It is not one that tells.
    Untold,
}

impl Table {
    /// As [`Table::repair`], for who holds the lock and takes no turn.
    pub(crate) fn mend<D: Data + ?Sized>(&self, ledger: usize, data: &mut D) {
        self.repair(ledger, data);
        self.words.ledgers[ledger].owner.store(0, SeqCst);
    }

    /// Finishes what a dead holder began, so that all words are the same again.
    fn repair<D: Data + ?Sized>(&self, ledger: usize, data: &mut D) {
        let first = data.get(0);
        let begun = self.words.ledgers[ledger].was_given(first + 1);
        for at in 0..data.len() {
            data.set(at, first + u64::from(begun));
        }
    }
}

impl Player<'_> {
    /// With the lock held: looks whether all is as it must be, writes the next number into each
    /// word, and leaves.
    pub(crate) fn turn<D: Data + ?Sized>(&mut self, at: usize, data: &mut D, news: News) {
        let words = &self.table.words;
        let ledger = &words.ledgers[at];
        // From here to the end, a death leaves its trace in the owner.
        let before = ledger.owner.swap(self.identity, SeqCst);
        let before = match before == self.identity {
            true => Inside::Alive, // this one left: it is not inside twice
            false => Inside::of(before),
        };
        if before == Inside::Alive {
            words.together.fetch_add(1, SeqCst);
        }
        let entry = 1 + ledger.entries.fetch_add(1, SeqCst);
        ledger.stamps[entry as usize % STAMPS].store(self.table.now(), SeqCst);
        self.has_in_hand(at, entry);

        let number = data.get(0) + 1;
        let whole = data.is_whole() && !ledger.was_given(number);
        let died = match news {
            News::None => false,
            News::Died => true,
            News::Untold => before == Inside::Dead,
        };
        if died {
            words.told.fetch_add(1, SeqCst);
        }
        if !died && (!whole || before == Inside::Dead) {
            words.torn.fetch_add(1, SeqCst);
        }
        if !whole {
            self.table.repair(at, data);
        }
        if data.get(0) < self.written[at] {
            words.lost.fetch_add(1, SeqCst);
        }
        let number = data.get(0) + 1;
        if ledger.given[number as usize % GIVEN].swap(number, SeqCst) == number {
            words.duplicated.fetch_add(1, SeqCst);
        }
        let linger = self.dice.below(2 * data.len() as u64) as usize;
        for word in 0..data.len() {
            data.set(word, number);
            if word == linger {
                spin(self.dice.below(20));
            }
        }
        self.written[at] = number;
        self.empty_handed();
        ledger.owner.store(0, SeqCst);
    }
}
