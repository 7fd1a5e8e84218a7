//! Killed around a condition.

use crate::scenes::at_each_step;
use common::*;
use multiproc_condition::{Condition, WaitError};
use multiproc_core::step;
use multiproc_lock::{Mutex, MutexGuard, OwnerDied};
use multiproc_process::Process;
use multiproc_segment::{Shareable, Shared};
use multiproc_tests::{came_through, victim};
use std::time::{Duration, Instant};

#[derive(Shareable)]
#[repr(C)]
pub(crate) struct World {
    lock: Mutex<u64>,
    pub(crate) condition: Condition<4>,
}

pub(crate) fn world() -> Shared<World> {
    shared(World {
        lock: Mutex::new(0),
        condition: Condition::sized(),
    })
}

impl World {
    /// The lock; mended, if somebody died with it.
    pub(crate) fn held(&self) -> MutexGuard<'_, u64> {
        self.lock.lock().unwrap_or_else(mend)
    }

    fn wait(&self) {
        let guard = self.held();
        match self.condition.wait(guard) {
            Ok(_) => {}
            Err(WaitError::OwnerDied(guard)) => drop(mend(OwnerDied(guard))),
            Err(error) => panic!("{error}"),
        }
    }

    fn sleeper(&self) -> Process {
        let child = start(|| self.wait());
        blocked(&child); // nobody has the lock: so it sleeps in the table
        child
    }

    pub(crate) fn notify(&self, n: usize) {
        self.condition.notify(&self.held(), n);
    }

    /// Nobody is left, and all four can wait and be notified, one by one.
    #[track_caller]
    fn works(&self) {
        let all: Vec<Process> = (0..4).map(|_| self.sleeper()).collect();
        until("all to wait, and the dead to be gone", || {
            self.condition.waiting() == 4
        });
        self.notify(1);
        ends_well(&all[0]);
        self.notify(3);
        all[1..].iter().for_each(ends_well);
        assert_eq!(self.condition.waiting(), 0);
    }
}

fn mend(OwnerDied(mut guard): OwnerDied<MutexGuard<'_, u64>>) -> MutexGuard<'_, u64> {
    guard.mended();
    guard
}

pub(crate) fn killed_at_each_step_of_a_notify() {
    at_each_step(10, |n| {
        let w = world();
        let sleepers = [w.sleeper(), w.sleeper(), w.sleeper()];
        let through = came_through(&victim(n, || w.notify(2)));
        // Some of the two are woken; whoever looks after the dead one goes on from there.
        until("the chosen to be woken", || {
            w.condition.waiting() == sleepers.iter().filter(|s| s.is_alive()).count()
        });
        let left = w.condition.waiting();
        assert!((1..=3).contains(&left) && (!through || left == 1), "{left}");
        w.notify(left);
        sleepers.iter().for_each(ends_well);
        w.works();
        through
    });
}

pub(crate) fn killed_at_each_step_of_a_wait_that_is_notified() {
    at_each_step(12, |n| {
        let w = world();
        let dies = victim(n, || w.wait());
        let there = blocked_or_gone(&dies) && w.condition.waiting() == 1;
        let other = w.sleeper();
        w.notify(1);
        if there {
            // It was chosen; killed before its wait is over, the other one gets that.
            if came_through(&dies) {
                w.notify(1);
                ends_well(&other);
                w.works();
                return true;
            }
            // Killed holding the lock, behind its wait: then it had it.
            let begun = Instant::now();
            while other.is_alive() && begun.elapsed() < Duration::from_millis(400) {
                std::thread::sleep(Duration::from_millis(1));
            }
            if other.is_alive() {
                assert_eq!(w.condition.waiting(), 1);
                assert!(n >= 12, "the wake-up was eaten");
                w.notify(1);
            }
        } else {
            assert!(!came_through(&dies));
            // Killed before it slept: chosen or not, the other one goes on.
            until("the other to go on", || !other.is_alive());
        }
        ends_well(&other);
        w.works();
        false
    });
}

pub(crate) fn killed_at_each_step_of_a_wait_that_times_out() {
    at_each_step(12, |n| {
        let w = world();
        let other = w.sleeper();
        let through = came_through(&victim(n, || {
            let guard = w.held();
            let (_, notified) = w
                .condition
                .wait_timeout(guard, Duration::from_millis(2))
                .unwrap();
            assert!(!notified);
        }));
        w.notify(1);
        ends_well(&other);
        w.works();
        through
    });
}

/// The recovery itself: who was chosen is killed; so is the one who would pass the notify on.
pub(crate) fn killed_at_each_step_of_passing_a_notify_on() {
    at_each_step(8, |n| {
        let w = world();
        let chosen = w.sleeper();
        let passes_on = start(|| {
            let guard = w.held();
            step::arm(n);
            drop(w.condition.wait(guard));
            step::disarm();
        });
        until("it to wait, or not", || {
            w.condition.waiting() == 2 || !passes_on.is_alive()
        });
        blocked_or_gone(&passes_on);
        let other = w.sleeper();
        let guard = w.held();
        w.condition.notify(&guard, 1);
        kill(&chosen);
        drop(guard);
        // One of the two gets it. If it is the one that dies of it, the other one.
        until("one to go on", || {
            !passes_on.is_alive() || !other.is_alive()
        });
        if other.is_alive() {
            if came_through(&passes_on) {
                w.notify(1);
                ends_well(&other);
                w.works();
                return true;
            }
            let begun = Instant::now();
            while other.is_alive() && begun.elapsed() < Duration::from_millis(400) {
                std::thread::sleep(Duration::from_millis(1));
            }
            if other.is_alive() {
                assert!(n >= 12, "the wake-up was eaten");
                w.notify(1);
            }
            ends_well(&other);
        } else {
            ends_well(&other);
            w.notify(1);
            if came_through(&passes_on) {
                return true;
            }
        }
        w.works();
        false
    });
}
