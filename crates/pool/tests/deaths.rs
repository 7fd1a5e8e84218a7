//! Workers, keeper and owner that die; tasks that do what no task should.
#![allow(clippy::result_large_err)] // arguments with handles come back in errors

use common::{Outcome, children_of};
use multiproc_core::deadline::Deadline;
use multiproc_core::fd::wait_readable;
use multiproc_pool::{Ended, GetTimeoutError, JoinError, Pool, SubmitError, TaskError};
use multiproc_process::{Exit, Process, StartMethod, test};
use multiproc_queue::Queue;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::Read;
use std::os::fd::AsFd;
use std::sync::mpsc;
use std::time::Duration;

fn square(n: u64) -> u64 {
    n * n
}

fn my_pid(_: ()) -> u32 {
    std::process::id()
}

fn nap(milliseconds: u64) -> u64 {
    std::thread::sleep(Duration::from_millis(milliseconds));
    milliseconds
}

/// Tells its pid and then works for very long.
fn stay(told: Queue<u32>) {
    told.put(std::process::id()).unwrap();
    nap(1_000_000);
}

fn die(_: ()) {
    kill_hard(std::process::id());
}

fn kill_hard(pid: u32) {
    kill(Pid::from_raw(pid as i32), Signal::SIGKILL).unwrap();
}

fn each_method(body: fn(Pool) -> Outcome) -> Outcome {
    for method in StartMethod::ALL {
        let pool = Pool::builder().workers(2).start_method(method).build()?;
        body(pool).map_err(|e| format!("{method}: {e}"))?;
    }
    Ok(())
}

fn lost(result: Result<impl std::fmt::Debug, TaskError>) -> (Exit, u32) {
    match result {
        Err(TaskError::WorkerLost { exit, attempts }) => (exit, attempts),
        other => panic!("{other:?}"),
    }
}

fn f6_the_task_of_a_killed_worker_is_lost_and_the_pool_goes_on() -> Outcome {
    each_method(|pool| {
        for _ in 0..5 {
            let told = Queue::unbounded()?;
            let result = pool.apply_async(stay, told.clone())?;
            kill_hard(told.get()?);
            assert_eq!(lost(result.get()), (Exit::Signal(9), 1));
            assert_eq!(pool.map(square, 0..4)?, [0, 1, 4, 9]);
        }
        // The last one may be on its way.
        while children_of(pool.keeper_pid()).len() != 2 {
            std::thread::yield_now();
        }
        Ok(pool.close().join()?)
    })
}

fn f7_killed_idle_workers_are_replaced() -> Outcome {
    for workers in [1, 2] {
        let pool = Pool::new(workers)?;
        for _ in 0..20 {
            for pid in children_of(pool.keeper_pid()) {
                kill_hard(pid);
            }
            assert_eq!(pool.apply(square, 4)?, 16);
        }
        pool.close().join()?;
        // Killed, and closed or terminated at once.
        let pool = Pool::new(workers)?;
        children_of(pool.keeper_pid())
            .into_iter()
            .for_each(kill_hard);
        pool.close().join()?;
        let pool = Pool::new(workers)?;
        children_of(pool.keeper_pid())
            .into_iter()
            .for_each(kill_hard);
        pool.terminate().join()?;
    }
    Ok(())
}

fn f8_a_task_that_exits_is_lost() -> Outcome {
    each_method(|pool| {
        let exits = pool.apply_async(|code: i32| -> u8 { std::process::exit(code) }, 3)?;
        assert_eq!(lost(exits.get()), (Exit::Code(3), 1));
        let aborts = pool.apply_async(|()| -> u8 { std::process::abort() }, ())?;
        assert_eq!(lost(aborts.get()), (Exit::Signal(6), 1));
        assert_eq!(pool.apply(square, 4)?, 16);
        Ok(pool.close().join()?)
    })
}

fn all_workers_busy_and_one_is_killed() -> Outcome {
    let pool = Pool::new(2)?;
    let told = Queue::unbounded()?;
    let (one, two) = (
        pool.apply_async(stay, told.clone())?,
        pool.apply_async(stay, told.clone())?,
    );
    let queued = pool.apply_async(square, 5)?;
    told.get()?;
    kill_hard(told.get()?);
    assert_eq!(queued.get()?, 25);
    assert!(one.ready() != two.ready());
    pool.terminate().join()?;
    Ok(())
}

