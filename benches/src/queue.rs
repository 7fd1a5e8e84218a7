//! The groups `queue-oneway` and `queue-roundtrip`.

use crate::channel::{words, words_threads};
use crate::harness::{Contender, Group, Measure, Place, Row};
use crate::ideal;
use crate::ours::{Batches, Loans, Numbers, Records, WithText};
use crate::peers::crossbeam::{Crossbeam, Whole};
use crate::peers::{self, Peer};

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// Rows whose contenders are few and do something special with each word.
fn others(place: Place) -> [Row; 3] {
    let row = |what, bases, contenders| Row {
        what,
        size: 0,
        place,
        unit: "msg/s",
        bases,
        contenders,
    };
    let is = |who, measure: Measure| Contender { who, measure };
    [
        row(
            "u64 in batches of 64",
            &["ideal u64 x64"],
            vec![
                is("multiproc plain x64", words::<Batches>),
                is("ideal u64 x64", words::<ideal::Words<64>>),
            ],
        ),
        row(
            "loans, 8 bytes touched",
            &["multiproc 8 B"],
            vec![
                is("multiproc 8 B", words::<Loans<8>>),
                is("multiproc 1 MiB", words::<Loans<MIB>>),
                #[cfg(feature = "peers")]
                is("iceoryx2 8 B", words::<peers::iceoryx2::Loans<8>>),
                #[cfg(feature = "peers")]
                is("iceoryx2 1 MiB", words::<peers::iceoryx2::Loans<MIB>>),
            ],
        ),
        row(
            "struct of 5 fields",
            &["crossbeam", "crossbeam text"],
            vec![
                is("multiproc serde", words::<Records<Numbers>>),
                is("multiproc serde text", words::<Records<WithText>>),
                is("crossbeam", words_threads::<Crossbeam<Whole<Numbers>>>),
                is(
                    "crossbeam text",
                    words_threads::<Crossbeam<Whole<WithText>>>,
                ),
            ],
        ),
    ]
}

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
            (
                8,
                &["crossbeam", "ideal u64", "iceoryx2 polling", "python Queue"][..],
            ),
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
        one_way.extend(others(place));

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
