//! Shared objects as messages: whoever gets one has a handle on the same memory.

use crate::segment::Segment;
use crate::shareable::Shareable;
use crate::shared::Shared;
use multiproc_parcel as parcel;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

/// In place of a name, in errors about what came in a message.
const RECEIVED: &str = "(received)";

impl Segment {
    /// Encloses the segment in the message that this thread encodes.
    ///
    /// # Errors
    ///
    /// The serializer's, if there is no message.
    pub fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        parcel::enclose(self)
            .map_err(|e| parcel::refuse(e, |why| ser::Error::custom(why)))?
            .serialize(serializer)
    }

    /// The segment from the message that this thread decodes, if it holds the `kind` expected.
    ///
    /// # Errors
    ///
    /// The deserializer's: no such descriptor, or another kind.
    pub fn deserialize<'de, D: Deserializer<'de>>(
        kind: &crate::Kind,
        deserializer: D,
    ) -> Result<Self, D::Error> {
        let index = u32::deserialize(deserializer)?;
        let fd = parcel::take(index);
        let fd = fd.map_err(|e| parcel::refuse(e, |why| de::Error::custom(why)))?;
        Self::attach(fd.into(), RECEIVED, kind)
            .map_err(|e| parcel::refuse(e, |why| de::Error::custom(why)))
    }
}

impl<T: Shareable> Serialize for Shared<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.segment().serialize(serializer)
    }
}

impl<'de, T: Shareable> Deserialize<'de> for Shared<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Segment::deserialize(&Self::kind(), deserializer).map(Self::over)
    }
}
