//! Queues of every kind, and their ends.

use crate::world::*;
use multiproc_core::step;
use multiproc_process::{Context, Exit, StartMethod};
use multiproc_queue::codec::Bytes;
use multiproc_queue::{
    Consumer, GetError, GetTimeoutError, JoinError, JoinTimeoutError, JoinableQueue, Producer,
    PutError, PutTimeoutError, Queue, SimpleQueue, TaskDoneError, TryGetError, TryPutError,
};
use multiproc_segment::Shared;
use multiproc_value::Value;
use serde::{Deserialize, Serialize, Serializer};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

pub(crate) fn a_queue_fills_from_children() {
    fn put((queue, from): (Queue<u64>, u64)) {
        (from..from + 1_000).for_each(|n| queue.put(n).unwrap());
    }
    in_each_world(|world| {
        let queue = Queue::bounded(50).unwrap();
        let children = [0, 1_000, 2_000].map(|from| start(world, put, (queue.clone(), from)));
        let sum: u64 = (0..3_000).map(|_| queue.get().unwrap()).sum();
        assert_eq!(sum, 2_999 * 3_000 / 2);
        children.iter().for_each(ends_well);
        assert!(queue.is_empty());
    });
}

pub(crate) fn full_and_empty_are_so_for_every_process() {
    fn fills(queue: Queue<u64>) {
        queue.put(1).unwrap();
        queue.put_timeout(2, PATIENCE).unwrap();
        queue.put_timeout(3, Duration::ZERO).unwrap();
        queue.try_put(4).unwrap();
    }
    fn finds_it_full(queue: Queue<u64>) {
        assert!(queue.is_full());
        assert_eq!((queue.len(), queue.capacity()), (4, 4));
        assert!(matches!(queue.try_put(5), Err(TryPutError::Full(5))));
        for timeout in [Duration::ZERO, MOMENT] {
            let put = queue.put_timeout(6, timeout);
            assert!(matches!(put, Err(PutTimeoutError::Timeout(6))));
        }
    }
    fn drains(queue: Queue<u64>) {
        assert_eq!(queue.get(), Ok(1));
        assert_eq!(queue.try_get(), Ok(2));
        assert_eq!(queue.get_timeout(PATIENCE), Ok(3));
        assert_eq!(queue.len(), 1);
        assert_eq!(queue.iter().next(), Some(Ok(4)));
        assert_eq!(queue.try_get(), Err(TryGetError::Empty));
        for timeout in [Duration::ZERO, MOMENT] {
            assert_eq!(queue.get_timeout(timeout), Err(GetTimeoutError::Timeout));
        }
    }
    in_each_world(|world| {
        let queue = Queue::bounded(4).unwrap();
        ends_well(&start(world, fills, queue.clone()));
        assert!(queue.is_full() && !queue.is_empty());
        ends_well(&start(world, finds_it_full, queue.clone()));
        ends_well(&start(world, drains, queue.clone()));
        assert!(queue.is_empty() && !queue.is_full());
    });
}

pub(crate) fn each_childs_items_keep_their_order() {
    fn put((queue, who): (Queue<(usize, u32)>, usize)) {
        (0..300).for_each(|n| queue.put((who, n)).unwrap());
    }
    in_each_world(|world| {
        let queue = Queue::bounded(16).unwrap();
        let children = [0, 1, 2].map(|who| start(world, put, (queue.clone(), who)));
        let mut next = [0; 3];
        for _ in 0..900 {
            let (who, n) = queue.get().unwrap();
            assert_eq!(n, next[who]);
            next[who] += 1;
        }
        assert_eq!(next, [300; 3]);
        children.iter().for_each(ends_well);
    });
}

pub(crate) fn what_was_put_outlives_who_put_it() {
    fn put(queue: Queue<Vec<u8>>) {
        (0..1_000).for_each(|n| queue.put(pattern(n, 20)).unwrap());
        queue.put(pattern(1_000, 1 << 20)).unwrap();
        exit_now(0);
    }
    in_each_world(|world| {
        let queue = Queue::unbounded().unwrap();
        ends_well(&start(world, put, queue.clone()));
        assert_eq!(queue.len(), 1_001);
        for n in 0..=1_000 {
            assert_eq!(number_of(&queue.try_get().unwrap()), n);
        }
    });
}

