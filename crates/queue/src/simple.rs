use crate::codec::{Codec, Serde};
use crate::error::{CreateError, GetError, PutError};
use crate::queue::Queue;
use serde::{Serialize, de::DeserializeOwned};

/// A queue with `put`, `get`, `is_empty` and `close`, and no more.
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

impl<T, C> SimpleQueue<T, C> {
    pub(crate) fn over(queue: Queue<T, C>) -> Self {
        Self(queue)
    }

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
