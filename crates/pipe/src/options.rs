use crate::codec::{Codec, Serde};
use crate::connection::Connection;
use crate::ends::{Receiver, Sender};
use crate::error::CreateError;
use multiproc_message::ends::{Reader, Writer};
use multiproc_ring::{Ring, Settings};
use multiproc_segment::type_tag;
use std::fmt;
use std::marker::PhantomData;

/// Makes pipes: `Pipe::<S, R>` has an end that sends `S` and receives `R`, and one for which it is
/// the other way round.
#[doc(alias = "multiprocessing.Pipe")]
#[allow(missing_debug_implementations)]
pub enum Pipe<S, R = S> {
    /// Never made: `Pipe` is a place for functions.
    #[doc(hidden)]
    Never(std::convert::Infallible, PhantomData<fn(S) -> R>),
}

impl<S, R> Pipe<S, R> {
    /// Options of a pipe to be made.
    ///
    /// ```
    /// # use multiproc_pipe::{Pipe, codec::Bytes};
    /// let (left, right) = Pipe::<Vec<u8>>::options().bytes(1 << 20).codec::<Bytes>().duplex()?;
    /// # Ok::<(), multiproc_pipe::CreateError>(())
    /// ```
    pub fn options() -> PipeOptions<S, R> {
        PipeOptions {
            settings: Settings {
                bytes: BYTES,
                ..Settings::default()
            },
            types: PhantomData,
        }
    }
}

// Bounds on each function: there the compiler says what to derive.
impl<S, R> Pipe<S, R> {
    /// Two connected ends, each of which sends and receives.
    ///
    /// # Errors
    ///
    /// [`CreateError`]; nothing is left behind.
    #[allow(clippy::type_complexity)]
    pub fn duplex() -> Result<(Connection<S, R>, Connection<R, S>), CreateError>
    where
        Serde: Codec<S> + Codec<R>,
    {
        Self::options().duplex()
    }
}

impl<T> Pipe<T> {
    /// One direction, in Python's order: the first end receives, the second sends. What is
    /// `Pipe(duplex=False)` there.
    ///
    /// # Errors
    ///
    /// [`CreateError`]; nothing is left behind.
    ///
    /// The wrong direction does not compile:
    ///
    /// ```compile_fail
    /// let (receiver, sender) = multiproc_pipe::Pipe::<u32>::simplex().unwrap();
    /// receiver.send(1);
    /// ```
    ///
    /// ```compile_fail
    /// let (receiver, sender) = multiproc_pipe::Pipe::<u32>::simplex().unwrap();
    /// sender.recv();
    /// ```
    pub fn simplex() -> Result<(Receiver<T>, Sender<T>), CreateError>
    where
        Serde: Codec<T>,
    {
        Self::options().simplex()
    }
}

/// Bytes that wait in a direction, unless the options say otherwise: some messages of a
/// mebibyte, and still inside a large cache.
const BYTES: usize = 4 << 20;

/// How a pipe is to be made; see [`Pipe::options`].
#[must_use = "options do nothing until duplex or simplex"]
pub struct PipeOptions<S, R = S, C = Serde> {
    settings: Settings,
    types: PhantomData<fn(S) -> (R, C)>,
}

impl<S, R, C> PipeOptions<S, R, C> {
    /// Another [codec](crate::codec) than serde, for both directions.
    pub fn codec<D>(self) -> PipeOptions<S, R, D> {
        PipeOptions {
            settings: self.settings,
            types: PhantomData,
        }
    }

    /// At most so many bytes (4 MiB by default) wait in each direction, 8 to 15 more for each
    /// message included; then a send waits. A message that is larger enters alone, when nothing
    /// waits before it.
    pub fn bytes(mut self, bytes: usize) -> Self {
        self.settings.bytes = bytes;
        self
    }

    /// At most so many messages wait in each direction; by default as many as fit.
    pub fn capacity(mut self, messages: usize) -> Self {
        let messages = u32::try_from(messages).unwrap_or(i32::MAX as u32);
        self.settings.capacity = messages.min(i32::MAX as u32);
        self
    }

    /// Bytes of address space for each direction (4 GiB by default, at most 8 GiB), half of
    /// which one message may take. Memory is used only as messages need it.
    pub fn reserve(mut self, bytes: usize) -> Self {
        self.settings.reserve = bytes;
        self
    }

    /// Reserves as much address space as messages of at most so many bytes need; a send of a
    /// larger one fails.
    pub(crate) fn max_message(mut self, bytes: usize) -> Self {
        // One message takes at most half of it, and a page or two are the ring's.
        let reserve = bytes.saturating_mul(2).saturating_add(1 << 16);
        self.settings.reserve = reserve.clamp(1 << 20, self.settings.reserve);
        self.settings.bytes = self.settings.bytes.min(self.settings.reserve / 2);
        self
    }

    /// Without a *courier*: saves a descriptor for each direction; handles and descriptors in
    /// messages are then refused, and the ends cannot be polled.
    pub fn without_courier(mut self) -> Self {
        self.settings.courier = false;
        self
    }
}

/// What a direction's messages are called. A pipe's tag has those of its directions.
pub(crate) fn message_tag<T, C: Codec<T>>() -> String {
    format!(
        "{} ({}, {} bytes)",
        type_tag::<T>(),
        C::NAME,
        size_of::<T>()
    )
}

impl<S, R, C: Codec<S> + Codec<R>> PipeOptions<S, R, C> {
    /// Two connected ends, each of which sends and receives.
    ///
    /// # Errors
    ///
    /// [`CreateError`]; nothing is left behind.
    #[allow(clippy::type_complexity)]
    pub fn duplex(&self) -> Result<(Connection<S, R, C>, Connection<R, S, C>), CreateError> {
        let tag = format!(
            "Pipe: {} | {}",
            message_tag::<S, C>(),
            message_tag::<R, C>()
        );
        let rings = Ring::pipe(&tag, &self.settings, 2)?;
        let Ok([there, back]) = <[Ring; 2]>::try_from(rings) else {
            unreachable!("two rings were asked for");
        };
        let left = Connection::new(
            Sender::new(Writer::first(there.clone())),
            Receiver::new(Reader::first(back.clone())),
        );
        let right = Connection::new(
            Sender::new(Writer::first(back)),
            Receiver::new(Reader::first(there)),
        );
        Ok((left, right))
    }
}

impl<T, C: Codec<T>> PipeOptions<T, T, C> {
    /// One direction, in Python's order: the first end receives, the second sends.
    ///
    /// # Errors
    ///
    /// [`CreateError`]; nothing is left behind.
    #[allow(clippy::type_complexity)]
    pub fn simplex(&self) -> Result<(Receiver<T, C>, Sender<T, C>), CreateError> {
        let tag = format!("Pipe: {}", message_tag::<T, C>());
        let rings = Ring::pipe(&tag, &self.settings, 1)?;
        let Ok([ring]) = <[Ring; 1]>::try_from(rings) else {
            unreachable!("one ring was asked for");
        };
        let receiver = Receiver::new(Reader::first(ring.clone()));
        Ok((receiver, Sender::new(Writer::first(ring))))
    }
}

impl<S, R, C> Clone for PipeOptions<S, R, C> {
    fn clone(&self) -> Self {
        Self {
            settings: self.settings.clone(),
            types: PhantomData,
        }
    }
}

impl<S, R, C> fmt::Debug for PipeOptions<S, R, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PipeOptions")
            .field("bytes", &self.settings.bytes)
            .field("capacity", &self.settings.capacity)
            .finish_non_exhaustive()
    }
}
