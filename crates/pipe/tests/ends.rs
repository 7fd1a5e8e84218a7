//! Who holds an end, and the end of the stream that follows from it: at once where an end is
//! closed, soon where its process is killed, whatever siblings inherited, and never too early.

use common::*;
use multiproc_pipe::codec::Bytes;
use multiproc_pipe::{
    Connection, Pipe, Receiver, RecvError, RecvTimeoutError, SendError, SendTimeoutError, Sender,
    TryRecvError, TrySendError,
};
use multiproc_process::{Exit, Fork, Process, StartError, fork, test};
use std::sync::Arc;
use std::time::Duration;

test::main! {
    the_end_comes_after_sigkill_whatever_siblings_were_forked,
    the_end_comes_at_once_on_close_and_on_exit,
    an_iterator_that_owns_its_end_ends_with_the_stream,
    a_send_hears_of_killed_receivers,
    what_was_sent_before_the_kill_comes_first,
    a_message_cut_short_by_the_kill_never_comes,
    nobody_hears_an_end_while_an_end_goes_from_parent_to_child,
    nobody_hears_an_end_while_an_end_goes_round_in_messages,
    nobody_hears_an_end_while_many_clone_and_drop,
    nobody_hears_a_break_while_receivers_move,
    ends_in_messages_of_a_living_sender_keep_the_stream_open,
    an_end_in_a_message_that_is_not_sent_is_given_back,
    an_end_in_a_message_whose_encoder_panics_is_given_back,
    an_end_in_a_message_that_nobody_can_take_any_more_is_closed,

    a_moved_end_is_the_childs_and_a_clone_stays,
    nested_captures_move_with_all_their_ends,
    an_end_in_an_arc_that_the_parent_keeps_is_borrowed,
    a_borrowed_end_is_closed_where_the_parent_dropped_it_first,
    a_borrowed_end_is_closed_where_the_parent_died_first,
    an_end_goes_on_to_a_grandchild,
    a_failed_start_gives_the_ends_back,
    a_bare_fork_shares_and_moves_nothing,
    an_unused_end_in_a_child_is_closed_with_the_child,
    copies_that_a_child_inherited_do_nothing,
    a_stopped_sender_is_no_end,
    a_half_of_a_connection_that_went_elsewhere_keeps_its_direction,
    five_hundred_and_twelve_ends_and_one_more,
}

fn now() -> u64 {
    let mut t = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: writes to a local; the clock always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut t) };
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}

/// Says how long something took; figures, no promises.
fn figures(what: &str, mut nanos: Vec<u64>) {
    nanos.sort_unstable();
    let ms = |part: f64| nanos[((nanos.len() - 1) as f64 * part) as usize] as f64 / 1e6;
    let n = nanos.len();
    println!(
        "{what}: p50 {:.2} ms, p99 {:.2} ms, max {:.2} ms of {n}",
        ms(0.5),
        ms(0.99),
        ms(1.0)
    );
}

/// How many rounds: `ROUNDS=1000` for more.
fn rounds(default: usize) -> usize {
    let rounds = std::env::var("ROUNDS").map(|text| text.parse().expect("ROUNDS"));
    rounds.unwrap_or(default)
}

/// A child that does nothing with what it inherited.
fn sibling() -> Process {
    let runs = Counter::new();
    let child = start(|| {
        runs.count();
        for_ever()
    });
    runs.reach(1);
    child
}

/// Kills one who is not its own child, when it is told to; notes when.
fn executioner(victim: u32, go: &Counter, when: &Counter) -> Process {
    start(|| {
        go.reach(1);
        // For a random while, so that the reader is caught anywhere.
        let until = now() + Dice::new(u64::from(victim)).below(3_000_000);
        while now() < until {
            std::hint::spin_loop();
        }
        when.set(now());
        // SAFETY: a signal to a process that its parent has not collected yet.
        unsafe { libc::kill(victim as i32, libc::SIGKILL) };
    })
}

