//! A list of numbers, texts and bytes.
//!
//! ```text
//! body   [ head, 64 bytes ][ capacity 0 ] … [ capacity n-1 ][ slot 0 ] … [ slot n-1 ]
//! slot   [ state, 8 bytes ][ copy A, capacity bytes ][ copy B, capacity bytes ]
//!
//! state  bits 63..32 bytes of the item   3 which copy counts   2..0 its type
//! ```
//!
//! An item is written into the copy that does not count; then one store of the state makes it
//! count. So there is nothing to repair when a writer dies, and nobody is told.
//!
//! Invariants
//!   1. Capacities never change. Whoever opens a list reads them once, checks that the slots
//!      fill the body exactly, and goes by that private copy from then on.
//!   2. A slot is written under the lock. So is a copy read, as the next write but one
//!      overwrites it.
//!
//! If a process dies here: before the store of the state, the old item is there; after it, the
//! new one. The lock is free again.

use crate::error::{CreateError, OpenError, OpenOrCreateError, UnlinkError};
use crate::item::{GetItemError, IndexOfError, Item, SetItemError};
use crate::iter::{Indexed, Iter};
use crate::options::Options;
use crate::place;
use crate::words::{self, WORD};
use multiproc_core::deadline::Deadline;
use multiproc_core::robust::{RobustGuard, RobustLock};
use multiproc_core::step;
use multiproc_segment::{Kind, Naming, Segment, Shareable};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::*};

#[derive(Shareable)]
#[shareable(crate = multiproc_segment)]
#[repr(C)]
struct Head {
    lock: RobustLock,
    len: AtomicU64,
    unused: [AtomicU64; 2],
}

const _: () = assert!(size_of::<Head>() == 64 && std::mem::offset_of!(Head, len) == LEN * WORD);
/// The word of the length.
const LEN: usize = 5;
/// Words before the table.
const TABLE: usize = size_of::<Head>() / WORD;
const WHICH: u64 = 1 << 3;
const MOST: usize = u32::MAX as usize;

/// A slot: the word of its state, and its bytes per copy. From the private copy of the table.
#[derive(Clone, Copy)]
struct Slot {
    state: usize,
    capacity: usize,
}

impl Slot {
    /// Where a copy begins, in bytes from the body's start.
    fn copy(self, which: u64) -> usize {
        let second = if which == 0 { 0 } else { self.capacity };
        (self.state + 1) * WORD + second
    }
}

/// Slots of these capacities, one behind the other, and the words of the whole body. `None`: no
/// memory is that large.
fn slots(capacities: &[usize]) -> Option<(Arc<[Slot]>, usize)> {
    let mut next = TABLE.checked_add(capacities.len())?;
    let mut slots = Vec::with_capacity(capacities.len());
    for &capacity in capacities {
        if capacity == 0 || capacity % WORD != 0 || capacity > MOST {
            return None;
        }
        slots.push(Slot {
            state: next,
            capacity,
        });
        next = next.checked_add(1 + 2 * (capacity / WORD))?;
    }
    Some((slots.into(), next))
}

/// A list of numbers, texts and bytes in shared memory, of a fixed length.
///
/// Each place has a slot, as large as its first item needs (8 bytes at least; text and bytes
/// get up to 8 more). Later items may be of any type that fits. Every operation takes the list's
/// own lock for a moment: an item is never seen half written, also not when its writer is
/// killed. There is no guard; where several items must change together, bring a lock.
///
/// `Clone` is another handle on the same list.
///
/// ```
/// use multiproc_value::{Item, ShareableList};
///
/// let list = ShareableList::new(["howdy".into(), 42.into(), 1.5.into(), Item::None])?;
/// list.set(3, true)?;
/// assert_eq!(list.get(0)?, Item::from("howdy"));
/// assert_eq!(list.index_of(&true.into())?, 3);
/// assert!(list.set(1, "too long for a number").is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[doc(alias = "multiprocessing.shared_memory.ShareableList")]
#[derive(Clone)]
pub struct ShareableList {
    segment: Segment,
    slots: Arc<[Slot]>,
}

impl ShareableList {
    pub(crate) fn kind() -> Kind {
        Kind {
            tag: "a shareable list".into(),
            fixed: size_of::<Head>(),
            align: align_of::<Head>(),
        }
    }

