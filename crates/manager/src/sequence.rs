//! Proxies of lists: [`List`], and of a fixed length [`Array`] and [`Value`].

use crate::error::{CallError, Failed, Failure, FetchError, IndexError};
use crate::list::ListCall;
use crate::number::{Number, Op};
use crate::remote::unexpected;
use crate::retry::Retry;
use crate::stored::{Stored, fetch, key, store};
use crate::wire::{Answer, Call};
use crate::{Handle, Proxy};
use serde::{Serialize, de::DeserializeOwned};
use std::borrow::Borrow;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

proxy! {
    /// A list in the server: `Vec`'s methods, for many processes at a time.
    ///
    /// An item that is got is a copy; for changes there are calls that are one step for everybody:
    /// [`update`](List::update), [`fetch_add`](List::fetch_add),
    /// [`compare_and_set`](List::compare_and_set), [`extend`](List::extend),
    /// [`splice`](List::splice), [`sort`](List::sort).
    ///
    /// Items are equal (for [`index_of`](List::index_of), [`count`](List::count),
    /// [`remove_item`](List::remove_item)) if their encoded bytes are; handles, if they are of the
    /// same object. A managed object in a list lives as long as it is there; a list may even hold
    /// itself.
    ///
    /// ```
    /// # use multiproc_manager::{List, Manager};
    /// let manager = Manager::start()?;
    /// let (outer, inner) = (manager.list::<List<u32>>()?, manager.list::<u32>()?);
    /// outer.push(&inner)?;
    /// inner.extend([3, 1, 2])?;
    /// assert_eq!(outer.get(0)?.unwrap().sum_of_all()?, 6);
    /// # trait Sum { fn sum_of_all(&self) -> Result<u32, multiproc_manager::CallError>; }
    /// # impl Sum for List<u32> {
    /// #     fn sum_of_all(&self) -> Result<u32, multiproc_manager::CallError> {
    /// #         Ok(self.to_vec()?.iter().sum())
    /// #     }
    /// # }
    /// # manager.shut_down()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// *Blocks until* the server answers, as every call through a proxy does. *Wakes when* it
    /// does. *If a peer dies*: when it is the server, [`CallError::ServerGone`] within 100 ms.
    #[doc(alias = "ListProxy")]
    pub List<T>, "List"
}

proxy! {
    /// An array in the server: a [`List`] whose length was said when it was made.
    ///
    /// In the same machine, `multiproc::Array` is memory that processes share, and a thousand
    /// times faster; this one can be reached from others, too.
    #[doc(alias = "ArrayProxy")]
    pub Array<T>, "Array"
}

proxy! {
    /// A value in the server.
    ///
    /// In the same machine, `multiproc::Value` is memory that processes share, and a thousand
    /// times faster; this one can be reached from others, too, and be anything with serde.
    ///
    /// ```
    /// # use multiproc_manager::Manager;
    /// let manager = Manager::start()?;
    /// let total = manager.value(40)?;
    /// total.fetch_add(2)?;
    /// assert_eq!(total.get()?, 42);
    /// # manager.shut_down()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "ValueProxy")]
    pub Value<T>, "Value"
}

/// What all three share: calls about items of a list in the server.
struct Items<'a>(&'a Arc<Handle>);

