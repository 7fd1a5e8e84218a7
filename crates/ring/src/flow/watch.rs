//! Those who wait with `poll`: they arm the bell, and whoever brings news rings it.
//!
//! Mostly data is watched for under the put lock: a writer either sees that the bell is armed, and
//! rings before its COMMIT; or its record is there before the bell is armed, and whoever arms
//! sees it. Woken before the COMMIT, a watcher finds the lock held.
//!
//! A watcher must not wait for a writer that is slow, or stopped, in the middle of a put. Where
//! the lock is held, it arms without it, and marks the lock's word:
//!
//! ```text
//! watcher   set the mark in `watch` · mark the lock's word · look for a record
//! writer    … COMMIT · free the lock; its word is marked: look at `watch` · ring
//! ```
//!
//! Both meet in the lock's word: if the writer frees it first, the watcher sees the record; if the
//! watcher marks it first, the writer sees the mark in `watch`, and rings after its COMMIT. For
//! room it is always done so.
//!
//! # Invariants
//!
//! 1. A mark in `watch` is taken away under the lock of its side, before the bell that answers it
//!    is rung. So a mark that is set after that bell was heard stays.
//! 2. Bells are taken from the courier by who arms (then `watch` is marked and nothing is there,
//!    or it rings again), and with the descriptors that lie behind them (then the reader rings
//!    again). So while a record is there, and was not when somebody armed last, the courier is
//!    readable, or a writer is about to ring.
//!
//! # If a process dies here
//!
//! * armed, and not waiting any more: it costs one bell that nobody hears.
//! * between taking the mark away and the bell: the next holder of the lock rings.
//! * between the bell and COMMIT: the watcher looks, finds nothing, and arms again.
//! * between COMMIT and the bell that comes after the lock is free, or with bells that it took
//!   away: watchers do not hear of a record. They look again at the end of their slice.

use super::*;
use crate::state::{WATCH_DATA, WATCH_EVER, WATCH_ROOM};

impl<'a, M: Memory + Copy> Flow<'a, M> {
    /// True: nothing is there, and the next COMMIT rings the courier's bell. False: look
    /// again, something is or was there. With `quieten`, the bells that were rung are taken from
    /// the courier first. Never blocks.
    #[must_use]
    pub fn arm_data(&self, quieten: bool) -> bool {
        let (put, signs) = (&self.state.put, &self.state.signs);
        // Relaxed: whoever commits from now on takes the mark away, and rings.
        if quieten || signs.watch.load(Relaxed) & WATCH_DATA == 0 {
            match self.try_lock_put() {
                Some(Ok(guard)) => {
                    if !self.arm_under_lock() {
                        return false;
                    }
                    drop(guard);
                }
                // Nothing will ever come; whoever takes something hears of it.
                Some(Err(_)) => return true,
                None => {
                    if quieten && let Some(guard) = self.try_lock_get() {
                        self.memory.tidy(false);
                        drop(guard);
                    }
                    // SeqCst. PAIRS watch.
                    signs.watch.fetch_or(WATCH_DATA | WATCH_EVER, SeqCst);
                    step!("watch: armed beside the lock");
                    // PAIRS lock: see the module.
                    let ask = || put.lock.ask_for_bell();
                    unless_broken!("watch: ask", ask(), ());
                }
            }
        }
        // PAIRS watch: who closed an end, and saw no mark, had closed it before what follows.
        fence(SeqCst);
        let nothing = self.len() == 0 && signs.shut.load(Relaxed) == 0;
        if !nothing && quieten {
            self.memory.ring_watchers();
        }
        nothing
    }

    /// Under the put lock: takes the bells away and arms, if nothing is there.
    fn arm_under_lock(&self) -> bool {
        let (put, get, signs) = (&self.state.put, &self.state.get, &self.state.signs);
        let head = Position::read(get.head.load(Acquire)); // PAIRS room
        let frontier = Position::read(put.frontier.load(Relaxed));
        if head.items != frontier.items || signs.shut.load(Relaxed) != 0 {
            return false;
        }
        self.tidy();
        // SeqCst. PAIRS watch: against the ends in `ring_all`.
        signs.watch.fetch_or(WATCH_DATA | WATCH_EVER, SeqCst);
        step!("watch: armed for data");
        true
    }

