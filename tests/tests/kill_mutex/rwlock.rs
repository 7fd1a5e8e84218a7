//! `RwLock`.

use crate::mutex::killed_releasing;
use crate::pair::{Helper, each_step, next_gets_it, next_is_told, orphan};
use common::*;
use multiproc_lock::{OwnerDied, RwLock};
use multiproc_segment::Shared;
use multiproc_tests::{Count, nothing};

pub(crate) type Rw = RwLock<[u64; 2], 4>;

fn rwlock() -> Shared<Rw> {
    shared(Rw::with_places([0; 2]))
}

pub(crate) fn rwlock_killed_at_each_step_of_reading() {
    each_step(
        Count::Exact,
        rwlock,
        |data, begin| {
            begin();
            drop(data.read().unwrap());
        },
        nothing,
        |data, _, steps| {
            assert!(steps.since("rwlock: entered, has the gate") > 0);
            next_is_told(&*data, false);
            assert_eq!(data.readers(), 0);
        },
    );
}

pub(crate) fn rwlock_killed_at_each_step_of_writing() {
    each_step(
        Count::Exact,
        rwlock,
        |data, begin| {
            begin();
            let mut held = data.write().unwrap();
            held[0] += 1;
            held[1] += 1;
        },
        nothing,
        |data, n, steps| {
            let writing = steps.since("rwlock: dirty")..steps.since("rwlock: clean");
            next_is_told(&*data, writing.contains(&n));
        },
    );
}

pub(crate) fn rwlock_killed_at_each_step_of_a_write_that_waits_for_a_reader() {
    each_step(
        Count::Varies,
        || {
            let data = rwlock();
            let reader = Helper::holding(|holds| {
                let _held = data.read().unwrap();
                holds();
            });
            (data, reader)
        },
        |(data, _), begin| {
            begin();
            data.write().unwrap()[0] += 0;
        },
        |(_, reader), child| {
            blocked_or_gone(child);
            reader.go_on();
            ends_well(&reader.process);
        },
        |(data, _), _, _| next_gets_it(&*data),
    );
}

pub(crate) fn rwlock_killed_at_each_step_of_a_reader_that_leaves_a_waiting_writer() {
    killed_releasing(
        || Rw::with_places([0; 2]),
        |data, ready| {
            let held = data.read().unwrap();
            ready();
            drop(held);
        },
        |data| drop(data.write().unwrap()),
        |data, _, steps| {
            assert!(steps.since("rwlock: left, the bell not rung") > 0);
            next_is_told(data, false);
        },
    );
}

pub(crate) fn rwlock_killed_at_each_step_of_clearing_a_dead_reader() {
    each_step(
        Count::Exact,
        || {
            orphan(Rw::with_places([0; 2]), |data| {
                std::mem::forget(data.read().unwrap())
            })
        },
        |data, begin| {
            begin();
            drop(data.write().unwrap());
        },
        nothing,
        |data, n, steps| {
            assert!(steps.since("rwlock: about to clear a dead reader's place") > 0);
            let writing = steps.since("rwlock: dirty")..steps.since("rwlock: clean");
            next_is_told(&*data, writing.contains(&n));
            assert_eq!(data.readers(), 0);
        },
    );
}

pub(crate) fn rwlock_killed_at_each_step_of_recovery() {
    each_step(
        Count::Exact,
        || {
            orphan(Rw::with_places([0; 2]), |data| {
                let mut held = data.write().unwrap();
                held[0] += 1;
                std::mem::forget(held);
            })
        },
        |data, begin| {
            begin();
            let Err(OwnerDied(mut held)) = data.write() else {
                panic!()
            };
            held[1] = held[0];
            held.mended();
        },
        nothing,
        |data, n, steps| next_is_told(&*data, n < steps.since("rwlock: clean")),
    );
}
