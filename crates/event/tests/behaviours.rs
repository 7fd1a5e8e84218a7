//! The rows E of the list of behaviours, F9, and what an event promises beyond them.

use common::*;
use multiproc_event::Event;
use multiproc_process::{Process, test};
use multiproc_segment::{Shareable, Shared};
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

test::main! {
    starts_clear_and_times_out,
    set_stays_set,
    debug_follows,
    set_wakes_every_waiter_in_processes_and_threads,
    a_pulse_releases_whoever_waits,
    a_signal_handler_sets_the_event_that_its_thread_waits_for,
    a_signal_handler_sets_the_event_that_its_thread_looks_at,
    a_signal_is_not_a_set,
    killed_waiters_hold_nobody_up,
    a_stopped_waiter_holds_nobody_up,
    lives_in_a_struct_and_under_a_name,
    what_was_done_before_set_is_seen,
    many_set_at_once,
}

/// What a clock may say less than was waited.
const TOLERANCE: Duration = Duration::from_millis(1);

fn event() -> Shared<Event> {
    Shared::new(Event::new()).unwrap()
}

/// E1: a new event is clear; a wait of no time is false at once; one of some time, after that.
fn starts_clear_and_times_out() {
    let event = event();
    assert!(!event.is_set());
    assert!(!event.wait_timeout(Duration::ZERO));
    let begun = Instant::now();
    assert!(!event.wait_timeout(SHORT));
    assert!(begun.elapsed() >= SHORT - TOLERANCE);
}

/// E2: after set it is set, and every wait is true at once, again and again.
fn set_stays_set() {
    let event = event();
    event.set();
    for _ in 0..3 {
        assert!(event.is_set());
        event.wait();
        assert!(event.wait_timeout(Duration::ZERO));
        assert!(event.wait_timeout(PATIENCE));
        event.set();
    }
    event.clear();
    event.clear();
    assert!(!event.is_set());
    assert!(!event.wait_timeout(Duration::ZERO));
}

/// E4: the debug form says which.
fn debug_follows() {
    let event = event();
    assert_eq!(format!("{:?}", *event), "Event(unset)");
    event.set();
    assert_eq!(format!("{:?}", *event), "Event(set)");
    event.clear();
    assert_eq!(format!("{:?}", *event), "Event(unset)");
}

/// E5: set wakes every waiter in every process, and threads of them.
fn set_wakes_every_waiter_in_processes_and_threads() {
    let (event, through) = (event(), Counter::new());
    let children: Vec<Process> = (0..4)
        .map(|n| {
            let (event, through) = (&event, &through);
            start(move || {
                std::thread::scope(|scope| {
                    for _ in 0..2 {
                        scope.spawn(|| {
                            event.wait();
                            through.count();
                        });
                    }
                    match n % 2 {
                        0 => event.wait(),
                        _ => assert!(event.wait_timeout(PATIENCE)),
                    }
                    through.count();
                });
            })
        })
        .collect();
    children.iter().for_each(blocked);
    std::thread::sleep(SHORT);
    assert_eq!(through.get(), 0);
    event.set();
    children.iter().for_each(ends_well);
    assert_eq!(through.get(), 12);
}

/// E6, decided otherwise than CPython: who waited when set was called goes on, whatever clear
/// does then.
fn a_pulse_releases_whoever_waits() {
    for _ in 0..200 {
        let event = event();
        let waiters: Vec<Process> = (0..2)
            .map(|_| start(|| assert!(event.wait_timeout(PATIENCE))))
            .collect();
        waiters.iter().for_each(blocked);
        event.set();
        event.clear();
        waiters.iter().for_each(ends_well);
        assert!(!event.is_set());
    }
}

/// What the handlers below may touch.
static IN_HANDLER: AtomicPtr<Event> = AtomicPtr::new(std::ptr::null_mut());
static HANDLED: AtomicU64 = AtomicU64::new(0);

extern "C" fn set_it(_: i32) {
    // SAFETY: null, or an event in a segment that this process keeps mapped till its end.
    if let Some(event) = unsafe { IN_HANDLER.load(SeqCst).as_ref() } {
        event.set();
    }
    HANDLED.fetch_add(1, SeqCst);
}

fn handles(event: &Shared<Event>) {
    IN_HANDLER.store(std::ptr::from_ref::<Event>(event).cast_mut(), SeqCst);
    on_signal(libc::SIGUSR1, set_it);
}

/// E8: in wait. The signal comes anywhere in it, many times.
fn a_signal_handler_sets_the_event_that_its_thread_waits_for() {
    let (event, round) = (event(), Counter::new());
    let child = start(|| {
        handles(&event);
        for n in 0..300 {
            round.set(n + 1);
            assert!(event.wait_timeout(PATIENCE));
            event.clear();
        }
        IN_HANDLER.store(std::ptr::null_mut(), SeqCst);
        round.set(u64::MAX);
    });
    let mut dice = Dice::new(8);
    round.reach(1);
    while round.get() != u64::MAX {
        for _ in 0..dice.below(4_000) {
            std::hint::spin_loop();
        }
        send_signal(&child, libc::SIGUSR1);
    }
    ends_well(&child);
    // And where it sleeps for sure.
    let child = start(|| {
        handles(&event);
        event.wait();
    });
    event.clear();
    until("the child to sleep", || sleeps_on_futex(child.pid()));
    send_signal(&child, libc::SIGUSR1);
    ends_well(&child);
}

