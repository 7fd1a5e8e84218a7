//! The queue in depth, between real processes: batches, loans, messages of any size, a
//! capacity in bytes, memory that is given back, and tasks that outlive their workers.

mod common;
#[path = "../../segment/tests/common/mod.rs"]
mod limits;

use common::*;
use limits::{Name, own_small_dev_shm};
use multiproc_process::{Exit, ExitValue, Process, StartError, test};
use multiproc_queue::codec::{Bytes, Plain};
use multiproc_queue::{
    GetError, GetTimeoutError, JoinError, JoinTimeoutError, JoinableQueue, NotThatSlice, PutError,
    Queue, TaskDoneError, TryGetError, TryPutError,
};
use serde::{Deserialize, Serialize, Serializer};
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

test::main! {
    a_batch_keeps_its_order_through_every_get,
    a_batch_that_fits_enters_as_one_group,
    a_batch_larger_than_the_capacity_waits_for_room_and_loses_nothing,
    batches_of_several_producers_keep_each_ones_order,
    an_item_that_cannot_be_encoded_stops_a_batch_and_comes_back_with_the_rest,
    an_item_that_is_too_large_stops_a_batch_and_comes_back_with_the_rest,
    a_shutdown_stops_a_batch_and_hands_the_rest_back,
    get_many_waits_for_one_and_takes_no_more_than_asked,
    get_many_takes_what_is_left_of_dead_producers_and_says_closed,
    a_reader_killed_before_a_group_is_released_leaves_all_of_it,

    loans_carry_bytes_and_slices_in_place,
    a_put_loan_that_is_dropped_is_never_seen,
    a_get_loan_that_is_given_back_is_the_next_again,
    a_put_loan_whose_holder_is_killed_is_never_seen,
    a_get_loan_whose_holder_is_killed_is_delivered_to_the_next,
    no_child_is_forked_while_a_loan_is_held,

    a_capacity_in_bytes_is_full_before_the_one_in_items,
    a_message_larger_than_the_capacity_in_bytes_enters_alone,
    #[timeout(180)]
    a_message_of_64_mib_goes_through_a_queue_of_1_mib,
    #[timeout(180)]
    huge_messages_between_small_ones_arrive_in_order,
    a_queue_without_capacity_is_never_full,
    #[timeout(180)]
    two_million_queued_messages_are_all_there_and_their_memory_comes_back,
    memory_comes_back_also_after_a_huge_message,
    no_memory_in_the_middle_of_growth_is_an_error_and_loses_nothing,
    no_memory_to_keep_a_task_is_an_error_and_loses_nothing,

    a_task_is_done_when_it_is_dropped,
    a_task_is_delivered_again_when_its_holder_is_killed,
    a_task_of_a_dead_holder_comes_to_one_who_waits_already,
    a_task_given_back_is_delivered_again,
    a_task_whose_holder_panics_is_done_unless_the_queue_says_otherwise,
    a_task_delivered_too_often_becomes_a_dead_letter,
    who_joins_alone_makes_the_dead_letter,
    who_joins_beside_a_plain_get_hears_of_the_dead_letter,
    dead_letters_do_not_wait_for_who_waits_for_tasks,
    one_slow_task_stalls_nobody,
    too_many_tasks_are_refused_and_nothing_is_lost,
    tasks_of_any_size_outlive_their_holder,
    join_waits_for_tasks_that_are_delivered_again,
    join_says_how_many_tasks_died_with_plain_getters_and_says_it_once,
    join_timeout_says_how_many_are_unfinished,
    task_done_once_too_often_is_refused_with_claims_among_them,
    len_counts_tasks_that_wait_to_be_delivered_again,
    #[timeout(180)]
    workers_that_die_by_the_hundred_leave_the_queue_usable,
    #[timeout(180)]
    unfinished_is_right_while_others_put_and_report,
    #[timeout(180)]
    what_is_put_during_a_join_is_never_written_off,
}

type Messages = Queue<Vec<u8>, Bytes>;

const MIB: usize = 1 << 20;

