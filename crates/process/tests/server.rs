//! The fork server: who is whose parent, and what happens when it is killed.

use common::{Outcome, for_ever, is_gone, state_of, until};
use multiproc_core::{deadline::Deadline, fd::wait_readable};
use multiproc_parcel::Descriptor;
use multiproc_process::{
    Context, Exit, JoinError, Process, StartError, StartMethod, active_children, parent, test,
};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{PipeReader, PipeWriter, Read, Write, pipe};
use std::os::fd::AsFd;
use std::time::Duration;

test::main! {
    one_server_serves_all_and_is_no_child_of_the_program,
    its_children_know_the_program_as_their_parent,
    a_killed_server_is_replaced,
    children_outlive_a_killed_server,
    an_exit_after_the_servers_is_told_by_who_adopts_orphans,
    an_exit_after_the_servers_is_unknown_or_right,
    a_server_killed_in_between_is_no_error,
    a_server_killed_again_and_again_is_an_error_at_most,
    a_server_ends_with_its_program,
    a_forked_child_has_a_server_of_its_own,
    threads_share_one_server,
}

const SERVER: Context = Context::new(StartMethod::ForkServer);

/// A child of the server that waits for the end of the pipe, and then returns 5.
fn waiting(waits: PipeReader) -> Result<Process, StartError> {
    Ok(SERVER.start(
        |Descriptor(mut waits): Descriptor<PipeReader>| {
            let _ = waits.read(&mut [0]);
            5
        },
        Descriptor(waits),
    )?)
}

/// The kernel's parent of a process.
fn kernels_parent(pid: u32) -> u32 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("PPid:"));
    line.unwrap()[5..].trim().parse().unwrap()
}

/// The children that the kernel knows of this process.
fn kernels_children() -> Vec<u32> {
    let us = std::process::id();
    let text = std::fs::read_to_string(format!("/proc/{us}/task/{us}/children")).unwrap();
    text.split_whitespace()
        .map(|pid| pid.parse().unwrap())
        .collect()
}

/// The server's pid, found by a child of its.
fn server() -> Result<u32, StartError> {
    let (waits, go) = pipe().map_err(StartError::System)?;
    let child = waiting(waits)?;
    let server = kernels_parent(child.pid());
    drop(go);
    assert_eq!(child.join().unwrap(), Exit::Code(5));
    assert_ne!(server, std::process::id());
    Ok(server)
}

fn kill_it(pid: u32) {
    kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL).unwrap();
}

fn one_server_serves_all_and_is_no_child_of_the_program() -> Outcome {
    let first = server()?;
    assert_eq!(server()?, first);
    assert!(active_children().is_empty());
    assert_eq!(kernels_children(), [first]);
    Ok(())
}

fn its_children_know_the_program_as_their_parent() -> Outcome {
    let child = SERVER.start(
        |us: u32| {
            let above = parent().unwrap();
            assert_eq!((above.pid(), above.is_alive()), (us, true));
            assert_ne!(std::os::unix::process::parent_id(), us);
        },
        std::process::id(),
    )?;
    child.join()?.ok()?;
    Ok(())
}

fn a_killed_server_is_replaced() -> Outcome {
    let first = server()?;
    kill_it(first);
    let second = server()?;
    assert_ne!(first, second);
    // And it was collected.
    assert_eq!(kernels_children(), [second]);
    Ok(())
}

fn children_outlive_a_killed_server() -> Outcome {
    let (report, writer) = pipe()?;
    let (waits, go) = pipe()?;
    let child = SERVER.start(
        |(Descriptor(mut waits), Descriptor(mut report)): (
            Descriptor<PipeReader>,
            Descriptor<PipeWriter>,
        )| {
            let _ = waits.read(&mut [0]);
            report.write_all(b"still here").unwrap();
        },
        (Descriptor(waits), Descriptor(writer)),
    )?;
    let daemon = Process::builder()
        .daemon(true)
        .start_in(SERVER, |()| for_ever(), ())?;
    kill_it(kernels_parent(child.pid()));
    server()?;
    assert!(child.is_alive() && daemon.is_alive());
    assert_eq!(active_children().len(), 2);
    drop(go);
    let mut text = String::new();
    (&report).read_to_string(&mut text)?;
    assert_eq!(text, "still here");
    daemon.kill()?;
    for child in [child, daemon] {
        assert!(matches!(child.join(), Ok(_) | Err(JoinError::ServerDied)));
        assert!(!child.is_alive());
        child.close()?;
    }
    assert!(active_children().is_empty());
    Ok(())
}

fn an_exit_after_the_servers_is_told_by_who_adopts_orphans() -> Outcome {
    // SAFETY: a number; from now on orphans below this process are its children.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) }, 0);
    let (waits, go) = pipe()?;
    let child = waiting(waits)?;
    kill_it(kernels_parent(child.pid()));
    server()?;
    drop(go);
    assert_eq!(child.join()?, Exit::Code(5));
    Ok(())
}

