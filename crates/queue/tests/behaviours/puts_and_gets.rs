//! Puts, gets and their timeouts; what of an item that cannot be serialised; closing; order.

use common::*;
use multiproc_process::{Process, Run, join_all};
use multiproc_queue::codec::Bytes;
use multiproc_queue::{
    Consumer, GetError, GetTimeoutError, Producer, PutError, PutTimeoutError, Queue, TryGetError,
    TryPutError,
};
use serde::{Deserialize, Serialize, Serializer};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Q1
pub(crate) fn six_puts_in_every_form_then_full() -> Outcome {
    let queue = Queue::<u64>::bounded(6)?;
    queue.put(1)?;
    queue.put_timeout(2, Duration::from_secs(1))?;
    queue.put_timeout(3, Duration::ZERO)?;
    queue.put_timeout(4, Duration::MAX)?;
    queue.try_put(5)?;
    let child = {
        let queue = queue.clone();
        Process::start(move || queue.put(6))?
    };
    ends_well(&child);
    assert!(queue.is_full() && !queue.is_empty());
    assert_eq!((queue.len(), queue.capacity()), (6, 6));
    Ok(())
}

/// Q2
pub(crate) fn a_put_that_may_not_wait_finds_the_queue_full_at_once() -> Outcome {
    let queue = Queue::<u64>::bounded(1)?;
    queue.put(1)?;
    let child = Process::start(|| {
        assert!(matches!(queue.try_put(2), Err(TryPutError::Full(2))));
        let now = queue.put_timeout(3, Duration::ZERO);
        assert!(matches!(now, Err(PutTimeoutError::Timeout(3))));
    })?;
    ends_well(&child);
    assert_eq!(queue.len(), 1);
    Ok(())
}

/// Q4
pub(crate) fn drained_by_a_child_it_is_empty_and_not_full() -> Outcome {
    let queue = Queue::<u64>::bounded(6)?;
    for n in 0..6 {
        queue.put(n)?;
    }
    assert!(queue.is_full());
    let child = Process::start(|| {
        for n in 0..6 {
            assert_eq!(queue.get().unwrap(), n);
        }
    })?;
    ends_well(&child);
    assert!(queue.is_empty() && !queue.is_full());
    Ok(())
}

/// Q5
pub(crate) fn items_put_by_a_child_arrive_in_order_through_every_get() -> Outcome {
    let queue = Queue::<String>::unbounded()?;
    let child = Process::start(|| {
        for n in 0..6 {
            queue.put(format!("item {n}")).unwrap();
        }
    })?;
    assert_eq!(queue.get()?, "item 0");
    assert_eq!(queue.get_timeout(PATIENCE)?, "item 1");
    assert_eq!(queue.get_timeout(Duration::MAX)?, "item 2");
    ends_well(&child);
    assert_eq!(queue.get_timeout(Duration::ZERO)?, "item 3");
    assert_eq!(queue.try_get()?, "item 4");
    assert_eq!(queue.iter().next(), Some(Ok("item 5".to_owned())));
    assert_eq!(queue.try_get(), Err(TryGetError::Empty));
    Ok(())
}

/// Q7
pub(crate) fn get_timeout_on_an_empty_queue_times_out() -> Outcome {
    let queue = Queue::<u64>::bounded(6)?;
    let child = Process::start(|| {
        let timeout = Duration::from_millis(100);
        assert_eq!(queue.get_timeout(timeout), Err(GetTimeoutError::Timeout));
    })?;
    ends_well(&child);
    Ok(())
}

/// Q8
pub(crate) fn get_timeout_is_not_early() -> Outcome {
    let queue = Queue::<u64>::bounded(6)?;
    for millis in [1, 20, 49, 50, 51, 200] {
        let timeout = Duration::from_millis(millis);
        let begun = Instant::now();
        assert_eq!(queue.get_timeout(timeout), Err(GetTimeoutError::Timeout));
        let took = begun.elapsed();
        assert!(
            took + Duration::from_millis(1) >= timeout,
            "{took:?} of {timeout:?}"
        );
    }
    Ok(())
}

/// Q10
pub(crate) fn len_follows_put_and_get_at_once() -> Outcome {
    let queue = Queue::<u64>::bounded(6)?;
    let mut lens = vec![queue.len()];
    for put in [true, true, false, false] {
        if put {
            queue.put(0)?;
        } else {
            queue.get()?;
        }
        lens.push(queue.len());
    }
    assert_eq!(lens, [0, 1, 2, 1, 0]);
    Ok(())
}

