//! Who reads the answers.
//!
//! Whoever waits, *leads*: it reads the answers' ring itself, files what comes for others and wakes
//! them, and passes the lead on when its own answer has come. So an answer goes from the worker
//! straight to the thread that waits for it. The attendant leads while nobody else does and somebody
//! wants to be called back.
//!
//! If a process dies here: see `owner.rs`.

use super::{ALL, ATTENDANT, Entry, Owner, Scratch, State, Waiter, key_of};
use crate::error::{Ended, TaskError};
use crate::keeper::{INITIALIZER, SYSTEM};
use crate::record::{AnswerHead, Kind, TaskHead, read_exit};
use crate::ticket::{Filed, Reply};
use multiproc_core::deadline::Deadline;
use multiproc_core::{step, wait};
use multiproc_ring::{GetError, Wait};
use std::os::fd::OwnedFd;
use std::sync::atomic::{Ordering::*, fence};

/// Answers read at once.
const MOST_AT_ONCE: usize = 64;

impl Owner {
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

    pub(super) fn wake_in(&self, state: &State, key: usize) {
        for waiter in state.waiters.iter().filter(|w| w.key == key) {
            waiter.thread.unpark();
        }
    }
}
