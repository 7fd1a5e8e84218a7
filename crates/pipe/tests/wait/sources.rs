//! What is ready, and what is not: connections, queues, sockets, processes.

use crate::waits::{MOMENT, nothing, wait_for};
use common::*;
use multiproc_pipe::codec::Bytes;
use multiproc_pipe::{Pipe, Receiver, RecvError, Source, TryRecvError, wait};
use multiproc_process::Exit;
use multiproc_queue::{JoinableQueue, Queue, TryGetError};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// W1
pub(crate) fn four_readers_ten_messages_each_and_the_ends() -> Outcome {
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
pub(crate) fn plain_sockets_beside_connections() -> Outcome {
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
pub(crate) fn a_sentinel_and_a_connection_and_a_pipe_exactly_as_they_become_ready() -> Outcome {
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
pub(crate) fn no_time_to_wait_returns_at_once_with_nothing() -> Outcome {
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

pub(crate) fn the_positions_are_all_and_in_order() -> Outcome {
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

pub(crate) fn a_timeout_is_not_early_and_signals_do_not_matter() -> Outcome {
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

pub(crate) fn nothing_to_wait_for() -> Outcome {
    let none: [&Receiver<u32>; 0] = [];
    let begun = Instant::now();
    assert!(wait(none, Some(MOMENT))?.is_empty());
    assert!(begun.elapsed() >= MOMENT - Duration::from_millis(1));
    Ok(())
}

pub(crate) fn queues_connections_processes_and_sockets_together() -> Outcome {
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

pub(crate) fn an_end_of_stream_is_something() -> Outcome {
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

pub(crate) fn a_killed_peer_is_something_beside_one_that_is_always_ready() -> Outcome {
    let (rx, tx) = Pipe::<u32>::simplex()?;
    let (busy, feed) = Pipe::<u32>::simplex()?;
    let runs = Counter::new();
    let child = {
        let runs = runs.clone();
        start(move || {
            let _tx = tx;
            runs.count();
            for_ever()
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

pub(crate) fn closed_here_while_another_thread_waits() -> Outcome {
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

pub(crate) fn an_empty_message_is_something() -> Outcome {
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

pub(crate) fn what_another_took_is_nothing() -> Outcome {
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
