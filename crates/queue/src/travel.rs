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
use multiproc_core::ends::{End, Ends, Ticket};
use multiproc_parcel as parcel;
use multiproc_ring::Ring;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

/// Indices of descriptors, and the tag where it is not the types' own.
#[derive(Serialize, Deserialize)]
struct Parts {
    segment: u32,
    courier: Option<u32>,
    tag: Option<String>,
}

fn no_ser<E: ser::Error>(why: impl std::fmt::Display) -> E {
    parcel::refuse(why, |why| E::custom(why))
}

fn no_de<E: de::Error>(why: impl std::fmt::Display) -> E {
    parcel::refuse(why, |why| E::custom(why))
}

impl<T, C: Codec<T>> Serialize for Queue<T, C> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let tag = &self.ring.segment().kind().tag;
        let courier = self.ring.courier().map(parcel::enclose).transpose();
        Parts {
            segment: parcel::enclose(self.ring.segment()).map_err(no_ser)?,
            courier: courier.map_err(no_ser)?,
            tag: (*tag != tag_of::<T, C>(None)).then(|| tag.clone()),
        }
        .serialize(serializer)
    }
}

impl<'de, T, C: Codec<T>> Deserialize<'de> for Queue<T, C> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let parts = Parts::deserialize(deserializer)?;
        let segment = parcel::take(parts.segment).map_err(no_de)?;
        let courier = parts.courier.map(parcel::take).transpose();
        let tag = parts.tag.unwrap_or_else(|| tag_of::<T, C>(None));
        let ring = Ring::attach(segment, courier.map_err(no_de)?, &tag).map_err(no_de)?;
        Ok(Self::new(ring))
    }
}

/// A registered end: its queue, and the slot.
fn serialize_end<T: 'static, C: Codec<T>, S: Serializer>(
    queue: &Queue<T, C>,
    end: &End,
    ends: fn(&Ring) -> &Ends,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let ticket = end.travel(ends(&queue.ring)).map_err(no_ser)?;
    let ring = queue.ring.clone();
    let promised = parcel::on_return(move || {
        End::stay(ends(&ring), ticket);
        ring.ring_all();
    });
    if let Err(why) = promised {
        End::stay(ends(&queue.ring), ticket);
        return Err(no_ser(why));
    }
    (queue, ticket.index, ticket.generation, ticket.owner).serialize(serializer)
}

fn deserialize_end<'de, T, C: Codec<T>, D: Deserializer<'de>>(
    ends: fn(&Ring) -> &Ends,
    deserializer: D,
) -> Result<(Queue<T, C>, End), D::Error> {
    let (queue, index, generation, owner) =
        <(Queue<T, C>, u32, u64, u64)>::deserialize(deserializer)?;
    let ticket = Ticket {
        index,
        generation,
        owner,
    };
    let end = End::arrive(ends(&queue.ring), ticket).map_err(no_de)?;
    Ok((queue, end))
}

impl<T: 'static, C: Codec<T>> Serialize for Producer<T, C> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize_end(self.queue(), self.end(), Ring::writers, serializer)
    }
}

impl<'de, T, C: Codec<T>> Deserialize<'de> for Producer<T, C> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (queue, end) = deserialize_end(Ring::writers, deserializer)?;
        Ok(Self::arrived(queue, end))
    }
}

impl<T: 'static, C: Codec<T>> Serialize for Consumer<T, C> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize_end(self.queue(), self.end(), Ring::readers, serializer)
    }
}

impl<'de, T, C: Codec<T>> Deserialize<'de> for Consumer<T, C> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (queue, end) = deserialize_end(Ring::readers, deserializer)?;
        Ok(Self::arrived(queue, end))
    }
}

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
        Queue::deserialize(deserializer).map(Self::over)
    }
}
