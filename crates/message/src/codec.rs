//! How messages become bytes.
//!
//! ```
//! use multiproc_message::codec::{Codec, Plain, Serde};
//!
//! let (mut text, mut samples) = (Vec::new(), Vec::new());
//! Serde::encode(&"hello".to_owned(), &mut text)?; // anything with serde
//! Plain::encode(&[0.0_f32, 0.5], &mut samples)?; // as it lies in memory
//! assert_eq!((text.len(), samples.len()), (6, 8));
//! assert_eq!(Plain::decode(&samples), Ok([0.0_f32, 0.5]));
//! # Ok::<(), String>(())
//! ```
//!
//! User code (a `Serialize` of yours, say) never runs under a lock that other processes
//! wait for: a message is encoded into private memory before the put begins, and decoded
//! from private memory after the get is over. A slow, panicking or re-entrant
//! implementation harms its own call only.

use multiproc_parcel as parcel;
use multiproc_ring::{GetError as RingGetError, PutError as RingPutError, Ring, Wait};
use serde::{Serialize, de::DeserializeOwned};
use std::cell::Cell;
use zerocopy::{Immutable, IntoBytes, TryFromBytes};

/// Turns messages of type `T` into bytes and back.
pub trait Codec<T>: 'static {
    /// Its name, part of the identity of a named queue.
    const NAME: &'static str;

    /// Appends the message's bytes to `to`, which is empty.
    ///
    /// # Errors
    ///
    /// The reason, as a sentence, why the message cannot be encoded.
    fn encode(message: &T, to: &mut Vec<u8>) -> Result<(), String>;

    /// The message from its bytes, which are private to the caller.
    ///
    /// # Errors
    ///
    /// The reason, as a sentence, why they are not a message.
    fn decode(bytes: &[u8]) -> Result<T, String>;

    /// Appends the bytes of several messages to `to`, and their lengths to `lens`.
    ///
    /// # Errors
    ///
    /// The reason why the next one, after those in `lens`, cannot be encoded.
    #[doc(hidden)]
    fn encode_many(messages: &[T], to: &mut Vec<u8>, lens: &mut Vec<usize>) -> Result<(), String> {
        for message in messages {
            with_scratch(|scratch| {
                Self::encode(message, scratch)?;
                to.extend_from_slice(scratch);
                lens.push(scratch.len());
                Ok::<(), String>(())
            })?;
        }
        Ok(())
    }

    /// The messages of these lengths, one after the other in `bytes`.
    #[doc(hidden)]
    fn decode_many(bytes: &[u8], lens: &[usize]) -> Result<Vec<T>, String> {
        // Collecting into a `Result` knows no size, and grows again and again.
        let mut messages = Vec::with_capacity(lens.len());
        let mut rest = bytes;
        for len in lens {
            let (message, after) = rest.split_at(*len);
            rest = after;
            messages.push(Self::decode(message)?);
        }
        Ok(messages)
    }

    /// Encodes and puts.
    #[doc(hidden)]
    fn put(ring: &Ring, message: &T, wait: Wait<'_>) -> Result<(), PutFailure> {
        with_scratch(|scratch| {
            let (encoded, parcel) = parcel::pack(|| Self::encode(message, scratch));
            encoded.map_err(PutFailure::Encode)?;
            if parcel.is_empty() {
                return Ok(ring.put(scratch, wait)?);
            }
            match parcel.descriptors() {
                // Only something to undo.
                [] => ring.put(scratch, wait)?,
                fds => ring.put_carrying(scratch, fds, parcel.tokens(), wait)?,
            }
            parcel.sent();
            Ok(())
        })
    }

    /// Gets and decodes.
    #[doc(hidden)]
    fn get(ring: &Ring, wait: Wait<'_>) -> Result<T, GetFailure> {
        with_scratch(|scratch| {
            let mut fds = Vec::new();
            ring.get_carried(scratch, &mut fds, wait)?;
            parcel::unpack(fds, || Self::decode(scratch)).map_err(GetFailure::Decode)
        })
    }
}

/// Why a put failed, before the message is handed back.
#[doc(hidden)]
#[derive(Debug)]
pub enum PutFailure {
    Encode(String),
    Ring(RingPutError),
}

/// Why a get failed.
#[doc(hidden)]
#[derive(Debug)]
pub enum GetFailure {
    Decode(String),
    Ring(RingGetError),
}

impl From<RingPutError> for PutFailure {
    fn from(e: RingPutError) -> Self {
        Self::Ring(e)
    }
}

impl From<RingGetError> for GetFailure {
    fn from(e: RingGetError) -> Self {
        Self::Ring(e)
    }
}

