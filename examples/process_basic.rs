//! One child with an argument: start it, wait for it.
//! Mirrors the tutorial's `Process(target=run_proc, args=('test',))` with `start` and `join`.
//! Nothing needs to be passed: the child has a copy of all that the parent has, and borrows it.

mod common;

use multiproc::{self as mp, Process};

fn main() -> mp::Result {
    common::Options::read(&[]);
    println!("parent process {}", mp::current().pid());
    let name = String::from("test");
    println!("start");
    let child = Process::start(|| println!("child process {name} ({})", mp::current().pid()))?;
    mp::join_all([child])?;
    println!("end");
    Ok(())
}
