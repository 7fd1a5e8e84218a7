use crate::array::Array;
use crate::cells::{Guarded, Plain, Settings};
use crate::error::{CreateError, OpenError, OpenOrCreateError};
use crate::item::Item;
use crate::list::ShareableList;
use crate::memory::SharedMemory;
use crate::raw::{RawArray, RawValue};
use crate::value::Value;
use multiproc_lock::Mutex;
use multiproc_segment::{Shared, open_or_create};
use std::fmt;
use std::marker::PhantomData;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

/// How an object of the kind `K` is to be made or opened: see [`Value::options`],
/// [`Array::options`], [`RawValue::options`], [`RawArray::options`], [`SharedMemory::options`] and
/// [`ShareableList::options`].
#[must_use = "options do nothing until something is made or opened with them"]
pub struct Options<K> {
    settings: Settings,
    kind: PhantomData<fn() -> K>,
}

impl<K> Options<K> {
    pub(crate) fn new() -> Self {
        Self {
            settings: Settings::default(),
            kind: PhantomData,
        }
    }

    multiproc_segment::naming_options!(settings.naming);
}

impl<K: Guarded> Options<K> {
    /// This lock, in place of one of its own. What is made by name under a lock is opened
    /// with the same one, or refused.
    pub fn lock(mut self, lock: &Shared<Mutex<()>>) -> Self {
        self.settings.lock = Some(lock.clone());
        self
    }
}

impl<T: Plain> Options<Value<T>> {
    /// A value for this process and the children it forks.
    ///
    /// # Errors
    ///
    /// [`CreateError`]; nothing is left behind.
    pub fn build(&self, value: T) -> Result<Value<T>, CreateError> {
        Value::make(None, &self.settings, &value)
    }

    /// A value with a name, for programs started apart.
    ///
    /// # Errors
    ///
    /// [`CreateError`], among them `AlreadyExists`; nothing is left behind.
    pub fn create(&self, name: &str, value: T) -> Result<Value<T>, CreateError> {
        Value::make(Some(name), &self.settings, &value)
    }

    /// Opens the value of that name.
    ///
    /// # Errors
    ///
    /// [`OpenError`] says what was expected and what was found.
    pub fn open(&self, name: &str) -> Result<Value<T>, OpenError> {
        Value::open_by(name, &self.settings)
    }

    /// Opens the value of that name, or makes it from `make()`.
    ///
    /// # Errors
    ///
    /// [`OpenOrCreateError`].
    pub fn open_or_create(
        &self,
        name: &str,
        make: impl FnMut() -> T,
    ) -> Result<Value<T>, OpenOrCreateError> {
        Value::open_or_create_by(name, &self.settings, make)
    }
}

impl<T: Plain> Options<Array<T>> {
    /// `len` zeroes, for this process and the children it forks.
    ///
    /// # Errors
    ///
    /// [`CreateError`]: also for no items, and for more than memory holds.
    pub fn zeroed(&self, len: usize) -> Result<Array<T>, CreateError>
    where
        T: FromZeros,
    {
        Array::make(None, &self.settings, len, &[])
    }

    /// A copy of `items`, for this process and the children it forks.
    ///
    /// # Errors
    ///
    /// [`CreateError`]: also for no items.
    pub fn from_slice(&self, items: &[T]) -> Result<Array<T>, CreateError> {
        Array::make(None, &self.settings, items.len(), items)
    }

    /// `len` zeroes with a name, for programs started apart.
    ///
    /// # Errors
    ///
    /// [`CreateError`], among them `AlreadyExists`; nothing is left behind.
    pub fn create(&self, name: &str, len: usize) -> Result<Array<T>, CreateError>
    where
        T: FromZeros,
    {
        Array::make(Some(name), &self.settings, len, &[])
    }

    /// A copy of `items` with a name, for programs started apart.
    ///
    /// # Errors
    ///
    /// [`CreateError`], among them `AlreadyExists`; nothing is left behind.
    pub fn create_from_slice(&self, name: &str, items: &[T]) -> Result<Array<T>, CreateError> {
        Array::make(Some(name), &self.settings, items.len(), items)
    }

    /// Opens the array of that name. It is as long as its maker made it.
    ///
    /// # Errors
    ///
    /// [`OpenError`] says what was expected and what was found.
    pub fn open(&self, name: &str) -> Result<Array<T>, OpenError> {
        Array::open_by(name, &self.settings)
    }

