//! Changing what surrounds this process: limits, namespaces, signals.

use crate::ok;
use std::io;

/// Changes this process's soft limit.
pub fn limit(resource: libc::__rlimit_resource_t, soft: u64) {
    // SAFETY: zeroes are an `rlimit`; the calls read and write that local.
    unsafe {
        let mut limit: libc::rlimit = std::mem::zeroed();
        assert_eq!(libc::getrlimit(resource, &mut limit), 0);
        limit.rlim_cur = soft.min(limit.rlim_max);
        assert_eq!(libc::setrlimit(resource, &limit), 0);
    }
}

/// No more than `n` descriptors from here on, for good.
pub fn limit_descriptors(n: u64) -> io::Result<()> {
    let limit = libc::rlimit {
        rlim_cur: n,
        rlim_max: n,
    };
    // SAFETY: a local.
    ok(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) })?;
    Ok(())
}

/// Has `handler` called at `signal`; system calls are not restarted.
pub fn on_signal(signal: i32, handler: extern "C" fn(i32)) {
    // SAFETY: zeroes are a `sigaction` (no flags: no SA_RESTART). The handlers given here
    // touch atomics only.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as *const () as libc::sighandler_t;
        assert_eq!(
            libc::sigaction(signal, &action, std::ptr::null_mut()),
            0,
            "sigaction"
        );
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
