use crate::cells::{Cells, Guarded, Plain, Settings, items, open, sealed};
use crate::error::{
    CreateError, LockError, LockTimeoutError, OpenError, OpenOrCreateError, TryLockError,
    UnderError, UnlinkError,
};
use crate::guard::Guard;
use crate::options::Options;
use crate::place::Part;
use multiproc_lock::{Mutex, MutexGuard};
use std::fmt;
use std::time::Duration;

pub(crate) const WHAT: &str = "Value";

/// One piece of plain data in shared memory, with its lock.
///
/// [`Value::get`] and [`Value::set`] copy it under the lock. To change it by what it was, take
/// the lock once: `*total.lock()? += 1`. A get and a set would lose what others added in
/// between. For one number without a lock there is `Shared<AtomicU64>`.
///
/// `Clone` is another handle on the same value.
///
/// ```
/// use multiproc_value::Value;
///
/// let total = Value::new(41_u64)?;
/// *total.lock().unwrap() += 1;
/// assert_eq!(total.get().unwrap(), 42);
/// # Ok::<(), multiproc_value::CreateError>(())
/// ```
#[doc(alias = "multiprocessing.Value")]
#[doc(alias = "sharedctypes")]
pub struct Value<T>(pub(crate) Cells<T>);

impl<T> Value<T> {
    /// How a value is to be made or opened: mode, owner, group, temporary, and under which lock.
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

    /// Its lock: its own, or the one that was given. [`Value::under`] opens the value to who holds
    /// it.
    #[doc(alias = "get_lock")]
    pub fn mutex(&self) -> &Mutex<()> {
        self.0.mutex()
    }
}

fn view<T: Plain>(bytes: &mut [u8]) -> Option<&mut T> {
    items(bytes)?.first_mut()
}

impl<T: Plain> Value<T> {
    pub(crate) fn make(
        name: Option<&str>,
        settings: &Settings,
        value: &T,
    ) -> Result<Self, CreateError> {
        Ok(Self(Cells::make(
            WHAT,
            name,
            settings,
            1,
            1,
            value.as_bytes(),
        )?))
    }

    pub(crate) fn open_by(name: &str, settings: &Settings) -> Result<Self, OpenError> {
        Ok(Self(Cells::open(WHAT, name, settings, 1)?))
    }

    pub(crate) fn open_or_create_by(
        name: &str,
        settings: &Settings,
        mut make: impl FnMut() -> T,
    ) -> Result<Self, OpenOrCreateError> {
        let create = || Cells::make(WHAT, Some(name), settings, 1, 1, make().as_bytes());
        Ok(Self(Cells::open_or_create(
            WHAT, name, settings, 1, create,
        )?))
    }

    /// A value for this process and the children it forks.
    ///
    /// # Errors
    ///
    /// [`CreateError`]; nothing is left behind.
    pub fn new(value: T) -> Result<Self, CreateError> {
        Self::options().build(value)
    }

    /// A value with a name, for programs started apart; the owner alone (0600) may open it.
    ///
    /// # Errors
    ///
    /// [`CreateError`], among them `AlreadyExists`; nothing is left behind.
    pub fn create(name: &str, value: T) -> Result<Self, CreateError> {
        Self::options().create(name, value)
    }

    /// Opens the value of that name.
    ///
    /// # Errors
    ///
    /// [`OpenError`]: nothing there, no permission, another type: the sentence says what was
    /// expected and what was found.
    pub fn open(name: &str) -> Result<Self, OpenError> {
        Self::options().open(name)
    }

    /// Opens the value of that name, or makes it from `make()`. When several processes race,
    /// one makes it and all get the same.
    ///
    /// # Errors
    ///
    /// [`OpenOrCreateError`].
    pub fn open_or_create(name: &str, make: impl FnMut() -> T) -> Result<Self, OpenOrCreateError> {
        Self::options().open_or_create(name, make)
    }

    /// A copy of the value.
    ///
    /// *Blocks until* the lock is free. *Wakes when* its holder releases it. *If a peer dies*
    /// holding it: `OwnerDied`, at once.
    ///
    /// # Errors
    ///
    /// [`LockError`] hands the guard over.
    #[doc(alias = "value")]
    #[inline]
    pub fn get(&self) -> Result<T, LockError<Guard<'_, T>>> {
        self.0.get(0, view)
    }

    /// Overwrites the value. *Blocks*, *wakes* and *if a peer dies*: as [`Value::get`].
    ///
    /// # Errors
    ///
    /// [`LockError`] hands the guard over; nothing was written. After an owner's death, write
    /// through that guard and call [`Guard::mended`].
    #[doc(alias = "value")]
    #[inline]
    pub fn set(&self, value: T) -> Result<(), LockError<Guard<'_, T>>> {
        self.0.set(0, &value, view)
    }

    /// Takes the lock. *Blocks*, *wakes* and *if a peer dies*: as [`Value::get`]. Who holds it
    /// already waits for itself.
    ///
    /// # Errors
    ///
    /// [`LockError`] hands the guard over.
    #[doc(alias = "acquire")]
    #[doc(alias = "get_obj")]
    #[inline]
    pub fn lock(&self) -> Result<Guard<'_, T>, LockError<Guard<'_, T>>> {
        self.0.lock(view)
    }

    /// Takes the lock if it is free. Never blocks.
    ///
    /// # Errors
    ///
    /// As [`Value::lock`], and [`TryLockError::Held`].
    pub fn try_lock(&self) -> Result<Guard<'_, T>, TryLockError<Guard<'_, T>>> {
        self.0.try_lock(view)
    }

    /// Takes the lock. *Blocks until* it is free or `timeout` is over. *Wakes when* its holder
    /// releases it. *If a peer dies*: as [`Value::get`].
    ///
    /// # Errors
    ///
    /// As [`Value::lock`], and [`LockTimeoutError::Timeout`].
    pub fn lock_timeout(
        &self,
        timeout: Duration,
    ) -> Result<Guard<'_, T>, LockTimeoutError<Guard<'_, T>>> {
        self.0.lock_timeout(timeout, view)
    }

    /// What it holds, for whoever holds its lock: for several under one lock, see the crate's
    /// section on given locks.
    ///
    /// # Errors
    ///
    /// [`UnderError`]: also if `held` is of another lock.
    pub fn under<'a>(&'a self, held: &'a mut MutexGuard<'_, ()>) -> Result<&'a mut T, UnderError> {
        open(self, held)
    }
}

impl<T: Plain> sealed::Cells for Value<T> {
    fn part(&self) -> Part<'_> {
        self.0.part()
    }

    fn mutex(&self) -> &Mutex<()> {
        self.0.mutex()
    }
}

impl<T: Plain> Guarded for Value<T> {
    type Target = T;

    fn view(bytes: &mut [u8]) -> Option<&mut T> {
        view(bytes)
    }
}

impl<T> Clone for Value<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Plain + fmt::Debug> fmt::Debug for Value<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.debug("Value", "value", view::<T>, f)
    }
}
