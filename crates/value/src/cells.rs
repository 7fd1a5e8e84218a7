//! Items of plain data in a segment, under a lock: what [`Value`](crate::Value) and
//! [`Array`](crate::Array) are made of.
//!
//! ```text
//! body   [ lock, 48 bytes ][ to the item's alignment ][ item 0 ][ item 1 ] …
//! ```

use crate::error::{
    CreateError, LockError, LockTimeoutError, OpenError, OpenOrCreateError, TryLockError,
    UnderError,
};
use crate::guard::Guard;
use crate::place;
use multiproc_core::step;
use multiproc_lock::{AcquireTimeoutError, Mutex, MutexGuard, TryAcquireError};
use multiproc_segment::{Kind, Naming, Segment, Shared, type_tag};
use std::fmt;
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::MetadataExt;
use std::time::Duration;
use zerocopy::{Immutable, IntoBytes, TryFromBytes};

/// Plain data: what zerocopy can view as bytes and, after a look, make from bytes.
///
/// Numbers, `bool`, `char`, [`crate::FixedString`], arrays of them, and your own
/// `#[repr(C)]` structs and `#[repr(u8)]` enums that derive zerocopy's three traits. No
/// padding, no pointers. There is nothing to implement: what has the traits is plain.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not plain data",
    note = "numbers, arrays of them, and #[repr(C)] structs that derive zerocopy's `TryFromBytes` (or `FromBytes`), `IntoBytes` and `Immutable` are",
    note = "these derives are in the package zerocopy, with its feature `derive`",
    note = "text goes into a FixedString<N>"
)]
pub trait Plain: TryFromBytes + IntoBytes + Immutable + Sized + Send + 'static {}
impl<T: TryFromBytes + IntoBytes + Immutable + Send + 'static> Plain for T {}

/// What a lock's holder gets from bytes that turn out to be good, and bad.
pub(crate) type Locked<'a, T> = Result<Guard<'a, T>, LockError<Guard<'a, T>>>;
/// How a holder's guard finds its target in the bytes.
pub(crate) type View<U> = for<'h> fn(&'h mut [u8]) -> Option<&'h mut U>;
pub(crate) type TryLocked<'a, T> = Result<Guard<'a, T>, TryLockError<Guard<'a, T>>>;
pub(crate) type TimedLocked<'a, T> = Result<Guard<'a, T>, LockTimeoutError<Guard<'a, T>>>;

/// Something under a lock: a [`Value`](crate::Value) holds a `T`, an
/// [`Array`](crate::Array) a `[T]`.
pub trait Guarded: sealed::Cells {
    /// What it holds.
    type Target: ?Sized;

    #[doc(hidden)]
    fn view(bytes: &mut [u8]) -> Option<&mut Self::Target>;
}

pub(crate) mod sealed {
    use crate::place::Part;
    use multiproc_lock::Mutex;

    #[allow(unreachable_pub, reason = "seals a public trait")]
    pub trait Cells {
        fn part(&self) -> Part<'_>;
        fn mutex(&self) -> &Mutex<()>;
    }
}

/// Where the bytes of `what` are, if `held` holds the lock over them.
///
/// By address: this process has one mapping of a segment, so one address of a lock in it.
fn under<'b>(
    what: &'b impl sealed::Cells,
    held: &MutexGuard<'_, ()>,
) -> Result<place::Part<'b>, UnderError> {
    if std::ptr::eq(what.mutex(), MutexGuard::mutex(held)) {
        Ok(what.part())
    } else {
        Err(UnderError::OtherLock)
    }
}

/// What `what` holds, for whoever holds its lock.
#[allow(unsafe_code)]
pub(crate) fn open<'b, X: Guarded>(
    what: &'b X,
    held: &'b mut MutexGuard<'_, ()>,
) -> Result<&'b mut X::Target, UnderError> {
    let (segment, at, len) = under(what, held)?;
    // SAFETY: the lock that is held is the one over these bytes: `under` compared.
    let bytes = unsafe { place::bytes(segment, at, len, held) };
    X::view(bytes).ok_or(UnderError::Corrupted)
}

