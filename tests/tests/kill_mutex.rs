//! Killed at every step of a lock: acquire, contended acquire, release, recovery, of `Mutex`,
//! `Lock`, `RwLock` and `RLock`. Each operation is run once to count its named steps, and then
//! once per step by a process that dies by SIGKILL exactly there. The survivors must get the
//! lock, and be told exactly if its holder died. Then kills at random over all of them.

use common::*;
use multiproc_lock::{AcquireTimeoutError, Lock, Mutex, OwnerDied, PlainData, RwLock};
use multiproc_process::{Exit, Process, test};
use multiproc_rlock::{RLock, ReentrantMutex};
use multiproc_segment::{Shareable, Shared};
use multiproc_tests::{At, Count, Steps, Told, killed_at_each_step, nothing};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

test::main! {
    #[timeout(180)]
    f2_mutex_killed_at_each_step_of_acquire_and_release,
    #[timeout(180)]
    f2_mutex_killed_at_each_step_of_a_contended_acquire,
    #[timeout(180)]
    f2_mutex_killed_at_each_step_of_an_acquire_that_times_out,
    #[timeout(180)]
    f2_mutex_killed_at_each_step_of_a_release_that_wakes,
    #[timeout(180)]
    f2_mutex_killed_at_each_step_of_recovery,
    #[timeout(180)]
    f1_lock_killed_at_each_step_of_acquire_and_release,
    #[timeout(180)]
    f1_lock_killed_at_each_step_of_a_contended_acquire,
    #[timeout(180)]
    f1_lock_killed_at_each_step_of_a_release_that_wakes,
    #[timeout(180)]
    f1_lock_killed_at_each_step_of_recovery,
    #[timeout(180)]
    f1_lock_killed_at_each_step_of_releasing_what_a_dead_one_held,
    #[timeout(180)]
    rwlock_killed_at_each_step_of_reading,
    #[timeout(180)]
    rwlock_killed_at_each_step_of_writing,
    #[timeout(180)]
    rwlock_killed_at_each_step_of_a_write_that_waits_for_a_reader,
    #[timeout(180)]
    rwlock_killed_at_each_step_of_a_reader_that_leaves_a_waiting_writer,
    #[timeout(180)]
    rwlock_killed_at_each_step_of_clearing_a_dead_reader,
    #[timeout(180)]
    rwlock_killed_at_each_step_of_recovery,
    #[timeout(180)]
    f2_rlock_killed_at_each_step_of_acquire_and_release,
    #[timeout(180)]
    f2_rlock_killed_at_each_step_of_a_contended_acquire,
    #[timeout(180)]
    f2_rlock_killed_at_each_step_of_release_all_and_restore,
    #[timeout(180)]
    f2_rlock_killed_at_each_step_of_recovery,
    #[timeout(600)]
    killed_at_random_nothing_is_torn_unnoticed,
}

/// The loop of every test here. `prepare` makes a fresh world; `act` runs in the process that
/// dies, and calls what it is given when it has prepared itself; `meanwhile` runs in the parent, to
/// get a blocking `act` going; `check` looks at the world after a death at the step of that number.
fn each_step<W>(
    count: Count,
    prepare: impl Fn() -> W,
    act: impl Fn(&W, &dyn Fn()),
    meanwhile: impl Fn(&W, &Process),
    check: impl Fn(W, u64, &Steps),
) {
    let run = |at: At, told: &Told| {
        let world = prepare();
        let child = start(|| {
            act(&world, &|| at.begin());
            told.tell();
        });
        meanwhile(&world, &child);
        (ends(&child), world)
    };
    killed_at_each_step(count, run, check);
}

/// A lock with a pair of numbers that differ only while somebody holds it: all kinds under one
/// name, for the checks and the storm.
trait Pair: Sync {
    /// Takes the lock within [`PATIENCE`], repairs and mends if told so, says whether it was, and
    /// whether the pair was whole; then adds one, in two halves.
    fn turn(&self) -> Turn;
}

#[derive(Clone, Copy, Debug)]
struct Turn {
    died: bool,
    whole: bool,
}

