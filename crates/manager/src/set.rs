//! A managed set.

use crate::error::{CallError, Failed, Failure, IterError};
use crate::ordered::Ordered;
use crate::remote::unexpected;
use crate::server::{self, Core, caller::Caller};
use crate::stored::{Blob, Stored, fetch, key};
use crate::wire::{Answer, Call};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::borrow::Borrow;
use std::collections::HashSet;
use std::hash::Hash;
use std::sync::Arc;

/// What a set can be asked for.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum SetCall {
    Len,
    Contains(Blob),
    Insert(Blob),
    Remove(Blob),
    Pop,
    Clear,
    All,
    Extend(Vec<Blob>),
    RemoveAll(Vec<Blob>),
    /// Keeps only those.
    Retain(Vec<Blob>),
    Page {
        from: Option<(u64, u64)>,
        most: u32,
    },
}

/// A set in its server.
#[derive(Default)]
pub(crate) struct Body {
    items: Arc<Mutex<Ordered<()>>>,
}

impl server::Body for Body {
    fn kind(&self) -> &'static str {
        "Set"
    }

    fn call(&self, call: Call, caller: &Caller) -> Result<Answer, Failure> {
        let Call::Set(call) = call else {
            return self.not_mine();
        };
        let mut items = self.items.lock();
        Ok(match call {
            SetCall::Len => Answer::Number(items.len() as u64),
            SetCall::Contains(item) => Answer::Flag(items.get(&item.0).is_some()),
            SetCall::Insert(item) => Answer::Flag(items.insert(item, ()).is_none()),
            SetCall::Remove(item) => Answer::Flag(items.remove(&item.0).is_some()),
            SetCall::Pop => {
                let newest = items.pop().map(|(item, ())| item);
                if let Some(item) = newest.clone() {
                    let items = self.items.clone();
                    caller.on_loss(move |_: &Core| {
                        items.lock().insert(item, ());
                    });
                }
                Answer::Item(newest.map(Stored::plain))
            }
            SetCall::Clear => {
                items.clear();
                Answer::Done
            }
            SetCall::All => Answer::Keys(items.iter().map(|(item, ())| item.clone()).collect()),
            SetCall::Extend(more) => {
                let before = items.len();
                for item in more {
                    items.insert(item, ());
                }
                Answer::Number((items.len() - before) as u64)
            }
            SetCall::RemoveAll(some) => {
                let before = items.len();
                for item in some {
                    items.remove(&item.0);
                }
                Answer::Number((before - items.len()) as u64)
            }
            SetCall::Retain(some) => {
                let kept: HashSet<Blob> = some.into_iter().collect();
                let others = items.iter().filter(|(item, ())| !kept.contains(*item));
                let others: Vec<Blob> = others.map(|(item, ())| item.clone()).collect();
                for item in &others {
                    items.remove(&item.0);
                }
                Answer::Number(others.len() as u64)
            }
            SetCall::Page { from, most } => {
                let epoch = items.epoch();
                let (from, same) = from.map_or((0, true), |(from, at)| (from, at == epoch));
                if !same {
                    return Err(Failure::Changed);
                }
                let mut some = Vec::new();
                let mut next = None;
                for (at, item, ()) in items.iter_from(from) {
                    if some.len() >= most as usize {
                        next = Some(at);
                        break;
                    }
                    some.push((item.clone(), Stored::plain(Vec::new())));
                }
                Answer::Page {
                    pairs: some,
                    next,
                    epoch,
                }
            }
        })
    }
}

proxy! {
    /// A set in the server: `HashSet`'s methods, for many processes at a time. Items are kept in
    /// the order in which they came.
    ///
    /// Items are the same if their encoded bytes are: so no floats with `-0.0` or `NaN`, and no
    /// hash maps or sets as items; and no handles.
    ///
    /// ```
    /// # use multiproc_manager::Manager;
    /// let manager = Manager::start()?;
    /// let seen = manager.set::<String>()?;
    /// assert!(seen.insert("one".to_owned())?);
    /// assert!(!seen.insert("one".to_owned())?);
    /// assert!(seen.contains("one")?);
    /// # manager.shut_down()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// *Blocks until* the server answers, as every call through a proxy does. *Wakes when* it
    /// does. *If a peer dies*: when it is the server, [`CallError::ServerGone`] within 100 ms.
    #[doc(alias = "SetProxy")]
    pub Set<T>, "Set"
}

/// Items that an iteration fetches at a time.
const PAGE: u32 = 256;

impl<T: Serialize + DeserializeOwned> Set<T> {
    fn ask(&self, call: SetCall) -> Result<Answer, Failed> {
        self.handle.call(Call::Set(call))
    }

    fn flag(&self, call: SetCall) -> Result<bool, CallError> {
        match self.ask(call)? {
            Answer::Flag(flag) => Ok(flag),
            _ => Err(unexpected().into()),
        }
    }

    fn number(&self, call: SetCall) -> Result<usize, CallError> {
        match self.ask(call)? {
            Answer::Number(n) => Ok(n as usize),
            _ => Err(unexpected().into()),
        }
    }

