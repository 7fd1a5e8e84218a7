use crate::codec::{Bytes, Codec, GetFailure, PutFailure, Serde};
use crate::ends::{Consumer, Iter, Producer};
use crate::error::{
    CreateError, GetError, GetTimeoutError, OpenError, PutError, PutTimeoutError, RegisterError,
    TryGetError, TryPutError, UnlinkError,
};
use crate::options::QueueOptions;
use multiproc_core::deadline::Deadline;
use multiproc_ring::{Ring, Wait};
use serde::{Serialize, de::DeserializeOwned};
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

/// A queue of messages, first in, first out, for any number of processes.
///
/// A handle is both ends, as in Python, and registers nothing: `get` waits as long as
/// nothing comes, whoever is still there. [`Queue::split`], [`Queue::producer`] and
/// [`Queue::consumer`] give ends that are registered, so that the other side notices when
/// they are gone. `Clone` is another handle on the same queue.
///
/// Messages of one producer keep their order; between producers no order is promised.
#[doc(alias = "multiprocessing.Queue")]
#[doc(alias = "maxsize")]
pub struct Queue<T, C = Serde> {
    pub(crate) ring: Ring,
    closed: Arc<AtomicBool>,
    types: PhantomData<fn(T) -> (T, C)>,
}

impl<T> Queue<T> {
    /// Options of a queue to be made or opened.
    ///
    /// ```
    /// # use multiproc_queue::Queue;
    /// let queue = Queue::<String>::options().capacity(10).build()?;
    /// # Ok::<(), multiproc_queue::CreateError>(())
    /// ```
    pub fn options() -> QueueOptions<T> {
        QueueOptions::new()
    }

    /// Removes a name; whoever has the queue open keeps it.
    ///
    /// # Errors
    ///
    /// [`UnlinkError`].
    pub fn unlink(name: &str) -> Result<(), UnlinkError> {
        multiproc_segment::unlink(name)
    }
}

// Bounds on each function: there the compiler says what to derive.
impl<T> Queue<T> {
    /// A queue of at most `capacity` messages, for this process and the children it forks.
    ///
    /// # Errors
    ///
    /// [`CreateError`]; nothing is left behind.
    pub fn bounded(capacity: usize) -> Result<Self, CreateError>
    where
        T: Serialize + DeserializeOwned,
    {
        Self::options().capacity(capacity).build()
    }

    /// A queue bounded by memory alone (4 GiB of messages, unless
    /// [`QueueOptions::reserve`] says otherwise).
    ///
    /// # Errors
    ///
    /// [`CreateError`]; nothing is left behind.
    pub fn unbounded() -> Result<Self, CreateError>
    where
        T: Serialize + DeserializeOwned,
    {
        Self::options().build()
    }

    /// Makes an unbounded queue under a name, for programs started apart.
    ///
    /// # Errors
    ///
    /// [`CreateError`], among them `AlreadyExists`; nothing is left behind.
    pub fn create(name: &str) -> Result<Self, CreateError>
    where
        T: Serialize + DeserializeOwned,
    {
        Self::options().create(name)
    }

    /// Opens the queue of that name.
    ///
    /// # Errors
    ///
    /// [`OpenError`] says what was expected and what was found.
    pub fn open(name: &str) -> Result<Self, OpenError>
    where
        T: Serialize + DeserializeOwned,
    {
        Self::options().open(name)
    }
}

impl<T, C> Queue<T, C> {
    pub(crate) fn new(ring: Ring) -> Self {
        Self {
            ring,
            closed: Arc::new(AtomicBool::new(false)),
            types: PhantomData,
        }
    }

    pub(crate) fn ring_of(&self) -> &Ring {
        &self.ring
    }

    /// Has this process closed it? Relaxed: a flag that orders nothing.
    pub(crate) fn is_closed_here(&self) -> bool {
        self.closed.load(Relaxed)
    }

    /// Messages queued: exact at the instant at which it looks, stale right after.
    #[doc(alias = "qsize")]
    pub fn len(&self) -> usize {
        self.ring.len()
    }