fn add(pair: &mut [u64; 2], died: bool) -> Turn {
    let whole = pair[0] == pair[1];
    if died {
        pair[1] = pair[0];
    }
    pair[0] += 1;
    for _ in 0..100 {
        std::hint::spin_loop();
    }
    // The compiler may not put the halves together.
    std::sync::atomic::compiler_fence(std::sync::atomic::Ordering::SeqCst);
    pair[1] += 1;
    Turn { died, whole }
}

impl Pair for Mutex<[u64; 2]> {
    fn turn(&self) -> Turn {
        match self.lock_timeout(PATIENCE) {
            Ok(mut held) => add(&mut held, false),
            Err(AcquireTimeoutError::OwnerDied(mut held)) => {
                let turn = add(&mut held, true);
                held.mended();
                turn
            }
            Err(error) => panic!("{error}: {self:?}"),
        }
    }
}

/// A `Lock`, and beside it what it stands for.
#[derive(Shareable)]
#[repr(C)]
struct Beside {
    lock: Lock,
    pair: [AtomicU64; 2],
}

impl Beside {
    const fn new() -> Self {
        Self {
            lock: Lock::new(),
            pair: [const { AtomicU64::new(0) }; 2],
        }
    }

    fn add(&self, died: bool) -> Turn {
        let mut pair = [0, 1].map(|n| self.pair[n].load(Relaxed));
        let whole = pair[0] == pair[1];
        if died {
            pair[1] = pair[0];
        }
        self.pair[0].store(pair[0] + 1, Relaxed);
        for _ in 0..100 {
            std::hint::spin_loop();
        }
        self.pair[1].store(pair[1] + 1, Relaxed);
        Turn { died, whole }
    }
}

impl Pair for Beside {
    fn turn(&self) -> Turn {
        match self.lock.lock_timeout(PATIENCE) {
            Ok(_held) => self.add(false),
            Err(AcquireTimeoutError::OwnerDied(mut held)) => {
                let turn = self.add(true);
                held.mended();
                turn
            }
            Err(error) => panic!("{error}: {:?}", self.lock),
        }
    }
}

impl<const READERS: usize> Pair for RwLock<[u64; 2], READERS> {
    fn turn(&self) -> Turn {
        match self.read_timeout(PATIENCE) {
            Ok(held) => assert_eq!(held[0], held[1], "torn, and nobody said so"),
            Err(AcquireTimeoutError::OwnerDied(_)) => {}
            Err(error) => panic!("{error}: {self:?}"),
        }
        match self.write_timeout(PATIENCE) {
            Ok(mut held) => add(&mut held, false),
            Err(AcquireTimeoutError::OwnerDied(mut held)) => {
                let turn = add(&mut held, true);
                held.mended();
                turn
            }
            Err(error) => panic!("{error}: {self:?}"),
        }
    }
}

impl Pair for ReentrantMutex<[u64; 2]> {
    fn turn(&self) -> Turn {
        let (mut held, died) = match self.lock_timeout(PATIENCE) {
            Ok(held) => (held, false),
            Err(AcquireTimeoutError::OwnerDied(held)) => (held, true),
            Err(error) => panic!("{error}: {self:?}"),
        };
        assert_eq!(self.count(), 1);
        let [a, b] = held.get();
        held.set([a + 1, b]);
        let inner = self.lock().unwrap();
        for _ in 0..100 {
            std::hint::spin_loop();
        }
        inner.set([a + 1; 2]);
        drop(inner);
        if died {
            held.mended();
        }
        Turn {
            died,
            whole: a == b,
        }
    }
}

/// The next one gets the lock and is told, or not, that a holder died; and then it works as if
/// nothing had happened, for several processes.
#[track_caller]
fn next_is_told(pair: &impl Pair, died: bool) {
    let turn = pair.turn();
    assert_eq!(turn.died, died, "{turn:?}");
    assert!(turn.whole || turn.died);
    works(pair);
}

/// As [`next_is_told`], where the steps of a wait differ from run to run, and so nobody knows
/// which one was fatal: told or not, it gets the lock, and nothing is torn unnoticed.
#[track_caller]
fn next_gets_it(pair: &impl Pair) {
    let turn = pair.turn();
    assert!(turn.whole || turn.died, "{turn:?}");
    works(pair);
}

