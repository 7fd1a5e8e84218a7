//! Killed at every step, in depth: growth, rewind and punch, messages larger than the capacity,
//! batches, loans, and tasks: taken, taken again, done, given back, written off. As in
//! `kill_steps.rs`, an operation is run once to count its named steps, and then once per step
//! by a process that dies by SIGKILL exactly there.

use common::*;
use multiproc_process::{Exit, Process, test};
use multiproc_queue::codec::Bytes;
use multiproc_queue::{JoinTimeoutError, JoinableQueue, Queue, TryGetError};
use multiproc_ring::{Ring, Settings, Wait};
use multiproc_tests::{each_exact_step, killed_at, steps_of};
use std::time::Duration;

test::main! {
    #[timeout(180)]
    killed_at_each_step_of_a_growth_leaves_memory_that_comes_back,
    #[timeout(180)]
    killed_at_each_step_of_a_get_that_trims,
    #[timeout(180)]
    killed_at_each_step_of_a_put_larger_than_the_capacity,
    #[timeout(180)]
    killed_at_each_step_of_a_get_of_a_message_larger_than_the_capacity,
    #[timeout(180)]
    killed_at_each_step_of_put_many,
    #[timeout(180)]
    killed_at_each_step_of_a_put_many_that_wraps,
    #[timeout(180)]
    killed_at_each_step_of_get_many,
    #[timeout(180)]
    killed_at_each_step_of_a_put_loan,
    #[timeout(180)]
    killed_at_each_step_of_a_put_loan_that_is_dropped,
    #[timeout(180)]
    killed_at_each_step_of_a_get_loan,
    #[timeout(180)]
    killed_at_each_step_of_a_get_loan_that_is_given_back,

    #[timeout(180)]
    killed_at_each_step_of_taking_a_task,
    #[timeout(180)]
    killed_at_each_step_of_taking_a_large_task_after_another,
    #[timeout(180)]
    killed_at_each_step_of_taking_a_dead_one_s_task,
    #[timeout(180)]
    killed_at_each_step_of_looking_after_the_dead,
    #[timeout(180)]
    killed_at_each_step_of_making_a_dead_letter,
    #[timeout(180)]
    killed_at_each_step_of_making_a_dead_letter_by_a_join,
    #[timeout(180)]
    killed_at_each_step_of_taking_a_dead_letter,
    #[timeout(180)]
    killed_at_each_step_of_done,
    #[timeout(180)]
    killed_at_each_step_of_a_done_that_wakes_a_join,
    #[timeout(180)]
    killed_at_each_step_of_giving_back,
    #[timeout(180)]
    killed_at_each_step_of_a_counted_get,
    #[timeout(180)]
    killed_at_each_step_of_reporting_a_counted_get,
    #[timeout(180)]
    killed_at_each_step_of_writing_off_what_is_lost,
    #[timeout(180)]
    killed_at_each_step_of_taking_a_dead_workers_place,
}

const MIB: usize = 1 << 20;

// ---- memory ----

const SMALL_RING: usize = 64 << 20;

/// A ring, where the memory behind it can be asked for.
fn ring(bytes: usize) -> Ring {
    let settings = Settings {
        bytes,
        reserve: 2 * SMALL_RING,
        ..Settings::default()
    };
    Ring::anonymous("depth", &settings).unwrap()
}

fn put(ring: &Ring, number: u64, len: usize) {
    ring.put(&pattern(number, len), Wait::FOREVER).unwrap();
}

fn get(ring: &Ring) -> Option<(u64, usize)> {
    let mut message = Vec::new();
    ring.get_into(&mut message, Wait::NOT).ok()?;
    Some((number_of(&message), message.len()))
}

/// All that is queued; `len` must have said how much it is.
#[track_caller]
fn rest(ring: &Ring) -> Vec<u64> {
    let len = ring.len();
    let rest: Vec<u64> = std::iter::from_fn(|| get(ring)).map(|(n, _)| n).collect();
    assert_eq!(rest.len(), len, "len() before the rest: {rest:?}");
    rest
}

