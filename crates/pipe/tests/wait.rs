//! Waiting for many things at a time: connections, queues, processes and any descriptor.
#![allow(clippy::needless_range_loop, reason = "the number is the subject")]

use common::*;
use multiproc_pipe::codec::Bytes;
use multiproc_pipe::{
    Connection, CreateError, Pipe, Receiver, RecvError, Sender, Source, TryRecvError, WaitError,
    wait,
};
use multiproc_process::{Exit, Process, test};
use multiproc_queue::{JoinableQueue, Queue, TryGetError};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

test::main! {
    four_readers_ten_messages_each_and_the_ends,
    plain_sockets_beside_connections,
    a_sentinel_and_a_connection_and_a_pipe_exactly_as_they_become_ready,
    no_time_to_wait_returns_at_once_with_nothing,
    the_positions_are_all_and_in_order,
    a_timeout_is_not_early_and_signals_do_not_matter,
    nothing_to_wait_for,

    queues_connections_processes_and_sockets_together,
    an_end_of_stream_is_something,
    a_killed_peer_is_something_beside_one_that_is_always_ready,
    closed_here_while_another_thread_waits,
    an_empty_message_is_something,
    what_another_took_is_nothing,

    a_loan_that_is_written_keeps_nobody_from_the_rest,
    a_writer_stopped_in_the_middle_keeps_nobody_from_the_timeout,
    a_writer_that_waits_for_room_does_not_hide_what_is_there,

    several_processes_wait_for_one_queue,
    a_killed_watcher_harms_nobody,
    #[timeout(300)]
    a_hundred_thousand_rounds_through_wait,
    two_watchers_and_a_blocking_reader_lose_no_wake_up,
    watchers_and_messages_with_descriptors,
    an_end_that_moves_is_no_end,
    a_watcher_that_was_moved_to_a_child_hears,

    without_a_courier_it_takes_a_moment,
    opened_by_name_it_takes_a_moment,
    the_creator_of_a_name_hears_of_what_others_put,
    as_many_as_the_limit_of_descriptors_allows_and_a_clear_error_above,
    a_thousand_idle_ones_and_one_that_is_ready,
    without_descriptors_left_a_wait_works,
    nothing_is_left_of_a_wait,
}

const MOMENT: Duration = Duration::from_millis(60);

/// Waits as long as a test's patience allows; something must come.
#[track_caller]
fn wait_for<'a>(sources: &[Source<'a>]) -> Vec<usize> {
    let ready = wait(sources.iter().copied(), Some(PATIENCE)).unwrap();
    assert!(!ready.is_empty(), "waited in vain");
    ready
}