/// Several processes use it, and nobody is told anything.
#[track_caller]
fn works(pair: &impl Pair) {
    let others: Vec<_> = (0..2)
        .map(|_| {
            start(|| {
                for _ in 0..20 {
                    let turn = pair.turn();
                    assert!(!turn.died && turn.whole, "{turn:?}");
                }
            })
        })
        .collect();
    others.iter().for_each(ends_well);
}

/// A helper that holds a lock until told, or blocks for it: with a stage to tell.
struct Helper {
    process: Process,
    stage: Counter,
}

impl Helper {
    /// `hold` gets what to call when it holds, which comes back when it is to go on.
    fn holding(hold: impl FnOnce(&dyn Fn())) -> Self {
        let stage = Counter::new();
        let process = start(|| {
            hold(&|| {
                stage.set(1);
                stage.reach(2);
            });
        });
        stage.reach(1);
        Self { process, stage }
    }

    fn go_on(&self) {
        self.stage.set(2);
    }
}

fn mutex() -> Shared<Mutex<[u64; 2]>> {
    shared(Mutex::new([0; 2]))
}

/// A value whose holder died holding it.
fn orphan<T: Shareable>(value: T, take: impl FnOnce(&T)) -> Shared<T> {
    let value = shared(value);
    assert_eq!(ends(&start(|| take(&value))), Exit::Code(0));
    value
}

// ---- Mutex ----

/// F2.
fn f2_mutex_killed_at_each_step_of_acquire_and_release() {
    each_step(
        Count::Exact,
        mutex,
        |data, begin| {
            begin();
            let mut held = data.lock().unwrap();
            held[0] += 1;
            held[1] += 1;
        },
        nothing,
        |data, n, steps| {
            let held = steps.since("lock: taken, not linked")..steps.since("lock: freed");
            next_is_told(&*data, held.contains(&n));
        },
    );
}

/// F2.
fn f2_mutex_killed_at_each_step_of_a_contended_acquire() {
    each_step(
        Count::Varies,
        || {
            let data = mutex();
            let holder = Helper::holding(|holds| {
                let _held = data.lock().unwrap();
                holds();
            });
            (data, holder)
        },
        |(data, _), begin| {
            begin();
            drop(data.lock().unwrap());
        },
        |(_, holder), child| {
            blocked_or_gone(child);
            holder.go_on();
            ends_well(&holder.process);
        },
        |(data, _), _, _| next_gets_it(&*data),
    );
}

/// F2.
fn f2_mutex_killed_at_each_step_of_an_acquire_that_times_out() {
    each_step(
        Count::Varies,
        || {
            let data = mutex();
            let holder = Helper::holding(|holds| {
                let _held = data.lock().unwrap();
                holds();
            });
            (data, holder)
        },
        |(data, _), begin| {
            begin();
            assert!(data.lock_timeout(Duration::from_millis(20)).is_err());
        },
        |(_, holder), child| {
            until("a child to end", || !child.is_alive());
            holder.go_on();
            ends_well(&holder.process);
        },
        |(data, _), _, _| next_is_told(&*data, false),
    );
}

/// A process holds the lock, and then dies somewhere in its release, while another one sleeps.
fn killed_releasing<T: Shareable>(
    new: impl Fn() -> T,
    act: impl Fn(&T, &dyn Fn()),
    wait: impl Fn(&T),
    check: impl Fn(&T, u64, &Steps),
) {
    each_step(
        Count::Exact,
        || (shared(new()), Counter::new()),
        |(lock, stage), begin| {
            act(lock, &|| {
                stage.set(1);
                stage.reach(2);
                begin();
            });
        },
        |(lock, stage), _| {
            stage.reach(1);
            let waiter = start(|| wait(lock));
            blocked(&waiter);
            stage.set(2);
            ends_well(&waiter);
        },
        |(lock, _), n, steps| check(&lock, n, steps),
    );
}

/// F2.
fn f2_mutex_killed_at_each_step_of_a_release_that_wakes() {
    killed_releasing(
        || Mutex::new([0; 2]),
        |data, ready| {
            let held = data.lock().unwrap();
            ready();
            drop(held);
        },
        // What it is told, it leaves to the next one.
        |data| match data.lock() {
            Ok(_) | Err(OwnerDied(_)) => {}
        },
        |data, n, steps| next_is_told(data, n < steps.since("lock: freed")),
    );
}

