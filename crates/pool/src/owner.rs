//! The owner's side: which tasks are open, and who reads the answers.
//!
//! # Who reads
//!
//! Whoever waits, *leads*: it reads the answers' ring itself, files what comes for others and wakes
//! them, and passes the lead on when its own answer has come. So an answer goes from the worker
//! straight to the thread that waits for it. There is one more thread, the *attendant*, as soon as
//! somebody wants to be called back; it runs callbacks, and leads while nobody else does.
//!
//! # Invariants
//!
//! 1. A task is in `open` from before its record is put until its answer is filed or it is
//!    cancelled. What comes for a number that is not there, or of another attempt, is dropped: no
//!    task has two outcomes.
//! 2. A cancelled task is in `cancelled` until it has an answer, and as long on the board.
//! 3. One thread leads at a time. Who stops leading wakes one of those who wait.
//! 4. No code of the user's runs under a lock, or on the thread of another who waits.
//!
//! # If a process dies here
//!
//! The owner: the keeper sees it. A worker: see `worker.rs`. The keeper: whoever leads sees it
//! within a slice, reads what is left, and ends the pool with an error for each open task.

use crate::board::{Board, ENDING, STOPPED};
use crate::error::{Ended, SubmitError, TaskError};
use crate::keeper::{CANCEL, COMMAND_BYTES, FINISH, INITIALIZER, STOP, SYSTEM};
use crate::record::{AnswerHead, Kind, TaskHead, read_exit};
use crate::ticket::{Filed, Job, Reply, Sink, quietly};
use multiproc_core::deadline::Deadline;
use multiproc_core::{fork, step, wait};
use multiproc_parcel::Parcel;
use multiproc_process::{Functions, Process};
use multiproc_ring::{GetError, PutError, Ring, Wait};
use multiproc_segment::Shared;
use parking_lot::{Mutex, MutexGuard};
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::*, fence};
use std::thread::{JoinHandle, Thread};
use std::time::Duration;

/// Answers read at once.
const MOST_AT_ONCE: usize = 64;
/// How long a keeper may take to stop before it is killed.
const GRACE: Duration = Duration::from_secs(5);

pub(crate) struct Owner {
    /// Which process this is; a forked copy is another.
    born: u64,
    pub(crate) workers: usize,
    pub(crate) board: Shared<Board>,
    pub(crate) tasks: Ring,
    pub(crate) answers: Ring,
    pub(crate) functions: Functions,
    keeper: Process,
    control: UnixStream,
    state: Mutex<State>,
    /// As `state.ended`, without the lock. Release when set. PAIRS ended.
    over: AtomicBool,
    /// How many threads are in `state.waiters`.
    waiting: AtomicUsize,
}

struct State {
    next: u64,
    open: HashMap<u64, Entry, BuildHasherDefault<Number>>,
    cancelled: BTreeSet<u64>,
    leading: bool,
    waiters: Vec<Waiter>,
    /// No more tasks are taken.
    closed: bool,
    ended: Option<Ended>,
    jobs: VecDeque<Job>,
    /// Jobs that run: one, but at the very end.
    busy: usize,
    /// Open tasks somebody wants to be told of. (Below 0 for a moment, if one ends while it is
    /// being counted.)
    watched: i64,
    attendant: Option<JoinHandle<()>>,
    /// Reused by whoever leads.
    scratch: Scratch,
}

#[derive(Default)]
struct Scratch {
    bytes: Vec<u8>,
    lens: Vec<usize>,
    descriptors: Vec<OwnedFd>,
}

/// An open task.
struct Entry {
    sink: Arc<dyn Sink>,
    part: usize,
    attempt: u32,
    again: Option<Again>,
}

/// A task that is put again if its worker dies.
struct Again {
    record: Vec<u8>,
    retries: u32,
}

#[derive(Clone)]
struct Waiter {
    key: usize,
    thread: Thread,
}

/// Task numbers are spread well enough as they are.
#[derive(Default)]
pub(crate) struct Number(u64);

impl Hasher for Number {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes
            .iter()
            .for_each(|b| self.0 = self.0 << 8 | u64::from(*b));
    }

    fn write_u64(&mut self, n: u64) {
        // The table goes by the top bits, too.
        self.0 = n ^ n << 57;
    }
}

