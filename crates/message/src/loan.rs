//! Messages written and read in place: no copy of ours at all.

use multiproc_ring::{Claim, GetError, PutError, Reservation, Ring, Wait};
use std::fmt;
use std::ops::{Deref, DerefMut};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Room for a message in shared memory: write, then [`WriteLoan::commit`]. Dropped
/// without, it was never there.
///
/// Other writers wait while it lives, and the next readers; so fill it and let it go. The
/// bytes are yours alone as long as peers keep the protocol. At first they hold whatever
/// stood there.
#[must_use = "a loan that is dropped puts nothing"]
pub struct WriteLoan<'a>(Reservation<'a>);

/// The oldest message, in shared memory. Taken when it is dropped; delivered to
/// another reader if this process dies before.
///
/// Other readers wait while it lives. Nobody changes the bytes as long as peers keep the
/// protocol: what must not change after it was checked is to be copied first.
#[must_use = "the message is taken when the loan is dropped"]
pub struct ReadLoan<'a>(Option<Claim<'a>>);

/// The bytes are not a slice of that type: their number does not fit, or its alignment is
/// above 8.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("these bytes are not a slice of that type")]
pub struct NotThatSlice;

impl<'a> WriteLoan<'a> {
    /// Room for a message of `len` bytes; see [`Ring::reserve`].
    ///
    /// # Errors
    ///
    /// [`PutError`].
    pub fn of(ring: &'a Ring, len: usize, wait: Wait<'_>) -> Result<Self, PutError> {
        ring.reserve(len, wait).map(Self)
    }
}

impl<'a> ReadLoan<'a> {
    /// The next message; see [`Ring::claim`].
    ///
    /// # Errors
    ///
    /// [`GetError`].
    pub fn of(ring: &'a Ring, wait: Wait<'_>) -> Result<Self, GetError> {
        ring.claim(wait).map(|claim| Self(Some(claim)))
    }
}

impl WriteLoan<'_> {
    /// The bytes as a slice of plain data with an alignment of up to 8.
    ///
    /// # Errors
    ///
    /// [`NotThatSlice`].
    pub fn slice_mut<T>(&mut self) -> Result<&mut [T], NotThatSlice>
    where
        T: FromBytes + IntoBytes + KnownLayout,
    {
        <[T]>::mut_from_bytes(self.0.bytes_mut()).map_err(|_| NotThatSlice)
    }

    /// Makes the message exist, in one step.
    pub fn commit(self) {
        self.0.commit();
    }
}

impl Deref for WriteLoan<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0.bytes()
    }
}

impl DerefMut for WriteLoan<'_> {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.0.bytes_mut()
    }
}

impl ReadLoan<'_> {
    /// The bytes as a slice of plain data with an alignment of up to 8.
    ///
    /// # Errors
    ///
    /// [`NotThatSlice`].
    pub fn slice<T>(&self) -> Result<&[T], NotThatSlice>
    where
        T: FromBytes + Immutable + KnownLayout,
    {
        <[T]>::ref_from_bytes(self).map_err(|_| NotThatSlice)
    }

    /// Takes the message, as dropping the loan does.
    pub fn done(self) {}

    /// Leaves the message where it is: it is the next one again.
    pub fn give_back(mut self) {
        drop(self.0.take());
    }
}

impl Deref for ReadLoan<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0.as_ref().map_or(&[], Claim::bytes)
    }
}

impl Drop for ReadLoan<'_> {
    fn drop(&mut self) {
        if let Some(claim) = self.0.take() {
            claim.release();
        }
    }
}

impl fmt::Debug for WriteLoan<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WriteLoan({} bytes)", self.len())
    }
}

impl fmt::Debug for ReadLoan<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReadLoan({} bytes)", self.len())
    }
}
