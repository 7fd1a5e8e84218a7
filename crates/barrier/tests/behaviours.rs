//! The rows B of the list of behaviours, F9, and what a barrier promises beyond them.

use common::*;
use multiproc_barrier::{Barrier, BrokenBarrier, PartiesError, WaitError};
use multiproc_process::{Process, test};
use multiproc_segment::Shared;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

test::main! {
    five_pass_in_lockstep,
    the_same_barrier_ten_times,
    threads_and_processes_together,
    the_action_runs_once_before_anybody_is_released,
    abort_breaks_it_for_all,
    usable_again_after_reset,
    reset_breaks_it_for_those_who_wait,
    one_late_party_breaks_it_for_all,
    one_party_never_waits,
    a_thousand_rounds,
    an_action_that_fails_tells_its_caller,
    an_action_that_panics_breaks_it,
    numbers_and_refusals,
    a_killed_waiter_breaks_it,
    a_killed_waiter_does_not_count_as_there,
    a_killed_action_breaks_it,
    a_stopped_waiter_does_not_break_it,
    more_processes_than_parties,
    more_than_eight_rounds_behind_is_broken_at_most,
    debug_tells,
}

const TOLERANCE: Duration = Duration::from_millis(1);

fn barrier(parties: usize) -> Shared<Barrier> {
    Shared::new(Barrier::new(parties)).unwrap()
}

fn broken(barrier: &Barrier) -> Process {
    start(|| assert_eq!(barrier.wait(), Err(BrokenBarrier)))
}

/// `parties` processes go through `rounds`; nobody enters one before all have left the last.
fn lockstep(parties: usize, rounds: u64) {
    let (b, at) = (
        barrier(parties),
        Shared::new([const { AtomicU64::new(0) }; 8]).unwrap(),
    );
    let children: Vec<Process> = (0..parties)
        .map(|me| {
            let (b, at) = (&b, &at);
            start(move || {
                for round in 1..=rounds {
                    at[me].store(round, SeqCst);
                    let index = b.wait().unwrap();
                    assert!(index < parties);
                    for other in &at[..parties] {
                        let other = other.load(SeqCst);
                        assert!(other == round || other == round + 1, "{other} in {round}");
                    }
                    at[7].fetch_add(index as u64, SeqCst);
                }
            })
        })
        .collect();
    children.iter().for_each(ends_well);
    assert_eq!((b.waiting(), b.is_broken()), (0, false));
    // All indices, each once per round.
    let sum = (parties * (parties - 1) / 2) as u64;
    assert_eq!(at[7].load(SeqCst), sum * rounds);
}

/// B1: five in lockstep; afterwards nobody waits, and it is not broken.
fn five_pass_in_lockstep() {
    lockstep(5, 5);
}

/// B2: the same barrier ten times.
fn the_same_barrier_ten_times() {
    lockstep(5, 10);
    lockstep(2, 10);
}

/// B11: a thousand rounds of five processes.
fn a_thousand_rounds() {
    lockstep(5, 1_000);
}

fn threads_and_processes_together() {
    let b = barrier(4);
    let child = start(|| {
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| (0..200).for_each(|_| assert!(b.wait().is_ok())));
            }
        });
    });
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| (0..200).for_each(|_| assert!(b.wait().is_ok())));
        }
    });
    ends_well(&child);
}

/// B4: exactly once per round, before anybody is released.
fn the_action_runs_once_before_anybody_is_released() {
    let (b, runs) = (barrier(5), Counter::new());
    let children: Vec<Process> = (0..5)
        .map(|_| {
            start(|| {
                for round in 1..=20 {
                    let mut mine = false;
                    let index = b.wait_with(|| {
                        std::thread::sleep(Duration::from_millis(1));
                        runs.count();
                        mine = true;
                    });
                    assert_eq!(mine, index.unwrap() == 0);
                    assert_eq!(runs.get(), round);
                    b.wait().unwrap();
                }
            })
        })
        .collect();
    children.iter().for_each(ends_well);
    assert_eq!(runs.get(), 20);
}