/// Starts a helper: a daemon, so that a test that fails does not wait for it.
#[track_caller]
fn start<R: ExitValue>(f: impl FnOnce() -> R) -> Process {
    let helper = Process::builder().daemon(true).start(f);
    helper.map_err(StartError::from).unwrap()
}

fn bytes_queue() -> Messages {
    let options = Queue::<Vec<u8>>::options();
    options.codec::<Bytes>().build().unwrap()
}

fn numbers() -> Queue<u64, Plain> {
    let options = Queue::<u64>::options();
    options.codec::<Plain>().build().unwrap()
}

fn with<C: multiproc_queue::codec::Codec<u64>>(queue: Queue<u64, C>, n: u64) -> Queue<u64, C> {
    assert_eq!(queue.put_many(0..n).unwrap(), n as usize);
    queue
}

// ---- batches ----

fn a_batch_keeps_its_order_through_every_get() -> Outcome {
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

fn a_batch_that_fits_enters_as_one_group() -> Outcome {
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

fn a_batch_larger_than_the_capacity_waits_for_room_and_loses_nothing() -> Outcome {
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

fn batches_of_several_producers_keep_each_ones_order() -> Outcome {
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

fn an_item_that_cannot_be_encoded_stops_a_batch_and_comes_back_with_the_rest() -> Outcome {
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

fn an_item_that_is_too_large_stops_a_batch_and_comes_back_with_the_rest() -> Outcome {
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

fn a_shutdown_stops_a_batch_and_hands_the_rest_back() -> Outcome {
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

fn get_many_waits_for_one_and_takes_no_more_than_asked() -> Outcome {
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

fn get_many_takes_what_is_left_of_dead_producers_and_says_closed() -> Outcome {
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

fn a_reader_killed_before_a_group_is_released_leaves_all_of_it() -> Outcome {
    // Killed as it waits for the group: it cannot have released any of it.
    let queue = numbers();
    for round in 0..20 {
        let reader = start(|| drop(queue.get_many(100)));
        blocked(&reader);
        let stopped = {
            send_signal(&reader, libc::SIGSTOP);
            until("a reader to stop", || stopped(&reader));
            queue.put_many(round..round + 50)?;
            reader
        };
        kill(&stopped);
        let all: Vec<_> = (round..round + 50).collect();
        assert_eq!(queue.get_many_timeout(100, PATIENCE)?, all);
    }
    Ok(())
}

/// Is this child stopped by a signal?
fn stopped(child: &Process) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.pid())).unwrap_or_default();
    stat.rfind(')')
        .is_some_and(|end| stat[end + 1..].trim_start().starts_with('T'))
}

// ---- loans ----

fn loans_carry_bytes_and_slices_in_place() -> Outcome {
    let queue = bytes_queue();
    let child = start(|| {
        for n in 0..100 {
            let mut loan = queue.put_loan(80 * n as usize).unwrap();
            let slice = loan.slice_mut::<u64>().unwrap();
            slice.iter_mut().for_each(|word| *word = n);
            loan.commit();
            let mut loan = queue.put_loan(n as usize).unwrap();
            loan.fill(n as u8);
            assert_eq!(loan[..], vec![n as u8; n as usize]);
            loan.commit();
        }
    });
    for n in 0..100 {
        let loan = queue.get_loan()?;
        assert_eq!(loan.slice::<u64>()?, vec![n; 10 * n as usize]);
        drop(loan);
        let loan = queue.get_loan()?;
        assert_eq!(loan[..], vec![n as u8; n as usize]);
        assert_eq!(loan.slice::<u64>().is_ok(), n % 8 == 0);
        loan.done();
    }
    ends_well(&child);
    assert_eq!(queue.len(), 0);
    let mut loan = queue.put_loan(12)?;
    assert_eq!(loan.slice_mut::<u64>(), Err(NotThatSlice));
    loan.slice_mut::<f32>()?.copy_from_slice(&[0.5, 1.5, 2.5]);
    loan.commit();
    assert_eq!(queue.get_loan()?.slice::<f32>()?, [0.5, 1.5, 2.5]);
    // Larger than everything before, and with ordinary puts and gets between.
    let mut loan = queue.put_loan(3 * MIB)?;
    loan.copy_from_slice(&pattern(9, 3 * MIB));
    loan.commit();
    queue.put_bytes(b"after")?;
    assert_eq!(number_of(&queue.get_loan()?), 9);
    assert_eq!(queue.get()?, b"after");
    Ok(())
}

fn a_put_loan_that_is_dropped_is_never_seen() -> Outcome {
    let queue = bytes_queue();
    for n in 0..2000 {
        let mut loan = queue.put_loan(100 + n as usize)?;
        loan.fill(0xff);
        drop(loan);
        assert_eq!(queue.len(), 0);
        if n % 3 == 0 {
            queue.put(pattern(n, 50))?;
            assert_eq!(number_of(&queue.get()?), n);
        }
    }
    assert_eq!(queue.try_get(), Err(TryGetError::Empty));
    Ok(())
}

fn a_get_loan_that_is_given_back_is_the_next_again() -> Outcome {
    let queue = bytes_queue();
    queue.put_bytes(b"one")?;
    queue.put_bytes(b"two")?;
    for _ in 0..3 {
        let loan = queue.get_loan()?;
        assert_eq!(&loan[..], b"one");
        loan.give_back();
        assert_eq!(queue.len(), 2);
    }
    let child = start(|| assert_eq!(&queue.get_loan().unwrap()[..], b"one"));
    ends_well(&child);
    assert_eq!(queue.get()?, b"two");
    Ok(())
}

fn a_put_loan_whose_holder_is_killed_is_never_seen() -> Outcome {
    let (queue, held) = (bytes_queue(), Counter::new());
    for n in 0..20 {
        let holder = start(|| {
            let mut loan = queue.put_loan(5000).unwrap();
            loan.fill(0xee);
            held.count();
            std::mem::forget(loan);
            loop {
                std::thread::park();
            }
        });
        held.reach(n + 1);
        let next = start(|| queue.put_bytes(&pattern(n, 300)).unwrap());
        blocked(&next);
        assert_eq!(queue.try_get(), Err(TryGetError::Empty));
        kill(&holder);
        assert_eq!(number_of(&queue.get_timeout(PATIENCE)?), n);
        ends_well(&next);
        assert_eq!(queue.len(), 0);
    }
    Ok(())
}

fn a_get_loan_whose_holder_is_killed_is_delivered_to_the_next() -> Outcome {
    let (queue, held) = (bytes_queue(), Counter::new());
    for n in 0..20 {
        queue.put(pattern(n, 5000))?;
        let holder = start(|| {
            let loan = queue.get_loan().unwrap();
            assert_eq!(number_of(&loan), n);
            held.count();
            std::mem::forget(loan);
            loop {
                std::thread::park();
            }
        });
        held.reach(n + 1);
        let next = start(|| assert_eq!(number_of(&queue.get_loan().unwrap()), n));
        blocked(&next);
        assert_eq!(queue.len(), 1);
        kill(&holder);
        ends_well(&next);
        assert_eq!(queue.len(), 0);
    }
    Ok(())
}

fn no_child_is_forked_while_a_loan_is_held() -> Outcome {
    let queue = bytes_queue();
    let loan = queue.put_loan(10)?;
    assert!(Process::start(|| ()).is_err());
    loan.commit();
    let loan = queue.get_loan()?;
    assert!(Process::start(|| ()).is_err());
    drop(loan);
    ends_well(&start(|| ()));
    let tasks = JoinableQueue::from(with(numbers(), 1));
    let task = tasks.get_task()?;
    assert!(Process::start(|| ()).is_err());
    drop(task);
    ends_well(&start(|| ()));
    Ok(())
}

// ---- sizes ----

fn a_capacity_in_bytes_is_full_before_the_one_in_items() -> Outcome {
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

fn a_message_larger_than_the_capacity_in_bytes_enters_alone() -> Outcome {
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

fn small() -> Messages {
    let options = Queue::<Vec<u8>>::options().bytes(MIB);
    options.codec::<Bytes>().build().unwrap()
}

fn a_message_of_64_mib_goes_through_a_queue_of_1_mib() -> Outcome {
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

fn huge_messages_between_small_ones_arrive_in_order() -> Outcome {
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

fn a_queue_without_capacity_is_never_full() -> Outcome {
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

fn two_million_queued_messages_are_all_there_and_their_memory_comes_back() -> Outcome {
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

fn memory_comes_back_also_after_a_huge_message() -> Outcome {
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

fn no_memory_in_the_middle_of_growth_is_an_error_and_loses_nothing() -> Outcome {
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

fn no_memory_to_keep_a_task_is_an_error_and_loses_nothing() -> Outcome {
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

// ---- tasks ----

fn tasks(n: u64) -> JoinableQueue<u64> {
    with(Queue::unbounded().unwrap(), n).into()
}

fn a_task_is_done_when_it_is_dropped() -> Outcome {
    let queue = tasks(3);
    let child = start(|| {
        let task = queue.get_task().unwrap();
        assert_eq!((*task, task.attempt()), (0, 1));
        assert_eq!((queue.len(), queue.unfinished()), (2, 3));
        drop(task);
        assert_eq!((queue.len(), queue.unfinished()), (2, 2));
        queue.try_get_task().unwrap().done();
        assert_eq!(*queue.get_task_timeout(PATIENCE).unwrap(), 2);
    });
    ends_well(&child);
    assert_eq!((queue.len(), queue.unfinished()), (0, 0));
    queue.join()?;
    let none = queue.try_get_task();
    assert_eq!(none.unwrap_err(), TryGetError::Empty);
    let late = queue.get_task_timeout(Duration::from_millis(5));
    assert_eq!(late.unwrap_err(), GetTimeoutError::Timeout);
    queue.shut_down();
    assert_eq!(queue.get_task().unwrap_err(), GetError::Closed);
    Ok(())
}

/// A process that takes one task, counts, and holds it until it is killed.
fn holder<T, C>(queue: &JoinableQueue<T, C>, held: &Counter) -> Process
where
    C: multiproc_queue::codec::Codec<T>,
{
    let before = held.get();
    let holder = start(|| {
        let task = queue.get_task().unwrap();
        held.count();
        loop {
            std::thread::park();
            assert!(task.attempt() > 0);
        }
    });
    held.reach(before + 1);
    holder
}

fn a_task_is_delivered_again_when_its_holder_is_killed() -> Outcome {
    let (queue, held) = (tasks(1), Counter::new());
    for deaths in 1..=5 {
        kill(&holder(&queue, &held));
        assert_eq!(queue.unfinished(), 1);
        let task = queue.get_task_timeout(PATIENCE)?;
        assert_eq!((*task, task.attempt()), (0, 2 * deaths));
        task.give_back();
    }
    // Within a slice; until then, others are taken. None is forgotten.
    kill(&holder(&queue, &held));
    for n in 1..100 {
        queue.put(n)?;
    }
    let mut attempts = BTreeMap::new();
    for _ in 0..100 {
        let task = queue.get_task_timeout(PATIENCE)?;
        attempts.insert(*task, task.attempt());
    }
    let expected = (0..100).map(|n| (n, if n == 0 { 12 } else { 1 }));
    assert_eq!(attempts, expected.collect());
    queue.join()?;
    Ok(())
}

fn a_task_of_a_dead_holder_comes_to_one_who_waits_already() -> Outcome {
    let (queue, held) = (tasks(1), Counter::new());
    let first = holder(&queue, &held);
    // Nothing else is put: it has to look after the dead by itself.
    let waits = start(|| {
        let task = queue.get_task().unwrap();
        assert_eq!((*task, task.attempt()), (0, 2));
    });
    blocked(&waits);
    kill(&first);
    ends_well(&waits);
    queue.join_timeout(PATIENCE)?;
    Ok(())
}

fn a_task_given_back_is_delivered_again() -> Outcome {
    let queue = tasks(1);
    let waits = {
        let task = queue.get_task()?;
        assert_eq!(task.attempt(), 1);
        task.give_back();
        assert_eq!((queue.len(), queue.unfinished()), (1, 1));
        let task = queue.get_task()?;
        assert_eq!(task.attempt(), 2);
        task.give_back();
        start(|| {
            let mut task = queue.get_task().unwrap();
            assert_eq!((*task, task.attempt()), (0, 3));
            *task = 99; // this process's copy
            task.give_back();
            assert_eq!(*queue.get_task().unwrap(), 0);
        })
    };
    ends_well(&waits);
    queue.join_timeout(PATIENCE)?;
    Ok(())
}

fn a_task_whose_holder_panics_is_done_unless_the_queue_says_otherwise() -> Outcome {
    for again in [false, true] {
        let queue = tasks(2).redeliver_on_panic(again);
        let child = start(|| {
            let task = queue.get_task().unwrap();
            panic!("on purpose, with task {}", *task);
        });
        assert!(!ends(&child).success());
        assert_eq!(queue.unfinished(), if again { 2 } else { 1 });
        // And where the process survives it.
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let task = queue.get_task().unwrap();
            panic!("on purpose, with task {}", *task);
        }));
        assert!(panicked.is_err());
        assert_eq!(queue.unfinished(), if again { 2 } else { 0 });
        if again {
            assert_eq!(queue.get_task()?.attempt(), 3);
            assert_eq!(queue.get_task()?.attempt(), 1);
        }
        queue.join_timeout(PATIENCE)?;
    }
    Ok(())
}

fn over_delivered() -> Outcome<JoinableQueue<u64>> {
    let options = Queue::<u64>::options().max_deliveries(1);
    let queue = JoinableQueue::from(options.build()?);
    let held = Counter::new();
    queue.put(7)?;
    kill(&holder(&queue, &held));
    Ok(queue)
}

fn who_joins_alone_makes_the_dead_letter() -> Outcome {
    let queue = over_delivered()?;
    assert_eq!(queue.unfinished(), 1);
    queue.join_timeout(PATIENCE)?;
    assert_eq!(queue.take_dead_letters()?, [7]);
    assert_eq!((queue.unfinished(), queue.len()), (0, 0));
    // One that may be delivered again is no dead letter, and waited for.
    let options = Queue::<u64>::options().max_deliveries(2);
    let queue = JoinableQueue::from(options.build()?);
    queue.put(8)?;
    kill(&holder(&queue, &Counter::new()));
    let waited = queue.join_timeout(Duration::from_millis(150));
    assert_eq!(waited, Err(JoinTimeoutError::Timeout { unfinished: 1 }));
    assert_eq!(queue.get_task_timeout(PATIENCE)?.attempt(), 2);
    queue.join_timeout(PATIENCE)?;
    Ok(())
}

fn who_joins_beside_a_plain_get_hears_of_the_dead_letter() -> Outcome {
    let queue = over_delivered()?;
    // It keeps the lock under which tasks change hands.
    let getter = start(|| assert_eq!(queue.get().unwrap(), 9));
    blocked(&getter);
    queue.join_timeout(PATIENCE)?;
    assert_eq!(queue.take_dead_letters()?, [7]);
    queue.put(9)?;
    ends_well(&getter);
    Ok(())
}

fn dead_letters_do_not_wait_for_who_waits_for_tasks() -> Outcome {
    let queue = over_delivered()?;
    until("the dead letter", || {
        assert_eq!(queue.try_get_task().unwrap_err(), TryGetError::Empty);
        queue.unfinished() == 0
    });
    // A worker that waits, and then one that is stopped in the middle of its wait: it goes on
    // only when the letters were had.
    let worker = start(|| assert_eq!(*queue.get_task().unwrap(), 9));
    blocked(&worker);
    send_signal(&worker, libc::SIGSTOP);
    until("the worker to stop", || stopped(&worker));
    assert_eq!(queue.take_dead_letters()?, [7]);
    send_signal(&worker, libc::SIGCONT);
    queue.put(9)?;
    ends_well(&worker);
    queue.join_timeout(PATIENCE)?;
    assert_eq!(queue.take_dead_letters()?, [0; 0]);
    Ok(())
}

fn a_task_delivered_too_often_becomes_a_dead_letter() -> Outcome {
    let options = Queue::<u64>::options().max_deliveries(2);
    let queue = JoinableQueue::from(options.build()?);
    let held = Counter::new();
    queue.put(7)?;
    kill(&holder(&queue, &held));
    kill(&holder(&queue, &held));
    assert_eq!(queue.unfinished(), 1);
    queue.put(8)?;
    // The next one to look finds it delivered twice: it passes on to the next task.
    let task = queue.get_task_timeout(PATIENCE)?;
    assert_eq!((*task, task.attempt()), (8, 1));
    task.give_back();
    let task = queue.get_task()?;
    assert_eq!((*task, task.attempt()), (8, 2));
    task.give_back();
    assert_eq!(queue.try_get_task().unwrap_err(), TryGetError::Empty);
    // They do not keep a join waiting.
    queue.join_timeout(PATIENCE)?;
    assert_eq!((queue.unfinished(), queue.len()), (0, 0));
    let child = start(|| {
        let mut letters = queue.take_dead_letters().unwrap();
        letters.sort_unstable();
        assert_eq!(letters, [7, 8]);
    });
    ends_well(&child);
    assert_eq!(queue.take_dead_letters()?, [0; 0]);
    queue.put(9)?;
    assert_eq!(*queue.get_task()?, 9);
    queue.join_timeout(PATIENCE)?;
    Ok(())
}

fn one_slow_task_stalls_nobody() -> Outcome {
    let (queue, held) = (tasks(1), Counter::new());
    let slow = holder(&queue, &held);
    let workers: Vec<_> = (0..2)
        .map(|_| start(|| while queue.get_task().is_ok() {}))
        .collect();
    for n in 1..=1000 {
        queue.put(n)?;
    }
    until("all but the slow one's task", || queue.unfinished() == 1);
    let late = queue.join_timeout(Duration::from_millis(5));
    assert_eq!(late, Err(JoinTimeoutError::Timeout { unfinished: 1 }));
    kill(&slow);
    queue.join_timeout(PATIENCE)?;
    queue.shut_down();
    workers.iter().for_each(ends_well);
    Ok(())
}

fn too_many_tasks_are_refused_and_nothing_is_lost() -> Outcome {
    let queue = tasks(300);
    let mut held: Vec<_> = (0..256).map(|_| queue.get_task().unwrap()).collect();
    assert_eq!(queue.try_get_task().unwrap_err(), TryGetError::TooManyTasks);
    assert_eq!((queue.len(), queue.unfinished()), (44, 300));
    held.remove(100).done();
    held.push(queue.get_task()?);
    assert_eq!(**held.last().unwrap(), 256);
    assert_eq!(queue.get_task().unwrap_err(), GetError::TooManyTasks);
    drop(held);
    assert_eq!(queue.unfinished(), 43);
    for n in 257..300 {
        assert_eq!(*queue.get_task()?, n);
    }
    queue.join()?;
    // The dead do not count, once somebody looks.
    let queue = tasks(256);
    let child = start(|| {
        let all: Vec<_> = (0..256).map(|_| queue.get_task().unwrap()).collect();
        std::mem::forget(all);
        exit_now(0)
    });
    ends_well(&child);
    let mut numbers: Vec<u64> = (0..256)
        .map(|_| {
            let task = queue.get_task_timeout(PATIENCE).unwrap();
            assert_eq!(task.attempt(), 2);
            *task
        })
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..256).collect::<Vec<_>>());
    queue.join()?;
    Ok(())
}

fn tasks_of_any_size_outlive_their_holder() -> Outcome {
    let (queue, held) = (JoinableQueue::from(small()), Counter::new());
    let sizes = [8, 100, 70_000, 3 * MIB, 64 * MIB, 9];
    let writer = start(|| {
        for (n, len) in sizes.iter().enumerate() {
            queue.put(pattern(n as u64, *len)).unwrap();
        }
    });
    // Each has a holder of its own; all are killed, and all come again, whole.
    let holders: Vec<_> = sizes.iter().map(|_| holder(&queue, &held)).collect();
    ends_well(&writer);
    assert_eq!((queue.len(), queue.unfinished()), (0, sizes.len()));
    holders.iter().for_each(kill);
    let mut seen = BTreeMap::new();
    for _ in sizes {
        let task = queue.get_task_timeout(PATIENCE)?;
        assert_eq!(task.attempt(), 2);
        seen.insert(number_of(&task), task.len());
    }
    let expected = sizes.iter().enumerate().map(|(n, len)| (n as u64, *len));
    assert_eq!(seen, expected.collect());
    queue.join_timeout(PATIENCE)?;
    Ok(())
}

fn join_waits_for_tasks_that_are_delivered_again() -> Outcome {
    let (queue, held) = (tasks(2), Counter::new());
    let holders = [holder(&queue, &held), holder(&queue, &held)];
    let joiner = start(|| queue.join().unwrap());
    blocked(&joiner);
    holders.iter().for_each(kill);
    assert_eq!(queue.get_task_timeout(PATIENCE)?.attempt(), 2);
    blocked(&joiner);
    let task = queue.get_task_timeout(PATIENCE)?;
    assert_eq!((task.attempt(), joiner.is_alive()), (2, true));
    drop(task);
    ends_well(&joiner);
    Ok(())
}

fn join_says_how_many_tasks_died_with_plain_getters_and_says_it_once() -> Outcome {
    let queue = tasks(7);
    let takes = |n: usize, done: usize| {
        let worker = start(|| {
            (0..n).for_each(|_| assert!(queue.get().is_ok()));
            (0..done).for_each(|_| queue.task_done().unwrap());
            exit_now(0)
        });
        ends_well(&worker);
    };
    takes(3, 1);
    takes(1, 1);
    takes(2, 1);
    // As long as something is queued, nobody knows what will become of it.
    let late = queue.join_timeout(Duration::from_millis(120));
    assert_eq!(late, Err(JoinTimeoutError::Timeout { unfinished: 4 }));
    let waits = start(|| assert_eq!(queue.join(), Err(JoinError::TasksLost(3))));
    blocked(&waits);
    queue.get_task()?.done();
    ends_well(&waits);
    assert_eq!(queue.join(), Ok(()));
    assert_eq!(queue.unfinished(), 0);
    assert_eq!(queue.task_done(), Err(TaskDoneError::TooMany));
    // What comes later is counted as before.
    queue.put(1)?;
    queue.get()?;
    let late = queue.join_timeout(Duration::from_millis(120));
    assert_eq!(late, Err(JoinTimeoutError::Timeout { unfinished: 1 }));
    queue.task_done()?;
    queue.join()?;
    queue.put(2)?;
    takes(1, 0);
    let lost = queue.join_timeout(PATIENCE);
    assert_eq!(lost, Err(JoinTimeoutError::TasksLost(1)));
    queue.join()?;
    Ok(())
}

fn join_timeout_says_how_many_are_unfinished() -> Outcome {
    let queue = tasks(3);
    let timeout = Duration::from_millis(30);
    let begun = Instant::now();
    let late = queue.join_timeout(timeout);
    assert!(begun.elapsed() >= timeout);
    assert_eq!(late, Err(JoinTimeoutError::Timeout { unfinished: 3 }));
    queue.get_task()?.done();
    queue.get()?;
    let late = queue.join_timeout(Duration::ZERO);
    assert_eq!(late, Err(JoinTimeoutError::Timeout { unfinished: 2 }));
    queue.task_done()?;
    let worker = start(|| {
        let task = queue.get_task().unwrap();
        until("somebody to join", || queue.unfinished() == 1);
        drop(task);
    });
    queue.join_timeout(PATIENCE)?;
    ends_well(&worker);
    queue.close();
    assert_eq!(queue.join(), Err(JoinError::Closed));
    Ok(())
}

fn task_done_once_too_often_is_refused_with_claims_among_them() -> Outcome {
    let queue = tasks(4);
    queue.get_task()?.done();
    let held = queue.get_task()?;
    queue.get()?;
    queue.task_done()?;
    queue.get()?;
    queue.task_done()?;
    assert_eq!(queue.unfinished(), 1);
    held.done();
    assert_eq!(queue.task_done(), Err(TaskDoneError::TooMany));
    assert_eq!(queue.unfinished(), 0);
    let child = start(|| assert_eq!(queue.task_done(), Err(TaskDoneError::TooMany)));
    ends_well(&child);
    queue.join()?;
    Ok(())
}

fn len_counts_tasks_that_wait_to_be_delivered_again() -> Outcome {
    let (queue, held) = (tasks(2), Counter::new());
    let holders = [holder(&queue, &held), holder(&queue, &held)];
    assert_eq!((queue.len(), queue.unfinished()), (0, 2));
    holders.iter().for_each(kill);
    // Whoever waits for one looks after the dead.
    let task = queue.get_task_timeout(PATIENCE)?;
    assert_eq!(task.attempt(), 2);
    assert_eq!((queue.len(), queue.unfinished()), (1, 2));
    queue.put(2)?;
    task.give_back();
    assert_eq!((queue.len(), queue.is_empty()), (3, false));
    (0..3).for_each(|_| drop(queue.get_task().unwrap()));
    assert_eq!((queue.len(), queue.unfinished()), (0, 0));
    Ok(())
}

fn workers_that_die_by_the_hundred_leave_the_queue_usable() -> Outcome {
    // More than there are places for what a worker has taken; nobody joins meanwhile.
    let queue = tasks(300);
    for _ in 0..300 {
        let worker = start(|| {
            queue.get().unwrap();
            exit_now(0)
        });
        ends_well(&worker);
    }
    queue.put(300)?;
    assert_eq!(queue.get()?, 300);
    queue.task_done()?;
    assert_eq!(queue.join(), Err(JoinError::TasksLost(300)));
    queue.join()?;
    Ok(())
}

fn unfinished_is_right_while_others_put_and_report() -> Outcome {
    let (queue, stop) = (tasks(1), Counter::new());
    let (taken, checks) = (Counter::new(), Counter::new());
    let slow = holder(&queue, &taken);
    let worker = || {
        start(|| {
            while stop.get() == 0 {
                queue.put(1).unwrap();
                drop(queue.get_task().unwrap());
            }
        })
    };
    let workers = [worker(), worker(), worker()];
    let joiner = start(|| {
        while stop.get() == 0 {
            let joined = queue.join_timeout(Duration::from_micros(300));
            assert!(joined.is_err(), "a task is unfinished all the time");
            checks.count();
        }
    });
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(3) || checks.get() < 100 {
        let unfinished = queue.unfinished();
        assert!((1..=4).contains(&unfinished), "{unfinished}");
        assert!(joiner.is_alive());
    }
    stop.count();
    workers.iter().for_each(ends_well);
    ends_well(&joiner);
    kill(&slow);
    drop(queue.get_task_timeout(PATIENCE)?);
    queue.join_timeout(PATIENCE)?;
    Ok(())
}

fn what_is_put_during_a_join_is_never_written_off() -> Outcome {
    // One is lost for good, and written off; what others put and take meanwhile is not.
    for round in 0..100 {
        let queue = tasks(1);
        let dead = start(|| {
            queue.get().unwrap();
            exit_now(0)
        });
        ends_well(&dead);
        let stop = Counter::new();
        let writer = start(|| {
            for n in 0.. {
                if stop.get() != 0 {
                    return;
                }
                queue.put(n).unwrap();
                assert_eq!(queue.get(), Ok(n));
                assert_eq!(queue.task_done(), Ok(()), "round {round}");
            }
        });
        let mut lost = Ok(());
        until("a task to be lost", || {
            lost = queue.join_timeout(Duration::from_micros(20));
            !matches!(lost, Err(JoinTimeoutError::Timeout { .. }))
        });
        assert_eq!(lost, Err(JoinTimeoutError::TasksLost(1)), "round {round}");
        stop.count();
        ends_well(&writer);
        queue.join_timeout(PATIENCE)?;
    }
    Ok(())
}
