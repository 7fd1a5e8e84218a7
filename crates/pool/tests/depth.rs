//! Pools in number, in size, and for long; and that nothing is left of them.

use common::Outcome;
use multiproc_pool::{AsyncResult, Imap, Pool, TaskError, Tasks};
use multiproc_process::{Process, StartMethod, test};
use std::time::Duration;

fn square(n: u64) -> u64 {
    n * n
}

fn a_million_tasks_through_map() -> Outcome {
    let pool = Pool::new(2)?;
    let n = 1_000_000;
    let squares = pool.chunk_size(1).map(square, 0..n)?;
    assert!(squares.iter().zip(0..n).all(|(got, n)| *got == n * n));
    assert_eq!(squares.len() as u64, n);
    // Put at once, read later.
    let results = pool.chunk_size(10).map_async(square, 0..n)?;
    assert_eq!(results.get()?.len() as u64, n);
    Ok(pool.close().join()?)
}

fn ten_thousand_results_without_anybody_reading() -> Outcome {
    let pool = Pool::new(2)?;
    let results: Vec<AsyncResult<Vec<u8>>> = (0..10_000)
        .map(|n| pool.apply_async(|n: usize| vec![n as u8; n % 1000], n))
        .collect::<Result<_, _>>()?;
    pool.close().join()?;
    for (n, result) in results.into_iter().enumerate() {
        assert_eq!(result.get()?, vec![n as u8; n % 1000]);
    }
    Ok(())
}

/// Descriptors, mappings, threads and children of this process.
fn holdings() -> Result<[usize; 4], std::io::Error> {
    Ok([
        std::fs::read_dir("/proc/self/fd")?.count(),
        std::fs::read_to_string("/proc/self/maps")?
            .lines()
            .filter(|line| line.contains("memfd") || line.contains("/dev/shm"))
            .count(),
        std::fs::read_dir("/proc/self/task")?.count(),
        multiproc_process::active_children().len(),
    ])
}

/// A pool of some kind, with some end.
fn a_short_life(n: u64) -> Outcome {
    let method = match n % 10 {
        1 => StartMethod::Spawn,
        2 => StartMethod::ForkServer,
        _ => StartMethod::Fork,
    };
    let pool = Pool::builder().workers(2).start_method(method).build()?;
    let result = pool.apply_async(square, n)?;
    let other = pool.apply_async(square, n)?;
    match n % 5 {
        0 => drop(pool),
        1 => pool.close().join()?,
        2 => {
            drop(other.callback(|_| ()));
            pool.close().join()?;
        }
        3 => pool.terminate().join()?,
        _ => {
            assert_eq!(result.get()?, n * n);
            drop(pool.close());
        }
    }
    Ok(())
}

fn two_hundred_pools_leave_nothing() -> Outcome {
    // The first ones start the fork server, too.
    for n in 0..10 {
        a_short_life(n)?;
    }
    let before = holdings()?;
    for n in 10..200 {
        a_short_life(n)?;
        assert_eq!(holdings()?, before, "after {n} pools");
    }
    Ok(())
}

fn workers_have_none_of_the_keepers_descriptors() -> Outcome {
    let pool = Pool::builder()
        .workers(20)
        .start_method(StartMethod::Spawn)
        .build()?;
    let count = |()| std::fs::read_dir("/proc/self/fd").unwrap().count();
    let counts: Vec<usize> = (0..100)
        .map(|_| pool.apply(count, ()))
        .collect::<Result<_, _>>()?;
    let (least, most) = (counts.iter().min(), counts.iter().max());
    assert_eq!(least, most, "later workers have no more than the first");
    assert!(most < Some(&20), "{most:?}");
    Ok(())
}

fn what_may_go_to_other_threads() -> Outcome {
    fn both<T: Send + Sync>() {}
    both::<Pool>();
    both::<Tasks>();
    both::<AsyncResult<Vec<u8>>>();
    both::<Imap<std::ops::Range<u64>, u64>>();
    both::<TaskError>();
    Ok(())
}

fn a_program_with_a_pool_goes_on_forking() -> Outcome {
    let pool = Pool::new(2)?;
    for n in 0..5 {
        assert_eq!(pool.apply(square, n)?, n * n);
        let child = Process::start(|| square(2) as i32)?;
        assert_eq!(child.join()?.code(), 4);
    }
    Ok(pool.close().join()?)
}

fn a_task_may_not_start_processes_but_threads() -> Outcome {
    let pool = Pool::new(2)?;
    let refused = pool.apply(
        |()| Process::start(|| ()).map(drop).map_err(|e| e.to_string()),
        (),
    )?;
    assert!(refused.unwrap_err().contains("daemon"));
    let sum = pool.apply(
        |n: u64| {
            let threads: Vec<_> = (0..n).map(|n| std::thread::spawn(move || n)).collect();
            threads.into_iter().map(|t| t.join().unwrap()).sum::<u64>()
        },
        10,
    )?;
    assert_eq!(sum, 45);
    // A thread's panic is its own matter, and is printed.
    let panicked = pool.apply(
        |()| std::thread::spawn(|| panic!("in a thread")).join().is_err(),
        (),
    )?;
    assert!(panicked);
    Ok(())
}

fn waits_are_not_early() -> Outcome {
    let pool = Pool::new(1)?;
    let slow = pool.apply_async(|n| std::thread::sleep(Duration::from_millis(n)), 10_000_u64)?;
    let begun = std::time::Instant::now();
    assert!(!slow.wait_timeout(Duration::from_millis(120)));
    assert!(begun.elapsed() >= Duration::from_millis(119));
    Ok(pool.terminate().join()?)
}

test::main! {
    #[timeout(300)]
    a_million_tasks_through_map,
    ten_thousand_results_without_anybody_reading,
    #[timeout(180)]
    two_hundred_pools_leave_nothing,
    workers_have_none_of_the_keepers_descriptors,
    what_may_go_to_other_threads,
    a_program_with_a_pool_goes_on_forking,
    a_task_may_not_start_processes_but_threads,
    waits_are_not_early,
}
