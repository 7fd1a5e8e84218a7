use multiproc_segment::{Shareable, Shared};
use std::sync::atomic::AtomicU32;

#[derive(Shareable)]
#[repr(C)]
struct Noisy(AtomicU32);

impl Drop for Noisy {
    fn drop(&mut self) {}
}

fn main() {
    let _ = Shared::new(Noisy(AtomicU32::new(0)));
}
