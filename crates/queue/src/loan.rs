//! Messages written and read in place: no copy of ours at all.

use crate::codec::{Bytes, GetFailure};
use crate::error::{GetError, PutError};
use crate::queue::Queue;
use multiproc_core::deadline::Deadline;
use multiproc_message::loan::{ReadLoan, WriteLoan};
use multiproc_ring::Wait;

impl Queue<Vec<u8>, Bytes> {
    /// Room for a message of `len` bytes, to be written in place. *Blocks until* there is
    /// room. *Wakes when* a reader takes a message. *If a peer dies* that held a loan,
    /// nothing of it is seen.
    ///
    /// # Errors
    ///
    /// [`PutError`].
    pub fn put_loan(&self, len: usize) -> Result<WriteLoan<'_>, PutError<()>> {
        if self.is_closed_here() {
            return Err(PutError::Closed(()));
        }
        let in_vain = |_| self.is_closed_here();
        let wait = Wait {
            deadline: Deadline::NEVER,
            in_vain: &in_vain,
        };
        WriteLoan::of(&self.ring, len, wait).map_err(|e| PutError::new((), e.into()))
    }

    /// The oldest message, in place. *Blocks until* there is one. *Wakes when* a writer puts
    /// one. *If a peer dies* that held a loan, its message is the next one again.
    ///
    /// # Errors
    ///
    /// See [`GetError`].
    pub fn get_loan(&self) -> Result<ReadLoan<'_>, GetError> {
        if self.is_closed_here() {
            return Err(GetError::Closed);
        }
        let in_vain = |_| self.is_closed_here();
        let wait = Wait {
            deadline: Deadline::NEVER,
            in_vain: &in_vain,
        };
        Ok(ReadLoan::of(&self.ring, wait).map_err(GetFailure::from)?)
    }
}
