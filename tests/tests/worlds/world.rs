//! What the bodies have in common.

pub(crate) use common::{
    PATIENCE, blocked, ends, ends_well, exit_now, for_ever, kill, kill_me, number_of, pattern,
    shared, until,
};
use multiproc_process::{Context, Exit, ExitValue, Process, StartMethod};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::time::Duration;

/// A wait that is to end without what it waits for.
pub(crate) const MOMENT: Duration = Duration::from_millis(30);

/// Runs it in each world.
pub(crate) fn in_each_world(body: impl Fn(Context)) {
    for method in StartMethod::ALL {
        println!("by {method}");
        body(Context::new(method));
    }
}

/// Starts a child that has a copy of the handles.
pub(crate) fn start<A, R>(world: Context, f: fn(A) -> R, arguments: A) -> Process
where
    A: Serialize + DeserializeOwned,
    R: ExitValue,
{
    match world.start(f, arguments) {
        Ok(child) => child,
        Err(refused) => panic!("{refused}"),
    }
}

/// Joins a child that kills itself.
#[track_caller]
pub(crate) fn is_killed(child: &Process) {
    assert_eq!(ends(child), Exit::Signal(libc::SIGKILL), "{child:?}");
}

/// As `kill -9` from outside.
pub(crate) fn die() -> ! {
    kill_me()
}