/// The ring works in both directions for other processes, and gives its memory back.
#[track_caller]
fn is_sound(ring: &Ring) {
    assert_eq!(ring.len(), 0);
    let writer = start(|| {
        for n in 0..60 {
            put(ring, n, [8, 3000, 20_000, 200_000][n as usize % 4]);
        }
    });
    let mut message = Vec::new();
    for n in 0..60 {
        ring.get_into(&mut message, Wait::FOREVER).unwrap();
        assert_eq!(number_of(&message), n);
    }
    ends_well(&writer);
    // One more that is large: from then on nothing is left of what the dead one allocated.
    put(ring, 1, 8);
    assert_eq!(get(ring), Some((1, 8)));
    assert!(rest(ring).is_empty());
    let resident = ring.segment().resident_bytes().unwrap();
    assert!(resident < 17 * MIB as u64, "{resident} bytes are left");
}

fn killed_at_each_step_of_a_growth_leaves_memory_that_comes_back() {
    each_exact_step(
        || {
            let ring = ring(usize::MAX);
            put(&ring, 1, 20_000);
            ring
        },
        |ring| put(ring, 2, 40 * MIB),
        |ring, at, steps| {
            steps.must_have(&["grow: begin", "grow: allocated", "grow: window written"]);
            let committed = at >= steps.since("put: committed");
            let expected: &[u64] = if committed { &[1, 2] } else { &[1] };
            assert_eq!(rest(&ring), expected);
            is_sound(&ring);
        },
    );
}

fn killed_at_each_step_of_a_get_that_trims() {
    // From the start of the memory, and from behind: then it is rewound, too.
    for rewound in [false, true] {
        each_exact_step(
            || {
                let ring = ring(usize::MAX);
                if rewound {
                    put(&ring, 0, 9_000);
                    put(&ring, 1, 30 * MIB);
                    assert_eq!(get(&ring), Some((0, 9_000)));
                } else {
                    put(&ring, 1, 30 * MIB);
                }
                ring
            },
            |ring| assert_eq!(get(ring), Some((1, 30 * MIB))),
            |ring, at, steps| {
                steps.must_have(&["trim: begin", "trim: window written", "trim: punched"]);
                let released = at >= steps.since("get: released");
                let expected: &[u64] = if released { &[] } else { &[1] };
                assert_eq!(ring.len(), expected.len());
                assert_eq!(rest(&ring), expected);
                is_sound(&ring);
            },
        );
    }
}

fn killed_at_each_step_of_a_put_larger_than_the_capacity() {
    each_exact_step(
        || {
            let ring = ring(10_000);
            put(&ring, 0, 3_000);
            put(&ring, 1, 3_000);
            assert!(get(&ring).is_some() && get(&ring).is_some());
            ring
        },
        |ring| put(ring, 2, 20 * MIB),
        |ring, at, steps| {
            let committed = at >= steps.since("put: committed");
            if committed {
                let wait = Wait::NOT;
                assert!(ring.put(&pattern(3, 8), wait).is_err(), "it is alone");
            }
            let expected: &[u64] = if committed { &[2] } else { &[] };
            assert_eq!(rest(&ring), expected);
            is_sound(&ring);
        },
    );
}

fn killed_at_each_step_of_a_get_of_a_message_larger_than_the_capacity() {
    each_exact_step(
        || {
            let ring = ring(10_000);
            put(&ring, 1, 20 * MIB);
            ring
        },
        |ring| assert_eq!(get(ring), Some((1, 20 * MIB))),
        |ring, at, steps| {
            // A writer that waits for room gets it, whatever is left to do.
            let writer = start(|| put(&ring, 2, 8));
            let expected: &[u64] = match at >= steps.since("get: released") {
                true => &[2],
                false => &[1, 2],
            };
            for n in expected {
                let mut message = Vec::new();
                ring.get_into(&mut message, Wait::FOREVER).unwrap();
                assert_eq!(number_of(&message), *n);
            }
            ends_well(&writer);
            is_sound(&ring);
        },
    );
}

