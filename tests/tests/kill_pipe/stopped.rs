//! Stopped, not killed: who could be taken for gone goes on.

use crate::ends_in_messages::post;
use crate::pipes::{LEN, Rx, pipe, to_the_end, works};
use common::*;
use multiproc_core::step;
use multiproc_pipe::{Pipe, RecvError, RecvTimeoutError, SendTimeoutError, TryRecvError, wait};
use multiproc_process::{Process, StartError};
use multiproc_tests::{At, Steps, Told};
use std::time::Duration;

/// Is it stopped (true), or has it come past the step (it ended, or waits for what comes next)?
fn stopped(child: &Process) -> bool {
    let mut stopped = false;
    until("a child to stop or to end", || {
        stopped = state_of(child.pid()) == Some('T');
        stopped || !child.is_alive() || sleeps_on_futex(child.pid())
    });
    stopped
}

/// Lets everybody go on who is stopped or will be, until it is killed.
fn waker() -> Process {
    start(|| {
        loop {
            // SAFETY: a signal to the processes of this test.
            unsafe { libc::kill(0, libc::SIGCONT) };
            std::thread::yield_now();
        }
    })
}

/// However one looks: it has not ended, and nothing came.
#[track_caller]
fn flows(rx: &Rx) {
    assert!(matches!(rx.try_recv(), Err(TryRecvError::Empty)));
    assert!(!rx.poll(Duration::from_millis(1)).unwrap());
    let time = Duration::from_millis(60); // longer than a slice
    assert!(matches!(
        rx.recv_timeout(time),
        Err(RecvTimeoutError::Timeout)
    ));
    assert!(wait([rx], Some(Duration::ZERO)).unwrap().is_empty());
}

/// The same loop for one who stops at a step, while `look` looks, and then goes on; `check` at
/// its end.
fn stop_at_each_step<M, K>(
    prepare: impl Fn() -> (M, K),
    act: impl Fn(M),
    look: impl Fn(&K, u64, &Steps),
    check: impl Fn(K),
) {
    let told = Told::new();
    let run = |at: At| {
        let (moved, kept) = prepare();
        let (act, told) = (&act, &told);
        // Not a daemon: it may start one of its own.
        let child = Process::start(move || {
            at.begin();
            act(moved);
            told.tell();
        });
        (child.map_err(StartError::from).unwrap(), kept)
    };
    let (child, kept) = run(At::Count);
    check(kept);
    ends_well(&child);
    let steps = told.heard();
    for n in 0..steps.0.len() as u64 {
        println!("stopped at step {n}, {:?}", steps.0[n as usize]);
        let (child, kept) = run(At::Stop(n));
        if stopped(&child) {
            look(&kept, n, &steps);
        }
        let waker = waker();
        check(kept);
        ends_well(&child);
        told.forget();
        kill(&waker);
    }
}

pub(crate) fn stopped_at_each_step_of_sending_an_end_it_is_no_end_of_stream() {
    stop_at_each_step(
        || {
            let ((post_rx, post), (rx, tx)) = post();
            let (go_rx, go) = Pipe::<u8>::simplex().unwrap();
            ((post, tx, go_rx), (post_rx, rx, go))
        },
        |(post, tx, go)| {
            post.send(tx).map_err(drop).unwrap();
            step::disarm();
            // The end is the message's now; its sender has to live until it is taken.
            let _ = go.recv();
        },
        |(_, rx, _), _, _| flows(rx),
        |(post_rx, rx, go)| {
            let tx = post_rx.recv().unwrap();
            drop(go);
            works(&rx, &tx);
            drop(tx);
            assert_eq!(to_the_end(&rx), []);
        },
    );
}

pub(crate) fn stopped_at_each_step_of_receiving_an_end_it_is_no_end_of_stream() {
    stop_at_each_step(
        || {
            let ((post_rx, post), (rx, tx)) = post();
            post.send(tx).map_err(drop).unwrap();
            (post_rx, (post, rx))
        },
        |post_rx| {
            let tx = post_rx.recv().unwrap();
            step::disarm();
            tx.send(pattern(1, LEN)).unwrap();
        },
        |(_, rx), _, _| flows(rx),
        |(_post, rx)| assert_eq!(to_the_end(&rx), [1]),
    );
}