impl Items<'_> {
    fn ask(&self, call: ListCall) -> Result<Answer, Failed> {
        self.0.call(Call::List(call))
    }

    fn store<T: Serialize + ?Sized>(&self, value: &T) -> Result<Stored, CallError> {
        store(&self.0.remote, value)
    }

    fn decode<T: DeserializeOwned>(&self, value: &Stored) -> Result<T, CallError> {
        fetch(&self.0.remote, value)
    }

    fn decode_all<T: DeserializeOwned>(&self, items: &[Stored]) -> Result<Vec<T>, CallError> {
        // All are decoded, also after one that is not: each brings its references.
        let all: Vec<_> = items.iter().map(|item| self.decode(item)).collect();
        all.into_iter().collect()
    }

    fn number(&self, call: ListCall) -> Result<usize, Failed> {
        match self.ask(call)? {
            Answer::Number(n) => Ok(n as usize),
            _ => Err(unexpected()),
        }
    }

    fn flag(&self, call: ListCall) -> Result<bool, Failed> {
        match self.ask(call)? {
            Answer::Flag(flag) => Ok(flag),
            _ => Err(unexpected()),
        }
    }

    fn done(&self, call: ListCall) -> Result<(), Failed> {
        self.ask(call).map(drop)
    }

    fn item<T: DeserializeOwned>(&self, call: ListCall) -> Result<Option<T>, Failed> {
        match self.ask(call)? {
            Answer::Item(item) => Ok(item.map(|item| self.decode(&item)).transpose()?),
            _ => Err(unexpected()),
        }
    }

    /// An item that must be there.
    fn the_item<T: DeserializeOwned>(&self, call: ListCall) -> Result<T, Failed> {
        self.item(call)?.ok_or_else(unexpected)
    }

    fn all<T: DeserializeOwned>(&self) -> Result<(u64, Vec<T>), Failed> {
        match self.ask(ListCall::All)? {
            Answer::Version(version, items) => Ok((version, self.decode_all(&items)?)),
            _ => Err(unexpected()),
        }
    }

    fn items<T: DeserializeOwned>(&self, call: ListCall) -> Result<Vec<T>, Failed> {
        match self.ask(call)? {
            Answer::Items(items) => Ok(self.decode_all(&items)?),
            _ => Err(unexpected()),
        }
    }

    fn range(&self, range: impl RangeBounds<usize>) -> Result<(u64, u64), Failed> {
        let from = match range.start_bound() {
            Bound::Included(from) => *from,
            Bound::Excluded(before) => before.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let to = match range.end_bound() {
            Bound::Included(last) => last.saturating_add(1),
            Bound::Excluded(to) => *to,
            Bound::Unbounded => self.number(ListCall::Len)?,
        };
        Ok((from as u64, to as u64))
    }

    fn compare_and_set<T: Serialize>(
        &self,
        index: usize,
        expected: &T,
        new: &T,
    ) -> Result<bool, Failed> {
        self.flag(ListCall::CompareAndSet {
            index: index as u64,
            expected: self.store(expected)?.bytes,
            new: self.store(new)?,
        })
    }

    fn update<T>(&self, index: usize, mut f: impl FnMut(T) -> T) -> Result<T, Failed>
    where
        T: Serialize + DeserializeOwned,
    {
        let index = index as u64;
        let mut retry = Retry::new();
        loop {
            let there = match self.ask(ListCall::Get(index))? {
                Answer::Item(Some(there)) => there,
                Answer::Item(None) => {
                    let len = self.number(ListCall::Len)? as u64;
                    return Err(Failed::There(Failure::OutOfRange { index, len }));
                }
                _ => return Err(unexpected()),
            };
            let expected = there.bytes.clone();
            let new = f(self.decode(&there)?);
            let call = ListCall::CompareAndSet {
                index,
                expected,
                new: self.store(&new)?,
            };
            if self.flag(call)? {
                return Ok(new);
            }
            retry.pause();
        }
    }

    fn replace<T, R>(&self, mut change: impl FnMut(&mut Vec<T>) -> R) -> Result<R, Failed>
    where
        T: Serialize + DeserializeOwned,
    {
        let mut retry = Retry::new();
        loop {
            let (version, mut items) = self.all::<T>()?;
            let result = change(&mut items);
            let stored: Result<Vec<_>, _> = items.iter().map(|item| self.store(item)).collect();
            if self.flag(ListCall::Replace(version, stored?))? {
                return Ok(result);
            }
            retry.pause();
        }
    }

    fn fetch<T: Number>(&self, index: usize, op: Op, by: T) -> Result<T, Failed> {
        self.the_item(ListCall::Fetch {
            index: index as u64,
            kind: T::KIND,
            op,
            by: key(&by)?,
        })
    }
}