/// F11
fn the_end_comes_after_sigkill_whatever_siblings_were_forked() -> Outcome {
    let mut took = Vec::new();
    for round in 0..rounds(60) {
        let (rx, tx) = Pipe::<u64>::simplex()?;
        let before = sibling();
        let (runs, go, when) = (Counter::new(), Counter::new(), Counter::new());
        let writer = {
            let runs = runs.clone();
            start(move || {
                tx.send(round as u64).unwrap();
                runs.count();
                for_ever()
            })
        };
        let after = sibling();
        runs.reach(1);
        let executioner = executioner(writer.pid(), &go, &when);
        assert_eq!(rx.recv()?, round as u64);
        go.count();
        match round % 3 {
            0 => assert_eq!(rx.recv(), Err(RecvError::Closed)),
            1 => assert_eq!(rx.recv_timeout(PATIENCE), Err(RecvTimeoutError::Closed)),
            _ => {
                assert!(rx.poll(PATIENCE)?);
                assert_eq!(rx.try_recv(), Err(TryRecvError::Closed));
            }
        }
        took.push(now() - when.get());
        assert!(before.is_alive() && after.is_alive());
        ends_well(&executioner);
        assert_eq!(ends(&writer), Exit::Signal(9));
        kill(&before);
        kill(&after);
    }
    figures("the end of the stream after SIGKILL", took);
    Ok(())
}

fn the_end_comes_at_once_on_close_and_on_exit() -> Outcome {
    let (mut closed, mut exited) = (Vec::new(), Vec::new());
    for round in 0..rounds(60) {
        let (rx, tx) = Pipe::<u64>::simplex()?;
        let sibling = sibling();
        let (go, when) = (Counter::new(), Counter::new());
        let writer = {
            let (go, when) = (go.clone(), when.clone());
            start(move || {
                go.reach(1);
                tx.send(1).unwrap();
                when.set(now());
                if round % 2 == 0 {
                    tx.close();
                    // Still there: it is the close that counts.
                    go.reach(2);
                }
            })
        };
        go.count();
        assert_eq!(rx.recv()?, 1);
        assert_eq!(rx.recv(), Err(RecvError::Closed));
        let took = now() - when.get();
        match round % 2 {
            0 => closed.push(took),
            _ => exited.push(took),
        }
        assert!(round % 2 == 1 || writer.is_alive());
        go.count();
        ends_well(&writer);
        kill(&sibling);
    }
    figures("the end of the stream after close", closed);
    figures("the end of the stream after exit", exited);
    Ok(())
}

fn a_send_hears_of_killed_receivers() -> Outcome {
    let mut took = Vec::new();
    for round in 0..rounds(60) {
        let (rx, tx) = Pipe::<u64>::options().capacity(1).simplex()?;
        let before = sibling();
        let (runs, go, when) = (Counter::new(), Counter::new(), Counter::new());
        let reader = {
            let runs = runs.clone();
            start(move || {
                rx.recv().unwrap();
                runs.count();
                for_ever()
            })
        };
        let after = sibling();
        tx.send(1)?;
        runs.reach(1);
        let executioner = executioner(reader.pid(), &go, &when);
        tx.send(2)?; // full from now on
        go.count();
        match round % 3 {
            0 => assert!(matches!(tx.send(3), Err(SendError::Closed(3)))),
            1 => assert!(matches!(
                tx.send_timeout(3, PATIENCE),
                Err(SendTimeoutError::Closed(3))
            )),
            _ => until("a try to find the pipe broken", || {
                matches!(tx.try_send(3), Err(TrySendError::Closed(3)))
            }),
        }
        took.push(now() - when.get());
        assert!(before.is_alive() && after.is_alive());
        ends_well(&executioner);
        assert_eq!(ends(&reader), Exit::Signal(9));
        kill(&before);
        kill(&after);
    }
    figures("the broken pipe after SIGKILL", took);
    // Also where there is room: the next sends say so within a slice.
    let (rx, tx) = Pipe::<u64>::simplex()?;
    let reader = start(move || {
        rx.recv().unwrap();
        kill_me();
    });
    tx.send(1)?;
    assert_eq!(ends(&reader), Exit::Signal(9));
    until("a send with room to find the pipe broken", || {
        matches!(tx.send(2), Err(SendError::Closed(2)))
    });
    Ok(())
}

