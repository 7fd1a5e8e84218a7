//! Plain data under a lock: the one cell, and what may lie in it.
//!
//! The cell does no locking. It says two things that every lock with data needs said once:
//! *which* data may lie where other processes write ([`PlainData`]), and that a cell of it
//! may be shared at all. Who looks inside argues for itself that it holds a lock.
//!
//! # What is assumed of peers
//!
//! Whoever takes `&T` or `&mut T` out of the cell assumes that no peer writes there without
//! the lock. A peer that does so anyway (it has the memory, nothing stops it) makes a race
//! on plain data, as a thread with a wild pointer would. What a peer *leaves* there does not
//! matter: any bits are a `T`, without an address in it.
//!
//! If a process dies here: its last stores are in memory, or are not. The lock beside the
//! cell says that it died.

use multiproc_segment::Shareable;
use std::cell::UnsafeCell;
use std::fmt;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// What may lie under a lock in shared memory: any bits are a value of it (`FromBytes`),
/// none of its bytes is padding (`IntoBytes`), it has no cells of its own (`Immutable`).
///
/// Numbers, arrays of them, and `#[repr(C)]` structs that derive zerocopy's three traits.
/// Not `bool`, `char`, most enums (a peer may write a 2 where 0 and 1 are allowed), and
/// nothing with an address in it. Implemented for all types that can have it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not plain data, and cannot lie under a lock in shared memory",
    note = "numbers, arrays of them, and #[repr(C)] structs that derive zerocopy's FromBytes, IntoBytes and Immutable can",
    note = "these derives are in the package zerocopy, with its feature `derive`"
)]
pub trait PlainData: FromBytes + IntoBytes + Immutable + Send + 'static {}

impl<T: FromBytes + IntoBytes + Immutable + Send + 'static> PlainData for T {}

/// Plain data that is read and written under a lock which lies beside it.
#[repr(transparent)]
pub struct PlainCell<T>(UnsafeCell<T>);

// SAFETY: a shared cell gives out a raw pointer only. Whoever follows it holds a lock, by
// its own argument, and so moves the `T` between threads at the most.
unsafe impl<T: Send> Sync for PlainCell<T> {}

// SAFETY: any bits are a `T`, which holds no address and no cell; `Shared` refuses one with
// drop glue. The layout is that of `T`: where its author left it to the compiler, and two
// programs disagree, they read each other's numbers wrong, and nothing else. All use is under
// a lock.
unsafe impl<T: PlainData> Shareable for PlainCell<T> {}

impl<T> PlainCell<T> {
    /// A cell that holds `value`.
    pub const fn new(value: T) -> Self
    where
        T: PlainData,
    {
        Self(UnsafeCell::new(value))
    }

    /// Where the data lies. To follow the pointer, hold the lock.
    #[inline(always)]
    pub const fn get(&self) -> *mut T {
        self.0.get()
    }

    /// The data, of a cell that nobody shares.
    pub const fn get_mut(&mut self) -> &mut T {
        self.0.get_mut()
    }

    /// The data, of a cell that nobody shares.
    pub fn into_inner(self) -> T {
        self.0.into_inner()
    }
}

impl<T> fmt::Debug for PlainCell<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PlainCell").finish_non_exhaustive()
    }
}
