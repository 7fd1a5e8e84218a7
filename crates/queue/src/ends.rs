use crate::codec::{Bytes, Codec, GetFailure, Serde};
use crate::error::{
    GetError, GetTimeoutError, PutError, PutTimeoutError, RegisterError, TryGetError, TryPutError,
};
use crate::queue::Queue;
use multiproc_core::deadline::Deadline;
use multiproc_message::ends::{Reader, Writer};
use multiproc_ring::{Ring, Wait};
use std::fmt;
use std::time::Duration;

/// A registered producing end. When every producer is closed or its process dead, gets of
/// consumers give what is left and then `Closed`.
///
/// `Clone` registers another end. Moved into a child (`Process::start(move || …)`) it
/// belongs to the child; borrowed by a child it stays the parent's, and the child registers
/// its own on first use. At most 512 producers exist at a time: a clone beyond that is
/// registered by its first put that finds a free place; until then its puts are `Closed`.
pub struct Producer<T, C = Serde> {
    queue: Queue<T, C>,
    end: Writer,
}

/// A registered consuming end. When every consumer is closed or its process dead, puts of
/// producers are `Closed`.
///
/// `Clone`, children and limits as for [`Producer`].
pub struct Consumer<T, C = Serde> {
    queue: Queue<T, C>,
    end: Reader,
}

impl<T, C> Producer<T, C> {
    pub(crate) fn first(queue: Queue<T, C>) -> Self {
        let end = Writer::first(queue.ring.clone());
        Self { queue, end }
    }

    pub(crate) fn register(queue: Queue<T, C>) -> Result<Self, RegisterError> {
        let end = Writer::register(queue.ring.clone())?;
        Ok(Self { queue, end })
    }

    pub(crate) fn arrived(queue: Queue<T, C>, end: Writer) -> Self {
        Self { queue, end }
    }

    pub(crate) fn end(&self) -> &Writer {
        &self.end
    }

    /// The queue itself: both ends, not registered.
    pub fn queue(&self) -> &Queue<T, C> {
        &self.queue
    }

    /// Closes this end, as dropping it does.
    pub fn close(self) {}
}

impl<T, C: Codec<T>> Producer<T, C> {
    #[inline]
    pub(crate) fn put_by(
        &self,
        message: &T,
        deadline: Deadline,
    ) -> Result<(), crate::codec::PutFailure> {
        self.end.check()?;
        self.queue.put_by(message, deadline, &|thorough| {
            self.end.others_gone(thorough)
        })
    }

    /// Puts a message, as [`Queue::put`]. *Blocks until* there is room. *Wakes when* a
    /// reader takes a message, or the last registered consumer closes. *If a peer dies*:
    /// when the last registered consumer did, `Closed` within a slice (50 ms).
    ///
    /// # Errors
    ///
    /// [`PutError`] hands the message back.
    #[inline]
    pub fn put(&self, message: T) -> Result<(), PutError<T>> {
        self.put_by(&message, Deadline::NEVER)
            .map_err(|e| PutError::new(message, e))
    }

    /// Puts a message if there is room, as [`Queue::try_put`]. Never blocks.
    ///
    /// # Errors
    ///
    /// [`TryPutError`] hands the message back.
    #[doc(alias = "put_nowait")]
    pub fn try_put(&self, message: T) -> Result<(), TryPutError<T>> {
        self.put_by(&message, Deadline::NOW)
            .map_err(|e| TryPutError::new(message, e))
    }

    /// Puts a message, as [`Queue::put_timeout`]. *Blocks until* there is room or `timeout`
    /// is over. *Wakes when* and *if a peer dies*: as [`Producer::put`].
    ///
    /// # Errors
    ///
    /// [`PutTimeoutError`] hands the message back.
    pub fn put_timeout(&self, message: T, timeout: Duration) -> Result<(), PutTimeoutError<T>> {
        self.put_by(&message, Deadline::after(timeout))
            .map_err(|e| PutTimeoutError::new(message, e))
    }
}

impl Producer<Vec<u8>, Bytes> {
    /// Puts a copy of `bytes`, as [`Queue::put_bytes`].
    ///
    /// *Blocks*, *wakes* and *if a peer dies*: as [`Producer::put`].
    ///
    /// # Errors
    ///
    /// [`PutError`].
    pub fn put_bytes(&self, bytes: &[u8]) -> Result<(), PutError<()>> {
        let put = || {
            self.end.check()?;
            let in_vain = |thorough| self.queue.is_closed_here() || self.end.others_gone(thorough);
            self.queue.ring.put(
                bytes,
                Wait {
                    deadline: Deadline::NEVER,
                    in_vain: &in_vain,
                },
            )
        };
        put().map_err(|e| PutError::new((), e.into()))
    }
}

impl<T, C> Consumer<T, C> {
    pub(crate) fn first(queue: Queue<T, C>) -> Self {
        let end = Reader::first(queue.ring.clone());
        Self { queue, end }
    }

    pub(crate) fn register(queue: Queue<T, C>) -> Result<Self, RegisterError> {
        let end = Reader::register(queue.ring.clone())?;
        Ok(Self { queue, end })
    }

