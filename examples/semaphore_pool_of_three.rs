//! Eight processes, three at a time inside; a killed one gives its permit back; one release too many.
//! Mirrors Python's `Semaphore(3)`: `with sem:` in each of eight `Process`es, and
//! `BoundedSemaphore`, whose `release` raises ValueError above its start.
//!
//! ```text
//! cargo run --release --example semaphore_pool_of_three -- [--scale 1.0]
//! ```

mod common;

use common::Options;
use multiproc::{self as mp, BoundedSemaphore, Process, Semaphore, Shared};
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::thread::sleep;

fn main() -> mp::Result {
    let options = Options::read(&[]);
    let gate = Shared::new(Semaphore::new(3))?;
    let inside = Shared::new(AtomicU32::new(0))?;
    let most = Shared::new(AtomicU32::new(0))?;

    let children = Process::start_each(1..=8, |i| {
        let _permit = gate.permit();
        let now = inside.fetch_add(1, SeqCst) + 1;
        most.fetch_max(now, SeqCst);
        println!("{i} is inside, {now} now");
        sleep(options.seconds(0.5));
        inside.fetch_sub(1, SeqCst);
        println!("{i} leaves");
    })?;
    mp::join_all(children)?;
    assert!(
        most.load(SeqCst) <= 3,
        "{} were inside at a time",
        most.load(SeqCst)
    );
    println!(
        "at most {} at a time, {} permits free",
        most.load(SeqCst),
        gate.value()
    );

    // Python's semaphore would be one short for ever now.
    let victim = Process::start(|| {
        let _permit = gate.permit();
        sleep(options.seconds(3600.0));
    })?;
    while gate.value() == 3 {
        std::thread::yield_now();
    }
    victim.kill()?;
    println!("a holder {}", victim.join()?);
    let all = gate.permits(3)?;
    println!("and all {} permits are here", all.count());
    drop(all);

    let bounded = Shared::new(BoundedSemaphore::new(2))?;
    bounded.acquire();
    bounded.release()?;
    match bounded.release() {
        Err(refused) => println!("refused: {refused}; the value is {}", bounded.value()),
        Ok(()) => panic!("a bounded semaphore rose above its start"),
    }
    Ok(())
}
