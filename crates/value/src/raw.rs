//! Plain data without a lock.

use crate::error::{CreateError, NoSuchItem, OpenError, OpenOrCreateError, UnlinkError};
use crate::iter::{Indexed, Iter};
use crate::options::Options;
use crate::place;
use crate::words::{self, WORD};
use multiproc_segment::{Kind, Naming, Segment, type_tag};
use std::fmt;
use std::marker::PhantomData;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// An array of plain data without a lock: items are copied in and out.
///
/// Nothing orders these copies, and nothing makes an item larger than 8 bytes whole: a reader
/// may see the first half of a new one and the second half of an old one. Items of 1, 2, 4 or
/// 8 bytes that are aligned to their size are never torn. For one number that several
/// processes add to, `Shared<AtomicU64>` is both faster and right; for anything else there is
/// [`crate::Array`].
///
/// There is no reference into it, and so no slice: others write at any time. `Clone` is another
/// handle on the same array.
#[doc(alias = "multiprocessing.RawArray")]
#[doc(alias = "sharedctypes.RawArray")]
pub struct RawArray<T> {
    pub(crate) segment: Segment,
    len: usize,
    items: PhantomData<fn(T) -> T>,
}

impl<T: FromBytes + IntoBytes + Immutable> RawArray<T> {
    pub(crate) fn kind(what: &str, fixed: usize) -> Kind {
        const {
            assert!(
                size_of::<T>() > 0,
                "plain data of no bytes cannot be shared"
            );
        }
        Kind {
            tag: format!(
                "{what}<{}> of {} bytes without a lock",
                type_tag::<T>(),
                size_of::<T>()
            ),
            fixed,
            align: align_of::<T>().max(WORD),
        }
    }

    pub(crate) fn make(
        name: Option<(&str, &Naming)>,
        len: usize,
        from: &[T],
    ) -> Result<Self, CreateError> {
        Self::make_as(Self::kind("RawArray", 0), name, len, from)
    }

    fn make_as(
        kind: Kind,
        name: Option<(&str, &Naming)>,
        len: usize,
        from: &[T],
    ) -> Result<Self, CreateError> {
        let body = len.checked_mul(size_of::<T>());
        let body = body.ok_or(CreateError::TooLarge { bytes: usize::MAX })?;
        let init = |segment: &Segment| place::new_bytes(segment, 0, from.as_bytes());
        let segment = match name {
            None => Segment::anonymous(kind, body, body, init)?,
            Some((name, naming)) => Segment::create(name, naming, kind, body, body, init)?,
        };
        Ok(Self::over(segment))
    }

    /// As many whole items as our own copy of the body's size says.
    pub(crate) fn over(segment: Segment) -> Self {
        let len = segment.body_bytes() / size_of::<T>();
        Self {
            segment,
            len,
            items: PhantomData,
        }
    }

    /// `len` zeroes, for this process and the children it forks.
    ///
    /// # Errors
    ///
    /// [`CreateError`]: also for no items, and for more than memory holds.
    pub fn zeroed(len: usize) -> Result<Self, CreateError> {
        Self::make(None, len, &[])
    }

    /// A copy of `items`, for this process and the children it forks.
    ///
    /// # Errors
    ///
    /// [`CreateError`]: also for no items.
    pub fn from_slice(items: &[T]) -> Result<Self, CreateError> {
        Self::make(None, items.len(), items)
    }

    /// `len` zeroes with a name, for programs started apart; the owner alone (0600) may open
    /// it.
    ///
    /// # Errors
    ///
    /// [`CreateError`], among them `AlreadyExists`; nothing is left behind.
    pub fn create(name: &str, len: usize) -> Result<Self, CreateError> {
        Self::options().create(name, len)
    }

    /// A copy of `items` with a name, for programs started apart.
    ///
    /// # Errors
    ///
    /// [`CreateError`], among them `AlreadyExists`; nothing is left behind.
    pub fn create_from_slice(name: &str, items: &[T]) -> Result<Self, CreateError> {
        Self::options().create_from_slice(name, items)
    }

    /// Opens the array of that name, however long it is, or makes it of `len` zeroes. When
    /// several processes race, one makes it and all get the same.
    ///
    /// # Errors
    ///
    /// As [`RawArray::open`] and [`RawArray::create`].
    pub fn open_or_create(name: &str, len: usize) -> Result<Self, OpenOrCreateError> {
        Self::options().open_or_create(name, len)
    }

    /// Opens the array of that name.
    ///
    /// # Errors
    ///
    /// [`OpenError`] says what was expected and what was found.
    pub fn open(name: &str) -> Result<Self, OpenError> {
        Ok(Self::over(Segment::open(name, &Self::kind("RawArray", 0))?))
    }

    fn check(&self, index: usize) -> Result<usize, NoSuchItem> {
        let len = self.len;
        if index < len {
            Ok(index * size_of::<T>())
        } else {
            Err(NoSuchItem { index, len })
        }
    }

    /// A copy of the item that begins at this byte.
    fn item(&self, at: usize) -> T {
        let mut item = T::new_zeroed();
        words::read(place::words(&self.segment), at, item.as_mut_bytes());
        item
    }