fn what_was_sent_before_the_kill_comes_first() -> Outcome {
    for n in [0_u64, 1, 7, 1_000] {
        let (here, there) = Pipe::<u64>::duplex()?;
        let writer = start(move || {
            (0..n).for_each(|n| there.send(n).unwrap());
            kill_me();
        });
        assert_eq!(ends(&writer), Exit::Signal(9));
        let got: Vec<u64> = here.iter().collect::<Result<_, _>>()?;
        assert!(got.into_iter().eq(0..n));
        assert_eq!(here.recv(), Err(RecvError::Closed));
        assert!(matches!(here.send(1), Err(SendError::Closed(1))));
    }
    Ok(())
}

fn a_message_cut_short_by_the_kill_never_comes() -> Outcome {
    for round in 0..20 {
        let pipe = Pipe::<Vec<u8>>::options().bytes(1 << 20).codec::<Bytes>();
        let (rx, tx) = pipe.simplex()?;
        let sent = Counter::new();
        let writer = {
            let sent = sent.clone();
            start(move || {
                for number in 0.. {
                    tx.send(pattern(number, 300_000)).unwrap();
                    sent.count();
                }
            })
        };
        sent.reach(1);
        for number in 0..round {
            assert_eq!(number_of(&rx.recv()?), number);
        }
        writer.kill()?;
        let mut next = round;
        for message in &rx {
            assert_eq!(number_of(&message?), next);
            next += 1;
        }
        assert!(next >= sent.get(), "a send that returned was lost");
        assert_eq!(ends(&writer), Exit::Signal(9));
    }
    Ok(())
}

/// A reader that waits for messages in short waits, long ones and polls; all that comes until
/// the end of the stream must be `0..n`.
fn listener(rx: Receiver<u64>, n: u64) -> Process {
    start(move || {
        let mut next = 0;
        loop {
            let got = match next % 4 {
                0 => rx.recv().map_err(|_| true),
                1 => rx
                    .recv_timeout(Duration::from_micros(100))
                    .map_err(|e| e == RecvTimeoutError::Closed),
                2 => rx.try_recv().map_err(|e| e == TryRecvError::Closed),
                _ => match rx.poll(Duration::from_micros(50)).unwrap() {
                    true => rx.recv().map_err(|_| true),
                    false => Err(false),
                },
            };
            match got {
                Ok(number) => {
                    assert_eq!(number, next);
                    next += 1;
                }
                Err(true) => break,
                Err(false) => {}
            }
        }
        assert_eq!(next, n, "the end came too early");
    })
}

fn nobody_hears_an_end_while_an_end_goes_from_parent_to_child() -> Outcome {
    // A chain: each one sends a number and moves its end into a child of its own.
    fn link(tx: Sender<u64>, n: u64, last: u64) {
        tx.send(n).unwrap();
        if n + 1 < last {
            let next = Process::start(move || link(tx, n + 1, last));
            ends_well(&next.map_err(StartError::from).unwrap());
        }
    }
    for _ in 0..4 {
        const LINKS: u64 = 40;
        let (rx, tx) = Pipe::<u64>::simplex()?;
        let listener = listener(rx, LINKS);
        let first = Process::start(move || link(tx, 0, LINKS))?;
        ends_well(&listener);
        ends_well(&first);
    }
    Ok(())
}

fn nobody_hears_an_end_while_an_end_goes_round_in_messages() -> Outcome {
    const ROUND_TRIPS: u64 = 1_500;
    let (rx, tx) = Pipe::<u64>::simplex()?;
    let listener = listener(rx, 2 * ROUND_TRIPS);
    let (here, there) = Pipe::<(u64, Sender<u64>)>::duplex()?;
    let other = start(move || {
        while let Ok((n, tx)) = there.recv() {
            tx.send(n).unwrap();
            there.send((n + 1, tx)).unwrap();
        }
    });
    let mut traveller = (0, tx);
    while traveller.0 < 2 * ROUND_TRIPS {
        here.send(traveller)?;
        let (n, tx) = here.recv()?;
        tx.send(n)?;
        traveller = (n + 1, tx);
    }
    assert!(listener.is_alive());
    drop(traveller);
    ends_well(&listener);
    drop(here);
    ends_well(&other);
    Ok(())
}

