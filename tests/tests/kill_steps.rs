//! Killed at every step: each operation of a queue is run once to count its named steps, and
//! then once per step by a process that dies by SIGKILL exactly there. The survivors must find
//! everything in order: nobody hangs, what was committed is there once, what was not is not.

#[path = "../../crates/queue/tests/common/mod.rs"]
mod common;

use common::*;
use multiproc_core::step;
use multiproc_process::{Exit, Process, StartError, test};
use multiproc_queue::codec::Bytes;
use multiproc_queue::{
    Consumer, GetTimeoutError, JoinableQueue, Producer, PutError, PutTimeoutError, Queue,
    TryGetError,
};
use std::time::Duration;

test::main! {
    #[timeout(180)]
    killed_at_each_step_of_put,
    #[timeout(180)]
    killed_at_each_step_of_a_put_that_wakes_a_sleeping_reader,
    #[timeout(180)]
    killed_at_each_step_of_a_put_that_grows_the_window,
    #[timeout(180)]
    killed_at_each_step_of_a_put_that_wraps,
    #[timeout(180)]
    killed_at_each_step_of_a_put_that_jumps_above_the_reader,
    #[timeout(180)]
    killed_at_each_step_of_a_put_that_repairs_after_another_death,
    #[timeout(180)]
    killed_at_each_step_of_a_put_that_waits_for_room,
    #[timeout(180)]
    killed_at_each_step_of_a_put_that_times_out,
    #[timeout(180)]
    killed_at_each_step_of_get,
    #[timeout(180)]
    killed_at_each_step_of_a_get_that_follows_a_jump,
    #[timeout(180)]
    killed_at_each_step_of_a_get_that_makes_room_for_a_waiting_writer,
    #[timeout(180)]
    killed_at_each_step_of_a_get_that_waits_for_data,
    #[timeout(180)]
    killed_at_each_step_of_a_get_that_waits_second_in_line,
    #[timeout(180)]
    killed_at_each_step_of_a_get_that_times_out,
    #[timeout(180)]
    killed_at_each_step_of_task_done,
    #[timeout(180)]
    killed_at_each_step_of_a_task_done_that_wakes_a_join,
    #[timeout(180)]
    killed_at_each_step_of_a_join_that_is_woken,
    #[timeout(180)]
    killed_at_each_step_of_len_after_a_death,
    #[timeout(180)]
    killed_at_each_step_of_close,
    #[timeout(180)]
    killed_at_each_step_of_shut_down,
    #[timeout(180)]
    killed_at_each_step_of_registering_a_producer,
    #[timeout(180)]
    killed_at_each_step_of_registering_a_consumer,
    #[timeout(180)]
    killed_at_each_step_of_a_clone,
    #[timeout(180)]
    killed_at_each_step_of_adopting_an_end,
    #[timeout(180)]
    killed_at_each_step_of_dropping_an_end,
    #[timeout(180)]
    killed_at_each_step_of_a_hand_over,
}

/// The steps that one operation passes: their names, in order.
struct Steps(Vec<String>);

impl Steps {
    /// The first step at which the one named was passed: it and all later ones come after
    /// what it stands for.
    #[track_caller]
    fn since(&self, name: &str) -> u64 {
        let at = self.0.iter().rposition(|step| step == name);
        at.unwrap_or_else(|| panic!("no step {name:?} in {:?}", self.0)) as u64
    }

    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|step| step == name)
    }
}

/// A process that is to die: its number of the fatal step; `None` counts.
type Fatal = Option<u64>;

/// Starts a process that runs `act` with the steps counted or one of them fatal. `act` gets the
/// steps going by itself ([`begin`]) when it has prepared what it needs.
fn begin(fatal: Fatal) {
    match fatal {
        None => step::count_on(),
        Some(n) => step::arm(n),
    }
}

/// What a counting process found, told through a queue.
struct Told(Queue<Vec<String>>);

impl Told {
    fn tell(&self) {
        step::disarm();
        let names = step::names().into_iter().map(str::to_owned).collect();
        self.0.put(names).unwrap();
    }
}

/// How the fatal step is met: by every run that passes so many steps, or (where the number of
/// steps depends on how long others take) by most.
#[derive(Clone, Copy, PartialEq)]
enum Count {
    Exact,
    Varies,
}

