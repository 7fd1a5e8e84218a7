//! The words that a pool's processes share beside the two rings: who runs what, who sleeps, what
//! was cancelled, and whether the pool is to go on. (Who is woken, is told in
//! [`multiproc_core::idle`].)
//!
//! # What runs where
//!
//! `task` of a slot is the number of the task that its worker has, from the note that it makes
//! while it still holds the ring's get lock, to the moment at which the answer is put. Whoever is
//! to kill a worker for a task sets KILL in that word *first*, by compare-and-swap from the very
//! task; the worker ends a task by compare-and-swap, too, and stops if that fails. So a kill never
//! hits the next task.

use multiproc_core::idle::Idle;
use multiproc_core::prim::{AtomicU32, AtomicU64, Ordering::*, fence};
use multiproc_segment::Shareable;

/// The most workers that a pool can have.
pub const MOST_WORKERS: usize = 512;

/// The most groups of neighbouring tasks that can be cancelled before their turn at a time.
pub(crate) const MOST_CANCELLED: usize = 1024;

/// In a slot's `task`: its worker is about to be killed for it.
const KILL: u64 = 1 << 63;

/// The pool works.
pub(crate) const RUNNING: u32 = 0;
/// Everything is done: workers leave as soon as they find nothing.
pub(crate) const ENDING: u32 = 1;
/// Workers leave, whatever is queued.
pub(crate) const STOPPED: u32 = 2;

/// The worker has not been through its initializer.
pub(crate) const STARTING: u32 = 0;
/// It works.
pub(crate) const READY: u32 = 1;
/// It has done what it should, and leaves.
pub(crate) const RETIRED: u32 = 2;
/// It has no descriptors or no memory to take its next task with, and leaves: a new one may have.
pub(crate) const HINDERED: u32 = 3;
/// It has found garbage in the shared memory.
pub(crate) const CORRUPTED: u32 = 4;

/// One worker's words.
#[derive(Shareable)]
#[repr(C, align(64))]
pub(crate) struct Slot {
    /// The task that its worker has, perhaps with [`KILL`]; 0: none.
    task: AtomicU64,
    /// When that task's time is over, on the monotonic clock in nanoseconds; 0: never.
    due: AtomicU64,
    /// Which record of the tasks' ring it was; written before `task`.
    record: AtomicU32,
    /// How often it was delivered, this time included.
    attempt: AtomicU32,
    pub(crate) state: AtomicU32,
}

/// Tasks that are not to begin: those from the first number up to the last.
#[derive(Shareable)]
#[repr(C)]
struct Cancelled {
    first: AtomicU64,
    last: AtomicU64,
}

#[derive(Shareable)]
#[repr(C)]
pub(crate) struct Board {
    pub(crate) phase: AtomicU32,
    pub(crate) idle: Idle<MOST_WORKERS, { MOST_WORKERS / 64 }>,
    /// Entries of `cancelled` below this were used; 0 while nothing is cancelled.
    cancelled_used: AtomicU32,
    cancelled: [Cancelled; MOST_CANCELLED],
    pub(crate) slots: [Slot; MOST_WORKERS],
}

impl Board {
    pub(crate) const fn new() -> Self {
        Self {
            phase: AtomicU32::new(RUNNING),
            idle: Idle::new(),
            cancelled_used: AtomicU32::new(0),
            cancelled: [const {
                Cancelled {
                    first: AtomicU64::new(0),
                    last: AtomicU64::new(0),
                }
            }; MOST_CANCELLED],
            slots: [const {
                Slot {
                    task: AtomicU64::new(0),
                    due: AtomicU64::new(0),
                    record: AtomicU32::new(0),
                    attempt: AtomicU32::new(0),
                    state: AtomicU32::new(STARTING),
                }
            }; MOST_WORKERS],
        }
    }

    /// Is the pool to go on?
    pub(crate) fn phase(&self) -> u32 {
        self.phase.load(Acquire) // PAIRS phase
    }

    /// Says how it goes on, and wakes everybody.
    pub(crate) fn enter_phase(&self, phase: u32, workers: usize) {
        // AcqRel: what was done before is seen by whoever leaves. PAIRS phase. A pool that was
        // stopped stays so.
        self.phase.fetch_max(phase, AcqRel);
        self.idle.wake_all(workers);
    }

