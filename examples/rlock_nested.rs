//! A recursive lock, taken three deep by one process; it is free after the third release.
//! Mirrors the tutorial's `RLock`: acquire as often as you like, release as often.
//! Another process waits until the last release, and may not release what it does not own.

mod common;

use common::Options;
use multiproc::{self as mp, Event, Process, RLock, Shared};
use std::thread::sleep;

fn main() -> mp::Result {
    let options = Options::read(&[]);
    let lock = Shared::new(RLock::new())?;
    let nested = Shared::new(Event::new())?;
    let refused = Shared::new(Event::new())?;

    let owner = Process::start(|| -> mp::Result {
        for level in 1..=3 {
            lock.acquire()?;
            println!("owner: acquired, level {level}");
        }
        nested.set();
        refused.wait(); // keeps it while the other one tries
        for level in (0..3).rev() {
            sleep(options.seconds(0.2));
            println!("owner: releases, level {level} is left");
            lock.release()?;
        }
        Ok(())
    })?;
    let other = Process::start(|| -> mp::Result {
        nested.wait();
        match lock.release() {
            Ok(()) => println!("other: released it?"),
            Err(_) => println!("other: may not release it"),
        }
        match lock.acquire_timeout(options.seconds(0.1)) {
            Ok(()) => println!("other: acquired it?"),
            Err(error) => println!("other: {error}"),
        }
        refused.set();
        let held = lock.lock()?; // until the third release
        println!("other: acquired, level {}", lock.count());
        drop(held);
        Ok(())
    })?;
    mp::join_all([owner, other])
}