pub(crate) fn a_queue_made_in_a_child_works_in_a_grandchild() {
    fn asks((method, post): (StartMethod, Queue<u64>)) {
        let own = Queue::bounded(1).unwrap();
        let child = start(Context::new(method), answers, own.clone());
        post.put(own.get().unwrap()).unwrap();
        ends_well(&child);
    }
    fn answers(own: Queue<u64>) {
        own.put(42).unwrap();
    }
    in_each_world(|world| {
        let post = Queue::unbounded().unwrap();
        let child = start(world, asks, (world.method(), post.clone()));
        ends_well(&child);
        assert_eq!(post.try_get(), Ok(42));
    });
}

pub(crate) fn closing_ends_only_the_process_that_closed() {
    fn closes(queue: Queue<u8>) {
        queue.close();
        assert!(matches!(queue.put(1), Err(PutError::Closed(1))));
        assert_eq!(queue.get(), Err(GetError::Closed));
    }
    in_each_world(|world| {
        let queue = Queue::bounded(4).unwrap();
        ends_well(&start(world, closes, queue.clone()));
        queue.put(2).unwrap();
        assert_eq!(queue.get(), Ok(2));
    });
}

pub(crate) fn a_shutdown_ends_children_that_wait() {
    fn gets(queue: Queue<u8>) {
        assert_eq!(queue.get(), Err(GetError::Closed));
    }
    fn puts(queue: Queue<u8>) {
        assert!(matches!(queue.put(2), Err(PutError::Closed(2))));
    }
    in_each_world(|world| {
        let (empty, full) = (Queue::bounded(1).unwrap(), Queue::bounded(1).unwrap());
        full.put(1).unwrap();
        let children = [
            start(world, gets, empty.clone()),
            start(world, puts, full.clone()),
        ];
        children.iter().for_each(blocked);
        empty.shut_down();
        full.shut_down();
        children.iter().for_each(ends_well);
        assert_eq!(full.get(), Ok(1));
    });
}

/// Refuses to be serialised, if its number is odd.
#[derive(Debug, PartialEq, Deserialize)]
struct Stubborn(u64);

impl Serialize for Stubborn {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 % 2 {
            1 => Err(serde::ser::Error::custom("odd numbers stay here")),
            _ => serializer.serialize_newtype_struct("Stubborn", &self.0),
        }
    }
}

pub(crate) fn what_cannot_be_serialised_stays_with_the_child() {
    fn put(queue: Queue<Stubborn>) {
        for n in 0..10 {
            match queue.put(Stubborn(n)) {
                Ok(()) => assert_eq!(n % 2, 0),
                Err(error) => assert_eq!(error.into_message(), Stubborn(n)),
            }
        }
    }
    in_each_world(|world| {
        let queue = Queue::unbounded().unwrap();
        ends_well(&start(world, put, queue.clone()));
        let got: Vec<_> = (0..5).map(|_| queue.try_get().unwrap().0).collect();
        assert_eq!(got, [0, 2, 4, 6, 8]);
        assert_eq!(queue.try_get(), Err(TryGetError::Empty));
    });
}

pub(crate) fn batches_and_loans_go_both_ways() {
    type Raw = Queue<Vec<u8>, Bytes>;
    fn answer((numbers, there, back): (Queue<u32>, Raw, Raw)) {
        let mut got = Vec::new();
        while got.len() < 100 {
            got.extend(numbers.get_many(30).unwrap());
        }
        numbers.put_many(got.into_iter().map(|n| n + 1)).unwrap();
        let loan = there.get_loan().unwrap();
        assert_eq!(&loan[..], b"in place");
        let mut answer = back.put_loan(loan.len()).unwrap();
        answer.copy_from_slice(&loan.to_ascii_uppercase());
        answer.commit();
        loan.done();
    }
    in_each_world(|world| {
        let raw = || Queue::options().codec::<Bytes>().build().unwrap();
        let (numbers, there, back) = (Queue::unbounded().unwrap(), raw(), raw());
        assert_eq!(numbers.put_many(0..100).unwrap(), 100);
        there.put_bytes(b"in place").unwrap();
        let given = (numbers.clone(), there.clone(), back.clone());
        ends_well(&start(world, answer, given));
        assert_eq!(back.get().unwrap(), b"IN PLACE");
        let got: Vec<u32> = (0..100).map(|_| numbers.try_get().unwrap()).collect();
        assert!(got.into_iter().eq(1..101));
    });
}