pub(crate) fn stopped_at_each_step_of_a_hand_over_it_is_no_end_of_stream() {
    stop_at_each_step(
        || {
            let (rx, tx) = pipe(1 << 20, &[]);
            let (go_rx, go) = Pipe::<u8>::simplex().unwrap();
            ((tx, go_rx), (rx, go))
        },
        |(tx, go)| {
            // Not a daemon's child: a bare fork would hand nothing over.
            let child = Process::start(move || {
                step::disarm();
                let _ = go.recv();
                tx.send(pattern(1, LEN)).unwrap();
            });
            step::disarm();
            ends_well(&child.map_err(StartError::from).unwrap());
        },
        |(rx, _), _, _| flows(rx),
        |(rx, go)| {
            drop(go);
            assert_eq!(to_the_end(&rx), [1]);
        },
    );
}

pub(crate) fn a_sender_killed_while_the_receiver_arrives_is_told_by_both_or_none() {
    // The receiver stops at each step of taking an end; its sender is killed; a reader is told of
    // the end, or is not; then the receiver goes on. Who was told hears nothing any more.
    let told = Told::new();
    let run = |at: At| {
        let ((post_rx, post), (rx, tx)) = post();
        let told = &told;
        let (outcome, went) = (Counter::new(), Counter::new());
        let sender = {
            let went = went.clone();
            start(move || {
                post.send(tx).map_err(drop).unwrap();
                went.count();
                for_ever()
            })
        };
        went.reach(1);
        let receiver = {
            let outcome = outcome.clone();
            start(move || {
                at.begin();
                let tx = post_rx.recv();
                step::disarm();
                if matches!(at, At::Count) {
                    told.tell();
                }
                match tx {
                    Ok(tx) => {
                        outcome.set(1);
                        tx.send(pattern(1, LEN)).unwrap();
                    }
                    Err(RecvError::Decode(_)) => outcome.set(2),
                    Err(other) => panic!("{other}"),
                }
            })
        };
        (sender, receiver, rx, outcome)
    };
    let (sender, receiver, rx, outcome) = run(At::Count);
    ends_well(&receiver);
    let steps = told.heard();
    steps.must_have(&["ends: about to arrive"]);
    assert_eq!((to_the_end(&rx), outcome.get()), (vec![1], 1));
    kill(&sender);
    let (mut arrived, mut refused) = (0, 0);
    for n in 0..steps.0.len() as u64 {
        println!("stopped at step {n}, {:?}", steps.0[n as usize]);
        let (sender, receiver, rx, outcome) = run(At::Stop(n));
        assert!(stopped(&receiver));
        kill(&sender);
        // What is told now is told for ever.
        let told = match rx.try_recv() {
            Err(TryRecvError::Closed) => true,
            Err(TryRecvError::Empty) => false,
            other => panic!("{other:?}"),
        };
        send_signal(&receiver, libc::SIGCONT);
        ends_well(&receiver);
        let got = to_the_end(&rx);
        match outcome.get() {
            1 => {
                assert!(!told, "the end was told, and then there was a sender");
                assert_eq!(got, [1]);
                arrived += 1;
            }
            _ => {
                assert_eq!(got, []);
                refused += 1;
            }
        }
    }
    println!("{arrived} arrived, {refused} were refused");
    assert!(arrived > 0 && refused > 0);
}

pub(crate) fn stopped_at_each_step_of_a_send_the_others_keep_their_timeouts() {
    stop_at_each_step(
        || {
            let (rx, tx) = pipe(1 << 20, &[]);
            (tx.clone(), (rx, tx))
        },
        |tx| {
            tx.send(pattern(1, LEN)).unwrap();
            step::disarm();
        },
        |(rx, tx), n, steps| {
            let time = Duration::from_millis(5);
            let _ = tx.try_send(pattern(2, LEN));
            match tx.send_timeout(pattern(2, LEN), time) {
                Ok(()) | Err(SendTimeoutError::Timeout(_)) => {}
                Err(other) => panic!("{other}"),
            }
            // Whether something can be had, each way of asking says in its time.
            let committed = n >= steps.since("put: committed");
            let there = wait([rx], Some(time)).unwrap() == [0];
            assert!(there || !committed);
            assert!(rx.poll(time).unwrap() || !committed);
            let _ = tx.len_of_debug();
        },
        |(rx, tx)| {
            drop(tx);
            let got = to_the_end(&rx);
            assert!(got.contains(&1), "{got:?}");
        },
    );
}

/// Debug output, too, comes whatever others do.
trait DebugLen {
    fn len_of_debug(&self) -> usize;
}

impl<T: std::fmt::Debug> DebugLen for T {
    fn len_of_debug(&self) -> usize {
        format!("{self:?}").len()
    }
}
