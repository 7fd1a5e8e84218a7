//! Models of `Lock`, of the word that `Mutex` adds to the robust lock, and of `RwLock`. Each
//! has a twin in which one line is broken, and which must fail.
#![cfg(loom)]

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;
use multiproc_core::model::{check, die_at, must_notice};
use multiproc_core::step;
use multiproc_lock::{Lock, Mutex, OwnerDied, RwLock};

/// Two numbers that differ only while somebody holds `lock`.
struct Protected<L> {
    lock: L,
    pair: UnsafeCell<[u64; 2]>,
}

// SAFETY: `pair` is touched under `lock` only; loom checks just that.
unsafe impl<L: Sync> Sync for Protected<L> {}
// SAFETY: as above.
unsafe impl<L: Send> Send for Protected<L> {}

impl<L> Protected<L> {
    fn new(lock: L) -> Arc<Self> {
        Arc::new(Self {
            lock,
            pair: UnsafeCell::new([0; 2]),
        })
    }

    /// One more, by who holds the lock: in two halves, and it may die in between.
    fn add(&self, died: bool) {
        // SAFETY: the caller holds the lock; loom checks.
        self.pair.with_mut(|pair| unsafe {
            if died {
                (*pair)[1] = (*pair)[0];
            }
            assert_eq!((*pair)[0], (*pair)[1], "torn, and nobody said so");
            (*pair)[0] += 1;
        });
        step!("model: half done");
        // SAFETY: as above.
        self.pair.with_mut(|pair| unsafe { (*pair)[1] += 1 });
    }

    /// The number, for who holds the lock.
    fn sum(&self, died: bool) -> u64 {
        // SAFETY: the caller holds the lock; loom checks.
        let [a, b] = self.pair.with(|pair| unsafe { *pair });
        assert!(died || a == b, "torn, and nobody said so");
        a
    }
}

fn spawn<L: Send + Sync + 'static, R: 'static>(
    p: &Arc<Protected<L>>,
    f: impl FnOnce(&Protected<L>) -> R + 'static,
) -> thread::JoinHandle<R> {
    let p = p.clone();
    thread::spawn(move || f(&p))
}

// ---- Lock ----

fn add_locked(p: &Protected<Lock>) {
    let (mut held, died) = match p.lock.lock() {
        Ok(held) => (held, false),
        Err(OwnerDied(held)) => (held, true),
    };
    p.add(died);
    if died {
        held.mended();
    }
}

fn three_add(bound: usize) {
    check(bound, || {
        let p = Protected::new(Lock::new());
        let others = [spawn(&p, add_locked), spawn(&p, add_locked)];
        add_locked(&p);
        for other in others {
            other.join().unwrap();
        }
        let held = p.lock.lock().unwrap();
        assert_eq!(p.sum(false), 3);
        drop(held);
        assert!(!p.lock.is_locked());
    });
}

/// What a third one acquired is released by another.
fn released_by_another(bound: usize) {
    check(bound, || {
        let p = Protected::new(Lock::new());
        p.lock.acquire().unwrap();
        p.add(false);
        let waiter = spawn(&p, add_locked);
        let releaser = spawn(&p, |p| p.lock.release().unwrap());
        releaser.join().unwrap();
        waiter.join().unwrap();
        assert_eq!(p.sum(false), 2);
    });
}

fn a_holder_dies(steps: u64, bound: usize) {
    check(bound, move || {
        let p = Protected::new(Lock::new());
        let victim = spawn(&p, move |p| die_at(steps, || add_locked(p)).is_some());
        let other = spawn(&p, add_locked);
        let survived = victim.join().unwrap();
        p.lock.end_slice();
        other.join().unwrap();
        // The victim's addition is there or not; ours is.
        let (held, died) = match p.lock.lock() {
            Ok(held) => (held, false),
            Err(OwnerDied(held)) => (held, true),
        };
        let sum = p.sum(died);
        assert!(sum == 1 || sum == 2, "{sum}");
        assert!(!survived || (sum == 2 && !died));
        drop(held);
    });
}

#[test]
fn model_lock_three_add() {
    three_add(2);
}

#[test]
fn model_lock_released_by_another() {
    released_by_another(3);
}

#[test]
fn model_lock_holder_dies() {
    // about to take, taken, owned, half done, given up or its slow way
    for steps in 0..9 {
        a_holder_dies(steps, 2);
    }
}

#[test]
fn model_fails_when_a_lock_is_freed_relaxed() {
    must_notice("lock: free", "model_lock_three_add");
}

