//! Killed while sending.

use crate::pipes::{LEN, each_step, pipe, to_the_end, works};
use common::*;
use multiproc_pipe::{TryRecvError, wait};
use multiproc_process::Exit;
use multiproc_tests::{Count, nothing};
use std::time::Duration;

pub(crate) fn killed_at_each_step_of_send() {
    each_step(
        Count::Exact,
        || {
            let (rx, tx) = pipe(1 << 20, &[1, 2]);
            (tx, rx)
        },
        |tx| {
            tx.send(pattern(3, LEN)).unwrap();
            std::mem::forget(tx);
        },
        nothing,
        |rx, n, steps| {
            let committed = n >= steps.since("put: committed");
            let expected: &[u64] = if committed { &[1, 2, 3] } else { &[1, 2] };
            assert_eq!(to_the_end(&rx), expected);
        },
    );
}

pub(crate) fn killed_at_each_step_of_a_send_that_wakes_a_reader() {
    each_step(
        Count::Varies,
        || {
            let (rx, tx) = pipe(1 << 20, &[]);
            let reader = start(move || to_the_end(&rx).iter().sum::<u64>() as i32);
            blocked(&reader);
            (tx, reader)
        },
        |tx| {
            tx.send(pattern(3, LEN)).unwrap();
            std::mem::forget(tx);
        },
        nothing,
        |reader, n, steps| {
            let committed = n >= steps.since("put: committed");
            let expected = if committed { 3 } else { 0 };
            assert_eq!(ends(&reader), Exit::Code(expected));
        },
    );
}

pub(crate) fn killed_at_each_step_of_a_send_that_rings_for_watchers() {
    each_step(
        Count::Varies,
        || {
            let (rx, tx) = pipe(1 << 20, &[]);
            let watcher = || {
                start(|| {
                    let mut sum = 0;
                    loop {
                        assert_eq!(wait([&rx], None).unwrap(), [0]);
                        match rx.try_recv() {
                            Ok(message) => sum += number_of(&message) as i32,
                            Err(TryRecvError::Empty) => {}
                            Err(_) => break sum,
                        }
                    }
                })
            };
            let watchers = [watcher(), watcher()];
            watchers.iter().for_each(polls);
            (tx.clone(), (tx, rx, watchers))
        },
        |tx| {
            tx.send(pattern(3, LEN)).unwrap();
            std::mem::forget(tx);
        },
        nothing,
        |(tx, rx, watchers), n, steps| {
            steps.must_have(&["watch: rung"]);
            let committed = n >= steps.since("put: committed");
            // The next message is heard, whatever became of the bell.
            tx.send(pattern(4, LEN)).unwrap();
            until("somebody to take it", || {
                rx.poll(Duration::ZERO).is_ok_and(|there| !there)
            });
            drop(tx);
            let sum: i32 = watchers.iter().map(|child| ends(child).code()).sum();
            assert_eq!(sum, if committed { 7 } else { 4 });
            assert_eq!(to_the_end(&rx), []);
        },
    );
}

pub(crate) fn killed_at_each_step_of_a_send_that_waits_for_room() {
    each_step(
        Count::Varies,
        || {
            let (rx, tx) = pipe(2 * LEN, &[1]);
            (tx.clone(), (rx, tx))
        },
        |tx| {
            tx.send(pattern(2, 2 * LEN)).unwrap();
            std::mem::forget(tx);
        },
        |(rx, _), child| {
            if blocked_or_gone(child) {
                assert_eq!(number_of(&rx.recv().unwrap()), 1);
            }
        },
        |(rx, tx), n, steps| {
            steps.must_have(&["ring: asked for the bell"]);
            let mut got = Vec::new();
            while let Ok(message) = rx.try_recv() {
                got.push(number_of(&message));
            }
            tx.send_timeout(pattern(9, LEN), PATIENCE).unwrap();
            drop(tx);
            assert_eq!(to_the_end(&rx), [9]);
            got.retain(|n| *n != 1); // had by `meanwhile`, or here
            let committed = n >= steps.since("put: committed");
            assert_eq!(got, if committed { &[2][..] } else { &[] });
        },
    );
}

pub(crate) fn killed_at_each_step_of_a_send_larger_than_the_pipe() {
    each_step(
        Count::Exact,
        || {
            let (rx, tx) = pipe(4 * LEN, &[]);
            (tx, rx)
        },
        |tx| {
            tx.send(pattern(2, 3 << 20)).unwrap();
            std::mem::forget(tx);
        },
        nothing,
        |rx, n, steps| {
            steps.must_have(&["grow: allocated"]);
            let committed = n >= steps.since("put: committed");
            assert_eq!(to_the_end(&rx), if committed { &[2][..] } else { &[] });
        },
    );
}

pub(crate) fn killed_at_each_step_of_send_beside_another_sender() {
    each_step(
        Count::Exact,
        || {
            let (rx, tx) = pipe(1 << 20, &[1]);
            (tx.clone(), (rx, tx))
        },
        |tx| {
            tx.send(pattern(2, LEN)).unwrap();
            std::mem::forget(tx);
        },
        nothing,
        |(rx, tx), n, steps| {
            assert_eq!(number_of(&rx.recv().unwrap()), 1);
            if n >= steps.since("put: committed") {
                assert_eq!(number_of(&rx.recv().unwrap()), 2);
            }
            // The other one lives: no end of the stream.
            assert!(matches!(rx.try_recv(), Err(TryRecvError::Empty)));
            works(&rx, &tx);
            drop(tx);
            assert_eq!(to_the_end(&rx), []);
        },
    );
}

pub(crate) fn killed_at_each_step_of_a_send_loan() {
    each_step(
        Count::Exact,
        || {
            let (rx, tx) = pipe(1 << 20, &[1]);
            (tx.clone(), (rx, tx))
        },
        |tx| {
            // One that is thought better of, and one that is sent.
            tx.send_loan(LEN).unwrap().fill(0xee);
            let mut loan = tx.send_loan(LEN).unwrap();
            loan.copy_from_slice(&pattern(2, LEN));
            loan.commit();
            std::mem::forget(tx);
        },
        nothing,
        |(rx, tx), n, steps| {
            assert_eq!(number_of(&rx.recv().unwrap()), 1);
            if n >= steps.since("put: committed") {
                assert_eq!(number_of(&rx.recv().unwrap()), 2);
            }
            works(&rx, &tx);
        },
    );
}
