//! What Python's own tests ask of a pool, across real processes.

use common::{Outcome, children_of};
use multiproc_pool::{CreateError, Ended, GetTimeoutError, NotReady, Pool, SubmitError, TaskError};
use multiproc_process::{Process, StartMethod, test};
use multiproc_queue::Queue;
use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::mpsc;
use std::time::{Duration, Instant};

fn square(n: u64) -> u64 {
    n * n
}

fn nap(milliseconds: u64) -> u64 {
    std::thread::sleep(Duration::from_millis(milliseconds));
    milliseconds
}

fn odd(n: u32) -> u32 {
    assert!(n % 2 == 1, "{n} is even");
    n
}

/// A value that no format can encode.
#[derive(Debug, PartialEq)]
struct Stubborn;

impl serde::Serialize for Stubborn {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("it will not be encoded"))
    }
}

impl<'de> serde::Deserialize<'de> for Stubborn {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Ok(Self)
    }
}

fn each_method(body: fn(Pool) -> Outcome) -> Outcome {
    for method in StartMethod::ALL {
        let pool = Pool::builder().workers(3).start_method(method).build()?;
        body(pool).map_err(|e| format!("{method}: {e}"))?;
    }
    Ok(())
}

fn o1_apply_takes_one_argument_or_a_tuple() -> Outcome {
    each_method(|pool| {
        assert_eq!(pool.apply(square, 5)?, 25);
        assert_eq!(pool.apply(|(a, b): (i32, i32)| a - b, (44, 2))?, 42);
        assert!(pool.apply(|()| std::process::id() != 0, ())?);
        assert_eq!(
            pool.starmap(|a: u8, b: u8| a + b, [(1, 2), (3, 4)])?,
            [3, 7]
        );
        assert_eq!(
            pool.starmap_async(|a: u8, b: u8| a + b, [(1, 2), (3, 4)])?
                .get()?,
            [3, 7]
        );
        Ok(pool.close().join()?)
    })
}

fn o2_results_are_in_the_order_of_the_items() -> Outcome {
    each_method(|pool| {
        let expected: Vec<u64> = (0..100).map(square).collect();
        assert_eq!(pool.map(square, 0..10)?, expected[..10]);
        assert_eq!(pool.chunk_size(20).map(square, 0..100)?, expected);
        assert_eq!(pool.map(square, [])?, []);
        Ok(pool.close().join()?)
    })
}

fn o4_a_map_calls_back_once_with_the_whole_list_or_the_error() -> Outcome {
    let pool = Pool::new(3)?;
    let (told, tells) = mpsc::channel();
    let (all, none) = (told.clone(), told.clone());
    let squares = pool
        .map_async(square, 0..10)?
        .callback(move |list| all.send(Ok(list.clone())).unwrap())
        .error_callback(move |error| none.send(Err(error.clone())).unwrap());
    let expected: Vec<u64> = (0..10).map(square).collect();
    assert_eq!(tells.recv()?, Ok(expected.clone()));
    assert_eq!(squares.get()?, expected);
    let (all, none) = (told.clone(), told.clone());
    let failing = pool
        .map_async(odd, [1, 2, 3])?
        .callback(move |_| all.send(Ok(vec![])).unwrap())
        .error_callback(move |error| none.send(Err(error.clone())).unwrap());
    let Err(TaskError::Panicked { message, .. }) = tells.recv()? else {
        panic!("an error was to come");
    };
    assert_eq!(message, "2 is even");
    assert!(failing.get().is_err());
    pool.close().join()?;
    assert!(tells.try_recv().is_err(), "called twice");
    Ok(())
}

