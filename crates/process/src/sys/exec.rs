//! This program once more, in a new process.
//!
//! `posix_spawn`, because it copies no memory: a start costs the same in a process of a
//! gigabyte as in a small one, and threads may run, for the new process never touches what they
//! hold. It runs `/proc/self/exe`, which names the running image itself and not a path: a file
//! that was replaced or removed on disk since is still run as it was, so that functions are where
//! they are expected.
//!
//! The new process inherits descriptors 0 to 2 and, as number 3, the one that it is given. All
//! others are closed, also those of foreign code that forgot to mark them.

use std::ffi::{CStr, CString, c_char, c_int};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// Where the new process finds what it was given.
pub(crate) const GIVEN: RawFd = 3;

type CloseFrom = unsafe extern "C" fn(*mut libc::posix_spawn_file_actions_t, c_int) -> c_int;

/// Starts this program in a new process with these arguments and environment: its pid.
pub(crate) fn this_program(
    arguments: &[CString],
    environment: &[CString],
    given: BorrowedFd<'_>,
) -> io::Result<u32> {
    let mut actions = Actions::new()?;
    actions.keep(given)?;
    match close_from() {
        Some(close_from) => actions.close_above(close_from)?,
        None => actions.close_each()?,
    }
    let attributes = Attributes::new()?;
    let pointers = |texts: &[CString]| -> Vec<*mut c_char> {
        texts
            .iter()
            .map(|text| text.as_ptr().cast_mut())
            .chain([std::ptr::null_mut()])
            .collect()
    };
    let (arguments, environment) = (pointers(arguments), pointers(environment));
    const PROGRAM: &CStr = c"/proc/self/exe";
    let mut pid = 0;
    // SAFETY: two null-terminated arrays of C strings that live until the call is over; it does
    // not write to them. Actions and attributes are initialised. The new process shares no
    // memory with us once the call has returned; if it dies in there, the call says so.
    check(unsafe {
        libc::posix_spawn(
            &mut pid,
            PROGRAM.as_ptr(),
            &raw const actions.0,
            &raw const attributes.0,
            arguments.as_ptr(),
            environment.as_ptr(),
        )
    })?;
    Ok(pid.unsigned_abs())
}

/// glibc's own way to close all descriptors from a number on, where it has one (2.34).
fn close_from() -> Option<CloseFrom> {
    // A test's switch.
    if std::env::var_os("MULTIPROC_NO_CLOSEFROM").is_some() {
        return None;
    }
    let name = c"posix_spawn_file_actions_addclosefrom_np";
    // SAFETY: looks a C string up among the loaded libraries.
    let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    // SAFETY: null, or glibc's function of that name, whose signature this is.
    unsafe { std::mem::transmute::<*mut libc::c_void, Option<CloseFrom>>(found) }
}

/// What the new process does before it runs the program.
struct Actions(libc::posix_spawn_file_actions_t);

impl Actions {
    fn new() -> io::Result<Self> {
        let mut actions = std::mem::MaybeUninit::uninit();
        // SAFETY: room for one.
        check(unsafe { libc::posix_spawn_file_actions_init(actions.as_mut_ptr()) })?;
        // SAFETY: initialised by the call above.
        Ok(Actions(unsafe { actions.assume_init() }))
    }

    fn keep(&mut self, given: BorrowedFd<'_>) -> io::Result<()> {
        // SAFETY: initialised; two numbers. Where they are the same, it clears close-on-exec.
        check(unsafe {
            libc::posix_spawn_file_actions_adddup2(&mut self.0, given.as_raw_fd(), GIVEN)
        })
    }

    fn close_above(&mut self, close_from: CloseFrom) -> io::Result<()> {
        // SAFETY: initialised; a number.
        check(unsafe { close_from(&mut self.0, GIVEN + 1) })
    }

    /// For an older glibc: those that are open now and would stay so.
    fn close_each(&mut self) -> io::Result<()> {
        for entry in std::fs::read_dir("/proc/self/fd")? {
            let name = entry?.file_name();
            let fd: Option<RawFd> = name.to_str().and_then(|name| name.parse().ok());
            let Some(fd) = fd.filter(|fd| *fd > GIVEN) else {
                continue;
            };
            // SAFETY: asks for flags by number; a number that is not open is an error.
            let flags = unsafe { libc::fcntl(fd, libc::F_GETFD) };
            if flags >= 0 && flags & libc::FD_CLOEXEC == 0 {
                // SAFETY: initialised; a number. One that was closed meanwhile does no harm.
                check(unsafe { libc::posix_spawn_file_actions_addclose(&mut self.0, fd) })?;
            }
        }
        Ok(())
    }
}

impl Drop for Actions {
    fn drop(&mut self) {
        // SAFETY: initialised, and used no more.
        unsafe { libc::posix_spawn_file_actions_destroy(&mut self.0) };
    }
}

/// An empty signal mask: what this thread blocks is its own affair, and a child that blocks
/// SIGTERM could not be terminated.
struct Attributes(libc::posix_spawnattr_t);

impl Attributes {
    fn new() -> io::Result<Self> {
        let mut attributes = std::mem::MaybeUninit::uninit();
        // SAFETY: room for one.
        check(unsafe { libc::posix_spawnattr_init(attributes.as_mut_ptr()) })?;
        // SAFETY: initialised by the call above.
        let mut attributes = Attributes(unsafe { attributes.assume_init() });
        let mut none = std::mem::MaybeUninit::uninit();
        // SAFETY: room for one; the call fills it.
        unsafe { libc::sigemptyset(none.as_mut_ptr()) };
        // SAFETY: both are initialised.
        check(unsafe { libc::posix_spawnattr_setsigmask(&mut attributes.0, none.as_ptr()) })?;
        let flags = libc::POSIX_SPAWN_SETSIGMASK as libc::c_short;
        // SAFETY: initialised; a number.
        check(unsafe { libc::posix_spawnattr_setflags(&mut attributes.0, flags) })?;
        Ok(attributes)
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: initialised, and used no more.
        unsafe { libc::posix_spawnattr_destroy(&mut self.0) };
    }
}

/// These calls return their error.
fn check(error: c_int) -> io::Result<()> {
    match error {
        0 => Ok(()),
        n => Err(io::Error::from_raw_os_error(n)),
    }
}

/// The descriptor that this process was started with, from now on close-on-exec; `None` if
/// number 3 is not the socket with this inode.
///
/// # Safety
///
/// At most one caller of a process gets it, and no other code has taken number 3 for its own.
pub(crate) unsafe fn given(inode: u64) -> Option<OwnedFd> {
    if !is_given(inode) {
        return None;
    }
    // SAFETY: it is open, and the caller says that nobody else owns it.
    let fd = unsafe { OwnedFd::from_raw_fd(GIVEN) };
    // SAFETY: flags of our own descriptor.
    unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC) };
    Some(fd)
}

/// Whether number 3 is the socket with this inode. An inode is a socket's own while it is
/// open, so whatever else lies there is not taken for it.
pub(crate) fn is_given(inode: u64) -> bool {
    // SAFETY: zeroes are a value of this plain struct.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: asks about a number; `stat` is ours.
    let known = unsafe { libc::fstat(GIVEN, &mut stat) } == 0;
    known && stat.st_mode & libc::S_IFMT == libc::S_IFSOCK && stat.st_ino == inode
}

/// Whether this program runs with more rights than whoever started it: then nothing that comes
/// through its environment is to be trusted.
pub(crate) fn has_borrowed_rights() -> bool {
    // SAFETY: only asks.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}
