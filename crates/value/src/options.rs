use crate::array::Array;
use crate::cells::{Plain, Settings};
use crate::error::{CreateError, OpenError, OpenOrCreateError};
use crate::value::Value;
use multiproc_lock::Mutex;
use multiproc_segment::Shared;
use std::fmt;
use std::marker::PhantomData;
use zerocopy::FromZeros;

/// How a [`Value`] or an [`Array`] is to be made or opened: see [`Value::options`] and
/// [`Array::options`].
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

    /// Permission bits of what is made by name: exactly these, whatever the umask. 0600 by
    /// default.
    pub fn mode(mut self, mode: u32) -> Self {
        self.settings.naming = self.settings.naming.mode(mode);
        self
    }

    /// The user, by number, that a named object belongs to. Takes the privilege to give files
    /// away.
    pub fn owner(mut self, uid: u32) -> Self {
        self.settings.naming = self.settings.naming.owner(uid);
        self
    }

    /// The group, by number, that a named object belongs to: one of this process's own, or any
    /// with that privilege.
    pub fn group(mut self, gid: u32) -> Self {
        self.settings.naming = self.settings.naming.group(gid);
        self
    }

    /// The name goes with the last process that has the object open, and if that one was
    /// killed, at the next look: see [`Naming::temporary`]. Without it, it lives until
    /// `unlink`.
    ///
    /// [`Naming::temporary`]: multiproc_segment::Naming::temporary
    pub fn temporary(mut self, temporary: bool) -> Self {
        self.settings.naming = self.settings.naming.temporary(temporary);
        self
    }

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