fn nobody_hears_an_end_while_many_clone_and_drop() -> Outcome {
    let (rx, tx) = Pipe::<u64>::simplex()?;
    let stop = Counter::new();
    let storms: Vec<Process> = (0..3)
        .map(|seed| {
            let (tx, stop) = (tx.clone(), stop.clone());
            start(move || {
                let mut dice = Dice::new(seed);
                let mut ends = vec![tx];
                while stop.get() == 0 {
                    let which = dice.below(ends.len() as u64) as usize;
                    match dice.below(4) {
                        // The first one may go before its clone comes to rest elsewhere.
                        0 => ends[which] = ends[which].clone(),
                        1 if ends.len() > 1 => drop(ends.swap_remove(which)),
                        _ if ends.len() < 8 => ends.push(ends[which].clone()),
                        _ => ends.truncate(1),
                    }
                }
                // One of them only says goodbye, and last.
                ends.truncate(1);
                ends[0].send(seed).unwrap();
            })
        })
        .collect();
    drop(tx);
    for _ in 0..rounds(60) * 500 {
        assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
    }
    assert_eq!(
        rx.recv_timeout(Duration::from_millis(300)),
        Err(RecvTimeoutError::Timeout)
    );
    stop.count();
    assert_eq!(rx.iter().flatten().count(), 3);
    storms.iter().for_each(ends_well);
    Ok(())
}

fn nobody_hears_a_break_while_receivers_move() -> Outcome {
    const ROUND_TRIPS: usize = 400;
    let (rx, tx) = Pipe::<u64>::options().capacity(4).simplex()?;
    let stop = Counter::new();
    let writer = start(|| {
        let tx = tx;
        let mut n = 0;
        while stop.get() == 0 {
            match tx.send_timeout(n, Duration::from_micros(200)) {
                Ok(()) => n += 1,
                Err(SendTimeoutError::Timeout(_)) => {}
                Err(other) => panic!("{other}"),
            }
        }
    });
    let (here, there) = Pipe::<Receiver<u64>>::duplex()?;
    let other = start(move || {
        while let Ok(rx) = there.recv() {
            let _ = rx.try_recv();
            there.send(rx).unwrap();
        }
    });
    let mut traveller = rx;
    for _ in 0..ROUND_TRIPS {
        here.send(traveller)?;
        traveller = here.recv()?;
        let _ = traveller.try_recv();
        // Moved into a child, who sends it back.
        let (back, back_tx) = Pipe::<Receiver<u64>>::simplex()?;
        let had = Counter::new();
        let child = {
            let had = had.clone();
            start(move || {
                let _ = traveller.try_recv();
                back_tx.send(traveller).unwrap();
                had.reach(1);
            })
        };
        traveller = back.recv()?;
        had.count();
        ends_well(&child);
    }
    assert!(writer.is_alive());
    stop.count();
    ends_well(&writer);
    drop(here);
    ends_well(&other);
    Ok(())
}

fn ends_in_messages_of_a_living_sender_keep_the_stream_open() -> Outcome {
    let (post_rx, post) = Pipe::<Sender<u64>>::simplex()?;
    let (rx, tx) = Pipe::<u64>::simplex()?;
    post.send(tx)?; // and nobody takes it for the moment
    assert_eq!(
        rx.recv_timeout(Duration::from_millis(200)),
        Err(RecvTimeoutError::Timeout)
    );
    let taker = start(|| post_rx.recv().unwrap().send(5).unwrap());
    assert_eq!(rx.recv()?, 5);
    assert_eq!(rx.recv(), Err(RecvError::Closed));
    ends_well(&taker);
    Ok(())
}

