//! Records as tasks: taken with a claim that outlives its holder.
//!
//! A task leaves the ring when it is taken, so that a slow one stalls nobody: its bytes are
//! copied to the claims' own memory, and a claim slot says who has it. Whoever waits for a
//! task looks after the claims of the dead, once a slice.
//!
//! ```text
//! slot   state   done count << 2 | kind: 0 free, 1 taken, 2 orphan, 3 dead letter
//!        owner   identity of the process that has it
//!        ticket  seq << 32 | attempt       at, len   where its bytes lie
//!
//!            take                     done (one store: free, and counted)
//!   free ────────────▶ taken ───────────────────▶ free
//!    ▲                 │   ▲ take again
//!    │ dead before     │   │
//!    │ RELEASE     dead▼   │             more deliveries than allowed
//!    └──────────────── orphan ────────────────────▶ dead letter ──▶ free
//! ```
//!
//! # Invariants
//!
//! 1. Slots change under the get lock, but for *done*, which only the owner does, and for what
//!    becomes of a dead letter: who makes one writes that nobody owns it, and who takes it writes
//!    its own name there first; what it leaves is free.
//! 2. *taken* is stored before the ring's RELEASE, both under the get lock. So a claim whose
//!    seq is the one at the head was never released, and belongs to the lock's holder: if
//!    that died, the next holder drops it, and the record is still there.
//! 3. The bytes of slots that are not free do not overlap.
//! 4. unfinished = records put - reports without claim - the sum of the slots' done counts.
//!
//! # If a process dies here
//!
//! * taking, before *taken*: the slot is free, the record in the ring.
//! * between *taken* and RELEASE: Invariant 2.
//! * after RELEASE: an orphan at the next look: taken again, with the next attempt number.
//! * in *done*: before the one store an orphan, after it done.
//! * looking after the dead: each change of a slot is one store; the next one goes on.
//! * taking a dead letter: it is one still, and the next taker's, as its owner is dead.
//!
//! Plain gets of a queue that is joined are counted per process (`Worker`), so that a join
//! can tell how many tasks died with processes that had taken them without a claim.

use crate::error::{GetError, PutError};
use crate::flow::Found;
use crate::flow::{Memory, Wait};
use crate::record::{Position, UNIT};
use crate::ring::Ring;
use multiproc_core::deadline::Deadline;
use multiproc_core::fork::HeldHere;
use multiproc_core::identity::Identity;
use multiproc_core::{step, wait};
use multiproc_segment::Shareable;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::*};
use std::time::Duration;

/// Tasks of one ring that can be taken and not done at a time.
pub const MOST_TASKS: usize = 256;
/// Processes that can have taken records of one joinable ring without a claim.
pub const MOST_WORKERS: usize = 256;

const FREE: u64 = 0;
const TAKEN: u64 = 1;
const ORPHAN: u64 = 2;
const DEAD_LETTER: u64 = 3;
const KIND: u64 = 3;

#[derive(Shareable)]
#[shareable(crate = multiproc_segment)]
#[repr(C)]
pub(crate) struct Slot {
    state: AtomicU64,
    owner: AtomicU64,
    ticket: AtomicU64,
    at: AtomicU64,
    len: AtomicU64,
}

/// What a process took without a claim.
#[derive(Shareable)]
#[shareable(crate = multiproc_segment)]
#[repr(C)]
struct Worker {
    owner: AtomicU64,
    got: AtomicU32,
    done: AtomicU32,
    /// Before a RELEASE: seq << 32 | what `got` will be; 0 afterwards.
    taking: AtomicU64,
}

/// The claims of a ring.
#[derive(Shareable)]
#[shareable(crate = multiproc_segment)]
#[repr(C)]
pub(crate) struct Tasks {
    /// When the dead were last looked after: milliseconds on the monotonic clock.
    looked: AtomicU64,
    /// Deliveries after which a task becomes a dead letter; 0: never.
    pub(crate) max_deliveries: AtomicU32,
    /// Slots below this were used.
    high: AtomicU32,
    /// Bytes allocated for claims.
    allocated: AtomicU64,
    /// Dead workers whose place was given to others while records were missing with them,
    /// and how many of them a join has told of.
    buried: AtomicU32,
    told: AtomicU32,
    slots: [Slot; MOST_TASKS],
    workers: [Worker; MOST_WORKERS],
}

