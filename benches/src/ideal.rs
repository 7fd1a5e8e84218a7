//! The limit: a ring between one producing and one consuming process that both poll.
//!
//! ```text
//!   0       tail     written by the producer
//!   256     head     written by the consumer
//!   512     data     a power of two bytes
//! ```
//!
//! [`Bytes`] holds records {length, payload padded to eight bytes}, copied in and copied out, wrapping in the middle
//! where it must. [`Words`] holds bare `u64`s and publishes its position every `BATCH` of them. Each side keeps its
//! own position in a register and a stale copy of the other's, which it refreshes only when that no longer lets it
//! go on: so the cache lines move once per many messages.
//!
//! What it does *not* do, and what a queue must pay for: sleep and wake, more than one producer or consumer,
//! survive a killed process, tell that the other end is gone, check what it reads against its own bounds, carry
//! messages larger than itself, live under a name.

use crate::channel::{Channel, Receiver, Sender};
use crate::sys::{Mapping, Res};
use std::hint::spin_loop;
use std::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Release},
};

const HEAD: usize = 256;
const DATA: usize = 512;

/// Words in a [`Words`] ring.
const WORDS: u64 = 1024;

#[derive(Debug)]
struct Ring {
    map: Mapping,
    /// Bytes of data, a power of two, at least 8.
    capacity: usize,
}

impl Ring {
    fn new(capacity: usize) -> Res<Self> {
        assert!(capacity.is_power_of_two() && capacity >= 8);
        Ok(Ring {
            map: Mapping::new(DATA + capacity)?,
            capacity,
        })
    }

    fn tail(&self) -> &AtomicU64 {
        // SAFETY: the start of the mapping is aligned, and accessed as this atomic only.
        unsafe { self.map.start().cast().as_ref() }
    }

    fn head(&self) -> &AtomicU64 {
        // SAFETY: inside the mapping, aligned, and accessed as this atomic only.
        unsafe { self.map.start().add(HEAD).cast().as_ref() }
    }

    /// The data at position `at`, and how many bytes follow before the ring wraps.
    fn data(&self, at: u64) -> (*mut u8, usize) {
        let offset = at as usize & (self.capacity - 1);
        // SAFETY: `offset < capacity`, and the mapping has `DATA + capacity` bytes.
        (
            unsafe { self.map.start().as_ptr().add(DATA + offset) },
            self.capacity - offset,
        )
    }
}

/// Bytes a record takes: its length, then the payload, padded.
fn record(len: usize) -> u64 {
    8 + len.next_multiple_of(8) as u64
}

/// A ring of byte records.
#[derive(Debug)]
pub(crate) struct Bytes(Ring);

/// The producer of a [`Bytes`] ring.
#[derive(Debug)]
pub(crate) struct BytesSender<'a> {
    ring: &'a Ring,
    tail: u64,
    head: u64,
}

/// The consumer of a [`Bytes`] ring.
#[derive(Debug)]
pub(crate) struct BytesReceiver<'a> {
    ring: &'a Ring,
    head: u64,
    tail: u64,
}

impl Channel for Bytes {
    type Sender<'a> = BytesSender<'a>;
    type Receiver<'a> = BytesReceiver<'a>;

    fn create(size: usize) -> Res<Self> {
        // Room for three: one going in, one coming out, one in between.
        let capacity = (3 * record(size) as usize)
            .next_power_of_two()
            .max(64 << 10);
        Ring::new(capacity).map(Bytes)
    }

    fn sender(&self) -> Res<BytesSender<'_>> {
        Ok(BytesSender {
            ring: &self.0,
            tail: 0,
            head: 0,
        })
    }

    fn receiver(&self) -> Res<BytesReceiver<'_>> {
        Ok(BytesReceiver {
            ring: &self.0,
            head: 0,
            tail: 0,
        })
    }
}

impl Sender for BytesSender<'_> {
    #[inline]
    fn send(&mut self, message: &[u8]) -> Res {
        let end = self.tail + record(message.len());
        while end - self.head > self.ring.capacity as u64 {
            // PAIRS ideal-consumed: the Release store in `receive`. The consumer's reads of these bytes are over.
            self.head = self.ring.head().load(Acquire);
            if end - self.head > self.ring.capacity as u64 {
                spin_loop();
            }
        }
        let (header, _) = self.ring.data(self.tail);
        let (payload, straight) = self.ring.data(self.tail + 8);
        let (start, _) = self.ring.data(0);
        let first = message.len().min(straight);
        // SAFETY: `[tail, end)` is free by the loop above and ours alone until published below. The header does not
        // wrap, as positions are multiples of eight; `first` ends where the ring does, and the rest fits at its start.
        unsafe {
            header.cast::<u64>().write(message.len() as u64);
            payload.copy_from_nonoverlapping(message.as_ptr(), first);
            start.copy_from_nonoverlapping(message.as_ptr().add(first), message.len() - first);
        }
        self.tail = end;
        // PAIRS ideal-published. Release: whoever sees this tail sees the record.
        self.ring.tail().store(end, Release);
        Ok(())
    }
}

