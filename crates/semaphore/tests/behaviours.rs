//! The rows S of the list of behaviours, and what permits promise beyond them.

use common::*;
use multiproc_process::{Process, test};
use multiproc_segment::Shared;
use multiproc_semaphore::{BoundedSemaphore, MOST, ReleaseError, Semaphore, ValueError};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

test::main! {
    two_acquires_take_it_down,
    releases_take_it_up_and_beyond,
    a_bounded_one_refuses_to_rise_above_its_start,
    on_zero_whoever_does_not_wait_gets_a_no_at_once,
    limits,
    starts_at_one_and_tells_its_value,
    anybody_may_release,
    several_at_once,
    a_release_wakes_a_waiter_in_another_process,
    at_most_three_inside,
    a_permit_comes_back_on_drop,
    a_permit_comes_back_when_its_holder_is_killed,
    whoever_only_tries_finds_the_permit_of_the_dead,
    ownerless_acquires_get_the_permits_of_the_dead,
    what_was_acquired_without_a_permit_stays_taken,
    a_full_table_makes_permits_wait,
    a_forked_copy_of_a_permit_is_none,
    a_stopped_holder_keeps_its_permit,
    a_killed_waiter_harms_nobody,
    timeouts,
    debug_tells,
    lives_under_a_name,
}

const TOLERANCE: Duration = Duration::from_millis(1);

fn semaphore(value: u32) -> Shared<Semaphore> {
    Shared::new(Semaphore::new(value)).unwrap()
}

/// S1: from 2, two acquires, and a third that does not wait is refused.
fn two_acquires_take_it_down() {
    let s = semaphore(2);
    s.acquire();
    assert_eq!(s.value(), 1);
    ends_well(&start(|| s.acquire()));
    assert_eq!(s.value(), 0);
    assert!(!s.try_acquire());
    ends_well(&start(|| assert!(!s.try_acquire())));
    assert_eq!(s.value(), 0);
}

/// S2: releases take it back, and an unbounded one beyond.
fn releases_take_it_up_and_beyond() {
    let s = semaphore(2);
    s.acquire();
    s.acquire();
    for value in 1..=4 {
        s.release().unwrap();
        assert_eq!(s.value(), value);
    }
}

/// S4: one release too many is an error, and changes nothing.
fn a_bounded_one_refuses_to_rise_above_its_start() {
    let s = Shared::new(BoundedSemaphore::new(2)).unwrap();
    let refused = Err(ReleaseError::AboveBound { bound: 2 });
    assert_eq!(s.release(), refused);
    assert_eq!(s.value(), 2);
    s.acquire();
    assert_eq!(s.release_many(2), refused);
    assert_eq!(s.value(), 1);
    s.release().unwrap();
    ends_well(&start(|| assert_eq!(s.release(), refused)));
    assert_eq!(s.value(), 2);
    // A permit whose room others have taken by releasing too often: never above the bound.
    let permit = s.permit();
    s.release().unwrap();
    drop(permit);
    assert_eq!(s.value(), 2);
}

/// S5: on 0, whoever does not wait gets a no, with whatever timeout of none.
fn on_zero_whoever_does_not_wait_gets_a_no_at_once() {
    let s = semaphore(0);
    let begun = Instant::now();
    assert!(!s.try_acquire());
    assert!(!s.acquire_timeout(Duration::ZERO));
    assert!(s.try_permit().is_none());
    assert!(s.permit_timeout(Duration::ZERO).is_none());
    assert!(begun.elapsed() < Duration::from_secs(5));
}

/// S7: above 2^31 - 1 is refused, at the start and by release. (Below 0 does not compile.)
fn limits() {
    assert_eq!(
        Semaphore::try_new(MOST + 1).err(),
        Some(ValueError(MOST + 1))
    );
    assert_eq!(
        BoundedSemaphore::try_new(u32::MAX).err(),
        Some(ValueError(u32::MAX))
    );
    assert!(std::panic::catch_unwind(|| Semaphore::new(MOST + 1)).is_err());
    let s = Shared::new(Semaphore::try_new(MOST).unwrap()).unwrap();
    assert_eq!(s.release(), Err(ReleaseError::Overflow));
    assert_eq!(s.value(), MOST);
    assert!(s.try_acquire());
    assert_eq!(s.release_many(2), Err(ReleaseError::Overflow));
    assert_eq!(s.release_many(u32::MAX), Err(ReleaseError::Overflow));
    s.release().unwrap();
    assert_eq!(s.value(), MOST);
    assert!(!s.try_acquire_many(u32::MAX));
    static AT_COMPILE_TIME: Semaphore = Semaphore::new(3);
    assert_eq!(AT_COMPILE_TIME.value(), 3);
}

