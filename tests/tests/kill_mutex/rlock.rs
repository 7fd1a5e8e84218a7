//! `RLock` and `ReentrantMutex`.

use crate::pair::{Helper, each_step, next_gets_it, next_is_told, orphan};
use common::*;
use multiproc_lock::{AcquireTimeoutError, OwnerDied};
use multiproc_rlock::{RLock, ReentrantMutex};
use multiproc_segment::Shared;
use multiproc_tests::{Count, nothing};

fn reentrant() -> Shared<ReentrantMutex<[u64; 2]>> {
    shared(ReentrantMutex::new([0; 2]))
}

/// F2.
pub(crate) fn f2_rlock_killed_at_each_step_of_acquire_and_release() {
    each_step(
        Count::Exact,
        reentrant,
        |data, begin| {
            begin();
            let one = data.lock().unwrap();
            let two = data.lock().unwrap();
            let three = data.lock().unwrap();
            drop((one, two, three));
        },
        nothing,
        |data, n, steps| {
            assert!(steps.since("rlock: counted up") > 0 && steps.since("rlock: counted down") > 0);
            let held = steps.since("lock: taken, not linked")..steps.since("lock: freed");
            next_is_told(&*data, held.contains(&n));
        },
    );
}

/// F2.
pub(crate) fn f2_rlock_killed_at_each_step_of_a_contended_acquire() {
    each_step(
        Count::Varies,
        || {
            let data = reentrant();
            let holder = Helper::holding(|holds| {
                let _held = (data.lock().unwrap(), data.lock().unwrap());
                holds();
            });
            (data, holder)
        },
        |(data, _), begin| {
            begin();
            drop(data.lock().unwrap());
        },
        |(_, holder), child| {
            blocked_or_gone(child);
            holder.go_on();
            ends_well(&holder.process);
        },
        |(data, _), _, _| next_gets_it(&*data),
    );
}

/// F2.
pub(crate) fn f2_rlock_killed_at_each_step_of_release_all_and_restore() {
    each_step(
        Count::Exact,
        || shared(RLock::new()),
        |lock, begin| {
            lock.acquire().unwrap();
            lock.acquire().unwrap();
            begin();
            let levels = lock.release_all().unwrap();
            lock.restore(levels).unwrap();
            lock.release().unwrap();
            lock.release().unwrap();
        },
        nothing,
        |lock, n, steps| {
            let free = steps.first("lock: freed")..steps.since("lock: taken, not linked");
            let died = n < steps.since("lock: freed") && !free.contains(&n);
            match lock.lock_timeout(PATIENCE) {
                Ok(_) => assert!(!died),
                Err(AcquireTimeoutError::OwnerDied(mut held)) => {
                    assert!(died);
                    held.mended();
                }
                Err(error) => panic!("{error}"),
            }
            let held = lock.lock().unwrap();
            assert_eq!(lock.count(), 1);
            drop(held);
        },
    );
}

/// F2.
pub(crate) fn f2_rlock_killed_at_each_step_of_recovery() {
    each_step(
        Count::Exact,
        || {
            orphan(ReentrantMutex::new([0; 2]), |data| {
                let held = data.lock().unwrap();
                held.set([1, 0]);
                std::mem::forget((data.lock().unwrap(), held));
            })
        },
        |data, begin| {
            begin();
            let Err(OwnerDied(mut held)) = data.lock() else {
                panic!()
            };
            held.set([1, 1]);
            held.mended();
        },
        nothing,
        |data, n, steps| {
            assert!(steps.first("rlock: taken from the dead") > 0);
            next_is_told(&*data, n < steps.since("lock: freed"));
        },
    );
}
