//! Killed at every step of a pool's life: a worker, the keeper, the owner. Nobody hangs, nobody is
//! left, each task has one outcome (its value, or an error that is true), and every other worker
//! goes on.

use common::Outcome;
use multiproc_core::deadline::Deadline;
use multiproc_core::fd::wait_readable;
use multiproc_core::step;
use multiproc_pool::{CreateError, Ended, JoinError, Pool, TaskError};
use multiproc_process::test::{self, Test};
use multiproc_process::{Exit, ExitValue, Process, StartMethod, after_fork};
use multiproc_queue::Queue;
use multiproc_tests::{arm_the_doomed, doom_the_next};
use std::collections::BTreeSet;
use std::io::{Read, Write, pipe};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

fn main() -> ExitCode {
    // Before the entry: this may be a spawned process. Its steps are not its children's.
    after_fork(step::disarm);
    arm_the_doomed();
    macro_rules! tests {
        ($($name:ident)*) => {
            [$(Test::new(stringify!($name), || $name().exit_code())
                .timeout(Duration::from_secs(240))),*]
        };
    }
    test::run(&tests! {
        a_worker_is_killed_at_each_step_of_a_task
        a_worker_is_killed_at_each_step_of_a_task_with_handles
        a_worker_is_killed_at_each_step_of_retiring
        a_worker_is_killed_at_each_step_and_its_tasks_are_tried_again
        a_keeper_is_killed_at_each_step
        an_owner_is_killed_at_each_step
    })
}

fn square(n: u64) -> u64 {
    n * n
}

fn nap(milliseconds: u64) {
    std::thread::sleep(Duration::from_millis(milliseconds));
}

/// Armed for the first worker that gets here: it removes the file.
fn doom((file, number): (PathBuf, u64)) {
    if std::fs::remove_file(file).is_ok() {
        step::arm(number);
    }
}

fn count(_: ()) {
    step::count_on();
}

/// What a task says of the steps that its worker has passed so far.
fn steps(_: ()) -> Vec<String> {
    step::names().into_iter().map(str::to_owned).collect()
}

fn echo((queue, n): (Queue<u64>, u64)) -> Queue<u64> {
    queue.put(n).unwrap();
    queue
}

/// The names of the steps that a worker passes in these tasks.
fn names_of(tasks: impl Fn(&Pool)) -> Vec<String> {
    let pool = Pool::builder()
        .workers(1)
        .initializer(count, ())
        .build()
        .unwrap();
    tasks(&pool);
    let names = pool.apply(steps, ()).unwrap();
    pool.close().join().unwrap();
    names
}

fn lost(error: &TaskError) -> bool {
    matches!(
        error,
        TaskError::WorkerLost {
            exit: Exit::Signal(9),
            attempts: 1
        }
    )
}

/// Runs `tasks` with a first worker that dies at each step in turn, until it gets through. `tasks`
/// tells how many of its tasks were lost.
fn each_step_of_a_worker(
    steps: usize,
    most_tasks: Option<u64>,
    tasks: impl Fn(&Pool) -> usize,
) -> Outcome {
    let (mut lost, mut not_lost) = (0, 0);
    for n in 0..steps as u64 + 3 {
        for workers in [1, 2] {
            let file = std::env::temp_dir().join(test::unique("doom"));
            std::fs::write(&file, "")?;
            let mut builder = Pool::builder()
                .workers(workers)
                .initializer(doom, (file.clone(), n));
            if let Some(most) = most_tasks {
                builder = builder.max_tasks_per_child(most);
            }
            let pool = builder.build()?;
            match tasks(&pool) {
                0 => not_lost += 1,
                1 => lost += 1,
                more => return Err(format!("step {n}: {more} tasks lost").into()),
            }
            pool.close().join()?;
            // All workers may have been busy or slow.
            let _ = std::fs::remove_file(file);
        }
    }
    println!("{lost} lost a task, {not_lost} none");
    assert!(lost >= 3 && not_lost >= 3);
    Ok(())
}

fn some_tasks(pool: &Pool) -> usize {
    let mut gone = 0;
    for n in 0..4 {
        match pool.apply(square, n) {
            Ok(value) => assert_eq!(value, n * n),
            Err(error) => {
                assert!(lost(&error), "{error}");
                gone += 1;
            }
        }
    }
    gone
}

fn a_worker_is_killed_at_each_step_of_a_task() -> Outcome {
    let names = names_of(|pool| {
        some_tasks(pool);
    });
    println!("{} steps: {names:?}", names.len());
    for name in [
        "task noted",
        "task taken",
        "runs",
        "ran",
        "about to answer",
        "answered",
    ] {
        assert!(names.contains(&format!("pool worker: {name}")), "{name}");
    }
    each_step_of_a_worker(names.len(), None, some_tasks)
}

fn tasks_with_handles(pool: &Pool) -> usize {
    let mut gone = 0;
    for n in 0..2 {
        let queue = Queue::unbounded().unwrap();
        match pool.apply(echo, (queue.clone(), n)) {
            Ok(same) => assert_eq!(same.get(), Ok(n)),
            Err(error) => {
                // It was run as far as it came, once.
                let ran = queue.try_get();
                assert!(ran.is_err() || ran == Ok(n));
                // Who dies taking descriptors has them, and the next one gets the rest.
                let without = matches!(error, TaskError::NotSerialisable(_));
                assert!(lost(&error) || without, "{error}");
                gone += 1;
            }
        }
        assert!(queue.is_empty(), "run twice");
    }
    gone
}

