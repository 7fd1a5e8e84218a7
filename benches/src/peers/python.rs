//! CPython's `multiprocessing`, if there is a `python3`: the program next door runs, times itself, and prints its figure.

use super::Peer;
use crate::channel::Run;
use crate::harness::Measure;
use crate::sys::{self, Outcome, Res};
use std::process::Command;
use std::time::Duration;

const PROGRAM: &str = include_str!("python.py");
const POOL: &str = include_str!("python_pool.py");

/// Is there a `python3`?
pub(crate) fn is_there() -> bool {
    Command::new("python3")
        .arg("--version")
        .output()
        .is_ok_and(|output| output.status.success())
}

/// The contender in a row of the group `manager`, where there is a `python3`.
pub(crate) fn manager(row: &str) -> Option<(&'static str, Measure)> {
    let measure: Measure = match row {
        "dict set" => |run| call(run, "manager", "set"),
        "dict get" => |run| call(run, "manager", "get"),
        "queue put, get" => |run| call(run, "manager", "put and get"),
        _ => |run| call(run, "managed queue", "oneway"),
    };
    is_there().then_some(("python Manager", measure))
}

/// `Queue` and `Pipe` with bytes, or nobody where there is no `python3`.
pub(crate) fn all() -> Vec<Peer> {
    if !is_there() {
        return Vec::new();
    }
    let peer = |who, one_to_one, awake| Peer {
        who,
        sizes: 0..=usize::MAX,
        one_to_one: Some(one_to_one),
        two_to_two: None,
        awake: Some(awake),
        asleep: None,
    };
    vec![
        peer(
            "python Queue",
            |run| call(run, "queue", "oneway"),
            |run| call(run, "queue", "awake"),
        ),
        peer(
            "python send_bytes",
            |run| call(run, "pipe", "oneway"),
            |run| call(run, "pipe", "awake"),
        ),
    ]
}

fn call(run: &Run, kind: &str, what: &str) -> Res<Outcome> {
    let text = output(run, PROGRAM, &[kind, what, &run.size.to_string()])?;
    match what {
        "awake" | "attach" => latencies(&text),
        _ => rate(&text),
    }
}

/// Opens this name in /dev/shm as a `SharedMemory` again and again.
pub(crate) fn attach(run: &Run, name: &str) -> Res<Outcome> {
    call(run, name, "attach")
}

/// `Pool(2)`: a map with chunks of this size (0: its own choice), in tasks per second.
pub(crate) fn pool_map(run: &Run, chunk: usize) -> Res<Outcome> {
    rate(&output(run, POOL, &["map", &chunk.to_string()])?)
}

/// `Pool(2)`: one `apply` after the other, as soon as can be or with a pause.
pub(crate) fn pool_apply(run: &Run, pause: Duration) -> Res<Outcome> {
    let pause = pause.as_secs_f64().to_string();
    latencies(&output(run, POOL, &["apply", &pause])?)
}

/// Runs a program, which gets these arguments, the times and the CPUs: what it prints.
fn output(run: &Run, program: &str, arguments: &[&str]) -> Res<String> {
    let cpus = run
        .cpus
        .map_or("-".to_owned(), |[one, two]| format!("{one},{two}"));
    let times = [run.warm, run.time].map(|time| time.as_secs_f64().to_string());
    let output = Command::new("python3")
        .args(["-c", program])
        .args(arguments)
        .args(times)
        .arg(cpus)
        .output()?;
    match output.status.success() {
        true => Ok(String::from_utf8(output.stdout)?),
        false => Err(format!("python3: {}", String::from_utf8_lossy(&output.stderr)).into()),
    }
}

fn rate(text: &str) -> Res<Outcome> {
    Ok(Outcome::Value(text.trim().parse()?))
}

/// Nanoseconds.
fn latencies(text: &str) -> Res<Outcome> {
    let mut latency = sys::histogram();
    for nanoseconds in text.split_whitespace() {
        latency.record(nanoseconds.parse()?)?;
    }
    Ok(Outcome::Latency(latency))
}
