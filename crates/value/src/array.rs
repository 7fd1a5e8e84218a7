use crate::cells::{Cells, Guarded, Plain, Settings, items, open, sealed};
use crate::error::{
    CreateError, Handed, ItemError, LockError, LockTimeoutError, OpenError, OpenOrCreateError,
    TryLockError, UnderError, UnlinkError,
};
use crate::guard::Guard;
use crate::iter::{Indexed, Iter};
use crate::options::Options;
use crate::place::Part;
use multiproc_lock::{Mutex, MutexGuard};
use std::fmt;
use std::time::Duration;
use zerocopy::{FromZeros, IntoBytes};

pub(crate) const WHAT: &str = "Array";

/// An array of plain data in shared memory, of a length fixed when it is made, with its lock.
///
/// The guard that [`Array::lock`] gives is a slice. [`Array::get`] and [`Array::set`] copy one
/// item under the lock.
///
/// `Clone` is another handle on the same array.
///
/// ```
/// use multiproc_value::Array;
///
/// let squares = Array::from_items((0..10_u32).map(|n| n * n))?;
/// squares.lock().unwrap()[..3].fill(7);
/// assert_eq!(squares.get(2).unwrap(), 7);
/// assert_eq!(squares.lock().unwrap().iter().sum::<u32>(), 7 + 7 + 7 + 280);
/// # Ok::<(), multiproc_value::CreateError>(())
/// ```
#[doc(alias = "multiprocessing.Array")]
#[doc(alias = "sharedctypes")]
pub struct Array<T>(pub(crate) Cells<T>);

impl<T> Array<T> {
    /// How an array is to be made or opened: mode, owner, group, temporary, and under which lock.
    pub fn options() -> Options<Self> {
        Options::new()
    }

    /// Removes a name; whoever has the array open keeps it.
    ///
    /// # Errors
    ///
    /// [`UnlinkError`].
    pub fn unlink(name: &str) -> Result<(), UnlinkError> {
        multiproc_segment::unlink(name)
    }

    /// How many items it has.
    #[allow(clippy::len_without_is_empty, reason = "it never is")]
    pub fn len(&self) -> usize {
        self.0.len
    }

    /// Its lock: its own, or the one that was given. [`Array::under`] opens the array to who holds
    /// it.
    #[doc(alias = "get_lock")]
    pub fn mutex(&self) -> &Mutex<()> {
        self.0.mutex()
    }
}

fn view<T: Plain>(bytes: &mut [u8]) -> Option<&mut [T]> {
    items(bytes)
}

impl<T: Plain> Array<T> {
    /// `from` is empty for zeroes.
    pub(crate) fn make(
        name: Option<&str>,
        settings: &Settings,
        len: usize,
        from: &[T],
    ) -> Result<Self, CreateError> {
        Ok(Self(Cells::make(
            WHAT,
            name,
            settings,
            0,
            len,
            from.as_bytes(),
        )?))
    }

    pub(crate) fn open_by(name: &str, settings: &Settings) -> Result<Self, OpenError> {
        Ok(Self(Cells::open(WHAT, name, settings, 0)?))
    }

    pub(crate) fn open_or_create_by(
        name: &str,
        settings: &Settings,
        len: usize,
    ) -> Result<Self, OpenOrCreateError> {
        let create = || Cells::make(WHAT, Some(name), settings, 0, len, &[]);
        Ok(Self(Cells::open_or_create(
            WHAT, name, settings, 0, create,
        )?))
    }

    /// `len` zeroes, for this process and the children it forks.
    ///
    /// # Errors
    ///
    /// [`CreateError`]: also for no items, and for more than memory holds.
    pub fn zeroed(len: usize) -> Result<Self, CreateError>
    where
        T: FromZeros,
    {
        Self::options().zeroed(len)
    }

    /// A copy of `items`, for this process and the children it forks.
    ///
    /// # Errors
    ///
    /// [`CreateError`]: also for no items.
    pub fn from_slice(items: &[T]) -> Result<Self, CreateError> {
        Self::options().from_slice(items)
    }

    /// All that the iterator gives, for this process and the children it forks.
    ///
    /// # Errors
    ///
    /// [`CreateError`]: also for no items.
    pub fn from_items(items: impl IntoIterator<Item = T>) -> Result<Self, CreateError> {
        Self::from_slice(&items.into_iter().collect::<Vec<T>>())
    }