/// What two objects under one lock hold, both at the same time. For one at a time there are
/// [`Value::under`](crate::Value::under) and [`Array::under`](crate::Array::under).
///
/// # Errors
///
/// [`UnderError`].
#[allow(unsafe_code)]
pub fn both<'b, X: Guarded, Y: Guarded>(
    one: &'b X,
    other: &'b Y,
    held: &'b mut MutexGuard<'_, ()>,
) -> Result<(&'b mut X::Target, &'b mut Y::Target), UnderError> {
    let parts = (under(one, held)?, under(other, held)?);
    // SAFETY: the lock that is held is the one over both: `under` compared.
    let parts = unsafe { place::both_bytes(parts.0, parts.1, held) };
    let (one, other) = parts.ok_or(UnderError::SameObject)?;
    X::view(one)
        .zip(Y::view(other))
        .ok_or(UnderError::Corrupted)
}

/// The first bytes of `bytes` as `T`s: all of them, if they are.
#[inline]
pub(crate) fn items<T: Plain>(bytes: &mut [u8]) -> Option<&mut [T]> {
    let count = bytes.len() / size_of::<T>();
    <[T]>::try_mut_from_bytes_with_elems(bytes, count).ok()
}

/// One item from a copy of its bytes.
#[inline]
pub(crate) fn item<T: Plain>(bytes: &[u8]) -> Option<T> {
    T::try_read_from_bytes(bytes).ok()
}

/// A lock that several values and arrays share.
pub(crate) type GivenLock = Shared<Mutex<()>>;

/// Where and under which lock something is to be made or opened.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    pub(crate) naming: Naming,
    pub(crate) lock: Option<GivenLock>,
}

/// `len` items of `T`, and the lock over them.
pub(crate) struct Cells<T> {
    pub(crate) segment: Segment,
    /// A lock that was given; else there is one at the start of `segment`.
    pub(crate) lock: Option<GivenLock>,
    pub(crate) len: usize,
    items: PhantomData<fn(T) -> T>,
}

impl<T> Clone for Cells<T> {
    fn clone(&self) -> Self {
        Self {
            segment: self.segment.clone(),
            lock: self.lock.clone(),
            len: self.len,
            items: PhantomData,
        }
    }
}

impl<T> Cells<T> {
    #[allow(unsafe_code)]
    #[inline]
    pub(crate) fn mutex(&self) -> &Mutex<()> {
        match &self.lock {
            Some(lock) => lock,
            // SAFETY: `make` writes one to every segment, and `open` checks the tag.
            None => unsafe { place::head(&self.segment) },
        }
    }
}

/// The number of the file that a lock lies in: what is made by name under a given lock is
/// opened under the same one, or refused.
fn file_of(lock: &GivenLock) -> std::io::Result<u64> {
    let fd = lock.segment().as_fd().as_raw_fd();
    Ok(std::fs::metadata(format!("/proc/self/fd/{fd}"))?.ino())
}

impl<T: Plain> Cells<T> {
    const DATA_AT: usize = {
        assert!(
            size_of::<T>() > 0,
            "plain data of no bytes cannot be shared"
        );
        size_of::<Mutex<()>>().next_multiple_of(align_of::<T>())
    };

    /// `fixed_items`: 1 for a value, whose size the type fixes; 0 for an array.
    pub(crate) fn kind(
        what: &str,
        settings: &Settings,
        fixed_items: usize,
    ) -> std::io::Result<Kind> {
        let lock = match &settings.lock {
            None => "its own lock".into(),
            Some(lock) => format!("the lock in file {}", file_of(lock)?),
        };
        let (item, size) = (type_tag::<T>(), size_of::<T>());
        Ok(Kind {
            tag: format!("{what}<{item}> ({size} bytes, under {lock})"),
            fixed: Self::DATA_AT + fixed_items * size,
            align: align_of::<T>().max(align_of::<Mutex<()>>()),
        })
    }

    fn over(segment: Segment, settings: &Settings, len: usize) -> Self {
        Self {
            segment,
            lock: settings.lock.clone(),
            len,
            items: PhantomData,
        }
    }

