//! Killed while ends are registered, cloned, dropped and handed over.

use crate::queues::{drain, with, works};
use common::*;
use multiproc_core::step;
use multiproc_process::{Exit, Process, StartError};
use multiproc_queue::{
    Consumer, GetTimeoutError, Producer, PutError, PutTimeoutError, Queue, TryGetError,
};
use multiproc_tests::{At, Count, Told, each_step, nothing};
use std::time::Duration;

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

pub(crate) fn killed_at_each_step_of_registering_a_producer() {
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

pub(crate) fn killed_at_each_step_of_registering_a_consumer() {
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

pub(crate) fn killed_at_each_step_of_a_clone() {
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

pub(crate) fn killed_at_each_step_of_adopting_an_end() {
    // Moved into the one who dies, who uses it there for the first time and drops it.
    moved(|tx| {
        tx.put(1).unwrap();
        drop(tx);
    });
}

pub(crate) fn killed_at_each_step_of_dropping_an_end() {
    moved(drop);
}

fn moved(act: fn(Producer<u64>)) {
    let told = Told::new();
    let run = |at: At| {
        let (tx, rx) = one_each();
        // A reader that sleeps: the end of the last producer is to wake it.
        let reader = {
            let rx = rx.clone();
            start(move || rx.iter().count() as i32)
        };
        blocked(&reader);
        let told = &told;
        let child = start(move || {
            at.begin();
            act(tx);
            told.tell();
        });
        (child, reader, rx)
    };
    let (child, reader, rx) = run(At::Count);
    ends_well(&child);
    let steps = told.heard();
    assert!(steps.has("ends: slot free"));
    let everything = ends(&reader).code();
    drop(rx);
    for n in 0..steps.0.len() as u64 {
        println!("killed at step {n}, {:?}", steps.0[n as usize]);
        let (child, reader, rx) = run(At::Die(n));
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

pub(crate) fn killed_at_each_step_of_a_hand_over() {
    let told = Told::new();
    // A parent with two ends, who moves both into a child, and dies.
    let run = |at: At| {
        let (tx, rx) = one_each();
        let told = &told;
        let parent = Process::start(move || {
            let other = tx.clone();
            at.begin();
            // The child goes on counting from the fork: so it is killed, too, at some steps.
            let child = Process::start(move || {
                tx.put(1).unwrap();
                drop(tx);
                other.put(2).unwrap();
            });
            if matches!(at, At::Count) {
                told.tell();
            }
            step::disarm();
            ends(&child.map_err(StartError::from).unwrap()).code() & 0xff
        });
        (parent.map_err(StartError::from).unwrap(), rx)
    };
    let (parent, rx) = run(At::Count);
    ends_well(&parent);
    let steps = told.heard();
    assert!(steps.has("ends: handed over"), "{:?}", steps.0);
    assert_eq!(rx.iter().flatten().collect::<Vec<_>>(), [1, 2]);
    let (mut parents, mut children, mut nobody) = (0, 0, false);
    let mut n = 0;
    while !nobody {
        println!("killed at step {n}");
        let (parent, rx) = run(At::Die(n));
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
