//! Memory shared with programs that use the package `shared_memory` (feature
//! `shared_memory`).
//!
//! ```text
//! theirs, made ours   Shmem of n bytes:  [ header, 256 ][ body, n - 256 ]
//!                     Segment::create_in, Shared::create_in; then open_in, in any process
//! theirs, raw         Shmem of n bytes:  [ n bytes ]                       Foreign::of
//! ours, as theirs     shmem("jobs"):     [ header, 256 ][ body ]           os_id("jobs")
//! ```
//!
//! ```
//! use multiproc_segment::{Shared, interop};
//! use shared_memory::ShmemConf;
//! use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
//!
//! let shmem = ShmemConf::new().size(4096).create()?; // made by the other package
//! let hits = Shared::create_in(&shmem, AtomicU64::new(0))?;
//! hits.fetch_add(1, Relaxed);
//!
//! let theirs = ShmemConf::new().os_id(shmem.get_os_id()).open()?; // another program
//! let same = Shared::<AtomicU64>::open_in(&theirs)?;
//! assert_eq!(same.load(Relaxed), 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A `Shmem` is found again by its id, and mapped once more: this process keeps one mapping of
//! its own per file (the crate's Invariant 4), whatever the other package maps. So the handles
//! here outlive the `Shmem`, and are `Send`. What that package decides stays decided there: its
//! owner removes the name when it is dropped, also in a forked child; and whoever has the
//! descriptor can cut the file short, and the next touch is a SIGBUS.
//!
//! # If a process dies here
//!
//! The header's first word is written last: killed before that, the `Shmem` is not a segment,
//! and can be made one again.

use crate::error::{CreateError, NameError, OpenError};
use crate::header::{HEADER_BYTES, Header, Kind};
use crate::mapping::{Held, Mapping};
use crate::name::Name;
use crate::segment::{Segment, create_error, open_error, pid_namespace};
use crate::shareable::Shareable;
use crate::shared::Shared;
use shared_memory::{Shmem, ShmemConf, ShmemError};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::Arc;

/// The id by which `shared_memory` opens the object of that name; its body begins at
/// [`HEADER_BYTES`].
///
/// # Errors
///
/// The name is not one.
pub fn os_id(name: &str) -> Result<String, NameError> {
    let path = Name::new(name)?.path();
    let file = path
        .file_name()
        .map(|file| file.to_string_lossy().into_owned());
    Ok(format!("/{}", file.unwrap_or_default()))
}

/// The object of that name as a `Shmem`, which does not own it.
///
/// # Errors
///
/// What `shared_memory` says.
pub fn shmem(name: &str) -> Result<Shmem, ShmemError> {
    let id = os_id(name).map_err(|_| ShmemError::NoLinkOrOsId)?;
    ShmemConf::new().os_id(id).open()
}

