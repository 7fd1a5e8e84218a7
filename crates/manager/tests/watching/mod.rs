//! Looking at a manager's clients and at what is in its server.
#![allow(dead_code, reason = "each test target uses its own part")]

use common::{shared, state_of, until};
use multiproc_manager::Manager;
use multiproc_process::Process;
use multiproc_segment::Shared;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

/// A number that processes share.
pub(crate) fn number() -> Shared<AtomicU64> {
    shared(AtomicU64::new(0))
}

/// Waits until another process has raised the number so far.
#[track_caller]
pub(crate) fn reaches(number: &Shared<AtomicU64>, n: u64) {
    until("a step of another process", || number.load(SeqCst) >= n);
}

/// Waits until the process sleeps: in its call, as it has nothing else to do.
#[track_caller]
pub(crate) fn sleeps(child: &Process) {
    until("a child to wait", || {
        assert!(child.is_alive(), "it ended instead of waiting: {child:?}");
        state_of(child.pid()) == Some('S')
    });
}

/// Waits until the server has so many objects.
#[track_caller]
pub(crate) fn objects(manager: &Manager, n: u64) {
    until(&format!("{n} objects in the server"), || {
        manager.numbers().unwrap().objects == n
    });
}
