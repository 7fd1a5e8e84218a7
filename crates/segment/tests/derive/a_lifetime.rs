use multiproc_segment::Shareable;
use std::sync::atomic::AtomicU32;

#[derive(Shareable)]
#[repr(C)]
struct Borrows<'a> {
    count: &'a AtomicU32,
}

fn main() {}
