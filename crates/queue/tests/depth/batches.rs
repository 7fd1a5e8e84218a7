//! Many messages at a time.

use crate::made::{numbers, with};
use common::*;
use multiproc_process::Exit;
use multiproc_queue::codec::Bytes;
use multiproc_queue::{GetError, GetTimeoutError, PutError, Queue, TryGetError};
use serde::{Deserialize, Serialize, Serializer};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

pub(crate) fn a_batch_keeps_its_order_through_every_get() -> Outcome {
    let queue = with(Queue::<u64>::unbounded()?, 1000);
    let child = start(|| {
        assert_eq!(queue.get().unwrap(), 0);
        assert_eq!(queue.get_many(99).unwrap(), (1..100).collect::<Vec<_>>());
        assert_eq!(queue.try_get_many(1).unwrap(), [100]);
        let some = queue.get_many_timeout(100, PATIENCE).unwrap();
        assert_eq!(some, (101..201).collect::<Vec<_>>());
    });
    ends_well(&child);
    let mut rest = vec![7];
    assert_eq!(queue.drain_into(&mut rest)?, 799);
    assert_eq!(rest[1..], (201..1000).collect::<Vec<_>>());
    assert_eq!((queue.len(), queue.drain_into(&mut rest)?), (0, 0));
    // Strings, too: groups of different lengths.
    let words = Queue::<String>::bounded(5000)?;
    let all: Vec<String> = (0..3000).map(|n| "x".repeat(n % 97)).collect();
    assert_eq!(words.put_many(all.clone())?, 3000);
    let (_, reader) = words.split();
    assert_eq!(reader.get_many(usize::MAX)?, all);
    Ok(())
}

pub(crate) fn a_batch_that_fits_enters_as_one_group() -> Outcome {
    let (queue, seen) = (numbers(), Queue::<usize>::unbounded()?);
    // All of it below the first 32 KiB, where nothing has to wrap.
    let writer = start(|| {
        for _ in 0..20 {
            until("the last group to be had", || queue.is_empty());
            queue.put_many(0..64).unwrap();
        }
    });
    let reader = start(|| {
        for _ in 0..20 {
            seen.put(queue.get_many(1000).unwrap().len()).unwrap();
        }
    });
    for _ in 0..20 {
        assert_eq!(seen.get_timeout(PATIENCE)?, 64);
    }
    ends_well(&writer);
    ends_well(&reader);
    Ok(())
}

pub(crate) fn a_batch_larger_than_the_capacity_waits_for_room_and_loses_nothing() -> Outcome {
    for capacity in [1, 7, 64] {
        let queue = Queue::<u64>::bounded(capacity)?;
        let writer = start(|| queue.put_many(0..500).unwrap() as i32 - 500);
        blocked(&writer);
        assert!(queue.is_full());
        let mut got = Vec::new();
        while got.len() < 500 {
            let group = queue.get_many_timeout(10, PATIENCE)?;
            assert!((1..=capacity.min(10)).contains(&group.len()));
            got.extend(group);
        }
        assert_eq!(got, (0..500).collect::<Vec<_>>());
        ends_well(&writer);
        assert_eq!(queue.try_get(), Err(TryGetError::Empty));
    }
    // And where the bytes are what it has too few of.
    let options = Queue::<Vec<u8>>::options().bytes(10_000);
    let queue = options.codec::<Bytes>().build()?;
    let batch = || (0..100).map(|n| pattern(n, 1000 + n as usize));
    let writer = start(|| queue.put_many(batch()).unwrap() as i32 - 100);
    blocked(&writer);
    assert!(queue.len() <= 10);
    for n in 0..100 {
        assert_eq!(number_of(&queue.get_timeout(PATIENCE)?), n);
    }
    ends_well(&writer);
    Ok(())
}

pub(crate) fn batches_of_several_producers_keep_each_ones_order() -> Outcome {
    let queue = Queue::<(u64, u64)>::bounded(100)?;
    let (tx, rx) = queue.split();
    let writers: Vec<_> = (0..3)
        .map(|who| {
            let tx = tx.clone();
            start(move || {
                let mut dice = Dice::new(who);
                let mut n = 0;
                while n < 3000 {
                    let end = (n + 1 + dice.below(150)).min(3000);
                    tx.put_many((n..end).map(|n| (who, n))).unwrap();
                    n = end;
                }
            })
        })
        .collect();
    drop(tx);
    let mut next: BTreeMap<u64, u64> = BTreeMap::new();
    let mut dice = Dice::new(99);
    loop {
        match rx.get_many(1 + dice.below(200) as usize) {
            Ok(group) => {
                for (who, n) in group {
                    let expected = next.entry(who).or_default();
                    assert_eq!(n, *expected, "producer {who}");
                    *expected += 1;
                }
            }
            Err(GetError::Closed) => break,
            Err(error) => return Err(error.into()),
        }
    }
    assert_eq!(next, (0..3).map(|who| (who, 3000)).collect());
    writers.iter().for_each(ends_well);
    Ok(())
}

/// A number that cannot be serialised if it is 13.
#[derive(Deserialize, PartialEq, Debug)]
struct Fussy(u64);

