//! `cloudtoid-interprocess`: byte messages through shared memory, many publishers and subscribers.
//!
//! There is no send that blocks, so a full queue is asked [`Again`]. `recv`, which sleeps, hands out a fresh `Vec`, of
//! which only the first word is copied on; polling receives into the caller's buffer.

use crate::channel::{self, Again, Channel, depth};
use crate::sys::{self, Res};
use cloudtoid_interprocess::{Error, Options, Publisher, Subscriber};

/// Where a queue is. Each side opens it for itself.
#[derive(Debug)]
pub(crate) struct Queue<const SLEEP: bool>(Options);

/// The sending end.
#[derive(Debug)]
pub(crate) struct Tx(Publisher);

/// The receiving end.
#[derive(Debug)]
pub(crate) struct Rx<const SLEEP: bool>(Subscriber);

impl<const SLEEP: bool> Channel for Queue<SLEEP> {
    type Sender<'a> = Tx;
    type Receiver<'a> = Rx<SLEEP>;

    fn create(size: usize) -> Res<Self> {
        // A record is the message and eight bytes before it, both padded to eight.
        let capacity = depth(size) * (8 + size.next_multiple_of(8));
        let name = sys::name();
        let folder = sys::shared_memory().join(&name);
        Ok(Queue(Options::new(name, capacity).with_path(folder)))
    }

    fn sender(&self) -> Res<Tx> {
        Ok(Tx(Publisher::open(&self.0)?))
    }

    fn receiver(&self) -> Res<Rx<SLEEP>> {
        Ok(Rx(Subscriber::open(&self.0)?))
    }
}

impl channel::Sender for Tx {
    #[inline]
    fn send(&mut self, message: &[u8]) -> Res {
        let mut again = Again::default();
        loop {
            match self.0.try_send(message) {
                Err(Error::Full) => again.pause(),
                done => return Ok(done?),
            }
        }
    }
}

impl<const SLEEP: bool> channel::Receiver for Rx<SLEEP> {
    #[inline]
    fn receive(&mut self, into: &mut [u8]) -> Res<usize> {
        if SLEEP {
            let message = self.0.recv()?;
            into[..8].copy_from_slice(&message[..8]);
            return Ok(message.len());
        }
        let mut again = Again::default();
        loop {
            match self.0.try_recv_into(into)? {
                Some(len) => return Ok(len),
                None => again.pause(),
            }
        }
    }
}
