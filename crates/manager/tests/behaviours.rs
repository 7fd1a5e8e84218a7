//! What Python's managers do, row by row.

mod watching;

use common::*;
use multiproc_manager::{
    CallError, GetTimeoutError, IterError, JoinableQueue, List, Manager, Queue, RemoteError,
    Server, TaskDoneError, TryGetError, TryPutError, managed,
};
use multiproc_process::{Exit, Process, StartMethod, join_all, test};
use multiproc_value::{Item, ShareableList, SharedMemory};
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};
use watching::*;

test::main! {
    g1_a_manager_ends_in_order_by_shutdown_by_drop_and_at_exit,
    g2_only_exposed_methods_are_callable_and_errors_come_back_as_themselves,
    g4_a_new_manager_on_the_same_address_at_once,
    g5_the_initializer_runs_in_the_server,
    g7_lists_in_lists_and_a_list_that_contains_itself,
    g8_dict_operations,
    g8_a_size_that_changes_ends_an_iteration,
    g10_a_queue_in_a_list_and_in_a_dict,
    g11_a_namespace,
    g13_a_queue_across_processes,
    g14_value_and_array,
    g16_a_set,
    g17_empty_arrives_as_empty,
    g19_proxies_compare_by_identity,
    g20_a_queue_as_an_argument_of_spawned_processes,
    g22_calls_after_the_server_was_killed_fail,
    e7_an_event_both_ways,
    m14_shared_memory_vanishes_at_shutdown,
    f13_an_item_for_a_dead_getter_stays,
    f14_a_dead_holders_lock_is_free,
    f18_a_server_ends_with_its_killed_owner,
}

fn g1_a_manager_ends_in_order_by_shutdown_by_drop_and_at_exit() -> Outcome {
    let manager = Manager::start()?;
    let process = manager.process().unwrap().clone();
    assert!(process.is_alive() && process.is_daemon());
    manager.shut_down()?;
    assert_eq!(process.exit_code(), Some(0));
    // As a guard.
    let process = {
        let manager = Manager::start()?;
        manager.dict::<u8, u8>()?.insert(1, 1)?;
        manager.process().unwrap().clone()
    };
    assert_eq!(process.exit_code(), Some(0));
    // One that was never dropped.
    let pid = number();
    let owner = Process::start(|| {
        let manager = Manager::builder().name("the server").start().unwrap();
        assert_eq!(manager.process().unwrap().name(), "the server");
        pid.store(manager.process().unwrap().pid().into(), SeqCst);
        std::mem::forget(manager);
    })?;
    ends_well(&owner);
    assert!(is_gone(pid.load(SeqCst) as u32));
    Ok(())
}

#[derive(Default)]
struct Counter(i64);

impl Counter {
    fn add(&mut self, n: i64) -> i64 {
        self.0 += n;
        self.0
    }

    fn divide(&mut self, by: i64) -> Result<i64, String> {
        self.0 = self.0.checked_div(by).ok_or("not by nought")?;
        Ok(self.0)
    }

    fn explode(&mut self, why: String) {
        panic!("{why}");
    }

    fn up_to(&self) -> std::ops::Range<i64> {
        0..self.0
    }
}

managed! {
    proxy CounterProxy for Counter {
        fn add(&mut self, n: i64) -> i64;
        fn divide(&mut self, by: i64) -> Result<i64, String>;
        fn explode(&mut self, why: String);
    }
    iterators {
        fn up_to(&self) -> i64;
    }
}

/// What another program takes a counter for.
mod elsewhere {
    #![allow(dead_code, reason = "only the names of its methods are used")]
    struct Counter;

    impl Counter {
        fn up_to_there(&self) -> u8 {
            0
        }

        fn add(&self, _: (), _: bool) {}
    }

    super::managed! {
        pub(super) proxy Guess for Counter {
            fn up_to_there(&self) -> u8;
            fn add(&self, first: (), second: bool);
        }
    }
}

