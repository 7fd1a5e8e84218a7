//! Five processes in lockstep through three phases, an action once per phase; then abort and reset.
//! Mirrors Python's `Barrier(5, action)`: `b.wait()` after each phase in five `Process`es,
//! `b.abort()`, `b.reset()`, `BrokenBarrierError`.
//!
//! ```text
//! cargo run --release --example barrier_phases -- [--scale 1.0]
//! ```

mod common;

use common::Options;
use multiproc::{self as mp, Barrier, Process, Shared};
use std::thread::sleep;

fn main() -> mp::Result {
    let options = Options::read(&[]);
    let barrier = Shared::new(Barrier::new(5))?;

    let children = Process::start_each(1..=5, |me| -> mp::Result {
        for phase in 1..=3 {
            sleep(options.seconds(0.1 * f64::from(me)));
            println!("{me} has done phase {phase}");
            // Whoever comes last says so, before anybody goes on.
            barrier.wait_with(|| println!("--- all have done phase {phase} ---"))?;
        }
        Ok(())
    })?;
    mp::join_all(children)?;

    let waiters = Process::start_each(1..=4, |me| match barrier.wait() {
        Ok(_) => println!("{me} passed"),
        Err(broken) => println!("{me}: {broken}"),
    })?;
    while barrier.waiting() < 4 {
        std::thread::yield_now();
    }
    println!(
        "abort, with {} of {} waiting",
        barrier.waiting(),
        barrier.parties()
    );
    barrier.abort();
    mp::join_all(waiters)?;
    println!("broken: {}", barrier.is_broken());

    barrier.reset();
    println!("broken after reset: {}", barrier.is_broken());
    let again = Process::start_each(1..=5, |me| -> mp::Result {
        barrier.wait()?;
        println!("{me} passed");
        Ok(())
    })?;
    mp::join_all(again)
}
