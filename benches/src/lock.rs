//! The group `lock`: what mutual exclusion costs, alone and with a rival.
//!
//! A [`Locking`] contender guards a number: each turn acquires, adds one to it, and releases. *uncontended*: nobody
//! else is there; nanoseconds per turn. *contended*: two sides take turns as fast as they can; turns per second of
//! both together, by the number they guard: a lock that let both in would lose turns.

use crate::channel::Run;
use crate::harness::{Contender, Group, Measure, Place, Row};
use crate::sys::{self, Mapping, Outcome, Res, Side};
use multiproc::{Shareable, Shared};
use multiproc_lock::{ApiMutex, Lock, Mutex, RawLockUnpoisoned, RwLock};
use multiproc_rlock::RLock;
use std::cell::UnsafeCell;
use std::hint::spin_loop;
use std::mem::MaybeUninit;
use std::sync::atomic::{
    AtomicU32, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};
use std::time::Instant;

/// The group.
pub(crate) fn groups() -> Vec<Group> {
    let mut rows = Vec::new();
    for (what, place, unit) in [
        ("uncontended", Place::Pinned, "ns"),
        ("contended", Place::Pinned, "op/s"),
        ("contended", Place::Free, "op/s"),
    ] {
        let forked = |who, (alone, rivals): (Measure, Measure)| Contender {
            who,
            measure: if what == "uncontended" { alone } else { rivals },
        };
        rows.push(Row {
            what,
            size: 0,
            place,
            unit,
            bases: &["parking_lot", "futex", "pthread robust"],
            contenders: vec![
                forked("Mutex", processes::<OurMutex>()),
                forked("Lock", processes::<OurLock>()),
                forked("RLock", processes::<OurRLock>()),
                forked("RwLock write", processes::<OurRwLock<true>>()),
                forked("RwLock read", processes::<OurRwLock<false>>()),
                forked("RawLockUnpoisoned", processes::<OurRawLock>()),
                forked("futex", processes::<Futex>()),
                forked("pthread", processes::<Pthread<false>>()),
                forked("pthread robust", processes::<Pthread<true>>()),
                forked("parking_lot", threads::<ParkingLot>()),
                forked("std", threads::<Std>()),
            ],
        });
    }
    vec![Group {
        name: "lock",
        about: "acquire, add one to what is guarded, release; parking_lot and std between threads",
        rows,
    }]
}

/// A lock and the number that it guards.
trait Locking: Sized {
    /// Makes one, before the sides start.
    fn create() -> Res<Self>;
    /// Acquires, adds one, releases.
    fn turn(&self);
    /// The number, as it happens to be.
    fn turns(&self) -> u64;
}

fn processes<L: Locking>() -> (Measure, Measure) {
    (alone::<L>, rival_processes::<L>)
}

fn threads<L: Locking + Sync + 'static>() -> (Measure, Measure) {
    (alone::<L>, rival_threads::<L>)
}

/// Nanoseconds per turn.
fn alone<L: Locking>(run: &Run) -> Res<Outcome> {
    const TURNS: u32 = 1_000;
    sys::pin(run.cpu(0))?;
    let lock = L::create()?;
    let begin = Instant::now();
    let (mut turns, mut time) = (0.0, 0.0);
    // On a busy machine the first turns after warming up may be late.
    while turns == 0.0 || begin.elapsed() < run.warm + run.time {
        let from = Instant::now();
        for _ in 0..TURNS {
            lock.turn();
        }
        if from - begin >= run.warm {
            turns += f64::from(TURNS);
            time += from.elapsed().as_nanos() as f64;
        }
    }
    Ok(Outcome::Value(time / turns))
}

fn rival_processes<L: Locking>(run: &Run) -> Res<Outcome> {
    let lock = L::create()?;
    let mut sides = Vec::new();
    for side in 0..2 {
        sides.push(Side::fork(run.cpu(side), || forever(&lock))?);
    }
    rate(&lock, run)
}

fn rival_threads<L: Locking + Sync + 'static>(run: &Run) -> Res<Outcome> {
    let lock: &'static L = Box::leak(Box::new(L::create()?));
    for side in 0..2 {
        sys::thread(run.cpu(side), move || forever(lock));
    }
    rate(lock, run)
}

fn forever<L: Locking>(lock: &L) -> Res {
    loop {
        lock.turn();
    }
}

/// The measurement is over, and the other side was killed first, holding the lock. Ours is next.
#[cold]
fn killed() {
    std::thread::sleep(std::time::Duration::from_millis(1));
}

