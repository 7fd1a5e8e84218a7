//! Joining: for tasks that are delivered again, and with what died.

use crate::tasks::{holder, tasks};
use common::*;
use multiproc_queue::{JoinError, JoinTimeoutError, TaskDoneError};
use std::time::{Duration, Instant};

pub(crate) fn join_waits_for_tasks_that_are_delivered_again() -> Outcome {
    let (queue, held) = (tasks(2), Counter::new());
    let holders = [holder(&queue, &held), holder(&queue, &held)];
    let joiner = start(|| queue.join().unwrap());
    blocked(&joiner);
    holders.iter().for_each(kill);
    assert_eq!(queue.get_task_timeout(PATIENCE)?.attempt(), 2);
    blocked(&joiner);
    let task = queue.get_task_timeout(PATIENCE)?;
    assert_eq!((task.attempt(), joiner.is_alive()), (2, true));
    drop(task);
    ends_well(&joiner);
    Ok(())
}

pub(crate) fn join_says_how_many_tasks_died_with_plain_getters_and_says_it_once() -> Outcome {
    let queue = tasks(7);
    let takes = |n: usize, done: usize| {
        let worker = start(|| {
            (0..n).for_each(|_| assert!(queue.get().is_ok()));
            (0..done).for_each(|_| queue.task_done().unwrap());
            exit_now(0)
        });
        ends_well(&worker);
    };
    takes(3, 1);
    takes(1, 1);
    takes(2, 1);
    // As long as something is queued, nobody knows what will become of it.
    let late = queue.join_timeout(Duration::from_millis(120));
    assert_eq!(late, Err(JoinTimeoutError::Timeout { unfinished: 4 }));
    let waits = start(|| assert_eq!(queue.join(), Err(JoinError::TasksLost(3))));
    blocked(&waits);
    queue.get_task()?.done();
    ends_well(&waits);
    assert_eq!(queue.join(), Ok(()));
    assert_eq!(queue.unfinished(), 0);
    assert_eq!(queue.task_done(), Err(TaskDoneError::TooMany));
    // What comes later is counted as before.
    queue.put(1)?;
    queue.get()?;
    let late = queue.join_timeout(Duration::from_millis(120));
    assert_eq!(late, Err(JoinTimeoutError::Timeout { unfinished: 1 }));
    queue.task_done()?;
    queue.join()?;
    queue.put(2)?;
    takes(1, 0);
    let lost = queue.join_timeout(PATIENCE);
    assert_eq!(lost, Err(JoinTimeoutError::TasksLost(1)));
    queue.join()?;
    Ok(())
}

pub(crate) fn join_timeout_says_how_many_are_unfinished() -> Outcome {
    let queue = tasks(3);
    let timeout = Duration::from_millis(30);
    let begun = Instant::now();
    let late = queue.join_timeout(timeout);
    assert!(begun.elapsed() >= timeout);
    assert_eq!(late, Err(JoinTimeoutError::Timeout { unfinished: 3 }));
    queue.get_task()?.done();
    queue.get()?;
    let late = queue.join_timeout(Duration::ZERO);
    assert_eq!(late, Err(JoinTimeoutError::Timeout { unfinished: 2 }));
    queue.task_done()?;
    let worker = start(|| {
        let task = queue.get_task().unwrap();
        until("somebody to join", || queue.unfinished() == 1);
        drop(task);
    });
    queue.join_timeout(PATIENCE)?;
    ends_well(&worker);
    queue.close();
    assert_eq!(queue.join(), Err(JoinError::Closed));
    Ok(())
}

pub(crate) fn task_done_once_too_often_is_refused_with_claims_among_them() -> Outcome {
    let queue = tasks(4);
    queue.get_task()?.done();
    let held = queue.get_task()?;
    queue.get()?;
    queue.task_done()?;
    queue.get()?;
    queue.task_done()?;
    assert_eq!(queue.unfinished(), 1);
    held.done();
    assert_eq!(queue.task_done(), Err(TaskDoneError::TooMany));
    assert_eq!(queue.unfinished(), 0);
    let child = start(|| assert_eq!(queue.task_done(), Err(TaskDoneError::TooMany)));
    ends_well(&child);
    queue.join()?;
    Ok(())
}