thread_local! {
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Capacity that a thread keeps between messages.
const KEEP: usize = 1 << 20;

/// Runs `f` with this thread's empty buffer. Taken out while in use, so a codec that uses
/// a queue itself gets another one.
#[doc(hidden)]
pub fn with_scratch<R>(f: impl FnOnce(&mut Vec<u8>) -> R) -> R {
    let mut scratch = SCRATCH.try_with(Cell::take).unwrap_or_default();
    scratch.clear();
    let result = f(&mut scratch);
    if scratch.capacity() <= KEEP {
        // Fails while the thread ends; then the buffer just goes.
        let _ = SCRATCH.try_with(|cell| cell.set(scratch));
    }
    result
}

/// Anything that serde serialises, as postcard. The default.
#[derive(Debug)]
pub struct Serde;

/// Appends to a `Vec` without the detour of an allocation per message.
struct Append<'a>(&'a mut Vec<u8>);

impl postcard::ser_flavors::Flavor for Append<'_> {
    type Output = ();

    #[inline]
    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    #[inline]
    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

/// postcard keeps no reason of a handle's that would not travel.
#[cold]
fn why(error: postcard::Error) -> String {
    parcel::take_reason().unwrap_or_else(|| error.to_string())
}

impl<T: Serialize + DeserializeOwned> Codec<T> for Serde {
    const NAME: &'static str = "serde";

    #[inline]
    fn encode(message: &T, to: &mut Vec<u8>) -> Result<(), String> {
        postcard::serialize_with_flavor(message, Append(to)).map_err(why)
    }

    #[inline]
    fn decode(bytes: &[u8]) -> Result<T, String> {
        postcard::from_bytes(bytes).map_err(why)
    }
}

/// Plain data, as it lies in memory: numbers, arrays and structs of them
/// (`zerocopy`'s `IntoBytes` and `TryFromBytes`). A peer's garbage where a `bool` or an
/// enum should be is an error at the get.
#[derive(Debug)]
pub struct Plain;

/// Messages up to this size take the way over the stack.
const SMALL: usize = 64;

fn plain_from<T: TryFromBytes>(bytes: &[u8]) -> Result<T, String> {
    T::try_read_from_bytes(bytes).map_err(|_| {
        format!(
            "{} bytes are not a {}",
            bytes.len(),
            std::any::type_name::<T>()
        )
    })
}

impl<T: IntoBytes + TryFromBytes + Immutable> Codec<T> for Plain {
    const NAME: &'static str = "plain";

    fn encode(message: &T, to: &mut Vec<u8>) -> Result<(), String> {
        to.extend_from_slice(message.as_bytes());
        Ok(())
    }

    fn decode(bytes: &[u8]) -> Result<T, String> {
        plain_from(bytes)
    }

    fn encode_many(messages: &[T], to: &mut Vec<u8>, lens: &mut Vec<usize>) -> Result<(), String> {
        to.extend_from_slice(messages.as_bytes());
        lens.resize(lens.len() + messages.len(), size_of::<T>());
        Ok(())
    }

    fn decode_many(bytes: &[u8], lens: &[usize]) -> Result<Vec<T>, String> {
        if size_of::<T>() == 0 || lens.iter().any(|len| *len != size_of::<T>()) {
            return Err(format!("not all are a {}", std::any::type_name::<T>()));
        }
        // Collecting into a `Result` knows no size, and grows again and again.
        let mut messages = Vec::with_capacity(lens.len());
        for message in bytes.chunks_exact(size_of::<T>()) {
            messages.push(plain_from(message)?);
        }
        Ok(messages)
    }

    #[inline]
    fn put(ring: &Ring, message: &T, wait: Wait<'_>) -> Result<(), PutFailure> {
        Ok(ring.put(message.as_bytes(), wait)?)
    }

    #[inline]
    fn get(ring: &Ring, wait: Wait<'_>) -> Result<T, GetFailure> {
        if size_of::<T>() > SMALL {
            return with_scratch(|scratch| {
                ring.get_into(scratch, wait)?;
                plain_from(scratch).map_err(GetFailure::Decode)
            });
        }
        let mut bytes = [0; SMALL];
        let bytes = &mut bytes[..size_of::<T>()];
        let found = ring.get_exact(bytes, wait)?;
        if found != bytes.len() {
            return Err(GetFailure::Decode(format!(
                "{found} bytes are not a {}",
                std::any::type_name::<T>()
            )));
        }
        plain_from(bytes).map_err(GetFailure::Decode)
    }
}

/// Byte strings, as they are.
#[derive(Debug)]
pub struct Bytes;

impl Codec<Vec<u8>> for Bytes {
    const NAME: &'static str = "bytes";

    fn encode(message: &Vec<u8>, to: &mut Vec<u8>) -> Result<(), String> {
        to.extend_from_slice(message);
        Ok(())
    }

    fn decode(bytes: &[u8]) -> Result<Vec<u8>, String> {
        Ok(bytes.to_vec())
    }

    #[inline]
    fn put(ring: &Ring, message: &Vec<u8>, wait: Wait<'_>) -> Result<(), PutFailure> {
        Ok(ring.put(message, wait)?)
    }

    #[inline]
    fn get(ring: &Ring, wait: Wait<'_>) -> Result<Vec<u8>, GetFailure> {
        let mut message = Vec::new();
        ring.get_into(&mut message, wait)?;
        Ok(message)
    }
}
