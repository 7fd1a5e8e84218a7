//! The writer's side: a place, the bytes, COMMIT; growth, jumps, repair.

use super::*;
use crate::state::WATCH_DATA;

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
    /// *Blocks*, *wakes* and *if a peer dies*: as [`Flow::reserve`].
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
        self.unlock_put(guard);
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
            self.unlock_put(guard);
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
        self.commit(
            position,
            record::record(record::seq_of(position.items), lens[0]),
            next,
        );
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
        let header = record::record(record::seq_of(position.items), len);
        self.commit(position, header, position.after_record(len));
    }

    /// Puts a record that has descriptors, so many of which are tokens: `deposit` gives them to the courier under a tag, or
    /// says false when it has room for no more at this moment. *Blocks until* there is room in
    /// both; *wakes* and *if a peer dies*: as [`Flow::reserve`]; a deposit without a record is
    /// dropped by the next reader of one that has descriptors.
    ///
    /// # Errors
    ///
    /// See [`PutError`].
    pub fn put_carrying(
        self,
        bytes: &[u8],
        tokens: u8,
        wait: Wait<'_>,
        deposit: &dyn Fn(u64) -> Result<bool, PutError>,
    ) -> Result<(), PutError> {
        let (put, get, signs) = (&self.state.put, &self.state.get, &self.state.signs);
        let len = UNIT + bytes.len();
        let (guard, position) = self.begin_put(len, &wait)?;
        // Relaxed: under the put lock.
        let tag = record::next_tag(put.tag.load(Relaxed));
        put.tag.store(tag, Relaxed);
        step!("carry: begin");
        let mut leader = Leader::new(&put.waiting, wait);
        // Making room rings for those who wait for it, us among them: once a slice.
        let mut make_room = Deadline::NOW;
        while !deposit(tag)? {
            if make_room.passed() {
                make_room = Deadline::after(wait::SLICE);
                if self.make_room_in_courier(position) && deposit(tag)? {
                    break;
                }
            }
            let next = leader.wait(&signs.room, &get.lock);
            if signs.shut.load(Relaxed) != 0 || matches!(next, Next::InVain) {
                return Err(PutError::Closed);
            }
            if matches!(next, Next::TimedOut) {
                return Err(PutError::Full);
            }
        }
        drop(leader);
        step!("carry: deposited");
        let label = record::label(tag, tokens);
        // SAFETY: a place for so many bytes, so allocated and inside; we hold the put lock.
        unsafe {
            self.memory.write(position.at + UNIT, &label.to_ne_bytes());
            self.memory.write(position.at + 2 * UNIT, bytes);
        }
        step!("put: filled");
        let header = record::record(record::seq_of(position.items), len);
        self.commit(
            position,
            record::carrying(header),
            position.after_record(len),
        );
        self.unlock_put(guard);
        step!("put: end");
        Ok(())
    }

    /// Zeroes the frontier `next`, and COMMITs the record of this header at `position` (and
    /// with it those between).
    #[inline(always)]
    fn commit(&self, position: Position, header: u64, next: Position) {
        // Relaxed: COMMIT carries it (Invariant 1).
        unless_broken!(
            "ring: zero",
            self.memory.word(next.at).store(0, Relaxed),
            ()
        );
        step!("put: frontier is zero");
        // Relaxed: seen by the lock that we hold. Before COMMIT: who dies in between has rung once
        // too often, and not once too little.
        if self.state.signs.watch.load(Relaxed) & WATCH_DATA != 0 {
            self.ring_once(WATCH_DATA);
        }
        // COMMIT. Release. PAIRS record.
        let order = unless_broken!("ring: commit", Release, Relaxed);
        self.memory.word(position.at).store(header, order);
        step!("put: committed");
        self.state.put.frontier.store(next.bits(), Release); // PAIRS record (len, unfinished)
        step!("put: counted");
    }

    #[cold]
    pub(super) fn lock_put(&self, wait: &Wait<'_>) -> Result<RobustGuard<'a>, PutError> {
        let (put, signs) = (&self.state.put, &self.state.signs);
        let guard = lock(&put.lock, &signs.data, &put.waiting, wait).map_err(|e| match e {
            NotLocked::TimedOut => PutError::Full,
            NotLocked::InVain => PutError::Closed,
        })?;
        self.inherit_put(guard)
    }

    /// The put lock if it is free, now or in a moment.
    pub(super) fn try_lock_put(&self) -> Option<Result<RobustGuard<'a>, PutError>> {
        let (put, signs) = (&self.state.put, &self.state.signs);
        let guard = put.lock.try_acquire_free().or_else(|| {
            wait::patiently(MOMENT, || !put.lock.is_held());
            put.lock.try_acquire()
        })?;
        Some(self.inherit_put(guard.with_bell(&signs.data)))
    }

    /// The lock as it was had; from a dead holder, with what he left behind in order.
    fn inherit_put(&self, guard: RobustGuard<'a>) -> Result<RobustGuard<'a>, PutError> {
        if guard.owner_died() {
            let repaired = unless_broken!("ring: repair", self.repair(), Ok(()));
            // The dead one may have taken the mark of a watcher away and not rung, or have
            // committed what nobody has heard of.
            self.memory.ring_watchers();
            repaired?;
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
        if wait.deadline != Deadline::NOW {
            let items = Position::read(put.frontier.load(Relaxed)).items;
            lag::behind(std::ptr::from_ref(put).addr(), items);
        }
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
    pub(super) fn repair(&self) -> Result<(), PutError> {
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
    pub(super) fn jump(&self, frontier: Position, target: usize) -> Position {
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
    ///
    /// # Panics
    ///
    /// If they are not as many as were reserved: the caller's, not a peer's doing.
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
        self.flow.unlock_put(self.guard);
        step!("put: end");
    }
}
