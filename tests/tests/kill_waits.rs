//! Waits that would be over if their waiter looked around: behind a peer that is stopped, under
//! signals that come more often than slices end, among wake-ups that are no news, and where the
//! one that was to pass the news on is killed, too.

use common::*;
use multiproc_barrier::{Barrier, BrokenBarrier};
use multiproc_condition::{Condition, WaitError};
use multiproc_core::step;
use multiproc_lock::{Lock, Mutex, MutexGuard, OwnerDied, RwLock};
use multiproc_process::{ExitValue, Process, test};
use multiproc_queue::Queue;
use multiproc_segment::{Shareable, Shared};
use multiproc_semaphore::Semaphore;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering::*};

test::main! {
    #[timeout(180)]
    a_dead_holder_of_a_lock_is_noticed_among_signals,
    #[timeout(180)]
    a_dead_reader_is_noticed_among_signals,
    #[timeout(180)]
    a_dead_ones_permit_comes_back_among_signals,
    #[timeout(180)]
    a_dead_party_breaks_the_barrier_among_signals,
    #[timeout(180)]
    a_dead_ones_notify_is_passed_on_among_signals,
    #[timeout(180)]
    the_end_of_a_queue_is_noticed_among_signals,
    #[timeout(180)]
    a_dead_holder_of_a_mutex_is_noticed_among_signals_without_the_list,
    #[timeout(180)]
    permits_of_the_dead_come_back_although_others_come_and_go,
    #[timeout(180)]
    a_notify_is_passed_on_behind_one_that_is_stopped,
    #[timeout(180)]
    a_notify_that_was_being_passed_on_is_not_taken_for_the_next_one,
    #[timeout(180)]
    nobody_is_notified_because_a_waiter_dies_while_others_look_around,
    #[timeout(180)]
    a_notify_is_passed_on_where_the_table_was_a_dead_ones_without_the_list,
    #[timeout(180)]
    the_last_to_arrive_sees_a_dead_party_without_the_list,
}

/// A process that holds what `f` gives until it is killed.
fn holder<G>(ready: &Counter, f: impl FnOnce() -> G) -> Process {
    let before = ready.get();
    let child = start(|| {
        let _held = f();
        ready.count();
        for_ever()
    });
    ready.reach(before + 1);
    child
}

// ---- signals ----

/// Where the handler counts.
static SIGNALS: AtomicPtr<AtomicU64> = AtomicPtr::new(std::ptr::null_mut());

/// From now on this process gets a signal every 5 ms, and counts them.
fn signals_come(counter: &'static AtomicU64) {
    extern "C" fn count(_: libc::c_int) {
        // SAFETY: stored before the first signal; alive as long as the process.
        unsafe { (*SIGNALS.load(Relaxed)).fetch_add(1, Relaxed) };
    }
    SIGNALS.store(std::ptr::from_ref(counter).cast_mut(), Relaxed);
    let handler: extern "C" fn(libc::c_int) = count;
    let each = libc::timeval {
        tv_sec: 0,
        tv_usec: 5_000,
    };
    let timer = libc::itimerval {
        it_interval: each,
        it_value: each,
    };
    // SAFETY: a handler that adds to a number; a timer of this process's own.
    unsafe {
        libc::signal(libc::SIGALRM, handler as libc::sighandler_t);
        assert_eq!(
            libc::setitimer(libc::ITIMER_REAL, &timer, std::ptr::null_mut()),
            0
        );
    }
}

/// A process waits in `wait` and gets signals all the time; `victim` is killed when that has long
/// begun; and the wait ends.
fn ends_among_signals<R: ExitValue>(victim: &Process, wait: impl FnOnce() -> R) {
    let signals: &'static Shared<AtomicU64> = Box::leak(Box::new(shared(AtomicU64::new(0))));
    let waiter = start(|| {
        signals_come(signals);
        wait()
    });
    until("the waiter to have waited among signals", || {
        signals.load(Relaxed) > 20
    });
    kill(victim);
    ends_well(&waiter);
}

fn a_dead_holder_of_a_lock_is_noticed_among_signals() {
    let (lock, ready) = (shared(Lock::new()), Counter::new());
    let victim = holder(&ready, || lock.lock());
    ends_among_signals(&victim, || assert!(lock.lock().is_err()));
}

fn a_dead_reader_is_noticed_among_signals() {
    let (lock, ready) = (shared(RwLock::new(0_u64)), Counter::new());
    let victim = holder(&ready, || lock.read());
    ends_among_signals(&victim, || assert!(lock.write().is_ok()));
}

