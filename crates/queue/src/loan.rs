//! Messages written and read in place: no copy of ours at all.

use crate::codec::Bytes;
use crate::error::{GetError, PutError};
use crate::queue::Queue;
use multiproc_core::deadline::Deadline;
use multiproc_ring::{Claim, Reservation, Wait};
use std::fmt;
use std::ops::{Deref, DerefMut};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Room for a message in the queue's own memory: write, then [`PutLoan::commit`]. Dropped
/// without, it was never there.
///
/// Other writers wait while it lives, and the next readers; so fill it and let it go. The
/// bytes are yours alone as long as peers keep the protocol. At first they hold whatever
/// stood there.
#[must_use = "a loan that is dropped puts nothing"]
pub struct PutLoan<'a>(Reservation<'a>);

/// The oldest message, in the queue's own memory. Taken when it is dropped; delivered to
/// another reader if this process dies before.
///
/// Other readers wait while it lives. Nobody changes the bytes as long as peers keep the
/// protocol: what must not change after it was checked is to be copied first.
pub struct GetLoan<'a>(Option<Claim<'a>>);

/// The bytes are not a slice of that type: their number does not fit, or its alignment is
/// above 8.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("these bytes are not a slice of that type")]
pub struct NotThatSlice;

impl PutLoan<'_> {
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

impl Deref for PutLoan<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0.bytes()
    }
}

impl DerefMut for PutLoan<'_> {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.0.bytes_mut()
    }
}

impl GetLoan<'_> {
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

impl Deref for GetLoan<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0.as_ref().map_or(&[], Claim::bytes)
    }
}

impl Drop for GetLoan<'_> {
    fn drop(&mut self) {
        if let Some(claim) = self.0.take() {
            claim.release();
        }
    }
}

impl fmt::Debug for PutLoan<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PutLoan({} bytes)", self.len())
    }
}

impl fmt::Debug for GetLoan<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GetLoan({} bytes)", self.len())
    }
}

impl Queue<Vec<u8>, Bytes> {
    /// Room for a message of `len` bytes, to be written in place. *Blocks until* there is
    /// room. *Wakes when* a reader takes a message. *If a peer dies* that held a loan,
    /// nothing of it is seen.
    ///
    /// # Errors
    ///
    /// [`PutError`].
    pub fn put_loan(&self, len: usize) -> Result<PutLoan<'_>, PutError<()>> {
        if self.is_closed_here() {
            return Err(PutError::Closed(()));
        }
        let in_vain = |_| self.is_closed_here();
        let wait = Wait {
            deadline: Deadline::NEVER,
            in_vain: &in_vain,
        };
        self.ring
            .reserve(len, wait)
            .map(PutLoan)
            .map_err(|e| PutError::new((), e.into()))
    }

    /// The oldest message, in place. *Blocks until* there is one. *Wakes when* a writer puts
    /// one. *If a peer dies* that held a loan, its message is the next one again.
    ///
    /// # Errors
    ///
    /// See [`GetError`].
    pub fn get_loan(&self) -> Result<GetLoan<'_>, GetError> {
        if self.is_closed_here() {
            return Err(GetError::Closed);
        }
        let in_vain = |_| self.is_closed_here();
        let wait = Wait {
            deadline: Deadline::NEVER,
            in_vain: &in_vain,
        };
        let claim = self
            .ring
            .claim(wait)
            .map_err(crate::codec::GetFailure::from)?;
        Ok(GetLoan(Some(claim)))
    }
}
