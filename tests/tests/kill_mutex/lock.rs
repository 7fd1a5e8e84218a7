//! `Lock`.

use crate::mutex::killed_releasing;
use crate::pair::{Beside, Helper, each_step, next_gets_it, next_is_told, orphan};
use common::*;
use multiproc_lock::OwnerDied;
use multiproc_segment::Shared;
use multiproc_tests::{Count, nothing};
use std::sync::atomic::Ordering::Relaxed;

/// F1.
pub(crate) fn f1_lock_killed_at_each_step_of_acquire_and_release() {
    each_step(
        Count::Exact,
        || shared(Beside::new()),
        |beside, begin| {
            begin();
            beside.lock.acquire().unwrap();
            beside.lock.release().unwrap();
        },
        nothing,
        |beside, n, steps| {
            let held = steps.since("lock: taken, turn not counted")..steps.since("lock: given up");
            next_is_told(&*beside, held.contains(&n));
        },
    );
}

/// F1.
pub(crate) fn f1_lock_killed_at_each_step_of_a_contended_acquire() {
    each_step(
        Count::Varies,
        || {
            let beside = shared(Beside::new());
            let holder = Helper::holding(|holds| {
                let _held = beside.lock.lock().unwrap();
                holds();
            });
            (beside, holder)
        },
        |(beside, _), begin| {
            begin();
            drop(beside.lock.lock().unwrap());
        },
        |(_, holder), child| {
            blocked_or_gone(child);
            holder.go_on();
            ends_well(&holder.process);
        },
        |(beside, _), _, _| next_gets_it(&*beside),
    );
}

/// F1.
pub(crate) fn f1_lock_killed_at_each_step_of_a_release_that_wakes() {
    killed_releasing(
        Beside::new,
        |beside, ready| {
            beside.lock.acquire().unwrap();
            ready();
            beside.lock.release().unwrap();
        },
        |beside| drop(beside.lock.lock().unwrap()),
        |beside, _, steps| {
            assert!(steps.since("lock: the bell rung") > 0);
            next_is_told(beside, false); // free before the first step
        },
    );
}

fn orphaned_lock() -> Shared<Beside> {
    orphan(Beside::new(), |beside| {
        beside.lock.acquire().unwrap();
        beside.pair[0].store(1, Relaxed);
    })
}

/// F1.
pub(crate) fn f1_lock_killed_at_each_step_of_recovery() {
    each_step(
        // The dead holder is found after a slice: some steps of waiting come before.
        Count::Varies,
        orphaned_lock,
        |beside, begin| {
            begin();
            let Err(OwnerDied(mut held)) = beside.lock.lock() else {
                panic!()
            };
            beside.pair[1].store(1, Relaxed);
            held.mended();
        },
        nothing,
        |beside, _, steps| {
            assert!(steps.first("lock: taken from the dead") > 0);
            next_gets_it(&*beside);
        },
    );
}

/// F1.
pub(crate) fn f1_lock_killed_at_each_step_of_releasing_what_a_dead_one_held() {
    each_step(
        Count::Exact,
        orphaned_lock,
        |beside, begin| {
            begin();
            beside.lock.release().unwrap();
        },
        nothing,
        |beside, _, steps| {
            assert!(
                steps
                    .0
                    .contains(&"lock: a dead holder's, to be freed".to_owned())
            );
            next_is_told(&*beside, true);
        },
    );
}