impl Serialize for Fussy {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            13 => Err(serde::ser::Error::custom("13 will not do")),
            n => s.serialize_u64(n),
        }
    }
}

pub(crate) fn an_item_that_cannot_be_encoded_stops_a_batch_and_comes_back_with_the_rest() -> Outcome
{
    let queue = Queue::<Fussy>::unbounded()?;
    let mut items = (0..20).map(Fussy);
    let error = queue.put_many(&mut items).unwrap_err();
    assert_eq!(error.put, 13);
    assert!(matches!(error.why, PutError::Encode { .. }), "{error}");
    // It comes first, and then what was taken with it. Nothing is put twice, nothing dropped.
    assert_eq!(error.rest[0], Fussy(13));
    let rest = error.rest.into_iter().skip(2).chain(items);
    assert_eq!(queue.put_many(rest)?, 5);
    let got: Vec<u64> = queue.get_many(100)?.into_iter().map(|n| n.0).collect();
    assert_eq!(got, (0..13).chain(15..20).collect::<Vec<_>>());
    Ok(())
}

pub(crate) fn an_item_that_is_too_large_stops_a_batch_and_comes_back_with_the_rest() -> Outcome {
    let options = Queue::<Vec<u8>>::options().reserve(64 << 10);
    let queue = options.codec::<Bytes>().build()?;
    let batch = [8, 9, 40_000, 10].map(|len| pattern(len, len as usize));
    let error = queue.put_many(batch.clone()).unwrap_err();
    assert_eq!((error.put, &error.rest[..]), (2, &batch[2..]));
    let PutError::TooLarge { bytes, most, .. } = error.why else {
        panic!("{error}");
    };
    assert!(bytes == 40_000 && most < bytes);
    assert_eq!(queue.get_many(9)?, batch[..2]);
    Ok(())
}

pub(crate) fn a_shutdown_stops_a_batch_and_hands_the_rest_back() -> Outcome {
    let queue = Queue::<u64>::bounded(4)?;
    let told = Queue::<(usize, Vec<u64>)>::unbounded()?;
    let writer = start(|| {
        let error = queue.put_many(0..10).unwrap_err();
        assert!(matches!(error.why, PutError::Closed(())));
        told.put((error.put, error.rest)).unwrap();
    });
    blocked(&writer);
    queue.shut_down();
    assert_eq!(told.get_timeout(PATIENCE)?, (4, (4..10).collect()));
    ends_well(&writer);
    assert_eq!(queue.get_many(9)?, [0, 1, 2, 3]);
    assert_eq!(queue.get_many(9), Err(GetError::Closed));
    let error = queue.put_many([5, 6]).unwrap_err();
    assert_eq!((error.put, error.rest), (0, vec![5, 6]));
    Ok(())
}

pub(crate) fn get_many_waits_for_one_and_takes_no_more_than_asked() -> Outcome {
    let (queue, got) = (numbers(), Queue::<Vec<u64>>::unbounded()?);
    let timeout = Duration::from_millis(20);
    let begun = Instant::now();
    let late = queue.get_many_timeout(5, timeout);
    assert_eq!(late, Err(GetTimeoutError::Timeout));
    assert!(begun.elapsed() >= timeout);
    assert_eq!(queue.try_get_many(5), Err(TryGetError::Empty));
    assert_eq!(queue.get_many(0), Ok(vec![]));
    let reader = start(|| got.put(queue.get_many(5).unwrap()));
    blocked(&reader);
    queue.put(1)?;
    assert_eq!(got.get_timeout(PATIENCE)?, [1]);
    ends_well(&reader);
    queue.put_many(0..10)?;
    assert_eq!(queue.get_many(3)?, [0, 1, 2]);
    assert_eq!(queue.len(), 7);
    Ok(())
}

pub(crate) fn get_many_takes_what_is_left_of_dead_producers_and_says_closed() -> Outcome {
    let (tx, rx) = Queue::<u64>::unbounded()?.split();
    let writer = start(move || {
        tx.put_many(0..10).unwrap();
        exit_now(3)
    });
    assert_eq!(ends(&writer), Exit::Code(3));
    assert_eq!(rx.get_many(7)?, (0..7).collect::<Vec<_>>());
    assert_eq!(rx.get_many(7)?, [7, 8, 9]);
    assert_eq!(rx.get_many(7), Err(GetError::Closed));
    Ok(())
}

pub(crate) fn a_reader_killed_before_a_group_is_released_leaves_all_of_it() -> Outcome {
    // Killed as it waits for the group: it cannot have released any of it.
    let queue = numbers();
    for round in 0..20 {
        let reader = start(|| drop(queue.get_many(100)));
        blocked(&reader);
        let stopped = {
            send_signal(&reader, libc::SIGSTOP);
            until("a reader to stop", || state_of(reader.pid()) == Some('T'));
            queue.put_many(round..round + 50)?;
            reader
        };
        kill(&stopped);
        let all: Vec<_> = (round..round + 50).collect();
        assert_eq!(queue.get_many_timeout(100, PATIENCE)?, all);
    }
    Ok(())
}
