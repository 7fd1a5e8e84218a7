//! A worker's life: take a task, run it, put the answer, end it; and again.
//!
//! ```text
//!   begin      the initializer
//!   take       under the ring's lock: the slot says which task it is; then the record is given up
//!   run        the function, on each argument
//!   answer     the answer is put
//!   end        the slot is free
//! ```
//!
//! If it dies here, the keeper finds in the slot what it had: before *take* nothing, up to *answer*
//! the task, which then is lost or put again. Between *answer* and *end* it is told as lost, too,
//! but behind the answer, and the owner does not ask for a second one.

use crate::board::{Board, CORRUPTED, ENDING, HINDERED, READY, RETIRED, RUNNING, STARTING};
use crate::call::{self, CAPTURED, Call};
use crate::record::{AnswerHead, Kind, TaskHead};
use crate::setup::Initializer;
use multiproc_core::deadline::Deadline;
use multiproc_core::{fork, step};
use multiproc_process::Functions;
use multiproc_ring::{GetError, PutError, Ring, Wait};
use multiproc_segment::Shared;
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::Ordering::Release;
use std::time::Duration;

/// What every worker has.
pub(crate) struct Workplace {
    pub(crate) board: Shared<Board>,
    pub(crate) tasks: Ring,
    pub(crate) answers: Ring,
    pub(crate) functions: Functions,
    pub(crate) most_tasks: Option<u64>,
    /// Tells the keeper that a task's time has begun.
    pub(crate) clock: UnixDatagram,
}

/// The function of a pool around a closure.
pub(crate) type Captured<'f> = &'f dyn Fn(&mut Call);

/// Works until there is no more to do; the exit code.
pub(crate) fn work(
    workplace: &Workplace,
    place: usize,
    initializer: Option<Initializer>,
    captured: Option<Captured<'_>>,
) -> i32 {
    let slot = &workplace.board.slots[place];
    step!("pool worker: begins");
    if let Some(initializer) = initializer {
        let code = initializer.begin();
        if code != 0 {
            return code;
        }
    }
    call::note_panics();
    slot.state.store(READY, Release);
    step!("pool worker: ready");
    let born = fork::generation();
    let mut worker = Worker {
        workplace,
        place,
        captured,
        head: None,
        call: Call::default(),
    };
    let mut done = 0;
    let leave = loop {
        if let Err(leave) = worker.take() {
            break leave;
        }
        if let Err(leave) = worker.serve(born) {
            break leave;
        }
        done += 1;
        if workplace.most_tasks.is_some_and(|most| done >= most) {
            break Leave::Well;
        }
    };
    let (state, code) = match leave {
        Leave::Well => (RETIRED, 0),
        Leave::Hindered => (HINDERED, 71),
        Leave::Corrupted => (CORRUPTED, 70),
        // The slot is the original's.
        Leave::Copy => return 0,
    };
    slot.state.store(state, Release);
    step!("pool worker: leaves");
    code
}

struct Worker<'w> {
    workplace: &'w Workplace,
    place: usize,
    captured: Option<Captured<'w>>,
    head: Option<TaskHead>,
    call: Call,
}

/// Why a worker leaves.
enum Leave {
    /// There is no more to do, or it has done as much as it may.
    Well,
    /// The system refuses what it needs.
    Hindered,
    /// The memory is corrupted.
    Corrupted,
    /// The task forked, and this is the copy.
    Copy,
}

