use crate::error::{AllocateError, CreateError, OpenError};
use crate::header::{HEADER_BYTES, Header, Kind, Unread};
use crate::mapping::{Held, Mapping};
use crate::name::Name;
use crate::naming::Naming;
use crate::step;
use crate::temporary::{self, Attached, InTheWay};
use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, FcntlArg, SealFlag, fallocate, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::sync::Arc;

/// Untyped shared memory: a checked header and a body. [`crate::Shared`] puts a type over
/// it; crates whose objects have a size known at run time use it directly.
///
/// `Clone` is another handle on the same mapping. Dropping the last one unmaps it in this
/// process, and harms nobody else.
#[derive(Clone)]
pub struct Segment {
    pub(crate) mapping: Arc<Mapping>,
}

/// Sizes of a segment to be made.
#[derive(Debug, Clone)]
struct Sizes {
    body: usize,
    resident: usize,
    total: usize,
}

impl Sizes {
    fn check(kind: &Kind, body: usize, resident: usize) -> Result<Self, CreateError> {
        if body == 0 {
            return Err(CreateError::ZeroSize);
        }
        if kind.align > HEADER_BYTES {
            return Err(CreateError::Alignment { align: kind.align });
        }
        // Half the address space is far above what can be mapped, and keeps sums in range.
        if body > isize::MAX as usize / 2 {
            return Err(CreateError::TooLarge { bytes: body });
        }
        let resident = resident.max(kind.fixed).min(body);
        Ok(Self {
            body,
            resident,
            total: HEADER_BYTES + body,
        })
    }
}

pub(crate) fn create_error(bytes: usize) -> impl Fn(io::Error) -> CreateError {
    move |error| match error.raw_os_error() {
        Some(libc::ENOSPC | libc::ENOMEM | libc::EDQUOT) => CreateError::NoSpace { bytes },
        Some(libc::EMFILE | libc::ENFILE) => CreateError::NoDescriptors,
        Some(libc::EACCES | libc::EPERM | libc::EROFS) => CreateError::PermissionDenied,
        Some(libc::EFBIG | libc::EINVAL | libc::EOVERFLOW) => CreateError::TooLarge { bytes },
        _ => CreateError::Io(error),
    }
}

pub(crate) fn open_error(name: &str) -> impl Fn(io::Error) -> OpenError {
    let name = name.to_owned();
    move |source| match source.raw_os_error() {
        Some(libc::ENOENT) => OpenError::NotFound(name.clone()),
        Some(libc::EACCES | libc::EPERM) => OpenError::PermissionDenied(name.clone()),
        Some(libc::EMFILE | libc::ENFILE) => OpenError::NoDescriptors,
        _ => OpenError::Io {
            name: name.clone(),
            source,
        },
    }
}

pub(crate) fn pid_namespace() -> u64 {
    std::fs::metadata("/proc/self/ns/pid").map_or(0, |meta| meta.ino())
}

/// Bytes of memory and swap that the machine has. `None`: nobody can tell.
fn machine_bytes() -> Option<u64> {
    // SAFETY: zeroes are a `sysinfo`, and the kernel fills in a local one.
    let info = unsafe {
        let mut info: libc::sysinfo = std::mem::zeroed();
        (libc::sysinfo(&mut info) == 0).then_some(info)?
    };
    let units = info.totalram.saturating_add(info.totalswap);
    Some(units.saturating_mul(info.mem_unit.into()))
}

/// A longer file than this process may write (`RLIMIT_FSIZE`) is an error here; the kernel
/// would send SIGXFSZ.
fn check_file_size(bytes: usize) -> io::Result<()> {
    let mut limit = libc::rlimit {
        rlim_cur: libc::RLIM_INFINITY,
        rlim_max: libc::RLIM_INFINITY,
    };
    // SAFETY: a local, left as it is where the call fails.
    unsafe { libc::getrlimit(libc::RLIMIT_FSIZE, &mut limit) };
    if bytes as u64 > limit.rlim_cur {
        return Err(io::Error::from_raw_os_error(libc::EFBIG));
    }
    Ok(())
}

/// Requests from here on are compared with the memory of the machine first.
const LARGE: usize = 1 << 30;

