//! `RwLock<T>`: readers and writers that wait, time out, and die.

use common::*;
use multiproc_lock::{AcquireTimeoutError, OwnerDied, RwLock, TryAcquireError};
use multiproc_process::{Exit, Process, test};
use multiproc_segment::Shared;
use std::time::{Duration, Instant};

test::main! {
    many_read_and_one_writes,
    timeouts_are_kept,
    a_waiting_writer_is_not_starved_by_new_readers,
    a_killed_writer_is_reported_until_mended,
    a_writer_killed_while_it_waits_harms_nothing,
    a_killed_reader_is_cleared_away_and_reported_to_nobody,
    dead_readers_give_their_places_back,
    when_places_are_short_a_reader_waits,
    a_readers_thread_may_end_and_its_place_stays,
    a_fork_copies_no_ownership,
    debug_says_who_holds_it,
    #[timeout(180)]
    killed_at_random_nothing_is_torn_unnoticed,
}

fn shared<T: multiproc_lock::PlainData>(value: T) -> Shared<RwLock<T>> {
    Shared::new(RwLock::new(value)).unwrap()
}

fn park() -> ! {
    for_ever()
}

fn many_read_and_one_writes() -> Outcome {
    let data = shared([0_u64; 2]);
    let one = || {
        for n in 0..2_000 {
            if n % 4 == 0 {
                let mut held = data.write().unwrap();
                held[0] += 1;
                held[1] += 1;
            } else {
                let held = data.read().unwrap();
                assert_eq!(held[0], held[1]);
            }
        }
    };
    let children = Process::start_each(0..3, |_| {
        std::thread::scope(|scope| {
            scope.spawn(one);
            one();
        });
    })?;
    children.iter().for_each(ends_well);
    assert_eq!(*data.read().unwrap(), [3_000; 2]);
    // Two at a time, in two processes.
    let held = data.read().unwrap();
    assert_eq!(in_bare_fork(|| drop(data.try_read().unwrap())).unwrap(), 0);
    assert!(matches!(data.try_write(), Err(TryAcquireError::Held)));
    drop(held);
    let held = data.try_write().unwrap();
    assert!(matches!(data.try_read(), Err(TryAcquireError::Held)));
    assert!(matches!(data.try_write(), Err(TryAcquireError::Held)));
    drop(held);
    assert!(!data.is_locked());
    Ok(())
}

fn timeouts_are_kept() -> Outcome {
    let data = shared(0_u8);
    for write in [false, true] {
        let stage = Counter::new();
        let child = Process::start(|| {
            let (_writer, _reader);
            if write {
                _writer = data.write().unwrap();
            } else {
                _reader = data.read().unwrap();
            }
            stage.set(1);
            stage.reach(2);
        })?;
        stage.reach(1);
        for millis in [1, 51, 120] {
            let timeout = Duration::from_millis(millis);
            let begun = Instant::now();
            assert!(matches!(
                data.write_timeout(timeout),
                Err(AcquireTimeoutError::Timeout)
            ));
            if write {
                assert!(matches!(
                    data.read_timeout(timeout),
                    Err(AcquireTimeoutError::Timeout)
                ));
            } else {
                drop(data.read_timeout(timeout).unwrap());
            }
            assert!(begun.elapsed() >= timeout);
        }
        stage.set(2);
        drop(data.write_timeout(PATIENCE).unwrap());
        ends_well(&child);
    }
    Ok(())
}

fn a_waiting_writer_is_not_starved_by_new_readers() -> Outcome {
    let data = shared(0_u8);
    let held = data.read().unwrap();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| *data.write().unwrap() = 1);
        until("the writer to wait", || data.try_read().is_err());
        let reader = scope.spawn(|| *data.read().unwrap());
        assert!(data.read_timeout(SHORT).is_err());
        assert!(!writer.is_finished() && !reader.is_finished());
        drop(held);
        writer.join().unwrap();
        assert_eq!(reader.join().unwrap(), 1);
    });
    Ok(())
}

/// The crash table's row of a mutex, for a writer.
fn a_killed_writer_is_reported_until_mended() -> Outcome {
    let pair = shared([0_u64; 2]);
    let child = Process::start(|| {
        let mut held = pair.write().unwrap();
        held[0] = 1;
        kill_me();
    })?;
    assert_eq!(ends(&child), Exit::Signal(libc::SIGKILL));
    for _ in 0..2 {
        let Err(OwnerDied(held)) = pair.read() else {
            panic!()
        };
        assert!(held.owner_died());
        assert_eq!(*held, [1, 0]);
        drop(held);
        let Err(TryAcquireError::OwnerDied(held)) = pair.try_write() else {
            panic!()
        };
        drop(held); // not mended
    }
    let Err(OwnerDied(mut held)) = pair.write() else {
        panic!()
    };
    held[1] = 1;
    held.mended();
    drop(held);
    assert_eq!(*pair.read().unwrap(), [1, 1]);
    Ok(())
}

fn a_writer_killed_while_it_waits_harms_nothing() -> Outcome {
    let data = shared(0_u8);
    let stage = Counter::new();
    let reader = Process::start(|| {
        let held = data.read().unwrap();
        stage.set(1);
        stage.reach(2);
        drop(held);
    })?;
    stage.reach(1);
    let writer = Process::start(|| *data.write().unwrap() = 1)?;
    blocked(&writer);
    kill(&writer);
    drop(data.read().unwrap()); // it had the gate
    stage.set(2);
    assert_eq!(*data.write().unwrap(), 0);
    ends_well(&reader);
    Ok(())
}