fn retries_are_bounded() -> Outcome {
    let pool = Pool::new(2)?;
    let queue = Queue::<u32>::unbounded()?;
    assert_eq!(lost(pool.retries(3).apply(die, ())), (Exit::Signal(9), 4));
    // It is done where it does not always die.
    let path = std::env::temp_dir().join(test::unique("attempts"));
    std::fs::write(&path, "")?;
    let attempt = |path: std::path::PathBuf| {
        use std::io::Write;
        let mut file = std::fs::OpenOptions::new()
            .append(true)
            .open(&path)
            .unwrap();
        file.write_all(b"x").unwrap();
        let attempts = std::fs::metadata(&path).unwrap().len();
        if attempts < 3 {
            kill_hard(std::process::id());
        }
        attempts
    };
    assert_eq!(pool.retries(5).apply(attempt, path.clone())?, 3);
    std::fs::remove_file(path)?;
    // Handles went with the worker: nothing to try again with.
    let dies = |q: Queue<u32>| {
        q.put(1).unwrap();
        kill_hard(std::process::id());
    };
    assert_eq!(
        lost(pool.retries(5).apply(dies, queue.clone())),
        (Exit::Signal(9), 1)
    );
    assert_eq!((queue.try_get(), queue.try_get().is_err()), (Ok(1), true));
    Ok(pool.close().join()?)
}

fn retries_and_callbacks_without_anybody_waiting() -> Outcome {
    let pool = Pool::new(1)?;
    let (told, tells) = mpsc::channel();
    pool.retries(2)
        .apply_async(die, ())?
        .error_callback(move |error| told.send(error.clone()).unwrap());
    assert_eq!(lost(Err::<(), _>(tells.recv()?)), (Exit::Signal(9), 3));
    Ok(())
}

fn maps_lose_the_chunk_and_no_more() -> Outcome {
    let pool = Pool::new(2)?;
    let results: Vec<_> = pool
        .chunk_size(10)
        .imap(
            |n: u32| {
                if n == 25 {
                    kill_hard(std::process::id());
                }
                n
            },
            0..100,
        )?
        .collect();
    for (n, result) in results.into_iter().enumerate() {
        match n {
            20..30 => assert_eq!(lost(result), (Exit::Signal(9), 1)),
            _ => assert_eq!(result, Ok(n as u32)),
        }
    }
    Ok(())
}

fn a_task_that_takes_too_long_costs_its_worker_and_no_other_task() -> Outcome {
    each_method(|pool| {
        let patient = pool.timeout(Duration::from_millis(50));
        let before = children_of(pool.keeper_pid());
        assert_eq!(patient.apply(nap, 1_000_000), Err(TaskError::Timeout));
        // Many that come near the limit: each has its value or is too late, never its neighbour.
        let short = pool.timeout(Duration::from_millis(3));
        let results: Vec<_> = (0..100)
            .map(|n| {
                short.apply_async(
                    |n: u64| {
                        nap(n % 6);
                        n
                    },
                    n,
                )
            })
            .collect::<Result<_, _>>()?;
        let (mut done, mut late) = (0, 0);
        for (n, result) in results.into_iter().enumerate() {
            match result.get() {
                Ok(value) => {
                    assert_eq!(value, n as u64);
                    done += 1;
                }
                Err(TaskError::Timeout) => late += 1,
                Err(other) => panic!("{n}: {other}"),
            }
        }
        println!("{done} done, {late} late");
        assert!(late >= 1);
        assert_ne!(children_of(pool.keeper_pid()), before);
        assert_eq!(pool.apply(nap, 100)?, 100, "no limit for others");
        Ok(pool.close().join()?)
    })
}