fn o5_arguments_that_cannot_be_serialised_are_an_error() -> Outcome {
    let pool = Pool::new(2)?;
    let refused = pool.apply_async(|_: Stubborn| 1, Stubborn);
    let Err(error @ SubmitError::Encode(..)) = refused else {
        panic!("{refused:?}");
    };
    assert!(error.to_string().contains("cannot be sent"));
    assert_eq!(error.into_arguments(), Stubborn);
    assert!(matches!(
        pool.map(|_: Stubborn| 1, [Stubborn, Stubborn]),
        Err(TaskError::NotSubmitted(SubmitError::Encode(..)))
    ));
    assert_eq!(pool.apply(square, 3)?, 9);
    Ok(())
}

fn failing_at(n: u64) -> impl Iterator<Item = u64> {
    (0..).inspect(move |i| assert!(*i != n, "no item {n}"))
}

fn o7_a_failing_iterator_is_an_error_and_the_pool_goes_on() -> Outcome {
    let pool = Pool::new(2)?;
    for at in [0, 3] {
        for chunk in [None, Some(1), Some(2)] {
            let result = match chunk {
                None => pool.map(square, failing_at(at).take(10)),
                Some(n) => pool.chunk_size(n).map(square, failing_at(at).take(10)),
            };
            let Err(TaskError::Input(why)) = result else {
                panic!("{result:?}");
            };
            assert_eq!(why, format!("no item {at}"));
        }
        assert_eq!(pool.map(square, 0..3)?, [0, 1, 4]);
    }
    Ok(pool.close().join()?)
}

fn o8_get_returns_when_the_task_is_done() -> Outcome {
    let pool = Pool::new(2)?;
    let begun = Instant::now();
    let result = pool.apply_async(nap, 100)?;
    assert_eq!(
        result.get_timeout(Duration::from_millis(1)),
        Err(GetTimeoutError::Timeout)
    );
    assert!(!result.wait_timeout(Duration::from_millis(1)));
    assert_eq!(result.get()?, 100);
    assert!(begun.elapsed() >= Duration::from_millis(99));
    Ok(())
}

fn o10_imap_gives_results_lazily_in_order_and_ends() -> Outcome {
    each_method(|pool| {
        let got: Result<Vec<u64>, _> = pool.imap(square, 0..10)?.collect();
        assert_eq!(got?, (0..10).map(square).collect::<Vec<_>>());
        let mut three = pool.imap(square, 0..3)?;
        for n in 0..3 {
            assert_eq!(three.next(), Some(Ok(n * n)));
        }
        assert_eq!((three.next(), three.next()), (None, None));
        let got: Result<Vec<u64>, _> = pool.chunk_size(100).imap(square, 0..1000)?.collect();
        assert_eq!(got?, (0..1000).map(square).collect::<Vec<_>>());
        let got: Result<BTreeSet<u64>, _> = pool
            .chunk_size(53)
            .imap_unordered(square, 0..1000)?
            .collect();
        assert_eq!(got?, (0..1000).map(square).collect());
        // Lazily: of an iterator without end, no more than is read ahead.
        let taken = Cell::new(0);
        let endless = (0..).inspect(|_| taken.set(taken.get() + 1));
        let mut results = pool.read_ahead(5).imap(square, endless)?;
        assert_eq!(taken.get(), 0);
        assert_eq!(results.next(), Some(Ok(0)));
        assert_eq!(results.nth(9), Some(Ok(100)));
        assert!(taken.get() <= 11 + 5, "{} were taken", taken.get());
        drop(results);
        Ok(pool.close().join()?)
    })
}

fn an_imap_that_was_in_vain_for_a_time_can_be_asked_again() -> Outcome {
    let pool = Pool::new(1)?;
    let mut results = pool.imap(nap, [200])?;
    let early = results.next_timeout(Duration::from_millis(1));
    assert_eq!(early, Some(Err(GetTimeoutError::Timeout)));
    assert_eq!(results.next(), Some(Ok(200)));
    assert_eq!(results.next_timeout(Duration::from_millis(1)), None);
    Ok(())
}

