//! The pipes, whether they work, and the loop over the steps of a process that owns ends.

use common::*;
use multiproc_pipe::codec::Bytes;
use multiproc_pipe::{Pipe, Receiver, RecvTimeoutError, Sender, TryRecvError, wait};
use multiproc_process::Process;
use multiproc_tests::{At, Count, Steps, Told, killed_at_each_step};
use std::cell::OnceCell;
use std::time::Duration;

/// What this process has open: descriptors, and mappings of segments.
pub(crate) fn resources() -> (usize, usize) {
    drop(multiproc_process::active_children()); // those that have ended are collected
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let maps = maps.lines().filter(|line| line.contains("/memfd:")).count();
    (std::fs::read_dir("/proc/self/fd").unwrap().count(), maps)
}

/// The loop of the kills. `prepare` makes a world: what the one who dies gets to own, and what
/// stays; `act` runs in the process that dies; `meanwhile` here, to get a blocking `act` going;
/// `check` looks at the world after a death at the step of that number.
pub(crate) fn each_step<M, K>(
    count: Count,
    prepare: impl Fn() -> (M, K),
    act: impl Fn(M),
    meanwhile: impl Fn(&K, &Process),
    check: impl Fn(K, u64, &Steps),
) {
    let before = OnceCell::new();
    let run = |at: At, told: &Told| {
        if let At::Die(_) = at {
            before.get_or_init(resources);
        }
        let (moved, kept) = prepare();
        let act = &act;
        let child = start(move || {
            at.begin();
            act(moved);
            told.tell();
        });
        meanwhile(&kept, &child);
        (ends(&child), kept)
    };
    killed_at_each_step(count, run, check);
    closed_again(*before.get().unwrap());
}

/// No more is open than before (when a helper of the first run may still have been there); what
/// each step leaves open would be more than that.
#[track_caller]
pub(crate) fn closed_again(before: (usize, usize)) {
    let mut now = before;
    let closed = || {
        now = resources();
        now.0 <= before.0 && now.1 <= before.1
    };
    until("everything to be closed", closed);
}

// ---- what is sent ----

pub(crate) type Tx = Sender<Vec<u8>, Bytes>;
pub(crate) type Rx = Receiver<Vec<u8>, Bytes>;

pub(crate) const LEN: usize = 500;

pub(crate) fn pipe(bytes: usize, messages: &[u64]) -> (Rx, Tx) {
    let pipe = Pipe::<Vec<u8>>::options().bytes(bytes).codec::<Bytes>();
    let (rx, tx) = pipe.simplex().unwrap();
    for n in messages {
        tx.send(pattern(*n, LEN)).unwrap();
    }
    (rx, tx)
}

/// All that comes until the end of the stream, which must come.
#[track_caller]
pub(crate) fn to_the_end(rx: &Rx) -> Vec<u64> {
    let mut got = Vec::new();
    loop {
        match rx.recv_timeout(PATIENCE) {
            Ok(message) => got.push(number_of(&message)),
            Err(RecvTimeoutError::Closed) => return got,
            Err(error) => panic!("after {got:?}: {error}"),
        }
    }
}

/// Both sides still work, for processes that come later, too.
#[track_caller]
pub(crate) fn works(rx: &Rx, tx: &Tx) {
    assert!(matches!(rx.try_recv(), Err(TryRecvError::Empty)));
    let reader = start(|| {
        assert_eq!(number_of(&rx.recv().unwrap()), 1_000);
        assert_eq!(wait([rx], Some(PATIENCE)).unwrap(), [0]);
        assert_eq!(number_of(&rx.recv().unwrap()), 1_001);
    });
    let writer = start(|| tx.send(pattern(1_000, 10)).map_err(|e| e.without_message()));
    ends_well(&writer);
    tx.send(pattern(1_001, 3_000)).unwrap();
    ends_well(&reader);
    assert!(wait([rx], Some(Duration::ZERO)).unwrap().is_empty());
    assert!(matches!(rx.try_recv(), Err(TryRecvError::Empty)));
}
