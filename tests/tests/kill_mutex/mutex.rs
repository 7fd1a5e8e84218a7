//! `Mutex`.

use crate::pair::{Helper, each_step, mutex, next_gets_it, next_is_told, orphan};
use common::*;
use multiproc_lock::{Mutex, OwnerDied};
use multiproc_segment::Shareable;
use multiproc_tests::{Count, Steps, nothing};
use std::time::Duration;

/// F2.
pub(crate) fn f2_mutex_killed_at_each_step_of_acquire_and_release() {
    each_step(
        Count::Exact,
        mutex,
        |data, begin| {
            begin();
            let mut held = data.lock().unwrap();
            held[0] += 1;
            held[1] += 1;
        },
        nothing,
        |data, n, steps| {
            let held = steps.since("lock: taken, not linked")..steps.since("lock: freed");
            next_is_told(&*data, held.contains(&n));
        },
    );
}

/// F2.
pub(crate) fn f2_mutex_killed_at_each_step_of_a_contended_acquire() {
    each_step(
        Count::Varies,
        || {
            let data = mutex();
            let holder = Helper::holding(|holds| {
                let _held = data.lock().unwrap();
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
pub(crate) fn f2_mutex_killed_at_each_step_of_an_acquire_that_times_out() {
    each_step(
        Count::Varies,
        || {
            let data = mutex();
            let holder = Helper::holding(|holds| {
                let _held = data.lock().unwrap();
                holds();
            });
            (data, holder)
        },
        |(data, _), begin| {
            begin();
            assert!(data.lock_timeout(Duration::from_millis(20)).is_err());
        },
        |(_, holder), child| {
            until("a child to end", || !child.is_alive());
            holder.go_on();
            ends_well(&holder.process);
        },
        |(data, _), _, _| next_is_told(&*data, false),
    );
}

/// A process holds the lock, and then dies somewhere in its release, while another one sleeps.
pub(crate) fn killed_releasing<T: Shareable>(
    new: impl Fn() -> T,
    act: impl Fn(&T, &dyn Fn()),
    wait: impl Fn(&T),
    check: impl Fn(&T, u64, &Steps),
) {
    each_step(
        Count::Exact,
        || (shared(new()), Counter::new()),
        |(lock, stage), begin| {
            act(lock, &|| {
                stage.set(1);
                stage.reach(2);
                begin();
            });
        },
        |(lock, stage), _| {
            stage.reach(1);
            let waiter = start(|| wait(lock));
            blocked(&waiter);
            stage.set(2);
            ends_well(&waiter);
        },
        |(lock, _), n, steps| check(&lock, n, steps),
    );
}

/// F2.
pub(crate) fn f2_mutex_killed_at_each_step_of_a_release_that_wakes() {
    killed_releasing(
        || Mutex::new([0; 2]),
        |data, ready| {
            let held = data.lock().unwrap();
            ready();
            drop(held);
        },
        // What it is told, it leaves to the next one.
        |data| match data.lock() {
            Ok(_) | Err(OwnerDied(_)) => {}
        },
        |data, n, steps| next_is_told(data, n < steps.since("lock: freed")),
    );
}

/// F2.
pub(crate) fn f2_mutex_killed_at_each_step_of_recovery() {
    each_step(
        Count::Exact,
        || {
            orphan(Mutex::new([0; 2]), |data| {
                let mut held = data.lock().unwrap();
                held[0] += 1;
                std::mem::forget(held);
            })
        },
        |data, begin| {
            begin();
            let Err(OwnerDied(mut held)) = data.lock() else {
                panic!()
            };
            held[1] = held[0];
            held.mended();
        },
        nothing,
        |data, n, steps| {
            assert!(steps.first("mutex: death noted") > 0);
            next_is_told(&*data, n < steps.since("lock: freed"));
        },
    );
}
