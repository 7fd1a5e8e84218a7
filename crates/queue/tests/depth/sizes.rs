//! Capacities in bytes, messages of any size, and memory that is given back.

use crate::made::{MIB, Messages};
use common::*;
use common::{Name, own_small_dev_shm};
use multiproc_process::Exit;
use multiproc_queue::codec::Bytes;
use multiproc_queue::{JoinableQueue, PutError, Queue, TryGetError, TryPutError};
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;

pub(crate) fn a_capacity_in_bytes_is_full_before_the_one_in_items() -> Outcome {
    let options = Queue::<Vec<u8>>::options().capacity(1000).bytes(10_000);
    let queue = options.codec::<Bytes>().build()?;
    let mut put = 0;
    let full = loop {
        match queue.try_put(pattern(put, 992)) {
            Ok(()) => put += 1,
            Err(full) => break full,
        }
    };
    assert!(matches!(full, TryPutError::Full(_)), "{full}");
    assert_eq!(full.into_message(), pattern(put, 992), "handed back");
    assert!((8..=10).contains(&put), "{put} of 1000 bytes in 10,000");
    assert_eq!(queue.len() as u64, put);
    let writer = start(|| queue.put(pattern(put, 992)).unwrap());
    blocked(&writer);
    for n in 0..=put {
        assert_eq!(number_of(&queue.get_timeout(PATIENCE)?), n);
    }
    ends_well(&writer);
    // Small ones fill it as well, and it carries on as long as somebody reads.
    for n in 0..10_000 {
        queue.put_timeout(pattern(n, 8 + n as usize % 200), PATIENCE)?;
        if n >= 20 {
            assert_eq!(number_of(&queue.get_timeout(PATIENCE)?), n - 20);
        }
    }
    assert_eq!(queue.len(), 20);
    Ok(())
}

pub(crate) fn a_message_larger_than_the_capacity_in_bytes_enters_alone() -> Outcome {
    let options = Queue::<Vec<u8>>::options().bytes(10_000);
    let queue = options.codec::<Bytes>().build()?;
    queue.put(pattern(1, 100))?;
    assert!(matches!(
        queue.try_put(pattern(2, 50_000)),
        Err(TryPutError::Full(_))
    ));
    let writer = start(|| queue.put(pattern(2, 50_000)).unwrap());
    blocked(&writer);
    assert_eq!(queue.len(), 1);
    assert_eq!(number_of(&queue.get()?), 1);
    ends_well(&writer);
    // As long as it is there, nothing else enters.
    assert!(matches!(
        queue.try_put(pattern(3, 8)),
        Err(TryPutError::Full(_))
    ));
    let writer = start(|| queue.put(pattern(3, 8)).unwrap());
    blocked(&writer);
    assert_eq!(number_of(&queue.get()?), 2);
    ends_well(&writer);
    assert_eq!(number_of(&queue.get()?), 3);
    Ok(())
}

pub(crate) fn small() -> Messages {
    let options = Queue::<Vec<u8>>::options().bytes(MIB);
    options.codec::<Bytes>().build().unwrap()
}

pub(crate) fn a_message_of_64_mib_goes_through_a_queue_of_1_mib() -> Outcome {
    let queue = small();
    let writer = start(|| {
        for n in 0..3 {
            queue.put_bytes(&pattern(n, 64 * MIB)).unwrap();
        }
    });
    let mut message = Vec::new();
    for n in 0..3 {
        queue.get_into_vec(&mut message)?;
        assert_eq!((message.len(), number_of(&message)), (64 * MIB, n));
    }
    ends_well(&writer);
    assert_eq!(queue.len(), 0);
    Ok(())
}

