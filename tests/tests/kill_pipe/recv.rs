//! Killed while receiving, polling or waiting for many.

use crate::pipes::{LEN, each_step, pipe, to_the_end, works};
use common::*;
use multiproc_pipe::{SendError, Source, TrySendError, wait};
use multiproc_tests::{Count, nothing};
use std::time::Duration;

pub(crate) fn killed_at_each_step_of_recv() {
    each_step(
        Count::Exact,
        || {
            let (rx, tx) = pipe(1 << 20, &[1, 2]);
            (rx.clone(), (rx, tx))
        },
        |rx| {
            assert_eq!(number_of(&rx.recv().unwrap()), 1);
            std::mem::forget(rx);
        },
        nothing,
        |(rx, tx), n, steps| {
            // Gone with the one who took it, or still there; never torn, never twice.
            if n < steps.since("get: released") {
                assert_eq!(number_of(&rx.recv().unwrap()), 1);
            }
            assert_eq!(number_of(&rx.recv().unwrap()), 2);
            works(&rx, &tx);
            drop(rx);
            until("the pipe to break", || {
                matches!(tx.send(vec![]), Err(SendError::Closed(_)))
            });
        },
    );
    // The only one: sends break.
    each_step(
        Count::Exact,
        || pipe(1 << 20, &[1, 2]),
        |rx| {
            rx.recv().unwrap();
            std::mem::forget(rx);
        },
        nothing,
        |tx, _, _| {
            until("the pipe to break", || {
                matches!(tx.try_send(vec![]), Err(TrySendError::Closed(_)))
            });
        },
    );
}

pub(crate) fn killed_at_each_step_of_a_recv_that_waits() {
    each_step(
        Count::Varies,
        || {
            let (rx, tx) = pipe(1 << 20, &[]);
            (rx.clone(), (rx, tx))
        },
        |rx| {
            assert_eq!(number_of(&rx.recv().unwrap()), 5);
            std::mem::forget(rx);
        },
        |(_, tx), child| {
            blocked_or_gone(child);
            tx.send(pattern(5, LEN)).unwrap();
        },
        |(rx, tx), n, steps| {
            if n < steps.since("get: released") {
                assert_eq!(number_of(&rx.recv_timeout(PATIENCE).unwrap()), 5);
            }
            works(&rx, &tx);
        },
    );
}

pub(crate) fn killed_at_each_step_of_a_recv_that_makes_room() {
    each_step(
        Count::Varies,
        || {
            let (rx, tx) = pipe(2 * LEN, &[1]);
            let writer = start(|| {
                let sent = tx.send(pattern(2, 2 * LEN));
                sent.map_err(|e| e.without_message())
            });
            blocked(&writer);
            (rx.clone(), (rx, tx, writer))
        },
        |rx| {
            assert_eq!(number_of(&rx.recv().unwrap()), 1);
            std::mem::forget(rx);
        },
        nothing,
        |(rx, tx, writer), n, steps| {
            if n < steps.since("get: released") {
                assert_eq!(number_of(&rx.recv().unwrap()), 1);
            }
            ends_well(&writer);
            assert_eq!(number_of(&rx.recv().unwrap()), 2);
            works(&rx, &tx);
        },
    );
}

pub(crate) fn killed_at_each_step_of_a_recv_loan() {
    each_step(
        Count::Exact,
        || {
            let (rx, tx) = pipe(1 << 20, &[1, 2]);
            (rx.clone(), (rx, tx))
        },
        |rx| {
            let loan = rx.recv_loan().unwrap();
            assert_eq!(number_of(&loan), 1);
            loan.give_back();
            let loan = rx.recv_loan().unwrap();
            assert_eq!(number_of(&loan), 1);
            loan.done();
            std::mem::forget(rx);
        },
        nothing,
        |(rx, tx), n, steps| {
            if n < steps.since("get: released") {
                assert_eq!(number_of(&rx.recv().unwrap()), 1);
            }
            assert_eq!(number_of(&rx.recv().unwrap()), 2);
            works(&rx, &tx);
        },
    );
}

pub(crate) fn killed_at_each_step_of_poll() {
    each_step(
        Count::Exact,
        || {
            let (rx, tx) = pipe(1 << 20, &[1]);
            (rx.clone(), (rx, tx))
        },
        |rx| {
            assert!(rx.poll(Duration::ZERO).unwrap());
            std::mem::forget(rx);
        },
        nothing,
        |(rx, tx), _, _| {
            assert_eq!(number_of(&rx.recv().unwrap()), 1);
            works(&rx, &tx);
        },
    );
}

pub(crate) fn killed_at_each_step_of_wait() {
    each_step(
        Count::Varies,
        || {
            let (rx, tx) = pipe(1 << 20, &[]);
            let (other, other_tx) = pipe(1 << 20, &[]);
            ((rx.clone(), other.clone()), (rx, tx, other, other_tx))
        },
        |(rx, other)| {
            let sources = [Source::from(&rx), Source::from(&other)];
            assert_eq!(wait(sources, None).unwrap(), [1]);
            std::mem::forget((rx, other));
        },
        |(_, _, _, other_tx), child| {
            until("the watcher to sleep or to die", || {
                let wchan = format!("/proc/{}/wchan", child.pid());
                let wchan = std::fs::read_to_string(wchan).unwrap_or_default();
                wchan.contains("poll") || !child.is_alive()
            });
            other_tx.send(pattern(1, LEN)).unwrap();
        },
        |(rx, tx, other, other_tx), _, steps| {
            steps.must_have(&["watch: armed for data"]);
            assert_eq!(wait([&rx, &other], Some(PATIENCE)).unwrap(), [1]);
            assert_eq!(number_of(&other.recv().unwrap()), 1);
            works(&rx, &tx);
            works(&other, &other_tx);
            drop((tx, other_tx));
            assert_eq!(to_the_end(&rx), []);
        },
    );
}