    /// Makes `len` items: copies of `from`, or zeroes if it is empty.
    pub(crate) fn make(
        what: &str,
        name: Option<&str>,
        settings: &Settings,
        fixed_items: usize,
        len: usize,
        from: &[u8],
    ) -> Result<Self, CreateError> {
        if len == 0 {
            return Err(CreateError::ZeroSize);
        }
        let items = len.checked_mul(size_of::<T>());
        let body = items.and_then(|bytes| bytes.checked_add(Self::DATA_AT));
        let body = body.ok_or(CreateError::TooLarge { bytes: usize::MAX })?;
        let kind = Self::kind(what, settings, fixed_items).map_err(CreateError::Io)?;
        let init = |segment: &Segment| {
            place::init_head(segment, Mutex::new(()));
            place::new_bytes(segment, Self::DATA_AT, from);
        };
        let segment = match name {
            None => Segment::anonymous(kind, body, body, init)?,
            Some(name) => Segment::create(name, &settings.naming, kind, body, body, init)?,
        };
        Ok(Self::over(segment, settings, len))
    }

    /// Opens what has that name. Of how many items it is, its size says.
    pub(crate) fn open(
        what: &str,
        name: &str,
        settings: &Settings,
        fixed_items: usize,
    ) -> Result<Self, OpenError> {
        let kind = Self::kind(what, settings, fixed_items);
        let kind = kind.map_err(|source| OpenError::Io {
            name: name.into(),
            source,
        })?;
        Self::checked(Segment::open(name, &kind)?, name, settings, fixed_items)
    }

    /// The items in a segment of the right kind. `name` is for messages only.
    pub(crate) fn checked(
        segment: Segment,
        name: &str,
        settings: &Settings,
        fixed_items: usize,
    ) -> Result<Self, OpenError> {
        // Our own copy of the size, checked against the file.
        let bytes = segment.body_bytes().saturating_sub(Self::DATA_AT);
        let len = bytes / size_of::<T>();
        if len == 0 || (fixed_items > 0 && len != fixed_items) || bytes % size_of::<T>() != 0 {
            let expected = Self::DATA_AT + fixed_items.max(len).max(1) * size_of::<T>();
            return Err(OpenError::Size {
                name: name.into(),
                expected: expected as u64,
                found: segment.body_bytes() as u64,
            });
        }
        Ok(Self::over(segment, settings, len))
    }

    pub(crate) fn open_or_create(
        what: &str,
        name: &str,
        settings: &Settings,
        fixed_items: usize,
        mut create: impl FnMut() -> Result<Self, CreateError>,
    ) -> Result<Self, OpenOrCreateError> {
        multiproc_segment::open_or_create(
            || Self::open(what, name, settings, fixed_items),
            &mut create,
        )
    }

