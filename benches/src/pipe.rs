//! The groups `pipe-oneway` and `pipe-roundtrip`: connections as `Pipe::simplex` and `Pipe::duplex` give them.

use crate::channel::{Channel, Receiver, Sender};
use crate::harness::{Contender, Group, Measure, Place, Row};
use crate::peers::{self, Peer};
use crate::sys::Res;
use multiproc::codec::{Bytes, Plain, Serde};
use multiproc::{self as mp, Pipe};
use std::marker::PhantomData;

const KIB: usize = 1 << 10;
const SIZES: [usize; 4] = [8, KIB, 64 * KIB, KIB * KIB];

/// Both groups.
pub(crate) fn groups() -> Vec<Group> {
    // Whoever is no pipe: queues for many, and those that have a row of their own there.
    let not_here =
        |who: &str| who.contains("MPMC") || who.contains("cloudtoid") || who == "python Queue";
    let peers = peers::all().into_iter().filter(|peer| !not_here(peer.who));
    let peers: Vec<Peer> = ours().into_iter().chain(peers).collect();

    let row = |what, size: usize, place, unit, bases, pick: fn(&Peer) -> Option<Measure>| Row {
        what,
        size,
        place,
        unit,
        bases,
        contenders: (peers.iter().filter(|peer| peer.sizes.contains(&size)))
            .filter_map(|peer| {
                Some(Contender {
                    who: peer.who,
                    measure: pick(peer)?,
                })
            })
            .collect(),
    };
    let mut one_way = Vec::new();
    let mut round_trip = Vec::new();
    for place in [Place::Pinned, Place::Free] {
        for size in SIZES {
            let bases = &["ideal bytes", "pipe"];
            one_way.push(row("one way", size, place, "msg/s", bases, |peer| {
                peer.one_to_one
            }));
            round_trip.push(row("awake", size, place, "us", bases, |peer| peer.awake));
        }
        for size in [8, KIB] {
            let bases = &["futex", "pipe"];
            round_trip.push(row("asleep", size, place, "us", bases, |peer| peer.asleep));
        }
    }
    vec![
        Group {
            name: "pipe-oneway",
            about: "messages from one end of a pipe to the other, as fast as they go",
            rows: one_way,
        },
        Group {
            name: "pipe-roundtrip",
            about: "there and back through pipes; asleep: the other side sleeps when the message comes",
            rows: round_trip,
        },
    ]
}

/// Our contenders: bytes copied in and out at any size, what has a type where it fits on a stack, loans.
fn ours() -> Vec<Peer> {
    let ours = |peer: Peer| peer.exclusive();
    vec![
        ours(Peer::processes::<ByteStrings>("multiproc bytes")),
        ours(Peer::processes::<Typed<u64, Plain>>("multiproc plain")).sizes(8..=8),
        ours(Peer::processes::<Typed<[u8; KIB], Plain>>(
            "multiproc plain",
        ))
        .sizes(KIB..=KIB),
        ours(Peer::processes::<Typed<u64, Serde>>("multiproc serde")).sizes(8..=8),
        ours(Peer::processes::<Loans>("multiproc loans")),
    ]
}

/// A number by serde, as a pool's arguments and results travel.
pub(crate) fn number() -> Peer {
    Peer::processes::<Typed<u64, Serde>>("multiproc Pipe")
}

/// Byte strings, copied in, and copied out into a buffer that is kept.
#[derive(Debug)]
struct ByteStrings(mp::Receiver<Vec<u8>, Bytes>, mp::Sender<Vec<u8>, Bytes>);

/// The end of [`ByteStrings`] that sends.
#[derive(Debug)]
struct BytesSender<'a>(&'a mp::Sender<Vec<u8>, Bytes>);

/// The end of [`ByteStrings`] that receives.
#[derive(Debug)]
struct BytesReceiver<'a>(&'a mp::Receiver<Vec<u8>, Bytes>, Vec<u8>);

impl Channel for ByteStrings {
    type Sender<'a> = BytesSender<'a>;
    type Receiver<'a> = BytesReceiver<'a>;

    fn create(_size: usize) -> Res<Self> {
        let (receiver, sender) = Pipe::<Vec<u8>>::options().codec::<Bytes>().simplex()?;
        Ok(ByteStrings(receiver, sender))
    }

    fn sender(&self) -> Res<BytesSender<'_>> {
        Ok(BytesSender(&self.1))
    }

    fn receiver(&self) -> Res<BytesReceiver<'_>> {
        Ok(BytesReceiver(&self.0, Vec::new()))
    }
}

impl Sender for BytesSender<'_> {
    #[inline]
    fn send(&mut self, message: &[u8]) -> Res {
        Ok(self.0.send_bytes(message)?)
    }
}

