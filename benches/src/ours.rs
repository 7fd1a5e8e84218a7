//! multiproc's own rows: `Queue` with each of its codecs. A plain handle is both ends, and a forked side borrows it.

use crate::channel::{Channel, Receiver, Sender, depth};
use crate::peers::Peer;
use crate::sys::Res;
use multiproc::Queue;
use multiproc::codec::{Bytes, Plain};

/// Our contenders of the queue groups.
pub(crate) fn all() -> Vec<Peer> {
    vec![
        Peer::processes::<PlainWords>("multiproc plain").sizes(8..=8),
        Peer::processes::<SerdeWords>("multiproc serde").sizes(8..=8),
        Peer::processes::<ByteStrings>("multiproc bytes"),
    ]
}

/// `u64`s, stored as they are.
#[derive(Debug)]
struct PlainWords(Queue<u64, Plain>);

/// `u64`s, encoded: what `Queue::<u64>::bounded` gives.
#[derive(Debug)]
struct SerdeWords(Queue<u64>);

/// Byte strings, copied in and copied out into a buffer that is kept.
#[derive(Debug)]
struct ByteStrings(Queue<Vec<u8>, Bytes>);

/// Either end of a [`PlainWords`].
#[derive(Debug)]
struct PlainEnd<'a>(&'a Queue<u64, Plain>);

/// Either end of a [`SerdeWords`].
#[derive(Debug)]
struct SerdeEnd<'a>(&'a Queue<u64>);

/// Either end of a [`ByteStrings`].
#[derive(Debug)]
struct BytesEnd<'a>(&'a Queue<Vec<u8>, Bytes>, Vec<u8>);

impl Channel for PlainWords {
    type Sender<'a> = PlainEnd<'a>;
    type Receiver<'a> = PlainEnd<'a>;

    fn create(size: usize) -> Res<Self> {
        Ok(PlainWords(
            Queue::<u64>::options()
                .codec::<Plain>()
                .capacity(depth(size))
                .build()?,
        ))
    }

    fn sender(&self) -> Res<PlainEnd<'_>> {
        Ok(PlainEnd(&self.0))
    }

    fn receiver(&self) -> Res<PlainEnd<'_>> {
        Ok(PlainEnd(&self.0))
    }
}

impl Channel for SerdeWords {
    type Sender<'a> = SerdeEnd<'a>;
    type Receiver<'a> = SerdeEnd<'a>;

    fn create(size: usize) -> Res<Self> {
        Ok(SerdeWords(Queue::bounded(depth(size))?))
    }

    fn sender(&self) -> Res<SerdeEnd<'_>> {
        Ok(SerdeEnd(&self.0))
    }

    fn receiver(&self) -> Res<SerdeEnd<'_>> {
        Ok(SerdeEnd(&self.0))
    }
}

impl Channel for ByteStrings {
    type Sender<'a> = BytesEnd<'a>;
    type Receiver<'a> = BytesEnd<'a>;

    fn create(size: usize) -> Res<Self> {
        Ok(ByteStrings(
            Queue::<Vec<u8>>::options()
                .codec::<Bytes>()
                .capacity(depth(size))
                .build()?,
        ))
    }

    fn sender(&self) -> Res<BytesEnd<'_>> {
        Ok(BytesEnd(&self.0, Vec::new()))
    }

    fn receiver(&self) -> Res<BytesEnd<'_>> {
        Ok(BytesEnd(&self.0, Vec::new()))
    }
}

impl Sender for PlainEnd<'_> {
    #[inline]
    fn send(&mut self, message: &[u8]) -> Res {
        Ok(self.0.put(u64::from_ne_bytes(message.try_into()?))?)
    }
}

impl Receiver for PlainEnd<'_> {
    #[inline]
    fn receive(&mut self, into: &mut [u8]) -> Res<usize> {
        into[..8].copy_from_slice(&self.0.get()?.to_ne_bytes());
        Ok(8)
    }
}

impl Sender for SerdeEnd<'_> {
    #[inline]
    fn send(&mut self, message: &[u8]) -> Res {
        Ok(self.0.put(u64::from_ne_bytes(message.try_into()?))?)
    }
}

impl Receiver for SerdeEnd<'_> {
    #[inline]
    fn receive(&mut self, into: &mut [u8]) -> Res<usize> {
        into[..8].copy_from_slice(&self.0.get()?.to_ne_bytes());
        Ok(8)
    }
}

impl Sender for BytesEnd<'_> {
    #[inline]
    fn send(&mut self, message: &[u8]) -> Res {
        Ok(self.0.put_from(message)?)
    }
}

impl Receiver for BytesEnd<'_> {
    /// The message stays in our own buffer, where the caller of a queue would use it: a second copy would be the
    /// harness's work, not the queue's. The first word and the length go back for the check.
    #[inline]
    fn receive(&mut self, into: &mut [u8]) -> Res<usize> {
        self.0.get_into(&mut self.1)?;
        into[..8].copy_from_slice(&self.1[..8]);
        Ok(self.1.len())
    }
}