/// The loop of every test here. `prepare` makes a fresh world; `act` runs in the process that
/// dies; `meanwhile` in the parent, to get a blocking `act` going; `check` looks at the world
/// after a death at the step of that number.
fn each_step<W>(
    count: Count,
    prepare: impl Fn() -> W,
    act: impl Fn(&W),
    meanwhile: impl Fn(&W, &Process),
    check: impl Fn(W, u64, &Steps),
) {
    let run = |world: &W, fatal: Fatal, told: &Told| {
        start(|| {
            begin(fatal);
            act(world);
            told.tell();
        })
    };
    let told = Told(Queue::unbounded().unwrap());
    let world = prepare();
    let child = run(&world, None, &told);
    meanwhile(&world, &child);
    ends_well(&child);
    let steps = Steps(told.0.get().unwrap());
    drop(world);
    println!("{} steps: {:?}", steps.0.len(), steps.0);
    assert!(!steps.0.is_empty());
    let mut missed = Vec::new();
    for n in 0..steps.0.len() as u64 {
        // On failure, this is the last line of the test's output.
        println!("killed at step {n}, {:?}", steps.0[n as usize]);
        let tries = if count == Count::Exact { 1 } else { 20 };
        let hit = (0..tries).any(|_| {
            let world = prepare();
            let child = run(&world, Some(n), &told);
            meanwhile(&world, &child);
            let exit = ends(&child);
            if exit == Exit::Signal(9) {
                check(world, n, &steps);
                return true;
            }
            assert_eq!(exit, Exit::Code(0));
            false
        });
        if !hit {
            missed.push(n);
        }
    }
    match count {
        Count::Exact => assert!(missed.is_empty(), "not killed at {missed:?}"),
        Count::Varies => assert!(
            missed.len() * 4 <= steps.0.len(),
            "not killed at {missed:?} of {:?}",
            steps.0
        ),
    }
}

fn nothing<W>(_: &W, _: &Process) {}

/// Everything queued, and then a sign that both sides work.
#[track_caller]
fn drain(queue: &Queue<u64>) -> Vec<u64> {
    let expected = queue.len();
    let mut got = Vec::new();
    loop {
        match queue.try_get() {
            Ok(n) => got.push(n),
            Err(TryGetError::Empty) => break,
            Err(error) => panic!("after {got:?}: {error}"),
        }
    }
    assert_eq!(
        got.len(),
        expected,
        "len() before the drain, which gave {got:?}"
    );
    got
}

/// Other processes can use the queue as if nothing had happened.
#[track_caller]
fn works(queue: &Queue<u64>) {
    assert_eq!(queue.len(), 0);
    let reader = start(|| {
        assert_eq!(queue.get().unwrap(), 1_000);
        assert_eq!(queue.get().unwrap(), 1_001);
    });
    let writer = start(|| queue.put(1_000));
    ends_well(&writer);
    queue.put_timeout(1_001, PATIENCE).unwrap();
    ends_well(&reader);
    for n in 0..3 * queue.capacity().min(10) as u64 {
        queue.put_timeout(n, PATIENCE).unwrap();
        assert_eq!(queue.get_timeout(PATIENCE).unwrap(), n);
    }
    assert_eq!((queue.len(), queue.try_get()), (0, Err(TryGetError::Empty)));
}

fn with(numbers: &[u64], capacity: usize) -> Queue<u64> {
    let queue = Queue::bounded(capacity).unwrap();
    numbers.iter().for_each(|&n| queue.put(n).unwrap());
    queue
}

/// Starts a helper: a daemon, so that a test that fails does not wait for it.
fn start<R: multiproc_process::ExitValue>(f: impl FnOnce() -> R) -> Process {
    let helper = Process::builder().daemon(true).start(f);
    helper.map_err(StartError::from).unwrap()
}

// ---- put ----

fn killed_at_each_step_of_put() {
    each_step(
        Count::Exact,
        || with(&[1, 2], 8),
        |queue| queue.put(3).unwrap(),
        nothing,
        |queue, n, steps| {
            let committed = n >= steps.since("put: committed");
            let expected: &[u64] = if committed { &[1, 2, 3] } else { &[1, 2] };
            assert_eq!(drain(&queue), expected);
            works(&queue);
        },
    );
}

