//! What stands in for the kernel under loom: futexes, robust lists, and death.
//!
//! A thread dies at a step that the model chose ([`die_at`]): it unwinds without running
//! what a killed process would not run, and a model of the kernel walks its locks. Slices
//! never end here, so that a lost wake-up shows as a deadlock.

use crate::deadline::Deadline;
use crate::futex::Waited;
use crate::prim::{AtomicU32, Ordering::*};
use loom::sync::{Condvar, Mutex};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

struct Kernel {
    sleepers: Mutex<Vec<(usize, u64)>>,
    woken: Condvar,
    /// Threads that died, by id.
    dead: Mutex<Vec<u32>>,
}

loom::lazy_static! {
    static ref KERNEL: Kernel = Kernel {
        sleepers: Mutex::new(Vec::new()),
        woken: Condvar::new(),
        dead: Mutex::new(Vec::new()),
    };
}

fn key(word: &AtomicU32) -> usize {
    std::ptr::from_ref(word) as usize
}

fn wake_some(sleepers: &mut Vec<(usize, u64)>, word: &AtomicU32, n: usize) {
    let mut left = n;
    sleepers.retain(|(at, _)| {
        let goes = *at == key(word) && left > 0;
        left -= usize::from(goes);
        !goes
    });
    KERNEL.woken.notify_all();
}

static NEXT_TICKET: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);

pub(crate) fn wait(word: &AtomicU32, expected: u32, deadline: Deadline) -> Waited {
    if deadline == Deadline::NOW {
        return Waited::TimedOut;
    }
    let mut sleepers = KERNEL.sleepers.lock().unwrap();
    if word.load(Relaxed) != expected {
        return Waited::Look;
    }
    // Never used twice: a sleeper that was woken and has not looked yet must not take the
    // next one's for its own.
    let ticket = NEXT_TICKET.fetch_add(1, Relaxed);
    sleepers.push((key(word), ticket));
    while sleepers.contains(&(key(word), ticket)) {
        sleepers = KERNEL.woken.wait(sleepers).unwrap();
    }
    Waited::Look
}

pub(crate) fn wake(word: &AtomicU32, n: i32) {
    wake_some(&mut KERNEL.sleepers.lock().unwrap(), word, n as usize);
}

pub(crate) fn zero_and_wake_one(lock: &AtomicU32) {
    let mut sleepers = KERNEL.sleepers.lock().unwrap();
    lock.store(0, Release);
    wake_some(&mut sleepers, lock, 1);
}

pub(crate) fn ring(bell: &AtomicU32, lock: &AtomicU32) {
    let mut sleepers = KERNEL.sleepers.lock().unwrap();
    bell.fetch_add(1, Release);
    wake_some(&mut sleepers, bell, usize::MAX);
    wake_some(&mut sleepers, lock, 1);
}

pub(crate) fn set_one_and_wake_all(word: &AtomicU32) {
    let mut sleepers = KERNEL.sleepers.lock().unwrap();
    word.fetch_or(1, Release);
    wake_some(&mut sleepers, word, usize::MAX);
}

static NEXT_TID: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(1);

loom::thread_local! {
    static TID: u32 = NEXT_TID.fetch_add(1, Relaxed) % (1 << 29) + 1;
    static DEAD: Cell<bool> = Cell::new(false);
    static STEPS_LEFT: Cell<u64> = Cell::new(u64::MAX);
    static LINKED: std::cell::RefCell<Vec<usize>> = std::cell::RefCell::new(Vec::new());
    static PENDING: Cell<usize> = Cell::new(0);
}

struct Killed;

/// Runs `body`; the thread dies when it passes its step number `n`. `None` if it did.
pub fn die_at<R>(n: u64, body: impl FnOnce() -> R) -> Option<R> {
    end_at(n, body, walk_the_dead)
}

/// As [`die_at`], where the kernel has no list to walk.
pub fn vanish_at<R>(n: u64, body: impl FnOnce() -> R) -> Option<R> {
    end_at(n, body, || {})
}

fn end_at<R>(n: u64, body: impl FnOnce() -> R, walk: fn()) -> Option<R> {
    STEPS_LEFT.with(|left| left.set(n));
    let result = catch_unwind(AssertUnwindSafe(body));
    STEPS_LEFT.with(|left| left.set(u64::MAX));
    match result {
        Ok(value) => Some(value),
        Err(payload) if payload.is::<Killed>() => {
            KERNEL.dead.lock().unwrap().push(me());
            walk();
            None
        }
        Err(payload) => resume_unwind(payload),
    }
}

/// This thread as a process of its own: what an identity is to a model.
pub fn me() -> u32 {
    TID.with(|tid| *tid)
}

