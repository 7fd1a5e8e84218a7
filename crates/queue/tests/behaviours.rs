//! What a queue promises, row by row of the list of behaviours, between real processes.

mod common;

use common::*;
use multiproc_process::{Exit, Process, Run, join_all, test};
use multiproc_queue::codec::{Bytes, Plain};
use multiproc_queue::{
    Consumer, CreateError, GetError, GetTimeoutError, JoinTimeoutError, JoinableQueue, Producer,
    PutError, PutTimeoutError, Queue, RegisterError, SimpleQueue, TaskDoneError, TryGetError,
    TryPutError,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

test::main! {
    six_puts_in_every_form_then_full,
    a_put_that_may_not_wait_finds_the_queue_full_at_once,
    drained_by_a_child_it_is_empty_and_not_full,
    items_put_by_a_child_arrive_in_order_through_every_get,
    get_timeout_on_an_empty_queue_times_out,
    get_timeout_is_not_early,
    len_follows_put_and_get_at_once,
    an_item_that_cannot_be_serialised_does_not_stop_later_items,
    put_itself_reports_an_item_that_cannot_be_serialised_and_gives_it_back,
    put_and_get_after_close_are_errors,
    close_ends_only_the_process_that_called_it,
    a_large_put_does_not_tie_the_producers_life_to_a_reader,
    each_producers_items_keep_their_order,
    a_zero_timeout_does_not_wait,
    three_of_three_are_full_and_the_first_comes_first,
    a_queue_made_in_a_child_works_in_a_grandchild,
    an_item_outlives_the_child_that_put_it,

    join_returns_when_four_workers_have_done_ten_tasks,
    join_with_nothing_unfinished_returns_at_once,
    join_right_after_put_waits,
    a_put_between_zero_and_the_wake_up_extends_join,
    task_done_once_too_often_is_an_error,
    task_done_once_too_often_is_an_error_also_while_a_put_waits,

    a_child_sees_a_simple_queue_empty_then_not,
    is_empty_after_close_is_an_error,
    a_simple_queue_has_close_is_empty_get_and_put,

    a_consumer_killed_while_blocked_in_get_leaves_the_item_to_the_next,
    consumers_killed_while_draining_large_items_leave_the_queue_usable,
    the_half_written_item_of_a_killed_producer_is_skipped,
    a_thousand_puts_then_exit_all_arrive,
    a_type_with_its_own_run_answers_over_queues,

    on_a_full_queue_every_put_waits_as_long_as_it_says,
    on_an_empty_queue_every_get_waits_as_long_as_it_says,
    every_form_after_close_says_closed,
    after_a_shutdown_puts_say_closed_and_gets_take_what_is_left,
    a_shutdown_ends_what_waits,
    after_the_producers_died_every_get_takes_what_is_left_and_says_closed,
    after_the_consumers_died_a_put_that_waits_says_closed,
    a_try_put_and_a_short_put_timeout_on_a_full_queue_notice_dead_consumers,

    a_serialiser_that_panics_harms_its_own_put_only,
    a_serialiser_may_use_the_queue_itself,
    a_deserialiser_that_fails_or_panics_costs_one_message,
    a_named_queue_of_another_type_is_refused_with_both_named,
    a_capacity_of_nothing_or_too_much_is_refused,
    a_message_larger_than_the_reserve_comes_back,
    the_largest_message_fits_again_and_again,
    producers_beyond_the_table_wait_for_a_place,
    the_dead_make_place_in_the_table,
    signals_neither_end_nor_stretch_a_wait,
    signals_do_not_tear_messages,
    plain_data_with_invalid_bytes_is_a_decode_error,
    serde_with_invalid_bytes_is_a_decode_error,
    bytes_and_plain_data_arrive_as_they_are,
    iteration_ends_with_the_producers_and_stays_ended,
    iteration_goes_on_after_a_message_that_cannot_be_decoded,
    iteration_over_a_plain_queue_ends_with_a_shutdown,
    len_is_exact_across_processes,
    handles_are_send_sync_and_debug,
    named_queues_meet_by_name,
}

const MOMENT: Duration = Duration::from_millis(60);

/// Every get, and how it went: the message, or the error's name.
macro_rules! every_get {
    ($queue:expr) => {
        [
            ("get", $queue.get().map_err(|e| format!("{e:?}"))),
            ("try_get", $queue.try_get().map_err(|e| format!("{e:?}"))),
            (
                "get_timeout(0)",
                $queue
                    .get_timeout(Duration::ZERO)
                    .map_err(|e| format!("{e:?}")),
            ),
            (
                "get_timeout(a moment)",
                $queue.get_timeout(MOMENT).map_err(|e| format!("{e:?}")),
            ),
            (
                "get_timeout(for ever)",
                $queue
                    .get_timeout(Duration::MAX)
                    .map_err(|e| format!("{e:?}")),
            ),
        ]
    };
}

/// Every put of a `u64`, and how it went: the error's sentence with the message given back.
macro_rules! every_put {
    ($queue:expr) => {
        [
            (
                "put",
                $queue.put(1).map_err(|e| (e.to_string(), e.into_message())),
            ),
            (
                "try_put",
                $queue
                    .try_put(2)
                    .map_err(|e| (e.to_string(), e.into_message())),
            ),
            (
                "put_timeout(0)",
                $queue
                    .put_timeout(3, Duration::ZERO)
                    .map_err(|e| (e.to_string(), e.into_message())),
            ),
            (
                "put_timeout(a moment)",
                $queue
                    .put_timeout(4, MOMENT)
                    .map_err(|e| (e.to_string(), e.into_message())),
            ),
            (
                "put_timeout(for ever)",
                $queue
                    .put_timeout(5, Duration::MAX)
                    .map_err(|e| (e.to_string(), e.into_message())),
            ),
        ]
    };
}

/// How a put went: an error's sentence, and the message that came back.
type Went = Result<(), (String, u64)>;

fn every_put_is_closed(results: [(&str, Went); 5]) {
    for (at, (form, result)) in results.into_iter().enumerate() {
        let (why, message) = result.expect_err(form);
        assert!(why.starts_with("the queue is closed"), "{form}: {why}");
        assert_eq!(message, at as u64 + 1, "{form}");
    }
}

/// A child that waits to be killed, having said that it runs.
fn waits_for_death<T>(own: T) -> Outcome<Process> {
    let runs = Counter::new();
    let child = Process::start({
        let runs = runs.clone();
        move || {
            let _own = &own;
            runs.count();
            loop {
                std::thread::park();
            }
        }
    })?;
    runs.reach(1);
    Ok(child)
}

// ---- the rows of the list ----

/// Q1
fn six_puts_in_every_form_then_full() -> Outcome {
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
fn a_put_that_may_not_wait_finds_the_queue_full_at_once() -> Outcome {
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
fn drained_by_a_child_it_is_empty_and_not_full() -> Outcome {
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
fn items_put_by_a_child_arrive_in_order_through_every_get() -> Outcome {
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
fn get_timeout_on_an_empty_queue_times_out() -> Outcome {
    let queue = Queue::<u64>::bounded(6)?;
    let child = Process::start(|| {
        let timeout = Duration::from_millis(100);
        assert_eq!(queue.get_timeout(timeout), Err(GetTimeoutError::Timeout));
    })?;
    ends_well(&child);
    Ok(())
}

/// Q8
fn get_timeout_is_not_early() -> Outcome {
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
fn len_follows_put_and_get_at_once() -> Outcome {
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
fn an_item_that_cannot_be_serialised_does_not_stop_later_items() -> Outcome {
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
fn put_itself_reports_an_item_that_cannot_be_serialised_and_gives_it_back() -> Outcome {
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
fn put_and_get_after_close_are_errors() -> Outcome {
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
fn close_ends_only_the_process_that_called_it() -> Outcome {
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
fn a_large_put_does_not_tie_the_producers_life_to_a_reader() -> Outcome {
    let queue = Queue::<Vec<u8>>::options().codec::<Bytes>().build()?;
    let child = Process::start(|| queue.put(pattern(1, 1_000_000)))?;
    ends_well(&child);
    assert_eq!(number_of(&queue.get()?), 1);
    Ok(())
}

/// Q20
fn each_producers_items_keep_their_order() -> Outcome {
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
fn a_zero_timeout_does_not_wait() -> Outcome {
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
fn three_of_three_are_full_and_the_first_comes_first() -> Outcome {
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
fn a_queue_made_in_a_child_works_in_a_grandchild() -> Outcome {
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
fn an_item_outlives_the_child_that_put_it() -> Outcome {
    let (tx, rx) = Queue::<Vec<String>>::bounded(2)?.split();
    let child = Process::start(move || tx.put(vec!["still".into(), "here".into()]))?;
    ends_well(&child);
    assert_eq!(rx.get()?, ["still", "here"]);
    assert_eq!(rx.get(), Err(GetError::Closed));
    Ok(())
}

/// J1
fn join_returns_when_four_workers_have_done_ten_tasks() -> Outcome {
    let queue = JoinableQueue::<u64>::bounded(20)?;
    let done = Counter::new();
    let begun = Instant::now();
    let workers = Process::builder().daemon(true).start_each(0..4, |_| {
        while let Ok(_task) = queue.get() {
            std::thread::sleep(Duration::from_millis(50));
            done.count();
            queue.task_done().unwrap();
        }
    })?;
    for n in 0..10 {
        queue.put(n)?;
    }
    queue.join()?;
    assert_eq!(done.get(), 10);
    assert!(
        begun.elapsed() >= Duration::from_millis(149),
        "ten tasks are three rounds of four"
    );
    assert_eq!((queue.len(), queue.unfinished()), (0, 0));
    queue.shut_down();
    join_all(workers)?;
    Ok(())
}

/// J2
fn join_with_nothing_unfinished_returns_at_once() -> Outcome {
    let queue = JoinableQueue::<u64>::unbounded()?;
    queue.join()?;
    queue.join_timeout(Duration::ZERO)?;
    queue.put(1)?;
    queue.get()?;
    queue.task_done()?;
    queue.join()?;
    queue.join_timeout(Duration::ZERO)?;
    Ok(())
}

/// J4
fn join_right_after_put_waits() -> Outcome {
    let queue = JoinableQueue::<u64>::unbounded()?;
    queue.put(1)?;
    let joiner = Process::start(|| queue.join())?;
    blocked(&joiner);
    let one = JoinTimeoutError::Timeout { unfinished: 1 };
    assert_eq!(queue.join_timeout(Duration::ZERO), Err(one));
    let begun = Instant::now();
    assert_eq!(queue.join_timeout(MOMENT), Err(one));
    assert!(begun.elapsed() + Duration::from_millis(1) >= MOMENT);
    queue.get()?;
    assert_eq!(queue.join_timeout(Duration::ZERO), Err(one));
    assert!(joiner.is_alive());
    queue.task_done()?;
    ends_well(&joiner);
    Ok(())
}

/// J5, our way: `join` looks again when it wakes.
fn a_put_between_zero_and_the_wake_up_extends_join() -> Outcome {
    let queue = JoinableQueue::<u64>::unbounded()?;
    queue.put(1)?;
    let joiner = Process::start(|| queue.join())?;
    blocked(&joiner);
    // Stopped, it cannot look between the two.
    send_signal(&joiner, libc::SIGSTOP);
    until("the joiner to stop", || state(joiner.pid()) == Some('T'));
    queue.task_done()?;
    assert_eq!(queue.unfinished(), 0);
    queue.put(2)?;
    send_signal(&joiner, libc::SIGCONT);
    blocked(&joiner);
    assert_eq!(joiner.try_join()?, None);
    queue.task_done()?;
    ends_well(&joiner);
    Ok(())
}

fn task_done_once_too_often_is_an_error() -> Outcome {
    let queue = JoinableQueue::<u64>::bounded(3)?;
    assert_eq!(queue.task_done(), Err(TaskDoneError::TooMany));
    queue.put(1)?;
    let child = Process::start(|| {
        queue.get().unwrap();
        queue.task_done().unwrap();
        assert_eq!(queue.task_done(), Err(TaskDoneError::TooMany));
    })?;
    ends_well(&child);
    assert_eq!(queue.unfinished(), 0);
    queue.put(2)?;
    assert_eq!(queue.unfinished(), 1);
    Ok(())
}

fn task_done_once_too_often_is_an_error_also_while_a_put_waits() -> Outcome {
    let queue = JoinableQueue::<u64>::bounded(1)?;
    queue.put(1)?;
    let producer = Process::start(|| queue.put(2))?;
    blocked(&producer);
    queue.task_done()?;
    let worker = Process::start(|| {
        assert_eq!(queue.task_done(), Err(TaskDoneError::TooMany));
    })?;
    ends_well(&worker);
    assert_eq!((queue.get()?, queue.get()?), (1, 2));
    ends_well(&producer);
    assert_eq!(queue.unfinished(), 1);
    Ok(())
}

/// SQ1
fn a_child_sees_a_simple_queue_empty_then_not() -> Outcome {
    let queue = SimpleQueue::<bool>::new()?;
    let (child_turn, parent_turn) = (Counter::new(), Counter::new());
    let child = Process::start(|| {
        child_turn.reach(1);
        for _ in 0..2 {
            queue.put(queue.is_empty().unwrap()).unwrap();
        }
        parent_turn.count();
    })?;
    assert!(queue.is_empty()?);
    child_turn.count();
    parent_turn.reach(1);
    assert!(!queue.is_empty()?);
    assert_eq!((queue.get()?, queue.get()?), (true, false));
    assert!(queue.is_empty()?);
    ends_well(&child);
    Ok(())
}

/// SQ2
fn is_empty_after_close_is_an_error() -> Outcome {
    let unused = SimpleQueue::<u64>::new()?;
    unused.close();
    assert_eq!(unused.is_empty(), Err(GetError::Closed));
    let used = SimpleQueue::<u64>::new()?;
    used.put(1)?;
    ends_well(&Process::start(|| assert_eq!(used.get(), Ok(1)))?);
    used.close();
    assert_eq!(used.is_empty(), Err(GetError::Closed));
    assert_eq!(used.get(), Err(GetError::Closed));
    assert!(matches!(used.put(2), Err(PutError::Closed(2))));
    Ok(())
}

static BEGUN: OnceLock<(Counter, Counter)> = OnceLock::new();

/// Takes its time to be serialised: says that it began, and waits until it may go on.
#[derive(Debug, PartialEq, Deserialize)]
struct Slow(u64);

impl Serialize for Slow {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let (Some((begun, go_on)), 1) = (BEGUN.get(), self.0) {
            begun.count();
            go_on.reach(1);
        }
        serializer.serialize_newtype_struct("Slow", &self.0)
    }
}

/// SQ4: serialised before anything is locked. There is no feeder thread and no pipe to fill.
fn a_simple_queue_has_close_is_empty_get_and_put() -> Outcome {
    let (begun, go_on) = (Counter::new(), Counter::new());
    BEGUN.get_or_init(|| (begun.clone(), go_on.clone()));
    let queue = SimpleQueue::<Slow>::new()?;
    let child = Process::start(|| queue.put(Slow(1)))?;
    begun.reach(1);
    // The child is in the middle of its put.
    for n in 2..5_000 {
        queue.put(Slow(n))?;
    }
    assert_eq!(queue.get()?, Slow(2));
    go_on.count();
    ends_well(&child);
    let mut last = queue.get()?;
    while !queue.is_empty()? {
        last = queue.get()?;
    }
    assert_eq!(last, Slow(1));
    queue.close();
    Ok(())
}

/// F3
fn a_consumer_killed_while_blocked_in_get_leaves_the_item_to_the_next() -> Outcome {
    for trial in 0..30 {
        let queue = Queue::<u64>::bounded(4)?;
        // The one waits for data, the other for the first.
        let leader = Process::start(|| queue.get().map(drop))?;
        blocked(&leader);
        let follower = Process::start(|| queue.get().map(drop))?;
        blocked(&follower);
        kill(&leader);
        if trial % 2 == 0 {
            kill(&follower);
            queue.put(trial)?;
            assert_eq!(queue.len(), 1);
            assert_eq!(queue.get()?, trial);
        } else {
            queue.put(trial)?;
            ends_well(&follower);
        }
        assert_eq!(queue.try_get(), Err(TryGetError::Empty));
        let simple = SimpleQueue::<u64>::new()?;
        let consumer = Process::start(|| simple.get().map(drop))?;
        blocked(&consumer);
        kill(&consumer);
        simple.put(trial)?;
        assert_eq!(simple.get()?, trial);
    }
    Ok(())
}

const MIB: usize = 1 << 20;

/// F4
fn consumers_killed_while_draining_large_items_leave_the_queue_usable() -> Outcome {
    let mut dice = Dice::new(4);
    for trial in 0..30 {
        let (tx, rx) = Queue::<Vec<u8>>::options()
            .capacity(4)
            .codec::<Bytes>()
            .build()?
            .split();
        let got = Counter::new();
        let consumer = {
            let rx = rx.clone();
            Process::start(|| {
                let rx = rx;
                for message in &rx {
                    let number = number_of(&message.unwrap());
                    assert_eq!(got.count(), number, "one consumer so far, and in order");
                }
            })?
        };
        let producer = Process::start(move || {
            for number in 0..16 {
                tx.put_from(&pattern(number, MIB)).unwrap();
            }
        })?;
        got.reach(1 + dice.below(8));
        spin(dice.below(400));
        kill(&consumer);
        let logged = got.get();
        let rest: Vec<u64> = rx
            .iter()
            .map(|message| number_of(&message.unwrap()))
            .collect();
        ends_well(&producer);
        // What the dead one had in its hands is the only thing that may be missing.
        let first = rest.first().copied().unwrap_or(16);
        assert!(
            first == logged || first == logged + 1,
            "trial {trial}: {logged} taken, then {first}"
        );
        assert!(
            rest.iter().copied().eq(first..16),
            "trial {trial}: {rest:?}"
        );
        assert_eq!(rx.queue().len(), 0);
    }
    Ok(())
}

/// F5
fn the_half_written_item_of_a_killed_producer_is_skipped() -> Outcome {
    let mut dice = Dice::new(5);
    for trial in 0..30 {
        let (tx, rx) = Queue::<Vec<u8>>::options()
            .capacity(4)
            .codec::<Bytes>()
            .build()?
            .split();
        let (returned, put_by_other) = (Counter::new(), 8);
        let victim = {
            let (tx, returned) = (tx.clone(), returned.clone());
            Process::start(move || {
                for number in 0.. {
                    tx.put_from(&pattern(number, MIB)).unwrap();
                    returned.count();
                }
            })?
        };
        let other = Process::start(move || {
            for number in 0..put_by_other {
                tx.put_from(&pattern(1_000 + number, MIB)).unwrap();
            }
        })?;
        let mut victims = Vec::new();
        let mut others = Vec::new();
        let kill_after = 1 + dice.below(8) as usize;
        let mut killed_at = None;
        for message in &rx {
            let number = number_of(&message?);
            if number < 1_000 {
                &mut victims
            } else {
                &mut others
            }
            .push(number);
            if killed_at.is_none() && victims.len() >= kill_after {
                spin(dice.below(400));
                kill(&victim);
                killed_at = Some(returned.get());
            }
        }
        let returned = killed_at.ok_or("the victim lived on")?;
        assert_eq!(ends(&other), Exit::Code(0));
        assert!(
            others.iter().copied().eq(1_000..1_000 + put_by_other),
            "{others:?}"
        );
        assert!(
            victims.iter().copied().eq(0..victims.len() as u64),
            "{victims:?}"
        );
        let arrived = victims.len() as u64;
        assert!(
            arrived == returned || arrived == returned + 1,
            "trial {trial}: {returned} puts returned, {arrived} arrived"
        );
    }
    Ok(())
}

/// F15
fn a_thousand_puts_then_exit_all_arrive() -> Outcome {
    for _ in 0..30 {
        let (tx, rx) = Queue::<String>::unbounded()?.split();
        let child = Process::start(move || {
            for n in 0..1_000 {
                tx.put(n.to_string()).unwrap();
            }
            exit_now(7);
        })?;
        let mut next = 0;
        for message in &rx {
            assert_eq!(message?, next.to_string());
            next += 1;
        }
        assert_eq!(next, 1_000);
        assert_eq!(ends(&child), Exit::Code(7));
    }
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
fn a_type_with_its_own_run_answers_over_queues() -> Outcome {
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

// ---- every form in every state ----

fn on_a_full_queue_every_put_waits_as_long_as_it_says() -> Outcome {
    let queue = Queue::<u64>::bounded(1)?;
    queue.put(0)?;
    assert!(matches!(queue.try_put(1), Err(TryPutError::Full(1))));
    let begun = Instant::now();
    let late = queue.put_timeout(2, MOMENT);
    assert!(matches!(late, Err(PutTimeoutError::Timeout(2))));
    assert!(begun.elapsed() + Duration::from_millis(1) >= MOMENT);
    let waiting = [
        Process::start(|| queue.put(3).map(drop))?,
        Process::start(|| queue.put_timeout(4, Duration::MAX).map(drop))?,
        Process::start(|| queue.put_timeout(5, PATIENCE).map(drop))?,
    ];
    waiting.iter().for_each(blocked);
    assert!(matches!(queue.try_put(6), Err(TryPutError::Full(6))));
    let mut got: Vec<u64> = (0..4).map(|_| queue.get().unwrap()).collect();
    assert_eq!(got[0], 0);
    got.sort_unstable();
    assert_eq!(got, [0, 3, 4, 5]);
    waiting.iter().for_each(ends_well);
    Ok(())
}

fn on_an_empty_queue_every_get_waits_as_long_as_it_says() -> Outcome {
    let queue = Queue::<u64>::bounded(1)?;
    assert_eq!(queue.try_get(), Err(TryGetError::Empty));
    let begun = Instant::now();
    assert_eq!(queue.get_timeout(MOMENT), Err(GetTimeoutError::Timeout));
    assert!(begun.elapsed() + Duration::from_millis(1) >= MOMENT);
    let got = Counter::new();
    let waiting = [
        Process::start(|| {
            queue.get().map(|_| {
                got.count();
            })
        })?,
        Process::start(|| {
            queue.get_timeout(Duration::MAX).map(|_| {
                got.count();
            })
        })?,
        Process::start(|| {
            queue.get_timeout(PATIENCE).map(|_| {
                got.count();
            })
        })?,
    ];
    waiting.iter().for_each(blocked);
    assert_eq!(queue.try_get(), Err(TryGetError::Empty));
    for n in 0..3 {
        queue.put(n)?;
    }
    waiting.iter().for_each(ends_well);
    assert_eq!(got.get(), 3);
    Ok(())
}

fn every_form_after_close_says_closed() -> Outcome {
    let closed = Err("Closed".to_owned());
    let queue = Queue::<u64>::bounded(10)?;
    queue.put(1)?;
    queue.close();
    for (form, result) in every_get!(queue) {
        assert_eq!(result, closed, "{form}");
    }
    every_put_is_closed(every_put!(queue));
    // The registered ends of a queue that this process has closed.
    let (tx, rx) = Queue::<u64>::bounded(10)?.split();
    tx.put(1)?;
    tx.queue().close();
    every_put_is_closed(every_put!(tx));
    // `split` made two handles on one queue of this process.
    for (form, result) in every_get!(rx) {
        assert_eq!(result, closed, "{form}");
    }
    Ok(())
}

fn after_a_shutdown_puts_say_closed_and_gets_take_what_is_left() -> Outcome {
    let queue = Queue::<u64>::bounded(10)?;
    for n in 0..5 {
        queue.put(n)?;
    }
    ends_well(&Process::start(|| queue.shut_down())?);
    every_put_is_closed(every_put!(queue));
    assert_eq!(queue.len(), 5);
    for (n, (form, result)) in every_get!(queue).into_iter().enumerate() {
        assert_eq!(result, Ok(n as u64), "{form}");
    }
    for (form, result) in every_get!(queue) {
        assert_eq!(result, Err("Closed".to_owned()), "{form}");
    }
    Ok(())
}

fn a_shutdown_ends_what_waits() -> Outcome {
    let empty = Queue::<u64>::bounded(1)?;
    let full = Queue::<u64>::bounded(1)?;
    full.put(0)?;
    let readers = Process::start_each(0..3, |_| {
        assert_eq!(empty.get(), Err(GetError::Closed));
    })?;
    let writers = Process::start_each(1..4, |n| {
        assert!(matches!(full.put(n), Err(PutError::Closed(_))));
    })?;
    readers.iter().for_each(blocked);
    writers.iter().for_each(blocked);
    empty.shut_down();
    full.shut_down();
    readers.iter().for_each(ends_well);
    writers.iter().for_each(ends_well);
    assert_eq!(full.get()?, 0);
    assert_eq!(full.get(), Err(GetError::Closed));
    Ok(())
}

fn after_the_producers_died_every_get_takes_what_is_left_and_says_closed() -> Outcome {
    type Get = (&'static str, fn(&Consumer<u64>) -> Result<u64, String>);
    let forms: [Get; 5] = [
        ("get", |rx| rx.get().map_err(|e| format!("{e:?}"))),
        ("try_get", |rx| rx.try_get().map_err(|e| format!("{e:?}"))),
        ("get_timeout(0)", |rx| {
            rx.get_timeout(Duration::ZERO).map_err(|e| format!("{e:?}"))
        }),
        ("get_timeout(a tenth of a slice)", |rx| {
            let short = Duration::from_millis(5);
            rx.get_timeout(short).map_err(|e| format!("{e:?}"))
        }),
        ("get_timeout(for ever)", |rx| {
            rx.get_timeout(Duration::MAX).map_err(|e| format!("{e:?}"))
        }),
    ];
    for (form, get) in forms {
        let (tx, rx) = Queue::<u64>::bounded(5)?.split();
        tx.put(1)?;
        let children = [waits_for_death(tx.clone())?, waits_for_death(tx)?];
        children.iter().for_each(kill);
        assert_eq!(get(&rx), Ok(1), "{form}");
        // Not `Empty`: nobody is there who could ever put.
        assert_eq!(get(&rx), Err("Closed".to_owned()), "{form}");
    }
    Ok(())
}

fn after_the_consumers_died_a_put_that_waits_says_closed() -> Outcome {
    let (tx, rx) = Queue::<u64>::bounded(1)?.split();
    let children = [waits_for_death(rx.clone())?, waits_for_death(rx)?];
    tx.put(0)?;
    let waiting = Process::start(|| matches!(tx.put(1), Err(PutError::Closed(1))) as i32)?;
    blocked(&waiting);
    children.iter().for_each(kill);
    assert_eq!(ends(&waiting), Exit::Code(1));
    assert!(matches!(tx.put(2), Err(PutError::Closed(2))));
    let late = tx.put_timeout(3, Duration::MAX);
    assert!(matches!(late, Err(PutTimeoutError::Closed(3))));
    let late = tx.put_timeout(4, PATIENCE);
    assert!(matches!(late, Err(PutTimeoutError::Closed(4))));
    Ok(())
}

fn a_try_put_and_a_short_put_timeout_on_a_full_queue_notice_dead_consumers() -> Outcome {
    let (tx, rx) = Queue::<u64>::bounded(1)?.split();
    let child = waits_for_death(rx)?;
    tx.put(0)?;
    assert!(matches!(tx.try_put(1), Err(TryPutError::Full(1))));
    kill(&child);
    let short = tx.put_timeout(2, Duration::from_millis(5));
    assert!(
        matches!(short, Err(PutTimeoutError::Closed(2))),
        "{short:?}"
    );
    let now = tx.try_put(3);
    assert!(matches!(now, Err(TryPutError::Closed(3))), "{now:?}");
    Ok(())
}

// ---- messages ----

/// Panics while it is serialised, if its number is odd.
#[derive(Debug, PartialEq, Deserialize)]
struct Explosive(u64);

impl Serialize for Explosive {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        assert!(self.0.is_multiple_of(2), "odd numbers explode");
        serializer.serialize_newtype_struct("Explosive", &self.0)
    }
}

fn a_serialiser_that_panics_harms_its_own_put_only() -> Outcome {
    let queue = Queue::<Explosive>::bounded(4)?;
    let caught = catch_unwind(AssertUnwindSafe(|| queue.put(Explosive(1))));
    assert!(caught.is_err());
    assert!(queue.is_empty());
    let child = Process::start(|| queue.put(Explosive(3)))?;
    assert_eq!(ends(&child), Exit::Code(1));
    let child = Process::start(|| queue.put(Explosive(4)))?;
    ends_well(&child);
    queue.put(Explosive(6))?;
    assert_eq!((queue.get()?, queue.get()?), (Explosive(4), Explosive(6)));
    Ok(())
}

static SELF: OnceLock<Queue<Nested>> = OnceLock::new();

/// Puts one less into the same queue while it is serialised, and takes it out again.
#[derive(Debug, PartialEq, Deserialize)]
struct Nested(u64);

impl Serialize for Nested {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let (Some(queue), 1..) = (SELF.get(), self.0) {
            queue.put(Nested(self.0 - 1)).unwrap();
            if self.0 == 3 {
                assert_eq!(queue.get().unwrap(), Nested(0));
            }
        }
        serializer.serialize_newtype_struct("Nested", &self.0)
    }
}

fn a_serialiser_may_use_the_queue_itself() -> Outcome {
    let queue = Queue::<Nested>::bounded(10)?;
    SELF.get_or_init(|| queue.clone());
    let child = Process::start(|| queue.put(Nested(3)))?;
    ends_well(&child);
    assert_eq!(queue.get()?, Nested(1));
    assert_eq!(queue.get()?, Nested(2));
    assert_eq!(queue.get()?, Nested(3));
    assert!(queue.is_empty());
    Ok(())
}

#[derive(Debug, PartialEq, Serialize)]
struct Delicate(u64);

impl<'de> Deserialize<'de> for Delicate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = u64::deserialize(deserializer)?;
        assert!(number != 2, "this number explodes");
        match number {
            1 => Err(serde::de::Error::custom("this number is refused")),
            _ => Ok(Delicate(number)),
        }
    }
}

fn a_deserialiser_that_fails_or_panics_costs_one_message() -> Outcome {
    let queue = Queue::<Delicate>::bounded(4)?;
    let child = Process::start(|| (0..4).try_for_each(|n| queue.put(Delicate(n))))?;
    ends_well(&child);
    assert_eq!(queue.get()?, Delicate(0));
    assert!(matches!(queue.get(), Err(GetError::Decode(_))));
    assert!(catch_unwind(AssertUnwindSafe(|| queue.get())).is_err());
    assert_eq!(queue.get()?, Delicate(3));
    assert!(queue.is_empty());
    Ok(())
}

fn a_named_queue_of_another_type_is_refused_with_both_named() -> Outcome {
    let name = test::unique("typed");
    let queue = Queue::<Vec<u32>>::create(&name)?;
    let child = Process::start(|| {
        let refused = Queue::<String>::open(&name).unwrap_err().to_string();
        assert!(
            refused.contains("Vec<u32>") && refused.contains("String"),
            "{refused}"
        );
        let codec = Queue::<Vec<u8>>::options().codec::<Bytes>().open(&name);
        let refused = codec.unwrap_err().to_string();
        assert!(
            refused.contains("serde") && refused.contains("bytes"),
            "{refused}"
        );
        Queue::<Vec<u32>>::open(&name)
            .unwrap()
            .put(vec![1, 2])
            .unwrap();
    })?;
    ends_well(&child);
    assert_eq!(queue.get()?, [1, 2]);
    Queue::<Vec<u32>>::unlink(&name)?;
    Ok(())
}

fn a_capacity_of_nothing_or_too_much_is_refused() -> Outcome {
    for wrong in [0, 1 << 31, usize::MAX] {
        match Queue::<u64>::bounded(wrong) {
            Err(CreateError::Capacity(n)) => assert_eq!(n, wrong),
            other => return Err(format!("{other:?}").into()),
        }
    }
    let name = test::unique("none");
    assert!(Queue::<u64>::options().capacity(0).create(&name).is_err());
    assert!(
        Queue::<u64>::open(&name).is_err(),
        "nothing half-made is left"
    );
    assert_eq!(
        Queue::<u64>::bounded((1 << 31) - 1)?.capacity(),
        (1 << 31) - 1
    );
    for wrong in [0, (8 << 30) + 1, usize::MAX - 5000] {
        assert!(
            Queue::<u64>::options().reserve(wrong).build().is_err(),
            "{wrong}"
        );
    }
    Ok(())
}

/// A queue of bytes in little memory, and the most bytes that a message may have there.
fn small(reserve: usize) -> Outcome<(Queue<Vec<u8>, Bytes>, usize)> {
    let queue = Queue::<Vec<u8>>::options()
        .reserve(reserve)
        .codec::<Bytes>()
        .build()?;
    match queue.put(vec![7; 2 * reserve]) {
        Err(PutError::TooLarge {
            message,
            bytes,
            most,
        }) => {
            assert!(message == vec![7; 2 * reserve] && bytes == 2 * reserve);
            assert!(most <= reserve);
            Ok((queue, most))
        }
        other => Err(format!("{other:?}").into()),
    }
}

fn a_message_larger_than_the_reserve_comes_back() -> Outcome {
    let (queue, most) = small(64 << 10)?;
    assert!(queue.is_empty());
    let refused = queue.try_put(vec![1; most + 1]).unwrap_err();
    let said = refused.to_string();
    assert!(said.contains(&(most + 1).to_string()) && said.contains(&most.to_string()));
    assert_eq!(refused.into_message().len(), most + 1);
    let refused = queue.put_timeout(vec![1; most + 1], Duration::MAX);
    assert!(matches!(refused, Err(PutTimeoutError::TooLarge { .. })));
    let refused = queue.put_from(&vec![1; most + 1]);
    assert!(matches!(
        refused,
        Err(PutError::TooLarge { message: (), .. })
    ));
    queue.put(pattern(1, most))?;
    assert_eq!(number_of(&queue.get()?), 1);
    Ok(())
}

fn the_largest_message_fits_again_and_again() -> Outcome {
    let (queue, most) = small(64 << 10)?;
    for number in 0..20 {
        // The queue is empty each time.
        queue.try_put(pattern(number, most - (number as usize % 3) * most / 4))?;
        assert_eq!(number_of(&queue.get()?), number);
    }
    Ok(())
}

// ---- registration ----

fn producers_beyond_the_table_wait_for_a_place() -> Outcome {
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

fn the_dead_make_place_in_the_table() -> Outcome {
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

// ---- signals ----

static SIGNALS: AtomicU64 = AtomicU64::new(0);
static HEARD: OnceLock<Counter> = OnceLock::new();

extern "C" fn note(_: i32) {
    SIGNALS.fetch_add(1, Relaxed);
    if let Some(heard) = HEARD.get() {
        heard.count();
    }
}

fn signals_neither_end_nor_stretch_a_wait() -> Outcome {
    let heard = Counter::new();
    HEARD.get_or_init(|| heard.clone());
    on_signal(libc::SIGUSR1, note);
    let empty = Queue::<u64>::bounded(1)?;
    let full = JoinableQueue::<u64>::bounded(1)?;
    full.put(1)?;
    let waiting = [
        Process::start(|| assert_eq!(empty.get(), Ok(5)))?,
        Process::start(|| full.put(2).map(drop))?,
        Process::start(|| full.join())?,
    ];
    for child in &waiting {
        blocked(child);
        let before = heard.get();
        for n in 1..=100 {
            send_signal(child, libc::SIGUSR1);
            heard.reach(before + n);
        }
        assert!(child.is_alive());
        blocked(child);
    }
    empty.put(5)?;
    assert_eq!((full.get()?, full.get()?), (1, 2));
    full.task_done()?;
    full.task_done()?;
    waiting.iter().for_each(ends_well);

    let timeout = Duration::from_millis(200);
    let child = Process::start(|| {
        let begun = Instant::now();
        assert_eq!(empty.get_timeout(timeout), Err(GetTimeoutError::Timeout));
        assert!(begun.elapsed() + Duration::from_millis(1) >= timeout);
    })?;
    // As long as it lives: a deadline that began again with every signal would never come.
    until("the time to be up under signals", || {
        send_signal(&child, libc::SIGUSR1);
        !child.is_alive()
    });
    ends_well(&child);
    Ok(())
}

fn signals_do_not_tear_messages() -> Outcome {
    on_signal(libc::SIGALRM, note);
    let every_millisecond = || {
        // SAFETY: the timer is read from a local.
        unsafe {
            let mut timer: libc::itimerval = std::mem::zeroed();
            timer.it_interval.tv_usec = 300;
            timer.it_value.tv_usec = 300;
            assert_eq!(
                libc::setitimer(libc::ITIMER_REAL, &timer, std::ptr::null_mut()),
                0
            );
        }
    };
    let options = Queue::<Vec<u8>>::options().capacity(8);
    let (tx, rx) = options.codec::<Bytes>().build()?.split();
    let producers = Process::start_each([tx.clone(), tx], |tx| {
        every_millisecond();
        for number in 0..1_000 {
            let len = if number % 10 == 0 { 300_000 } else { 100 };
            tx.put_from(&pattern(number, len)).unwrap();
        }
        assert!(SIGNALS.load(Relaxed) > 0);
    })?;
    let consumer = Process::start(move || {
        every_millisecond();
        let mut sum = 0;
        for message in &rx {
            sum += number_of(&message.unwrap());
        }
        assert_eq!(sum, 999 * 1_000);
        assert!(SIGNALS.load(Relaxed) > 0);
    })?;
    producers.iter().for_each(ends_well);
    ends_well(&consumer);
    Ok(())
}

// ---- codecs ----

#[derive(
    Debug,
    PartialEq,
    zerocopy::TryFromBytes,
    zerocopy::IntoBytes,
    zerocopy::Immutable,
    zerocopy::KnownLayout,
)]
#[repr(u8)]
enum Colour {
    Red = 0,
    Green = 1,
}

#[derive(
    Debug,
    PartialEq,
    zerocopy::TryFromBytes,
    zerocopy::IntoBytes,
    zerocopy::Immutable,
    zerocopy::KnownLayout,
)]
#[repr(C)]
struct Lamp {
    lit: bool,
    colour: Colour,
}

fn plain_data_with_invalid_bytes_is_a_decode_error() -> Outcome {
    let name = test::unique("lamps");
    // Somebody who calls something else a lamp.
    let bytes = Queue::<Vec<u8>>::options()
        .type_tag("Lamp")
        .codec::<Bytes>()
        .create(&name)?;
    let child = Process::start(|| {
        let lamps = Queue::<Lamp>::options().type_tag("Lamp").codec::<Plain>();
        let lamps = lamps.open(&name).unwrap();
        for _ in 0..5 {
            match lamps.get() {
                Err(GetError::Decode(why)) => assert!(why.contains("Lamp"), "{why}"),
                other => panic!("{other:?}"),
            }
        }
        let lamp = |lit, colour| Lamp { lit, colour };
        assert_eq!(lamps.get(), Ok(lamp(true, Colour::Green)));
        assert_eq!(lamps.get(), Ok(lamp(false, Colour::Red)));
    })?;
    for wrong in [&[2, 0][..], &[0, 2], &[255, 255], &[1], &[1, 1, 1]] {
        bytes.put_from(wrong)?;
    }
    bytes.put_from(&[1, 1])?;
    bytes.put_from(&[0, 0])?;
    ends_well(&child);
    Queue::<()>::unlink(&name)?;
    Ok(())
}

fn serde_with_invalid_bytes_is_a_decode_error() -> Outcome {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Job {
        Rest,
        Work { hard: bool, what: String },
    }
    let name = test::unique("jobs");
    let bytes = Queue::<Vec<u8>>::options()
        .type_tag("Job")
        .codec::<Bytes>()
        .create(&name)?;
    let child = Process::start(|| {
        let jobs = Queue::<Job>::options().type_tag("Job").open(&name).unwrap();
        for _ in 0..5 {
            assert!(matches!(jobs.get(), Err(GetError::Decode(_))));
        }
        assert_eq!(jobs.get(), Ok(Job::Rest));
        jobs.put(Job::Work {
            hard: true,
            what: "dig".into(),
        })
        .unwrap();
    })?;
    // No such variant; no such bool; a text that is none; one longer than the message; nothing.
    for wrong in [
        &[2][..],
        &[1, 7, 0],
        &[1, 0, 1, 255],
        &[1, 0, 200, 1, b'x'],
        &[],
    ] {
        bytes.put_from(wrong)?;
    }
    bytes.put_from(&[0])?;
    ends_well(&child);
    assert_eq!(bytes.get()?, b"\x01\x01\x03dig");
    Queue::<()>::unlink(&name)?;
    Ok(())
}

fn bytes_and_plain_data_arrive_as_they_are() -> Outcome {
    let bytes = Queue::<Vec<u8>>::options().codec::<Bytes>().build()?;
    let large = Queue::<[u64; 1000]>::options().codec::<Plain>().build()?;
    let unit = Queue::<()>::unbounded()?;
    let lens = [
        0, 1, 7, 8, 9, 4_095, 4_096, 32_767, 32_768, 100_000, 3_000_000,
    ];
    let child = Process::start(|| {
        for len in lens {
            bytes.put_from(&vec![len as u8; len]).unwrap();
        }
        large.put(std::array::from_fn(|n| n as u64)).unwrap();
        unit.put(()).unwrap();
    })?;
    let mut buffer = vec![1; 10];
    for len in lens {
        bytes.get_into(&mut buffer)?;
        assert!(buffer == vec![len as u8; len], "{len}");
    }
    assert_eq!(large.get()?, std::array::from_fn(|n| n as u64));
    unit.get()?;
    ends_well(&child);
    Ok(())
}

// ---- iteration, len, types ----

fn iteration_ends_with_the_producers_and_stays_ended() -> Outcome {
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

fn iteration_goes_on_after_a_message_that_cannot_be_decoded() -> Outcome {
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

fn iteration_over_a_plain_queue_ends_with_a_shutdown() -> Outcome {
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

fn len_is_exact_across_processes() -> Outcome {
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

fn handles_are_send_sync_and_debug() -> Outcome {
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

fn named_queues_meet_by_name() -> Outcome {
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

/// Spends about so many microseconds, so that a kill falls anywhere.
fn spin(micros: u64) {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_micros(micros) {
        std::hint::spin_loop();
    }
}

/// The letter that the kernel has for what a process does.
fn state(pid: u32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit(") ").next()?.chars().next()
}
