//! Killed at every step: a manager's server, and its clients, die by SIGKILL at the first named
//! step, then at the second, and so on until one comes through. Clients of a dead server get an
//! error and none hangs; what a dead client held comes back.

use common::{PATIENCE, state_of, until};
use multiproc_core::step;
use multiproc_manager::{
    BarrierError, CallError, Dict, GetTimeoutError, JoinableQueue, List, Lock, Manager, Queue,
    Semaphore,
};
use multiproc_process::{Process, test};
use multiproc_segment::Shared;
use multiproc_tests::{at_each_step, came_through};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

test::main! {
    #[timeout(300)]
    a_server_killed_at_each_step,
    #[timeout(300)]
    a_server_killed_while_many_wait,
    #[timeout(120)]
    a_server_killed_under_load,
    #[timeout(300)]
    a_client_killed_at_each_step,
    #[timeout(120)]
    an_item_on_its_way_is_received_or_stays,
    #[timeout(120)]
    a_receiver_of_a_proxy_killed_at_each_step,
    #[timeout(120)]
    a_client_killed_in_a_barrier_breaks_it,
    #[timeout(120)]
    a_client_killed_in_a_condition_eats_no_notification,
    #[timeout(120)]
    clients_killed_at_random_hold_nothing,
}

/// Some of everything, as a client does it.
fn some_calls(manager: &Manager) -> Result<(), CallError> {
    let dict = manager.dict::<u32, List<u32>>()?;
    let list = manager.list::<u32>()?;
    dict.insert(1, &list)?;
    drop(list);
    let list = dict.get(&1)?.expect("what was put there");
    list.extend([3, 2, 1])?;
    list.sort()?;
    assert_eq!(list.to_vec()?, [1, 2, 3]);
    let queue = manager.queue::<u32>()?;
    queue.put(5).map_err(|e| match e.into_item() {
        5 => CallError::ServerGone,
        other => panic!("{other} came back"),
    })?;
    assert_eq!(queue.get().map_err(|_| CallError::ServerGone)?, 5);
    let lock = manager.lock()?;
    let held = lock.lock()?;
    held.release().map_err(|_| CallError::ServerGone)?;
    let semaphore = manager.semaphore(1)?;
    drop(semaphore.permit()?);
    assert!(!manager.event()?.wait_timeout(Duration::from_millis(1))?);
    assert_eq!(
        manager
            .barrier(1)?
            .wait()
            .map_err(|_| CallError::ServerGone)?,
        0
    );
    manager
        .shared_memory(100)
        .map_err(|_| CallError::ServerGone)
        .map(drop)?;
    Ok(())
}

fn a_server_killed_at_each_step() {
    let mut longest = Duration::ZERO;
    at_each_step(50, |n| {
        let manager = match Manager::builder().initializer(move || step::arm(n)).start() {
            Ok(manager) => manager,
            Err(why) => {
                // Killed before it served, or while this process connected.
                assert!(why.to_string().contains("server"), "{why}");
                return false;
            }
        };
        let killed = when_dead(&manager);
        let outcome = some_calls(&manager);
        if outcome.is_err() {
            longest = longest.max(killed());
            assert_eq!(outcome, Err(CallError::ServerGone), "at step {n}");
            // It stays so, and a forked child finds the same.
            let child = Process::start(|| {
                assert_eq!(manager.list::<u8>().err(), Some(CallError::ServerGone));
            });
            assert!(came_through(&child.unwrap()));
        }
        let ended = manager.shut_down();
        // (Some die in the middle of their shutdown.)
        outcome.is_ok() && ended.is_ok()
    });
    println!("noticed at most {longest:?} after its end");
    // Memory of servers that were killed between its name and its end: gone at the next look, this one.
    multiproc_segment::remove_stale().unwrap();
}

/// Asked when the calls are over: how long ago the server ended. (A child watches it, as this
/// process has one thread and is in a call.)
fn when_dead(manager: &Manager) -> impl FnOnce() -> Duration + use<> {
    let at = Shared::new(AtomicU64::new(0)).unwrap();
    let server = manager.process().expect("it was started here");
    let watcher = Process::start(|| {
        let until = multiproc_core::deadline::Deadline::after(PATIENCE);
        let _ = multiproc_core::fd::wait_readable(server.sentinel(), until);
        at.store(clock(), SeqCst);
    });
    let watcher = watcher.unwrap();
    move || {
        let now = clock();
        assert!(came_through(&watcher));
        Duration::from_micros(now.saturating_sub(at.load(SeqCst)))
    }
}