fn killed_at_each_step_of_a_put_that_wakes_a_sleeping_reader() {
    each_step(
        Count::Varies,
        || {
            let queue = with(&[], 8);
            let got = with(&[], 8);
            let reader = start(|| got.put(queue.get().unwrap()));
            blocked(&reader);
            (queue, got, reader)
        },
        |(queue, ..)| queue.put(3).unwrap(),
        nothing,
        |(queue, got, reader), n, steps| {
            assert!(steps.has("lock: free, the bell not rung"), "{:?}", steps.0);
            if n >= steps.since("put: committed") {
                assert_eq!(got.get_timeout(PATIENCE), Ok(3));
            } else {
                queue.put(4).unwrap();
                assert_eq!(got.get_timeout(PATIENCE), Ok(4));
            }
            ends_well(&reader);
            works(&queue);
        },
    );
}

type Messages = Queue<Vec<u8>, Bytes>;

fn messages(reserve: usize) -> Messages {
    Queue::<Vec<u8>>::options()
        .reserve(reserve)
        .codec::<Bytes>()
        .build()
        .unwrap()
}

/// The numbers of the messages queued; none may be torn.
#[track_caller]
fn numbers(queue: &Messages) -> Vec<u64> {
    let expected = queue.len();
    let mut got = Vec::new();
    while let Ok(message) = queue.try_get() {
        got.push(number_of(&message));
    }
    assert_eq!(
        got.len(),
        expected,
        "len() before the drain, which gave {got:?}"
    );
    got
}

/// Messages of all sizes still go through, several times round.
#[track_caller]
fn carries(queue: &Messages, largest: usize) {
    for n in 0..40 {
        let len = [8, 100, largest / 2, largest][n as usize % 4];
        queue.put_timeout(pattern(n, len), PATIENCE).unwrap();
        if n % 3 != 0 {
            queue.put_timeout(pattern(n, 16), PATIENCE).unwrap();
            assert_eq!(number_of(&queue.get_timeout(PATIENCE).unwrap()), n);
        }
        assert_eq!(number_of(&queue.get_timeout(PATIENCE).unwrap()), n);
        assert_eq!(queue.len(), 0);
    }
}

fn killed_at_each_step_of_a_put_that_grows_the_window() {
    each_step(
        Count::Exact,
        || {
            let queue = messages(8 << 20);
            queue.put(pattern(1, 20_000)).unwrap();
            queue
        },
        |queue| queue.put(pattern(2, 200_000)).unwrap(),
        nothing,
        |queue, n, steps| {
            assert!(steps.has("grow: allocated"), "{:?}", steps.0);
            let committed = n >= steps.since("put: committed");
            let expected: &[u64] = if committed { &[1, 2] } else { &[1] };
            assert_eq!(numbers(&queue), expected);
            carries(&queue, 300_000);
        },
    );
}

/// Three records of 9,000 bytes in a window of 32 KiB, the first two read: the next wraps.
fn about_to_wrap() -> Messages {
    let queue = messages(8 << 20);
    for n in 1..=3 {
        queue.put(pattern(n, 9_000)).unwrap();
    }
    for n in 1..=2 {
        assert_eq!(number_of(&queue.get().unwrap()), n);
    }
    queue
}

fn killed_at_each_step_of_a_put_that_wraps() {
    each_step(
        Count::Exact,
        about_to_wrap,
        |queue| queue.put(pattern(4, 9_000)).unwrap(),
        nothing,
        |queue, n, steps| {
            assert!(steps.has("jump: committed") && !steps.has("grow: allocated"));
            let committed = n >= steps.since("put: committed");
            // Before the reader moves on, the next writer has to cope with what it finds.
            queue.put(pattern(5, 5_000)).unwrap();
            let expected: &[u64] = if committed { &[3, 4, 5] } else { &[3, 5] };
            assert_eq!(numbers(&queue), expected);
            carries(&queue, 9_000);
        },
    );
}

