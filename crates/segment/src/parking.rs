//! When a mapping may not go away.
//!
//! The kernel's robust list of a thread points at the locks that the thread holds. If one
//! of them lies in a mapping (its guard was leaked, say), unmapping would leave the list
//! pointing at whatever is mapped there next. The crate that owns the locks installs a
//! question here; [`crate::Segment`] asks it before it unmaps, and parks the mapping
//! instead while the answer is yes.

use std::sync::atomic::{AtomicPtr, Ordering};

/// Does this process hold a lock whose address lies in `start..start + bytes`?
pub type HoldsLockIn = fn(start: usize, bytes: usize) -> bool;

static QUESTION: AtomicPtr<()> = AtomicPtr::new(std::ptr::null_mut());

/// Installs the question. The last one installed counts.
pub fn ask(question: HoldsLockIn) {
    // Release. PAIRS parking-question: the Acquire load below; a function pointer has no
    // memory behind it, so this only keeps installation before later lock use.
    QUESTION.store(question as *mut (), Ordering::Release);
}

pub(crate) fn must_stay(start: usize, bytes: usize) -> bool {
    // Acquire. PAIRS parking-question.
    let question = QUESTION.load(Ordering::Acquire);
    if question.is_null() {
        return false;
    }
    // SAFETY: the only non-null value ever stored is a `HoldsLockIn`.
    let question: HoldsLockIn = unsafe { std::mem::transmute(question) };
    question(start, bytes)
}
