//! Many messages at a time, and messages where they lie.

use crate::memory::MIB;
use common::*;
use multiproc_queue::codec::Bytes;
use multiproc_queue::{Queue, TryGetError};
use multiproc_tests::each_exact_step;

type Messages = Queue<Vec<u8>, Bytes>;

pub(crate) fn messages(reserve: usize) -> Messages {
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
pub(crate) fn carries(queue: &Messages) {
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

pub(crate) fn killed_at_each_step_of_put_many() {
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

pub(crate) fn killed_at_each_step_of_a_put_many_that_wraps() {
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

pub(crate) fn killed_at_each_step_of_get_many() {
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

pub(crate) fn killed_at_each_step_of_a_put_loan() {
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

pub(crate) fn killed_at_each_step_of_a_put_loan_that_is_dropped() {
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

pub(crate) fn killed_at_each_step_of_a_get_loan() {
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

pub(crate) fn killed_at_each_step_of_a_get_loan_that_is_given_back() {
    each_exact_step(
        with_two,
        |queue| queue.get_loan().unwrap().give_back(),
        |queue, _, _| {
            assert_eq!(left(&queue), [1, 2]);
            carries(&queue);
        },
    );
}
