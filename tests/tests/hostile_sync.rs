//! A peer that writes garbage over locks and their kin, while others use them: they get what they
//! get, within a watchdog, once it has stopped. No panic, no crash, no endless loop.
//!
//! `SEEDS=10000 cargo test --release -p multiproc-tests --test hostile_sync` for more, and `SEED=n`
//! with `SEEDS=1` for one of them again.

use common::*;
use multiproc_barrier::Barrier;
use multiproc_condition::Condition;
use multiproc_core::identity::Identity;
use multiproc_core::step;
use multiproc_event::Event;
use multiproc_lock::{Lock, Mutex, RwLock};
use multiproc_process::{Exit, test};
use multiproc_rlock::RLock;
use multiproc_segment::{Shareable, Shared};
use multiproc_semaphore::Semaphore;
use std::sync::atomic::{AtomicU32, Ordering::*};
use std::time::Duration;

test::main! {
    #[timeout(3600)]
    garbage_in_locks_and_their_kin_is_survived,
    #[timeout(180)]
    a_barrier_whose_parties_change_gives_an_index_or_an_error,
    a_condition_whose_numbers_are_at_their_end_works,
}

/// The shared object as words, all of which a peer may write.
fn words<T: Shareable>(shared: &Shared<T>) -> &[AtomicU32] {
    let at = std::ptr::from_ref::<T>(shared).cast::<AtomicU32>();
    assert!(at.is_aligned());
    // SAFETY: the object's own bytes, mapped as long as it is borrowed; all that lies there are
    // atomics, and numbers under a lock that are only copied.
    unsafe { std::slice::from_raw_parts(at, size_of::<T>() / 4) }
}

#[derive(Debug, Shareable)]
#[repr(C)]
struct World {
    lock: Lock,
    mutex: Mutex<u64>,
    rwlock: RwLock<u64, 4>,
    rlock: RLock,
    semaphore: Semaphore<4>,
    event: Event,
    condition: Condition<4>,
    barrier: Barrier<4>,
}

fn world() -> Shared<World> {
    let world = World {
        lock: Lock::new(),
        mutex: Mutex::new(0),
        rwlock: RwLock::with_places(0),
        rlock: RLock::new(),
        semaphore: Semaphore::sized(3),
        event: Event::new(),
        condition: Condition::sized(),
        barrier: Barrier::sized(3),
    };
    Shared::new(world).unwrap()
}

/// A word that may mean something: a small number, a mark, a process or thread that lives.
fn garbage(dice: &mut Dice) -> u32 {
    let me = Identity::me().to_bits();
    match dice.below(9) {
        0 => dice.below(8) as u32,
        1 => dice.roll() as u32,
        2 => 1 << 31,
        3 => 1 << 30,
        4 => 1 << 31 | std::process::id(),
        5 => std::process::id(),
        6 => me as u32,
        7 => (me >> 32) as u32,
        _ => u32::MAX,
    }
}

/// Writes over anything, now and then; and leaves nothing but zeroes.
fn vandal(world: &Shared<World>, seed: u64) {
    let mut dice = Dice::new(seed);
    let words = words(world);
    for _ in 0..200 {
        let at = dice.below(words.len() as u64) as usize;
        words[at].store(garbage(&mut dice), Relaxed);
        (0..dice.below(4000)).for_each(|_| std::hint::spin_loop());
    }
    words.iter().for_each(|word| word.store(0, Release));
}

