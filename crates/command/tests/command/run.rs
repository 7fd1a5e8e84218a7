//! The command, what it says, and children that hold on to things.

use common::{for_ever, until};
use multiproc_process::Process;
use multiproc_segment::Shared;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering::*};

pub(crate) fn command(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_multiproc"));
    command.args(words);
    command
}

fn run(words: &[&str]) -> Output {
    command(words).output().unwrap()
}

/// Its output, of a run that worked.
pub(crate) fn said(words: &[&str]) -> String {
    let output = run(words);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{words:?}: {errors}");
    assert!(errors.is_empty(), "{words:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// Its complaint, of a run that ended with this code.
pub(crate) fn complained(code: i32, words: &[&str]) -> String {
    let output = run(words);
    assert_eq!(output.status.code(), Some(code), "{words:?}");
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(errors.starts_with("multiproc: "), "{words:?}: {errors}");
    errors
}

/// `show`, whose line of that name has this value.
#[track_caller]
pub(crate) fn shows(name: &str, lines: &[(&str, &str)]) {
    let shown = said(&["show", name]);
    for (line, value) in lines {
        let expected = format!("{line:<16} {value}");
        // Some processes may be hidden, even from root.
        let and_hidden = format!("{expected} (");
        assert!(
            shown
                .lines()
                .any(|l| l == expected || l.starts_with(&and_hidden)),
            "no {expected:?} in\n{shown}"
        );
    }
}

pub(crate) fn pid() -> u32 {
    std::process::id()
}

/// A child that holds on to what `f` gives until it is killed.
pub(crate) fn holding<R>(f: impl FnOnce() -> R) -> Process {
    let stage = Shared::new(AtomicU32::new(0)).unwrap();
    let child = {
        let stage = stage.clone();
        Process::start(|| {
            let _kept = f();
            stage.store(1, Release);
            for_ever()
        })
        .unwrap()
    };
    until("the child to hold it", || stage.load(Acquire) == 1);
    child
}
