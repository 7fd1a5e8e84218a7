//! Locks: with their data or without, recursive, of many readers.

use crate::world::*;
use multiproc_event::Event;
use multiproc_lock::{AcquireTimeoutError, Lock, Mutex, OwnerDied, RwLock, TryAcquireError};
use multiproc_process::{Context, StartMethod};
use multiproc_queue::Queue;
use multiproc_rlock::{RLock, ReentrantMutex};
use multiproc_segment::{Shareable, Shared};
use multiproc_semaphore::Semaphore;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

pub(crate) fn a_lock_is_passed_on_to_a_grandchild_of_another_kind() {
    type Given = (Shared<Lock>, Queue<String>, u8);
    fn release((lock, log, depth): Given) {
        log.put(format!("{depth}")).unwrap();
        if depth == 0 {
            return lock.release().unwrap(); // what its great-grandparent acquired
        }
        let next = Context::new(StartMethod::ALL[usize::from(depth) % 3]);
        ends_well(&start(next, release, (lock, log, depth - 1)));
    }
    in_each_world(|world| {
        let (lock, log) = (shared(Lock::new()), Queue::unbounded().unwrap());
        lock.acquire().unwrap();
        ends_well(&start(world, release, (lock.clone(), log.clone(), 3)));
        assert!(!lock.is_locked());
        let told: Vec<String> = (0..4).map(|_| log.get().unwrap()).collect();
        assert_eq!(told, ["3", "2", "1", "0"]);
    });
}

pub(crate) fn a_held_lock_is_held_for_everybody() {
    fn finds_it_held(lock: Shared<Lock>) {
        assert!(lock.is_locked());
        assert!(matches!(lock.try_acquire(), Err(TryAcquireError::Held)));
        let late = lock.acquire_timeout(MOMENT);
        assert!(matches!(late, Err(AcquireTimeoutError::Timeout)));
    }
    fn acquires_and_stays((lock, inside): (Shared<Lock>, Shared<Event>)) {
        lock.acquire().unwrap();
        inside.set();
        for_ever();
    }
    in_each_world(|world| {
        let (lock, inside) = (shared(Lock::new()), shared(Event::new()));
        lock.acquire().unwrap();
        ends_well(&start(world, finds_it_held, lock.clone()));
        lock.release().unwrap();
        assert!(lock.release().is_err());
        let child = start(world, acquires_and_stays, (lock.clone(), inside.clone()));
        inside.wait();
        assert!(lock.is_locked() && lock.try_acquire().is_err());
        // Anybody releases.
        lock.release().unwrap();
        lock.acquire().unwrap();
        kill(&child);
        lock.release().unwrap();
    });
}

pub(crate) fn whoever_waits_takes_over_from_a_killed_holder() {
    fn holds((lock, inside): (Shared<Lock>, Shared<Event>)) {
        lock.acquire().unwrap();
        inside.set();
        for_ever();
    }
    fn takes_over(lock: Shared<Lock>) {
        let Err(OwnerDied(guard)) = lock.lock() else {
            panic!("nobody said that the holder died");
        };
        drop(guard);
    }
    in_each_world(|world| {
        let (lock, inside) = (shared(Lock::new()), shared(Event::new()));
        let holder = start(world, holds, (lock.clone(), inside.clone()));
        inside.wait();
        let waiters = [0; 3].map(|_| start(world, takes_over, lock.clone()));
        waiters.iter().for_each(blocked);
        kill(&waiters[0]);
        kill(&holder);
        waiters[1..].iter().for_each(ends_well);
        // It stays said until somebody mends.
        let Err(OwnerDied(mut guard)) = lock.lock() else {
            panic!("nobody said that the holder died");
        };
        guard.mended();
        drop(guard);
        lock.acquire().unwrap();
        lock.release().unwrap();
    });
}

#[derive(Shareable)]
#[shareable(crate = multiproc_segment)]
#[repr(C)]
struct Office {
    door: Lock,
    desks: Semaphore,
    served: Mutex<[u64; 4]>,
    /// Changed under the door's lock, in two steps that another could come between.
    visitors: AtomicU64,
}

pub(crate) fn a_users_struct_travels_as_one_object_and_counts_right() {
    fn serve((office, desk): (Shared<Office>, usize)) {
        for _ in 0..200 {
            let _desk = office.desks.permit();
            let door = office.door.lock().unwrap();
            let visitors = office.visitors.load(SeqCst);
            office.visitors.store(visitors + 1, SeqCst);
            drop(door);
            office.served.lock().unwrap()[desk] += 1;
        }
    }
    in_each_world(|world| {
        let office = shared(Office {
            door: Lock::new(),
            desks: Semaphore::new(2),
            served: Mutex::new([0; 4]),
            visitors: AtomicU64::new(0),
        });
        let clerks = [0, 1, 2].map(|desk| start(world, serve, (office.clone(), desk)));
        clerks.iter().for_each(ends_well);
        assert_eq!(*office.served.lock().unwrap(), [200, 200, 200, 0]);
        assert_eq!(office.visitors.load(SeqCst), 600);
        assert_eq!(office.desks.value(), 2);
    });
}

