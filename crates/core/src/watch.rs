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

/// A wait, slice by slice. A slice goes on while the waiter is woken, finds nothing and sleeps
/// again: else one that is woken often, by what is no news to it, would never look.
#[derive(Debug, Default)]
pub struct Watch {
    slice: Option<Deadline>,
    begun: bool,
}

impl Watch {
    /// A wait that has not begun.
    pub const fn new() -> Self {
        Self {
            slice: None,
            begun: false,
        }
    }

    /// As [`wait::sleep`]; the first slice is a short one, and a slice that is over says so also
    /// if a wake-up ended it.
    pub fn sleep(&mut self, word: &AtomicU32, expected: u32, deadline: Deadline) -> Slept {
        if cfg!(loom) {
            return wait::sleep(word, expected, deadline);
        }
        let length = if self.begun { wait::SLICE } else { SOON };
        let slice = *self.slice.get_or_insert_with(|| Deadline::after(length));
        let slept = wait::sleep(word, expected, slice.sooner(deadline));
        match slept {
            Slept::TimedOut if deadline <= slice => return slept,
            Slept::Look if !slice.passed() => return slept,
            _ => {}
        }
        (self.slice, self.begun) = (None, true);
        Slept::SliceOver
    }
}
