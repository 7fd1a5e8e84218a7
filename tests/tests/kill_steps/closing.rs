//! Killed at the queue's end.

use crate::queues::{drain, with, works};
use common::*;
use multiproc_process::Exit;
use multiproc_queue::{PutError, TryGetError};
use multiproc_tests::{Count, each_step, nothing};

pub(crate) fn killed_at_each_step_of_close() {
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

pub(crate) fn killed_at_each_step_of_shut_down() {
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
