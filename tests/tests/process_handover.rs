//! The gate between fork and run: the child starts when the parent has let go, or never.

use common::Outcome;
use multiproc_core::{fork::HeldHere, step};
use multiproc_process::{Context, Exit, Process, StartError, StartMethod, active_children, test};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::cell::Cell;
use std::io::{PipeWriter, Read, Write, pipe};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

test::main! {
    the_child_runs_after_the_parent_has_dropped_the_captures,
    nested_captures_are_all_dropped_first,
    what_is_borrowed_is_not_dropped,
    a_panic_while_dropping_opens_the_gate_and_goes_on,
    a_child_killed_before_it_adopts_is_an_exit,
    a_parent_killed_while_handing_over_leaves_a_child_that_never_runs,
    killed_at_any_step_it_runs_after_the_hand_over_or_never,
    a_failed_fork_gives_the_closure_back,
    descriptors_that_run_out_give_the_closure_back,
    a_held_guard_gives_the_closure_back,
    a_start_that_fails_midway_returns_item_and_children,
    a_child_may_be_started_while_another_is_handed_over,
}

/// Tells when the process that made it drops it.
struct Tells<F: Fn()> {
    maker: u32,
    then: F,
}

impl<F: Fn()> Tells<F> {
    fn new(then: F) -> Self {
        Tells {
            maker: std::process::id(),
            then,
        }
    }
}

impl<F: Fn()> Drop for Tells<F> {
    fn drop(&mut self) {
        if std::process::id() == self.maker {
            (self.then)();
        }
    }
}

fn tell(mut to: &PipeWriter, text: &str) {
    let _ = to.write_all(text.as_bytes());
}

fn the_child_runs_after_the_parent_has_dropped_the_captures() -> Outcome {
    for _ in 0..100 {
        let (mut reader, writer) = pipe()?;
        let capture = Tells::new(|| tell(&writer, "dropped "));
        let child = Process::start(|| {
            let _capture = capture;
            tell(&writer, "ran");
        })?;
        child.join()?.ok()?;
        drop(writer);
        let mut text = String::new();
        reader.read_to_string(&mut text)?;
        assert_eq!(text, "dropped ran");
    }
    Ok(())
}

fn nested_captures_are_all_dropped_first() -> Outcome {
    let (mut reader, writer) = pipe()?;
    let one = |text: &'static str| {
        let writer = &writer;
        Tells::new(move || tell(writer, text))
    };
    let nested = vec![Box::new(Arc::new(one("a "))), Box::new(Arc::new(one("b ")))];
    let kept = Arc::new(one("last "));
    let shared = Arc::clone(&kept);
    let child = Process::start(|| {
        let (_nested, _shared) = (nested, shared);
        tell(&writer, "ran ");
    })?;
    child.join()?.ok()?;
    drop(kept);
    drop(writer);
    let mut text = String::new();
    reader.read_to_string(&mut text)?;
    assert_eq!(text, "a b ran last ");
    Ok(())
}

fn what_is_borrowed_is_not_dropped() -> Outcome {
    let dropped = Cell::new(false);
    let kept = Tells::new(|| dropped.set(true));
    Process::start(|| {
        let _borrowed = &kept;
    })?
    .join()?
    .ok()?;
    assert!(!dropped.get());
    Ok(())
}

fn a_panic_while_dropping_opens_the_gate_and_goes_on() -> Outcome {
    let (waits, go) = pipe()?;
    let capture = Tells::new(|| panic!("this destructor fails"));
    let caught = catch_unwind(AssertUnwindSafe(|| {
        let started = Process::start(|| {
            let _capture = capture;
            (&waits).read_exact(&mut [0]).map(|()| 4)
        });
        started.map_err(StartError::from)
    }));
    let panic = caught.expect_err("the panic goes on");
    assert_eq!(panic.downcast_ref(), Some(&"this destructor fails"));
    let children = active_children();
    let [child] = &children[..] else {
        return Err("the child should be listed".into());
    };
    (&go).write_all(b"!")?;
    assert_eq!(child.join()?, Exit::Code(4));
    Ok(())
}

fn a_child_killed_before_it_adopts_is_an_exit() -> Outcome {
    let (mut reader, writer) = pipe()?;
    let capture = Tells::new(|| {
        for child in active_children() {
            child.kill().unwrap();
            assert_eq!(child.join().unwrap(), Exit::Signal(9));
        }
    });
    let child = Process::start(|| {
        let _capture = capture;
        tell(&writer, "ran");
    })?;
    assert_eq!(child.join()?, Exit::Signal(9));
    drop(writer);
    assert_eq!(reader.read(&mut [0])?, 0);
    Ok(())
}

fn a_parent_killed_while_handing_over_leaves_a_child_that_never_runs() -> Outcome {
    let (mut reader, writer) = pipe()?;
    let parent = Process::start(move || {
        let capture = Tells::new(|| {
            nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL).unwrap();
        });
        let child = Process::start(|| {
            let _capture = capture;
            tell(&writer, "ran");
        });
        drop(child);
    })?;
    assert_eq!(parent.join()?, Exit::Signal(9));
    // The end of the pipe: the child has gone as well.
    assert_eq!(reader.read(&mut [0])?, 0);
    Ok(())
}

