//! Waiting for something, and for nothing.

use common::*;
use multiproc_pipe::{Source, wait};
use std::time::Duration;

pub(crate) const MOMENT: Duration = Duration::from_millis(60);

/// Waits as long as a test's patience allows; something must come.
#[track_caller]
pub(crate) fn wait_for<'a>(sources: &[Source<'a>]) -> Vec<usize> {
    let ready = wait(sources.iter().copied(), Some(PATIENCE)).unwrap();
    assert!(!ready.is_empty(), "waited in vain");
    ready
}

#[track_caller]
pub(crate) fn nothing(sources: &[Source<'_>]) {
    let ready = wait(sources.iter().copied(), Some(MOMENT)).unwrap();
    assert_eq!(ready, [] as [usize; 0]);
}