impl Worker<'_> {
    /// *Blocks until* it has a task or the pool ends. *Wakes when* somebody puts one. *If a peer
    /// dies*: another worker's death may leave its task here; the keeper sees to the rest.
    fn take(&mut self) -> Result<(), Leave> {
        let Workplace { board, tasks, .. } = self.workplace;
        let taken = board.idle.seek(
            self.place,
            || tasks.has_next(),
            // What is queued is to be done by nobody, or nothing is queued.
            || board.phase() != RUNNING,
            || match self.try_take() {
                Ok(()) => Some(Ok(())),
                Err(GetError::Empty) => None,
                Err(GetError::Corrupted | GetError::Closed) => Some(Err(Leave::Corrupted)),
                Err(_) => Some(Err(Leave::Hindered)),
            },
        );
        taken.unwrap_or(Err(Leave::Well))
    }

    /// The next task, if there is one: the slot says so before the record is gone.
    fn try_take(&mut self) -> Result<(), GetError> {
        let slot = &self.workplace.board.slots[self.place];
        let Call {
            input, descriptors, ..
        } = &mut self.call;
        let head = &mut self.head;
        self.workplace
            .tasks
            .get_noted(input, descriptors, Wait::NOT, |record, bytes| {
                *head = TaskHead::read(bytes);
                if let Some(head) = head {
                    slot.begin(head.task, head.attempt, record);
                }
                step!("pool worker: task noted");
            })?;
        step!("pool worker: task taken");
        Ok(())
    }

    /// Runs what was taken, and answers.
    fn serve(&mut self, born: u64) -> Result<(), Leave> {
        let Workplace {
            board,
            functions,
            clock,
            ..
        } = self.workplace;
        let slot = &board.slots[self.place];
        let Some(head) = self.head else {
            // Nobody can be told whose task this was.
            return Err(Leave::Corrupted);
        };
        if board.is_cancelled(head.task) {
            self.call.descriptors.clear();
            return self.answer(head, Kind::Cancelled);
        }
        if head.limit != 0 {
            let due = Deadline::after(Duration::from_nanos(head.limit));
            slot.set_due(due.since_boot().as_nanos() as u64);
            // If there is no room, the keeper has a lot to look at already.
            let _ = clock.send(&[0]);
        }
        step!("pool worker: runs");
        self.call.from = TaskHead::BYTES;
        self.call.count = head.count as usize;
        self.call.output.clear();
        answer_head(head, Kind::Values).write(&mut self.call.output);
        let called = match self.captured {
            Some(captured) if head.code == CAPTURED => {
                captured(&mut self.call);
                true
            }
            _ => functions.call(head.code, &mut self.call).is_ok(),
        };
        if fork::generation() != born {
            return Err(Leave::Copy);
        }
        step!("pool worker: ran");
        match called {
            true => self.put(head),
            false => {
                self.call.descriptors.clear();
                self.refuse(head, "no function of this program was named")
            }
        }
    }

    /// Answers without values.
    fn answer(&mut self, head: TaskHead, kind: Kind) -> Result<(), Leave> {
        self.call.output.clear();
        answer_head(head, kind).write(&mut self.call.output);
        self.put(head)
    }

    fn refuse(&mut self, head: TaskHead, why: &str) -> Result<(), Leave> {
        self.call.output.clear();
        answer_head(head, Kind::Refused).write(&mut self.call.output);
        self.call.output.extend_from_slice(why.as_bytes());
        self.put(head)
    }

    /// Puts the answer and ends the task. *Blocks until* there is room. *If a peer dies*: with the
    /// keeper, this process does, too.
    fn put(&mut self, head: TaskHead) -> Result<(), Leave> {
        step!("pool worker: about to answer");
        let answers = &self.workplace.answers;
        let parcel = std::mem::take(&mut self.call.parcel);
        let put = if parcel.is_empty() {
            answers.put(&self.call.output, Wait::FOREVER)
        } else {
            let fds = parcel.descriptors();
            let put = answers.put_carrying(&self.call.output, fds, parcel.tokens(), Wait::FOREVER);
            if put.is_ok() {
                parcel.sent();
            }
            put
        };
        match put {
            Ok(()) => {}
            Err(error @ (PutError::TooLarge { .. } | PutError::Carry(_))) => {
                return self.refuse(head, &error.to_string());
            }
            Err(error @ PutError::NoMemory { .. }) if self.call.output.len() > 4096 => {
                return self.refuse(head, &error.to_string());
            }
            Err(PutError::Corrupted | PutError::Closed) => return Err(Leave::Corrupted),
            // It goes with us, and is told as lost.
            Err(_) => return Err(Leave::Hindered),
        }
        step!("pool worker: answered");
        self.forget_large();
        if !self.workplace.board.slots[self.place].end(head.task) {
            // We are about to be killed, for a task that has just got its answer.
            loop {
                std::thread::park();
            }
        }
        step!("pool worker: task ended");
        Ok(())
    }

    /// One large task is no reason to keep its memory.
    fn forget_large(&mut self) {
        const KEEP: usize = 1 << 20;
        for buffer in [&mut self.call.input, &mut self.call.output] {
            if buffer.capacity() > KEEP {
                *buffer = Vec::new();
            }
        }
    }
}

fn answer_head(head: TaskHead, kind: Kind) -> AnswerHead {
    AnswerHead {
        task: head.task,
        attempt: head.attempt,
        kind,
    }
}

const _: () = assert!(STARTING < READY && RUNNING < ENDING);