    /// Nothing queued? As [`Queue::len`].
    #[doc(alias = "empty")]
    pub fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }

    /// As many queued as may be? As [`Queue::len`].
    #[doc(alias = "full")]
    pub fn is_full(&self) -> bool {
        self.len() >= self.capacity()
    }

    /// The most messages that may be queued; 2^31 - 1 for an unbounded queue.
    #[doc(alias = "maxsize")]
    pub fn capacity(&self) -> usize {
        self.ring.capacity()
    }

    /// Ends this process's use of the queue: from now on its puts and gets fail, also those
    /// that wait at this moment. Other processes go on. What was put stays.
    #[doc(alias = "join_thread")]
    #[doc(alias = "cancel_join_thread")]
    pub fn close(&self) {
        self.closed.store(true, Relaxed);
        self.ring.ring_all();
    }

    /// Ends the queue for everybody: puts fail, gets take what is left and then say
    /// `Closed`.
    #[doc(alias = "shutdown")]
    pub fn shut_down(&self) {
        self.ring.shut_down();
    }
}

impl<T, C: Codec<T>> Queue<T, C> {
    #[inline]
    pub(crate) fn put_by(
        &self,
        message: &T,
        deadline: Deadline,
        in_vain: &dyn Fn(bool) -> bool,
    ) -> Result<(), PutFailure> {
        if self.is_closed_here() {
            return Err(multiproc_ring::PutError::Closed.into());
        }
        let in_vain = |thorough| self.is_closed_here() || in_vain(thorough);
        C::put(
            &self.ring,
            message,
            Wait {
                deadline,
                in_vain: &in_vain,
            },
        )
    }

    #[inline]
    pub(crate) fn get_by(
        &self,
        deadline: Deadline,
        in_vain: &dyn Fn(bool) -> bool,
    ) -> Result<T, GetFailure> {
        if self.is_closed_here() {
            return Err(multiproc_ring::GetError::Closed.into());
        }
        let in_vain = |thorough| self.is_closed_here() || in_vain(thorough);
        C::get(
            &self.ring,
            Wait {
                deadline,
                in_vain: &in_vain,
            },
        )
    }

    /// Puts a message. When this returns `Ok`, every reader can have it, whatever becomes
    /// of this process.
    ///
    /// *Blocks until* there is room. *Wakes when* a reader takes a message. *If a peer
    /// dies*: a reader's death makes no room and does not hang us; a writer's neither.
    ///
    /// # Errors
    ///
    /// [`PutError`] hands the message back.
    #[inline]
    pub fn put(&self, message: T) -> Result<(), PutError<T>> {
        self.put_by(&message, Deadline::NEVER, &never)
            .map_err(|e| PutError::new(message, e))
    }

    /// Puts a message if there is room. Never blocks (but for the moment in which another
    /// process copies its own message in).
    ///
    /// # Errors
    ///
    /// [`TryPutError`] hands the message back.
    #[doc(alias = "put_nowait")]
    pub fn try_put(&self, message: T) -> Result<(), TryPutError<T>> {
        self.put_by(&message, Deadline::NOW, &never)
            .map_err(|e| TryPutError::new(message, e))
    }

    /// Puts a message. *Blocks until* there is room or `timeout` is over. *Wakes when* a
    /// reader takes a message. *If a peer dies*: as [`Queue::put`].
    ///
    /// # Errors
    ///
    /// [`PutTimeoutError`] hands the message back.
    pub fn put_timeout(&self, message: T, timeout: Duration) -> Result<(), PutTimeoutError<T>> {
        self.put_by(&message, Deadline::after(timeout), &never)
            .map_err(|e| PutTimeoutError::new(message, e))
    }

    /// Takes the oldest message. *Blocks until* there is one. *Wakes when* a writer puts
    /// one. *If a peer dies* in the middle of a put, nothing of it is seen; in the middle
    /// of a get, its message is the next again.
    ///
    /// # Errors
    ///
    /// See [`GetError`].
    #[inline]
    pub fn get(&self) -> Result<T, GetError> {
        Ok(self.get_by(Deadline::NEVER, &never)?)
    }