#[test]
fn model_fails_when_a_lock_waiter_sets_no_mark() {
    must_notice("lock: mark", "model_lock_three_add");
}

#[test]
fn model_fails_when_a_woken_lock_waiter_does_not_mark_again() {
    must_notice("lock: mark again", "model_lock_three_add");
}

#[test]
fn model_fails_when_a_lock_does_not_note_a_death() {
    must_notice("lock: note the death", "model_lock_holder_dies");
}

// ---- Mutex ----

/// The victim dies; the next two take over, and only the second one mends.
fn a_mutex_holder_dies(steps: u64, bound: usize) {
    check(bound, move || {
        let p = Protected::new(Mutex::new(()));
        let add = |p: &Protected<Mutex<()>>| match p.lock.lock() {
            Ok(held) => {
                p.add(false);
                drop(held);
            }
            Err(OwnerDied(held)) => drop(held), // looks away
        };
        let victim = spawn(&p, move |p| die_at(steps, || add(p)).is_some());
        let other = spawn(&p, move |p| add(p));
        let survived = victim.join().unwrap();
        other.join().unwrap();
        let (mut held, died) = match p.lock.lock() {
            Ok(held) => (held, false),
            Err(OwnerDied(held)) => (held, true),
        };
        let sum = p.sum(died);
        assert!(!survived || (sum == 2 && !died));
        held.mended();
        drop(held);
        drop(p.lock.lock().unwrap());
    });
}

#[test]
fn model_mutex_holder_dies() {
    for steps in 0..8 {
        a_mutex_holder_dies(steps, 2);
    }
}

#[test]
fn model_fails_when_a_mutex_does_not_note_a_death() {
    must_notice("mutex: note the death", "model_mutex_holder_dies");
}

// ---- RwLock ----

type Rw = RwLock<(), 2>;

fn write(p: &Protected<Rw>) {
    let (mut held, died) = match p.lock.write() {
        Ok(held) => (held, false),
        Err(OwnerDied(held)) => (held, true),
    };
    p.add(died);
    held.mended();
}

fn read(p: &Protected<Rw>) -> u64 {
    match p.lock.read() {
        Ok(_held) => p.sum(false),
        Err(OwnerDied(_held)) => p.sum(true),
    }
}

fn readers_and_a_writer(bound: usize) {
    check(bound, || {
        let p = Protected::new(Rw::with_places(()));
        let reader = spawn(&p, read);
        let writer = spawn(&p, write);
        let seen = [read(&p), reader.join().unwrap()];
        writer.join().unwrap();
        assert!(seen.iter().all(|&n| n <= 1), "{seen:?}");
        assert_eq!(read(&p), 1);
        assert!(!p.lock.is_locked());
    });
}

fn a_reader_or_writer_dies(writes: bool, steps: u64, bound: usize) {
    check(bound, move || {
        let p = Protected::new(Rw::with_places(()));
        let victim = spawn(&p, move |p| {
            let act = || match writes {
                true => write(p),
                false => assert!(read(p) <= 1),
            };
            die_at(steps, act).is_some()
        });
        let writer = spawn(&p, write);
        let survived = victim.join().unwrap();
        p.lock.end_slice();
        writer.join().unwrap();
        let sum = read(&p);
        assert!(sum == 1 || (writes && sum == 2), "{sum}");
        assert!(!survived || sum == 1 + u64::from(writes));
    });
}

#[test]
fn model_rwlock_readers_and_a_writer() {
    readers_and_a_writer(2);
}

#[test]
fn model_rwlock_writer_dies() {
    for steps in 0..9 {
        a_reader_or_writer_dies(true, steps, 2);
    }
}

#[test]
fn model_rwlock_reader_dies() {
    for steps in 0..10 {
        a_reader_or_writer_dies(false, steps, 2);
    }
}

#[test]
fn model_fails_when_a_reader_leaves_relaxed() {
    must_notice("rwlock: leave", "model_rwlock_readers_and_a_writer");
}

#[test]
fn model_fails_when_a_place_is_seen_empty_relaxed() {
    must_notice(
        "rwlock: see the place empty",
        "model_rwlock_readers_and_a_writer",
    );
}

#[test]
fn model_fails_when_a_writer_does_not_mark_the_place() {
    must_notice("rwlock: mark", "model_rwlock_readers_and_a_writer");
}

#[test]
fn model_fails_when_a_writer_is_not_known_to_write() {
    must_notice("rwlock: dirty", "model_rwlock_writer_dies");
}