fn a_dead_ones_permit_comes_back_among_signals() {
    let (semaphore, ready) = (shared(Semaphore::new(1)), Counter::new());
    let victim = holder(&ready, || semaphore.permit());
    ends_among_signals(&victim, || drop(semaphore.permit()));
}

fn a_dead_party_breaks_the_barrier_among_signals() {
    let barrier = shared(Barrier::new(3));
    let victim = start(|| assert!(barrier.wait().is_err()));
    until("one to have arrived", || barrier.waiting() == 1);
    ends_among_signals(&victim, || assert_eq!(barrier.wait(), Err(BrokenBarrier)));
}

/// Killed after it was chosen, and before it has the lock.
fn a_dead_ones_notify_is_passed_on_among_signals() {
    let w = world();
    let victim = w.sleeper();
    let signals: &'static Shared<AtomicU64> = Box::leak(Box::new(shared(AtomicU64::new(0))));
    let waiter = start(|| {
        signals_come(signals);
        w.wait();
    });
    until("the waiter to have waited among signals", || {
        w.condition.waiting() == 2 && signals.load(Relaxed) > 20
    });
    let guard = w.held();
    w.condition.notify(&guard, 1);
    kill(&victim);
    drop(guard);
    ends_well(&waiter);
}

fn the_end_of_a_queue_is_noticed_among_signals() {
    let queue = Queue::<u32>::bounded(4).unwrap();
    let (tx, rx) = queue.split();
    let ready = Counter::new();
    let victim = {
        let ready = ready.clone();
        start(move || {
            let _tx = tx;
            ready.count();
            loop {
                std::thread::park();
            }
        })
    };
    ready.reach(1);
    ends_among_signals(&victim, || assert!(rx.get().is_err()));
}

fn a_dead_holder_of_a_mutex_is_noticed_among_signals_without_the_list() {
    // SAFETY: one thread, before its first lock.
    unsafe { std::env::set_var("MULTIPROC_NO_ROBUST_LIST", "1") };
    let (mutex, ready) = (shared(Mutex::new(0_u64)), Counter::new());
    let victim = holder(&ready, || mutex.lock());
    ends_among_signals(&victim, || assert!(mutex.lock().is_err()));
}

// ---- semaphore ----