/// A record to be put.
pub(crate) struct Parcelled<'a> {
    pub(crate) record: &'a mut Vec<u8>,
    pub(crate) parcel: Parcel,
}

/// Who the attendant waits as.
const ATTENDANT: usize = 1;
/// Who waits for the pool as a whole.
const ALL: usize = 2;
/// Who waits for time to pass.
const NOBODY: usize = 3;

/// Where there is no room for a task, answers are read so often.
const A_LITTLE: Duration = Duration::from_millis(2);

impl Owner {
    #[allow(clippy::too_many_arguments)] // each once, at the construction
    pub(crate) fn new(
        workers: usize,
        board: Shared<Board>,
        tasks: Ring,
        answers: Ring,
        functions: Functions,
        keeper: Process,
        control: UnixStream,
    ) -> Self {
        Self {
            born: fork::generation(),
            workers,
            board,
            tasks,
            answers,
            functions,
            keeper,
            control,
            state: Mutex::new(State {
                next: 1,
                open: HashMap::default(),
                cancelled: BTreeSet::new(),
                leading: false,
                waiters: Vec::new(),
                closed: false,
                ended: None,
                jobs: VecDeque::new(),
                busy: 0,
                watched: 0,
                attendant: None,
                scratch: Scratch::default(),
            }),
            over: AtomicBool::new(false),
            waiting: AtomicUsize::new(0),
        }
    }

    /// Is this the process that made the pool? In a forked copy nothing may be touched: another
    /// thread may have held a lock.
    #[inline]
    pub(crate) fn is_here(&self) -> bool {
        self.born == fork::generation()
    }

    pub(crate) fn ended(&self) -> Option<Ended> {
        self.state.lock().ended.clone()
    }

    pub(crate) fn keeper(&self) -> &Process {
        &self.keeper
    }

    /// Open tasks (chunks, of maps).
    pub(crate) fn open(&self) -> usize {
        self.state.lock().open.len()
    }

    fn refusal(state: &State) -> Option<SubmitError<()>> {
        match (&state.ended, state.closed) {
            (Some(why), _) => Some(SubmitError::Closed((), why.clone())),
            (None, true) => Some(SubmitError::Closed((), Ended::Closed)),
            _ => None,
        }
    }

    /// Can a task be put?
    pub(crate) fn check(&self) -> Result<(), SubmitError<()>> {
        if !self.is_here() {
            return Err(SubmitError::NotOwner(()));
        }
        Self::refusal(&self.state.lock()).map_or(Ok(()), Err)
    }

    /// Puts a task, whose number goes into its record: the number. With `wait` it *blocks until*
    /// there is room, *wakes when* a worker takes a task; *if a peer dies*, the keeper, it is an
    /// error. Without, it does not block.
    pub(crate) fn submit(
        &self,
        sink: Arc<dyn Sink>,
        part: usize,
        parcelled: Parcelled<'_>,
        retries: u32,
        wait: bool,
    ) -> Result<u64, SubmitError<()>> {
        let Parcelled { record, parcel } = parcelled;
        let mut state = self.state.lock();
        if let Some(refusal) = Self::refusal(&state) {
            return Err(refusal);
        }
        let task = state.next;
        state.next += 1;
        record[..8].copy_from_slice(&task.to_ne_bytes());
        // What is put again has no descriptors: they went with the first.
        let again = (retries > 0 && parcel.is_empty()).then(|| Again {
            record: record.clone(),
            retries,
        });
        let entry = Entry {
            sink,
            part,
            attempt: 1,
            again,
        };
        state.open.insert(task, entry);
        drop(state);
        match self.put(record, &parcel, wait) {
            Ok(()) => {
                parcel.sent();
                self.board.idle.announce();
                Ok(task)
            }
            Err(error) => {
                let was_open = self.state.lock().open.remove(&task).is_some();
                if !was_open {
                    // Meanwhile the pool has ended, and told so.
                    return Err(self.check().err().unwrap_or(SubmitError::Full(())));
                }
                Err(match error {
                    PutError::TooLarge { bytes, most } => SubmitError::TooLarge {
                        arguments: (),
                        bytes,
                        most,
                    },
                    PutError::Carry(why) => SubmitError::Encode((), why.to_string()),
                    PutError::Corrupted => SubmitError::Closed((), Ended::Corrupted),
                    PutError::Closed => {
                        return Err(self.check().err().unwrap_or(SubmitError::Full(())));
                    }
                    _ => SubmitError::Full(()),
                })
            }
        }
    }

