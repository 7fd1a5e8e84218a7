//! One measurement, one process: fork, pin, watch, and what two sides share.
//!
//! ```text
//! harness (one thread)
//!   └─ measurement     its own process group; reports one line through a pipe
//!        ├─ side       a forked process, or a thread where the contender is one for threads
//!        └─ side
//! ```
//!
//! If a measurement hangs, its whole group is killed. If the harness dies, every process below it gets
//! SIGKILL from the kernel.

use hdrhistogram::Histogram;
use std::error::Error;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// The result of anything a contender does.
pub(crate) type Res<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

/// What a measurement brings back.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// One figure, in the row's unit.
    Value(f64),
    /// Latencies in nanoseconds.
    Latency(Histogram<u64>),
}

/// An empty histogram of nanoseconds, up to ten seconds, three digits.
pub(crate) fn histogram() -> Histogram<u64> {
    let mut empty = Histogram::new_with_bounds(1, 10_000_000_000, 3).expect("the bounds are valid");
    empty.auto(true);
    empty
}

/// A writable descriptor for `cannot_go_on`; -1 outside a measurement.
static REPORT: AtomicI32 = AtomicI32::new(-1);

/// Runs `work` in a fresh process below a watchdog.
pub(crate) fn isolated(
    limit: Duration,
    work: impl FnOnce() -> Res<Outcome>,
) -> Result<Outcome, String> {
    adopt_orphans();
    let (read, write) = pipe().map_err(|error| error.to_string())?;
    let leader = fork(|| {
        // SAFETY: plain system call on ourselves, without pointers.
        unsafe { libc::setpgid(0, 0) };
        REPORT.store(write.as_raw_fd(), Relaxed);
        std::panic::set_hook(Box::new(|_| {})); // the message travels in the report
        match caught(work) {
            Ok(outcome) => report(&encode(&outcome)),
            Err(error) => cannot_go_on(&*error),
        }
    })
    .map_err(|error| error.to_string())?;
    // Both sides do this, so that it is done whoever comes first.
    // SAFETY: plain system call without pointers; `leader` is our child and not yet waited for.
    unsafe { libc::setpgid(leader, leader) };
    drop(write);

    let line = read_line(File::from(read), limit);
    // SAFETY: the group id is the process id of our child, which we have not waited for, so it cannot be another's.
    unsafe { libc::kill(-leader, libc::SIGKILL) };
    // SAFETY: a null status pointer is allowed.
    while unsafe { libc::waitpid(-leader, ptr::null_mut(), 0) } > 0 {}
    sweep(leader);
    decode(&line?)
}

/// Where contenders that need files put them.
pub(crate) fn shared_memory() -> &'static Path {
    Path::new("/dev/shm")
}

/// A fresh name for what a contender makes there. To be called before the sides start. Everything that has the name
/// in its own is removed when the measurement is over, as contenders are killed and cannot do so.
pub(crate) fn name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let pid = std::process::id() as libc::pid_t;
    format!("{}{}", mark(pid), NEXT.fetch_add(1, Relaxed))
}

/// What the names of one measurement have in common.
fn mark(leader: libc::pid_t) -> String {
    format!("multiproc-bench-{leader}-")
}

/// Removes what the measurement left behind.
fn sweep(leader: libc::pid_t) {
    let mark = mark(leader);
    let entries = std::fs::read_dir(shared_memory());
    for entry in entries.into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().contains(&mark) {
            let path = entry.path();
            // A folder or a file; what cannot be removed stays.
            let _ = std::fs::remove_dir_all(&path).or_else(|_| std::fs::remove_file(&path));
        }
    }
}

/// Orphans of a killed measurement come to us, so that none stays behind as a zombie.
fn adopt_orphans() {
    // SAFETY: this option takes one integer.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) };
}

/// Reads up to the first newline, the end, or the limit.
fn read_line(mut from: File, limit: Duration) -> Result<String, String> {
    let deadline = Instant::now() + limit;
    let mut line = Vec::new();
    let mut chunk = [0; 65536];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(format!("hung, killed after {:.1} s", limit.as_secs_f64()));
        }
        let mut poll = libc::pollfd {
            fd: from.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: one valid pollfd.
        let ready = unsafe { libc::poll(&mut poll, 1, left.as_millis() as i32 + 1) };
        if ready <= 0 {
            continue;
        }
        match from.read(&mut chunk) {
            Ok(0) => return Err("died without a report".to_owned()),
            Ok(n) => line.extend_from_slice(&chunk[..n]),
            Err(error) => return Err(error.to_string()),
        }
        if line.last() == Some(&b'\n') {
            return String::from_utf8(line).map_err(|error| error.to_string());
        }
    }
}