/// S8: 1 by default; the value is readable, by anybody.
fn starts_at_one_and_tells_its_value() {
    let s = Shared::new(Semaphore::default()).unwrap();
    assert_eq!((s.value(), BoundedSemaphore::default().value()), (1, 1));
    ends_well(&start(|| {
        assert_eq!(s.value(), 1);
        s.acquire();
    }));
    assert_eq!(s.value(), 0);
}

/// S10: no ownership: another process or thread releases.
fn anybody_may_release() {
    let s = semaphore(1);
    s.acquire();
    ends_well(&start(|| s.release()));
    assert_eq!(s.value(), 1);
    s.acquire();
    std::thread::scope(|scope| {
        scope.spawn(|| s.release().unwrap());
    });
    assert_eq!(s.value(), 1);
}

fn several_at_once() {
    let s = semaphore(0);
    let three = start(|| s.acquire_many(3).unwrap());
    blocked(&three);
    s.release_many(2).unwrap();
    std::thread::sleep(Duration::from_millis(20));
    assert!(three.is_alive());
    assert_eq!(s.value(), 2);
    s.release().unwrap();
    ends_well(&three);
    assert_eq!(s.value(), 0);
    s.release_many(5).unwrap();
    let permit = s.permits(4).unwrap();
    assert_eq!((permit.count(), s.value()), (4, 1));
    assert!(s.try_permits(2).is_none());
    assert!(!s.try_acquire_many(2));
    permit.release();
    assert_eq!(s.value(), 5);
}

fn a_release_wakes_a_waiter_in_another_process() {
    let (s, through) = (semaphore(0), Counter::new());
    let waiters: Vec<Process> = (0..3)
        .map(|n| {
            let (s, through) = (&s, &through);
            start(move || {
                match n {
                    0 => s.acquire(),
                    1 => assert!(s.acquire_timeout(PATIENCE)),
                    _ => std::mem::forget(s.permit_timeout(PATIENCE).unwrap()),
                }
                through.count();
                for_ever()
            })
        })
        .collect();
    waiters.iter().for_each(blocked);
    for n in 1..=3 {
        s.release().unwrap();
        through.reach(n);
        std::thread::sleep(Duration::from_millis(5));
        assert_eq!(through.get(), n, "one release lets one in");
    }
}

fn at_most_three_inside() {
    let (s, inside, rounds) = (
        semaphore(3),
        Shared::new(AtomicU64::new(0)).unwrap(),
        Counter::new(),
    );
    let children: Vec<Process> = (0..6)
        .map(|n| {
            let (s, inside, rounds) = (&s, &inside, &rounds);
            start(move || {
                for round in 0..400 {
                    let permit = if n % 2 == 0 { Some(s.permit()) } else { None };
                    if permit.is_none() {
                        s.acquire();
                    }
                    assert!(inside.fetch_add(1, SeqCst) < 3);
                    rounds.count();
                    if round % 7 == 0 {
                        std::thread::yield_now();
                    }
                    inside.fetch_sub(1, SeqCst);
                    if permit.is_none() {
                        s.release().unwrap();
                    }
                }
            })
        })
        .collect();
    children.iter().for_each(ends_well);
    assert_eq!((s.value(), rounds.get()), (3, 2_400));
}

fn a_permit_comes_back_on_drop() {
    let s = semaphore(2);
    let first = s.permit();
    let second = s.try_permit().unwrap();
    assert!(s.try_permit().is_none());
    assert_eq!(s.value(), 0);
    drop(first);
    assert_eq!(s.value(), 1);
    second.release();
    assert_eq!(s.value(), 2);
}

/// A holder of a permit that never gives it back.
fn holder(s: &Semaphore, n: u32) -> Process {
    let before = s.value();
    let child = start(|| {
        let _permit = s.permits(n).unwrap();
        for_ever()
    });
    until("a child to have its permits", || s.value() == before - n);
    child
}

fn a_permit_comes_back_when_its_holder_is_killed() {
    let s = semaphore(2);
    let mut slowest = Duration::ZERO;
    for _ in 0..20 {
        let victims = [holder(&s, 1), holder(&s, 1)];
        let waiter = start(|| drop(s.permits(2).unwrap()));
        blocked(&waiter);
        kill(&victims[0]);
        let begun = Instant::now();
        kill(&victims[1]);
        ends_well(&waiter);
        slowest = slowest.max(begun.elapsed());
        assert_eq!(s.value(), 2);
    }
    println!("slowest recovery: {slowest:?}");
}

fn whoever_only_tries_finds_the_permit_of_the_dead() {
    let s = semaphore(3);
    kill(&holder(&s, 3));
    assert_eq!(s.value(), 0);
    let permit = s.try_permits(3).unwrap();
    drop(permit);
    kill(&holder(&s, 2));
    assert!(s.try_acquire_many(3));
    assert_eq!(s.value(), 0);
}