pub(crate) fn a_killed_getter_leaves_the_item_to_the_next() {
    fn get((queue, got): (Queue<u64>, Queue<u64>)) {
        got.put(queue.get().unwrap()).unwrap();
    }
    in_each_world(|world| {
        let (queue, got) = (Queue::bounded(4).unwrap(), Queue::unbounded().unwrap());
        let waiting = || {
            let child = start(world, get, (queue.clone(), got.clone()));
            blocked(&child);
            child
        };
        let (victim, next) = (waiting(), waiting());
        kill(&victim);
        queue.put(7).unwrap();
        ends_well(&next);
        assert_eq!(got.try_get(), Ok(7));
    });
}

pub(crate) fn killed_at_each_step_of_a_large_put_and_get() {
    fn put((queue, fatal): (Queue<Vec<u8>>, u64)) {
        step::arm(fatal);
        queue.put(pattern(fatal, 100_000)).unwrap();
        step::disarm();
    }
    fn get((queue, fatal): (Queue<Vec<u8>>, u64)) {
        step::arm(fatal);
        let got = queue.get().unwrap();
        step::disarm();
        assert_eq!(number_of(&got), fatal);
    }
    const NEXT: u64 = 1_000;
    // The next message comes, behind the one of the dead or alone; nothing else does.
    let is_in_order = |queue: &Queue<Vec<u8>>, fatal: u64| {
        queue.put(pattern(NEXT, 10)).unwrap();
        let first = number_of(&queue.get().unwrap());
        if first != NEXT {
            assert_eq!(first, fatal);
            assert_eq!(number_of(&queue.get().unwrap()), NEXT);
        }
        assert_eq!(queue.try_get(), Err(TryGetError::Empty));
        first == fatal
    };
    in_each_world(|world| {
        let queue = Queue::unbounded().unwrap();
        for fatal in 0.. {
            let exit = ends(&start(world, put, (queue.clone(), fatal)));
            let there = is_in_order(&queue, fatal);
            if exit == Exit::Code(0) {
                assert!(there && fatal > 2, "{fatal} steps in a put");
                break;
            }
            assert_eq!(exit, Exit::Signal(libc::SIGKILL));
        }
        for fatal in 0.. {
            queue.put(pattern(fatal, 100_000)).unwrap();
            let exit = ends(&start(world, get, (queue.clone(), fatal)));
            let there = is_in_order(&queue, fatal);
            if exit == Exit::Code(0) {
                assert!(!there && fatal > 2, "{fatal} steps in a get");
                break;
            }
            assert_eq!(exit, Exit::Signal(libc::SIGKILL));
        }
    });
}

// ---- registered ends ----

fn count_to_a_hundred(tx: Producer<String>) {
    (0..100).for_each(|n| tx.put(n.to_string()).unwrap());
}

pub(crate) fn registered_ends_move_into_children_and_their_end_is_the_end_of_the_stream() {
    fn consume((rx, total): (Consumer<String>, Value<u64>)) {
        let sum: u64 = rx.iter().map(|n| n.unwrap().parse::<u64>().unwrap()).sum();
        *total.lock().unwrap() += sum;
    }
    in_each_world(|world| {
        let total = Value::new(0_u64).unwrap();
        let (tx, rx) = Queue::bounded(10).unwrap().split();
        let consumers = [0; 2].map(|_| start(world, consume, (rx.clone(), total.clone())));
        let producers = [0; 2].map(|_| start(world, count_to_a_hundred, tx.clone()));
        drop((tx, rx));
        producers.iter().for_each(ends_well);
        consumers.iter().for_each(ends_well);
        assert_eq!(total.get().unwrap(), 2 * 99 * 100 / 2);
    });
}

