//! The rows C of the list of behaviours, F9, and what a condition promises beyond them. C16
//! (notify waits for an acknowledgement of those it woke) is dropped: nothing waits for a
//! waiter, who may be dead.

use common::*;
use multiproc_condition::{Condition, Lockable, WaitError};
use multiproc_lock::{Lock, Mutex};
use multiproc_process::{Process, test};
use multiproc_rlock::RLock;
use multiproc_segment::{Shareable, Shared};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

test::main! {
    nobody_wakes_without_a_notify,
    notify_wakes_exactly_one,
    two_notifies_and_two_waiters,
    expired_waiters_eat_no_wake_up,
    notify_n_wakes_n,
    wait_says_whether_it_was_notified,
    a_signal_is_not_a_wake,
    wait_for_gives_up_in_time,
    wait_for_returns_the_value_of_the_predicate,
    a_recursive_lock_is_released_at_all_levels,
    works_with_any_lock,
    a_notify_is_not_remembered,
    the_longest_waiter_goes_first,
    only_while_holding_the_lock,
    killed_waiters_eat_no_wake_up,
    a_waiter_killed_as_it_is_notified_passes_it_on,
    a_passed_on_notify_goes_to_nobody_who_came_later,
    a_dead_holder_is_told_of,
    a_full_table_is_an_error,
    the_dead_make_room,
    a_stopped_waiter_holds_nobody_up,
    debug_tells,
}

const TOLERANCE: Duration = Duration::from_millis(1);

#[derive(Shareable)]
#[shareable(crate = multiproc_segment)]
#[repr(C)]
struct World {
    lock: Mutex<u64>,
    condition: Condition,
    woken: AtomicU64,
}

fn world() -> Shared<World> {
    Shared::new(World {
        lock: Mutex::new(0),
        condition: Condition::new(),
        woken: AtomicU64::new(0),
    })
    .unwrap()
}

impl World {
    /// Waits once, and counts itself as woken.
    fn sleeper(&self) -> Process {
        let before = self.condition.waiting();
        let child = start(|| {
            let guard = self.lock.lock().unwrap();
            drop(self.condition.wait(guard).unwrap());
            self.woken.fetch_add(1, SeqCst);
        });
        self.reach_waiting(before + 1);
        blocked(&child);
        child
    }

    fn reach_waiting(&self, n: usize) {
        until("so many to wait", || self.condition.waiting() == n);
    }

    fn notify(&self, n: usize) {
        self.condition.notify(&self.lock.lock().unwrap(), n);
    }

    fn reach_woken(&self, n: u64) {
        until("so many to be woken", || self.woken.load(SeqCst) >= n);
    }

    #[track_caller]
    fn woken_in_the_end(&self, n: u64) {
        self.reach_woken(n);
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(self.woken.load(SeqCst), n);
    }
}

/// C1: two sleepers, one of them a thread: nobody wakes by itself.
fn nobody_wakes_without_a_notify() {
    let w = world();
    let child = w.sleeper();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let guard = w.lock.lock().unwrap();
            drop(w.condition.wait(guard).unwrap());
            w.woken.fetch_add(1, SeqCst);
        });
        w.reach_waiting(2);
        // Longer than some slices.
        std::thread::sleep(SHORT * 2);
        assert_eq!((w.woken.load(SeqCst), w.condition.waiting()), (0, 2));
        w.notify(2);
    });
    ends_well(&child);
    assert_eq!(w.woken.load(SeqCst), 2);
}

/// C2: a notify wakes exactly one, the second one the other; then nobody is counted.
fn notify_wakes_exactly_one() {
    let w = world();
    let children = [w.sleeper(), w.sleeper()];
    w.notify(1);
    w.woken_in_the_end(1);
    assert_eq!(w.condition.waiting(), 1);
    w.notify(1);
    w.woken_in_the_end(2);
    assert_eq!(w.condition.waiting(), 0);
    children.iter().for_each(ends_well);
    w.notify(1);
}

/// The trial of the plan: one notify never releases two, two never only one.
fn two_notifies_and_two_waiters() {
    for _ in 0..150 {
        let w = world();
        let children = [w.sleeper(), w.sleeper()];
        w.notify(1);
        w.reach_woken(1);
        assert_eq!(w.condition.waiting(), 1);
        w.notify(1);
        children.iter().for_each(ends_well);
        assert_eq!(w.woken.load(SeqCst), 2);
    }
    for _ in 0..150 {
        let w = world();
        let children = [w.sleeper(), w.sleeper()];
        let guard = w.lock.lock().unwrap();
        w.condition.notify(&guard, 1);
        w.condition.notify(&guard, 1);
        drop(guard);
        children.iter().for_each(ends_well);
    }
}

