//! Killed at every step: each operation of a pipe is run once to count its named steps, and then
//! once per step by a process that dies by SIGKILL exactly there. Nobody hangs, no message is
//! torn, the end of the stream is told when the last end is gone and never before, and nothing
//! stays open. Where one who is only *stopped* at a step could be taken for gone, it is stopped at
//! each of them, too, and goes on afterwards.

use common::*;
use multiproc_core::step;
use multiproc_parcel::Descriptor;
use multiproc_pipe::codec::Bytes;
use multiproc_pipe::{
    Pipe, Receiver, RecvError, RecvTimeoutError, SendError, SendTimeoutError, Sender, Source,
    TryRecvError, TrySendError, wait,
};
use multiproc_process::{Exit, Process, StartError, test};
use multiproc_tests::{At, Count, Steps, Told, killed_at_each_step, nothing};
use std::cell::OnceCell;
use std::io::{PipeReader, PipeWriter, Read, Write};
use std::time::Duration;

test::main! {
    #[timeout(180)]
    killed_at_each_step_of_send,
    #[timeout(180)]
    killed_at_each_step_of_a_send_that_wakes_a_reader,
    #[timeout(180)]
    killed_at_each_step_of_a_send_that_rings_for_watchers,
    #[timeout(180)]
    killed_at_each_step_of_a_send_that_waits_for_room,
    #[timeout(180)]
    killed_at_each_step_of_a_send_larger_than_the_pipe,
    #[timeout(180)]
    killed_at_each_step_of_send_beside_another_sender,
    #[timeout(180)]
    killed_at_each_step_of_a_send_loan,
    #[timeout(180)]
    killed_at_each_step_of_recv,
    #[timeout(180)]
    killed_at_each_step_of_a_recv_that_waits,
    #[timeout(180)]
    killed_at_each_step_of_a_recv_that_makes_room,
    #[timeout(180)]
    killed_at_each_step_of_a_recv_loan,
    #[timeout(180)]
    killed_at_each_step_of_poll,
    #[timeout(180)]
    killed_at_each_step_of_wait,
    #[timeout(180)]
    killed_at_each_step_of_close,
    #[timeout(180)]
    killed_at_each_step_of_a_clone_and_its_drop,
    #[timeout(180)]
    killed_at_each_step_of_a_borrowed_end,
    #[timeout(180)]
    killed_at_each_step_of_a_hand_over,
    #[timeout(180)]
    killed_at_each_step_of_sending_an_end,
    #[timeout(180)]
    killed_at_each_step_of_sending_an_end_of_which_another_is_left,
    #[timeout(180)]
    killed_at_each_step_of_receiving_an_end,
    #[timeout(180)]
    killed_at_each_step_of_receiving_an_end_beside_another_reader,
    #[timeout(180)]
    killed_at_each_step_of_receiving_a_descriptor,
    #[timeout(180)]
    killed_at_each_step_of_dropping_a_pipe_with_ends_in_messages,
    #[timeout(180)]
    killed_at_each_step_of_giving_an_end_back_that_was_not_sent,
    #[timeout(180)]
    killed_at_each_step_of_finding_a_lost_end,

    #[timeout(180)]
    stopped_at_each_step_of_sending_an_end_it_is_no_end_of_stream,
    #[timeout(180)]
    stopped_at_each_step_of_receiving_an_end_it_is_no_end_of_stream,
    #[timeout(180)]
    stopped_at_each_step_of_a_hand_over_it_is_no_end_of_stream,
    #[timeout(180)]
    a_sender_killed_while_the_receiver_arrives_is_told_by_both_or_none,
    #[timeout(180)]
    stopped_at_each_step_of_a_send_the_others_keep_their_timeouts,
}

// ---- the loop ----

/// What this process has open: descriptors, and mappings of segments.
fn resources() -> (usize, usize) {
    drop(multiproc_process::active_children()); // those that have ended are collected
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let maps = maps.lines().filter(|line| line.contains("/memfd:")).count();
    (std::fs::read_dir("/proc/self/fd").unwrap().count(), maps)
}

