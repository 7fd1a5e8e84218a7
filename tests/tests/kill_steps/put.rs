//! Killed in a put.

use crate::queues::{drain, with, works};
use common::*;
use multiproc_process::Exit;
use multiproc_queue::Queue;
use multiproc_queue::codec::Bytes;
use multiproc_tests::{At, Count, each_step, nothing, steps_of};
use std::time::Duration;

pub(crate) fn killed_at_each_step_of_put() {
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

pub(crate) fn killed_at_each_step_of_a_put_that_wakes_a_sleeping_reader() {
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
pub(crate) fn numbers(queue: &Messages) -> Vec<u64> {
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
pub(crate) fn carries(queue: &Messages, largest: usize) {
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

pub(crate) fn killed_at_each_step_of_a_put_that_grows_the_window() {
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
pub(crate) fn about_to_wrap() -> Messages {
    let queue = messages(8 << 20);
    for n in 1..=3 {
        queue.put(pattern(n, 9_000)).unwrap();
    }
    for n in 1..=2 {
        assert_eq!(number_of(&queue.get().unwrap()), n);
    }
    queue
}

pub(crate) fn killed_at_each_step_of_a_put_that_wraps() {
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

pub(crate) fn killed_at_each_step_of_a_put_that_jumps_above_the_reader() {
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
    let queue = make();
    steps_of(|| queue.put_bytes(message).unwrap()).since(name)
}

pub(crate) fn killed_at_each_step_of_a_put_that_repairs_after_another_death() {
    // The first one dies having committed a jump and a record, and written nothing down of it.
    let first = pattern(4, 9_000);
    for dies_at in ["jump: committed", "put: committed"] {
        let fatal = step_of_put(about_to_wrap, &first, dies_at);
        each_step(
            Count::Exact,
            || {
                let queue = about_to_wrap();
                let child = start(|| {
                    At::Die(fatal).begin();
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

pub(crate) fn killed_at_each_step_of_a_put_that_waits_for_room() {
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

pub(crate) fn killed_at_each_step_of_a_put_that_times_out() {
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
