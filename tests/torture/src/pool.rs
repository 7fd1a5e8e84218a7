//! Workers of a pool are killed under load: every task ends, once, and the pool stays what it was.

pub(crate) mod ends;
mod tasks;

use crate::report::Report;
use crate::resources::descriptors_of;
use crate::scenario::{Plan, Scenario};
use crate::storm::{Dice, PATIENCE, STEPS};
use common::is_gone;
use multiproc_pool::{GetTimeoutError, Pool, TaskError, Tasks};
use multiproc_process::Exit;
use multiproc_segment::Shared;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};
use tasks::{
    Books, Job, NUMBERS, Words, answer, begin, carried, carry, hold, items, meet, numbers, submit,
    work,
};

/// Kills per round: each has a fresh pool and fresh books.
const ROUND: u64 = 100;
/// Tasks and maps that are open at a time.
const MOST_OPEN: usize = 40;
/// What a recovery may take; not half of them take longer.
const PROMISED: Duration = Duration::from_millis(100);

/// Living children of a process, and dead ones that it has not collected.
pub(crate) fn children_of(pid: u32) -> (Vec<u32>, usize) {
    let all = common::children_of(pid).into_iter();
    let (living, dead): (Vec<u32>, Vec<u32>) = all.partition(|pid| !is_gone(*pid));
    (living, dead.len())
}

/// An error: it has ended already.
pub(crate) fn kill_process(pid: u32) -> bool {
    kill(Pid::from_raw(pid as i32), Signal::SIGKILL).is_ok()
}

/// Runs something that might hang, below the watchdog; `None` if it does.
pub(crate) fn patiently<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (done, is_done) = channel();
    let thread = std::thread::spawn(move || done.send(f()));
    let result = match is_done.recv_timeout(PATIENCE) {
        Ok(result) => Some(result),
        Err(RecvTimeoutError::Timeout) => return None,
        Err(RecvTimeoutError::Disconnected) => None,
    };
    let _ = thread.join();
    result
}

/// `Pool`: applies, maps, time limits, retries and cancels, from two threads.
pub(crate) struct Workers;

impl Scenario for Workers {
    fn name(&self) -> &'static str {
        "pool"
    }

    fn run(&self, plan: &Plan, report: &mut Report) {
        let mut dice = Dice::new(plan.seed);
        let mut all = Books::default();
        while report.kills < plan.kills && report.hangs == 0 && report.broken.is_empty() {
            let kills = ROUND.min(plan.kills - report.kills);
            if let Err(why) = round(kills, &mut dice, report, &mut all) {
                report.broken.push(why);
            }
        }
        report.torn += all.torn;
        report.duplicated += all.duplicated;
        report.notes.push(format!(
            "{} values, {} lost with their workers, {} cancelled, {} out of time",
            all.values, all.lost, all.cancelled, all.timeouts
        ));
        report.recoveries.sort();
        let median = report.recoveries.get(report.recoveries.len() / 2);
        if median.is_some_and(|time| *time > PROMISED) {
            let late = format!("half of the deaths were told after more than {PROMISED:?}");
            report.broken.push(late);
        }
    }
}

/// The owner's side of a round.
struct Round<'r> {
    pool: &'r Pool,
    words: &'r Words,
    next: &'r AtomicU64,
    open: VecDeque<Job>,
    books: Books,
    dice: &'r mut Dice,
    hangs: u64,
}

