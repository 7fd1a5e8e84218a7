//! State of one process, kept usable across `fork`.
//!
//! All of it sits under one reentrant lock that `pthread_atfork` handlers hold across a
//! fork: so no other thread is in the middle of a change, and the child starts with the
//! lock free. One lock means no order of locks to get wrong; nothing in here is fast
//! path.
//!
//! If the process dies here: the state dies with it. It is never in shared memory.

use parking_lot::ReentrantMutex;
use std::cell::{RefCell, UnsafeCell};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

struct Lock(UnsafeCell<ReentrantMutex<()>>);

// SAFETY: the mutex synchronises itself; the cell is replaced only in the child handler of
// a fork, where one thread exists.
unsafe impl Sync for Lock {}

static LOCK: Lock = Lock(UnsafeCell::new(ReentrantMutex::new(())));
static HANDLERS: AtomicBool = AtomicBool::new(false);

fn lock() -> &'static ReentrantMutex<()> {
    // SAFETY: replaced only while a single thread exists (see `Lock`).
    unsafe { &*LOCK.0.get() }
}

extern "C" fn before_fork() {
    std::mem::forget(lock().lock());
}

extern "C" fn after_fork_in_parent() {
    // SAFETY: `before_fork` locked it on this thread and leaked the guard.
    unsafe { lock().force_unlock() }
}

extern "C" fn after_fork_in_child() {
    // SAFETY: the child has one thread, and this one held the lock, so nobody else uses
    // it. A fresh lock forgets waiters that exist in the parent only. The old value owns
    // nothing, so overwriting it leaks nothing.
    unsafe { LOCK.0.get().write(ReentrantMutex::new(())) }
}

/// A value of this process, reached under the one lock of process-local state.
#[derive(Debug)]
pub struct Local<T>(RefCell<T>);

// SAFETY: the cell is touched only inside `with`, under the process-wide lock.
unsafe impl<T: Send> Sync for Local<T> {}

impl<T> Local<T> {
    /// A place for `value`, usually in a `static`.
    pub const fn new(value: T) -> Self {
        Self(RefCell::new(value))
    }

    /// Runs `f` on the value under the lock. `f` must be short, must not run user code,
    /// and must not enter the same `Local` again.
    pub fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        let _held = lock().lock();
        if !HANDLERS.swap(true, Relaxed) {
            // Relaxed: the lock orders it. Fails only for want of memory; then a fork
            // from a threaded program may find the lock taken, as with any other mutex.
            // SAFETY: three plain functions without captures; see each.
            unsafe {
                libc::pthread_atfork(
                    Some(before_fork),
                    Some(after_fork_in_parent),
                    Some(after_fork_in_child),
                );
            }
        }
        f(&mut self.0.borrow_mut())
    }
}
