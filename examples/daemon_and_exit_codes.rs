//! Exit codes (0, n, 1 after a panic, -9 after a kill), a sentinel waited on together with a
//! Connection, and a daemon that ends with its parent. Mirrors Python's `Process.exitcode`,
//! `Process.sentinel` with `connection.wait`, and `daemon=True`.
//!
//! ```text
//! cargo run --release --example daemon_and_exit_codes -- [--scale 1.0]
//! ```

mod common;

use common::Options;
use multiproc::{self as mp, Exit, Pipe, Process, Source};
use std::process::ExitCode;
use std::thread::sleep;
use std::time::Duration;

fn main() -> mp::Result {
    let options = Options::read(&[]);
    let pause = options.seconds(1.0);

    let fine = Process::start(|| {})?;
    let three = Process::start(|| ExitCode::from(3))?;
    // Its message goes to standard error, as a panic's does.
    let panics = Process::start(|| {
        std::panic::set_hook(Box::new(|_| eprintln!("the child panics, on purpose")));
        panic!("on purpose");
    })?;
    let killed = Process::start(|| sleep(Duration::from_secs(3600)))?;
    killed.kill()?;
    for (what, child) in [
        ("returned", fine),
        ("returned 3", three),
        ("panicked", panics),
        ("was killed", killed),
    ] {
        // Python's sign: -9 for signal 9.
        let code = match child.join()? {
            Exit::Code(code) => code,
            Exit::Signal(signal) => -signal,
        };
        println!("{what}: exit code {code}");
    }

    // Whichever comes first: a message, or the end of the process.
    let (left, right) = Pipe::<String>::duplex()?;
    let worker = Process::start(move || -> mp::Result {
        right.send("working".into())?;
        sleep(pause);
        Ok(())
    })?;
    let (mut running, mut talking) = (true, true);
    while running {
        let sources = [Source::descriptor(&worker), Source::from(&left)];
        let sources = if talking { &sources[..] } else { &sources[..1] };
        for ready in mp::wait(sources.iter().copied(), None)? {
            match ready {
                0 => running = false,
                _ => match left.recv() {
                    Ok(text) => println!("message: {text}"),
                    Err(_) => talking = false,
                },
            }
        }
    }
    println!("sentinel: the worker {}", worker.join()?);

    // A parent whose daemon would run for an hour.
    let (rx, tx) = Pipe::<u32>::simplex()?;
    let parent = Process::start(move || -> mp::Result {
        let daemon = Process::builder()
            .daemon(true)
            .start(|| sleep(Duration::from_secs(3600)))?;
        tx.send(daemon.pid())?;
        Ok(())
    })?;
    let daemon = rx.recv()?;
    parent.join()?.ok()?;
    let there = std::path::Path::new(&format!("/proc/{daemon}")).exists();
    println!("the daemon ended with its parent: {}", !there);
    Ok(())
}
