//! What a message carries beside its bytes.
//!
//! ```standalone_crate
//! use multiproc_parcel::Descriptor;
//! use multiproc_pipe::Pipe;
//! use multiproc_process::Process;
//! use std::io::{PipeReader, Write, pipe, read_to_string};
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let (descriptors, sender) = Pipe::<Descriptor<PipeReader>>::simplex()?;
//!     let child = Process::start(move || {
//!         let (reader, mut writer) = pipe().unwrap(); // this process alone has it
//!         sender.send(Descriptor(reader)).unwrap();
//!         writer.write_all(b"hello").unwrap();
//!     })?;
//!     let Descriptor(reader) = descriptors.recv()?;
//!     println!("through a pipe that came in a message: {}", read_to_string(reader)?);
//!     child.join()?.ok()?;
//!     Ok(())
//! }
//! ```
//!
//! A handle on shared memory, a socket or a file is more than bytes: the receiver needs the
//! descriptor. While a message is being encoded, [`pack`] collects the descriptors that
//! handles in it [`enclose`]; what the bytes say in their place is an index. Whoever carries
//! the message (a ring beside its records, a socket, a process that starts another) carries
//! the [`Parcel`] too, and decodes under [`unpack`], where handles [`take`] theirs:
//!
//! ```
//! use multiproc_parcel::{Descriptor, pack, unpack};
//! use std::io::{Read, Write};
//!
//! let (mut reader, writer) = std::io::pipe()?;
//! let (bytes, parcel) = pack(|| postcard::to_allocvec(&("pipe", Descriptor(writer))));
//! // … bytes and descriptors travel …
//! let (name, Descriptor(mut pipe)) = unpack(parcel.into_descriptors(), || {
//!     postcard::from_bytes::<(String, Descriptor<std::io::PipeWriter>)>(&bytes.unwrap())
//! })
//! .unwrap();
//! write!(pipe, "through the {name}")?;
//! drop(pipe);
//! let mut text = String::new();
//! reader.read_to_string(&mut text)?;
//! assert_eq!(text, "through the pipe");
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # Invariants
//!
//! 1. A parcel belongs to the thread that packs (unpacks) it; packing inside of packing (a
//!    `Serialize` that itself puts something) makes a parcel of its own.
//! 2. A descriptor is in exactly one place: the parcel, or the handle that took it. What
//!    nobody took is closed.
//! 3. A parcel that is dropped instead of [sent](Parcel::sent) runs what was
//!    promised with [`on_return`].
//!
//! If a process dies here, its descriptors are closed by the kernel; nothing is shared yet.

#![forbid(unsafe_code)]

use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};
use std::cell::Cell;
use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use thiserror::Error;

/// Why a handle was not encoded.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EncloseError {
    /// Nobody collects descriptors: the value is written to a file, say.
    #[error("a handle can be encoded only inside a message, which carries its descriptor")]
    NotInAMessage,
    /// The descriptor could not be duplicated.
    #[error("the descriptor cannot be duplicated: {0}")]
    Duplicate(#[from] std::io::Error),
}

/// Why a handle was not decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TakeError {
    /// No message is being decoded: the value comes from a file, say.
    #[error("a handle can be decoded only from a message that carries its descriptor")]
    NotInAMessage,
    /// The message carries no such descriptor, or another handle took it.
    #[error("the message carries no descriptor for this handle")]
    Missing,
}

#[derive(Default)]
struct Contents {
    descriptors: Vec<OwnedFd>,
    /// While it is packed: what goes behind the others, the last one first.
    tokens: Vec<OwnedFd>,
    /// So many at the end are tokens, once it is packed.
    packed_tokens: usize,
    undo: Vec<Box<dyn FnOnce()>>,
}

/// What this thread is doing; `Box`, so that a message without handles costs a few moves.
#[derive(Default)]
enum Desk {
    #[default]
    Closed,
    Packing(Option<Box<Contents>>),
    Unpacking(Vec<Option<OwnedFd>>),
}

thread_local! {
    static DESK: Cell<Desk> = const { Cell::new(Desk::Closed) };
}