/// Microseconds on the clock that all processes share.
fn clock() -> u64 {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).unwrap();
    now.tv_sec() as u64 * 1_000_000 + now.tv_nsec() as u64 / 1_000
}

fn a_server_killed_while_many_wait() {
    let manager = Manager::start().unwrap();
    let queue = manager.queue::<u32>().unwrap();
    let jobs = manager.joinable_queue::<u32>().unwrap();
    jobs.put(1).unwrap();
    let (lock, event) = (manager.lock().unwrap(), manager.event().unwrap());
    lock.acquire().unwrap();
    let condition = manager.condition().unwrap();
    let barrier = manager.barrier(100).unwrap();
    let semaphore = manager.semaphore(0).unwrap();
    let waiting = Shared::new(AtomicU32::new(0)).unwrap();
    let killed_at = Shared::new(AtomicU64::new(0)).unwrap();
    let noticed = Process::start_each(0..7, |n| {
        let held = condition.lock();
        waiting.fetch_add(1, SeqCst);
        let failed = match n {
            0 => queue.get().is_err(),
            1 => jobs.join().is_err(),
            2 => lock.acquire().is_err(),
            3 => event.wait().is_err(),
            4 => condition.wait().is_err(),
            5 => barrier.wait().is_err(),
            _ => {
                drop(held);
                semaphore.acquire().is_err()
            }
        };
        assert!(failed, "waiter {n}");
        let after = clock().saturating_sub(killed_at.load(SeqCst));
        println!("waiter {n} noticed {after} us after the kill");
    })
    .unwrap();
    until("all but those behind the condition's lock to wait", || {
        waiting.load(SeqCst) >= 1
    });
    killed_at.store(clock(), SeqCst);
    manager.process().unwrap().kill().unwrap();
    for child in noticed {
        assert!(came_through(&child));
    }
}

fn a_server_killed_under_load() {
    let mut longest = 0;
    for round in 0..10_u32 {
        let manager = Manager::start().unwrap();
        let (dict, queue) = (manager.dict::<u32, Vec<u8>>(), manager.queue::<Vec<u8>>());
        let (dict, queue) = (dict.unwrap(), queue.unwrap());
        let calls = Shared::new(AtomicU32::new(0)).unwrap();
        let killed_at = Shared::new(AtomicU64::new(0)).unwrap();
        let noticed = Shared::new(AtomicU64::new(0)).unwrap();
        let clients = Process::start_each(0..6, |me| {
            let hammer = || -> Result<(), CallError> {
                for n in 0.. {
                    calls.fetch_add(1, SeqCst);
                    dict.insert(me, vec![n as u8; 1 << (n % 17)])?;
                    dict.get(&(n % 6))?;
                    let item = vec![0; 100];
                    queue.put(item).map_err(|_| CallError::ServerGone)?;
                    queue.get().map_err(|_| CallError::ServerGone)?;
                    drop(manager.list::<u8>()?);
                }
                Ok(())
            };
            assert_eq!(hammer(), Err(CallError::ServerGone));
            noticed.fetch_max(clock() - killed_at.load(SeqCst), SeqCst);
        });
        let clients = clients.unwrap();
        until("some calls", || calls.load(SeqCst) > 200 * (round + 1));
        killed_at.store(clock(), SeqCst);
        manager.process().unwrap().kill().unwrap();
        for client in clients {
            assert!(came_through(&client));
        }
        longest = longest.max(noticed.load(SeqCst));
    }
    println!("all had noticed {longest} us after the kill");
}

/// What a client holds that is killed in the middle.
struct Held {
    lock: Lock,
    semaphore: Semaphore,
    queue: Queue<u32>,
    jobs: JoinableQueue<u32>,
    dict: Dict<u32, List<u32>>,
}

impl Held {
    /// 1 in `got` once the item of the queue is received.
    fn work(&self, manager: &Manager, got: &AtomicU32) {
        let lock = self.lock.lock().unwrap();
        let permit = self.semaphore.permit().unwrap();
        let item = self.queue.get().unwrap();
        got.store(item, SeqCst);
        let job = self.jobs.get_task().unwrap();
        assert_eq!(*job, 7);
        let list = manager.list().unwrap();
        list.push(item).unwrap();
        self.dict.insert(1, &list).unwrap();
        self.dict.remove(&1).unwrap();
        job.give_back().unwrap();
        drop((permit, lock));
    }
}

