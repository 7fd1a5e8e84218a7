//! `Lock`: Python's rows, and what happens when its holder dies, forks, or lets somebody else
//! release.

use common::*;
use multiproc_lock::{
    AcquireTimeoutError, Lock, LockGuard, Mutex, NotHeld, OwnerDied, TryAcquireError,
};
use multiproc_process::{Exit, Process, StartError, test};
use multiproc_segment::{Shareable, Shared};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

test::main! {
    l1_the_first_acquire_succeeds,
    l2_a_second_acquire_is_refused_also_for_the_holder,
    l4_a_guard_releases_on_return_and_on_panic,
    l5_a_timed_acquire_ends_after_its_timeout,
    l7_anybody_releases_what_another_acquired,
    l7_a_release_of_a_free_lock_is_an_error_and_leaves_it_free,
    l7_a_thread_releases_what_another_acquired,
    l8_a_second_thread_waits_like_another_process,
    l10_l11_locked_is_seen_by_all,
    l14_a_child_passes_the_lock_on_to_its_own,
    f1_a_killed_holder_is_reported_until_mended,
    f1_recovery_of_killed_holders_takes_about_a_millisecond,
    a_waiter_takes_over_from_a_killed_holder,
    a_killed_waiter_is_not_missed,
    a_release_by_another_after_the_holders_death_does_not_hide_it,
    a_guard_releases_its_own_acquisition_only,
    a_kept_guard_releases_nothing,
    a_guard_copied_by_fork_releases_nothing,
    no_process_is_started_while_a_guard_is_held,
    the_end_of_a_thread_frees_nothing,
    exec_frees_nothing_and_the_end_after_it_does,
    a_stopped_holder_is_not_dead,
    released_by_another_process_while_both_hold_mutexes,
    a_lock_on_a_stack_works_between_threads,
    a_lock_in_a_struct_with_a_name,
    garbage_in_the_words_hangs_nobody,
    debug_says_who_holds_it,
    counted_by_processes_and_threads,
    #[timeout(900)]
    soak_contended_by_processes_and_threads,
}

// A guard counts for the thread that has it: not `Send`.
const _: fn() = || {
    trait AmbiguousIfSend<A> {
        fn check() {}
    }
    impl<T: ?Sized> AmbiguousIfSend<()> for T {}
    struct Marker;
    impl<T: ?Sized + Send> AmbiguousIfSend<Marker> for T {}
    <LockGuard<'static> as AmbiguousIfSend<_>>::check();
    <multiproc_lock::MutexGuard<'static, u8> as AmbiguousIfSend<_>>::check();
    <multiproc_lock::RwLockWriteGuard<'static, u8> as AmbiguousIfSend<_>>::check();
};

fn shared() -> Shared<Lock> {
    Shared::new(Lock::new()).unwrap()
}

/// L1.
fn l1_the_first_acquire_succeeds() {
    let lock = shared();
    lock.acquire().unwrap();
    lock.release().unwrap();
    lock.try_acquire().unwrap();
    lock.release().unwrap();
    lock.acquire_timeout(SHORT).unwrap();
    lock.release().unwrap();
    drop(lock.lock().unwrap());
    drop(lock.try_lock().unwrap());
    drop(lock.lock_timeout(SHORT).unwrap());
    lock.try_acquire().unwrap();
}

/// L2.
fn l2_a_second_acquire_is_refused_also_for_the_holder() -> Outcome {
    let lock = shared();
    lock.acquire().unwrap();
    assert!(matches!(lock.try_acquire(), Err(TryAcquireError::Held)));
    let child = Process::start(|| {
        assert!(matches!(lock.try_acquire(), Err(TryAcquireError::Held)));
        assert!(matches!(lock.try_lock(), Err(TryAcquireError::Held)));
    })?;
    ends_well(&child);
    Ok(())
}