fn encode(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Value(value) => format!("value {value}\n"),
        Outcome::Latency(latency) => {
            let mut line = "latency".to_owned();
            for step in latency.iter_recorded() {
                line += &format!(" {}:{}", step.value_iterated_to(), step.count_at_value());
            }
            line + "\n"
        }
    }
}

fn decode(line: &str) -> Result<Outcome, String> {
    let unreadable = || format!("unreadable report: {line:.60}");
    let (kind, rest) = line.trim_end().split_once(' ').ok_or_else(unreadable)?;
    match kind {
        "failed" => Err(rest.to_owned()),
        "value" => rest.parse().map(Outcome::Value).map_err(|_| unreadable()),
        "latency" => {
            let mut latency = histogram();
            for pair in rest.split(' ') {
                let (value, count) = pair.split_once(':').ok_or_else(unreadable)?;
                let (value, count) = (value.parse().ok(), count.parse().ok());
                let (Some(value), Some(count)) = (value, count) else {
                    return Err(unreadable());
                };
                latency.record_n(value, count).map_err(|_| unreadable())?;
            }
            Ok(Outcome::Latency(latency))
        }
        _ => Err(unreadable()),
    }
}

fn report(line: &str) {
    let fd = REPORT.load(Relaxed);
    let mut rest = line.as_bytes();
    while !rest.is_empty() {
        // SAFETY: `rest` is valid for its length; a stale descriptor gives an error, nothing worse.
        let n = unsafe { libc::write(fd, rest.as_ptr().cast(), rest.len()) };
        if n <= 0 {
            return;
        }
        rest = &rest[n as usize..];
    }
}

/// Ends the measurement from any of its sides: the harness reports the reason for the contender.
pub(crate) fn cannot_go_on(why: &dyn Error) -> ! {
    report(&format!("failed {}\n", why.to_string().replace('\n', " ")));
    leave(1)
}

/// Turns a panic into an error.
fn caught<T>(work: impl FnOnce() -> Res<T>) -> Res<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("no message");
        Err(format!("panicked: {text}").into())
    })
}

/// A forked side of a measurement. Killed and reaped on drop.
#[derive(Debug)]
pub(crate) struct Side(libc::pid_t);

impl Side {
    /// Forks `body`, on `cpu` if one is given. The measurement must have one thread.
    pub(crate) fn fork(cpu: Option<usize>, body: impl FnOnce() -> Res) -> Res<Self> {
        let pid = fork(|| side(cpu, body))?;
        Ok(Side(pid))
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        // SAFETY: system calls on our own child that nobody else waits for; a null status pointer is allowed.
        unsafe {
            libc::kill(self.0, libc::SIGKILL);
            libc::waitpid(self.0, ptr::null_mut(), 0);
        }
    }
}

/// Starts `body` as a thread. It is never joined: the measurement leaves by `_exit`.
pub(crate) fn thread(cpu: Option<usize>, body: impl FnOnce() -> Res + Send + 'static) {
    std::thread::spawn(move || side(cpu, body));
}

fn side(cpu: Option<usize>, body: impl FnOnce() -> Res) {
    let done = caught(|| {
        pin(cpu)?;
        body()
    });
    if let Err(error) = done {
        cannot_go_on(&*error);
    }
}

/// Binds the calling thread to `cpu`, if one is given.
pub(crate) fn pin(cpu: Option<usize>) -> io::Result<()> {
    let Some(cpu) = cpu else { return Ok(()) };
    // SAFETY: an all-zero `cpu_set_t` is the empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: `CPU_SET` ignores numbers that the set has no room for.
    unsafe { libc::CPU_SET(cpu, &mut set) };
    // SAFETY: the set is initialised and of the size given.
    check(unsafe { libc::sched_setaffinity(0, size_of_val(&set), &set) })
}

/// The first two CPUs that we may use, if there are two.
pub(crate) fn two_cpus() -> Option<[usize; 2]> {
    // SAFETY: an all-zero `cpu_set_t` is the empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set is writable and of the size given.
    check(unsafe { libc::sched_getaffinity(0, size_of_val(&set), &mut set) }).ok()?;
    // SAFETY: the numbers stay below the size of the set.
    let mut allowed =
        (0..libc::CPU_SETSIZE as usize).filter(|&cpu| unsafe { libc::CPU_ISSET(cpu, &set) });
    Some([allowed.next()?, allowed.next()?])
}

