//! Tasks that outlive their workers.

use crate::made::{MIB, with};
use crate::sizes::small;
use common::*;
use multiproc_process::Process;
use multiproc_queue::{
    GetError, GetTimeoutError, JoinTimeoutError, JoinableQueue, Queue, TryGetError,
};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

pub(crate) fn tasks(n: u64) -> JoinableQueue<u64> {
    with(Queue::unbounded().unwrap(), n).into()
}

pub(crate) fn a_task_is_done_when_it_is_dropped() -> Outcome {
    let queue = tasks(3);
    let child = start(|| {
        let task = queue.get_task().unwrap();
        assert_eq!((*task, task.attempt()), (0, 1));
        assert_eq!((queue.len(), queue.unfinished()), (2, 3));
        drop(task);
        assert_eq!((queue.len(), queue.unfinished()), (2, 2));
        queue.try_get_task().unwrap().done();
        assert_eq!(*queue.get_task_timeout(PATIENCE).unwrap(), 2);
    });
    ends_well(&child);
    assert_eq!((queue.len(), queue.unfinished()), (0, 0));
    queue.join()?;
    let none = queue.try_get_task();
    assert_eq!(none.unwrap_err(), TryGetError::Empty);
    let late = queue.get_task_timeout(Duration::from_millis(5));
    assert_eq!(late.unwrap_err(), GetTimeoutError::Timeout);
    queue.shut_down();
    assert_eq!(queue.get_task().unwrap_err(), GetError::Closed);
    Ok(())
}

/// A process that takes one task, counts, and holds it until it is killed.
pub(crate) fn holder<T, C>(queue: &JoinableQueue<T, C>, held: &Counter) -> Process
where
    C: multiproc_queue::codec::Codec<T>,
{
    let before = held.get();
    let holder = start(|| {
        let task = queue.get_task().unwrap();
        held.count();
        loop {
            std::thread::park();
            assert!(task.attempt() > 0);
        }
    });
    held.reach(before + 1);
    holder
}

pub(crate) fn a_task_is_delivered_again_when_its_holder_is_killed() -> Outcome {
    let (queue, held) = (tasks(1), Counter::new());
    for deaths in 1..=5 {
        kill(&holder(&queue, &held));
        assert_eq!(queue.unfinished(), 1);
        let task = queue.get_task_timeout(PATIENCE)?;
        assert_eq!((*task, task.attempt()), (0, 2 * deaths));
        task.give_back();
    }
    // Within a slice; until then, others are taken. None is forgotten.
    kill(&holder(&queue, &held));
    for n in 1..100 {
        queue.put(n)?;
    }
    let mut attempts = BTreeMap::new();
    for _ in 0..100 {
        let task = queue.get_task_timeout(PATIENCE)?;
        attempts.insert(*task, task.attempt());
    }
    let expected = (0..100).map(|n| (n, if n == 0 { 12 } else { 1 }));
    assert_eq!(attempts, expected.collect());
    queue.join()?;
    Ok(())
}

pub(crate) fn a_task_of_a_dead_holder_comes_to_one_who_waits_already() -> Outcome {
    let (queue, held) = (tasks(1), Counter::new());
    let first = holder(&queue, &held);
    // Nothing else is put: it has to look after the dead by itself.
    let waits = start(|| {
        let task = queue.get_task().unwrap();
        assert_eq!((*task, task.attempt()), (0, 2));
    });
    blocked(&waits);
    kill(&first);
    ends_well(&waits);
    queue.join_timeout(PATIENCE)?;
    Ok(())
}

pub(crate) fn a_task_given_back_is_delivered_again() -> Outcome {
    let queue = tasks(1);
    let waits = {
        let task = queue.get_task()?;
        assert_eq!(task.attempt(), 1);
        task.give_back();
        assert_eq!((queue.len(), queue.unfinished()), (1, 1));
        let task = queue.get_task()?;
        assert_eq!(task.attempt(), 2);
        task.give_back();
        start(|| {
            let mut task = queue.get_task().unwrap();
            assert_eq!((*task, task.attempt()), (0, 3));
            *task = 99; // this process's copy
            task.give_back();
            assert_eq!(*queue.get_task().unwrap(), 0);
        })
    };
    ends_well(&waits);
    queue.join_timeout(PATIENCE)?;
    Ok(())
}

