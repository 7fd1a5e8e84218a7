//! `shaq`: queues of values in a shared file, for one producer and one consumer or for many of both.
//!
//! The values here are byte arrays, written and read in their slots: one copy in, one copy out. All contenders poll
//! while there is no room; while there is no message, they poll or, with `SLEEP`, sleep. Its last release for Rust 1.95 is
//! 4.3; from 4.4 on it needs a newer compiler.

use crate::channel::{Again, Channel, Receiver, Sender, depth};
use crate::sys::{self, Res};
use shaq::{mpmc, spsc};
use std::cell::Cell;
use std::fs::File;
use std::mem::MaybeUninit;
use std::num::NonZeroUsize;
use std::os::fd::FromRawFd;
use std::time::Duration;

/// A wait has a limit; then it is repeated.
const WAIT: Duration = Duration::from_secs(1);

/// One producer, one consumer. The parent makes both ends, and each forked side takes its copy of one.
pub(crate) struct Spsc<const N: usize, const SLEEP: bool> {
    producer: Cell<Option<spsc::Producer<[u8; N]>>>,
    consumer: Cell<Option<spsc::Consumer<[u8; N]>>>,
}

/// Many producers and consumers.
pub(crate) struct Mpmc<const N: usize, const SLEEP: bool> {
    producer: mpmc::Producer<[u8; N]>,
    consumer: mpmc::Consumer<[u8; N]>,
}

/// The end that sends to an [`Spsc`].
pub(crate) struct SpscSender<const N: usize>(spsc::Producer<[u8; N]>);

/// The end that receives from an [`Spsc`].
pub(crate) struct SpscReceiver<const N: usize, const SLEEP: bool>(spsc::Consumer<[u8; N]>);

/// The end that sends to an [`Mpmc`].
pub(crate) struct MpmcSender<'a, const N: usize>(&'a mpmc::Producer<[u8; N]>);

/// The end that receives from an [`Mpmc`].
pub(crate) struct MpmcReceiver<'a, const N: usize, const SLEEP: bool>(&'a mpmc::Consumer<[u8; N]>);

impl<const N: usize, const SLEEP: bool> Channel for Spsc<N, SLEEP> {
    type Sender<'a> = SpscSender<N>;
    type Receiver<'a> = SpscReceiver<N, SLEEP>;

    fn create(_size: usize) -> Res<Self> {
        let size = spsc::minimum_file_size::<[u8; N]>(depth(N));
        // SAFETY: the file is fresh and initialised here only; bytes are valid in every process.
        let producer = unsafe { spsc::Producer::create(&memory()?, size) }?;
        // SAFETY: the only consumer.
        let consumer = unsafe { producer.join_as_consumer() }?;
        Ok(Spsc {
            producer: Cell::new(Some(producer)),
            consumer: Cell::new(Some(consumer)),
        })
    }

    fn sender(&self) -> Res<SpscSender<N>> {
        Ok(SpscSender(self.producer.take().ok_or("taken already")?))
    }

    fn receiver(&self) -> Res<SpscReceiver<N, SLEEP>> {
        Ok(SpscReceiver(self.consumer.take().ok_or("taken already")?))
    }
}

impl<const N: usize, const SLEEP: bool> Channel for Mpmc<N, SLEEP> {
    type Sender<'a> = MpmcSender<'a, N>;
    type Receiver<'a> = MpmcReceiver<'a, N, SLEEP>;

    fn create(_size: usize) -> Res<Self> {
        let size = mpmc::minimum_file_size::<[u8; N]>(depth(N));
        // SAFETY: the file is fresh and initialised here only; bytes are valid in every process.
        let producer = unsafe { mpmc::Producer::create(&memory()?, size) }?;
        let consumer = producer.join_as_consumer();
        Ok(Mpmc { producer, consumer })
    }

    fn sender(&self) -> Res<MpmcSender<'_, N>> {
        Ok(MpmcSender(&self.producer))
    }

    fn receiver(&self) -> Res<MpmcReceiver<'_, N, SLEEP>> {
        Ok(MpmcReceiver(&self.consumer))
    }
}

/// An empty file in memory that has no name.
fn memory() -> Res<File> {
    // SAFETY: the name is a string that ends with a zero.
    let fd = unsafe { libc::memfd_create(c"shaq".as_ptr(), libc::MFD_CLOEXEC) };
    sys::check(fd)?;
    // SAFETY: fresh, and owned by nobody else.
    Ok(unsafe { File::from_raw_fd(fd) })
}

/// Writes the message into its slot.
#[inline]
fn fill<const N: usize>(slot: &mut MaybeUninit<[u8; N]>, message: &[u8]) {
    assert!(message.len() == N);
    // SAFETY: both have `N` bytes, and the slot is borrowed mutably.
    unsafe {
        slot.as_mut_ptr()
            .cast::<u8>()
            .copy_from_nonoverlapping(message.as_ptr(), N)
    };
}

impl<const N: usize> Sender for SpscSender<N> {
    #[inline]
    fn send(&mut self, message: &[u8]) -> Res {
        assert!(message.len() == N);
        let mut again = Again::default();
        loop {
            let mut batch = self.0.write_batch();
            // SAFETY: filled before the batch is dropped; the length was checked.
            match unsafe { batch.try_as_mut() } {
                Some(slot) => {
                    fill(slot, message);
                    return Ok(());
                }
                None => again.pause(),
            }
        }
    }
}

impl<const N: usize, const SLEEP: bool> Receiver for SpscReceiver<N, SLEEP> {
    #[inline]
    fn receive(&mut self, into: &mut [u8]) -> Res<usize> {
        let mut again = Again::default();
        loop {
            let batch = if SLEEP {
                self.0
                    .reserve_read_batch_timeout(NonZeroUsize::MIN, WAIT)
                    .ok()
            } else {
                self.0.try_reserve_read_batch(NonZeroUsize::MIN)
            };
            if let Some(batch) = batch {
                into.copy_from_slice(&batch[0]);
                return Ok(N);
            }
            again.pause();
        }
    }
}

impl<const N: usize> Sender for MpmcSender<'_, N> {
    #[inline]
    fn send(&mut self, message: &[u8]) -> Res {
        assert!(message.len() == N);
        let mut again = Again::default();
        loop {
            // SAFETY: filled before the guard is dropped; the length was checked.
            match unsafe { self.0.try_reserve_write() } {
                Some(mut guard) => {
                    fill(guard.as_mut(), message);
                    return Ok(());
                }
                None => again.pause(),
            }
        }
    }
}

impl<const N: usize, const SLEEP: bool> Receiver for MpmcReceiver<'_, N, SLEEP> {
    #[inline]
    fn receive(&mut self, into: &mut [u8]) -> Res<usize> {
        let mut again = Again::default();
        loop {
            let guard = if SLEEP {
                self.0.reserve_read_timeout(WAIT).ok()
            } else {
                self.0.try_reserve_read()
            };
            if let Some(guard) = guard {
                into.copy_from_slice(guard.as_ref());
                return Ok(N);
            }
            again.pause();
        }
    }
}
