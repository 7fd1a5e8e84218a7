//! Models of the condition: wait and notify, two waiters and one notify, death of a waiter
//! and of the one who notifies. Each has a twin in which one line is broken, and which must
//! fail.
#![cfg(loom)]

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;
use multiproc_condition::{Condition, WaitError};
use multiproc_core::deadline::Deadline;
use multiproc_core::model::{check, die_at, must_notice};
use multiproc_core::robust::{RobustGuard, RobustLock};

struct World {
    lock: RobustLock,
    value: UnsafeCell<u64>,
    condition: Condition<2>,
}

// SAFETY: `value` is touched under the lock only; loom checks just that.
unsafe impl Sync for World {}
// SAFETY: as above.
unsafe impl Send for World {}

fn world() -> Arc<World> {
    Arc::new(World {
        lock: RobustLock::new(),
        value: UnsafeCell::new(0),
        condition: Condition::sized(),
    })
}

impl World {
    fn held(&self) -> RobustGuard<'_> {
        self.lock.acquire(Deadline::NEVER).unwrap()
    }

    fn value(&self) -> u64 {
        // SAFETY: the callers hold the lock.
        self.value.with(|v| unsafe { *v })
    }

    fn set(&self, value: u64) {
        // SAFETY: the callers hold the lock.
        self.value.with_mut(|v| unsafe { *v = value });
    }

    /// Waits until the value is at least `value`, and takes so much of it.
    fn take(&self, value: u64) {
        let mut held = self.held();
        while self.value() < value {
            held = match self.condition.wait(held) {
                Ok(held) | Err(WaitError::OwnerDied(held)) => held,
                Err(other) => panic!("{other}"),
            };
        }
        self.set(self.value() - value);
        drop(held);
    }

    fn give(&self, n: usize) {
        let held = self.held();
        self.set(self.value() + n as u64);
        self.condition.notify(&held, n);
        drop(held);
    }
}

fn spawn(world: &Arc<World>, f: fn(&World)) -> thread::JoinHandle<()> {
    let world = world.clone();
    thread::spawn(move || f(&world))
}

#[test]
fn model_wait_and_notify() {
    check(3, || {
        let w = world();
        let waiter = spawn(&w, |w| w.take(1));
        w.give(1);
        waiter.join().unwrap();
        assert_eq!(w.condition.waiting(), 0);
    });
}

/// Two wait for one each, one notify of two, or two of one.
#[test]
fn model_two_waiters() {
    for at_once in [1, 2] {
        check(1, move || {
            let w = world();
            let waiters = [spawn(&w, |w| w.take(1)), spawn(&w, |w| w.take(1))];
            (0..2 / at_once).for_each(|_| w.give(at_once));
            for waiter in waiters {
                waiter.join().unwrap();
            }
            assert_eq!(w.condition.waiting(), 0);
        });
    }
}

/// The first step of [`World::take`] after it has entered the table.
const ENTERED: u64 = 9;

/// Of two who wait, the one that waited first is chosen, and dies at any of its later steps;
/// its notify goes to the other one, who finds out at the end of its slice.
#[test]
fn model_a_chosen_waiter_dies() {
    for steps in ENTERED..ENTERED + 17 {
        check(1, move || {
            let w = world();
            let victim = {
                let w = w.clone();
                thread::spawn(move || die_at(steps, || w.take(1)).is_some())
            };
            while w.condition.waiting() == 0 {
                thread::yield_now();
            }
            let other = spawn(&w, |w| w.take(1));
            w.give(1);
            let survived = victim.join().unwrap();
            w.condition.end_slice();
            let held = w.held();
            let taken = w.value() == 0;
            drop(held);
            if survived || taken {
                w.give(1);
            }
            other.join().unwrap();
            w.condition.end_slice();
            assert_eq!(w.condition.waiting(), 0);
        });
    }
}

/// Whoever notifies dies at any step: the lock tells, and the waiter is not lost.
#[test]
fn model_who_notifies_dies() {
    for steps in 0..14 {
        check(2, move || {
            let w = world();
            let waiter = spawn(&w, |w| w.take(1));
            let victim = {
                let w = w.clone();
                thread::spawn(move || die_at(steps, || w.give(1)).is_some())
            };
            if !victim.join().unwrap() {
                w.condition.end_slice();
                w.give(1);
            }
            waiter.join().unwrap();
        });
    }
}

#[test]
fn model_fails_when_nobody_is_woken() {
    must_notice("condition: wake", "model_wait_and_notify");
}

#[test]
fn model_fails_when_a_notify_is_not_passed_on() {
    must_notice("condition: heir", "model_a_chosen_waiter_dies");
}