/// Turns per second, once they are being taken.
fn rate<L: Locking>(lock: &L, run: &Run) -> Res<Outcome> {
    while lock.turns() == 0 {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    std::thread::sleep(run.warm);
    let (from, begin) = (lock.turns(), Instant::now());
    let (mut to, mut end) = (from, begin);
    // On a busy machine a whole measurement may pass without a turn; one that hangs is the watchdog's.
    while to == from {
        std::thread::sleep(run.time);
        (to, end) = (lock.turns(), Instant::now());
    }
    Ok(Outcome::Value(
        (to - from) as f64 / (end - begin).as_secs_f64(),
    ))
}

/// A number that its lock guards, and that the measurement looks at without.
#[derive(Debug, Default)]
struct Guarded(AtomicU64);

impl Guarded {
    #[inline]
    fn add(&self) {
        // Relaxed, and no fetch_add: the lock is what is measured.
        self.0.store(self.0.load(Relaxed) + 1, Relaxed);
    }
}

/// A lock and its number, in shared memory as in a user's struct: side by side, as the peers have them.
#[derive(Shareable)]
#[repr(C)]
struct Beside<L> {
    lock: L,
    number: AtomicU64,
}

fn beside<L: Shareable>(lock: L) -> Res<Shared<Beside<L>>> {
    let number = AtomicU64::new(0);
    Ok(Shared::new(Beside { lock, number })?)
}

#[inline]
fn add(number: &AtomicU64) {
    number.store(number.load(Relaxed) + 1, Relaxed);
}

/// Its number lies in the mutex; the measurement looks at a copy beside it.
struct OurMutex(Shared<Beside<Mutex<u64>>>);

impl Locking for OurMutex {
    fn create() -> Res<Self> {
        Ok(Self(beside(Mutex::new(0))?))
    }

    #[inline]
    fn turn(&self) {
        let Ok(mut held) = self.0.lock.lock() else {
            return killed();
        };
        *held += 1;
        self.0.number.store(*held, Relaxed);
    }

    fn turns(&self) -> u64 {
        self.0.number.load(Relaxed)
    }
}

struct OurLock(Shared<Beside<Lock>>);

impl Locking for OurLock {
    fn create() -> Res<Self> {
        Ok(Self(beside(Lock::new())?))
    }

    #[inline]
    fn turn(&self) {
        let Ok(_held) = self.0.lock.lock() else {
            return killed();
        };
        add(&self.0.number);
    }

    fn turns(&self) -> u64 {
        self.0.number.load(Relaxed)
    }
}

struct OurRLock(Shared<Beside<RLock>>);

impl Locking for OurRLock {
    fn create() -> Res<Self> {
        Ok(Self(beside(RLock::new())?))
    }

    #[inline]
    fn turn(&self) {
        let Ok(_held) = self.0.lock.lock() else {
            return killed();
        };
        add(&self.0.number);
    }

    fn turns(&self) -> u64 {
        self.0.number.load(Relaxed)
    }
}

struct OurRwLock<const WRITE: bool>(Shared<Beside<RwLock<u64>>>);

impl<const WRITE: bool> Locking for OurRwLock<WRITE> {
    fn create() -> Res<Self> {
        Ok(Self(beside(RwLock::new(0))?))
    }

    #[inline]
    fn turn(&self) {
        if WRITE {
            let Ok(mut held) = self.0.lock.write() else {
                return killed();
            };
            *held += 1;
            self.0.number.store(*held, Relaxed);
        } else {
            let Ok(held) = self.0.lock.read() else {
                return killed();
            };
            // Readers are not excluded from each other: each turn counts by itself.
            self.0.number.fetch_add(1 + *held, Relaxed);
        }
    }

    fn turns(&self) -> u64 {
        self.0.number.load(Relaxed)
    }
}

struct OurRawLock(Shared<Beside<ApiMutex<RawLockUnpoisoned, u64>>>);

impl Locking for OurRawLock {
    fn create() -> Res<Self> {
        Ok(Self(beside(ApiMutex::new(0))?))
    }

    #[inline]
    fn turn(&self) {
        let mut held = self.0.lock.lock();
        *held += 1;
        self.0.number.store(*held, Relaxed);
    }

    fn turns(&self) -> u64 {
        self.0.number.load(Relaxed)
    }
}

/// A lock of `T` and a number, in a mapping: zeroed, then made by `init`.
#[derive(Debug)]
struct Mapped<T> {
    map: Mapping,
    _lock: std::marker::PhantomData<T>,
}

impl<T> Mapped<T> {
    /// As far from the lock as in a struct with both.
    const NUMBER: usize = size_of::<T>().next_multiple_of(8);

    fn new(init: impl FnOnce(*mut T)) -> Res<Self> {
        let map = Mapping::new(Self::NUMBER + 8)?;
        init(map.start().as_ptr().cast());
        Ok(Self {
            map,
            _lock: std::marker::PhantomData,
        })
    }

    fn lock(&self) -> *mut T {
        self.map.start().as_ptr().cast()
    }

    fn number(&self) -> &AtomicU64 {
        // SAFETY: inside the mapping, aligned, zeroed, and accessed as this atomic only.
        unsafe { self.map.start().add(Self::NUMBER).cast().as_ref() }
    }
}

/// The limit: one word, three states, no owner. Spins as std's does.
#[derive(Debug)]
struct Futex(Mapped<AtomicU32>);

impl Futex {
    fn word(&self) -> &AtomicU32 {
        // SAFETY: the start of the mapping is aligned, and accessed as this atomic only.
        unsafe { &*self.0.lock() }
    }

    /// The word, as soon as it is not 1 any more, or later.
    fn spin(&self) -> u32 {
        let mut spins = 100;
        loop {
            let state = self.word().load(Relaxed);
            if state != 1 || spins == 0 {
                return state;
            }
            spin_loop();
            spins -= 1;
        }
    }

    #[cold]
    fn acquire_contended(&self) {
        let word = self.word();
        let mut state = self.spin();
        if state == 0 {
            match word.compare_exchange(0, 1, Acquire, Relaxed) {
                Ok(_) => return,
                Err(now) => state = now,
            }
        }
        loop {
            if state != 2 && word.swap(2, Acquire) == 0 {
                return;
            }
            sys::futex_wait(word, 2);
            state = self.spin();
        }
    }
}

impl Locking for Futex {
    fn create() -> Res<Self> {
        Ok(Self(Mapped::new(|_| ())?))
    }

    #[inline]
    fn turn(&self) {
        let word = self.word();
        // PAIRS bare-futex.
        if word.compare_exchange(0, 1, Acquire, Relaxed).is_err() {
            self.acquire_contended();
        }
        add(self.0.number());
        // PAIRS bare-futex.
        if word.swap(0, Release) == 2 {
            sys::futex_wake(word);
        }
    }

    fn turns(&self) -> u64 {
        self.0.number().load(Relaxed)
    }
}

/// The C library's mutex, shared by processes.
#[derive(Debug)]
struct Pthread<const ROBUST: bool>(Mapped<UnsafeCell<libc::pthread_mutex_t>>);

impl<const ROBUST: bool> Locking for Pthread<ROBUST> {
    fn create() -> Res<Self> {
        let mut failed = 0;
        let mapped = Mapped::new(|at: *mut UnsafeCell<libc::pthread_mutex_t>| {
            let mut attr = MaybeUninit::uninit();
            // SAFETY: the attributes are initialised before use, the mutex lies in zeroed memory that nobody uses yet.
            unsafe {
                failed |= libc::pthread_mutexattr_init(attr.as_mut_ptr());
                let shared = libc::PTHREAD_PROCESS_SHARED;
                failed |= libc::pthread_mutexattr_setpshared(attr.as_mut_ptr(), shared);
                if ROBUST {
                    let robust = libc::PTHREAD_MUTEX_ROBUST;
                    failed |= libc::pthread_mutexattr_setrobust(attr.as_mut_ptr(), robust);
                }
                failed |= libc::pthread_mutex_init(at.cast(), attr.as_ptr());
            }
        })?;
        if failed != 0 {
            return Err(std::io::Error::from_raw_os_error(failed).into());
        }
        Ok(Self(mapped))
    }

    #[inline]
    fn turn(&self) {
        let mutex = self.0.lock().cast();
        // SAFETY: initialised by `create`; locked and unlocked by this thread.
        match unsafe { libc::pthread_mutex_lock(mutex) } {
            0 => {}
            _ => return killed(),
        }
        add(self.0.number());
        // SAFETY: as above.
        unsafe { libc::pthread_mutex_unlock(mutex) };
    }

    fn turns(&self) -> u64 {
        self.0.number().load(Relaxed)
    }
}

#[derive(Default)]
struct ParkingLot(parking_lot::Mutex<()>, Guarded);

impl Locking for ParkingLot {
    fn create() -> Res<Self> {
        Ok(Self::default())
    }

    #[inline]
    fn turn(&self) {
        let _held = self.0.lock();
        self.1.add();
    }

    fn turns(&self) -> u64 {
        self.1.0.load(Relaxed)
    }
}

#[derive(Default)]
struct Std(std::sync::Mutex<()>, Guarded);

impl Locking for Std {
    fn create() -> Res<Self> {
        Ok(Self::default())
    }

    #[inline]
    fn turn(&self) {
        let _held = self.0.lock().expect("nobody panics");
        self.1.add();
    }

    fn turns(&self) -> u64 {
        self.1.0.load(Relaxed)
    }
}
