//! A pool in the server, for all clients.

mod watching;

use common::*;
use multiproc_manager::{CallError, Manager, Pool, PoolError, Queue};
use multiproc_pool::TaskError;
use multiproc_process::{Exit, Process, join_all, test};
use multiproc_segment::Shared;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;
use watching::*;

test::main! {
    tasks_of_several_clients_at_once,
    errors_come_back_as_themselves,
    handles_in_arguments_and_results,
    a_killed_worker_is_told_and_replaced,
    results_that_are_waited_for_later,
    a_closed_pool_does_what_it_was_given,
    a_terminated_pool_ends_who_waits,
    a_dead_client_keeps_nobody,
    the_workers_end_with_the_pool_and_with_the_server,
    what_cannot_be_made_is_refused,
    who_connects_by_address_has_the_pool,
}

fn square(n: u64) -> u64 {
    n * n
}

fn pid(_: ()) -> u32 {
    std::process::id()
}

fn tasks_of_several_clients_at_once() -> Outcome {
    let manager = Manager::start()?;
    let pool = manager.pool(2)?;
    assert_eq!(pool.workers()?, 2);
    let clients = Process::start_each(0..4_u64, |n| {
        for i in 0..50 {
            assert_eq!(pool.apply(square, n + i).unwrap(), (n + i) * (n + i));
        }
        let items = n..n + 100;
        assert!(
            pool.map(square, items.clone())
                .unwrap()
                .into_iter()
                .eq(items.map(square))
        );
    })?;
    join_all(clients)?;
    assert_eq!(pool.map(square, 0..0)?, [0; 0]);
    assert_ne!(pool.apply(pid, ())?, std::process::id());
    assert_ne!(pool.apply(pid, ())?, manager.process().unwrap().pid());
    manager.shut_down()?;
    Ok(())
}

fn careful(n: i64) -> Result<i64, String> {
    match n {
        13 => panic!("not thirteen"),
        0 => Err("not nought".into()),
        n => Ok(100 / n),
    }
}

fn errors_come_back_as_themselves() -> Outcome {
    let manager = Manager::start()?;
    let pool = manager.pool(1)?;
    assert_eq!(pool.apply(careful, 5)?, Ok(20));
    assert_eq!(pool.apply(careful, 0)?, Err("not nought".to_owned()));
    for panicked in [
        pool.apply(careful, 13).map(drop),
        pool.map(careful, [1, 13, 2]).map(drop),
    ] {
        let Err(PoolError::Task(TaskError::Panicked {
            message,
            location,
            backtrace,
        })) = panicked
        else {
            panic!("{panicked:?}");
        };
        assert_eq!(message, "not thirteen");
        assert!(location.contains("pool.rs") && !backtrace.is_empty());
    }
    assert_eq!(pool.apply(careful, 1)?, Ok(100));
    manager.shut_down()?;
    Ok(())
}

fn note((queue, number, n): (Queue<u64>, Shared<AtomicU64>, u64)) -> Queue<u64> {
    queue.put(n).unwrap();
    number.fetch_add(n, SeqCst);
    queue
}

fn handles_in_arguments_and_results() -> Outcome {
    let manager = Manager::start()?;
    let (pool, queue, number) = (manager.pool(2)?, manager.queue::<u64>()?, number());
    let back = pool.apply(note, (queue.clone(), number.clone(), 5))?;
    assert!(back == queue);
    assert_eq!((back.get()?, number.load(SeqCst)), (5, 5));
    let all = pool.map(note, (1..=3).map(|n| (queue.clone(), number.clone(), n)))?;
    assert_eq!((all.len(), number.load(SeqCst)), (3, 11));
    let mut got = [queue.get()?, queue.get()?, queue.get()?];
    got.sort_unstable();
    assert_eq!(got, [1, 2, 3]);
    drop((all, back, queue));
    objects(&manager, 1);
    manager.shut_down()?;
    Ok(())
}

fn die(_: ()) {
    kill_me();
}

fn a_killed_worker_is_told_and_replaced() -> Outcome {
    let manager = Manager::start()?;
    let pool = manager.pool(1)?;
    let lost = PoolError::Task(TaskError::WorkerLost {
        exit: Exit::Signal(9),
        attempts: 1,
    });
    assert_eq!(pool.apply(die, ()), Err(lost));
    assert_eq!(pool.apply(square, 3)?, 9);
    manager.shut_down()?;
    Ok(())
}

/// Goes on once the number is 2, having made it 1.
fn wait_for_two(number: Shared<AtomicU64>) -> u64 {
    number.store(1, SeqCst);
    reaches(&number, 2);
    7
}

