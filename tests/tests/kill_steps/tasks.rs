//! Killed while reporting tasks and waiting for them.

use crate::queues::{drain, with, works};
use common::*;
use multiproc_process::{Exit, Process};
use multiproc_queue::JoinableQueue;
use multiproc_tests::{At, Count, Steps, each_step, nothing, steps_of};

fn joinable(tasks: u64) -> JoinableQueue<u64> {
    let queue = JoinableQueue::bounded(8).unwrap();
    for n in 0..tasks {
        queue.put(n).unwrap();
        queue.get().unwrap();
    }
    queue
}

#[track_caller]
fn joins(queue: &JoinableQueue<u64>) {
    queue.join_timeout(PATIENCE).unwrap();
    assert_eq!(queue.unfinished(), 0);
    assert!(queue.task_done().is_err());
    queue.put(1).unwrap();
    let joiner = start(|| queue.join());
    blocked(&joiner);
    queue.get().unwrap();
    queue.task_done().unwrap();
    ends_well(&joiner);
    works(queue.queue());
}

pub(crate) fn killed_at_each_step_of_task_done() {
    each_step(
        Count::Exact,
        || joinable(3),
        |queue| queue.task_done().unwrap(),
        nothing,
        |queue, n, steps| {
            let counted = n >= steps.since("task_done: counted");
            assert_eq!(queue.unfinished(), if counted { 2 } else { 3 });
            while queue.unfinished() > 0 {
                queue.task_done().unwrap();
            }
            joins(&queue);
        },
    );
}

pub(crate) fn killed_at_each_step_of_a_task_done_that_wakes_a_join() {
    each_step(
        Count::Exact,
        || {
            let queue = joinable(1);
            let joiners = [start(|| queue.join()), start(|| queue.join())];
            joiners.iter().for_each(blocked);
            (queue, joiners)
        },
        |(queue, _)| queue.task_done().unwrap(),
        nothing,
        |(queue, joiners), n, steps| {
            assert!(steps.has("task_done: bell changed"), "{:?}", steps.0);
            if n < steps.since("task_done: counted") {
                assert!(joiners.iter().all(Process::is_alive));
                queue.task_done().unwrap();
            }
            joiners.iter().for_each(ends_well);
            joins(&queue);
        },
    );
}

/// The steps of a second put.
fn a_put() -> Steps {
    let queue = with(&[1], 8);
    steps_of(|| queue.put(2).unwrap())
}

pub(crate) fn killed_at_each_step_of_a_join_that_is_woken() {
    // A join passes no named step of its own unless it finds a dead writer: then it repairs.
    let count = a_put().since("put: committed");
    each_step(
        Count::Varies,
        || {
            let queue = JoinableQueue::from(with(&[1], 8));
            queue.task_done().unwrap();
            let dies = start(|| {
                At::Die(count).begin();
                queue.put(2)
            });
            assert_eq!(ends(&dies), Exit::Signal(9));
            queue
        },
        |queue| queue.join().unwrap(),
        |queue, child| {
            blocked_or_gone(child);
            assert_eq!(queue.unfinished(), 1);
            let other = start(|| queue.join());
            blocked(&other);
            queue.task_done().unwrap();
            ends_well(&other);
        },
        |queue, _, _| {
            assert_eq!(drain(queue.queue()), [1, 2]);
            joins(&queue);
        },
    );
}

pub(crate) fn killed_at_each_step_of_len_after_a_death() {
    let count = a_put().since("put: committed");
    each_step(
        Count::Exact,
        || {
            let queue = with(&[1], 8);
            let dies = start(|| {
                At::Die(count).begin();
                queue.put(2)
            });
            assert_eq!(ends(&dies), Exit::Signal(9));
            queue
        },
        |queue| assert_eq!(queue.len(), 2),
        nothing,
        |queue, _, _| {
            assert_eq!(drain(&queue), [1, 2]);
            works(&queue);
        },
    );
}
