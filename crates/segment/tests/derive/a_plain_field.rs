use multiproc_segment::Shareable;
use std::sync::atomic::AtomicU32;

#[derive(Shareable)]
#[repr(C)]
struct Mixed {
    count: AtomicU32,
    bare: u64,
}

fn main() {}