/// What lists and arrays have in common.
macro_rules! indexed {
    ($name:ident) => {
        impl<T: Serialize + DeserializeOwned> $name<T> {
            fn items(&self) -> Items<'_> {
                Items(self.handle())
            }

            /// The number of items.
            pub fn len(&self) -> Result<usize, CallError> {
                Ok(self.items().number(ListCall::Len)?)
            }

            /// Has it no items?
            pub fn is_empty(&self) -> Result<bool, CallError> {
                Ok(self.len()? == 0)
            }

            /// A copy of the item at `index`; `None` beyond the end.
            #[doc(alias = "__getitem__")]
            pub fn get(&self, index: usize) -> Result<Option<T>, CallError> {
                Ok(self.items().item(ListCall::Get(index as u64))?)
            }

            /// Replaces the item at `index`; the old one comes back.
            ///
            /// # Errors
            ///
            /// [`IndexError`].
            #[doc(alias = "__setitem__")]
            pub fn set(&self, index: usize, item: impl Borrow<T>) -> Result<T, IndexError> {
                let items = self.items();
                let item = items.store(item.borrow())?;
                Ok(items.the_item(ListCall::Set(index as u64, item))?)
            }

            /// Replaces the item at `index` if it is `expected`, in one step. True if it was.
            ///
            /// # Errors
            ///
            /// [`IndexError`].
            pub fn compare_and_set(
                &self,
                index: usize,
                expected: &T,
                new: &T,
            ) -> Result<bool, IndexError> {
                Ok(self.items().compare_and_set(index, expected, new)?)
            }

            /// Replaces the item at `index` by what `f` makes of it, in one step for everybody
            /// else; returns the new one. `f` runs here, on a copy, and again if somebody else
            /// changed the item meanwhile.
            ///
            /// # Errors
            ///
            /// [`IndexError`].
            pub fn update(&self, index: usize, f: impl FnMut(T) -> T) -> Result<T, IndexError> {
                Ok(self.items().update(index, f)?)
            }

            /// The items of this range, at one moment.
            ///
            /// # Errors
            ///
            /// [`IndexError`].
            pub fn slice(&self, range: impl RangeBounds<usize>) -> Result<Vec<T>, IndexError> {
                let items = self.items();
                let (from, to) = items.range(range)?;
                Ok(items.items(ListCall::Slice(from, to))?)
            }

            /// All items, at one moment.
            #[doc(alias = "copy")]
            pub fn to_vec(&self) -> Result<Vec<T>, CallError> {
                Ok(self.items().all()?.1)
            }

            /// An iteration over the items of this moment.
            pub fn iter(&self) -> Result<std::vec::IntoIter<T>, CallError> {
                Ok(self.to_vec()?.into_iter())
            }

            /// Where the first item is that equals this one.
            #[doc(alias = "index")]
            pub fn index_of(&self, item: &T) -> Result<Option<usize>, CallError> {
                let items = self.items();
                let found = items.number(ListCall::IndexOf(items.store(item)?.bytes));
                match found {
                    Err(Failed::There(Failure::NotNow)) => Ok(None),
                    other => Ok(Some(other?)),
                }
            }

            /// Is there an item that equals this one?
            pub fn contains(&self, item: &T) -> Result<bool, CallError> {
                Ok(self.index_of(item)?.is_some())
            }

            /// How many items equal this one.
            pub fn count(&self, item: &T) -> Result<usize, CallError> {
                let items = self.items();
                Ok(items.number(ListCall::Count(items.store(item)?.bytes))?)
            }

            /// The last becomes the first.
            pub fn reverse(&self) -> Result<(), CallError> {
                Ok(self.items().done(ListCall::Reverse)?)
            }

            /// These two change places.
            ///
            /// # Errors
            ///
            /// [`IndexError`].
            pub fn swap(&self, one: usize, other: usize) -> Result<(), IndexError> {
                Ok(self
                    .items()
                    .done(ListCall::Swap(one as u64, other as u64))?)
            }
        }

        impl<T: Number> $name<T> {
            /// Replaces the item at `index` by what [`Op`] makes of it and `by`, in one step in
            /// the server; returns the one from before.
            ///
            /// # Errors
            ///
            /// [`FetchError`].
            pub fn fetch_by(&self, index: usize, op: Op, by: T) -> Result<T, FetchError> {
                Ok(self.items().fetch(index, op, by)?)
            }

            /// Adds to the item at `index`, in one step in the server; returns the one from
            /// before.
            ///
            /// # Errors
            ///
            /// [`FetchError`].
            pub fn fetch_add(&self, index: usize, by: T) -> Result<T, FetchError> {
                self.fetch_by(index, Op::Add, by)
            }
        }
    };
}
indexed!(List);
indexed!(Array);

impl<T: Serialize + DeserializeOwned> List<T> {
    /// Puts an item behind the last.
    #[doc(alias = "append")]
    pub fn push(&self, item: impl Borrow<T>) -> Result<(), CallError> {
        let items = self.items();
        Ok(items.done(ListCall::Push(items.store(item.borrow())?))?)
    }

    /// Takes the last item out. A client that dies before it has received it leaves it there.
    pub fn pop(&self) -> Result<Option<T>, CallError> {
        Ok(self.items().item(ListCall::Pop)?)
    }

    /// Puts an item before the one at `index`, or behind the last.
    ///
    /// # Errors
    ///
    /// [`IndexError`].
    pub fn insert(&self, index: usize, item: impl Borrow<T>) -> Result<(), IndexError> {
        let items = self.items();
        let item = items.store(item.borrow())?;
        Ok(items.done(ListCall::Insert(index as u64, item))?)
    }

    /// Takes the item at `index` out. A client that dies before it has received it leaves it
    /// there.
    ///
    /// # Errors
    ///
    /// [`IndexError`].
    #[doc(alias = "__delitem__")]
    pub fn remove(&self, index: usize) -> Result<T, IndexError> {
        Ok(self.items().the_item(ListCall::Remove(index as u64))?)
    }