pub(crate) fn a_mutex_whose_holder_was_killed_says_so() {
    fn dies(mutex: Shared<Mutex<u64>>) {
        let mut held = mutex.lock().unwrap();
        *held = 99;
        die();
    }
    fn dies_mending(mutex: Shared<Mutex<u64>>) {
        let Err(OwnerDied(mut held)) = mutex.lock() else {
            panic!("nobody said that the owner died");
        };
        *held = 98;
        die();
    }
    in_each_world(|world| {
        let mutex = shared(Mutex::new(1_u64));
        is_killed(&start(world, dies, mutex.clone()));
        is_killed(&start(world, dies_mending, mutex.clone()));
        let Err(OwnerDied(mut held)) = mutex.lock() else {
            panic!("nobody said that the owner died");
        };
        assert_eq!(*held, 98);
        *held = 2;
        held.mended();
        drop(held);
        assert_eq!(*mutex.lock().unwrap(), 2);
    });
}

pub(crate) fn an_rlock_belongs_to_its_process() {
    type Given = (Shared<RLock>, Shared<Event>, Queue<bool>);
    fn tries((lock, held, told): Given) {
        held.wait();
        assert!(lock.is_locked() && !lock.is_mine());
        told.put(lock.try_acquire().is_ok()).unwrap();
        told.put(lock.acquire_timeout(MOMENT).is_ok()).unwrap();
        told.put(lock.release().is_ok()).unwrap();
    }
    in_each_world(|world| {
        let (lock, held) = (shared(RLock::new()), shared(Event::new()));
        let told = Queue::unbounded().unwrap();
        // Started first: who holds a lock does not fork.
        let child = start(world, tries, (lock.clone(), held.clone(), told.clone()));
        for _ in 0..3 {
            lock.acquire().unwrap();
        }
        held.set();
        for _ in 0..3 {
            assert_eq!(told.get(), Ok(false));
        }
        assert_eq!(lock.count(), 3);
        for _ in 0..3 {
            lock.release().unwrap();
        }
        assert!(!lock.is_locked() && lock.release().is_err());
        ends_well(&child);
    });
}

pub(crate) fn an_rlock_whose_holder_was_killed_is_taken_over_at_one() {
    fn dies((lock, sum): (Shared<RLock>, Shared<ReentrantMutex<u64>>)) {
        lock.acquire().unwrap();
        lock.acquire().unwrap();
        let _sum = sum.lock().unwrap();
        die();
    }
    fn counts(sum: Shared<ReentrantMutex<u64>>) {
        for _ in 0..100 {
            let outer = sum.lock().unwrap();
            let inner = sum.lock().unwrap();
            inner.set(outer.get() + 1);
        }
    }
    in_each_world(|world| {
        let (lock, sum) = (shared(RLock::new()), shared(ReentrantMutex::new(0)));
        let counters = [0; 2].map(|_| start(world, counts, sum.clone()));
        counters.iter().for_each(ends_well);
        assert_eq!(sum.lock().unwrap().get(), 200);
        is_killed(&start(world, dies, (lock.clone(), sum.clone())));
        assert!(sum.lock().is_err());
        let Err(OwnerDied(mut guard)) = lock.lock() else {
            panic!("nobody said that the owner died");
        };
        assert_eq!(lock.count(), 1);
        guard.mended();
        drop(guard);
        assert!(!lock.is_locked());
    });
}

pub(crate) fn readers_and_writers_exclude_each_other() {
    fn writes(both: Shared<RwLock<[u64; 2]>>) {
        for _ in 0..500 {
            let mut both = both.write().unwrap();
            both[0] += 1;
            both[1] += 1;
        }
    }
    in_each_world(|world| {
        let both = shared(RwLock::new([0_u64; 2]));
        let writers = [0; 2].map(|_| start(world, writes, both.clone()));
        loop {
            let seen = both.read().unwrap();
            assert_eq!(seen[0], seen[1]);
            if seen[0] == 1_000 {
                break;
            }
        }
        writers.iter().for_each(ends_well);
    });
}

pub(crate) fn killed_readers_are_cleared_away_and_a_killed_writer_is_told_of() {
    type Given = (Shared<RwLock<u64>>, Shared<Semaphore>);
    fn reads((data, inside): Given) {
        let _held = data.read().unwrap();
        inside.release().unwrap();
        for_ever();
    }
    fn writes((data, _): Given) {
        *data.write().unwrap() += 1;
    }
    fn dies_writing((data, _): Given) {
        let _held = data.write().unwrap();
        die();
    }
    in_each_world(|world| {
        let (data, inside) = (shared(RwLock::new(0)), shared(Semaphore::new(0)));
        let given = || (data.clone(), inside.clone());
        let readers = [0; 2].map(|_| start(world, reads, given()));
        inside.acquire_many(2).unwrap();
        assert_eq!(data.readers(), 2);
        let writer = start(world, writes, given());
        blocked(&writer);
        readers.iter().for_each(kill);
        ends_well(&writer);
        assert_eq!(*data.read().unwrap(), 1);
        is_killed(&start(world, dies_writing, given()));
        let Err(OwnerDied(mut held)) = data.write() else {
            panic!("nobody said that the writer died");
        };
        held.mended();
        drop(held);
        assert_eq!(*data.read().unwrap(), 1);
    });
}
