//! The protocol: put, get, wait, repair. Over any [`Memory`], so that loom can run it.
//!
//! Ordering pairs here: `record` (COMMIT and who reads a header), `room` (RELEASE and who
//! reuses the memory), `finished` (the last task done and who joins), `waiting` (a
//! writer without room, and who counts). The locks' own pair is `lock`, the bells' is `bell`.

use crate::error::{GetError, PutError};
use crate::place::{Place, View};
use crate::record::{self, Header, Position, UNIT};
use crate::state::State;
use multiproc_core::deadline::Deadline;
use multiproc_core::prim::{AtomicU32, AtomicU64, Ordering::*, fence};
use multiproc_core::robust::{RobustGuard, RobustLock};
use multiproc_core::wait::{self, Slept, Spin};
use multiproc_core::{step, unless_broken};
use std::time::Duration;

/// Records below this stay in the fast caches; above it a writer first hopes for the
/// reader.
const HOT: usize = 1 << 20;

/// A window above this is given back when the ring runs empty, but for [`KEEP`].
const GIVE_BACK: usize = 16 << 20;
const KEEP: usize = 64 << 10;

/// How far a writer goes above the hot window without another look.
const STRIDE: usize = 1 << 16;

/// The bytes behind a ring.
pub trait Memory {
    /// The header at this offset, a multiple of 8 below the reserve.
    fn word(&self, at: usize) -> &AtomicU64;

    /// Copies `bytes` to the offset.
    ///
    /// # Safety
    ///
    /// `at + bytes.len()` is inside the reserve and allocated, and the caller holds the
    /// put lock with this range beyond the frontier's header.
    unsafe fn write(&self, at: usize, bytes: &[u8]);

    /// Makes `from..to` usable.
    ///
    /// # Errors
    ///
    /// No memory.
    fn grow(&self, from: usize, to: usize) -> Result<(), PutError>;

    /// Gives `from..to` back. Nobody uses it.
    fn punch(&self, from: usize, to: usize);

    /// A reader died holding the get lock, which we hold now; so many records are released
    /// (modulo 2^32).
    fn reader_died(&self, _released: u32) {}

    /// Bytes in all, allocated or not; never from shared memory.
    fn reserve(&self) -> usize;
}

/// How long to wait, and what else ends a wait.
#[derive(Clone, Copy)]
pub struct Wait<'a> {
    /// Until when.
    pub deadline: Deadline,
    /// Is it in vain? Asked before sleeping (with false: only what costs nothing to know)
    /// and after each slice and at the deadline (with true: also who is alive).
    pub in_vain: &'a dyn Fn(bool) -> bool,
}

impl std::fmt::Debug for Wait<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wait")
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

impl Wait<'static> {
    /// For ever.
    pub const FOREVER: Self = Self {
        deadline: Deadline::NEVER,
        in_vain: &|_| false,
    };
    /// Not at all.
    pub const NOT: Self = Self {
        deadline: Deadline::NOW,
        in_vain: &|_| false,
    };
}

/// The protocol over one ring's words and bytes.
#[derive(Clone, Copy)]
#[allow(missing_debug_implementations)]
pub struct Flow<'a, M> {
    /// The ring's words.
    pub state: &'a State,
    /// Its bytes.
    pub memory: M,
}

/// Room for one record, under the put lock.
#[allow(missing_debug_implementations)]
pub struct Reserved<'a, M> {
    flow: Flow<'a, M>,
    guard: RobustGuard<'a>,
    position: Position,
    len: usize,
}

/// The next record, under the get lock.
#[allow(missing_debug_implementations)]
pub struct Claimed<'a, M> {
    flow: Flow<'a, M>,
    guard: RobustGuard<'a>,
    position: Position,
    len: usize,
}

/// Why a side's lock was not had.
enum NotLocked {
    TimedOut,
    InVain,
}

/// Takes a side's lock, to be released with `bell`. `waiting` says that its holder itself
/// waits: then there is nothing to be had for one who does not.
#[inline]
fn lock<'a>(
    lock: &'a RobustLock,
    bell: &'a AtomicU32,
    waiting: &AtomicU32,
    wait: &Wait<'_>,
) -> Result<RobustGuard<'a>, NotLocked> {
    match lock.try_acquire() {
        Some(guard) => Ok(guard.with_bell(bell)),
        None => Ok(lock_contended(lock, waiting, wait)?.with_bell(bell)),
    }
}

/// How often a count is tried while others change it.
const MOST_LOOKS: usize = 100;

/// How long one who does not wait still waits for another's copy to be done, unless it is
/// stopped in the middle.
const MOST_COPYING: Duration = Duration::from_millis(50);