/// Allocates `from..from + bytes` of the file, so that touching it cannot fail later.
pub(crate) fn allocate_file(file: &File, from: usize, bytes: usize) -> nix::Result<()> {
    // A memfd has no limit of its own: the kernel would give page after page, and kill
    // somebody when there are no more.
    if bytes >= LARGE && machine_bytes().is_some_and(|all| bytes as u64 > all) {
        return Err(Errno::ENOMEM);
    }
    loop {
        match fallocate(
            file,
            FallocateFlags::FALLOC_FL_KEEP_SIZE,
            from as i64,
            bytes as i64,
        ) {
            Err(Errno::EINTR) => {}
            other => return other,
        }
    }
}

impl Segment {
    /// Makes an anonymous segment: a memfd, sealed so that nobody can cut it short.
    ///
    /// `body` bytes are reserved, the first `resident` of them (at least `kind.fixed`)
    /// allocated at once. `init` writes the body, zeroed before, while nobody else can
    /// see it. Nothing appears in /dev/shm, ever.
    ///
    /// # Errors
    ///
    /// [`CreateError`]; nothing is left behind.
    pub fn anonymous(
        kind: Kind,
        body: usize,
        resident: usize,
        init: impl FnOnce(&Segment),
    ) -> Result<Self, CreateError> {
        let sizes = Sizes::check(&kind, body, resident)?;
        let error = create_error(body);
        let fd = memfd_create(
            c"multiproc",
            MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING,
        )
        .map_err(|e| error(e.into()))?;
        let segment = Self::fill(File::from(fd), kind, &sizes, None, init).map_err(&error)?;
        let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
        fcntl(segment.mapping.file(), FcntlArg::F_ADD_SEALS(seals)).map_err(|e| error(e.into()))?;
        Ok(segment)
    }

    /// Makes a segment and publishes it under `name`, in one step: see the crate's
    /// Invariant 1.
    ///
    /// # Errors
    ///
    /// [`CreateError`], among them `AlreadyExists`; nothing is left behind.
    pub fn create(
        name: &str,
        naming: &Naming,
        kind: Kind,
        body: usize,
        resident: usize,
        init: impl FnOnce(&Segment),
    ) -> Result<Self, CreateError> {
        let name = Name::new(name)?;
        let sizes = Sizes::check(&kind, body, resident)?;
        // The common refusal, before any memory is spent. `linkat` decides.
        Self::make_way(&name)?;
        step::at("create: nothing in the way");
        let error = create_error(body);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .mode(0o600)
            .custom_flags(libc::O_TMPFILE | libc::O_CLOEXEC)
            .open(Name::directory())
            .map_err(&error)?;
        step::at("create: file made");
        let temporary = naming.is_temporary().then_some(&name);
        let segment = Self::fill(file, kind, &sizes, temporary, init).map_err(&error)?;
        step::at("create: initialised");
        let file = segment.mapping.file();
        naming.apply(file)?;
        step::at("create: mode set");
        loop {
            let linked = nix::unistd::linkat(
                nix::fcntl::AT_FDCWD,
                format!("/proc/self/fd/{}", file.as_raw_fd()).as_str(),
                nix::fcntl::AT_FDCWD,
                &name.path(),
                nix::fcntl::AtFlags::AT_SYMLINK_FOLLOW,
            );
            match linked {
                Ok(()) => break,
                // Somebody was faster; or was, and is gone again.
                Err(Errno::EEXIST) => Self::make_way(&name)?,
                Err(e) => return Err(error(e.into())),
            }
        }
        step::at("create: published");
        crate::trace!(debug, name = name.as_str(), "name created");
        Ok(segment)
    }

    /// Nothing of that name, once a stale one is removed; or an error that says what stays.
    fn make_way(name: &Name) -> Result<(), CreateError> {
        let called = || name.as_str().to_owned();
        match temporary::make_way(name).map_err(create_error(0))? {
            InTheWay::Nothing => Ok(()),
            InTheWay::Something => Err(CreateError::AlreadyExists(called())),
            InTheWay::Anothers => Err(CreateError::LeftByAnother(called())),
            InTheWay::Going => Err(CreateError::BeingRemoved(called())),
        }
    }