fn results_that_are_waited_for_later() -> Outcome {
    let manager = Manager::start()?;
    let (pool, number) = (manager.pool(1)?, number());
    let later = pool.apply_async(wait_for_two, number.clone())?;
    reaches(&number, 1);
    assert_eq!(later.get_timeout(Duration::from_millis(20))?, None);
    number.store(2, SeqCst);
    assert_eq!(later.get_timeout(PATIENCE)?, Some(7));
    assert_eq!(later.get(), Err(TaskError::Taken.into()));
    assert_eq!(pool.apply_async(square, 4)?.get()?, 16);
    manager.shut_down()?;
    Ok(())
}

fn a_closed_pool_does_what_it_was_given() -> Outcome {
    let manager = Manager::start()?;
    let (pool, number) = (manager.pool(1)?, number());
    let later = pool.apply_async(wait_for_two, number.clone())?;
    pool.close()?;
    let refused = pool.apply(square, 1);
    assert!(matches!(
        refused,
        Err(PoolError::Task(TaskError::NotSubmitted(_)))
    ));
    assert!(pool.map(square, [1]).is_err());
    reaches(&number, 1);
    number.store(2, SeqCst);
    assert_eq!(later.get()?, 7);
    manager.shut_down()?;
    Ok(())
}

fn a_terminated_pool_ends_who_waits() -> Outcome {
    let manager = Manager::start()?;
    let (pool, number) = (manager.pool(1)?, number());
    let client = Process::start(|| {
        let ended = pool.apply(wait_for_two, number.clone());
        assert!(matches!(
            ended,
            Err(PoolError::Task(TaskError::PoolEnded(_)))
        ));
    })?;
    reaches(&number, 1);
    pool.terminate()?;
    ends_well(&client);
    assert!(pool.apply(square, 1).is_err());
    // Another one is none the worse.
    assert_eq!(manager.pool(1)?.apply(square, 2)?, 4);
    manager.shut_down()?;
    Ok(())
}

fn a_dead_client_keeps_nobody() -> Outcome {
    let manager = Manager::start()?;
    let (pool, number) = (manager.pool(1)?, number());
    let client = Process::start(|| {
        let _ = pool.apply(wait_for_two, number.clone());
    })?;
    reaches(&number, 1);
    client.kill()?;
    assert_eq!(client.join()?, Exit::Signal(9));
    // Its thread in the server ends, though the task goes on.
    until("the dead client's connection to end", || {
        manager.numbers().unwrap().clients == 1
    });
    assert_eq!(number.load(SeqCst), 1);
    number.store(2, SeqCst);
    assert_eq!(pool.apply(square, 3)?, 9);
    manager.shut_down()?;
    Ok(())
}

fn the_workers_end_with_the_pool_and_with_the_server() -> Outcome {
    let manager = Manager::start()?;
    let pool = manager.pool(1)?;
    let worker = pool.apply(pid, ())?;
    drop(pool);
    objects(&manager, 0);
    until("the worker to end with the pool", || is_gone(worker));
    let pool = manager.pool(2)?;
    let worker = pool.apply(pid, ())?;
    manager.process().unwrap().kill()?;
    until("the worker to end with the server", || is_gone(worker));
    assert_eq!(pool.apply(square, 1), Err(CallError::ServerGone.into()));
    // In order, too.
    drop(manager);
    let manager = Manager::start()?;
    let pool = manager.pool(1)?;
    let worker = pool.apply(pid, ())?;
    manager.shut_down()?;
    assert!(is_gone(worker));
    drop(pool);
    Ok(())
}

fn what_cannot_be_made_is_refused() -> Outcome {
    let manager = Manager::start()?;
    assert!(matches!(manager.pool(0), Err(CallError::Refused(_))));
    assert!(matches!(
        manager.pool(usize::MAX),
        Err(CallError::Refused(_))
    ));
    manager.shut_down()?;
    Ok(())
}

fn who_connects_by_address_has_the_pool() -> Outcome {
    let manager = Manager::builder().key("k").start()?;
    let pool = manager.pool(1)?;
    manager.publish("pool", &pool)?;
    let address = manager.address();
    let client = Process::start(move || {
        let other = Manager::connect(address, "k").unwrap();
        let pool: Pool = other.find("pool").unwrap().unwrap();
        assert_eq!(pool.apply(square, 6).unwrap(), 36);
    })?;
    ends_well(&client);
    manager.shut_down()?;
    Ok(())
}
