//! A test while it runs: its processes, its output, and what it leaves behind.

use super::{LINGER, MARK, Test};
use crate::sys;
use multiproc_core::deadline::Deadline;
use multiproc_core::fd::wait_readable;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::time::Duration;

/// A test whose process runs.
pub(super) struct Running {
    pub(super) test: Test,
    pub(super) pid: u32,
    pub(super) pidfd: OwnedFd,
    pub(super) mark: String,
    pub(super) output: Option<File>,
    pub(super) deadline: Deadline,
    pub(super) timeout: Duration,
    pub(super) shm: BTreeSet<OsString>,
}

impl Running {
    /// The processes of this test that are alive.
    pub(super) fn processes(&self) -> Vec<Left> {
        let mark = format!("{MARK}={}", self.mark);
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Some(pid) = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok())
            else {
                continue;
            };
            let Some((state, group, name)) = status(pid) else {
                continue;
            };
            let environ = || fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            let marked = || {
                environ()
                    .split(|&byte| byte == 0)
                    .any(|entry| entry == mark.as_bytes())
            };
            if !matches!(state, 'Z' | 'X') && (group == self.pid || marked()) {
                found.push(Left { pid, name });
            }
        }
        found
    }

    /// What is left of this test's processes after those that are about to end have ended.
    pub(super) fn linger(&self) -> Vec<Left> {
        let patience = Deadline::after(LINGER);
        loop {
            let left = self.processes();
            let Some(one) = left.first() else { return left };
            if patience.passed() {
                return left;
            }
            if let Ok(pidfd) = sys::pidfd_open(one.pid) {
                let _ = wait_readable(pidfd.as_fd(), patience);
            }
        }
    }

    /// Kills all of this test's processes, also those that they start meanwhile.
    pub(super) fn kill_all(&self) {
        let patience = Deadline::after(LINGER);
        loop {
            let left = self.processes();
            let Some(first) = left.first() else { return };
            for one in &left {
                if let Ok(pidfd) = sys::pidfd_open(one.pid)
                    // The pid may have been given to somebody else since: look through the
                    // descriptor's eyes.
                    && self.processes().contains(one)
                {
                    let _ = sys::pidfd_signal(pidfd.as_fd(), libc::SIGKILL);
                }
            }
            if patience.passed() {
                return;
            }
            if let Ok(pidfd) = sys::pidfd_open(first.pid) {
                let _ = wait_readable(pidfd.as_fd(), patience);
            }
        }
    }
}

#[derive(PartialEq)]
pub(super) struct Left {
    pid: u32,
    name: String,
}

impl std::fmt::Display for Left {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "pid {} ({})", self.pid, self.name)
    }
}

/// State, process group and name of a process.
fn status(pid: u32) -> Option<(char, u32, String)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (start, end) = (stat.find('(')?, stat.rfind(')')?);
    let mut fields = stat.get(end + 1..)?.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    let group = fields.nth(1)?.parse().ok()?;
    Some((state, group, stat.get(start + 1..end)?.to_owned()))
}

/// Collects dead processes that came to us because their parents died; not the tests
/// themselves.
pub(super) fn reap_orphans(running: &[Running]) {
    let me = std::process::id();
    let path = format!("/proc/{me}/task/{me}/children");
    for pid in fs::read_to_string(path)
        .unwrap_or_default()
        .split_ascii_whitespace()
    {
        if let Ok(pid) = pid.parse()
            && !running.iter().any(|running| running.pid == pid)
            && let Ok(pidfd) = sys::pidfd_open(pid)
        {
            let _ = sys::reap(pidfd.as_fd());
        }
    }
}

pub(super) fn leftover_names(part: &str) -> BTreeSet<OsString> {
    let entries = fs::read_dir("/dev/shm").into_iter().flatten().flatten();
    entries
        .map(|entry| entry.file_name())
        .filter(|name| name.to_string_lossy().contains(part))
        .collect()
}

/// A file in memory for a test's output: unlike a pipe, it needs no reader and has no end to
/// wait for.
pub(super) fn memory_file() -> io::Result<File> {
    // SAFETY: the name is a C string; the flag makes the descriptor close-on-exec.
    let fd = unsafe { libc::memfd_create(c"test output".as_ptr(), libc::MFD_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: just made, and nobody else's.
    Ok(unsafe { File::from_raw_fd(fd) })
}

pub(super) fn text_of(mut file: File) -> String {
    let mut bytes = Vec::new();
    // A file that cannot be read has nothing to tell.
    let _ = file
        .rewind()
        .and_then(|()| file.read_to_end(&mut bytes).map(drop));
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_process_of_any_name() {
        let (state, _, name) = status(std::process::id()).unwrap();
        assert!(matches!(state, 'R' | 'S'));
        assert!(!name.is_empty());
    }
}
