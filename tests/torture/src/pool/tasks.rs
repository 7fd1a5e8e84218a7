//! What the workers do, what the owner waits for, and the books about it.

use crate::storm::{Dice, PATIENCE, spin};
use multiproc_core::step;
use multiproc_parcel::Descriptor;
use multiproc_pool::{AsyncResult, GetTimeoutError, Pool, SubmitError, TaskError};
use multiproc_process::Exit;
use multiproc_segment::{Shareable, Shared};
use std::io::{PipeReader, Read, Write};
use std::ops::Range;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// Numbers that the tasks of a round have.
pub(super) const NUMBERS: u64 = 1 << 20;

/// What the owner and the workers share beside the pool.
#[derive(Shareable)]
#[repr(C)]
pub(super) struct Words {
    /// By number: how often a task with it began.
    pub(super) began: [AtomicU8; NUMBERS as usize],
    /// The step (plus 1) at which a worker is to die: the next that has a task, and the next that
    /// begins.
    pub(super) fatal: AtomicU64,
    pub(super) fatal_at_birth: AtomicU64,
    /// Who took one of the two.
    pub(super) condemned: AtomicU64,
    /// Who is in [`hold`].
    pub(super) held_by: AtomicU64,
    /// How many are in [`meet`].
    pub(super) present: AtomicU64,
}

impl Words {
    pub(super) const fn new() -> Self {
        Words {
            began: [const { AtomicU8::new(0) }; NUMBERS as usize],
            fatal: AtomicU64::new(0),
            fatal_at_birth: AtomicU64::new(0),
            condemned: AtomicU64::new(0),
            held_by: AtomicU64::new(0),
            present: AtomicU64::new(0),
        }
    }

    /// Whoever comes first dies there.
    fn take(&self, fatal: &AtomicU64) {
        let step = fatal.swap(0, SeqCst);
        if step != 0 {
            self.condemned.store(std::process::id().into(), SeqCst);
            step::arm(step - 1);
        }
    }
}

static WORDS: OnceLock<Shared<Words>> = OnceLock::new();

fn words() -> &'static Words {
    WORDS.get().expect("the initializer was here")
}

/// The initializer.
pub(super) fn begin(words: Shared<Words>) {
    words.take(&words.fatal_at_birth);
    let _ = WORDS.set(words);
}

