use crate::error::{CreateError, OpenError};
use crate::header::Kind;
use crate::naming::Naming;
use crate::segment::Segment;
use crate::shareable::{Shareable, type_tag};
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

/// One object, shared by processes: what `Arc` is between threads.
///
/// `Clone` is another handle on the same object; `Deref` gives `&T`. A forked child uses
/// the object through the handles that it inherits. The value is never dropped: its type
/// has nothing to drop, and its memory goes with the last process that maps it.
///
/// Dropping a handle, in whatever process, harms nobody: a name goes by
/// [`Shared::unlink`], or with the last process that has the object open where it was made
/// [temporary](SharedOptions::temporary).
#[doc(alias = "SharedMemory")]
#[doc(alias = "Value")]
pub struct Shared<T> {
    segment: Segment,
    value: PhantomData<T>,
}

impl<T: Shareable> Shared<T> {
    pub(crate) fn kind() -> Kind {
        Kind {
            tag: type_tag::<T>(),
            fixed: size_of::<T>(),
            align: align_of::<T>(),
        }
    }

    pub(crate) fn init(value: T) -> impl FnOnce(&Segment) {
        const {
            assert!(
                !std::mem::needs_drop::<T>(),
                "a Shareable type has nothing to drop"
            )
        };
        move |segment| {
            let place = segment.body().cast::<T>();
            // SAFETY: the body has room for a `T`, is aligned for it (the mapping to a
            // page, the header to 256 bytes), and nobody else sees it yet. If this process
            // dies here, neither will anybody later.
            unsafe {
                place.write(value);
                (*place).settle();
            }
        }
    }

    /// Makes an anonymous object: for this process and the children it forks.
    ///
    /// # Errors
    ///
    /// [`CreateError`]; nothing is left behind.
    pub fn new(value: T) -> Result<Self, CreateError> {
        let size = size_of::<T>();
        let segment = Segment::anonymous(Self::kind(), size, size, Self::init(value))?;
        Ok(Self {
            segment,
            value: PhantomData,
        })
    }

    /// Makes an object with a name, for programs started apart; the owner alone (0600)
    /// may open it, unless its [options](Shared::options) say otherwise.
    ///
    /// # Errors
    ///
    /// [`CreateError`], among them `AlreadyExists`; nothing is left behind.
    pub fn create(name: &str, value: T) -> Result<Self, CreateError> {
        Self::options().create(name, value)
    }

    /// How an object is to be made by name: mode, owner, group, temporary.
    ///
    /// ```
    /// use multiproc_segment::Shared;
    /// use std::sync::atomic::AtomicU64;
    /// # let name = format!("shared-doc-{}", std::process::id());
    /// let hits = Shared::<AtomicU64>::options().mode(0o660).temporary(true);
    /// let made = hits.open_or_create(&name, || AtomicU64::new(0))?;
    /// # Ok::<(), multiproc_segment::OpenOrCreateError>(())
    /// ```
    pub fn options() -> SharedOptions<T> {
        SharedOptions {
            naming: Naming::new(),
            value: PhantomData,
        }
    }

    /// Opens the object of that name.
    ///
    /// # Errors
    ///
    /// [`OpenError`]: nothing there, no permission, another type or layout: the sentence
    /// says what was expected and what was found.
    pub fn open(name: &str) -> Result<Self, OpenError> {
        Ok(Self {
            segment: Segment::open(name, &Self::kind())?,
            value: PhantomData,
        })
    }

    /// Opens the object of that name, or makes it from `make()`. When several processes
    /// race, one makes it and all get the same.
    ///
    /// # Errors
    ///
    /// As [`Shared::create`] and [`Shared::open`], in the form of the latter where both
    /// could tell.
    pub fn open_or_create(name: &str, make: impl FnMut() -> T) -> Result<Self, OpenOrCreateError> {
        Self::options().open_or_create(name, make)
    }

    /// Removes the name; see [`crate::unlink`].
    ///
    /// # Errors
    ///
    /// [`crate::UnlinkError`].
    pub fn unlink(name: &str) -> Result<(), crate::UnlinkError> {
        crate::unlink(name)
    }
}

impl<T> Shared<T> {
    pub(crate) fn over(segment: Segment) -> Self {
        Self {
            segment,
            value: PhantomData,
        }
    }

    /// The memory below.
    pub fn segment(&self) -> &Segment {
        &self.segment
    }
}

/// How a [`Shared<T>`] is to be made by name; see [`Shared::options`].
#[must_use = "options do nothing until create or open_or_create"]
pub struct SharedOptions<T> {
    naming: Naming,
    value: PhantomData<fn() -> T>,
}

impl<T: Shareable> SharedOptions<T> {
    crate::naming_options!(naming);

    /// Makes an object with a name.
    ///
    /// # Errors
    ///
    /// [`CreateError`], among them `AlreadyExists`; nothing is left behind.
    pub fn create(&self, name: &str, value: T) -> Result<Shared<T>, CreateError> {
        let (kind, size) = (Shared::<T>::kind(), size_of::<T>());
        let init = Shared::<T>::init(value);
        Ok(Shared {
            segment: Segment::create(name, &self.naming, kind, size, size, init)?,
            value: PhantomData,
        })
    }

    /// Opens the object of that name, whatever its mode and owner, or makes it from `make()`.
    /// When several processes race, one makes it and all get the same.
    ///
    /// # Errors
    ///
    /// As [`Shared::open`] and [`SharedOptions::create`].
    pub fn open_or_create(
        &self,
        name: &str,
        mut make: impl FnMut() -> T,
    ) -> Result<Shared<T>, OpenOrCreateError> {
        open_or_create(|| Shared::open(name), || self.create(name, make()))
    }
}

impl<T> Clone for SharedOptions<T> {
    fn clone(&self) -> Self {
        Self {
            naming: self.naming.clone(),
            value: PhantomData,
        }
    }
}

impl<T> fmt::Debug for SharedOptions<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SharedOptions").field(&self.naming).finish()
    }
}

/// Why neither opening nor creating worked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenOrCreateError {
    /// It is there and could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// It is not there and could not be made.
    #[error(transparent)]
    Create(#[from] CreateError),
}

/// The loop behind every `open_or_create`: a name may come and go between the two looks.
///
/// # Errors
///
/// The first error that is neither `NotFound` nor `AlreadyExists`.
pub fn open_or_create<S>(
    mut open: impl FnMut() -> Result<S, OpenError>,
    mut create: impl FnMut() -> Result<S, CreateError>,
) -> Result<S, OpenOrCreateError> {
    loop {
        match open() {
            Err(OpenError::NotFound(_)) => {}
            other => return Ok(other?),
        }
        match create() {
            Err(CreateError::AlreadyExists(_)) => {}
            other => return Ok(other?),
        }
    }
}

impl<T: Shareable> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the body holds a `T`: written by `init`, or checked by tag, size and
        // alignment. `self` keeps the mapping alive. Whatever bytes a peer writes are a
        // `T` (the contract of `Shareable`).
        unsafe { &*self.segment.body().cast::<T>() }
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self {
            segment: self.segment.clone(),
            value: PhantomData,
        }
    }
}

impl<T: Shareable + fmt::Debug> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Shared").field(&**self).finish()
    }
}