    fn put(&self, record: &[u8], parcel: &Parcel, wait: bool) -> Result<(), PutError> {
        let in_vain = |thorough: bool| self.is_over() || thorough && !self.keeper.is_alive();
        loop {
            let wait_a_little = Wait {
                deadline: match wait {
                    true => Deadline::after(A_LITTLE),
                    false => Deadline::NOW,
                },
                in_vain: &in_vain,
            };
            let put = match parcel.is_empty() {
                true => self.tasks.put(record, wait_a_little),
                false => {
                    let (fds, tokens) = (parcel.descriptors(), parcel.tokens());
                    self.tasks.put_carrying(record, fds, tokens, wait_a_little)
                }
            };
            match put {
                // Workers may wait for room, too: for their answers.
                Err(PutError::Full) if wait => {
                    self.wait_for(NOBODY, Deadline::after(A_LITTLE), &|| false);
                }
                other => return other,
            }
        }
    }

    #[inline]
    fn is_over(&self) -> bool {
        self.over.load(Acquire) // PAIRS ended
    }

    /// *Blocks until* `done`, or the deadline passes: is it done? *Wakes when* the answer comes
    /// that is filed for `key`. *If a peer dies*: the pool goes on, or ends and says so.
    pub(crate) fn wait_for(&self, key: usize, deadline: Deadline, done: &dyn Fn() -> bool) -> bool {
        let result = loop {
            if done() {
                break true;
            }
            let mut state = self.state.lock();
            if state.attendant.is_none() && !state.jobs.is_empty() {
                // It could not be started.
                drop(state);
                self.run_job();
            } else if !state.leading && state.ended.is_none() {
                state.leading = true;
                let scratch = std::mem::take(&mut state.scratch);
                drop(state);
                self.lead(deadline, done, scratch);
            } else {
                state.waiters.push(Waiter {
                    key,
                    thread: std::thread::current(),
                });
                self.waiting.fetch_add(1, Relaxed); // ordered by the fence, and by the lock
                drop(state);
                fence(SeqCst); // PAIRS waiting
                if !done() {
                    match deadline.remaining() {
                        None => std::thread::park(),
                        Some(left) => std::thread::park_timeout(left),
                    }
                }
                let mut state = self.state.lock();
                let me = std::thread::current().id();
                let at = state.waiters.iter().position(|w| w.thread.id() == me);
                if let Some(at) = at {
                    state.waiters.swap_remove(at);
                    self.waiting.fetch_sub(1, Relaxed);
                }
            }
            if deadline.passed() {
                break done();
            }
        };
        self.pass_the_lead();
        result
    }

    /// If nobody leads, one of those who wait is to.
    fn pass_the_lead(&self) {
        // Relaxed: who has not been counted when we gave the lead up, sees that under the lock.
        if self.waiting.load(Relaxed) == 0 {
            return;
        }
        let state = self.state.lock();
        if !state.leading && state.ended.is_none() {
            // The attendant last: its work can wait.
            let next = state.waiters.iter().find(|w| w.key != ATTENDANT);
            if let Some(next) = next.or(state.waiters.first()) {
                next.thread.unpark();
            }
        }
    }

    /// Reads answers until `done`, the deadline passes, or the pool ends.
    fn lead(&self, deadline: Deadline, done: &dyn Fn() -> bool, mut scratch: Scratch) {
        let in_vain =
            |thorough: bool| done() || self.is_over() || thorough && !self.keeper.is_alive();
        while !done() && !self.is_over() {
            let wait = Wait {
                deadline,
                in_vain: &in_vain,
            };
            match self.read(&mut scratch, wait) {
                Ok(()) => {}
                Err(GetError::Empty) => break,
                Err(GetError::Closed) => {
                    if !self.keeper.is_alive() {
                        // What it and the workers said before comes first.
                        while self.read(&mut scratch, Wait::NOT).is_ok() {}
                        self.end(Ended::KeeperDied);
                    }
                }
                Err(GetError::NoDescriptors | GetError::NoMemory { .. }) => {
                    // Somebody here must close some first. The answer is still there.
                    std::thread::park_timeout(wait::SLICE);
                    if deadline.passed() {
                        break;
                    }
                }
                Err(_) => self.end(Ended::Corrupted),
            }
        }
        let mut state = self.state.lock();
        state.leading = false;
        state.scratch = scratch;
    }