/// The loop of the kills. `prepare` makes a world: what the one who dies gets to own, and what
/// stays; `act` runs in the process that dies; `meanwhile` here, to get a blocking `act` going;
/// `check` looks at the world after a death at the step of that number.
fn each_step<M, K>(
    count: Count,
    prepare: impl Fn() -> (M, K),
    act: impl Fn(M),
    meanwhile: impl Fn(&K, &Process),
    check: impl Fn(K, u64, &Steps),
) {
    let before = OnceCell::new();
    let run = |at: At, told: &Told| {
        if let At::Die(_) = at {
            before.get_or_init(resources);
        }
        let (moved, kept) = prepare();
        let act = &act;
        let child = start(move || {
            at.begin();
            act(moved);
            told.tell();
        });
        meanwhile(&kept, &child);
        (ends(&child), kept)
    };
    killed_at_each_step(count, run, check);
    closed_again(*before.get().unwrap());
}

/// No more is open than before (when a helper of the first run may still have been there); what
/// each step leaves open would be more than that.
#[track_caller]
fn closed_again(before: (usize, usize)) {
    let mut now = before;
    let closed = || {
        now = resources();
        now.0 <= before.0 && now.1 <= before.1
    };
    until("everything to be closed", closed);
}

// ---- what is sent ----

type Tx = Sender<Vec<u8>, Bytes>;
type Rx = Receiver<Vec<u8>, Bytes>;

const LEN: usize = 500;

fn pipe(bytes: usize, messages: &[u64]) -> (Rx, Tx) {
    let pipe = Pipe::<Vec<u8>>::options().bytes(bytes).codec::<Bytes>();
    let (rx, tx) = pipe.simplex().unwrap();
    for n in messages {
        tx.send(pattern(*n, LEN)).unwrap();
    }
    (rx, tx)
}

/// All that comes until the end of the stream, which must come.
#[track_caller]
fn to_the_end(rx: &Rx) -> Vec<u64> {
    let mut got = Vec::new();
    loop {
        match rx.recv_timeout(PATIENCE) {
            Ok(message) => got.push(number_of(&message)),
            Err(RecvTimeoutError::Closed) => return got,
            Err(error) => panic!("after {got:?}: {error}"),
        }
    }
}

/// Both sides still work, for processes that come later, too.
#[track_caller]
fn works(rx: &Rx, tx: &Tx) {
    assert!(matches!(rx.try_recv(), Err(TryRecvError::Empty)));
    let reader = start(|| {
        assert_eq!(number_of(&rx.recv().unwrap()), 1_000);
        assert_eq!(wait([rx], Some(PATIENCE)).unwrap(), [0]);
        assert_eq!(number_of(&rx.recv().unwrap()), 1_001);
    });
    let writer = start(|| tx.send(pattern(1_000, 10)).map_err(|e| e.without_message()));
    ends_well(&writer);
    tx.send(pattern(1_001, 3_000)).unwrap();
    ends_well(&reader);
    assert!(wait([rx], Some(Duration::ZERO)).unwrap().is_empty());
    assert!(matches!(rx.try_recv(), Err(TryRecvError::Empty)));
}

// ---- send ----