fn g2_only_exposed_methods_are_callable_and_errors_come_back_as_themselves() -> Outcome {
    let manager = Manager::builder().register(Counter::default).start()?;
    let counter = manager.make::<CounterProxy>()?;
    assert_eq!(counter.add(10)?, 10);
    let child = Process::start(|| assert_eq!(counter.add(-3).unwrap(), 7))?;
    ends_well(&child);
    // A method's own error.
    assert_eq!(counter.divide(0)?, Err("not by nought".to_owned()));
    assert_eq!(counter.divide(2)?, Ok(3));
    // A panic: with what it said and where, and the server lives on.
    let Err(CallError::Remote(RemoteError::Panicked {
        method,
        message,
        trace,
    })) = counter.explode("bang".into())
    else {
        panic!("no panic came");
    };
    assert_eq!((&*method, &*message), ("explode", "bang"));
    assert!(trace.contains("behaviours.rs"), "{trace}");
    assert_eq!(counter.add(97)?, 100);
    // An iterator that stays there.
    let all: Vec<i64> = counter.up_to()?.collect::<Result<_, _>>()?;
    assert_eq!(all, (0..100).collect::<Vec<_>>());
    let mut some = counter.up_to()?;
    assert_eq!(some.next().transpose()?, Some(0));
    drop(some);
    objects(&manager, 1);
    // What is not exposed, and other arguments.
    let guess = manager.make::<elsewhere::Guess>()?;
    let Err(CallError::Remote(RemoteError::NotExposed { type_name, method })) = guess.up_to_there()
    else {
        panic!("it was called");
    };
    assert_eq!((&*type_name, &*method), ("Counter", "up_to_there"));
    assert!(matches!(
        guess.add((), true),
        // A byte of a bool is an integer, too; what comes back is not nothing.
        Ok(()) | Err(CallError::Remote(RemoteError::Arguments { .. }) | CallError::Decode(_))
    ));
    // A type that nobody registered.
    let manager = Manager::start()?;
    assert!(matches!(
        manager.make::<CounterProxy>(),
        Err(CallError::Refused(why)) if why.contains("Counter")
    ));
    Ok(())
}

fn g4_a_new_manager_on_the_same_address_at_once() -> Outcome {
    let name = format!("@multiproc-test-{}", std::process::id());
    let path = format!("/tmp/{}", test::unique("manager"));
    let mut tcp = String::from("127.0.0.1:0");
    for address in [&name, &path] {
        for round in 0..3_u32 {
            let manager = Manager::builder()
                .address(multiproc_pipe::Address::try_from(address.as_str())?)
                .start()?;
            let list = manager.list::<u32>()?;
            list.push(round)?;
            assert_eq!(list.to_vec()?, [round]);
            manager.shut_down()?;
        }
    }
    for _ in 0..3 {
        let manager = Manager::builder()
            .address(multiproc_pipe::Address::try_from(tcp.as_str())?)
            .start()?;
        tcp = manager.address().to_string();
        manager.list::<u32>()?.push(1)?;
        manager.shut_down()?;
    }
    // Where somebody listens, none starts.
    let first = Manager::builder()
        .address(multiproc_pipe::Address::try_from(name.as_str())?)
        .start()?;
    let second = Manager::builder().address(first.address()).start();
    assert!(second.unwrap_err().to_string().contains("in use"));
    Ok(())
}

fn g5_the_initializer_runs_in_the_server() -> Outcome {
    let pid = number();
    let told = pid.clone();
    let manager = Manager::builder()
        .initializer(move || told.store(std::process::id().into(), SeqCst))
        .start()?;
    assert_eq!(pid.load(SeqCst), manager.process().unwrap().pid().into());
    let failed = Manager::builder().initializer(|| panic!("no way")).start();
    assert!(failed.unwrap_err().to_string().contains("no way"));
    Ok(())
}

