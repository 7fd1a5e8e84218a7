//! What the tests of this crate have in common.
#![allow(dead_code, unreachable_pub)]

use multiproc_process::test;
use std::io;
use std::path::PathBuf;

pub type Outcome = Result<(), Box<dyn std::error::Error>>;

/// A name of this test alone, removed when the test is over, whatever came of it.
pub struct Name(String);

impl Name {
    pub fn new(stem: &str) -> Self {
        Self(test::unique(stem))
    }

    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/dev/shm/multiproc.{}", self.0))
    }

    pub fn is_there(&self) -> bool {
        self.path().symlink_metadata().is_ok()
    }
}

impl std::ops::Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        let path = self.path();
        // Most tests have removed it themselves; some put a directory there.
        let _ = std::fs::remove_file(&path).or_else(|_| std::fs::remove_dir(&path));
    }
}

/// `0` or the error of a system call.
pub fn ok(r: libc::c_int) -> io::Result<libc::c_int> {
    if r == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(r)
    }
}

/// A user namespace of its own where we are not root, so that the other kinds are permitted.
fn unshare(flags: libc::c_int) -> io::Result<()> {
    // SAFETY: plain system calls on numbers.
    let (uid, gid) = unsafe { (libc::geteuid(), libc::getegid()) };
    if uid == 0 {
        // SAFETY: as above.
        ok(unsafe { libc::unshare(flags) })?;
        return Ok(());
    }
    // SAFETY: as above.
    ok(unsafe { libc::unshare(flags | libc::CLONE_NEWUSER) })?;
    std::fs::write("/proc/self/setgroups", "deny")?;
    std::fs::write("/proc/self/uid_map", format!("{uid} {uid} 1"))?;
    std::fs::write("/proc/self/gid_map", format!("{gid} {gid} 1"))
}

/// From here on this process, and nobody else, has a /dev/shm of `bytes` bytes.
pub fn own_small_dev_shm(bytes: usize) -> io::Result<()> {
    unshare(libc::CLONE_NEWNS)?;
    let size = std::ffi::CString::new(format!("size={bytes}"))?;
    let none = std::ptr::null();
    let private = libc::MS_REC | libc::MS_PRIVATE;
    // SAFETY: C strings that outlive the calls; the namespace is ours alone.
    unsafe {
        ok(libc::mount(none, c"/".as_ptr(), none, private, none.cast()))?;
        let kind = c"tmpfs".as_ptr();
        ok(libc::mount(
            kind,
            c"/dev/shm".as_ptr(),
            kind,
            0,
            size.as_ptr().cast(),
        ))?;
    }
    Ok(())
}

/// The children forked from here on live in a PID namespace of their own.
pub fn children_in_another_pid_namespace() -> io::Result<()> {
    unshare(libc::CLONE_NEWPID)
}

/// Runs `f` in a child forked by hand, and says how it ended, as `waitpid` does. A panic is
/// exit code 101.
pub fn in_bare_fork(f: impl FnOnce()) -> io::Result<libc::c_int> {
    // SAFETY: tests of the runner have one thread.
    let pid = ok(unsafe { libc::fork() })?;
    if pid == 0 {
        let end = std::panic::catch_unwind(std::panic::AssertUnwindSafe(f));
        // SAFETY: ends the child without running what belongs to the parent.
        unsafe { libc::_exit(if end.is_ok() { 0 } else { 101 }) };
    }
    let mut status = 0;
    // SAFETY: our own child and a local.
    ok(unsafe { libc::waitpid(pid, &mut status, 0) })?;
    Ok(status)
}

/// No more than `n` descriptors from here on.
pub fn limit_descriptors(n: u64) -> io::Result<()> {
    let limit = libc::rlimit {
        rlim_cur: n,
        rlim_max: n,
    };
    // SAFETY: a local.
    ok(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) })?;
    Ok(())
}
