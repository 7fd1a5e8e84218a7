//! Several messages at once: one lock, one COMMIT or RELEASE for as many as fit.

use crate::codec::{Codec, GetFailure, PutFailure, with_scratch};
use crate::ends::{Consumer, Producer};
use crate::error::{GetError, GetTimeoutError, PutError, TryGetError};
use crate::queue::Queue;
use multiproc_core::deadline::Deadline;
use multiproc_parcel as parcel;
use multiproc_ring::Wait;
use std::fmt;
use thiserror::Error;

/// Why `put_many` stopped. The messages before are put; this one comes back, with those of
/// the same group that were encoded already.
#[derive(Error)]
#[error("{put} messages were put, then: {why}")]
pub struct PutManyError<T> {
    /// How many were put.
    pub put: usize,
    /// Those that were taken from the iterator and not put, in their order. The error is
    /// about the first.
    pub rest: Vec<T>,
    /// Why the first of the rest was not put.
    pub why: PutError<()>,
}

impl<T> fmt::Debug for PutManyError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PutManyError({self})")
    }
}

/// Messages that are encoded before they are put together.
const GROUP: usize = 256;

impl<T, C: Codec<T>> Queue<T, C> {
    fn put_many_by(
        &self,
        messages: impl IntoIterator<Item = T>,
        in_vain: &dyn Fn(bool) -> bool,
    ) -> Result<usize, PutManyError<T>> {
        let mut messages = messages.into_iter();
        let (mut lens, mut group) = (Vec::new(), Vec::new());
        let mut put = 0;
        loop {
            lens.clear();
            group.clear();
            group.extend(messages.by_ref().take(GROUP));
            if group.is_empty() {
                return Ok(put);
            }
            let wait = Wait {
                deadline: Deadline::NEVER,
                in_vain,
            };
            let (entered, failed) = with_scratch(|bytes| {
                let (refused, parcel) =
                    parcel::pack(|| C::encode_many(&group, bytes, &mut lens).err());
                if !parcel.is_empty() {
                    // Descriptors travel with their own message.
                    drop(parcel);
                    return self.put_singly(&group, wait);
                }
                match self.ring.put_many(bytes, &lens, wait) {
                    Ok(()) => (lens.len(), refused.map(PutFailure::Encode)),
                    Err((entered, why)) => (entered, Some(PutFailure::Ring(why))),
                }
            });
            put += entered;
            if let Some(why) = failed {
                let rest = group.split_off(entered);
                return Err(PutManyError {
                    put,
                    rest,
                    why: PutError::new((), why),
                });
            }
        }
    }

    fn put_singly(&self, group: &[T], wait: Wait<'_>) -> (usize, Option<PutFailure>) {
        for (entered, message) in group.iter().enumerate() {
            if let Err(why) = C::put(&self.ring, message, wait) {
                return (entered, Some(why));
            }
        }
        (group.len(), None)
    }

    /// Puts all of these messages, in groups of up to 256 that are taken from the iterator
    /// first; other writers' may come between. *Blocks until* there is
    /// room for the last. *Wakes when* a reader takes a message. *If a peer dies*: as
    /// [`Queue::put`]. Killed in the middle, what was put is put.
    ///
    /// # Errors
    ///
    /// [`PutManyError`] says how many were put, and hands back what was not.
    pub fn put_many(
        &self,
        messages: impl IntoIterator<Item = T>,
    ) -> Result<usize, PutManyError<T>> {
        self.put_many_by(messages, &|_| self.is_closed_here())
    }