#[cold]
fn lock_contended<'a>(
    lock: &'a RobustLock,
    waiting: &AtomicU32,
    wait: &Wait<'_>,
) -> Result<RobustGuard<'a>, NotLocked> {
    let at_once = wait.deadline == Deadline::NOW;
    let (until, slice) = match at_once {
        true => (Deadline::after(MOST_COPYING), Duration::from_millis(1)),
        false => (wait.deadline, wait::SLICE),
    };
    loop {
        // Relaxed: a hint. Whoever put or got before our call has released since.
        if at_once && waiting.load(Relaxed) != 0 {
            return Err(NotLocked::TimedOut);
        }
        if let Ok(guard) = lock.acquire(Deadline::after(slice).sooner(until)) {
            return Ok(guard);
        }
        if !at_once && (wait.in_vain)(true) {
            return Err(NotLocked::InVain);
        }
        if until.passed() {
            return Err(NotLocked::TimedOut);
        }
    }
}

/// A leader's wait for data or room, between two looks.
struct Leader<'w> {
    spin: Spin,
    /// The bell as it was before the other side was asked to ring it.
    asked: Option<u32>,
    waiting: &'w AtomicU32,
    wait: Wait<'w>,
}

/// What to do after a wait.
enum Next {
    Look,
    TimedOut,
    InVain,
}

impl<'w> Leader<'w> {
    fn new(waiting: &'w AtomicU32, wait: Wait<'w>) -> Self {
        Self {
            spin: Spin::new(),
            asked: None,
            waiting,
            wait,
        }
    }

    /// Waits a little, because the last look found nothing.
    fn wait(&mut self, bell: &AtomicU32, other: &RobustLock) -> Next {
        if self.wait.deadline == Deadline::NOW {
            return self.out_of_time();
        }
        let Some(seen) = self.asked else {
            if self.spin.again() {
                return Next::Look;
            }
            // Release. PAIRS waiting: what was put before is counted.
            self.waiting.store(1, Release);
            // Acquire. PAIRS bell.
            self.asked = Some(bell.load(Acquire));
            other.ask_for_bell();
            step!("ring: asked for the bell");
            return if (self.wait.in_vain)(false) {
                Next::InVain
            } else {
                Next::Look
            };
        };
        self.asked = None;
        match wait::sleep(bell, seen, self.wait.deadline) {
            Slept::TimedOut => self.out_of_time(),
            Slept::SliceOver if (self.wait.in_vain)(true) => Next::InVain,
            Slept::Look | Slept::SliceOver => {
                step!("ring: woken");
                Next::Look
            }
        }
    }

    /// Also who never waits for a whole slice hears of it when the others have died.
    fn out_of_time(&self) -> Next {
        if (self.wait.in_vain)(true) {
            Next::InVain
        } else {
            Next::TimedOut
        }
    }
}

impl Drop for Leader<'_> {
    fn drop(&mut self) {
        #[cfg(loom)]
        if multiproc_core::model::dead() {
            return;
        }
        self.spin.learn();
        if self.waiting.load(Relaxed) != 0 {
            self.waiting.store(0, Relaxed);
        }
    }
}

impl<'a, M: Memory + Copy> Flow<'a, M> {
    /// The most bytes that a record can have here: half the reserve. Wherever the two sides
    /// stand in an empty ring, so much is free on one side of them.
    pub fn most(&self) -> usize {
        (self.memory.reserve() / 2 - 2 * UNIT).min(u32::MAX as usize)
    }

