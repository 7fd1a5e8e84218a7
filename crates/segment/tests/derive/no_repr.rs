use multiproc_segment::Shareable;
use std::sync::atomic::AtomicU32;

#[derive(Shareable)]
struct Loose {
    count: AtomicU32,
}

fn main() {}
