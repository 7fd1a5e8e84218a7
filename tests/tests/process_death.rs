//! Who ends with whom: exits in good order, and kills.

use common::{Outcome, all_of, for_ever, sleeps_in_poll, until};
use multiproc_core::step;
use multiproc_process::{
    Context, Descriptor, Exit, Fork, Process, StartError, StartMethod, active_children, fork, test,
};
use std::io::{PipeReader, PipeWriter, Read, Write, pipe};
use std::time::{Duration, Instant};

test::main! {
    a_child_terminates_its_daemons_and_joins_the_others,
    normal_exit_terminates_daemons_and_joins_the_others,
    a_daemon_that_ignores_sigterm_does_not_hold_up_exit,
    daemons_die_with_a_killed_parent,
    a_daemon_dies_although_its_parent_died_at_once,
    others_outlive_a_killed_parent,
    killing_a_child_wakes_its_join,
    a_foreign_fork_leaves_our_children_alone,
    a_hundred_killed_parents_leave_no_daemon,
    normal_exit_ends_daemons_and_joins_the_others_by_every_method,
    a_daemon_outlives_the_thread_that_started_it,
    daemons_of_a_threaded_parent_die_with_it,
    a_daemon_that_is_stopped_ends_when_it_goes_on,
    #[timeout(180)]
    killed_parents_leave_nobody_by_any_method,
}

/// A process with a daemon and another child, which tell when they run.
fn family(mut out: &PipeWriter) {
    let (ready, started) = pipe().unwrap();
    Process::builder()
        .daemon(true)
        .start(move || {
            let _ = (&started).write_all(b"!");
            for_ever()
        })
        .unwrap();
    (&ready).read_exact(&mut [0]).unwrap();
    let (waits, go) = pipe().unwrap();
    Process::start(|| {
        let mut out = out;
        let _ = (&waits).read_exact(&mut [0]);
        // Busy, while its parent leaves.
        std::thread::sleep(Duration::from_millis(100));
        let _ = out.write_all(b"joined ");
    })
    .unwrap();
    let _ = out.write_all(b"leaving ");
    let _ = (&go).write_all(b"!");
}

/// X22
fn a_child_terminates_its_daemons_and_joins_the_others() -> Outcome {
    let (reader, writer) = pipe()?;
    let child = Process::start(move || {
        let last = writer.try_clone().unwrap();
        family(&writer);
        multiproc_process::at_exit(move || (&last).write_all(b"left").unwrap());
    })?;
    // The end of the pipe: the daemon, who inherited it, has ended too.
    assert_eq!(all_of(reader), "leaving joined left");
    child.join()?.ok()?;
    Ok(())
}

/// X22
fn normal_exit_terminates_daemons_and_joins_the_others() -> Outcome {
    let (reader, writer) = pipe()?;
    match fork()? {
        Fork::Child => {
            let last = writer.try_clone()?;
            family(&writer);
            multiproc_process::at_exit(move || (&last).write_all(b"left").unwrap());
            std::process::exit(7)
        }
        Fork::Parent(child) => {
            drop(writer);
            assert_eq!(all_of(reader), "leaving joined left");
            assert_eq!(child.join()?, Exit::Code(7));
        }
    }
    Ok(())
}

fn a_daemon_that_ignores_sigterm_does_not_hold_up_exit() -> Outcome {
    let (reader, writer) = pipe()?;
    let begun = Instant::now();
    let child = Process::start(move || {
        let (ready, started) = pipe().unwrap();
        Process::builder()
            .daemon(true)
            .start(move || {
                // SAFETY: ignoring a signal touches no memory.
                unsafe { libc::signal(libc::SIGTERM, libc::SIG_IGN) };
                drop(started);
                for_ever()
            })
            .unwrap();
        let _ = (&ready).read(&mut [0]);
        drop(writer);
    })?;
    all_of(reader);
    child.join()?.ok()?;
    assert!(
        begun.elapsed() >= Duration::from_millis(999),
        "it had its time to end by itself"
    );
    Ok(())
}

/// F18
fn daemons_die_with_a_killed_parent() -> Outcome {
    let (reader, writer) = pipe()?;
    let (ready, started) = pipe()?;
    let parent = Process::start(move || {
        let children = Process::builder()
            .daemon(true)
            .start_each(0..3, |_| {
                let _writer = &writer;
                let _ = (&started).write_all(b"!");
                for_ever()
            })
            .unwrap();
        assert_eq!(children.len(), 3);
        for_ever()
    })?;
    (&ready).read_exact(&mut [0; 3])?;
    parent.kill()?;
    assert_eq!(parent.join()?, Exit::Signal(9));
    all_of(reader);
    Ok(())
}

/// When the parent drops this, it will die as soon as it has opened the gate.
struct DieAfterTheGate(u32);

impl Drop for DieAfterTheGate {
    fn drop(&mut self) {
        if std::process::id() == self.0 {
            // 0 is the step before the gate.
            step::arm(1);
        }
    }
}

