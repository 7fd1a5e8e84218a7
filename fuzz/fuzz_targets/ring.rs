//! Any bytes as everything that a ring shares. The input is a list of changes (a word of the
//! ring and its new value), each followed by an operation.
#![no_main]

mod common;

use common::*;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let ring = ring();
    let mut buffer = Vec::new();
    let mut rest = bytes;
    for n in 0..4 {
        operate(&ring, 0, 100 * n, &mut buffer);
    }
    for _ in 0..64 {
        let change = number(&mut rest);
        // Mostly the words at the front, which steer the ring; else its records.
        let word = match change & 3 {
            0 => (change >> 2 & 0xffff) as usize,
            _ => (change >> 2 & 0x7f) as usize,
        };
        let value = number(&mut rest);
        let value = match change >> 32 & 3 {
            0 => value,
            1 => value & 0xffff_ffff,
            2 => value << 32 | value >> 60,
            _ => value & 0xff,
        };
        scribble(&ring, word, value);
        operate(
            &ring,
            (change >> 24) as u8,
            (change >> 40) as usize,
            &mut buffer,
        );
        if rest.is_empty() {
            break;
        }
    }
});