impl Receiver for BytesReceiver<'_> {
    #[inline]
    fn receive(&mut self, into: &mut [u8]) -> Res<usize> {
        while self.head == self.tail {
            // PAIRS ideal-published: the Release store in `send`.
            self.tail = self.ring.tail().load(Acquire);
            if self.head == self.tail {
                spin_loop();
            }
        }
        let (header, _) = self.ring.data(self.head);
        let (payload, straight) = self.ring.data(self.head + 8);
        let (start, _) = self.ring.data(0);
        // SAFETY: a published record starts at `head`; the header does not wrap.
        let len = unsafe { header.cast::<u64>().read() } as usize;
        assert!(len <= into.len() && record(len) <= self.ring.capacity as u64);
        let first = len.min(straight);
        // SAFETY: `len` bytes are published and not reused before the store below; they wrap after `straight`; and
        // they fit `into` and the ring by the assertion, even if the length is garbage.
        unsafe {
            into.as_mut_ptr().copy_from_nonoverlapping(payload, first);
            into.as_mut_ptr()
                .add(first)
                .copy_from_nonoverlapping(start, len - first);
        }
        self.head += record(len);
        // PAIRS ideal-consumed. Release: our reads are over before the producer sees this head.
        self.ring.head().store(self.head, Release);
        Ok(len)
    }
}

/// A ring of `u64`s; positions count words.
#[derive(Debug)]
pub(crate) struct Words<const BATCH: u64>(Ring);

/// The producer of a [`Words`] ring.
#[derive(Debug)]
pub(crate) struct WordsSender<'a, const BATCH: u64> {
    ring: &'a Ring,
    tail: u64,
    head: u64,
}

/// The consumer of a [`Words`] ring.
#[derive(Debug)]
pub(crate) struct WordsReceiver<'a, const BATCH: u64> {
    ring: &'a Ring,
    head: u64,
    tail: u64,
}

impl<const BATCH: u64> Channel for Words<BATCH> {
    type Sender<'a> = WordsSender<'a, BATCH>;
    type Receiver<'a> = WordsReceiver<'a, BATCH>;

    fn create(_size: usize) -> Res<Self> {
        // Then a full ring and an empty one are both seen at the end of a batch, when everything is published.
        const { assert!(WORDS.is_multiple_of(BATCH)) };
        Ring::new(WORDS as usize * 8).map(Words)
    }

    fn sender(&self) -> Res<WordsSender<'_, BATCH>> {
        Ok(WordsSender {
            ring: &self.0,
            tail: 0,
            head: 0,
        })
    }

    fn receiver(&self) -> Res<WordsReceiver<'_, BATCH>> {
        Ok(WordsReceiver {
            ring: &self.0,
            head: 0,
            tail: 0,
        })
    }
}

impl<const BATCH: u64> Sender for WordsSender<'_, BATCH> {
    #[inline]
    fn send(&mut self, message: &[u8]) -> Res {
        let word = u64::from_ne_bytes(message.try_into()?);
        while self.tail - self.head == WORDS {
            // PAIRS ideal-words-consumed.
            self.head = self.ring.head().load(Acquire);
            if self.tail - self.head == WORDS {
                spin_loop();
            }
        }
        let (slot, _) = self.ring.data(self.tail % WORDS * 8);
        // SAFETY: the slot is in the ring, aligned, and free by the loop above.
        unsafe { slot.cast::<u64>().write(word) };
        self.tail += 1;
        if self.tail.is_multiple_of(BATCH) {
            // PAIRS ideal-words-published. Release: whoever sees this tail sees the words.
            self.ring.tail().store(self.tail, Release);
        }
        Ok(())
    }
}

impl<const BATCH: u64> Receiver for WordsReceiver<'_, BATCH> {
    #[inline]
    fn receive(&mut self, into: &mut [u8]) -> Res<usize> {
        while self.head == self.tail {
            // PAIRS ideal-words-published.
            self.tail = self.ring.tail().load(Acquire);
            if self.head == self.tail {
                spin_loop();
            }
        }
        let (slot, _) = self.ring.data(self.head % WORDS * 8);
        // SAFETY: the slot is in the ring, aligned, and published.
        let word = unsafe { slot.cast::<u64>().read() };
        self.head += 1;
        if self.head.is_multiple_of(BATCH) {
            // PAIRS ideal-words-consumed. Release: our reads are over before the producer sees this head.
            self.ring.head().store(self.head, Release);
        }
        into[..8].copy_from_slice(&word.to_ne_bytes());
        Ok(8)
    }
}