    pub(crate) fn part(&self) -> place::Part<'_> {
        (&self.segment, Self::DATA_AT, self.len * size_of::<T>())
    }

    #[inline]
    #[allow(unsafe_code)]
    fn bytes<'a>(
        &'a self,
        (_, at, len): place::Part<'a>,
        held: &'a mut MutexGuard<'_, ()>,
    ) -> &'a mut [u8] {
        debug_assert!(std::ptr::eq(self.mutex(), MutexGuard::mutex(held)));
        // SAFETY: private to this type, which takes its own mutex each time; see `lock`.
        unsafe { place::bytes(&self.segment, at, len, held) }
    }

    /// A guard over what `view` finds. The lock of `self` is what is held.
    #[inline]
    fn guard<'a, U: ?Sized + 'a>(
        &'a self,
        held: MutexGuard<'a, ()>,
        view: View<U>,
    ) -> Locked<'a, U> {
        match Guard::new(held, |held| view(self.bytes(self.part(), held))) {
            Ok(guard) if guard.owner_died() => Err(LockError::OwnerDied(guard)),
            Ok(guard) => Ok(guard),
            Err(held) => match Guard::new(held, |held| Some(self.bytes(self.part(), held))) {
                Ok(bytes) => Err(LockError::Corrupted(bytes)),
                Err(_) => unreachable!("bytes are always bytes"),
            },
        }
    }

    /// The lock, from the living or the dead: the guard knows.
    #[inline]
    fn held(&self) -> MutexGuard<'_, ()> {
        self.mutex().lock().unwrap_or_else(|died| died.into_guard())
    }

    #[inline]
    pub(crate) fn lock<U: ?Sized>(&self, view: View<U>) -> Locked<'_, U> {
        self.guard(self.held(), view)
    }

    pub(crate) fn try_lock<U: ?Sized>(&self, view: View<U>) -> TryLocked<'_, U> {
        match self.mutex().try_lock() {
            Ok(held) | Err(TryAcquireError::OwnerDied(held)) => Ok(self.guard(held, view)?),
            Err(_) => Err(TryLockError::Held),
        }
    }

    pub(crate) fn lock_timeout<U: ?Sized>(
        &self,
        timeout: Duration,
        view: View<U>,
    ) -> TimedLocked<'_, U> {
        match self.mutex().lock_timeout(timeout) {
            Ok(held) | Err(AcquireTimeoutError::OwnerDied(held)) => Ok(self.guard(held, view)?),
            Err(_) => Err(LockTimeoutError::Timeout),
        }
    }

    /// The bytes of item `index`, while `held` is. Panics past the end.
    #[inline]
    fn bytes_of<'a>(&'a self, index: usize, held: &'a mut MutexGuard<'_, ()>) -> &'a mut [u8] {
        assert!(index < self.len);
        let size = size_of::<T>();
        self.bytes((&self.segment, Self::DATA_AT + index * size, size), held)
    }

    /// A copy of item `index`. `view` is for the guard of a bad end.
    #[inline]
    pub(crate) fn get<'a, U: ?Sized + 'a>(
        &'a self,
        index: usize,
        view: View<U>,
    ) -> Result<T, LockError<Guard<'a, U>>> {
        let mut held = self.held();
        step!("value: about to read");
        if !held.owner_died()
            && let Some(item) = item(self.bytes_of(index, &mut held))
        {
            return Ok(item);
        }
        self.bad_end(held, view)
    }

    /// Overwrites item `index`.
    #[inline]
    pub(crate) fn set<'a, U: ?Sized + 'a>(
        &'a self,
        index: usize,
        item: &T,
        view: View<U>,
    ) -> Result<(), LockError<Guard<'a, U>>> {
        let mut held = self.held();
        if held.owner_died() {
            return self.bad_end(held, view);
        }
        step!("value: about to write");
        self.write(self.bytes_of(index, &mut held), item.as_bytes());
        step!("value: written");
        Ok(())
    }

    /// The death comes first: whoever gets the guard may find the bytes bad in its turn.
    #[cold]
    fn bad_end<'a, U: ?Sized + 'a, R>(
        &'a self,
        held: MutexGuard<'a, ()>,
        view: View<U>,
    ) -> Result<R, LockError<Guard<'a, U>>> {
        match self.guard(held, view) {
            Err(error) => Err(error),
            // Not bad after all: only a peer without the lock can have changed it meanwhile.
            Ok(guard) => Err(LockError::OwnerDied(guard)),
        }
    }

    /// One copy in a normal build. With named steps, two: a test stops a writer between them.
    #[inline]
    fn write(&self, to: &mut [u8], from: &[u8]) {
        if cfg!(feature = "steps") {
            let middle = from.len() / 2;
            to[..middle].copy_from_slice(&from[..middle]);
            step!("value: half written");
            to[middle..].copy_from_slice(&from[middle..]);
        } else {
            to.copy_from_slice(from);
        }
    }

    /// The lock's state, and what it protects, if it can be had at once.
    pub(crate) fn debug<U: ?Sized + fmt::Debug>(
        &self,
        what: &str,
        field: &str,
        view: View<U>,
        f: &mut fmt::Formatter<'_>,
    ) -> fmt::Result {
        // First, as taking it changes it.
        let lock = format!("{:?}", self.mutex());
        let mut shown = f.debug_struct(what);
        shown.field("lock", &format_args!("{lock}"));
        match self.try_lock(view) {
            Ok(guard) | Err(TryLockError::OwnerDied(guard)) => shown.field(field, &&*guard),
            Err(TryLockError::Held) => shown.field(field, &format_args!("<locked>")),
            Err(_) => shown.field(field, &format_args!("<corrupted>")),
        };
        shown.finish()
    }
}
