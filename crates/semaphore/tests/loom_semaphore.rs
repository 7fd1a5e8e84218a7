//! Models of the semaphore: acquire and release, permits, death of a holder at each of its
//! steps. Each has a twin in which one line is broken, and which must fail.
#![cfg(loom)]

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;
use multiproc_core::model::{check, die_at, must_notice};
use multiproc_semaphore::Semaphore;

struct Guarded {
    gate: Semaphore<2>,
    value: UnsafeCell<u64>,
}

// SAFETY: `value` is touched by who has the one permit; loom checks just that.
unsafe impl Sync for Guarded {}
// SAFETY: as above.
unsafe impl Send for Guarded {}

fn guarded(value: u32) -> Arc<Guarded> {
    Arc::new(Guarded {
        gate: Semaphore::sized(value),
        value: UnsafeCell::new(0),
    })
}

impl Guarded {
    fn add_one(&self) {
        // SAFETY: we have the one permit.
        self.value.with_mut(|v| unsafe { *v += 1 });
    }
}

fn spawn(guarded: &Arc<Guarded>, f: fn(&Guarded)) -> thread::JoinHandle<()> {
    let guarded = guarded.clone();
    thread::spawn(move || f(&guarded))
}

/// Two share one, without owners.
#[test]
fn model_acquire_and_release() {
    check(3, || {
        let g = guarded(1);
        let work = |g: &Guarded| {
            g.gate.acquire();
            g.add_one();
            g.gate.release().unwrap();
        };
        let other = spawn(&g, work);
        work(&g);
        other.join().unwrap();
        assert_eq!(g.gate.value(), 1);
    });
}

/// Two wait for two releases.
#[test]
fn model_two_waiters_two_releases() {
    check(2, || {
        let g = guarded(0);
        let waiters = [
            spawn(&g, |g| g.gate.acquire()),
            spawn(&g, |g| g.gate.acquire()),
        ];
        g.gate.release().unwrap();
        g.gate.release().unwrap();
        for waiter in waiters {
            waiter.join().unwrap();
        }
        assert_eq!(g.gate.value(), 0);
    });
}

/// Two share one permit.
#[test]
fn model_permits_exclude() {
    check(2, || {
        let g = guarded(1);
        let work = |g: &Guarded| {
            let _permit = g.gate.permit();
            g.add_one();
        };
        let other = spawn(&g, work);
        work(&g);
        other.join().unwrap();
        assert_eq!(g.gate.value(), 1);
    });
}

/// One dies at any of its steps, while another one acquires and releases without owner: in
/// the end all is back, but for what the dead one had acquired without a permit (nothing).
#[test]
fn model_a_holder_dies() {
    for steps in 0..30 {
        check(2, move || {
            let g = guarded(2);
            let victim = {
                let g = g.clone();
                thread::spawn(move || {
                    let _ = die_at(steps, || drop(g.gate.permit()));
                })
            };
            let other = spawn(&g, |g| {
                g.gate.acquire();
                g.gate.release().unwrap();
            });
            victim.join().unwrap();
            other.join().unwrap();
            // Whatever it held comes back to who asks for all.
            let all = g.gate.try_permits(2).expect("a permit is lost");
            drop(all);
            assert_eq!(g.gate.value(), 2);
            assert!(g.gate.try_permits(3).is_none());
        });
    }
}

/// Two die, the second while it gives back what the first one held.
#[test]
fn model_who_repairs_dies() {
    for first in [3, 5, 6, 7, 8] {
        for steps in 0..14 {
            check(1, move || {
                let g = guarded(2);
                let other = spawn(&g, |g| {
                    if g.gate.try_acquire() {
                        g.gate.release().unwrap();
                    }
                });
                for dies_at in [first, steps] {
                    let g = g.clone();
                    let victim = thread::spawn(move || {
                        let _ = die_at(dies_at, || drop(g.gate.try_permits(2)));
                    });
                    victim.join().unwrap();
                }
                other.join().unwrap();
                drop(g.gate.try_permits(2).expect("a permit is lost"));
                assert_eq!(g.gate.value(), 2);
            });
        }
    }
}

#[test]
fn model_fails_when_release_does_not_wake() {
    must_notice("semaphore: wake", "model_two_waiters_two_releases");
}

#[test]
fn model_fails_when_waiters_leave_no_mark() {
    must_notice("semaphore: mark", "model_two_waiters_two_releases");
}

#[test]
fn model_fails_when_nobody_reads_the_journal() {
    must_notice("semaphore: journal", "model_a_holder_dies");
}