    /// Room for a record of `len` bytes. *Blocks until* there is room, the deadline passes,
    /// or the wait is in vain. *Wakes when* a reader releases a record. *If a peer dies*
    /// holding the lock, it is had at once, and what it committed counts.
    ///
    /// # Errors
    ///
    /// See [`PutError`].
    #[inline]
    pub fn reserve(self, len: usize, wait: Wait<'_>) -> Result<Reserved<'a, M>, PutError> {
        let (guard, position) = self.begin_put(len, &wait)?;
        Ok(Reserved {
            flow: self,
            guard,
            position,
            len,
        })
    }

    /// [`Flow::reserve`], the bytes, and COMMIT.
    ///
    /// # Errors
    ///
    /// See [`PutError`].
    #[inline]
    pub fn put(self, bytes: &[u8], wait: Wait<'_>) -> Result<(), PutError> {
        let (guard, position) = self.begin_put(bytes.len(), &wait)?;
        // SAFETY: a place for so many bytes, so allocated and inside; we hold the put lock.
        unsafe { self.memory.write(position.at + UNIT, bytes) };
        self.end_put(position, bytes.len());
        drop(guard);
        step!("put: end");
        Ok(())
    }

    /// Puts several records, one after the other in `bytes`, with these lengths. As many as
    /// fit enter at once, by one COMMIT; then the next, with other writers' between them.
    /// *Blocks until* all are in, the deadline passes or the wait is in vain; *wakes* and *if
    /// a peer dies*: as [`Flow::reserve`].
    ///
    /// # Errors
    ///
    /// How many were put, and why the next was not.
    pub fn put_many(
        self,
        mut bytes: &[u8],
        mut lens: &[usize],
        wait: Wait<'_>,
    ) -> Result<(), (usize, PutError)> {
        let mut put = 0;
        while let Some(first) = lens.first() {
            let (guard, position) = self.begin_put(*first, &wait).map_err(|e| (put, e))?;
            let (entered, taken) = self.fill_batch(position, bytes, lens);
            drop(guard);
            step!("put: end");
            put += entered;
            (bytes, lens) = (&bytes[taken..], &lens[entered..]);
        }
        Ok(())
    }

    /// Under the put lock: as many records as fit from `position` on, where the first does.
    /// How many, and their bytes.
    #[inline]
    fn fill_batch(&self, position: Position, bytes: &[u8], lens: &[usize]) -> (usize, usize) {
        let put = &self.state.put;
        let seen = Position::read(put.seen_head.load(Relaxed));
        let capacity = self.state.signs.capacity.load(Relaxed);
        let room = capacity
            .saturating_sub(position.items.wrapping_sub(seen.items))
            .max(1);
        let limit = (put.limit.load(Relaxed) as usize).min(self.memory.reserve());
        let (mut next, mut entered, mut taken) = (position, 0, 0);
        for len in lens.iter().take(room as usize) {
            if entered > 0 && next.at + record::size(*len) + UNIT > limit {
                break;
            }
            // SAFETY: the first has its place; the others lie below the limit, which is
            // allocated, and below the reserve. We hold the put lock.
            unsafe {
                self.memory
                    .write(next.at + UNIT, &bytes[taken..taken + len])
            };
            if entered > 0 {
                let header = record::record(record::seq_of(next.items), *len);
                // Relaxed: beyond the frontier until COMMIT, which carries it.
                self.memory.word(next.at).store(header, Relaxed);
            }
            next = next.after_record(*len);
            (entered, taken) = (entered + 1, taken + len);
        }
        step!("batch: filled");
        self.commit(position, lens[0], next);
        (entered, taken)
    }

    /// The lock, and a place for `len` bytes.
    #[inline(always)]
    fn begin_put(
        &self,
        len: usize,
        wait: &Wait<'_>,
    ) -> Result<(RobustGuard<'a>, Position), PutError> {
        let (put, signs) = (&self.state.put, &self.state.signs);
        if len > self.most() {
            return Err(PutError::TooLarge {
                bytes: len,
                most: self.most(),
            });
        }
        step!("put: begin");
        let guard = match put.lock.try_acquire_clean() {
            Some(guard) => guard.with_bell(&signs.data),
            None => self.lock_put(wait)?,
        };
        if signs.shut.load(Relaxed) != 0 {
            return Err(PutError::Closed);
        }
        let need = record::size(len) + UNIT;
        let position = match self.place_at_once(need) {
            Some(position) => position,
            None => self.place(need, wait)?,
        };
        Ok((guard, position))
    }

    /// Makes the record exist. The lock is released afterwards.
    #[inline(always)]
    fn end_put(&self, position: Position, len: usize) {
        step!("put: filled");
        self.commit(position, len, position.after_record(len));
    }

    /// Zeroes the frontier `next`, and COMMITs the record of `len` bytes at `position` (and
    /// with it those between).
    #[inline(always)]
    fn commit(&self, position: Position, len: usize, next: Position) {
        // Relaxed: COMMIT carries it (Invariant 1).
        unless_broken!(
            "ring: zero",
            self.memory.word(next.at).store(0, Relaxed),
            ()
        );
        step!("put: frontier is zero");
        let header = record::record(record::seq_of(position.items), len);
        // COMMIT. Release. PAIRS record.
        let order = unless_broken!("ring: commit", Release, Relaxed);
        self.memory.word(position.at).store(header, order);
        step!("put: committed");
        self.state.put.frontier.store(next.bits(), Release); // PAIRS record (len, unfinished)
        step!("put: counted");
    }

    #[cold]
    fn lock_put(&self, wait: &Wait<'_>) -> Result<RobustGuard<'a>, PutError> {
        let (put, signs) = (&self.state.put, &self.state.signs);
        let guard = lock(&put.lock, &signs.data, &put.waiting, wait).map_err(|e| match e {
            NotLocked::TimedOut => PutError::Full,
            NotLocked::InVain => PutError::Closed,
        })?;
        if guard.owner_died() {
            unless_broken!("ring: repair", self.repair()?, ());
        }
        Ok(guard)
    }

    #[cold]
    fn place(&self, need: usize, wait: &Wait<'_>) -> Result<Position, PutError> {
        match self.find_place(need, wait)? {
            Some(position) => Ok(position),
            None => self.wait_for_room(need, *wait),
        }
    }

    #[cold]
    fn wait_for_room(&self, need: usize, wait: Wait<'_>) -> Result<Position, PutError> {
        let (put, get, signs) = (&self.state.put, &self.state.get, &self.state.signs);
        let mut leader = Leader::new(&put.waiting, wait);
        loop {
            let next = leader.wait(&signs.room, &get.lock);
            if signs.shut.load(Relaxed) != 0 || matches!(next, Next::InVain) {
                return Err(PutError::Closed);
            }
            if let Some(position) = self.find_place(need, &wait)? {
                return Ok(position);
            }
            if matches!(next, Next::TimedOut) {
                return Err(PutError::Full);
            }
        }
    }

    /// Walks the frontier past what a dead writer committed. Idempotent: dying here leaves
    /// the same work to the next.
    #[cold]
    fn repair(&self) -> Result<(), PutError> {
        let put = &self.state.put;
        put.waiting.store(0, Relaxed);
        put.limit.store(0, Relaxed);
        let reserve = self.memory.reserve();
        let mut frontier = Position::read(put.frontier.load(Relaxed));
        let mut jumps = 0;
        loop {
            if frontier.at > reserve - UNIT {
                return Err(PutError::Corrupted);
            }
            // Acquire. PAIRS record: the dead writer's bytes come with its header.
            match self.memory.word(frontier.at).load(Acquire) {
                0 => return Ok(()),
                word => match Header::read(word) {
                    Header::Record { len, .. } if len <= self.most() => {
                        frontier = frontier.after_record(len);
                    }
                    Header::Jump { target } if target <= reserve - UNIT && jumps < 4 => {
                        jumps += 1;
                        frontier = self.jumped(frontier, target);
                    }
                    _ => return Err(PutError::Corrupted),
                },
            }
            step!("repair: about to advance");
            put.frontier.store(frontier.bits(), Relaxed);
        }
    }

    /// What follows from a jump. Derived from the frontier, so that a repair does the same.
    fn jumped(&self, from: Position, target: usize) -> Position {
        let put = &self.state.put;
        if target == 0 {
            put.top.store((from.at + UNIT) as u64, Relaxed);
        }
        put.start.store(target as u64, Relaxed);
        from.after_jump(target)
    }

    fn view(&self, frontier: Position, head: Position) -> View {
        let put = &self.state.put;
        View {
            at: frontier.at,
            run: frontier.run,
            start: put.start.load(Relaxed) as usize,
            top: put.top.load(Relaxed) as usize,
            head: head.at,
            head_run: head.run,
            window: put.window.load(Relaxed) as usize,
            reserve: self.memory.reserve(),
            cap: usize::try_from(self.state.signs.cap.load(Relaxed)).unwrap_or(usize::MAX),
            empty: frontier.items == head.items,
        }
    }

    fn read_head(&self) -> Position {
        // Acquire. PAIRS room: the reader is done with the bytes before its new head.
        let bits = self.state.get.head.load(Acquire);
        self.state.put.seen_head.store(bits, Relaxed);
        Position::read(bits)
    }

    /// Under the put lock: the frontier, if the record may go there as far as is known.
    #[inline(always)]
    fn place_at_once(&self, need: usize) -> Option<Position> {
        let put = &self.state.put;
        let frontier = Position::read(put.frontier.load(Relaxed));
        let seen = Position::read(put.seen_head.load(Relaxed));
        let limit = put.limit.load(Relaxed) as usize;
        let queued = frontier.items.wrapping_sub(seen.items);
        (queued < self.state.signs.capacity.load(Relaxed)
            && frontier.at + need <= limit.min(self.memory.reserve()))
        .then_some(frontier)
    }

    /// Under the put lock: where the record goes now, if anywhere; jumps and grows for it.
    fn find_place(&self, need: usize, wait: &Wait<'_>) -> Result<Option<Position>, PutError> {
        if let Some(position) = self.place_at_once(need) {
            return Ok(Some(position));
        }
        let put = &self.state.put;
        let frontier = Position::read(put.frontier.load(Relaxed));
        let capacity = self.state.signs.capacity.load(Relaxed);
        let head = self.read_head();
        if frontier.items.wrapping_sub(head.items) >= capacity {
            return Ok(None);
        }
        let place = self.find_place_slowly(frontier, head, need, wait)?;
        if let Some(at) = place {
            // Above the hot window, a look every now and then: it may be left again.
            let hot = HOT.max(at.at + STRIDE);
            let seen = Position::read(put.seen_head.load(Relaxed));
            let limit = self.view(at, seen).limit(hot);
            put.limit.store(limit as u64, Relaxed);
        }
        Ok(place)
    }

    #[cold]
    fn find_place_slowly(
        &self,
        frontier: Position,
        head: Position,
        need: usize,
        wait: &Wait<'_>,
    ) -> Result<Option<Position>, PutError> {
        let put = &self.state.put;
        let mut view = self.view(frontier, head);
        if !view.is_sound() {
            return Err(PutError::Corrupted);
        }
        let hot = HOT.max(4 * need);
        let mut place = view.hot(need, hot);
        if place.is_none()
            && view.window >= hot
            && head.items != frontier.items
            && wait.deadline != Deadline::NOW
            && put.vain_head.load(Relaxed) != head.bits()
        {
            // New memory costs more than a moment's patience; about as long as it takes
            // the reader to copy as much.
            let mut latest = head;
            let came = wait::patiently(100 + need / 64, || {
                latest = self.read_head();
                view = self.view(frontier, latest);
                place = view.hot(need, hot);
                place.is_some() || !view.is_sound()
            });
            if !view.is_sound() {
                return Err(PutError::Corrupted);
            }
            if !came {
                put.vain_head.store(latest.bits(), Relaxed);
            }
        }
        match place.unwrap_or_else(|| view.anywhere(need)) {
            Place::Here => Ok(Some(frontier)),
            Place::Jump(target) => Ok(Some(self.jump(frontier, target))),
            Place::Nowhere { grow_to: None } => Ok(None),
            Place::Nowhere {
                grow_to: Some(least),
            } => {
                let double = view
                    .window
                    .saturating_mul(2)
                    .min(view.cap)
                    .min(view.reserve);
                let window = least.max(double);
                step!("grow: begin");
                put.allocated.fetch_max(window as u64, Relaxed);
                if window > GIVE_BACK {
                    // Said before, so that the memory comes back also if we die right here.
                    self.state.signs.large.store(1, Relaxed);
                }
                let window = match self.memory.grow(view.window, window) {
                    Ok(()) => window,
                    Err(_) => self.memory.grow(view.window, least).map(|()| least)?,
                };
                step!("grow: allocated");
                put.window.store(window as u64, Relaxed);
                step!("grow: window written");
                // The same numbers as before, but for the window: a peer that scribbles
                // cannot move what was checked.
                match (View { window, ..view }).anywhere(need) {
                    Place::Here => Ok(Some(frontier)),
                    Place::Jump(target) => Ok(Some(self.jump(frontier, target))),
                    Place::Nowhere { .. } => Err(PutError::Corrupted),
                }
            }
        }
    }

    /// Leads the chain on to `target`.
    fn jump(&self, frontier: Position, target: usize) -> Position {
        let put = &self.state.put;
        step!("jump: begin");
        put.limit.store(0, Relaxed);
        // Relaxed: the COMMIT below carries it (Invariants 1 and 2).
        self.memory.word(target).store(0, Relaxed);
        step!("jump: new frontier is zero");
        // Release. PAIRS record.
        self.memory
            .word(frontier.at)
            .store(record::jump(target), Release);
        step!("jump: committed");
        let next = self.jumped(frontier, target);
        step!("jump: start and top written");
        put.frontier.store(next.bits(), Relaxed);
        next
    }

    /// The next record. *Blocks until* there is one, the deadline passes, or the wait is in
    /// vain and nothing is left. *Wakes when* a writer commits. *If a peer dies* holding
    /// the lock, it is had at once, and the record that the dead one had not released is
    /// the next.
    ///
    /// # Errors
    ///
    /// See [`GetError`].
    #[inline]
    pub fn claim(self, wait: Wait<'_>) -> Result<Claimed<'a, M>, GetError> {
        let (guard, position, len) = self.begin_get(&wait)?;
        Ok(Claimed {
            flow: self,
            guard,
            position,
            len,
        })
    }

    /// [`Flow::claim`], `read` of offset and length, and RELEASE.
    ///
    /// # Errors
    ///
    /// See [`GetError`].
    #[inline]
    pub fn get<R>(
        self,
        wait: Wait<'_>,
        read: impl FnOnce(M, usize, usize) -> R,
    ) -> Result<R, GetError> {
        let (guard, position, len) = self.begin_get(&wait)?;
        let result = read(self.memory, position.at + UNIT, len);
        self.end_get(position, len);
        drop(guard);
        step!("get: end");
        Ok(result)
    }

    /// Up to `most` records (at least one), each given to `read`, and one RELEASE for all:
    /// killed before it, all of them stay. *Blocks*, *wakes* and *if a peer dies*: as
    /// [`Flow::claim`].
    ///
    /// # Errors
    ///
    /// See [`GetError`].
    pub fn get_many(
        self,
        most: usize,
        wait: Wait<'_>,
        mut read: impl FnMut(M, usize, usize),
    ) -> Result<usize, GetError> {
        let (guard, mut position, mut len) = self.begin_get(&wait)?;
        let mut got = 1;
        loop {
            read(self.memory, position.at + UNIT, len);
            if got >= most {
                break;
            }
            match self.record_at(position.after_record(len)) {
                Some(next) => (position, len) = next,
                None => break,
            }
            got += 1;
        }
        step!("batch: copied");
        self.end_get(position, len);
        drop(guard);
        step!("get: end");
        Ok(got)
    }

    /// The lock, and the next record.
    #[inline(always)]
    fn begin_get(&self, wait: &Wait<'_>) -> Result<(RobustGuard<'a>, Position, usize), GetError> {
        let (get, signs) = (&self.state.get, &self.state.signs);
        step!("get: begin");
        let guard = match get.lock.try_acquire_clean() {
            Some(guard) => guard.with_bell(&signs.room),
            None => self.lock_get(wait)?,
        };
        let (position, len) = match self.look_at_once() {
            Some(found) => found,
            None => self.wait_for_data(*wait)?,
        };
        Ok((guard, position, len))
    }

    /// Gives the record up. The lock is released afterwards.
    #[inline(always)]
    pub(crate) fn end_get(&self, position: Position, len: usize) {
        step!("get: copied");
        // RELEASE. Release. PAIRS room.
        let order = unless_broken!("ring: release", Release, Relaxed);
        let next = position.after_record(len);
        self.state.get.head.store(next.bits(), order);
        step!("get: released");
        // Relaxed: a hint.
        if self.state.signs.large.load(Relaxed) != 0 {
            self.trim(next);
        }
    }

    /// Under the get lock: if the ring is empty and the put lock is free, goes back to
    /// offset 0 and gives the memory back. Each store leaves a ring that works.
    #[cold]
    fn trim(&self, head: Position) {
        let (put, get, signs) = (&self.state.put, &self.state.get, &self.state.signs);
        // Relaxed: looked at again under the put lock.
        if self.memory.word(head.at).load(Relaxed) != 0 {
            return;
        }
        let Some(guard) = put.lock.try_acquire() else {
            return;
        };
        let guard = guard.with_bell(&signs.data);
        if guard.owner_died() && self.repair().is_err() {
            return;
        }
        let mut frontier = Position::read(put.frontier.load(Relaxed));
        if frontier != head {
            return;
        }
        step!("trim: begin");
        if frontier.at != 0 {
            frontier = self.jump(frontier, 0);
            get.head.store(frontier.bits(), Release); // PAIRS room
            put.seen_head.store(frontier.bits(), Relaxed);
            step!("trim: rewound");
        }
        let window = put.window.load(Relaxed) as usize;
        let keep = KEEP.min(window).min(self.memory.reserve());
        put.limit.store(0, Relaxed);
        put.top.store(0, Relaxed);
        put.window.store(keep as u64, Relaxed);
        step!("trim: window written");
        let allocated = (put.allocated.load(Relaxed) as usize).min(self.memory.reserve());
        if allocated > keep {
            self.memory.punch(keep, allocated);
        }
        step!("trim: punched");
        put.allocated.store(keep as u64, Relaxed);
        // Last, so that the next one trims again if we die before.
        signs.large.store(0, Relaxed);
        drop(guard);
    }

    #[cold]
    pub(crate) fn lock_get(&self, wait: &Wait<'_>) -> Result<RobustGuard<'a>, GetError> {
        let (get, signs) = (&self.state.get, &self.state.signs);
        let guard = match lock(&get.lock, &signs.room, &get.waiting, wait) {
            Ok(guard) => guard,
            Err(NotLocked::TimedOut) => return Err(GetError::Empty),
            Err(NotLocked::InVain) => {
                // The leader says what is left, and when there is nothing any more.
                let wait = Wait {
                    in_vain: &|_| false,
                    ..*wait
                };
                lock(&get.lock, &signs.room, &get.waiting, &wait).map_err(|_| GetError::Empty)?
            }
        };
        if guard.owner_died() {
            get.waiting.store(0, Relaxed);
            self.memory
                .reader_died(Position::read(get.head.load(Relaxed)).items);
        }
        Ok(guard)
    }

    #[cold]
    pub(crate) fn wait_for_data(&self, wait: Wait<'_>) -> Result<(Position, usize), GetError> {
        let (put, get, signs) = (&self.state.put, &self.state.get, &self.state.signs);
        if let Some(found) = self.look()? {
            return Ok(found);
        }
        let mut leader = Leader::new(&get.waiting, wait);
        loop {
            let next = leader.wait(&signs.data, &put.lock);
            // Acquire. PAIRS shut: what was put before the shutdown is seen by the look.
            let shut = signs.shut.load(Acquire) != 0;
            // The look comes last: who closed had put everything before.
            if let Some(found) = self.look()? {
                return Ok(found);
            }
            match next {
                _ if shut => return Err(GetError::Closed),
                Next::InVain => return Err(GetError::Closed),
                Next::TimedOut => return Err(GetError::Empty),
                Next::Look => {}
            }
        }
    }

    /// Under the get lock: the record at the head, if one is there and nothing is odd.
    #[inline(always)]
    pub(crate) fn look_at_once(&self) -> Option<(Position, usize)> {
        self.record_at(Position::read(self.state.get.head.load(Relaxed)))
    }

    /// The record at this position, if one is committed there and nothing is odd.
    #[inline(always)]
    fn record_at(&self, head: Position) -> Option<(Position, usize)> {
        let reserve = self.memory.reserve();
        if head.at > reserve - UNIT {
            return None;
        }
        // Acquire. PAIRS record: the bytes, and the zero behind them.
        let word = self.memory.word(head.at).load(Acquire);
        let (seq, len) = record::plain_record(word)?;
        (seq == record::seq_of(head.items) && head.at + record::size(len) <= reserve - UNIT)
            .then_some((head, len))
    }

    /// Under the get lock: the record at the head, if there is one; follows jumps.
    #[cold]
    fn look(&self) -> Result<Option<(Position, usize)>, GetError> {
        let head_word = &self.state.get.head;
        let reserve = self.memory.reserve();
        let mut head = Position::read(head_word.load(Relaxed));
        for _ in 0..4 {
            if head.at > reserve - UNIT {
                break;
            }
            // Acquire. PAIRS record: the bytes, and the zero behind them.
            let word = self.memory.word(head.at).load(Acquire);
            if word == 0 {
                return Ok(None);
            }
            match Header::read(word) {
                Header::Record { seq, len }
                    if seq == record::seq_of(head.items)
                        && head.at + record::size(len) <= reserve - UNIT =>
                {
                    return Ok(Some((head, len)));
                }
                Header::Jump { target } if target <= reserve - UNIT => {
                    head = head.after_jump(target);
                    step!("get: about to follow a jump");
                    // Release. PAIRS room: nobody reads before the target any more.
                    head_word.store(head.bits(), Release);
                }
                _ => break,
            }
        }
        Err(GetError::Corrupted)
    }

    /// Records put and not yet released. Exact at the instant at which it looks.
    pub fn len(&self) -> usize {
        let (put, get) = (&self.state.put, &self.state.get);
        if put.lock.is_orphaned() {
            // What a dead writer committed counts; somebody has to count it.
            drop(self.lock_put(&Wait {
                deadline: Deadline::NOW,
                in_vain: &|_| false,
            }));
        }
        loop {
            let head = get.head.load(Acquire); // PAIRS room
            let frontier = Position::read(put.frontier.load(Acquire));
            if get.head.load(Acquire) == head {
                let queued = frontier.items.wrapping_sub(Position::read(head).items);
                // A record that was taken before its writer wrote the frontier down.
                return if queued > u32::MAX / 2 {
                    0
                } else {
                    queued as usize
                };
            }
        }
    }

    /// Records put so far, modulo 2^32; at least as many as were released, whose writers may
    /// not have written the frontier down yet.
    pub(crate) fn put_count(&self) -> u32 {
        let put = Position::read(self.state.put.frontier.load(Acquire)).items;
        let released = Position::read(self.state.get.head.load(Acquire)).items; // PAIRS room
        if released.wrapping_sub(put) as i32 > 0 {
            released
        } else {
            put
        }
    }

    /// Records put and not yet reported done; `claimed` tells the reports by claim. Zero only
    /// if there was an instant at which nothing was unfinished: the reports are counted
    /// first, so each of them is for a record that is counted, too. Exact if no report came
    /// in between (it tries some times), else rather too much.
    pub fn unfinished(&self, claimed: &dyn Fn() -> u32) -> u32 {
        if self.state.put.lock.is_orphaned() {
            // What a dead writer committed counts, as for `len`.
            let _ = self.catch_up(Deadline::NOW);
        }
        // Acquire. PAIRS finished.
        let reports = || self.state.signs.done.load(Acquire).wrapping_add(claimed());
        let mut done = reports();
        for _ in 0..MOST_LOOKS {
            let unfinished = self.put_count().wrapping_sub(done);
            let now = reports();
            if unfinished == 0 || now == done {
                return unfinished;
            }
            done = now;
        }
        self.put_count().wrapping_sub(done)
    }

    /// Sees to it that what is committed is counted. A writer may have committed and not yet
    /// written the frontier down, or died there; one that waits for room has not.
    fn catch_up(&self, deadline: Deadline) -> bool {
        let put = &self.state.put;
        // Acquire. PAIRS waiting.
        let in_vain = &|_| put.waiting.load(Acquire) != 0;
        !matches!(
            self.lock_put(&Wait { deadline, in_vain }),
            Err(PutError::Full | PutError::Corrupted)
        )
    }

    /// Counts one record as done that has no claim; `claimed` tells the reports by claim.
    /// False if that is once too often; then nothing changed. [`Flow::report`] it then.
    #[must_use]
    pub fn task_done(&self, claimed: &dyn Fn() -> u32) -> bool {
        let signs = &self.state.signs;
        let mut done = signs.done.load(Relaxed);
        let mut looked = false;
        loop {
            if done.wrapping_add(claimed()) == self.put_count() {
                // A writer may have committed and not yet written the frontier down, or
                // died there.
                if looked || !self.catch_up(Deadline::NEVER) {
                    return false;
                }
                looked = true;
                continue;
            }
            // SeqCst. PAIRS finished: against `joiners` in `report`, as in `join`.
            match signs
                .done
                .compare_exchange(done, done.wrapping_add(1), SeqCst, Relaxed)
            {
                Ok(_) => break,
                Err(now) => done = now,
            }
        }
        step!("task_done: counted");
        true
    }

    /// Wakes those who join: something was counted as done.
    pub fn report(&self) {
        let signs = &self.state.signs;
        fence(SeqCst); // PAIRS finished: either we see the joiner or it sees our count
        if signs.joiners.load(Relaxed) != 0 {
            signs.joiners.store(0, Relaxed);
            signs.finished.fetch_add(1, Release); // PAIRS bell
            step!("task_done: bell changed");
            wait::wake_all(&signs.finished);
        }
    }

    /// *Blocks until* every record put was reported done (true), or the deadline passes
    /// (false). *Wakes when* one is reported. *If a peer dies*: `lost` is asked after each
    /// slice, and ends the wait.
    ///
    /// # Errors
    ///
    /// What `lost` says.
    pub fn join<E>(
        &self,
        deadline: Deadline,
        claimed: &dyn Fn() -> u32,
        lost: &dyn Fn() -> Option<E>,
    ) -> Result<bool, E> {
        let signs = &self.state.signs;
        loop {
            let seen = signs.finished.load(Acquire); // PAIRS bell
            signs.joiners.store(1, Relaxed);
            fence(SeqCst); // PAIRS finished
            if self.unfinished(claimed) == 0 {
                return Ok(true);
            }
            step!("join: about to sleep");
            match wait::sleep(&signs.finished, seen, deadline) {
                Slept::Look => {}
                Slept::SliceOver | Slept::TimedOut => {
                    if let Some(lost) = lost() {
                        return Err(lost);
                    }
                    if deadline.passed() {
                        return Ok(self.unfinished(claimed) == 0);
                    }
                }
            }
        }
    }

    /// No more puts; what is there can still be had. For everybody.
    pub fn shut_down(&self) {
        let signs = &self.state.signs;
        signs.shut.store(1, Release); // PAIRS shut
        step!("shut down: said");
        self.ring_all();
    }

    /// Makes everybody who waits look again: ends or the shutdown mark changed.
    pub fn ring_all(&self) {
        for bell in [&self.state.signs.data, &self.state.signs.room] {
            bell.fetch_add(1, Release); // PAIRS bell
            wait::wake_all(bell);
        }
    }
}

impl<'a, M: Memory + Copy> Reserved<'a, M> {
    /// Offset of the record's bytes.
    #[inline]
    pub fn at(&self) -> usize {
        self.position.at + UNIT
    }

    /// Bytes of the record.
    #[inline]
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.len
    }

    /// The memory below.
    #[inline]
    pub fn memory(&self) -> &M {
        &self.flow.memory
    }

    /// Copies all of the record's bytes in.
    #[inline]
    pub fn fill(&mut self, bytes: &[u8]) {
        assert_eq!(
            bytes.len(),
            self.len,
            "a record is filled with as much as was reserved"
        );
        // SAFETY: reserved, so allocated and inside; we hold the put lock.
        unsafe { self.flow.memory.write(self.at(), bytes) }
    }

    /// Makes the record exist.
    #[inline]
    pub fn commit(self) {
        self.flow.end_put(self.position, self.len);
        drop(self.guard);
        step!("put: end");
    }
}

impl<'a, M: Memory + Copy> Claimed<'a, M> {
    /// Offset of the record's bytes.
    #[inline]
    pub fn at(&self) -> usize {
        self.position.at + UNIT
    }

    /// Bytes of the record.
    #[inline]
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.len
    }

    /// The memory below.
    #[inline]
    pub fn memory(&self) -> &M {
        &self.flow.memory
    }

    /// Gives the record up: it is gone.
    #[inline]
    pub fn release(self) {
        self.flow.end_get(self.position, self.len);
        drop(self.guard);
        step!("get: end");
    }
}