fn a_client_killed_at_each_step() {
    let manager = Manager::start().unwrap();
    let held = Held {
        lock: manager.lock().unwrap(),
        semaphore: manager.semaphore(1).unwrap(),
        queue: manager.queue().unwrap(),
        jobs: manager.joinable_queue().unwrap(),
        dict: manager.dict().unwrap(),
    };
    held.jobs.put(7).unwrap();
    let baseline = manager.numbers().unwrap();
    let (mut gone_with_it, mut longest) = (0, Duration::ZERO);
    at_each_step(50, |n| {
        let got = Shared::new(AtomicU32::new(0)).unwrap();
        held.queue.put(5).unwrap();
        let victim = Process::start(|| {
            step::arm(n);
            held.work(&manager, &got);
            step::disarm();
        });
        let through = came_through(&victim.unwrap());
        let died = Instant::now();
        // Its lock, its permit and its task are somebody else's now.
        let lock = held.lock.lock_timeout(PATIENCE).unwrap();
        let lock = lock.unwrap_or_else(|| panic!("the lock is not free after step {n}"));
        longest = longest.max(died.elapsed());
        let permit = held.semaphore.permit_timeout(PATIENCE).unwrap();
        assert!(permit.is_some(), "the permit is lost after step {n}");
        let job = held.jobs.get_task_timeout(PATIENCE);
        let job = job.unwrap_or_else(|e| panic!("{e}: the task is lost after step {n}"));
        assert_eq!(*job, 7);
        job.give_back().unwrap();
        drop((permit, lock));
        // An item is in the queue, or was received, and never both.
        let left = held.queue.get_timeout(Duration::ZERO);
        match (left, got.load(SeqCst)) {
            (Ok(5), 0) | (Err(GetTimeoutError::Timeout), 5) => {}
            // See `an_item_on_its_way_is_received_or_stays`.
            (Err(GetTimeoutError::Timeout), 0) => gone_with_it += 1,
            other => panic!("{other:?} after step {n}"),
        }
        held.dict.clear().unwrap();
        until("the client to be forgotten", || {
            let now = manager.numbers().unwrap();
            (now.objects, now.clients) == (baseline.objects, baseline.clients)
        });
        through
    });
    println!(
        "{gone_with_it} items gone with their receivers; locks free after {longest:?} at most"
    );
}

/// An item is gone with its receiver only if that had taken the answer out of the connection: not
/// at one step before.
fn an_item_on_its_way_is_received_or_stays() {
    const RELEASED: &str = "get: released";
    let manager = Manager::start().unwrap();
    let queue = manager.queue::<u32>().unwrap();
    let got = Shared::new(AtomicU32::new(0)).unwrap();
    let get = |prepare: &dyn Fn()| {
        queue.len().unwrap(); // connected
        prepare();
        let item = queue.get().unwrap();
        step::disarm();
        got.store(item, SeqCst);
    };
    // The fewest steps before it is taken: a get that waits passes more.
    let before = (0..20).map(|_| {
        queue.put(5).unwrap();
        let counted = Process::start(|| {
            get(&step::count_on);
            let names = step::names();
            names.iter().position(|name| *name == RELEASED).unwrap() as i32
        });
        counted.unwrap().join().unwrap().code()
    });
    let before = before.min().unwrap() as u64;
    assert!((10..200).contains(&before), "{before} steps");
    let mut gone_with_it = 0;
    at_each_step(before, |n| {
        got.store(0, SeqCst);
        queue.put(5).unwrap();
        let victim = Process::start(|| get(&|| step::arm(n)));
        let through = came_through(&victim.unwrap());
        until("the client to be forgotten", || {
            manager.numbers().unwrap().clients == 1
        });
        match (queue.get_timeout(Duration::ZERO), got.load(SeqCst)) {
            (Ok(5), 0) | (Err(GetTimeoutError::Timeout), 5) => {}
            (Err(GetTimeoutError::Timeout), 0) if n >= before => gone_with_it += 1,
            other => panic!("{other:?} after step {n}"),
        }
        through
    });
    println!("the item is taken after {before} steps; {gone_with_it} gone with their receivers");
}