/// F18
fn a_daemon_dies_although_its_parent_died_at_once() -> Outcome {
    for _ in 0..50 {
        let (reader, writer) = pipe()?;
        let parent = Process::start(move || {
            let bomb = DieAfterTheGate(std::process::id());
            let _daemon = Process::builder().daemon(true).start(move || {
                let _bomb = &bomb;
                for_ever()
            });
            drop(writer);
        })?;
        assert_eq!(parent.join()?, Exit::Signal(9));
        assert_eq!(all_of(reader), "");
    }
    Ok(())
}

/// X22
fn others_outlive_a_killed_parent() -> Outcome {
    let (reader, writer) = pipe()?;
    let (waits, go) = pipe()?;
    let parent = Process::start(move || {
        let bomb = DieAfterTheGate(std::process::id());
        let _child = Process::start(move || {
            let _bomb = &bomb;
            let above = multiproc_process::parent().unwrap();
            above.join().unwrap();
            assert!(!above.is_alive());
            (&waits).read_exact(&mut [0]).unwrap();
            (&writer).write_all(b"still here").unwrap();
        });
    })?;
    assert_eq!(parent.join()?, Exit::Signal(9));
    (&go).write_all(b"!")?;
    assert_eq!(all_of(reader), "still here");
    Ok(())
}

fn killing_a_child_wakes_its_join() -> Outcome {
    let child = Process::start(|| for_ever())?;
    let killer = {
        let pid = nix::unistd::Pid::from_raw(child.pid().try_into()?);
        let joiner = std::process::id();
        Process::start(move || {
            until("the join to sleep", || sleeps_in_poll(joiner));
            nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL)
        })?
    };
    assert_eq!(child.join()?, Exit::Signal(9));
    killer.join()?.ok()?;
    assert!(!child.is_alive());
    Ok(())
}

fn a_foreign_fork_leaves_our_children_alone() -> Outcome {
    let (waits, go) = pipe()?;
    let child = Process::builder().daemon(true).start(|| {
        let _ = (&waits).read_exact(&mut [0]);
    })?;
    let (reader, writer) = pipe()?;
    let ours = writer.try_clone()?;
    let us = std::process::id();
    multiproc_process::at_exit(move || {
        if std::process::id() != us {
            let _ = (&ours).write_all(b"its parent's ");
        }
    });
    // SAFETY: one thread runs here.
    match unsafe { nix::unistd::fork() }? {
        nix::unistd::ForkResult::Child => {
            // Code of somebody else that ends normally: it must not terminate the daemon, and
            // may have children of its own.
            assert!(active_children().is_empty());
            multiproc_process::at_exit(move || (&writer).write_all(b"its own").unwrap());
            let own = Process::start(|| 2)?;
            std::process::exit(own.join()?.code());
        }
        nix::unistd::ForkResult::Parent { child: foreign } => {
            let status = nix::sys::wait::waitpid(foreign, None)?;
            assert_eq!(status, nix::sys::wait::WaitStatus::Exited(foreign, 2));
            let mut hooks = [0; 64];
            let n = (&reader).read(&mut hooks)?;
            assert_eq!(std::str::from_utf8(&hooks[..n])?, "its own");
        }
    }
    assert!(child.is_alive());
    (&go).write_all(b"!")?;
    child.join()?.ok()?;
    Ok(())
}

/// F18
fn a_hundred_killed_parents_leave_no_daemon() -> Outcome {
    for round in 0..100_u64 {
        let (reader, writer) = pipe()?;
        let parent = Process::start(move || {
            loop {
                let daemon = Process::builder().daemon(true).start(|| {
                    let _writer = &writer;
                    for_ever()
                });
                drop(daemon);
            }
        })?;
        std::thread::sleep(Duration::from_micros(round * 131 % 3_000));
        parent.kill()?;
        assert_eq!(parent.join()?, Exit::Signal(9));
        // The runner looks for what is left; the pipe says it sooner.
        all_of(reader);
    }
    Ok(())
}

type Out = Descriptor<PipeWriter>;

/// Holds the first pipe for ever, once it has said so into the second.
fn hold((out, Descriptor(mut started)): (Out, Out)) {
    let _out = out;
    let _ = started.write_all(b"!");
    drop(started);
    for_ever()
}

fn hold_one(mut out: PipeWriter) {
    let _ = out.write_all(b"!");
    for_ever()
}

/// A daemon that runs, and holds the pipe.
fn daemon(method: StartMethod, out: &PipeWriter) -> Process {
    let (ready, started) = pipe().unwrap();
    let copy = Descriptor(out.try_clone().unwrap());
    let daemon = Process::builder().daemon(true);
    let daemon = daemon.start_in(method, hold, (copy, Descriptor(started)));
    let daemon = daemon.map_err(StartError::from).unwrap();
    (&ready).read_exact(&mut [0]).unwrap();
    daemon
}

