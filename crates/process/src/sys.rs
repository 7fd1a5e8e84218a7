//! The system calls of this crate, each behind a safe function. What `unsafe` stands elsewhere
//! (where the promise of [`fork_here`] or [`exec::given`] is argued, where a letter's offsets become
//! functions, in the test runner) is listed in ARCHITECTURE.md.

pub(crate) mod exec;
pub(crate) mod image;
pub(crate) mod socket;

use crate::exit::Exit;
use multiproc_core::deadline::Deadline;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Which of the two processes came out of [`fork_here`].
pub(crate) enum Split {
    /// The one that forked, with the child's pid.
    Parent(u32),
    /// The copy.
    Child,
}

/// Forks.
///
/// # Safety
///
/// One thread runs in this process; or else the child touches nothing that another thread may
/// be changing now.
pub(crate) unsafe fn fork_here() -> io::Result<Split> {
    // SAFETY: the caller's promise: no lock, allocation or half-written structure of another
    // thread is in use in the copy. Other processes share only pages that are meant to be; if
    // one of them dies or scribbles right here, this call reads none of it.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Split::Child),
        pid => Ok(Split::Parent(pid.unsigned_abs())),
    }
}

/// A descriptor for the process `pid`, close-on-exec as the kernel makes them all.
pub(crate) fn pidfd_open(pid: u32) -> io::Result<OwnedFd> {
    // SAFETY: takes two numbers and no memory. A pid that is gone or was never there is an
    // error code.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid as libc::pid_t, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us, so nobody else owns it. If the
    // process it names dies, the descriptor stays valid and says so.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as libc::c_int) })
}

/// Sends `signal` to exactly the process that `pidfd` names, whatever its pid means by now.
pub(crate) fn pidfd_signal(pidfd: BorrowedFd<'_>, signal: libc::c_int) -> io::Result<()> {
    let none: *const libc::siginfo_t = std::ptr::null();
    // SAFETY: a null siginfo asks the kernel to fill one in; the rest are numbers. If the
    // process is dead, this is ESRCH.
    let done = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            none,
            0,
        )
    };
    if done < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Collects the exit of the child behind `pidfd` if it has ended; never blocks. `ECHILD`:
/// somebody else collected it.
pub(crate) fn reap(pidfd: BorrowedFd<'_>) -> io::Result<Option<Exit>> {
    wait(
        libc::P_PIDFD,
        pidfd.as_raw_fd() as libc::id_t,
        libc::WEXITED | libc::WNOHANG,
    )
}

/// Blocks until the child `pid` has ended, and collects it.
pub(crate) fn reap_pid(pid: u32) {
    // An error means that it is not ours to collect; then there is nothing left to do.
    let _ = wait(libc::P_PID, pid, libc::WEXITED);
}

/// Blocks until the child behind `pidfd` has ended, and collects it.
pub(crate) fn reap_fd(pidfd: BorrowedFd<'_>) {
    // An error means that it is not ours to collect; then there is nothing left to do.
    let _ = wait(
        libc::P_PIDFD,
        pidfd.as_raw_fd() as libc::id_t,
        libc::WEXITED,
    );
}

/// What the kernel says of a process that is not our child.
pub(crate) enum Told {
    /// How it ended.
    Exit(Exit),
    /// Nothing until its parent has collected it.
    NotYet,
    /// Nothing, as it is an older kernel.
    Never,
}

/// How a process that is not our child ended: known to newer kernels (6.15) once its parent has
/// collected it.
pub(crate) fn exit_of_other(pidfd: BorrowedFd<'_>) -> Told {
    // SAFETY: zeroes are a value of this plain struct.
    let mut info: libc::pidfd_info = unsafe { std::mem::zeroed() };
    info.mask = libc::PIDFD_INFO_EXIT.into();
    // SAFETY: the request carries the struct's size, and the kernel writes no more than that.
    let done = unsafe { libc::ioctl(pidfd.as_raw_fd(), libc::PIDFD_GET_INFO, &raw mut info) };
    if done != 0 {
        return Told::Never;
    }
    if info.mask & u64::from(libc::PIDFD_INFO_EXIT) == 0 {
        return Told::NotYet;
    }
    let status = info.exit_code;
    Told::Exit(match libc::WIFEXITED(status) {
        true => Exit::Code(libc::WEXITSTATUS(status)),
        false => Exit::Signal(libc::WTERMSIG(status)),
    })
}

