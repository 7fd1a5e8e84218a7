//! Models of the ring: put, get, sleep, wake, and the death of a writer or reader at each
//! of its steps. Each has a twin in which one line is broken, and which must fail.
#![cfg(loom)]

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::AtomicU64;
use loom::thread;
use multiproc_core::model::{check, die_at, must_notice};
use multiproc_ring::{Flow, GetError, Memory, PutError, State, Wait};
use std::sync::atomic::Ordering::{AcqRel, Acquire};

/// Room for two records and a frontier: the third goes round.
const UNITS: usize = 6;

struct Model {
    state: State,
    words: Vec<AtomicU64>,
    bytes: Vec<UnsafeCell<u64>>,
    /// Bells that lie with the courier.
    bells: AtomicU64,
}

// SAFETY: loom checks every access to `bytes`; that is the point.
unsafe impl Sync for Model {}
// SAFETY: as above.
unsafe impl Send for Model {}

impl Memory for &Model {
    fn word(&self, at: usize) -> &AtomicU64 {
        &self.words[at / 8]
    }

    unsafe fn write(&self, at: usize, bytes: &[u8]) {
        let value = u64::from_ne_bytes(bytes.try_into().unwrap());
        // SAFETY: the caller holds the put lock; loom checks.
        self.bytes[at / 8].with_mut(|b| unsafe { *b = value });
    }

    fn grow(&self, _from: usize, _to: usize) -> Result<(), PutError> {
        Err(PutError::NoMemory { bytes: 0 })
    }

    fn punch(&self, _from: usize, _to: usize) {}

    // As with a socket: whoever takes bells away sees what was done before they were rung.
    fn ring_watchers(&self) -> bool {
        self.bells.fetch_add(1, AcqRel);
        true
    }

    fn tidy(&self, _all: bool) {
        self.bells.swap(0, AcqRel);
    }

    fn reserve(&self) -> usize {
        UNITS * 8
    }
}

impl Model {
    fn new(capacity: u32) -> Arc<Self> {
        Arc::new(Self {
            state: State::new(capacity, u64::MAX, UNITS as u64 * 8),
            words: (0..UNITS).map(|_| AtomicU64::new(0)).collect(),
            bytes: (0..UNITS).map(|_| UnsafeCell::new(0)).collect(),
            bells: AtomicU64::new(0),
        })
    }

    fn flow(&self) -> Flow<'_, &Self> {
        Flow {
            state: &self.state,
            memory: self,
        }
    }

    fn put(&self, value: u64) {
        let mut room = self.flow().reserve(8, Wait::FOREVER).unwrap();
        room.fill(&value.to_ne_bytes());
        room.commit();
    }

    fn try_put(&self, value: u64) -> bool {
        let room = self.flow().reserve(8, Wait::NOT);
        room.map(|mut room| {
            room.fill(&value.to_ne_bytes());
            room.commit();
        })
        .is_ok()
    }

    fn get(&self, wait: Wait<'_>) -> Result<u64, GetError> {
        let claim = self.flow().claim(wait)?;
        assert_eq!(claim.len(), 8);
        // SAFETY: a committed record; loom checks.
        let value = self.bytes[claim.at() / 8].with(|b| unsafe { *b });
        claim.release();
        Ok(value)
    }
}

/// A writer and a reader over a ring of `capacity`: both wait for each other.
fn one_to_one(messages: u64, capacity: u32, bound: usize) {
    check(bound, move || {
        let ring = Model::new(capacity);
        let writer = {
            let ring = ring.clone();
            thread::spawn(move || (1..=messages).for_each(|n| ring.put(n)))
        };
        for n in 1..=messages {
            assert_eq!(ring.get(Wait::FOREVER), Ok(n));
        }
        writer.join().unwrap();
        assert_eq!(ring.flow().len(), 0);
    });
}

/// A writer that does not wait goes round as soon as the reader has made room.
fn room_is_reused(bound: usize) {
    check(bound, || {
        let ring = Model::new(4);
        let writer = {
            let ring = ring.clone();
            thread::spawn(move || {
                ring.put(1);
                ring.put(2);
                ring.try_put(3)
            })
        };
        let mut got: Vec<_> = (0..2).filter_map(|_| ring.get(Wait::NOT).ok()).collect();
        let third = writer.join().unwrap();
        while let Ok(n) = ring.get(Wait::NOT) {
            got.push(n);
        }
        assert_eq!(got, if third { vec![1, 2, 3] } else { vec![1, 2] });
    });
}

fn two_writers(bound: usize) {
    check(bound, || {
        let ring = Model::new(4);
        let writers: Vec<_> = [1, 2]
            .map(|n| {
                let ring = ring.clone();
                thread::spawn(move || ring.put(n))
            })
            .into();
        let mut got = [
            ring.get(Wait::FOREVER).unwrap(),
            ring.get(Wait::FOREVER).unwrap(),
        ];
        got.sort_unstable();
        assert_eq!(got, [1, 2]);
        for writer in writers {
            writer.join().unwrap();
        }
    });
}

/// A writer dies at one of its steps; another puts after it. The reader has what was
/// committed, whole, and then the other's.
fn writer_dies(steps: u64, bound: usize) {
    check(bound, move || {
        let ring = Model::new(4);
        let victim = {
            let ring = ring.clone();
            thread::spawn(move || die_at(steps, || ring.put(1)).is_some())
        };
        let other = {
            let ring = ring.clone();
            thread::spawn(move || ring.put(2))
        };
        // No sleeping here: a wake-up that died with the victim costs a slice, and a model
        // has none.
        let mut got = Vec::new();
        got.extend(ring.get(Wait::NOT));
        let returned = victim.join().unwrap();
        other.join().unwrap();
        while let Ok(value) = ring.get(Wait::NOT) {
            got.push(value);
        }
        got.sort_unstable();
        assert!(got == [2] || got == [1, 2], "{got:?}");
        assert!(!returned || got == [1, 2]);
        assert_eq!(ring.flow().len(), 0);
    });
}