/// L4.
fn l4_a_guard_releases_on_return_and_on_panic() {
    let lock = shared();
    let early = || {
        let _held = lock.lock().unwrap();
        assert!(lock.is_locked());
        if lock.is_locked() {
            return 1;
        }
        2
    };
    assert_eq!(early(), 1);
    assert!(!lock.is_locked());
    let panics = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _held = lock.lock().unwrap();
        panic!("on purpose");
    }));
    assert!(panics.is_err());
    assert!(!lock.is_locked());
    lock.try_acquire().unwrap(); // a panic is no death
}

/// L5.
fn l5_a_timed_acquire_ends_after_its_timeout() -> Outcome {
    let lock = shared();
    lock.acquire().unwrap();
    let child = Process::start(|| {
        for millis in [0, 1, 30, 49, 51, 120] {
            let timeout = Duration::from_millis(millis);
            let begun = Instant::now();
            assert!(matches!(
                lock.acquire_timeout(timeout),
                Err(AcquireTimeoutError::Timeout)
            ));
            assert!(begun.elapsed() >= timeout);
        }
    })?;
    ends_well(&child);
    assert!(lock.is_locked());
    Ok(())
}

/// L7.
fn l7_anybody_releases_what_another_acquired() -> Outcome {
    let lock = shared();
    lock.acquire().unwrap();
    let b = Process::start(|| {
        lock.release().unwrap();
        lock.acquire().unwrap(); // and C releases this one
    })?;
    ends_well(&b);
    assert!(lock.is_locked());
    let c = Process::start(|| lock.release().unwrap())?;
    ends_well(&c);
    // B had ended when C released: so somebody died holding it, and is not forgotten.
    let Err(OwnerDied(mut held)) = lock.lock() else {
        panic!()
    };
    held.mended();
    drop(held);
    // A and C take turns as if it were a baton.
    let turns = Counter::new();
    lock.acquire().unwrap();
    let c = Process::start(|| {
        for _ in 0..100 {
            until("the parent's turn to be over", || turns.get() % 2 == 1);
            lock.release().unwrap();
            lock.acquire().unwrap();
            turns.count();
        }
        lock.release().unwrap();
    })?;
    for _ in 0..100 {
        turns.count();
        until("the child's turn to be over", || {
            turns.get().is_multiple_of(2) || !c.is_alive()
        });
    }
    ends_well(&c);
    lock.try_acquire().unwrap();
    Ok(())
}

/// L7.
fn l7_a_release_of_a_free_lock_is_an_error_and_leaves_it_free() -> Outcome {
    let lock = shared();
    assert_eq!(lock.release(), Err(NotHeld));
    assert!(!lock.is_locked());
    let child = Process::start(|| assert_eq!(lock.release(), Err(NotHeld)))?;
    ends_well(&child);
    lock.try_acquire().unwrap();
    lock.release().unwrap();
    assert_eq!(lock.release(), Err(NotHeld));
    lock.try_acquire().unwrap();
    Ok(())
}

/// L7.
fn l7_a_thread_releases_what_another_acquired() {
    let lock = shared();
    std::thread::scope(|scope| {
        scope.spawn(|| lock.acquire().unwrap()).join().unwrap();
        scope.spawn(|| lock.release().unwrap()).join().unwrap();
    });
    lock.try_acquire().unwrap();
}

/// L8.
fn l8_a_second_thread_waits_like_another_process() {
    let lock = shared();
    let (held, tid) = (lock.lock().unwrap(), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let refused = scope.spawn(|| lock.acquire_timeout(SHORT).is_err());
        assert!(refused.join().unwrap());
        let waiter = scope.spawn(|| {
            // SAFETY: no arguments, cannot fail.
            tid.store(unsafe { libc::gettid() } as u64, Relaxed);
            lock.acquire().unwrap();
            lock.release().unwrap();
        });
        until("a thread to block", || {
            sleeps_on_futex(tid.load(Relaxed) as u32)
        });
        assert!(!waiter.is_finished());
        drop(held);
        waiter.join().unwrap();
    });
}

