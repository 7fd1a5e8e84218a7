//! Killed around a semaphore.

use crate::scenes::at_each_step;
use common::*;
use multiproc_core::step;
use multiproc_event::Event;
use multiproc_semaphore::Semaphore;
use multiproc_tests::{came_through, victim};

/// Of `value` permits none is lost, and none is there twice.
#[track_caller]
pub(crate) fn semaphore_works<const N: usize>(s: &Semaphore<N>, value: u32) {
    let all = s
        .permits_timeout(value, PATIENCE)
        .expect("a permit is lost");
    assert_eq!(s.value(), 0, "a permit is there twice");
    drop(all);
    assert_eq!(s.value(), value);
    let holder = start(|| std::mem::forget(s.permits(value).unwrap()));
    let waiter = start(|| drop(s.permits(value).unwrap()));
    ends_well(&holder);
    ends_well(&waiter);
    semaphore_wakes(s, value);
}

#[track_caller]
fn semaphore_wakes<const N: usize>(s: &Semaphore<N>, value: u32) {
    s.acquire_many(value).unwrap();
    let waiters = [start(|| s.acquire()), start(|| drop(s.permit()))];
    waiters.iter().for_each(blocked);
    s.release_many(2).unwrap();
    waiters.iter().for_each(ends_well);
    s.release_many(value - 1).unwrap();
    assert_eq!(s.value(), value);
    // Every place of the table is usable.
    s.release_many(N as u32).unwrap();
    let all: Vec<_> = (0..N)
        .map(|_| s.try_permit().expect("a place is lost"))
        .collect();
    drop(all);
    s.acquire_many(N as u32).unwrap();
    assert_eq!(s.value(), value);
}

pub(crate) fn killed_at_each_step_of_acquire_and_release() {
    at_each_step(2, |n| {
        let s = shared(Semaphore::<4>::sized(3));
        let through = came_through(&victim(n, || {
            s.acquire();
            s.release().unwrap();
        }));
        // Nobody owns what was acquired.
        if s.value() == 2 {
            assert_eq!(n, 0);
            s.release().unwrap();
        }
        semaphore_works(&s, 3);
        through
    });
}

pub(crate) fn killed_at_each_step_of_a_release_that_wakes() {
    at_each_step(3, |n| {
        let s = shared(Semaphore::<4>::sized(0));
        let waiters = [start(|| s.acquire()), start(|| s.acquire())];
        waiters.iter().for_each(blocked);
        // The release is its first step.
        let through = came_through(&victim(n, || s.release_many(3).unwrap()));
        waiters.iter().for_each(ends_well);
        assert_eq!(s.value(), 1);
        s.release_many(2).unwrap();
        semaphore_works(&s, 3);
        through
    });
}

pub(crate) fn killed_at_each_step_of_an_acquire_that_waits() {
    at_each_step(2, |n| {
        let s = shared(Semaphore::<4>::sized(0));
        let dies = victim(n, || s.acquire());
        blocked_or_gone(&dies);
        let other = start(|| s.acquire());
        blocked(&other);
        s.release_many(3).unwrap();
        let through = came_through(&dies);
        ends_well(&other);
        let left = s.value();
        assert!(left == 1 || left == 2 && !through, "{left}");
        s.release_many(3 - left).unwrap();
        semaphore_works(&s, 3);
        through
    });
}

pub(crate) fn killed_at_each_step_of_a_permit() {
    at_each_step(15, |n| {
        let s = shared(Semaphore::<4>::sized(3));
        let through = came_through(&victim(n, || drop(s.permits(2).unwrap())));
        semaphore_works(&s, 3);
        through
    });
}

pub(crate) fn killed_at_each_step_of_a_permit_that_waits() {
    at_each_step(8, |n| {
        let s = shared(Semaphore::<1>::sized(3));
        let holder = start(|| {
            let _all = s.permits(3).unwrap();
            for_ever()
        });
        until("the permits to be taken", || s.value() == 0);
        let dies = victim(n, || drop(s.permit()));
        blocked_or_gone(&dies);
        let other = start(|| drop(s.permits(2).unwrap()));
        blocked(&other);
        kill(&holder);
        ends_well(&other);
        let through = came_through(&dies);
        semaphore_works(&s, 3);
        through
    });
}

pub(crate) fn killed_at_each_step_of_giving_a_permit_that_another_waits_for() {
    at_each_step(8, |n| {
        let (s, go) = (shared(Semaphore::<4>::sized(1)), shared(Event::new()));
        let dies = start(|| {
            let permit = s.permit();
            go.wait();
            step::arm(n);
            drop(permit);
            step::disarm();
        });
        until("the permit to be taken", || s.value() == 0);
        let waiters = [start(|| drop(s.permit())), start(|| drop(s.permit()))];
        waiters.iter().for_each(blocked);
        go.set();
        waiters.iter().for_each(ends_well);
        let through = came_through(&dies);
        semaphore_works(&s, 1);
        through
    });
}

/// The recovery itself: a holder dies in the middle of taking or giving, and whoever repairs that
/// dies too.
pub(crate) fn killed_at_each_step_of_getting_the_permits_of_the_dead() {
    for first in [5, 7, 8, 9, 14, 15, 16] {
        at_each_step(6, |n| {
            let s = shared(Semaphore::<4>::sized(3));
            let dead = victim(first, || drop(s.permits(2).unwrap()));
            assert!(!came_through(&dead));
            let through = came_through(&victim(n, || {
                let all = s.try_permits(3).expect("a permit is lost");
                drop(all);
            }));
            semaphore_works(&s, 3);
            through
        });
    }
}
