//! One process writes to a Queue, another reads from it for ever, and is terminated when it is done.
//! Mirrors the tutorial's `write` and `read`: `pw.join(); pr.terminate()`.
//! There the reader is sometimes terminated before it has read all; here it says what it has read.

mod common;

use common::Options;
use multiproc::{self as mp, Process, Queue};
use std::thread::sleep;

fn main() -> mp::Result {
    let options = Options::read(&[]);
    let queue = Queue::<char>::bounded(10)?;
    let done = Queue::<char>::bounded(10)?;

    let writer = Process::start(|| -> mp::Result {
        for letter in ['A', 'B', 'C'] {
            println!("Put {letter}");
            queue.put(letter)?;
            sleep(options.seconds(0.5));
        }
        Ok(())
    })?;
    let reader = Process::start(|| -> mp::Result {
        loop {
            let letter = queue.get()?;
            println!("Get {letter}");
            done.put(letter)?;
        }
    })?;

    mp::join_all([writer])?;
    for _ in 0..3 {
        done.get()?;
    }
    reader.terminate()?;
    println!("the reader ended: {}", reader.join()?);
    Ok(())
}