    /// Takes tasks from the first number up to the last off before they begin. False if there are
    /// too many such groups.
    pub(crate) fn cancel(&self, first: u64, last: u64) -> bool {
        let used = self.cancelled_used.load(Relaxed) as usize;
        // Only the owner's process writes, under its lock. A neighbour is made longer.
        for entry in &self.cancelled[..used.min(MOST_CANCELLED)] {
            let (from, to) = (entry.first.load(Relaxed), entry.last.load(Relaxed));
            if to != 0 && to + 1 == first {
                entry.last.store(last, Release); // PAIRS cancelled
                return true;
            }
            if to != 0 && last + 1 == from {
                entry.first.store(first, Release); // PAIRS cancelled
                return true;
            }
        }
        for (nth, entry) in self.cancelled.iter().enumerate() {
            if entry.last.load(Relaxed) == 0 {
                entry.first.store(first, Relaxed);
                entry.last.store(last, Release); // PAIRS cancelled
                if nth >= used {
                    self.cancelled_used.store(nth as u32 + 1, Release); // PAIRS cancelled
                }
                return true;
            }
        }
        false
    }

    /// Every task up to (not including) this number has its answer: what was cancelled among them
    /// can be forgotten.
    pub(crate) fn forget_cancelled(&self, below: u64) {
        let used = self.cancelled_used.load(Relaxed) as usize;
        let mut left = 0;
        for (nth, entry) in self.cancelled.iter().enumerate().take(used) {
            match entry.last.load(Relaxed) {
                0 => {}
                last if last < below => {
                    entry.first.store(u64::MAX, Relaxed);
                    entry.last.store(0, Release); // PAIRS cancelled
                }
                _ => left = nth as u32 + 1,
            }
        }
        self.cancelled_used.store(left, Release);
    }

    /// Was this task cancelled before it began? Asked once the task stands in a slot: whoever
    /// cancels looks there after this list was written.
    pub(crate) fn is_cancelled(&self, task: u64) -> bool {
        fence(SeqCst); // PAIRS cancel-or-begin
        let used = (self.cancelled_used.load(Acquire) as usize).min(MOST_CANCELLED);
        // Acquire: last is written last when an entry is new, so `first` is no older.
        self.cancelled[..used].iter().any(|entry| {
            let last = entry.last.load(Acquire); // PAIRS cancelled
            task <= last && task >= entry.first.load(Acquire)
        })
    }
}

/// What a worker had when it died.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Left {
    pub(crate) task: u64,
    pub(crate) attempt: u32,
    pub(crate) record: u32,
}

impl Slot {
    /// Its worker takes this task, which is this record of the ring. Under the ring's get lock.
    pub(crate) fn begin(&self, task: u64, attempt: u32, record: u32) {
        self.due.store(0, Relaxed);
        self.attempt.store(attempt, Relaxed);
        self.record.store(record, Relaxed);
        self.task.store(task, Release); // PAIRS running
    }

    /// The task has so much time from now.
    pub(crate) fn set_due(&self, due: u64) {
        self.due.store(due, Release); // PAIRS running
    }

    /// The answer is put. False: somebody has this worker killed for this very task.
    pub(crate) fn end(&self, task: u64) -> bool {
        // Release: the answer was put before. PAIRS running.
        self.task
            .compare_exchange(task, 0, Release, Relaxed)
            .is_ok()
    }

    /// What its worker has; with a kill on the way or without.
    pub(crate) fn running(&self) -> Option<Left> {
        let task = self.task.load(Acquire) & !KILL; // PAIRS running
        (task != 0).then(|| Left {
            task,
            attempt: self.attempt.load(Relaxed),
            record: self.record.load(Relaxed),
        })
    }

    /// Marks the worker to be killed for this task. False: it does not run it (any more).
    pub(crate) fn doom(&self, task: u64) -> bool {
        self.task
            .compare_exchange(task, task | KILL, AcqRel, Relaxed)
            .is_ok()
    }

    /// When its task's time is over, and which task that is.
    pub(crate) fn due(&self) -> Option<(u64, u64)> {
        let task = self.task.load(Acquire); // PAIRS running
        // Written as 0 before the task was, and later than it if it has a time: so this is its
        // own, or 0.
        let due = self.due.load(Acquire);
        (task != 0 && task & KILL == 0 && due != 0).then_some((due, task))
    }

    /// For the next worker.
    pub(crate) fn reset(&self) {
        self.due.store(0, Relaxed);
        self.task.store(0, Relaxed);
        self.state.store(STARTING, Release);
    }
}
