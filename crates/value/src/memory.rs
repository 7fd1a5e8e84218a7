use crate::error::{CreateError, OpenError, OpenOrCreateError, OutOfRange, UnlinkError};
use crate::options::Options;
use crate::place;
use crate::words;
use multiproc_core::identity::Identity;
use multiproc_segment::{Kind, Naming, Segment};
use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Raw bytes that processes share, by name or for the children alone.
///
/// [`SharedMemory::read_at`] and [`SharedMemory::write_at`] copy, in whole words where they
/// can. Nothing orders these copies between processes: bring a lock, an event or a queue where
/// a reader must see a whole message.
///
/// A name lives until [`SharedMemory::unlink`], unless it was made
/// [temporary](Options::temporary). Dropping handles, exiting and dying remove nothing: a reader
/// cannot take the memory away from the others. What has no name goes with
/// the last process that maps it. `Clone` is another handle on the same memory.
///
/// ```
/// use multiproc_value::SharedMemory;
///
/// let memory = SharedMemory::new(4096)?; // under a generated name
/// let again = SharedMemory::open(memory.name().unwrap())?; // in this process or another
/// again.write_at(100, b"hello")?;
/// assert_eq!(memory.read_vec(100, 5)?, b"hello");
/// SharedMemory::unlink(memory.name().unwrap())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[doc(alias = "multiprocessing.shared_memory.SharedMemory")]
#[doc(alias = "close")]
#[doc(alias = "shared_memory")]
#[doc(alias = "shm_open")]
#[derive(Clone)]
pub struct SharedMemory {
    memory: Memory,
    name: Option<Arc<str>>,
}

#[derive(Clone)]
enum Memory {
    Ours(Segment),
    #[cfg(feature = "shared_memory")]
    Theirs(multiproc_segment::interop::Foreign),
}

const ALIGN: usize = 16;

pub(crate) fn kind() -> Kind {
    Kind {
        tag: "shared memory".into(),
        fixed: 0,
        align: ALIGN,
    }
}

/// A name that probably nobody has.
fn generated_name() -> String {
    static MADE: AtomicU64 = AtomicU64::new(0);
    let mut hasher = RandomState::new().build_hasher();
    // A forked child has its parent's seeds; the identity tells them apart.
    hasher.write_u64(Identity::me().to_bits());
    // Relaxed: only different numbers are wanted.
    hasher.write_u64(MADE.fetch_add(1, Relaxed));
    format!("mem-{}-{:016x}", std::process::id(), hasher.finish())
}

impl SharedMemory {
    pub(crate) fn over(segment: Segment, name: Option<&str>) -> Self {
        Self {
            memory: Memory::Ours(segment),
            name: name.map(Arc::from),
        }
    }

    pub(crate) fn make(name: &str, naming: &Naming, size: usize) -> Result<Self, CreateError> {
        let segment = Segment::create(name, naming, kind(), size, size, |_| ())?;
        Ok(Self::over(segment, Some(name)))
    }

    /// How named memory is to be made: mode, owner, group, temporary.
    pub fn options() -> Options<Self> {
        Options::new()
    }

    /// `size` zeroes under a name that is made up; the owner alone (0600) may open it.
    ///
    /// # Errors
    ///
    /// [`CreateError`]; nothing is left behind.
    pub fn new(size: usize) -> Result<Self, CreateError> {
        Self::named_by(generated_name, size)
    }

    /// A made-up name that exists already is no error: there are others.
    fn named_by(mut name: impl FnMut() -> String, size: usize) -> Result<Self, CreateError> {
        loop {
            match Self::create(&name(), size) {
                Err(CreateError::AlreadyExists(_)) => {}
                other => return other,
            }
        }
    }

    /// `size` zeroes without a name, for this process and the children it forks.
    ///
    /// # Errors
    ///
    /// [`CreateError`]; nothing is left behind.
    pub fn anonymous(size: usize) -> Result<Self, CreateError> {
        Ok(Self::over(
            Segment::anonymous(kind(), size, size, |_| ())?,
            None,
        ))
    }

    /// `size` zeroes with a name, for programs started apart; the owner alone (0600) may open
    /// it.
    ///
    /// # Errors
    ///
    /// [`CreateError`], among them `AlreadyExists`; nothing is left behind.
    pub fn create(name: &str, size: usize) -> Result<Self, CreateError> {
        Self::options().create(name, size)
    }

    /// Opens the memory of that name, whatever its size, or makes it of `size` zeroes. When
    /// several processes race, one makes it and all get the same.
    ///
    /// # Errors
    ///
    /// As [`SharedMemory::open`] and [`SharedMemory::create`].
    pub fn open_or_create(name: &str, size: usize) -> Result<Self, OpenOrCreateError> {
        Self::options().open_or_create(name, size)
    }

    /// Opens the memory of that name. It is as large as its maker made it.
    ///
    /// # Errors
    ///
    /// [`OpenError`] says what was expected and what was found.
    pub fn open(name: &str) -> Result<Self, OpenError> {
        Ok(Self::over(Segment::open(name, &kind())?, Some(name)))
    }

    /// Removes a name; whoever has the memory open keeps it.
    ///
    /// # Errors
    ///
    /// [`UnlinkError`].
    pub fn unlink(name: &str) -> Result<(), UnlinkError> {
        multiproc_segment::unlink(name)
    }