/// L10, L11.
fn l10_l11_locked_is_seen_by_all() -> Outcome {
    let lock = shared();
    let go = Counter::new();
    assert!(!lock.is_locked());
    let child = Process::start(|| {
        lock.acquire().unwrap();
        assert!(lock.is_locked());
        go.set(1);
        go.reach(2);
        lock.release().unwrap();
        assert!(!lock.is_locked());
    })?;
    go.reach(1);
    assert!(lock.is_locked());
    go.set(2);
    ends_well(&child);
    assert!(!lock.is_locked());
    Ok(())
}

/// L14.
fn l14_a_child_passes_the_lock_on_to_its_own() -> Outcome {
    let lock = shared();
    lock.acquire().unwrap();
    let child = Process::start(|| {
        let grandchild = Process::start(|| lock.release().unwrap()).unwrap();
        ends_well(&grandchild);
        lock.acquire_timeout(PATIENCE).unwrap();
        lock.release().unwrap();
    })?;
    ends_well(&child);
    assert!(!lock.is_locked());
    Ok(())
}

/// F1.
fn f1_a_killed_holder_is_reported_until_mended() -> Outcome {
    let lock = shared();
    let child = Process::start(|| {
        lock.acquire().unwrap();
        kill_me();
    })?;
    assert_eq!(ends(&child), Exit::Signal(libc::SIGKILL));
    assert!(lock.is_locked()); // until somebody looks
    let Err(OwnerDied(held)) = lock.lock() else {
        panic!()
    };
    assert!(held.owner_died());
    drop(held);
    // Not mended: everybody is told, however they ask, and nothing is left held by an error.
    assert!(lock.acquire().is_err());
    assert!(!lock.is_locked());
    assert!(matches!(
        lock.try_acquire(),
        Err(TryAcquireError::OwnerDied(_))
    ));
    assert!(matches!(
        lock.lock_timeout(SHORT),
        Err(AcquireTimeoutError::OwnerDied(_))
    ));
    let child = Process::start(|| {
        let Err(OwnerDied(mut held)) = lock.lock() else {
            panic!()
        };
        held.mended();
        assert!(!held.owner_died());
    })?;
    ends_well(&child);
    drop(lock.lock().unwrap());
    // The same with a try.
    let child = Process::start(|| std::mem::forget(lock.lock().unwrap()))?;
    ends_well(&child);
    let Err(TryAcquireError::OwnerDied(mut held)) = lock.try_lock() else {
        panic!()
    };
    held.mended();
    held.keep();
    assert!(lock.is_locked());
    lock.release()?;
    Ok(())
}

