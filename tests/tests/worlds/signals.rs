//! Semaphores, events, conditions, barriers.

use crate::world::*;
use multiproc_barrier::{Barrier, BrokenBarrier, WaitError};
use multiproc_condition::Condition;
use multiproc_event::Event;
use multiproc_lock::Mutex;
use multiproc_process::{Context, Process};
use multiproc_queue::Queue;
use multiproc_segment::{Shareable, Shared};
use multiproc_semaphore::{BoundedSemaphore, Semaphore};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

// ---- semaphores ----

pub(crate) fn a_semaphore_counts_for_everybody() {
    fn takes_two(s: Shared<Semaphore>) {
        s.acquire();
        assert!(s.try_acquire());
        assert!(!s.try_acquire() && !s.acquire_timeout(MOMENT));
    }
    fn releases((s, n): (Shared<Semaphore>, u32)) {
        s.release_many(n).unwrap();
    }
    fn is_at_its_bound(s: Shared<BoundedSemaphore>) {
        assert!(s.release().is_err());
        s.acquire();
    }
    in_each_world(|world| {
        let s = shared(Semaphore::new(2));
        ends_well(&start(world, takes_two, s.clone()));
        // What was acquired without a permit stays taken.
        assert_eq!(s.value(), 0);
        ends_well(&start(world, releases, (s.clone(), 4)));
        assert_eq!(s.value(), 4);
        let s = shared(BoundedSemaphore::new(1));
        ends_well(&start(world, is_at_its_bound, s.clone()));
        assert_eq!(s.value(), 0);
        s.release().unwrap();
        assert!(s.release().is_err());
    });
}

pub(crate) fn a_release_wakes_a_child_and_a_killed_one_takes_none() {
    fn acquires(s: Shared<Semaphore>) {
        s.acquire();
    }
    in_each_world(|world| {
        let s = shared(Semaphore::new(0));
        let waiters = [0; 3].map(|_| start(world, acquires, s.clone()));
        waiters.iter().for_each(blocked);
        kill(&waiters[0]);
        s.release_many(2).unwrap();
        waiters[1..].iter().for_each(ends_well);
        assert_eq!(s.value(), 0);
    });
}

pub(crate) fn a_semaphore_gets_the_permits_of_the_dead_back() {
    fn dies((gate, inside): (Shared<Semaphore>, Shared<Event>)) {
        let _permit = gate.permit();
        inside.set();
        die();
    }
    in_each_world(|world| {
        let (gate, inside) = (shared(Semaphore::new(1)), shared(Event::new()));
        let child = start(world, dies, (gate.clone(), inside.clone()));
        inside.wait();
        drop(gate.permit());
        is_killed(&child);
        assert_eq!(gate.value(), 1);
    });
}

pub(crate) fn at_most_two_are_inside() {
    type Given = (Shared<Semaphore>, Shared<AtomicU64>);
    fn visits((gate, inside): Given) {
        for _ in 0..100 {
            let _permit = gate.permit();
            assert!(inside.fetch_add(1, SeqCst) < 2);
            std::thread::yield_now();
            inside.fetch_sub(1, SeqCst);
        }
    }
    in_each_world(|world| {
        let (gate, inside) = (shared(Semaphore::new(2)), shared(AtomicU64::new(0)));
        let visitors = [0; 3].map(|_| start(world, visits, (gate.clone(), inside.clone())));
        visitors.iter().for_each(ends_well);
        assert_eq!(gate.value(), 2);
    });
}

// ---- events ----

pub(crate) fn an_event_starts_them_all() {
    fn runs((go, lanes): (Shared<Event>, Shared<AtomicU64>)) {
        go.wait();
        lanes.fetch_add(1, SeqCst);
    }
    in_each_world(|world| {
        let (go, lanes) = (shared(Event::new()), shared(AtomicU64::new(0)));
        let runners = [0; 3].map(|_| start(world, runs, (go.clone(), lanes.clone())));
        runners.iter().for_each(blocked);
        assert_eq!(lanes.load(SeqCst), 0);
        go.set();
        runners.iter().for_each(ends_well);
        assert_eq!(lanes.load(SeqCst), 3);
    });
}