// ---- batches and loans ----

type Messages = Queue<Vec<u8>, Bytes>;

fn messages(reserve: usize) -> Messages {
    let options = Queue::<Vec<u8>>::options().reserve(reserve);
    options.codec::<Bytes>().build().unwrap()
}

/// The numbers of the messages queued; none may be torn.
#[track_caller]
fn left(queue: &Messages) -> Vec<u64> {
    let len = queue.len();
    let mut got = Vec::new();
    while let Ok(message) = queue.try_get() {
        got.push(number_of(&message));
    }
    assert_eq!(got.len(), len, "len() before the rest: {got:?}");
    got
}

/// Everything still works, by every road.
#[track_caller]
fn carries(queue: &Messages) {
    assert_eq!(queue.try_get(), Err(TryGetError::Empty));
    let writer = start(|| {
        for n in 0..40 {
            queue.put(pattern(2 * n, 5_000)).unwrap();
            let mut loan = queue.put_loan(700).unwrap();
            loan.copy_from_slice(&pattern(2 * n + 1, 700));
            loan.commit();
        }
        queue.put_many((80..100).map(|n| pattern(n, 900))).unwrap();
    });
    for n in 0..30 {
        assert_eq!(number_of(&queue.get_timeout(PATIENCE).unwrap()), 2 * n);
        assert_eq!(number_of(&queue.get_loan().unwrap()), 2 * n + 1);
    }
    let mut rest = Vec::new();
    while rest.len() < 40 {
        rest.extend(queue.get_many_timeout(7, PATIENCE).unwrap());
    }
    let rest: Vec<u64> = rest.iter().map(|message| number_of(message)).collect();
    assert_eq!(rest, (60..100).collect::<Vec<_>>());
    ends_well(&writer);
    assert_eq!((queue.len(), queue.is_empty()), (0, true));
}

fn killed_at_each_step_of_put_many() {
    each_exact_step(
        || {
            let queue = messages(8 * MIB);
            queue.put(pattern(0, 100)).unwrap();
            queue
        },
        |queue| {
            queue.put_many((1..=8).map(|n| pattern(n, 100))).unwrap();
        },
        |queue, at, steps| {
            steps.must_have(&["batch: filled"]);
            // All or none: they fit at once.
            let all = at >= steps.since("put: committed");
            let expected: Vec<u64> = (0..=if all { 8 } else { 0 }).collect();
            assert_eq!(left(&queue), expected);
            carries(&queue);
        },
    );
}

fn killed_at_each_step_of_a_put_many_that_wraps() {
    each_exact_step(
        || {
            // 27,000 of the first 32 KiB are used, 18,000 of them free again.
            let queue = messages(8 * MIB);
            for n in 0..3 {
                queue.put(pattern(n, 9_000)).unwrap();
            }
            assert_eq!(number_of(&queue.get().unwrap()), 0);
            assert_eq!(number_of(&queue.get().unwrap()), 1);
            queue
        },
        |queue| {
            queue.put_many((3..=7).map(|n| pattern(n, 4_000))).unwrap();
        },
        |queue, _, steps| {
            steps.must_have(&["jump: committed"]);
            // The first ones of the batch, as many as it had got to; never one without those
            // before it.
            let got = left(&queue);
            assert!(!got.is_empty() && got.len() <= 6);
            assert_eq!(got, (2..2 + got.len() as u64).collect::<Vec<_>>());
            carries(&queue);
        },
    );
}

