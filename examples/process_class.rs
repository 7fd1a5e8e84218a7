//! A type of one's own with its own `run`: eight of them are started in a loop, and not joined.
//! Mirrors the tutorial's `class MyProcess(Process)`, which overrides `run`.
//! The program ends after about 2 seconds: a normal exit waits for every child that is no daemon.

mod common;

use common::Options;
use multiproc::{self as mp, Process, Run};
use std::thread::sleep;
use std::time::Duration;

struct Task {
    name: String,
    pause: Duration,
}

impl Run for Task {
    type Output = ();

    fn run(self) {
        println!("Process---{}", mp::current().name());
        sleep(self.pause);
    }

    fn name(&self) -> Option<String> {
        Some(self.name.clone())
    }
}

fn main() -> mp::Result {
    let options = Options::read(&[]);
    for i in 1..=8 {
        let task = Task {
            name: format!("Task-{i}"),
            pause: options.seconds(2.0),
        };
        Process::start_with(task)?;
    }
    Ok(())
}
