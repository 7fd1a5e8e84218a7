//! Killed while closing, cloning, borrowing and handing over.

use crate::pipes::{LEN, closed_again, each_step, pipe, resources, to_the_end, works};
use common::*;
use multiproc_core::step;
use multiproc_pipe::{Pipe, RecvError, RecvTimeoutError, SendError, wait};
use multiproc_process::{Exit, Process, StartError};
use multiproc_tests::{At, Count, Told, nothing};

pub(crate) fn killed_at_each_step_of_close() {
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

pub(crate) fn killed_at_each_step_of_a_clone_and_its_drop() {
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

pub(crate) fn killed_at_each_step_of_a_borrowed_end() {
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

pub(crate) fn killed_at_each_step_of_a_hand_over() {
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
