//! Counts, and those who wait for them; the end of a ring.

use super::*;

impl<'a, M: Memory + Copy> Flow<'a, M> {
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

    /// Is there a record to be had? As [`Flow::len`]; but a committed one counts also while its
    /// writer, stopped right there, has not written the frontier down.
    pub fn has_next(&self) -> bool {
        self.len() > 0
            || self.state.put.lock.is_held() && {
                let head = Position::read(self.state.get.head.load(Acquire)); // PAIRS room
                self.is_record_at(head)
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
        let mut slice = Deadline::after(wait::SLICE);
        loop {
            let seen = signs.finished.load(Acquire); // PAIRS bell
            signs.joiners.store(1, Relaxed);
            fence(SeqCst); // PAIRS finished
            if self.unfinished(claimed) == 0 {
                return Ok(true);
            }
            step!("join: about to sleep");
            match wait::sleep(&signs.finished, seen, deadline) {
                // Also where reports keep coming, a slice ends, and the time is up some time.
                Slept::Look if !slice.passed() && !deadline.passed() => {}
                _ => {
                    slice = Deadline::after(wait::SLICE);
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
        self.ring_watchers();
    }
}