fn killed_at_each_step_of_a_put_that_jumps_above_the_reader() {
    each_step(
        Count::Exact,
        || {
            let queue = about_to_wrap();
            queue.put(pattern(4, 9_000)).unwrap();
            queue
        },
        // The reader stands just above.
        |queue| queue.put(pattern(5, 12_000)).unwrap(),
        nothing,
        |queue, n, steps| {
            assert!(steps.has("jump: committed") && steps.has("grow: allocated"));
            let committed = n >= steps.since("put: committed");
            queue.put(pattern(6, 100)).unwrap();
            let expected: &[u64] = if committed { &[3, 4, 5, 6] } else { &[3, 4, 6] };
            assert_eq!(numbers(&queue), expected);
            carries(&queue, 12_000);
        },
    );
}

/// The number of the step of that name, of a put of `message` by a process that counts.
fn step_of_put(make: impl Fn() -> Messages, message: &[u8], name: &str) -> u64 {
    let told = Told(Queue::unbounded().unwrap());
    let queue = make();
    let child = start(|| {
        begin(None);
        queue.put_bytes(message).unwrap();
        told.tell();
    });
    ends_well(&child);
    Steps(told.0.get().unwrap()).since(name)
}

fn killed_at_each_step_of_a_put_that_repairs_after_another_death() {
    // The first one dies having committed a jump and a record, and written nothing down of it.
    let first = pattern(4, 9_000);
    for dies_at in ["jump: committed", "put: committed"] {
        let fatal = step_of_put(about_to_wrap, &first, dies_at);
        each_step(
            Count::Exact,
            || {
                let queue = about_to_wrap();
                let child = start(|| {
                    begin(Some(fatal));
                    queue.put_bytes(&first)
                });
                assert_eq!(ends(&child), Exit::Signal(9));
                queue
            },
            |queue| queue.put(pattern(5, 100)).unwrap(),
            nothing,
            |queue, n, steps| {
                assert!(steps.has("repair: about to advance"), "{:?}", steps.0);
                let mut expected = vec![3];
                expected.extend((dies_at == "put: committed").then_some(4));
                expected.extend((n >= steps.since("put: committed")).then_some(5));
                assert_eq!(numbers(&queue), expected);
                carries(&queue, 9_000);
            },
        );
    }
}

fn killed_at_each_step_of_a_put_that_waits_for_room() {
    each_step(
        Count::Varies,
        || with(&[1], 1),
        |queue| queue.put(2).unwrap(),
        |queue, child| {
            blocked_or_gone(child);
            assert_eq!(queue.get_timeout(PATIENCE), Ok(1));
        },
        |queue, _, _| {
            // Whole or absent; which of the two depends on how often it was woken.
            let rest = drain(&queue);
            assert!(rest.is_empty() || rest == [2], "{rest:?}");
            works(&queue);
        },
    );
}

fn killed_at_each_step_of_a_put_that_times_out() {
    each_step(
        Count::Varies,
        || with(&[1], 1),
        |queue| assert!(queue.put_timeout(2, Duration::from_millis(5)).is_err()),
        nothing,
        |queue, _, _| {
            assert_eq!(drain(&queue), [1]);
            works(&queue);
        },
    );
}

// ---- get ----

fn killed_at_each_step_of_get() {
    each_step(
        Count::Exact,
        || with(&[1, 2, 3], 8),
        |queue| assert_eq!(queue.get(), Ok(1)),
        nothing,
        |queue, n, steps| {
            let released = n >= steps.since("get: released");
            let expected: &[u64] = if released { &[2, 3] } else { &[1, 2, 3] };
            assert_eq!(drain(&queue), expected);
            works(&queue);
        },
    );
}

fn killed_at_each_step_of_a_get_that_follows_a_jump() {
    each_step(
        Count::Exact,
        || {
            let queue = about_to_wrap();
            queue.put(pattern(4, 9_000)).unwrap();
            assert_eq!(number_of(&queue.get().unwrap()), 3);
            queue
        },
        |queue| assert_eq!(number_of(&queue.get().unwrap()), 4),
        nothing,
        |queue, n, steps| {
            assert!(steps.has("get: about to follow a jump"), "{:?}", steps.0);
            let released = n >= steps.since("get: released");
            let expected: &[u64] = if released { &[] } else { &[4] };
            assert_eq!(numbers(&queue), expected);
            carries(&queue, 9_000);
        },
    );
}

