//! Growth, rewind and punch, and messages larger than the capacity.

use common::*;
use multiproc_ring::{Ring, Settings, Wait};
use multiproc_tests::each_exact_step;

pub(crate) const MIB: usize = 1 << 20;
const SMALL_RING: usize = 64 << 20;

/// A ring, where the memory behind it can be asked for.
fn ring(bytes: usize) -> Ring {
    let settings = Settings {
        bytes,
        reserve: 2 * SMALL_RING,
        ..Settings::default()
    };
    Ring::anonymous("depth", &settings).unwrap()
}

fn put(ring: &Ring, number: u64, len: usize) {
    ring.put(&pattern(number, len), Wait::FOREVER).unwrap();
}

fn get(ring: &Ring) -> Option<(u64, usize)> {
    let mut message = Vec::new();
    ring.get_into(&mut message, Wait::NOT).ok()?;
    Some((number_of(&message), message.len()))
}

/// All that is queued; `len` must have said how much it is.
#[track_caller]
fn rest(ring: &Ring) -> Vec<u64> {
    let len = ring.len();
    let rest: Vec<u64> = std::iter::from_fn(|| get(ring)).map(|(n, _)| n).collect();
    assert_eq!(rest.len(), len, "len() before the rest: {rest:?}");
    rest
}

/// The ring works in both directions for other processes, and gives its memory back.
#[track_caller]
fn is_sound(ring: &Ring) {
    assert_eq!(ring.len(), 0);
    let writer = start(|| {
        for n in 0..60 {
            put(ring, n, [8, 3000, 20_000, 200_000][n as usize % 4]);
        }
    });
    let mut message = Vec::new();
    for n in 0..60 {
        ring.get_into(&mut message, Wait::FOREVER).unwrap();
        assert_eq!(number_of(&message), n);
    }
    ends_well(&writer);
    // One more that is large: from then on nothing is left of what the dead one allocated.
    put(ring, 1, 8);
    assert_eq!(get(ring), Some((1, 8)));
    assert!(rest(ring).is_empty());
    let resident = ring.segment().resident_bytes().unwrap();
    assert!(resident < 17 * MIB as u64, "{resident} bytes are left");
}

pub(crate) fn killed_at_each_step_of_a_growth_leaves_memory_that_comes_back() {
    each_exact_step(
        || {
            let ring = ring(usize::MAX);
            put(&ring, 1, 20_000);
            ring
        },
        |ring| put(ring, 2, 40 * MIB),
        |ring, at, steps| {
            steps.must_have(&["grow: begin", "grow: allocated", "grow: window written"]);
            let committed = at >= steps.since("put: committed");
            let expected: &[u64] = if committed { &[1, 2] } else { &[1] };
            assert_eq!(rest(&ring), expected);
            is_sound(&ring);
        },
    );
}

pub(crate) fn killed_at_each_step_of_a_get_that_trims() {
    // From the start of the memory, and from behind: then it is rewound, too.
    for rewound in [false, true] {
        each_exact_step(
            || {
                let ring = ring(usize::MAX);
                if rewound {
                    put(&ring, 0, 9_000);
                    put(&ring, 1, 30 * MIB);
                    assert_eq!(get(&ring), Some((0, 9_000)));
                } else {
                    put(&ring, 1, 30 * MIB);
                }
                ring
            },
            |ring| assert_eq!(get(ring), Some((1, 30 * MIB))),
            |ring, at, steps| {
                steps.must_have(&["trim: begin", "trim: window written", "trim: punched"]);
                let released = at >= steps.since("get: released");
                let expected: &[u64] = if released { &[] } else { &[1] };
                assert_eq!(ring.len(), expected.len());
                assert_eq!(rest(&ring), expected);
                is_sound(&ring);
            },
        );
    }
}

pub(crate) fn killed_at_each_step_of_a_put_larger_than_the_capacity() {
    each_exact_step(
        || {
            let ring = ring(10_000);
            put(&ring, 0, 3_000);
            put(&ring, 1, 3_000);
            assert!(get(&ring).is_some() && get(&ring).is_some());
            ring
        },
        |ring| put(ring, 2, 20 * MIB),
        |ring, at, steps| {
            let committed = at >= steps.since("put: committed");
            if committed {
                let wait = Wait::NOT;
                assert!(ring.put(&pattern(3, 8), wait).is_err(), "it is alone");
            }
            let expected: &[u64] = if committed { &[2] } else { &[] };
            assert_eq!(rest(&ring), expected);
            is_sound(&ring);
        },
    );
}

pub(crate) fn killed_at_each_step_of_a_get_of_a_message_larger_than_the_capacity() {
    each_exact_step(
        || {
            let ring = ring(10_000);
            put(&ring, 1, 20 * MIB);
            ring
        },
        |ring| assert_eq!(get(ring), Some((1, 20 * MIB))),
        |ring, at, steps| {
            // A writer that waits for room gets it, whatever is left to do.
            let writer = start(|| put(&ring, 2, 8));
            let expected: &[u64] = match at >= steps.since("get: released") {
                true => &[2],
                false => &[1, 2],
            };
            for n in expected {
                let mut message = Vec::new();
                ring.get_into(&mut message, Wait::FOREVER).unwrap();
                assert_eq!(number_of(&message), *n);
            }
            ends_well(&writer);
            is_sound(&ring);
        },
    );
}