fn g7_lists_in_lists_and_a_list_that_contains_itself() -> Outcome {
    let manager = Manager::start()?;
    let outer = manager.list::<List<u32>>()?;
    for n in 0..3 {
        let inner = manager.list::<u32>()?;
        inner.push(n)?;
        outer.push(inner)?; // and nobody else has it now
    }
    // Changes of an inner one are seen through the outer.
    outer.get(1)?.unwrap().push(10)?;
    let child = Process::start(|| outer.get(1).unwrap().unwrap().push(11).unwrap())?;
    ends_well(&child);
    assert_eq!(outer.get(1)?.unwrap().to_vec()?, [1, 10, 11]);
    let last = outer.pop()?.unwrap();
    assert_eq!(last.to_vec()?, [2]);
    objects(&manager, 4);
    drop(last);
    objects(&manager, 3);
    drop(outer);
    objects(&manager, 0);

    // A list that contains itself.
    #[derive(serde::Serialize, serde::Deserialize, PartialEq, Debug)]
    struct Nest(List<Nest>);
    let nest = manager.list::<Nest>()?;
    nest.push(Nest(nest.clone()))?;
    assert_eq!(nest.get(0)?.unwrap().0.get(0)?.unwrap().0, nest);
    // And two that contain each other.
    let (a, b) = (manager.list::<Nest>()?, manager.list::<Nest>()?);
    a.push(Nest(b.clone()))?;
    b.push(Nest(a.clone()))?;
    drop((nest, a));
    assert_eq!(b.get(0)?.unwrap().0.len()?, 1); // kept by `b` alone
    drop(b);
    objects(&manager, 0);
    Ok(())
}

fn g8_dict_operations() -> Outcome {
    let manager = Manager::start()?;
    let dict = manager.dict::<String, u32>()?;
    assert_eq!(dict.insert("a".to_owned(), 1)?, None);
    assert_eq!(dict.insert("a".to_owned(), 2)?, Some(1));
    dict.extend([("b".to_owned(), 3), ("c".to_owned(), 4)])?;
    assert_eq!((dict.get("b")?, dict.get("z")?), (Some(3), None));
    assert!(dict.contains_key("c")? && !dict.contains_key("d")?);
    assert_eq!(dict.keys()?, ["a", "b", "c"]);
    assert_eq!(dict.values()?, [2, 3, 4]);
    assert_eq!(dict.items()?[2], ("c".to_owned(), 4));
    assert_eq!(dict.get_or_insert("d".to_owned(), 5)?, 5);
    assert_eq!(dict.get_or_insert("d".to_owned(), 6)?, 5);
    assert_eq!(dict.pop_last()?, Some(("d".to_owned(), 5)));
    assert_eq!(dict.remove("a")?, Some(2));
    assert_eq!(dict.remove("a")?, None);
    let copy = dict.to_map()?;
    assert_eq!((copy.len(), copy["b"]), (2, 3));
    assert_eq!(dict.len()?, 2);
    // One step each.
    assert_eq!(dict.fetch_add("b", 4)?, Some(3));
    assert_eq!(dict.fetch_add("new", 4)?, None);
    assert!(dict.fetch_add("b", u32::MAX).is_err());
    assert_eq!(dict.get("b")?, Some(7));
    assert!(dict.compare_and_set("b", Some(&7), Some(&8))?);
    assert!(!dict.compare_and_set("b", Some(&7), Some(&9))?);
    assert!(dict.compare_and_set("b", Some(&8), None)?);
    assert_eq!(
        dict.update("b", |old| Some(old.unwrap_or(10) + 1))?,
        Some(11)
    );
    assert_eq!(dict.update("b", |_| None)?, None);
    assert_eq!(dict.entry("e".to_owned()).or_insert(1)?, 1);
    assert_eq!(
        dict.entry("e".to_owned())
            .modify_or_insert(|n| *n += 1, 0)?,
        2
    );
    assert_eq!(dict.entry("f".to_owned()).or_default()?, 0);
    dict.clear()?;
    assert!(dict.is_empty()?);
    assert_eq!(dict.pop_last()?, None);
    Ok(())
}

