//! `RLock` and `ReentrantMutex<T>`: Python's rows, and what happens when the holder dies.

use common::*;
use multiproc_process::{Exit, Process, StartError, test};
use multiproc_rlock::{
    AcquireTimeoutError, OwnerDied, RLock, ReentrantMutex, ReleaseError, TryAcquireError,
};
use multiproc_segment::Shared;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

test::main! {
    r1_the_owner_acquires_three_times_and_releases_three_times,
    r2_one_release_too_many_is_refused,
    r4_another_process_waits_and_may_not_release,
    r4_another_thread_waits_and_may_not_release,
    r5_a_forked_child_is_not_the_owner,
    r7_locked_is_seen_by_other_processes,
    r8_debug_shows_owner_and_count,
    a_timeout_is_kept,
    f2_a_killed_holder_is_reported_with_count_one_until_mended,
    f2_recovery_of_killed_holders,
    a_waiter_takes_over_from_a_killed_holder,
    a_thread_that_ends_holding_is_a_dead_owner,
    exec_while_holding_is_a_death,
    no_process_is_started_while_it_is_held,
    guards_release_in_any_order_and_on_panic,
    released_behind_a_guards_back,
    all_levels_are_given_up_and_restored,
    restored_after_a_death,
    on_a_stack_and_in_a_static,
    a_reentrant_mutex_gives_a_cell,
    a_reentrant_mutex_reports_a_death,
    counted_by_processes_and_threads,
    #[timeout(180)]
    killed_at_random_nothing_is_torn_unnoticed,
    #[timeout(900)]
    soak_contended,
}

fn shared() -> Shared<RLock> {
    Shared::new(RLock::new()).unwrap()
}

/// R1.
fn r1_the_owner_acquires_three_times_and_releases_three_times() -> Outcome {
    let lock = shared();
    lock.acquire().unwrap();
    lock.try_acquire().unwrap();
    lock.acquire_timeout(SHORT).unwrap();
    assert_eq!(lock.count(), 3);
    for left in [2, 1, 0] {
        assert_eq!(
            in_bare_fork(|| assert!(lock.try_acquire().is_err())).unwrap(),
            0
        );
        lock.release()?;
        assert_eq!((lock.count(), lock.is_mine()), (left, left > 0));
    }
    let child = Process::start(|| lock.try_acquire().unwrap())?;
    ends_well(&child);
    Ok(())
}

/// R2.
fn r2_one_release_too_many_is_refused() -> Outcome {
    let lock = shared();
    assert_eq!(lock.release(), Err(ReleaseError::NotHeld));
    lock.acquire().unwrap();
    lock.release()?;
    assert_eq!(lock.release(), Err(ReleaseError::NotHeld));
    assert_eq!(lock.mended(), Err(ReleaseError::NotHeld));
    assert!(!lock.is_locked());
    lock.acquire().unwrap();
    assert_eq!(lock.count(), 1);
    lock.release()?;
    Ok(())
}

/// R4.
fn r4_another_process_waits_and_may_not_release() -> Outcome {
    let lock = shared();
    let stage = Counter::new();
    let child = Process::start(|| {
        lock.acquire().unwrap();
        lock.acquire().unwrap();
        stage.set(1);
        stage.reach(2);
        lock.release().unwrap();
        stage.set(3);
        stage.reach(4);
        lock.release().unwrap();
    })?;
    stage.reach(1);
    for next in [2, 4] {
        assert!(matches!(
            lock.acquire_timeout(SHORT),
            Err(AcquireTimeoutError::Timeout)
        ));
        assert!(matches!(lock.try_acquire(), Err(TryAcquireError::Held)));
        let refused = lock.release().unwrap_err();
        assert!(matches!(refused, ReleaseError::NotOwner(_)));
        let expected = format!(
            "the lock is held by process {}, not by this thread",
            child.pid()
        );
        assert_eq!(refused.to_string(), expected);
        assert!(matches!(lock.release_all(), Err(ReleaseError::NotOwner(_))));
        assert_eq!(lock.count(), 0);
        stage.set(next);
        if next == 2 {
            stage.reach(3);
        }
    }
    lock.acquire().unwrap();
    ends_well(&child);
    Ok(())
}

