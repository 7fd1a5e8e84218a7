//! What handles are and tell: iterators, places in the table, lengths, names, threads.

use crate::forms::waits_for_death;
use crate::messages::Delicate;
use common::*;
use multiproc_process::{Exit, Process, test};
use multiproc_queue::{
    GetTimeoutError, JoinableQueue, PutError, PutTimeoutError, Queue, RegisterError, SimpleQueue,
    TryGetError, TryPutError,
};

pub(crate) fn producers_beyond_the_table_wait_for_a_place() -> Outcome {
    let queue = Queue::<u64>::unbounded()?;
    let mut producers = Vec::new();
    let full = loop {
        match queue.producer() {
            Ok(producer) => producers.push(producer),
            Err(full) => break full,
        }
    };
    assert_eq!(full, RegisterError::Full);
    assert_eq!(producers.len(), 512);
    let late = producers[0].clone();
    assert!(matches!(late.put(1), Err(PutError::Closed(1))));
    assert!(matches!(late.try_put(1), Err(TryPutError::Closed(1))));
    // Given up in another process.
    let moved = producers.split_off(500);
    ends_well(&Process::start(move || drop(moved))?);
    late.put(2)?;
    assert_eq!(queue.get()?, 2);
    let consumer = queue.consumer()?;
    drop(producers);
    assert_eq!(consumer.try_get(), Err(TryGetError::Empty));
    drop(late);
    assert_eq!(consumer.try_get(), Err(TryGetError::Closed));
    Ok(())
}

pub(crate) fn the_dead_make_place_in_the_table() -> Outcome {
    let queue = Queue::<u64>::unbounded()?;
    let consumers: Result<Vec<_>, _> = (0..512).map(|_| queue.consumer()).collect();
    let owner = waits_for_death(consumers?)?;
    assert!(matches!(queue.consumer(), Err(RegisterError::Full)));
    let late = Process::start(|| matches!(queue.consumer(), Err(RegisterError::Full)) as i32)?;
    assert_eq!(ends(&late), Exit::Code(1));
    kill(&owner);
    let consumer = queue.consumer()?;
    let child = Process::start(move || consumer.get().map(drop))?;
    queue.put(1)?;
    ends_well(&child);
    Ok(())
}

// ---- iteration, len, types ----

pub(crate) fn iteration_ends_with_the_producers_and_stays_ended() -> Outcome {
    let (tx, rx) = Queue::<u64>::bounded(2)?.split();
    let child = Process::start(move || (0..10).try_for_each(|n| tx.put(n)))?;
    let mut messages = rx.iter();
    assert_eq!(messages.by_ref().take(3).flatten().sum::<u64>(), 3);
    assert_eq!(
        (&rx).into_iter().flatten().count(),
        7,
        "a second iterator goes on"
    );
    assert_eq!(messages.next(), None);
    ends_well(&child);
    // An end is an end for an iterator, even if somebody comes after.
    let late = rx.queue().producer()?;
    late.put(11)?;
    assert_eq!(messages.next(), None);
    drop(messages);
    drop(late);
    let owned: Vec<_> = rx.into_iter().collect();
    assert_eq!(owned, [Ok(11)]);
    Ok(())
}

pub(crate) fn iteration_goes_on_after_a_message_that_cannot_be_decoded() -> Outcome {
    let queue = Queue::<Delicate>::bounded(4)?;
    let consumer = queue.consumer()?;
    let producer = queue.producer()?;
    let child = Process::start(move || {
        [0, 1, 3]
            .into_iter()
            .try_for_each(|n| producer.put(Delicate(n)))
    })?;
    let got: Vec<bool> = consumer.iter().map(|message| message.is_ok()).collect();
    assert_eq!(got, [true, false, true]);
    ends_well(&child);
    Ok(())
}

pub(crate) fn iteration_over_a_plain_queue_ends_with_a_shutdown() -> Outcome {
    let queue = Queue::<u64>::bounded(4)?;
    let child = Process::start(|| {
        for n in 0..10 {
            queue.put(n).unwrap();
        }
        queue.shut_down();
    })?;
    let mut next = 0;
    for message in &queue {
        assert_eq!(message?, next);
        next += 1;
    }
    assert_eq!(next, 10);
    ends_well(&child);
    Ok(())
}