fn killed_at_each_step_of_send() {
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

fn killed_at_each_step_of_a_send_that_wakes_a_reader() {
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

fn killed_at_each_step_of_a_send_that_rings_for_watchers() {
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

fn killed_at_each_step_of_a_send_that_waits_for_room() {
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

fn killed_at_each_step_of_a_send_larger_than_the_pipe() {
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

fn killed_at_each_step_of_send_beside_another_sender() {
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

fn killed_at_each_step_of_a_send_loan() {
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

// ---- recv ----

fn killed_at_each_step_of_recv() {
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

fn killed_at_each_step_of_a_recv_that_waits() {
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

fn killed_at_each_step_of_a_recv_that_makes_room() {
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

fn killed_at_each_step_of_a_recv_loan() {
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

fn killed_at_each_step_of_poll() {
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

fn killed_at_each_step_of_wait() {
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

// ---- ends ----

fn killed_at_each_step_of_close() {
    each_step(
        Count::Varies,
        || {
            let (here, there) = Pipe::<u64>::options().capacity(1).duplex().unwrap();
            let here = std::rc::Rc::new(here);
            // One who receives, one who watches, one who cannot send.
            let receives = start(|| i32::from(here.recv() == Err(RecvError::Closed)));
            let watches = start(|| i32::from(wait([&*here], None).unwrap() == [0]));
            here.send(1).unwrap();
            let sends = start(|| i32::from(matches!(here.send(2), Err(SendError::Closed(2)))));
            blocked(&receives);
            polls(&watches);
            blocked(&sends);
            (there, (here, [receives, watches, sends]))
        },
        |there| {
            there.close();
        },
        nothing,
        |(here, others), _, steps| {
            steps.must_have(&["ends: generation raised", "ends: slot free"]);
            for other in &others {
                assert_eq!(ends(other), Exit::Code(1), "{other:?}");
            }
            assert_eq!(here.recv(), Err(RecvError::Closed));
            assert!(matches!(here.send(3), Err(SendError::Closed(3))));
        },
    );
}

fn killed_at_each_step_of_a_clone_and_its_drop() {
    each_step(
        Count::Exact,
        || {
            let (rx, tx) = pipe(1 << 20, &[1]);
            (tx, rx)
        },
        |tx| {
            let again = tx.clone();
            drop(tx);
            again.send(pattern(2, LEN)).unwrap();
            drop(again);
        },
        nothing,
        |rx, n, steps| {
            let committed = n >= steps.since("put: committed");
            let expected: &[u64] = if committed { &[1, 2] } else { &[1] };
            assert_eq!(to_the_end(&rx), expected);
        },
    );
}

fn killed_at_each_step_of_a_borrowed_end() {
    // What the child borrows stays the parent's, whatever becomes of the child's own.
    let told = Told::new();
    let run = |at: At| {
        let (rx, tx) = pipe(1 << 20, &[]);
        let child = start(|| {
            at.begin();
            tx.send(pattern(2, LEN)).unwrap();
            assert_eq!(number_of(&rx.recv().unwrap()), 2);
            told.tell();
        });
        (ends(&child), rx, tx)
    };
    assert_eq!(run(At::Count).0, Exit::Code(0));
    let steps = told.heard();
    let before = resources();
    for n in 0..steps.0.len() as u64 {
        println!("killed at step {n}, {:?}", steps.0[n as usize]);
        let (exit, rx, tx) = run(At::Die(n));
        assert_eq!(exit, Exit::Signal(9));
        while let Ok(message) = rx.try_recv() {
            assert_eq!(number_of(&message), 2);
        }
        works(&rx, &tx);
        drop(tx);
        assert_eq!(to_the_end(&rx), []);
    }
    closed_again(before);
}

fn killed_at_each_step_of_a_hand_over() {
    let told = Told::new();
    // A parent with a connection and a half, who moves them into a child, and dies.
    let run = |at: At| {
        let (here, there) = Pipe::<u64>::duplex().unwrap();
        let (rx, tx) = pipe(1 << 20, &[]);
        let told = &told;
        let parent = Process::start(move || {
            at.begin();
            // The child goes on counting from the fork: so it is killed, too, at some steps.
            let child = Process::start(move || {
                there.send(1).unwrap();
                tx.send(pattern(2, LEN)).unwrap();
                there.send(3).unwrap();
            });
            if matches!(at, At::Count) {
                told.tell();
            }
            step::disarm();
            ends(&child.map_err(StartError::from).unwrap()).code() & 0xff
        });
        (parent.map_err(StartError::from).unwrap(), here, rx)
    };
    let (parent, here, _rx) = run(At::Count);
    ends_well(&parent);
    let steps = told.heard();
    steps.must_have(&["ends: handed over"]);
    assert_eq!(here.iter().flatten().collect::<Vec<_>>(), [1, 3]);
    drop((parent, here, _rx));
    let before = resources();
    let (mut parents, mut children, mut nobody) = (0, 0, false);
    let mut n = 0;
    while !nobody {
        println!("killed at step {n}");
        let (parent, here, rx) = run(At::Die(n));
        let mut got = Vec::new();
        loop {
            match here.recv_timeout(PATIENCE) {
                Ok(number) => got.push(number),
                Err(RecvTimeoutError::Closed) => break,
                Err(error) => panic!("killed at step {n}: {error} after {got:?}"),
            }
        }
        assert!([&[][..], &[1], &[1, 3]].contains(&&got[..]), "{got:?}");
        let second = to_the_end(&rx);
        assert!(second.is_empty() || second == [2], "{second:?}");
        assert!(got.len() < 2 || second == [2]);
        assert!(matches!(here.send(4), Err(SendError::Closed(4))));
        match ends(&parent).code() {
            -9 => parents += 1,
            247 => children += 1, // 256 - 9, of the child
            0 => {
                assert_eq!(got, [1, 3]);
                nobody = n >= steps.0.len() as u64;
            }
            other => panic!("{other}"),
        }
        n += 1;
    }
    println!("{parents} parents and {children} children killed");
    assert!(parents >= steps.0.len() as i32 && children > 0);
    closed_again(before);
}

// ---- ends in messages ----

/// A pipe for ends, and a pipe whose ends travel.
fn post() -> ((Receiver<Tx>, Sender<Tx>), (Rx, Tx)) {
    (Pipe::simplex().unwrap(), pipe(1 << 20, &[]))
}

fn killed_at_each_step_of_sending_an_end() {
    each_step(
        Count::Exact,
        || {
            let ((post_rx, post), (rx, tx)) = post();
            ((post, tx), (post_rx, rx))
        },
        |(post, tx)| {
            post.send(tx).map_err(drop).unwrap();
            std::mem::forget(post);
        },
        nothing,
        |(post_rx, rx), n, steps| {
            steps.must_have(&["ends: travels", "carry: deposited"]);
            // Its sender is dead: so is the end, wherever it is.
            assert_eq!(to_the_end(&rx), []);
            if n >= steps.since("put: committed") {
                let closed = post_rx.recv_timeout(PATIENCE).map(drop).unwrap_err();
                assert!(matches!(closed, RecvTimeoutError::Decode(_)), "{closed}");
            }
            let over = post_rx.recv_timeout(PATIENCE).map(drop);
            assert_eq!(over, Err(RecvTimeoutError::Closed));
        },
    );
}

fn killed_at_each_step_of_sending_an_end_of_which_another_is_left() {
    each_step(
        Count::Exact,
        || {
            let ((post_rx, post), (rx, tx)) = post();
            ((post.clone(), tx.clone()), (post_rx, post, rx, tx))
        },
        |(post, tx)| {
            post.send(tx).map_err(drop).unwrap();
            std::mem::forget(post);
        },
        nothing,
        |(post_rx, post, rx, tx), n, steps| {
            // A message that was sent has a dead end in it; the next one has a good one.
            if n >= steps.since("put: committed") {
                assert!(matches!(post_rx.recv(), Err(RecvError::Decode(_))));
            }
            assert!(matches!(rx.try_recv(), Err(TryRecvError::Empty)));
            post.send(tx).map_err(drop).unwrap();
            let tx = post_rx.recv().unwrap();
            works(&rx, &tx);
            drop(tx);
            assert_eq!(to_the_end(&rx), []);
        },
    );
}

fn killed_at_each_step_of_receiving_an_end() {
    each_step(
        Count::Exact,
        || {
            let ((post_rx, post), (rx, tx)) = post();
            post.send(tx).map_err(drop).unwrap();
            // Its sender, this process, lives on and keeps the post.
            (post_rx, (post, rx))
        },
        |post_rx| {
            let tx = post_rx.recv().unwrap();
            tx.send(pattern(1, LEN)).unwrap();
            std::mem::forget((tx, post_rx));
        },
        nothing,
        |(post, rx), n, steps| {
            steps.must_have(&[
                "get: tokens taken over",
                "get: descriptors removed",
                "ends: about to arrive",
                "ends: arrived",
            ]);
            if n < steps.since("get: tokens taken over") {
                // The message is where it was, and nobody is there to take it: as long as the
                // post is kept, so is what is in it.
                assert!(matches!(rx.try_recv(), Err(TryRecvError::Empty)));
                drop(post);
            }
            let got = to_the_end(&rx);
            assert!(got.is_empty() || got == [1]);
        },
    );
}

fn killed_at_each_step_of_receiving_an_end_beside_another_reader() {
    each_step(
        Count::Exact,
        || {
            let ((post_rx, post), (rx, tx)) = post();
            post.send(tx).map_err(drop).unwrap();
            (post_rx.clone(), (post_rx, post, rx))
        },
        |post_rx| std::mem::forget((post_rx.recv().unwrap(), post_rx)),
        nothing,
        |(post_rx, post, rx), n, steps| {
            if n < steps.since("get: released") {
                // It comes to the other one, and is as good as before.
                let tx = post_rx.recv().unwrap();
                works(&rx, &tx);
            }
            assert_eq!(to_the_end(&rx), []);
            // The post works on.
            let (rx, tx) = pipe(1 << 20, &[]);
            post.send(tx).map_err(drop).unwrap();
            works(&rx, &post_rx.recv().unwrap());
            assert_eq!(to_the_end(&rx), []);
        },
    );
}

fn killed_at_each_step_of_receiving_a_descriptor() {
    type Message = Descriptor<PipeWriter>;
    each_step(
        Count::Exact,
        || {
            let (post_rx, post) = Pipe::<Message>::simplex().unwrap();
            let (reader, writer) = std::io::pipe().unwrap();
            post.send(Descriptor(writer)).unwrap();
            (post_rx.clone(), (post_rx, post, reader))
        },
        |post_rx| {
            std::mem::forget((post_rx.recv().unwrap(), post_rx));
        },
        nothing,
        |(post_rx, post, mut reader): (Receiver<Message>, Sender<Message>, PipeReader),
         n,
         steps| {
            if n < steps.since("get: released") {
                let Descriptor(mut writer) = post_rx.recv().unwrap();
                writer.write_all(b"still here").unwrap();
            }
            // What is left of one that died having it is gone with the next of its kind, or with
            // the post.
            drop((post_rx, post));
            let mut text = String::new();
            reader.read_to_string(&mut text).unwrap();
            assert_eq!(text == "still here", n < steps.since("get: released"));
        },
    );
}

fn killed_at_each_step_of_dropping_a_pipe_with_ends_in_messages() {
    each_step(
        Count::Exact,
        || {
            let ((post_rx, post), (rx, tx)) = post();
            post.send(tx).map_err(drop).unwrap();
            // One who has inherited the post's courier, and does nothing with it.
            let sibling = start(|| {
                loop {
                    std::thread::park();
                }
            });
            (post_rx, (post, rx, sibling))
        },
        drop,
        nothing,
        |(post, rx, sibling), _, _| {
            drop(post);
            assert_eq!(to_the_end(&rx), []);
            kill(&sibling);
        },
    );
}

fn killed_at_each_step_of_giving_an_end_back_that_was_not_sent() {
    each_step(
        Count::Exact,
        || {
            let (post_rx, post) = Pipe::<Tx>::options().capacity(1).simplex().unwrap();
            let (rx, tx) = pipe(1 << 20, &[]);
            post.send(pipe(1 << 20, &[]).1).map_err(drop).unwrap();
            ((post, tx), (post_rx, rx))
        },
        |(post, tx)| {
            let tx = post.try_send(tx).unwrap_err().into_message();
            tx.send(pattern(1, LEN)).unwrap();
            drop(tx);
            std::mem::forget(post);
        },
        nothing,
        |(_post_rx, rx), n, steps| {
            let committed = n >= steps.since("put: committed");
            assert_eq!(to_the_end(&rx), if committed { &[1][..] } else { &[] });
        },
    );
}

fn killed_at_each_step_of_finding_a_lost_end() {
    // An end was lost with its message; who finds that out dies; the next one does.
    each_step(
        Count::Varies,
        || {
            let ((post_rx, post), (rx, tx)) = post();
            post.send(tx).map_err(drop).unwrap();
            drop((post_rx, post));
            (rx.clone(), rx)
        },
        |rx| {
            assert_eq!(to_the_end(&rx), []);
            std::mem::forget(rx);
        },
        nothing,
        |rx, _, steps| {
            steps.must_have(&["ends: lost end freed"]);
            assert_eq!(to_the_end(&rx), []);
        },
    );
}

// ---- stopped, not killed ----

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
        told.heard();
        kill(&waker);
    }
}

fn stopped_at_each_step_of_sending_an_end_it_is_no_end_of_stream() {
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

fn stopped_at_each_step_of_receiving_an_end_it_is_no_end_of_stream() {
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

fn stopped_at_each_step_of_a_hand_over_it_is_no_end_of_stream() {
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

fn a_sender_killed_while_the_receiver_arrives_is_told_by_both_or_none() {
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
                loop {
                    std::thread::park();
                }
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

fn stopped_at_each_step_of_a_send_the_others_keep_their_timeouts() {
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
