//! Without a courier, without descriptors, with a thousand sources.

use crate::waits::{MOMENT, nothing, wait_for};
use crate::watchers::slow;
use common::*;
use multiproc_pipe::{Connection, CreateError, Pipe, Receiver, Sender, Source, WaitError, wait};
use multiproc_process::test;
use multiproc_queue::Queue;
use std::time::{Duration, Instant};

pub(crate) fn without_a_courier_it_takes_a_moment() -> Outcome {
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

pub(crate) fn opened_by_name_it_takes_a_moment() -> Outcome {
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

pub(crate) fn the_creator_of_a_name_hears_of_what_others_put() -> Outcome {
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

pub(crate) fn as_many_as_the_limit_of_descriptors_allows_and_a_clear_error_above() -> Outcome {
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

pub(crate) fn a_thousand_idle_ones_and_one_that_is_ready() -> Outcome {
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

pub(crate) fn without_descriptors_left_a_wait_works() -> Outcome {
    let (rx, tx) = Pipe::<u32>::simplex()?;
    let (late, late_tx) = Pipe::<u32>::simplex()?;
    let runs = Counter::new();
    let dies = {
        let runs = runs.clone();
        start(move || {
            let _late_tx = late_tx;
            runs.count();
            for_ever()
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

pub(crate) fn nothing_is_left_of_a_wait() -> Outcome {
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
