//! Where the pointers are: views of a segment's body. All else in this crate is safe code over
//! these, but for the guards' derefs.
#![allow(unsafe_code)]

use crate::words::WORD;
use multiproc_lock::{Mutex, MutexGuard};
use multiproc_segment::{Segment, Shareable};
use std::sync::atomic::AtomicU64;

/// The lock at the start of the body of everything that has one of its own.
type Head = Mutex<()>;

/// Writes `head` at the start of a body that is being made, and tells it that it will stay.
/// Panics if the body is too small.
pub(crate) fn init_head<H: Shareable>(segment: &Segment, head: H) {
    let place = segment.body().cast::<H>();
    assert!(segment.body_bytes() >= size_of::<H>() && place.is_aligned());
    // SAFETY: room and alignment were checked. Nobody else sees the segment yet, so nobody is
    // referring to what is overwritten; if this process dies here, nobody ever will.
    unsafe {
        place.write(head);
        (*place).settle();
    }
}

/// The head at the start of a body.
///
/// # Safety
///
/// The segment was made with [`init_head`] of an `H`, or opened with a kind that says so.
#[inline]
pub(crate) unsafe fn head<H: Shareable>(segment: &Segment) -> &H {
    debug_assert!(segment.body_bytes() >= size_of::<H>());
    // SAFETY: an `H` lies there, by the contract; the reference keeps the mapping alive. A peer
    // may write any bits: they are an `H`, by the contract of `Shareable`.
    unsafe { &*segment.body().cast::<H>() }
}

/// The body as words. A last word that the body fills in part is one of them.
#[inline]
pub(crate) fn words(segment: &Segment) -> &[AtomicU64] {
    let count = segment.body_bytes().div_ceil(WORD);
    // SAFETY: the body begins on a multiple of 256 bytes, and the last word begins inside it;
    // pages are whole words, so it ends inside the mapping (past the file's end, but on its
    // last page, which reads as zeroes). Others may write at any time, and any bits are an
    // `AtomicU64`. The reference keeps the mapping alive.
    unsafe { std::slice::from_raw_parts(segment.body().cast::<AtomicU64>(), count) }
}

/// The bytes `at..at + len` of a body. Panics outside, and where a lock lies.
///
/// # Safety
///
/// `_held` holds the lock under which these bytes are.
#[inline]
pub(crate) unsafe fn bytes<'a>(
    segment: &'a Segment,
    at: usize,
    len: usize,
    _held: &'a mut MutexGuard<'_, ()>,
) -> &'a mut [u8] {
    let end = at.checked_add(len);
    assert!(at >= size_of::<Head>() && end.is_some_and(|end| end <= segment.body_bytes()));
    // SAFETY: inside the body, behind the lock; backed by memory, as all of it was allocated
    // when it was made. Exclusive: the lock is held as long as the borrow of `_held` lasts, and
    // everybody who touches these bytes holds it. A holder that died left bytes like any
    // others, and `u8` accepts them all. A peer that writes without the lock breaks the
    // protocol that guards stand for: see the crate's section on trust.
    unsafe { std::slice::from_raw_parts_mut(segment.body().wrapping_add(at), len) }
}

/// A part of a segment: where it begins in the body, and how long it is.
pub(crate) type Part<'a> = (&'a Segment, usize, usize);

/// [`bytes`] of two segments under one lock. `None` if they are one.
///
/// # Safety
///
/// `held` holds the lock under which both are.
pub(crate) unsafe fn both_bytes<'a>(
    one: Part<'a>,
    other: Part<'a>,
    held: &'a mut MutexGuard<'_, ()>,
) -> Option<(&'a mut [u8], &'a mut [u8])> {
    if one.0.same(other.0) {
        return None;
    }
    // SAFETY: by the contract, for as long as `held` is borrowed. The two lie in different
    // mappings, so neither reference reaches into the other, whatever a peer wrote.
    unsafe {
        let first: *mut [u8] = bytes(one.0, one.1, one.2, held);
        Some((&mut *first, bytes(other.0, other.1, other.2, held)))
    }
}

/// The bytes of a body that is being made. Panics outside.
pub(crate) fn new_bytes(segment: &Segment, at: usize, from: &[u8]) {
    let end = at.checked_add(from.len());
    assert!(end.is_some_and(|end| end <= segment.body_bytes()));
    // SAFETY: inside the body; nobody else sees it yet, and nobody will if this process dies.
    unsafe {
        let to = segment.body().wrapping_add(at);
        std::ptr::copy_nonoverlapping(from.as_ptr(), to, from.len());
    }
}

/// The words of memory that is no segment of ours.
#[cfg(feature = "shared_memory")]
pub(crate) fn foreign_words(foreign: &multiproc_segment::interop::Foreign) -> &[AtomicU64] {
    let count = foreign.size().div_ceil(WORD);
    // SAFETY: as in `words`: a mapping begins on a page, and its last page is whole words. The
    // reference keeps it alive.
    unsafe { std::slice::from_raw_parts(foreign.as_ptr().cast::<AtomicU64>(), count) }
}