#[track_caller]
fn nothing(sources: &[Source<'_>]) {
    let ready = wait(sources.iter().copied(), Some(MOMENT)).unwrap();
    assert_eq!(ready, [] as [usize; 0]);
}

/// W1
fn four_readers_ten_messages_each_and_the_ends() -> Outcome {
    for slow in [false, true] {
        let mut readers = Vec::new();
        let mut children = Vec::new();
        for who in 0..4_u64 {
            let (rx, tx) = Pipe::<(u64, u64)>::simplex()?;
            children.push(start(move || {
                let mut dice = Dice::new(who);
                for n in 0..10 {
                    if slow {
                        std::thread::sleep(Duration::from_micros(dice.below(30_000)));
                    }
                    tx.send((n, who)).unwrap();
                }
            }));
            readers.push((who, 0, rx));
        }
        let mut had = Vec::new();
        while !readers.is_empty() {
            let ready = wait(readers.iter().map(|(_, _, rx)| rx), Some(PATIENCE))?;
            assert!(!ready.is_empty());
            for at in ready.into_iter().rev() {
                let (who, next, rx) = &mut readers[at];
                match rx.try_recv() {
                    Ok(message) => {
                        assert_eq!(message, (*next, *who));
                        *next += 1;
                        had.push(message);
                    }
                    Err(TryRecvError::Closed) => {
                        assert_eq!(*next, 10);
                        readers.swap_remove(at);
                    }
                    Err(other) => panic!("said to be ready: {other}"),
                }
            }
        }
        assert_eq!(had.len(), 40);
        children.iter().for_each(ends_well);
    }
    Ok(())
}

/// W2
fn plain_sockets_beside_connections() -> Outcome {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let (rx, tx) = Pipe::<u32>::simplex()?;
    let child = start(move || {
        for n in 0..4_u8 {
            let mut stream = TcpStream::connect(address).unwrap();
            for m in 0..10 {
                stream.write_all(&[n * 10 + m]).unwrap();
            }
        }
        tx.send(7).unwrap();
    });
    let (mut streams, mut had, mut closed) = (Vec::<TcpStream>::new(), Vec::new(), 0);
    let mut connection = Some(rx);
    while closed < 4 || connection.is_some() {
        let mut sources = vec![Source::descriptor(&listener)];
        sources.extend(connection.as_ref().map(Source::from));
        let first = sources.len();
        sources.extend(streams.iter().map(Source::descriptor));
        for at in wait_for(&sources).into_iter().rev() {
            match at {
                0 => streams.push(listener.accept()?.0),
                at if at >= first => {
                    let mut bytes = [0; 16];
                    match streams[at - first].read(&mut bytes)? {
                        0 => {
                            streams.swap_remove(at - first);
                            closed += 1;
                        }
                        n => had.extend_from_slice(&bytes[..n]),
                    }
                }
                _ => match connection.as_ref().unwrap().try_recv() {
                    Ok(n) => assert_eq!(n, 7),
                    Err(TryRecvError::Closed) => connection = None,
                    Err(other) => panic!("said to be ready: {other}"),
                },
            }
        }
    }
    had.sort_unstable();
    assert!(had.into_iter().eq(0..40));
    ends_well(&child);
    Ok(())
}

/// W4
fn a_sentinel_and_a_connection_and_a_pipe_exactly_as_they_become_ready() -> Outcome {
    let (rx, tx) = Pipe::<u32>::simplex()?;
    let (reader, mut writer) = std::io::pipe()?;
    let go = Counter::new();
    let child = {
        let go = go.clone();
        start(move || go.reach(1))
    };
    let sources = [
        Source::from(&rx),
        Source::descriptor(&child),
        Source::descriptor(&reader),
    ];
    nothing(&sources);
    go.count();
    assert_eq!(wait_for(&sources), [1]);
    assert_eq!(wait_for(&sources), [1], "and stays ready");
    tx.send(1)?;
    assert_eq!(wait_for(&sources), [0, 1]);
    writer.write_all(b"x")?;
    assert_eq!(wait_for(&sources), [0, 1, 2]);
    assert_eq!(rx.recv()?, 1);
    assert_eq!(wait_for(&sources), [1, 2]);
    // Also of one that is collected already: what the handle knows stays.
    ends_well(&child);
    assert_eq!(wait_for(&sources[1..2]), [0]);
    Ok(())
}

/// W5
fn no_time_to_wait_returns_at_once_with_nothing() -> Outcome {
    let (here, there) = Pipe::<u32>::duplex()?;
    let begun = Instant::now();
    for _ in 0..10 {
        let ready = wait([&here, &there], Some(Duration::ZERO))?;
        assert!(ready.is_empty());
    }
    assert!(begun.elapsed() < PATIENCE);
    there.send(1)?;
    assert_eq!(wait([&here, &there], Some(Duration::ZERO))?, [0]);
    // A death long past is seen without waiting, too.
    let (rx, tx) = Pipe::<u32>::simplex()?;
    let child = start(move || {
        let _tx = tx;
        kill_me();
    });
    assert_eq!(ends(&child), Exit::Signal(9));
    assert_eq!(wait([&rx], Some(Duration::ZERO))?, [0]);
    Ok(())
}

fn the_positions_are_all_and_in_order() -> Outcome {
    let pipes: Vec<_> = (0..50).map(|_| Pipe::<u32>::simplex().unwrap()).collect();
    let readers = || pipes.iter().map(|(rx, _)| rx);
    let mut dice = Dice::new(5);
    let mut queued = [0; 50];
    for _ in 0..300 {
        for _ in 0..dice.below(5) {
            let at = dice.below(50) as usize;
            pipes[at].1.send(1)?;
            queued[at] += 1;
        }
        let ready = wait(readers(), Some(Duration::ZERO))?;
        let expected: Vec<_> = (0..50).filter(|at| queued[*at] > 0).collect();
        assert_eq!(ready, expected);
        for at in ready {
            pipes[at].0.recv()?;
            queued[at] -= 1;
        }
    }
    // The same object twice is ready twice.
    pipes[3].1.send(1)?;
    assert_eq!(wait([&pipes[3].0, &pipes[3].0], None)?, [0, 1]);
    Ok(())
}

extern "C" fn ignore(_: i32) {}

fn a_timeout_is_not_early_and_signals_do_not_matter() -> Outcome {
    let (rx, _tx) = Pipe::<u32>::simplex()?;
    on_signal(libc::SIGUSR1, ignore);
    let runs = Counter::new();
    let child = start(|| {
        runs.count();
        for millis in [1, 30, 100, 200] {
            let (begun, time) = (Instant::now(), Duration::from_millis(millis));
            assert!(wait([&rx], Some(time)).unwrap().is_empty());
            assert!(begun.elapsed() >= time - Duration::from_millis(1));
        }
        runs.count();
    });
    runs.reach(1);
    while runs.get() < 2 && child.is_alive() {
        send_signal(&child, libc::SIGUSR1);
        std::thread::yield_now();
    }
    ends_well(&child);
    Ok(())
}

fn nothing_to_wait_for() -> Outcome {
    let none: [&Receiver<u32>; 0] = [];
    let begun = Instant::now();
    assert!(wait(none, Some(MOMENT))?.is_empty());
    assert!(begun.elapsed() >= MOMENT - Duration::from_millis(1));
    Ok(())
}

fn queues_connections_processes_and_sockets_together() -> Outcome {
    let (queue, jobs) = (
        Queue::<u32>::bounded(4)?,
        JoinableQueue::<u32>::unbounded()?,
    );
    let (producer, consumer) = Queue::<u32>::bounded(4)?.split();
    let (here, there) = Pipe::<String>::duplex()?;
    let (unix, mut far) = UnixStream::pair()?;
    let step = Counter::new();
    let child = start(|| {
        let (producer, there) = (producer, there);
        step.reach(1);
        queue.put(1).unwrap();
        step.reach(2);
        jobs.put(2).unwrap();
        step.reach(3);
        producer.put(3).unwrap();
        step.reach(4);
        there.send("four".into()).unwrap();
        step.reach(5);
        far.write_all(b"five").unwrap();
    });
    let sources = [
        Source::from(&queue),
        Source::from(&jobs),
        Source::from(&consumer),
        Source::from(&here),
        Source::descriptor(&unix),
        Source::descriptor(&child),
    ];
    for n in 0..5 {
        step.count();
        let ready = wait_for(&sources[n..5]);
        assert_eq!(ready, [0], "after step {n}");
    }
    assert_eq!(wait_for(&sources[5..]), [0]);
    // The child is gone, and with it the producer and a connection's end.
    assert_eq!(queue.get()?, 1);
    assert_eq!(jobs.get()?, 2);
    assert_eq!(consumer.get()?, 3);
    assert_eq!(here.recv()?, "four");
    assert_eq!(wait_for(&sources), [2, 3, 4, 5]);
    assert_eq!(consumer.try_get(), Err(TryGetError::Closed));
    assert_eq!(here.try_recv(), Err(TryRecvError::Closed));
    ends_well(&child);
    queue.shut_down();
    assert!(wait_for(&sources).contains(&0));
    Ok(())
}

fn an_end_of_stream_is_something() -> Outcome {
    for how in 0..3 {
        let (rx, tx) = Pipe::<u32>::simplex()?;
        let (other, _kept) = Pipe::<u32>::simplex()?;
        let go = Counter::new();
        let child = {
            let go = go.clone();
            start(move || {
                go.reach(1);
                match how {
                    0 => tx.close(),
                    1 => kill_me(),
                    _ => drop(tx),
                }
                go.reach(2);
            })
        };
        let waiter = start(|| {
            let ready = wait([&other, &rx], None).unwrap();
            assert_eq!(ready, [1]);
            assert_eq!(rx.try_recv(), Err(TryRecvError::Closed));
        });
        polls(&waiter);
        go.count();
        ends_well(&waiter);
        go.count();
        let _ = ends(&child);
    }
    Ok(())
}

fn a_killed_peer_is_something_beside_one_that_is_always_ready() -> Outcome {
    let (rx, tx) = Pipe::<u32>::simplex()?;
    let (busy, feed) = Pipe::<u32>::simplex()?;
    let runs = Counter::new();
    let child = {
        let runs = runs.clone();
        start(move || {
            let _tx = tx;
            runs.count();
            loop {
                std::thread::park();
            }
        })
    };
    runs.reach(1);
    feed.send(1)?;
    // A server that always finds something to do.
    assert_eq!(wait([&rx, &busy], None)?, [1]);
    kill(&child);
    until("the other one's end", || {
        let ready = wait([&rx, &busy], None).unwrap();
        assert_eq!(ready.last(), Some(&1));
        ready.first() == Some(&0)
    });
    assert_eq!(rx.recv(), Err(RecvError::Closed));
    Ok(())
}

fn closed_here_while_another_thread_waits() -> Outcome {
    let (rx, _tx) = Pipe::<u32>::simplex()?;
    std::thread::scope(|scope| {
        let (told, rx) = (std::sync::mpsc::channel(), &rx);
        let waiter = scope.spawn(move || {
            // SAFETY: only asks.
            told.0.send(unsafe { libc::gettid() as u32 }).unwrap();
            wait([rx], None).unwrap()
        });
        let tid = told.1.recv().unwrap();
        until("the thread to sleep in poll", || sleeps_in_poll(tid));
        rx.close();
        assert_eq!(waiter.join().unwrap(), [0]);
    });
    Ok(())
}

fn an_empty_message_is_something() -> Outcome {
    let pipe = Pipe::<Vec<u8>>::options().codec::<Bytes>().simplex()?;
    let (rx, tx) = pipe;
    let waiter = start(|| assert_eq!(wait([&rx], None).unwrap(), [0]));
    polls(&waiter);
    tx.send_bytes(b"")?;
    ends_well(&waiter);
    assert_eq!(rx.recv()?, b"");
    nothing(&[Source::from(&rx)]);
    Ok(())
}

fn what_another_took_is_nothing() -> Outcome {
    let (rx, tx) = Pipe::<u32>::simplex()?;
    for _ in 0..200 {
        tx.send(1)?;
        let thief = start(|| rx.recv().map(drop));
        ends_well(&thief);
        assert!(wait([&rx], Some(Duration::ZERO))?.is_empty());
    }
    nothing(&[Source::from(&rx)]);
    Ok(())
}

fn a_loan_that_is_written_keeps_nobody_from_the_rest() -> Outcome {
    let (rx, tx) = Pipe::<Vec<u8>>::options().codec::<Bytes>().simplex()?;
    let (other, other_tx) = Pipe::<u32>::simplex()?;
    let (reader, mut writer) = std::io::pipe()?;
    let (holds, go) = (Counter::new(), Counter::new());
    let child = start(|| {
        let loan = tx.send_loan(100).unwrap();
        holds.count();
        go.reach(1);
        loan.commit();
    });
    holds.reach(1);
    let sources = [
        Source::from(&rx),
        Source::from(&other),
        Source::descriptor(&reader),
    ];
    let begun = Instant::now();
    nothing(&sources);
    assert!(begun.elapsed() >= MOMENT - Duration::from_millis(1));
    assert!(wait([&rx], Some(Duration::ZERO))?.is_empty());
    writer.write_all(b"x")?;
    assert_eq!(wait_for(&sources), [2]);
    let waiter = start(|| assert_eq!(wait([&rx, &rx], None).unwrap(), [0, 1]));
    let other_waiter = start(|| assert_eq!(wait_for(&sources[..2]), [1]));
    other_tx.send(1)?;
    ends_well(&other_waiter);
    go.count();
    ends_well(&waiter);
    assert_eq!(wait_for(&sources), [0, 1, 2]);
    ends_well(&child);
    Ok(())
}

fn a_writer_stopped_in_the_middle_keeps_nobody_from_the_timeout() -> Outcome {
    let (rx, tx) = Pipe::<Vec<u8>>::options().codec::<Bytes>().simplex()?;
    let holds = Counter::new();
    let child = start(|| {
        let loan = tx.send_loan(100).unwrap();
        holds.count();
        holds.reach(2);
        loan.commit();
    });
    holds.reach(1);
    send_signal(&child, libc::SIGSTOP);
    let begun = Instant::now();
    assert!(wait([&rx], Some(3 * MOMENT))?.is_empty());
    assert!(begun.elapsed() >= 3 * MOMENT - Duration::from_millis(1));
    // Killed where it stands, it is out of the way.
    kill(&child);
    nothing(&[Source::from(&rx)]);
    tx.send_bytes(b"x")?;
    assert_eq!(wait_for(&[Source::from(&rx)]), [0]);
    Ok(())
}

fn a_writer_that_waits_for_room_does_not_hide_what_is_there() -> Outcome {
    let (rx, tx) = Pipe::<u32>::options().capacity(1).simplex()?;
    tx.send(1)?;
    let child = start(|| tx.send(2));
    blocked(&child);
    for expected in [1, 2] {
        assert_eq!(wait_for(&[Source::from(&rx)]), [0]);
        assert_eq!(rx.recv()?, expected);
    }
    ends_well(&child);
    nothing(&[Source::from(&rx)]);
    Ok(())
}

fn several_processes_wait_for_one_queue() -> Outcome {
    const ALL: u64 = 3_000;
    let queue = Queue::<u64>::unbounded()?;
    let (sum, had) = (Counter::new(), Counter::new());
    let (stop_rx, stop) = Pipe::<u32>::simplex()?;
    let watchers: Vec<Process> = (0..4)
        .map(|_| {
            start(|| {
                loop {
                    let ready = wait([Source::from(&queue), Source::from(&stop_rx)], None).unwrap();
                    if let Ok(n) = queue.try_get() {
                        sum.add(n);
                        had.count();
                    } else if ready.contains(&1) {
                        break;
                    }
                }
            })
        })
        .collect();
    watchers.iter().for_each(polls);
    for n in 0..ALL {
        queue.put(n)?;
        if n % 100 == 0 {
            // All of them asleep again.
            had.reach(n + 1);
        }
    }
    had.reach(ALL);
    stop.send(1)?;
    watchers.iter().for_each(ends_well);
    assert_eq!((had.get(), sum.get()), (ALL, ALL * (ALL - 1) / 2));
    Ok(())
}

fn a_killed_watcher_harms_nobody() -> Outcome {
    let (rx, tx) = Pipe::<u32>::simplex()?;
    let queue = Queue::<u32>::unbounded()?;
    for round in 0..60 {
        let watch = || wait([Source::from(&rx), Source::from(&queue)], None).unwrap();
        let dies = start(|| drop(watch()));
        if round % 2 == 0 {
            polls(&dies); // it has armed both
        }
        let lives = start(|| assert!(!watch().is_empty()));
        polls(&lives);
        kill(&dies);
        match round % 3 {
            0 => queue.put(1)?,
            _ => tx.send(1)?,
        }
        ends_well(&lives);
        let _ = (rx.try_recv(), queue.try_get());
        nothing_at_once(&rx);
    }
    Ok(())
}

#[track_caller]
fn nothing_at_once(rx: &Receiver<u32>) {
    assert!(wait([rx], Some(Duration::ZERO)).unwrap().is_empty());
}

/// How many waits took so long that a slice must have ended them.
fn slow(times: &[Duration]) -> usize {
    let longest = times.iter().max().copied().unwrap_or_default();
    let slow = times.iter().filter(|t| **t >= Duration::from_millis(40));
    let slow = slow.count();
    let all: Duration = times.iter().sum();
    println!(
        "{slow} of {} waits took a slice; the longest {longest:?}, on average {:?}",
        times.len(),
        all / times.len() as u32
    );
    slow
}

fn a_hundred_thousand_rounds_through_wait() -> Outcome {
    const ROUNDS: u32 = 100_000;
    let (here, there) = Pipe::<u32>::duplex()?;
    let (idle, _kept) = Pipe::<u32>::duplex()?;
    let child = start(|| {
        let there = there;
        loop {
            assert_eq!(wait([&idle, &there], None).unwrap(), [1]);
            match there.try_recv() {
                Ok(n) => there.send(n + 1).unwrap(),
                Err(TryRecvError::Closed) => break,
                Err(other) => panic!("said to be ready: {other}"),
            }
        }
    });
    let mut took = Vec::new();
    for n in 0..ROUNDS {
        let begun = Instant::now();
        here.send(n)?;
        assert_eq!(wait_for(&[Source::from(&idle), Source::from(&here)]), [1]);
        assert_eq!(here.try_recv()?, n + 1);
        took.push(begun.elapsed());
    }
    // Lost wake-ups would make each round take a slice; a busy machine makes few of them slow.
    assert!(slow(&took) < ROUNDS as usize / 20);
    drop(here);
    ends_well(&child);
    Ok(())
}

fn two_watchers_and_a_blocking_reader_lose_no_wake_up() -> Outcome {
    const ALL: u32 = 20_000;
    let (rx, tx) = Pipe::<u32>::simplex()?;
    let had = Counter::new();
    let watcher = || {
        let (rx, had) = (rx.clone(), had.clone());
        start(move || {
            loop {
                assert_eq!(wait([&rx], None).unwrap(), [0]);
                match rx.try_recv() {
                    Ok(_) => drop(had.count()),
                    Err(TryRecvError::Empty) => {} // another was faster
                    Err(_) => break,
                }
            }
        })
    };
    let watchers = [watcher(), watcher()];
    let reader = {
        let (rx, had) = (rx.clone(), had.clone());
        start(move || {
            for message in &rx {
                message.unwrap();
                had.count();
            }
        })
    };
    drop(rx);
    let mut took = Vec::new();
    for n in 0..ALL {
        let begun = Instant::now();
        tx.send(n)?;
        // One at a time: nobody may sleep on while a message waits.
        let reached = u64::from(n) + 1;
        while had.get() < reached {
            assert!(begun.elapsed() < PATIENCE, "message {n} was not taken");
            std::hint::spin_loop();
        }
        took.push(begun.elapsed());
    }
    assert!(slow(&took) < ALL as usize / 20);
    drop(tx);
    watchers.iter().for_each(ends_well);
    ends_well(&reader);
    Ok(())
}

fn watchers_and_messages_with_descriptors() -> Outcome {
    // Taking such a message takes bells with it.
    const ALL: u64 = 3_000;
    let (rx, tx) = Pipe::<Option<Sender<u32>>>::simplex()?;
    let had = Counter::new();
    let readers: Vec<Process> = (0..3)
        .map(|who| {
            let (rx, had) = (rx.clone(), had.clone());
            start(move || {
                loop {
                    let got = match who {
                        0 => rx.recv().map_err(|_| true),
                        _ => {
                            assert_eq!(wait([&rx], None).unwrap(), [0]);
                            rx.try_recv().map_err(|e| e == TryRecvError::Closed)
                        }
                    };
                    match got {
                        Ok(_) => drop(had.count()),
                        Err(true) => break,
                        Err(false) => {}
                    }
                }
            })
        })
        .collect();
    drop(rx);
    let (_inner_rx, inner) = Pipe::<u32>::simplex()?;
    let mut took = Vec::new();
    for n in 0..ALL {
        let begun = Instant::now();
        tx.send((n % 2 == 0).then(|| inner.clone()))?;
        if n % 3 == 0 {
            while had.get() <= n {
                assert!(begun.elapsed() < PATIENCE, "message {n} was not taken");
                std::hint::spin_loop();
            }
            took.push(begun.elapsed());
        }
    }
    slow(&took);
    drop(tx);
    readers.iter().for_each(ends_well);
    assert_eq!(had.get(), ALL);
    Ok(())
}

fn an_end_that_moves_is_no_end() -> Outcome {
    let (rx, tx) = Pipe::<u32>::simplex()?;
    let watcher = start(move || {
        let mut had = 0;
        loop {
            assert_eq!(wait([&rx], None).unwrap(), [0]);
            match rx.try_recv() {
                Ok(n) => {
                    assert_eq!(n, had);
                    had += 1;
                }
                // Said to be ready, and is not: a bell rang for an end that was closed.
                Err(TryRecvError::Empty) => panic!("ready without a message or the end"),
                Err(TryRecvError::Closed) => break,
                Err(other) => panic!("{other}"),
            }
        }
        assert_eq!(had, 400);
    });
    let (here, there) = Pipe::<Sender<u32>>::duplex()?;
    let other = start(move || {
        while let Ok(tx) = there.recv() {
            there.send(tx.clone()).unwrap();
        }
    });
    let mut tx = tx;
    for n in 0..400 {
        here.send(tx)?;
        tx = here.recv()?;
        tx.send(n)?;
    }
    drop(tx);
    ends_well(&watcher);
    drop(here);
    ends_well(&other);
    Ok(())
}

fn a_watcher_that_was_moved_to_a_child_hears() -> Outcome {
    // Armed by the parent, moved, waited for by the child.
    let (rx, tx) = Pipe::<u32>::simplex()?;
    nothing(&[Source::from(&rx)]);
    let child = start(move || {
        assert_eq!(wait([&rx], None).unwrap(), [0]);
        assert_eq!(rx.recv(), Ok(1));
        assert_eq!(wait([&rx], None).unwrap(), [0]);
        assert_eq!(rx.recv(), Err(RecvError::Closed));
    });
    polls(&child);
    tx.send(1)?;
    polls_or_ends(&child);
    drop(tx);
    ends_well(&child);
    Ok(())
}

fn polls_or_ends(child: &Process) {
    until("a child to sleep in poll or to end", || {
        !child.is_alive() || sleeps_in_poll(child.pid())
    });
}

fn without_a_courier_it_takes_a_moment() -> Outcome {
    let (rx, tx) = Pipe::<u32>::options().without_courier().simplex()?;
    let (other, _kept) = Pipe::<u32>::simplex()?;
    let sources = [Source::from(&rx), Source::from(&other)];
    nothing(&sources);
    let mut took = Vec::new();
    for n in 0..200 {
        let waiter = start(|| assert_eq!(wait_for(&sources), [0]));
        polls(&waiter);
        let begun = Instant::now();
        tx.send(n)?;
        ends_well(&waiter);
        took.push(begun.elapsed());
        assert_eq!(rx.recv()?, n);
    }
    slow(&took);
    let waiter = start(|| assert_eq!(wait_for(&sources), [0]));
    polls(&waiter);
    drop(tx);
    ends_well(&waiter);
    Ok(())
}

fn opened_by_name_it_takes_a_moment() -> Outcome {
    let name = test::unique("wait");
    let queue = Queue::<u32>::create(&name)?;
    let opened = Queue::<u32>::open(&name)?;
    let (rx, _tx) = Pipe::<u32>::simplex()?;
    let sources = [Source::from(&rx), Source::from(&opened)];
    nothing(&sources);
    for n in 0..50 {
        let waiter = start(|| assert_eq!(wait_for(&sources), [1]));
        polls(&waiter);
        queue.put(n)?;
        ends_well(&waiter);
        assert_eq!(opened.get()?, n);
    }
    multiproc_segment::unlink(&name)?;
    Ok(())
}

fn the_creator_of_a_name_hears_of_what_others_put() -> Outcome {
    let name = test::unique("wait");
    let queue = Queue::<u32>::create(&name)?;
    let mut took = Vec::new();
    for n in 0..50 {
        let waiter = start(|| {
            assert_eq!(wait([&queue], None).unwrap(), [0]);
            assert_eq!(queue.try_get(), Ok(n));
        });
        polls(&waiter);
        let begun = Instant::now();
        let other = start(|| Queue::<u32>::open(&name).unwrap().put(n));
        ends_well(&other);
        ends_well(&waiter);
        took.push(begun.elapsed());
    }
    slow(&took);
    multiproc_segment::unlink(&name)?;
    Ok(())
}

fn as_many_as_the_limit_of_descriptors_allows_and_a_clear_error_above() -> Outcome {
    limit(libc::RLIMIT_NOFILE, 1_024);
    // Objects are made until the system says no, by a sentence.
    let mut pipes: Vec<(Receiver<u32>, Sender<u32>)> = Vec::new();
    let refused = loop {
        match Pipe::simplex() {
            Ok(pipe) if pipes.len() < 2_000 => pipes.push(pipe),
            Ok(_) => panic!("2,000 pipes in 1,024 descriptors"),
            Err(refused) => break refused,
        }
    };
    assert!(matches!(refused, CreateError::NoDescriptors), "{refused}");
    println!("{} pipes; then: {refused}", pipes.len());
    assert!(pipes.len() > 400, "{}", pipes.len());
    let readers = || pipes.iter().map(|(rx, _)| rx);
    assert!(wait(readers(), Some(Duration::ZERO))?.is_empty());
    for at in [0, pipes.len() / 2, pipes.len() - 1] {
        pipes[at].1.send(7)?;
        assert_eq!(wait(readers(), None)?, [at]);
        pipes[at].0.recv()?;
    }
    // 2,000 of them in one wait: above what `poll` takes.
    let many = || readers().cycle().take(2_000);
    match wait(many(), Some(Duration::ZERO)) {
        Err(why @ WaitError::Poll(_)) => {
            assert!(why.to_string().contains("so many"), "{why}");
        }
        other => {
            assert!(other?.is_empty());
            pipes[3].1.send(1)?;
            let ready = wait(many(), None)?;
            assert!(ready.iter().all(|at| at % pipes.len() == 3) && !ready.is_empty());
        }
    }
    // With fewer of them, all is well afterwards.
    pipes.truncate(100);
    pipes[99].1.send(1)?;
    assert!(wait(pipes.iter().map(|(rx, _)| rx), None)?.contains(&99));
    Ok(())
}

fn a_thousand_idle_ones_and_one_that_is_ready() -> Outcome {
    limit(libc::RLIMIT_NOFILE, 4_096);
    // Queues without their own courier would be mute; these are clones of some pipes.
    let pipes: Vec<(Receiver<u32>, Sender<u32>)> =
        (0..1_000).map(|_| Pipe::simplex().unwrap()).collect();
    let readers = || pipes.iter().map(|(rx, _)| rx);
    let waiter = start(|| {
        for (n, (rx, tx)) in pipes.iter().enumerate() {
            let ready = wait(readers(), None).unwrap();
            assert_eq!(ready, [n]);
            assert_eq!(rx.try_recv(), Ok(n as u32));
            tx.send(u32::MAX).unwrap();
            assert_eq!(rx.try_recv(), Ok(u32::MAX));
        }
    });
    polls(&waiter);
    let begun = Instant::now();
    for (n, (rx, tx)) in pipes.iter().enumerate() {
        tx.send(n as u32)?;
        until("the message to be taken", || {
            // Nothing is there any more, and nobody is in the middle of it.
            rx.poll(Duration::ZERO).is_ok_and(|there| !there)
        });
    }
    ends_well(&waiter);
    println!(
        "1,000 wake-ups among 1,000 objects in {:?}",
        begun.elapsed()
    );
    Ok(())
}

fn without_descriptors_left_a_wait_works() -> Outcome {
    let (rx, tx) = Pipe::<u32>::simplex()?;
    let (late, late_tx) = Pipe::<u32>::simplex()?;
    let runs = Counter::new();
    let dies = {
        let runs = runs.clone();
        start(move || {
            let _late_tx = late_tx;
            runs.count();
            loop {
                std::thread::park();
            }
        })
    };
    runs.reach(1);
    let waiter = start(|| {
        let open = std::fs::read_dir("/proc/self/fd").unwrap().count() as u64;
        limit(libc::RLIMIT_NOFILE, open + 8);
        let mut taken = Vec::new();
        while let Ok(file) = std::fs::File::open("/dev/null") {
            taken.push(file);
        }
        let sources = [Source::from(&rx), Source::from(&late)];
        assert!(wait(sources, Some(MOMENT)).unwrap().is_empty());
        runs.count();
        assert_eq!(wait_for(&sources), [0]);
        assert_eq!(rx.recv(), Ok(5));
        runs.count();
        // Whether somebody is alive cannot be seen in /proc now; that he is gone, can.
        assert_eq!(wait_for(&sources), [1]);
    });
    runs.reach(2);
    tx.send(5)?;
    runs.reach(3);
    kill(&dies);
    ends_well(&waiter);
    Ok(())
}

fn nothing_is_left_of_a_wait() -> Outcome {
    let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let (here, there): (Connection<u32>, Connection<u32>) = Pipe::duplex()?;
    let before = open();
    for n in 0..100 {
        assert!(wait([&here], Some(Duration::ZERO))?.is_empty());
        there.send(n)?;
        assert_eq!(wait([&here], None)?, [0]);
        here.recv()?;
    }
    assert_eq!(open(), before);
    // Waited for and rung often without being heard: no more than one bell is kept.
    let fd = here.receiver().clone();
    let _ = fd.poll(Duration::ZERO);
    for n in 0..2_000 {
        let _ = wait([&here], Some(Duration::ZERO))?;
        there.send(n)?;
        here.recv()?;
    }
    assert_eq!(open(), before);
    assert!(here.as_source_is_quiet());
    Ok(())
}

/// Nothing to be had, and `wait` sleeps rather than spins.
trait Quiet {
    fn as_source_is_quiet(&self) -> bool;
}

impl Quiet for Connection<u32> {
    fn as_source_is_quiet(&self) -> bool {
        // SAFETY: zeroes are a `rusage`; it is written to that local.
        let cpu = || unsafe {
            let mut usage: libc::rusage = std::mem::zeroed();
            libc::getrusage(libc::RUSAGE_SELF, &mut usage);
            let time = |t: libc::timeval| t.tv_sec as f64 + t.tv_usec as f64 / 1e6;
            time(usage.ru_utime) + time(usage.ru_stime)
        };
        let before = cpu();
        let ready = wait([self], Some(Duration::from_millis(500))).unwrap();
        ready.is_empty() && cpu() - before < 0.2
    }
}