/// R4.
fn r4_another_thread_waits_and_may_not_release() {
    let lock = shared();
    let held = lock.lock().unwrap();
    std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            assert!(matches!(
                lock.acquire_timeout(SHORT),
                Err(AcquireTimeoutError::Timeout)
            ));
            assert!(matches!(lock.release(), Err(ReleaseError::NotOwner(_))));
            assert_eq!(lock.count(), 0);
        });
        other.join().unwrap();
        let other = scope.spawn(|| drop(lock.lock().unwrap()));
        drop(held);
        other.join().unwrap();
    });
    assert!(!lock.is_locked());
}

/// R5.
fn r5_a_forked_child_is_not_the_owner() -> Outcome {
    let lock = shared();
    lock.acquire().unwrap();
    lock.acquire().unwrap();
    let status = in_bare_fork(|| {
        assert_eq!((lock.count(), lock.is_mine()), (0, false));
        assert!(matches!(
            lock.acquire_timeout(SHORT),
            Err(AcquireTimeoutError::Timeout)
        ));
        assert!(matches!(lock.release(), Err(ReleaseError::NotOwner(_))));
    })
    .unwrap();
    assert_eq!(status, 0);
    assert_eq!(lock.count(), 2);
    lock.release()?;
    lock.release()?;
    // And a child that acquires starts from nothing.
    let child = Process::start(|| {
        lock.acquire().unwrap();
        assert_eq!(lock.count(), 1);
        lock.release().unwrap();
    })?;
    ends_well(&child);
    Ok(())
}

/// R7.
fn r7_locked_is_seen_by_other_processes() -> Outcome {
    let lock = shared();
    let stage = Counter::new();
    assert!(!lock.is_locked());
    let child = Process::start(|| {
        let held = lock.lock().unwrap();
        stage.set(1);
        stage.reach(2);
        drop(held);
    })?;
    stage.reach(1);
    assert!(lock.is_locked() && !lock.is_mine());
    stage.set(2);
    ends_well(&child);
    assert!(!lock.is_locked());
    Ok(())
}

/// R8.
fn r8_debug_shows_owner_and_count() -> Outcome {
    let lock = shared();
    assert_eq!(format!("{:?}", *lock), "RLock(free, count 0)");
    lock.acquire().unwrap();
    lock.acquire().unwrap();
    assert_eq!(
        format!("{:?}", *lock),
        "RLock(held by this thread, count 2)"
    );
    std::thread::scope(|scope| {
        // SAFETY: no arguments, cannot fail.
        let tid = unsafe { libc::gettid() };
        let seen = scope.spawn(|| format!("{:?}", *lock)).join().unwrap();
        let expected = format!("RLock(held by thread {tid} of this process, count nonzero)");
        assert_eq!(seen, expected);
    });
    lock.release()?;
    lock.release()?;
    let stage = Counter::new();
    let child = Process::start(|| {
        lock.acquire().unwrap();
        stage.set(1);
        stage.reach(2);
    })?;
    stage.reach(1);
    let expected = format!("RLock(held by process {}, count nonzero)", child.pid());
    assert_eq!(format!("{:?}", *lock), expected);
    stage.set(2);
    ends_well(&child);
    assert_eq!(
        format!("{:?}", *lock),
        "RLock(free, its owner died, count 0)"
    );
    drop(lock.lock());
    assert_eq!(format!("{:?}", *lock), "RLock(free, count 0, not mended)");
    Ok(())
}

fn a_timeout_is_kept() -> Outcome {
    let lock = shared();
    let _held = lock.lock().unwrap();
    let status = in_bare_fork(|| {
        for millis in [0, 1, 30, 49, 51, 120] {
            let timeout = Duration::from_millis(millis);
            let begun = Instant::now();
            assert!(lock.lock_timeout(timeout).is_err());
            assert!(begun.elapsed() >= timeout);
        }
    })
    .unwrap();
    assert_eq!(status, 0);
    Ok(())
}

