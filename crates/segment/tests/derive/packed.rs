use multiproc_segment::Shareable;
use std::sync::atomic::AtomicU8;

#[derive(Shareable)]
#[repr(C, packed)]
struct Tight {
    count: AtomicU8,
}

fn main() {}