/// C4: after six timeouts, six fresh waiters are woken by one notify_all.
fn expired_waiters_eat_no_wake_up() {
    let w = world();
    let expired: Vec<Process> = (0..6)
        .map(|_| {
            start(|| {
                let guard = w.lock.lock().unwrap();
                let (_, notified) = w.condition.wait_timeout(guard, SHORT).unwrap();
                assert!(!notified);
            })
        })
        .collect();
    expired.iter().for_each(ends_well);
    assert_eq!(w.condition.waiting(), 0);
    let fresh: Vec<Process> = (0..6).map(|_| w.sleeper()).collect();
    w.condition.notify_all(&w.lock.lock().unwrap());
    fresh.iter().for_each(ends_well);
    assert_eq!(w.woken.load(SeqCst), 6);
}

/// C5: of six, notify(2) wakes two, notify(4) four, notify(3) nobody.
fn notify_n_wakes_n() {
    let w = world();
    let all: Vec<Process> = (0..6).map(|_| w.sleeper()).collect();
    w.notify(0);
    w.woken_in_the_end(0);
    w.notify(2);
    w.woken_in_the_end(2);
    w.notify(4);
    w.woken_in_the_end(6);
    w.notify(3);
    all.iter().for_each(ends_well);
}

/// C7: false after no time and after some; true when another process notifies.
fn wait_says_whether_it_was_notified() {
    let w = world();
    for timeout in [Duration::ZERO, SHORT] {
        let begun = Instant::now();
        let (_, notified) = w
            .condition
            .wait_timeout(w.lock.lock().unwrap(), timeout)
            .unwrap();
        assert!(!notified);
        assert!(begun.elapsed() >= timeout.saturating_sub(TOLERANCE));
    }
    let other = start(|| {
        w.reach_waiting(1);
        w.notify(1);
    });
    let (guard, notified) = w
        .condition
        .wait_timeout(w.lock.lock().unwrap(), PATIENCE)
        .unwrap();
    assert!(notified && w.lock.is_locked());
    drop(guard);
    ends_well(&other);
}

static HANDLED: AtomicU64 = AtomicU64::new(0);

extern "C" fn count_it(_: i32) {
    HANDLED.fetch_add(1, SeqCst);
}

/// C8: a handled signal is not a wake.
fn a_signal_is_not_a_wake() {
    let w = world();
    let child = start(|| {
        on_signal(libc::SIGUSR1, count_it);
        let guard = w.lock.lock().unwrap();
        let begun = Instant::now();
        let (guard, notified) = w.condition.wait_timeout(guard, SHORT * 3).unwrap();
        assert!(!notified && begun.elapsed() >= SHORT * 3 - TOLERANCE);
        drop(w.condition.wait(guard).unwrap());
        assert!(HANDLED.load(SeqCst) > 10);
        w.woken.fetch_add(1, SeqCst);
    });
    w.reach_waiting(1);
    for _ in 0..250 {
        send_signal(&child, libc::SIGUSR1);
        std::thread::sleep(Duration::from_millis(2));
    }
    assert_eq!(w.woken.load(SeqCst), 0);
    w.reach_waiting(1);
    w.notify(1);
    ends_well(&child);
}

/// C10: three of four steps: false, not before its time.
fn wait_for_gives_up_in_time() {
    let w = world();
    let child = start(|| {
        for _ in 0..3 {
            w.reach_waiting(1);
            let mut count = w.lock.lock().unwrap();
            *count += 1;
            w.condition.notify(&count, 1);
        }
    });
    let mut guard = w.lock.lock().unwrap();
    // The steps may take longer than this waits.
    loop {
        let begun = Instant::now();
        let four = w
            .condition
            .wait_for_timeout(guard, SHORT, |count| **count == 4);
        let (count, reached) = four.unwrap();
        assert!(!reached && begun.elapsed() >= SHORT - TOLERANCE);
        guard = count;
        if *guard == 3 {
            break;
        }
    }
    drop(guard);
    ends_well(&child);
}