/// F2.
fn f2_mutex_killed_at_each_step_of_recovery() {
    each_step(
        Count::Exact,
        || {
            orphan(Mutex::new([0; 2]), |data| {
                let mut held = data.lock().unwrap();
                held[0] += 1;
                std::mem::forget(held);
            })
        },
        |data, begin| {
            begin();
            let Err(OwnerDied(mut held)) = data.lock() else {
                panic!()
            };
            held[1] = held[0];
            held.mended();
        },
        nothing,
        |data, n, steps| {
            assert!(steps.first("mutex: death noted") > 0);
            next_is_told(&*data, n < steps.since("lock: freed"));
        },
    );
}

// ---- Lock ----

/// F1.
fn f1_lock_killed_at_each_step_of_acquire_and_release() {
    each_step(
        Count::Exact,
        || shared(Beside::new()),
        |beside, begin| {
            begin();
            beside.lock.acquire().unwrap();
            beside.lock.release().unwrap();
        },
        nothing,
        |beside, n, steps| {
            let held = steps.since("lock: taken, turn not counted")..steps.since("lock: given up");
            next_is_told(&*beside, held.contains(&n));
        },
    );
}

/// F1.
fn f1_lock_killed_at_each_step_of_a_contended_acquire() {
    each_step(
        Count::Varies,
        || {
            let beside = shared(Beside::new());
            let holder = Helper::holding(|holds| {
                let _held = beside.lock.lock().unwrap();
                holds();
            });
            (beside, holder)
        },
        |(beside, _), begin| {
            begin();
            drop(beside.lock.lock().unwrap());
        },
        |(_, holder), child| {
            blocked_or_gone(child);
            holder.go_on();
            ends_well(&holder.process);
        },
        |(beside, _), _, _| next_gets_it(&*beside),
    );
}

/// F1.
fn f1_lock_killed_at_each_step_of_a_release_that_wakes() {
    killed_releasing(
        Beside::new,
        |beside, ready| {
            beside.lock.acquire().unwrap();
            ready();
            beside.lock.release().unwrap();
        },
        |beside| drop(beside.lock.lock().unwrap()),
        |beside, _, steps| {
            assert!(steps.since("lock: the bell rung") > 0);
            next_is_told(beside, false); // free before the first step
        },
    );
}

fn orphaned_lock() -> Shared<Beside> {
    orphan(Beside::new(), |beside| {
        beside.lock.acquire().unwrap();
        beside.pair[0].store(1, Relaxed);
    })
}

/// F1.
fn f1_lock_killed_at_each_step_of_recovery() {
    each_step(
        // The dead holder is found after a slice: some steps of waiting come before.
        Count::Varies,
        orphaned_lock,
        |beside, begin| {
            begin();
            let Err(OwnerDied(mut held)) = beside.lock.lock() else {
                panic!()
            };
            beside.pair[1].store(1, Relaxed);
            held.mended();
        },
        nothing,
        |beside, _, steps| {
            assert!(steps.first("lock: taken from the dead") > 0);
            next_gets_it(&*beside);
        },
    );
}

/// F1.
fn f1_lock_killed_at_each_step_of_releasing_what_a_dead_one_held() {
    each_step(
        Count::Exact,
        orphaned_lock,
        |beside, begin| {
            begin();
            beside.lock.release().unwrap();
        },
        nothing,
        |beside, _, steps| {
            assert!(
                steps
                    .0
                    .contains(&"lock: a dead holder's, to be freed".to_owned())
            );
            next_is_told(&*beside, true);
        },
    );
}

// ---- RwLock ----

type Rw = RwLock<[u64; 2], 4>;

fn rwlock() -> Shared<Rw> {
    shared(Rw::with_places([0; 2]))
}

fn rwlock_killed_at_each_step_of_reading() {
    each_step(
        Count::Exact,
        rwlock,
        |data, begin| {
            begin();
            drop(data.read().unwrap());
        },
        nothing,
        |data, _, steps| {
            assert!(steps.since("rwlock: entered, has the gate") > 0);
            next_is_told(&*data, false);
            assert_eq!(data.readers(), 0);
        },
    );
}