fn cancelled_tasks_do_not_begin_or_are_killed() -> Outcome {
    let pool = Pool::new(1)?;
    let told = Queue::unbounded()?;
    let running = pool.apply_async(stay, told.clone())?;
    let pid = told.get()?;
    let ran = Queue::<u64>::unbounded()?;
    let tell = |(q, n): (Queue<u64>, u64)| q.put(n).unwrap();
    let queued: Vec<_> = (0..20)
        .map(|n| pool.apply_async(tell, (ran.clone(), n)))
        .collect::<Result<_, _>>()?;
    for result in queued {
        assert!(result.cancel());
        assert!(!result.cancel(), "it has an outcome");
        assert_eq!(result.get(), Err(TaskError::Cancelled));
    }
    assert!(running.cancel());
    assert_eq!(running.get(), Err(TaskError::Cancelled));
    assert_ne!(pool.apply(my_pid, ())?, pid, "killed and replaced");
    pool.close().join()?;
    assert!(ran.is_empty(), "all were cancelled");
    Ok(())
}

fn some_are_cancelled_and_the_others_run() -> Outcome {
    let pool = Pool::new(2)?;
    let ran = Queue::<u64>::unbounded()?;
    let tell = |(q, n): (Queue<u64>, u64)| q.put(n).unwrap();
    let slow = pool.chunk_size(1).map_async(nap, [100, 100])?;
    let results: Vec<_> = (0..50)
        .map(|n| pool.apply_async(tell, (ran.clone(), n)))
        .collect::<Result<_, _>>()?;
    let mut cancelled = 0;
    for result in results.iter().step_by(2) {
        cancelled += usize::from(result.cancel());
    }
    let map = pool
        .chunk_size(1)
        .map_async(nap, (0..1000).map(|_| 1_000))?;
    assert!(map.cancel());
    assert_eq!(map.get(), Err(TaskError::Cancelled));
    assert_eq!(slow.get()?, [100, 100]);
    let done = results
        .into_iter()
        .map(|r| r.get())
        .filter(Result::is_ok)
        .count();
    pool.close().join()?;
    assert_eq!((done, ran.len()), (50 - cancelled, 50 - cancelled));
    assert!(cancelled >= 1);
    Ok(())
}

fn an_initializer_that_always_dies_ends_the_pool() -> Outcome {
    for method in StartMethod::ALL {
        for dies in [
            |()| kill_hard(std::process::id()),
            |()| std::process::exit(3),
        ] {
            let pool = Pool::builder()
                .workers(2)
                .start_method(method)
                .initializer(dies, ())
                .build()?;
            let result = pool.apply(square, 3);
            let Err(TaskError::PoolEnded(Ended::Initializer(why))) = result else {
                panic!("{result:?}");
            };
            println!("{why}");
            let tasks = pool.tasks();
            assert!(matches!(
                tasks.apply_async(square, 3),
                Err(SubmitError::Closed(3, Ended::Initializer(_)))
            ));
            let joined = pool.close().join();
            assert!(matches!(
                joined,
                Err(JoinError::Ended(Ended::Initializer(_)))
            ));
        }
    }
    // One that fails, but not again and again.
    let path = std::env::temp_dir().join(test::unique("first"));
    let pool = Pool::builder()
        .workers(2)
        .initializer(
            |path: std::path::PathBuf| assert!(std::fs::create_dir(path).is_err(), "the first"),
            path.clone(),
        )
        .build()?;
    assert_eq!(pool.apply(square, 3)?, 9);
    std::fs::remove_dir(path)?;
    Ok(())
}

fn a_killed_keeper_ends_the_pool() -> Outcome {
    each_method(|pool| {
        let told = Queue::unbounded()?;
        let results = [
            pool.apply_async(stay, told.clone())?,
            pool.apply_async(stay, told.clone())?,
            pool.apply_async(stay, told.clone())?,
        ];
        let workers = [told.get()?, told.get()?];
        kill_hard(pool.keeper_pid());
        for result in results {
            assert_eq!(result.get(), Err(TaskError::PoolEnded(Ended::KeeperDied)));
        }
        assert!(pool.apply(square, 3).is_err());
        assert!(matches!(
            pool.close().join(),
            Err(JoinError::Ended(Ended::KeeperDied))
        ));
        let watchdog = Deadline::after(Duration::from_secs(20));
        for pid in workers {
            while std::fs::exists(format!("/proc/{pid}"))? {
                assert!(!watchdog.passed(), "worker {pid} lives on");
                std::thread::yield_now();
            }
        }
        Ok(())
    })?;
    // Unnoticed so far.
    let pool = Pool::new(2)?;
    kill_hard(pool.keeper_pid());
    // (The workers may be quicker, once or twice.)
    let error = std::iter::repeat_with(|| pool.apply(square, 3)).find_map(Result::err);
    assert_eq!(error, Some(TaskError::PoolEnded(Ended::KeeperDied)));
    let pool = Pool::new(2)?;
    kill_hard(pool.keeper_pid());
    pool.terminate().join()?;
    let pool = Pool::new(2)?;
    kill_hard(pool.keeper_pid());
    let _ = pool.close().join();
    Ok(())
}

