//! Names that go with the last process that has the object open.
//!
//! Who has it open is kept by the kernel, which lets go for those who die: locks of open file
//! descriptions on two bytes of the file (the bytes themselves mean nothing to them).
//!
//! ```text
//! byte  ATTACHED   read-locked by every handle's description (a forked child's is its
//!                  parent's); write-locked by who has found that nobody else has it
//!       NAME       write-locked by whoever removes the name
//!
//!              linkat                 the last one lets go            unlink
//! being made ─────────▶ in use ───────────────────────────▶ stale ──────────▶ gone
//!  read lock                     (or dies)              write lock on both
//! ```
//!
//! A question ([`seen`]) takes no lock, and disturbs nobody.
//!
//! Which objects are temporary is said by the sticky bit of their file (`T` in `ls -l`), to which
//! Linux gives no meaning on files. Only the owner can set or clear it, who can remove the name
//! anyway. A word in the header would be in reach of everyone who may write to the object: garbage
//! there would have the next look take a name away that was to stay, or under its users' feet.
//!
//! # Invariants
//!
//! 1. The maker's read lock is there before the name is. Whoever joins later has seen that
//!    somebody is attached, and then that the name is still the object's. So once nobody is,
//!    nobody will ever be: a stale object does not come back to life.
//! 2. Only who has the write lock on ATTACHED treats an object as stale.
//! 3. The name of a temporary object is removed only by who has the write lock on NAME, and
//!    has seen, having it, that the name is this object's. So nobody removes what somebody
//!    else has made under the same name meanwhile.
//! 4. To find out whether a handle was the last, a *new* description of the file asks: the
//!    handle's own may be shared with a forked child, and would be granted every lock.
//!
//! # If a process dies here
//!
//! Joining: its locks are gone with it. Letting go, or removing: the name is there, and stale,
//! until somebody looks; or it is gone. Asking: nothing.
//!
//! A process that is stopped while it has NAME keeps others from making that name: they wait
//! for a tenth of a second, and then say so. A child between `fork` and `exec` counts as having
//! everything open: who lets go in that moment leaves the name to the next look.

use crate::name::Name;
use crate::step;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::time::Duration;

const ATTACHED: i64 = 0;
const NAME: i64 = 1;

/// The mode bit of what is temporary.
pub(crate) const MARK: u32 = libc::S_ISVTX;

/// Is this what the system says of a temporary object's file?
pub(crate) fn is_marked(meta: &Metadata) -> bool {
    // On directories the bit means something else.
    meta.is_file() && meta.mode() & MARK != 0
}

/// Who has a temporary object open, as the kernel says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// Somebody other than this description.
    InUse,
    /// Nobody, and somebody is about to remove it.
    Going,
    /// Nobody.
    Unused,
}

fn range(kind: i32, at: i64, bytes: i64) -> libc::flock {
    libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: at,
        l_len: bytes,
        l_pid: 0,
    }
}

/// False: somebody else has a lock there that does not go with this one.
fn lock(file: &File, kind: i32, at: i64, bytes: i64) -> io::Result<bool> {
    loop {
        return match fcntl(file.as_fd(), FcntlArg::F_OFD_SETLK(&range(kind, at, bytes))) {
            Ok(_) => Ok(true),
            Err(Errno::EAGAIN | Errno::EACCES) => Ok(false),
            Err(Errno::EINTR) => continue,
            Err(e) => Err(e.into()),
        };
    }
}

/// Who has it open besides the description behind `file`? Takes no lock.
pub(crate) fn seen(file: &File) -> io::Result<Seen> {
    let mut found = range(libc::F_WRLCK, ATTACHED, 1);
    fcntl(file.as_fd(), FcntlArg::F_OFD_GETLK(&mut found))?;
    Ok(match i32::from(found.l_type) {
        libc::F_UNLCK => Seen::Unused,
        libc::F_RDLCK => Seen::InUse,
        _ => Seen::Going,
    })
}

/// Another description of the same file.
fn again(file: &File) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_CLOEXEC | libc::O_NONBLOCK)
        .open(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// Write locks, given up when this is dropped: also where a child that another thread forked
/// meanwhile has the description, too.
struct Right<'a>(&'a File);

impl Drop for Right<'_> {
    fn drop(&mut self) {
        let _ = lock(self.0, libc::F_UNLCK, ATTACHED, 2);
    }
}

/// Removes the name of an object that nobody has open. `file` is a description of its own.
/// False: somebody has it open, or is about to remove it.
///
/// # Errors
///
/// It belongs to somebody else, as a rule.
pub(crate) fn remove_unused(file: &File, name: Option<&Name>) -> io::Result<bool> {
    if !lock(file, libc::F_WRLCK, ATTACHED, 2)? {
        return Ok(false);
    }
    let right = Right(file);
    step::at("temporary: found unused");
    remove_name(file, name)?;
    step::at("temporary: removed");
    drop(right);
    crate::trace!(
        debug,
        name = name.map(Name::as_str),
        "temporary name removed: nobody had it open"
    );
    Ok(true)
}

/// With the right to it (Invariant 3). Without a known name, whatever name the file has.
/// False: it has none, or not this one.
fn remove_name(file: &File, name: Option<&Name>) -> io::Result<bool> {
    if file.metadata()?.nlink() == 0 {
        return Ok(false);
    }
    let names = match name {
        Some(name) => vec![name.clone()],
        None => Name::all()?,
    };
    for name in names {
        if name.is_of(file)? {
            std::fs::remove_file(name.path())?;
            return Ok(true);
        }
    }
    Ok(false)
}