/// A task that this process has taken: to be reported [done](Task::done), or
/// [given back](Task::give_back). Forgotten, it stays taken as long as the process lives.
#[must_use = "a task that is not reported done is delivered again when this process ends"]
#[derive(Debug)]
pub struct Task<'a> {
    ring: &'a Ring,
    index: usize,
    attempt: u32,
    held: HeldHere,
}

/// How many tasks a join gave up, because the processes that had taken them died.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} tasks were lost with the processes that had taken them")]
pub struct TasksLost(pub usize);

fn milliseconds() -> u64 {
    // The reading of a clock that all processes share.
    Deadline::after(Duration::from_nanos(1))
        .since_boot()
        .as_millis() as u64
}

fn kind(state: u64) -> u64 {
    state & KIND
}

/// The same count, another kind.
fn with_kind(state: u64, kind: u64) -> u64 {
    state & !KIND | kind
}

impl Slot {
    fn owner(&self) -> Option<Identity> {
        Identity::from_bits(self.owner.load(Acquire))
    }

    fn seq(&self) -> u32 {
        (self.ticket.load(Relaxed) >> 32) as u32
    }

    fn attempt(&self) -> u32 {
        self.ticket.load(Relaxed) as u32
    }

    /// Its bytes, checked against the claims' reserve.
    fn range(&self, reserve: usize) -> Option<(usize, usize)> {
        let (at, len) = (self.at.load(Relaxed), self.len.load(Relaxed));
        let end = at.checked_add(len)?;
        (end <= reserve as u64).then_some((at as usize, len as usize))
    }
}

impl Tasks {
    fn used(&self) -> &[Slot] {
        &self.slots[..(self.high.load(Acquire) as usize).min(MOST_TASKS)]
    }

    /// Reports by claim, so far.
    pub(crate) fn done(&self) -> u32 {
        self.used()
            .iter()
            .map(|s| (s.state.load(SeqCst) >> 2) as u32)
            .fold(0, u32::wrapping_add)
    }

    /// Under the get lock, whose holder before died: what it was about to take, it did not
    /// take. Whoever has claimed the record at the head is that holder (Invariant 2), also
    /// while it still shows as a process that lives: the kernel hands the lock on early.
    pub(crate) fn reader_died(&self, head: u32) {
        let at_head = |s: &&Slot| kind(s.state.load(Acquire)) == TAKEN && s.seq() == head;
        for slot in self.used().iter().filter(at_head) {
            let state = slot.state.load(Acquire);
            slot.state.store(with_kind(state, FREE), Release); // PAIRS task
            step!("tasks: claim dropped");
        }
        let taking = |w: &&Worker| match w.taking.load(Acquire) {
            0 => false,
            taking => (taking >> 32) as u32 == head,
        };
        for worker in self.workers.iter().filter(taking) {
            worker.taking.store(0, Release);
        }
        self.look_after_the_dead(true);
    }

    /// Under the get lock: dead owners' claims become orphans.
    pub(crate) fn look_after_the_dead(&self, must: bool) {
        let now = milliseconds();
        let last = self.looked.load(Relaxed);
        if !must && now.wrapping_sub(last) < wait::SLICE.as_millis() as u64 {
            return;
        }
        self.looked.store(now, Relaxed);
        let mut alive = Some(Identity::me());
        for slot in self.used() {
            let state = slot.state.load(Acquire);
            let owner = slot.owner();
            if kind(state) != TAKEN || owner == alive {
                continue;
            }
            if owner.is_some_and(Identity::is_alive) {
                alive = owner;
                continue;
            }
            step!("tasks: about to mark a dead one's claim");
            // Unless it was done in the meantime: then the owner died after that.
            let orphan = with_kind(state, ORPHAN);
            let _ = slot.state.compare_exchange(state, orphan, Release, Relaxed); // PAIRS task
            step!("tasks: marked");
        }
    }

    /// Tasks that wait to be delivered again.
    pub(crate) fn orphans(&self) -> usize {
        self.used()
            .iter()
            .filter(|s| kind(s.state.load(Acquire)) == ORPHAN)
            .count()
    }
}