pub(crate) fn an_event_is_set_and_cleared_for_everybody() {
    fn sets(event: Shared<Event>) {
        assert!(!event.is_set());
        assert!(!event.wait_timeout(Duration::ZERO) && !event.wait_timeout(MOMENT));
        event.set();
    }
    fn clears(event: Shared<Event>) {
        for _ in 0..2 {
            event.wait();
            assert!(event.is_set() && event.wait_timeout(Duration::ZERO));
        }
        event.clear();
    }
    in_each_world(|world| {
        let event = shared(Event::new());
        ends_well(&start(world, sets, event.clone()));
        assert!(event.is_set());
        ends_well(&start(world, clears, event.clone()));
        assert!(!event.is_set() && !event.wait_timeout(MOMENT));
    });
}

pub(crate) fn killed_waiters_of_an_event_hold_nobody_up() {
    fn waits(event: Shared<Event>) {
        event.wait();
    }
    in_each_world(|world| {
        let event = shared(Event::new());
        let waiters = [0; 3].map(|_| start(world, waits, event.clone()));
        waiters.iter().for_each(blocked);
        kill(&waiters[0]);
        kill(&waiters[1]);
        event.set();
        ends_well(&waiters[2]);
    });
}

// ---- conditions ----

#[derive(Shareable)]
#[shareable(crate = multiproc_segment)]
#[repr(C)]
struct Stage {
    step: Mutex<u64>,
    changed: Condition,
    woken: AtomicU64,
}

impl Stage {
    fn new() -> Shared<Self> {
        shared(Stage {
            step: Mutex::new(0),
            changed: Condition::new(),
            woken: AtomicU64::new(0),
        })
    }

    fn notify(&self, n: usize) {
        self.changed.notify(&self.step.lock().unwrap(), n);
    }
}

/// A child that waits once.
fn sleeper(world: Context, stage: &Shared<Stage>) -> Process {
    fn sleep(stage: Shared<Stage>) {
        let step = stage.step.lock().unwrap();
        drop(stage.changed.wait(step).unwrap());
        stage.woken.fetch_add(1, SeqCst);
    }
    let before = stage.changed.waiting();
    let child = start(world, sleep, stage.clone());
    until("one more to wait", || stage.changed.waiting() > before);
    blocked(&child); // and has given the lock back
    child
}

pub(crate) fn a_condition_wakes_as_many_as_are_notified() {
    in_each_world(|world| {
        let stage = Stage::new();
        let sleepers: Vec<_> = (0..6).map(|_| sleeper(world, &stage)).collect();
        let woken = |n| {
            until("so many to wake", || stage.woken.load(SeqCst) >= n);
            assert_eq!(stage.woken.load(SeqCst), n);
            assert_eq!(stage.changed.waiting() as u64, 6 - n);
        };
        stage.notify(1);
        woken(1);
        stage.notify(2);
        woken(3);
        stage.notify(9);
        woken(6);
        sleepers.iter().for_each(ends_well);
        stage.notify(3); // of none
    });
}

pub(crate) fn killed_waiters_of_a_condition_eat_no_wake_up() {
    in_each_world(|world| {
        let stage = Stage::new();
        let sleepers = [0; 3].map(|_| sleeper(world, &stage));
        kill(&sleepers[0]);
        kill(&sleepers[1]);
        stage.notify(1);
        ends_well(&sleepers[2]);
        assert_eq!(stage.woken.load(SeqCst), 1);
    });
}

pub(crate) fn a_condition_waits_for_a_predicate_and_gives_up_in_time() {
    fn follows(stage: Shared<Stage>) {
        let step = stage.step.lock().unwrap();
        let (step, there) = stage.changed.wait_for(step, |step| **step >= 4).unwrap();
        assert!(there && *step >= 4);
    }
    fn gives_up(stage: Shared<Stage>) {
        let step = stage.step.lock().unwrap();
        let (step, notified) = stage.changed.wait_timeout(step, MOMENT).unwrap();
        assert!(!notified);
        let late = stage
            .changed
            .wait_for_timeout(step, MOMENT, |step| **step > 9);
        assert!(!late.unwrap().1);
    }
    in_each_world(|world| {
        let stage = Stage::new();
        ends_well(&start(world, gives_up, stage.clone()));
        let child = start(world, follows, stage.clone());
        for _ in 0..4 {
            let mut step = stage.step.lock().unwrap();
            *step += 1;
            stage.changed.notify_all(&step);
        }
        ends_well(&child);
    });
}