/// A handle's description, which counts as attached. Dropped, it lets go, and removes the
/// name if it was the last.
///
/// What goes wrong then (no descriptor left, another user's name) leaves the name to the next
/// who looks.
pub(crate) struct Attached {
    file: File,
    // Behind `file`, so that it is dropped when that is closed.
    then: Then,
}

struct Then {
    asking: Option<File>,
    name: Option<Name>,
}

impl Attached {
    fn new(file: File, name: Option<Name>) -> Self {
        let asking = None;
        Self {
            file,
            then: Then { asking, name },
        }
    }

    /// The maker's own description, before there is a name: then nobody else has a lock.
    pub(crate) fn maker(file: File, name: &Name) -> io::Result<Self> {
        let attached = lock(&file, libc::F_RDLCK, ATTACHED, 1)?;
        let this = Self::new(file, Some(name.clone()));
        attached.then_some(this).ok_or(Errno::EAGAIN.into())
    }

    /// Attaches a description of a segment that was just opened by this name. `None`: nobody
    /// has it open, or the name is something else's by now.
    pub(crate) fn by_name(file: File, name: &Name) -> io::Result<Option<Self>> {
        // Once is enough, unless others come and go between two calls.
        for _ in 0..1000 {
            match seen(&file)? {
                Seen::InUse if lock(&file, libc::F_RDLCK, ATTACHED, 1)? => {
                    step::at("open: attached");
                    let this = Self::new(file, Some(name.clone()));
                    return Ok(name.is_of(&this.file)?.then_some(this));
                }
                Seen::InUse => {}
                Seen::Going => return Ok(None),
                Seen::Unused => match remove_unused(&file, Some(name)) {
                    Ok(false) => {}
                    // What another user left, nobody but its owner can remove.
                    _ => return Ok(None),
                },
            }
        }
        Ok(None)
    }

    /// Attaches a description that came from elsewhere. `None`: nobody has it open.
    pub(crate) fn by_descriptor(file: File) -> io::Result<Option<Self>> {
        if file.metadata()?.nlink() > 0 {
            // By another one: this one may be shared with who sent it, and have its lock. Who
            // may not open the file himself was sent it by somebody that has it open.
            match again(&file) {
                Ok(asking) if seen(&asking)? != Seen::InUse => {
                    let _ = remove_unused(&asking, None);
                    return Ok(None);
                }
                Err(e) if e.kind() != io::ErrorKind::PermissionDenied => return Err(e),
                _ => {}
            }
        }
        let attached = lock(&file, libc::F_RDLCK, ATTACHED, 1)?;
        let this = Self::new(file, None);
        Ok(attached.then_some(this))
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        let named = self.file.metadata().is_ok_and(|meta| meta.nlink() > 0);
        if named {
            self.then.asking = again(&self.file).ok();
        }
        step::at("temporary: about to let go");
    }
}

impl Drop for Then {
    fn drop(&mut self) {
        step::at("temporary: let go");
        if let Some(asking) = &self.asking {
            let _ = remove_unused(asking, self.name.as_ref());
        }
    }
}

/// What stands in the way of making a name.
#[derive(Debug)]
pub(crate) enum InTheWay {
    /// Nothing, any more.
    Nothing,
    /// Something that stays.
    Something,
    /// An object that nobody has open, and that only its owner can remove.
    Anothers,
    /// One that another process is about to remove, and does not get on with it.
    Going,
}

/// How often a look is repeated because somebody else is at work on the name.
const PATIENCE: u32 = 100;

fn wait_a_little() {
    std::thread::sleep(Duration::from_millis(1));
}

/// Clears the way for a new object of that name: removes a stale one.
pub(crate) fn make_way(name: &Name) -> io::Result<InTheWay> {
    for _ in 0..PATIENCE {
        match name.path().symlink_metadata() {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(InTheWay::Nothing),
            Ok(meta) if is_marked(&meta) => {}
            _ => return Ok(InTheWay::Something),
        }
        let file = match name.open() {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(InTheWay::Nothing),
            Err(_) => return Ok(InTheWay::Something),
        };
        // Another one, by now?
        if !is_marked(&file.metadata()?) || seen(&file)? == Seen::InUse {
            return Ok(InTheWay::Something);
        }
        match remove_unused(&file, Some(name)) {
            Ok(true) => {}
            Ok(false) => wait_a_little(),
            Err(_) => return Ok(InTheWay::Anothers),
        }
    }
    Ok(InTheWay::Going)
}

/// Removes a name, whatever it names and whoever has that open.
pub(crate) fn unlink(name: &Name) -> io::Result<()> {
    for _ in 0..PATIENCE {
        // Opening something else might have an effect.
        let marked = name.path().symlink_metadata().is_ok_and(|m| is_marked(&m));
        let file = match marked.then(|| name.open()) {
            Some(Ok(file)) if is_marked(&file.metadata()?) => file,
            // Nothing temporary, or not ours to open: the system says who may remove it.
            _ => return std::fs::remove_file(name.path()),
        };
        step::at("unlink: looked");
        if lock(&file, libc::F_WRLCK, NAME, 1)? {
            let _right = Right(&file);
            step::at("unlink: right taken");
            if remove_name(&file, Some(name))? {
                step::at("unlink: removed");
                return Ok(());
            }
        } else {
            wait_a_little();
        }
    }
    Err(Errno::EBUSY.into())
}
