//! What processes count together.

use crate::until;
use multiproc_segment::{Shareable, Shared};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

/// Something in shared memory.
pub fn shared<T: Shareable>(value: T) -> Shared<T> {
    Shared::new(value).unwrap()
}

/// A number that several processes share.
#[derive(Clone, Debug)]
pub struct Counter(Shared<AtomicU64>);

impl Counter {
    /// One at zero.
    #[expect(clippy::new_without_default, reason = "it maps memory")]
    pub fn new() -> Self {
        Counter(shared(AtomicU64::new(0)))
    }

    /// What it is at.
    pub fn get(&self) -> u64 {
        self.0.load(SeqCst)
    }

    /// From now on it is at `value`.
    pub fn set(&self, value: u64) {
        self.0.store(value, SeqCst);
    }

    /// Adds one; the number before.
    pub fn count(&self) -> u64 {
        self.add(1)
    }

    /// Adds some; the number before.
    pub fn add(&self, some: u64) -> u64 {
        self.0.fetch_add(some, SeqCst)
    }

    /// Waits until it is at least `value`.
    #[track_caller]
    pub fn reach(&self, value: u64) {
        until(&format!("a counter to reach {value}"), || {
            self.get() >= value
        });
    }
}