/// B5: abort: the four others are told, nobody passes, also later.
fn abort_breaks_it_for_all() {
    let b = barrier(5);
    let waiters: Vec<Process> = (0..4).map(|_| broken(&b)).collect();
    waiters.iter().for_each(blocked);
    assert_eq!(b.waiting(), 4);
    b.abort();
    waiters.iter().for_each(ends_well);
    assert!(b.is_broken());
    assert_eq!(b.wait(), Err(BrokenBarrier));
    b.abort();
    assert_eq!((b.waiting(), b.is_broken()), (0, true));
}

/// B7: a broken barrier is as new after a reset.
fn usable_again_after_reset() {
    let b = barrier(2);
    for _ in 0..10 {
        let waiter = broken(&b);
        blocked(&waiter);
        b.abort();
        ends_well(&waiter);
        b.reset();
        assert!(!b.is_broken());
        let waiter = start(|| assert_eq!(b.wait(), Ok(1)));
        blocked(&waiter);
        assert_eq!(b.wait(), Ok(0));
        ends_well(&waiter);
    }
}

fn reset_breaks_it_for_those_who_wait() {
    let b = barrier(3);
    let waiters = [broken(&b), broken(&b)];
    waiters.iter().for_each(blocked);
    b.reset();
    waiters.iter().for_each(ends_well);
    assert_eq!((b.waiting(), b.is_broken()), (0, false));
    b.reset();
    assert!(!b.is_broken());
}

/// B8: one is too late; all five are told, the late one too.
fn one_late_party_breaks_it_for_all() {
    let b = barrier(5);
    let begun = Instant::now();
    let waiters: Vec<Process> = (0..4)
        .map(|_| start(|| assert_eq!(b.wait_timeout(SHORT), Err(BrokenBarrier))))
        .collect();
    waiters.iter().for_each(ends_well);
    assert!(begun.elapsed() >= SHORT - TOLERANCE);
    assert_eq!(b.wait_timeout(SHORT), Err(BrokenBarrier));
    b.reset();
    assert_eq!(b.wait_timeout(Duration::ZERO), Err(BrokenBarrier));
    assert!(b.is_broken());
}

/// B10: for one party there is nothing to wait for.
fn one_party_never_waits() {
    let (b, mut runs) = (barrier(1), 0);
    for _ in 0..100 {
        assert_eq!(b.wait(), Ok(0));
        assert_eq!(b.wait_timeout(Duration::ZERO), Ok(0));
        assert_eq!(b.wait_with(|| runs += 1), Ok(0));
    }
    assert_eq!(runs, 100);
}

/// B13: its error comes to the one that ran it; the others find it broken.
fn an_action_that_fails_tells_its_caller() {
    let b = barrier(3);
    let waiters = [broken(&b), broken(&b)];
    waiters.iter().for_each(blocked);
    assert_eq!(b.wait_with(|| Err("no")), Err(WaitError::Action("no")));
    waiters.iter().for_each(ends_well);
    assert!(b.is_broken());
    assert_eq!(b.wait_with(|| Err("no")), Err(WaitError::Broken));
}

fn an_action_that_panics_breaks_it() {
    let b = barrier(2);
    let waiter = broken(&b);
    blocked(&waiter);
    let panic = std::panic::catch_unwind(|| b.wait_with(|| -> () { panic!("on purpose") }));
    assert_eq!(panic.unwrap_err().downcast_ref(), Some(&"on purpose"));
    ends_well(&waiter);
    assert!(b.is_broken());
}

/// B14: parties, n_waiting, broken; none at all, or too many, are refused.
fn numbers_and_refusals() {
    let b = barrier(3);
    assert_eq!((b.parties(), b.waiting(), b.is_broken()), (3, 0, false));
    let waiter = start(|| _ = b.wait().unwrap());
    blocked(&waiter);
    assert_eq!((b.parties(), b.waiting(), b.is_broken()), (3, 1, false));
    assert_eq!(Barrier::try_new(0).err(), Some(PartiesError::Zero));
    let many = PartiesError::TooMany {
        parties: 65,
        places: 64,
    };
    assert_eq!(Barrier::try_new(65).err(), Some(many));
    assert!(std::panic::catch_unwind(|| Barrier::new(0)).is_err());
    assert_eq!(Barrier::<100>::sized(65).parties(), 65);
    kill(&waiter);
}

