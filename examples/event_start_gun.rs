//! Six processes wait for one `set`; a wait with a timeout; clear, and again.
//! Mirrors Python's `Event`: `e.wait()` in each of six `Process`es, `e.set()` in the
//! parent, `e.wait(timeout)`, `e.clear()`.
//!
//! ```text
//! cargo run --release --example event_start_gun -- [--scale 1.0]
//! ```

mod common;

use common::Options;
use multiproc::{self as mp, Event, Process, Shared};
use std::thread::sleep;

fn main() -> mp::Result {
    let options = Options::read(&[]);
    let go = Shared::new(Event::new())?;

    for heat in 1..=2 {
        let runners = Process::start_each(1..=6, |lane| {
            go.wait();
            println!("heat {heat}: lane {lane} runs");
        })?;
        println!("heat {heat}: on your marks");
        let false_start = go.wait_timeout(options.seconds(0.5));
        println!("heat {heat}: set after half a second? {false_start}");
        println!("heat {heat}: bang");
        go.set();
        mp::join_all(runners)?;
        go.clear();
    }

    // Whoever waits when it is set goes on, also when it is cleared at once.
    let waiter = Process::start(|| -> i32 { !go.wait_timeout(options.seconds(60.0)) as i32 })?;
    sleep(options.seconds(1.0));
    go.set();
    go.clear();
    waiter.join()?.ok()?;
    println!("a pulse was enough; it is set now: {}", go.is_set());
    Ok(())
}