/// Blocks until somebody has collected the process behind `pidfd`, or the deadline. Older kernels
/// tell nothing of that.
pub(crate) fn collected_by(pidfd: BorrowedFd<'_>, deadline: Deadline) -> io::Result<()> {
    // An end by itself is no news; what is left is the hang-up.
    let mut entry = [entry(pidfd, 0)];
    let left = deadline.remaining().unwrap_or_default();
    let milliseconds = left.as_millis().min(i32::MAX as u128 - 1) as libc::c_int + 1;
    // SAFETY: an array of one, alive for the call.
    match unsafe { libc::poll(entry.as_mut_ptr(), 1, milliseconds) } {
        -1 => match io::Error::last_os_error() {
            // Whoever asked looks again.
            error if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            error => Err(error),
        },
        _ => Ok(()),
    }
}

/// Whether any child, ours or foreign, waits to be collected. One call instead of one per
/// child.
pub(crate) fn any_ended() -> bool {
    // An error (there is no child at all) is a reason to look as well: whoever asks believes
    // that there is one.
    !matches!(
        wait(
            libc::P_ALL,
            0,
            libc::WEXITED | libc::WNOHANG | libc::WNOWAIT
        ),
        Ok(None)
    )
}

fn wait(kind: libc::idtype_t, id: libc::id_t, options: libc::c_int) -> io::Result<Option<Exit>> {
    loop {
        // SAFETY: `siginfo_t` is plain integers, for which zeroes are a value.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        // SAFETY: `info` is ours and alive for the call; the kernel alone writes to it.
        if unsafe { libc::waitid(kind, id, &mut info, options) } == -1 {
            let error = io::Error::last_os_error();
            if error.kind() == io::ErrorKind::Interrupted {
                continue;
            }
            return Err(error);
        }
        // SAFETY: after a successful waitid these fields are what the kernel filled in (or
        // zero: nobody has ended).
        let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
        return Ok((pid != 0).then_some(match info.si_code {
            libc::CLD_EXITED => Exit::Code(status),
            _ => Exit::Signal(status),
        }));
    }
}

/// Has the kernel send us SIGKILL when the thread that forked us ends.
pub(crate) fn die_with_parent() -> io::Result<()> {
    // SAFETY: numbers only. Whether the parent has died before this call is the caller's to
    // check afterwards.
    if unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) } == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Blocks until `line` is ready for `events` (or at its end), or the process behind `peer` has
/// ended: which of the two it was.
pub(crate) fn ready_or_ended(
    line: BorrowedFd<'_>,
    events: libc::c_short,
    peer: BorrowedFd<'_>,
) -> io::Result<(bool, bool)> {
    let mut both = [entry(line, events), entry(peer, libc::POLLIN)];
    poll(&mut both)?;
    Ok((both[0].revents != 0, both[1].revents != 0))
}

