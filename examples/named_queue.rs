//! Two programs that were started separately meet at a queue by its name; a third one tries
//! another message type, and is told what is there. Python has no queue by name: its way is a
//! manager at an address. One file: it runs itself again, once for each role.
//!
//! ```text
//! cargo run --release --example named_queue -- [--role reader|writer|stranger --name NAME] [--scale 1.0]
//! ```

mod common;

use common::Options;
use multiproc::{self as mp, Queue};
use serde::{Deserialize, Serialize};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

#[derive(Serialize, Deserialize, Debug)]
struct Job {
    id: u32,
    path: String,
}

const JOBS: u32 = 3;

fn main() -> mp::Result<ExitCode> {
    let options = Options::read(&["--role", "--name"]);
    let name = options.value("--name", format!("example-{}", std::process::id()));
    match options.values("--role").first().map(String::as_str) {
        None => all_three(&name),
        Some("reader") => reader(&name),
        Some("writer") => writer(&name),
        Some("stranger") => stranger(&name),
        Some(other) => common::refuse(&format!("no role {other}")),
    }
}

fn reader(name: &str) -> mp::Result<ExitCode> {
    // Whoever comes first makes it; who comes later finds it.
    let jobs = Queue::<Job>::options()
        .capacity(1_000)
        .open_or_create(name)?;
    for _ in 0..JOBS {
        println!("reader: {:?}", jobs.get()?);
    }
    Ok(ExitCode::SUCCESS)
}

fn writer(name: &str) -> mp::Result<ExitCode> {
    let jobs = Queue::<Job>::options()
        .capacity(1_000)
        .open_or_create(name)?;
    for id in 1..=JOBS {
        let path = format!("{id}.txt");
        jobs.put_timeout(Job { id, path }, Duration::from_secs(10))?;
        println!("writer: put job {id}");
    }
    Ok(ExitCode::SUCCESS)
}

fn stranger(name: &str) -> mp::Result<ExitCode> {
    match Queue::<String>::open(name) {
        Err(refused) => println!("stranger: {refused}"),
        Ok(_) => return Ok(ExitCode::FAILURE),
    }
    Ok(ExitCode::SUCCESS)
}

/// Starts the three as programs of their own.
fn all_three(name: &str) -> mp::Result<ExitCode> {
    let program = std::env::current_exe()?;
    let start = |role: &str| {
        let arguments = ["--role", role, "--name", name];
        Command::new(&program)
            .args(arguments)
            .stdin(Stdio::null())
            .spawn()
    };
    let (mut reader, mut writer) = (start("reader")?, start("writer")?);
    let both = writer.wait()?.success() & reader.wait()?.success();
    // The name stays until somebody unlinks it, also when nobody has it open.
    let told = start("stranger")?.wait()?.success();
    Queue::<Job>::unlink(name)?;
    println!("unlinked {name}: {}", Queue::<Job>::open(name).is_err());
    Ok(match both && told {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}
