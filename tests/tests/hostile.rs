//! A peer that writes garbage into the shared memory it was given, while others work on it: they
//! get values or errors, within a watchdog. No panic, no crash, no endless loop.
//!
//! `SEEDS=10000 cargo test --release -p multiproc-tests --test hostile` for more, and `SEED=n`
//! with `SEEDS=1` for one of them again. With `RUSTFLAGS=-Zsanitizer=address cargo +nightly` and
//! `--target x86_64-unknown-linux-gnu`, a stray access in any of the processes fails it, too.

use common::*;
use multiproc_core::deadline::Deadline;
use multiproc_process::{Exit, test};
use multiproc_ring::{GetError, PutError, Ring, Settings, Wait};
use multiproc_segment::{Segment, Shared, UnlinkError};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

test::main! {
    #[timeout(3600)]
    garbage_in_a_ring_gives_values_or_errors,
    a_lock_that_nobody_holds_is_had_again,
    #[timeout(3600)]
    garbage_in_a_header_is_refused_or_harmless,
}

/// The words of a segment, header included or not.
fn scribble(segment: &Segment, word: usize, value: u64) {
    let at = segment.body().wrapping_add(word * 8);
    assert!(word < segment.body_bytes() / 8);
    // SAFETY: inside the body (checked), which is 8-aligned and lives as long as the segment.
    unsafe { &*at.cast::<AtomicU64>() }.store(value, Relaxed);
}

const RESERVE: usize = 256 << 10;

fn ring() -> Ring {
    let settings = Settings {
        capacity: 100,
        bytes: 64 << 10,
        reserve: RESERVE,
        max_deliveries: 3,
        ..Settings::default()
    };
    Ring::anonymous("hostile", &settings).unwrap()
}

/// A value that may mean something: a small number, a large one, a header, what was there.
fn garbage(dice: &mut Dice) -> u64 {
    match dice.below(6) {
        0 => dice.below(16),
        1 => dice.below(RESERVE as u64),
        2 => dice.roll(),
        3 => 1 << 63 | dice.below(64) << 32 | dice.below(RESERVE as u64),
        4 => 3 << 62 | dice.below(RESERVE as u64 / 8),
        _ => u64::MAX,
    }
}

/// Writes over anything, now and then.
fn vandal(ring: &Ring, seed: u64) {
    let mut dice = Dice::new(seed);
    let words = ring.segment().body_bytes() as u64 / 8;
    let records = words - 2 * RESERVE as u64 / 8;
    for _ in 0..40 {
        let word = match dice.below(4) {
            // The words that steer the ring, its tables, and its records.
            0 | 1 => dice.below(64),
            2 => dice.below(records),
            _ => records + dice.below(RESERVE as u64 / 8),
        };
        scribble(ring.segment(), word as usize, garbage(&mut dice));
        (0..dice.below(2000)).for_each(|_| std::hint::spin_loop());
    }
}

/// Uses the ring in every way, never waiting for long; whatever comes is right.
fn user(ring: &Ring, seed: u64) {
    let mut dice = Dice::new(seed);
    let (mut buffer, mut fds) = (Vec::new(), Vec::new());
    for _ in 0..60 {
        let wait = Wait {
            deadline: match dice.below(8) {
                0 => Deadline::after(Duration::from_micros(200)),
                _ => Deadline::NOW,
            },
            ..Wait::NOT
        };
        let len = dice.below(2000) as usize;
        match dice.below(13) {
            0..3 => match ring.put(&vec![1; len], wait) {
                Ok(()) | Err(PutError::Full | PutError::Closed | PutError::Corrupted) => {}
                Err(PutError::NoMemory { .. } | PutError::TooLarge { .. }) => {}
                Err(other) => panic!("{other}"),
            },
            3..5 => match ring.get_into(&mut buffer, wait) {
                Ok(()) => assert!(buffer.len() <= RESERVE),
                Err(GetError::Empty | GetError::Closed | GetError::Corrupted) => {}
                Err(other) => panic!("{other}"),
            },
            5 => {
                let _ = ring.put_many(&vec![2; 3 * len], &[len, len, len], wait);
            }
            6 => {
                let _ = ring.get_many(len, &mut buffer, &mut Vec::new(), &mut fds, wait);
            }
            7 => match ring.take_task(&mut buffer, &mut fds, wait) {
                Ok(task) if len.is_multiple_of(2) => task.done(),
                Ok(task) => task.give_back(),
                Err(_) => {}
            },
            8 => {
                let _ = ring.get_counted(&mut buffer, &mut fds, wait);
            }
            9 => {
                if let Ok(mut room) = ring.reserve(len, wait) {
                    room.bytes_mut().fill(3);
                    room.commit();
                }
            }
            10 => {
                let null: OwnedFd = File::open("/dev/null").unwrap().into();
                let _ = ring.put_carrying(&vec![4; len], &[null], len % 2, wait);
            }
            11 => {
                let _ = ring.get_carried(&mut buffer, &mut fds, wait);
                let _ = (
                    ring.arm_data(len.is_multiple_of(2)),
                    ring.arm_room(ring.head_seen()),
                );
            }
            _ => {
                let _ = (ring.len(), ring.unfinished(), ring.orphans());
                let _ = ring.join(Deadline::NOW);
                let _ = format!("{ring:?}");
            }
        }
        buffer.clear();
        fds.clear();
    }
}

