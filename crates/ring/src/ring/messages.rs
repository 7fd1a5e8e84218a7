//! Records in and out of a ring: copied, in place, several at a time, with descriptors.

use super::Ring;
use crate::area::Area;
use crate::error::{CarryError, GetError, PutError};
use crate::flow::{Claimed, Reserved, Wait};
use crate::record::Position;
use multiproc_core::courier::MOST_DESCRIPTORS;
use multiproc_core::step;
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering::Acquire;

/// Room for one record, written in place. Dropped without [`Reservation::commit`], it was
/// never there.
#[must_use = "a reservation that is dropped puts nothing"]
pub struct Reservation<'a>(Reserved<'a, &'a Area>);

/// The next record, read in place. Dropped without [`Claim::release`], it stays the next.
#[must_use = "a claim that is dropped gets nothing"]
pub struct Claim<'a>(Claimed<'a, &'a Area>);

impl fmt::Debug for Reservation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Reservation");
        shown.field("bytes", &self.0.len()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Claim<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Claim");
        shown.field("bytes", &self.0.len()).finish_non_exhaustive()
    }
}

impl Ring {
    /// Room for a record of `len` bytes, to be written in place. *Blocks until* there is
    /// room, the deadline passes or the wait is in vain. *Wakes when* a reader releases a
    /// record. *If a peer dies* in the middle of a put, nothing of it is seen.
    ///
    /// # Errors
    ///
    /// See [`PutError`].
    #[inline]
    pub fn reserve(&self, len: usize, wait: Wait<'_>) -> Result<Reservation<'_>, PutError> {
        self.flow().reserve(len, wait).map(Reservation)
    }

    /// Puts one record: [`Ring::reserve`], a copy, [`Reservation::commit`].
    ///
    /// *Blocks*, *wakes* and *if a peer dies*: as [`Ring::reserve`].
    ///
    /// # Errors
    ///
    /// See [`PutError`].
    #[inline]
    pub fn put(&self, bytes: &[u8], wait: Wait<'_>) -> Result<(), PutError> {
        self.flow().put(bytes, wait)
    }

    /// Puts several records, one after the other in `bytes`, with these lengths. As many as
    /// fit enter at once, in one step; between such groups other writers may come. *Blocks*,
    /// *wakes* and *if a peer dies*: as [`Ring::reserve`].
    ///
    /// # Errors
    ///
    /// How many were put, and why the next was not.
    ///
    /// # Panics
    ///
    /// If the lengths are more than `bytes`.
    pub fn put_many(
        &self,
        bytes: &[u8],
        lens: &[usize],
        wait: Wait<'_>,
    ) -> Result<(), (usize, PutError)> {
        let all: usize = lens.iter().sum();
        assert!(
            all <= bytes.len(),
            "the lengths are those of the records in `bytes`"
        );
        self.flow().put_many(bytes, lens, wait)
    }

    /// Gets up to `most` records (at least one), appended to `to`, their lengths to `lens`. All
    /// of them are given up in one step. One with descriptors comes alone, if it is the first,
    /// and they are in `fds`. *Blocks*, *wakes* and *if a peer dies*: as
    /// [`Ring::claim`].
    ///
    /// # Errors
    ///
    /// See [`GetError`].
    pub fn get_many(
        &self,
        most: usize,
        to: &mut Vec<u8>,
        lens: &mut Vec<usize>,
        fds: &mut Vec<OwnedFd>,
        wait: Wait<'_>,
    ) -> Result<usize, GetError> {
        self.flow().get_many(most, wait, |area, at, len, tag| {
            if tag.is_some() {
                *fds = self.withdraw(tag)?;
            }
            area.append_to(at, len, to);
            lens.push(len);
            Ok(())
        })
    }

    /// The next record, to be read in place. *Blocks until* there is one, the deadline
    /// passes, or nothing is left and the wait is in vain. *Wakes when* a writer commits.
    /// *If a peer dies* in the middle of a get, its record is the next again.
    ///
    /// # Errors
    ///
    /// See [`GetError`].
    #[inline]
    pub fn claim(&self, wait: Wait<'_>) -> Result<Claim<'_>, GetError> {
        self.flow().claim(wait).map(Claim)
    }

    /// Gets one record into `to`, whose content it replaces.
    ///
    /// *Blocks*, *wakes* and *if a peer dies*: as [`Ring::claim`].
    ///
    /// # Errors
    ///
    /// See [`GetError`].
    #[inline]
    pub fn get_into(&self, to: &mut Vec<u8>, wait: Wait<'_>) -> Result<(), GetError> {
        self.flow().get(wait, |area, at, len, _| {
            area.read_into(at, len, to);
            Ok(())
        })
    }

    /// Puts one record with descriptors, the last `tokens` of which are held on behalf of the
    /// record (see [`multiproc_core::fd::hold`]). *Blocks until* there is room for both; *wakes* and
    /// *if a peer dies*: as [`Ring::reserve`].
    ///
    /// # Errors
    ///
    /// See [`PutError`].
    #[cold]
    pub fn put_carrying(
        &self,
        bytes: &[u8],
        fds: &[OwnedFd],
        tokens: usize,
        wait: Wait<'_>,
    ) -> Result<(), PutError> {
        let refused = |e| Err(PutError::Carry(e));
        let Some(courier) = &self.area.courier else {
            return refused(CarryError::NoCourier);
        };
        if fds.len() > MOST_DESCRIPTORS {
            return refused(CarryError::TooMany(fds.len()));
        }
        let tokens = tokens.min(fds.len()) as u8; // at most 253
        self.flow().put_carrying(
            bytes,
            tokens,
            wait,
            &|tag| match courier.deposit(tag, fds) {
                Ok(()) => Ok(true),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(false),
                Err(e) => match e.raw_os_error() {
                    Some(libc::ETOOMANYREFS) => refused(CarryError::TooManyOnTheirWay),
                    Some(libc::ENOMEM | libc::ENOBUFS) => {
                        Err(PutError::NoMemory { bytes: bytes.len() })
                    }
                    other => refused(CarryError::Refused(other.unwrap_or(0))),
                }
                .map(|()| false),
            },
        )
    }

    /// Gets one record into `to`, and its descriptors into `fds`; replaces the content of
    /// both. Descriptors that went with a process which died taking them are missing.
    ///
    /// *Blocks*, *wakes* and *if a peer dies*: as [`Ring::claim`].
    ///
    /// # Errors
    ///
    /// See [`GetError`].
    #[inline]
    pub fn get_carried(
        &self,
        to: &mut Vec<u8>,
        fds: &mut Vec<OwnedFd>,
        wait: Wait<'_>,
    ) -> Result<(), GetError> {
        fds.clear();
        self.flow().get(wait, |area, at, len, tag| {
            if tag.is_some() {
                *fds = self.withdraw(tag)?;
            }
            area.read_into(at, len, to);
            Ok(())
        })
    }

    /// [`Ring::get_carried`], and `note` of the record's number ([`Ring::released`] as it is now)
    /// and its bytes, just before the record is given up: whoever dies after that has left a note,
    /// and one whose number is that at the head was never given up.
    ///
    /// *Blocks*, *wakes* and *if a peer dies*: as [`Ring::claim`].
    ///
    /// # Errors
    ///
    /// See [`GetError`].
    pub fn get_noted(
        &self,
        to: &mut Vec<u8>,
        fds: &mut Vec<OwnedFd>,
        wait: Wait<'_>,
        note: impl FnOnce(u32, &[u8]),
    ) -> Result<(), GetError> {
        fds.clear();
        let flow = self.flow();
        let guard = flow.lock_get(&wait)?;
        let found = match flow.look_at_once() {
            Some(found) => found,
            None => flow.wait_for_data(wait)?,
        };
        if let label @ Some(_) = flow.tag(found) {
            *fds = self.withdraw(label)?;
        }
        self.area.read_into(found.at(), found.len(), to);
        note(found.position.items, to);
        step!("get: noted");
        flow.end_get(found);
        flow.unlock_get(guard);
        step!("get: end");
        Ok(())
    }

    /// Records given up since the ring was made, modulo 2^32.
    pub fn released(&self) -> u32 {
        // Acquire. PAIRS room: what the readers noted before they gave records up is seen.
        Position::read(self.flow().state.get.head.load(Acquire)).items
    }

    /// Gets one record into `to`, if it has exactly as many bytes; tells how many it had. It
    /// is consumed in any case.
    ///
    /// *Blocks*, *wakes* and *if a peer dies*: as [`Ring::claim`].
    ///
    /// # Errors
    ///
    /// See [`GetError`].
    #[inline]
    pub fn get_exact(&self, to: &mut [u8], wait: Wait<'_>) -> Result<usize, GetError> {
        self.flow().get(wait, |area, at, len, _| {
            if len == to.len() {
                // SAFETY: a record, so checked against the reserve; `to` has exactly so many.
                unsafe { area.read(at, len, to.as_mut_ptr()) }
            }
            Ok(len)
        })
    }
}

impl Reservation<'_> {
    /// Copies the record's bytes in: exactly as many as were reserved.
    pub fn fill(&mut self, bytes: &[u8]) {
        self.0.fill(bytes);
    }

    /// The record's bytes, to be written in place: begins on an address divisible by 8; what
    /// stands there at first is left over from other records. Nobody else has the memory,
    /// as long as peers keep the protocol.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        let (at, len) = (self.0.at(), self.0.len());
        // SAFETY: reserved for us: allocated, inside, and beyond the frontier. A peer that
        // breaks the protocol can change the bytes under us; they are plain bytes.
        unsafe { std::slice::from_raw_parts_mut(self.0.memory().base.add(at), len) }
    }

    /// [`Reservation::bytes_mut`], to be read.
    pub fn bytes(&self) -> &[u8] {
        let (at, len) = (self.0.at(), self.0.len());
        // SAFETY: as in `bytes_mut`.
        unsafe { std::slice::from_raw_parts(self.0.memory().base.add(at), len) }
    }

    /// Makes the record exist, in one step.
    pub fn commit(self) {
        self.0.commit();
    }
}

impl Claim<'_> {
    /// Bytes of the record.
    #[inline]
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The record's bytes, in place: begins on an address divisible by 8. Nobody changes
    /// them, as long as peers keep the protocol: what must not change after it was
    /// checked is to be copied first.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: a committed record, checked against the reserve, and ours until released.
        // A peer that breaks the protocol can change the bytes under us; they are plain
        // bytes.
        unsafe { std::slice::from_raw_parts(self.0.memory().base.add(self.0.at()), self.len()) }
    }

    /// Copies the record out, replacing the content of `to`.
    #[inline]
    pub fn read_into(&self, to: &mut Vec<u8>) {
        self.0.memory().read_into(self.0.at(), self.len(), to);
    }

    /// Gives the record up, in one step: from now on it is gone.
    #[inline]
    pub fn release(self) {
        self.0.release();
    }
}