/// F1.
fn f1_recovery_of_killed_holders_takes_about_a_millisecond() -> Outcome {
    let lock = shared();
    let held = Counter::new();
    let mut times = Vec::new();
    for n in 0..setting("KILLS", 300).min(1_000) {
        let holder = Process::start(|| {
            lock.acquire().unwrap();
            held.count();
            for_ever()
        })?;
        held.reach(n + 1);
        holder.kill()?;
        let killed = Instant::now();
        let Err(OwnerDied(mut guard)) = lock.lock() else {
            panic!()
        };
        times.push(killed.elapsed());
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
    kill(&holder);
    waiters.iter().for_each(ends_well);
    assert_eq!(held.get(), 4);
    Ok(())
}

fn a_killed_waiter_is_not_missed() -> Outcome {
    let lock = shared();
    lock.acquire().unwrap();
    let waiters = Process::start_each(0..3, |_| {
        lock.acquire().unwrap();
        lock.release().unwrap();
    })?;
    waiters.iter().for_each(blocked);
    kill(&waiters[0]);
    lock.release()?;
    waiters[1..].iter().for_each(ends_well);
    lock.try_acquire().unwrap();
    Ok(())
}

fn a_release_by_another_after_the_holders_death_does_not_hide_it() -> Outcome {
    let lock = shared();
    let child = Process::start(|| lock.acquire().unwrap())?;
    ends_well(&child);
    lock.release()?;
    assert!(matches!(
        lock.try_acquire(),
        Err(TryAcquireError::OwnerDied(_))
    ));
    lock.mended();
    lock.try_acquire().unwrap();
    Ok(())
}

fn a_guard_releases_its_own_acquisition_only() -> Outcome {
    let lock = shared();
    let first = lock.lock().unwrap();
    lock.release()?;
    let second = lock.lock().unwrap();
    drop(first);
    assert!(lock.is_locked());
    drop(second);
    assert!(!lock.is_locked());
    let third = lock.lock().unwrap();
    lock.release()?;
    drop(third); // free already: nothing to do
    assert!(!lock.is_locked());
    Ok(())
}

fn a_kept_guard_releases_nothing() -> Outcome {
    let lock = shared();
    lock.lock().unwrap().keep();
    assert!(lock.is_locked());
    // And it does not count any more as a guard.
    let child = Process::start(|| lock.release().unwrap())?;
    ends_well(&child);
    lock.try_acquire().unwrap();
    Ok(())
}

fn a_guard_copied_by_fork_releases_nothing() {
    let lock = shared();
    let mut held = Some(lock.lock().unwrap());
    let status = in_bare_fork(|| {
        held = None;
        assert!(lock.is_locked());
        assert!(lock.acquire_timeout(SHORT).is_err());
    })
    .unwrap();
    assert_eq!(status, 0);
    assert!(lock.is_locked());
    drop(held);
    assert!(!lock.is_locked());
}

fn no_process_is_started_while_a_guard_is_held() {
    let lock = shared();
    let held = lock.lock().unwrap();
    let refused = Process::start(|| ()).map_err(StartError::from);
    assert!(matches!(refused, Err(StartError::HoldsGuard)));
    drop(held);
    ends_well(&Process::start(|| ()).unwrap());
}

fn the_end_of_a_thread_frees_nothing() {
    let lock = shared();
    std::thread::scope(|scope| {
        scope.spawn(|| std::mem::forget(lock.lock().unwrap()));
    });
    assert!(matches!(
        lock.acquire_timeout(SHORT),
        Err(AcquireTimeoutError::Timeout)
    ));
    assert_eq!(
        in_bare_fork(|| assert!(lock.try_acquire().is_err())).unwrap(),
        0
    );
    lock.release().unwrap();
    lock.try_acquire().unwrap();
}

fn exec_frees_nothing_and_the_end_after_it_does() -> Outcome {
    use std::os::unix::process::CommandExt;
    let lock = shared();
    let child = Process::start(|| {
        lock.acquire().unwrap();
        panic!("{}", std::process::Command::new("sleep").arg("1000").exec());
    })?;
    until("the child to run another program", || {
        let name = std::fs::read_to_string(format!("/proc/{}/comm", child.pid()));
        name.is_ok_and(|name| name.trim() == "sleep")
    });
    assert!(matches!(
        lock.acquire_timeout(SHORT),
        Err(AcquireTimeoutError::Timeout)
    ));
    kill(&child);
    assert!(matches!(lock.acquire(), Err(OwnerDied(_))));
    Ok(())
}

fn a_stopped_holder_is_not_dead() -> Outcome {
    let lock = shared();
    let held = Counter::new();
    let child = Process::start(|| {
        lock.acquire().unwrap();
        held.set(1);
        // SAFETY: a signal to this very process.
        unsafe { libc::raise(libc::SIGSTOP) };
        lock.release().unwrap();
    })?;
    held.reach(1);
    let patience = Duration::from_millis(300); // several slices
    assert!(matches!(
        lock.acquire_timeout(patience),
        Err(AcquireTimeoutError::Timeout)
    ));
    while child.is_alive() {
        // It may not have stopped before: then once more is right.
        // SAFETY: a signal to our own child, which is not collected yet.
        unsafe { libc::kill(child.pid() as libc::pid_t, libc::SIGCONT) };
        std::thread::yield_now();
    }
    ends_well(&child);
    lock.try_acquire().unwrap();
    Ok(())
}

/// A `Lock` is in nobody's robust list: who releases another one's disturbs no list.
fn released_by_another_process_while_both_hold_mutexes() -> Outcome {
    #[derive(Shareable)]
    #[repr(C)]
    struct Desk {
        one: Mutex<u64>,
        lock: Lock,
        two: Mutex<u64>,
    }
    let desk = Shared::new(Desk {
        one: Mutex::new(0),
        lock: Lock::new(),
        two: Mutex::new(0),
    })?;
    let stage = Counter::new();
    for round in 0..20 {
        stage.set(0);
        let child = Process::start(|| {
            let mut one = desk.one.lock().unwrap();
            stage.set(1);
            stage.reach(2);
            desk.lock.release().unwrap(); // what the parent acquired
            desk.lock.acquire().unwrap();
            *one += 1;
            stage.set(3);
            stage.reach(4);
            if round % 2 == 0 {
                kill_me(); // holding one mutex; the lock was released by the parent
            }
        })?;
        stage.reach(1);
        let mut two = desk.two.lock().unwrap();
        desk.lock.acquire().unwrap();
        stage.set(2);
        stage.reach(3);
        desk.lock.release().unwrap(); // what the child acquired
        *two += 1;
        drop(two);
        stage.set(4);
        let exit = ends(&child);
        assert_eq!(exit.success(), round % 2 == 1);
        match desk.one.lock() {
            Ok(one) => assert!(round % 2 == 1 && *one == round + 1),
            Err(OwnerDied(mut one)) => {
                assert!(round % 2 == 0 && *one == round + 1);
                one.mended();
            }
        }
        drop(desk.two.lock().unwrap());
        desk.lock.acquire().unwrap();
        desk.lock.release()?;
    }
    assert_eq!(*desk.two.lock().unwrap(), 20);
    Ok(())
}

fn a_lock_on_a_stack_works_between_threads() {
    let lock = Lock::new();
    let count = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..2_000 {
                    let _held = lock.lock().unwrap();
                    count.store(count.load(Relaxed) + 1, Relaxed);
                }
            });
        }
    });
    assert_eq!(count.load(Relaxed), 8_000);
    let moved = Box::new(lock);
    moved.try_acquire().unwrap();
    std::mem::forget(moved.lock_timeout(SHORT));
    drop(moved);
}

