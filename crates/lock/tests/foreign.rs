//! Code that was written for lock_api, and knows nothing of processes, on our raw locks.

use common::*;
use multiproc_lock::{ApiMutex, RawLock, RawLockUnpoisoned};
use multiproc_process::{Exit, Process, test};
use multiproc_segment::Shared;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

test::main! {
    a_lock_api_user_runs_unchanged_between_threads,
    a_lock_api_user_runs_unchanged_between_processes,
    f1_a_raw_lock_panics_until_mended,
    f1_an_unpoisoned_lock_is_granted_and_says_so,
    timeouts_are_kept,
    a_fork_copies_no_ownership,
    #[timeout(180)]
    killed_at_random_nothing_is_torn_unnoticed,
}

/// As it might lie in somebody else's crate: generic over the raw lock.
mod foreign {
    use lock_api::{Mutex, MutexGuard, RawMutex, RawMutexTimed};
    use std::time::Duration;

    pub(crate) struct Ledger<'a, R> {
        rows: &'a Mutex<R, [u64; 8]>,
    }

    impl<'a, R: RawMutex> Ledger<'a, R> {
        pub(crate) fn over(rows: &'a Mutex<R, [u64; 8]>) -> Self {
            Self { rows }
        }

        pub(crate) fn book(&self, row: usize, amount: u64) {
            let mut rows = self.rows.lock();
            rows[row] += amount;
            rows[7] += amount;
        }

        pub(crate) fn balanced(&self) -> bool {
            let rows = self.rows.lock();
            rows[..7].iter().sum::<u64>() == rows[7]
        }

        pub(crate) fn row(&self, row: usize) -> lock_api::MappedMutexGuard<'_, R, u64> {
            MutexGuard::map(self.rows.lock(), |rows| &mut rows[row])
        }

        pub(crate) fn is_busy(&self) -> bool {
            self.rows.try_lock().is_none()
        }

        pub(crate) fn with_pause<U>(&self, pause: impl FnOnce() -> U) -> U {
            MutexGuard::unlocked(&mut self.rows.lock(), pause)
        }
    }

    impl<R: RawMutexTimed<Duration = Duration>> Ledger<'_, R> {
        pub(crate) fn sum_within(&self, patience: Duration) -> Option<u64> {
            self.rows.try_lock_for(patience).map(|rows| rows[7])
        }
    }
}

use foreign::Ledger;

fn use_it<R: lock_api::RawMutexTimed<Duration = Duration>>(ledger: &Ledger<'_, R>, who: usize) {
    for n in 0..2_000 {
        ledger.book(who, n);
        assert!(ledger.balanced());
    }
    *ledger.row(0) += 0;
    assert!(ledger.with_pause(|| ledger.balanced()));
    assert!(ledger.sum_within(PATIENCE).is_some());
}

fn a_lock_api_user_runs_unchanged_between_threads() {
    static ROWS: lock_api::Mutex<RawLock, [u64; 8]> = lock_api::Mutex::new([0; 8]);
    let local = lock_api::Mutex::<RawLockUnpoisoned, _>::new([0; 8]);
    std::thread::scope(|scope| {
        for who in 0..3 {
            let local = &local;
            scope.spawn(move || {
                use_it(&Ledger::over(&ROWS), who);
                use_it(&Ledger::over(local), who);
            });
        }
    });
    assert_eq!(
        (ROWS.lock()[7], local.into_inner()[7]),
        (3 * 1_999_000, 3 * 1_999_000)
    );
}

fn a_lock_api_user_runs_unchanged_between_processes() -> Outcome {
    let rows = Shared::new(ApiMutex::<RawLock, _>::new([0; 8]))?;
    let children = Process::start_each(0..3, |who| use_it(&Ledger::over(&rows), who))?;
    children.iter().for_each(ends_well);
    assert_eq!(rows.lock()[7], 3 * 1_999_000);
    let held = rows.lock();
    assert!(Ledger::over(&rows).is_busy());
    drop(held);
    assert!(!Ledger::over(&rows).is_busy());
    Ok(())
}

