//! The robust lock: whoever is killed, stopped, forked or replaced while holding it.

mod board;

use board::{Board, kernel_list, until};
use common::{Dice, Outcome, bare_fork, in_bare_fork, status_of};
use multiproc_core::{deadline::Deadline, fork, robust::RobustLock};
use multiproc_process::{Exit, Process, test};
use multiproc_segment::Shared;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering::*};
use std::time::{Duration, Instant};

test::main! {
    a_held_lock_is_refused_and_a_free_one_given,
    a_deadline_is_kept_and_is_not_early,
    a_killed_holder_is_reported_to_the_next,
    #[timeout(120)]
    holders_killed_at_any_moment_tear_nothing_unnoticed,
    a_thread_that_ends_holding_is_a_dead_owner,
    exec_while_holding_is_a_death,
    a_command_started_while_holding_releases_nothing,
    a_forked_child_does_not_own_what_its_parent_holds,
    a_guard_copied_by_fork_does_not_release_the_parents_lock,
    a_lock_held_by_a_parent_survives_the_childs_kill,
    a_stopped_holder_is_not_dead,
    a_lock_on_a_stack_or_in_a_box_works_and_is_never_linked,
    a_forgotten_guard_outlives_the_handle,
    guards_are_counted_by_thread,
    #[timeout(900)]
    waiters_killed_while_they_are_woken_eat_no_wakeup,
}

// A guard is released by the thread that acquired it: so it is not `Send`.
const _: fn() = || {
    trait AmbiguousIfSend<A> {
        fn check() {}
    }
    impl<T: ?Sized> AmbiguousIfSend<()> for T {}
    struct Marker;
    impl<T: ?Sized + Send> AmbiguousIfSend<Marker> for T {}
    <multiproc_core::robust::RobustGuard<'static> as AmbiguousIfSend<_>>::check();
};

fn a_held_lock_is_refused_and_a_free_one_given() -> Outcome {
    let board = Shared::new(Board::new())?;
    let held = board.lock.try_acquire().expect("free");
    assert!(!held.owner_died());
    assert!(board.lock.is_held());
    let end = in_bare_fork(|| {
        assert!(board.lock.try_acquire().is_none());
        assert!(board.lock.acquire(Deadline::NOW).is_err());
    })?;
    assert_eq!(end, 0);
    drop(held);
    assert!(!board.lock.is_held());
    assert!(board.lock.try_acquire().is_some());
    Ok(())
}

fn a_deadline_is_kept_and_is_not_early() -> Outcome {
    let board = Shared::new(Board::new())?;
    let _held = board.lock.acquire(Deadline::NEVER)?;
    let end = in_bare_fork(|| {
        for millis in [1, 30, 49, 51, 120] {
            let patience = Duration::from_millis(millis);
            let begun = Instant::now();
            assert!(board.lock.acquire(Deadline::after(patience)).is_err());
            assert!(begun.elapsed() >= patience);
        }
    })?;
    assert_eq!(end, 0);
    Ok(())
}

fn a_killed_holder_is_reported_to_the_next() -> Outcome {
    let board = Shared::new(Board::new())?;
    let child = Process::start(|| {
        let _held = board.lock.acquire(Deadline::NEVER).unwrap();
        common::kill_me();
    })?;
    assert_eq!(child.join()?, Exit::Signal(libc::SIGKILL));
    assert!(board.lock.is_orphaned());
    let held = board.lock.acquire(Deadline::NEVER)?;
    assert!(held.owner_died());
    assert!(!board.lock.is_orphaned());
    drop(held);
    // Reported once: what to make of it is for the primitive above to remember.
    assert!(!board.lock.acquire(Deadline::NEVER)?.owner_died());
    Ok(())
}

/// Takes the lock over and over; says so in `torn` if the counters differ without notice.
fn count(board: &Board) {
    loop {
        let held = board.lock.acquire(Deadline::NEVER).unwrap();
        step(board, held.owner_died());
        drop(held);
    }
}

