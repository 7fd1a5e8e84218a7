//! Queues as messages: whoever gets one uses the same queue.
//!
//! What travels are the descriptors of its memory and of its courier, and for a registered end a
//! slot that the receiver takes over. A sender that dies before the message is taken does not
//! matter to a [`Queue`]; a registered end is closed then, as its others are.

use crate::codec::Codec;
use crate::ends::{Consumer, Producer};
use crate::joinable::JoinableQueue;
use crate::options::tag_of;
use crate::queue::Queue;
use crate::simple::SimpleQueue;
use multiproc_message::ends::{Reader, RingParts, SlotParts, Writer, no_de, no_ser};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The tag says what the messages are. A user's own name for them is believed.
#[derive(Serialize, Deserialize)]
struct Parts {
    ring: RingParts,
    named_by_user: bool,
}

impl<T, C: Codec<T>> Serialize for Queue<T, C> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let ring = RingParts::enclose(&self.ring).map_err(no_ser)?;
        let named_by_user = ring.tag() != tag_of::<T, C>(None);
        Parts {
            ring,
            named_by_user,
        }
        .serialize(serializer)
    }
}

impl<'de, T, C: Codec<T>> Deserialize<'de> for Queue<T, C> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let parts = Parts::deserialize(deserializer)?;
        let (tag, mine) = (parts.ring.tag(), tag_of::<T, C>(None));
        if !parts.named_by_user && tag != mine {
            return Err(no_de(format_args!("{tag} came where {mine} was expected")));
        }
        if parts.ring.place() != (0, 0) {
            return Err(no_de("a pipe came where a queue was expected"));
        }
        parts.ring.ring().map(Self::new).map_err(no_de)
    }
}

macro_rules! end {
    ($name:ident, $end:ident) => {
        impl<T, C: Codec<T>> Serialize for $name<T, C> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let slot = self.end().enclose().map_err(no_ser)?;
                (self.queue(), slot).serialize(serializer)
            }
        }

        impl<'de, T, C: Codec<T>> Deserialize<'de> for $name<T, C> {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let (queue, slot) = <(Queue<T, C>, SlotParts)>::deserialize(deserializer)?;
                let end = $end::arrive(queue.ring.clone(), slot).map_err(no_de)?;
                Ok(Self::arrived(queue, end))
            }
        }
    };
}
end!(Producer, Writer);
end!(Consumer, Reader);

impl<T, C: Codec<T>> Serialize for JoinableQueue<T, C> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.queue(), self.redelivers_on_panic()).serialize(serializer)
    }
}

impl<'de, T, C: Codec<T>> Deserialize<'de> for JoinableQueue<T, C> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (queue, redeliver) = <(Queue<T, C>, bool)>::deserialize(deserializer)?;
        Ok(Self::from(queue).redeliver_on_panic(redeliver))
    }
}

impl<T, C: Codec<T>> Serialize for SimpleQueue<T, C> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.queue().serialize(serializer)
    }
}

impl<'de, T, C: Codec<T>> Deserialize<'de> for SimpleQueue<T, C> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Queue::deserialize(deserializer).map(Self::from)
    }
}