fn rwlock_killed_at_each_step_of_writing() {
    each_step(
        Count::Exact,
        rwlock,
        |data, begin| {
            begin();
            let mut held = data.write().unwrap();
            held[0] += 1;
            held[1] += 1;
        },
        nothing,
        |data, n, steps| {
            let writing = steps.since("rwlock: dirty")..steps.since("rwlock: clean");
            next_is_told(&*data, writing.contains(&n));
        },
    );
}

fn rwlock_killed_at_each_step_of_a_write_that_waits_for_a_reader() {
    each_step(
        Count::Varies,
        || {
            let data = rwlock();
            let reader = Helper::holding(|holds| {
                let _held = data.read().unwrap();
                holds();
            });
            (data, reader)
        },
        |(data, _), begin| {
            begin();
            data.write().unwrap()[0] += 0;
        },
        |(_, reader), child| {
            blocked_or_gone(child);
            reader.go_on();
            ends_well(&reader.process);
        },
        |(data, _), _, _| next_gets_it(&*data),
    );
}

fn rwlock_killed_at_each_step_of_a_reader_that_leaves_a_waiting_writer() {
    killed_releasing(
        || Rw::with_places([0; 2]),
        |data, ready| {
            let held = data.read().unwrap();
            ready();
            drop(held);
        },
        |data| drop(data.write().unwrap()),
        |data, _, steps| {
            assert!(steps.since("rwlock: left, the bell not rung") > 0);
            next_is_told(data, false);
        },
    );
}

fn rwlock_killed_at_each_step_of_clearing_a_dead_reader() {
    each_step(
        Count::Exact,
        || {
            orphan(Rw::with_places([0; 2]), |data| {
                std::mem::forget(data.read().unwrap())
            })
        },
        |data, begin| {
            begin();
            drop(data.write().unwrap());
        },
        nothing,
        |data, n, steps| {
            assert!(steps.since("rwlock: about to clear a dead reader's place") > 0);
            let writing = steps.since("rwlock: dirty")..steps.since("rwlock: clean");
            next_is_told(&*data, writing.contains(&n));
            assert_eq!(data.readers(), 0);
        },
    );
}

fn rwlock_killed_at_each_step_of_recovery() {
    each_step(
        Count::Exact,
        || {
            orphan(Rw::with_places([0; 2]), |data| {
                let mut held = data.write().unwrap();
                held[0] += 1;
                std::mem::forget(held);
            })
        },
        |data, begin| {
            begin();
            let Err(OwnerDied(mut held)) = data.write() else {
                panic!()
            };
            held[1] = held[0];
            held.mended();
        },
        nothing,
        |data, n, steps| next_is_told(&*data, n < steps.since("rwlock: clean")),
    );
}

// ---- RLock ----

fn reentrant() -> Shared<ReentrantMutex<[u64; 2]>> {
    shared(ReentrantMutex::new([0; 2]))
}

/// F2.
fn f2_rlock_killed_at_each_step_of_acquire_and_release() {
    each_step(
        Count::Exact,
        reentrant,
        |data, begin| {
            begin();
            let one = data.lock().unwrap();
            let two = data.lock().unwrap();
            let three = data.lock().unwrap();
            drop((one, two, three));
        },
        nothing,
        |data, n, steps| {
            assert!(steps.since("rlock: counted up") > 0 && steps.since("rlock: counted down") > 0);
            let held = steps.since("lock: taken, not linked")..steps.since("lock: freed");
            next_is_told(&*data, held.contains(&n));
        },
    );
}

/// F2.
fn f2_rlock_killed_at_each_step_of_a_contended_acquire() {
    each_step(
        Count::Varies,
        || {
            let data = reentrant();
            let holder = Helper::holding(|holds| {
                let _held = (data.lock().unwrap(), data.lock().unwrap());
                holds();
            });
            (data, holder)
        },
        |(data, _), begin| {
            begin();
            drop(data.lock().unwrap());
        },
        |(_, holder), child| {
            blocked_or_gone(child);
            holder.go_on();
            ends_well(&holder.process);
        },
        |(data, _), _, _| next_gets_it(&*data),
    );
}