fn garbage_in_a_ring_gives_values_or_errors() {
    let (seeds, first) = (setting("SEEDS", 300), setting("SEED", 1));
    for seed in first..first + seeds {
        let ring = ring();
        let users = [seed, seed + 1_000_000].map(|seed| start(|| user(&ring, seed)));
        let vandal = start(|| vandal(&ring, seed));
        for child in users.iter().chain([&vandal]) {
            // The watchdog: on failure, the seed is in the message.
            match child.join_timeout(PATIENCE) {
                Ok(Exit::Code(0)) => {}
                other => panic!("SEED={seed}: {child:?}: {other:?}"),
            }
        }
    }
    println!("{seeds} seeds from {first}");
}

fn garbage_in_a_header_is_refused_or_harmless() {
    // The header in front of the body is written over; who has it open goes on (its copy is
    // private), who opens it anew gets the object or a refusal.
    let name = test::unique("hostile");
    let mut refused = 0;
    for seed in 0..setting("SEEDS", 300) {
        let shared = Shared::create(&name, AtomicU64::new(7)).unwrap();
        let vandal = start(|| {
            let mut dice = Dice::new(seed);
            for _ in 0..1 + dice.below(3) {
                let word = dice.below(multiproc_segment::HEADER_BYTES as u64 / 8) as usize;
                let header = (&raw const *shared).cast::<u8>();
                let header = header.wrapping_sub(multiproc_segment::HEADER_BYTES);
                let at = header.wrapping_add(8 * word).cast::<AtomicU64>();
                // SAFETY: the header lies right before the body, in the same mapping.
                unsafe { &*at }.store(garbage(&mut dice), Relaxed);
            }
        });
        ends_well(&vandal);
        let opens = start(|| match Shared::<AtomicU64>::open(&name) {
            Ok(again) => {
                assert_eq!(again.load(Relaxed), 7);
                0
            }
            Err(error) => {
                assert!(!error.to_string().is_empty());
                1
            }
        });
        match ends(&opens) {
            Exit::Code(code @ 0..=1) => refused += code,
            other => panic!("SEED={seed}: {other:?}"),
        }
        assert_eq!(shared.load(Relaxed), 7);
        match multiproc_segment::unlink(&name) {
            // The garbage may have said that it is temporary: then who opened it saw that nobody
            // is attached, and removed the name.
            Ok(()) | Err(UnlinkError::NotFound(_)) => {}
            Err(error) => panic!("SEED={seed}: {error}"),
        }
    }
    println!("{refused} refused");
    assert!(refused > 0);
}

fn a_lock_that_nobody_holds_is_had_again() {
    // The id of a thread that cannot exist, as if the kernel had never marked its death. The
    // lock of the writers is the ring's first word.
    let nobody = u64::from(u32::MAX >> 2);
    let ring = ring();
    for _ in 0..3 {
        scribble(ring.segment(), 0, nobody);
        let wait = Wait {
            deadline: Deadline::after(PATIENCE),
            ..Wait::NOT
        };
        ring.put(b"x", wait).unwrap();
        scribble(ring.segment(), 0, nobody);
        assert_eq!(ring.put(b"y", Wait::NOT), Ok(()));
    }
    assert_eq!(ring.len(), 6);
}