fn a_lock_in_a_struct_with_a_name() -> Outcome {
    #[derive(Shareable)]
    #[repr(C)]
    struct Printer {
        lock: Lock,
        pages: AtomicU64,
    }
    let name = test::unique("printer");
    let printer = Shared::create(
        &name,
        Printer {
            lock: Lock::new(),
            pages: AtomicU64::new(0),
        },
    )?;
    let children = Process::start_each(0..3, |_| {
        let printer = Shared::<Printer>::open(&name).unwrap();
        for _ in 0..500 {
            let _held = printer.lock.lock().unwrap();
            printer
                .pages
                .store(printer.pages.load(Relaxed) + 1, Relaxed);
        }
    })?;
    children.iter().for_each(ends_well);
    assert_eq!(printer.pages.load(Relaxed), 1_500);
    Shared::<Printer>::unlink(&name)?;
    Ok(())
}

/// A peer may write what it likes: the lock answers as it can, and nobody waits for ever.
fn garbage_in_the_words_hangs_nobody() -> Outcome {
    let lock = shared();
    let words = std::ptr::from_ref::<Lock>(&lock).cast::<AtomicU64>();
    let mut dice = Dice::new(0x6a2b);
    for n in 0..500 {
        let garbage = match n {
            0 => 1 << 41,
            1 => u64::MAX,
            2 => 1,
            _ => dice.below(u64::MAX),
        };
        for word in 0..size_of::<Lock>() / 8 {
            // SAFETY: inside the lock, aligned; the lock uses atomics too.
            unsafe { &*words.add(word) }.store(if word == 0 { garbage } else { n }, Relaxed);
        }
        let _ = (lock.is_locked(), format!("{:?}", *lock));
        match lock.acquire_timeout(PATIENCE) {
            Err(AcquireTimeoutError::Timeout) => panic!("{garbage:x} is held by nobody"),
            Err(AcquireTimeoutError::OwnerDied(mut held)) => held.mended(),
            Ok(()) => lock.release()?,
            Err(error) => panic!("{error}"),
        }
    }
    Ok(())
}