/// F2.
fn f2_rlock_killed_at_each_step_of_release_all_and_restore() {
    each_step(
        Count::Exact,
        || shared(RLock::new()),
        |lock, begin| {
            lock.acquire().unwrap();
            lock.acquire().unwrap();
            begin();
            let levels = lock.release_all().unwrap();
            lock.restore(levels).unwrap();
            lock.release().unwrap();
            lock.release().unwrap();
        },
        nothing,
        |lock, n, steps| {
            let free = steps.first("lock: freed")..steps.since("lock: taken, not linked");
            let died = n < steps.since("lock: freed") && !free.contains(&n);
            match lock.lock_timeout(PATIENCE) {
                Ok(_) => assert!(!died),
                Err(AcquireTimeoutError::OwnerDied(mut held)) => {
                    assert!(died);
                    held.mended();
                }
                Err(error) => panic!("{error}"),
            }
            let held = lock.lock().unwrap();
            assert_eq!(lock.count(), 1);
            drop(held);
        },
    );
}

/// F2.
fn f2_rlock_killed_at_each_step_of_recovery() {
    each_step(
        Count::Exact,
        || {
            orphan(ReentrantMutex::new([0; 2]), |data| {
                let held = data.lock().unwrap();
                held.set([1, 0]);
                std::mem::forget((data.lock().unwrap(), held));
            })
        },
        |data, begin| {
            begin();
            let Err(OwnerDied(mut held)) = data.lock() else {
                panic!()
            };
            held.set([1, 1]);
            held.mended();
        },
        nothing,
        |data, n, steps| {
            assert!(steps.first("rlock: taken from the dead") > 0);
            next_is_told(&*data, n < steps.since("lock: freed"));
        },
    );
}

// ---- at random ----

#[derive(Shareable)]
#[repr(C)]
struct Board {
    mutex: Mutex<[u64; 2]>,
    beside: Beside,
    rwlock: Rw,
    reentrant: ReentrantMutex<[u64; 2]>,
    torn: AtomicU64,
}

impl Board {
    fn pair(&self, n: u64) -> &dyn Pair {
        match n % 4 {
            0 => &self.mutex,
            1 => &self.beside,
            2 => &self.rwlock,
            _ => &self.reentrant,
        }
    }
}

/// Every player goes round all locks; now and then one is killed, and all locks must be had at
/// once, whole or with the news. One player in the end stands for the sum of all.
fn killed_at_random_nothing_is_torn_unnoticed() -> Outcome {
    fn plain<T: PlainData>(_: &T) {}
    plain(&[0_u64; 2]);
    let kills = setting("KILLS", 300);
    let board = shared(Board {
        mutex: Mutex::new([0; 2]),
        beside: Beside::new(),
        rwlock: Rw::with_places([0; 2]),
        reentrant: ReentrantMutex::new([0; 2]),
        torn: AtomicU64::new(0),
    });
    let play = |seed: u64| -> () {
        let mut dice = Dice::new(seed | 1);
        loop {
            let turn = board.pair(dice.below(4)).turn();
            if !turn.died && !turn.whole {
                board.torn.store(1, Relaxed);
            }
        }
    };
    let mut players: Vec<_> = (1..=3).map(|seed| start(|| play(seed))).collect();
    let mut dice = Dice::new(0xbead);
    let mut times = [const { Vec::new() }; 4];
    for n in 0..kills {
        // A random moment, not a synchronisation.
        std::thread::sleep(Duration::from_micros(dice.below(1_500)));
        let victim = players.remove(dice.below(3) as usize);
        victim.kill()?;
        let killed = Instant::now();
        for kind in 0..4 {
            let begun = Instant::now().max(killed);
            let turn = board.pair(kind).turn();
            assert!(
                turn.whole || turn.died,
                "lock {kind} after {n} kills: {turn:?}"
            );
            if turn.died {
                times[kind as usize].push(begun.elapsed());
            }
        }
        assert_eq!(ends(&victim), Exit::Signal(9));
        assert_eq!(board.torn.load(Relaxed), 0);
        players.push(start(|| play(n + 7)));
    }
    players.iter().for_each(kill);
    for (times, name) in times.into_iter().zip(["Mutex", "Lock", "RwLock", "RLock"]) {
        if !times.is_empty() {
            println!(
                "{name}: {kills} kills, to the lock of a dead holder {}",
                spread(times)
            );
        }
    }
    Ok(())
}
