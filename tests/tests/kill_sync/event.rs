//! Killed around an event.

use crate::scenes::at_each_step;
use common::*;
use multiproc_event::Event;
use multiproc_process::Process;
use multiproc_tests::{came_through, victim};
use std::time::Duration;

/// The event works: a waiter in another process is woken, whatever it was before.
#[track_caller]
pub(crate) fn event_works(event: &Event) {
    event.clear();
    assert!(!event.wait_timeout(Duration::from_millis(1)));
    let waiters = [start(|| event.wait()), start(|| event.wait())];
    waiters.iter().for_each(blocked);
    event.set();
    event.clear();
    waiters.iter().for_each(ends_well);
}

pub(crate) fn killed_at_each_step_of_set() {
    at_each_step(1, |n| {
        let event = shared(Event::new());
        let through = came_through(&victim(n, || event.set()));
        assert!(event.is_set());
        event_works(&event);
        through
    });
}

pub(crate) fn killed_at_each_step_of_a_set_that_wakes() {
    at_each_step(2, |n| {
        let event = shared(Event::new());
        let waiters = [start(|| event.wait()), start(|| event.wait())];
        waiters.iter().for_each(blocked);
        let through = came_through(&victim(n, || event.set()));
        if !event.is_set() {
            assert!(waiters.iter().all(Process::is_alive));
            event.set();
        }
        waiters.iter().for_each(ends_well);
        event_works(&event);
        through
    });
}

pub(crate) fn killed_at_each_step_of_a_wait_for_an_event() {
    at_each_step(2, |n| {
        let event = shared(Event::new());
        let dies = victim(n, || event.wait());
        blocked_or_gone(&dies);
        let other = start(|| event.wait());
        blocked(&other);
        event.set();
        let through = came_through(&dies);
        ends_well(&other);
        event_works(&event);
        through
    });
}

pub(crate) fn killed_at_each_step_of_a_pulse() {
    at_each_step(3, |n| {
        let event = shared(Event::new());
        let waiter = start(|| event.wait());
        blocked(&waiter);
        let through = came_through(&victim(n, || {
            event.set();
            event.clear();
        }));
        if n == 0 && !through {
            event.set();
        }
        ends_well(&waiter);
        event_works(&event);
        through
    });
}