fn step(board: &Board, owner_died: bool) {
    let (a, b) = (board.a.load(Relaxed), board.b.load(Relaxed));
    if a != b && !owner_died {
        board.torn.store(1, Relaxed);
    }
    let next = a.max(b) + 1;
    board.a.store(next, Relaxed);
    for _ in 0..100 {
        std::hint::spin_loop();
    }
    board.b.store(next, Relaxed);
}

fn holders_killed_at_any_moment_tear_nothing_unnoticed() -> Outcome {
    const KILLS: usize = 600;
    let board = Shared::new(Board::new())?;
    let mut random = Dice::new(0x5eed);
    let mut recoveries = Vec::new();
    let mut half_done = 0;
    let mut others = Process::start_each(0..2, |_| count(&board))?;
    for _ in 0..KILLS {
        // A random moment, not a synchronisation.
        std::thread::sleep(Duration::from_micros(random.below(1_000)));
        let victim = others.remove(0);
        let killed = Instant::now();
        victim.kill()?;
        assert_eq!(victim.join()?, Exit::Signal(libc::SIGKILL));
        // The other one must go on: it, or we, take over from the dead.
        let held = board.lock.acquire(Deadline::NEVER)?;
        if held.owner_died() {
            recoveries.push(killed.elapsed());
            half_done += usize::from(board.a.load(Relaxed) != board.b.load(Relaxed));
        }
        step(&board, held.owner_died());
        drop(held);
        assert_eq!(board.torn.load(Relaxed), 0);
        others.push(Process::start(|| count(&board))?);
    }
    for other in others {
        other.kill()?;
        assert_eq!(other.join()?, Exit::Signal(libc::SIGKILL));
    }
    recoveries.sort();
    assert!(!recoveries.is_empty(), "no kill hit a holder");
    println!(
        "{KILLS} kills, {} recovered here ({half_done} half done); from kill to lock: median {:?}, \
         slowest {:?}",
        recoveries.len(),
        recoveries[recoveries.len() / 2],
        recoveries[recoveries.len() - 1],
    );
    Ok(())
}

fn a_thread_that_ends_holding_is_a_dead_owner() -> Outcome {
    let board = Shared::new(Board::new())?;
    std::thread::scope(|scope| {
        scope.spawn(|| std::mem::forget(board.lock.acquire(Deadline::NEVER)));
    });
    // The scope ends a moment before the thread does.
    let held = board.lock.acquire(Deadline::NEVER)?;
    assert!(held.owner_died());
    Ok(())
}

fn exec_while_holding_is_a_death() -> Outcome {
    use std::os::unix::process::CommandExt;
    let board = Shared::new(Board::new())?;
    let child = Process::start(|| {
        let _held = board.lock.acquire(Deadline::NEVER).unwrap();
        let error = Command::new("/does/not/exist").exec();
        assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
        assert!(board.lock.is_held(), "an exec that fails changes nothing");
        board.word.store(1, Release);
        panic!("{}", Command::new("sleep").arg("1000").exec());
    })?;
    until(&board.word, 1);
    let held = board.lock.acquire(Deadline::NEVER)?;
    assert!(held.owner_died());
    assert!(child.is_alive(), "by exec, not by its end");
    child.kill()?;
    assert_eq!(child.join()?, Exit::Signal(libc::SIGKILL));
    Ok(())
}

fn a_command_started_while_holding_releases_nothing() -> Outcome {
    let board = Shared::new(Board::new())?;
    let held = board.lock.acquire(Deadline::NEVER)?;
    assert!(Command::new("true").status()?.success());
    assert!(board.lock.is_held());
    drop(held);
    assert!(!board.lock.acquire(Deadline::NEVER)?.owner_died());
    Ok(())
}

