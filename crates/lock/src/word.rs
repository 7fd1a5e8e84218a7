//! A word that names a process.
//!
//! ```text
//! bits  63..42  pid      41  WAITERS      40..0  start time        0 = nobody
//! ```
//!
//! It is an [`Identity`] with one bit taken from the start time: 2^41 ticks since boot are
//! 697 years. A mark and the holder change together that way, in one compare-and-swap.

#[cfg(not(loom))]
use multiproc_core::identity::Identity;

/// Somebody waits for this process to let go.
pub(crate) const WAITERS: u64 = 1 << 41;

/// This process.
#[cfg(not(loom))]
#[inline]
pub(crate) fn me() -> u64 {
    Identity::me().to_bits() & !WAITERS
}

/// Does the process that the word names live? Costs a look into /proc, unless it is this one.
#[cfg(not(loom))]
pub(crate) fn is_alive(word: u64) -> bool {
    Identity::from_bits(word & !WAITERS).is_some_and(Identity::is_alive)
}

/// Its pid.
#[cfg(not(loom))]
pub(crate) fn pid(word: u64) -> u32 {
    Identity::from_bits(word).map_or(0, Identity::pid)
}

#[cfg(loom)]
pub(crate) fn me() -> u64 {
    multiproc_core::model::me().into()
}

#[cfg(loom)]
pub(crate) fn is_alive(word: u64) -> bool {
    multiproc_core::model::is_alive(word as u32)
}

#[cfg(loom)]
pub(crate) fn pid(word: u64) -> u32 {
    word as u32
}
