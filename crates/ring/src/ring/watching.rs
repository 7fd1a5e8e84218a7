//! What lies beside a ring: its courier, with the descriptors of records and the bell of those
//! who wait for many things; the protocol is in `flow/watch.rs`.

use super::Ring;
use crate::error::GetError;
use crate::record;
use multiproc_core::courier::{Courier, Withdrawal};
use multiproc_core::{fd, step};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

impl Ring {
    /// Under the get lock: the descriptors with this label. What the tokens among them hold,
    /// this process holds from now on: the record is in its hands, wherever copies of the
    /// descriptors lie.
    #[cold]
    pub(crate) fn withdraw(&self, label: Option<u64>) -> Result<Vec<OwnedFd>, GetError> {
        let (Some(label), Some(courier)) = (label, &self.area.courier) else {
            return Ok(Vec::new());
        };
        let (tag, tokens) = record::read_label(label);
        let mut fds = match courier.look(tag) {
            Ok(fds) => fds,
            Err(Withdrawal::Missing) => return Ok(Vec::new()),
            Err(Withdrawal::NoDescriptors) => return Err(GetError::NoDescriptors),
        };
        step!("get: descriptors copied");
        let others = fds.len().saturating_sub(tokens);
        fd::take_over(&mut fds[others..]).map_err(|_| GetError::NoDescriptors)?;
        step!("get: tokens taken over");
        Ok(fds)
    }

    /// Drops the descriptors of all records, if there are some and `nobody` will get them.
    pub fn drop_descriptors_if(&self, nobody: impl FnOnce() -> bool) {
        if let Some(courier) = &self.area.courier
            && !courier.is_empty()
            && nobody()
        {
            courier.clear();
        }
    }

    /// The socket that becomes readable when an armed bell is rung.
    pub fn courier(&self) -> Option<BorrowedFd<'_>> {
        self.area.courier.as_ref().map(|courier| courier.as_fd())
    }

    /// The same, if everybody who puts rings it: not those who opened a ring by name.
    pub fn bell(&self) -> Option<BorrowedFd<'_>> {
        self.rung().map(|courier| courier.as_fd())
    }

    /// The courier, if everybody who puts has it.
    fn rung(&self) -> Option<&Courier> {
        self.area.courier.as_deref().filter(|_| !self.named)
    }

    /// A number that no other courier of this process ever has.
    pub fn courier_number(&self) -> Option<u64> {
        self.area.courier.as_ref().map(|courier| courier.number())
    }

    /// Arms the courier's bell for the next record. True: nothing is there; the courier becomes
    /// readable when that is no longer so, or an end has changed since. False: look again. With
    /// `quieten`, the courier is not readable any more for what it has told. Never blocks.
    #[must_use]
    pub fn arm_data(&self, quieten: bool) -> bool {
        self.flow().arm_data(quieten)
    }

    /// What to give to [`Ring::arm_room`]; to be asked before the put that finds no room.
    pub fn head_seen(&self) -> u64 {
        self.flow().head_seen()
    }

    /// Arms the courier's bell for the next release of a record. True: none was released
    /// since `seen`. False: look again. Never blocks.
    #[must_use]
    pub fn arm_room(&self, seen: u64) -> bool {
        self.flow().arm_room(seen)
    }

    /// Makes the courier readable.
    pub fn ring_watchers(&self) {
        if let Some(courier) = &self.area.courier {
            courier.ring();
        }
    }

    /// What an event loop of the user's own waits for; and [`Ring::is_watched`] from now on. It
    /// is armed by whoever asks for it.
    ///
    /// # Panics
    ///
    /// Without a courier, if this process can have no more descriptors.
    pub fn watched(&self) -> BorrowedFd<'_> {
        match self.rung() {
            Some(courier) => courier.watched(),
            None => self.area.ticker.as_fd(),
        }
    }

    /// Does an event loop in this process wait for it? Then who finds nothing arms it again.
    #[inline]
    pub fn is_watched(&self) -> bool {
        match self.rung() {
            Some(courier) => courier.is_watched(),
            None => self.area.ticker.is_there(),
        }
    }

    /// Without a courier: what [`Ring::watched`] gave is not readable any more, until its next
    /// tick.
    pub fn quieten_ticker(&self) {
        self.area.ticker.quieten();
    }
}