    /// `len` zeroes with a name, for programs started apart; the owner alone (0600) may open
    /// it.
    ///
    /// # Errors
    ///
    /// [`CreateError`], among them `AlreadyExists`; nothing is left behind.
    pub fn create(name: &str, len: usize) -> Result<Self, CreateError>
    where
        T: FromZeros,
    {
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

    /// Opens the array of that name. It is as long as its maker made it.
    ///
    /// # Errors
    ///
    /// [`OpenError`]: nothing there, no permission, another item type: the sentence says what
    /// was expected and what was found.
    pub fn open(name: &str) -> Result<Self, OpenError> {
        Self::options().open(name)
    }

    /// Opens the array of that name, however long it is, or makes it of `len` zeroes. When
    /// several processes race, one makes it and all get the same.
    ///
    /// # Errors
    ///
    /// [`OpenOrCreateError`].
    pub fn open_or_create(name: &str, len: usize) -> Result<Self, OpenOrCreateError>
    where
        T: FromZeros,
    {
        Self::options().open_or_create(name, len)
    }

    fn check<G: Handed>(&self, index: usize) -> Result<(), ItemError<G>> {
        let len = self.len();
        if index < len {
            Ok(())
        } else {
            Err(ItemError::OutOfRange { index, len })
        }
    }

    /// A copy of the item at `index`.
    ///
    /// *Blocks until* the lock is free. *Wakes when* its holder releases it. *If a peer dies*
    /// holding it: `OwnerDied`, at once.
    ///
    /// # Errors
    ///
    /// [`ItemError::OutOfRange`], without taking the lock; else as [`Array::lock`].
    #[inline]
    pub fn get(&self, index: usize) -> Result<T, ItemError<Guard<'_, [T]>>> {
        self.check(index)?;
        Ok(self.0.get(index, view)?)
    }

    /// Overwrites the item at `index`. *Blocks*, *wakes* and *if a peer dies*: as
    /// [`Array::get`].
    ///
    /// # Errors
    ///
    /// [`ItemError`]; nothing was written.
    #[inline]
    pub fn set(&self, index: usize, item: T) -> Result<(), ItemError<Guard<'_, [T]>>> {
        self.check(index)?;
        Ok(self.0.set(index, &item, view)?)
    }

    /// Takes the lock; the guard is a slice. *Blocks*, *wakes* and *if a peer dies*: as
    /// [`Array::get`]. Who holds it already waits for itself.
    ///
    /// # Errors
    ///
    /// [`LockError`] hands the guard over.
    #[doc(alias = "acquire")]
    #[doc(alias = "get_obj")]
    #[inline]
    pub fn lock(&self) -> Result<Guard<'_, [T]>, LockError<Guard<'_, [T]>>> {
        self.0.lock(view)
    }

    /// Takes the lock if it is free. Never blocks.
    ///
    /// # Errors
    ///
    /// As [`Array::lock`], and [`TryLockError::Held`].
    pub fn try_lock(&self) -> Result<Guard<'_, [T]>, TryLockError<Guard<'_, [T]>>> {
        self.0.try_lock(view)
    }

    /// Takes the lock. *Blocks until* it is free or `timeout` is over. *Wakes when* its holder
    /// releases it. *If a peer dies*: as [`Array::get`].
    ///
    /// # Errors
    ///
    /// As [`Array::lock`], and [`LockTimeoutError::Timeout`].
    pub fn lock_timeout(
        &self,
        timeout: Duration,
    ) -> Result<Guard<'_, [T]>, LockTimeoutError<Guard<'_, [T]>>> {
        self.0.lock_timeout(timeout, view)
    }

    /// What it holds, for whoever holds its lock: for several under one lock, see the crate's
    /// section on given locks.
    ///
    /// # Errors
    ///
    /// [`UnderError`]: also if `held` is of another lock.
    pub fn under<'a>(
        &'a self,
        held: &'a mut MutexGuard<'_, ()>,
    ) -> Result<&'a mut [T], UnderError> {
        open(self, held)
    }

    /// A copy of all items, as they are at one moment. *Blocks*, *wakes* and *if a peer dies*:
    /// as [`Array::get`].
    ///
    /// # Errors
    ///
    /// As [`Array::lock`].
    pub fn to_vec(&self) -> Result<Vec<T>, LockError<Guard<'_, [T]>>>
    where
        T: Clone,
    {
        Ok(self.lock()?.to_vec())
    }

    /// The items one by one, each copied by an [`Array::get`] of its own: what others write
    /// meanwhile is seen. For all at one moment, iterate over the guard.
    pub fn iter(&self) -> Iter<'_, Self> {
        Iter::new(self, self.len())
    }
}

impl<T: Plain> Indexed for Array<T> {
    type Found<'a>
        = Result<T, ItemError<Guard<'a, [T]>>>
    where
        T: 'a;

    fn at(&self, index: usize) -> Self::Found<'_> {
        self.get(index)
    }
}

impl<'a, T: Plain> IntoIterator for &'a Array<T> {
    type Item = Result<T, ItemError<Guard<'a, [T]>>>;
    type IntoIter = Iter<'a, Array<T>>;

    /// As [`Array::iter`].
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<T: Plain> sealed::Cells for Array<T> {
    fn part(&self) -> Part<'_> {
        self.0.part()
    }

    fn mutex(&self) -> &Mutex<()> {
        self.0.mutex()
    }
}

impl<T: Plain> Guarded for Array<T> {
    type Target = [T];

    fn view(bytes: &mut [u8]) -> Option<&mut [T]> {
        view(bytes)
    }
}

impl<T> Clone for Array<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Plain + fmt::Debug> fmt::Debug for Array<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.debug("Array", "items", view::<T>, f)
    }
}
