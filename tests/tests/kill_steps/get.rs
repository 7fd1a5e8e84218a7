//! Killed in a get.

use crate::put::{about_to_wrap, carries, numbers};
use crate::queues::{drain, with, works};
use common::*;
use multiproc_core::step;
use multiproc_queue::GetTimeoutError;
use multiproc_tests::{Count, each_step, nothing};
use std::time::Duration;

pub(crate) fn killed_at_each_step_of_get() {
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

pub(crate) fn killed_at_each_step_of_a_get_that_follows_a_jump() {
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

pub(crate) fn killed_at_each_step_of_a_get_that_makes_room_for_a_waiting_writer() {
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

pub(crate) fn killed_at_each_step_of_a_get_that_waits_for_data() {
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

pub(crate) fn killed_at_each_step_of_a_get_that_waits_second_in_line() {
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

pub(crate) fn killed_at_each_step_of_a_get_that_times_out() {
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