    /// Takes the first item out that equals this one. True if there was one.
    pub fn remove_item(&self, item: &T) -> Result<bool, CallError> {
        let items = self.items();
        Ok(items.flag(ListCall::RemoveItem(items.store(item)?.bytes))?)
    }

    /// Puts all these behind the last, in one step for everybody else.
    pub fn extend(&self, more: impl IntoIterator<Item = T>) -> Result<(), CallError> {
        let items = self.items();
        // Kept until the server has its own references of what is in them.
        let more: Vec<T> = more.into_iter().collect();
        let stored: Result<Vec<_>, _> = more.iter().map(|item| items.store(item)).collect();
        Ok(items.done(ListCall::Extend(stored?))?)
    }

    /// Puts these in place of the items of that range, in one step for everybody else; those
    /// come back. An empty range inserts, no items remove.
    ///
    /// # Errors
    ///
    /// [`IndexError`].
    pub fn splice(
        &self,
        range: impl RangeBounds<usize>,
        others: impl IntoIterator<Item = T>,
    ) -> Result<Vec<T>, IndexError> {
        let items = self.items();
        let (from, to) = items.range(range)?;
        let others: Vec<T> = others.into_iter().collect();
        let stored: Result<Vec<_>, _> = others.iter().map(|item| items.store(item)).collect();
        Ok(items.items(ListCall::Splice(from, to, stored?))?)
    }

    /// Takes those beyond the first `len` out.
    pub fn truncate(&self, len: usize) -> Result<(), CallError> {
        Ok(self.items().done(ListCall::Truncate(len as u64))?)
    }

    /// Takes all out.
    pub fn clear(&self) -> Result<(), CallError> {
        self.truncate(0)
    }

    /// Changes the whole list, in one step for everybody else: `change` runs here, on a copy, and
    /// again if somebody else changed the list meanwhile. Returns what it returns.
    pub fn replace_by<R>(&self, change: impl FnMut(&mut Vec<T>) -> R) -> Result<R, CallError> {
        Ok(self.items().replace(change)?)
    }

    /// Puts the items in order, in one step for everybody else (it is done here, on a copy).
    pub fn sort(&self) -> Result<(), CallError>
    where
        T: Ord,
    {
        self.replace_by(|items| items.sort())
    }

    /// As [`List::sort`], by a key.
    pub fn sort_by_key<K: Ord>(&self, mut key: impl FnMut(&T) -> K) -> Result<(), CallError> {
        self.replace_by(|items| items.sort_by_key(&mut key))
    }

    /// Keeps only the items for which `keep` says so, in one step for everybody else.
    pub fn retain(&self, mut keep: impl FnMut(&T) -> bool) -> Result<(), CallError> {
        self.replace_by(|items| items.retain(&mut keep))
    }

    /// Of equal neighbours, keeps one; in one step for everybody else.
    pub fn dedup(&self) -> Result<(), CallError>
    where
        T: PartialEq,
    {
        self.replace_by(|items| items.dedup())
    }
}

impl<T: Serialize + DeserializeOwned> Value<T> {
    fn items(&self) -> Items<'_> {
        Items(self.handle())
    }

    /// A copy.
    #[doc(alias = "value")]
    pub fn get(&self) -> Result<T, CallError> {
        Ok(self.items().the_item(ListCall::Get(0))?)
    }

    /// Another one; the old one comes back.
    pub fn set(&self, value: impl Borrow<T>) -> Result<T, CallError> {
        let items = self.items();
        let value = items.store(value.borrow())?;
        Ok(items.the_item(ListCall::Set(0, value))?)
    }

    /// Replaces it if it is `expected`, in one step. True if it was.
    pub fn compare_and_set(&self, expected: &T, new: &T) -> Result<bool, CallError> {
        Ok(self.items().compare_and_set(0, expected, new)?)
    }

    /// Replaces it by what `f` makes of it, in one step for everybody else; returns the new one.
    /// `f` runs here, on a copy, and again if somebody else changed it meanwhile.
    pub fn update(&self, f: impl FnMut(T) -> T) -> Result<T, CallError> {
        Ok(self.items().update(0, f)?)
    }
}

impl<T: Number> Value<T> {
    /// Replaces it by what [`Op`] makes of it and `by`, in one step in the server; returns the
    /// one from before.
    ///
    /// # Errors
    ///
    /// [`FetchError`].
    pub fn fetch_by(&self, op: Op, by: T) -> Result<T, FetchError> {
        Ok(self.items().fetch(0, op, by)?)
    }

    /// Adds to it, in one step in the server; returns the one from before.
    ///
    /// # Errors
    ///
    /// [`FetchError`].
    pub fn fetch_add(&self, by: T) -> Result<T, FetchError> {
        self.fetch_by(Op::Add, by)
    }
}