/// F9: a killed waiter: the others are told, and do not hang.
fn a_killed_waiter_breaks_it() {
    let (b, mut slowest) = (barrier(5), Duration::ZERO);
    for round in 0..8 {
        let waiters: Vec<Process> = (0..3).map(|_| broken(&b)).collect();
        waiters.iter().for_each(blocked);
        let victim = start(|| _ = b.wait());
        blocked(&victim);
        let late = if round % 2 == 0 { None } else { Some(()) };
        if late.is_some() {
            // Two neighbours at once.
            kill(&waiters[0]);
        }
        let begun = Instant::now();
        kill(&victim);
        waiters[late.map_or(0, |()| 1)..].iter().for_each(ends_well);
        slowest = slowest.max(begun.elapsed());
        assert!(b.is_broken());
        b.reset();
        assert_eq!(b.waiting(), 0);
    }
    println!("slowest: {slowest:?}");
    drop(b);
    lockstep(3, 10);
}

/// Killed while it waits, and then the last one comes at once: nobody passes.
fn a_killed_waiter_does_not_count_as_there() {
    let b = barrier(3);
    for _ in 0..20 {
        let (waiter, victim) = (broken(&b), start(|| _ = b.wait()));
        blocked(&waiter);
        blocked(&victim);
        kill(&victim);
        let mut ran = false;
        assert_eq!(b.wait_with(|| ran = true), Err(WaitError::Broken));
        assert!(!ran);
        ends_well(&waiter);
        b.reset();
    }
    drop(b);
    lockstep(4, 100);
}

fn a_killed_action_breaks_it() {
    let b = barrier(2);
    let waiter = broken(&b);
    blocked(&waiter);
    let victim = start(|| {
        let _ = b.wait_with(|| -> () { for_ever() });
    });
    until("the last to arrive", || b.waiting() == 2);
    // One more, who is for the next turn.
    let outside = broken(&b);
    blocked(&outside);
    kill(&victim);
    ends_well(&waiter);
    ends_well(&outside);
    assert!(b.is_broken());
}

fn a_stopped_waiter_does_not_break_it() {
    let b = barrier(3);
    let waiters = [0, 1].map(|_| start(|| assert!(b.wait().is_ok())));
    waiters.iter().for_each(blocked);
    send_signal(&waiters[0], libc::SIGSTOP);
    std::thread::sleep(SHORT * 2);
    assert!(!b.is_broken());
    b.wait().unwrap();
    ends_well(&waiters[1]);
    send_signal(&waiters[0], libc::SIGCONT);
    ends_well(&waiters[0]);
}

/// Six come, it is for two: three rounds, and those who come during an action wait outside.
fn more_processes_than_parties() {
    for _ in 0..20 {
        let b = barrier(2);
        let slow = || std::thread::sleep(Duration::from_millis(1));
        let all: Vec<Process> = (0..6)
            .map(|_| start(|| assert!(b.wait_with(slow).is_ok())))
            .collect();
        all.iter().for_each(ends_well);
        assert_eq!((b.waiting(), b.is_broken()), (0, false));
    }
}

/// A waiter that was released and then stopped finds out, whatever happened since; when too
/// much has, it is told that it is broken.
fn more_than_eight_rounds_behind_is_broken_at_most() {
    for (rounds, passed) in [(0, true), (3, true), (7, true), (8, false), (20, false)] {
        let b = barrier(2);
        let waiter = start(|| b.wait().is_ok() as i32);
        blocked(&waiter);
        send_signal(&waiter, libc::SIGSTOP);
        until("it to stop", || !sleeps_on_futex(waiter.pid()));
        b.wait().unwrap();
        (0..rounds).for_each(|_| b.reset());
        send_signal(&waiter, libc::SIGCONT);
        assert_eq!(ends(&waiter).code(), passed as i32, "after {rounds} rounds");
    }
}

fn debug_tells() {
    let b = barrier(2);
    assert_eq!(
        format!("{:?}", *b),
        "Barrier { parties: 2, waiting: 0, broken: false, .. }"
    );
    let waiter = broken(&b);
    blocked(&waiter);
    assert_eq!(
        format!("{:?}", *b),
        "Barrier { parties: 2, waiting: 1, broken: false, .. }"
    );
    b.abort();
    ends_well(&waiter);
    assert_eq!(
        format!("{:?}", *b),
        "Barrier { parties: 2, waiting: 0, broken: true, .. }"
    );
}