/// Puts the desk back as it was, also when an encoder panics.
struct Restore(Option<Desk>);

impl Restore {
    #[inline]
    fn after(desk: Desk) -> Self {
        // A thread that is just ending has no desk: handles cannot travel from there.
        Self(DESK.try_with(|cell| cell.replace(desk)).ok())
    }

    /// What lies on the desk now.
    #[inline]
    fn clear(mut self) -> Desk {
        match self.0.take() {
            Some(before) => DESK
                .try_with(|cell| cell.replace(before))
                .unwrap_or_default(),
            None => Desk::Closed,
        }
    }
}

impl Drop for Restore {
    fn drop(&mut self) {
        let Some(before) = self.0.take() else {
            return;
        };
        let desk = DESK.try_with(|cell| cell.replace(before));
        if let Ok(Desk::Packing(contents)) = desk {
            // The encoder panicked: what it promised so far is undone.
            drop(Parcel(contents));
        }
    }
}

fn with_desk<R>(f: impl FnOnce(&mut Desk) -> R) -> R {
    let mut desk = DESK.try_with(Cell::take).unwrap_or_default();
    let result = f(&mut desk);
    let _ = DESK.try_with(|cell| cell.set(desk));
    result
}

/// Runs an encoder; gives its result and what handles in it enclosed.
#[inline]
pub fn pack<R>(encode: impl FnOnce() -> R) -> (R, Parcel) {
    let desk = Restore::after(Desk::Packing(None));
    let result = encode();
    match desk.clear() {
        Desk::Packing(mut contents) => {
            if let Some(contents) = &mut contents {
                contents.packed_tokens = contents.tokens.len();
                let tokens = std::mem::take(&mut contents.tokens);
                contents.descriptors.extend(tokens.into_iter().rev());
            }
            (result, Parcel(contents))
        }
        _ => (result, Parcel(None)),
    }
}

/// Runs a decoder, whose handles take their descriptors from these. What nobody takes is
/// closed.
#[inline]
pub fn unpack<R>(descriptors: Vec<OwnedFd>, decode: impl FnOnce() -> R) -> R {
    let desk = match descriptors.is_empty() {
        true => Vec::new(),
        false => descriptors.into_iter().map(Some).collect(),
    };
    let _desk = Restore::after(Desk::Unpacking(desk));
    decode()
}

/// Encloses a duplicate of `fd` in the message that this thread is encoding; returns its
/// index, which the receiver gives to [`take`].
///
/// # Errors
///
/// [`EncloseError`].
pub fn enclose(fd: impl AsFd) -> Result<u32, EncloseError> {
    with_desk(|desk| match desk {
        Desk::Packing(contents) => {
            let fd = fd.as_fd().try_clone_to_owned()?;
            let descriptors = &mut contents.get_or_insert_default().descriptors;
            descriptors.push(fd);
            Ok(descriptors.len() as u32 - 1)
        }
        _ => Err(EncloseError::NotInAMessage),
    })
}

/// Encloses `fd` behind all that are [enclosed](enclose): a token, which says by being open
/// that the message is somewhere, and means something to those who carry it (see
/// [`Parcel::tokens`]). Returns its index.
///
/// # Errors
///
/// [`EncloseError::NotInAMessage`].
pub fn enclose_token(fd: OwnedFd) -> Result<u32, EncloseError> {
    with_desk(|desk| match desk {
        Desk::Packing(contents) => {
            let tokens = &mut contents.get_or_insert_default().tokens;
            tokens.push(fd);
            Ok(u32::MAX - (tokens.len() as u32 - 1))
        }
        _ => Err(EncloseError::NotInAMessage),
    })
}

/// Promises to run `undo` if the message that this thread is encoding is not sent.
///
/// # Errors
///
/// [`EncloseError::NotInAMessage`].
pub fn on_return(undo: impl FnOnce() + 'static) -> Result<(), EncloseError> {
    with_desk(|desk| match desk {
        Desk::Packing(contents) => {
            contents.get_or_insert_default().undo.push(Box::new(undo));
            Ok(())
        }
        _ => Err(EncloseError::NotInAMessage),
    })
}

