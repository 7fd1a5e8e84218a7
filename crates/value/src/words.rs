//! Copies in and out of memory that others may write at the same moment.
//!
//! Every access is to a whole aligned word, atomic and relaxed: whatever others do meanwhile,
//! a copy is some mixture of old and new words, never undefined behaviour. A part of a word is
//! written by compare-and-swap, so its other bytes stay as they are. An item that lies inside
//! one word (8 bytes or fewer, aligned to its size) is therefore never torn.
//!
//! If a process dies here: whole words before that moment are new, the rest is old.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Bytes of a word.
pub(crate) const WORD: usize = size_of::<u64>();

/// How `at..at + len` falls on words: bytes of the first, partial word; whole words; bytes of
/// the last, partial one.
fn cut(at: usize, len: usize) -> (usize, usize) {
    let first = (at.next_multiple_of(WORD) - at).min(len);
    (first, (len - first) / WORD * WORD)
}

fn read_part(word: &AtomicU64, from: usize, to: &mut [u8]) {
    // Relaxed, here and below: who wants order brings a lock or a message of its own.
    let bytes = word.load(Relaxed).to_ne_bytes();
    to.copy_from_slice(&bytes[from..from + to.len()]);
}

fn write_part(word: &AtomicU64, at: usize, from: &[u8]) {
    if from.is_empty() {
        return;
    }
    let with = |old: u64| {
        let mut bytes = old.to_ne_bytes();
        bytes[at..at + from.len()].copy_from_slice(from);
        Some(u64::from_ne_bytes(bytes))
    };
    // Always Some, so always Ok.
    let _ = word.fetch_update(Relaxed, Relaxed, with);
}

/// Copies the bytes from `at` on to `to`. Panics if the words end before.
pub(crate) fn read(words: &[AtomicU64], at: usize, to: &mut [u8]) {
    let (first, whole) = cut(at, to.len());
    let (start, rest) = to.split_at_mut(first);
    let (middle, end) = rest.split_at_mut(whole);
    if !start.is_empty() {
        read_part(&words[at / WORD], at % WORD, start);
    }
    let next = (at + first) / WORD;
    for (word, chunk) in words[next..].iter().zip(middle.chunks_exact_mut(WORD)) {
        chunk.copy_from_slice(&word.load(Relaxed).to_ne_bytes());
    }
    if !end.is_empty() {
        read_part(&words[next + whole / WORD], 0, end);
    }
}

/// Copies `from` to the bytes from `at` on. Panics if the words end before.
pub(crate) fn write(words: &[AtomicU64], at: usize, from: &[u8]) {
    let (first, whole) = cut(at, from.len());
    let (start, rest) = from.split_at(first);
    let (middle, end) = rest.split_at(whole);
    if !start.is_empty() {
        write_part(&words[at / WORD], at % WORD, start);
    }
    let next = (at + first) / WORD;
    for (word, chunk) in words[next..].iter().zip(middle.chunks_exact(WORD)) {
        let mut bytes = [0; WORD];
        bytes.copy_from_slice(chunk);
        word.store(u64::from_ne_bytes(bytes), Relaxed);
    }
    if !end.is_empty() {
        write_part(&words[next + whole / WORD], 0, end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against an ordinary slice, for every place and length in four words.
    #[test]
    fn every_range_reads_and_writes_as_a_slice_does() {
        for at in 0..32 {
            for len in 0..=32 - at {
                let words: [AtomicU64; 4] = [const { AtomicU64::new(u64::MAX) }; 4];
                let mut expected = [0xff; 32];
                let from: Vec<u8> = (0..len as u8).collect();
                write(&words, at, &from);
                expected[at..at + len].copy_from_slice(&from);
                let mut all = [0; 32];
                read(&words, 0, &mut all);
                assert_eq!(all, expected, "{len} bytes at {at}");
                let mut back = vec![0; len];
                read(&words, at, &mut back);
                assert_eq!(back, from, "{len} bytes at {at}");
            }
        }
    }
}