    pub(crate) fn make(
        name: Option<(&str, &Naming)>,
        items: impl IntoIterator<Item = Item>,
    ) -> Result<Self, CreateError> {
        let items: Vec<Item> = items.into_iter().collect();
        let capacities: Vec<usize> = items.iter().map(Item::capacity).collect();
        let (slots, words) =
            slots(&capacities).ok_or(CreateError::TooLarge { bytes: usize::MAX })?;
        let bytes = words * WORD;
        let init = |segment: &Segment| {
            let head = Head {
                lock: RobustLock::new(),
                len: AtomicU64::new(items.len() as u64),
                unused: [const { AtomicU64::new(0) }; 2],
            };
            place::init_head(segment, head);
            let words = place::words(segment);
            for (index, item) in items.iter().enumerate() {
                // Relaxed: nobody sees it before it is published.
                words[TABLE + index].store(capacities[index] as u64, Relaxed);
                write(words, slots[index], item);
            }
        };
        let segment = match name {
            None => Segment::anonymous(Self::kind(), bytes, bytes, init)?,
            Some((name, naming)) => {
                Segment::create(name, naming, Self::kind(), bytes, bytes, init)?
            }
        };
        Ok(Self { segment, slots })
    }

    /// How a named list is to be made: mode, owner, group, temporary.
    pub fn options() -> Options<Self> {
        Options::new()
    }

    /// A list for this process and the children it forks.
    ///
    /// # Errors
    ///
    /// [`CreateError`]; nothing is left behind.
    pub fn new(items: impl IntoIterator<Item = Item>) -> Result<Self, CreateError> {
        Self::make(None, items)
    }

    /// A list with a name, for programs started apart; the owner alone (0600) may open it.
    ///
    /// # Errors
    ///
    /// [`CreateError`], among them `AlreadyExists`; nothing is left behind.
    pub fn create(name: &str, items: impl IntoIterator<Item = Item>) -> Result<Self, CreateError> {
        Self::options().create(name, items)
    }

    /// Opens the list of that name, whatever is in it, or makes it of what `make` gives. When
    /// several processes race, one makes it and all get the same.
    ///
    /// # Errors
    ///
    /// As [`ShareableList::open`] and [`ShareableList::create`].
    pub fn open_or_create<I: IntoIterator<Item = Item>>(
        name: &str,
        make: impl FnMut() -> I,
    ) -> Result<Self, OpenOrCreateError> {
        Self::options().open_or_create(name, make)
    }

    /// Opens the list of that name.
    ///
    /// # Errors
    ///
    /// [`OpenError`] says what was expected and what was found.
    pub fn open(name: &str) -> Result<Self, OpenError> {
        Self::checked(Segment::open(name, &Self::kind())?, name)
    }

    /// The list in a segment of the right kind. `name` is for messages only.
    pub(crate) fn checked(segment: Segment, name: &str) -> Result<Self, OpenError> {
        let words = place::words(&segment);
        let damaged = |expected: usize| OpenError::Size {
            name: name.into(),
            expected: expected as u64,
            found: segment.body_bytes() as u64,
        };
        // Invariant 1. Relaxed: written before the name was. A peer may have scribbled: `get`
        // keeps the length inside the body, and the sum must come out right.
        let len = words[LEN].load(Relaxed) as usize;
        let end = TABLE.checked_add(len).filter(|end| *end <= words.len());
        let Some(table) = end.map(|end| &words[TABLE..end]) else {
            return Err(damaged(usize::MAX));
        };
        let capacities: Vec<usize> = table.iter().map(|c| c.load(Relaxed) as usize).collect();
        match slots(&capacities) {
            Some((slots, needed)) if needed * WORD == segment.body_bytes() => {
                Ok(Self { segment, slots })
            }
            Some((_, needed)) => Err(damaged(needed.saturating_mul(WORD))),
            None => Err(damaged(usize::MAX)),
        }
    }

    /// Removes a name; whoever has the list open keeps it.
    ///
    /// # Errors
    ///
    /// [`UnlinkError`].
    pub fn unlink(name: &str) -> Result<(), UnlinkError> {
        multiproc_segment::unlink(name)
    }

    /// How many items it has; never changes.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// No items?
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The most bytes that an item at `index` can have.
    pub fn capacity_at(&self, index: usize) -> Option<usize> {
        self.slots.get(index).map(|slot| slot.capacity)
    }

    pub(crate) fn segment(&self) -> &Segment {
        &self.segment
    }