fn o11_results_before_the_failing_item_come_first() -> Outcome {
    let pool = Pool::new(2)?;
    for (chunk, before) in [(1, 7), (2, 6), (4, 4)] {
        let chunked = pool.chunk_size(chunk);
        for results in [
            chunked.imap(square, failing_at(7))?,
            chunked.imap_unordered(square, failing_at(7))?,
        ] {
            let all: Vec<_> = results.collect();
            assert_eq!(all.len(), before + 1, "chunks of {chunk}");
            let values: BTreeSet<u64> = all[..before].iter().flatten().copied().collect();
            assert_eq!(values, (0..before as u64).map(square).collect());
            assert_eq!(all[before], Err(TaskError::Input("no item 7".into())));
        }
    }
    Ok(pool.close().join()?)
}

fn o13_a_pool_has_its_workers_at_once_and_at_least_one() -> Outcome {
    assert!(matches!(Pool::new(0), Err(CreateError::NoWorkers)));
    let most = multiproc_pool::MOST_WORKERS;
    assert!(matches!(
        Pool::new(most + 1),
        Err(CreateError::TooManyWorkers(n)) if n == most + 1
    ));
    let pool = Pool::new(3)?;
    assert_eq!(pool.workers(), 3);
    assert_eq!(children_of(pool.keeper_pid()).len(), 3);
    Ok(())
}

fn o14_terminate_does_not_wait_for_what_is_queued() -> Outcome {
    let pool = Pool::new(2)?;
    let result = pool
        .chunk_size(1)
        .map_async(nap, (0..10_000).map(|_| 100))?;
    pool.terminate().join()?; // the watchdog comes before 500 seconds
    assert_eq!(result.get(), Err(TaskError::PoolEnded(Ended::Terminated)));
    Ok(())
}

fn o16_a_panic_keeps_its_message_and_its_trace() -> Outcome {
    each_method(|pool| {
        let Err(TaskError::Panicked {
            message,
            location,
            backtrace,
        }) = pool.apply(odd, 4)
        else {
            return Err("no error".into());
        };
        assert_eq!(message, "4 is even");
        assert!(location.contains("behaviours.rs:"), "{location}");
        assert!(backtrace.contains("odd"), "{backtrace}");
        // A task's own error is a value.
        let parsed = pool.apply(
            |text: String| text.parse::<u8>().map_err(|e| e.to_string()),
            "x".into(),
        )?;
        assert_eq!(parsed, Err("invalid digit found in string".to_owned()));
        Ok(())
    })
}

fn o17_a_map_waits_for_all_also_after_an_error() -> Outcome {
    let pool = Pool::new(2)?;
    let begun = Instant::now();
    let result = pool.chunk_size(1).map(
        |n: u64| {
            assert!(n != 0, "not this one");
            nap(n)
        },
        [0, 300],
    );
    assert!(matches!(result, Err(TaskError::Panicked { .. })));
    assert!(begun.elapsed() >= Duration::from_millis(299));
    Ok(())
}

fn o19_an_error_calls_back_and_get_raises_it() -> Outcome {
    let pool = Pool::new(2)?;
    let (told, tells) = mpsc::channel();
    let result = pool
        .apply_async(odd, 2)?
        .error_callback(move |error| told.send(error.clone()).unwrap());
    let error = tells.recv()?;
    assert!(error.to_string().contains("2 is even"), "{error}");
    assert_eq!(result.get(), Err(error));
    Ok(())
}

fn o20_results_that_cannot_be_serialised_cost_no_worker() -> Outcome {
    let pool = Pool::new(2)?;
    let before = children_of(pool.keeper_pid());
    for _ in 0..20 {
        let result = pool.apply(|_: u8| Stubborn, 1);
        assert!(
            matches!(result, Err(TaskError::NotSerialisable(_))),
            "{result:?}"
        );
    }
    // In a chunk, the others have theirs.
    let mixed = pool.imap(|n: u8| if n == 1 { Err(Stubborn) } else { Ok(n) }, 0..3)?;
    let mixed: Vec<_> = mixed.collect();
    assert_eq!((&mixed[0], &mixed[2]), (&Ok(Ok(0)), &Ok(Ok(2))));
    assert!(matches!(mixed[1], Err(TaskError::NotSerialisable(_))));
    assert_eq!(children_of(pool.keeper_pid()), before);
    Ok(())
}