/// F2.
fn f2_a_killed_holder_is_reported_with_count_one_until_mended() -> Outcome {
    let lock = shared();
    let child = Process::start(|| {
        for _ in 0..3 {
            lock.acquire().unwrap();
        }
        kill_me();
    })?;
    assert_eq!(ends(&child), Exit::Signal(libc::SIGKILL));
    assert_eq!(lock.release(), Err(ReleaseError::NotHeld));
    for _ in 0..2 {
        let Err(OwnerDied(held)) = lock.lock() else {
            panic!()
        };
        assert!(held.owner_died());
        assert_eq!(lock.count(), 1);
        drop(lock.lock().unwrap()); // once more: it has been told
        assert_eq!(lock.count(), 1);
        drop(held);
        assert!(!lock.is_locked());
    }
    assert!(matches!(
        lock.try_lock(),
        Err(TryAcquireError::OwnerDied(_))
    ));
    assert!(matches!(
        lock.acquire_timeout(SHORT),
        Err(AcquireTimeoutError::OwnerDied(_))
    ));
    let Err(OwnerDied(held)) = lock.acquire() else {
        panic!()
    };
    held.keep();
    lock.mended()?;
    lock.release()?;
    drop(lock.lock().unwrap());
    Ok(())
}

/// F2.
fn f2_recovery_of_killed_holders() -> Outcome {
    let lock = shared();
    let held = Counter::new();
    let mut times = Vec::new();
    for n in 0..setting("KILLS", 300).min(1_000) {
        let holder = Process::start(|| {
            lock.acquire().unwrap();
            lock.acquire().unwrap();
            held.count();
            for_ever()
        })?;
        held.reach(n + 1);
        let killed = Instant::now();
        holder.kill()?;
        let Err(OwnerDied(mut guard)) = lock.lock() else {
            panic!()
        };
        times.push(killed.elapsed());
        assert_eq!(lock.count(), 1);
        guard.mended();
        drop(guard);
        assert_eq!(ends(&holder), Exit::Signal(libc::SIGKILL));
    }
    println!("from kill to lock: {}", spread(times));
    Ok(())
}

fn a_waiter_takes_over_from_a_killed_holder() -> Outcome {
    let lock = shared();
    let held = Counter::new();
    let holder = Process::start(|| {
        lock.acquire().unwrap();
        held.set(1);
        for_ever()
    })?;
    held.reach(1);
    let waiters = Process::start_each(0..3, |_| {
        let Err(OwnerDied(guard)) = lock.lock() else {
            panic!()
        };
        held.count();
        drop(guard); // not mended: the others are told as well
    })?;
    waiters.iter().for_each(blocked);
    kill(&waiters[1]);
    kill(&holder);
    [0, 2].iter().for_each(|&n| ends_well(&waiters[n]));
    assert_eq!(held.get(), 3);
    Ok(())
}

fn a_thread_that_ends_holding_is_a_dead_owner() {
    let lock = shared();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            lock.acquire().unwrap();
            lock.acquire().unwrap();
        });
    });
    // The scope ends a moment before the thread does: so this may wait.
    assert!(matches!(lock.lock(), Err(OwnerDied(_))));
}

fn exec_while_holding_is_a_death() -> Outcome {
    use std::os::unix::process::CommandExt;
    let lock = shared();
    let child = Process::start(|| {
        lock.acquire().unwrap();
        panic!("{}", std::process::Command::new("sleep").arg("1000").exec());
    })?;
    until("the death of the holder", || {
        lock.try_lock().is_err_and(|e| e.into_guard().is_some())
    });
    assert!(child.is_alive());
    kill(&child);
    Ok(())
}

fn no_process_is_started_while_it_is_held() {
    let lock = shared();
    lock.acquire().unwrap(); // also without a guard: the child would not be the owner
    let refused = Process::start(|| ()).map_err(StartError::from);
    assert!(matches!(refused, Err(StartError::HoldsGuard)));
    lock.release().unwrap();
    ends_well(&Process::start(|| ()).unwrap());
}

