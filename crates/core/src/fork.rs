//! Fork awareness: what a child must forget, and when a process may fork safely.

use multiproc_segment::local::Local;
use std::cell::Cell;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering::*};

// 0: nobody has asked yet, and so nobody has noted a number.
// Relaxed: changed in the child handler of a fork, where one thread exists, and from 0 to 1.
static GENERATION: AtomicU64 = AtomicU64::new(0);
static WATCHING: AtomicBool = AtomicBool::new(false);
static HOOKS: [AtomicPtr<()>; 32] = [const { AtomicPtr::new(std::ptr::null_mut()) }; 32];
static TOOLKIT_THREADS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static HELD: Cell<usize> = const { Cell::new(0) };
}

/// Changes with every fork that this process descends from: what was cached under another
/// number belongs to the parent. Never 0.
///
/// ```standalone_crate
/// use multiproc_core::fork::generation;
/// use multiproc_process::Process;
///
/// let here = generation(); // the first thing that this program asks of the toolkit
/// let child = Process::start(|| i32::from(generation() == here))?;
/// child.join()?.ok()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[inline]
pub fn generation() -> u64 {
    match GENERATION.load(Relaxed) {
        0 => first_generation(),
        n => n,
    }
}

/// A number is worth nothing unless forks change it: the handler first, then the number.
#[cold]
fn first_generation() -> u64 {
    watch();
    // Relaxed: who goes on by this number and forks does so after `watch` (or, with another
    // thread, takes the C library's lock on its handlers after that).
    match GENERATION.compare_exchange(0, 1, Relaxed, Relaxed) {
        Ok(_) => 1,
        Err(n) => n,
    }
}

extern "C" fn in_child() {
    GENERATION.fetch_add(1, Relaxed);
    TOOLKIT_THREADS.store(0, Relaxed);
    crate::identity::Identity::forget_me();
    crate::robust::forget_in_child();
    HELD.set(0);
    for hook in &HOOKS {
        let hook = hook.load(Acquire);
        if !hook.is_null() {
            // SAFETY: only `on_child` stores here, and only `fn()`s.
            let hook: fn() = unsafe { std::mem::transmute(hook) };
            hook();
        }
    }
}

/// Makes sure that forked children forget what is the parent's.
pub(crate) fn watch() {
    static REGISTERED: Local<bool> = Local::new(false);
    if WATCHING.load(Acquire) {
        return;
    }
    // Under the lock, so that nobody goes on before the handler is there.
    REGISTERED.with(|registered| {
        if !*registered {
            // SAFETY: a plain function; it touches atomics and this thread's own state.
            // For want of memory it fails, and a child would use its parent's thread id:
            // the process cannot do anything useful without memory either.
            unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
            *registered = true;
        }
    });
    WATCHING.store(true, Release); // PAIRS watching: the load above
}

/// Runs `hook` in every child that is forked from now on, on its only thread, before
/// `fork` returns there. The same function is kept once. False when the table of 32 is full
/// (the toolkit's own crates need a handful).
#[must_use]
pub fn on_child(hook: fn()) -> bool {
    watch();
    let hook = hook as *mut ();
    // Release/Acquire. PAIRS child-hook: stored whole before it is seen.
    HOOKS.iter().any(|slot| {
        slot.load(Acquire) == hook
            || slot
                .compare_exchange(std::ptr::null_mut(), hook, AcqRel, Acquire)
                .is_ok()
            || slot.load(Acquire) == hook
    })
}

/// Guards, permits, claims and loans that the calling thread holds. A fork would
/// duplicate them.
pub fn held_here() -> usize {
    HELD.get() + crate::robust::held_here()
}

/// Counts a permit, claim or loan (locks count themselves) as long as it lives. Not `Send`:
/// held by a thread.
#[derive(Debug)]
pub struct HeldHere(std::marker::PhantomData<*const ()>);

impl HeldHere {
    /// One more is held by this thread.
    #[inline]
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        HELD.set(HELD.get() + 1);
        Self(std::marker::PhantomData)
    }
}

impl Drop for HeldHere {
    #[inline]
    fn drop(&mut self) {
        HELD.set(HELD.get().saturating_sub(1));
    }
}

/// Threads of this process, without the toolkit's own (which park during a fork).
pub fn thread_count() -> usize {
    // The directory's link count is 2 + threads, and costs one system call.
    let links = std::fs::metadata("/proc/self/task").map_or(3, |m| m.nlink() as usize);
    (links - 2)
        .saturating_sub(TOOLKIT_THREADS.load(Relaxed))
        .max(1)
}