fn g8_a_size_that_changes_ends_an_iteration() -> Outcome {
    let manager = Manager::start()?;
    let dict = manager.dict::<u32, u32>()?;
    dict.extend((0..1_000).map(|n| (n, n)))?;
    // Values may change meanwhile.
    let mut seen = 0;
    for pair in &dict {
        let (key, _) = pair?;
        dict.insert(key, 0)?;
        seen += 1;
    }
    assert_eq!(seen, 1_000);
    let mut iteration = dict.iter();
    assert_eq!(iteration.next().unwrap()?, (0, 0));
    let child = Process::start(|| assert_eq!(dict.remove(&999).unwrap(), Some(0)))?;
    ends_well(&child);
    let rest: Result<Vec<_>, _> = iteration.collect();
    assert_eq!(rest.unwrap_err(), IterError::Changed);
    let set = manager.set::<u32>()?;
    set.extend(0..1_000)?;
    assert_eq!(set.iter().count(), 1_000);
    let mut iteration = set.iter();
    iteration.next();
    set.insert(5_000)?;
    assert!(iteration.any(|item| item == Err(IterError::Changed)));
    Ok(())
}

fn g10_a_queue_in_a_list_and_in_a_dict() -> Outcome {
    let manager = Manager::start()?;
    let dict = manager.dict::<String, List<Queue<u32>>>()?;
    let list = manager.list::<Queue<u32>>()?;
    dict.insert("queues".to_owned(), &list)?;
    list.push(manager.queue::<u32>()?)?; // kept by the list, which is kept by the dict
    drop(list);
    let child = Process::start(|| {
        let list = dict.get("queues").unwrap().unwrap();
        list.get(0).unwrap().unwrap().put(42).unwrap();
    })?;
    assert_eq!(dict.get("queues")?.unwrap().get(0)?.unwrap().get()?, 42);
    ends_well(&child);
    objects(&manager, 3);
    dict.clear()?;
    objects(&manager, 1);
    Ok(())
}

fn g11_a_namespace() -> Outcome {
    let manager = Manager::start()?;
    let space = manager.namespace()?;
    space.set("name", "Bob".to_owned())?;
    space.set("job", 3_u32)?;
    space.set("_hidden", 1.5_f64)?;
    assert_eq!(space.get::<String>("name")?.as_deref(), Some("Bob"));
    assert_eq!(space.get::<f64>("_hidden")?, Some(1.5));
    let child = Process::start(|| {
        assert_eq!(space.get::<u32>("job").unwrap(), Some(3));
        space.set("job", 4_u32).unwrap();
    })?;
    ends_well(&child);
    assert_eq!(space.get::<u32>("job")?, Some(4));
    let other = space.get::<u64>("job");
    let CallError::OtherType { found, expected } = other.unwrap_err() else {
        panic!("another error");
    };
    assert_eq!((&*found, &*expected), ("u32", "u64"));
    assert_eq!(format!("{space:?}"), "Namespace(name, job)");
    assert!(space.delete("job")?);
    assert!(!space.delete("job")?);
    assert_eq!(space.get::<u32>("job")?, None);
    assert!(space.delete("_hidden")?);
    // Local names do not travel.
    space.set("_hidden", 2_u8)?;
    let list = manager.list::<multiproc_manager::Namespace>()?;
    list.push(&space)?;
    assert_eq!(list.get(0)?.unwrap().get::<u8>("_hidden")?, None);
    Ok(())
}