/// Blocks until one of them is readable (or at its end): which are.
pub(crate) fn readable_of(fds: &[BorrowedFd<'_>]) -> io::Result<Vec<bool>> {
    let mut entries: Vec<_> = fds.iter().map(|fd| entry(*fd, libc::POLLIN)).collect();
    poll(&mut entries)?;
    Ok(entries.iter().map(|entry| entry.revents != 0).collect())
}

fn entry(fd: BorrowedFd<'_>, events: libc::c_short) -> libc::pollfd {
    libc::pollfd {
        fd: fd.as_raw_fd(),
        events,
        revents: 0,
    }
}

fn poll(entries: &mut [libc::pollfd]) -> io::Result<()> {
    loop {
        // SAFETY: an array of ours and its length, alive for the call. The descriptors are
        // borrowed by the callers, hence open.
        if unsafe { libc::poll(entries.as_mut_ptr(), entries.len() as libc::nfds_t, -1) } >= 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// Fills `bytes` from the kernel's random source.
pub(crate) fn random(bytes: &mut [u8]) -> io::Result<()> {
    let mut filled = 0;
    while filled < bytes.len() {
        let rest = &mut bytes[filled..];
        // SAFETY: `rest` is ours, and the kernel writes at most its length.
        let n = unsafe { libc::getrandom(rest.as_mut_ptr().cast(), rest.len(), 0) };
        if n < 0 {
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        } else {
            filled += n.unsigned_abs();
        }
    }
    Ok(())
}

/// Points descriptor 0 at `/dev/null`. Where there is none, stdin stays: a child that reads it
/// is then as before.
pub(crate) fn stdin_from_null() {
    // By hand: every new child comes by here, and what it does not touch it need not fetch. The
    // path, too: on the stack, and not where the program's texts lie.
    let path = std::hint::black_box(*b"/dev/null\0");
    // SAFETY: a C string and numbers. If stdin was closed, the file gets its number and keeps it.
    unsafe {
        let null = libc::open(path.as_ptr().cast(), libc::O_RDONLY | libc::O_CLOEXEC);
        if null == 0 {
            libc::fcntl(null, libc::F_SETFD, 0);
        } else if null > 0 {
            libc::dup2(null, 0);
            libc::close(null);
        }
    }
}

/// One byte from a pipe: false at its end.
pub(crate) fn read_byte(pipe: BorrowedFd<'_>) -> bool {
    let mut byte = 0_u8;
    loop {
        // SAFETY: room for the one byte.
        match unsafe { libc::read(pipe.as_raw_fd(), (&raw mut byte).cast(), 1) } {
            1 => return true,
            -1 if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
            _ => return false,
        }
    }
}

/// Writes out what C's stdio still holds.
pub(crate) fn flush_c() {
    // SAFETY: a null stream means all of them. Another process cannot reach our stdio.
    unsafe { libc::fflush(std::ptr::null_mut()) };
}

/// This process's id. (As std's, but inlined: it is asked for all the time.)
pub(crate) fn pid() -> u32 {
    // SAFETY: only asks.
    unsafe { libc::getpid() }.unsigned_abs()
}

/// Whether the calling thread is the first one of this process.
pub(crate) fn is_main_thread() -> bool {
    // SAFETY: only asks.
    unsafe { libc::gettid() == libc::getpid() }
}

/// The number of the file or socket behind a descriptor.
pub(crate) fn inode(fd: BorrowedFd<'_>) -> io::Result<u64> {
    Ok(nix::sys::stat::fstat(fd)?.st_ino)
}

/// Ignores SIGINT: what was done with it before.
pub(crate) fn ignore_interrupts() -> libc::sighandler_t {
    handle_interrupts(libc::SIG_IGN)
}

/// Does with SIGINT what [`ignore_interrupts`] said was done: what was done with it before.
pub(crate) fn handle_interrupts(how: libc::sighandler_t) -> libc::sighandler_t {
    // SAFETY: `how` is SIG_IGN, or was in force in this very program before.
    unsafe { libc::signal(libc::SIGINT, how) }
}

/// Ends this process by SIGKILL.
pub(crate) fn kill_me() -> ! {
    // SAFETY: a signal to this very process, which cannot be caught; `_exit` is never reached.
    unsafe {
        libc::kill(libc::getpid(), libc::SIGKILL);
        libc::_exit(1)
    }
}

/// Ends this process now: no destructors, no exit handlers, no flushing.
pub(crate) fn leave(code: i32) -> ! {
    // SAFETY: always allowed. What others share with us stays consistent, as they must survive
    // our death anywhere.
    unsafe { libc::_exit(code) }
}

/// Has `f` called when this process ends by `exit` or by returning from `main`.
pub(crate) fn at_normal_exit(f: extern "C" fn()) -> bool {
    // SAFETY: `f` is a function of this program, takes nothing, and does not unwind.
    unsafe { libc::atexit(f) == 0 }
}