fn guards_release_in_any_order_and_on_panic() {
    let lock = shared();
    let one = lock.lock().unwrap();
    let two = lock.try_lock().unwrap();
    let three = lock.lock_timeout(SHORT).unwrap();
    drop(one);
    drop(three);
    assert_eq!(lock.count(), 1);
    let panics = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _held = lock.lock().unwrap();
        panic!("on purpose");
    }));
    assert!(panics.is_err());
    assert_eq!(lock.count(), 1);
    drop(two);
    assert!(!lock.is_locked());
}

fn released_behind_a_guards_back() {
    let lock = shared();
    let mut held = lock.lock().unwrap();
    lock.release().unwrap();
    assert!(!lock.is_locked());
    held.mended(); // has nothing to say
    drop(held);
    assert!(!lock.is_locked());
    drop(lock.lock().unwrap());
}

fn all_levels_are_given_up_and_restored() -> Outcome {
    let lock = shared();
    assert_eq!(lock.release_all(), Err(ReleaseError::NotHeld));
    let held = (
        lock.lock().unwrap(),
        lock.lock().unwrap(),
        lock.lock().unwrap(),
    );
    let levels = lock.release_all()?;
    assert_eq!((levels.get(), lock.is_locked()), (3, false));
    let child = Process::start(|| lock.lock().map(drop).unwrap())?;
    ends_well(&child);
    lock.restore(levels).unwrap();
    assert_eq!(lock.count(), 3);
    drop(held);
    assert!(!lock.is_locked());
    Ok(())
}

fn restored_after_a_death() -> Outcome {
    let lock = shared();
    lock.acquire().unwrap();
    lock.acquire().unwrap();
    let levels = lock.release_all()?;
    let child = Process::start(|| lock.acquire().unwrap())?;
    ends_well(&child);
    assert!(lock.restore(levels).is_err());
    assert_eq!(lock.count(), 2);
    lock.mended()?;
    lock.release()?;
    lock.release()?;
    drop(lock.lock().unwrap());
    Ok(())
}

fn on_a_stack_and_in_a_static() {
    static LOCK: RLock = RLock::new();
    let on_stack = RLock::default();
    let sum = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..1_000 {
                    let _one = (LOCK.lock().unwrap(), on_stack.lock().unwrap());
                    let _two = (LOCK.lock().unwrap(), on_stack.lock().unwrap());
                    sum.store(sum.load(Relaxed) + 1, Relaxed);
                }
            });
        }
    });
    assert_eq!(sum.load(Relaxed), 3_000);
    let moved = Box::new(on_stack);
    moved.acquire().unwrap();
    drop(moved);
}

fn a_reentrant_mutex_gives_a_cell() -> Outcome {
    let data = Shared::new(ReentrantMutex::new([0_u64; 2]))?;
    let add = |place: usize| {
        let held = data.lock().unwrap();
        let cells = held.as_array_of_cells();
        cells[place].set(cells[place].get() + 1);
    };
    let children = Process::start_each(0..3, |_| {
        for _ in 0..1_000 {
            let outer = data.lock().unwrap();
            assert_eq!(outer.get()[0], outer.get()[1]);
            add(0);
            assert_eq!(data.count(), 1);
            let inner = data.try_lock().unwrap();
            assert_eq!(data.count(), 2);
            add(1);
            drop(outer);
            assert!(data.is_locked());
            drop(inner);
        }
    })?;
    children.iter().for_each(ends_well);
    let held = data.lock_timeout(SHORT).unwrap();
    assert_eq!(held.replace([1; 2]), [3_000; 2]);
    assert_eq!(
        format!("{held:?} {:?}", *data),
        "[1, 1] ReentrantMutex(RLock(held by this thread, count 1))"
    );
    assert_eq!(
        in_bare_fork(|| assert!(data.lock_timeout(SHORT).is_err())).unwrap(),
        0
    );
    let mut own = ReentrantMutex::<u64>::default();
    *own.get_mut() += 1;
    assert_eq!(own.into_inner(), 1);
    Ok(())
}