    /// Takes the oldest message, if there is one. Never blocks (but for the moment in which
    /// another process copies a message out).
    ///
    /// # Errors
    ///
    /// See [`TryGetError`].
    #[doc(alias = "get_nowait")]
    pub fn try_get(&self) -> Result<T, TryGetError> {
        Ok(self.looked(self.get_by(Deadline::NOW, &never))?)
    }

    /// Takes the oldest message. *Blocks until* there is one or `timeout` is over. *Wakes
    /// when* a writer puts one. *If a peer dies*: as [`Queue::get`].
    ///
    /// # Errors
    ///
    /// See [`GetTimeoutError`].
    pub fn get_timeout(&self, timeout: Duration) -> Result<T, GetTimeoutError> {
        Ok(self.looked(self.get_by(Deadline::after(timeout), &never))?)
    }

    /// Messages as they come, until the queue is shut down or this process closed it.
    /// *Blocks*, *wakes*, and *if a peer dies*: as [`Queue::get`].
    pub fn iter(&self) -> Iter<'_, T> {
        Iter::new(move || self.get())
    }

    /// A registered producer and a registered consumer, in place of this handle.
    pub fn split(self) -> (Producer<T, C>, Consumer<T, C>) {
        let queue = self.clone();
        (Producer::first(queue), Consumer::first(self))
    }

    /// One more registered producer.
    ///
    /// # Errors
    ///
    /// [`RegisterError`] when the table of producers is full.
    pub fn producer(&self) -> Result<Producer<T, C>, RegisterError> {
        Producer::register(self.clone())
    }

    /// One more registered consumer.
    ///
    /// # Errors
    ///
    /// [`RegisterError`] when the table of consumers is full.
    pub fn consumer(&self) -> Result<Consumer<T, C>, RegisterError> {
        Consumer::register(self.clone())
    }
}

fn never(_: bool) -> bool {
    false
}

impl Queue<Vec<u8>, Bytes> {
    /// Puts a copy of `bytes`: [`Queue::put`] without a `Vec`.
    ///
    /// *Blocks*, *wakes* and *if a peer dies*: as there.
    ///
    /// # Errors
    ///
    /// [`PutError`].
    pub fn put_bytes(&self, bytes: &[u8]) -> Result<(), PutError<()>> {
        if self.is_closed_here() {
            return Err(PutError::Closed(()));
        }
        let in_vain = |_| self.is_closed_here();
        self.ring
            .put(
                bytes,
                Wait {
                    deadline: Deadline::NEVER,
                    in_vain: &in_vain,
                },
            )
            .map_err(|e| PutError::new((), e.into()))
    }

    /// Takes the oldest message into `to`, whose content it replaces: [`Queue::get`] without
    /// a new `Vec`.
    ///
    /// *Blocks*, *wakes* and *if a peer dies*: as there.
    ///
    /// # Errors
    ///
    /// See [`GetError`].
    pub fn get_into_vec(&self, to: &mut Vec<u8>) -> Result<(), GetError> {
        if self.is_closed_here() {
            return Err(GetError::Closed);
        }
        let in_vain = |_| self.is_closed_here();
        let wait = Wait {
            deadline: Deadline::NEVER,
            in_vain: &in_vain,
        };
        Ok(self.ring.get_into(to, wait).map_err(GetFailure::from)?)
    }
}

impl<'a, T, C: Codec<T>> IntoIterator for &'a Queue<T, C> {
    type Item = Result<T, GetError>;
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}

impl<T, C> Clone for Queue<T, C> {
    fn clone(&self) -> Self {
        Self {
            ring: self.ring.clone(),
            closed: self.closed.clone(),
            types: PhantomData,
        }
    }
}

impl<T, C> fmt::Debug for Queue<T, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue")
            .field("kind", &self.ring.segment().kind().tag)
            .field("len", &self.len())
            .field("capacity", &self.capacity())
            .field("closed", &self.is_closed_here())
            .finish()
    }
}
