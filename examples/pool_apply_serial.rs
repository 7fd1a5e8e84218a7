//! A Pool of four workers, and six tasks given to it by `apply`, which waits for each one's result.
//! Mirrors the tutorial's `pool.apply(func, args=(i,))` in a loop.
//! So they run strictly in turn: 12 seconds for six tasks of 2 seconds, however many workers there are.

mod common;

use common::Options;
use multiproc::{self as mp, Pool};
use std::thread::sleep;
use std::time::Duration;

fn square((n, pause): (u32, Duration)) -> u32 {
    println!("running {n} in {}", mp::current().pid());
    sleep(pause);
    println!("done {n}");
    n * n
}

fn main() -> mp::Result {
    let options = Options::read(&[]);
    let pool = Pool::new(4)?;
    for n in 1..=6 {
        let result = pool.apply(square, (n, options.seconds(2.0)))?;
        println!("result {result}");
    }
    pool.close().join()
}
