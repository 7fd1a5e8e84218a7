//! What a list holds at one place, and why it does not.

use crate::words::WORD;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// What a [`ShareableList`](crate::ShareableList) holds at one place.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub enum Item {
    /// Nothing.
    #[default]
    None,
    /// A whole number.
    Int(i64),
    /// A floating-point number.
    Float(f64),
    /// True or false.
    Bool(bool),
    /// Text.
    Str(String),
    /// Bytes; all of them are kept, also NULs at the end.
    Bytes(Vec<u8>),
}

macro_rules! items_from {
    ($($from:ty => $variant:ident),* $(,)?) => {$(
        impl From<$from> for Item {
            fn from(value: $from) -> Self {
                Self::$variant(value.into())
            }
        }
    )*};
}
items_from! {
    i8 => Int, u8 => Int, i16 => Int, u16 => Int, i32 => Int, u32 => Int, i64 => Int,
    f32 => Float, f64 => Float, bool => Bool, &str => Str, String => Str, &[u8] => Bytes,
    Vec<u8> => Bytes,
}

impl<const N: usize> From<&[u8; N]> for Item {
    fn from(bytes: &[u8; N]) -> Self {
        Self::Bytes(bytes.to_vec())
    }
}

impl From<()> for Item {
    fn from((): ()) -> Self {
        Self::None
    }
}

impl<T: Into<Item>> From<Option<T>> for Item {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::None, Into::into)
    }
}

impl Item {
    pub(crate) fn tag(&self) -> u64 {
        match self {
            Self::None => 0,
            Self::Int(_) => 1,
            Self::Float(_) => 2,
            Self::Bool(_) => 3,
            Self::Str(_) => 4,
            Self::Bytes(_) => 5,
        }
    }

    /// Runs `f` on the item's bytes.
    pub(crate) fn bytes<R>(&self, f: impl FnOnce(&[u8]) -> R) -> R {
        match self {
            Self::None => f(&[]),
            Self::Int(n) => f(&n.to_ne_bytes()),
            Self::Float(n) => f(&n.to_ne_bytes()),
            Self::Bool(b) => f(&[(*b).into()]),
            Self::Str(text) => f(text.as_bytes()),
            Self::Bytes(bytes) => f(bytes),
        }
    }

    /// An item from a private copy of its bytes; any bytes give one, or nothing.
    pub(crate) fn from_bytes(tag: u64, bytes: Vec<u8>) -> Option<Self> {
        Some(match (tag, bytes.as_slice()) {
            (0, []) => Self::None,
            (1, n) => Self::Int(i64::from_ne_bytes(n.try_into().ok()?)),
            (2, n) => Self::Float(f64::from_ne_bytes(n.try_into().ok()?)),
            (3, [b @ (0 | 1)]) => Self::Bool(*b == 1),
            (4, _) => Self::Str(String::from_utf8(bytes).ok()?),
            (5, _) => Self::Bytes(bytes),
            _ => return None,
        })
    }

    /// Bytes of the slot that is made for it: a number's at least, and for text and bytes one
    /// more than they have, in whole words.
    pub(crate) fn capacity(&self) -> usize {
        match self {
            Self::Str(text) => (text.len() / WORD + 1) * WORD,
            Self::Bytes(bytes) => (bytes.len() / WORD + 1) * WORD,
            _ => WORD,
        }
    }
}

/// Why there is no item to be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum GetItemError {
    /// The list is not that long.
    #[error("there is no item {index}: the list has {len}")]
    OutOfRange {
        /// The index asked for.
        index: usize,
        /// Items of the list.
        len: usize,
    },
    /// Somebody wrote garbage into the shared memory.
    #[error("item {index} of the list is corrupted")]
    Corrupted {
        /// Its index.
        index: usize,
    },
}

/// Why an item was not written. The list is as it was, and the item comes back.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum SetItemError {
    /// The list is not that long.
    #[error("there is no item {index}: the list has {len}")]
    OutOfRange {
        /// The index asked for.
        index: usize,
        /// Items of the list.
        len: usize,
        /// The item.
        item: Item,
    },
    /// More bytes than the slot has, which the first item in it determined.
    #[error("an item of {bytes} bytes does not fit into the slot at {index}, which has {most}")]
    TooLong {
        /// The index.
        index: usize,
        /// The item.
        item: Item,
        /// Its bytes (of text, in UTF-8).
        bytes: usize,
        /// Bytes of the slot.
        most: usize,
    },
}

/// Why an item was not found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum IndexOfError {
    /// It is not in the list.
    #[error("the item is not in the list")]
    NotInList,
    /// Somebody wrote garbage into the shared memory.
    #[error("item {index} of the list is corrupted")]
    Corrupted {
        /// Its index.
        index: usize,
    },
}
