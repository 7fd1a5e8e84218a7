//! Any bytes as the records of a ring whose own words are sound.
#![no_main]

mod common;

use common::*;
use libfuzzer_sys::fuzz_target;
use multiproc_ring::Wait;

fuzz_target!(|bytes: &[u8]| {
    let ring = ring();
    let mut buffer = Vec::new();
    // Some records, so that there are headers to change.
    for len in [0, 8, 100, 2000] {
        ring.put(&vec![5; len], Wait::NOT).expect("room");
    }
    let words = ring.segment().body_bytes() / 8;
    let records = words - 2 * RESERVE / 8;
    let mut rest = bytes;
    while !rest.is_empty() {
        let change = number(&mut rest);
        let near = [0, 1, 3, 17, 268][(change & 7) as usize % 5] + (change >> 3 & 3) as usize;
        let at = match change & 0x80 {
            0 => near,
            _ => (change >> 8 & 0x1fff) as usize,
        };
        scribble(&ring, records + at, number(&mut rest));
        operate(
            &ring,
            (change >> 32) as u8,
            (change >> 40) as usize,
            &mut buffer,
        );
    }
    while ring.get_into(&mut buffer, Wait::NOT).is_ok() {}
});
