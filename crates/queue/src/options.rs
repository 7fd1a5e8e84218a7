use crate::codec::{Codec, Serde};
use crate::error::{CreateError, OpenError, OpenOrCreateError};
use crate::queue::Queue;
use multiproc_ring::{Ring, Settings};
use multiproc_segment::type_tag;
use std::marker::PhantomData;

/// How a queue is to be made; see [`Queue::options`].
#[must_use = "options do nothing until build, create or open"]
pub struct QueueOptions<T, C = Serde> {
    settings: Settings,
    capacity: Option<usize>,
    tag: Option<String>,
    types: PhantomData<fn(T) -> C>,
}

impl<T, C> std::fmt::Debug for QueueOptions<T, C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QueueOptions")
            .field("capacity", &self.capacity)
            .field("naming", &self.settings.naming)
            .field("type_tag", &self.tag)
            .finish_non_exhaustive()
    }
}

impl<T, C> Clone for QueueOptions<T, C> {
    fn clone(&self) -> Self {
        Self {
            settings: self.settings.clone(),
            capacity: self.capacity,
            tag: self.tag.clone(),
            types: PhantomData,
        }
    }
}

impl<T> QueueOptions<T> {
    pub(crate) fn new() -> Self {
        Self {
            settings: Settings::default(),
            capacity: None,
            tag: None,
            types: PhantomData,
        }
    }
}

impl<T, C> QueueOptions<T, C> {
    /// Another [codec](crate::codec) than serde.
    pub fn codec<D>(self) -> QueueOptions<T, D> {
        QueueOptions {
            settings: self.settings,
            capacity: self.capacity,
            tag: self.tag,
            types: PhantomData,
        }
    }

    /// At most so many messages queued; 1 to 2^31 - 1. Without it, the queue is bounded by
    /// its reserve alone.
    pub fn capacity(mut self, messages: usize) -> Self {
        self.capacity = Some(messages);
        self
    }

    /// At most so many bytes of queued messages, 8 to 15 more for each included. A message
    /// that is larger enters alone, when nothing is queued. Without it, bounded by the
    /// reserve.
    pub fn bytes(mut self, bytes: usize) -> Self {
        self.settings.bytes = bytes;
        self
    }

    /// A task ([`JoinableQueue::get_task`](crate::JoinableQueue::get_task)) is delivered at
    /// most so often, at least once; then it becomes a dead letter. Without it, until it is
    /// done.
    pub fn max_deliveries(mut self, deliveries: u32) -> Self {
        self.settings.max_deliveries = deliveries.max(1);
        self
    }

    /// Bytes of address space for queued messages (4 GiB by default, at most 8 GiB), half of
    /// which one message may take. Memory is used only as messages need it.
    pub fn reserve(mut self, bytes: usize) -> Self {
        self.settings.reserve = bytes;
        self
    }

    multiproc_segment::naming_options!(settings.naming);

    /// Without a *courier*: saves a descriptor per queue; handles and descriptors in messages are
    /// then refused, and the queue cannot be polled.
    pub fn without_courier(mut self) -> Self {
        self.settings.courier = false;
        self
    }

    /// What to call the message type in a named queue, in place of its name and size.
    pub fn type_tag(mut self, tag: impl Into<String>) -> Self {
        self.tag = Some(tag.into());
        self
    }
}

/// What a queue's segment says of its messages: what the user called them, or their type.
pub(crate) fn tag_of<T, C: Codec<T>>(user: Option<&str>) -> String {
    match user {
        Some(tag) => format!("Queue<{tag}>"),
        None => format!(
            "Queue<{}> ({}, {} bytes)",
            type_tag::<T>(),
            C::NAME,
            size_of::<T>()
        ),
    }
}

impl<T, C: Codec<T>> QueueOptions<T, C> {
    fn tag(&self) -> String {
        tag_of::<T, C>(self.tag.as_deref())
    }

    fn settings(&self) -> Result<Settings, CreateError> {
        let capacity = match self.capacity {
            None => i32::MAX as usize,
            Some(n) => n,
        };
        match u32::try_from(capacity) {
            Ok(capacity @ 1..=0x7fff_ffff) => Ok(Settings {
                capacity,
                ..self.settings.clone()
            }),
            _ => Err(CreateError::Capacity(capacity)),
        }
    }

    /// Makes an anonymous queue: for this process and the children it forks.
    ///
    /// # Errors
    ///
    /// [`CreateError`]; nothing is left behind.
    pub fn build(&self) -> Result<Queue<T, C>, CreateError> {
        Ok(Queue::new(Ring::anonymous(&self.tag(), &self.settings()?)?))
    }

    /// Makes a queue under a name.
    ///
    /// # Errors
    ///
    /// [`CreateError`], among them `AlreadyExists`; nothing is left behind.
    pub fn create(&self, name: &str) -> Result<Queue<T, C>, CreateError> {
        Ok(Queue::new(Ring::create(
            name,
            &self.tag(),
            &self.settings()?,
        )?))
    }

    /// Opens the queue of that name. Its sizes are those of its maker.
    ///
    /// # Errors
    ///
    /// [`OpenError`]: nothing there, no permission, another message type: the sentence says
    /// what was expected and what was found.
    pub fn open(&self, name: &str) -> Result<Queue<T, C>, OpenError> {
        Ok(Queue::new(Ring::open(name, &self.tag())?))
    }

    /// Opens the queue of that name, or makes it. When several processes race, one makes
    /// it and all get the same.
    ///
    /// # Errors
    ///
    /// [`OpenOrCreateError`].
    pub fn open_or_create(&self, name: &str) -> Result<Queue<T, C>, OpenOrCreateError> {
        let settings = self.settings()?;
        let tag = self.tag();
        let ring = multiproc_segment::open_or_create(
            || Ring::open(name, &tag),
            || Ring::create(name, &tag, &settings),
        );
        match ring {
            Ok(ring) => Ok(Queue::new(ring)),
            Err(multiproc_segment::OpenOrCreateError::Open(e)) => Err(e.into()),
            Err(multiproc_segment::OpenOrCreateError::Create(e)) => {
                Err(CreateError::from(e).into())
            }
            Err(e) => Err(CreateError::Segment(multiproc_segment::CreateError::Io(
                std::io::Error::other(e),
            ))
            .into()),
        }
    }
}