// ---- barriers ----

pub(crate) fn a_barrier_holds_children_in_step() {
    type Given = (Shared<Barrier>, Shared<AtomicU64>, Shared<AtomicU64>);
    fn steps((barrier, phase, rounds): Given) {
        for round in 0..10 {
            barrier.wait().unwrap();
            assert!(phase.fetch_add(1, SeqCst) / 3 == round);
            let action = || {
                rounds.fetch_add(1, SeqCst);
            };
            barrier.wait_with(action).unwrap();
            assert_eq!(rounds.load(SeqCst), round + 1);
        }
    }
    in_each_world(|world| {
        let barrier = shared(Barrier::new(3));
        let (phase, rounds) = (shared(AtomicU64::new(0)), shared(AtomicU64::new(0)));
        let given = || (barrier.clone(), phase.clone(), rounds.clone());
        let children = [0; 3].map(|_| start(world, steps, given()));
        children.iter().for_each(ends_well);
        assert_eq!((phase.load(SeqCst), rounds.load(SeqCst)), (30, 10));
        assert_eq!((barrier.waiting(), barrier.is_broken()), (0, false));
    });
}

fn finds_it_broken(barrier: Shared<Barrier>) {
    assert_eq!(barrier.wait(), Err(BrokenBarrier));
}

/// Two of three that wait.
fn waiting(world: Context, barrier: &Shared<Barrier>) -> [Process; 2] {
    let children = [0; 2].map(|_| start(world, finds_it_broken, barrier.clone()));
    until("two to wait", || barrier.waiting() == 2);
    children
}

pub(crate) fn a_barrier_breaks_for_all_and_works_again_after_a_reset() {
    fn comes_too_late(barrier: Shared<Barrier>) {
        assert_eq!(barrier.wait_timeout(MOMENT), Err(BrokenBarrier));
    }
    fn passes(barrier: Shared<Barrier>) {
        barrier.wait().unwrap();
    }
    in_each_world(|world| {
        let barrier = shared(Barrier::new(3));
        let children = waiting(world, &barrier);
        barrier.abort();
        children.iter().for_each(ends_well);
        assert_eq!(barrier.wait(), Err(BrokenBarrier));
        assert!(barrier.is_broken());

        barrier.reset();
        let children = [0; 2].map(|_| start(world, comes_too_late, barrier.clone()));
        children.iter().for_each(ends_well);
        assert!(barrier.is_broken());

        barrier.reset();
        let children = waiting(world, &barrier);
        barrier.reset();
        children.iter().for_each(ends_well);
        let children = [0; 2].map(|_| start(world, passes, barrier.clone()));
        barrier.wait().unwrap();
        children.iter().for_each(ends_well);
    });
}

pub(crate) fn an_action_that_fails_breaks_the_barrier() {
    fn fails((barrier, told): (Shared<Barrier>, Queue<String>)) {
        match barrier.wait_with(|| Err("on purpose")) {
            Err(WaitError::Action(why)) => told.put(why.to_owned()).unwrap(),
            Err(WaitError::Broken) => told.put("broken".to_owned()).unwrap(),
            other => panic!("{other:?}"),
        }
    }
    in_each_world(|world| {
        let (barrier, told) = (shared(Barrier::new(3)), Queue::unbounded().unwrap());
        let children = [0; 3].map(|_| start(world, fails, (barrier.clone(), told.clone())));
        children.iter().for_each(ends_well);
        let mut told: Vec<_> = (0..3).map(|_| told.try_get().unwrap()).collect();
        told.sort();
        assert_eq!(told, ["broken", "broken", "on purpose"]);
    });
}

pub(crate) fn a_killed_waiter_breaks_the_barrier() {
    in_each_world(|world| {
        let barrier = shared(Barrier::new(3));
        let [victim, other] = waiting(world, &barrier);
        kill(&victim);
        ends_well(&other);
        assert_eq!(barrier.wait(), Err(BrokenBarrier));
    });
}
