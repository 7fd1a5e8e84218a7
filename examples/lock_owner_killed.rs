//! The holder of a Mutex is killed with SIGKILL in the middle of a change.
//! Mirrors what in Python hangs for ever: a lock whose owner died is never acquired again.
//! Here the next one gets it at once, with the news; it mends the data and goes on.

mod common;

use common::Options;
use multiproc::{self as mp, Event, Mutex, OwnerDied, Process, Shared};
use std::thread::sleep;
use std::time::Instant;

fn main() -> mp::Result {
    let options = Options::read(&[]);
    // Two accounts, whose sum is always 100 while nobody holds the lock.
    let accounts = Shared::new(Mutex::new([100_i64, 0]))?;
    let half_done = Shared::new(Event::new())?;

    let holder = Process::start(|| -> mp::Result {
        let mut held = accounts.lock()?;
        held[0] -= 30;
        println!(
            "holder {}: took 30 from the first account",
            mp::current().pid()
        );
        half_done.set();
        loop {
            sleep(options.seconds(1.0)); // never comes to the second account
        }
    })?;
    half_done.wait();
    println!("parent: {:?}", *accounts);

    let killed = Instant::now();
    holder.kill()?;
    match accounts.lock() {
        Ok(held) => println!("parent: nobody died? {held:?}"),
        Err(OwnerDied(mut held)) => {
            let after = killed.elapsed();
            println!("parent: got the lock, its owner died: {held:?}");
            held[1] = 100 - held[0];
            held.mended(); // without this, the next one is told again
            println!("parent: mended: {held:?}");
            println!("recovered in {after:?}");
        }
    }
    println!("the holder ended: {}", holder.join()?);

    // Nobody needs to know any more.
    let children = Process::start_each(1..=2, |n| -> mp::Result {
        let mut held = accounts.lock()?;
        held[0] += 1;
        held[1] -= 1;
        println!(
            "child {n}: {held:?}, the sum is {}",
            held.iter().sum::<i64>()
        );
        Ok(())
    })?;
    mp::join_all(children)
}