    fn decode(&self, item: &Blob) -> Result<T, CallError> {
        fetch(&self.handle.remote, &Stored::plain(item.clone()))
    }

    /// The number of items.
    pub fn len(&self) -> Result<usize, CallError> {
        self.number(SetCall::Len)
    }

    /// Has it no items?
    pub fn is_empty(&self) -> Result<bool, CallError> {
        Ok(self.len()? == 0)
    }

    /// Is this item there?
    #[doc(alias = "__contains__")]
    pub fn contains<Q>(&self, item: &Q) -> Result<bool, CallError>
    where
        T: Borrow<Q>,
        Q: Serialize + ?Sized,
    {
        self.flag(SetCall::Contains(key(item)?))
    }

    /// Puts an item in. True if it was not there.
    #[doc(alias = "add")]
    pub fn insert(&self, item: impl Borrow<T>) -> Result<bool, CallError> {
        self.flag(SetCall::Insert(key(item.borrow())?))
    }

    /// Takes an item out. True if it was there.
    #[doc(alias = "discard")]
    pub fn remove<Q>(&self, item: &Q) -> Result<bool, CallError>
    where
        T: Borrow<Q>,
        Q: Serialize + ?Sized,
    {
        self.flag(SetCall::Remove(key(item)?))
    }

    /// Takes the newest item out. A client that dies before it has received it leaves it there.
    pub fn pop(&self) -> Result<Option<T>, CallError> {
        match self.ask(SetCall::Pop)? {
            Answer::Item(item) => item.map(|item| self.decode(&item.bytes)).transpose(),
            _ => Err(unexpected().into()),
        }
    }

    /// Takes all out.
    pub fn clear(&self) -> Result<(), CallError> {
        self.ask(SetCall::Clear)?;
        Ok(())
    }

    fn keys(items: impl IntoIterator<Item = T>) -> Result<Vec<Blob>, CallError> {
        items.into_iter().map(|item| key(&item)).collect()
    }

    /// Puts all these in, in one step for everybody else; returns how many were not there.
    #[doc(alias = "update")]
    pub fn extend(&self, items: impl IntoIterator<Item = T>) -> Result<usize, CallError> {
        self.number(SetCall::Extend(Self::keys(items)?))
    }

    /// Takes all these out, in one step for everybody else; returns how many were there.
    #[doc(alias = "difference_update")]
    pub fn remove_all(&self, items: impl IntoIterator<Item = T>) -> Result<usize, CallError> {
        self.number(SetCall::RemoveAll(Self::keys(items)?))
    }

    /// Takes all others than these out, in one step for everybody else; returns how many those
    /// were.
    #[doc(alias = "intersection_update")]
    pub fn retain_all(&self, items: impl IntoIterator<Item = T>) -> Result<usize, CallError> {
        self.number(SetCall::Retain(Self::keys(items)?))
    }

    /// All items, at one moment, in their order.
    pub fn to_vec(&self) -> Result<Vec<T>, CallError> {
        match self.ask(SetCall::All)? {
            Answer::Keys(items) => items.iter().map(|item| self.decode(item)).collect(),
            _ => Err(unexpected().into()),
        }
    }

    /// A copy of all, at one moment: for unions, intersections and the like.
    #[doc(alias = "copy")]
    pub fn to_set(&self) -> Result<HashSet<T>, CallError>
    where
        T: Eq + Hash,
    {
        Ok(self.to_vec()?.into_iter().collect())
    }

    /// The items one after the other, fetched in pages. When one was added or removed meanwhile,
    /// the iteration says so and ends; [`to_vec`](Set::to_vec) has those of one moment.
    pub fn iter(&self) -> Iter<T> {
        Iter {
            set: self.clone(),
            page: Vec::new().into_iter(),
            next: Some(None),
        }
    }
}

/// The items of a set, fetched in pages; see [`Set::iter`].
#[derive(Debug)]
pub struct Iter<T> {
    set: Set<T>,
    page: std::vec::IntoIter<(Blob, Stored)>,
    /// Where to go on, and for which size; `None`: this page was the last.
    next: Option<Option<(u64, u64)>>,
}

impl<T: Serialize + DeserializeOwned> Iterator for Iter<T> {
    type Item = Result<T, IterError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some((item, _)) = self.page.next() {
                return Some(self.set.decode(&item).map_err(IterError::Call));
            }
            let from = self.next.take()?;
            match self.set.ask(SetCall::Page { from, most: PAGE }) {
                Ok(Answer::Page { pairs, next, epoch }) => {
                    self.page = pairs.into_iter();
                    self.next = next.map(|next| Some((next, epoch)));
                }
                Ok(_) => return Some(Err(unexpected().into())),
                Err(why) => return Some(Err(why.into())),
            }
        }
    }
}

impl<T: Serialize + DeserializeOwned> IntoIterator for &Set<T> {
    type Item = Result<T, IterError>;
    type IntoIter = Iter<T>;

    fn into_iter(self) -> Iter<T> {
        self.iter()
    }
}