fn killed_at_any_step_it_runs_after_the_hand_over_or_never() -> Outcome {
    step::count_on();
    Process::start(|| ())?.join()?.ok()?;
    step::disarm();
    let names = step::names();
    let first = names
        .iter()
        .position(|name| *name == "process-start-before-fork");
    assert_eq!(first, Some(0), "{names:?}");
    assert!(names.len() >= 5, "{names:?}");
    let mut outcomes = Vec::new();
    // The child goes on counting from the fork, so this kills parents, children and both.
    for n in 0..names.len() as u64 + 6 {
        let (mut reader, writer) = pipe()?;
        let parent = Process::start(|| {
            let capture = Tells::new(|| tell(&writer, "dropped "));
            step::arm(n);
            let child = Process::start(|| {
                let _capture = capture;
                tell(&writer, "ran");
            });
            step::disarm();
            child
                .map_err(StartError::from)
                .unwrap()
                .join()
                .unwrap()
                .code()
                & 0xff
        })?;
        drop(writer);
        let mut text = String::new();
        reader.read_to_string(&mut text)?;
        assert!(
            ["", "dropped ", "dropped ran"].contains(&&*text),
            "killed at step {n}: {text:?}"
        );
        outcomes.push((text, parent.join()?));
    }
    let ends = |text: &str, exit| {
        outcomes
            .iter()
            .any(|outcome| outcome.0 == text && outcome.1 == exit)
    };
    assert!(ends("", Exit::Signal(9)), "killed before: {outcomes:?}");
    assert!(
        ends("dropped ", Exit::Signal(9)) || ends("dropped ran", Exit::Signal(9)),
        "killed between: {outcomes:?}"
    );
    assert!(
        ends("dropped ran", Exit::Code(0)),
        "not killed: {outcomes:?}"
    );
    Ok(())
}

/// A start that must fail for want of what the system gives, in a closure that can then be
/// called.
fn start_fails() -> Outcome {
    let given = String::from("given back");
    match Process::start(move || drop(given)) {
        Ok(_) => Err("it should not have started".into()),
        Err(refused) => {
            assert!(matches!(refused.why, StartError::System(_)), "{refused:?}");
            assert!(std::error::Error::source(&refused.why).is_some());
            (refused.task)();
            assert!(active_children().is_empty());
            Ok(())
        }
    }
}

fn a_failed_fork_gives_the_closure_back() -> Outcome {
    // The limit does not bind root.
    if nix::unistd::geteuid().is_root() {
        nix::unistd::setuid(nix::unistd::Uid::from_raw(65_432))?;
    }
    let (_, most) = getrlimit(Resource::RLIMIT_NPROC)?;
    setrlimit(Resource::RLIMIT_NPROC, 0, most)?;
    start_fails()?;
    for method in StartMethod::ALL {
        let refused = Context::new(method).start(|text: String| drop(text), "back".into());
        let refused = refused.expect_err("as many processes run as may");
        assert!(matches!(refused.why, StartError::System(_)), "{refused:?}");
        assert!(refused.why.to_string().contains("ulimit -u"), "{refused}");
        assert_eq!(refused.task, "back");
    }
    assert!(active_children().is_empty());
    Ok(())
}

fn descriptors_that_run_out_give_the_closure_back() -> Outcome {
    Process::start(|| ())?.join()?.ok()?;
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    // The next free one; nothing else opens any here.
    let next = std::os::fd::AsRawFd::as_raw_fd(&std::fs::File::open("/dev/null")?) as u64;
    // Our pidfd, the gate's two ends, the child's pidfd.
    for few in 0..4 {
        setrlimit(Resource::RLIMIT_NOFILE, next + few, most)?;
        start_fails()?;
    }
    setrlimit(Resource::RLIMIT_NOFILE, next + 4, most)?;
    Process::start(|| ())?.join()?.ok()?;
    Ok(())
}

fn a_held_guard_gives_the_closure_back() -> Outcome {
    let held = HeldHere::new();
    let answer = Cell::new(0);
    let refused = Process::start(|| answer.set(42)).expect_err("a guard is held");
    assert!(matches!(refused.why, StartError::HoldsGuard));
    drop(held);
    (refused.task)();
    assert_eq!(answer.get(), 42);
    Process::start(|| ())?.join()?.ok()?;
    Ok(())
}

fn a_start_that_fails_midway_returns_item_and_children() -> Outcome {
    let mut held = None;
    let items = (0..5).inspect(|&n| {
        if n == 2 {
            held = Some(HeldHere::new());
        }
    });
    let refused = Process::start_each(items, |n| n).expect_err("a guard is held from the third on");
    assert!(matches!(refused.why, StartError::HoldsGuard));
    assert_eq!(refused.item, 2);
    assert_eq!(refused.started.len(), 2);
    assert_eq!(refused.started[1].join()?, Exit::Code(1));
    assert!(
        refused
            .to_string()
            .starts_with("after 2 processes: this thread holds")
    );
    Ok(())
}

fn a_child_may_be_started_while_another_is_handed_over() -> Outcome {
    let capture = Tells::new(|| {
        let second = Process::start(|| 2).unwrap();
        assert_eq!(second.name(), "Process-2");
        assert_eq!(second.join().unwrap(), Exit::Code(2));
    });
    let first = Process::start(move || {
        let _capture = &capture;
        1
    })?;
    assert_eq!(first.join()?, Exit::Code(1));
    Ok(())
}