fn o22_early_close_with_one_task_for_each_worker() -> Outcome {
    each_method_with(1, |pool| {
        let results: Vec<_> = (0..6)
            .map(|n| pool.apply_async(|n: u32| (nap(50), n, std::process::id()), n))
            .collect::<Result<_, _>>()?;
        pool.close().join()?;
        let mut pids = BTreeSet::new();
        for (n, result) in results.into_iter().enumerate() {
            assert!(result.ready());
            let (_, value, pid) = result.get()?;
            assert_eq!(value, n as u32);
            pids.insert(pid);
        }
        assert_eq!(pids.len(), 6, "a worker for each task");
        Ok(())
    })
}

fn each_method_with(tasks: u64, body: fn(Pool) -> Outcome) -> Outcome {
    for method in StartMethod::ALL {
        let pool = Pool::builder()
            .workers(3)
            .max_tasks_per_child(tasks)
            .start_method(method)
            .build()?;
        body(pool).map_err(|e| format!("{method}: {e}"))?;
    }
    Ok(())
}

fn o23_a_worker_may_do_at_least_one_task() -> Outcome {
    let refused = Pool::builder().max_tasks_per_child(0).build();
    assert!(matches!(refused, Err(CreateError::NoTasksPerChild)));
    let pool = Pool::builder().workers(1).max_tasks_per_child(2).build()?;
    let pids: Vec<u32> = (0..5)
        .map(|_| pool.apply(|()| std::process::id(), ()))
        .collect::<Result<_, _>>()?;
    assert!(pids[0] == pids[1] && pids[1] != pids[2]);
    assert!(pids[2] == pids[3] && pids[3] != pids[4]);
    Ok(())
}

fn o25_if_a_worker_does_not_start_those_before_it_stop() -> Outcome {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let children = || multiproc_process::active_children().len();
    let (mut refused, mut made) = (0, 0);
    // With few descriptors a keeper comes to its first worker, its second, …
    for limit in (8..200).step_by(2) {
        setrlimit(Resource::RLIMIT_NOFILE, limit, hard)?;
        let pool = Pool::new(8);
        setrlimit(Resource::RLIMIT_NOFILE, soft, hard)?;
        match pool {
            Err(CreateError::Worker(why)) => {
                assert!(why.contains("descriptors"), "{why}");
                refused += 1;
            }
            Err(_) => {}
            Ok(pool) => {
                assert_eq!(pool.apply(square, 2)?, 4);
                made += 1;
            }
        }
        assert_eq!(children(), 0);
        if made == 2 {
            break;
        }
    }
    println!("{refused} refused, {made} made");
    assert!(refused >= 3 && made >= 1);
    Ok(())
}

fn o26_two_hundred_workers() -> Outcome {
    let pool = Pool::new(200)?;
    let sum: u64 = pool.map(square, 0..1000)?.into_iter().sum();
    assert_eq!(sum, (0..1000).map(square).sum::<u64>());
    pool.close().join()?;
    Ok(())
}

fn o28_a_closed_pool_takes_no_tasks() -> Outcome {
    let pool = Pool::new(1)?;
    let tasks = pool.tasks();
    assert_eq!(tasks.apply(square, 2)?, 4);
    let closing = pool.close();
    let refused = tasks.apply_async(square, 3);
    let Err(SubmitError::Closed(3, Ended::Closed)) = refused else {
        panic!("{refused:?}");
    };
    closing.join()?;
    assert!(tasks.map(square, 0..3).is_err());
    assert!(tasks.imap(square, 0..3).is_err());
    assert_eq!(tasks.ended(), Some(Ended::Closed));
    Ok(())
}

