//! CPython's `multiprocessing`, if there is a `python3`: the program next door runs, times itself, and prints its figure.

use super::Peer;
use crate::channel::Run;
use crate::harness::Measure;
use crate::sys::{self, Outcome, Res};
use std::process::Command;

const PROGRAM: &str = include_str!("python.py");

fn is_there() -> bool {
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

/// Runs the program and reads what it prints: a rate, or nanoseconds.
fn call(run: &Run, kind: &str, what: &str) -> Res<Outcome> {
    let cpus = run
        .cpus
        .map_or("-".to_owned(), |[one, two]| format!("{one},{two}"));
    let (size, warm, time) = (
        run.size.to_string(),
        run.warm.as_secs_f64().to_string(),
        run.time.as_secs_f64().to_string(),
    );
    let output = Command::new("python3")
        .args(["-c", PROGRAM, kind, what, &size, &warm, &time, &cpus])
        .output()?;
    let text = String::from_utf8(output.stdout)?;
    if !output.status.success() {
        return Err(format!("python3: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    if what != "awake" {
        return Ok(Outcome::Value(text.trim().parse()?));
    }
    let mut latency = sys::histogram();
    for nanoseconds in text.split_whitespace() {
        latency.record(nanoseconds.parse()?)?;
    }
    Ok(Outcome::Latency(latency))
}
