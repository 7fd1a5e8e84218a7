//! A managed queue as the argument of a pool's tasks: one worker writes, then one reads until nothing comes any more.
//! Mirrors the tutorial's `Pool(2)` with `Manager().Queue()`, `pool.apply(write, (q,))` and `pool.apply(read, (q,))`.
//! Then the same with a plain Queue, which Python refuses ("should only be shared through inheritance"), and we do not.

mod common;

use common::Options;
use multiproc::{self as mp, Manager, Pool, Queue, manager};
use std::time::Duration;

type Managed = manager::Queue<String>;
type Plain = Queue<String>;

fn main() -> mp::Result {
    let options = Options::read(&[]);
    // Python's reader stops after three seconds without a message.
    let (pause, patience) = (options.seconds(0.5), options.seconds(3.0));
    let manager = Manager::start()?;
    let pool = Pool::new(2)?;

    let queue: Managed = manager.queue()?;
    pool.apply(write_managed, (queue.clone(), pause))?;
    pool.apply(read_managed, (queue, patience))?;
    println!("all done with a managed queue");

    let queue = Plain::bounded(10)?;
    pool.apply(write_plain, (queue.clone(), pause))?;
    pool.apply(read_plain, (queue, patience))?;
    println!("all done with a plain queue");

    pool.close().join()?;
    manager.shut_down()?;
    Ok(())
}

fn write_managed((queue, pause): (Managed, Duration)) {
    for message in ["m1", "m2"] {
        println!("put {message}");
        queue.put(message.to_owned()).expect("the server lives");
        std::thread::sleep(pause);
    }
}

fn read_managed((queue, patience): (Managed, Duration)) {
    while let Ok(message) = queue.get_timeout(patience) {
        println!("got {message}");
    }
}

fn write_plain((queue, pause): (Plain, Duration)) {
    for message in ["m1", "m2"] {
        println!("put {message}");
        queue.put(message.to_owned()).expect("somebody reads");
        std::thread::sleep(pause);
    }
}

fn read_plain((queue, patience): (Plain, Duration)) {
    while let Ok(message) = queue.get_timeout(patience) {
        println!("got {message}");
    }
}
