use crate::semaphore::Semaphore;
use multiproc_core::fork::HeldHere;
use std::fmt;

/// Permits of a [`Semaphore`], given back on drop, and when the process that holds them
/// dies.
///
/// Held by the process; a forked child's copy of it is not a permit, and dropping that
/// does nothing.
#[must_use = "the permit is given back when it is dropped"]
pub struct Permit<'a, const HOLDERS: usize = 64> {
    pub(crate) semaphore: &'a Semaphore<HOLDERS>,
    pub(crate) place: usize,
    pub(crate) serial: u64,
    pub(crate) count: u32,
    pub(crate) _held: HeldHere,
}

impl<const HOLDERS: usize> Permit<'_, HOLDERS> {
    /// How many it stands for.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Gives it back, as dropping it does.
    pub fn release(self) {}
}

impl<const HOLDERS: usize> Drop for Permit<'_, HOLDERS> {
    #[inline]
    fn drop(&mut self) {
        #[cfg(loom)]
        if multiproc_core::model::dead() {
            return;
        }
        self.semaphore.give_back(self.place, self.serial);
    }
}

impl<const HOLDERS: usize> fmt::Debug for Permit<'_, HOLDERS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit")
            .field("count", &self.count)
            .finish_non_exhaustive()
    }
}
