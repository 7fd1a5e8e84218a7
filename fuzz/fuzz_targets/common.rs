//! A ring whose shared bytes are written over, and every operation on it that does not block.

use multiproc_core::deadline::Deadline;
use multiproc_ring::{Ring, Settings, Wait};

/// Bytes for records: small, so that garbage hits something.
pub const RESERVE: usize = 64 << 10;

pub fn ring() -> Ring {
    let settings = Settings {
        capacity: 64,
        bytes: 32 << 10,
        reserve: RESERVE,
        max_deliveries: 3,
        ..Settings::default()
    };
    Ring::anonymous("fuzz", &settings).expect("a ring")
}

/// Writes eight bytes over the ring's own, as a peer may.
pub fn scribble(ring: &Ring, word: usize, value: u64) {
    let words = ring.segment().body_bytes() / 8;
    let at = ring.segment().body().wrapping_add(word % words * 8);
    // SAFETY: inside the body, which is 8-aligned and lives as long as the ring; others see
    // it as atomics, too.
    unsafe { &*at.cast::<std::sync::atomic::AtomicU64>() }
        .store(value, std::sync::atomic::Ordering::Relaxed);
}

/// Tries everything; returns what was had, to be dropped by the caller.
pub fn operate(ring: &Ring, which: u8, len: usize, buffer: &mut Vec<u8>) {
    // A lock that garbage says is held is waited for: not for long here.
    let soon = Wait {
        deadline: Deadline::NOW,
        ..Wait::NOT
    };
    let len = len % (RESERVE + 100);
    match which % 12 {
        0 | 1 => {
            let _ = ring.put(&vec![7; len], soon);
        }
        2 => {
            let _ = ring.get_into(buffer, soon);
        }
        3 => {
            let _ = ring.len();
        }
        4 => {
            let lens = [len % 100, len % 1000, len % 10_000];
            let _ = ring.put_many(&vec![9; lens.iter().sum()], &lens, soon);
        }
        5 => {
            let _ = ring.get_many(len, buffer, &mut Vec::new(), &mut Vec::new(), soon);
        }
        6 => {
            let _ = ring.get_exact(&mut [0; 64][..len % 64], soon);
        }
        7 => {
            if let Ok(mut room) = ring.reserve(len, soon) {
                room.bytes_mut().fill(1);
                if len % 2 == 0 {
                    room.commit();
                }
            }
        }
        8 => {
            if let Ok(claim) = ring.claim(soon) {
                let sum: u64 = claim.bytes().iter().map(|b| u64::from(*b)).sum();
                std::hint::black_box(sum);
                if len % 2 == 0 {
                    claim.release();
                }
            }
        }
        9 => match ring.take_task(buffer, &mut Vec::new(), soon) {
            Ok(task) if len % 3 == 0 => task.give_back(),
            Ok(task) if len % 3 == 1 => task.done(),
            other => drop(other),
        },
        10 => {
            let _ = ring.get_counted(buffer, &mut Vec::new(), soon);
        }
        _ => {
            let _ = ring.join(Deadline::NOW);
            let _ = (ring.unfinished(), ring.orphans(), ring.capacity());
            drop(format!("{ring:?}"));
        }
    }
    buffer.clear();
    buffer.shrink_to(RESERVE);
}

/// The next number in the input; 0 at its end.
pub fn number(bytes: &mut &[u8]) -> u64 {
    let n = bytes.len().min(8);
    let mut word = [0; 8];
    word[..n].copy_from_slice(&bytes[..n]);
    *bytes = &bytes[n..];
    u64::from_le_bytes(word)
}