/// Uses everything, never waiting for long; whatever comes is right.
fn user(w: &World, seed: u64) {
    let mut dice = Dice::new(seed);
    for _ in 0..60 {
        let time = Duration::from_micros(dice.below(300));
        match dice.below(16) {
            0 => drop(w.lock.lock_timeout(time)),
            1 => drop(w.lock.try_lock()),
            2 => drop(w.lock.release()),
            3 => drop(w.mutex.lock_timeout(time)),
            4 => drop(w.mutex.try_lock()),
            5 => drop(w.rwlock.read_timeout(time)),
            6 => drop(w.rwlock.write_timeout(time)),
            7 => {
                let _ = (w.rlock.acquire_timeout(time).is_ok(), w.rlock.release());
            }
            8 => {
                let _ = (w.semaphore.acquire_timeout(time), w.semaphore.release());
            }
            9 => drop(w.semaphore.permits_timeout(1 + seed as u32 % 2, time)),
            10 => drop(w.semaphore.try_permit()),
            11 => {
                let _ = w.event.wait_timeout(time);
                w.event.set();
                w.event.clear();
            }
            12 => {
                let own = Mutex::new(());
                let held = own.lock().unwrap();
                drop(w.condition.wait_timeout(held, time));
            }
            13 => {
                let own = Mutex::new(());
                w.condition
                    .notify(&own.lock().unwrap(), 1 + seed as usize % 3);
            }
            14 => {
                let _ = w.barrier.wait_timeout(time).map(|index| assert!(index < 4));
                w.barrier.reset();
            }
            _ => {
                let _ = format!(
                    "{:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?}",
                    w.lock,
                    w.mutex,
                    w.rwlock,
                    w.rlock,
                    w.semaphore,
                    w.event,
                    w.condition,
                    w.barrier
                );
            }
        }
    }
}

fn garbage_in_locks_and_their_kin_is_survived() {
    let (seeds, first) = (setting("SEEDS", 60), setting("SEED", 1));
    for seed in first..first + seeds {
        let w = world();
        let users = [seed, seed + 1_000_000].map(|seed| start(|| user(&w, seed)));
        let vandal = start(|| vandal(&w, seed));
        for child in users.iter().chain([&vandal]) {
            // The watchdog: on failure, the seed is in the message.
            match child.join_timeout(PATIENCE) {
                Ok(Exit::Code(0)) => {}
                other => panic!("SEED={seed}: {child:?}: {other:?}\n{:?}", *w),
            }
        }
    }
    println!("{seeds} seeds from {first}");
}

/// The number of parties stands behind the word.
const PARTIES: usize = 1;

/// Between its arrival and its wait, the barrier becomes one for fewer than have arrived.
fn a_barrier_whose_parties_change_gives_an_index_or_an_error() {
    let barrier = Shared::new(Barrier::<4>::sized(3)).unwrap();
    let wait = || barrier.wait_timeout(Duration::from_millis(1));
    let number = Counter::new();
    let counts = start(|| {
        step::count_on();
        let _ = wait();
        step::disarm();
        let names = step::names();
        let at = names.iter().position(|name| *name == "barrier: arrived");
        number.set(at.unwrap() as u64);
    });
    ends_well(&counts);
    barrier.reset();
    let first = start(|| {
        let _ = barrier.wait();
    });
    until("one to have arrived", || barrier.waiting() == 1);
    let second = start(|| {
        step::pause(number.get());
        let index = wait();
        step::disarm();
        assert!(index.is_ok_and(|index| index < 3) || index.is_err());
    });
    until("it to be stopped there", || {
        state_of(second.pid()) == Some('T')
    });
    words(&barrier)[PARTIES].store(1, Relaxed);
    // SAFETY: our own child, not collected.
    assert_eq!(unsafe { libc::kill(second.pid() as i32, libc::SIGCONT) }, 0);
    ends_well(&second);
    barrier.abort();
    ends_well(&first);
}

/// The state of a process in /proc: `T` is stopped.
fn state_of(pid: u32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat[stat.rfind(')')? + 1..].trim_start().chars().next()
}

fn a_condition_whose_numbers_are_at_their_end_works() {
    let condition = Shared::new(Condition::<4>::sized()).unwrap();
    for word in &words(&condition)[..2] {
        word.store(u32::MAX, Relaxed);
    }
    let own = Mutex::new(());
    let (held, notified) = condition
        .wait_timeout(own.lock().unwrap(), Duration::from_micros(1))
        .unwrap();
    assert!(!notified);
    condition.notify(&held, 1);
}
