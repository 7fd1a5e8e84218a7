//! Kills at random.

use crate::barrier::barrier_works;
use crate::event::event_works;
use crate::semaphore::semaphore_works;
use common::*;
use multiproc_barrier::Barrier;
use multiproc_condition::{Condition, WaitError};
use multiproc_core::identity::Identity;
use multiproc_event::Event;
use multiproc_lock::{Mutex, MutexGuard, OwnerDied};
use multiproc_process::Process;
use multiproc_segment::Shareable;
use multiproc_semaphore::Semaphore;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

const WORKERS: usize = 4;

/// Kills workers at random and replaces them. After each kill `recovered` (which may do
/// something about it) must come true; it is given the number of the one that died.
fn storm(work: impl Fn(usize), recovered: impl Fn(usize), end: impl Fn()) {
    let (kills, seed) = (setting("KILLS", 300) / 4, setting("SEED", 20_240_607));
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

pub(crate) fn a_storm_over_permits() {
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

pub(crate) fn a_storm_over_an_event() {
    let (event, turns) = (shared(Event::new()), Counter::new());
    let (stop, cleared) = (Counter::new(), Counter::new());
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
            if me == 0 {
                cleared.set(1);
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
            // Nobody clears it any more.
            cleared.reach(1);
            event.set();
        },
    );
    event.clear();
    event_works(&event);
}

pub(crate) fn a_storm_over_a_barrier() {
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
            // For those who wait, and for those who come.
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

pub(crate) fn a_storm_over_conditions() {
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