    /// A copy of the item at `index`. Never blocks; see the type for what may be torn.
    ///
    /// # Errors
    ///
    /// [`NoSuchItem`].
    pub fn get(&self, index: usize) -> Result<T, NoSuchItem> {
        Ok(self.item(self.check(index)?))
    }

    /// Overwrites the item at `index`. Never blocks; see the type for what may be torn.
    ///
    /// # Errors
    ///
    /// [`NoSuchItem`].
    pub fn set(&self, index: usize, item: T) -> Result<(), NoSuchItem> {
        let at = self.check(index)?;
        words::write(place::words(&self.segment), at, item.as_bytes());
        Ok(())
    }

    /// Copies of all items, one after the other. Never blocks.
    pub fn to_vec(&self) -> Vec<T> {
        self.iter().collect()
    }

    /// The items one by one, each copied when its turn comes. Never blocks.
    pub fn iter(&self) -> Iter<'_, Self> {
        Iter::new(self, self.len)
    }
}

impl<T: FromBytes + IntoBytes + Immutable> Indexed for RawArray<T> {
    type Found<'a>
        = T
    where
        T: 'a;

    fn at(&self, index: usize) -> T {
        self.item(index * size_of::<T>())
    }
}

impl<'a, T: FromBytes + IntoBytes + Immutable> IntoIterator for &'a RawArray<T> {
    type Item = T;
    type IntoIter = Iter<'a, RawArray<T>>;

    /// As [`RawArray::iter`].
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<T> RawArray<T> {
    /// How a named array is to be made: mode, owner, group, temporary.
    pub fn options() -> Options<Self> {
        Options::new()
    }

    /// How many items it has.
    #[allow(clippy::len_without_is_empty, reason = "it never is")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Removes a name; whoever has the array open keeps it.
    ///
    /// # Errors
    ///
    /// [`UnlinkError`].
    pub fn unlink(name: &str) -> Result<(), UnlinkError> {
        multiproc_segment::unlink(name)
    }
}

impl<T> Clone for RawArray<T> {
    fn clone(&self) -> Self {
        Self {
            segment: self.segment.clone(),
            len: self.len,
            items: PhantomData,
        }
    }
}

impl<T: FromBytes + IntoBytes + Immutable + fmt::Debug> fmt::Debug for RawArray<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RawArray").field(&self.to_vec()).finish()
    }
}

/// One piece of plain data without a lock: a [`RawArray`] of one item, and what is said there
/// holds here.
#[doc(alias = "multiprocessing.RawValue")]
#[doc(alias = "sharedctypes.RawValue")]
pub struct RawValue<T>(pub(crate) RawArray<T>);

impl<T: FromBytes + IntoBytes + Immutable> RawValue<T> {
    pub(crate) fn kind() -> Kind {
        RawArray::<T>::kind("RawValue", size_of::<T>())
    }

    pub(crate) fn make(name: Option<(&str, &Naming)>, value: T) -> Result<Self, CreateError> {
        Ok(Self(RawArray::make_as(Self::kind(), name, 1, &[value])?))
    }

    /// A value for this process and the children it forks.
    ///
    /// # Errors
    ///
    /// [`CreateError`]; nothing is left behind.
    pub fn new(value: T) -> Result<Self, CreateError> {
        Self::make(None, value)
    }

    /// A value with a name, for programs started apart; the owner alone (0600) may open it.
    ///
    /// # Errors
    ///
    /// [`CreateError`], among them `AlreadyExists`; nothing is left behind.
    pub fn create(name: &str, value: T) -> Result<Self, CreateError> {
        Self::options().create(name, value)
    }

    /// Opens the value of that name, or makes it from `make()`. When several processes race,
    /// one makes it and all get the same.
    ///
    /// # Errors
    ///
    /// As [`RawValue::open`] and [`RawValue::create`].
    pub fn open_or_create(name: &str, make: impl FnMut() -> T) -> Result<Self, OpenOrCreateError> {
        Self::options().open_or_create(name, make)
    }

    /// Opens the value of that name.
    ///
    /// # Errors
    ///
    /// [`OpenError`] says what was expected and what was found.
    pub fn open(name: &str) -> Result<Self, OpenError> {
        Ok(Self(RawArray::over(Segment::open(name, &Self::kind())?)))
    }

    /// A copy of the value. Never blocks; see [`RawArray`] for what may be torn.
    pub fn get(&self) -> T {
        self.0.item(0)
    }

    /// Overwrites the value. Never blocks; see [`RawArray`] for what may be torn.
    pub fn set(&self, value: T) {
        words::write(place::words(&self.0.segment), 0, value.as_bytes());
    }
}

impl<T> RawValue<T> {
    /// How a named value is to be made: mode, owner, group, temporary.
    pub fn options() -> Options<Self> {
        Options::new()
    }

    /// Removes a name; whoever has the value open keeps it.
    ///
    /// # Errors
    ///
    /// [`UnlinkError`].
    pub fn unlink(name: &str) -> Result<(), UnlinkError> {
        multiproc_segment::unlink(name)
    }
}

impl<T> Clone for RawValue<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: FromBytes + IntoBytes + Immutable + fmt::Debug> fmt::Debug for RawValue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RawValue").field(&self.get()).finish()
    }
}