/// A reader dies at one of its steps; another has the message, unless it was released.
fn reader_dies(steps: u64, bound: usize) {
    check(bound, move || {
        let ring = Model::new(4);
        let writer = {
            let ring = ring.clone();
            thread::spawn(move || {
                ring.put(1);
                ring.put(2);
            })
        };
        let victim = {
            let ring = ring.clone();
            thread::spawn(move || die_at(steps, || ring.get(Wait::FOREVER)))
        };
        let first = ring.get(Wait::FOREVER).unwrap();
        writer.join().unwrap();
        let theirs = victim.join().unwrap();
        let mut all = vec![first];
        while let Ok(value) = ring.get(Wait::NOT) {
            all.push(value);
        }
        match theirs {
            Some(value) => all.push(value.unwrap()),
            None => {}
        }
        all.sort_unstable();
        all.dedup();
        assert!(
            all == [1, 2] || (theirs.is_none() && all.len() == 1),
            "{all:?}"
        );
    });
}

/// Watchers that arm while somebody writes, and take nothing: who was told that nothing is there
/// hears of the record.
fn watchers_hear(watchers: usize, bound: usize) {
    check(bound, move || {
        let ring = Model::new(4);
        let writer = {
            let ring = ring.clone();
            thread::spawn(move || ring.put(1))
        };
        let others: Vec<_> = (1..watchers)
            .map(|_| {
                let ring = ring.clone();
                thread::spawn(move || ring.flow().arm_data(true))
            })
            .collect();
        let mut sleeps = ring.flow().arm_data(true);
        for other in others {
            sleeps |= other.join().unwrap();
        }
        writer.join().unwrap();
        assert!(!sleeps || ring.bells.load(Acquire) > 0);
    });
}

/// One who takes records and arms when there are none, as an event loop does.
fn an_event_loop_misses_nothing(bound: usize) {
    check(bound, || {
        let ring = Model::new(4);
        let writer = {
            let ring = ring.clone();
            thread::spawn(move || (1..=2).for_each(|n| ring.put(n)))
        };
        let mut next = 1;
        let mut sleeps = false;
        while next <= 2 && !sleeps {
            match ring.get(Wait::NOT) {
                Ok(n) => {
                    assert_eq!(n, next);
                    next += 1;
                }
                Err(_) => sleeps = ring.flow().arm_data(true),
            }
        }
        writer.join().unwrap();
        assert!(next > 2 || ring.bells.load(Acquire) > 0);
    });
}

/// A writer that finds no room, and the reader that makes some.
fn a_writer_hears_of_room(bound: usize) {
    check(bound, || {
        let ring = Model::new(1);
        ring.put(1);
        let reader = {
            let ring = ring.clone();
            thread::spawn(move || assert_eq!(ring.get(Wait::NOT), Ok(1)))
        };
        let mut sleeps = false;
        while !sleeps {
            let seen = ring.flow().head_seen();
            if ring.try_put(2) {
                break;
            }
            sleeps = ring.flow().arm_room(seen);
        }
        reader.join().unwrap();
        assert!(!sleeps || ring.bells.load(Acquire) > 0);
    });
}

#[test]
fn model_watchers_hear() {
    watchers_hear(1, 3);
    watchers_hear(2, 3);
}

#[test]
fn model_an_event_loop_misses_nothing() {
    an_event_loop_misses_nothing(3);
}

#[test]
fn model_a_writer_hears_of_room() {
    a_writer_hears_of_room(3);
}

#[test]
fn model_fails_when_a_watcher_does_not_mark_the_lock() {
    must_notice("watch: ask", "model_watchers_hear");
}

#[test]
fn model_fails_when_the_mark_is_taken_away_after_the_bell() {
    must_notice("watch: mark first", "model_watchers_hear");
}

#[test]
fn model_one_to_one_of_capacity_one() {
    one_to_one(2, 1, 2);
}

#[test]
fn model_one_to_one_of_capacity_two() {
    one_to_one(4, 2, 2);
}

#[test]
fn model_room_is_reused() {
    room_is_reused(2);
}

#[test]
fn model_two_writers() {
    two_writers(2);
}

#[test]
fn model_writer_dies() {
    for steps in 0..18 {
        writer_dies(steps, 2);
    }
}

#[test]
fn model_reader_dies() {
    for steps in 0..14 {
        reader_dies(steps, 2);
    }
}

#[test]
fn model_fails_when_commit_is_relaxed() {
    must_notice("ring: commit", "model_one_to_one_of_capacity_two");
}

#[test]
fn model_fails_when_the_new_frontier_is_not_zeroed() {
    must_notice("ring: zero", "model_one_to_one_of_capacity_two");
}

#[test]
fn model_fails_when_release_is_relaxed() {
    must_notice("ring: release", "model_room_is_reused");
}

#[test]
fn model_fails_when_nobody_asks_for_the_bell() {
    must_notice("lock: ask", "model_one_to_one_of_capacity_one");
}

#[test]
fn model_fails_when_the_dead_are_not_repaired() {
    must_notice("ring: repair", "model_writer_dies");
}