/// The descriptor of this index in the message that this thread is decoding.
///
/// # Errors
///
/// [`TakeError`].
pub fn take(index: u32) -> Result<OwnedFd, TakeError> {
    with_desk(|desk| match desk {
        Desk::Unpacking(descriptors) => {
            // Tokens are counted from the end.
            let at = match index > u32::MAX / 2 {
                true => descriptors
                    .len()
                    .checked_sub((u32::MAX - index) as usize + 1),
                false => Some(index as usize),
            };
            at.and_then(|at| descriptors.get_mut(at)?.take())
                .ok_or(TakeError::Missing)
        }
        _ => Err(TakeError::NotInAMessage),
    })
}

/// The descriptors of one message.
#[must_use = "descriptors that are dropped do not travel"]
#[derive(Default)]
pub struct Parcel(Option<Box<Contents>>);

impl Parcel {
    /// Nothing beside the bytes?
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// The descriptors, in the order in which they were enclosed.
    pub fn descriptors(&self) -> &[OwnedFd] {
        self.0.as_ref().map_or(&[], |c| &c.descriptors)
    }

    /// So many of them, the last ones, are tokens.
    pub fn tokens(&self) -> usize {
        self.0.as_ref().map_or(0, |c| c.packed_tokens)
    }

    /// The message was sent: nothing is undone.
    pub fn sent(mut self) {
        self.0 = None;
    }

    /// The message is sent with these: nothing is undone.
    pub fn into_descriptors(mut self) -> Vec<OwnedFd> {
        self.0.take().map_or_else(Vec::new, |c| c.descriptors)
    }
}

impl Drop for Parcel {
    #[inline]
    fn drop(&mut self) {
        if let Some(contents) = self.0.take() {
            contents.undo.into_iter().for_each(|undo| undo());
        }
    }
}

impl fmt::Debug for Parcel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parcel")
            .field("descriptors", &self.descriptors())
            .finish_non_exhaustive()
    }
}

thread_local! {
    static REASON: Cell<Option<String>> = const { Cell::new(None) };
}

/// An error of a serializer (deserializer) from a reason why a handle cannot travel. Formats
/// that keep no text lose it: [`take_reason`] has it.
pub fn refuse<E>(reason: impl fmt::Display, custom: impl FnOnce(&str) -> E) -> E {
    let reason = reason.to_string();
    let error = custom(&reason);
    let _ = REASON.try_with(|cell| cell.set(Some(reason)));
    error
}

/// Why a handle was last [refused](refuse) on this thread.
pub fn take_reason() -> Option<String> {
    REASON.try_with(Cell::take).unwrap_or_default()
}

/// A file, socket, pipe, … as part of a message: anything that is a descriptor and can be
/// made of one. The receiver gets a duplicate; the sender's own goes with the message.
///
/// For fields of your own types there is `#[serde(with = "multiproc::descriptor")]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[doc(alias = "DupFd")]
#[doc(alias = "send_handle")]
#[doc(alias = "recv_handle")]
pub struct Descriptor<T>(
    /// The file, socket, pipe, ….
    pub T,
);

impl<T: AsFd> Serialize for Descriptor<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        descriptor::serialize(&self.0, serializer)
    }
}

impl<'de, T: From<OwnedFd>> Deserialize<'de> for Descriptor<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        descriptor::deserialize(deserializer).map(Self)
    }
}

/// For `#[serde(with = "…")]`: a field that is a descriptor.
pub mod descriptor {
    use super::*;

    /// Encloses the descriptor and writes its index.
    ///
    /// # Errors
    ///
    /// [`EncloseError`], as the serializer's.
    pub fn serialize<T: AsFd, S: Serializer>(fd: &T, serializer: S) -> Result<S::Ok, S::Error> {
        let index = enclose(fd).map_err(|e| refuse(e, |why| ser::Error::custom(why)))?;
        serializer.serialize_u32(index)
    }

    /// Reads an index and takes the descriptor.
    ///
    /// # Errors
    ///
    /// [`TakeError`], as the deserializer's.
    pub fn deserialize<'de, T: From<OwnedFd>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<T, D::Error> {
        let index = u32::deserialize(deserializer)?;
        take(index)
            .map(T::from)
            .map_err(|e| refuse(e, |why| de::Error::custom(why)))
    }
}

