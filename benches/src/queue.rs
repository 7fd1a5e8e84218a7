//! The groups `queue-oneway` and `queue-roundtrip`.

use crate::harness::{Contender, Group, Measure, Place, Row};
use crate::peers::{self, Peer};

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// Both groups.
pub(crate) fn groups() -> Vec<Group> {
    let peers: Vec<Peer> = crate::ours::all().into_iter().chain(peers::all()).collect();

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
        for (size, bases) in [
            (8, &["crossbeam", "ideal u64"]),
            (KIB, &["crossbeam copied", "ideal bytes"]),
            (MIB, &["crossbeam copied", "ideal bytes"]),
        ] {
            one_way.push(row("1p1c", size, place, "msg/s", bases, |peer| {
                peer.one_to_one
            }));
        }
        one_way.push(row(
            "2p2c",
            8,
            place,
            "msg/s",
            &["crossbeam", "pipe"],
            |peer| peer.two_to_two,
        ));

        for (size, bases) in [
            (8, &["crossbeam", "ideal u64"]),
            (KIB, &["crossbeam copied", "ideal bytes"]),
        ] {
            round_trip.push(row("awake", size, place, "us", bases, |peer| peer.awake));
        }
        for size in [8, KIB] {
            round_trip.push(row(
                "asleep",
                size,
                place,
                "us",
                &["futex", "pipe"],
                |peer| peer.asleep,
            ));
        }
    }
    vec![
        Group {
            name: "queue-oneway",
            about: "messages from one side to the other, as fast as they go",
            rows: one_way,
        },
        Group {
            name: "queue-roundtrip",
            about: "there and back; asleep: the other side sleeps when the message comes",
            rows: round_trip,
        },
    ]
}
