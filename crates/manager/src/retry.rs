//! The pause between two attempts to change what somebody else has just changed.

use std::time::Duration;

/// Doubles with each attempt that was in vain, up to a bound.
pub(crate) struct Retry(u32);

/// A tenth of a millisecond, and 3 ms.
const SHORTEST: Duration = Duration::from_micros(100);
const DOUBLINGS: u32 = 5;
/// Attempts that only give others the processor.
const YIELDS: u32 = 4;

impl Retry {
    pub(crate) fn new() -> Self {
        Self(0)
    }

    pub(crate) fn pause(&mut self) {
        match self.0.checked_sub(YIELDS) {
            None => std::thread::yield_now(),
            // Somebody succeeded each time, so this waits for nobody in particular; it makes
            // room.
            Some(n) => std::thread::sleep(SHORTEST * (1 << n.min(DOUBLINGS))),
        }
        self.0 += 1;
    }
}
