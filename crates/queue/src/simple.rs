use crate::codec::{Codec, Serde};
use crate::ends::Iter;
use crate::error::{CreateError, GetError, PutError};
use crate::queue::Queue;
use serde::{Serialize, de::DeserializeOwned};

/// A queue with `put`, `get`, `is_empty`, `close`, a loop over it, and no more.
#[doc(alias = "multiprocessing.SimpleQueue")]
#[derive(Debug)]
pub struct SimpleQueue<T, C = Serde>(Queue<T, C>);

// Bounds on each function: there the compiler says what to derive.
impl<T> SimpleQueue<T> {
    /// An unbounded queue, as [`Queue::unbounded`].
    ///
    /// # Errors
    ///
    /// [`CreateError`].
    pub fn new() -> Result<Self, CreateError>
    where
        T: Serialize + DeserializeOwned,
    {
        Ok(Self(Queue::unbounded()?))
    }
}

impl<T, C: Codec<T>> SimpleQueue<T, C> {
    /// Puts a message. *Blocks*, *wakes* and *if a peer dies*: as [`Queue::put`].
    ///
    /// # Errors
    ///
    /// [`PutError`] hands the message back.
    pub fn put(&self, message: T) -> Result<(), PutError<T>> {
        self.0.put(message)
    }

    /// Takes the oldest message. *Blocks*, *wakes* and *if a peer dies*: as [`Queue::get`].
    ///
    /// # Errors
    ///
    /// See [`GetError`].
    pub fn get(&self) -> Result<T, GetError> {
        self.0.get()
    }
}

impl<T, C: Codec<T>> SimpleQueue<T, C> {
    /// Messages as they come, until this process closed the queue. *Blocks*, *wakes*, and *if a
    /// peer dies*: as [`Queue::get`].
    ///
    /// ```
    /// use multiproc_queue::{Queue, SimpleQueue};
    ///
    /// let queue = SimpleQueue::from(Queue::<u32>::bounded(10)?);
    /// queue.put(1)?;
    /// for number in &queue {
    ///     assert_eq!(number?, 1);
    ///     queue.close(); // so there is no next one
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn iter(&self) -> Iter<'_, T> {
        self.0.iter()
    }
}

impl<'a, T, C: Codec<T>> IntoIterator for &'a SimpleQueue<T, C> {
    type Item = Result<T, GetError>;
    type IntoIter = Iter<'a, T>;

    /// As [`SimpleQueue::iter`].
    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}

/// With a bound, a name or another codec.
impl<T, C> From<Queue<T, C>> for SimpleQueue<T, C> {
    fn from(queue: Queue<T, C>) -> Self {
        Self(queue)
    }
}

impl<T, C> SimpleQueue<T, C> {
    pub(crate) fn queue(&self) -> &Queue<T, C> {
        &self.0
    }

    /// Nothing queued?
    ///
    /// # Errors
    ///
    /// [`GetError::Closed`] after [`SimpleQueue::close`].
    #[doc(alias = "empty")]
    pub fn is_empty(&self) -> Result<bool, GetError> {
        if self.0.is_closed_here() {
            Err(GetError::Closed)
        } else {
            Ok(self.0.is_empty())
        }
    }

    /// Ends this process's use; others go on.
    pub fn close(&self) {
        self.0.close();
    }
}

impl<T, C> Clone for SimpleQueue<T, C> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}
