//! Everybody who takes part in the queue groups: one small file each, and one line in [`all`].

#[cfg(feature = "peers")]
mod cloudtoid;
pub(crate) mod crossbeam;
mod futex;
#[cfg(feature = "peers")]
pub(crate) mod iceoryx2;
#[cfg(feature = "peers")]
mod ipc_channel;
mod pipe;
#[cfg(feature = "peers")]
pub(crate) mod python;
#[cfg(feature = "peers")]
mod shaq;
mod socketpair;

use crate::channel::{self, Channel};
use crate::harness::Measure;
use crate::ideal;
use std::ops::RangeInclusive;

/// One contender of the queue groups, and which of their rows it can run.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    /// Its name in the tables.
    pub(crate) who: &'static str,
    /// The message sizes it runs at.
    pub(crate) sizes: RangeInclusive<usize>,
    /// One producer, one consumer.
    pub(crate) one_to_one: Option<Measure>,
    /// Two producers, two consumers.
    pub(crate) two_to_two: Option<Measure>,
    /// Ping-pong, awake.
    pub(crate) awake: Option<Measure>,
    /// Ping-pong with a sleeper.
    pub(crate) asleep: Option<Measure>,
}

impl Peer {
    /// Between forked processes, in every row.
    pub(crate) fn processes<C: Channel>(who: &'static str) -> Self {
        Peer {
            who,
            sizes: 0..=usize::MAX,
            one_to_one: Some(channel::one_to_one::<C>),
            two_to_two: Some(channel::two_to_two::<C>),
            awake: Some(channel::awake::<C>),
            asleep: Some(channel::asleep::<C>),
        }
    }

    /// Between threads of one process, in every row.
    pub(crate) fn threads<C: Channel + Sync + 'static>(who: &'static str) -> Self {
        Peer {
            who,
            sizes: 0..=usize::MAX,
            one_to_one: Some(channel::one_to_one_threads::<C>),
            two_to_two: Some(channel::two_to_two_threads::<C>),
            awake: Some(channel::awake_threads::<C>),
            asleep: Some(channel::asleep_threads::<C>),
        }
    }

    /// Only at these sizes.
    pub(crate) fn sizes(self, sizes: RangeInclusive<usize>) -> Self {
        Peer { sizes, ..self }
    }

    /// Has one producer and one consumer at most.
    pub(crate) fn exclusive(self) -> Self {
        Peer {
            two_to_two: None,
            ..self
        }
    }

    /// Polls, so there is nobody to wake.
    pub(crate) fn polling(self) -> Self {
        Peer {
            asleep: None,
            ..self
        }
    }

    /// Takes part in ping-pong only.
    pub(crate) fn round_trip_only(self) -> Self {
        Peer {
            one_to_one: None,
            two_to_two: None,
            ..self
        }
    }
}

/// All of them but ourselves, in the order of the tables.
pub(crate) fn all() -> Vec<Peer> {
    use crossbeam::{Copied, Crossbeam, Moved, Word};
    let mut all = Vec::from([
        Peer::processes::<ideal::Words<1>>("ideal u64")
            .sizes(8..=8)
            .exclusive()
            .polling(),
        Peer::processes::<ideal::Bytes>("ideal bytes")
            .exclusive()
            .polling(),
        Peer::threads::<Crossbeam<Word>>("crossbeam").sizes(8..=8),
        Peer::threads::<Crossbeam<Copied>>("crossbeam copied").sizes(9..=usize::MAX),
        Peer::threads::<Crossbeam<Moved>>("crossbeam moved").sizes(9..=usize::MAX),
        Peer::processes::<futex::Futex<2000>>("futex spinning").round_trip_only(),
        Peer::processes::<futex::Futex<0>>("futex").round_trip_only(),
        // A pipe has no message boundaries, but eight bytes go in and come out in one piece.
        Peer::processes::<pipe::Pipe>("pipe"),
        Peer::processes::<socketpair::SocketPair>("socketpair"),
    ]);
    all.extend(optional());
    all
}

#[cfg(feature = "peers")]
fn optional() -> Vec<Peer> {
    let mut peers = vec![
        Peer::processes::<ipc_channel::Bytes>("ipc-channel bytes").exclusive(),
        Peer::processes::<ipc_channel::Typed>("ipc-channel u64")
            .sizes(8..=8)
            .exclusive(),
        Peer::processes::<iceoryx2::Service<false>>("iceoryx2 polling")
            .exclusive()
            .polling(),
        Peer::processes::<iceoryx2::Service<true>>("iceoryx2 event").exclusive(),
        Peer::processes::<cloudtoid::Queue<false>>("cloudtoid polling").polling(),
        Peer::processes::<cloudtoid::Queue<true>>("cloudtoid blocking"),
    ];
    peers.extend(shaq_of::<8>());
    peers.extend(shaq_of::<{ 1 << 10 }>());
    peers.extend(shaq_of::<{ 1 << 20 }>());
    peers.extend(python::all());
    peers
}

/// Its messages have a type, and so a size that is known to the compiler.
#[cfg(feature = "peers")]
fn shaq_of<const N: usize>() -> [Peer; 4] {
    [
        Peer::processes::<shaq::Spsc<N, false>>("shaq SPSC polling")
            .exclusive()
            .polling(),
        Peer::processes::<shaq::Mpmc<N, false>>("shaq MPMC polling").polling(),
        Peer::processes::<shaq::Spsc<N, true>>("shaq SPSC sleeping").exclusive(),
        Peer::processes::<shaq::Mpmc<N, true>>("shaq MPMC sleeping"),
    ]
    .map(|peer| peer.sizes(N..=N))
}

#[cfg(not(feature = "peers"))]
fn optional() -> Vec<Peer> {
    Vec::new()
}