fn slow_child((milliseconds, Descriptor(mut out)): (u64, Out)) {
    std::thread::sleep(Duration::from_millis(milliseconds));
    let _ = out.write_all(b"joined");
}

/// X22
fn normal_exit_ends_daemons_and_joins_the_others_by_every_method() -> Outcome {
    for method in StartMethod::ALL {
        let (reader, writer) = pipe()?;
        let child = Process::start(move || {
            daemon(method, &writer);
            let copy = Descriptor(writer.try_clone().unwrap());
            Context::new(method).start(slow_child, (100, copy)).unwrap();
        })?;
        assert_eq!(all_of(reader), "joined", "{method}");
        child.join()?.ok()?;
    }
    Ok(())
}

const APART: [StartMethod; 2] = [StartMethod::Spawn, StartMethod::ForkServer];

fn a_daemon_outlives_the_thread_that_started_it() -> Outcome {
    for method in APART {
        let (_reader, writer) = pipe()?;
        let thread = std::thread::spawn(move || daemon(method, &writer));
        let daemon = thread.join().map_err(|_| "the thread failed")?;
        // A second one, started after that thread's end has been seen by everybody.
        let (waits, go) = pipe()?;
        let copy = Descriptor(waits);
        let later = Context::new(method).start(
            |Descriptor(mut waits): Descriptor<PipeReader>| waits.read(&mut [0]).map(|_| ()),
            copy,
        )?;
        drop(go);
        later.join()?.ok()?;
        assert!(daemon.is_alive(), "{method}");
        daemon.terminate()?;
        assert_eq!(daemon.join()?, Exit::Signal(15), "{method}");
    }
    // By fork, at its own risk.
    let (reader, writer) = pipe()?;
    let thread = std::thread::spawn(move || {
        let started = Process::builder().daemon(true);
        // SAFETY: the child writes a byte and sleeps.
        let started = unsafe { started.start_unchecked(|| hold_one(writer)) };
        started.map_err(StartError::from).unwrap()
    });
    let daemon = thread.join().map_err(|_| "the thread failed")?;
    (&reader).read_exact(&mut [0])?;
    Process::start(|| ())?.join()?.ok()?;
    assert!(daemon.is_alive());
    daemon.kill()?;
    assert_eq!(daemon.join()?, Exit::Signal(9));
    Ok(())
}

/// F18
fn daemons_of_a_threaded_parent_die_with_it() -> Outcome {
    let (reader, writer) = pipe()?;
    let (ready, started) = pipe()?;
    let parent = Process::start(move || {
        let threads = APART.map(|method| {
            let out = writer.try_clone().unwrap();
            std::thread::spawn(move || drop(daemon(method, &out)))
        });
        // By the main thread, too.
        let _daemons = APART.map(|method| daemon(method, &writer));
        for thread in threads {
            thread.join().unwrap();
        }
        (&started).write_all(b"!").unwrap();
        for_ever()
    })?;
    (&ready).read_exact(&mut [0])?;
    parent.kill()?;
    assert_eq!(parent.join()?, Exit::Signal(9));
    assert_eq!(all_of(reader), "");
    Ok(())
}

fn a_daemon_that_is_stopped_ends_when_it_goes_on() -> Outcome {
    let (reader, writer) = pipe()?;
    let (pids, mut to_us) = pipe()?;
    let parent = Process::start(move || {
        for method in APART {
            to_us
                .write_all(&daemon(method, &writer).pid().to_ne_bytes())
                .unwrap();
        }
        for_ever()
    })?;
    let mut stopped = Vec::new();
    for _ in APART {
        let mut pid = [0; 4];
        (&pids).read_exact(&mut pid)?;
        let pid = nix::unistd::Pid::from_raw(i32::from_ne_bytes(pid));
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGSTOP)?;
        stopped.push(pid);
    }
    parent.kill()?;
    assert_eq!(parent.join()?, Exit::Signal(9));
    for pid in stopped {
        // Killed already where the kernel does it.
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGCONT);
    }
    assert_eq!(all_of(reader), "");
    Ok(())
}

/// F18
fn killed_parents_leave_nobody_by_any_method() -> Outcome {
    for method in APART {
        for round in 0..60_u64 {
            let (reader, writer) = pipe()?;
            let parent = Process::start(move || {
                let out = writer.try_clone().unwrap();
                let thread = std::thread::spawn(move || {
                    loop {
                        let _ = daemon(method, &out).kill();
                    }
                });
                loop {
                    let _ = daemon(method, &writer).kill();
                    if thread.is_finished() {
                        return;
                    }
                }
            })?;
            std::thread::sleep(Duration::from_micros(round * 331 % 20_000));
            parent.kill()?;
            assert_eq!(parent.join()?, Exit::Signal(9));
            // The end of the pipe: nobody holds it.
            all_of(reader);
        }
    }
    Ok(())
}
