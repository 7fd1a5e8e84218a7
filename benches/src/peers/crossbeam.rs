//! `crossbeam-channel`, bounded, between threads: what crossing a thread boundary costs.

use crate::channel::{self, Channel, depth};
use crate::ours::Record;
use crate::sys::Res;
use crossbeam_channel::{Receiver, Sender, bounded};
use std::hint::black_box;
use std::marker::PhantomData;

/// Turns a message into what is sent, and back.
pub(crate) trait Load: Send + 'static {
    /// What the channel carries.
    type Item: Send;
    /// Before sending.
    fn pack(message: &[u8]) -> Self::Item;
    /// After receiving.
    fn unpack(item: Self::Item, into: &mut [u8]) -> usize;
}

/// A `u64` by value.
#[derive(Debug)]
pub(crate) struct Word;

/// Copied into a fresh `Vec<u8>` by the sender and out of it by the receiver: the work that a queue between
/// processes has to do.
#[derive(Debug)]
pub(crate) struct Copied;

/// A fresh `Vec<u8>` of that capacity changes hands: only its first word is written and read.
#[derive(Debug)]
pub(crate) struct Moved;

/// A record by value: made by the sender, and moved.
#[derive(Debug)]
pub(crate) struct Whole<T>(PhantomData<T>);

impl Load for Word {
    type Item = u64;

    #[inline]
    fn pack(message: &[u8]) -> u64 {
        u64::from_ne_bytes(message.try_into().expect("eight bytes"))
    }

    #[inline]
    fn unpack(item: u64, into: &mut [u8]) -> usize {
        into[..8].copy_from_slice(&item.to_ne_bytes());
        8
    }
}

impl Load for Copied {
    type Item = Vec<u8>;

    #[inline]
    fn pack(message: &[u8]) -> Vec<u8> {
        message.to_vec()
    }

    #[inline]
    fn unpack(item: Vec<u8>, into: &mut [u8]) -> usize {
        into[..item.len()].copy_from_slice(&item);
        item.len()
    }
}

impl Load for Moved {
    type Item = Vec<u8>;

    #[inline]
    fn pack(message: &[u8]) -> Vec<u8> {
        let mut item = Vec::with_capacity(message.len());
        item.extend_from_slice(&message[..8]);
        item
    }

    #[inline]
    fn unpack(item: Vec<u8>, into: &mut [u8]) -> usize {
        into[..8].copy_from_slice(&item);
        item.capacity()
    }
}

impl<T: Record> Load for Whole<T> {
    type Item = T;

    #[inline]
    fn pack(message: &[u8]) -> T {
        T::new(Word::pack(message))
    }

    #[inline]
    fn unpack(item: T, into: &mut [u8]) -> usize {
        Word::unpack(black_box(item).word(), into)
    }
}

/// A bounded channel that carries `L`.
#[derive(Debug)]
pub(crate) struct Crossbeam<L: Load>(Sender<L::Item>, Receiver<L::Item>);

/// Its sending end.
#[derive(Debug)]
pub(crate) struct Tx<'a, L: Load>(&'a Sender<L::Item>);

/// Its receiving end.
#[derive(Debug)]
pub(crate) struct Rx<'a, L: Load>(&'a Receiver<L::Item>);

impl<L: Load> Channel for Crossbeam<L> {
    type Sender<'a> = Tx<'a, L>;
    type Receiver<'a> = Rx<'a, L>;

    fn create(size: usize) -> Res<Self> {
        let (sender, receiver) = bounded(depth(size));
        Ok(Crossbeam(sender, receiver))
    }

    fn sender(&self) -> Res<Tx<'_, L>> {
        Ok(Tx(&self.0))
    }

    fn receiver(&self) -> Res<Rx<'_, L>> {
        Ok(Rx(&self.1))
    }
}

impl<L: Load> channel::Sender for Tx<'_, L> {
    #[inline]
    fn send(&mut self, message: &[u8]) -> Res {
        self.0
            .send(L::pack(message))
            .map_err(|_| "disconnected".into())
    }
}

impl<L: Load> channel::Receiver for Rx<'_, L> {
    #[inline]
    fn receive(&mut self, into: &mut [u8]) -> Res<usize> {
        Ok(L::unpack(self.0.recv()?, into))
    }
}
