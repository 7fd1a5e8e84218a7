//! Models of a `Lock` whose dead holder is found by several at the same time: by one that
//! releases, as anybody may, and by one that acquires. Each has a twin that must fail.
#![cfg(loom)]

use loom::sync::Arc;
use loom::thread;
use multiproc_core::model::{check, die_at, must_notice};
use multiproc_lock::{Lock, OwnerDied};

/// The step of `lock` at which it is held.
const OWNED: u64 = 2;

#[test]
fn model_what_was_mended_stays_so() {
    check(3, || {
        let lock = Arc::new(Lock::new());
        let victim = {
            let lock = lock.clone();
            thread::spawn(move || die_at(OWNED, || lock.acquire().is_ok()).is_none())
        };
        assert!(victim.join().unwrap(), "did not get to that step");
        assert!(lock.is_locked());
        let releaser = {
            let lock = lock.clone();
            thread::spawn(move || {
                // Frees the dead one's or ours, or finds it free.
                let _ = lock.release();
            })
        };
        match lock.lock() {
            Err(OwnerDied(mut held)) => held.mended(),
            Ok(_) => panic!("a holder died, and nobody was told"),
        }
        releaser.join().unwrap();
        assert!(lock.lock().is_ok(), "it was mended");
    });
}

#[test]
fn model_fails_when_a_releaser_notes_the_death_before_it_has_the_lock() {
    must_notice("lock: take it first", "model_what_was_mended_stays_so");
}
