//! The group `start`: a child that does nothing, from its start to its exit code.
//!
//! Two rows, as there are two kinds of child: a copy of this process, beside bare `fork`, `_exit` and `waitpid`; and
//! a process that runs this program anew, beside `posix_spawn` of the same program that leaves at the head of `main`.
//! The fork server stands with the first: its children are copies, but of a process that is always small.
//!
//! What we add to a fork is the same number of microseconds whatever is copied, so the first row is there twice: in a
//! process that has nothing, and in one of 16 MiB.

use crate::channel::Run;
use crate::harness::{Contender, Group, Place, Row};
use crate::sys::{self, Outcome, Res};
use multiproc::Process;
use multiproc::process::{Context, StartMethod};
use std::ffi::CString;
use std::ptr;
use std::time::{Duration, Instant};

/// Says to this program, run by `posix_spawn`, that it is to leave at once.
const LEAVE: &str = "MULTIPROC_BENCH_LEAVE";

/// The head of `main`: where spawned children turn off, and those that leave at once.
pub(crate) fn entry() {
    if std::env::var_os(LEAVE).is_some() {
        std::process::exit(0);
    }
    multiproc::process::entry();
}

/// The group: sides are free to run where they like, as a child that starts is.
pub(crate) fn groups() -> Vec<Group> {
    let row = |what, bases, contenders| Row {
        what,
        size: 0,
        place: Place::Free,
        unit: "us",
        bases,
        contenders,
    };
    let small = vec![
        Contender {
            who: "multiproc fork",
            measure: |run| each(run, fork),
        },
        Contender {
            who: "multiproc server",
            measure: |run| each(run, || by(StartMethod::ForkServer)),
        },
        Contender {
            who: "bare fork",
            measure: |run| each(run, bare_fork),
        },
    ];
    let large = vec![
        Contender {
            who: "multiproc fork",
            measure: |run| with_memory(|| each(run, fork)),
        },
        Contender {
            who: "multiproc server",
            measure: |run| with_memory(|| each(run, || by(StartMethod::ForkServer))),
        },
        Contender {
            who: "bare fork",
            measure: |run| with_memory(|| each(run, bare_fork)),
        },
    ];
    let spawns = vec![
        Contender {
            who: "multiproc spawn",
            measure: |run| each(run, || by(StartMethod::Spawn)),
        },
        Contender {
            who: "posix_spawn",
            measure: |run| each(run, posix_spawn),
        },
    ];
    vec![Group {
        name: "start",
        about: "start a child that does nothing, and join it",
        rows: vec![
            row("a copy", &["bare fork"], small),
            row("a copy of 16 MiB", &["bare fork"], large),
            row("the program anew", &["posix_spawn"], spawns),
        ],
    }]
}

/// Measures in a process that has some memory of its own.
fn with_memory(measure: impl FnOnce() -> Res<Outcome>) -> Res<Outcome> {
    let memory = vec![1_u8; 16 << 20];
    let outcome = measure();
    std::hint::black_box(&memory);
    outcome
}

/// The time that it takes, again and again.
pub(crate) fn each(run: &Run, it: impl Fn() -> Res) -> Res<Outcome> {
    let mut latencies = sys::histogram();
    let begun = Instant::now();
    loop {
        let start = Instant::now();
        it()?;
        // One at least, however busy the machine is.
        if let Some(measured) = begun.elapsed().checked_sub(run.warm) {
            latencies.record(nanoseconds(start.elapsed()))?;
            if measured >= run.time {
                return Ok(Outcome::Latency(latencies));
            }
        }
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).max(1)
}

fn fork() -> Res {
    let child = Process::start(|| ()).map_err(|refused| refused.why)?;
    Ok(child.join()?.ok()?)
}

fn by(method: StartMethod) -> Res {
    let child = Context::new(method)
        .start(|()| (), ())
        .map_err(|refused| refused.why)?;
    Ok(child.join()?.ok()?)
}

fn bare_fork() -> Res {
    // SAFETY: a measurement has one thread, and the child only leaves.
    match unsafe { libc::fork() } {
        -1 => Err(std::io::Error::last_os_error().into()),
        // SAFETY: always allowed.
        0 => unsafe { libc::_exit(0) },
        child => wait(child),
    }
}

fn posix_spawn() -> Res {
    let mut environment = vec![CString::new(format!("{LEAVE}=1"))?];
    for (name, value) in std::env::vars() {
        environment.push(CString::new(format!("{name}={value}"))?);
    }
    let mut pointers: Vec<_> = environment
        .iter()
        .map(|entry| entry.as_ptr().cast_mut())
        .collect();
    pointers.push(ptr::null_mut());
    let name = c"bench".as_ptr().cast_mut();
    let arguments = [name, ptr::null_mut()];
    let mut child = 0;
    // SAFETY: C strings and arrays that end with null, alive for the call; neither actions nor attributes.
    let error = unsafe {
        libc::posix_spawn(
            &mut child,
            c"/proc/self/exe".as_ptr(),
            ptr::null(),
            ptr::null(),
            arguments.as_ptr(),
            pointers.as_ptr(),
        )
    };
    match error {
        0 => wait(child),
        n => Err(std::io::Error::from_raw_os_error(n).into()),
    }
}

fn wait(child: libc::pid_t) -> Res {
    let mut status = 0;
    // SAFETY: our child, and room for its status.
    sys::check((unsafe { libc::waitpid(child, &mut status, 0) }).min(0))?;
    match status {
        0 => Ok(()),
        n => Err(format!("the child ended with {n}").into()),
    }
}