impl Ring {
    /// Takes the next task, with a claim. *Blocks until* there is one, the deadline passes or
    /// the wait is in vain. *Wakes when* a writer commits. *If a peer dies* that had taken
    /// a task and not reported it done, the task is delivered again, within a slice
    /// (50 ms) of somebody waiting for one.
    ///
    /// `to` gets the task's bytes, `fds` its descriptors: these come with the first delivery only.
    ///
    /// # Errors
    ///
    /// See [`GetError`]; `TooManyTasks` when [`MOST_TASKS`] are taken at this moment.
    pub fn take_task(
        &self,
        to: &mut Vec<u8>,
        fds: &mut Vec<OwnedFd>,
        wait: Wait<'_>,
    ) -> Result<Task<'_>, GetError> {
        let task = self.next_task(to, fds, wait)?;
        if task.attempt > 1 {
            multiproc_segment::trace!(warn, attempt = task.attempt, "task delivered again");
        }
        Ok(task)
    }

    fn next_task(
        &self,
        to: &mut Vec<u8>,
        fds: &mut Vec<OwnedFd>,
        wait: Wait<'_>,
    ) -> Result<Task<'_>, GetError> {
        let flow = self.flow();
        loop {
            let guard = flow.lock_get(&wait)?;
            self.tasks().look_after_the_dead(false);
            if let Some(task) = self.take_orphan(to)? {
                return Ok(task);
            }
            // In slices: between them, the dead are looked after.
            let slice = Deadline::after(wait::SLICE).sooner(wait.deadline);
            let slice = if wait.deadline == Deadline::NOW {
                Deadline::NOW
            } else {
                slice
            };
            match flow.wait_for_data(Wait {
                deadline: slice,
                ..wait
            }) {
                Ok(found) => {
                    let task = self.take_fresh(found, to, fds);
                    flow.unlock_get(guard);
                    return task;
                }
                Err(GetError::Empty) if wait.deadline.passed() => {
                    self.tasks().look_after_the_dead(true);
                    return self.take_orphan(to)?.ok_or(GetError::Empty);
                }
                Err(GetError::Empty) => {}
                Err(GetError::Closed) => {
                    self.tasks().look_after_the_dead(true);
                    return self.take_orphan(to)?.ok_or(GetError::Closed);
                }
                Err(other) => return Err(other),
            }
            drop(guard);
        }
    }

    /// Under the get lock: an orphan, if there is one; those that were delivered too often
    /// become dead letters.
    fn take_orphan(&self, to: &mut Vec<u8>) -> Result<Option<Task<'_>>, GetError> {
        let tasks = self.tasks();
        let most = tasks.max_deliveries.load(Relaxed);
        for (index, slot) in tasks.used().iter().enumerate() {
            let state = slot.state.load(Acquire); // PAIRS task
            if kind(state) != ORPHAN {
                continue;
            }
            if self.bury(slot, state, most) {
                continue;
            }
            let attempt = slot.attempt().saturating_add(1);
            let area = self.claims();
            let (at, len) = slot.range(area.reserve).ok_or(GetError::Corrupted)?;
            area.read_into(at, len, to);
            slot.owner.store(Identity::me().to_bits(), Release);
            step!("tasks: orphan has a new owner");
            slot.state.store(with_kind(state, TAKEN), Release); // PAIRS task
            step!("tasks: orphan taken");
            // Last: who dies before has not delivered it to anybody.
            slot.ticket
                .store(u64::from(slot.seq()) << 32 | u64::from(attempt), Relaxed);
            step!("tasks: attempt counted");
            return Ok(Some(Task {
                ring: self,
                index,
                attempt,
                held: HeldHere::new(),
            }));
        }
        Ok(None)
    }

    /// Under the get lock: makes an orphan that was delivered `most` times a dead letter.
    fn bury(&self, slot: &Slot, state: u64, most: u32) -> bool {
        if most == 0 || slot.attempt() < most {
            return false;
        }
        slot.owner.store(0, Release); // PAIRS letter
        step!("tasks: nobody's");
        // Counted as done: a join does not wait for it.
        slot.state.store(with_kind(state, DEAD_LETTER) + 4, SeqCst); // PAIRS finished, letter
        step!("tasks: dead letter");
        self.flow().report();
        true
    }

    /// For who joins, once a slice: nobody else may be looking for tasks any more. Does not wait:
    /// whoever has the get lock looks itself.
    pub(crate) fn bury_the_over_delivered(&self) {
        let tasks = self.tasks();
        let most = tasks.max_deliveries.load(Relaxed);
        if most == 0 || tasks.used().is_empty() {
            return;
        }
        let Some(guard) = self.flow().try_lock_get() else {
            return;
        };
        self.bury_all(most);
        self.flow().unlock_get(guard);
    }

    /// Under the get lock.
    fn bury_all(&self, most: u32) {
        self.tasks().look_after_the_dead(false);
        for slot in self.tasks().used() {
            let state = slot.state.load(Acquire); // PAIRS task
            if kind(state) == ORPHAN {
                self.bury(slot, state, most);
            }
        }
    }

    /// Under the get lock: a claim on the record at the head, and its RELEASE.
    fn take_fresh(
        &self,
        found: Found,
        to: &mut Vec<u8>,
        fds: &mut Vec<OwnedFd>,
    ) -> Result<Task<'_>, GetError> {
        let len = found.len();
        let (tasks, area) = (self.tasks(), self.claims());
        let index = tasks
            .slots
            .iter()
            .position(|s| kind(s.state.load(Acquire)) == FREE)
            .ok_or(GetError::TooManyTasks)?;
        if tasks.high.load(Relaxed) as usize <= index {
            tasks.high.store(index as u32 + 1, Release);
        }
        let at = self.room_for_claim(len)?;
        *fds = self.withdraw(self.flow().tag(found))?;
        self.area().read_into(found.at(), len, to);
        step!("tasks: about to copy");
        // SAFETY: allocated and inside the claims' reserve; no slot that is not free has
        // bytes there (Invariant 3); we hold the get lock.
        unsafe { area.write(at, to) };
        let slot = &tasks.slots[index];
        slot.at.store(at as u64, Relaxed);
        slot.len.store(len as u64, Relaxed);
        slot.ticket
            .store(u64::from(found.position.items) << 32 | 1, Relaxed);
        slot.owner.store(Identity::me().to_bits(), Relaxed);
        step!("tasks: claim written");
        let state = slot.state.load(Relaxed);
        slot.state.store(with_kind(state, TAKEN), Release); // PAIRS task
        step!("tasks: claimed, not released");
        self.flow().end_get(found);
        Ok(Task {
            ring: self,
            index,
            attempt: 1,
            held: HeldHere::new(),
        })
    }

    /// Under the get lock: room for `len` bytes among the claims, allocated. First fit.
    fn room_for_claim(&self, len: usize) -> Result<usize, GetError> {
        let (tasks, area) = (self.tasks(), self.claims());
        let mut taken: Vec<(usize, usize)> = tasks
            .used()
            .iter()
            .filter(|s| kind(s.state.load(Acquire)) != FREE)
            .map(|s| s.range(area.reserve).ok_or(GetError::Corrupted))
            .collect::<Result<_, _>>()?;
        taken.sort_unstable();
        let mut at = 0_usize;
        for (from, bytes) in &taken {
            if at + len <= *from {
                break;
            }
            at = at.max((from + bytes).next_multiple_of(UNIT));
        }
        let end = at + len;
        if end > area.reserve {
            return Err(GetError::TooManyTasks);
        }
        let allocated = (tasks.allocated.load(Relaxed) as usize).min(area.reserve);
        if end > allocated {
            let to = end.next_multiple_of(GROW).min(area.reserve);
            let refused = |e| match e {
                PutError::NoMemory { bytes } => GetError::NoMemory { bytes },
                _ => GetError::Corrupted,
            };
            area.grow(allocated, to).map_err(refused)?;
            tasks.allocated.store(to as u64, Relaxed);
        } else if taken.is_empty() && allocated > GIVE_BACK {
            let keep = end.next_multiple_of(GROW);
            tasks.allocated.store(keep as u64, Relaxed);
            step!("tasks: about to punch");
            area.punch(keep, allocated);
        }
        Ok(at)
    }

    /// The tasks that were delivered as often as allowed and never done: taken off the list, each
    /// by one taker. Does not wait for those who wait for tasks, nor for long for anybody else.
    ///
    /// # Errors
    ///
    /// [`GetError::Corrupted`].
    pub fn take_dead_letters(&self) -> Result<Vec<Vec<u8>>, GetError> {
        // Who keeps the lock waits for tasks, and looks after the dead itself.
        match self.flow().lock_get(&Wait::NOT) {
            Ok(guard) => {
                self.tasks().look_after_the_dead(true);
                self.flow().unlock_get(guard);
            }
            Err(GetError::Empty) => {}
            Err(other) => return Err(other),
        }
        let mut letters = Vec::new();
        for slot in self.tasks().used() {
            letters.extend(self.take_letter(slot)?);
        }
        Ok(letters)
    }

    /// Without the get lock (Invariant 1).
    fn take_letter(&self, slot: &Slot) -> Result<Option<Vec<u8>>, GetError> {
        let is_letter = || kind(slot.state.load(Acquire)) == DEAD_LETTER; // PAIRS letter
        if !is_letter() {
            return Ok(None);
        }
        let before = slot.owner.load(Acquire); // PAIRS letter
        if Identity::from_bits(before).is_some_and(Identity::is_alive) {
            return Ok(None); // another one is taking it
        }
        // AcqRel. PAIRS letter: one taker at a time.
        let me = Identity::me().to_bits();
        let mine = slot.owner.compare_exchange(before, me, AcqRel, Relaxed);
        if mine.is_err() {
            return Ok(None);
        }
        step!("tasks: letter has a taker");
        let area = self.claims();
        let range = slot.range(area.reserve).filter(|_| is_letter());
        let Some((at, len)) = range else {
            slot.owner.store(before, Release);
            return match is_letter() {
                true => Err(GetError::Corrupted),
                false => Ok(None), // nobody's, but not yet a letter
            };
        };
        let mut letter = Vec::new();
        area.read_into(at, len, &mut letter);
        step!("tasks: letter copied");
        let state = slot.state.load(Relaxed);
        slot.state.store(with_kind(state, FREE), Release); // PAIRS task
        Ok(Some(letter))
    }

    /// Gets one record for a worker that will report it with [`Ring::task_done`]: as
    /// [`Ring::get_into`], and counted for this process.
    ///
    /// *Blocks*, *wakes* and *if a peer dies*: as there.
    ///
    /// # Errors
    ///
    /// See [`GetError`]; `TooManyTasks` when [`MOST_WORKERS`] processes have records.
    pub fn get_counted(
        &self,
        to: &mut Vec<u8>,
        fds: &mut Vec<OwnedFd>,
        wait: Wait<'_>,
    ) -> Result<(), GetError> {
        let flow = self.flow();
        let guard = flow.lock_get(&wait)?;
        let found = match flow.look_at_once() {
            Some(found) => found,
            None => self.wait_and_bury(wait)?,
        };
        let worker = self.worker_here().ok_or(GetError::TooManyTasks)?;
        *fds = self.withdraw(flow.tag(found))?;
        self.area().read_into(found.at(), found.len(), to);
        let got = worker.got.load(Relaxed).wrapping_add(1);
        worker.taking.store(
            u64::from(found.position.items) << 32 | u64::from(got),
            Release,
        );
        step!("tasks: about to be counted");
        flow.end_get(found);
        worker.got.store(got, Release);
        step!("tasks: counted");
        worker.taking.store(0, Release);
        flow.unlock_get(guard);
        Ok(())
    }

    /// Under the get lock: [`Flow::wait_for_data`], and once a slice what nobody else can do
    /// meanwhile.
    ///
    /// [`Flow::wait_for_data`]: crate::flow::Flow
    fn wait_and_bury(&self, wait: Wait<'_>) -> Result<Found, GetError> {
        let most = self.tasks().max_deliveries.load(Relaxed);
        if most == 0 || wait.deadline == Deadline::NOW {
            return self.flow().wait_for_data(wait);
        }
        loop {
            let deadline = Deadline::after(wait::SLICE).sooner(wait.deadline);
            match self.flow().wait_for_data(Wait { deadline, ..wait }) {
                Err(GetError::Empty) if !wait.deadline.passed() => self.bury_all(most),
                other => return other,
            }
        }
    }

    /// Under the get lock: this process's count; a free one, or a dead one's, best one that
    /// is even.
    fn worker_here(&self) -> Option<&Worker> {
        let me = Identity::me().to_bits();
        let tasks = self.tasks();
        let workers = &tasks.workers;
        if let Some(mine) = workers.iter().find(|w| w.owner.load(Relaxed) == me) {
            return Some(mine);
        }
        let free = workers.iter().find(|w| {
            let owner = Identity::from_bits(w.owner.load(Acquire));
            owner.is_none_or(|id| self.left_with(w) == 0 && !id.is_alive())
        });
        let free = free.or_else(|| {
            let dead = workers.iter().find(|w| {
                Identity::from_bits(w.owner.load(Acquire)).is_some_and(|id| !id.is_alive())
            })?;
            tasks.buried.fetch_add(1, Release); // before its counts go
            step!("tasks: buried");
            Some(dead)
        })?;
        free.taking.store(0, Relaxed);
        free.got.store(0, Relaxed);
        free.done.store(0, Relaxed);
        free.owner.store(me, Release);
        Some(free)
    }

    /// Records that a worker got and did not report.
    fn left_with(&self, worker: &Worker) -> u32 {
        let head = Position::read(self.flow().state.get.head.load(Acquire));
        let taking = worker.taking.load(Acquire);
        let got = match taking {
            0 => worker.got.load(Acquire),
            t if (t >> 32) as u32 == head.items => worker.got.load(Acquire),
            t => t as u32,
        };
        let left = got.wrapping_sub(worker.done.load(Acquire));
        if left > u32::MAX / 2 { 0 } else { left }
    }

    /// Counts a report for this process.
    pub(crate) fn count_report(&self) {
        let me = Identity::me().to_bits();
        let mine = self
            .tasks()
            .workers
            .iter()
            .find(|w| w.owner.load(Relaxed) == me);
        if let Some(worker) = mine {
            worker.done.fetch_add(1, Release);
        }
    }

    /// Is everything that is unfinished in the hands of the dead? Then writes it off, and
    /// says how much it was.
    ///
    /// Without the get lock: a waiting worker holds that. Each released record was counted
    /// as somebody's before its RELEASE; so once nothing is queued, the counts are complete,
    /// as long as nothing was put in between.
    pub(crate) fn write_off_lost(&self) -> Option<TasksLost> {
        let flow = self.flow();
        let tasks = self.tasks();
        let done = flow.state.signs.done.load(SeqCst);
        let put = flow.put_count();
        let open = |s: &Slot| matches!(kind(s.state.load(Acquire)), TAKEN | ORPHAN);
        if flow.len() != 0 || tasks.used().iter().any(open) {
            return None;
        }
        let mut dead = Vec::new();
        for worker in &tasks.workers {
            let Some(owner) = Identity::from_bits(worker.owner.load(Acquire)) else {
                continue;
            };
            match self.left_with(worker) {
                0 => {}
                _ if owner.is_alive() => return None,
                _ => dead.push((worker, owner)),
            }
        }
        let (buried, told) = (tasks.buried.load(Acquire), tasks.told.load(Relaxed));
        let unfinished = put.wrapping_sub(done).wrapping_sub(tasks.done());
        if (dead.is_empty() && buried == told) || unfinished == 0 {
            return None;
        }
        // What was put meanwhile is another matter.
        if flow.put_count() != put {
            return None;
        }
        // One store settles it; whoever comes second finds nothing unfinished.
        flow.state
            .signs
            .done
            .compare_exchange(done, done.wrapping_add(unfinished), SeqCst, Relaxed) // PAIRS finished
            .ok()?;
        step!("tasks: written off");
        tasks.told.store(buried, Relaxed);
        for (worker, owner) in dead {
            let _ = worker
                .owner
                .compare_exchange(owner.to_bits(), 0, Release, Relaxed);
        }
        flow.report();
        Some(TasksLost(unfinished as usize))
    }
}