pub(crate) fn len_is_exact_across_processes() -> Outcome {
    let queue = Queue::<u64>::bounded(100)?;
    let (turn, seen) = (Counter::new(), Counter::new());
    let child = Process::start(|| {
        for round in 1.. {
            turn.reach(2 * round - 1);
            if queue.is_full() {
                break;
            }
            queue.put(0).unwrap();
            seen.set(queue.len() as u64);
            turn.count();
        }
    })?;
    for len in 1..=100 {
        turn.count();
        turn.reach(2 * len);
        assert_eq!((queue.len() as u64, seen.get()), (len, len));
        assert_eq!((queue.is_empty(), queue.is_full()), (false, len == 100));
    }
    turn.count();
    ends_well(&child);
    for len in (0..100).rev() {
        queue.get()?;
        assert_eq!((queue.len(), queue.is_empty()), (len, len == 0));
    }
    Ok(())
}

pub(crate) fn handles_are_send_sync_and_debug() -> Outcome {
    fn check<T: Send + Sync + std::fmt::Debug>(handle: &T, says: &[&str]) {
        let said = format!("{handle:?}");
        for part in says {
            assert!(said.contains(part), "{said}");
        }
    }
    struct Opaque;
    // Errors are Debug and Display whatever the message is, and carry no borrow.
    fn error<E: std::fmt::Debug + std::fmt::Display + Send + Sync + 'static>(error: E) -> String {
        format!("{error} {error:?}")
    }
    assert!(error(PutError::Closed(Opaque)).contains("the queue is closed"));
    assert!(error(TryPutError::Full(Opaque)).contains("full"));
    assert!(error(PutTimeoutError::Timeout(Opaque)).contains("deadline"));
    assert!(error(GetTimeoutError::Timeout).contains("deadline"));

    let queue = Queue::<std::rc::Rc<str>, Never>::options_of()?;
    check(&queue, &["Queue", "len: 0", "closed: false"]);
    let queue = Queue::<u64>::bounded(3)?;
    queue.put(1)?;
    check(&queue, &["u64", "len: 1", "capacity: 3"]);
    check(&SimpleQueue::<u64>::new()?, &["SimpleQueue"]);
    check(
        &JoinableQueue::from(queue.clone()),
        &["JoinableQueue", "len: 1"],
    );
    check(&Queue::<u64>::options().capacity(9), &["QueueOptions", "9"]);
    let (tx, rx) = queue.split();
    check(&tx, &["Producer", "len: 1"]);
    check(&rx, &["Consumer", "len: 1"]);
    // Between threads of one process, too.
    std::thread::scope(|scope| {
        scope.spawn(|| tx.put(2).unwrap());
        assert_eq!((rx.get().unwrap(), rx.get().unwrap()), (1, 2));
    });
    Ok(())
}

/// A codec for a type that is neither `Send` nor serialisable.
struct Never;

impl multiproc_queue::codec::Codec<std::rc::Rc<str>> for Never {
    const NAME: &'static str = "never";

    fn encode(_: &std::rc::Rc<str>, _: &mut Vec<u8>) -> Result<(), String> {
        Err("never".into())
    }

    fn decode(_: &[u8]) -> Result<std::rc::Rc<str>, String> {
        Err("never".into())
    }
}

trait OptionsOf: Sized {
    fn options_of() -> Outcome<Self>;
}

impl OptionsOf for Queue<std::rc::Rc<str>, Never> {
    fn options_of() -> Outcome<Self> {
        Ok(Queue::<std::rc::Rc<str>>::options()
            .codec::<Never>()
            .build()?)
    }
}

pub(crate) fn named_queues_meet_by_name() -> Outcome {
    let name = test::unique("meeting");
    let queue = Queue::<u64>::options().capacity(3).create(&name)?;
    assert!(Queue::<u64>::create(&name).is_err(), "it exists");
    let child = Process::start(|| {
        let queue = Queue::<u64>::options().open_or_create(&name).unwrap();
        assert_eq!(queue.capacity(), 3);
        queue.put(queue.get().unwrap() + 1).unwrap();
    })?;
    queue.put(1)?;
    ends_well(&child);
    assert_eq!(queue.get()?, 2);
    Queue::<u64>::unlink(&name)?;
    assert!(Queue::<u64>::open(&name).is_err());
    // Who has it open keeps it.
    queue.put(3)?;
    assert_eq!(queue.get()?, 3);
    Ok(())
}
