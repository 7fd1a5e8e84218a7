//! Models of the robust lock: exclusion, sleeping and waking, death of the holder and of a
//! woken waiter. Each has a twin in which one line is broken, and which must fail.
#![cfg(loom)]

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;
use multiproc_core::deadline::Deadline;
use multiproc_core::model::{check, die_at, must_notice, vanish_at};
use multiproc_core::robust::RobustLock;

struct Protected {
    lock: RobustLock,
    value: UnsafeCell<u64>,
}

// SAFETY: `value` is touched under `lock` only; loom checks just that.
unsafe impl Sync for Protected {}
// SAFETY: as above.
unsafe impl Send for Protected {}

fn protected() -> Arc<Protected> {
    Arc::new(Protected {
        lock: RobustLock::new(),
        value: UnsafeCell::new(0),
    })
}

fn add_one(p: &Protected) {
    let held = p.lock.acquire(Deadline::NEVER).unwrap();
    // SAFETY: we hold the lock.
    p.value.with_mut(|v| unsafe { *v += 1 });
    drop(held);
}

fn value(p: &Protected) -> u64 {
    let _held = p.lock.acquire(Deadline::NEVER).unwrap();
    // SAFETY: we hold the lock.
    p.value.with(|v| unsafe { *v })
}

fn three_add(bound: usize) {
    check(bound, || {
        let p = protected();
        let others: Vec<_> = (0..2)
            .map(|_| {
                let p = p.clone();
                thread::spawn(move || add_one(&p))
            })
            .collect();
        add_one(&p);
        for other in others {
            other.join().unwrap();
        }
        assert_eq!(value(&p), 3);
    });
}

fn one_dies(steps: u64, bound: usize) {
    check(bound, move || {
        let p = protected();
        let victim = {
            let p = p.clone();
            thread::spawn(move || die_at(steps, || add_one(&p)).is_some())
        };
        let other = {
            let p = p.clone();
            thread::spawn(move || add_one(&p))
        };
        let survived = victim.join().unwrap();
        other.join().unwrap();
        // The victim's addition is there or not; ours is.
        let sum = value(&p);
        assert!(sum == 1 || sum == 2, "{sum}");
        assert!(!survived || sum == 2);
    });
}

/// Two find at the same time that the holder is gone, with no kernel to tell them.
#[test]
fn model_holder_vanishes() {
    check(3, || {
        let p = protected();
        let gone = {
            let p = p.clone();
            thread::spawn(move || vanish_at(2, || add_one(&p)).is_none())
        };
        assert!(gone.join().unwrap(), "did not get to that step");
        assert!(p.lock.is_held());
        let other = {
            let p = p.clone();
            thread::spawn(move || add_one(&p))
        };
        add_one(&p);
        other.join().unwrap();
        assert_eq!(value(&p), 2);
    });
}

#[test]
fn model_fails_when_a_living_one_is_robbed_for_a_dead_one() {
    must_notice("lock: that state", "model_holder_vanishes");
}

#[test]
fn model_three_add() {
    three_add(2);
}

#[test]
fn model_three_add_deeper() {
    three_add(3);
}

#[test]
fn model_holder_dies() {
    for steps in 0..10 {
        one_dies(steps, 2);
    }
}

#[test]
fn model_fails_when_release_is_relaxed() {
    must_notice("lock: release", "model_three_add");
}

#[test]
fn model_fails_when_a_waiter_takes_the_lock_unmarked() {
    must_notice("lock: keep the mark", "model_three_add_deeper");
}

#[test]
fn model_fails_when_nobody_walks_the_dead() {
    must_notice("kernel: walk", "model_holder_dies");
}