    /// Its name: another process can open it by that.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Its bytes: as many as were asked for.
    #[doc(alias = "len")]
    pub fn size(&self) -> usize {
        match &self.memory {
            Memory::Ours(segment) => segment.body_bytes(),
            #[cfg(feature = "shared_memory")]
            Memory::Theirs(foreign) => foreign.size(),
        }
    }

    /// The first byte. Valid as long as a handle lives.
    ///
    /// Others read and write there at any time. Whoever follows the pointer uses atomic or
    /// volatile accesses, or makes sure in another way that nobody else does; a reference to
    /// bytes that others write is undefined behaviour.
    #[doc(alias = "buf")]
    pub fn as_ptr(&self) -> *mut u8 {
        match &self.memory {
            Memory::Ours(segment) => segment.body(),
            #[cfg(feature = "shared_memory")]
            Memory::Theirs(foreign) => foreign.as_ptr(),
        }
    }

    /// The segment, if it is one of ours.
    pub(crate) fn segment(&self) -> Option<&Segment> {
        match &self.memory {
            Memory::Ours(segment) => Some(segment),
            #[cfg(feature = "shared_memory")]
            Memory::Theirs(_) => None,
        }
    }

    fn words(&self) -> &[AtomicU64] {
        match &self.memory {
            Memory::Ours(segment) => place::words(segment),
            #[cfg(feature = "shared_memory")]
            Memory::Theirs(foreign) => place::foreign_words(foreign),
        }
    }

    fn check(&self, offset: usize, len: usize) -> Result<(), OutOfRange> {
        let size = self.size();
        match offset.checked_add(len) {
            Some(end) if end <= size => Ok(()),
            _ => Err(OutOfRange { offset, len, size }),
        }
    }

    /// Copies the bytes from `offset` on to `to`. Never blocks.
    ///
    /// # Errors
    ///
    /// [`OutOfRange`]; nothing was read.
    pub fn read_at(&self, offset: usize, to: &mut [u8]) -> Result<(), OutOfRange> {
        self.check(offset, to.len())?;
        words::read(self.words(), offset, to);
        Ok(())
    }

    /// The `len` bytes from `offset` on. Never blocks.
    ///
    /// # Errors
    ///
    /// [`OutOfRange`]; nothing was read.
    pub fn read_vec(&self, offset: usize, len: usize) -> Result<Vec<u8>, OutOfRange> {
        self.check(offset, len)?;
        let mut bytes = vec![0; len];
        words::read(self.words(), offset, &mut bytes);
        Ok(bytes)
    }

    /// Copies `from` to the bytes from `offset` on. Never blocks.
    ///
    /// # Errors
    ///
    /// [`OutOfRange`]; nothing was written.
    pub fn write_at(&self, offset: usize, from: &[u8]) -> Result<(), OutOfRange> {
        self.check(offset, from.len())?;
        words::write(self.words(), offset, from);
        Ok(())
    }
}

/// Between this crate's memory and that of the package `shared_memory`.
#[cfg(feature = "shared_memory")]
#[cfg_attr(docsrs, doc(cfg(feature = "shared_memory")))]
impl SharedMemory {
    /// The bytes of a `Shmem`, from its first one on, whoever made it. It is found by its id,
    /// so it must not be removed yet; afterwards this handle needs the `Shmem` no more.
    ///
    /// # Errors
    ///
    /// [`OpenError`].
    pub fn from_shmem(shmem: &shared_memory::Shmem) -> Result<Self, OpenError> {
        Ok(Self {
            memory: Memory::Theirs(multiproc_segment::interop::Foreign::of(shmem)?),
            name: None,
        })
    }

    /// This memory as a `Shmem`: the bytes begin at
    /// [`HEADER_BYTES`](multiproc_segment::HEADER_BYTES) there. Others open it by
    /// [`os_id`](multiproc_segment::interop::os_id) of the name. Only memory with a name.
    ///
    /// # Errors
    ///
    /// What `shared_memory` says.
    pub fn to_shmem(&self) -> Result<shared_memory::Shmem, shared_memory::ShmemError> {
        let name = self.name().ok_or(shared_memory::ShmemError::NoLinkOrOsId)?;
        multiproc_segment::interop::shmem(name)
    }
}

impl fmt::Debug for SharedMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedMemory")
            .field("name", &self.name)
            .field("size", &self.size())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// M5.
    #[test]
    fn a_generated_name_that_exists_is_retried_with_another() {
        let taken = generated_name();
        let first = SharedMemory::create(&taken, 8).unwrap();
        let mut tries = [taken.clone(), taken.clone(), generated_name()].into_iter();
        let second = SharedMemory::named_by(|| tries.next().unwrap(), 8).unwrap();
        assert_eq!(tries.next(), None);
        assert_ne!(second.name(), first.name());
        first.write_at(0, &[1]).unwrap();
        assert_eq!(second.read_vec(0, 1).unwrap(), [0]);
        for memory in [first, second] {
            SharedMemory::unlink(memory.name().unwrap()).unwrap();
        }
    }

    #[test]
    fn generated_names_differ() {
        assert_ne!(generated_name(), generated_name());
    }
}
