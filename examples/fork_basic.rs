//! A bare fork: from one call two processes return, and both run to the end of the program.
//! Mirrors the tutorial's `pid = os.fork()`, `if pid == 0: … else: …`.
//! The parent waits for its child before it speaks, so that the lines always come in this order.

mod common;

use common::Options;
use multiproc::{self as mp, Fork};
use std::thread::sleep;

fn main() -> mp::Result {
    let options = Options::read(&[]);
    match mp::fork()? {
        Fork::Child => {
            sleep(options.seconds(2.0));
            println!("the new process");
        }
        Fork::Parent(child) => {
            sleep(options.seconds(3.0));
            mp::join_all([child])?;
            println!("The old process");
        }
    }
    println!("Fork test over");
    Ok(())
}
