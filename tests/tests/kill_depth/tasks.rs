//! Tasks: taken, taken again, done, given back.

use crate::batches_and_loans::{carries, messages};
use crate::memory::MIB;
use common::*;
use multiproc_process::{Exit, Process};
use multiproc_queue::{JoinableQueue, Queue, TryGetError};
use multiproc_tests::each_exact_step;

pub(crate) fn tasks(numbers: impl IntoIterator<Item = u64>) -> JoinableQueue<u64> {
    let queue = Queue::unbounded().unwrap();
    queue.put_many(numbers).unwrap();
    queue.into()
}

/// Takes and reports all that is left: number and attempt of each, in the order of numbers.
#[track_caller]
pub(crate) fn finish(queue: &JoinableQueue<u64>) -> Vec<(u64, u32)> {
    let mut seen = Vec::new();
    for _ in 0..queue.unfinished() {
        let task = queue.get_task_timeout(PATIENCE).unwrap();
        seen.push((*task, task.attempt()));
    }
    assert_eq!(queue.try_get_task().unwrap_err(), TryGetError::Empty);
    assert_eq!((queue.len(), queue.unfinished()), (0, 0));
    queue.join_timeout(PATIENCE).unwrap();
    seen.sort_unstable();
    seen
}

/// Tasks still go their way, between processes.
#[track_caller]
pub(crate) fn works(queue: &JoinableQueue<u64>) {
    assert_eq!((queue.len(), queue.unfinished()), (0, 0));
    assert!(queue.task_done().is_err());
    queue.put_timeout(1, PATIENCE).unwrap();
    let joiner = start(|| queue.join().unwrap());
    blocked(&joiner);
    let worker = start(|| assert_eq!(*queue.get_task().unwrap(), 1));
    ends_well(&worker);
    ends_well(&joiner);
    for n in 0..20 {
        queue.put(n).unwrap();
        let task = queue.get_task_timeout(PATIENCE).unwrap();
        assert_eq!((*task, task.attempt()), (n, 1));
    }
    queue.join_timeout(PATIENCE).unwrap();
    queue.put(2).unwrap();
    assert_eq!(queue.get(), Ok(2));
    queue.task_done().unwrap();
    queue.join_timeout(PATIENCE).unwrap();
}

/// A process that takes a task and dies with it.
pub(crate) fn one_dies_with_a_task(queue: &JoinableQueue<u64>) {
    let worker = start(|| {
        std::mem::forget(queue.get_task().unwrap());
        exit_now(9)
    });
    assert_eq!(ends(&worker), Exit::Code(9));
}

pub(crate) fn killed_at_each_step_of_taking_a_task() {
    each_exact_step(
        || tasks(1..=2),
        |queue| std::mem::forget(queue.get_task().unwrap()),
        |queue, at, steps| {
            steps.must_have(&["tasks: claim written", "tasks: claimed, not released"]);
            let released = at >= steps.since("get: released");
            assert_eq!(queue.unfinished(), 2);
            let again = if released { 2 } else { 1 };
            assert_eq!(finish(&queue), [(1, again), (2, 1)]);
            works(&queue);
        },
    );
}

pub(crate) fn killed_at_each_step_of_taking_a_large_task_after_another() {
    // Each of them is so large that what it was kept in is given back at the next.
    each_exact_step(
        || {
            let queue = JoinableQueue::from(messages(1 << 30));
            queue.put(pattern(1, 20 * MIB)).unwrap();
            queue.get_task().unwrap().done();
            queue.put(pattern(2, 100)).unwrap();
            queue.put(pattern(3, 100_000)).unwrap();
            queue
        },
        |queue| {
            queue.get_task().unwrap().done();
            std::mem::forget(queue.get_task().unwrap());
        },
        |queue, at, steps| {
            steps.must_have(&["tasks: about to punch"]);
            let done = at >= steps.first("tasks: done");
            assert_eq!(queue.unfinished(), if done { 1 } else { 2 });
            let mut numbers: Vec<u64> = (0..queue.unfinished())
                .map(|_| number_of(&queue.get_task_timeout(PATIENCE).unwrap()))
                .collect();
            numbers.sort_unstable();
            assert_eq!(numbers, if done { vec![3] } else { vec![2, 3] });
            queue.join_timeout(PATIENCE).unwrap();
            carries(queue.queue());
        },
    );
}

pub(crate) fn killed_at_each_step_of_taking_a_dead_one_s_task() {
    each_exact_step(
        || {
            let queue = tasks([1]);
            one_dies_with_a_task(&queue);
            // Marked already, so that nothing depends on the time.
            assert!(queue.take_dead_letters().unwrap().is_empty());
            queue
        },
        |queue| {
            let task = queue.get_task().unwrap();
            assert_eq!((*task, task.attempt()), (1, 2));
            std::mem::forget(task);
        },
        |queue, at, steps| {
            steps.must_have(&["tasks: orphan has a new owner", "tasks: orphan taken"]);
            assert_eq!(queue.unfinished(), 1);
            // Delivered a second time only if it came to that.
            let counted = at >= steps.since("tasks: attempt counted");
            assert_eq!(finish(&queue), [(1, if counted { 3 } else { 2 })]);
            works(&queue);
        },
    );
}

pub(crate) fn killed_at_each_step_of_done() {
    each_exact_step(
        || tasks([1, 2]),
        |queue| queue.get_task().unwrap().done(),
        |queue, at, steps| {
            let done = at >= steps.since("tasks: done");
            assert_eq!(queue.unfinished(), if done { 1 } else { 2 });
            let taken = at >= steps.since("get: released");
            let first = (1, if taken { 2 } else { 1 });
            let expected = if done {
                vec![(2, 1)]
            } else {
                vec![first, (2, 1)]
            };
            assert_eq!(finish(&queue), expected);
            works(&queue);
        },
    );
}

pub(crate) fn killed_at_each_step_of_a_done_that_wakes_a_join() {
    each_exact_step(
        || {
            let queue = tasks([1]);
            let joiners = {
                let join = || {
                    start({
                        let queue = queue.clone();
                        move || queue.join().unwrap()
                    })
                };
                [join(), join()]
            };
            joiners.iter().for_each(blocked);
            (queue, joiners)
        },
        |(queue, _)| queue.get_task().unwrap().done(),
        |(queue, joiners), at, steps| {
            steps.must_have(&["task_done: bell changed"]);
            if at < steps.since("tasks: done") {
                assert!(joiners.iter().all(Process::is_alive));
                assert_eq!(finish(&queue).len(), 1);
            }
            joiners.iter().for_each(ends_well);
            works(&queue);
        },
    );
}

pub(crate) fn killed_at_each_step_of_giving_back() {
    each_exact_step(
        || tasks([1]),
        |queue| queue.get_task().unwrap().give_back(),
        |queue, at, steps| {
            steps.must_have(&["tasks: given back"]);
            let taken = at >= steps.since("get: released");
            assert_eq!(queue.unfinished(), 1);
            if at >= steps.since("tasks: given back") {
                assert_eq!(queue.len(), 1);
            }
            assert_eq!(finish(&queue), [(1, if taken { 2 } else { 1 })]);
            works(&queue);
        },
    );
}