/// C11: the predicate's own value; the time counts from the call, not from each wake.
fn wait_for_returns_the_value_of_the_predicate() {
    let w = world();
    let child = start(|| {
        for n in 1..=50 {
            w.reach_waiting(1);
            let mut count = w.lock.lock().unwrap();
            *count = n;
            w.condition.notify_all(&count);
        }
    });
    let text = |count: &mut multiproc_lock::MutexGuard<'_, u64>| {
        (**count == 50).then(|| format!("it is {}", **count))
    };
    let (guard, value) = w.condition.wait_for(w.lock.lock().unwrap(), text).unwrap();
    assert_eq!(value.as_deref(), Some("it is 50"));
    drop(guard);
    ends_well(&child);
    // Notified all the time, and still over in time.
    let stop = Counter::new();
    let child = start(|| {
        while stop.get() == 0 {
            w.notify(1);
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    let begun = Instant::now();
    let never = w
        .condition
        .wait_for_timeout(w.lock.lock().unwrap(), SHORT, |_| None::<()>);
    assert_eq!(never.unwrap().1, None);
    assert!(begun.elapsed() >= SHORT - TOLERANCE && begun.elapsed() < PATIENCE);
    stop.set(1);
    ends_well(&child);
    // True at once: nobody waits.
    let (_, value) = w
        .condition
        .wait_for(w.lock.lock().unwrap(), |_| Ok::<_, ()>(7))
        .unwrap();
    assert_eq!(value, Ok(7));
}

/// C13: all levels of a recursive lock are released, and come back.
fn a_recursive_lock_is_released_at_all_levels() {
    let (lock, c) = (
        Shared::new(RLock::new()).unwrap(),
        Shared::new(Condition::new()).unwrap(),
    );
    let child = start(|| {
        // As guards.
        let _outer = lock.lock().unwrap();
        let _middle = lock.lock().unwrap();
        let inner = lock.lock().unwrap();
        assert_eq!(lock.count(), 3);
        let inner = c.wait(inner).unwrap();
        assert_eq!(lock.count(), 3);
        drop(inner);
        assert_eq!(lock.count(), 2);
        // As acquired.
        lock.acquire().unwrap();
        let (_, notified) = c.wait_timeout(&*lock, PATIENCE).unwrap();
        assert!(notified);
        assert_eq!(lock.count(), 3);
        lock.release().unwrap();
    });
    for _ in 0..2 {
        until("it to wait", || c.waiting() == 1);
        let free = lock.lock().unwrap();
        assert_eq!(lock.count(), 1);
        c.notify(&free, 1);
        drop(free);
        until("it to be notified", || c.waiting() == 0);
    }
    ends_well(&child);
    assert!(!lock.is_locked());
}

fn ping<G: Lockable>(c: &Condition, lock: impl Fn() -> G) {
    let child = start(|| {
        until("a waiter", || c.waiting() == 1);
        let held = lock();
        c.notify_all(&held);
        drop(held.release_all());
    });
    let (held, notified) = c.wait_timeout(lock(), PATIENCE).unwrap();
    assert!(notified && held.is_held());
    drop(held.release_all());
    ends_well(&child);
}

/// C14: a Lock, an RLock or a Mutex of the caller's; acquire, release, guards are the lock's.
fn works_with_any_lock() {
    let c = Shared::new(Condition::new()).unwrap();
    let (lock, rlock) = (
        Shared::new(Lock::new()).unwrap(),
        Shared::new(RLock::new()).unwrap(),
    );
    let mutex = Shared::new(Mutex::new(0)).unwrap();
    ping(&c, || {
        lock.acquire().unwrap();
        &*lock
    });
    ping(&c, || {
        rlock.acquire().unwrap();
        &*rlock
    });
    ping(&c, || rlock.lock().unwrap());
    ping(&c, || mutex.lock().unwrap());
    assert!(!lock.is_locked() && !rlock.is_locked() && !mutex.is_locked());
}

fn a_notify_is_not_remembered() {
    let w = world();
    w.notify(3);
    w.notify(usize::MAX);
    let (_, notified) = w
        .condition
        .wait_timeout(w.lock.lock().unwrap(), SHORT)
        .unwrap();
    assert!(!notified);
}

fn the_longest_waiter_goes_first() {
    let w = world();
    let all: Vec<Process> = (0..5).map(|_| w.sleeper()).collect();
    for child in &all {
        w.notify(1);
        ends_well(child);
    }
}

fn only_while_holding_the_lock() {
    let c = Condition::new();
    let (lock, rlock) = (Lock::new(), RLock::new());
    assert!(matches!(c.wait(&lock), Err(WaitError::NotHeld(_))));
    let waited = c.wait_timeout(&rlock, SHORT);
    assert!(matches!(waited, Err(WaitError::NotHeld(_))));
    assert_eq!((lock.is_locked(), c.waiting()), (false, 0));
    // Nobody is there to be woken, and nobody is harmed.
    c.notify(&&lock, 1);
    c.notify_all(&&rlock);
}

/// F9: the living are woken, the dead forgotten.
fn killed_waiters_eat_no_wake_up() {
    for killed in 0..4 {
        let w = world();
        let all: Vec<Process> = (0..4).map(|_| w.sleeper()).collect();
        kill(&all[killed]);
        let notify = Instant::now();
        w.notify(3);
        assert!(
            notify.elapsed() < Duration::from_secs(5),
            "notify does not block"
        );
        for (n, child) in all.iter().enumerate() {
            if n != killed {
                ends_well(child);
            }
        }
    }
    let w = world();
    let all: Vec<Process> = (0..4).map(|_| w.sleeper()).collect();
    kill(&all[0]);
    kill(&all[2]);
    w.condition.notify_all(&w.lock.lock().unwrap());
    ends_well(&all[1]);
    ends_well(&all[3]);
    // None is left that could be notified in vain.
    let last = w.sleeper();
    w.notify(1);
    ends_well(&last);
}

/// Killed between being chosen and having the lock back: another one who waited gets it.
fn a_waiter_killed_as_it_is_notified_passes_it_on() {
    let mut slowest = Duration::ZERO;
    for _ in 0..20 {
        let w = world();
        let (victim, other) = (w.sleeper(), w.sleeper());
        let guard = w.lock.lock().unwrap();
        w.condition.notify(&guard, 1); // the victim's, which cannot have the lock yet
        kill(&victim);
        let begun = Instant::now();
        drop(guard);
        ends_well(&other);
        slowest = slowest.max(begun.elapsed());
    }
    println!("slowest: {slowest:?}");
}

fn a_passed_on_notify_goes_to_nobody_who_came_later() {
    let w = world();
    let victim = w.sleeper();
    let guard = w.lock.lock().unwrap();
    w.condition.notify(&guard, 1);
    kill(&victim);
    drop(guard);
    let late = [w.sleeper(), w.sleeper()];
    std::thread::sleep(SHORT * 3);
    assert!(late.iter().all(Process::is_alive));
    w.notify(2);
    late.iter().for_each(ends_well);
}

/// Whoever gets the lock back from a dead holder is told, and has the guard.
fn a_dead_holder_is_told_of() {
    let w = world();
    let waiter = start(|| {
        let guard = w.lock.lock().unwrap();
        match w.condition.wait(guard) {
            Err(WaitError::OwnerDied(mut guard)) => {
                guard.mended();
                *guard = 5;
            }
            other => panic!("{other:?}"),
        }
    });
    w.reach_waiting(1);
    let dies = start(|| {
        let guard = w.lock.lock().unwrap();
        w.condition.notify(&guard, 1);
        for_ever()
    });
    w.reach_waiting(0);
    kill(&dies);
    ends_well(&waiter);
    assert_eq!(*w.lock.lock().unwrap(), 5);
}

#[derive(Shareable)]
#[shareable(crate = multiproc_segment)]
#[repr(C)]
struct Small {
    lock: Mutex<u64>,
    condition: Condition<2>,
}

fn small() -> (Shared<Small>, impl Fn(&Small) -> Process) {
    let small = Small {
        lock: Mutex::new(0),
        condition: Condition::sized(),
    };
    let sleeper = |small: &Small| {
        let before = small.condition.waiting();
        let child = start(|| drop(small.condition.wait(small.lock.lock().unwrap()).unwrap()));
        until("it to wait", || small.condition.waiting() == before + 1);
        blocked(&child);
        child
    };
    (Shared::new(small).unwrap(), sleeper)
}

fn a_full_table_is_an_error() {
    let (s, sleeper) = small();
    let two = [sleeper(&s), sleeper(&s)];
    let full = s.condition.wait(s.lock.lock().unwrap());
    let Err(WaitError::Full(guard)) = full else {
        panic!("{full:?}");
    };
    assert!(s.lock.is_locked(), "it was not released");
    s.condition.notify(&guard, 1);
    drop(guard);
    ends_well(&two[0]);
    let third = sleeper(&s);
    s.condition.notify_all(&s.lock.lock().unwrap());
    ends_well(&third);
    ends_well(&two[1]);
}

fn the_dead_make_room() {
    let (s, sleeper) = small();
    for _ in 0..10 {
        let two = [sleeper(&s), sleeper(&s)];
        two.iter().for_each(kill);
        let (_, notified) = s
            .condition
            .wait_timeout(s.lock.lock().unwrap(), TOLERANCE)
            .unwrap();
        assert!(!notified);
        assert_eq!(s.condition.waiting(), 0);
    }
}

fn a_stopped_waiter_holds_nobody_up() {
    let w = world();
    let (stopped, other) = (w.sleeper(), w.sleeper());
    send_signal(&stopped, libc::SIGSTOP);
    w.notify(2);
    ends_well(&other);
    send_signal(&stopped, libc::SIGCONT);
    ends_well(&stopped);
}

fn debug_tells() {
    let w = world();
    assert_eq!(format!("{:?}", w.condition), "Condition { waiting: 0, .. }");
    let child = w.sleeper();
    assert_eq!(format!("{:?}", w.condition), "Condition { waiting: 1, .. }");
    w.notify(1);
    ends_well(&child);
}
