//! The owner's side: which tasks are open. `lead.rs` tells who reads the answers, `attendant.rs` who
//! calls back.
//!
//! # Invariants
//!
//! 1. A task is in `open` from before its record is put until its answer is filed or it is
//!    cancelled. What comes for a number that is not there, or of another attempt, is dropped: no
//!    task has two outcomes.
//! 2. A cancelled task is in `cancelled` until it has an answer, and as long on the board.
//! 3. One thread leads at a time. Who stops leading wakes one of those who wait.
//! 4. No code of the user's runs under the lock of `state`, or on the thread of another who waits.
//!
//! # If a process dies here
//!
//! The owner: the keeper sees it. A worker: see `worker.rs`. The keeper: whoever leads sees it
//! within a slice, reads what is left, and ends the pool with an error for each open task.

mod attendant;
mod lead;

use crate::board::{Board, ENDING, STOPPED};
use crate::error::{Ended, SubmitError, TaskError};
use crate::keeper::{CANCEL, COMMAND_BYTES, FINISH, STOP};
use crate::ticket::{Job, Reply, Sink};
use multiproc_core::deadline::Deadline;
use multiproc_core::{fork, step};
use multiproc_parcel::Parcel;
use multiproc_process::{Functions, Process};
use multiproc_ring::{PutError, Ring, Wait};
use multiproc_segment::Shared;
use parking_lot::Mutex;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::*, fence};
use std::thread::{JoinHandle, Thread};
use std::time::Duration;

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
}

/// By which those who wait for a sink are found.
pub(crate) fn key_of<S: ?Sized>(sink: &Arc<S>) -> usize {
    Arc::as_ptr(sink).cast::<()>().addr()
}