    /// Reads and files some answers.
    fn read(&self, scratch: &mut Scratch, wait: Wait<'_>) -> Result<(), GetError> {
        let Scratch {
            bytes,
            lens,
            descriptors,
        } = scratch;
        bytes.clear();
        lens.clear();
        descriptors.clear();
        self.answers
            .get_many(MOST_AT_ONCE, bytes, lens, descriptors, wait)?;
        step!("pool owner: answers read");
        let mut rest = &bytes[..];
        for len in lens {
            let (answer, after) = rest.split_at(*len);
            self.file(answer, std::mem::take(descriptors));
            rest = after;
        }
        const KEEP: usize = 1 << 20;
        if bytes.capacity() > KEEP {
            *bytes = Vec::new();
        }
        Ok(())
    }

    /// Gives an answer to whom it belongs.
    fn file(&self, answer: &[u8], descriptors: Vec<OwnedFd>) {
        let Some(head) = AnswerHead::read(answer) else {
            return self.end(Ended::Corrupted);
        };
        let rest = &answer[AnswerHead::BYTES..];
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if head.kind == Kind::Fatal {
            return self.end(match rest {
                [INITIALIZER, why @ ..] => Ended::Initializer(text(why)),
                [SYSTEM, why @ ..] => Ended::Workers(text(why)),
                _ => Ended::Corrupted,
            });
        }
        let mut state = self.state.lock();
        let Some(entry) = state.open.get_mut(&head.task) else {
            self.forget_cancelled(&mut state, head.task);
            return;
        };
        if entry.attempt != head.attempt {
            return;
        }
        if head.kind == Kind::Lost && self.put_again(entry, head.task) {
            return;
        }
        let Some(entry) = state.open.remove(&head.task) else {
            return;
        };
        let all_done = state.open.is_empty();
        drop(state);
        let reply = match head.kind {
            Kind::Values => Reply::Values(answer.to_vec(), descriptors),
            Kind::TimedOut => Reply::Failure(TaskError::Timeout),
            Kind::Cancelled => Reply::Failure(TaskError::Cancelled),
            Kind::Refused => Reply::Failure(TaskError::NotSerialisable(text(rest))),
            Kind::Lost | Kind::Fatal => Reply::Failure(match read_exit(rest) {
                Some(exit) => TaskError::WorkerLost {
                    exit,
                    attempts: entry.attempt,
                },
                None => TaskError::PoolEnded(Ended::Corrupted),
            }),
        };
        let key = key_of(&entry.sink);
        let filed = entry.sink.file(entry.part, reply);
        self.tell(key, filed);
        if all_done {
            self.wake(ALL);
        }
    }

    /// Puts a task once more whose worker died, if that was asked for.
    fn put_again(&self, entry: &mut Entry, task: u64) -> bool {
        let Some(again) = &mut entry.again else {
            return false;
        };
        if again.retries == 0 {
            return false;
        }
        again.retries -= 1;
        TaskHead::set_attempt(&mut again.record, entry.attempt + 1);
        debug_assert_eq!(TaskHead::read(&again.record).map(|h| h.task), Some(task));
        if self.tasks.put(&again.record, Wait::NOT).is_err() {
            return false;
        }
        entry.attempt += 1;
        self.board.idle.announce();
        true
    }

    fn forget_cancelled(&self, state: &mut State, task: u64) {
        if state.cancelled.remove(&task) {
            let below = state.cancelled.first().copied().unwrap_or(u64::MAX);
            if below > task {
                self.board.forget_cancelled(below);
            }
            if state.cancelled.is_empty() && state.open.is_empty() {
                self.wake_in(state, ALL);
            }
        }
    }

    /// Does what an answer brought about.
    pub(crate) fn tell(&self, key: usize, filed: Filed) {
        if filed.job.is_some() || filed.unwatched {
            let mut state = self.state.lock();
            if filed.unwatched {
                state.watched -= 1;
            }
            state.jobs.extend(filed.job);
            self.wake_in(&state, ATTENDANT);
            if state.attendant.is_none() && state.ended.is_some() {
                // It has gone, and will not come again.
                drop(state);
                while self.run_job() {}
            }
        }
        if filed.look {
            self.wake(key);
        }
    }

