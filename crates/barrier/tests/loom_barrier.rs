//! Models of the barrier: a round, two rounds, abort and reset, death of a waiter at each of
//! its steps. Each has a twin in which one line is broken, and which must fail.
#![cfg(loom)]

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;
use multiproc_barrier::{Barrier, BrokenBarrier};
use multiproc_core::model::{check, die_at, must_notice};

struct Phases {
    barrier: Barrier<3>,
    values: [UnsafeCell<u64>; 2],
}

// SAFETY: each value is written by one before a round and read by the other after it; loom
// checks just that.
unsafe impl Sync for Phases {}
// SAFETY: as above.
unsafe impl Send for Phases {}

fn phases(parties: usize) -> Arc<Phases> {
    Arc::new(Phases {
        barrier: Barrier::sized(parties),
        values: [UnsafeCell::new(0), UnsafeCell::new(0)],
    })
}

fn rounds(p: &Phases, me: usize, rounds: u64) -> u64 {
    let mut sum = 0;
    for round in 1..=rounds {
        // SAFETY: the other one reads between two rounds.
        p.values[me].with_mut(|v| unsafe { *v = round });
        sum += p.barrier.wait().unwrap() as u64;
        // SAFETY: written before the round, and not again before the next one.
        assert_eq!(p.values[1 - me].with(|v| unsafe { *v }), round);
        p.barrier.wait().unwrap();
    }
    sum
}

fn two_pass(bound: usize) {
    check(bound, || {
        let p = phases(2);
        let other = {
            let p = p.clone();
            thread::spawn(move || rounds(&p, 1, 1))
        };
        let sum = rounds(&p, 0, 1) + other.join().unwrap();
        assert_eq!(sum, 1, "indices 0 and 1");
        assert_eq!(p.barrier.waiting(), 0);
    });
}

#[test]
fn model_two_pass() {
    two_pass(2);
}

fn spawn_wait(p: &Arc<Phases>) -> thread::JoinHandle<Result<usize, BrokenBarrier>> {
    let p = p.clone();
    thread::spawn(move || p.barrier.wait())
}

#[test]
fn model_three_pass() {
    check(1, || {
        let p = phases(3);
        let others = [spawn_wait(&p), spawn_wait(&p)];
        let mut all = vec![p.barrier.wait().unwrap()];
        for other in others {
            all.push(other.join().unwrap().unwrap());
        }
        all.sort_unstable();
        assert_eq!(all, [0, 1, 2]);
    });
}

/// Aborted at any moment: both pass, or both are told, or the one that was released passes
/// (the abort came after the round).
#[test]
fn model_abort() {
    check(2, || {
        let p = phases(2);
        let others = [spawn_wait(&p), spawn_wait(&p)];
        p.barrier.abort();
        let [one, two] = others.map(|other| other.join().unwrap());
        assert_eq!(one.is_ok(), two.is_ok());
        assert!(p.barrier.is_broken());
    });
}

/// A round, and right after it a break and a reset: who was released knows it, however late
/// it looks.
#[test]
fn model_released_stays_released() {
    check(2, || {
        let p = phases(2);
        let other = spawn_wait(&p);
        p.barrier.wait().unwrap();
        p.barrier.abort();
        p.barrier.reset();
        assert!(other.join().unwrap().is_ok());
    });
}

/// One dies at any step. The other waits (an abort releases it then), or is the last: it passes
/// only if the dead one came through its own wait.
#[test]
fn model_a_waiter_dies() {
    for steps in 0..20 {
        check(2, move || {
            let p = phases(2);
            let victim = {
                let p = p.clone();
                thread::spawn(move || die_at(steps, || p.barrier.wait()).is_some())
            };
            let other = spawn_wait(&p);
            let survived = victim.join().unwrap();
            // A slice never ends in a model: what the survivor would find at its end.
            if !survived {
                p.barrier.abort();
                let _ = other.join().unwrap();
                p.barrier.reset();
                let other = spawn_wait(&p);
                p.barrier.wait().unwrap();
                other.join().unwrap().unwrap();
            } else {
                other.join().unwrap().unwrap();
            }
        });
    }
}

/// The steps of a wait at which it has arrived and does not sleep yet.
const ARRIVED: std::ops::RangeInclusive<u64> = 8..=12;

/// One dies waiting, and then the others come: no round with a dead party ends well.
#[test]
fn model_the_dead_do_not_count() {
    for steps in ARRIVED {
        check(2, move || {
            let p = phases(3);
            let victim = {
                let p = p.clone();
                thread::spawn(move || die_at(steps, || p.barrier.wait()).is_some())
            };
            assert!(!victim.join().unwrap());
            assert_eq!(p.barrier.waiting(), 1);
            let other = spawn_wait(&p);
            assert!(p.barrier.wait().is_err());
            assert!(other.join().unwrap().is_err());
        });
    }
}

#[test]
fn model_fails_when_nobody_is_woken() {
    must_notice("barrier: wake", "model_three_pass");
}

#[test]
fn model_fails_when_history_is_not_read() {
    must_notice("barrier: history", "model_released_stays_released");
}

#[test]
fn model_fails_when_nobody_feels_a_pulse() {
    must_notice("barrier: pulse", "model_the_dead_do_not_count");
}