/// E8: in is_set, and in set and clear themselves.
fn a_signal_handler_sets_the_event_that_its_thread_looks_at() {
    let (event, ready) = (event(), Counter::new());
    let child = start(|| {
        handles(&event);
        ready.set(1);
        let begun = Instant::now();
        while HANDLED.load(SeqCst) < 200 {
            assert!(begun.elapsed() < PATIENCE);
            if event.is_set() {
                event.clear();
            } else {
                event.set();
            }
        }
        ready.set(2);
    });
    ready.reach(1);
    while ready.get() == 1 {
        send_signal(&child, libc::SIGUSR1);
        std::thread::yield_now();
    }
    ends_well(&child);
}

/// A handler that does nothing does not end a wait, and does not stretch it either.
fn a_signal_is_not_a_set() {
    let (event, ready) = (event(), Counter::new());
    let child = start(|| {
        on_signal(libc::SIGUSR1, set_it); // no event in it
        ready.set(1);
        let begun = Instant::now();
        assert!(!event.wait_timeout(SHORT * 3));
        assert!(begun.elapsed() >= SHORT * 3 - TOLERANCE);
        assert!(HANDLED.load(SeqCst) > 0);
    });
    ready.reach(1);
    while child.is_alive() {
        send_signal(&child, libc::SIGUSR1);
        std::thread::sleep(Duration::from_millis(2));
    }
    ends_well(&child);
}

/// F9: killed waiters; the next set wakes the living.
fn killed_waiters_hold_nobody_up() {
    let event = event();
    for _ in 0..20 {
        let waiters: Vec<Process> = (0..4).map(|_| start(|| event.wait())).collect();
        waiters.iter().for_each(blocked);
        kill(&waiters[1]);
        kill(&waiters[2]);
        let set = Instant::now();
        event.set();
        assert!(
            set.elapsed() < Duration::from_secs(5),
            "set() does not block"
        );
        ends_well(&waiters[0]);
        ends_well(&waiters[3]);
        event.clear();
        assert!(!event.wait_timeout(Duration::ZERO));
    }
}

/// A waiter that sleeps in SIGSTOP is not waited for, and finds the event set afterwards.
fn a_stopped_waiter_holds_nobody_up() {
    let event = event();
    let waiter = start(|| event.wait());
    blocked(&waiter);
    send_signal(&waiter, libc::SIGSTOP);
    event.set();
    event.clear();
    send_signal(&waiter, libc::SIGCONT);
    ends_well(&waiter);
}

#[derive(Shareable)]
#[shareable(crate = multiproc_segment)]
#[repr(C)]
struct Race {
    ready: Event,
    go: Event,
    laps: AtomicU32,
}

/// Plain: in a struct, under a name, made at compile time.
fn lives_in_a_struct_and_under_a_name() {
    let name = test::unique("race");
    let race = Shared::create(
        &name,
        const {
            Race {
                ready: Event::new(),
                go: Event::new(),
                laps: AtomicU32::new(0),
            }
        },
    )
    .unwrap();
    let child = start(|| {
        let race = Shared::<Race>::open(&name).unwrap();
        race.ready.set();
        race.go.wait();
        race.laps.fetch_add(1, SeqCst);
    });
    race.ready.wait();
    race.go.set();
    ends_well(&child);
    assert_eq!(race.laps.load(SeqCst), 1);
    Shared::<Race>::unlink(&name).unwrap();
}

/// Who goes on sees what was done before set.
fn what_was_done_before_set_is_seen() {
    let (ping, pong, value) = (event(), event(), Shared::new(AtomicU64::new(0)).unwrap());
    let child = start(|| {
        for n in 0..5_000 {
            ping.wait();
            ping.clear();
            assert_eq!(value.load(std::sync::atomic::Ordering::Relaxed), n);
            pong.set();
        }
    });
    for n in 0..5_000 {
        value.store(n, std::sync::atomic::Ordering::Relaxed);
        ping.set();
        assert!(pong.wait_timeout(PATIENCE));
        pong.clear();
    }
    ends_well(&child);
}

/// Several set and clear it at once; nobody is forgotten.
fn many_set_at_once() {
    let (event, stop) = (event(), Counter::new());
    let setters: Vec<Process> = (0..2)
        .map(|_| {
            start(|| {
                while stop.get() == 0 {
                    event.set();
                    event.clear();
                }
            })
        })
        .collect();
    let waiters: Vec<Process> = (0..2)
        .map(|_| start(|| (0..2_000).for_each(|_| assert!(event.wait_timeout(PATIENCE)))))
        .collect();
    waiters.iter().for_each(ends_well);
    stop.set(1);
    setters.iter().for_each(ends_well);
}