fn f18_with_the_owner_everything_ends() -> Outcome {
    for method in StartMethod::ALL {
        for dies in [
            || kill_hard(std::process::id()),
            // SAFETY: ends this process.
            || unsafe { libc::_exit(0) },
        ] {
            let (mut rest, line) = std::io::pipe()?;
            let owner = Process::start(move || {
                let pool = Pool::builder()
                    .workers(2)
                    .start_method(method)
                    .build()
                    .unwrap();
                let told = Queue::unbounded().unwrap();
                let hold = |(_line, told): (
                    multiproc_process::Descriptor<std::io::PipeWriter>,
                    Queue<u32>,
                )| stay(told);
                for _ in 0..2 {
                    let line = multiproc_process::Descriptor(line.try_clone().unwrap());
                    drop(pool.apply_async(hold, (line, told.clone())).unwrap());
                }
                let _ = (told.get(), told.get());
                dies();
            })?;
            let _ = owner.join()?;
            // Whoever lives on holds the line.
            let watchdog = Deadline::after(Duration::from_secs(20));
            assert!(wait_readable(rest.as_fd(), watchdog)?, "somebody is left");
            assert_eq!(rest.read(&mut [0])?, 0);
        }
    }
    Ok(())
}

fn a_pool_that_is_forgotten_ends_with_its_program() -> Outcome {
    for busy in [false, true] {
        let owner = Process::start(move || {
            let pool = Pool::new(2).unwrap();
            let told = Queue::unbounded().unwrap();
            if busy {
                drop(pool.apply_async(stay, told.clone()).unwrap());
                told.get().unwrap();
            }
            std::mem::forget(pool);
        })?;
        owner.join()?.ok()?;
    }
    Ok(())
}

fn a_forked_child_of_the_owner_is_refused() -> Outcome {
    let pool = Pool::new(2)?;
    let result = pool.apply_async(nap, 50)?;
    let mut results = pool.imap(square, 0..3)?;
    assert_eq!(results.next(), Some(Ok(0)));
    let child = Process::start(|| {
        assert!(matches!(
            pool.apply_async(square, 1),
            Err(SubmitError::NotOwner(1))
        ));
        assert_eq!(pool.apply(square, 1), Err(SubmitError::NotOwner(()).into()));
        assert!(pool.map(square, 0..3).is_err());
        assert!(pool.imap(square, 0..3).is_err());
        assert_eq!(
            result.get_timeout(Duration::ZERO),
            Err(TaskError::NotOwner.into())
        );
        assert!(!result.ready() && !result.cancel());
        assert_eq!(results.next(), Some(Err(TaskError::NotOwner)));
        assert_eq!(results.next(), None);
        println!("{pool:?}");
    })?;
    child.join()?.ok()?;
    // Dropped there, it is not ended.
    let moved = Process::start(|| {
        let pool = std::panic::AssertUnwindSafe(&pool);
        let _ = pool;
    })?;
    moved.join()?.ok()?;
    assert_eq!(result.get()?, 50);
    assert_eq!(results.next(), Some(Ok(1)));
    assert_eq!(pool.apply(square, 4)?, 16);
    Ok(())
}

