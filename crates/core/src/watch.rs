//! Waiting for somebody who may be dead, where no kernel tells.
//!
//! What a thread holds, the kernel frees (see [`crate::robust`]). What a *process* holds
//! (a lock that any of its threads may release, a place in a table) its waiters free,
//! when they find its identity dead. They look after a millisecond, and then once per slice:
//! a death long past costs the next waiter a millisecond, and a long wait 20 looks a second.
//!
//! If a process dies here: nothing is shared.

use crate::deadline::Deadline;
use crate::prim::AtomicU32;
use crate::wait::{self, Slept};
use std::time::Duration;

/// Before the first look.
const SOON: Duration = Duration::from_millis(1);

/// A wait, slice by slice.
#[derive(Debug, Default)]
pub struct Watch {
    begun: bool,
}

impl Watch {
    /// A wait that has not begun.
    pub const fn new() -> Self {
        Self { begun: false }
    }

    /// As [`wait::sleep`]; the first slice is a short one.
    pub fn sleep(&mut self, word: &AtomicU32, expected: u32, deadline: Deadline) -> Slept {
        if self.begun || cfg!(loom) {
            return wait::sleep(word, expected, deadline);
        }
        let soon = Deadline::after(SOON);
        match wait::sleep(word, expected, soon.sooner(deadline)) {
            Slept::TimedOut if soon < deadline => {
                self.begun = true;
                Slept::SliceOver
            }
            slept => slept,
        }
    }
}
