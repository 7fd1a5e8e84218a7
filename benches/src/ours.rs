//! multiproc's own rows: `Queue` with each of its codecs. A plain handle is both ends, and a forked side borrows it.

use crate::channel::{Channel, Receiver, Sender, depth};
use crate::peers::Peer;
use crate::sys::Res;
use multiproc::Queue;
use multiproc::codec::{Bytes, Plain};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::hint::black_box;

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
        Ok(self.0.put_bytes(message)?)
    }
}

impl Receiver for BytesEnd<'_> {
    /// The message stays in our own buffer, where the caller of a queue would use it: a second copy would be the
    /// harness's work, not the queue's. The first word and the length go back for the check.
    #[inline]
    fn receive(&mut self, into: &mut [u8]) -> Res<usize> {
        self.0.get_into_vec(&mut self.1)?;
        into[..8].copy_from_slice(&self.1[..8]);
        Ok(self.1.len())
    }
}

/// Messages in a batch.
const BATCH: usize = 64;

/// `u64`s, stored as they are, put and got in batches.
#[derive(Debug)]
pub(crate) struct Batches(Queue<u64, Plain>);

/// The end of [`Batches`] that collects a batch and puts it.
#[derive(Debug)]
pub(crate) struct BatchSender<'a> {
    queue: &'a Queue<u64, Plain>,
    batch: Vec<u64>,
}

/// The end of [`Batches`] that gets a batch and hands out its messages.
#[derive(Debug)]
pub(crate) struct BatchReceiver<'a> {
    queue: &'a Queue<u64, Plain>,
    batch: std::vec::IntoIter<u64>,
}

impl Channel for Batches {
    type Sender<'a> = BatchSender<'a>;
    type Receiver<'a> = BatchReceiver<'a>;

    fn create(size: usize) -> Res<Self> {
        PlainWords::create(size).map(|PlainWords(queue)| Batches(queue))
    }

    fn sender(&self) -> Res<BatchSender<'_>> {
        Ok(BatchSender {
            queue: &self.0,
            batch: Vec::with_capacity(BATCH),
        })
    }

    fn receiver(&self) -> Res<BatchReceiver<'_>> {
        Ok(BatchReceiver {
            queue: &self.0,
            batch: Vec::new().into_iter(),
        })
    }
}

impl Sender for BatchSender<'_> {
    #[inline]
    fn send(&mut self, message: &[u8]) -> Res {
        self.batch.push(u64::from_ne_bytes(message.try_into()?));
        if self.batch.len() == BATCH {
            self.queue.put_many(self.batch.drain(..))?;
        }
        Ok(())
    }
}

impl Receiver for BatchReceiver<'_> {
    #[inline]
    fn receive(&mut self, into: &mut [u8]) -> Res<usize> {
        let word = loop {
            match self.batch.next() {
                Some(word) => break word,
                None => self.batch = self.queue.get_many(BATCH)?.into_iter(),
            }
        };
        into[..8].copy_from_slice(&word.to_ne_bytes());
        Ok(8)
    }
}

/// Messages of `N` bytes in the queue's own memory, of which the first eight are written and read.
#[derive(Debug)]
pub(crate) struct Loans<const N: usize>(Queue<Vec<u8>, Bytes>);

/// Either end of [`Loans`].
#[derive(Debug)]
pub(crate) struct LoanEnd<'a, const N: usize>(&'a Queue<Vec<u8>, Bytes>);

impl<const N: usize> Channel for Loans<N> {
    type Sender<'a> = LoanEnd<'a, N>;
    type Receiver<'a> = LoanEnd<'a, N>;

    fn create(_size: usize) -> Res<Self> {
        ByteStrings::create(N).map(|ByteStrings(queue)| Loans(queue))
    }

    fn sender(&self) -> Res<LoanEnd<'_, N>> {
        Ok(LoanEnd(&self.0))
    }

    fn receiver(&self) -> Res<LoanEnd<'_, N>> {
        Ok(LoanEnd(&self.0))
    }
}

impl<const N: usize> Sender for LoanEnd<'_, N> {
    #[inline]
    fn send(&mut self, message: &[u8]) -> Res {
        let mut loan = self.0.put_loan(N)?;
        loan[..8].copy_from_slice(message);
        loan.commit();
        Ok(())
    }
}

impl<const N: usize> Receiver for LoanEnd<'_, N> {
    #[inline]
    fn receive(&mut self, into: &mut [u8]) -> Res<usize> {
        let loan = self.0.get_loan()?;
        if loan.len() != N {
            return Err(format!("a loan of {} bytes", loan.len()).into());
        }
        into.copy_from_slice(&loan[..8]);
        loan.done();
        Ok(8)
    }
}

/// A struct that a word becomes on its way.
pub(crate) trait Record: Serialize + DeserializeOwned + Send + 'static {
    /// From the word, all fields.
    fn new(word: u64) -> Self;
    /// The word again.
    fn word(&self) -> u64;
}

/// Five fields of fixed size.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Numbers {
    id: u64,
    time: i64,
    price: f64,
    amount: u32,
    sold: bool,
}

/// Five fields, the last of which is a short text.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct WithText {
    id: u64,
    time: i64,
    price: f64,
    amount: u32,
    name: String,
}

impl Record for Numbers {
    #[inline]
    fn new(word: u64) -> Self {
        Numbers {
            id: word,
            time: -(word as i64),
            price: word as f64 / 100.0,
            amount: word as u32,
            sold: word & 8 != 0,
        }
    }

    #[inline]
    fn word(&self) -> u64 {
        self.id
    }
}

impl Record for WithText {
    #[inline]
    fn new(word: u64) -> Self {
        WithText {
            id: word,
            time: -(word as i64),
            price: word as f64 / 100.0,
            amount: word as u32,
            name: "a short text".to_owned(),
        }
    }

    #[inline]
    fn word(&self) -> u64 {
        self.id
    }
}

/// Records, encoded by serde.
#[derive(Debug)]
pub(crate) struct Records<T>(Queue<T>);

/// Either end of [`Records`].
#[derive(Debug)]
pub(crate) struct RecordEnd<'a, T>(&'a Queue<T>);

impl<T: Record> Channel for Records<T> {
    type Sender<'a> = RecordEnd<'a, T>;
    type Receiver<'a> = RecordEnd<'a, T>;

    fn create(size: usize) -> Res<Self> {
        Ok(Records(Queue::bounded(depth(size))?))
    }

    fn sender(&self) -> Res<RecordEnd<'_, T>> {
        Ok(RecordEnd(&self.0))
    }

    fn receiver(&self) -> Res<RecordEnd<'_, T>> {
        Ok(RecordEnd(&self.0))
    }
}

impl<T: Record> Sender for RecordEnd<'_, T> {
    #[inline]
    fn send(&mut self, message: &[u8]) -> Res {
        let record = T::new(u64::from_ne_bytes(message.try_into()?));
        self.0.put(record).map_err(|error| error.to_string().into())
    }
}

impl<T: Record> Receiver for RecordEnd<'_, T> {
    #[inline]
    fn receive(&mut self, into: &mut [u8]) -> Res<usize> {
        let record = black_box(self.0.get()?); // all fields count as read
        into.copy_from_slice(&record.word().to_ne_bytes());
        Ok(8)
    }
}
