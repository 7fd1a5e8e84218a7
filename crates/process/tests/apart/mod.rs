//! What the tests of processes that are no copies share.

// Each target is a program of its own, and not all of them need all of this.
#![allow(dead_code)]

use multiproc_parcel::Descriptor;
use multiproc_process::StartMethod;
use std::io::{PipeReader, PipeWriter, Read, pipe};

pub(crate) const APART: [StartMethod; 2] = [StartMethod::Spawn, StartMethod::ForkServer];

pub(crate) type Out = Descriptor<PipeWriter>;

pub(crate) fn told() -> (PipeReader, Out) {
    let (reader, writer) = pipe().unwrap();
    (reader, Descriptor(writer))
}

pub(crate) fn add((a, b): (i32, i32)) -> i32 {
    a + b
}

/// Waits at a pipe that was handed over, until its last writer has gone.
pub(crate) fn wait_at(input: Descriptor<PipeReader>) {
    let _ = (&input.0).read(&mut [0]);
}

/// What the descriptors of this process above stdio are.
pub(crate) fn descriptors() -> Vec<String> {
    let mut found: Vec<_> = std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .flatten()
        .filter_map(|entry| {
            let number: i32 = entry.file_name().to_str()?.parse().ok()?;
            let target = std::fs::read_link(entry.path()).ok()?;
            (number > 2).then(|| target.to_string_lossy().into_owned())
        })
        // Not the directory that is being read.
        .filter(|target| !target.ends_with("/fd"))
        .collect();
    found.sort();
    found
}