fn an_end_in_a_message_that_is_not_sent_is_given_back() -> Outcome {
    let post = Pipe::<Sender<u64>>::options().capacity(1);
    let (post_rx, post) = post.simplex()?;
    let (rx, tx) = Pipe::<u64>::simplex()?;
    post.send(Pipe::simplex()?.1)?;
    let tx = post.try_send(tx).unwrap_err().into_message();
    let late = post.send_timeout(tx, Duration::from_millis(1));
    let tx = late.unwrap_err().into_message();
    drop(post_rx);
    let tx = post.send(tx).unwrap_err().into_message();
    tx.send(1)?;
    drop(tx);
    assert_eq!(rx.recv()?, 1);
    assert_eq!(rx.recv_timeout(PATIENCE), Err(RecvTimeoutError::Closed));
    Ok(())
}

/// An end, and then something that cannot be encoded.
struct Panics(Sender<u64>);

impl serde::Serialize for Panics {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let _ = self.0.serialize(serializer);
        panic!("after an end was enclosed")
    }
}

impl<'de> serde::Deserialize<'de> for Panics {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Sender::deserialize(deserializer).map(Panics)
    }
}

fn an_end_in_a_message_whose_encoder_panics_is_given_back() -> Outcome {
    let (_post_rx, post) = Pipe::<Panics>::simplex()?;
    let (rx, tx) = Pipe::<u64>::simplex()?;
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        post.send(Panics(tx)).map_err(drop)
    }));
    assert!(panicked.is_err());
    // Its only end went with the panic.
    assert_eq!(rx.recv_timeout(PATIENCE), Err(RecvTimeoutError::Closed));
    Ok(())
}

fn an_end_in_a_message_that_nobody_can_take_any_more_is_closed() -> Outcome {
    // The sender lives on; who could have taken the message is gone.
    let (post_rx, post) = Pipe::<Sender<u64>>::simplex()?;
    let (rx, tx) = Pipe::<u64>::simplex()?;
    post.send(tx)?;
    drop((post, post_rx));
    assert_eq!(rx.recv_timeout(PATIENCE), Err(RecvTimeoutError::Closed));
    Ok(())
}

// ---- moves and borrows ----

fn is_open(rx: &Receiver<u64>) -> bool {
    match rx.try_recv() {
        Err(TryRecvError::Empty) => true,
        Err(TryRecvError::Closed) => false,
        other => panic!("{other:?}"),
    }
}

fn a_moved_end_is_the_childs_and_a_clone_stays() -> Outcome {
    let (here, there) = Pipe::<u64>::duplex()?;
    let kept = there.clone();
    let child = start(move || {
        there.send(1).unwrap();
    });
    ends_well(&child);
    assert_eq!(here.recv()?, 1);
    assert!(is_open(here.receiver()), "the clone is here");
    kept.send(2)?;
    drop(kept);
    assert_eq!(here.recv()?, 2);
    assert_eq!(here.try_recv(), Err(TryRecvError::Closed));
    assert!(matches!(here.try_send(1), Err(TrySendError::Closed(1))));
    Ok(())
}

fn nested_captures_move_with_all_their_ends() -> Outcome {
    struct Worker {
        orders: Option<Arc<Receiver<u64>>>,
        #[allow(clippy::vec_box, reason = "nested, so that hand-over meets boxes")]
        results: Vec<Box<Sender<u64>>>,
    }
    let (orders, order) = Pipe::<u64>::simplex()?;
    let (rx, tx) = Pipe::<u64>::simplex()?;
    let worker = Worker {
        orders: Some(Arc::new(orders)),
        results: vec![Box::new(tx.clone()), Box::new(tx)],
    };
    let child = start(move || {
        let orders = worker.orders.as_ref().unwrap();
        for (tx, n) in worker.results.iter().zip(orders.iter()) {
            tx.send(n.unwrap() * 10).unwrap();
        }
    });
    order.send(1)?;
    order.send(2)?;
    assert_eq!(rx.iter().collect::<Result<Vec<_>, _>>()?, [10, 20]);
    ends_well(&child);
    assert!(matches!(order.send(3), Err(SendError::Closed(3))));
    Ok(())
}