fn g13_a_queue_across_processes() -> Outcome {
    let manager = Manager::start()?;
    let queue = manager.bounded_queue::<u32>(2)?;
    assert_eq!(queue.capacity()?, Some(2));
    queue.put(1)?;
    assert!(!queue.is_full()?);
    queue.put(2)?;
    assert!(queue.is_full()? && queue.len()? == 2);
    assert!(matches!(queue.try_put(3), Err(TryPutError::Full(3))));
    let begun = Instant::now();
    assert_eq!(
        queue
            .put_timeout(3, Duration::from_millis(100))
            .unwrap_err()
            .into_item(),
        3
    );
    assert!(begun.elapsed() >= Duration::from_millis(99));
    // A put that waits goes on when another process makes room.
    let child = Process::start(|| {
        assert_eq!(queue.get().unwrap(), 1);
        assert_eq!(queue.get().unwrap(), 2);
        assert_eq!(queue.get().unwrap(), 3);
        assert!(queue.is_empty().unwrap());
    })?;
    queue.put(3)?;
    ends_well(&child);
    let begun = Instant::now();
    let empty = queue.get_timeout(Duration::from_millis(100));
    assert_eq!(empty, Err(GetTimeoutError::Timeout));
    assert!(begun.elapsed() >= Duration::from_millis(99));
    queue.put(4)?;
    queue.shut_down()?;
    assert_eq!(queue.get()?, 4);
    assert_eq!(queue.try_get(), Err(TryGetError::Closed));
    assert!(queue.put(5).is_err());

    let jobs = manager.joinable_queue::<u32>()?;
    jobs.join()?; // nothing is unfinished
    let workers = Process::start_each(0..4, |_| -> Outcome {
        while let Ok(job) = jobs.get() {
            assert!(job < 10);
            jobs.task_done()?;
        }
        Ok(())
    })?;
    for job in 0..10 {
        jobs.put(job)?;
    }
    jobs.join()?;
    assert_eq!(jobs.unfinished()?, 0);
    assert_eq!(jobs.task_done(), Err(TaskDoneError::TooMany));
    jobs.shut_down()?;
    join_all(workers)?;
    Ok(())
}

fn g14_value_and_array() -> Outcome {
    let manager = Manager::start()?;
    let value = manager.value("first".to_owned())?;
    assert_eq!(value.set("second".to_owned())?, "first");
    let child = Process::start(|| {
        assert_eq!(value.get().unwrap(), "second");
        value.set("third".to_owned()).unwrap();
    })?;
    ends_well(&child);
    assert_eq!(value.get()?, "third");
    let array = manager.array(0..10_i32)?;
    assert_eq!(
        (array.len()?, array.get(3)?, array.get(10)?),
        (10, Some(3), None)
    );
    array.set(3, 30)?;
    assert_eq!(array.slice(2..5)?, [2, 30, 4]);
    assert!(array.set(10, 1).is_err());
    array.swap(0, 9)?;
    array.reverse()?;
    assert_eq!(array.fetch_add(1, 5)?, 8);
    assert_eq!(array.to_vec()?, [0, 13, 7, 6, 5, 4, 30, 2, 1, 9]);
    Ok(())
}

fn g16_a_set() -> Outcome {
    let manager = Manager::start()?;
    let set = manager.set::<String>()?;
    assert!(set.insert("a".to_owned())? && !set.insert("a".to_owned())?);
    assert_eq!(set.extend(["a", "b", "c"].map(String::from))?, 2);
    let child = Process::start(|| {
        assert!(set.contains("b").unwrap());
        assert!(set.remove("b").unwrap() && !set.remove("b").unwrap());
    })?;
    ends_well(&child);
    assert_eq!(set.to_vec()?, ["a", "c"]);
    assert_eq!(set.pop()?.as_deref(), Some("c"));
    set.extend(["d", "e", "f"].map(String::from))?;
    assert_eq!(set.retain_all(["a", "e", "x"].map(String::from))?, 2);
    assert_eq!(set.to_set()?.len(), 2);
    assert_eq!(set.remove_all(["a", "e", "x"].map(String::from))?, 2);
    assert!(set.is_empty()? && set.pop()?.is_none());
    Ok(())
}

