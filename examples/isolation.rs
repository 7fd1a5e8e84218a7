//! What a child changes, it changes in its own copy: a global and a list stay as they were.
//! Mirrors the tutorial's `global m`, `m += 1` and `names.append('jack')` in two children.
//! Then the same with shared memory, where the parent sees the change.

mod common;

use multiproc::{self as mp, Array, FixedString, Process, Value};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// The global. Not in shared memory: each process has its own.
static M: AtomicU32 = AtomicU32::new(1);

fn main() -> mp::Result {
    common::Options::read(&[]);
    copies()?;
    shared()
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

/// Shared memory: one number and one row of names, the same for all.
fn shared() -> mp::Result {
    let m = Value::new(1)?;
    let names = Array::<Name>::zeroed(3)?;
    names.set(0, Name::new("peter")?)?;
    let show = |who: &str| -> mp::Result {
        let m = m.get()?;
        let names = names.lock()?;
        let names: Vec<&Name> = names.iter().filter(|name| **name != "").collect();
        println!("{who} {}: {m} {names:?} shared", mp::current().pid());
        Ok(())
    };
    for _ in 0..2 {
        let child = Process::start(|| -> mp::Result {
            *m.lock()? += 1;
            if let Some(free) = names.lock()?.iter_mut().find(|name| **name == "") {
                *free = Name::new("jack")?;
            }
            show("child")
        })?;
        mp::join_all([child])?;
    }
    show("parent")
}

/// Text in shared memory has a size.
type Name = FixedString<16>;
