//! The ring's bytes in a segment.

use crate::error::PutError;
use crate::flow::Memory;
use crate::tasks::Tasks;
use multiproc_core::courier::Courier;
use multiproc_core::fd::Ticker;
use multiproc_segment::{AllocateError, Segment};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// The bytes behind a ring: `reserve` of them from `base`, in `segment`.
#[derive(Clone)]
pub(crate) struct Area {
    pub(crate) segment: Segment,
    pub(crate) base: *mut u8,
    /// Where `base` lies in the segment's body.
    pub(crate) offset: usize,
    pub(crate) reserve: usize,
    /// What carries descriptors and bells, if there is one.
    pub(crate) courier: Option<Arc<Courier>>,
    /// What event loops wait for where there is none.
    pub(crate) ticker: Arc<Ticker>,
    /// The ring's claims, in the segment's body.
    pub(crate) tasks: *const Tasks,
}

// SAFETY: the pointer goes into the segment, which is kept alive beside it and may be used
// by any thread; every access is atomic, or under the ring's locks.
unsafe impl Send for Area {}
// SAFETY: as for `Send`.
unsafe impl Sync for Area {}

impl Memory for &Area {
    #[inline]
    fn word(&self, at: usize) -> &AtomicU64 {
        debug_assert!(at.is_multiple_of(8) && at + 8 <= self.reserve);
        // SAFETY: every caller checked `at` against the reserve, which is our own number;
        // `base` is 8-aligned. A peer may write any bits: `AtomicU64` accepts them all, and
        // what is read is checked. Beyond the window the file is sparse, and a read there
        // allocates a page of zeroes.
        unsafe { &*self.base.add(at).cast::<AtomicU64>() }
    }

    #[inline]
    unsafe fn write(&self, at: usize, bytes: &[u8]) {
        debug_assert!(at + bytes.len() <= self.reserve);
        if let Ok(word) = <[u8; 8]>::try_from(bytes) {
            // SAFETY: as below; a copy of known size is two instructions.
            return unsafe { self.base.add(at).cast::<[u8; 8]>().write_unaligned(word) };
        }
        // SAFETY: in range by the contract. Nobody else writes there: we hold the put lock
        // and the range lies beyond the frontier. A peer that breaks the protocol can
        // make the bytes anything, and they are checked after they were copied out.
        unsafe {
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.base.add(at), bytes.len());
        }
    }

    fn grow(&self, from: usize, to: usize) -> Result<(), PutError> {
        self.segment
            .allocate(self.offset + from, to - from)
            .map_err(|e| match e {
                AllocateError::NoSpace { bytes } => PutError::NoMemory { bytes },
                _ => PutError::NoMemory { bytes: to - from },
            })
    }

    fn reader_died(&self, released: u32) {
        // SAFETY: in the segment, which is kept alive beside it; all atomics.
        unsafe { &*self.tasks }.reader_died(released);
    }

    fn delivered(&self, tag: u64) {
        if let Some(courier) = &self.courier {
            courier.remove(tag);
        }
    }

    fn ring_watchers(&self) -> bool {
        self.courier.as_ref().is_none_or(|courier| courier.ring())
    }

    fn tidy(&self, all: bool) {
        match &self.courier {
            Some(courier) if all => courier.clear(),
            Some(courier) => courier.quieten(),
            None => {}
        }
    }

    fn punch(&self, from: usize, to: usize) {
        // A refusal leaves the memory with us until the next time.
        let _ = self.segment.punch(self.offset + from, to - from);
    }

    fn reserve(&self) -> usize {
        self.reserve
    }
}

impl Area {
    /// Copies `len` bytes from the offset to `to`.
    ///
    /// # Safety
    ///
    /// The range is inside the reserve; `to` has room for `len` bytes.
    #[inline]
    pub(crate) unsafe fn read(&self, at: usize, len: usize, to: *mut u8) {
        debug_assert!(at + len <= self.reserve);
        // SAFETY: by the contract. The bytes are as the writer committed them; a peer that
        // breaks the protocol can change them under the copy: then the copy holds
        // something else, and decoding works on the copy alone.
        unsafe { std::ptr::copy_nonoverlapping(self.base.add(at), to, len) }
    }

    /// Copies a record that was checked against the reserve out, replacing the content of
    /// `to`.
    #[inline]
    pub(crate) fn read_into(&self, at: usize, len: usize, to: &mut Vec<u8>) {
        to.clear();
        self.append_to(at, len, to);
    }

    /// Copies a record that was checked against the reserve to the end of `to`.
    #[inline]
    pub(crate) fn append_to(&self, at: usize, len: usize, to: &mut Vec<u8>) {
        to.reserve(len);
        let end = to.len();
        if len == 8 {
            // SAFETY: as below; a copy of known size is two instructions.
            unsafe {
                let word = self.base.add(at).cast::<[u8; 8]>().read_unaligned();
                to.as_mut_ptr()
                    .add(end)
                    .cast::<[u8; 8]>()
                    .write_unaligned(word);
                to.set_len(end + 8);
            }
            return;
        }
        // SAFETY: `to` has room for `len` more bytes, and they are all written; the range
        // was checked when the record was found.
        unsafe {
            self.read(at, len, to.as_mut_ptr().add(end));
            to.set_len(end + len);
        }
    }
}
