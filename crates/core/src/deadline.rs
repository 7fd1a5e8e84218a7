//! Absolute deadlines on the monotonic clock.

use std::time::Duration;

/// A moment on the monotonic clock until which a call waits, or never. Absolute, so that
/// signals and slices of waiting do not stretch it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(u64);

pub(crate) fn now() -> u64 {
    if cfg!(loom) {
        return 1; // no time passes in a model
    }
    let mut t = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: writes to a local; the clock always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut t) };
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}

/// As `now`, as of the last clock tick: some milliseconds old, and cheap.
pub(crate) fn coarse_now() -> u64 {
    let mut t = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: writes to a local; the clock always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &mut t) };
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}

impl Deadline {
    /// Waits for ever.
    pub const NEVER: Self = Self(u64::MAX);
    /// Has passed already: does not wait.
    pub const NOW: Self = Self(0);

    /// `timeout` from now; a moment beyond the clock's range is [`Deadline::NEVER`].
    pub fn after(timeout: Duration) -> Self {
        if timeout.is_zero() {
            return Self::NOW;
        }
        let nanos = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
        Self(now().saturating_add(nanos))
    }

    /// Is it over?
    pub fn passed(self) -> bool {
        self.0 == 0 || (self.0 != u64::MAX && now() >= self.0)
    }

    /// What is left; `None` for [`Deadline::NEVER`].
    pub fn remaining(self) -> Option<Duration> {
        match self.0 {
            u64::MAX => None,
            at => Some(Duration::from_nanos(at.saturating_sub(now()))),
        }
    }

    /// The moment itself, on the clock that all processes of this machine share.
    pub fn since_boot(self) -> Duration {
        Duration::from_nanos(self.0)
    }

    /// The earlier of two.
    #[must_use]
    pub fn sooner(self, other: Self) -> Self {
        self.min(other)
    }

    #[cfg(not(loom))]
    pub(crate) fn nanos(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overflowing_timeout_is_never() {
        assert_eq!(Deadline::after(Duration::MAX), Deadline::NEVER);
        assert!(!Deadline::NEVER.passed());
        assert_eq!(Deadline::NEVER.remaining(), None);
    }

    #[test]
    fn zero_has_passed() {
        assert!(Deadline::after(Duration::ZERO).passed());
        assert_eq!(Deadline::NOW.remaining(), Some(Duration::ZERO));
        assert!(!Deadline::after(Duration::from_secs(60)).passed());
    }
}