/// Claims' memory is allocated in steps of this, and given back from this on.
const GROW: usize = 64 << 10;
const GIVE_BACK: usize = 16 << 20;

impl Task<'_> {
    /// How often it was delivered, this time included: 1 unless somebody died with it.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    fn slot(&self) -> Option<&Slot> {
        let slot = self.ring.tasks().slots.get(self.index)?;
        // A copy of the guard in a forked child owns nothing.
        let mine = slot.owner() == Some(Identity::me());
        (mine && kind(slot.state.load(Acquire)) == TAKEN).then_some(slot)
    }

    /// Reports it done, in one store.
    pub fn done(self) {
        if let Some(slot) = self.slot() {
            let state = slot.state.load(Relaxed);
            step!("tasks: about to be done");
            slot.state.store(with_kind(state, FREE) + 4, SeqCst); // PAIRS finished, task
            step!("tasks: done");
            self.ring.flow().report();
        }
        let _ = &self.held;
    }

    /// Gives it back: it is delivered again, to whoever asks next.
    pub fn give_back(self) {
        if let Some(slot) = self.slot() {
            let state = slot.state.load(Relaxed);
            slot.state.store(with_kind(state, ORPHAN), Release); // PAIRS task
            step!("tasks: given back");
            self.ring.ring_all();
        }
    }
}
