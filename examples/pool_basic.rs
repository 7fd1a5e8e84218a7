//! A Pool of four workers, and four tasks that each say where they run.
//! Mirrors the tutorial's `pool.apply_async(task, (i,))` in a loop, then `close` and `join`.
//! `join` waits for the tasks, so `end` is the last line.

mod common;

use common::Options;
use multiproc::{self as mp, Pool};
use std::thread::sleep;
use std::time::Duration;

fn task((n, pause): (u32, Duration)) {
    println!("{n}: child process {}", mp::current().pid());
    sleep(pause);
}

fn main() -> mp::Result {
    let options = Options::read(&[]);
    println!("start");
    let pool = Pool::new(4)?;
    for n in 0..4 {
        // It is done, whether anybody asks for its result or not.
        pool.apply_async(task, (n, options.seconds(1.0)))?;
    }
    pool.close().join()?;
    println!("end");
    Ok(())
}