fn killed_at_each_step_of_a_get_that_makes_room_for_a_waiting_writer() {
    each_step(
        Count::Varies,
        || {
            let queue = with(&[1, 2], 2);
            let writer = start(|| queue.put(3).unwrap());
            blocked(&writer);
            (queue, writer)
        },
        |(queue, _)| assert_eq!(queue.get(), Ok(1)),
        nothing,
        |(queue, writer), n, steps| {
            assert!(steps.has("lock: free, the bell not rung"), "{:?}", steps.0);
            if n < steps.since("get: released") {
                assert_eq!(queue.get_timeout(PATIENCE), Ok(1));
            }
            ends_well(&writer);
            assert_eq!(drain(&queue), [2, 3]);
            works(&queue);
        },
    );
}

fn killed_at_each_step_of_a_get_that_waits_for_data() {
    each_step(
        Count::Varies,
        || (with(&[], 8), Counter::new()),
        |(queue, got)| got.set(queue.get().unwrap()),
        |(queue, _), child| {
            blocked_or_gone(child);
            queue.put(7).unwrap();
        },
        |(queue, got), _, _| {
            let rest = drain(&queue);
            assert!(rest.is_empty() || rest == [7], "{rest:?}");
            assert!(got.get() == 0 || rest.is_empty(), "had twice");
            works(&queue);
        },
    );
}

fn killed_at_each_step_of_a_get_that_waits_second_in_line() {
    each_step(
        Count::Varies,
        || {
            let (queue, got) = (with(&[], 8), with(&[], 8));
            let first = start(|| got.put(queue.get().unwrap()));
            blocked(&first);
            (queue, got, first)
        },
        |(queue, got, _)| {
            let second = queue.get().unwrap();
            step::disarm();
            got.put(second).unwrap();
        },
        |(queue, ..), child| {
            blocked_or_gone(child);
            queue.put(7).unwrap();
            queue.put(8).unwrap();
        },
        |(queue, got, first), _, _| {
            // The first in line gets one of the two, whatever became of the second. It may be
            // the later one: the second can have overtaken it, and died with the other.
            let one = got.get_timeout(PATIENCE).unwrap();
            ends_well(&first);
            let rest = drain(&queue);
            match one {
                7 => assert!(rest.is_empty() || rest == [8], "{rest:?}"),
                8 => assert!(rest.is_empty(), "{rest:?}"),
                _ => panic!("{one}"),
            }
            works(&queue);
        },
    );
}

fn killed_at_each_step_of_a_get_that_times_out() {
    each_step(
        Count::Varies,
        || with(&[], 2),
        |queue| {
            let timeout = Duration::from_millis(5);
            assert_eq!(queue.get_timeout(timeout), Err(GetTimeoutError::Timeout));
        },
        nothing,
        |queue, _, _| {
            assert_eq!(drain(&queue), []);
            works(&queue);
        },
    );
}

// ---- tasks ----

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