    /// Size, memory, header, mapping, body: in this order, so that what can fail fails
    /// before anything is published. `temporary` is the name to be, if it is to go by itself.
    fn fill(
        file: File,
        kind: Kind,
        sizes: &Sizes,
        temporary: Option<&Name>,
        init: impl FnOnce(&Segment),
    ) -> io::Result<Self> {
        check_file_size(sizes.total)?;
        file.set_len(sizes.total as u64)?;
        step::at("create: sized");
        allocate_file(&file, 0, HEADER_BYTES + sizes.resident)?;
        step::at("create: allocated");
        let header = Header {
            kind,
            body: sizes.body,
            pid_namespace: pid_namespace(),
        };
        file.write_all_at(&header.encode(), 0)?;
        step::at("create: header written");
        let held = match temporary {
            Some(name) => Held::Temporary(Attached::maker(file, name)?),
            None => Held::Plain(file),
        };
        let segment = Self {
            mapping: Mapping::of(held, sizes.total, header)?,
        };
        step::at("create: mapped");
        init(&segment);
        Ok(segment)
    }

    /// Opens the segment of that name, if it holds the `kind` expected. A temporary one that
    /// nobody has open is removed, and not found.
    ///
    /// # Errors
    ///
    /// [`OpenError`] says what was expected and what was found.
    pub fn open(name: &str, kind: &Kind) -> Result<Self, OpenError> {
        let name = Name::new(name)?;
        let mut stale = None;
        loop {
            let file = name.open().map_err(open_error(name.as_str()))?;
            step::at("open: opened");
            let meta = file.metadata().map_err(open_error(name.as_str()))?;
            let inode = (meta.dev(), meta.ino());
            let held = if temporary::is_marked(&meta) {
                match Attached::by_name(file, &name).map_err(open_error(name.as_str()))? {
                    Some(attached) => Held::Temporary(attached),
                    // Removed; or stale, and somebody else's to remove.
                    None if stale == Some(inode) => {
                        return Err(OpenError::NotFound(name.as_str().into()));
                    }
                    None => {
                        stale = Some(inode);
                        continue;
                    }
                }
            } else {
                Held::Plain(file)
            };
            return Self::over(held, name.as_str(), kind);
        }
    }

    /// Attaches to the segment behind a descriptor. `name` is for messages only.
    ///
    /// # Errors
    ///
    /// [`OpenError`] says what was expected and what was found. `NotFound`: a temporary one
    /// that nobody has open.
    pub fn attach(file: File, name: &str, kind: &Kind) -> Result<Self, OpenError> {
        let meta = file.metadata().map_err(open_error(name))?;
        let held = if temporary::is_marked(&meta) {
            let attached = Attached::by_descriptor(file).map_err(open_error(name))?;
            Held::Temporary(attached.ok_or_else(|| OpenError::NotFound(name.into()))?)
        } else {
            Held::Plain(file)
        };
        Self::over(held, name, kind)
    }

    /// A private copy of the header, and the hash of the full tag.
    fn read_header(file: &File, name: &str) -> Result<(Header, u64), OpenError> {
        let not_a_segment = |why| OpenError::NotASegment {
            name: name.into(),
            why,
        };
        if !file.metadata().map_err(open_error(name))?.is_file() {
            return Err(not_a_segment(crate::HeaderError::Magic));
        }
        Header::of_file(file).map_err(|unread| match unread {
            Unread::Io(e) => open_error(name)(e),
            Unread::Header(why) => not_a_segment(why),
        })
    }

