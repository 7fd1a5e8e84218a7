//! Named steps of making, opening and removing names, for tests that stop a process at each
//! of them (feature `steps`; nothing in a normal build).
//!
//! The machinery that counts and kills belongs to a crate above, as locks do: it installs
//! itself here, like the question of [`crate::parking`].

#[cfg(feature = "steps")]
use std::sync::atomic::{AtomicPtr, Ordering::Relaxed};

#[cfg(feature = "steps")]
static AT: AtomicPtr<()> = AtomicPtr::new(std::ptr::null_mut());

/// From now on `at` is called with the name of every step that this process passes.
#[cfg(feature = "steps")]
pub fn install(at: fn(&'static str)) {
    // Relaxed: a test installs and runs on one thread.
    AT.store(at as *mut (), Relaxed);
}

/// Passes the step `name`.
#[cfg(feature = "steps")]
pub(crate) fn at(name: &'static str) {
    let at = AT.load(Relaxed);
    if !at.is_null() {
        // SAFETY: the only non-null value ever stored is such a function.
        let at: fn(&'static str) = unsafe { std::mem::transmute(at) };
        at(name);
    }
}

/// Passes the step `name`: nothing.
#[cfg(not(feature = "steps"))]
#[inline(always)]
pub(crate) fn at(_name: &'static str) {}
