//! Events, semaphores, barriers and conditions under SIGKILL: each operation is run by a process
//! that dies at its first named step, then by one that dies at its second, and so on until
//! one comes through; then kills at random, and soaks without any. Nobody hangs, no permit is
//! lost, no wake-up is eaten.
//!
//! `KILLS=5000 SEED=7 SOAK_SECONDS=300 ROUNDS=100000 cargo test --release -p multiproc-tests
//! --test kill_sync` is the long form.

#[path = "../../crates/queue/tests/common/mod.rs"]
mod common;

use common::*;
use multiproc_barrier::{Barrier, BrokenBarrier};
use multiproc_condition::{Condition, WaitError};
use multiproc_core::identity::Identity;
use multiproc_core::step;
use multiproc_event::Event;
use multiproc_lock::{Mutex, MutexGuard, OwnerDied};
use multiproc_process::{Exit, ExitValue, Process, StartError, test};
use multiproc_segment::{Shareable, Shared};
use multiproc_semaphore::Semaphore;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

test::main! {
    #[timeout(180)]
    killed_at_each_step_of_set,
    #[timeout(180)]
    killed_at_each_step_of_a_set_that_wakes,
    #[timeout(180)]
    killed_at_each_step_of_a_wait_for_an_event,
    #[timeout(180)]
    killed_at_each_step_of_a_pulse,
    #[timeout(180)]
    killed_at_each_step_of_acquire_and_release,
    #[timeout(180)]
    killed_at_each_step_of_a_release_that_wakes,
    #[timeout(180)]
    killed_at_each_step_of_an_acquire_that_waits,
    #[timeout(180)]
    killed_at_each_step_of_a_permit,
    #[timeout(180)]
    killed_at_each_step_of_a_permit_that_waits,
    #[timeout(180)]
    killed_at_each_step_of_giving_a_permit_that_another_waits_for,
    #[timeout(180)]
    killed_at_each_step_of_getting_the_permits_of_the_dead,
    #[timeout(180)]
    killed_at_each_step_of_arriving_first,
    #[timeout(180)]
    killed_at_each_step_of_arriving_last,
    #[timeout(180)]
    killed_at_each_step_of_a_barrier_timeout,
    #[timeout(180)]
    killed_at_each_step_of_abort_and_reset,
    #[timeout(180)]
    killed_at_each_step_of_breaking_for_the_dead,
    #[timeout(180)]
    a_death_shows_although_another_party_took_the_pulse,
    #[timeout(180)]
    killed_at_each_step_of_a_notify,
    #[timeout(180)]
    killed_at_each_step_of_a_wait_that_is_notified,
    #[timeout(180)]
    killed_at_each_step_of_a_wait_that_times_out,
    #[timeout(180)]
    killed_at_each_step_of_passing_a_notify_on,
    #[timeout(3600)]
    a_storm_over_permits,
    #[timeout(3600)]
    a_storm_over_an_event,
    #[timeout(3600)]
    a_storm_over_a_barrier,
    #[timeout(3600)]
    a_storm_over_conditions,
    #[timeout(3600)]
    soak_condition_ping_pong,
    #[timeout(3600)]
    soak_event_pulses,
    #[timeout(3600)]
    soak_barrier_of_five,
}

/// Starts a helper: a daemon, so that a test that fails does not wait for it.
fn start<R: ExitValue>(f: impl FnOnce() -> R) -> Process {
    let helper = Process::builder().daemon(true).start(f);
    helper.map_err(StartError::from).unwrap()
}

fn shared<T: Shareable>(value: T) -> Shared<T> {
    Shared::new(value).unwrap()
}

/// Runs `scene(n)` for 0, 1, … until its victims come through, twice in a row: where one has to
/// wait, it passes one step more or less each time.
fn at_each_step(least: u64, scene: impl Fn(u64) -> bool) {
    let (mut deaths, mut through) = (0, 0);
    for n in 0.. {
        println!("killed at step {n}");
        if scene(n) {
            through += 1;
            if through == 2 {
                break;
            }
        } else {
            through = 0;
            deaths += 1;
        }
    }
    println!("{deaths} deaths");
    assert!(
        deaths >= least,
        "{deaths} steps, not {least}: are they armed?"
    );
}