/// The README is a test, too.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(test)]
mod tests {
    use super::*;
    use std::rc::Rc;

    fn encode<T: Serialize>(value: &T) -> (Result<Vec<u8>, postcard::Error>, Parcel) {
        pack(|| postcard::to_allocvec(value))
    }

    #[test]
    fn outside_of_a_message_a_handle_is_refused() {
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(postcard::to_allocvec(&Descriptor(file)).is_err());
        let back: Result<Descriptor<OwnedFd>, _> = postcard::from_bytes(&[0]);
        assert!(back.is_err());
    }

    #[test]
    fn an_index_is_taken_once_and_only_where_there_is_one() {
        let file = std::fs::File::open("/dev/null").unwrap();
        let (bytes, parcel) = encode(&Descriptor(file));
        assert_eq!(bytes.unwrap(), [0]);
        unpack(parcel.into_descriptors(), || {
            assert_eq!(take(1).unwrap_err(), TakeError::Missing);
            take(0).unwrap();
            assert_eq!(take(0).unwrap_err(), TakeError::Missing);
        });
        assert_eq!(take(0).unwrap_err(), TakeError::NotInAMessage);
    }

    #[test]
    fn a_parcel_that_is_not_sent_undoes() {
        let undone = Rc::new(Cell::new(0));
        for sent in [false, true] {
            let count = undone.clone();
            let (_, parcel) = pack(|| on_return(move || count.set(count.get() + 1)));
            if sent {
                parcel.into_descriptors();
            } else {
                drop(parcel);
            }
        }
        assert_eq!(undone.get(), 1);
    }

    #[test]
    fn tokens_come_last_and_are_found_by_their_index() {
        let file = |n: u8| {
            let (reader, mut writer) = std::io::pipe().unwrap();
            std::io::Write::write_all(&mut writer, &[n]).unwrap();
            OwnedFd::from(reader)
        };
        let number = |fd: OwnedFd| {
            let mut byte = [0];
            std::io::Read::read_exact(&mut std::io::PipeReader::from(fd), &mut byte).unwrap();
            byte[0]
        };
        let (indices, parcel) = pack(|| {
            let token = enclose_token(file(1)).unwrap();
            let plain = enclose(file(2)).unwrap();
            [token, plain, enclose_token(file(3)).unwrap()]
        });
        assert_eq!((parcel.tokens(), parcel.descriptors().len()), (2, 3));
        unpack(parcel.into_descriptors(), || {
            for (index, expected) in indices.into_iter().zip(1..) {
                assert_eq!(number(take(index).unwrap()), expected);
                assert_eq!(take(index).unwrap_err(), TakeError::Missing);
            }
            for index in [3, u32::MAX / 2, u32::MAX / 2 + 1, u32::MAX - 3] {
                assert_eq!(take(index).unwrap_err(), TakeError::Missing);
            }
        });
    }

    #[test]
    fn an_encoder_that_panics_undoes() {
        let undone = Rc::new(Cell::new(0));
        let count = undone.clone();
        let encode = std::panic::AssertUnwindSafe(|| {
            on_return(move || count.set(count.get() + 1)).unwrap();
            panic!("in the encoder")
        });
        assert!(std::panic::catch_unwind(|| pack({ encode }.0).0).is_err());
        assert_eq!(undone.get(), 1);
    }

    #[test]
    fn packing_inside_of_packing_has_a_parcel_of_its_own() {
        let null = || std::fs::File::open("/dev/null").unwrap();
        let ((), outer) = pack(|| {
            enclose(null()).unwrap();
            let (index, inner) = pack(|| enclose(null()).unwrap());
            assert_eq!((index, inner.descriptors().len()), (0, 1));
            assert_eq!(enclose(null()).unwrap(), 1);
        });
        assert_eq!(outer.descriptors().len(), 2);
        let panicked = std::panic::catch_unwind(|| pack(|| panic!("in the encoder")).0);
        assert!(panicked.is_err());
        assert!(enclose(null()).is_err());
    }
}