    /// Opens the array of that name, however long it is, or makes it of `len` zeroes.
    ///
    /// # Errors
    ///
    /// [`OpenOrCreateError`].
    pub fn open_or_create(&self, name: &str, len: usize) -> Result<Array<T>, OpenOrCreateError>
    where
        T: FromZeros,
    {
        Array::open_or_create_by(name, &self.settings, len)
    }
}

impl<T: FromBytes + IntoBytes + Immutable> Options<RawValue<T>> {
    /// A value with a name, for programs started apart.
    ///
    /// # Errors
    ///
    /// [`CreateError`], among them `AlreadyExists`; nothing is left behind.
    pub fn create(&self, name: &str, value: T) -> Result<RawValue<T>, CreateError> {
        RawValue::make(Some((name, &self.settings.naming)), value)
    }

    /// Opens the value of that name, or makes it from `make()`.
    ///
    /// # Errors
    ///
    /// [`OpenOrCreateError`].
    pub fn open_or_create(
        &self,
        name: &str,
        mut make: impl FnMut() -> T,
    ) -> Result<RawValue<T>, OpenOrCreateError> {
        open_or_create(|| RawValue::open(name), || self.create(name, make()))
    }
}

impl<T: FromBytes + IntoBytes + Immutable> Options<RawArray<T>> {
    /// `len` zeroes with a name, for programs started apart.
    ///
    /// # Errors
    ///
    /// [`CreateError`], among them `AlreadyExists`; nothing is left behind.
    pub fn create(&self, name: &str, len: usize) -> Result<RawArray<T>, CreateError> {
        RawArray::make(Some((name, &self.settings.naming)), len, &[])
    }

    /// A copy of `items` with a name, for programs started apart.
    ///
    /// # Errors
    ///
    /// [`CreateError`], among them `AlreadyExists`; nothing is left behind.
    pub fn create_from_slice(&self, name: &str, items: &[T]) -> Result<RawArray<T>, CreateError> {
        RawArray::make(Some((name, &self.settings.naming)), items.len(), items)
    }

    /// Opens the array of that name, however long it is, or makes it of `len` zeroes.
    ///
    /// # Errors
    ///
    /// [`OpenOrCreateError`].
    pub fn open_or_create(&self, name: &str, len: usize) -> Result<RawArray<T>, OpenOrCreateError> {
        open_or_create(|| RawArray::open(name), || self.create(name, len))
    }
}

impl Options<SharedMemory> {
    /// `size` zeroes with a name, for programs started apart.
    ///
    /// # Errors
    ///
    /// [`CreateError`], among them `AlreadyExists`; nothing is left behind.
    pub fn create(&self, name: &str, size: usize) -> Result<SharedMemory, CreateError> {
        SharedMemory::make(name, &self.settings.naming, size)
    }

    /// Opens the memory of that name, whatever its size, or makes it of `size` zeroes.
    ///
    /// # Errors
    ///
    /// [`OpenOrCreateError`].
    pub fn open_or_create(
        &self,
        name: &str,
        size: usize,
    ) -> Result<SharedMemory, OpenOrCreateError> {
        open_or_create(|| SharedMemory::open(name), || self.create(name, size))
    }
}

impl Options<ShareableList> {
    /// A list with a name, for programs started apart.
    ///
    /// # Errors
    ///
    /// [`CreateError`], among them `AlreadyExists`; nothing is left behind.
    pub fn create(
        &self,
        name: &str,
        items: impl IntoIterator<Item = Item>,
    ) -> Result<ShareableList, CreateError> {
        ShareableList::make(Some((name, &self.settings.naming)), items)
    }

    /// Opens the list of that name, whatever is in it, or makes it of what `make` gives.
    ///
    /// # Errors
    ///
    /// [`OpenOrCreateError`].
    pub fn open_or_create<I: IntoIterator<Item = Item>>(
        &self,
        name: &str,
        mut make: impl FnMut() -> I,
    ) -> Result<ShareableList, OpenOrCreateError> {
        open_or_create(|| ShareableList::open(name), || self.create(name, make()))
    }
}

impl<K> Clone for Options<K> {
    fn clone(&self) -> Self {
        Self {
            settings: self.settings.clone(),
            kind: PhantomData,
        }
    }
}

impl<K> fmt::Debug for Options<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("naming", &self.settings.naming)
            .field("lock", &self.settings.lock)
            .finish()
    }
}