fn debug_says_who_holds_it() -> Outcome {
    let lock = shared();
    assert_eq!(format!("{:?}", *lock), "Lock(free)");
    lock.acquire().unwrap();
    assert_eq!(format!("{:?}", *lock), "Lock(held by this process)");
    let parent = std::process::id();
    let child = Process::start(|| {
        assert_eq!(
            format!("{:?}", *lock),
            format!("Lock(held by process {parent})")
        );
        lock.release().unwrap();
        lock.acquire().unwrap();
    })?;
    ends_well(&child);
    let pid = child.pid();
    assert_eq!(
        format!("{:?}", *lock),
        format!("Lock(held by process {pid}, which died)")
    );
    drop(lock.lock());
    assert_eq!(format!("{:?}", *lock), "Lock(free, not mended)");
    Ok(())
}

/// Sums under the lock, by `processes` of two threads each; nothing is lost.
fn count(lock: &Lock, sum: &AtomicU64, processes: u64, rounds: u64) -> Outcome {
    let one = || {
        for _ in 0..rounds {
            let _held = lock.lock().unwrap();
            sum.store(sum.load(Relaxed) + 1, Relaxed);
        }
    };
    let children = Process::start_each(0..processes, |_| {
        std::thread::scope(|scope| {
            scope.spawn(one);
            one();
        });
    })?;
    children.iter().for_each(ends_well);
    assert_eq!(sum.load(Relaxed), processes * 2 * rounds);
    Ok(())
}

fn counted_by_processes_and_threads() -> Outcome {
    let lock = shared();
    let sum = Shared::new(AtomicU64::new(0))?;
    count(&lock, &sum, 3, 5_000)
}

/// A wake-up that gets lost for good would stand still here; one that is lost for a slice
/// shows as the longest wait.
fn soak_contended_by_processes_and_threads() -> Outcome {
    let seconds = setting("SOAK_SECONDS", 10);
    let lock = shared();
    let (sum, longest) = (Shared::new(AtomicU64::new(0))?, Counter::new());
    let turns = Counter::new();
    let end = Instant::now() + Duration::from_secs(seconds);
    let play = || {
        let mut slowest = Duration::ZERO;
        while Instant::now() < end {
            for _ in 0..1_000 {
                let begun = Instant::now();
                let _held = lock.lock().unwrap();
                slowest = slowest.max(begun.elapsed());
                sum.store(sum.load(Relaxed) + 1, Relaxed);
            }
            for _ in 0..1_000 {
                turns.count();
            }
        }
        let mut seen = longest.get();
        while slowest.as_micros() as u64 > seen {
            longest.set(slowest.as_micros() as u64);
            seen = longest.get();
        }
    };
    let children = Process::start_each(0..3, |_| {
        std::thread::scope(|scope| {
            scope.spawn(play);
            play();
        });
    })?;
    for child in children {
        assert_eq!(child.join()?, Exit::Code(0));
    }
    assert_eq!(sum.load(Relaxed), turns.get());
    println!(
        "{} turns in {seconds} s, longest wait {} us",
        turns.get(),
        longest.get()
    );
    Ok(())
}