    fn wake(&self, key: usize) {
        // Whoever has not been counted sees what there is to be seen.
        fence(SeqCst); // PAIRS waiting
        if self.waiting.load(Relaxed) != 0 {
            self.wake_in(&self.state.lock(), key);
        }
    }

    fn wake_in(&self, state: &State, key: usize) {
        for waiter in state.waiters.iter().filter(|w| w.key == key) {
            waiter.thread.unpark();
        }
    }

    /// Takes open tasks of these numbers off: they have their outcome, and do not begin any more;
    /// the workers of those that have begun are killed. True if there were some, and all of them are.
    pub(crate) fn cancel(&self, ranges: &[(u64, u64)]) -> bool {
        let mut state = self.state.lock();
        let mut gone = Vec::new();
        let mut all = true;
        for (first, last) in ranges {
            // Neighbours that are open, together.
            let mut at = *first;
            while at <= *last {
                if !state.open.contains_key(&at) {
                    at += 1;
                    continue;
                }
                let from = at;
                while at <= *last && state.open.contains_key(&at) {
                    at += 1;
                }
                if !self.board.cancel(from, at - 1) {
                    all = false;
                    continue;
                }
                for task in from..at {
                    gone.extend(state.open.remove(&task));
                    state.cancelled.insert(task);
                }
                step!("pool owner: cancelled");
            }
        }
        // PAIRS cancel-or-begin: a worker that did not see the list shows in its slot.
        fence(SeqCst);
        let slots = self.board.slots[..self.workers].iter();
        let begun = slots.filter_map(|slot| Some(slot.running()?.task));
        let begun: Vec<u64> = begun
            .filter(|task| state.cancelled.contains(task))
            .collect();
        drop(state);
        self.command(CANCEL, &begun);
        // Otherwise another thread has just read the last answer.
        all &= !gone.is_empty();
        for entry in gone {
            let key = key_of(&entry.sink);
            let filed = entry
                .sink
                .file(entry.part, Reply::Failure(TaskError::Cancelled));
            self.tell(key, filed);
        }
        // Whoever leads may wait for just this.
        self.answers.ring_all();
        all
    }

    /// Tells the keeper, for each of these tasks. Does not block: a keeper that does not read does
    /// not do it either, and whoever leads finds out if it is dead.
    fn command(&self, what: u8, tasks: &[u64]) {
        let mut commands = Vec::with_capacity(tasks.len() * COMMAND_BYTES);
        for task in tasks {
            commands.push(what);
            commands.extend_from_slice(&task.to_ne_bytes());
        }
        let _ = (&self.control).write_all(&commands);
    }