fn o29_successful_can_be_asked_when_it_is_ready() -> Outcome {
    let pool = Pool::new(1)?;
    let slow = pool.apply_async(nap, 200)?;
    assert_eq!(slow.successful(), Err(NotReady));
    assert!(!slow.ready());
    slow.wait();
    assert!(slow.ready());
    assert_eq!(slow.successful(), Ok(true));
    assert_eq!(slow.try_get(), Ok(200));
    assert_eq!(slow.try_get(), Err(TaskError::Taken.into()));
    let failing = pool.apply_async(odd, 2)?;
    failing.wait();
    assert_eq!(failing.successful(), Ok(false));
    Ok(())
}

/// Each item with the number of the chunk it was in, by its worker.
fn chunks(pool: &multiproc_pool::Tasks, items: u64) -> Result<usize, TaskError> {
    // A chunk has one time at which it was answered, and one worker; here each worker does one.
    let pids = pool.map(|_: u64| std::process::id(), 0..items)?;
    let mut chunks = 1;
    for pair in pids.windows(2) {
        chunks += usize::from(pair[0] != pair[1]);
    }
    Ok(chunks)
}

fn o31_default_chunk_sizes() -> Outcome {
    let pool = Pool::builder().workers(2).max_tasks_per_child(1).build()?;
    // 100 items on 2 workers: 8 chunks of 13 and less.
    assert_eq!(chunks(&pool, 100)?, 8);
    assert_eq!(chunks(&pool, 3)?, 3);
    let pids: Result<BTreeSet<u32>, _> = pool.imap(|_: u8| std::process::id(), 0..10)?.collect();
    assert_eq!(pids?.len(), 10, "imap gives one by one");
    let zero = pool.chunk_size(0);
    assert!(matches!(
        zero.imap(square, 0..3),
        Err(SubmitError::NoChunk(()))
    ));
    assert!(matches!(
        zero.imap_unordered(square, 0..3),
        Err(SubmitError::NoChunk(()))
    ));
    Ok(())
}

fn o32_a_chunk_of_none_is_refused() -> Outcome {
    let pool = Pool::new(1)?;
    let taken = Cell::new(false);
    let items = std::iter::from_fn(|| {
        taken.set(true);
        None::<u64>
    });
    let refused = pool.chunk_size(0).map(square, items);
    assert_eq!(refused, Err(SubmitError::NoChunk(()).into()));
    assert!(!taken.get());
    assert!(pool.chunk_size(0).map_async(square, 0..3).is_err());
    Ok(())
}

fn o34_tasks_make_no_processes_and_run_side_by_side() -> Outcome {
    let pool = Pool::new(4)?;
    let workers: BTreeSet<u32> = children_of(pool.keeper_pid()).into_iter().collect();
    let begun = Instant::now();
    let results: Vec<_> = (0..8)
        .map(|_| pool.apply_async(|()| (nap(300), std::process::id()), ()))
        .collect::<Result<_, _>>()?;
    let mut seen = BTreeSet::new();
    for result in results {
        seen.insert(result.get()?.1);
    }
    let took = begun.elapsed();
    assert!(
        took >= Duration::from_millis(599),
        "two waves, not {took:?}"
    );
    assert_eq!(seen, workers);
    // One after the other.
    let begun = Instant::now();
    for _ in 0..3 {
        pool.apply(nap, 50)?;
    }
    assert!(begun.elapsed() >= Duration::from_millis(149));
    Ok(())
}

fn o35_callbacks_run_here_in_one_other_thread() -> Outcome {
    let pool = Pool::new(2)?;
    let (told, tells) = mpsc::channel();
    for n in 0..10 {
        let told = told.clone();
        pool.apply_async(square, n)?.callback(move |_| {
            let me = std::thread::current().id();
            told.send((std::process::id(), me)).unwrap();
        });
    }
    drop(told);
    pool.close().join()?;
    let threads: BTreeSet<String> = tells
        .iter()
        .map(|(pid, thread)| {
            assert_eq!(pid, std::process::id());
            assert_ne!(thread, std::thread::current().id());
            format!("{thread:?}")
        })
        .collect();
    assert_eq!(threads.len(), 1);
    Ok(())
}

