use crate::header::HeaderError;
use std::io;
use thiserror::Error;

/// Why a name cannot name a segment.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NameError {
    /// The empty name.
    #[error("a name cannot be empty")]
    Empty,
    /// Longer than the file system allows.
    #[error("a name has at most {max} bytes, and this one has {bytes}")]
    TooLong {
        /// Bytes of the name.
        bytes: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// A slash in it.
    #[error("a name cannot contain a slash: {0:?}")]
    Slash(String),
    /// A NUL in it.
    #[error("a name cannot contain a NUL character: {0:?}")]
    Nul(String),
}

/// Why a segment was not made. Nothing is left behind.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CreateError {
    /// The name is not one.
    #[error(transparent)]
    Name(#[from] NameError),
    /// Something of that name exists.
    #[error("{0:?} exists already")]
    AlreadyExists(String),
    /// An object of no bytes cannot be shared.
    #[error("an object of size 0 cannot be shared")]
    ZeroSize,
    /// More bytes than an address space holds.
    #[error("{bytes} bytes are more than a segment can have")]
    TooLarge {
        /// Bytes asked for.
        bytes: usize,
    },
    /// An alignment above 256 bytes.
    #[error("an alignment of {align} bytes is more than a segment gives (256)")]
    Alignment {
        /// Bytes asked for.
        align: usize,
    },
    /// No memory left for it in /dev/shm, in the memory group or in the machine.
    #[error("no memory for {bytes} bytes")]
    NoSpace {
        /// Bytes asked for.
        bytes: usize,
    },
    /// This process (or the system) has no file descriptor left.
    #[error("no file descriptor is left for a segment (see RLIMIT_NOFILE)")]
    NoDescriptors,
    /// /dev/shm cannot be written.
    #[error("no permission to make a named segment")]
    PermissionDenied,
    /// It cannot be given to that user.
    #[error("it cannot be given to user {uid}: {source}")]
    Owner {
        /// The user asked for.
        uid: u32,
        /// What the system said.
        source: io::Error,
    },
    /// It cannot be given to that group.
    #[error("it cannot be given to group {gid}: {source}")]
    Group {
        /// The group asked for.
        gid: u32,
        /// What the system said.
        source: io::Error,
    },
    /// A temporary object of that name was left by processes that have all ended, and belongs
    /// to another user: nobody can open it, and only its owner can remove it.
    #[error("{0:?} is left over, and only its owner can remove it")]
    LeftByAnother(String),
    /// A temporary object of that name is being removed, by a process that does not get on
    /// with it: stopped, most likely.
    #[error("{0:?} is being removed by another process, which does not get on with it")]
    BeingRemoved(String),
    /// Anything else that the system said.
    #[error("a segment could not be made: {0}")]
    Io(#[source] io::Error),
}

/// Why a segment was not opened.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The name is not one.
    #[error(transparent)]
    Name(#[from] NameError),
    /// Nothing of that name.
    #[error("there is no {0:?}")]
    NotFound(String),
    /// Its mode does not let this user in.
    #[error("no permission to open {0:?}")]
    PermissionDenied(String),
    /// This process (or the system) has no file descriptor left.
    #[error("no file descriptor is left for a segment (see RLIMIT_NOFILE)")]
    NoDescriptors,
    /// No memory to map it.
    #[error("no memory to map {bytes} bytes")]
    NoMemory {
        /// Bytes of the mapping.
        bytes: usize,
    },
    /// Not a segment of this toolkit and version.
    #[error("{name:?} is not a segment that can be opened: {why}")]
    NotASegment {
        /// Its name.
        name: String,
        /// What does not fit.
        why: HeaderError,
    },
    /// Another type.
    #[error("{name:?} holds {found}, not {expected}")]
    Type {
        /// Its name.
        name: String,
        /// The tag asked for.
        expected: String,
        /// The tag found.
        found: String,
    },
    /// The same type name with another size or alignment.
    #[error(
        "{name:?} holds a {tag} of {found} bytes (aligned to {found_align}), and here a {tag} has {expected} (aligned to {expected_align})"
    )]
    Layout {
        /// Its name.
        name: String,
        /// The tag.
        tag: String,
        /// Bytes here.
        expected: usize,
        /// Alignment here.
        expected_align: usize,
        /// Bytes there.
        found: usize,
        /// Alignment there.
        found_align: usize,
    },
    /// The file is not as long as its header says.
    #[error("{name:?} has {found} bytes, and its header says {expected}")]
    Size {
        /// Its name.
        name: String,
        /// Bytes by the header.
        expected: u64,
        /// Bytes of the file.
        found: u64,
    },
    /// Made in another PID namespace, where thread ids mean other threads.
    #[error("{0:?} belongs to another PID namespace")]
    OtherPidNamespace(String),
    /// This process has it open as something else: its header changed meanwhile, which no
    /// process that keeps the rules does.
    #[error("{0:?} is open here already, and its header says something else by now")]
    InUseOtherwise(String),
    /// Anything else that the system said.
    #[error("{name:?} could not be opened: {source}")]
    Io {
        /// Its name.
        name: String,
        /// What the system said.
        source: io::Error,
    },
}

/// Why a name was not removed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum UnlinkError {
    /// The name is not one.
    #[error(transparent)]
    Name(#[from] NameError),
    /// Nothing of that name.
    #[error("there is no {0:?}")]
    NotFound(String),
    /// It belongs to somebody else.
    #[error("no permission to remove {0:?}")]
    PermissionDenied(String),
    /// Anything else that the system said.
    #[error("{name:?} could not be removed: {source}")]
    Io {
        /// Its name.
        name: String,
        /// What the system said.
        source: io::Error,
    },
}

/// Why no more memory of the sparse part was allocated. Nothing changed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AllocateError {
    /// No memory left in /dev/shm, in the memory group or in the machine.
    #[error("no memory for {bytes} more bytes")]
    NoSpace {
        /// Bytes asked for.
        bytes: usize,
    },
    /// Past the end of the segment.
    #[error("the range lies outside the segment")]
    OutOfRange,
    /// Anything else that the system said.
    #[error("memory could not be allocated: {0}")]
    Io(#[source] io::Error),
}