fn a_forked_child_does_not_own_what_its_parent_holds() -> Outcome {
    let board = Shared::new(Board::new())?;
    let held = board.lock.acquire(Deadline::NEVER)?;
    let end = in_bare_fork(|| {
        assert_eq!(fork::held_here(), 0);
        assert_eq!(kernel_list(), (vec![], 0));
        assert!(
            board
                .lock
                .acquire(Deadline::after(Duration::from_millis(120)))
                .is_err()
        );
    })?;
    assert_eq!(end, 0);
    assert!(board.lock.is_held(), "the child's end released it");
    assert!(!board.lock.is_orphaned());
    drop(held);
    Ok(())
}

fn a_guard_copied_by_fork_does_not_release_the_parents_lock() -> Outcome {
    for with_waiter in [false, true] {
        let board = Shared::new(Board::new())?;
        let mut held = Some(board.lock.acquire(Deadline::NEVER)?);
        let waiter = bare_fork(|| {
            if with_waiter {
                board.word.store(1, Release);
                let held = board.lock.acquire(Deadline::NEVER).unwrap();
                assert_eq!(board.a.load(Relaxed), 1, "taken while the parent held it");
                drop(held);
            }
        })?;
        if with_waiter {
            until(&board.word, 1);
        }
        let end = in_bare_fork(|| held = None)?;
        assert_eq!(end, 0);
        assert!(
            board.lock.is_held(),
            "the child's copy of the guard released it"
        );
        board.a.store(1, Relaxed);
        drop(held);
        assert_eq!(status_of(waiter)?, 0);
        assert!(!board.lock.is_held());
    }
    Ok(())
}

fn a_lock_held_by_a_parent_survives_the_childs_kill() -> Outcome {
    let board = Shared::new(Board::new())?;
    let held = board.lock.acquire(Deadline::NEVER)?;
    let end = in_bare_fork(|| {
        // Killed while it waits for the parent's lock, too.
        common::kill_me();
    })?;
    assert_eq!(end, libc::SIGKILL);
    assert!(board.lock.is_held() && !board.lock.is_orphaned());
    drop(held);
    assert!(!board.lock.acquire(Deadline::NEVER)?.owner_died());
    Ok(())
}

fn a_stopped_holder_is_not_dead() -> Outcome {
    let board = Shared::new(Board::new())?;
    let child = Process::start(|| {
        let _held = board.lock.acquire(Deadline::NEVER).unwrap();
        board.word.store(1, Release);
        // SAFETY: a signal to this very process.
        unsafe { libc::raise(libc::SIGSTOP) };
    })?;
    until(&board.word, 1);
    let patience = Duration::from_millis(300); // several slices
    assert!(board.lock.acquire(Deadline::after(patience)).is_err());
    let pid = child.pid() as libc::pid_t;
    // It may not have stopped yet: then this comes too early, and once more is right.
    while child.is_alive() {
        // SAFETY: a signal to our own child, which is not collected yet.
        unsafe { libc::kill(pid, libc::SIGCONT) };
        std::thread::yield_now();
    }
    child.join()?.ok()?;
    assert!(!board.lock.acquire(Deadline::NEVER)?.owner_died());
    Ok(())
}

fn a_lock_on_a_stack_or_in_a_box_works_and_is_never_linked() {
    fn check(lock: &RobustLock) {
        let held = lock.acquire(Deadline::NEVER).unwrap();
        assert_eq!(kernel_list(), (vec![], 0));
        assert!(lock.try_acquire().is_none());
        drop(held);
        assert_eq!(kernel_list(), (vec![], 0));
    }
    let on_stack = RobustLock::new();
    check(&on_stack);
    let boxed = Box::new(on_stack); // it moves
    check(&boxed);
    let mut many = vec![*boxed];
    many.push(RobustLock::new()); // and again
    many.iter().for_each(check);
    std::thread::scope(|scope| {
        scope.spawn(|| many.iter().for_each(check));
    });
    // A guard that is forgotten leaves nothing behind that points at the lock.
    std::mem::forget(many[0].acquire(Deadline::NEVER));
    assert_eq!(kernel_list(), (vec![], 0));
}