fn a_callback_that_panics_harms_nobody() -> Outcome {
    let pool = Pool::new(1)?;
    let (told, tells) = mpsc::channel();
    let first = pool
        .apply_async(square, 2)?
        .callback(|_| panic!("on purpose"));
    let told = told.clone();
    let second = pool
        .apply_async(square, 3)?
        .callback(move |n| told.send(*n).unwrap());
    assert_eq!(first.get()?, 4);
    assert_eq!(second.get()?, 9);
    assert_eq!(tells.recv()?, 9);
    // One that is set when the result is there, is called, too.
    let late = pool.apply_async(square, 4)?;
    late.wait();
    let (told, tells) = mpsc::channel();
    let late = late.callback(move |n| told.send(*n).unwrap());
    assert_eq!(tells.recv()?, 16);
    assert_eq!(late.get()?, 16);
    Ok(pool.close().join()?)
}

fn handles_are_arguments_and_results() -> Outcome {
    each_method(|pool| {
        let queue = Queue::<String>::unbounded()?;
        pool.apply(
            |q: Queue<String>| q.put("from a worker".into()).unwrap(),
            queue.clone(),
        )?;
        assert_eq!(queue.get()?, "from a worker");
        let made = pool.apply(
            |()| {
                let queue = Queue::<u8>::unbounded().unwrap();
                queue.put(7).unwrap();
                queue
            },
            (),
        )?;
        assert_eq!(made.get()?, 7);
        Ok(())
    })
}

fn initializers_run_in_each_worker() -> Outcome {
    for method in StartMethod::ALL {
        let queue = Queue::<u32>::unbounded()?;
        let pool = Pool::builder()
            .workers(3)
            .start_method(method)
            .max_tasks_per_child(1)
            .initializer(
                |q: Queue<u32>| q.put(std::process::id()).unwrap(),
                queue.clone(),
            )
            .build()?;
        let pids: Vec<u32> = (0..4)
            .map(|_| pool.apply(|()| std::process::id(), ()))
            .collect::<Result<_, _>>()?;
        pool.close().join()?;
        let mut begun = BTreeSet::new();
        while let Ok(pid) = queue.try_get() {
            assert!(begun.insert(pid), "once each");
        }
        assert!(pids.iter().all(|pid| begun.contains(pid)));
    }
    Ok(())
}

fn a_closure_captures() -> Outcome {
    let table = ["zero".to_owned(), "one".into(), "two".into()];
    let pool = Pool::capturing(2, |n: usize| table[n].clone())?;
    assert_eq!(pool.map([2, 1, 0])?, ["two", "one", "zero"]);
    assert_eq!(pool.apply(1)?, "one");
    assert_eq!(pool.apply_async(1)?.get()?, "one");
    assert_eq!(pool.imap([0])?.next(), Some(Ok("zero".into())));
    assert!(matches!(pool.apply(3), Err(TaskError::Panicked { .. })));
    Ok(pool.close().join()?)
}

fn a_result_can_be_awaited() -> Outcome {
    use std::sync::Arc;
    use std::task::{Context, Poll, Wake, Waker};
    struct Unpark(std::thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let pool = Pool::new(1)?;
    let mut result = std::pin::pin!(pool.apply_async(nap, 100)?.into_future());
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut polls = 0;
    let value = loop {
        polls += 1;
        match result.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => break value?,
            Poll::Pending => std::thread::park(),
        }
    };
    assert_eq!(value, 100);
    assert!(polls <= 10, "{polls} polls");
    Ok(())
}