    /// The segment in a file, if it is what it says and what is expected.
    fn over(held: Held, name: &str, kind: &Kind) -> Result<Self, OpenError> {
        let io = open_error(name);
        let (header, tag_hash) = Self::read_header(held.file(), name)?;
        let meta = held.file().metadata().map_err(&io)?;
        let expected = (HEADER_BYTES + header.body) as u64;
        if meta.size() != expected {
            return Err(OpenError::Size {
                name: name.into(),
                expected,
                found: meta.size(),
            });
        }
        let found = &header.kind;
        if tag_hash != kind.tag_hash() {
            return Err(OpenError::Type {
                name: name.into(),
                expected: kind.tag.clone(),
                found: found.tag.clone(),
            });
        }
        if (found.fixed, found.align) != (kind.fixed, kind.align) {
            return Err(OpenError::Layout {
                name: name.into(),
                tag: kind.tag.clone(),
                expected: kind.fixed,
                expected_align: kind.align,
                found: found.fixed,
                found_align: found.align,
            });
        }
        if header.pid_namespace != pid_namespace() {
            return Err(OpenError::OtherPidNamespace(name.into()));
        }
        let bytes = HEADER_BYTES + header.body;
        let mapping =
            Mapping::of(held, bytes, header.clone()).map_err(|e| match e.raw_os_error() {
                Some(libc::ENOMEM) => OpenError::NoMemory { bytes },
                _ => io(e),
            })?;
        // The mapping may be one that this process had already, as long as the header said
        // then (Invariants 2 and 4): what was checked above must hold for that one.
        if *mapping.header() != header || mapping.bytes() != bytes {
            return Err(OpenError::InUseOtherwise(name.into()));
        }
        step::at("open: mapped");
        Ok(Self { mapping })
    }

    /// Does its name go with the last process that has it open?
    pub fn is_temporary(&self) -> bool {
        self.mapping.is_temporary()
    }

    /// The body's first byte. Valid while a handle lives. Other processes may write to
    /// the body at any time: use atomics or volatile copies, never references to data.
    pub fn body(&self) -> *mut u8 {
        // Inside the mapping: the body begins where the header ends (see the essay).
        self.mapping.start().wrapping_add(HEADER_BYTES)
    }

    /// Bytes of the body, sparse part included; from the private copy of the header.
    pub fn body_bytes(&self) -> usize {
        self.mapping.bytes() - HEADER_BYTES
    }

    /// What the header says of the object; a private copy.
    pub fn kind(&self) -> &Kind {
        &self.mapping.header().kind
    }

    fn check_range(&self, from: usize, bytes: usize) -> Result<(), AllocateError> {
        match from.checked_add(bytes) {
            Some(end) if end <= self.body_bytes() && bytes > 0 => Ok(()),
            _ => Err(AllocateError::OutOfRange),
        }
    }

    /// Backs `from..from + bytes` of the body with memory. Zeroed where it was sparse.
    ///
    /// # Errors
    ///
    /// [`AllocateError::NoSpace`] when memory is full; nothing changed then.
    pub fn allocate(&self, from: usize, bytes: usize) -> Result<(), AllocateError> {
        self.check_range(from, bytes)?;
        allocate_file(self.mapping.file(), HEADER_BYTES + from, bytes).map_err(|e| match e {
            Errno::ENOSPC | Errno::ENOMEM | Errno::EDQUOT => AllocateError::NoSpace { bytes },
            e => AllocateError::Io(e.into()),
        })
    }

    /// Gives the memory behind `from..from + bytes` of the body back; it reads as zeroes.
    /// Only whole pages go.
    ///
    /// # Errors
    ///
    /// [`AllocateError`]; nothing changed then.
    pub fn punch(&self, from: usize, bytes: usize) -> Result<(), AllocateError> {
        self.check_range(from, bytes)?;
        let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        fallocate(
            self.mapping.file(),
            flags,
            (HEADER_BYTES + from) as i64,
            bytes as i64,
        )
        .map_err(|e| AllocateError::Io(e.into()))
    }

    /// Bytes of memory that the file owns at this moment.
    ///
    /// # Errors
    ///
    /// What `fstat` says.
    pub fn resident_bytes(&self) -> io::Result<u64> {
        Ok(self.mapping.file().metadata()?.blocks() * 512)
    }

    /// Are these two handles on the same object?
    pub fn same(&self, other: &Segment) -> bool {
        Arc::ptr_eq(&self.mapping, &other.mapping)
    }
}

impl AsFd for Segment {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.mapping.file().as_fd()
    }
}

impl fmt::Debug for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Segment")
            .field("tag", &self.kind().tag)
            .field("body_bytes", &self.body_bytes())
            .finish_non_exhaustive()
    }
}

// SAFETY: a segment is memory that several processes share anyway; the handle itself is an
// `Arc` around a mapping and a file, and gives out raw pointers only.
unsafe impl Send for Segment {}
// SAFETY: as for `Send`.
unsafe impl Sync for Segment {}