    #[allow(unsafe_code)]
    fn lock(&self) -> RobustGuard<'_> {
        // SAFETY: `make` wrote one, or `open` found the kind that says so.
        let head: &Head = unsafe { place::head(&self.segment) };
        loop {
            // A holder that died left nothing to repair: see the essay. The wait has no
            // deadline, so it does not time out.
            if let Ok(held) = head.lock.acquire(Deadline::NEVER) {
                return held;
            }
        }
    }

    /// `_held` is of this list: Invariant 2.
    fn read(&self, index: usize, _held: &RobustGuard<'_>) -> Result<Item, GetItemError> {
        let len = self.len();
        let slot = *self
            .slots
            .get(index)
            .ok_or(GetItemError::OutOfRange { index, len })?;
        read(place::words(&self.segment), slot).ok_or(GetItemError::Corrupted { index })
    }

    /// A copy of the item at `index`. *Blocks until* no other process is in the middle of an
    /// operation. *Wakes when* that one is done. *If a peer dies* in the middle of one, the
    /// item is the old or the new one.
    ///
    /// # Errors
    ///
    /// [`GetItemError`].
    pub fn get(&self, index: usize) -> Result<Item, GetItemError> {
        self.read(index, &self.lock())
    }

    /// Overwrites the item at `index`; its type may be another one. *Blocks*, *wakes* and *if a
    /// peer dies*: as [`ShareableList::get`].
    ///
    /// # Errors
    ///
    /// [`SetItemError`]; nothing was written, and the item comes back.
    pub fn set(&self, index: usize, item: impl Into<Item>) -> Result<(), SetItemError> {
        let (item, len) = (item.into(), self.len());
        let Some(&slot) = self.slots.get(index) else {
            return Err(SetItemError::OutOfRange { index, len, item });
        };
        let (bytes, most) = (item.bytes(<[u8]>::len), slot.capacity);
        if bytes > most {
            return Err(SetItemError::TooLong {
                index,
                item,
                bytes,
                most,
            });
        }
        let _held = self.lock();
        write(place::words(&self.segment), slot, &item);
        Ok(())
    }

    /// The items one by one, each copied by a [`ShareableList::get`] of its own.
    pub fn iter(&self) -> Iter<'_, Self> {
        Iter::new(self, self.len())
    }

    /// A copy of all items, as they are at one moment. *Blocks*, *wakes* and *if a peer dies*:
    /// as [`ShareableList::get`].
    ///
    /// # Errors
    ///
    /// [`GetItemError::Corrupted`].
    pub fn to_vec(&self) -> Result<Vec<Item>, GetItemError> {
        let held = self.lock();
        (0..self.len())
            .map(|index| self.read(index, &held))
            .collect()
    }

    /// How many items equal `item`, in type and value. *Blocks*, *wakes* and *if a peer dies*:
    /// as [`ShareableList::get`].
    ///
    /// # Errors
    ///
    /// [`GetItemError::Corrupted`].
    pub fn count(&self, item: &Item) -> Result<usize, GetItemError> {
        Ok(self.to_vec()?.iter().filter(|other| *other == item).count())
    }

    /// Where the first item is that equals `item`, in type and value. *Blocks*, *wakes* and *if
    /// a peer dies*: as [`ShareableList::get`].
    ///
    /// # Errors
    ///
    /// [`IndexOfError`].
    #[doc(alias = "index")]
    pub fn index_of(&self, item: &Item) -> Result<usize, IndexOfError> {
        let held = self.lock();
        for index in 0..self.len() {
            match self.read(index, &held) {
                Ok(other) if other == *item => return Ok(index),
                Ok(_) => {}
                Err(_) => return Err(IndexOfError::Corrupted { index }),
            }
        }
        Err(IndexOfError::NotInList)
    }
}

impl Indexed for ShareableList {
    type Found<'a> = Result<Item, GetItemError>;

    fn at(&self, index: usize) -> Self::Found<'_> {
        self.get(index)
    }
}

impl<'a> IntoIterator for &'a ShareableList {
    type Item = Result<Item, GetItemError>;
    type IntoIter = Iter<'a, ShareableList>;

    /// As [`ShareableList::iter`].
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

fn read(words: &[AtomicU64], slot: Slot) -> Option<Item> {
    // Acquire. PAIRS list-item: the Release in `write`. The lock orders living writers.
    let state = words[slot.state].load(Acquire);
    let len = (state >> 32) as usize;
    if len > slot.capacity {
        return None;
    }
    let mut bytes = vec![0; len];
    words::read(words, slot.copy(state & WHICH), &mut bytes);
    Item::from_bytes(state & 7, bytes)
}

/// The item fits: the caller looked.
fn write(words: &[AtomicU64], slot: Slot, item: &Item) {
    // Relaxed: the lock orders it.
    let which = words[slot.state].load(Relaxed) & WHICH ^ WHICH;
    item.bytes(|bytes| {
        step!("list: about to write");
        words::write(words, slot.copy(which), bytes);
        step!("list: written, does not count");
        let state = (bytes.len() as u64) << 32 | which | item.tag();
        // Release. PAIRS list-item: whoever sees this state sees the bytes; and a kill between
        // the two finds them in this order.
        words[slot.state].store(state, Release);
        step!("list: counts");
    });
}

impl fmt::Debug for ShareableList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ShareableList")?;
        f.debug_list()
            .entries(self.iter().map(|item| item.ok()))
            .finish()
    }
}
