//! Models of idle workers: a task that is announced is taken, by as many as there are tasks, also if
//! one of them dies. Each has a twin in which one line is broken, and which must fail.
#![cfg(loom)]

use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, Ordering::*};
use loom::thread;
use multiproc_core::idle::Idle;
use multiproc_core::model::{check, die_at, must_notice};

struct Work {
    idle: Idle<2, 1>,
    /// Tasks to be taken.
    tasks: AtomicU32,
    over: AtomicU32,
}

fn work() -> Arc<Work> {
    Arc::new(Work {
        idle: Idle::new(),
        tasks: AtomicU32::new(0),
        over: AtomicU32::new(0),
    })
}

impl Work {
    fn put(&self) {
        self.tasks.fetch_add(1, Release);
        self.idle.announce();
    }

    /// Says that there will be no more.
    fn end(&self) {
        self.over.store(1, Release);
        self.idle.wake_all(2);
    }

    /// One task, or none when it is over.
    fn take(&self, place: usize) -> Option<()> {
        self.idle.seek(
            place,
            || self.tasks.load(Relaxed) != 0,
            || self.over.load(Relaxed) != 0,
            || {
                let taken = self
                    .tasks
                    .fetch_update(AcqRel, Relaxed, |tasks| tasks.checked_sub(1));
                taken.ok().map(drop)
            },
        )
    }
}

fn one_worker() {
    check(4, || {
        let work = work();
        let worker = {
            let work = work.clone();
            thread::spawn(move || assert!(work.take(0).is_some()))
        };
        work.put();
        worker.join().unwrap();
    });
}

/// Each takes one, so each must be awake.
fn two_workers() {
    check(2, || {
        let work = work();
        let workers = [0, 1].map(|place| {
            let work = work.clone();
            thread::spawn(move || assert!(work.take(place).is_some()))
        });
        work.put();
        work.put();
        for worker in workers {
            worker.join().unwrap();
        }
    });
}

/// The first dies at any of its steps: it took the task, or the other gets it.
fn one_dies() {
    for steps in 0..6 {
        check(2, move || {
            let work = work();
            let victim = {
                let work = work.clone();
                thread::spawn(move || {
                    let _ = die_at(steps, || work.take(0).map(|()| work.end()));
                })
            };
            let other = {
                let work = work.clone();
                thread::spawn(move || work.take(1).map(|()| work.end()))
            };
            work.put();
            victim.join().unwrap();
            work.idle.bury(0, 2, || work.tasks.load(Relaxed) != 0);
            // It may have taken the task along.
            if work.tasks.load(Acquire) == 0 {
                work.end();
            }
            other.join().unwrap();
            assert_eq!(work.tasks.load(Acquire), 0);
        });
    }
}

#[test]
fn model_what_is_announced_is_taken() {
    one_worker();
}

#[test]
fn model_two_are_woken_for_two() {
    two_workers();
}

#[test]
fn model_one_dies_and_the_other_goes_on() {
    one_dies();
}

#[test]
fn model_fails_without_the_fence_of_who_announces() {
    must_notice("idle: announce", "model_what_is_announced_is_taken");
}

#[test]
fn model_fails_without_the_fence_of_who_sleeps() {
    must_notice("idle: sleep", "model_what_is_announced_is_taken");
}

#[test]
fn model_fails_without_passing_on() {
    must_notice("idle: pass on", "model_two_are_woken_for_two");
}

#[test]
fn model_fails_without_a_burial() {
    must_notice("idle: bury", "model_one_dies_and_the_other_goes_on");
}