/// One waits for two permits, one of which is a dead one's; the other one is taken and given back
/// all the time, and wakes it each time.
fn permits_of_the_dead_come_back_although_others_come_and_go() {
    let (semaphore, ready) = (shared(Semaphore::new(2)), Counter::new());
    let victim = holder(&ready, || semaphore.permit());
    let rounds = Counter::new();
    let busy = start(|| {
        loop {
            let one = semaphore.permit();
            rounds.count();
            drop(one);
        }
    });
    rounds.reach(1);
    let waiter = start(|| drop(semaphore.permits(2).unwrap()));
    blocked(&waiter);
    let begun = rounds.get();
    rounds.reach(begun + 200_000);
    assert!(waiter.is_alive());
    kill(&victim);
    ends_well(&waiter);
    kill(&busy);
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
        match self.condition.wait(self.held()) {
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
}

fn mend(OwnerDied(mut guard): OwnerDied<MutexGuard<'_, u64>>) -> MutexGuard<'_, u64> {
    guard.mended();
    guard
}

/// Each watches the next one in the table; and the next one is stopped.
fn a_notify_is_passed_on_behind_one_that_is_stopped() {
    let w = world();
    let (chosen, other, stopped) = (w.sleeper(), w.sleeper(), w.sleeper());
    send_signal(&stopped, libc::SIGSTOP);
    let guard = w.held();
    w.condition.notify(&guard, 1);
    kill(&chosen);
    drop(guard);
    ends_well(&other);
    send_signal(&stopped, libc::SIGCONT);
    w.notify(1);
    ends_well(&stopped);
}

/// The number of the step `name` in `f`, which is run in a child.
fn number_of(name: &str, f: impl FnOnce()) -> u64 {
    let number = Counter::new();
    let child = start(|| {
        step::count_on();
        f();
        step::disarm();
        let names = step::names();
        let at = names.iter().position(|n| *n == name);
        number.set(at.unwrap_or_else(|| panic!("{name}: {names:?}")) as u64);
    });
    ends_well(&child);
    number.get()
}

/// Who was chosen is killed; who passes the notify on is killed when it has named the heir; and
/// then there is another notify. Two notifies, two who wait.
fn a_notify_that_was_being_passed_on_is_not_taken_for_the_next_one() {
    // In a full table, who comes looks for the dead.
    let full = |w: &Shared<World>| {
        let chosen = w.sleeper();
        let others = [w.sleeper(), w.sleeper(), w.sleeper()];
        // The others watch each other; stopped, they leave it to who comes.
        others.iter().for_each(|p| send_signal(p, libc::SIGSTOP));
        let guard = w.held();
        w.condition.notify(&guard, 1);
        kill(&chosen);
        drop(guard);
        others
    };
    let passes_on = |w: &Shared<World>| {
        let beside = Mutex::new(());
        let guard = beside.lock().unwrap();
        let time = std::time::Duration::from_nanos(1);
        drop(w.condition.wait_timeout(guard, time));
    };
    let w = world();
    let others = full(&w);
    let step = number_of("condition: heir named", || passes_on(&w));
    others.iter().for_each(|p| send_signal(p, libc::SIGCONT));
    w.notify(3);
    others.iter().for_each(ends_well);

    let w = world();
    let others = full(&w);
    let dies = start(|| {
        step::arm(step);
        passes_on(&w);
    });
    assert_eq!(ends(&dies), multiproc_process::Exit::Signal(9));
    w.notify(1);
    others.iter().for_each(|p| send_signal(p, libc::SIGCONT));
    until("two to go on", || {
        others.iter().filter(|p| !p.is_alive()).count() == 2
    });
    w.notify(1);
    others.iter().for_each(ends_well);
}

/// One looks after the dead, and is stopped in the middle of it; another waiter is killed, whom
/// nobody had notified. That is no notify for a third one.
fn nobody_is_notified_because_a_waiter_dies_while_others_look_around() {
    let scene = |w: &Shared<World>| {
        let dead = w.sleeper();
        let waits = w.sleeper();
        let dies = w.sleeper();
        [&waits, &dies]
            .iter()
            .for_each(|p| send_signal(p, libc::SIGSTOP));
        let fills = w.sleeper();
        send_signal(&fills, libc::SIGSTOP);
        kill(&dead);
        (waits, dies, fills)
    };
    let looks = |w: &Shared<World>| {
        let beside = Mutex::new(());
        let guard = beside.lock().unwrap();
        let time = std::time::Duration::from_nanos(1);
        drop(w.condition.wait_timeout(guard, time));
    };
    let w = world();
    let (waits, dies, fills) = scene(&w);
    let step = number_of("condition: about to pass on", || looks(&w));
    [&waits, &dies, &fills]
        .iter()
        .for_each(|p| send_signal(p, libc::SIGCONT));
    w.notify(3);
    [&waits, &dies, &fills].iter().for_each(|p| ends_well(p));

    let w = world();
    let (waits, dies, fills) = scene(&w);
    let looker = start(|| {
        step::pause(step);
        looks(&w);
        step::disarm();
    });
    until("it to be stopped there", || {
        state_of(looker.pid()) == Some('T')
    });
    kill(&dies);
    send_signal(&looker, libc::SIGCONT);
    ends_well(&looker);
    assert_eq!(w.condition.waiting(), 2, "one was notified by nobody");
    [&waits, &fills]
        .iter()
        .for_each(|p| send_signal(p, libc::SIGCONT));
    w.notify(2);
    ends_well(&waits);
    ends_well(&fills);
}

/// The state of a process in /proc: `T` is stopped.
fn state_of(pid: u32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat[stat.rfind(')')? + 1..].trim_start().chars().next()
}

/// Nobody tells that the holder of the table's lock is dead; who looks around finds out.
fn a_notify_is_passed_on_where_the_table_was_a_dead_ones_without_the_list() {
    // SAFETY: one thread, before its first lock.
    unsafe { std::env::set_var("MULTIPROC_NO_ROBUST_LIST", "1") };
    let notify = |w: &Shared<World>| {
        let beside = Mutex::new(());
        w.condition.notify(&beside.lock().unwrap(), 1);
    };
    let w = world();
    let step = number_of("condition: about to choose", || notify(&w));
    let (chosen, other) = (w.sleeper(), w.sleeper());
    let go = Counter::new();
    let dies = start(|| {
        go.reach(1);
        step::arm(step);
        notify(&w);
    });
    let guard = w.held();
    w.condition.notify(&guard, 1);
    go.count();
    assert_eq!(ends(&dies), multiproc_process::Exit::Signal(9));
    kill(&chosen);
    drop(guard);
    ends_well(&other);
}

fn the_last_to_arrive_sees_a_dead_party_without_the_list() {
    // SAFETY: one thread, before its first lock.
    unsafe { std::env::set_var("MULTIPROC_NO_ROBUST_LIST", "1") };
    for _ in 0..10 {
        let barrier = shared(Barrier::new(2));
        let victim = start(|| assert!(barrier.wait().is_err()));
        until("it to have arrived", || barrier.waiting() == 1);
        kill(&victim);
        assert_eq!(barrier.wait(), Err(BrokenBarrier));
    }
}