/// Refuses to be serialised, if its number is odd.
#[derive(Debug, PartialEq, Deserialize)]
struct Stubborn(u64);

impl Serialize for Stubborn {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0 % 2 == 1 {
            return Err(serde::ser::Error::custom("odd numbers stay here"));
        }
        serializer.serialize_newtype_struct("Stubborn", &self.0)
    }
}

/// Q11
pub(crate) fn an_item_that_cannot_be_serialised_does_not_stop_later_items() -> Outcome {
    let (tx, rx) = Queue::<Stubborn>::bounded(10)?.split();
    let child = Process::start(move || {
        for n in 0..10 {
            assert_eq!(tx.put(Stubborn(n)).is_ok(), n % 2 == 0);
        }
    })?;
    let got: Result<Vec<Stubborn>, _> = rx.iter().collect();
    assert_eq!(got?, [0, 2, 4, 6, 8].map(Stubborn));
    ends_well(&child);
    Ok(())
}

/// Q13
pub(crate) fn put_itself_reports_an_item_that_cannot_be_serialised_and_gives_it_back() -> Outcome {
    let queue = Queue::<Stubborn>::bounded(1)?;
    match queue.put(Stubborn(1)) {
        // postcard tells that the type refused, not its sentence.
        Err(PutError::Encode { message, why }) => {
            assert!(message == Stubborn(1) && !why.is_empty())
        }
        other => return Err(format!("{other:?}").into()),
    }
    let error = queue.try_put(Stubborn(3)).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("the message could not be encoded"),
        "{error}"
    );
    assert_eq!(error.into_message(), Stubborn(3));
    let error = queue.put_timeout(Stubborn(5), Duration::MAX).unwrap_err();
    assert_eq!(error.into_message(), Stubborn(5));
    assert!(queue.is_empty());
    queue.put(Stubborn(2))?;
    // Also where there is no room: what cannot be encoded never waits for any.
    assert!(matches!(
        queue.put(Stubborn(7)),
        Err(PutError::Encode { .. })
    ));
    assert_eq!(queue.get()?, Stubborn(2));
    Ok(())
}

/// Q14
pub(crate) fn put_and_get_after_close_are_errors() -> Outcome {
    let queue = Queue::<u64>::bounded(6)?;
    queue.put(7)?;
    let other = queue.clone();
    let waiting = std::thread::spawn({
        let queue = queue.clone();
        move || (queue.get(), queue.get())
    });
    until("the thread to take the first", || queue.is_empty());
    queue.close();
    // Also in the thread, which may wait by now.
    assert_eq!(waiting.join().unwrap(), (Ok(7), Err(GetError::Closed)));
    assert!(matches!(other.put(1), Err(PutError::Closed(1))));
    assert_eq!(other.get(), Err(GetError::Closed));
    assert_eq!(queue.iter().next(), None);
    queue.close();
    Ok(())
}

/// Q17
pub(crate) fn close_ends_only_the_process_that_called_it() -> Outcome {
    let queue = Queue::<u64>::bounded(6)?;
    let child = Process::start(|| {
        queue.put(1).unwrap();
        queue.close();
        assert!(matches!(queue.put(2), Err(PutError::Closed(2))));
        assert_eq!(queue.get(), Err(GetError::Closed));
        // A child that is made now inherits the closed handle, as everything else.
        ends_well(&Process::start(|| assert_eq!(queue.get(), Err(GetError::Closed))).unwrap());
    })?;
    ends_well(&child);
    queue.put(3)?;
    assert_eq!((queue.get()?, queue.get()?), (1, 3));
    let child = Process::start(|| queue.put(4))?;
    ends_well(&child);
    assert_eq!(queue.get()?, 4);
    Ok(())
}

/// Q19
pub(crate) fn a_large_put_does_not_tie_the_producers_life_to_a_reader() -> Outcome {
    let queue = Queue::<Vec<u8>>::options().codec::<Bytes>().build()?;
    let child = Process::start(|| queue.put(pattern(1, 1_000_000)))?;
    ends_well(&child);
    assert_eq!(number_of(&queue.get()?), 1);
    Ok(())
}