pub(crate) fn a_task_whose_holder_panics_is_done_unless_the_queue_says_otherwise() -> Outcome {
    for again in [false, true] {
        let queue = tasks(2).redeliver_on_panic(again);
        let child = start(|| {
            let task = queue.get_task().unwrap();
            panic!("on purpose, with task {}", *task);
        });
        assert!(!ends(&child).success());
        assert_eq!(queue.unfinished(), if again { 2 } else { 1 });
        // And where the process survives it.
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let task = queue.get_task().unwrap();
            panic!("on purpose, with task {}", *task);
        }));
        assert!(panicked.is_err());
        assert_eq!(queue.unfinished(), if again { 2 } else { 0 });
        if again {
            assert_eq!(queue.get_task()?.attempt(), 3);
            assert_eq!(queue.get_task()?.attempt(), 1);
        }
        queue.join_timeout(PATIENCE)?;
    }
    Ok(())
}

fn over_delivered() -> Outcome<JoinableQueue<u64>> {
    let options = Queue::<u64>::options().max_deliveries(1);
    let queue = JoinableQueue::from(options.build()?);
    let held = Counter::new();
    queue.put(7)?;
    kill(&holder(&queue, &held));
    Ok(queue)
}

pub(crate) fn who_joins_alone_makes_the_dead_letter() -> Outcome {
    let queue = over_delivered()?;
    assert_eq!(queue.unfinished(), 1);
    queue.join_timeout(PATIENCE)?;
    assert_eq!(queue.take_dead_letters()?, [7]);
    assert_eq!((queue.unfinished(), queue.len()), (0, 0));
    // One that may be delivered again is no dead letter, and waited for.
    let options = Queue::<u64>::options().max_deliveries(2);
    let queue = JoinableQueue::from(options.build()?);
    queue.put(8)?;
    kill(&holder(&queue, &Counter::new()));
    let waited = queue.join_timeout(Duration::from_millis(150));
    assert_eq!(waited, Err(JoinTimeoutError::Timeout { unfinished: 1 }));
    assert_eq!(queue.get_task_timeout(PATIENCE)?.attempt(), 2);
    queue.join_timeout(PATIENCE)?;
    Ok(())
}

pub(crate) fn who_joins_beside_a_plain_get_hears_of_the_dead_letter() -> Outcome {
    let queue = over_delivered()?;
    // It keeps the lock under which tasks change hands.
    let getter = start(|| assert_eq!(queue.get().unwrap(), 9));
    blocked(&getter);
    queue.join_timeout(PATIENCE)?;
    assert_eq!(queue.take_dead_letters()?, [7]);
    queue.put(9)?;
    ends_well(&getter);
    Ok(())
}

pub(crate) fn dead_letters_do_not_wait_for_who_waits_for_tasks() -> Outcome {
    let queue = over_delivered()?;
    until("the dead letter", || {
        assert_eq!(queue.try_get_task().unwrap_err(), TryGetError::Empty);
        queue.unfinished() == 0
    });
    // A worker that waits, and then one that is stopped in the middle of its wait: it goes on
    // only when the letters were had.
    let worker = start(|| assert_eq!(*queue.get_task().unwrap(), 9));
    blocked(&worker);
    send_signal(&worker, libc::SIGSTOP);
    until("the worker to stop", || state_of(worker.pid()) == Some('T'));
    assert_eq!(queue.take_dead_letters()?, [7]);
    send_signal(&worker, libc::SIGCONT);
    queue.put(9)?;
    ends_well(&worker);
    queue.join_timeout(PATIENCE)?;
    assert_eq!(queue.take_dead_letters()?, [0; 0]);
    Ok(())
}

