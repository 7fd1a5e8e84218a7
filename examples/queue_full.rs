//! A Queue of three: when it is full, how many wait in it, and what a put does then.
//! Mirrors the tutorial's `Queue(3)` with `full`, `put_nowait`, `put(timeout=...)`, `qsize` and `get`.
//! Here the numbers are exact: what `put` returned for is in the queue, for every process.

mod common;

use common::Options;
use multiproc::{self as mp, PutTimeoutError, Queue, TryPutError};

fn main() -> mp::Result {
    let options = Options::read(&[]);
    let queue = Queue::<String>::bounded(3)?;

    queue.put("m1".to_owned())?;
    queue.put("m2".to_owned())?;
    println!("full: {}", queue.is_full());
    queue.put("m3".to_owned())?;
    println!("full: {}", queue.is_full());

    match queue.try_put("m4".to_owned()) {
        Err(TryPutError::Full(message)) => println!("{message}: full with {} queued", queue.len()),
        other => other?,
    }
    match queue.put_timeout("m4".to_owned(), options.seconds(2.0)) {
        Err(PutTimeoutError::Timeout(message)) => {
            println!(
                "{message}: full with {} queued after the timeout",
                queue.len()
            );
        }
        other => other?,
    }
    println!("got {}", queue.get()?);
    Ok(())
}