pub(crate) fn len_counts_tasks_that_wait_to_be_delivered_again() -> Outcome {
    let (queue, held) = (tasks(2), Counter::new());
    let holders = [holder(&queue, &held), holder(&queue, &held)];
    assert_eq!((queue.len(), queue.unfinished()), (0, 2));
    holders.iter().for_each(kill);
    // Whoever waits for one looks after the dead.
    let task = queue.get_task_timeout(PATIENCE)?;
    assert_eq!(task.attempt(), 2);
    assert_eq!((queue.len(), queue.unfinished()), (1, 2));
    queue.put(2)?;
    task.give_back();
    assert_eq!((queue.len(), queue.is_empty()), (3, false));
    (0..3).for_each(|_| drop(queue.get_task().unwrap()));
    assert_eq!((queue.len(), queue.unfinished()), (0, 0));
    Ok(())
}

pub(crate) fn workers_that_die_by_the_hundred_leave_the_queue_usable() -> Outcome {
    // More than there are places for what a worker has taken; nobody joins meanwhile.
    let queue = tasks(300);
    for _ in 0..300 {
        let worker = start(|| {
            queue.get().unwrap();
            exit_now(0)
        });
        ends_well(&worker);
    }
    queue.put(300)?;
    assert_eq!(queue.get()?, 300);
    queue.task_done()?;
    assert_eq!(queue.join(), Err(JoinError::TasksLost(300)));
    queue.join()?;
    Ok(())
}

pub(crate) fn unfinished_is_right_while_others_put_and_report() -> Outcome {
    let (queue, stop) = (tasks(1), Counter::new());
    let (taken, checks) = (Counter::new(), Counter::new());
    let slow = holder(&queue, &taken);
    let worker = || {
        start(|| {
            while stop.get() == 0 {
                queue.put(1).unwrap();
                drop(queue.get_task().unwrap());
            }
        })
    };
    let workers = [worker(), worker(), worker()];
    let joiner = start(|| {
        while stop.get() == 0 {
            let joined = queue.join_timeout(Duration::from_micros(300));
            assert!(joined.is_err(), "a task is unfinished all the time");
            checks.count();
        }
    });
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(3) || checks.get() < 100 {
        let unfinished = queue.unfinished();
        assert!((1..=4).contains(&unfinished), "{unfinished}");
        assert!(joiner.is_alive());
    }
    stop.count();
    workers.iter().for_each(ends_well);
    ends_well(&joiner);
    kill(&slow);
    drop(queue.get_task_timeout(PATIENCE)?);
    queue.join_timeout(PATIENCE)?;
    Ok(())
}

pub(crate) fn what_is_put_during_a_join_is_never_written_off() -> Outcome {
    // One is lost for good, and written off; what others put and take meanwhile is not.
    for round in 0..100 {
        let queue = tasks(1);
        let dead = start(|| {
            queue.get().unwrap();
            exit_now(0)
        });
        ends_well(&dead);
        let stop = Counter::new();
        let writer = start(|| {
            for n in 0.. {
                if stop.get() != 0 {
                    return;
                }
                queue.put(n).unwrap();
                assert_eq!(queue.get(), Ok(n));
                assert_eq!(queue.task_done(), Ok(()), "round {round}");
            }
        });
        let mut lost = Ok(());
        until("a task to be lost", || {
            lost = queue.join_timeout(Duration::from_micros(20));
            !matches!(lost, Err(JoinTimeoutError::Timeout { .. }))
        });
        assert_eq!(lost, Err(JoinTimeoutError::TasksLost(1)), "round {round}");
        stop.count();
        ends_well(&writer);
        queue.join_timeout(PATIENCE)?;
    }
    Ok(())
}