fn a_receiver_of_a_proxy_killed_at_each_step() {
    let manager = Manager::start().unwrap();
    let baseline = manager.numbers().unwrap();
    let mut kept = 0;
    at_each_step(10, |n| {
        let post = multiproc_queue::Queue::<List<u32>>::bounded(4).unwrap();
        let victim = Process::start(|| {
            step::arm(n);
            let list = post.get().unwrap();
            assert_eq!(list.len().unwrap(), 1);
            drop(list);
            step::disarm();
        });
        let victim = victim.unwrap();
        let list = manager.list().unwrap();
        list.push(n as u32).unwrap();
        post.put(list).unwrap();
        let through = came_through(&victim);
        let lost = match post.try_get() {
            // Nobody has taken it.
            Ok(list) => {
                assert_eq!(list.to_vec().unwrap(), [n as u32]);
                false
            }
            // Taken, and perhaps not claimed: then it is kept as long as its sender lives.
            Err(_) => !through,
        };
        let most = baseline.objects + kept + u64::from(lost);
        until("the list to be gone", || {
            let now = manager.numbers().unwrap();
            let settled = now.objects <= most && now.clients == baseline.clients;
            if settled {
                kept = now.objects - baseline.objects;
            }
            settled
        });
        through
    });
    println!("{kept} lists kept for messages that were lost");
}

fn waits(child: &Process) {
    until("a child to wait", || state_of(child.pid()) == Some('S'));
}

fn a_client_killed_in_a_barrier_breaks_it() {
    let manager = Manager::start().unwrap();
    for _ in 0..10 {
        let barrier = manager.barrier(3).unwrap();
        let victim = Process::start(|| barrier.wait().map(drop)).unwrap();
        let other = Process::start(|| {
            assert_eq!(barrier.wait(), Err(BarrierError::Broken));
        })
        .unwrap();
        until("two to wait", || barrier.waiting().unwrap() == 2);
        victim.kill().unwrap();
        assert!(came_through(&other));
        assert!(!came_through(&victim));
        assert!(barrier.is_broken().unwrap());
        barrier.reset().unwrap();
        assert!(!barrier.is_broken().unwrap());
    }
}

fn a_client_killed_in_a_condition_eats_no_notification() {
    let manager = Manager::start().unwrap();
    for _ in 0..10 {
        let condition = manager.condition().unwrap();
        let waiting = Shared::new(AtomicU32::new(0)).unwrap();
        let children = Process::start_each(0..2, |_| {
            let _held = condition.lock().unwrap();
            waiting.fetch_add(1, SeqCst);
            condition.wait().unwrap();
        });
        let children = children.unwrap();
        until("two to have the lock", || waiting.load(SeqCst) == 2);
        // Whoever has it now, the second waits, too.
        drop(condition.lock().unwrap());
        children.iter().for_each(waits);
        children[0].kill().unwrap();
        let held = condition.lock().unwrap();
        condition.notify_one().unwrap();
        drop(held);
        assert!(!came_through(&children[0]));
        // Notified, or the one that was killed had been, and passes it on.
        assert!(came_through(&children[1]));
    }
}

fn clients_killed_at_random_hold_nothing() {
    let manager = Manager::start().unwrap();
    let lock = manager.lock().unwrap();
    let queue = manager.queue::<u64>().unwrap();
    let counts = manager.dict::<u32, u64>().unwrap();
    let rounds = 30;
    for round in 0..rounds {
        let victims = Process::start_each(0..3, |_| {
            for n in 0.. {
                let held = lock.lock().unwrap();
                let before = counts.get(&0).unwrap().unwrap_or(0);
                counts.insert(0, before + 1).unwrap();
                drop(held);
                counts.fetch_add(&1, 1).unwrap();
                queue.put(n).unwrap();
                queue.get().unwrap();
            }
        });
        let victims = victims.unwrap();
        let target = 50 * (round + 1);
        until("some work", || {
            counts.get(&1).unwrap().unwrap_or(0) >= target
        });
        for victim in &victims {
            victim.kill().unwrap();
        }
        for victim in &victims {
            assert!(!came_through(victim));
        }
        drop(lock.lock_timeout(PATIENCE).unwrap().expect("the lock"));
    }
    // Under the lock nothing was lost: a count under it is never behind one after it, except for
    // those that died between the two.
    let (under, after) = (
        counts.get(&0).unwrap().unwrap(),
        counts.get(&1).unwrap().unwrap(),
    );
    assert!(
        under >= after && under <= after + 3 * rounds,
        "{under} and {after}"
    );
    until("the clients to be forgotten", || {
        manager.numbers().unwrap().clients == 1
    });
}
