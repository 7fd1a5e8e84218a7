//! Bad news carries the guard.

use std::fmt;
use thiserror::Error;

/// The last holder died holding the lock. It is yours now, and here is its guard: mend what
/// the lock protects, then say so by the guard's `mended()`.
///
/// Until somebody does, every acquirer is told. Dropping the error drops the guard, which
/// releases the lock: so `?` leaves nothing held.
#[derive(Error)]
#[error("the last holder died holding the lock, and nobody has mended what it protects")]
pub struct OwnerDied<G>(pub G);

impl<G> OwnerDied<G> {
    /// The guard.
    pub fn into_guard(self) -> G {
        self.0
    }

    /// The error alone; the guard is dropped, and the lock released.
    pub fn without_guard(self) -> OwnerDied<()> {
        OwnerDied(())
    }
}

impl<G> fmt::Debug for OwnerDied<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnerDied").finish_non_exhaustive()
    }
}

macro_rules! acquire_errors {
    ($(
        $(#[$meta:meta])*
        $name:ident { $(#[$own_meta:meta])* $own:ident($text:literal) }
    )*) => {$(
        $(#[$meta])*
        #[derive(Error)]
        #[non_exhaustive]
        pub enum $name<G> {
            $(#[$own_meta])*
            #[error($text)]
            $own,
            /// The last holder died holding it. It is yours now; see [`OwnerDied`].
            #[error("the last holder died holding the lock, and nobody has mended what it protects")]
            OwnerDied(G),
        }

        impl<G> $name<G> {
            /// The guard, if the lock was taken.
            pub fn into_guard(self) -> Option<G> {
                match self {
                    Self::$own => None,
                    Self::OwnerDied(guard) => Some(guard),
                }
            }

            /// The error alone; a guard in it is dropped, and the lock released.
            pub fn without_guard(self) -> $name<()> {
                match self {
                    Self::$own => $name::$own,
                    Self::OwnerDied(_) => $name::OwnerDied(()),
                }
            }
        }

        impl<G> From<OwnerDied<G>> for $name<G> {
            fn from(error: OwnerDied<G>) -> Self {
                Self::OwnerDied(error.0)
            }
        }

        impl<G> fmt::Debug for $name<G> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self {
                    Self::$own => stringify!($own),
                    Self::OwnerDied(_) => "OwnerDied(..)",
                })
            }
        }
    )*};
}

acquire_errors! {
    /// Why a `try_…` gave no plain guard.
    TryAcquireError {
        /// Somebody holds it; nothing was taken.
        Held("the lock is held")
    }
    /// Why a `…_timeout` gave no plain guard.
    AcquireTimeoutError {
        /// The deadline passed; nothing was taken.
        Timeout("the lock was not free before the deadline")
    }
}

/// The lock that was to be released is free, and stays so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the lock is not held")]
pub struct NotHeld;
