//! The reader's side: the next record, RELEASE; trimming.

use super::*;
use crate::state::{WATCH_EVER, WATCH_ROOM};

impl<'a, M: Memory + Copy> Flow<'a, M> {
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
        let (guard, found) = self.begin_get(&wait)?;
        Ok(Claimed {
            flow: self,
            guard,
            found,
        })
    }

    /// [`Flow::claim`], `read` of offset, length and the label of its descriptors, and RELEASE,
    /// unless `read` fails: then the record stays.
    ///
    /// *Blocks*, *wakes* and *if a peer dies*: as [`Flow::claim`].
    ///
    /// # Errors
    ///
    /// See [`GetError`].
    #[inline]
    pub fn get<R>(
        self,
        wait: Wait<'_>,
        read: impl FnOnce(M, usize, usize, Option<u64>) -> Result<R, GetError>,
    ) -> Result<R, GetError> {
        let (guard, found) = self.begin_get(&wait)?;
        let result = read(self.memory, found.at(), found.len(), self.tag(found))?;
        self.end_get(found);
        self.unlock_get(guard);
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
        mut read: impl FnMut(M, usize, usize, Option<u64>) -> Result<(), GetError>,
    ) -> Result<usize, GetError> {
        let (guard, mut found) = self.begin_get(&wait)?;
        let mut got = 1;
        loop {
            read(self.memory, found.at(), found.len(), self.tag(found))?;
            // One with descriptors comes alone: its deposit is the one at the front.
            if got >= most || found.carries {
                break;
            }
            match self.record_at(found.after()) {
                Some(next) => found = next,
                None => break,
            }
            got += 1;
        }
        step!("batch: copied");
        self.end_get(found);
        self.unlock_get(guard);
        step!("get: end");
        Ok(got)
    }

    /// The lock, and the next record.
    #[inline(always)]
    fn begin_get(&self, wait: &Wait<'_>) -> Result<(RobustGuard<'a>, Found), GetError> {
        let (get, signs) = (&self.state.get, &self.state.signs);
        step!("get: begin");
        let guard = match get.lock.try_acquire_clean() {
            Some(guard) => guard.with_bell(&signs.room),
            None => self.lock_get(wait)?,
        };
        let found = match self.look_at_once() {
            Some(found) => found,
            None => self.wait_for_data(*wait)?,
        };
        Ok((guard, found))
    }

    /// The label of the record's descriptors, if it has some.
    #[inline(always)]
    pub(crate) fn tag(&self, found: Found) -> Option<u64> {
        // Relaxed: came with the record.
        let tag = || self.memory.word(found.position.at + UNIT).load(Relaxed);
        found.carries.then(tag)
    }

    /// Gives the record up. The lock is released afterwards.
    #[inline(always)]
    pub(crate) fn end_get(&self, found: Found) {
        step!("get: copied");
        let tag = self.tag(found);
        // RELEASE. Release. PAIRS room.
        let order = unless_broken!("ring: release", Release, Relaxed);
        let next = found.after();
        self.state.get.head.store(next.bits(), order);
        step!("get: released");
        if let Some(label) = tag {
            self.memory.delivered(record::read_label(label).0);
            step!("get: descriptors removed");
            // Bells went with them: perhaps one for a record that is still there.
            if self.state.signs.watch.load(Relaxed) & WATCH_EVER != 0 {
                self.ring_loudly();
            }
        }
        // Relaxed: seen by the lock that we hold.
        if self.state.signs.watch.load(Relaxed) & WATCH_ROOM != 0 {
            self.ring_once(WATCH_ROOM);
        }
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
        Ok(self.inherit_get(guard))
    }

    /// The get lock if it is free.
    pub(crate) fn try_lock_get(&self) -> Option<RobustGuard<'a>> {
        let (get, signs) = (&self.state.get, &self.state.signs);
        let guard = get.lock.try_acquire()?;
        Some(self.inherit_get(guard.with_bell(&signs.room)))
    }

    /// The lock as it was had; from a dead holder, with what he left behind in order.
    fn inherit_get(&self, guard: RobustGuard<'a>) -> RobustGuard<'a> {
        if guard.owner_died() {
            let get = &self.state.get;
            get.waiting.store(0, Relaxed);
            self.memory
                .reader_died(Position::read(get.head.load(Relaxed)).items);
            // The dead one may have taken the mark of a watcher away and not rung, or have taken
            // bells with the descriptors that lay behind them.
            self.memory.ring_watchers();
        }
        guard
    }

    #[cold]
    pub(crate) fn wait_for_data(&self, wait: Wait<'_>) -> Result<Found, GetError> {
        let (put, get, signs) = (&self.state.put, &self.state.get, &self.state.signs);
        if let Some(found) = self.look()? {
            return Ok(found);
        }
        if wait.deadline != Deadline::NOW {
            let items = Position::read(get.head.load(Relaxed)).items;
            lag::behind(std::ptr::from_ref(get).addr(), items);
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
    pub(crate) fn look_at_once(&self) -> Option<Found> {
        self.record_at(Position::read(self.state.get.head.load(Relaxed)))
    }

    /// The record at this position, if one without descriptors is committed there and nothing
    /// is odd.
    #[inline(always)]
    fn record_at(&self, head: Position) -> Option<Found> {
        let reserve = self.memory.reserve();
        if head.at > reserve - UNIT {
            return None;
        }
        // Acquire. PAIRS record: the bytes, and the zero behind them.
        let word = self.memory.word(head.at).load(Acquire);
        let (seq, len) = record::plain_record(word)?;
        (seq == record::seq_of(head.items) && head.at + record::size(len) <= reserve - UNIT)
            .then_some(Found {
                position: head,
                whole: len,
                carries: false,
            })
    }

    /// Does a record begin at this position? A hint, without the lock.
    pub(super) fn is_record_at(&self, head: Position) -> bool {
        head.at <= self.memory.reserve() - UNIT && {
            let word = self.memory.word(head.at).load(Acquire); // PAIRS record
            let expected = record::seq_of(head.items);
            matches!(Header::read(word), Header::Record { seq, .. } if seq == expected)
        }
    }

    /// Under the get lock: the record at the head, if there is one; follows jumps.
    #[cold]
    fn look(&self) -> Result<Option<Found>, GetError> {
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
                Header::Record { seq, len, carries }
                    if seq == record::seq_of(head.items)
                        && head.at + record::size(len) <= reserve - UNIT
                        && (!carries || len >= UNIT) =>
                {
                    return Ok(Some(Found {
                        position: head,
                        whole: len,
                        carries,
                    }));
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
}

impl<'a, M: Memory + Copy> Claimed<'a, M> {
    /// Offset of the record's bytes.
    #[inline]
    pub fn at(&self) -> usize {
        self.found.at()
    }

    /// Bytes of the record.
    #[inline]
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.found.len()
    }

    /// The memory below.
    #[inline]
    pub fn memory(&self) -> &M {
        &self.flow.memory
    }

    /// Gives the record up: it is gone.
    #[inline]
    pub fn release(self) {
        self.flow.end_get(self.found);
        self.flow.unlock_get(self.guard);
        step!("get: end");
    }
}
