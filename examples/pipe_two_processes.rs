//! A duplex Pipe between two processes, one end each: both send, wait a while, and receive.
//! Mirrors the tutorial's `conn1, conn2 = multiprocessing.Pipe()`, whose p1 and p2 each call `send` and
//! `recv` on their own connection. Moved into its process, an end belongs to it, and to nobody else.

mod common;

use common::Options;
use multiproc::{self as mp, Connection, Pipe, Process};
use std::thread::sleep;
use std::time::Duration;

fn main() -> mp::Result {
    let options = Options::read(&[]);
    let pause = options.seconds(0.8);
    let (left, right) = Pipe::<String>::duplex()?;
    let p1 = Process::start(move || talk("p1", left, pause))?;
    let p2 = Process::start(move || talk("p2", right, pause))?;
    mp::join_all([p1, p2])
}

fn talk(name: &str, connection: Connection<String>, pause: Duration) -> mp::Result {
    connection.send(format!("this message is from {name}"))?;
    sleep(pause);
    println!("{name} recv: {}", connection.recv()?);
    Ok(())
}