    /// True: the head is still the one seen, and the next RELEASE rings. False: look again.
    /// Never blocks.
    #[must_use]
    pub fn arm_room(&self, seen: u64) -> bool {
        let (get, signs) = (&self.state.get, &self.state.signs);
        // SeqCst. PAIRS watch.
        signs.watch.fetch_or(WATCH_ROOM | WATCH_EVER, SeqCst);
        step!("watch: armed for room");
        get.lock.ask_for_bell(); // PAIRS lock: see the module.
        fence(SeqCst); // PAIRS watch: as in `arm_data`
        get.head.load(Acquire) == seen && signs.shut.load(Relaxed) == 0 // PAIRS room
    }

    /// What [`Flow::arm_room`] compares.
    pub fn head_seen(&self) -> u64 {
        self.state.get.head.load(Relaxed)
    }

    /// Under the lock of a side: rings for those who wait for it, once.
    #[cold]
    pub(super) fn ring_once(&self, which: u32) {
        // Relaxed: the mark was seen. Before the bell: Invariant 1.
        let unmark = || self.state.signs.watch.fetch_and(!which, Relaxed);
        unless_broken!("watch: mark first", unmark(), 0);
        step!("watch: about to ring");
        if which == WATCH_ROOM {
            self.ring_loudly();
        } else {
            self.memory.ring_watchers();
        }
        step!("watch: rung");
        unless_broken!("watch: mark first", 0, unmark());
    }

    /// Under the get lock: rings, also where bells that nobody has taken away leave no room. (A
    /// writer need not: where bells lie, somebody has not looked since.)
    #[cold]
    pub(super) fn ring_loudly(&self) {
        if !self.memory.ring_watchers() {
            self.memory.tidy(false);
            self.memory.ring_watchers();
        }
    }

    /// Rings for those who wait for something: an end or the shutdown mark has changed. Their
    /// marks stay, as nobody holds a lock here (Invariant 1).
    #[cold]
    pub(super) fn ring_watchers(&self) {
        fence(SeqCst); // PAIRS watch: who arms after this sees what we have changed
        if self.state.signs.watch.load(Relaxed) & (WATCH_DATA | WATCH_ROOM) != 0 {
            self.memory.ring_watchers();
            step!("watch: rung for an end");
        }
    }

    /// Frees the put lock. Who armed beside it has marked its word.
    #[inline(always)]
    pub(super) fn unlock_put(&self, guard: RobustGuard<'a>) {
        if guard.release() {
            self.ring_late(WATCH_DATA);
        }
    }

    /// Frees the get lock; as [`Flow::unlock_put`].
    #[inline(always)]
    pub(crate) fn unlock_get(&self, guard: RobustGuard<'a>) {
        if guard.release() {
            self.ring_late(WATCH_ROOM);
        }
    }

    /// After a lock is free whose word was marked. The mark in `watch` stays: Invariant 1.
    #[cold]
    fn ring_late(&self, which: u32) {
        step!("watch: the lock is free");
        // Relaxed: set before the lock's word was marked, which was seen.
        if self.state.signs.watch.load(Relaxed) & which != 0 {
            self.memory.ring_watchers();
            step!("watch: rung late");
        }
    }

    /// Under the put lock, while the ring is empty: takes away what lies with the courier, as it
    /// belongs to no record. False: a reader may be busy with it.
    pub(super) fn tidy(&self) -> bool {
        let guard = self.try_lock_get();
        // A reader that waits for data is busy with nothing.
        let may = guard.is_some() || self.state.get.waiting.load(Relaxed) != 0;
        if may {
            self.memory.tidy(true);
        }
        may
    }

    /// Under the put lock: takes away what lies with the courier without need. False: a reader
    /// may be busy with it.
    pub(super) fn make_room_in_courier(&self, frontier: Position) -> bool {
        if Position::read(self.state.get.head.load(Acquire)).items == frontier.items {
            return self.tidy(); // PAIRS room
        }
        let guard = self.try_lock_get();
        if guard.is_some() {
            self.memory.tidy(false);
        }
        guard.is_some()
    }
}