fn g17_empty_arrives_as_empty() -> Outcome {
    let manager = Manager::start()?;
    let queue: Queue<u8> = manager.queue()?;
    assert_eq!(queue.try_get(), Err(TryGetError::Empty));
    let jobs: JoinableQueue<u8> = manager.joinable_queue()?;
    assert_eq!(jobs.try_get(), Err(TryGetError::Empty));
    Ok(())
}

fn g19_proxies_compare_by_identity() -> Outcome {
    let manager = Manager::start()?;
    let (one, other) = (manager.list::<u8>()?, manager.list::<u8>()?);
    assert_ne!(one, other); // both empty
    assert_eq!(one, one.clone());
    let all = manager.list::<List<u8>>()?;
    all.extend([one.clone(), other.clone()])?;
    assert_eq!(all.get(1)?.unwrap(), other);
    assert_eq!(all.index_of(&other)?, Some(1));
    #[allow(
        clippy::mutable_key_type,
        reason = "by identity, which does not change"
    )]
    let mut known = std::collections::HashSet::from([one]);
    assert!(!known.insert(all.get(0)?.unwrap()));
    Ok(())
}

fn take_three((queue, answers): (Queue<String>, Queue<usize>)) {
    let total = (0..3).map(|_| queue.get().unwrap().len()).sum();
    answers.put(total).unwrap();
}

fn g20_a_queue_as_an_argument_of_spawned_processes() -> Outcome {
    let manager = Manager::start()?;
    let (queue, answers) = (manager.queue::<String>()?, manager.queue::<usize>()?);
    for method in [StartMethod::Spawn, StartMethod::ForkServer] {
        let context = multiproc_process::Context::new(method);
        let child = context.start(take_three, (queue.clone(), answers.clone()))?;
        for text in ["a", "bc", "def"] {
            queue.put(text.into())?;
        }
        assert_eq!(answers.get()?, 6);
        ends_well(&child);
    }
    // Handed over altogether: only the child has it.
    let alone = manager.queue::<String>()?;
    for text in ["a", "bc", "def"] {
        alone.put(text.into())?;
    }
    let child = Process::spawn(take_three, (alone, answers.clone()))?;
    assert_eq!(answers.get()?, 6);
    ends_well(&child);
    objects(&manager, 2);
    Ok(())
}

fn g22_calls_after_the_server_was_killed_fail() -> Outcome {
    let manager = Manager::start()?;
    let dict = manager.dict::<u8, u8>()?;
    let queue = manager.queue::<u8>()?;
    dict.insert(1, 1)?;
    let waiting = Process::start(|| {
        assert_eq!(queue.get(), Err(CallError::ServerGone.into()));
    })?;
    sleeps(&waiting);
    manager.process().unwrap().kill()?;
    ends_well(&waiting);
    assert_eq!(dict.get(&1), Err(CallError::ServerGone));
    assert_eq!(dict.clone().get(&1), Err(CallError::ServerGone));
    assert_eq!(manager.list::<u8>().err(), Some(CallError::ServerGone));
    assert_eq!(queue.put(5).unwrap_err().into_item(), 5);
    let late = Process::start(|| assert_eq!(dict.get(&1), Err(CallError::ServerGone)))?;
    ends_well(&late);
    assert!(matches!(
        manager.shut_down(),
        Err(multiproc_manager::ShutDownError::Exit(Exit::Signal(9)))
    ));
    Ok(())
}

fn e7_an_event_both_ways() -> Outcome {
    let manager = Manager::start()?;
    let event = manager.event()?;
    let cleared = manager.event()?;
    assert!(!event.is_set()? && !event.wait_timeout(Duration::ZERO)?);
    let begun = Instant::now();
    assert!(!event.wait_timeout(Duration::from_millis(100))?);
    assert!(begun.elapsed() >= Duration::from_millis(99));
    let child = Process::start(|| {
        event.wait().unwrap();
        assert!(event.is_set().unwrap());
        event.clear().unwrap();
        cleared.set().unwrap();
    })?;
    event.set()?;
    cleared.wait()?;
    assert!(!event.is_set()?);
    ends_well(&child);
    // Who waits when it is set goes on, also when it is cleared at once.
    let child = Process::start(|| event.wait().unwrap())?;
    sleeps(&child);
    event.set()?;
    event.clear()?;
    until("the waiter to go on", || {
        // (It may have been about to wait.)
        event.set().unwrap();
        event.clear().unwrap();
        !child.is_alive()
    });
    ends_well(&child);
    Ok(())
}

