use crate::guard::Guard;
use std::fmt;
use thiserror::Error;

pub use multiproc_segment::{CreateError, OpenError, OpenOrCreateError, UnlinkError};

/// What an error hands over: a [`Guard`], or nothing any more.
pub trait Handed {
    /// What it hands over where the bytes are no value of the type: a guard over the bytes.
    type Bytes;
}

impl<'a, T: ?Sized> Handed for Guard<'a, T> {
    type Bytes = Guard<'a, [u8]>;
}

impl Handed for () {
    type Bytes = ();
}

macro_rules! lock_errors {
    ($(
        $(#[$meta:meta])*
        $name:ident {
            $($(#[$extra_meta:meta])* $extra:ident $({ $($(#[$fm:meta])* $field:ident),* })? ($text:literal),)*
        }
    )*) => {$(
        $(#[$meta])*
        #[derive(Error)]
        #[non_exhaustive]
        pub enum $name<G: Handed> {
            $(
                $(#[$extra_meta])*
                #[error($text)]
                $extra $({ $($(#[$fm])* $field: usize),* })?,
            )*
            /// The process that held the lock last ended while it held it: what the lock
            /// protects may be half written. Nothing was done. The lock is yours now: mend
            /// the data and say so with `mended`; until somebody does, everybody gets this.
            #[error("the last holder died holding the lock, and nobody has mended what it protects")]
            OwnerDied(G),
            /// The bytes are no value of the type: a peer wrote garbage, or a holder died in
            /// the middle of a write. Nothing was done. The lock is yours now, over the bytes
            /// as they are: overwrite them.
            #[error("the shared bytes are no value of this type")]
            Corrupted(G::Bytes),
        }

        impl<G: Handed> $name<G> {
            /// The guard, if the owner died and what it left can be read.
            pub fn into_guard(self) -> Option<G> {
                match self {
                    Self::OwnerDied(guard) => Some(guard),
                    _ => None,
                }
            }

            /// The error alone; the lock is released.
            pub fn without_guard(self) -> $name<()> {
                match self {
                    $(Self::$extra $({ $($field),* })? => $name::$extra $({ $($field),* })?,)*
                    Self::OwnerDied(_) => $name::OwnerDied(()),
                    Self::Corrupted(_) => $name::Corrupted(()),
                }
            }
        }

        impl<G: Handed> fmt::Debug for $name<G> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }
    )*};
}

lock_errors! {
    /// Why `lock` gave no plain guard, or `get` and `set` did nothing.
    LockError {}
    /// Why `try_lock` gave no plain guard.
    TryLockError {
        /// Somebody holds it; nothing was taken.
        Held("the lock is held"),
    }
    /// Why `lock_timeout` gave no plain guard.
    LockTimeoutError {
        /// Held by others until the deadline; nothing was taken.
        Timeout("the lock was not free before the deadline"),
    }
    /// Why there is no such item, or it cannot be had.
    ItemError {
        /// The array is not that long.
        OutOfRange {
            /// The index asked for.
            index,
            /// Items of the array.
            len
        } ("there is no item {index}: the array has {len}"),
    }
}

macro_rules! widen {
    ($($name:ident)*) => {$(
        impl<G: Handed> From<LockError<G>> for $name<G> {
            fn from(error: LockError<G>) -> Self {
                match error {
                    LockError::OwnerDied(guard) => Self::OwnerDied(guard),
                    LockError::Corrupted(bytes) => Self::Corrupted(bytes),
                }
            }
        }
    )*};
}
widen!(TryLockError LockTimeoutError ItemError);

/// Why a guard of a lock does not open something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum UnderError {
    /// It has another lock than the one held.
    #[error("it is under another lock than the one held")]
    OtherLock,
    /// The same object twice, which would be two exclusive references to it.
    #[error("both are the same object")]
    SameObject,
    /// The bytes are no value of the type.
    #[error("the shared bytes are no value of this type")]
    Corrupted,
}

/// Bytes outside of the memory: nothing was read or written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{len} bytes from {offset} on do not lie in a memory of {size}")]
pub struct OutOfRange {
    /// Where they were to begin.
    pub offset: usize,
    /// How many they were to be.
    pub len: usize,
    /// Bytes of the memory.
    pub size: usize,
}

/// There is no such item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("there is no item {index}: there are {len}")]
pub struct NoSuchItem {
    /// The index asked for.
    pub index: usize,
    /// Items there are.
    pub len: usize,
}