fn an_end_in_an_arc_that_the_parent_keeps_is_borrowed() -> Outcome {
    let (rx, tx) = Pipe::<u64>::simplex()?;
    let kept = Arc::new(tx);
    let shared = kept.clone();
    let child = start(move || shared.send(1));
    ends_well(&child);
    assert_eq!(rx.recv()?, 1);
    assert!(is_open(&rx));
    kept.send(2)?;
    drop(kept);
    assert_eq!(rx.recv()?, 2);
    assert!(!is_open(&rx));
    Ok(())
}

fn a_borrowed_end_is_closed_where_the_parent_dropped_it_first() -> Outcome {
    let (rx, tx) = Pipe::<u64>::simplex()?;
    let (used, go) = (Counter::new(), Counter::new());
    let tx = Some(tx);
    let late = start(|| {
        go.reach(1);
        let refused = tx.as_ref().unwrap().send(1).unwrap_err();
        assert!(matches!(refused, SendError::Closed(1)));
    });
    let early = start(|| {
        tx.as_ref().unwrap().send(2).unwrap();
        used.count();
        go.reach(1);
        tx.as_ref().unwrap().send(3).unwrap();
    });
    used.reach(1);
    drop(tx);
    assert_eq!(rx.recv()?, 2);
    assert!(is_open(&rx), "the child that used it has one of its own");
    go.count();
    assert_eq!(rx.recv()?, 3);
    assert_eq!(rx.recv(), Err(RecvError::Closed));
    ends_well(&late);
    ends_well(&early);
    Ok(())
}

fn a_borrowed_end_is_closed_where_the_parent_died_first() -> Outcome {
    let (rx, tx) = Pipe::<u64>::simplex()?;
    let (went, result) = (Counter::new(), Counter::new());
    let parent = {
        let (went, result) = (went.clone(), result.clone());
        Process::start(move || {
            let child = Process::start(|| {
                went.count();
                went.reach(2);
                let refused = matches!(tx.send(1), Err(SendError::Closed(1)));
                result.set(if refused { 1 } else { 2 });
            });
            child.unwrap();
            went.reach(9); // never: it is killed here
        })?
    };
    went.reach(1);
    kill(&parent);
    assert_eq!(rx.recv(), Err(RecvError::Closed));
    went.count();
    result.reach(1);
    assert_eq!(result.get(), 1);
    Ok(())
}

fn an_end_goes_on_to_a_grandchild() -> Outcome {
    let (here, there) = Pipe::<u64>::duplex()?;
    let child = Process::start(move || {
        there.send(1).unwrap();
        let grandchild = Process::start(move || {
            there.send(2).unwrap();
            there.recv().map(drop)
        });
        grandchild
            .map_err(StartError::from)
            .unwrap()
            .join()
            .unwrap()
            .ok()
    })?;
    assert_eq!((here.recv()?, here.recv()?), (1, 2));
    assert!(is_open(here.receiver()));
    here.send(1)?;
    assert_eq!(here.recv(), Err(RecvError::Closed));
    ends_well(&child);
    Ok(())
}

fn a_failed_start_gives_the_ends_back() -> Outcome {
    let (rx, tx) = Pipe::<u64>::simplex()?;
    // A second thread: no fork.
    let (stop, wait) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::spawn(move || wait.recv());
    let refused = Process::start(move || tx.send(1)).unwrap_err();
    drop(stop);
    let _ = thread.join();
    assert!(is_open(&rx));
    let again = refused.task;
    assert!(again().is_ok());
    assert_eq!(rx.recv()?, 1);
    assert!(!is_open(&rx));
    Ok(())
}

fn a_bare_fork_shares_and_moves_nothing() -> Outcome {
    let (rx, tx) = Pipe::<u64>::simplex()?;
    match fork()? {
        Fork::Child => {
            // Registers an end of its own, and ends without closing it.
            let sent = tx.send(1).is_ok();
            exit_now(i32::from(!sent));
        }
        Fork::Parent(child) => {
            assert_eq!(rx.recv()?, 1);
            ends_well(&child);
            assert!(is_open(&rx), "the parent's is the parent's");
            drop(tx);
            assert!(!is_open(&rx));
        }
    }
    Ok(())
}

