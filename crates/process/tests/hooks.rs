//! What runs at a process's end, and what at the start of its copies.

use common::{Outcome, wait_for_end};
use multiproc_process::{Exit, Fork, Process, fork, test};
use std::cell::Cell;
use std::io::{PipeWriter, Read, Write, pipe};

test::main! {
    exit_hooks_run_in_reverse_order,
    exit_hooks_run_once_by_priority,
    exit_hooks_above_zero_run_before_the_children_are_joined,
    hooks_of_the_parent_are_not_the_childs_to_run,
    after_fork_hooks_run_first_in_every_generation,
    process_exit_in_a_child_runs_hooks_too,
}

/// X23
fn exit_hooks_run_in_reverse_order() -> Outcome {
    let (mut reader, writer) = pipe()?;
    multiproc_process::at_exit(|| eprintln!("the parent's own"));
    let child = Process::start(move || {
        let (first, second) = (writer.try_clone().unwrap(), writer);
        multiproc_process::at_exit(move || (&first).write_all(b"registered first").unwrap());
        multiproc_process::at_exit(|| panic!("a hook's panic stops no other"));
        multiproc_process::at_exit(move || (&second).write_all(b"registered last, ").unwrap());
    })?;
    let mut text = String::new();
    reader.read_to_string(&mut text)?;
    assert_eq!(text, "registered last, registered first");
    child.join()?.ok()?;
    Ok(())
}

/// T7
fn exit_hooks_run_once_by_priority() -> Outcome {
    use multiproc_process::{at_exit, at_exit_with_priority};
    let (mut reader, writer) = pipe()?;
    let child = Process::start(move || {
        let writer: &'static PipeWriter = Box::leak(Box::new(writer));
        let say =
            move |text: &'static str| move || (&mut &*writer).write_all(text.as_bytes()).unwrap();
        at_exit_with_priority(-100, say("g "));
        at_exit_with_priority(1, say("c "));
        at_exit(say("f "));
        at_exit_with_priority(10, say("a "));
        at_exit(say("e "));
        at_exit_with_priority(1, say("b "));
        // Run before its time, and not again.
        let early = at_exit_with_priority(50, say("early "));
        let cancelled = at_exit_with_priority(50, say("cancelled "));
        assert!(early.run());
        assert!(cancelled.cancel());
        // A hook that is registered by a hook runs as well.
        at_exit_with_priority(1, move || {
            at_exit_with_priority(0, say("d "));
        });
    })?;
    let mut text = String::new();
    reader.read_to_string(&mut text)?;
    assert_eq!(text, "early a b c d e f g ");
    child.join()?.ok()?;
    Ok(())
}

/// T7
fn exit_hooks_above_zero_run_before_the_children_are_joined() -> Outcome {
    use multiproc_process::at_exit_with_priority;
    let (mut reader, writer) = pipe()?;
    let child = Process::start(move || {
        let (waits, go) = pipe().unwrap();
        let (first, last) = (writer.try_clone().unwrap(), writer.try_clone().unwrap());
        let copy = std::os::fd::AsRawFd::as_raw_fd(&go);
        Process::start(move || {
            // Its copy of the end that it waits for.
            nix::unistd::close(copy).unwrap();
            wait_for_end(waits);
            (&writer).write_all(b"joined ").unwrap();
        })
        .unwrap();
        at_exit_with_priority(0, move || (&last).write_all(b"last").unwrap());
        at_exit_with_priority(1, move || {
            (&first).write_all(b"first ").unwrap();
            drop(go);
        });
    })?;
    let mut text = String::new();
    reader.read_to_string(&mut text)?;
    assert_eq!(text, "first joined last");
    child.join()?.ok()?;
    Ok(())
}

fn hooks_of_the_parent_are_not_the_childs_to_run() -> Outcome {
    let hook = multiproc_process::at_exit_with_priority(0, || println!("the parent's"));
    let hook = Cell::new(Some(hook));
    let child = Process::start(|| {
        multiproc_process::at_exit(|| ());
        i32::from(hook.take().unwrap().run())
    })?;
    assert_eq!(child.join()?, Exit::Code(0));
    assert!(hook.take().unwrap().cancel());
    Ok(())
}

fn after_fork_hooks_run_first_in_every_generation() -> Outcome {
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
    static GENERATION: AtomicU32 = AtomicU32::new(0);
    static DOUBLE: AtomicU32 = AtomicU32::new(0);
    multiproc_process::after_fork(|| {
        GENERATION.fetch_add(1, Relaxed);
    });
    multiproc_process::after_fork(|| panic!("a hook's panic stops nothing"));
    // In order: this one sees what the first one did.
    multiproc_process::after_fork(|| DOUBLE.store(2 * GENERATION.load(Relaxed), Relaxed));
    let seen = || (GENERATION.load(Relaxed), DOUBLE.load(Relaxed));
    let child = Process::start(|| {
        assert_eq!(seen(), (1, 2));
        let grandchild = Process::start(|| assert_eq!(seen(), (2, 4))).unwrap();
        grandchild.join().unwrap().ok().unwrap();
    })?;
    child.join()?.ok()?;
    match fork()? {
        Fork::Child => {
            assert_eq!(seen(), (1, 2));
            std::process::exit(0);
        }
        Fork::Parent(child) => child.join()?.ok()?,
    }
    assert_eq!(seen(), (0, 0));
    Ok(())
}

/// X23
fn process_exit_in_a_child_runs_hooks_too() -> Outcome {
    let (mut reader, writer) = pipe()?;
    let child = Process::start(move || -> () {
        multiproc_process::at_exit(move || (&writer).write_all(b"bye").unwrap());
        std::process::exit(3)
    })?;
    let mut text = String::new();
    reader.read_to_string(&mut text)?;
    assert_eq!(text, "bye");
    assert_eq!(child.join()?, Exit::Code(3));
    Ok(())
}