fn a_reentrant_mutex_reports_a_death() -> Outcome {
    let data = Shared::new(ReentrantMutex::new(0_u64))?;
    let child = Process::start(|| {
        let held = data.lock().unwrap();
        held.set(1);
        let _inner = data.lock().unwrap();
        kill_me();
    })?;
    assert_eq!(ends(&child), Exit::Signal(libc::SIGKILL));
    assert!(matches!(
        data.try_lock(),
        Err(TryAcquireError::OwnerDied(_))
    ));
    assert!(matches!(
        data.lock_timeout(SHORT),
        Err(AcquireTimeoutError::OwnerDied(_))
    ));
    let Err(OwnerDied(mut held)) = data.lock() else {
        panic!()
    };
    assert_eq!((held.get(), data.count(), held.owner_died()), (1, 1, true));
    held.mended();
    drop(held);
    assert_eq!(data.lock().unwrap().get(), 1);
    Ok(())
}

fn counted_by_processes_and_threads() -> Outcome {
    let lock = shared();
    let sum = Shared::new(AtomicU64::new(0))?;
    let one = || {
        for _ in 0..3_000 {
            let _outer = lock.lock().unwrap();
            let _inner = lock.lock().unwrap();
            sum.store(sum.load(Relaxed) + 1, Relaxed);
        }
    };
    let children = Process::start_each(0..3, |_| {
        std::thread::scope(|scope| {
            scope.spawn(one);
            one();
        });
    })?;
    children.iter().for_each(ends_well);
    assert_eq!(sum.load(Relaxed), 18_000);
    Ok(())
}

fn killed_at_random_nothing_is_torn_unnoticed() -> Outcome {
    let kills = setting("KILLS", 300);
    let data = Shared::new(ReentrantMutex::new([0_u64; 2]))?;
    let torn = Counter::new();
    // True: a holder had died.
    let turn = || {
        let (held, died) = match data.lock() {
            Ok(held) => (held, false),
            Err(OwnerDied(mut held)) => {
                held.set([held.get()[0]; 2]);
                held.mended();
                (held, true)
            }
        };
        let [a, b] = held.get();
        if a != b || data.count() != 1 {
            torn.set(1);
        }
        held.set([a + 1, b]);
        let inner = data.lock().unwrap();
        for _ in 0..100 {
            std::hint::spin_loop();
        }
        inner.set([a + 1, b + 1]);
        died
    };
    let play = |_: u64| -> () {
        loop {
            turn();
        }
    };
    let mut players = Process::start_each(0..2, play)?;
    let (mut dice, mut times) = (Dice::new(0xdeed), Vec::new());
    for _ in 0..kills {
        std::thread::sleep(Duration::from_micros(dice.below(1_500)));
        let victim = players.remove(0);
        let killed = Instant::now();
        victim.kill()?;
        if turn() {
            times.push(killed.elapsed());
        }
        assert_eq!(ends(&victim), Exit::Signal(libc::SIGKILL));
        assert_eq!(torn.get(), 0);
        players.push(Process::start(|| play(0))?);
    }
    players.iter().for_each(kill);
    println!("{kills} kills; recovered here: {}", spread(times));
    Ok(())
}

fn soak_contended() -> Outcome {
    let seconds = setting("SOAK_SECONDS", 10);
    let (data, turns) = (Shared::new(ReentrantMutex::new(0_u64))?, Counter::new());
    let longest = Counter::new();
    let end = Instant::now() + Duration::from_secs(seconds);
    let play = || {
        let (mut mine, mut slowest) = (0, Duration::ZERO);
        while Instant::now() < end {
            let begun = Instant::now();
            let outer = data.lock().unwrap();
            slowest = slowest.max(begun.elapsed());
            let inner = data.lock().unwrap();
            inner.set(outer.get() + 1);
            mine += 1;
        }
        for _ in 0..mine {
            turns.count();
        }
        longest.set(longest.get().max(slowest.as_micros() as u64));
    };
    let children = Process::start_each(0..2, |_| {
        std::thread::scope(|scope| {
            scope.spawn(play);
            play();
        });
    })?;
    for child in children {
        assert_eq!(child.join()?, Exit::Code(0));
    }
    assert_eq!(data.lock().unwrap().get(), turns.get());
    println!(
        "{} turns in {seconds} s, longest wait about {} us",
        turns.get(),
        longest.get()
    );
    Ok(())
}
