//! Conditions and the deaths of those who hold their locks.

mod watching;

use common::*;
use multiproc_manager::Manager;
use multiproc_process::{Exit, Process, test};
use std::sync::atomic::Ordering::SeqCst;
use watching::*;

test::main! {
    a_death_that_a_waiter_meets_is_told_to_the_next_holder,
}

fn a_death_that_a_waiter_meets_is_told_to_the_next_holder() -> Outcome {
    let manager = Manager::start()?;
    let lock = manager.rlock()?;
    for changed in [manager.condition()?, manager.condition_over(&lock)?] {
        let steps = number();
        let waiter = Process::start(|| {
            let held = changed.lock().unwrap();
            steps.fetch_add(1, SeqCst);
            changed.wait().unwrap();
            drop(held);
        })?;
        reaches(&steps, 1);
        // It has the lock once the waiter waits, and dies with it.
        let notifier = Process::start(|| {
            std::mem::forget(changed.lock().unwrap());
            changed.notify_one().unwrap();
            kill_me();
        })?;
        assert_eq!(notifier.join()?, Exit::Signal(9));
        ends_well(&waiter);
        assert!(changed.lock()?.owner_died());
        assert!(!changed.lock()?.owner_died());
    }
    manager.shut_down()?;
    Ok(())
}
