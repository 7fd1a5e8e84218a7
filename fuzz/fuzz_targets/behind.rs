//! The ring behind an end of a pipe.

use multiproc_ring::Ring;
use serde::Serialize;
use std::os::fd::OwnedFd;

/// The ring, as a peer of any kind has it, and its courier.
pub fn behind(end: &impl Serialize) -> (Ring, OwnedFd) {
    let (bytes, parcel) = multiproc_parcel::pack(|| postcard::to_allocvec(end));
    let bytes = bytes.expect("it travels");
    // Segment, courier, which ring of how many, its tag.
    type Parts = (u32, Option<u32>, (u8, u8), String);
    let ((_, _, place, tag), _) = postcard::take_from_bytes::<Parts>(&bytes).expect("the parts");
    let copy = |at: usize| parcel.descriptors()[at].try_clone().expect("a descriptor");
    let ring = Ring::attach(copy(0), Some(copy(1)), &tag, place).expect("the ring");
    (ring, copy(1))
}