fn an_unused_end_in_a_child_is_closed_with_the_child() -> Outcome {
    for how in 0..3 {
        let (rx, tx) = Pipe::<u64>::simplex()?;
        let child = start(move || {
            let tx = tx;
            match how {
                0 => drop(tx),
                1 => std::mem::forget(tx),
                _ => {
                    let _tx = tx;
                    exit_now(0)
                }
            }
        });
        assert_eq!(rx.recv(), Err(RecvError::Closed));
        ends_well(&child);
    }
    Ok(())
}

fn copies_that_a_child_inherited_do_nothing() -> Outcome {
    let (rx, tx) = Pipe::<u64>::simplex()?;
    let boxed = Box::new((rx, tx));
    // SAFETY: read and dropped in the child only; the parent's own stays.
    let child = start(|| drop(unsafe { std::ptr::read(&raw const *boxed) }));
    ends_well(&child);
    boxed.1.send(1)?;
    assert_eq!(boxed.0.recv()?, 1);
    assert!(is_open(&boxed.0));
    Ok(())
}

fn a_stopped_sender_is_no_end() -> Outcome {
    let (rx, tx) = Pipe::<u64>::simplex()?;
    let runs = Counter::new();
    let child = {
        let runs = runs.clone();
        start(move || {
            runs.count();
            runs.reach(2);
            tx.send(1).unwrap();
        })
    };
    runs.reach(1);
    send_signal(&child, libc::SIGSTOP);
    assert_eq!(
        rx.recv_timeout(Duration::from_millis(250)),
        Err(RecvTimeoutError::Timeout)
    );
    runs.count();
    send_signal(&child, libc::SIGCONT);
    assert_eq!(rx.recv()?, 1);
    assert_eq!(rx.recv(), Err(RecvError::Closed));
    ends_well(&child);
    Ok(())
}

fn a_half_of_a_connection_that_went_elsewhere_keeps_its_direction() -> Outcome {
    let (here, there): (Connection<u64>, Connection<u64>) = Pipe::duplex()?;
    let (rx, tx) = there.split();
    let reader = start(move || rx.iter().map(Result::unwrap).sum::<u64>() as i32);
    let writer = start(move || tx.send(7));
    ends_well(&writer);
    // The writer is gone, the reader is not.
    assert_eq!(here.recv()?, 7);
    assert_eq!(here.recv(), Err(RecvError::Closed));
    here.send(40)?;
    here.send(2)?;
    drop(here);
    assert_eq!(ends(&reader), Exit::Code(42));
    Ok(())
}

fn five_hundred_and_twelve_ends_and_one_more() -> Outcome {
    let (rx, tx) = Pipe::<u64>::simplex()?;
    let mut all: Vec<_> = (0..511).map(|_| tx.clone()).collect();
    // One more has no place, and says so where it is used: as a message at once.
    let more = tx.clone();
    let (_post_rx, post) = Pipe::<Sender<u64>>::simplex()?;
    let refused = post.send(more).unwrap_err();
    assert!(refused.to_string().contains("512"), "{refused}");
    let more = refused.into_message();
    assert!(matches!(more.send(1), Err(SendError::Closed(1))));
    // With a place, it works.
    all.pop();
    more.send(2)?;
    drop((tx, all));
    assert_eq!(rx.recv()?, 2);
    assert!(is_open(&rx));
    drop(more);
    assert!(!is_open(&rx));
    Ok(())
}

fn an_iterator_that_owns_its_end_ends_with_the_stream() -> Outcome {
    let (rx, tx) = Pipe::<u64>::simplex()?;
    let child = Process::start(move || {
        for n in 0..100 {
            tx.send(n).unwrap();
        }
    })?;
    let got: Result<Vec<u64>, RecvError> = rx.into_iter().collect();
    assert!(got?.into_iter().eq(0..100));
    ends_well(&child);
    // Dropped early, it closes its end, and the sender hears of that.
    let (rx, tx) = Pipe::<u64>::simplex()?;
    tx.send(1)?;
    let mut messages = rx.into_iter();
    assert_eq!(messages.next(), Some(Ok(1)));
    drop(messages);
    assert!(matches!(tx.send(2), Err(SendError::Closed(2))));
    Ok(())
}