fn tasks_that_do_what_no_task_should() -> Outcome {
    let pool = Pool::new(2)?;
    // A payload that is no text, and one whose destructor panics.
    let payload = pool.apply(|()| -> u8 { std::panic::panic_any(7_u32) }, ());
    assert!(matches!(payload, Err(TaskError::Panicked { .. })));
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("again");
        }
    }
    let bomb = pool.apply(|()| -> u8 { std::panic::panic_any(Bomb) }, ());
    assert!(matches!(bomb, Err(TaskError::Panicked { .. })));
    // Another program in its place.
    let replaced = pool.apply(
        |()| {
            use std::os::unix::process::CommandExt;
            let error = std::process::Command::new("true").exec();
            format!("{error}")
        },
        (),
    );
    assert_eq!(lost(replaced), (Exit::Code(0), 1));
    // A grandchild that stays for a while and has all descriptors.
    let grandchild = pool.apply(
        |()| {
            // SAFETY: the child only sleeps and leaves.
            match unsafe { libc::fork() } {
                0 => {
                    nap(300);
                    // SAFETY: ends this process.
                    unsafe { libc::_exit(0) }
                }
                pid => pid,
            }
        },
        (),
    )?;
    assert!(grandchild > 0);
    // One that comes back twice from its task.
    // SAFETY: the copy leaves as soon as it is back in the worker's hands.
    let twice = pool.apply(|()| unsafe { libc::fork() } != 0, ());
    assert_eq!(twice, Ok(true));
    // Without descriptors.
    let closed = pool.apply(
        |()| {
            for fd in 0..1024 {
                // SAFETY: breaks this worker, which is what is tried.
                unsafe { libc::close(fd) };
            }
            1_u8
        },
        (),
    );
    assert!(
        matches!(closed, Ok(1) | Err(TaskError::WorkerLost { .. })),
        "{closed:?}"
    );
    for n in 0..20 {
        assert_eq!(pool.apply(square, n)?, n * n);
    }
    Ok(pool.close().join()?)
}

fn large_arguments_and_results() -> Outcome {
    let pool = Pool::new(2)?;
    let text = pool.apply(|n: usize| "7".repeat(n), 64 << 20)?;
    assert!(text.len() == 64 << 20 && text.bytes().all(|b| b == b'7'));
    assert_eq!(pool.apply(|text: String| text.len(), text)?, 64 << 20);
    assert_eq!(pool.apply(square, 3)?, 9);
    Ok(())
}

fn a_pool_is_dropped_while_a_map_runs() -> Outcome {
    let pool = Pool::new(2)?;
    let (told, tells) = mpsc::channel();
    let begun = Queue::unbounded()?;
    pool.apply_async(stay, begun.clone())?;
    begun.get()?;
    let result = pool
        .chunk_size(1)
        .map_async(nap, (0..1000).map(|_| 100))?
        .error_callback(move |error| told.send(error.clone()).unwrap());
    let waiting = {
        let tasks = pool.tasks();
        std::thread::spawn(move || tasks.apply(nap, 1_000_000))
    };
    drop(pool);
    let ended = TaskError::PoolEnded(Ended::Terminated);
    assert_eq!(tells.recv()?, ended);
    assert_eq!(
        result.get_timeout(Duration::ZERO),
        Err(GetTimeoutError::Task(ended.clone()))
    );
    let waited = waiting.join().unwrap();
    assert!(waited.is_err());
    Ok(())
}

fn a_callback_may_end_the_pool() -> Outcome {
    let pool = Pool::new(1)?;
    let tasks = pool.tasks();
    let (told, tells) = mpsc::channel();
    tasks.apply_async(square, 2)?.callback(move |_| {
        drop(pool);
        told.send(()).unwrap();
    });
    tells.recv()?;
    assert!(tasks.apply(square, 2).is_err());
    Ok(())
}

test::main! {
    f6_the_task_of_a_killed_worker_is_lost_and_the_pool_goes_on,
    f7_killed_idle_workers_are_replaced,
    f8_a_task_that_exits_is_lost,
    all_workers_busy_and_one_is_killed,
    retries_are_bounded,
    retries_and_callbacks_without_anybody_waiting,
    maps_lose_the_chunk_and_no_more,
    a_task_that_takes_too_long_costs_its_worker_and_no_other_task,
    cancelled_tasks_do_not_begin_or_are_killed,
    some_are_cancelled_and_the_others_run,
    an_initializer_that_always_dies_ends_the_pool,
    a_killed_keeper_ends_the_pool,
    f18_with_the_owner_everything_ends,
    a_pool_that_is_forgotten_ends_with_its_program,
    a_forked_child_of_the_owner_is_refused,
    tasks_that_do_what_no_task_should,
    large_arguments_and_results,
    a_pool_is_dropped_while_a_map_runs,
    a_callback_may_end_the_pool,
}