fn an_exit_after_the_servers_is_unknown_or_right() -> Outcome {
    // A process in between that adopts orphans, and collects them at once.
    let (report, writer) = pipe()?;
    let adopter = Process::start(move || {
        // SAFETY: a number.
        assert_eq!(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) }, 0);
        let program = Process::start(move || {
            for how in [5, -9] {
                let (waits, go) = pipe().unwrap();
                let child = waiting(waits).unwrap();
                kill_it(kernels_parent(child.pid()));
                server().unwrap();
                match how {
                    5 => drop(go),
                    _ => child.kill().unwrap(),
                }
                let known = match child.join() {
                    Ok(exit) if exit.code() == how => "right",
                    Err(JoinError::ServerDied) => "unknown",
                    _ => "wrong",
                };
                writeln!(&writer, "{known}").unwrap();
            }
        })
        .unwrap();
        while program.is_alive() {
            // Whatever has ended, ours or adopted; the program's own end is looked for above.
            // SAFETY: a null status is allowed.
            unsafe { libc::waitpid(-1, std::ptr::null_mut(), 0) };
        }
    })?;
    let mut text = String::new();
    (&report).read_to_string(&mut text)?;
    println!("{text}"); // "right" from kernel 6.15 on
    assert_eq!(text.lines().count(), 2);
    assert!(!text.contains("wrong"), "{text}");
    adopter.join()?.ok()?;
    Ok(())
}

fn a_server_killed_in_between_is_no_error() -> Outcome {
    // Stopped: it takes a request, and is killed with that in its hands.
    let first = server()?;
    kill(Pid::from_raw(first.cast_signed()), Signal::SIGSTOP)?;
    let killer = std::thread::spawn(move || {
        let me = std::process::id();
        until("the request to wait", || state_of(me) == Some('S'));
        kill_it(first);
    });
    assert_ne!(server()?, first);
    killer.join().map_err(|_| "the killer failed")?;
    Ok(())
}

fn a_server_killed_again_and_again_is_an_error_at_most() -> Outcome {
    let over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(std::sync::atomic::Ordering::Relaxed) {
                for child in kernels_children_of_any_thread() {
                    let name = std::fs::read_to_string(format!("/proc/{child}/comm"));
                    if name.is_ok() {
                        let _ = kill(Pid::from_raw(child.cast_signed()), Signal::SIGKILL);
                    }
                }
                std::thread::sleep(Duration::from_micros(700));
            }
        });
        for _ in 0..100 {
            // All children of this process are servers.
            match SERVER.start(|()| 5, ()) {
                Ok(child) => match child.join() {
                    Ok(exit) => assert_eq!(exit, Exit::Code(5)),
                    Err(JoinError::ServerDied) => {}
                    Err(error) => panic!("{error}"),
                },
                Err(refused) => assert!(
                    matches!(
                        refused.why,
                        StartError::Server | StartError::NeverEntered(_) | StartError::Ended(_)
                    ),
                    "{refused}"
                ),
            }
        }
        over.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    server()?;
    Ok(())
}

fn kernels_children_of_any_thread() -> Vec<u32> {
    let mut found = Vec::new();
    for task in std::fs::read_dir("/proc/self/task").unwrap().flatten() {
        let text = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
        found.extend(
            text.split_whitespace()
                .filter_map(|pid| pid.parse::<u32>().ok()),
        );
    }
    found
}

fn a_server_ends_with_its_program() -> Outcome {
    for how in 0..3 {
        let (report, writer) = pipe()?;
        let program = Process::start(move || {
            let server = server().unwrap();
            (&writer).write_all(&server.to_ne_bytes()).unwrap();
            match how {
                0 => {}
                // SAFETY: ends this process without any ceremony.
                1 => unsafe { libc::_exit(0) },
                _ => loop {
                    std::thread::park();
                },
            }
        })?;
        let mut pid = [0; 4];
        (&report).read_exact(&mut pid)?;
        let server = u32::from_ne_bytes(pid);
        if how == 2 {
            program.kill()?;
        }
        let _ = program.join()?;
        // Gone, or a zombie that the runner collects.
        let patience = Deadline::after(Duration::from_secs(20));
        while !is_gone(server) {
            assert!(!patience.passed(), "the server lives on, {how}");
            std::thread::yield_now();
        }
    }
    Ok(())
}

fn a_forked_child_has_a_server_of_its_own() -> Outcome {
    let ours = server()?;
    let child = Process::start(|| {
        let own = server().unwrap();
        assert_ne!(own, ours);
        assert_eq!(kernels_children(), [own]);
        // Of its parent's it has no descriptor left.
        let fds = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
        let sockets = fds
            .filter_map(|fd| std::fs::read_link(fd.path()).ok())
            .filter(|target| target.to_string_lossy().starts_with("socket:"))
            .count();
        assert_eq!(sockets, 1);
    })?;
    child.join()?.ok()?;
    assert_eq!(server()?, ours);
    Ok(())
}

fn threads_share_one_server() -> Outcome {
    let threads: Vec<_> = (0..8)
        .map(|_| {
            std::thread::spawn(|| {
                for _ in 0..5 {
                    let child = SERVER.start(|()| 5, ()).map_err(StartError::from);
                    let child = child.unwrap();
                    let patience = Deadline::after(Duration::from_secs(20));
                    assert!(wait_readable(child.as_fd(), patience).unwrap());
                    assert_eq!(child.join().unwrap(), Exit::Code(5));
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().map_err(|_| "a thread failed")?;
    }
    server()?;
    assert_eq!(kernels_children_of_any_thread().len(), 1);
    Ok(())
}
