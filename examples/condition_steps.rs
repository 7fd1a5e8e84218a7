//! One process waits, with `wait_for`, until another one has raised a counter to ten.
//! Mirrors Python's `Condition`: `with cond: cond.wait_for(lambda: n.value >= 10)` here,
//! `n.value += 1; cond.notify()` there.
//!
//! ```text
//! cargo run --release --example condition_steps -- [--scale 1.0]
//! ```

mod common;

use common::Options;
use multiproc::{self as mp, Condition, Mutex, Process, Shareable, Shared};
use std::thread::sleep;

/// A counter, its lock, and the news that it has changed.
#[derive(Shareable)]
#[repr(C)]
struct Steps {
    count: Mutex<u32>,
    changed: Condition,
}

fn main() -> mp::Result {
    let options = Options::read(&[]);
    let steps = Shared::new(Steps {
        count: Mutex::new(0),
        changed: Condition::new(),
    })?;

    let climber = Process::start(|| -> mp::Result {
        for _ in 0..10 {
            sleep(options.seconds(0.1));
            let mut count = steps.count.lock()?;
            *count += 1;
            println!("step {}", *count);
            steps.changed.notify_all(&count);
        }
        Ok(())
    })?;

    let count = steps.count.lock()?;
    let (count, reached) = steps.changed.wait_for(count, |count| **count >= 5)?;
    println!("at least five: {reached}");
    let (count, reached) = steps.changed.wait_for(count, |count| **count == 10)?;
    println!("all ten: {reached}");
    let timeout = options.seconds(0.2);
    let (count, reached) = steps
        .changed
        .wait_for_timeout(count, timeout, |count| **count == 11)?;
    println!("an eleventh, in a while: {reached}");
    drop(count);
    climber.join()?.ok()?;
    Ok(())
}
