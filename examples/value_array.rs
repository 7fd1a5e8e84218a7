//! Counters and an array that four processes change at once: what a lock is for, and what not.
//! Mirrors `Value('i')` with `get_lock()`, and `Array('d', n)`; Python has no counter without a lock.
//! A `get` followed by a `set` loses what others add in between; a guard and an atomic do not.

mod common;

use multiproc::{self as mp, Array, Process, Shared, Value};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

const TIMES: u64 = 20_000;
const PARTS: usize = 4;

fn main() -> mp::Result {
    common::Options::read(&[]);
    counters()?;
    array()
}

fn counters() -> mp::Result {
    let guarded = Value::new(0_u64)?;
    let careless = Value::new(0_u64)?;
    let atomic = Shared::new(AtomicU64::new(0))?;
    let children = Process::start_each(0..4, |_| -> mp::Result {
        for _ in 0..TIMES {
            *guarded.lock()? += 1; // one lock around reading and writing
            careless.set(careless.get()? + 1)?; // two: somebody else may come in between
            atomic.fetch_add(1, Relaxed); // no lock at all
        }
        Ok(())
    })?;
    mp::join_all(children)?;
    let expected = 4 * TIMES;
    println!("with the lock: {} of {expected}", guarded.get()?);
    println!("get, then set: {} of {expected}", careless.get()?);
    println!("atomic:        {} of {expected}", atomic.load(Relaxed));
    Ok(())
}

fn array() -> mp::Result {
    let squares = Array::<u64>::zeroed(1_000)?;
    let part = squares.len() / PARTS;
    let fillers = Process::start_each(0..PARTS, |k| -> mp::Result {
        let mine = k * part..(k + 1) * part;
        let values: Vec<u64> = mine.clone().map(|i| (i * i) as u64).collect();
        squares.lock()?[mine.clone()].copy_from_slice(&values);
        println!("{} filled {mine:?}", mp::current().pid());
        Ok(())
    })?;
    mp::join_all(fillers)?;
    let held = squares.lock()?; // a slice, as long as it is held
    println!(
        "sum of {} squares: {}",
        held.len(),
        held.iter().sum::<u64>()
    );
    Ok(())
}