    /// Takes no more tasks.
    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
    }

    /// Ends the pool: every open task has this for its outcome.
    pub(crate) fn end(&self, why: Ended) {
        let mut state = self.state.lock();
        if state.ended.is_some() {
            return;
        }
        state.ended = Some(why.clone());
        state.closed = true;
        self.over.store(true, Release); // PAIRS ended
        let open = std::mem::take(&mut state.open);
        state.cancelled.clear();
        drop(state);
        let phase = match why {
            Ended::Closed => ENDING,
            _ => STOPPED,
        };
        self.board.enter_phase(phase, self.workers);
        let what = match why {
            Ended::Closed => FINISH,
            _ => STOP,
        };
        self.command(what, &[0]);
        self.tasks.ring_all();
        self.answers.ring_all();
        for entry in open.into_values() {
            let key = key_of(&entry.sink);
            let error = TaskError::PoolEnded(why.clone());
            let filed = entry.sink.file(entry.part, Reply::Failure(error));
            self.tell(key, filed);
        }
        let state = self.state.lock();
        state.waiters.iter().for_each(|w| w.thread.unpark());
    }

    /// *Blocks until* every task has its outcome, and every callback has run. *Wakes when* the last
    /// one does. *If a peer dies*: as ever.
    pub(crate) fn settle(&self) {
        let open = || !self.state.lock().open.is_empty() && !self.is_over();
        self.wait_for(ALL, Deadline::NEVER, &|| !open());
    }

    /// *Blocks until* the callbacks that are due have run. Not on their own thread.
    fn finish_jobs(&self, on_their_thread: bool) {
        if on_their_thread {
            return;
        }
        let busy = |state: &State| !state.jobs.is_empty() || state.busy != 0;
        if self.state.lock().attendant.is_none() {
            // It was never there, or could not be started.
            while self.run_job() {}
            return;
        }
        while busy(&self.state.lock()) {
            self.wait_for(ALL, Deadline::NEVER, &|| !busy(&self.state.lock()));
        }
    }

    /// *Blocks until* keeper and attendant have ended, after [`Owner::end`]. *If a peer dies*: that
    /// is what it waits for; a keeper that does not stop is killed.
    pub(crate) fn clear_away(&self) -> Result<(), multiproc_process::JoinError> {
        let attendant = self
            .state
            .lock()
            .attendant
            .as_ref()
            .map(|a| a.thread().id());
        let on_their_thread = attendant == Some(std::thread::current().id());
        let patiently = matches!(self.ended(), Some(Ended::Closed));
        if !patiently && self.keeper.join_timeout(GRACE).is_err() {
            let _ = self.keeper.kill(); // its workers die with it
        }
        let joined = self.keeper.join();
        self.finish_jobs(on_their_thread);
        // Taken away, it ends.
        let attendant = self.state.lock().attendant.take();
        if let Some(attendant) = attendant
            && !on_their_thread
        {
            attendant.thread().unpark();
            let _ = attendant.join(); // it catches what it runs
        }
        joined.map(drop)
    }

    /// Notes that somebody wants to be called: `job` at once, `watched` when an answer comes.
    pub(crate) fn attend(self: &Arc<Self>, (job, watched): (Option<Job>, bool)) {
        let mut state = self.state.lock();
        state.watched += i64::from(watched);
        state.jobs.extend(job);
        if state.attendant.is_none() && state.ended.is_some() {
            drop(state);
            while self.run_job() {}
            return;
        }
        if state.attendant.is_none() {
            let this = Arc::clone(self);
            let thread = std::thread::Builder::new()
                .name("pool callbacks".to_owned())
                .spawn(move || this.live_as_attendant());
            // Without it, `join` runs the callbacks.
            state.attendant = thread.ok();
        }
        self.wake_in(&state, ATTENDANT);
        // If another thread leads, it files; nothing else is to be done.
    }

    fn live_as_attendant(&self) {
        loop {
            while self.run_job() {}
            let idle = |state: &State| state.jobs.is_empty();
            let state = self.state.lock();
            if !idle(&state) {
                continue;
            }
            if state.ended.is_some() && state.attendant.is_none() {
                return; // joined
            }
            if state.watched > 0 && state.ended.is_none() {
                drop(state);
                let done = || {
                    let state = self.state.lock();
                    !state.jobs.is_empty() || state.watched <= 0 || state.ended.is_some()
                };
                self.wait_for(ATTENDANT, Deadline::NEVER, &done);
            } else {
                self.rest(state);
            }
        }
    }

    /// The attendant sleeps until it is woken: nothing is watched.
    fn rest(&self, mut state: MutexGuard<'_, State>) {
        state.waiters.push(Waiter {
            key: ATTENDANT,
            thread: std::thread::current(),
        });
        drop(state);
        std::thread::park();
        let mut state = self.state.lock();
        let me = std::thread::current().id();
        state.waiters.retain(|w| w.thread.id() != me);
    }

    /// Runs a callback, if one is due.
    fn run_job(&self) -> bool {
        let job = {
            let mut state = self.state.lock();
            let job = state.jobs.pop_front();
            state.busy += usize::from(job.is_some());
            job
        };
        let Some(job) = job else {
            return false;
        };
        quietly(job);
        let mut state = self.state.lock();
        state.busy -= 1;
        // Whoever waits for its result looks.
        let waiters = state.waiters.iter().filter(|w| w.key != ATTENDANT);
        waiters.for_each(|w| w.thread.unpark());
        let leading = state.leading;
        drop(state);
        if leading {
            self.answers.ring_all();
        }
        true
    }
}

/// By which those who wait for a sink are found.
pub(crate) fn key_of<S: ?Sized>(sink: &Arc<S>) -> usize {
    Arc::as_ptr(sink).cast::<()>().addr()
}
