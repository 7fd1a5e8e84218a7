//! Killed while ends and descriptors travel in messages.

use crate::pipes::{LEN, Rx, Tx, each_step, pipe, to_the_end, works};
use common::*;
use multiproc_parcel::Descriptor;
use multiproc_pipe::{Pipe, Receiver, RecvError, RecvTimeoutError, Sender, TryRecvError};
use multiproc_tests::{Count, nothing};
use std::io::{PipeReader, PipeWriter, Read, Write};

/// A pipe for ends, and a pipe whose ends travel.
pub(crate) fn post() -> ((Receiver<Tx>, Sender<Tx>), (Rx, Tx)) {
    (Pipe::simplex().unwrap(), pipe(1 << 20, &[]))
}

pub(crate) fn killed_at_each_step_of_sending_an_end() {
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

pub(crate) fn killed_at_each_step_of_sending_an_end_of_which_another_is_left() {
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

pub(crate) fn killed_at_each_step_of_receiving_an_end() {
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

pub(crate) fn killed_at_each_step_of_receiving_an_end_beside_another_reader() {
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

pub(crate) fn killed_at_each_step_of_receiving_a_descriptor() {
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

pub(crate) fn killed_at_each_step_of_dropping_a_pipe_with_ends_in_messages() {
    each_step(
        Count::Exact,
        || {
            let ((post_rx, post), (rx, tx)) = post();
            post.send(tx).map_err(drop).unwrap();
            // One who has inherited the post's courier, and does nothing with it.
            let sibling = start(|| for_ever());
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

pub(crate) fn killed_at_each_step_of_giving_an_end_back_that_was_not_sent() {
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

pub(crate) fn killed_at_each_step_of_finding_a_lost_end() {
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