    fn get_many_by(
        &self,
        most: usize,
        deadline: Deadline,
        in_vain: &dyn Fn(bool) -> bool,
    ) -> Result<Vec<T>, GetFailure> {
        if most == 0 {
            return Ok(Vec::new());
        }
        if self.is_closed_here() {
            return Err(multiproc_ring::GetError::Closed.into());
        }
        let in_vain = |thorough| self.is_closed_here() || in_vain(thorough);
        let wait = Wait {
            deadline,
            in_vain: &in_vain,
        };
        with_scratch(|bytes| {
            let (mut lens, mut fds) = (Vec::with_capacity(most.min(GROUP)), Vec::new());
            self.ring.get_many(most, bytes, &mut lens, &mut fds, wait)?;
            parcel::unpack(fds, || C::decode_many(bytes, &lens)).map_err(GetFailure::Decode)
        })
    }

    /// Takes what is there, at least one message and at most `most`, in one step: killed
    /// before it, all of them stay. *Blocks until* there is one. *Wakes when* a writer puts
    /// one. *If a peer dies*: as [`Queue::get`].
    ///
    /// # Errors
    ///
    /// See [`GetError`]. After `Decode` the whole group is consumed.
    pub fn get_many(&self, most: usize) -> Result<Vec<T>, GetError> {
        Ok(self.get_many_by(most, Deadline::NEVER, &|_| false)?)
    }

    /// As [`Queue::get_many`], if something is there. Never blocks.
    ///
    /// # Errors
    ///
    /// See [`TryGetError`].
    pub fn try_get_many(&self, most: usize) -> Result<Vec<T>, TryGetError> {
        Ok(self.looked(self.get_many_by(most, Deadline::NOW, &|_| false))?)
    }

    /// As [`Queue::get_many`]. *Blocks until* there is a message or `timeout` is over. *Wakes
    /// when* and *if a peer dies*: as there.
    ///
    /// # Errors
    ///
    /// See [`GetTimeoutError`].
    pub fn get_many_timeout(
        &self,
        most: usize,
        timeout: std::time::Duration,
    ) -> Result<Vec<T>, GetTimeoutError> {
        let got = self.get_many_by(most, Deadline::after(timeout), &|_| false);
        Ok(self.looked(got)?)
    }

    /// Takes everything that is there at this moment, and appends it to `to`. Never blocks.
    ///
    /// # Errors
    ///
    /// See [`GetError`]; an empty queue is none.
    pub fn drain_into(&self, to: &mut Vec<T>) -> Result<usize, GetError> {
        match self.looked(self.get_many_by(usize::MAX, Deadline::NOW, &|_| false)) {
            Ok(messages) => {
                let n = messages.len();
                to.extend(messages);
                Ok(n)
            }
            Err(GetFailure::Ring(multiproc_ring::GetError::Empty)) => Ok(0),
            Err(other) => Err(other.into()),
        }
    }
}

impl<T, C: Codec<T>> Producer<T, C> {
    /// As [`Queue::put_many`]: *blocks* and *wakes* as there. *If a peer dies*: as
    /// [`Producer::put`].
    ///
    /// # Errors
    ///
    /// [`PutManyError`] says how many were put, and hands back what was not.
    pub fn put_many(
        &self,
        messages: impl IntoIterator<Item = T>,
    ) -> Result<usize, PutManyError<T>> {
        if let Err(why) = self.end().check() {
            let why = PutError::new((), why.into());
            return Err(PutManyError {
                put: 0,
                rest: messages.into_iter().collect(),
                why,
            });
        }
        let in_vain = |thorough| self.queue().is_closed_here() || self.end().others_gone(thorough);
        self.queue().put_many_by(messages, &in_vain)
    }
}

impl<T, C: Codec<T>> Consumer<T, C> {
    /// As [`Queue::get_many`]: *blocks* and *wakes* as there. *If a peer dies*: as
    /// [`Consumer::get`].
    ///
    /// # Errors
    ///
    /// See [`GetError`].
    pub fn get_many(&self, most: usize) -> Result<Vec<T>, GetError> {
        self.end().check().map_err(GetFailure::from)?;
        let in_vain = |thorough| self.end().others_gone(thorough);
        Ok(self.queue().get_many_by(most, Deadline::NEVER, &in_vain)?)
    }
}