fn a_killed_reader_is_cleared_away_and_reported_to_nobody() -> Outcome {
    let data = shared(0_u64);
    let inside = Counter::new();
    let mut times = Vec::new();
    for n in 0..100 {
        let readers = Process::start_each(0..2, |_| {
            let _held = data.read().unwrap();
            inside.count();
            park();
        })?;
        inside.reach(2 * n + 2);
        assert_eq!(data.readers(), 2);
        kill(&readers[0]);
        readers[1].kill()?;
        let killed = Instant::now();
        *data.write().unwrap() += 1;
        times.push(killed.elapsed());
        assert_eq!(ends(&readers[1]), Exit::Signal(libc::SIGKILL));
        assert_eq!(data.readers(), 0);
    }
    // And one that waits already.
    let reader = Process::start(|| {
        let _held = data.read().unwrap();
        inside.set(1_000);
        park();
    })?;
    inside.reach(1_000);
    let writer = Process::start(|| *data.write().unwrap() += 1)?;
    blocked(&writer);
    kill(&reader);
    ends_well(&writer);
    assert_eq!(*data.read().unwrap(), 101);
    println!(
        "from a reader's kill to the writer's lock: {}",
        spread(times)
    );
    Ok(())
}

fn dead_readers_give_their_places_back() -> Outcome {
    let data = Shared::new(RwLock::<u8, 2>::with_places(0))?;
    for _ in 0..10 {
        let reader = Process::start(|| std::mem::forget(data.read().unwrap()))?;
        ends_well(&reader);
    }
    assert_eq!(data.readers(), 2);
    drop(data.try_read().unwrap());
    drop(data.write().unwrap());
    assert_eq!(data.readers(), 0);
    Ok(())
}

fn when_places_are_short_a_reader_waits() -> Outcome {
    let data = Shared::new(RwLock::<u8, 2>::with_places(0))?;
    let (one, two) = (data.read().unwrap(), data.read().unwrap());
    assert!(matches!(data.try_read(), Err(TryAcquireError::Held)));
    assert!(matches!(
        data.read_timeout(SHORT),
        Err(AcquireTimeoutError::Timeout)
    ));
    drop(one);
    let stage = Counter::new();
    drop(two);
    let children = Process::start_each(0..6, |_| {
        for _ in 0..200 {
            let held = data.read().unwrap();
            assert!(data.readers() <= 2);
            drop(held);
        }
        stage.count();
    })?;
    children.iter().for_each(ends_well);
    assert_eq!(stage.get(), 6);
    Ok(())
}

fn a_readers_thread_may_end_and_its_place_stays() {
    let data = shared(0_u8);
    std::thread::scope(|scope| {
        scope.spawn(|| std::mem::forget(data.read().unwrap()));
    });
    assert!(matches!(
        data.write_timeout(SHORT),
        Err(AcquireTimeoutError::Timeout)
    ));
    assert_eq!(data.readers(), 1);
}

fn a_fork_copies_no_ownership() {
    let data = shared(1_u8);
    let mut held = Some(data.read().unwrap());
    assert_eq!(in_bare_fork(|| held = None).unwrap(), 0);
    assert_eq!(data.readers(), 1);
    drop(held);
    let mut held = Some(data.write().unwrap());
    assert_eq!(in_bare_fork(|| held = None).unwrap(), 0);
    assert!(data.try_read().is_err());
    drop(held);
    assert!(!data.is_locked());
    drop(data.read().unwrap());
}

fn debug_says_who_holds_it() -> Outcome {
    let data = shared(1_u8);
    assert_eq!(format!("{:?}", *data), "RwLock(free)");
    let one = data.read().unwrap();
    assert_eq!(format!("{:?} {one:?}", *data), "RwLock(read by 1) 1");
    drop(one);
    let one = data.write().unwrap();
    assert_eq!(
        format!("{:?} {one:?}", *data),
        "RwLock(held by this thread) 1"
    );
    drop(one);
    let child = Process::start(|| std::mem::forget(data.write().unwrap()))?;
    ends_well(&child);
    assert_eq!(format!("{:?}", *data), "RwLock(free, not mended)");
    Ok(())
}

fn killed_at_random_nothing_is_torn_unnoticed() -> Outcome {
    let kills = setting("KILLS", 300);
    let (data, torn, turns) = (shared([0_u64; 2]), Counter::new(), Counter::new());
    let write = || {
        let mut held = data.write().unwrap_or_else(|OwnerDied(mut held)| {
            held[1] = held[0];
            held.mended();
            held
        });
        if held[0] != held[1] {
            torn.set(1);
        }
        held[0] += 1;
        for _ in 0..100 {
            std::hint::spin_loop();
        }
        held[1] += 1;
        turns.count();
    };
    let play = |_: u64| -> () {
        for n in 0.. {
            if n % 3 == 0 {
                write();
                continue;
            }
            if let Ok(held) = data.read() {
                if held[0] != held[1] {
                    torn.set(2);
                }
                turns.count();
            }
        }
    };
    let mut players = Process::start_each(0..3, play)?;
    let (mut dice, mut times) = (Dice::new(0xfeed), Vec::new());
    for _ in 0..kills {
        std::thread::sleep(Duration::from_micros(dice.below(1_500)));
        let victim = players.remove(dice.below(3) as usize);
        kill(&victim);
        let begun = Instant::now();
        write();
        times.push(begun.elapsed());
        assert_eq!(torn.get(), 0);
        players.push(Process::start(|| play(0))?);
    }
    players.iter().for_each(kill);
    println!(
        "{kills} kills, {} turns; a write afterwards: {}",
        turns.get(),
        spread(times)
    );
    Ok(())
}
