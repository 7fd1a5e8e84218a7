//! A lock with a pair of numbers that differ only while somebody holds it, and who takes part.

use common::*;
use multiproc_lock::{AcquireTimeoutError, Lock, Mutex, RwLock};
use multiproc_process::{Exit, Process};
use multiproc_rlock::ReentrantMutex;
use multiproc_segment::{Shareable, Shared};
use multiproc_tests::{At, Count, Steps, Told, killed_at_each_step};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The loop of every test here. `prepare` makes a fresh world; `act` runs in the process that
/// dies, and calls what it is given when it has prepared itself; `meanwhile` runs in the parent, to
/// get a blocking `act` going; `check` looks at the world after a death at the step of that number.
pub(crate) fn each_step<W>(
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
pub(crate) trait Pair: Sync {
    /// Takes the lock within [`PATIENCE`], repairs and mends if told so, says whether it was, and
    /// whether the pair was whole; then adds one, in two halves.
    fn turn(&self) -> Turn;
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Turn {
    pub(crate) died: bool,
    pub(crate) whole: bool,
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
pub(crate) struct Beside {
    pub(crate) lock: Lock,
    pub(crate) pair: [AtomicU64; 2],
}

impl Beside {
    pub(crate) const fn new() -> Self {
        Self {
            lock: Lock::new(),
            pair: [const { AtomicU64::new(0) }; 2],
        }
    }

    pub(crate) fn add(&self, died: bool) -> Turn {
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
pub(crate) fn next_is_told(pair: &impl Pair, died: bool) {
    let turn = pair.turn();
    assert_eq!(turn.died, died, "{turn:?}");
    assert!(turn.whole || turn.died);
    works(pair);
}

/// As [`next_is_told`], where the steps of a wait differ from run to run, and so nobody knows
/// which one was fatal: told or not, it gets the lock, and nothing is torn unnoticed.
#[track_caller]
pub(crate) fn next_gets_it(pair: &impl Pair) {
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
pub(crate) struct Helper {
    pub(crate) process: Process,
    pub(crate) stage: Counter,
}

impl Helper {
    /// `hold` gets what to call when it holds, which comes back when it is to go on.
    pub(crate) fn holding(hold: impl FnOnce(&dyn Fn())) -> Self {
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

    pub(crate) fn go_on(&self) {
        self.stage.set(2);
    }
}

pub(crate) fn mutex() -> Shared<Mutex<[u64; 2]>> {
    shared(Mutex::new([0; 2]))
}

/// A value whose holder died holding it.
pub(crate) fn orphan<T: Shareable>(value: T, take: impl FnOnce(&T)) -> Shared<T> {
    let value = shared(value);
    assert_eq!(ends(&start(|| take(&value))), Exit::Code(0));
    value
}