fn m14_shared_memory_vanishes_at_shutdown() -> Outcome {
    let manager = Manager::start()?;
    let memory = manager.shared_memory(4096)?;
    let name = memory.name().unwrap().to_owned();
    memory.write_at(10, b"hello")?;
    let child = Process::start(|| {
        let memory = SharedMemory::open(&name).unwrap();
        assert_eq!(memory.read_vec(10, 5).unwrap(), b"hello");
    })?;
    ends_well(&child);
    let (list_name, list) = manager.shareable_list([Item::Int(5), Item::Str("text".into())])?;
    list.set(0, 6)?;
    assert_eq!(ShareableList::open(&list_name)?.get(0)?, Item::Int(6));
    manager.shut_down()?;
    assert!(SharedMemory::open(&name).is_err());
    assert!(ShareableList::open(&list_name).is_err());
    // Who has it open keeps it.
    assert_eq!(memory.read_vec(10, 5)?, b"hello");
    assert_eq!(list.get(0)?, Item::Int(6));
    Ok(())
}

fn f13_an_item_for_a_dead_getter_stays() -> Outcome {
    let manager = Manager::start()?;
    let queue = manager.queue::<u32>()?;
    for round in 0..20 {
        let getter = Process::start(|| drop(queue.get()))?;
        sleeps(&getter);
        getter.kill()?;
        let _ = getter.join()?;
        // Perhaps before the server has noticed.
        queue.put(round)?;
        assert_eq!(queue.get_timeout(PATIENCE)?, round);
    }
    Ok(())
}

fn f14_a_dead_holders_lock_is_free() -> Outcome {
    let manager = Manager::start()?;
    let (lock, rlock) = (manager.lock()?, manager.rlock()?);
    let condition = manager.condition()?;
    let semaphore = manager.bounded_semaphore(2)?;
    let holder = Process::start(|| {
        std::mem::forget(lock.lock().unwrap());
        std::mem::forget((rlock.lock().unwrap(), rlock.lock().unwrap()));
        std::mem::forget(condition.lock().unwrap());
        std::mem::forget(semaphore.permit().unwrap());
        kill_me();
    })?;
    assert_eq!(holder.join()?, Exit::Signal(9));
    let begun = Instant::now();
    assert!(lock.lock_timeout(PATIENCE)?.unwrap().owner_died());
    println!("the lock was had {:?} later", begun.elapsed());
    assert!(!lock.lock()?.owner_died());
    assert!(rlock.lock_timeout(PATIENCE)?.unwrap().owner_died());
    assert!(condition.lock_timeout(PATIENCE)?.is_some());
    let permits = (
        semaphore.permit_timeout(PATIENCE)?.unwrap(),
        semaphore.permit_timeout(PATIENCE)?.unwrap(),
    );
    drop(permits);
    assert_eq!(semaphore.value()?, 2);
    assert!(semaphore.release().is_err());
    Ok(())
}

fn f18_a_server_ends_with_its_killed_owner() -> Outcome {
    let pid = number();
    let owner = Process::start(|| {
        let manager = Manager::start().unwrap();
        pid.store(manager.process().unwrap().pid().into(), SeqCst);
        kill_me();
    })?;
    assert_eq!(owner.join()?, Exit::Signal(9));
    until("the server to end", || is_gone(pid.load(SeqCst) as u32));
    // A server that was bound here ends with this process, as there is no other.
    let server = Server::builder().key("k").bind("@multiproc-test-f18")?;
    drop(server);
    Ok(())
}