/// F1.
fn f1_a_raw_lock_panics_until_mended() -> Outcome {
    let rows = Shared::new(ApiMutex::<RawLock, _>::new([0; 8]))?;
    let child = Process::start(|| {
        std::mem::forget(rows.lock());
        kill_me();
    })?;
    assert_eq!(ends(&child), Exit::Signal(libc::SIGKILL));
    for _ in 0..2 {
        assert!(catch_unwind(AssertUnwindSafe(|| *rows.lock())).is_err());
        assert!(catch_unwind(AssertUnwindSafe(|| rows.try_lock().is_some())).is_err());
        assert!(rows.raw().owner_died());
        assert!(!rows.is_locked()); // the panic left it free
    }
    rows.raw().mended();
    assert_eq!(*rows.lock(), [0; 8]);
    Ok(())
}

/// F1.
fn f1_an_unpoisoned_lock_is_granted_and_says_so() -> Outcome {
    let rows = Shared::new(ApiMutex::<RawLockUnpoisoned, _>::new([0; 8]))?;
    let child = Process::start(|| {
        rows.lock()[0] = 1;
        let mut held = rows.lock();
        held[1] = 1;
        kill_me();
    })?;
    assert_eq!(ends(&child), Exit::Signal(libc::SIGKILL));
    let held = rows.lock();
    assert!(rows.raw().owner_died());
    assert_eq!(held[..2], [1, 1]);
    drop(held);
    let held = rows.lock();
    assert!(rows.raw().owner_died()); // still
    rows.raw().mended();
    drop(held);
    drop(rows.lock());
    assert!(!rows.raw().owner_died());
    Ok(())
}

fn timeouts_are_kept() {
    let rows = Shared::new(ApiMutex::<RawLock, _>::new(0_u64)).unwrap();
    let held = rows.lock();
    let status = in_bare_fork(|| {
        for millis in [0, 1, 60] {
            let timeout = Duration::from_millis(millis);
            let begun = Instant::now();
            assert!(rows.try_lock_for(timeout).is_none());
            assert!(rows.try_lock_until(begun + timeout).is_none());
            assert!(begun.elapsed() >= timeout);
        }
    })
    .unwrap();
    assert_eq!(status, 0);
    drop(held);
    assert!(rows.try_lock_for(PATIENCE).is_some());
}

fn a_fork_copies_no_ownership() {
    let rows = Shared::new(ApiMutex::<RawLock, _>::new(0_u64)).unwrap();
    let mut held = Some(rows.lock());
    assert_eq!(in_bare_fork(|| held = None).unwrap(), 0);
    assert!(rows.is_locked());
    drop(held);
    assert!(!rows.is_locked());
}

fn killed_at_random_nothing_is_torn_unnoticed() -> Outcome {
    let kills = setting("KILLS", 300).min(1_000);
    let rows = Shared::new(ApiMutex::<RawLockUnpoisoned, _>::new([0_u64; 2]))?;
    let torn = Counter::new();
    let turn = || {
        let mut held = rows.lock();
        if rows.raw().owner_died() {
            held[1] = held[0];
            rows.raw().mended();
        } else if held[0] != held[1] {
            torn.set(1);
        }
        held[0] += 1;
        for _ in 0..100 {
            std::hint::spin_loop();
        }
        held[1] += 1;
    };
    let play = |_: u64| -> () {
        loop {
            turn();
        }
    };
    let mut players = Process::start_each(0..2, play)?;
    let mut dice = Dice::new(0xface);
    for _ in 0..kills {
        std::thread::sleep(Duration::from_micros(dice.below(1_000)));
        kill(&players.remove(0));
        turn();
        assert_eq!(torn.get(), 0);
        players.push(Process::start(|| play(0))?);
    }
    players.iter().for_each(kill);
    Ok(())
}
