//! Many watchers, watchers that die, ends and watchers that move.

use crate::waits::{nothing, wait_for};
use common::*;
use multiproc_pipe::{Pipe, Receiver, RecvError, Sender, Source, TryRecvError, wait};
use multiproc_process::Process;
use multiproc_queue::Queue;
use std::time::{Duration, Instant};

pub(crate) fn several_processes_wait_for_one_queue() -> Outcome {
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

pub(crate) fn a_killed_watcher_harms_nobody() -> Outcome {
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
pub(crate) fn slow(times: &[Duration]) -> usize {
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

pub(crate) fn a_hundred_thousand_rounds_through_wait() -> Outcome {
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

pub(crate) fn two_watchers_and_a_blocking_reader_lose_no_wake_up() -> Outcome {
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

pub(crate) fn watchers_and_messages_with_descriptors() -> Outcome {
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

pub(crate) fn an_end_that_moves_is_no_end() -> Outcome {
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

pub(crate) fn a_watcher_that_was_moved_to_a_child_hears() -> Outcome {
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
