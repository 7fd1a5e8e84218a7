//! Connections as messages: the receiver has the end then.
//!
//! What travels are the descriptors of the pipe's memory and couriers, which of its rings this
//! end uses, and a slot of its own in their tables, which the receiver takes over. A sender that
//! dies before that has closed the end.

use crate::codec::Codec;
use crate::connection::Connection;
use crate::ends::{Receiver, Sender};
use crate::options::message_tag;
use multiproc_message::ends::{Reader, RingParts, SlotParts, Writer, no_de, no_ser};
use multiproc_ring::Ring;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The ring of a direction whose messages are `T`.
fn direction<T, C: Codec<T>>(parts: RingParts) -> Result<Ring, String> {
    let (nth, of) = parts.place();
    let mine = message_tag::<T, C>();
    let theirs = parts.tag().strip_prefix("Pipe: ");
    let theirs = theirs.and_then(|all| all.split(" | ").nth(nth.into()));
    match theirs {
        Some(theirs) if of > 0 && theirs == mine => parts.ring(),
        _ => Err(format!("{} came where {mine} was expected", parts.tag())),
    }
}

macro_rules! one_way {
    ($name:ident, $end:ident) => {
        impl<T, C: Codec<T>> Serialize for $name<T, C> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let end = self.end().map_err(no_ser)?;
                let parts = RingParts::enclose(end.ring()).map_err(no_ser)?;
                let slot = end.enclose().map_err(no_ser)?;
                (parts, slot).serialize(serializer)
            }
        }

        impl<'de, T, C: Codec<T>> Deserialize<'de> for $name<T, C> {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let (parts, slot) = <(RingParts, SlotParts)>::deserialize(deserializer)?;
                let ring = direction::<T, C>(parts).map_err(no_de)?;
                $end::arrive(ring, slot).map(Self::new).map_err(no_de)
            }
        }
    };
}
one_way!(Sender, Writer);
one_way!(Receiver, Reader);

impl<S, R, C: Codec<S> + Codec<R>> Serialize for Connection<S, R, C> {
    fn serialize<Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
        (self.sender(), self.receiver()).serialize(serializer)
    }
}

impl<'de, S, R, C: Codec<S> + Codec<R>> Deserialize<'de> for Connection<S, R, C> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (sender, receiver) = <(Sender<S, C>, Receiver<R, C>)>::deserialize(deserializer)?;
        Ok(Self::new(sender, receiver))
    }
}