fn a_forgotten_guard_outlives_the_handle() -> Outcome {
    let board = Shared::new(Board::new())?;
    let again = board.clone();
    let at = board::entry_of(&board.lock);
    std::mem::forget(board.lock.acquire(Deadline::NEVER)?);
    drop(board);
    drop(again);
    assert_eq!(kernel_list(), (vec![at], 0)); // reads it: it is mapped
    // Others are taken and released over it.
    let other = Shared::new(Board::new())?;
    let held = other.lock.acquire(Deadline::NEVER)?;
    assert_eq!(kernel_list().0, [board::entry_of(&other.lock), at]);
    drop(held);
    assert_eq!(kernel_list(), (vec![at], 0));
    Ok(())
}

fn guards_are_counted_by_thread() -> Outcome {
    let board = Shared::new(Board::new())?;
    let on_stack = RobustLock::new();
    assert_eq!(fork::held_here(), 0);
    let one = board.lock.acquire(Deadline::NEVER)?;
    let two = on_stack.acquire(Deadline::NEVER)?;
    assert_eq!(fork::held_here(), 2);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            assert_eq!(fork::held_here(), 0);
            let claim = fork::HeldHere::new();
            assert_eq!(fork::held_here(), 1);
            drop(claim);
            assert_eq!(fork::held_here(), 0);
        });
    });
    drop(one);
    assert_eq!(fork::held_here(), 1);
    drop(two);
    assert_eq!(fork::held_here(), 0);
    Ok(())
}

/// Four processes pass the lock round, each killed and replaced at random. A wake-up that a
/// killed waiter took with it costs a slice; a lost one that nothing repairs stands still.
fn waiters_killed_while_they_are_woken_eat_no_wakeup() -> Outcome {
    const PLAYERS: usize = 4;
    let seconds = std::env::var("SOAK_SECONDS")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or(10);
    let board = Shared::new(Board::new())?;
    let turns = Shared::new([const { AtomicU32::new(0) }; PLAYERS])?;
    let play = |player: usize| {
        loop {
            let held = board.lock.acquire(Deadline::NEVER).unwrap();
            step(&board, held.owner_died());
            turns[player].fetch_add(1, Relaxed);
            drop(held);
        }
    };
    let mut players: Vec<Process> = (0..PLAYERS)
        .map(|n| Process::start(|| play(n)).unwrap())
        .collect();
    let mut random = Dice::new(0xba11);
    let (mut kills, mut slowest) = (0, Duration::ZERO);
    let until = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < until {
        std::thread::sleep(Duration::from_micros(random.below(2_000)));
        let n = random.below(PLAYERS as u64) as usize;
        players[n].kill()?;
        assert_eq!(players[n].join()?, Exit::Signal(libc::SIGKILL));
        kills += 1;
        // All the others make progress from here: the lock is not stuck.
        let before = board.b.load(Relaxed);
        let begun = Instant::now();
        while board.b.load(Relaxed) == before {
            std::thread::yield_now(); // the watchdog is the runner's
        }
        slowest = slowest.max(begun.elapsed());
        players[n] = Process::start(|| play(n))?;
        assert_eq!(board.torn.load(Relaxed), 0);
    }
    for player in &players {
        player.kill()?;
        assert_eq!(player.join()?, Exit::Signal(libc::SIGKILL));
    }
    let turns: Vec<u32> = turns.iter().map(|n| n.load(Relaxed)).collect();
    assert!(
        turns.iter().all(|n| *n > 0),
        "somebody never had a turn: {turns:?}"
    );
    println!("{kills} kills in {seconds} s, turns {turns:?}, longest stand-still {slowest:?}");
    Ok(())
}
