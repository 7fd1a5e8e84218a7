//! Ctrl-C in a terminal: a program in a pseudo-terminal, with children of every kind, gets what
//! the kernel sends when somebody types it.

use common::{Outcome, for_ever};
use multiproc_core::{deadline::Deadline, fd::wait_readable};
use multiproc_process::{
    Context, Descriptor, Exit, Process, StartError, StartMethod, at_exit, test,
};
use std::fs::File;
use std::io::{PipeReader, PipeWriter, Read, Write, pipe};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

type Out = Descriptor<PipeWriter>;

test::main! {
    ctrl_c_ends_the_whole_tree,
    a_program_that_handles_ctrl_c_sees_its_children_end,
}

/// A terminal: the side of who types, and that of the program.
fn terminal() -> std::io::Result<(File, OwnedFd)> {
    let (mut typist, mut program) = (-1, -1);
    let none = std::ptr::null_mut();
    // SAFETY: room for two descriptors; no name, settings or size asked for.
    let done = unsafe { libc::openpty(&mut typist, &mut program, none, none.cast(), none.cast()) };
    if done != 0 {
        return Err(std::io::Error::last_os_error());
    }
    // SAFETY: both are fresh and nobody else's.
    let both = unsafe { (File::from_raw_fd(typist), OwnedFd::from_raw_fd(program)) };
    for fd in [both.0.as_raw_fd(), both.1.as_raw_fd()] {
        // SAFETY: flags of our own descriptors.
        unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
    Ok(both)
}

/// Makes it the terminal of this process, which leads a session of its own.
fn sit_down_at(terminal: &OwnedFd) {
    nix::unistd::setsid().unwrap();
    // SAFETY: a number; this process leads a session without a terminal.
    let done = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSCTTY, 0) };
    assert_eq!(done, 0);
    nix::unistd::dup2_stdin(terminal).unwrap();
    nix::unistd::dup2_stdout(terminal).unwrap();
    nix::unistd::dup2_stderr(terminal).unwrap();
}

/// Holds the pipe until a signal comes, once it has said so.
fn hold(Descriptor(mut out): Out) {
    out.write_all(b"!").unwrap();
    for_ever()
}

/// A child and a daemon by each of these methods.
fn family(methods: &[StartMethod], out: &PipeWriter) -> Vec<Process> {
    let mut all = Vec::new();
    for &method in methods {
        for daemon in [false, true] {
            let builder = Process::builder().daemon(daemon);
            let copy = Descriptor(out.try_clone().unwrap());
            let started = builder.start_in(method, hold, copy);
            all.push(started.map_err(StartError::from).unwrap());
        }
    }
    all
}

/// Waits for so many signs of life.
fn hear(reader: &PipeReader, signs: usize) -> Outcome {
    let mut reader = reader;
    reader.read_exact(&mut vec![0; signs])?;
    Ok(())
}

/// An error if anybody still holds the pipe after some time.
fn nobody_holds(mut reader: PipeReader) -> Result<String, Box<dyn std::error::Error>> {
    let watchdog = Deadline::after(Duration::from_secs(20));
    let mut text = Vec::new();
    let mut buffer = [0; 256];
    loop {
        if !wait_readable(reader.as_fd(), watchdog)? {
            return Err("somebody is left".into());
        }
        match reader.read(&mut buffer)? {
            0 => return Ok(String::from_utf8(text)?),
            n => text.extend_from_slice(&buffer[..n]),
        }
    }
}

fn ctrl_c_ends_the_whole_tree() -> Outcome {
    let (mut typist, terminal) = terminal()?;
    let (reader, writer) = pipe()?;
    let program = Process::start(move || {
        sit_down_at(&terminal);
        drop(terminal);
        let children = family(&StartMethod::ALL, &writer);
        // One that has children itself.
        let copy = Descriptor(writer);
        Context::new(StartMethod::Spawn)
            .start(
                |Descriptor(out): Out| {
                    for child in family(&StartMethod::ALL, &out) {
                        let _ = child.join();
                    }
                },
                copy,
            )
            .unwrap();
        for child in children {
            let _ = child.join();
        }
    })?;
    hear(&reader, 12)?;
    typist.write_all(b"\x03")?;
    assert_eq!(program.join()?, Exit::Signal(libc::SIGINT));
    nobody_holds(reader)?;
    Ok(())
}

static TYPED: AtomicU32 = AtomicU32::new(0);

extern "C" fn note(_: libc::c_int) {
    TYPED.fetch_add(1, Relaxed);
}

fn a_program_that_handles_ctrl_c_sees_its_children_end() -> Outcome {
    let (mut typist, terminal) = terminal()?;
    let (reader, writer) = pipe()?;
    let program = Process::start(move || {
        sit_down_at(&terminal);
        drop(terminal);
        let apart = [StartMethod::Spawn, StartMethod::ForkServer];
        let children = family(&apart, &writer);
        let handler: extern "C" fn(libc::c_int) = note;
        // SAFETY: the handler adds to an atomic.
        unsafe { libc::signal(libc::SIGINT, handler as libc::sighandler_t) };
        (&writer).write_all(b"!").unwrap();
        for child in &children {
            assert_eq!(child.join().unwrap(), Exit::Signal(libc::SIGINT));
        }
        // The server lives, for whoever goes on.
        let child = Context::new(StartMethod::ForkServer).start(|()| 3, ());
        assert_eq!(child.unwrap().join().unwrap(), Exit::Code(3));
        let last = writer;
        at_exit(move || (&last).write_all(b"in good order").unwrap());
        i32::try_from(TYPED.load(Relaxed)).unwrap()
    })?;
    hear(&reader, 5)?;
    typist.write_all(b"\x03")?;
    assert_eq!(program.join()?, Exit::Code(1));
    assert_eq!(nobody_holds(reader)?, "in good order");
    Ok(())
}
