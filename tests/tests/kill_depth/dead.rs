//! Tasks of the dead: looked after, dead letters, written off.

use crate::tasks::{finish, one_dies_with_a_task, tasks, works};
use common::*;
use multiproc_process::Exit;
use multiproc_queue::{JoinTimeoutError, JoinableQueue, Queue};
use multiproc_tests::{each_exact_step, killed_at, steps_of};
use std::time::Duration;

pub(crate) fn killed_at_each_step_of_looking_after_the_dead() {
    // Three dead, and one of them before it had released what it claimed.
    let claims = |queue: &JoinableQueue<u64>| std::mem::forget(queue.get_task().unwrap());
    let one = tasks([1]);
    let before_release = steps_of(|| claims(&one)).since("tasks: claimed, not released");
    each_exact_step(
        || {
            let (queue, held) = (tasks(1..=3), Counter::new());
            let holder = || {
                start(|| {
                    std::mem::forget(queue.get_task().unwrap());
                    held.count();
                    for_ever()
                })
            };
            let holders = [holder(), holder()];
            held.reach(2);
            assert!(!killed_at(before_release, || claims(&queue)));
            holders.iter().for_each(kill);
            drop(holders);
            queue
        },
        |queue| drop(queue.take_dead_letters().unwrap()),
        |queue, _, steps| {
            steps.must_have(&["tasks: claim dropped", "tasks: marked"]);
            assert_eq!(queue.unfinished(), 3);
            assert_eq!(finish(&queue), [(1, 2), (2, 2), (3, 1)]);
            works(&queue);
        },
    );
}

pub(crate) fn killed_at_each_step_of_making_a_dead_letter() {
    each_exact_step(
        || {
            let options = Queue::<u64>::options().max_deliveries(1);
            let queue = JoinableQueue::from(options.build().unwrap());
            queue.put(1).unwrap();
            one_dies_with_a_task(&queue);
            // Marked already, so that nothing depends on the time.
            assert!(queue.take_dead_letters().unwrap().is_empty());
            queue.put(2).unwrap();
            queue
        },
        |queue| std::mem::forget(queue.try_get_task().unwrap()),
        |queue, at, steps| {
            steps.must_have(&["tasks: dead letter"]);
            // Both at the end: the first was delivered once, and perhaps the second.
            let taken = at >= steps.since("get: released");
            let next =
                queue.get_task_timeout(Duration::from_millis(if taken { 200 } else { 30_000 }));
            assert_eq!(next.is_err(), taken);
            drop(next);
            queue.join_timeout(PATIENCE).unwrap();
            let mut letters = queue.take_dead_letters().unwrap();
            letters.sort_unstable();
            assert_eq!(letters, if taken { vec![1, 2] } else { vec![1] });
            works(&queue);
        },
    );
}

fn over_delivered() -> JoinableQueue<u64> {
    let options = Queue::<u64>::options().max_deliveries(1);
    let queue = JoinableQueue::from(options.build().unwrap());
    queue.put(1).unwrap();
    one_dies_with_a_task(&queue);
    // Marked already, so that nothing depends on the time.
    assert!(queue.take_dead_letters().unwrap().is_empty());
    queue
}

pub(crate) fn killed_at_each_step_of_making_a_dead_letter_by_a_join() {
    each_exact_step(
        over_delivered,
        |queue| queue.join_timeout(PATIENCE).unwrap(),
        |queue, _, steps| {
            steps.must_have(&["tasks: nobody's", "tasks: dead letter"]);
            queue.join_timeout(PATIENCE).unwrap();
            assert_eq!(queue.take_dead_letters().unwrap(), [1]);
            works(&queue);
        },
    );
}

pub(crate) fn killed_at_each_step_of_taking_a_dead_letter() {
    each_exact_step(
        || {
            let queue = over_delivered();
            queue.join_timeout(PATIENCE).unwrap();
            queue
        },
        |queue| drop(queue.take_dead_letters().unwrap()),
        |queue, _, steps| {
            steps.must_have(&["tasks: letter has a taker", "tasks: letter copied"]);
            // The last step is before the one store that takes it.
            assert_eq!(queue.take_dead_letters().unwrap(), [1]);
            assert_eq!(queue.take_dead_letters().unwrap(), [0; 0]);
            assert_eq!(queue.unfinished(), 0);
            works(&queue);
        },
    );
}