fn progress_comes_to_its_end() -> Outcome {
    let pool = Pool::new(2)?;
    let (told, tells) = mpsc::channel();
    let result = pool
        .chunk_size(1)
        .map_async(nap, (0..20).map(|_| 5))?
        .progress(move |p| told.send((p.done, p.total)).unwrap());
    assert_eq!(result.get()?.len(), 20);
    let seen: Vec<_> = tells.iter().collect();
    assert_eq!(seen.last(), Some(&(20, 20)), "{seen:?}");
    assert!(seen.is_sorted());
    Ok(())
}

fn a_pool_in_a_child() -> Outcome {
    let child = Process::start(|| -> Result<(), String> {
        let pool = Pool::new(2).map_err(|e| e.to_string())?;
        assert_eq!(pool.map(square, 0..4).unwrap(), [0, 1, 4, 9]);
        pool.close().join().map_err(|e| e.to_string())
    })?;
    child.join()?.ok()?;
    let daemon = Process::builder().daemon(true).start(|| {
        assert!(matches!(Pool::new(2), Err(CreateError::Keeper(_))));
    })?;
    Ok(daemon.join()?.ok()?)
}

fn eight_threads_use_one_pool() -> Outcome {
    let pool = Pool::new(2)?;
    std::thread::scope(|scope| {
        for t in 0..8_u64 {
            let tasks = pool.tasks();
            scope.spawn(move || {
                for n in 0..200 {
                    assert_eq!(
                        tasks.apply(square, t * 1000 + n).unwrap(),
                        (t * 1000 + n).pow(2)
                    );
                }
                assert_eq!(tasks.map(square, 0..50).unwrap().len(), 50);
                assert_eq!(tasks.imap(square, 0..50).unwrap().count(), 50);
            });
        }
    });
    Ok(pool.close().join()?)
}

fn a_second_pool_while_the_first_works() -> Outcome {
    let first = Pool::new(2)?;
    let busy = first.map_async(nap, (0..20).map(|_| 20))?.callback(|_| ());
    let second = Pool::new(2)?; // here a thread waits for callbacks, so not by fork
    assert_eq!(second.map(square, 0..4)?, [0, 1, 4, 9]);
    second.close().join()?;
    assert_eq!(busy.get()?.len(), 20);
    Ok(first.close().join()?)
}

test::main! {
    o1_apply_takes_one_argument_or_a_tuple,
    o2_results_are_in_the_order_of_the_items,
    o4_a_map_calls_back_once_with_the_whole_list_or_the_error,
    o5_arguments_that_cannot_be_serialised_are_an_error,
    o7_a_failing_iterator_is_an_error_and_the_pool_goes_on,
    o8_get_returns_when_the_task_is_done,
    o10_imap_gives_results_lazily_in_order_and_ends,
    an_imap_that_was_in_vain_for_a_time_can_be_asked_again,
    o11_results_before_the_failing_item_come_first,
    o13_a_pool_has_its_workers_at_once_and_at_least_one,
    o14_terminate_does_not_wait_for_what_is_queued,
    o16_a_panic_keeps_its_message_and_its_trace,
    o17_a_map_waits_for_all_also_after_an_error,
    o19_an_error_calls_back_and_get_raises_it,
    o20_results_that_cannot_be_serialised_cost_no_worker,
    o22_early_close_with_one_task_for_each_worker,
    o23_a_worker_may_do_at_least_one_task,
    o25_if_a_worker_does_not_start_those_before_it_stop,
    o26_two_hundred_workers,
    o28_a_closed_pool_takes_no_tasks,
    o29_successful_can_be_asked_when_it_is_ready,
    o31_default_chunk_sizes,
    o32_a_chunk_of_none_is_refused,
    o34_tasks_make_no_processes_and_run_side_by_side,
    o35_callbacks_run_here_in_one_other_thread,
    a_callback_that_panics_harms_nobody,
    handles_are_arguments_and_results,
    initializers_run_in_each_worker,
    a_closure_captures,
    a_result_can_be_awaited,
    progress_comes_to_its_end,
    a_pool_in_a_child,
    eight_threads_use_one_pool,
    a_second_pool_while_the_first_works,
}