impl Round<'_> {
    /// Gives the pool more to do, and enters what has ended.
    fn tend(&mut self) -> Result<(), String> {
        while self.open.len() < MOST_OPEN && self.dice.below(8) > 0 {
            let job = submit(self.pool, self.next, self.dice)
                .map_err(|e| format!("a task was refused: {e}"))?;
            self.open.push_back(job);
        }
        if self.dice.once_in(30) && !self.open.is_empty() {
            let at = self.dice.below(self.open.len() as u64) as usize;
            self.open[at].cancel();
        }
        for _ in 0..self.open.len() {
            let Some(job) = self.open.pop_front() else {
                break;
            };
            if job.is_ready() {
                self.books.settle(self.words, &job);
            } else if job.since.elapsed() > PATIENCE {
                self.hangs += 1;
                return Err(format!("numbers {:?} have no outcome", job.numbers));
            } else {
                self.open.push_back(job);
            }
        }
        match self.books.broken.first() {
            Some(why) => Err(why.clone()),
            None => Ok(()),
        }
    }

    /// Waits until `done`, while the load goes on.
    fn until(&mut self, what: &str, mut done: impl FnMut() -> bool) -> Result<(), String> {
        let begun = Instant::now();
        while !done() {
            if begun.elapsed() > PATIENCE {
                self.hangs += 1;
                return Err(format!("in vain: {what}"));
            }
            self.tend()?;
        }
        Ok(())
    }

    /// A worker with a task that lasts: killed, and the time until that is told.
    fn kill_holder(&mut self) -> Result<Duration, String> {
        let words = self.words;
        words.held_by.store(0, SeqCst);
        let held = self.pool.apply_async(hold, ()).map_err(|e| e.to_string())?;
        self.until("nobody begins", || words.held_by.load(SeqCst) != 0)?;
        let begun = Instant::now();
        if !kill_process(words.held_by.load(SeqCst) as u32) {
            return Err("who held a task was gone".to_owned());
        }
        let told = held.get_timeout(PATIENCE);
        let time = begun.elapsed();
        match told {
            Err(GetTimeoutError::Task(TaskError::WorkerLost {
                exit: Exit::Signal(9),
                attempts: 1,
            })) => {
                self.books.lost += 1;
                Ok(time)
            }
            Err(GetTimeoutError::Timeout) => {
                self.hangs += 1;
                Err("the death of a task's worker is not told".to_owned())
            }
            other => Err(format!("a task whose worker was killed: {other:?}")),
        }
    }

    /// Any worker, at any moment; how many.
    fn kill_one(&mut self) -> Result<u64, String> {
        let wait = Duration::from_micros(self.dice.below(1_500));
        let begun = Instant::now();
        self.until("", || begun.elapsed() >= wait)?;
        let (workers, _) = children_of(self.pool.keeper_pid());
        if workers.is_empty() {
            return Ok(0);
        }
        let pid = workers[self.dice.below(workers.len() as u64) as usize];
        let killed = kill_process(pid);
        self.until("a killed worker lives on", || is_gone(pid))?;
        Ok(killed.into())
    }

    /// Whoever has the next task, or begins next, dies at a named step; how many died.
    fn kill_at_a_step(&mut self) -> Result<u64, String> {
        let words = self.words;
        words.condemned.store(0, SeqCst);
        let mut kills = 1;
        let step = 1 + self.dice.below(STEPS);
        if self.dice.once_in(4) {
            words.fatal_at_birth.store(step, SeqCst);
            kills += self.kill_one()?;
        } else {
            words.fatal.store(step, SeqCst);
        }
        self.until("nobody reached the step", || {
            let pid = words.condemned.load(SeqCst);
            pid != 0 && is_gone(pid as u32)
        })?;
        Ok(kills)
    }
}

fn round(kills: u64, dice: &mut Dice, report: &mut Report, all: &mut Books) -> Result<(), String> {
    let words = Shared::new(Words::new()).expect("shared memory");
    let workers = 2 + dice.below(3) as usize;
    let mut builder = Pool::builder()
        .workers(workers)
        .initializer(begin, words.clone());
    if dice.once_in(2) {
        builder = builder.max_tasks_per_child(50);
    }
    let pool = builder.build().map_err(|error| error.to_string())?;
    // The first descriptor that travels makes the way for the others.
    let first = pool.apply(carry, carried(0)).map_err(|e| e.to_string())?;
    drop(first);
    let before = descriptors_of(std::process::id());
    let (next, stop) = (AtomicU64::new(1), AtomicBool::new(false));
    let guest_seed = dice.roll();
    let mut round = Round {
        pool: &pool,
        words: &words,
        next: &next,
        open: VecDeque::new(),
        books: Books::default(),
        dice,
        hangs: 0,
    };
    let mut killed = 0;
    let (result, guest) = std::thread::scope(|scope| {
        let tasks = pool.tasks();
        let (next, stop) = (&next, &stop);
        let guest = scope.spawn(move || guest(&tasks, next, stop, Dice::new(guest_seed)));
        let result = storm(
            &mut round,
            workers,
            kills,
            &mut killed,
            &mut report.recoveries,
        );
        stop.store(true, SeqCst);
        if result.is_err() {
            // What it waits for may never come.
            kill_process(pool.keeper_pid());
        }
        (result, guest.join().expect("no panic"))
    });
    report.kills += killed;
    let Round { books, hangs, .. } = round;
    report.hangs += hangs;
    all.add(&books);
    result?;
    let lost_by_guest = guest?;
    all.lost += lost_by_guest;
    let lost = books.lost + lost_by_guest;
    if lost > killed {
        return Err(format!("{lost} tasks lost by {killed} deaths"));
    }
    let after = descriptors_of(std::process::id());
    if after != before {
        return Err(format!(
            "{before} descriptors are open at first, then {after}"
        ));
    }
    roll_call(&pool, workers, &words)?;
    let keeper = pool.keeper_pid();
    match patiently(move || pool.close().join()) {
        Some(joined) => joined.map_err(|error| format!("join: {error}"))?,
        None => {
            report.hangs += 1;
            return Err("join does not return".to_owned());
        }
    }
    if !is_gone(keeper) {
        return Err("the keeper lives on".to_owned());
    }
    Ok(())
}

