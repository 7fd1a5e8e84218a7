//! Eight processes print blocks of lines: without a Lock they mix, with it each block stays whole.
//! Mirrors the tutorial's `Lock` around `print`, and `with lock:`.
//! Then a Lock is released by another process than the one that acquired it, as Python allows.

mod common;

use common::Options;
use multiproc::{self as mp, Lock, Process, Shared};
use std::io::Write;
use std::thread::sleep;

fn main() -> mp::Result {
    let options = Options::read(&[]);

    println!("without a lock:");
    block_each(&options, None)?;

    println!("with a lock:");
    let lock = Shared::new(Lock::new())?;
    block_each(&options, Some(&lock))?;

    released_by_another(&lock)
}

/// Eight processes, one block of three lines each.
fn block_each(options: &Options, lock: Option<&Lock>) -> mp::Result {
    let children = Process::start_each(1..=8, |n| -> mp::Result {
        let _held = match lock {
            Some(lock) => Some(lock.lock()?), // Err(OwnerDied(guard)) if its holder was killed
            None => None,
        };
        for line in ["one", "two", "three"] {
            println!("block {n}: line {line}");
            std::io::stdout().flush()?; // the others print in between, if they can
            sleep(options.seconds(0.02));
        }
        Ok(())
    })?;
    mp::join_all(children)
}

/// The parent acquires, a child releases, the parent goes on.
fn released_by_another(lock: &Lock) -> mp::Result {
    lock.acquire()?;
    println!("parent: acquired, {lock:?}");
    let child = Process::start(|| -> mp::Result {
        println!(
            "child: {}",
            if lock.is_locked() {
                "it is locked"
            } else {
                "it is free"
            }
        );
        println!("child: releases what the parent acquired");
        lock.release()?;
        Ok(())
    })?;
    lock.acquire()?; // waits for the child
    println!("parent: acquired again");
    lock.release()?;
    match lock.release() {
        Ok(()) => println!("parent: released a free lock?"),
        Err(error) => println!("parent: one release too many: {error}"),
    }
    mp::join_all([child])
}
