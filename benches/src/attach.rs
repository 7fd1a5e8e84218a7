//! The group `attach`: open an object by its name, and let it go again, while another program that made it has it.
//!
//! The base does the least that any way of sharing memory by name must do with the same file: `shm_open`, `fstat`,
//! `mmap` of all of it, `munmap`, `close`; it looks at nothing. We read the header and check it, keep one mapping per
//! object, and touch the pages that a handle needs.

use crate::channel::Run;
use crate::harness::{Contender, Group, Measure, Place, Row};
use crate::start::each;
use crate::sys::{self, Outcome, Res};
use multiproc::process::{Context, StartMethod};
use multiproc::{Pipe, Process, Queue, Receiver, Sender, Shared, Value};
use std::ffi::CString;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;
use std::sync::atomic::AtomicU64;

const BASE: &str = "shm_open, mmap";

/// The group: sides are free to run where they like, and one of them only keeps the object.
pub(crate) fn groups() -> Vec<Group> {
    let row = |what, ours: Measure, bare: Measure, python: Option<Measure>| {
        let mut contenders = vec![
            Contender {
                who: "multiproc",
                measure: ours,
            },
            Contender {
                who: BASE,
                measure: bare,
            },
        ];
        if let Some(measure) = python {
            contenders.push(Contender {
                who: "python SharedMemory",
                measure,
            });
        }
        Row {
            what,
            size: 0,
            place: Place::Free,
            unit: "us",
            bases: &[BASE],
            contenders,
        }
    };
    vec![Group {
        name: "attach",
        about: "open an object by name that another program has, and drop it",
        rows: vec![
            row("Queue", ours::<AQueue>, bare::<AQueue>, python::<AQueue>()),
            row(
                "Shared",
                ours::<AShared>,
                bare::<AShared>,
                python::<AShared>(),
            ),
            row("Value", ours::<AValue>, bare::<AValue>, python::<AValue>()),
        ],
    }]
}

/// What is made in one program and opened in another.
trait Kind: 'static {
    /// Makes it, calls `f` and removes its name.
    fn with(name: &str, f: impl FnOnce()) -> Res;
    /// Opens it and lets it go.
    fn open(name: &str) -> Res;
}

struct AQueue;
struct AShared;
struct AValue;

impl Kind for AQueue {
    fn with(name: &str, f: impl FnOnce()) -> Res {
        let _made = Queue::<u64>::create(name)?;
        f();
        Ok(Queue::<u64>::unlink(name)?)
    }

    fn open(name: &str) -> Res {
        drop(Queue::<u64>::open(name)?);
        Ok(())
    }
}

impl Kind for AShared {
    fn with(name: &str, f: impl FnOnce()) -> Res {
        let _made = Shared::create(name, AtomicU64::new(0))?;
        f();
        Ok(Shared::<AtomicU64>::unlink(name)?)
    }

    fn open(name: &str) -> Res {
        drop(Shared::<AtomicU64>::open(name)?);
        Ok(())
    }
}

impl Kind for AValue {
    fn with(name: &str, f: impl FnOnce()) -> Res {
        let _made = Value::create(name, 0_u64)?;
        f();
        Ok(Value::<u64>::unlink(name)?)
    }

    fn open(name: &str) -> Res {
        drop(Value::<u64>::open(name)?);
        Ok(())
    }
}

/// The other program: makes it, says so, and keeps it until the line is closed.
fn keep<K: Kind>((name, made, over): (String, Sender<()>, Receiver<()>)) {
    let kept = K::with(&name, || {
        let told = made.send(());
        // It ends when the other side drops its end, or dies.
        let _ = told.is_ok() && over.recv().is_ok();
    });
    if let Err(error) = kept {
        eprintln!("{name}: {error}");
    }
}

/// Runs `measure` while another program keeps an object of that name.
fn kept<K: Kind>(measure: impl FnOnce(&str) -> Res<Outcome>) -> Res<Outcome> {
    let name = sys::name();
    let (made, is_made) = Pipe::simplex()?;
    let (over, is_over) = Pipe::<()>::simplex()?;
    let keeper: Process = Context::new(StartMethod::Spawn)
        .start(keep::<K>, (name.clone(), is_made, over))
        .map_err(|refused| refused.why)?;
    made.recv()?;
    let outcome = measure(&name);
    drop(is_over);
    keeper.join()?.ok()?;
    outcome
}

fn ours<K: Kind>(run: &Run) -> Res<Outcome> {
    kept::<K>(|name| each(run, || K::open(name)))
}

fn bare<K: Kind>(run: &Run) -> Res<Outcome> {
    kept::<K>(|name| {
        let name = CString::new(format!("/multiproc.{name}"))?;
        each(run, || attach(&name))
    })
}

/// `None` where there is no Python.
#[cfg(feature = "peers")]
fn python<K: Kind>() -> Option<Measure> {
    use crate::peers::python;
    let measure: Measure =
        |run| kept::<K>(|name| python::attach(run, &format!("multiproc.{name}")));
    python::is_there().then_some(measure)
}

#[cfg(not(feature = "peers"))]
fn python<K: Kind>() -> Option<Measure> {
    None
}

fn attach(name: &CString) -> Res {
    // SAFETY: a C string and flags.
    let fd = unsafe { libc::shm_open(name.as_ptr(), libc::O_RDWR, 0) };
    sys::check(fd)?;
    // SAFETY: fresh, and owned by nobody else.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: zeroes are a `stat`, and the call fills it in.
    let mut found: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: an open descriptor, and room for the answer.
    sys::check(unsafe { libc::fstat(fd.as_raw_fd(), &mut found) })?;
    let bytes = usize::try_from(found.st_size)?;
    let access = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_SHARED | libc::MAP_NORESERVE;
    // SAFETY: a mapping at an address of the kernel's choice, which nobody touches.
    let start = unsafe { libc::mmap(ptr::null_mut(), bytes, access, flags, fd.as_raw_fd(), 0) };
    if start == libc::MAP_FAILED {
        return Err(std::io::Error::last_os_error().into());
    }
    // SAFETY: our mapping, at its own length.
    sys::check(unsafe { libc::munmap(start, bytes) })?;
    Ok(())
}