fn storm(
    round: &mut Round<'_>,
    workers: usize,
    kills: u64,
    killed: &mut u64,
    recoveries: &mut Vec<Duration>,
) -> Result<(), String> {
    let keeper = round.pool.keeper_pid();
    while *killed < kills && round.next.load(SeqCst) < NUMBERS / 10 * 9 {
        *killed += match round.dice.below(4) {
            0 => {
                recoveries.push(round.kill_holder()?);
                1
            }
            1 => round.kill_one()?,
            _ => round.kill_at_a_step()?,
        };
        if round.dice.once_in(2) {
            round.until("the pool has fewer workers than before", || {
                children_of(keeper).0.len() == workers
            })?;
        }
    }
    // What is open comes to its end.
    while let Some(job) = round.open.pop_front() {
        let begun = Instant::now();
        while !job.is_ready() {
            if begun.elapsed() > PATIENCE {
                round.hangs += 1;
                return Err(format!("numbers {:?} have no outcome", job.numbers));
            }
            std::thread::yield_now();
        }
        round.books.settle(round.words, &job);
    }
    round
        .books
        .broken
        .first()
        .map_or(Ok(()), |why| Err(why.clone()))
}

/// The pool has as many workers as it should, all at work, and its keeper has collected the dead.
fn roll_call(pool: &Pool, workers: usize, words: &Words) -> Result<(), String> {
    words.fatal.store(0, SeqCst);
    words.fatal_at_birth.store(0, SeqCst);
    words.present.store(0, SeqCst);
    let met: Result<Vec<_>, _> = (0..workers)
        .map(|_| pool.apply_async(meet, workers as u64))
        .collect();
    for met in met.map_err(|error| error.to_string())? {
        match met.get_timeout(2 * PATIENCE) {
            Ok(true) => {}
            other => {
                return Err(format!(
                    "not all of {workers} workers are at work: {other:?}"
                ));
            }
        }
    }
    let begun = Instant::now();
    loop {
        let (living, zombies) = children_of(pool.keeper_pid());
        if (living.len(), zombies) == (workers, 0) {
            // Old ones and new ones, after descriptors came and went.
            let open: Vec<_> = living.into_iter().map(descriptors_of).collect();
            if open.iter().any(|n| *n != open[0]) {
                return Err(format!("workers have so many descriptors open: {open:?}"));
            }
            return Ok(());
        }
        if begun.elapsed() > PATIENCE {
            let living = living.len();
            return Err(format!(
                "{living} workers in place of {workers}, {zombies} zombies"
            ));
        }
        std::thread::yield_now();
    }
}

/// Another thread that uses the pool, by the calls that wait; how many of its tasks were lost.
fn guest(
    tasks: &Tasks,
    next: &AtomicU64,
    stop: &AtomicBool,
    mut dice: Dice,
) -> Result<u64, String> {
    let mut lost = 0;
    let mut check = |what: &str, number: u64, result: Result<u64, TaskError>| match result {
        Ok(value) if value == answer(number) => Ok(()),
        Ok(_) => Err(format!("{what}: another number's value")),
        Err(TaskError::WorkerLost {
            exit: Exit::Signal(9),
            attempts: 1,
        }) => {
            lost += 1;
            Ok(())
        }
        Err(error) => Err(format!("{what}: {error} ({error:?})")),
    };
    while !stop.load(SeqCst) {
        let numbers = numbers(next, 1 + dice.below(40));
        let items = items(&numbers, &mut dice);
        let first = numbers.start;
        match dice.below(4) {
            0 => check("apply", first, tasks.apply(work, items[0]))?,
            1 => match tasks
                .chunk_size(1 + dice.below(8) as usize)
                .map(work, items)
            {
                Ok(values) => {
                    let each = numbers.clone().zip(values);
                    each.into_iter()
                        .try_for_each(|(n, value)| check("map", n, Ok(value)))?;
                }
                Err(error) => check("map", first, Err(error))?,
            },
            2 => {
                let results = tasks.imap(work, items).map_err(|e| e.to_string())?;
                let results: Vec<_> = results.collect();
                if results.len() as u64 != numbers.end - numbers.start {
                    return Err(format!("imap: {} results of {numbers:?}", results.len()));
                }
                let mut each = numbers.zip(results);
                each.try_for_each(|(n, result)| check("imap", n, result))?;
            }
            _ => {
                let results = tasks
                    .imap_unordered(work, items)
                    .map_err(|e| e.to_string())?;
                let mut to_come: Vec<u64> = numbers.clone().map(answer).collect();
                let mut without = 0;
                for result in results {
                    match result {
                        Ok(value) => match to_come.iter().position(|v| *v == value) {
                            Some(at) => drop(to_come.swap_remove(at)),
                            None => return Err("imap_unordered: a value too many".to_owned()),
                        },
                        Err(error) => {
                            check("imap_unordered", first, Err(error))?;
                            without += 1;
                        }
                    }
                }
                if to_come.len() != without {
                    return Err(format!("imap_unordered: {} do not come", to_come.len()));
                }
            }
        }
    }
    Ok(lost)
}