pub(crate) fn huge_messages_between_small_ones_arrive_in_order() -> Outcome {
    let queue = small();
    let len = |n: u64| match n % 7 {
        3 => 20 * MIB,
        5 => 2 * MIB,
        _ => 8 + 1000 * (n % 100) as usize,
    };
    let writer = start(|| (0..35).for_each(|n| queue.put_bytes(&pattern(n, len(n))).unwrap()));
    let mut message = Vec::new();
    for n in 0..35 {
        queue.get_into_vec(&mut message)?;
        assert_eq!((message.len(), number_of(&message)), (len(n), n));
    }
    ends_well(&writer);
    // Two producers: nothing torn, and each one's order.
    let tagged = |who: u64, n: u64| who * 1000 + n;
    let send = |who: u64| {
        for n in 0..15 {
            queue.put_bytes(&pattern(tagged(who, n), len(n))).unwrap();
        }
    };
    let writers = [start(|| send(1)), start(|| send(2))];
    let mut next = [0; 3];
    for _ in 0..30 {
        queue.get_into_vec(&mut message)?;
        let number = number_of(&message);
        let (who, n) = (number as usize / 1000, number % 1000);
        assert_eq!((n, message.len()), (next[who], len(n)));
        next[who] += 1;
    }
    writers.iter().for_each(ends_well);
    Ok(())
}

pub(crate) fn a_queue_without_capacity_is_never_full() -> Outcome {
    let queue = Queue::<u64>::unbounded()?;
    assert_eq!(queue.capacity(), i32::MAX as usize);
    assert!(!queue.is_full());
    for n in 0..100_000 {
        queue.try_put(n)?;
    }
    assert!(!queue.is_full());
    assert_eq!(queue.len(), 100_000);
    let child = start(|| (0..100_000).for_each(|n| assert_eq!(queue.try_get(), Ok(n))));
    ends_well(&child);
    assert!(queue.is_empty() && !queue.is_full());
    Ok(())
}

/// Bytes of memory behind the segments that this process has open.
fn memory() -> u64 {
    let mut inodes = BTreeMap::new();
    for entry in std::fs::read_dir("/proc/self/fd").unwrap() {
        let path = entry.unwrap().path();
        let place = std::fs::read_link(&path).unwrap_or_default();
        let place = place.to_string_lossy();
        if place.starts_with("/memfd:") || place.starts_with("/dev/shm/") {
            let meta = std::fs::metadata(&path).unwrap();
            inodes.insert((meta.dev(), meta.ino()), meta.blocks() * 512);
        }
    }
    assert!(!inodes.is_empty(), "no segment is open");
    inodes.values().sum()
}

pub(crate) fn two_million_queued_messages_are_all_there_and_their_memory_comes_back() -> Outcome {
    const ALL: u64 = 2_000_000;
    let queue = Queue::<u64>::unbounded()?;
    queue.put(0)?;
    queue.get()?;
    let before = memory();
    let writer = start(|| {
        (0..ALL / 2).for_each(|n| queue.put(n).unwrap());
        queue.put_many(ALL / 2..ALL).unwrap();
    });
    assert_eq!(writer.join()?, Exit::Code(0));
    assert_eq!(queue.len() as u64, ALL);
    let full = memory();
    assert!(full > before + 16 * MIB as u64);
    let reader = start(|| {
        (0..ALL / 2).for_each(|n| assert_eq!(queue.get(), Ok(n)));
        let mut rest = Vec::new();
        queue.drain_into(&mut rest).unwrap();
        assert!(rest.into_iter().eq(ALL / 2..ALL));
    });
    assert_eq!(reader.join()?, Exit::Code(0));
    assert_eq!(queue.len(), 0);
    let after = memory();
    println!("{before} bytes at first, {full} with {ALL} messages, {after} without");
    assert!(after <= before + MIB as u64);
    // And it works as before.
    queue.put_many(0..1000)?;
    assert_eq!(queue.get_many(2000)?, (0..1000).collect::<Vec<_>>());
    Ok(())
}

