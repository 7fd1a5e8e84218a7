use std::fmt;
use thiserror::Error;

/// Why a wait did not end as it should. Here is the guard, and but for `NotHeld` the lock is held.
#[derive(Error)]
#[non_exhaustive]
pub enum WaitError<G> {
    /// Somebody died holding the lock: mend what it protects. (Whether the wait was over by
    /// a notify is not known: look at what you wait for.)
    #[error("the last holder died holding the lock, and nobody has mended what it protects")]
    OwnerDied(G),
    /// As many wait as there are places. The lock was not released.
    #[error("every place of the condition is taken by somebody who waits")]
    Full(G),
    /// What was given is a bare lock that the caller does not hold. Nothing was waited for.
    #[error("a wait needs the lock to be held")]
    NotHeld(G),
}

impl<G> WaitError<G> {
    /// The guard.
    pub fn into_guard(self) -> G {
        match self {
            Self::OwnerDied(guard) | Self::Full(guard) | Self::NotHeld(guard) => guard,
        }
    }

    /// The error alone; the guard is dropped, and the lock released.
    pub fn without_guard(self) -> WaitError<()> {
        match self {
            Self::OwnerDied(_) => WaitError::OwnerDied(()),
            Self::Full(_) => WaitError::Full(()),
            Self::NotHeld(_) => WaitError::NotHeld(()),
        }
    }
}

impl<G> fmt::Debug for WaitError<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OwnerDied(_) => "OwnerDied(..)",
            Self::Full(_) => "Full(..)",
            Self::NotHeld(_) => "NotHeld(..)",
        })
    }
}