fn ownerless_acquires_get_the_permits_of_the_dead() {
    let s = semaphore(1);
    let victim = holder(&s, 1);
    let waiter = start(|| s.acquire());
    blocked(&waiter);
    kill(&victim);
    ends_well(&waiter);
    assert_eq!(s.value(), 0);
}

fn what_was_acquired_without_a_permit_stays_taken() {
    let s = semaphore(1);
    ends_well(&start(|| s.acquire()));
    assert!(!s.acquire_timeout(SHORT));
    s.release().unwrap();
    let _permit = s.permit();
}

fn a_full_table_makes_permits_wait() {
    let s = Shared::new(Semaphore::<2>::sized(10)).unwrap();
    let (one, two) = (s.permit(), s.permits(3).unwrap());
    assert!(s.try_permit().is_none(), "the table is full");
    assert!(s.permit_timeout(Duration::from_millis(10)).is_none());
    assert_eq!(s.value(), 6);
    assert!(s.try_acquire(), "no table for the ownerless");
    s.release().unwrap();
    drop(two);
    drop(s.try_permit().unwrap());
    drop(one);

    let s = Shared::new(Semaphore::<1>::sized(10)).unwrap();
    let go = Counter::new();
    let holder = start(|| {
        let _permit = s.permit();
        go.reach(1);
    });
    until("the table to be full", || s.value() == 9);
    let waiter = start(|| drop(s.permit()));
    blocked(&waiter);
    go.count();
    ends_well(&waiter);
    ends_well(&holder);
    assert_eq!(s.value(), 10);
    // And one whose holder is killed.
    let victim = start(|| {
        let _permit = s.permit();
        for_ever()
    });
    until("the table to be full", || s.value() == 9);
    let waiter = start(|| drop(s.permit()));
    blocked(&waiter);
    kill(&victim);
    ends_well(&waiter);
    assert_eq!(s.value(), 10);
}

fn a_forked_copy_of_a_permit_is_none() {
    let s = semaphore(1);
    let permit = s.permit();
    assert!(
        Process::start(|| ()).is_err(),
        "a fork would duplicate the permit"
    );
    // SAFETY: the child drops its copy and leaves.
    let child = unsafe { libc::fork() };
    if child == 0 {
        drop(permit);
        exit_now((s.value() != 0) as i32);
    }
    let mut status = 0;
    // SAFETY: our child, our status.
    unsafe { libc::waitpid(child, &mut status, 0) };
    assert_eq!((status, s.value()), (0, 0));
    drop(permit);
    assert_eq!(s.value(), 1);
}

fn a_stopped_holder_keeps_its_permit() {
    let s = semaphore(1);
    let holder = holder(&s, 1);
    send_signal(&holder, libc::SIGSTOP);
    assert!(s.permit_timeout(SHORT * 2).is_none());
    kill(&holder);
    assert!(s.permit_timeout(PATIENCE).is_some());
}

fn a_killed_waiter_harms_nobody() {
    let s = semaphore(0);
    for _ in 0..20 {
        let waiters: Vec<Process> = (0..3).map(|_| start(|| s.acquire())).collect();
        waiters.iter().for_each(blocked);
        kill(&waiters[0]);
        s.release_many(2).unwrap();
        ends_well(&waiters[1]);
        ends_well(&waiters[2]);
        assert_eq!(s.value(), 0);
    }
}

fn timeouts() {
    let s = semaphore(0);
    for permits in [false, true] {
        let begun = Instant::now();
        match permits {
            false => assert!(!s.acquire_timeout(SHORT)),
            true => assert!(s.permit_timeout(SHORT).is_none()),
        }
        assert!(begun.elapsed() >= SHORT - TOLERANCE);
    }
}

fn debug_tells() {
    let s = semaphore(2);
    let _permit = s.permit();
    assert_eq!(
        format!("{:?}", *s),
        "Semaphore { value: 1, permits: 1, .. }"
    );
    let b = BoundedSemaphore::new(4);
    assert_eq!(
        format!("{b:?}"),
        "BoundedSemaphore { value: 4, bound: 4, .. }"
    );
    // One that starts at the very top is bounded all the same.
    assert!(BoundedSemaphore::try_new(MOST).unwrap().release().is_err());
}

fn lives_under_a_name() {
    let name = test::unique("gate");
    let s = Shared::create(&name, Semaphore::new(1)).unwrap();
    ends_well(&start(|| {
        Shared::<Semaphore>::open(&name).unwrap().acquire()
    }));
    assert_eq!(s.value(), 0);
    Shared::<Semaphore>::unlink(&name).unwrap();
}