fn killed_at_each_step_of_task_done() {
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

fn killed_at_each_step_of_a_task_done_that_wakes_a_join() {
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

fn killed_at_each_step_of_a_join_that_is_woken() {
    // A join passes no named step of its own unless it finds a dead writer: then it repairs.
    let count = {
        let told = Told(Queue::unbounded().unwrap());
        let queue = with(&[1], 8);
        let child = start(|| {
            begin(None);
            queue.put(2).unwrap();
            told.tell();
        });
        ends_well(&child);
        Steps(told.0.get().unwrap()).since("put: committed")
    };
    each_step(
        Count::Varies,
        || {
            let queue = JoinableQueue::from(with(&[1], 8));
            queue.task_done().unwrap();
            let dies = start(|| {
                begin(Some(count));
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

fn killed_at_each_step_of_len_after_a_death() {
    let count = {
        let told = Told(Queue::unbounded().unwrap());
        let queue = with(&[1], 8);
        let child = start(|| {
            begin(None);
            queue.put(2).unwrap();
            told.tell();
        });
        ends_well(&child);
        Steps(told.0.get().unwrap()).since("put: committed")
    };
    each_step(
        Count::Exact,
        || {
            let queue = with(&[1], 8);
            let dies = start(|| {
                begin(Some(count));
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

// ---- the queue's end ----

fn killed_at_each_step_of_close() {
    // Closing is a store in the process's own memory; with a put before and after, so that
    // there are steps at all.
    each_step(
        Count::Exact,
        || with(&[1], 8),
        |queue| {
            queue.put(2).unwrap();
            queue.close();
            assert!(queue.put(3).is_err());
            assert!(queue.get().is_err());
        },
        nothing,
        |queue, n, steps| {
            let committed = n >= steps.since("put: committed");
            let expected: &[u64] = if committed { &[1, 2] } else { &[1] };
            assert_eq!(drain(&queue), expected);
            works(&queue);
        },
    );
}

fn killed_at_each_step_of_shut_down() {
    each_step(
        Count::Exact,
        || {
            let (empty, full) = (with(&[], 1), with(&[1], 1));
            let reader = start(|| empty.get().is_err() as i32);
            let writer = start(|| full.put(2).is_err() as i32);
            blocked(&reader);
            blocked(&writer);
            (empty, full, reader, writer)
        },
        |(empty, full, ..)| {
            empty.shut_down();
            full.shut_down();
        },
        nothing,
        |(empty, full, reader, writer), n, steps| {
            let first = steps
                .0
                .iter()
                .position(|step| step == "shut down: said")
                .unwrap() as u64;
            let last = steps.since("shut down: said");
            assert!(first < last);
            if n < first {
                empty.shut_down();
            }
            if n < last {
                assert!(writer.is_alive());
                full.shut_down();
            }
            assert_eq!(ends(&reader), Exit::Code(1));
            assert_eq!(ends(&writer), Exit::Code(1));
            assert!(matches!(empty.put(1), Err(PutError::Closed(1))));
            assert!(matches!(full.put(2), Err(PutError::Closed(2))));
            assert_eq!(full.get(), Ok(1));
            assert_eq!(full.try_get(), Err(TryGetError::Closed));
        },
    );
}

// ---- registration ----

/// Ends can be registered, and the last one's end is seen.
#[track_caller]
fn registers(queue: Queue<u64>) {
    works(&queue);
    let (tx, rx) = (queue.producer().unwrap(), queue.consumer().unwrap());
    let child = start(move || tx.put(5));
    assert_eq!(rx.get_timeout(PATIENCE), Ok(5));
    assert_eq!(rx.get_timeout(PATIENCE), Err(GetTimeoutError::Closed));
    ends_well(&child);
    // All 512 places are still there.
    let all: Result<Vec<_>, _> = (0..512).map(|_| queue.producer()).collect();
    assert!(all.is_ok());
}

fn killed_at_each_step_of_registering_a_producer() {
    each_step(
        Count::Exact,
        || with(&[], 8),
        |queue| std::mem::forget(queue.producer().unwrap()),
        nothing,
        |queue, _, steps| {
            assert!(steps.has("ends: slot owned"), "{:?}", steps.0);
            registers(queue);
        },
    );
}

fn killed_at_each_step_of_registering_a_consumer() {
    each_step(
        Count::Exact,
        || with(&[], 1),
        |queue| std::mem::forget(queue.consumer().unwrap()),
        nothing,
        |queue, n, steps| {
            let tx = queue.producer().unwrap();
            // A consumer that was there and has died is the last one gone, also where there
            // is room; one that was not quite there yet is nobody's end.
            match tx.put(1) {
                Err(PutError::Closed(1)) => {
                    assert!(n >= steps.since("ends: slot owned"));
                    assert_eq!(drain(&queue), []);
                }
                Ok(()) => {
                    assert!(n < steps.since("lock: unlinked"));
                    let late = tx.put_timeout(2, Duration::from_millis(1));
                    assert!(matches!(late, Err(PutTimeoutError::Timeout(2))), "{late:?}");
                    assert_eq!(drain(&queue), [1]);
                }
                other => panic!("{other:?}"),
            }
            drop(tx);
            registers(queue);
        },
    );
}

/// Ends in the hands of the one who dies: what it would leave behind.
fn one_each() -> (Producer<u64>, Consumer<u64>) {
    Queue::bounded(8).unwrap().split()
}

fn killed_at_each_step_of_a_clone() {
    each_step(
        Count::Exact,
        one_each,
        |(tx, _)| {
            tx.put(1).unwrap();
            std::mem::forget(tx.clone());
        },
        nothing,
        |(tx, rx), n, steps| {
            let put = n >= steps.since("put: committed");
            assert_eq!(rx.try_get().is_ok(), put);
            assert_eq!(
                rx.try_get(),
                Err(TryGetError::Empty),
                "the parent's end is open"
            );
            tx.put(2).unwrap();
            assert_eq!(rx.get(), Ok(2));
            drop(tx);
            // The dead one's two are closed as well.
            assert_eq!(rx.get_timeout(PATIENCE), Err(GetTimeoutError::Closed));
            registers(rx.queue().clone());
        },
    );
}

fn killed_at_each_step_of_adopting_an_end() {
    // Moved into the one who dies, who uses it there for the first time and drops it.
    moved(|tx| {
        tx.put(1).unwrap();
        drop(tx);
    });
}

fn killed_at_each_step_of_dropping_an_end() {
    moved(drop);
}

fn moved(act: fn(Producer<u64>)) {
    let told = Told(Queue::unbounded().unwrap());
    let run = |fatal: Fatal| {
        let (tx, rx) = one_each();
        // A reader that sleeps: the end of the last producer is to wake it.
        let reader = {
            let rx = rx.clone();
            start(move || rx.iter().count() as i32)
        };
        blocked(&reader);
        let told = &told;
        let child = start(move || {
            begin(fatal);
            act(tx);
            told.tell();
        });
        (child, reader, rx)
    };
    let (child, reader, rx) = run(None);
    ends_well(&child);
    let steps = Steps(told.0.get().unwrap());
    println!("{} steps: {:?}", steps.0.len(), steps.0);
    assert!(steps.has("ends: slot free"));
    let everything = ends(&reader).code();
    drop(rx);
    for n in 0..steps.0.len() as u64 {
        println!("killed at step {n}, {:?}", steps.0[n as usize]);
        let (child, reader, rx) = run(Some(n));
        assert_eq!(ends(&child), Exit::Signal(9));
        let got = ends(&reader).code();
        match steps.has("put: committed") && n < steps.since("put: committed") {
            true => assert_eq!(got, 0),
            false => assert_eq!(got, everything),
        }
        assert_eq!(rx.get_timeout(PATIENCE), Err(GetTimeoutError::Closed));
        registers(rx.queue().clone());
    }
}

fn killed_at_each_step_of_a_hand_over() {
    let told = Told(Queue::unbounded().unwrap());
    // A parent with two ends, who moves both into a child, and dies.
    let run = |fatal: Fatal| {
        let (tx, rx) = one_each();
        let told = &told;
        let parent = Process::start(move || {
            let other = tx.clone();
            begin(fatal);
            // The child goes on counting from the fork: so it is killed, too, at some steps.
            let child = Process::start(move || {
                tx.put(1).unwrap();
                drop(tx);
                other.put(2).unwrap();
            });
            if fatal.is_none() {
                told.tell();
            }
            step::disarm();
            ends(&child.map_err(StartError::from).unwrap()).code() & 0xff
        });
        (parent.map_err(StartError::from).unwrap(), rx)
    };
    let (parent, rx) = run(None);
    ends_well(&parent);
    let steps = Steps(told.0.get().unwrap());
    println!("{} steps: {:?}", steps.0.len(), steps.0);
    assert!(steps.has("ends: handed over"), "{:?}", steps.0);
    assert_eq!(rx.iter().flatten().collect::<Vec<_>>(), [1, 2]);
    let (mut parents, mut children, mut nobody) = (0, 0, false);
    let mut n = 0;
    while !nobody {
        println!("killed at step {n}");
        let (parent, rx) = run(Some(n));
        let mut got = Vec::new();
        loop {
            match rx.get_timeout(PATIENCE) {
                Ok(number) => got.push(number),
                Err(GetTimeoutError::Closed) => break,
                Err(error) => panic!("killed at step {n}: {error} after {got:?}"),
            }
        }
        assert!([&[][..], &[1], &[1, 2]].contains(&&got[..]), "{got:?}");
        match ends(&parent).code() {
            -9 => parents += 1,
            // 256 - 9, of the child.
            247 => children += 1,
            0 => {
                assert_eq!(got, [1, 2]);
                nobody = n >= steps.0.len() as u64;
            }
            other => panic!("{other}"),
        }
        registers(rx.queue().clone());
        n += 1;
    }
    println!("{parents} parents and {children} children killed");
    assert!(parents >= steps.0.len() as i32 && children > 0);
}
