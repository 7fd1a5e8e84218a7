use multiproc_segment::{Shareable, Shared};
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering::Relaxed};

#[derive(Shareable)]
#[repr(C, align(64))]
struct Line<T, const N: usize>([T; N]);

#[derive(Shareable)]
#[repr(C)]
struct Table {
    lines: [Line<AtomicU32, 4>; 2],
    flags: Pair,
}

#[derive(Shareable)]
#[repr(transparent)]
struct Pair([AtomicU8; 2]);

fn main() {
    let line = || Line([const { AtomicU32::new(3) }; 4]);
    let table = Shared::new(Table {
        lines: [line(), line()],
        flags: Pair([const { AtomicU8::new(0) }; 2]),
    })
    .unwrap();
    assert_eq!(table.lines[1].0[3].load(Relaxed), 3);
    assert_eq!(table.flags.0[1].load(Relaxed), 0);
}