/// Is the thread that called itself `who` not dead? All that it wrote is seen if it is.
pub fn is_alive(who: u32) -> bool {
    !KERNEL.dead.lock().unwrap().contains(&who)
}

/// Is this thread dead (or a model failing), and merely unwinding?
pub fn dead() -> bool {
    std::thread::panicking() || DEAD.with(Cell::get)
}

pub(crate) fn step(_name: &'static str) {
    let left = STEPS_LEFT.with(Cell::get);
    if left == 0 {
        DEAD.with(|dead| dead.set(true));
        resume_unwind(Box::new(Killed));
    }
    if left != u64::MAX {
        STEPS_LEFT.with(|steps| steps.set(left - 1));
    }
}

const WAITERS: u32 = 1 << 31;
const OWNER_DIED: u32 = 1 << 30;

/// As `exit_robust_list` in the kernel: first the list, then what was pending.
fn walk_the_dead() {
    if is_broken("kernel: walk") {
        return;
    }
    let tid = TID.with(|t| *t);
    let linked = LINKED.with(|l| l.borrow().clone());
    let pending = PENDING.with(Cell::get);
    for (word, is_pending) in linked
        .into_iter()
        .map(|w| (w, false))
        .chain((pending != 0).then_some((pending, true)))
    {
        // SAFETY: the models keep their locks alive until all threads have ended.
        let word = unsafe { &*(word as *const AtomicU32) };
        let mut sleepers = KERNEL.sleepers.lock().unwrap();
        let mut seen = word.load(Relaxed);
        loop {
            let owner = seen & (OWNER_DIED - 1);
            if is_pending && owner == 0 {
                wake_some(&mut sleepers, word, 1);
                break;
            }
            if owner != tid {
                break;
            }
            match word.compare_exchange(seen, seen & WAITERS | OWNER_DIED, AcqRel, Relaxed) {
                Ok(_) => {
                    if seen & WAITERS != 0 {
                        wake_some(&mut sleepers, word, 1);
                    }
                    break;
                }
                Err(now) => seen = now,
            }
        }
    }
}

/// The robust list of a model thread.
pub(crate) mod list {
    use super::{LINKED, PENDING, TID};
    use crate::robust::RobustLock;
    use std::marker::PhantomData;

    #[derive(Clone, Copy)]
    pub(crate) struct Mine(u32, PhantomData<*const ()>);

    impl Mine {
        pub(crate) fn tid(self) -> u32 {
            self.0
        }

        pub(crate) fn is_told(self) -> bool {
            true
        }
    }

    pub(crate) fn mine(_lock: &RobustLock) -> Mine {
        Mine(TID.with(|t| *t), PhantomData)
    }

    pub(crate) fn about_to(lock: &RobustLock, _mine: Mine) {
        PENDING.with(|p| p.set(lock.word_address()));
    }

    pub(crate) fn done(_lock: &RobustLock, _mine: Mine) {
        PENDING.with(|p| p.set(0));
    }

    pub(crate) fn link(lock: &RobustLock, _mine: Mine) {
        LINKED.with(|l| l.borrow_mut().push(lock.word_address()));
    }

    pub(crate) fn unlink(lock: &RobustLock, _mine: Mine) {
        LINKED.with(|l| l.borrow_mut().retain(|at| *at != lock.word_address()));
    }

    pub(crate) fn forget_in_child() {}

    pub(crate) fn held_here() -> usize {
        0
    }
}

/// Is the code broken at this place, on purpose? So says the environment of the process.
pub fn is_broken(place: &str) -> bool {
    static BROKEN: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    BROKEN
        .get_or_init(|| std::env::var("MODEL_BROKEN_AT").ok())
        .as_deref()
        == Some(place)
}

/// Runs the test `model` of this test binary again, with the code broken at `place`.
///
/// # Panics
///
/// If the model still holds: then it would not notice.
pub fn must_notice(place: &str, model: &str) {
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", model])
        .env("MODEL_BROKEN_AT", place)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("running 1 test"), "there is no model {model}");
    assert!(
        !output.status.success(),
        "{model} did not notice that {place:?} was broken"
    );
}

/// Explores all interleavings of `body` with up to `bound` preemptions.
///
/// # Panics
///
/// If the model fails, or there was hardly anything to explore: a known gap of loom can collapse
/// a model to a single run, still green.
pub fn check(bound: usize, body: impl Fn() + Send + Sync + 'static) {
    let runs = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = runs.clone();
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(bound);
    model.check(move || {
        counted.fetch_add(1, Relaxed);
        body();
    });
    let runs = runs.load(Relaxed);
    eprintln!("{runs} interleavings");
    assert!(runs > 10, "only {runs} interleavings were explored");
}
