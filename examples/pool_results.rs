//! Ten results that come later: a Pool of four, ten squares of 3 seconds each, all asked for at the end.
//! Mirrors the tutorial's list of `apply_async` results, `close`, `join`, then `res.get()` for each.
//! Three waves, about 9 seconds; the results are in the order of the tasks.

mod common;

use common::Options;
use multiproc::{self as mp, AsyncResult, Pool};
use std::thread::sleep;
use std::time::Duration;

fn square((n, pause): (u32, Duration)) -> u32 {
    println!("{n} in {}", mp::current().pid());
    sleep(pause);
    n * n
}

fn main() -> mp::Result {
    let options = Options::read(&[]);
    let pool = Pool::new(4)?;
    let mut results = Vec::new();
    for n in 0..10 {
        results.push(pool.apply_async(square, (n, options.seconds(3.0)))?);
    }
    pool.close().join()?;
    // The pool is gone; what its workers said is here.
    let squares: Result<Vec<u32>, _> = results.into_iter().map(AsyncResult::get).collect();
    println!("{:?}", squares?);
    Ok(())
}