/// Forks; the child runs `body`, dies with its parent, and leaves without running destructors.
fn fork(body: impl FnOnce()) -> io::Result<libc::pid_t> {
    io::stdout().flush()?;
    let parent = std::process::id();
    // SAFETY: harness and measurements have one thread when they get here, so the child may do anything.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            // SAFETY: this option takes one integer.
            unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
            // The parent may have died before the line above.
            if std::os::unix::process::parent_id() != parent {
                leave(1);
            }
            body();
            leave(0)
        }
        child => Ok(child),
    }
}

fn leave(code: i32) -> ! {
    // SAFETY: no destructors and no exit hooks run, which is the point: they belong to the parent.
    unsafe { libc::_exit(code) }
}

/// `pipe(2)` as (read end, write end), closed on exec.
pub(crate) fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [-1; 2];
    // SAFETY: room for two descriptors.
    check(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) })?;
    // SAFETY: both are fresh and owned by nobody else.
    Ok(unsafe { (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])) })
}

/// As many descriptors as the system allows: the usual limit is 1,024.
pub(crate) fn raise_descriptor_limit() -> io::Result<()> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: a local is written, and read.
    unsafe {
        check(libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit))?;
        limit.rlim_cur = limit.rlim_max;
        check(libc::setrlimit(libc::RLIMIT_NOFILE, &limit))
    }
}

/// A fresh `epoll`.
pub(crate) fn epoll() -> io::Result<OwnedFd> {
    // SAFETY: takes a flag.
    let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
    check(fd)?;
    // SAFETY: fresh, and owned by nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Adds a descriptor to be read, by level.
pub(crate) fn epoll_add(epoll: &OwnedFd, fd: BorrowedFd<'_>, data: u64) -> io::Result<()> {
    let mut event = libc::epoll_event {
        events: libc::EPOLLIN as u32,
        u64: data,
    };
    let (epoll, fd) = (epoll.as_raw_fd(), fd.as_raw_fd());
    // SAFETY: two descriptors that are open, and a local event.
    check(unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, fd, &mut event) })
}

/// Waits until one is readable: its data.
pub(crate) fn epoll_wait(epoll: &OwnedFd) -> io::Result<u64> {
    let mut event = libc::epoll_event { events: 0, u64: 0 };
    // SAFETY: room for one event.
    check(unsafe { libc::epoll_wait(epoll.as_raw_fd(), &mut event, 1, -1) })?;
    Ok(event.u64)
}

/// -1 means "see errno".
pub(crate) fn check(result: i32) -> io::Result<()> {
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Zeroed memory that forked processes share, page aligned, unmapped on drop.
#[derive(Debug)]
pub(crate) struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

impl Mapping {
    /// Maps `len` bytes and touches them, so that no page fault falls into a measurement.
    pub(crate) fn new(len: usize) -> io::Result<Self> {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS | libc::MAP_POPULATE;
        // SAFETY: a fresh anonymous mapping at an address of the kernel's choice.
        let start = unsafe { libc::mmap(ptr::null_mut(), len, access, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Mapping { start, len })
    }

    /// Where it starts: at a page boundary.
    pub(crate) fn start(&self) -> NonNull<u8> {
        self.start
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: our mapping, at its own length; whoever borrowed from it borrowed `self`.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}

/// Sleeps while `word` is `value`, until a wake; may return early.
pub(crate) fn futex_wait(word: &AtomicU32, value: u32) {
    let no_timeout = ptr::null::<libc::timespec>();
    // SAFETY: the word is valid for the call; a null timeout waits for ever.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAIT,
            value,
            no_timeout,
        )
    };
}

/// Wakes one sleeper on `word`, in whatever process.
pub(crate) fn futex_wake(word: &AtomicU32) {
    // SAFETY: the word is valid for the call.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, 1) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_survive_the_pipe() {
        let mut latency = histogram();
        for value in [100, 100, 90_000] {
            latency.record(value).unwrap();
        }
        let Ok(Outcome::Latency(back)) = decode(&encode(&Outcome::Latency(latency.clone()))) else {
            panic!()
        };
        assert_eq!(
            (back.len(), back.value_at_quantile(0.5)),
            (3, latency.value_at_quantile(0.5))
        );
        assert!(matches!(decode(&encode(&Outcome::Value(1.5))), Ok(Outcome::Value(v)) if v == 1.5));
        assert_eq!(decode("failed no such luck\n").unwrap_err(), "no such luck");
    }
}