impl Receiver for BytesReceiver<'_> {
    /// The message stays in our own buffer, as for queues: a second copy would be the harness's work.
    #[inline]
    fn receive(&mut self, into: &mut [u8]) -> Res<usize> {
        self.0.recv_into_vec(&mut self.1)?;
        into[..8].copy_from_slice(&self.1[..8]);
        Ok(self.1.len())
    }
}

/// A message with a type: made of bytes, and bytes again.
trait Message: Sized {
    fn of(bytes: &[u8]) -> Res<Self>;
    fn into(self, bytes: &mut [u8]) -> usize;
}

impl Message for u64 {
    #[inline]
    fn of(bytes: &[u8]) -> Res<u64> {
        Ok(u64::from_ne_bytes(bytes.try_into()?))
    }

    #[inline]
    fn into(self, bytes: &mut [u8]) -> usize {
        bytes[..8].copy_from_slice(&self.to_ne_bytes());
        8
    }
}

impl<const N: usize> Message for [u8; N] {
    #[inline]
    fn of(bytes: &[u8]) -> Res<[u8; N]> {
        Ok(bytes.try_into()?)
    }

    #[inline]
    fn into(self, bytes: &mut [u8]) -> usize {
        bytes.copy_from_slice(&self);
        N
    }
}

/// Messages of type `T`, by a codec.
#[derive(Debug)]
struct Typed<T, C>(mp::Receiver<T, C>, mp::Sender<T, C>);

/// The end of [`Typed`] that sends.
#[derive(Debug)]
struct TypedSender<'a, T, C>(&'a mp::Sender<T, C>, PhantomData<fn(T)>);

/// The end of [`Typed`] that receives.
#[derive(Debug)]
struct TypedReceiver<'a, T, C>(&'a mp::Receiver<T, C>, PhantomData<fn() -> T>);

impl<T: Message + 'static, C: mp::codec::Codec<T>> Channel for Typed<T, C> {
    type Sender<'a> = TypedSender<'a, T, C>;
    type Receiver<'a> = TypedReceiver<'a, T, C>;

    fn create(_size: usize) -> Res<Self> {
        let options = Pipe::<T>::options().codec::<C>();
        let (receiver, sender) = options.simplex()?;
        Ok(Typed(receiver, sender))
    }

    fn sender(&self) -> Res<TypedSender<'_, T, C>> {
        Ok(TypedSender(&self.1, PhantomData))
    }

    fn receiver(&self) -> Res<TypedReceiver<'_, T, C>> {
        Ok(TypedReceiver(&self.0, PhantomData))
    }
}

impl<T: Message, C: mp::codec::Codec<T>> Sender for TypedSender<'_, T, C> {
    #[inline]
    fn send(&mut self, message: &[u8]) -> Res {
        let sent = self.0.send(T::of(message)?);
        sent.map_err(|error| error.to_string().into())
    }
}

impl<T: Message, C: mp::codec::Codec<T>> Receiver for TypedReceiver<'_, T, C> {
    #[inline]
    fn receive(&mut self, into: &mut [u8]) -> Res<usize> {
        Ok(self.0.recv()?.into(into))
    }
}

/// Written in place by the sender, all of it; of what the receiver has in place, it reads the first word.
#[derive(Debug)]
struct Loans(ByteStrings);

/// The end of [`Loans`] that sends.
#[derive(Debug)]
struct LoanSender<'a>(&'a mp::Sender<Vec<u8>, Bytes>);

/// The end of [`Loans`] that receives.
#[derive(Debug)]
struct LoanReceiver<'a>(&'a mp::Receiver<Vec<u8>, Bytes>);

impl Channel for Loans {
    type Sender<'a> = LoanSender<'a>;
    type Receiver<'a> = LoanReceiver<'a>;

    fn create(size: usize) -> Res<Self> {
        ByteStrings::create(size).map(Loans)
    }

    fn sender(&self) -> Res<LoanSender<'_>> {
        Ok(LoanSender(&self.0.1))
    }

    fn receiver(&self) -> Res<LoanReceiver<'_>> {
        Ok(LoanReceiver(&self.0.0))
    }
}

impl Sender for LoanSender<'_> {
    #[inline]
    fn send(&mut self, message: &[u8]) -> Res {
        let mut loan = self.0.send_loan(message.len())?;
        loan.copy_from_slice(message);
        loan.commit();
        Ok(())
    }
}

impl Receiver for LoanReceiver<'_> {
    #[inline]
    fn receive(&mut self, into: &mut [u8]) -> Res<usize> {
        let loan = self.0.recv_loan()?;
        into[..8].copy_from_slice(&loan[..8]);
        Ok(loan.len())
    }
}