/// Their file, opened once more, by the id; as `shm_open` finds it.
fn file_of(shmem: &Shmem) -> io::Result<File> {
    let name = shmem.get_os_id().trim_start_matches('/');
    if name.is_empty() || name.contains(['/', '\0']) || matches!(name, "." | "..") {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_CLOEXEC | libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(PathBuf::from(Name::directory()).join(name))?;
    // Removed and made again by somebody else, it would most likely have another size.
    let meta = file.metadata()?;
    if !meta.is_file() || meta.size() != shmem.len() as u64 {
        return Err(io::ErrorKind::NotFound.into());
    }
    Ok(file)
}

impl Segment {
    /// Makes a segment in the memory of a `Shmem`: a header, and a body of all the rest.
    /// `init` writes the body while nobody can attach to it.
    ///
    /// Whoever made the `Shmem` calls this; the others [`Segment::open_in`].
    ///
    /// # Errors
    ///
    /// [`CreateError`]: `AlreadyExists` if it holds a segment already, `TooLarge` if `kind` does
    /// not fit. Nothing changed for the others then.
    pub fn create_in(
        shmem: &Shmem,
        kind: Kind,
        init: impl FnOnce(&Segment),
    ) -> Result<Self, CreateError> {
        let id = shmem.get_os_id();
        let error = create_error(shmem.len());
        if kind.align > HEADER_BYTES {
            return Err(CreateError::Alignment { align: kind.align });
        }
        let body = shmem
            .len()
            .checked_sub(HEADER_BYTES)
            .filter(|body| *body >= kind.fixed.max(1));
        let body = body.ok_or(CreateError::TooLarge { bytes: kind.fixed })?;
        let file = file_of(shmem).map_err(&error)?;
        let mut found = [0; HEADER_BYTES];
        file.read_exact_at(&mut found, 0).map_err(&error)?;
        if Header::decode(&found).is_ok() {
            return Err(CreateError::AlreadyExists(id.into()));
        }
        let header = Header {
            kind,
            body,
            pid_namespace: pid_namespace(),
        };
        let bytes = header.encode();
        let (magic, rest) = bytes.split_at(8);
        file.write_all_at(rest, 8).map_err(&error)?;
        let again = file.try_clone().map_err(&error)?;
        let mapping =
            Mapping::of(Held::Plain(again), shmem.len(), header.clone()).map_err(&error)?;
        if *mapping.header() != header {
            // This process has the memory open as something else.
            return Err(CreateError::AlreadyExists(id.into()));
        }
        let segment = Self { mapping };
        segment
            .allocate(0, body)
            .map_err(|_| CreateError::NoSpace { bytes: body })?;
        init(&segment);
        file.write_all_at(magic, 0).map_err(&error)?;
        Ok(segment)
    }

    /// Opens the segment that [`Segment::create_in`] made in the memory of a `Shmem`.
    ///
    /// # Errors
    ///
    /// [`OpenError`] says what was expected and what was found.
    pub fn open_in(shmem: &Shmem, kind: &Kind) -> Result<Self, OpenError> {
        let id = shmem.get_os_id();
        Self::attach(file_of(shmem).map_err(open_error(id))?, id, kind)
    }
}

impl<T: Shareable> Shared<T> {
    /// Makes an object in the memory of a `Shmem`, which needs [`HEADER_BYTES`] more than the
    /// object has. Whoever made the `Shmem` calls this; the others [`Shared::open_in`].
    ///
    /// # Errors
    ///
    /// [`CreateError`]: `AlreadyExists` if there is one already, `TooLarge` if it does not fit.
    pub fn create_in(shmem: &Shmem, value: T) -> Result<Self, CreateError> {
        Ok(Self::over(Segment::create_in(
            shmem,
            Self::kind(),
            Self::init(value),
        )?))
    }

    /// Opens the object that [`Shared::create_in`] made in the memory of a `Shmem`.
    ///
    /// # Errors
    ///
    /// [`OpenError`] says what was expected and what was found.
    pub fn open_in(shmem: &Shmem) -> Result<Self, OpenError> {
        Ok(Self::over(Segment::open_in(shmem, &Self::kind())?))
    }
}

/// The bytes of a `Shmem` as they are, without a header of ours. A handle, to be cloned
/// freely; needs the `Shmem` no more.
#[derive(Clone)]
pub struct Foreign {
    mapping: Arc<Mapping>,
}

// SAFETY: as for `Segment`: memory that processes share anyway, and raw pointers only.
unsafe impl Send for Foreign {}
// SAFETY: as for `Send`.
unsafe impl Sync for Foreign {}

impl Foreign {
    /// The memory of that `Shmem`, all of it allocated.
    ///
    /// # Errors
    ///
    /// [`OpenError`]: `NotFound` if its owner has removed it, `InUseOtherwise` if this process
    /// has it open as a segment.
    pub fn of(shmem: &Shmem) -> Result<Self, OpenError> {
        let id = shmem.get_os_id();
        let io = open_error(id);
        let file = file_of(shmem).map_err(&io)?;
        let bytes = shmem.len();
        crate::segment::allocate_file(&file, 0, bytes).map_err(|e| io(e.into()))?;
        // Never in the file: tells this mapping from one that is a segment.
        let header = Header {
            kind: Kind {
                tag: "foreign memory".into(),
                fixed: 0,
                align: 1,
            },
            body: bytes,
            pid_namespace: 0,
        };
        let mapping = Mapping::of(Held::Plain(file), bytes, header.clone()).map_err(&io)?;
        if *mapping.header() != header || mapping.bytes() != bytes {
            return Err(OpenError::InUseOtherwise(id.into()));
        }
        Ok(Self { mapping })
    }

    /// The first byte; on a page of its own. Valid while a handle lives. Others may write at
    /// any time: use atomics or volatile copies, never references to data.
    pub fn as_ptr(&self) -> *mut u8 {
        self.mapping.start()
    }

    /// Bytes of the memory.
    pub fn size(&self) -> usize {
        self.mapping.bytes()
    }
}

impl std::fmt::Debug for Foreign {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Foreign")
            .field("size", &self.size())
            .finish()
    }
}