pub(crate) fn an_end_goes_on_to_a_grandchild() {
    fn pass_on((method, tx): (StartMethod, Producer<String>)) {
        ends_well(&start(Context::new(method), count_to_a_hundred, tx));
    }
    in_each_world(|world| {
        let (tx, rx) = Queue::bounded(10).unwrap().split();
        let child = start(world, pass_on, (world.method(), tx));
        let got: Vec<_> = rx.iter().map(|n| n.unwrap()).collect();
        assert_eq!((got.len(), got[99].as_str()), (100, "99"));
        ends_well(&child);
    });
}

pub(crate) fn queues_and_ends_are_messages_to_children() {
    type Letter = (Producer<u8>, Queue<String>);
    fn take(post: Queue<Letter>) {
        let (tx, names) = post.get().unwrap();
        tx.put(names.get().unwrap().len() as u8).unwrap();
    }
    in_each_world(|world| {
        let post = Queue::<Letter>::unbounded().unwrap();
        let child = start(world, take, post.clone());
        // Made when the child runs already: it can have them through the message alone.
        let ((tx, rx), names) = (
            Queue::bounded(1).unwrap().split(),
            Queue::unbounded().unwrap(),
        );
        names.put("seven77".into()).unwrap();
        post.put((tx, names)).unwrap();
        assert_eq!(rx.get(), Ok(7));
        assert_eq!(rx.get(), Err(GetError::Closed));
        ends_well(&child);
    });
}

pub(crate) fn a_killed_producer_is_the_end_of_the_stream() {
    fn produce(tx: Producer<u8>) {
        tx.put(1).unwrap();
        die();
    }
    in_each_world(|world| {
        let (tx, rx) = Queue::bounded(10).unwrap().split();
        let child = start(world, produce, tx);
        assert_eq!(rx.get(), Ok(1));
        assert_eq!(rx.get(), Err(GetError::Closed));
        is_killed(&child);
    });
}

pub(crate) fn a_killed_consumer_ends_a_put_that_waits() {
    fn consume((rx, full): (Consumer<u8>, Queue<()>)) {
        full.get().unwrap();
        drop(rx.try_get());
        die();
    }
    in_each_world(|world| {
        let (tx, rx) = Queue::bounded(1).unwrap().split();
        let full = Queue::unbounded().unwrap();
        let child = start(world, consume, (rx, full.clone()));
        tx.put(1).unwrap();
        full.put(()).unwrap();
        // The first may find the room that the child made before it died.
        let refused = (2..4).find_map(|n| tx.put(n).err().map(|error| (n, error)));
        let (n, error) = refused.unwrap();
        assert!(matches!(error, PutError::Closed(m) if m == n));
        is_killed(&child);
    });
}

// ---- tasks ----

pub(crate) fn tasks_are_done_by_children_and_redelivered_when_one_dies() {
    fn work((jobs, sum): (JoinableQueue<u64>, Shared<AtomicU64>)) {
        while let Ok(job) = jobs.get_task() {
            if *job == 13 && job.attempt() == 1 {
                die();
            }
            sum.fetch_add(*job, SeqCst);
        }
    }
    in_each_world(|world| {
        let (jobs, sum) = (
            JoinableQueue::unbounded().unwrap(),
            shared(AtomicU64::new(0)),
        );
        (1..=20).for_each(|n| jobs.put(n).unwrap());
        let workers = [0; 2].map(|_| start(world, work, (jobs.clone(), sum.clone())));
        jobs.join().unwrap();
        assert_eq!(sum.load(SeqCst), 210);
        jobs.queue().shut_down();
        let ends = workers.map(|worker| worker.join().unwrap().signal());
        assert_eq!(ends.iter().flatten().count(), 1, "{ends:?}");
    });
}