pub(crate) fn killed_at_each_step_of_a_counted_get() {
    each_exact_step(
        || tasks([1, 2]),
        |queue| assert_eq!(queue.get(), Ok(1)),
        |queue, at, steps| {
            steps.must_have(&["tasks: about to be counted", "tasks: counted"]);
            let released = at >= steps.since("get: released");
            assert_eq!(queue.unfinished(), 2);
            assert_eq!(
                queue.get_timeout(PATIENCE),
                Ok(if released { 2 } else { 1 })
            );
            queue.task_done().unwrap();
            if released {
                let lost = queue.join_timeout(PATIENCE);
                assert_eq!(lost, Err(JoinTimeoutError::TasksLost(1)));
            } else {
                assert_eq!(queue.get_timeout(PATIENCE), Ok(2));
                queue.task_done().unwrap();
            }
            queue.join_timeout(PATIENCE).unwrap();
            works(&queue);
        },
    );
}

pub(crate) fn killed_at_each_step_of_reporting_a_counted_get() {
    each_exact_step(
        || tasks([1]),
        |queue| {
            assert_eq!(queue.get(), Ok(1));
            queue.task_done().unwrap();
        },
        |queue, at, steps| {
            let released = at >= steps.since("get: released");
            let done = at >= steps.since("task_done: counted");
            assert_eq!(queue.unfinished(), usize::from(!done));
            let joined = match (released, done) {
                (_, true) => Ok(()),
                (true, false) => Err(JoinTimeoutError::TasksLost(1)),
                (false, _) => {
                    assert_eq!(queue.get_timeout(PATIENCE), Ok(1));
                    queue.task_done().unwrap();
                    Ok(())
                }
            };
            assert_eq!(queue.join_timeout(PATIENCE), joined);
            queue.join_timeout(PATIENCE).unwrap();
            works(&queue);
        },
    );
}

/// A process that gets so many and dies.
fn one_dies_with_plain(queue: &JoinableQueue<u64>, n: usize) {
    let worker = start(|| {
        (0..n).for_each(|_| assert!(queue.get().is_ok()));
        exit_now(9)
    });
    assert_eq!(ends(&worker), Exit::Code(9));
}

pub(crate) fn killed_at_each_step_of_writing_off_what_is_lost() {
    each_exact_step(
        || {
            let queue = tasks(1..=3);
            one_dies_with_plain(&queue, 2);
            one_dies_with_plain(&queue, 1);
            queue
        },
        |queue| {
            let lost = queue.join_timeout(Duration::ZERO);
            assert_eq!(lost, Err(JoinTimeoutError::TasksLost(3)));
        },
        |queue, at, steps| {
            let written = at >= steps.since("tasks: written off");
            assert_eq!(queue.unfinished(), if written { 0 } else { 3 });
            let expected = match written {
                // Told to nobody: the one who was to be told is dead.
                true => Ok(()),
                false => Err(JoinTimeoutError::TasksLost(3)),
            };
            assert_eq!(queue.join_timeout(PATIENCE), expected);
            queue.join_timeout(PATIENCE).unwrap();
            // The dead are not made responsible for others' tasks.
            queue.put(4).unwrap();
            assert_eq!(queue.get(), Ok(4));
            let late = queue.join_timeout(Duration::from_millis(120));
            assert_eq!(late, Err(JoinTimeoutError::Timeout { unfinished: 1 }));
            queue.task_done().unwrap();
            works(&queue);
        },
    );
}

pub(crate) fn killed_at_each_step_of_taking_a_dead_workers_place() {
    // As many dead with a task each as there are places.
    const PLACES: u64 = multiproc_ring::MOST_WORKERS as u64;
    let prepare = || {
        let queue = tasks(1..=PLACES + 2);
        for _ in 0..PLACES {
            one_dies_with_plain(&queue, 1);
        }
        queue
    };
    let act = |queue: &JoinableQueue<u64>| assert_eq!(queue.get(), Ok(PLACES + 1));
    let world = prepare();
    let steps = steps_of(|| act(&world));
    drop(world);
    steps.must_have(&["tasks: buried"]);
    // Those around the burial; a world of 256 dead takes its time.
    for at in steps.since("tasks: buried")..=steps.since("tasks: counted") {
        println!("killed at step {at}, {:?}", steps.0[at as usize]);
        let queue = prepare();
        assert!(!killed_at(at, || act(&queue)));
        let released = at >= steps.since("get: released");
        for _ in 0..if released { 1 } else { 2 } {
            queue.get_timeout(PATIENCE).unwrap();
            queue.task_done().unwrap();
        }
        let lost = PLACES as usize + usize::from(released);
        let joined = queue.join_timeout(PATIENCE);
        assert_eq!(joined, Err(JoinTimeoutError::TasksLost(lost)));
        queue.join_timeout(PATIENCE).unwrap();
        works(&queue);
    }
}
