//! Values, arrays, memory and lists as messages: whoever gets one has a handle on the same object.
//!
//! What travels is the descriptor of its segment, and that of the lock that was given, if one was.
//! The receiver checks what it got as `open` does: the tag, the layout, the size.
//!
//! If a process dies here: the sender of a message that nobody has taken yet does not matter, as
//! the message keeps the descriptors; nothing else is shared.

use crate::array::{self, Array};
use crate::cells::{Cells, GivenLock, Plain, Settings};
use crate::list::ShareableList;
use crate::memory::{self, SharedMemory};
use crate::raw::{RawArray, RawValue};
use crate::value::{self, Value};
use multiproc_parcel as parcel;
use multiproc_segment::{Kind, Segment};
use serde::de::{self, IntoDeserializer};
use serde::{Deserialize, Deserializer, Serialize, Serializer, ser};
use std::fmt;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// In place of a name, in errors about what came in a message.
const RECEIVED: &str = "(received)";

fn no_de<E: de::Error>(why: impl fmt::Display) -> E {
    parcel::refuse(why, |why| E::custom(why))
}

/// A segment as one part of a message among others.
struct Enclosed<'a>(&'a Segment);

impl Serialize for Enclosed<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

/// The segment of an [`Enclosed`], if it is of this kind.
fn received<E: de::Error>(kind: &Kind, index: u32) -> Result<Segment, E> {
    Segment::deserialize(kind, index.into_deserializer())
}

impl<T: Plain> Cells<T> {
    fn send<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (Enclosed(&self.segment), &self.lock).serialize(serializer)
    }

    fn receive<'de, D: Deserializer<'de>>(
        what: &str,
        fixed_items: usize,
        deserializer: D,
    ) -> Result<Self, D::Error> {
        let (index, lock) = <(u32, Option<GivenLock>)>::deserialize(deserializer)?;
        let settings = Settings {
            lock,
            ..Settings::default()
        };
        // The tag names the file of the lock: another lock than the maker's does not fit.
        let kind = Self::kind(what, &settings, fixed_items).map_err(no_de)?;
        let segment = received(&kind, index)?;
        Self::checked(segment, RECEIVED, &settings, fixed_items).map_err(no_de)
    }
}

impl<T: Plain> Serialize for Value<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.send(serializer)
    }
}

impl<'de, T: Plain> Deserialize<'de> for Value<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cells::receive(value::WHAT, 1, deserializer).map(Self)
    }
}

impl<T: Plain> Serialize for Array<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.send(serializer)
    }
}

impl<'de, T: Plain> Deserialize<'de> for Array<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cells::receive(array::WHAT, 0, deserializer).map(Self)
    }
}

impl<T: FromBytes + IntoBytes + Immutable> Serialize for RawArray<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.segment.serialize(serializer)
    }
}

impl<'de, T: FromBytes + IntoBytes + Immutable> Deserialize<'de> for RawArray<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Segment::deserialize(&Self::kind("RawArray", 0), deserializer).map(Self::over)
    }
}

impl<T: FromBytes + IntoBytes + Immutable> Serialize for RawValue<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.segment.serialize(serializer)
    }
}

impl<'de, T: FromBytes + IntoBytes + Immutable> Deserialize<'de> for RawValue<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let segment = Segment::deserialize(&Self::kind(), deserializer)?;
        Ok(Self(RawArray::over(segment)))
    }
}

/// Its name goes with it.
impl Serialize for SharedMemory {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Some(segment) = self.segment() else {
            const WHY: &str =
                "memory of the package shared_memory travels by its id, not as a handle";
            return Err(parcel::refuse(WHY, |why| ser::Error::custom(why)));
        };
        (Enclosed(segment), self.name()).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for SharedMemory {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (index, name) = <(u32, Option<String>)>::deserialize(deserializer)?;
        Ok(Self::over(
            received(&memory::kind(), index)?,
            name.as_deref(),
        ))
    }
}

impl Serialize for ShareableList {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.segment().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for ShareableList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let segment = Segment::deserialize(&Self::kind(), deserializer)?;
        Self::checked(segment, RECEIVED).map_err(no_de)
    }
}