fn a_worker_is_killed_at_each_step_of_a_task_with_handles() -> Outcome {
    let names = names_of(|pool| {
        tasks_with_handles(pool);
    });
    println!("{} steps: {names:?}", names.len());
    each_step_of_a_worker(names.len(), None, tasks_with_handles)
}

fn a_worker_is_killed_at_each_step_of_retiring() -> Outcome {
    let names = names_of(|pool| {
        let _ = pool.apply(square, 1);
    });
    // It leaves after its first task.
    each_step_of_a_worker(names.len() + 3, Some(1), some_tasks)
}

fn a_worker_is_killed_at_each_step_and_its_tasks_are_tried_again() -> Outcome {
    let names = names_of(|pool| {
        some_tasks(pool);
    });
    for n in 0..names.len() as u64 {
        let file = std::env::temp_dir().join(test::unique("doom"));
        std::fs::write(&file, "")?;
        let pool = Pool::builder()
            .workers(1)
            .retries(1)
            .initializer(doom, (file, n))
            .build()?;
        let results: Vec<_> = (0..4)
            .map(|n| pool.apply_async(square, n))
            .collect::<Result<_, _>>()?;
        pool.close().join()?;
        for (n, result) in results.into_iter().enumerate() {
            assert_eq!(result.get()?, (n * n) as u64);
        }
    }
    Ok(())
}

/// What of a pool's life has to do with its keeper: did it get to its end?
fn a_life(pool: Pool) -> Result<(), TaskError> {
    let die = |()| std::process::exit(3);
    let told = Queue::<u32>::unbounded().unwrap();
    assert_eq!(pool.apply(square, 3)?, 9);
    match pool.apply(die, ()) {
        Err(TaskError::WorkerLost {
            exit: Exit::Code(3),
            ..
        }) => {}
        Err(error) => return Err(error),
        Ok(never) => never,
    }
    match pool.timeout(Duration::from_millis(5)).apply(nap, 1_000_000) {
        Err(TaskError::Timeout) => {}
        other => return other,
    }
    let stay = |told: Queue<u32>| {
        told.put(1).unwrap();
        nap(1_000_000);
    };
    let long = pool
        .apply_async(stay, told.clone())
        .map_err(|e| e.without_arguments())?;
    while told.try_get().is_err() {
        if long.ready() {
            return long.get();
        }
        std::thread::yield_now();
    }
    assert!(long.cancel() || pool.ended().is_some());
    match long.get() {
        Err(TaskError::Cancelled) => {}
        other => return other,
    }
    assert_eq!(pool.map(square, 0..10)?.len(), 10);
    match pool.close().join() {
        Ok(()) => Ok(()),
        Err(JoinError::Ended(why)) => Err(why.into()),
        Err(other) => panic!("{other}"),
    }
}

fn a_keeper_is_killed_at_each_step() -> Outcome {
    let (mut not_made, mut ended, mut unseen) = (0, 0, 0);
    let mut through = 0;
    for n in 0.. {
        let file = doom_the_next(n);
        let pool = Pool::builder()
            .workers(2)
            .start_method(StartMethod::Spawn)
            .build();
        assert!(!file.exists());
        match pool {
            Err(CreateError::Keeper(_) | CreateError::Worker(_)) => not_made += 1,
            Err(other) => return Err(other.into()),
            Ok(pool) => match a_life(pool) {
                Ok(()) => {
                    unseen += 1;
                    through += 1;
                    // Its last steps are its own; beyond them it is not killed.
                    if through > 25 {
                        break;
                    }
                    continue;
                }
                Err(TaskError::PoolEnded(Ended::KeeperDied)) => ended += 1,
                Err(TaskError::NotSubmitted(error)) => {
                    assert!(error.to_string().contains("keeper died"), "{error}");
                    ended += 1;
                }
                Err(other) => return Err(format!("step {n}: {other}").into()),
            },
        }
        through = 0;
        assert!(multiproc_process::active_children().is_empty());
    }
    println!("{not_made} not made, {ended} ended, {unseen} came through");
    assert!(not_made >= 5 && ended >= 10);
    Ok(())
}

/// An owner's life, with what it owns on the line.
fn owner(before: impl FnOnce()) {
    before();
    let pool = Pool::new(2).unwrap();
    a_life(pool).unwrap();
    let pool = Pool::new(1).unwrap();
    let result = pool.apply_async(square, 2).unwrap();
    pool.terminate().join().unwrap();
    drop(result);
}

fn an_owner_is_killed_at_each_step() -> Outcome {
    let (mut names, mut out) = pipe()?;
    let counter = Process::start(move || {
        owner(step::count_on);
        step::disarm();
        out.write_all(step::names().join("\n").as_bytes()).unwrap();
    })?;
    let mut text = String::new();
    names.read_to_string(&mut text)?;
    counter.join()?.ok()?;
    let names: Vec<&str> = text.lines().collect();
    println!("{} steps: {names:?}", names.len());
    let own: BTreeSet<&str> = names
        .iter()
        .copied()
        .filter(|n| n.starts_with("pool owner"))
        .collect();
    assert!(own.len() >= 4, "{own:?}");
    for n in 0..names.len() as u64 {
        let (mut rest, line) = pipe()?;
        // A copy of the line goes to whatever it starts.
        let child = Process::start(move || {
            owner(|| step::arm(n));
            drop(line);
        })?;
        let exit = child.join()?;
        assert!(
            matches!(exit, Exit::Signal(9) | Exit::Code(0)),
            "step {n}: {exit}"
        );
        let watchdog = Deadline::after(Duration::from_secs(20));
        assert!(
            wait_readable(rest.as_fd(), watchdog)?,
            "step {n}: somebody is left"
        );
        assert_eq!(rest.read(&mut [0])?, 0);
    }
    Ok(())
}