pub(crate) fn a_join_waits_for_what_others_report() {
    fn joins(jobs: JoinableQueue<u64>) {
        jobs.join().unwrap();
        assert_eq!(jobs.unfinished(), 0);
    }
    fn reports((jobs, n): (JoinableQueue<u64>, u64)) {
        for _ in 0..n {
            jobs.get().unwrap();
            jobs.task_done().unwrap();
        }
    }
    fn reports_too_much(jobs: JoinableQueue<u64>) {
        assert_eq!(jobs.task_done(), Err(TaskDoneError::TooMany));
    }
    in_each_world(|world| {
        let jobs = JoinableQueue::unbounded().unwrap();
        (0..10).for_each(|n| jobs.put(n).unwrap());
        // Before any get.
        let joins = start(world, joins, jobs.clone());
        blocked(&joins);
        ends_well(&start(world, reports, (jobs.clone(), 9)));
        let late = jobs.join_timeout(MOMENT);
        assert_eq!(late, Err(JoinTimeoutError::Timeout { unfinished: 1 }));
        assert!(joins.is_alive());
        ends_well(&start(world, reports, (jobs.clone(), 1)));
        ends_well(&joins);
        jobs.join().unwrap();
        ends_well(&start(world, reports_too_much, jobs.clone()));
        assert_eq!(jobs.unfinished(), 0);
    });
}

pub(crate) fn a_join_says_what_was_lost_with_plain_getters() {
    fn gets_and_dies(jobs: JoinableQueue<u64>) {
        jobs.get().unwrap();
        jobs.get().unwrap();
        die();
    }
    in_each_world(|world| {
        let jobs = JoinableQueue::unbounded().unwrap();
        (0..3).for_each(|n| jobs.put(n).unwrap());
        is_killed(&start(world, gets_and_dies, jobs.clone()));
        assert_eq!(*jobs.get_task().unwrap(), 2);
        assert_eq!(jobs.join(), Err(JoinError::TasksLost(2)));
        assert_eq!(jobs.join(), Ok(()));
    });
}

pub(crate) fn a_task_that_kills_its_workers_becomes_a_dead_letter() {
    fn dies(jobs: JoinableQueue<u64>) {
        let task = jobs.get_task().unwrap();
        assert_eq!(*task, 7);
        die();
    }
    fn gives_back(jobs: JoinableQueue<u64>) {
        jobs.get_task().unwrap().give_back();
    }
    fn works(jobs: JoinableQueue<u64>) {
        while let Ok(task) = jobs.get_task() {
            assert_eq!(*task, 8);
        }
    }
    fn reads(jobs: JoinableQueue<u64>) {
        assert_eq!(jobs.take_dead_letters().unwrap(), [7]);
    }
    in_each_world(|world| {
        let options = Queue::options().max_deliveries(3);
        let jobs = JoinableQueue::from(options.build().unwrap());
        jobs.put(7).unwrap();
        is_killed(&start(world, dies, jobs.clone()));
        ends_well(&start(world, gives_back, jobs.clone()));
        is_killed(&start(world, dies, jobs.clone()));
        jobs.put(8).unwrap();
        // Whoever looks for tasks after that finds that it is enough.
        let worker = start(world, works, jobs.clone());
        jobs.join().unwrap();
        jobs.shut_down();
        ends_well(&worker);
        ends_well(&start(world, reads, jobs.clone()));
    });
}

pub(crate) fn a_child_sees_a_simple_queue_empty_then_not() {
    fn looks_twice(queue: SimpleQueue<bool>) {
        queue.put(queue.is_empty().unwrap()).unwrap();
        queue.put(queue.is_empty().unwrap()).unwrap();
        queue.close();
        assert!(queue.is_empty().is_err());
    }
    in_each_world(|world| {
        let queue = SimpleQueue::new().unwrap();
        ends_well(&start(world, looks_twice, queue.clone()));
        assert_eq!((queue.get(), queue.get()), (Ok(true), Ok(false)));
        assert_eq!(queue.is_empty(), Ok(true));
    });
}
