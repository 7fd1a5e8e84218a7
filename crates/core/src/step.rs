//! Named steps: places at which a test can end a process with SIGKILL, or stop it with SIGSTOP.
//!
//! With the feature `steps` off (a normal build) [`step!`](crate::step!) expands to
//! nothing. With it, a test counts the steps that an operation passes and then runs the
//! operation again in a child per step, killed at exactly that one: it repeats, which a
//! kill at a random moment does not.
//!
//! The plan lies in a process-local static: `arm` it in the child that is to die.

/// Marks a named step. Nothing in a normal build.
#[macro_export]
macro_rules! step {
    ($name:expr) => {
        $crate::step::at($name)
    };
}

/// Passes the step `name`. Use [`step!`](crate::step!).
#[cfg(all(not(feature = "steps"), not(loom)))]
#[inline(always)]
pub fn at(_name: &'static str) {}

/// Passes the step `name`: a model may stop the thread here.
#[cfg(loom)]
pub fn at(name: &'static str) {
    crate::model::step(name);
}

#[cfg(all(feature = "steps", not(loom)))]
pub use armed::{arm, at, count_on, counted, disarm, names, pause};

#[cfg(all(feature = "steps", not(loom)))]
mod armed {
    use multiproc_segment::local::Local;
    use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering::Relaxed};

    // Relaxed throughout: a test arms and runs on one thread.
    static ACTIVE: AtomicBool = AtomicBool::new(false);
    static PASSED: AtomicU64 = AtomicU64::new(0);
    static FATAL: AtomicU64 = AtomicU64::new(u64::MAX);
    static SIGNAL: AtomicI32 = AtomicI32::new(libc::SIGKILL);
    static NAMES: Local<Vec<&'static str>> = Local::new(Vec::new());

    /// Passes the step `name`: counted, and the process's last if a test said so.
    #[inline]
    pub fn at(name: &'static str) {
        if ACTIVE.load(Relaxed) {
            pass(name);
        }
    }

    #[cold]
    fn pass(name: &'static str) {
        let n = PASSED.fetch_add(1, Relaxed);
        if n == FATAL.load(Relaxed) {
            let signal = SIGNAL.load(Relaxed);
            // SAFETY: plain system calls on this very process. The first returns only after
            // SIGCONT.
            unsafe {
                libc::kill(libc::getpid(), signal);
                if signal == libc::SIGKILL {
                    loop {
                        libc::pause();
                    }
                }
            }
        }
        if FATAL.load(Relaxed) == u64::MAX {
            NAMES.with(|names| names.push(name));
        }
    }

    /// From now on, count the steps that this process passes and note their names.
    pub fn count_on() {
        begin(u64::MAX);
    }

    /// From now on, this process dies by SIGKILL at its step number `n`, from 0.
    pub fn arm(n: u64) {
        SIGNAL.store(libc::SIGKILL, Relaxed);
        begin(n);
    }

    /// From now on, this process stops by SIGSTOP at its step number `n`, from 0, and goes on
    /// when somebody sends SIGCONT.
    pub fn pause(n: u64) {
        SIGNAL.store(libc::SIGSTOP, Relaxed);
        begin(n);
    }

    fn begin(n: u64) {
        NAMES.with(Vec::clear);
        PASSED.store(0, Relaxed);
        FATAL.store(n, Relaxed);
        ACTIVE.store(true, Relaxed);
    }

    /// Neither count nor die any more.
    pub fn disarm() {
        ACTIVE.store(false, Relaxed);
    }

    /// Steps passed since [`count_on`] or [`arm`].
    pub fn counted() -> u64 {
        PASSED.load(Relaxed)
    }

    /// The names of the steps passed since [`count_on`].
    pub fn names() -> Vec<&'static str> {
        NAMES.with(|names| names.clone())
    }
}
