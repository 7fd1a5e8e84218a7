//! Those who wait with `poll`: they arm the bell, and whoever brings news rings it once.
//!
//! Arming and ringing are under one lock (the put lock for data, the get lock for room): a
//! writer either sees that the bell is armed, and rings before its COMMIT; or its record is
//! there before the bell is armed, and whoever arms sees it. Woken before the COMMIT, a watcher
//! finds the lock held and waits for it.
//!
//! If a process dies here: armed and not waiting any more, it costs one bell that nobody
//! hears. Between the bell and COMMIT: the watcher looks, finds nothing, and arms again.

use super::*;
use crate::state::{WATCH_DATA, WATCH_ROOM};

/// How long one who arms waits for a lock: whoever is about to commit is done by then, and
/// somebody who holds it for longer (a loan) must not keep a watcher from what else it watches.
const BUSY: Duration = Duration::from_millis(2);

impl<'a, M: Memory + Copy> Flow<'a, M> {
    /// True: nothing is there, and the next COMMIT rings the courier's bell. False: look
    /// again, something is or was there. *Blocks* for the moment in which a writer commits.
    /// `rang`: the bell has been heard since the last time, so its mark says nothing any more
    /// (whoever rang may be about to take it away, and waits for the CPU that we have).
    #[must_use]
    pub fn arm_data(&self, rang: bool) -> bool {
        let (put, get, signs) = (&self.state.put, &self.state.get, &self.state.signs);
        // Relaxed: whoever commits from now on takes the mark away, and rings.
        if !rang && signs.watch.load(Relaxed) & WATCH_DATA != 0 {
            return true;
        }
        // Who waits for room has left no doubt that something is there.
        let in_vain = &|_| put.waiting.load(Relaxed) != 0;
        let deadline = Deadline::after(BUSY);
        let guard = match self.lock_put(&Wait { deadline, in_vain }) {
            Ok(guard) => guard,
            // Nothing will ever come; whoever takes something hears of it.
            Err(PutError::Corrupted) => return true,
            Err(_) => return false,
        };
        let head = Position::read(get.head.load(Acquire)); // PAIRS room
        let frontier = Position::read(put.frontier.load(Relaxed));
        if head.items != frontier.items || signs.shut.load(Relaxed) != 0 {
            return false;
        }
        self.tidy();
        // SeqCst. PAIRS watch: against the ends in `ring_all`.
        signs.watch.fetch_or(WATCH_DATA, SeqCst);
        step!("watch: armed for data");
        drop(guard);
        true
    }

    /// True: the head is still the one seen, and the next RELEASE rings. False: look again.
    #[must_use]
    pub fn arm_room(&self, seen: u64) -> bool {
        let (get, signs) = (&self.state.get, &self.state.signs);
        let in_vain = &|_| get.waiting.load(Relaxed) != 0;
        let deadline = Deadline::after(BUSY);
        let Ok(guard) = self.lock_get(&Wait { deadline, in_vain }) else {
            return false;
        };
        // Relaxed: under the lock.
        if get.head.load(Relaxed) != seen || signs.shut.load(Relaxed) != 0 {
            return false;
        }
        // SeqCst. PAIRS watch.
        signs.watch.fetch_or(WATCH_ROOM, SeqCst);
        step!("watch: armed for room");
        drop(guard);
        true
    }

    /// What [`Flow::arm_room`] compares.
    pub fn head_seen(&self) -> u64 {
        self.state.get.head.load(Relaxed)
    }

    /// Rings, if one of these is armed.
    #[cold]
    pub(super) fn ring_watchers(&self, which: u32) {
        let watch = &self.state.signs.watch;
        fence(SeqCst); // PAIRS watch: who arms after this sees what we have changed
        if watch.load(Relaxed) & which != 0 {
            self.memory.ring_watchers();
            step!("watch: rung");
            watch.fetch_and(!which, Relaxed);
        }
    }

    /// Under the put lock, while the ring is empty: what lies with the courier belongs to no
    /// record. True if all of it went; while a reader may be busy with a deposit, only the
    /// bells do.
    pub(super) fn tidy(&self) -> bool {
        let get = &self.state.get;
        let guard = self.lock_get(&Wait::NOT).ok();
        // A reader that waits for data is busy with nothing.
        let all = guard.is_some() || get.waiting.load(Relaxed) != 0;
        self.memory.tidy(all);
        all
    }
}