fn killed_at_each_step_of_get_many() {
    each_exact_step(
        || {
            let queue = messages(8 * MIB);
            queue.put_many((0..10).map(|n| pattern(n, 100))).unwrap();
            queue
        },
        |queue| assert_eq!(queue.get_many(7).unwrap().len(), 7),
        |queue, at, steps| {
            steps.must_have(&["batch: copied"]);
            let released = at >= steps.since("get: released");
            let first = if released { 7 } else { 0 };
            assert_eq!(left(&queue), (first..10).collect::<Vec<_>>());
            carries(&queue);
        },
    );
}

fn with_two() -> Messages {
    let queue = messages(8 * MIB);
    queue.put(pattern(1, 100)).unwrap();
    queue.put(pattern(2, 100)).unwrap();
    queue
}

fn killed_at_each_step_of_a_put_loan() {
    each_exact_step(
        with_two,
        |queue| {
            let mut loan = queue.put_loan(40_000).unwrap();
            loan.copy_from_slice(&pattern(3, 40_000));
            loan.commit();
        },
        |queue, at, steps| {
            let committed = at >= steps.since("put: committed");
            let expected: &[u64] = if committed { &[1, 2, 3] } else { &[1, 2] };
            assert_eq!(left(&queue), expected);
            carries(&queue);
        },
    );
}

fn killed_at_each_step_of_a_put_loan_that_is_dropped() {
    each_exact_step(
        with_two,
        |queue| {
            let mut loan = queue.put_loan(40_000).unwrap();
            loan.fill(0xff);
            drop(loan);
        },
        |queue, _, _| {
            assert_eq!(left(&queue), [1, 2]);
            carries(&queue);
        },
    );
}

fn killed_at_each_step_of_a_get_loan() {
    each_exact_step(
        with_two,
        |queue| assert_eq!(number_of(&queue.get_loan().unwrap()), 1),
        |queue, at, steps| {
            let released = at >= steps.since("get: released");
            let expected: &[u64] = if released { &[2] } else { &[1, 2] };
            assert_eq!(left(&queue), expected);
            carries(&queue);
        },
    );
}

fn killed_at_each_step_of_a_get_loan_that_is_given_back() {
    each_exact_step(
        with_two,
        |queue| queue.get_loan().unwrap().give_back(),
        |queue, _, _| {
            assert_eq!(left(&queue), [1, 2]);
            carries(&queue);
        },
    );
}

// ---- tasks ----

fn tasks(numbers: impl IntoIterator<Item = u64>) -> JoinableQueue<u64> {
    let queue = Queue::unbounded().unwrap();
    queue.put_many(numbers).unwrap();
    queue.into()
}

/// Takes and reports all that is left: number and attempt of each, in the order of numbers.
#[track_caller]
fn finish(queue: &JoinableQueue<u64>) -> Vec<(u64, u32)> {
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
fn works(queue: &JoinableQueue<u64>) {
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
fn one_dies_with_a_task(queue: &JoinableQueue<u64>) {
    let worker = start(|| {
        std::mem::forget(queue.get_task().unwrap());
        exit_now(9)
    });
    assert_eq!(ends(&worker), Exit::Code(9));
}

fn killed_at_each_step_of_taking_a_task() {
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

fn killed_at_each_step_of_taking_a_large_task_after_another() {
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

fn killed_at_each_step_of_taking_a_dead_one_s_task() {
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

fn killed_at_each_step_of_looking_after_the_dead() {
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
                    loop {
                        std::thread::park();
                    }
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

fn killed_at_each_step_of_making_a_dead_letter() {
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

fn killed_at_each_step_of_making_a_dead_letter_by_a_join() {
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

fn killed_at_each_step_of_taking_a_dead_letter() {
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

fn killed_at_each_step_of_done() {
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

fn killed_at_each_step_of_a_done_that_wakes_a_join() {
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

fn killed_at_each_step_of_giving_back() {
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

fn killed_at_each_step_of_a_counted_get() {
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

fn killed_at_each_step_of_reporting_a_counted_get() {
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

fn killed_at_each_step_of_writing_off_what_is_lost() {
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

fn killed_at_each_step_of_taking_a_dead_workers_place() {
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