/// A process that dies at step `n` of `f`, if that has so many.
fn victim(n: u64, f: impl FnOnce()) -> Process {
    start(move || {
        step::arm(n);
        f();
        step::disarm();
    })
}

/// Did it come through?
#[track_caller]
fn came_through(victim: &Process) -> bool {
    match ends(victim) {
        Exit::Signal(9) => false,
        exit => {
            assert_eq!(exit, Exit::Code(0), "{victim:?}");
            true
        }
    }
}

// ---- event ----

/// The event works: a waiter in another process is woken, whatever it was before.
#[track_caller]
fn event_works(event: &Event) {
    event.clear();
    assert!(!event.wait_timeout(Duration::from_millis(1)));
    let waiters = [start(|| event.wait()), start(|| event.wait())];
    waiters.iter().for_each(blocked);
    event.set();
    event.clear();
    waiters.iter().for_each(ends_well);
}

fn killed_at_each_step_of_set() {
    at_each_step(1, |n| {
        let event = shared(Event::new());
        let through = came_through(&victim(n, || event.set()));
        assert!(event.is_set());
        event_works(&event);
        through
    });
}

fn killed_at_each_step_of_a_set_that_wakes() {
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

fn killed_at_each_step_of_a_wait_for_an_event() {
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

fn killed_at_each_step_of_a_pulse() {
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

// ---- semaphore ----

/// Of `value` permits none is lost, and none is there twice.
#[track_caller]
fn semaphore_works<const N: usize>(s: &Semaphore<N>, value: u32) {
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

fn killed_at_each_step_of_acquire_and_release() {
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

fn killed_at_each_step_of_a_release_that_wakes() {
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

fn killed_at_each_step_of_an_acquire_that_waits() {
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

fn killed_at_each_step_of_a_permit() {
    at_each_step(15, |n| {
        let s = shared(Semaphore::<4>::sized(3));
        let through = came_through(&victim(n, || drop(s.permits(2).unwrap())));
        semaphore_works(&s, 3);
        through
    });
}

fn killed_at_each_step_of_a_permit_that_waits() {
    at_each_step(8, |n| {
        let s = shared(Semaphore::<1>::sized(3));
        let holder = start(|| {
            let _all = s.permits(3).unwrap();
            std::thread::sleep(Duration::from_secs(600));
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

fn killed_at_each_step_of_giving_a_permit_that_another_waits_for() {
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
fn killed_at_each_step_of_getting_the_permits_of_the_dead() {
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

// ---- barrier ----

#[track_caller]
fn barrier_works<const N: usize>(b: &Barrier<N>) {
    b.reset();
    assert_eq!((b.waiting(), b.is_broken()), (0, false));
    let parties = b.parties();
    let others: Vec<Process> = (1..parties)
        .map(|_| start(|| (0..5).for_each(|_| assert!(b.wait_timeout(PATIENCE).is_ok()))))
        .collect();
    (0..5).for_each(|_| assert!(b.wait_timeout(PATIENCE).is_ok()));
    others.iter().for_each(ends_well);
    assert_eq!((b.waiting(), b.is_broken()), (0, false));
}

fn outcome<const N: usize>(b: &Barrier<N>) -> Process {
    start(|| b.wait().is_ok() as i32)
}

fn killed_at_each_step_of_arriving_first() {
    at_each_step(6, |n| {
        let b = shared(Barrier::<4>::sized(3));
        let dies = victim(n, || _ = b.wait());
        let there = blocked_or_gone(&dies) || b.waiting() == 1;
        let others = [outcome(&b), outcome(&b)];
        let through = there && came_through(&dies);
        if there {
            // All were there: it was killed before or after the round was over.
            let codes = others.each_ref().map(|other| ends(other).code());
            assert!(codes == [1, 1] || codes == [0, 0] && !through, "{codes:?}");
        } else {
            // Not there: the two wait for it.
            others.iter().for_each(blocked);
            b.abort();
            others
                .iter()
                .for_each(|other| assert_eq!(ends(other), Exit::Code(0)));
        }
        barrier_works(&b);
        through
    });
}

fn killed_at_each_step_of_arriving_last() {
    at_each_step(10, |n| {
        let b = shared(Barrier::<4>::sized(3));
        let others = [outcome(&b), outcome(&b)];
        others.iter().for_each(blocked);
        let dies = victim(n, || _ = b.wait_with(|| step!("test: in the action")));
        let through = came_through(&dies);
        if !through && b.waiting() == 2 && !b.is_broken() {
            // It was not there.
            assert!(others.iter().all(Process::is_alive));
            b.abort();
        }
        let codes = others.each_ref().map(|other| ends(other).code());
        assert!(codes == [1, 1] || codes == [0, 0] && !through, "{codes:?}");
        barrier_works(&b);
        through
    });
}

fn killed_at_each_step_of_a_barrier_timeout() {
    at_each_step(8, |n| {
        let b = shared(Barrier::<4>::sized(3));
        let other = outcome(&b);
        blocked(&other);
        let short = Duration::from_millis(2);
        let dies = victim(n, || assert_eq!(b.wait_timeout(short), Err(BrokenBarrier)));
        let through = came_through(&dies);
        if !through && b.waiting() == 1 && !b.is_broken() {
            b.abort();
        }
        assert_eq!(ends(&other), Exit::Code(0));
        barrier_works(&b);
        through
    });
}

fn killed_at_each_step_of_abort_and_reset() {
    at_each_step(3, |n| {
        let b = shared(Barrier::<4>::sized(3));
        let others = [outcome(&b), outcome(&b)];
        others.iter().for_each(blocked);
        let through = came_through(&victim(n, || {
            b.abort();
            b.reset();
        }));
        others
            .iter()
            .for_each(|other| assert_eq!(ends(other), Exit::Code(0)));
        barrier_works(&b);
        through
    });
}

/// The recovery itself: one who waits is killed, and so is the one who finds that out.
fn killed_at_each_step_of_breaking_for_the_dead() {
    at_each_step(8, |n| {
        let b = shared(Barrier::<4>::sized(4));
        let first = start(|| _ = b.wait());
        blocked(&first);
        let finds_out = victim(n, || assert_eq!(b.wait(), Err(BrokenBarrier)));
        let there = blocked_or_gone(&finds_out);
        let other = outcome(&b);
        blocked(&other);
        kill(&first);
        assert_eq!(ends(&other), Exit::Code(0));
        let through = came_through(&finds_out);
        assert!(there || !through);
        barrier_works(&b);
        through
    });
}

/// A party that has not yet come back from the last turn keeps its pulse, so the first one of
/// this turn has the second's. That one dies; the second one finds the pulse of a dead process
/// in its place, and must not pass it off as its own: all would be released, as if the dead
/// one had been there.
fn a_death_shows_although_another_party_took_the_pulse() {
    at_each_step(10, |n| {
        let b = shared(Barrier::<3>::sized(3));
        let twice = || {
            assert!(b.wait().is_ok());
            i32::from(b.wait().is_ok())
        };
        let late = start(twice);
        blocked(&late);
        send_signal(&late, libc::SIGSTOP);
        until("it to be stopped", || state_of(late.pid()) == Some('T'));
        let dies = start(twice);
        until("it to wait", || b.waiting() == 2);
        assert!(b.wait().is_ok());
        until("it to wait again", || b.waiting() == 1);
        kill(&dies);
        let heir = victim(n, || assert_eq!(b.wait(), Err(BrokenBarrier)));
        until("another one to wait, or to know", || {
            b.waiting() == 2 || !heir.is_alive()
        });
        send_signal(&late, libc::SIGCONT);
        assert_eq!(ends(&late), Exit::Code(0), "released without the dead one");
        let through = came_through(&heir);
        barrier_works(&b);
        through
    });
}

fn state_of(pid: u32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat[stat.rfind(')')? + 1..].trim_start().chars().next()
}

// ---- condition ----

#[derive(Shareable)]
#[repr(C)]
struct World {
    lock: Mutex<u64>,
    condition: Condition<4>,
}

fn world() -> Shared<World> {
    shared(World {
        lock: Mutex::new(0),
        condition: Condition::sized(),
    })
}

impl World {
    /// The lock; mended, if somebody died with it.
    fn held(&self) -> MutexGuard<'_, u64> {
        self.lock.lock().unwrap_or_else(mend)
    }

    fn wait(&self) {
        let guard = self.held();
        match self.condition.wait(guard) {
            Ok(_) => {}
            Err(WaitError::OwnerDied(guard)) => drop(mend(OwnerDied(guard))),
            Err(error) => panic!("{error}"),
        }
    }

    fn sleeper(&self) -> Process {
        let child = start(|| self.wait());
        blocked(&child); // nobody has the lock: so it sleeps in the table
        child
    }

    fn notify(&self, n: usize) {
        self.condition.notify(&self.held(), n);
    }

    /// Nobody is left, and all four can wait and be notified, one by one.
    #[track_caller]
    fn works(&self) {
        let all: Vec<Process> = (0..4).map(|_| self.sleeper()).collect();
        until("all to wait, and the dead to be gone", || {
            self.condition.waiting() == 4
        });
        self.notify(1);
        ends_well(&all[0]);
        self.notify(3);
        all[1..].iter().for_each(ends_well);
        assert_eq!(self.condition.waiting(), 0);
    }
}

fn mend(OwnerDied(mut guard): OwnerDied<MutexGuard<'_, u64>>) -> MutexGuard<'_, u64> {
    guard.mended();
    guard
}

fn killed_at_each_step_of_a_notify() {
    at_each_step(10, |n| {
        let w = world();
        let sleepers = [w.sleeper(), w.sleeper(), w.sleeper()];
        let through = came_through(&victim(n, || w.notify(2)));
        // Some of the two are woken; whoever looks after the dead one goes on from there.
        until("the chosen to be woken", || {
            w.condition.waiting() == sleepers.iter().filter(|s| s.is_alive()).count()
        });
        let left = w.condition.waiting();
        assert!((1..=3).contains(&left) && (!through || left == 1), "{left}");
        w.notify(left);
        sleepers.iter().for_each(ends_well);
        w.works();
        through
    });
}

fn killed_at_each_step_of_a_wait_that_is_notified() {
    at_each_step(12, |n| {
        let w = world();
        let dies = victim(n, || w.wait());
        let there = blocked_or_gone(&dies) && w.condition.waiting() == 1;
        let other = w.sleeper();
        w.notify(1);
        if there {
            // It was chosen; killed before its wait is over, the other one gets that.
            if came_through(&dies) {
                w.notify(1);
                ends_well(&other);
                w.works();
                return true;
            }
            // Killed holding the lock, behind its wait: then it had it.
            let begun = Instant::now();
            while other.is_alive() && begun.elapsed() < Duration::from_millis(400) {
                std::thread::sleep(Duration::from_millis(1));
            }
            if other.is_alive() {
                assert_eq!(w.condition.waiting(), 1);
                assert!(n >= 12, "the wake-up was eaten");
                w.notify(1);
            }
        } else {
            assert!(!came_through(&dies));
            // Killed before it slept: chosen or not, the other one goes on.
            until("the other to go on", || !other.is_alive());
        }
        ends_well(&other);
        w.works();
        false
    });
}

fn killed_at_each_step_of_a_wait_that_times_out() {
    at_each_step(12, |n| {
        let w = world();
        let other = w.sleeper();
        let through = came_through(&victim(n, || {
            let guard = w.held();
            let (_, notified) = w
                .condition
                .wait_timeout(guard, Duration::from_millis(2))
                .unwrap();
            assert!(!notified);
        }));
        w.notify(1);
        ends_well(&other);
        w.works();
        through
    });
}

/// The recovery itself: who was chosen is killed; so is the one who would pass the notify on.
fn killed_at_each_step_of_passing_a_notify_on() {
    at_each_step(8, |n| {
        let w = world();
        let chosen = w.sleeper();
        let passes_on = start(|| {
            let guard = w.held();
            step::arm(n);
            drop(w.condition.wait(guard));
            step::disarm();
        });
        until("it to wait, or not", || {
            w.condition.waiting() == 2 || !passes_on.is_alive()
        });
        blocked_or_gone(&passes_on);
        let other = w.sleeper();
        let guard = w.held();
        w.condition.notify(&guard, 1);
        kill(&chosen);
        drop(guard);
        // One of the two gets it. If it is the one that dies of it, the other one.
        until("one to go on", || {
            !passes_on.is_alive() || !other.is_alive()
        });
        if other.is_alive() {
            if came_through(&passes_on) {
                w.notify(1);
                ends_well(&other);
                w.works();
                return true;
            }
            let begun = Instant::now();
            while other.is_alive() && begun.elapsed() < Duration::from_millis(400) {
                std::thread::sleep(Duration::from_millis(1));
            }
            if other.is_alive() {
                assert!(n >= 12, "the wake-up was eaten");
                w.notify(1);
            }
            ends_well(&other);
        } else {
            ends_well(&other);
            w.notify(1);
            if came_through(&passes_on) {
                return true;
            }
        }
        w.works();
        false
    });
}

// ---- storms ----

fn environment(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{name}={text} is no number")),
        Err(_) => default,
    }
}

fn spin(micros: u64) {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_micros(micros) {
        std::hint::spin_loop();
    }
}

const WORKERS: usize = 4;

/// Kills workers at random and replaces them. After each kill `recovered` (which may do
/// something about it) must come true; it is given the number of the one that died.
fn storm(work: impl Fn(usize), recovered: impl Fn(usize), end: impl Fn()) {
    let (kills, seed) = (
        environment("KILLS", 300) / 4,
        environment("SEED", 20_240_607),
    );
    println!("SEED={seed}, {kills} kills");
    let mut dice = Dice::new(seed);
    let mut all: Vec<Process> = (0..WORKERS).map(|me| start(|| work(me))).collect();
    let mut times = Vec::new();
    for _ in 0..kills {
        let who = dice.below(WORKERS as u64) as usize;
        spin(dice.below(3_000));
        assert!(all[who].is_alive(), "{:?} ended by itself", all[who]);
        kill(&all[who]);
        let killed = Instant::now();
        recovered(who);
        times.push(killed.elapsed());
        all[who] = start(|| work(who));
    }
    end();
    all.iter().for_each(ends_well);
    times.sort();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    println!(
        "{kills} kills, 0 hangs; recovery p50 {:?}, p99 {:?}, max {:?}",
        at(0.5),
        at(0.99),
        at(1.0)
    );
}

fn a_storm_over_permits() {
    let (gate, owner) = (shared(Semaphore::<8>::sized(2)), shared(AtomicU64::new(0)));
    let (entered, stop) = (Counter::new(), Counter::new());
    storm(
        |me| {
            let mine = Identity::me().to_bits();
            let mut dice = Dice::new(me as u64 + entered.get());
            while stop.get() == 0 {
                // Two at once exclude everybody; one by one only fills the table.
                if dice.below(3) == 0 {
                    drop(gate.permit());
                    continue;
                }
                let _both = gate.permits(2).unwrap();
                let before = owner.swap(mine, SeqCst);
                let alive = Identity::from_bits(before).is_some_and(Identity::is_alive);
                assert!(!alive, "two hold all permits");
                entered.count();
                owner.store(0, SeqCst);
            }
        },
        |_| {
            let before = entered.get();
            until("anybody to get permits", || entered.get() > before);
        },
        || {
            stop.set(1);
        },
    );
    semaphore_works(&gate, 2);
}

fn a_storm_over_an_event() {
    let (event, turns) = (shared(Event::new()), Counter::new());
    let stop = Counter::new();
    storm(
        |me| {
            while stop.get() == 0 {
                if me == 0 {
                    event.set();
                    event.clear();
                } else {
                    event.wait();
                    turns.count();
                }
            }
        },
        |who| {
            let before = turns.get();
            if who == 0 {
                event.set(); // in its place
            }
            until("anybody to go on", || turns.get() > before);
            event.clear();
        },
        || {
            stop.set(1);
            event.set();
            std::thread::sleep(Duration::from_millis(100));
            event.set();
        },
    );
    event.clear();
    event_works(&event);
}

fn a_storm_over_a_barrier() {
    let (b, rounds, stop) = (
        shared(Barrier::<4>::sized(WORKERS)),
        Counter::new(),
        Counter::new(),
    );
    let whole = shared(Event::new());
    whole.set();
    let found = std::cell::Cell::new(0);
    storm(
        |_| {
            while stop.get() == 0 {
                match b.wait_with(|| _ = rounds.count()) {
                    Ok(index) => assert!(index < WORKERS),
                    Err(_) => whole.wait(), // for the repair
                }
            }
        },
        |_| {
            // One party is missing now. If it died waiting, the others find out; if it died
            // between two rounds, they cannot know.
            whole.clear();
            let begun = Instant::now();
            while !b.is_broken() && begun.elapsed() < Duration::from_millis(120) {
                std::thread::yield_now();
            }
            found.set(found.get() + u32::from(b.is_broken()));
            b.abort();
            assert!(b.is_broken());
            b.reset();
            whole.set();
        },
        || {
            let before = rounds.get();
            until("a round", || rounds.get() > before + 10);
            stop.set(1);
            std::thread::sleep(Duration::from_millis(50));
            b.abort();
        },
    );
    println!(
        "{} rounds; {} deaths found by those who waited",
        rounds.get(),
        found.get()
    );
    assert!(rounds.get() > 0);
    barrier_works(&b);
}

#[derive(Shareable)]
#[repr(C)]
struct Store {
    /// Twice the same number: a half-done change shows.
    goods: Mutex<[u64; 2]>,
    more: Condition<8>,
    less: Condition<8>,
}

fn a_storm_over_conditions() {
    let s = shared(Store {
        goods: Mutex::new([0; 2]),
        more: Condition::sized(),
        less: Condition::sized(),
    });
    let (changes, stop) = (Counter::new(), Counter::new());
    const MOST: u64 = 3;
    /// The lock, and what it protects whole: the smaller number, if somebody died over it.
    fn whole<'a>(
        guard: Result<MutexGuard<'a, [u64; 2]>, OwnerDied<MutexGuard<'a, [u64; 2]>>>,
    ) -> MutexGuard<'a, [u64; 2]> {
        guard.unwrap_or_else(|OwnerDied(mut guard)| {
            *guard = [guard[0].min(guard[1]); 2];
            guard.mended();
            guard
        })
    }
    storm(
        |me| {
            while stop.get() == 0 {
                let mut goods = whole(s.goods.lock());
                let gives = me % 2 == 0;
                let (mine, others) = if gives {
                    (&s.less, &s.more)
                } else {
                    (&s.more, &s.less)
                };
                while stop.get() == 0 && goods[0] == if gives { MOST } else { 0 } {
                    goods = match mine.wait(goods) {
                        Ok(goods) => goods,
                        Err(WaitError::OwnerDied(goods)) => whole(Err(OwnerDied(goods))),
                        Err(error) => panic!("{error}"),
                    };
                    assert_eq!(goods[0], goods[1], "torn, and nobody said so");
                }
                if stop.get() != 0 {
                    break; // several may have left their wait for that alone
                }
                for half in 0..2 {
                    goods[half] = match (gives, goods[half]) {
                        (true, n) => n + 1,
                        (false, n) => n.saturating_sub(1),
                    };
                }
                others.notify(&goods, 1);
                changes.count();
            }
        },
        |_| {
            // What a dead one had taken in hand, others may wait for: it says so itself, as
            // whoever finds the lock's owner dead would have to.
            let goods = whole(s.goods.lock());
            s.more.notify(&goods, 1);
            s.less.notify(&goods, 1);
            drop(goods);
            let before = changes.get();
            until("anything to change", || changes.get() > before);
        },
        || {
            stop.set(1);
            let goods = whole(s.goods.lock());
            s.more.notify_all(&goods);
            s.less.notify_all(&goods);
        },
    );
    let goods = whole(s.goods.lock());
    assert_eq!((s.more.waiting(), s.less.waiting()), (0, 0));
    assert_eq!(goods[0], goods[1]);
    assert!(goods[0] <= MOST, "{} of {MOST}", goods[0]);
}

// ---- soaks ----

/// What a soak saw. A wake-up that is lost shows as a wait of a whole slice.
#[derive(Debug, Default)]
struct Soak {
    rounds: u64,
    /// 45 to 60 ms.
    like_a_slice: u64,
    /// All above 20 ms, in ms: those of a busy machine are anything, those of a lost wake-up
    /// just above 50.
    long: Vec<u128>,
}

impl Soak {
    fn note(&mut self, took: Duration) {
        self.rounds += 1;
        self.like_a_slice += u64::from((45..60).contains(&took.as_millis()));
        if took > Duration::from_millis(20) {
            self.long.push(took.as_millis());
        }
    }

    /// A busy machine makes some waits long, too: not many, and not just so long.
    fn over(self, what: &str) {
        println!("{what}: {self:?}");
        let allowed = 3 + self.rounds / 10_000;
        assert!(
            self.like_a_slice <= allowed,
            "{what}: wake-ups are lost: {self:?}"
        );
    }
}

fn soak_time() -> Duration {
    Duration::from_secs(environment("SOAK_SECONDS", 10))
}

fn soak_condition_ping_pong() {
    let w = world();
    let turn = |mine: u64, play: &dyn Fn() -> bool| {
        let mut soak = Soak::default();
        while play() {
            let begun = Instant::now();
            let guard = w.held();
            let (mut guard, _) = w
                .condition
                .wait_for_timeout(guard, PATIENCE, |n| **n % 2 == mine || **n > u64::MAX / 2)
                .unwrap();
            soak.note(begun.elapsed());
            if *guard > u64::MAX / 2 {
                break;
            }
            *guard += 1;
            w.condition.notify_all(&guard);
        }
        soak
    };
    let other = start(|| drop(turn(1, &|| true)));
    let begun = Instant::now();
    let soak = turn(0, &|| begun.elapsed() < soak_time());
    *w.held() = u64::MAX - 1;
    w.notify(usize::MAX);
    ends_well(&other);
    soak.over("condition ping-pong");
}

fn soak_event_pulses() {
    let (ping, pong, stop) = (shared(Event::new()), shared(Event::new()), Counter::new());
    let other = start(|| {
        while stop.get() == 0 {
            ping.wait();
            ping.clear();
            pong.set();
        }
    });
    let (begun, mut soak) = (Instant::now(), Soak::default());
    while begun.elapsed() < soak_time() {
        if soak.rounds % 64 == 0 {
            spin(30); // let it fall asleep now and then
        }
        let sent = Instant::now();
        ping.set();
        assert!(pong.wait_timeout(PATIENCE), "hung after {soak:?}");
        pong.clear();
        soak.note(sent.elapsed());
    }
    stop.set(1);
    ping.set();
    ends_well(&other);
    soak.over("event pulses");
}

fn soak_barrier_of_five() {
    let rounds = environment("ROUNDS", 20_000);
    let b = shared(Barrier::new(5));
    let pass = || {
        let mut soak = Soak::default();
        for _ in 0..rounds {
            let begun = Instant::now();
            assert!(b.wait_timeout(PATIENCE).is_ok(), "hung after {soak:?}");
            soak.note(begun.elapsed());
        }
        soak
    };
    let others: Vec<Process> = (0..4).map(|_| start(|| drop(pass()))).collect();
    let soak = pass();
    others.iter().for_each(ends_well);
    soak.over("barrier of five");
}