pub(crate) fn a_task_delivered_too_often_becomes_a_dead_letter() -> Outcome {
    let options = Queue::<u64>::options().max_deliveries(2);
    let queue = JoinableQueue::from(options.build()?);
    let held = Counter::new();
    queue.put(7)?;
    kill(&holder(&queue, &held));
    kill(&holder(&queue, &held));
    assert_eq!(queue.unfinished(), 1);
    queue.put(8)?;
    // The next one to look finds it delivered twice: it passes on to the next task.
    let task = queue.get_task_timeout(PATIENCE)?;
    assert_eq!((*task, task.attempt()), (8, 1));
    task.give_back();
    let task = queue.get_task()?;
    assert_eq!((*task, task.attempt()), (8, 2));
    task.give_back();
    assert_eq!(queue.try_get_task().unwrap_err(), TryGetError::Empty);
    // They do not keep a join waiting.
    queue.join_timeout(PATIENCE)?;
    assert_eq!((queue.unfinished(), queue.len()), (0, 0));
    let child = start(|| {
        let mut letters = queue.take_dead_letters().unwrap();
        letters.sort_unstable();
        assert_eq!(letters, [7, 8]);
    });
    ends_well(&child);
    assert_eq!(queue.take_dead_letters()?, [0; 0]);
    queue.put(9)?;
    assert_eq!(*queue.get_task()?, 9);
    queue.join_timeout(PATIENCE)?;
    Ok(())
}

pub(crate) fn one_slow_task_stalls_nobody() -> Outcome {
    let (queue, held) = (tasks(1), Counter::new());
    let slow = holder(&queue, &held);
    let workers: Vec<_> = (0..2)
        .map(|_| start(|| while queue.get_task().is_ok() {}))
        .collect();
    for n in 1..=1000 {
        queue.put(n)?;
    }
    until("all but the slow one's task", || queue.unfinished() == 1);
    let late = queue.join_timeout(Duration::from_millis(5));
    assert_eq!(late, Err(JoinTimeoutError::Timeout { unfinished: 1 }));
    kill(&slow);
    queue.join_timeout(PATIENCE)?;
    queue.shut_down();
    workers.iter().for_each(ends_well);
    Ok(())
}

pub(crate) fn too_many_tasks_are_refused_and_nothing_is_lost() -> Outcome {
    let queue = tasks(300);
    let mut held: Vec<_> = (0..256).map(|_| queue.get_task().unwrap()).collect();
    assert_eq!(queue.try_get_task().unwrap_err(), TryGetError::TooManyTasks);
    assert_eq!((queue.len(), queue.unfinished()), (44, 300));
    held.remove(100).done();
    held.push(queue.get_task()?);
    assert_eq!(**held.last().unwrap(), 256);
    assert_eq!(queue.get_task().unwrap_err(), GetError::TooManyTasks);
    drop(held);
    assert_eq!(queue.unfinished(), 43);
    for n in 257..300 {
        assert_eq!(*queue.get_task()?, n);
    }
    queue.join()?;
    // The dead do not count, once somebody looks.
    let queue = tasks(256);
    let child = start(|| {
        let all: Vec<_> = (0..256).map(|_| queue.get_task().unwrap()).collect();
        std::mem::forget(all);
        exit_now(0)
    });
    ends_well(&child);
    let mut numbers: Vec<u64> = (0..256)
        .map(|_| {
            let task = queue.get_task_timeout(PATIENCE).unwrap();
            assert_eq!(task.attempt(), 2);
            *task
        })
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..256).collect::<Vec<_>>());
    queue.join()?;
    Ok(())
}

pub(crate) fn tasks_of_any_size_outlive_their_holder() -> Outcome {
    let (queue, held) = (JoinableQueue::from(small()), Counter::new());
    let sizes = [8, 100, 70_000, 3 * MIB, 64 * MIB, 9];
    let writer = start(|| {
        for (n, len) in sizes.iter().enumerate() {
            queue.put(pattern(n as u64, *len)).unwrap();
        }
    });
    // Each has a holder of its own; all are killed, and all come again, whole.
    let holders: Vec<_> = sizes.iter().map(|_| holder(&queue, &held)).collect();
    ends_well(&writer);
    assert_eq!((queue.len(), queue.unfinished()), (0, sizes.len()));
    holders.iter().for_each(kill);
    let mut seen = BTreeMap::new();
    for _ in sizes {
        let task = queue.get_task_timeout(PATIENCE)?;
        assert_eq!(task.attempt(), 2);
        seen.insert(number_of(&task), task.len());
    }
    let expected = sizes.iter().enumerate().map(|(n, len)| (n as u64, *len));
    assert_eq!(seen, expected.collect());
    queue.join_timeout(PATIENCE)?;
    Ok(())
}