/// What comes of a number.
pub(super) fn answer(number: u64) -> u64 {
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// A number, and how many microseconds it takes.
pub(super) type Work = (u64, u64);

pub(super) fn work((number, micros): Work) -> u64 {
    let words = words();
    words.take(&words.fatal);
    words.began[number as usize].fetch_add(1, SeqCst);
    spin(micros);
    answer(number)
}

/// A number with a pipe in which it stands; both come back.
pub(super) type Carried = (u64, Descriptor<PipeReader>);

pub(super) fn carry(carried: Carried) -> Carried {
    let words = words();
    words.take(&words.fatal);
    words.began[carried.0 as usize].fetch_add(1, SeqCst);
    (answer(carried.0), carried.1)
}

/// Such a pipe.
pub(super) fn carried(number: u64) -> Carried {
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    let written = writer.write_all(&number.to_le_bytes());
    written.expect("it has room");
    (number, Descriptor(reader))
}

/// What came back, if in the pipe there is the number that should be there.
fn unpack((value, Descriptor(mut pipe)): Carried, number: u64) -> Vec<u64> {
    let mut bytes = [0; 8];
    match pipe.read_exact(&mut bytes) {
        Ok(()) if u64::from_le_bytes(bytes) == number => vec![value],
        _ => Vec::new(),
    }
}

/// Takes longer than it may.
fn overlong((number, _): Work) -> u64 {
    std::thread::sleep(2 * PATIENCE);
    answer(number)
}

/// Is killed here.
pub(super) fn hold((): ()) {
    words().held_by.store(std::process::id().into(), SeqCst);
    std::thread::sleep(2 * PATIENCE);
}

/// Waits for all workers of the pool, which have to do this at the same time.
pub(super) fn meet(workers: u64) -> bool {
    let words = words();
    words.present.fetch_add(1, SeqCst);
    let begun = Instant::now();
    while words.present.load(SeqCst) < workers {
        if begun.elapsed() > PATIENCE {
            return false;
        }
        std::thread::yield_now();
    }
    true
}

pub(super) fn numbers(next: &AtomicU64, count: u64) -> Range<u64> {
    let first = next.fetch_add(count, SeqCst);
    // The round ends long before; should it not, numbers are used again, and that shows.
    let first = first.min(NUMBERS - count);
    first..first + count
}

pub(super) fn items(numbers: &Range<u64>, dice: &mut Dice) -> Vec<Work> {
    numbers
        .clone()
        .map(|number| (number, dice.below(60)))
        .collect()
}

/// A result to come: of a task, of a map, of a task with a descriptor.
enum Coming {
    One(AsyncResult<u64>),
    Many(AsyncResult<Vec<u64>>),
    Carried(AsyncResult<Carried>),
}

pub(super) struct Job {
    result: Coming,
    pub(super) numbers: Range<u64>,
    /// Its time is limited, and too short.
    overlong: bool,
    retries: u32,
    cancelled: bool,
    pub(super) since: Instant,
    /// Calls of its callbacks, if it has some.
    called: Option<Arc<AtomicU64>>,
}

impl Job {
    pub(super) fn is_ready(&self) -> bool {
        match &self.result {
            Coming::One(result) => result.is_ready(),
            Coming::Many(result) => result.is_ready(),
            Coming::Carried(result) => result.is_ready(),
        }
    }

    pub(super) fn cancel(&mut self) {
        self.cancelled |= match &self.result {
            Coming::One(result) => result.cancel(),
            Coming::Many(result) => result.cancel(),
            Coming::Carried(result) => result.cancel(),
        };
    }
}

/// What came of all jobs.
#[derive(Default)]
pub(super) struct Books {
    pub(super) values: u64,
    /// Attempts that ended with their worker.
    pub(super) lost: u64,
    pub(super) timeouts: u64,
    pub(super) cancelled: u64,
    pub(super) torn: u64,
    pub(super) duplicated: u64,
    pub(super) broken: Vec<String>,
}

impl Books {
    pub(super) fn add(&mut self, other: &Books) {
        self.values += other.values;
        self.lost += other.lost;
        self.timeouts += other.timeouts;
        self.cancelled += other.cancelled;
        self.torn += other.torn;
        self.duplicated += other.duplicated;
    }

    /// Enters the outcome of a job, which has one.
    pub(super) fn settle(&mut self, words: &Words, job: &Job) {
        let outcome = match &job.result {
            Coming::One(result) => result.try_get().map(|value| vec![value]),
            Coming::Many(result) => result.try_get(),
            Coming::Carried(result) => {
                let carried = result.try_get();
                carried.map(|carried| unpack(carried, job.numbers.start))
            }
        };
        match outcome {
            Ok(values) => self.enter(words, job, Ok(values)),
            Err(GetTimeoutError::Task(error)) => self.enter(words, job, Err(error)),
            Err(other) => self.broken.push(format!("ready, and {other}")),
        }
    }

    fn enter(&mut self, words: &Words, job: &Job, outcome: Result<Vec<u64>, TaskError>) {
        let one = !matches!(job.result, Coming::Many(_));
        let named = || format!("numbers {:?}", job.numbers);
        match outcome {
            Ok(_) if job.overlong => self.broken.push(format!("{} were too fast", named())),
            Ok(_) if job.cancelled => {
                self.broken
                    .push(format!("{} were cancelled and have values", named()));
            }
            Ok(values) => {
                self.values += values.len() as u64;
                if !values.into_iter().eq(job.numbers.clone().map(answer)) {
                    self.torn += 1;
                }
                let began = |number| words.began[number as usize].load(SeqCst) > 0;
                if !job.numbers.clone().all(began) {
                    self.broken
                        .push(format!("{} have values and never began", named()));
                }
            }
            Err(TaskError::WorkerLost {
                exit: Exit::Signal(9),
                attempts,
            }) if attempts == job.retries + 1 && !(one && job.cancelled) => {
                self.lost += u64::from(attempts);
            }
            Err(TaskError::Timeout) if job.overlong => self.timeouts += 1,
            Err(TaskError::Cancelled) if job.cancelled => self.cancelled += 1,
            Err(error) => self
                .broken
                .push(format!("{}: {error} ({error:?})", named())),
        }
        let most = 1 + job.retries as u8;
        let began = |number: &u64| words.began[*number as usize].load(SeqCst) > most;
        self.duplicated += job.numbers.clone().filter(began).count() as u64;
        if let Some(called) = &job.called
            && called.load(SeqCst) != 1
        {
            let calls = called.load(SeqCst);
            self.broken.push(format!("{}: {calls} callbacks", named()));
        }
    }
}

/// Has its calls counted.
fn watched<T: Send + 'static>(
    result: AsyncResult<T>,
    called: &Option<Arc<AtomicU64>>,
) -> AsyncResult<T> {
    let Some(called) = called else {
        return result;
    };
    let (well, badly) = (Arc::clone(called), Arc::clone(called));
    result
        .callback(move |_| count(&well))
        .error_callback(move |_| count(&badly))
}

fn count(calls: &AtomicU64) {
    calls.fetch_add(1, SeqCst);
}

/// Gives the pool a task or a map of some sort.
pub(super) fn submit(
    pool: &Pool,
    next: &AtomicU64,
    dice: &mut Dice,
) -> Result<Job, SubmitError<()>> {
    let mut retries = match dice.below(8) {
        0 => 2,
        1 => 1,
        _ => 0,
    };
    let called = dice.once_in(3).then(|| Arc::new(AtomicU64::new(0)));
    let sort = dice.below(60);
    let count = if sort < 30 { 1 } else { dice.below(60) };
    let numbers = numbers(next, count);
    let items = items(&numbers, dice);
    let tasks = pool.retries(retries);
    let alone = SubmitError::without_arguments;
    let result = match sort {
        0 => {
            let tasks = tasks.timeout(Duration::from_micros(500 + dice.below(3_000)));
            let result = tasks.apply_async(overlong, items[0]);
            Coming::One(watched(result.map_err(alone)?, &called))
        }
        1..4 => {
            retries = 0; // a task with a descriptor is not tried again
            let carried = carried(numbers.start);
            let result = tasks.apply_async(carry, carried);
            let result = result.map_err(SubmitError::without_arguments)?;
            Coming::Carried(watched(result, &called))
        }
        4..30 => {
            let result = tasks.apply_async(work, items[0]).map_err(alone)?;
            Coming::One(watched(result, &called))
        }
        _ => {
            let chunk = 1 + dice.below(20) as usize;
            let result = tasks.chunk_size(chunk).map_async(work, items)?;
            Coming::Many(watched(result, &called))
        }
    };
    Ok(Job {
        result,
        numbers,
        overlong: sort == 0,
        retries,
        cancelled: false,
        since: Instant::now(),
        called,
    })
}
