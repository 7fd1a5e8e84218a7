//! What a queue costs while nothing happens: descriptors, memory, wake-ups.

use common::*;
use multiproc_process::{Process, test};
use multiproc_queue::{CreateError, JoinableQueue, Queue};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

test::main! {
    a_thousand_queues_live_on_1024_descriptors,
    an_idle_queue_costs_less_than_100_kib,
    a_blocked_process_wakes_less_than_25_times_a_second,
}

fn a_thousand_queues_live_on_1024_descriptors() -> Outcome {
    limit(libc::RLIMIT_NOFILE, 1_024);
    // One descriptor each; a courier is a second one.
    let lone = Queue::<u64>::options().capacity(10).without_courier();
    let queues: Result<Vec<_>, _> = (0..1_000).map(|_| lone.build()).collect();
    let mut queues = queues?;
    let child = Process::start(|| {
        for (n, queue) in queues.iter().enumerate() {
            queue.put(n as u64).unwrap();
        }
    })?;
    ends_well(&child);
    for (n, queue) in queues.iter().enumerate() {
        assert_eq!(queue.get()?, n as u64);
    }
    // Beyond the limit, a sentence that says what is missing, and nothing half-made.
    let refused = loop {
        match lone.build() {
            Ok(queue) => queues.push(queue),
            Err(refused) => break refused,
        }
    };
    assert!(matches!(refused, CreateError::Segment(_)));
    assert!(refused.to_string().contains("descriptor"), "{refused}");
    println!("{} queues, then: {refused}", queues.len());
    queues.pop();
    queues.push(lone.build()?);
    queues.clear();
    // With couriers, half as many.
    let queues: Result<Vec<_>, _> = (0..500).map(|_| Queue::<u64>::bounded(10)).collect();
    assert_eq!(queues?.len(), 500);
    Ok(())
}

/// Bytes of memory behind the anonymous objects that this process has open.
fn memory_of_objects() -> u64 {
    let descriptors = fs::read_dir("/proc/self/fd").unwrap().flatten();
    descriptors
        .filter(|fd| {
            let target = fs::read_link(fd.path()).unwrap_or_default();
            target.to_string_lossy().contains("memfd:multiproc")
        })
        .map(|fd| fs::metadata(fd.path()).map_or(0, |meta| meta.blocks() * 512))
        .sum()
}

fn an_idle_queue_costs_less_than_100_kib() -> Outcome {
    const MANY: u64 = 200;
    let (memory, rss) = (memory_of_objects(), resident(std::process::id()));
    let queues: Result<Vec<_>, _> = (0..MANY).map(|_| Queue::<String>::unbounded()).collect();
    let ends: Vec<_> = queues?.into_iter().map(Queue::split).collect();
    for (tx, rx) in &ends {
        tx.put("used once".into())?;
        rx.get()?;
    }
    let memory = (memory_of_objects() - memory) / MANY;
    let rss = resident(std::process::id()).saturating_sub(rss) / MANY;
    println!("per queue: {memory} bytes of shared memory, {rss} resident here");
    assert!((1..100 << 10).contains(&memory), "{memory} bytes");
    assert!(rss < 100 << 10, "{rss} bytes");
    Ok(())
}

/// How often a process has gone to sleep of itself so far: once per wake-up.
fn sleeps(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("voluntary_ctxt"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn a_blocked_process_wakes_less_than_25_times_a_second() -> Outcome {
    let empty = Queue::<u64>::bounded(1)?;
    let full = JoinableQueue::<u64>::bounded(1)?;
    full.put(1)?;
    let (tx, rx) = Queue::<u64>::bounded(1)?.split();
    let waiting = [
        (
            "get, first in line",
            Process::start(|| empty.get().map(drop))?,
        ),
        (
            "get, second in line",
            Process::start(|| empty.get().map(drop))?,
        ),
        (
            "put, first in line",
            Process::start(|| full.put(2).map(drop))?,
        ),
        (
            "put, second in line",
            Process::start(|| full.put(3).map(drop))?,
        ),
        ("join", Process::start(|| full.join())?),
        (
            "get of a registered consumer",
            Process::start(|| rx.get().map(drop))?,
        ),
    ];
    let mut before = Vec::new();
    for (_, child) in &waiting {
        blocked(child);
        before.push(sleeps(child.pid()));
    }
    // A rate needs a time; a busy machine makes it only lower.
    const SECONDS: u64 = 2;
    std::thread::sleep(Duration::from_secs(SECONDS));
    for ((what, child), before) in waiting.iter().zip(before) {
        let rate = (sleeps(child.pid()) - before) as f64 / SECONDS as f64;
        println!("{what}: {rate} wake-ups a second");
        assert!(rate < 25.0, "{what}: {rate} wake-ups a second");
    }
    empty.shut_down();
    tx.queue().shut_down();
    for _ in 0..3 {
        full.get()?;
        full.task_done()?;
    }
    for (what, child) in &waiting {
        assert!(ends(child).code() <= 1, "{what}");
    }
    Ok(())
}