pub(crate) fn memory_comes_back_also_after_a_huge_message() -> Outcome {
    let queue = small();
    queue.put_bytes(b"x")?;
    queue.get()?;
    let before = memory();
    for _ in 0..2 {
        queue.put(pattern(1, 64 * MIB))?;
        assert!(memory() > before + 63 * MIB as u64);
        assert_eq!(number_of(&queue.get()?), 1);
        assert!(memory() <= before + MIB as u64);
    }
    // What a task was kept in, too: at the next one.
    let tasks = JoinableQueue::from(queue);
    tasks.put(pattern(2, 64 * MIB))?;
    tasks.get_task()?.done();
    tasks.put(pattern(3, 8))?;
    tasks.get_task()?.done();
    assert!(memory() <= before + MIB as u64, "{}", memory());
    Ok(())
}

/// A /dev/shm of `bytes` for this process alone, or a word that it cannot be.
fn small_dev_shm(bytes: usize) -> bool {
    let made = own_small_dev_shm(bytes);
    if let Err(error) = &made {
        println!("skipped: /dev/shm cannot be replaced for one process here: {error}");
    }
    made.is_ok()
}

pub(crate) fn no_memory_in_the_middle_of_growth_is_an_error_and_loses_nothing() -> Outcome {
    if !small_dev_shm(4 * MIB) {
        return Ok(());
    }
    let name = Name::new("depth");
    let options = Queue::<Vec<u8>>::options().codec::<Bytes>();
    let queue = options.create(&name)?;
    for round in 0..4 {
        // By one process, until the memory is full; the message comes back.
        let put = Counter::new();
        let writer = start(|| {
            loop {
                match queue.put(pattern(put.get(), 30_000)) {
                    Ok(()) => put.count(),
                    Err(PutError::NoMemory { message, bytes }) => {
                        assert!(bytes > 0);
                        assert_eq!(message, pattern(put.get(), 30_000));
                        return;
                    }
                    Err(error) => panic!("{error}"),
                };
            }
        });
        ends_well(&writer);
        assert!(put.get() > 50, "{}", put.get());
        // In a batch the error is about the first that did not enter.
        let error = queue
            .put_many((0..200).map(|n| pattern(n, 30_000)))
            .unwrap_err();
        assert!(matches!(error.why, PutError::NoMemory { .. }), "{error}");
        assert_eq!(number_of(&error.rest[0]), error.put as u64);
        // One that is larger than all of the memory, with an empty queue, is refused, too.
        let all: Vec<u64> = (0..put.get()).chain(0..error.put as u64).collect();
        assert_eq!(queue.len(), all.len());
        let reader = start(|| {
            for n in &all {
                assert_eq!(number_of(&queue.get_timeout(PATIENCE).unwrap()), *n);
            }
        });
        ends_well(&reader);
        assert_eq!(queue.try_get(), Err(TryGetError::Empty), "round {round}");
        let huge = queue.put_bytes(&pattern(1, 5 * MIB));
        assert!(matches!(huge, Err(PutError::NoMemory { .. })));
        for n in 0..300 {
            queue.put(pattern(n, 8 + 100 * n as usize))?;
            assert_eq!(number_of(&queue.get()?), n);
        }
    }
    Queue::<Vec<u8>>::unlink(&name)?;
    Ok(())
}

pub(crate) fn no_memory_to_keep_a_task_is_an_error_and_loses_nothing() -> Outcome {
    if !small_dev_shm(4 * MIB) {
        return Ok(());
    }
    let name = Name::new("depth");
    let options = Queue::<Vec<u8>>::options().codec::<Bytes>();
    let tasks = JoinableQueue::from(options.create(&name)?);
    tasks.put(pattern(1, 2 * MIB))?;
    tasks.put(pattern(2, 100))?;
    let none = tasks.try_get_task();
    assert!(
        matches!(none, Err(TryGetError::NoMemory { .. })),
        "{none:?}"
    );
    drop(none);
    assert_eq!((tasks.len(), tasks.unfinished()), (2, 2));
    // Without a claim it can be had.
    assert_eq!(number_of(&tasks.get()?), 1);
    tasks.task_done()?;
    tasks.put(pattern(3, 100))?;
    for n in [2, 3] {
        assert_eq!(number_of(&tasks.get_task()?), n);
    }
    tasks.join()?;
    Queue::<Vec<u8>>::unlink(&name)?;
    Ok(())
}