/// Q20
pub(crate) fn each_producers_items_keep_their_order() -> Outcome {
    let (tx, rx) = Queue::<(u8, u32)>::bounded(50)?.split();
    let producers = (0..4).map(|producer| (producer, tx.clone()));
    let producers = Process::start_each(producers, |(producer, tx)| {
        for n in 0..1_000 {
            tx.put((producer, n)).unwrap();
        }
    })?;
    drop(tx);
    let (done, results) = Queue::<u32>::unbounded()?.split();
    let consumers =
        Process::start_each((0..2).map(|_| (rx.clone(), done.clone())), |(rx, done)| {
            let mut last = [None; 4];
            for message in &rx {
                let (producer, n) = message.unwrap();
                let before = last[usize::from(producer)].replace(n);
                assert!(before < Some(n), "{before:?} before {n}");
                done.put(n).unwrap();
            }
        })?;
    drop((rx, done));
    let mut times = BTreeMap::new();
    for n in &results {
        *times.entry(n?).or_insert(0) += 1;
    }
    assert!(times.len() == 1_000 && times.values().all(|&times| times == 4));
    join_all(producers)?;
    join_all(consumers)?;
    Ok(())
}

/// Q23: a timeout below zero does not compile; zero does not wait.
pub(crate) fn a_zero_timeout_does_not_wait() -> Outcome {
    let queue = Queue::<u64>::bounded(1)?;
    // In a process of its own, because "did not wait" is seen by the futex calls not made:
    // its count of voluntary switches.
    let child = Process::start(|| {
        for _ in 0..1_000 {
            let got = queue.get_timeout(Duration::ZERO);
            assert_eq!(got, Err(GetTimeoutError::Timeout));
        }
        queue.put_timeout(1, Duration::ZERO).unwrap();
        for _ in 0..1_000 {
            assert!(queue.put_timeout(2, Duration::ZERO).is_err());
        }
        assert_eq!(queue.get_timeout(Duration::ZERO), Ok(1));
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|l| l.starts_with("voluntary"));
        let switches: u64 = line
            .unwrap()
            .split_whitespace()
            .nth(1)
            .unwrap()
            .parse()
            .unwrap();
        assert!(
            switches < 500,
            "{switches} waits in 2000 calls that may not wait"
        );
    })?;
    ends_well(&child);
    Ok(())
}

/// Q25
pub(crate) fn three_of_three_are_full_and_the_first_comes_first() -> Outcome {
    let queue = Queue::<String>::bounded(3)?;
    queue.put("first".into())?;
    queue.put("second".into())?;
    assert!(!queue.is_full());
    queue.put("third".into())?;
    assert!(queue.is_full());
    let refused = queue.try_put("fourth".into());
    assert!(matches!(refused, Err(TryPutError::Full(message)) if message == "fourth"));
    assert_eq!(queue.len(), 3);
    assert_eq!(queue.get()?, "first");
    Ok(())
}

/// Q26
pub(crate) fn a_queue_made_in_a_child_works_in_a_grandchild() -> Outcome {
    let child = Process::start(|| -> Result<(), String> {
        let queue = Queue::<u64>::bounded(2).map_err(|e| e.to_string())?;
        let grandchild = Process::start(|| queue.put(26)).map_err(|e| e.to_string())?;
        assert_eq!(queue.get().map_err(|e| e.to_string())?, 26);
        ends_well(&grandchild);
        Ok(())
    })?;
    ends_well(&child);
    Ok(())
}

/// Q28
pub(crate) fn an_item_outlives_the_child_that_put_it() -> Outcome {
    let (tx, rx) = Queue::<Vec<String>>::bounded(2)?.split();
    let child = Process::start(move || tx.put(vec!["still".into(), "here".into()]))?;
    ends_well(&child);
    assert_eq!(rx.get()?, ["still", "here"]);
    assert_eq!(rx.get(), Err(GetError::Closed));
    Ok(())
}

struct Uppercaser {
    from: Consumer<String>,
    to: Producer<String>,
}

impl Run for Uppercaser {
    type Output = ();

    fn run(self) {
        for text in &self.from {
            self.to.put(text.unwrap().to_uppercase()).unwrap();
        }
    }
}

/// X16
pub(crate) fn a_type_with_its_own_run_answers_over_queues() -> Outcome {
    let (ask, from) = Queue::bounded(1)?.split();
    let (to, answers) = Queue::bounded(1)?.split();
    let child = Process::start_with(Uppercaser { from, to })?;
    ask.put("hello".to_owned())?;
    assert_eq!(answers.get()?, "HELLO");
    drop(ask);
    assert_eq!(answers.get(), Err(GetError::Closed));
    ends_well(&child);
    Ok(())
}
