//! What a child changes, it changes in its own copy: a global and a list stay as they were.
//! Mirrors the tutorial's `global m`, `m += 1` and `names.append('jack')` in two children.
//! Then the same with shared memory, where the parent sees the change.

mod common;

use multiproc::{self as mp, Process};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// The global. Not in shared memory: each process has its own.
static M: AtomicU32 = AtomicU32::new(1);

fn main() -> mp::Result {
    common::Options::read(&[]);
    copies()
}

/// Ordinary memory. The children even borrow `names` mutably: what they change is their copy.
fn copies() -> mp::Result {
    let mut names = vec!["peter"];
    for _ in 0..2 {
        let child = Process::start(|| {
            M.fetch_add(1, Relaxed);
            names.push("jack");
            println!(
                "child {}: {} {names:?}",
                mp::current().pid(),
                M.load(Relaxed)
            );
        })?;
        mp::join_all([child])?;
    }
    println!(
        "parent {}: {} {names:?}",
        mp::current().pid(),
        M.load(Relaxed)
    );
    Ok(())
}

// The second half, with `Value` and `Array`, comes with those types: the same two children,
// and a parent that sees both of their changes.