    pub(crate) fn arrived(queue: Queue<T, C>, end: Reader) -> Self {
        Self { queue, end }
    }

    pub(crate) fn end(&self) -> &Reader {
        &self.end
    }

    pub(crate) fn ring_of(&self) -> &Ring {
        self.end.ring()
    }

    /// The queue itself: both ends, not registered.
    pub fn queue(&self) -> &Queue<T, C> {
        &self.queue
    }

    /// Closes this end, as dropping it does.
    pub fn close(self) {}
}

impl<T, C: Codec<T>> Consumer<T, C> {
    #[inline]
    pub(crate) fn get_by(&self, deadline: Deadline) -> Result<T, GetFailure> {
        self.end.check()?;
        let in_vain = |thorough| self.end.others_gone(thorough);
        self.looked(self.queue.get_by(deadline, &in_vain))
    }

    /// Takes the oldest message, as [`Queue::get`]. *Blocks until* there is one, or every
    /// registered producer is gone. *Wakes when* a writer puts one, or the last producer
    /// closes. *If a peer dies*: when the last registered producer did, `Closed` within a
    /// slice (50 ms), after everything that was put.
    ///
    /// # Errors
    ///
    /// See [`GetError`].
    #[inline]
    pub fn get(&self) -> Result<T, GetError> {
        Ok(self.get_by(Deadline::NEVER)?)
    }

    /// Takes the oldest message, if there is one, as [`Queue::try_get`]. Never blocks.
    ///
    /// # Errors
    ///
    /// See [`TryGetError`].
    #[doc(alias = "get_nowait")]
    pub fn try_get(&self) -> Result<T, TryGetError> {
        Ok(self.get_by(Deadline::NOW)?)
    }

    /// Takes the oldest message, as [`Queue::get_timeout`]. *Blocks until* there is one,
    /// every registered producer is gone, or `timeout` is over. *Wakes when* and *if a peer
    /// dies*: as [`Consumer::get`].
    ///
    /// # Errors
    ///
    /// See [`GetTimeoutError`].
    pub fn get_timeout(&self, timeout: Duration) -> Result<T, GetTimeoutError> {
        Ok(self.get_by(Deadline::after(timeout))?)
    }

    /// Messages as they come, until every registered producer is gone and nothing is left.
    /// *Blocks*, *wakes*, and *if a peer dies*: as [`Consumer::get`].
    pub fn iter(&self) -> Iter<'_, T> {
        Iter::new(move || self.get())
    }
}

impl Consumer<Vec<u8>, Bytes> {
    /// Takes the oldest message into `to`, as [`Queue::get_into_vec`].
    ///
    /// *Blocks*, *wakes* and *if a peer dies*: as [`Consumer::get`].
    ///
    /// # Errors
    ///
    /// See [`GetError`].
    pub fn get_into_vec(&self, to: &mut Vec<u8>) -> Result<(), GetError> {
        let mut get = || {
            self.end.check()?;
            let in_vain = |thorough| self.queue.is_closed_here() || self.end.others_gone(thorough);
            self.queue.ring.get_into(
                to,
                Wait {
                    deadline: Deadline::NEVER,
                    in_vain: &in_vain,
                },
            )
        };
        Ok(get().map_err(GetFailure::from)?)
    }
}

macro_rules! registered {
    ($name:ident) => {
        impl<T, C> Clone for $name<T, C> {
            fn clone(&self) -> Self {
                Self {
                    queue: self.queue.clone(),
                    end: self.end.clone(),
                }
            }
        }

        impl<T, C> fmt::Debug for $name<T, C> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name))
                    .field("queue", &self.queue)
                    .finish()
            }
        }
    };
}
registered!(Producer);
registered!(Consumer);

/// Messages of a queue, as they come. Ends when the queue is closed, or after an error
/// that every further get would meet, too.
pub struct Iter<'a, T> {
    next: Box<dyn FnMut() -> Result<T, GetError> + Send + Sync + 'a>,
    over: bool,
}

impl<'a, T> Iter<'a, T> {
    pub(crate) fn new(next: impl FnMut() -> Result<T, GetError> + Send + Sync + 'a) -> Self {
        Self {
            next: Box::new(next),
            over: false,
        }
    }
}

impl<T> Iterator for Iter<'_, T> {
    type Item = Result<T, GetError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.over {
            return None;
        }
        match (self.next)() {
            Err(GetError::Closed) => {
                self.over = true;
                None
            }
            other => {
                self.over = matches!(other, Err(GetError::Corrupted));
                Some(other)
            }
        }
    }
}

impl<T> std::iter::FusedIterator for Iter<'_, T> {}

impl<T> fmt::Debug for Iter<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Iter")
            .field("over", &self.over)
            .finish_non_exhaustive()
    }
}

impl<'a, T, C: Codec<T>> IntoIterator for &'a Consumer<T, C> {
    type Item = Result<T, GetError>;
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}

impl<T: 'static, C: Codec<T>> IntoIterator for Consumer<T, C> {
    type Item = Result<T, GetError>;
    type IntoIter = Iter<'static, T>;

    fn into_iter(self) -> Iter<'static, T> {
        Iter::new(move || self.get())
    }
}
