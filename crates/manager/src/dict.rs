//! A managed dict.

use crate::error::{CallError, Failed, Failure, FetchError, IterError};
use crate::number::{self, Kind, Number, Op};
use crate::ordered::Ordered;
use crate::remote::unexpected;
use crate::retry::Retry;
use crate::server::{self, Core, caller::Caller};
use crate::stored::{Blob, Stored, fetch, key, store};
use crate::wire::{Answer, Call};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

/// What a dict can be asked for.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum DictCall {
    Len,
    Get(Blob),
    Contains(Blob),
    Insert(Blob, Stored),
    InsertIfAbsent(Blob, Stored),
    Remove(Blob),
    PopItem,
    Clear,
    Keys,
    Items,
    Extend(Vec<(Blob, Stored)>),
    /// `None`: no such key.
    CompareAndSet {
        key: Blob,
        expected: Option<Blob>,
        new: Option<Stored>,
    },
    Fetch {
        key: Blob,
        kind: Kind,
        op: Op,
        by: Blob,
    },
    Page {
        from: Option<(u64, u64)>,
        most: u32,
    },
}

/// A dict in its server.
#[derive(Default)]
pub(crate) struct Body {
    entries: Arc<Mutex<Ordered<Stored>>>,
}

impl server::Body for Body {
    fn kind(&self) -> &'static str {
        "Dict"
    }

    fn call(&self, call: Call, caller: &Caller) -> Result<Answer, Failure> {
        let Call::Dict(call) = call else {
            return self.not_mine();
        };
        let _world = caller.world();
        let mut entries = self.entries.lock();
        let taken = |old: Option<Stored>| Answer::Item(old.map(|old| caller.take_out(old)));
        let copied = |old: &Stored| caller.copy_out(old);
        Ok(match call {
            DictCall::Len => Answer::Number(entries.len() as u64),
            DictCall::Get(key) => Answer::Item(entries.get(&key.0).map(copied)),
            DictCall::Contains(key) => Answer::Flag(entries.get(&key.0).is_some()),
            DictCall::Insert(key, value) => {
                caller.put_in(&value)?;
                taken(entries.insert(key, value))
            }
            DictCall::InsertIfAbsent(key, value) => match entries.get(&key.0) {
                Some(there) => Answer::Item(Some(copied(there))),
                None => {
                    caller.put_in(&value)?;
                    entries.insert(key, value);
                    Answer::Item(None)
                }
            },
            DictCall::Remove(key) => {
                let old = entries.remove(&key.0);
                if let Some(value) = &old {
                    self.give_back_if_lost(caller, key, value.clone());
                }
                taken(old)
            }
            DictCall::PopItem => {
                let newest = entries.pop();
                if let Some((key, value)) = &newest {
                    self.give_back_if_lost(caller, key.clone(), value.clone());
                }
                Answer::Pair(newest.map(|(key, value)| (key, caller.take_out(value))))
            }
            DictCall::Clear => {
                let all = entries.clear();
                all.iter().for_each(|(_, value)| caller.discard(value));
                Answer::Done
            }
            DictCall::Keys => Answer::Keys(entries.iter().map(|(key, _)| key.clone()).collect()),
            DictCall::Items => {
                let pair = |(key, value): (&Blob, &Stored)| (key.clone(), copied(value));
                Answer::Pairs(entries.iter().map(pair).collect())
            }
            DictCall::Extend(pairs) => {
                for (n, (_, value)) in pairs.iter().enumerate() {
                    if let Err(why) = caller.put_in(value) {
                        pairs[..n].iter().for_each(|(_, v)| caller.discard(v));
                        return Err(why);
                    }
                }
                for (key, value) in pairs {
                    if let Some(old) = entries.insert(key, value) {
                        caller.discard(&old);
                    }
                }
                Answer::Done
            }
            DictCall::CompareAndSet { key, expected, new } => {
                let there = entries.get(&key.0).map(|value| &value.bytes);
                if there != expected.as_ref() {
                    return Ok(Answer::Flag(false));
                }
                let old = match new {
                    Some(value) => {
                        caller.put_in(&value)?;
                        entries.insert(key, value)
                    }
                    None => entries.remove(&key.0),
                };
                if let Some(old) = old {
                    caller.discard(&old);
                }
                Answer::Flag(true)
            }
            DictCall::Fetch { key, kind, op, by } => {
                let old = entries.get(&key.0).cloned();
                let new = match &old {
                    Some(old) => number::apply(kind, op, &old.bytes.0, &by.0)?.into(),
                    None => by,
                };
                entries.insert(key, Stored::plain(new));
                Answer::Item(old)
            }
            DictCall::Page { from, most } => {
                let epoch = entries.epoch();
                let (from, same) = from.map_or((0, true), |(from, at)| (from, at == epoch));
                if !same {
                    return Err(Failure::Changed);
                }
                let mut pairs = Vec::new();
                let mut next = None;
                for (at, key, value) in entries.iter_from(from) {
                    if pairs.len() >= most as usize {
                        next = Some(at);
                        break;
                    }
                    pairs.push((key.clone(), copied(value)));
                }
                Answer::Page { pairs, next, epoch }
            }
        })
    }

    fn references(&self, each: &mut dyn FnMut(u64)) {
        for value in self.entries.lock().values() {
            value.objects().iter().for_each(|object| each(*object));
        }
    }
}

impl Body {
    /// What a client that died did not receive is there again, unless somebody has put something
    /// in its place.
    fn give_back_if_lost(&self, caller: &Caller, key: Blob, value: Stored) {
        let entries = self.entries.clone();
        caller.on_loss(move |core: &Core| {
            let mut entries = entries.lock();
            if entries.get(&key.0).is_none() && core.put_in(&value).is_ok() {
                entries.insert(key, value);
            }
        });
    }
}

proxy! {
    /// A dict in the server: `HashMap`'s methods, for many processes at a time. Keys are kept in
    /// the order in which they came.
    ///
    /// A value that is got is a copy: what is changed in it does not change the dict until it is
    /// inserted again, and between the two, others may have changed it. For changes there are
    /// calls that are one step for everybody: [`update`](Dict::update), [`entry`](Dict::entry),
    /// [`fetch_add`](Dict::fetch_add), [`compare_and_set`](Dict::compare_and_set),
    /// [`extend`](Dict::extend).
    ///
    /// Keys are the same if their encoded bytes are: so no floats with `-0.0` or `NaN`, and no
    /// hash maps or sets as keys. Handles may be values, not keys; a managed object that is a
    /// value lives as long as it is.
    ///
    /// ```
    /// # use multiproc_manager::Manager;
    /// let manager = Manager::start()?;
    /// let stock = manager.dict::<String, u32>()?;
    /// stock.insert("apples".to_owned(), 3)?;
    /// stock.fetch_add("apples", 4)?;
    /// assert_eq!(stock.get("apples")?, Some(7));
    /// assert_eq!(stock.update("apples", |n| n.map(|n| n * 2))?, Some(14));
    /// # manager.shut_down()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// *Blocks until* the server answers, as every call through a proxy does. *Wakes when* it
    /// does. *If a peer dies*: when it is the server, [`CallError::ServerGone`] within 100 ms.
    #[doc(alias = "DictProxy")]
    pub Dict<K, V>, "Dict"
}

/// Pairs that an iteration fetches at a time.
const PAGE: u32 = 256;

type Pair<K, V> = (K, V);

impl<K, V> Dict<K, V>
where
    K: Serialize + DeserializeOwned,
    V: Serialize + DeserializeOwned,
{
    fn ask(&self, call: DictCall) -> Result<Answer, Failed> {
        self.handle.call(Call::Dict(call))
    }

    fn store<T: Serialize + ?Sized>(&self, value: &T) -> Result<Stored, CallError> {
        store(&self.handle.remote, value)
    }

    fn decode<T: DeserializeOwned>(&self, value: &Stored) -> Result<T, CallError> {
        fetch(&self.handle.remote, value)
    }

    fn key_of(&self, key: &Blob) -> Result<K, CallError> {
        self.decode(&Stored::plain(key.clone()))
    }

    fn pair_of(&self, (key, value): &(Blob, Stored)) -> Result<Pair<K, V>, CallError> {
        // The value first: its references are then somebody's, also where the key is garbage.
        let value = self.decode(value);
        Ok((self.key_of(key)?, value?))
    }

    fn item(&self, call: DictCall) -> Result<Option<V>, CallError> {
        match self.ask(call)? {
            Answer::Item(item) => item.map(|item| self.decode(&item)).transpose(),
            _ => Err(unexpected().into()),
        }
    }

    fn flag(&self, call: DictCall) -> Result<bool, CallError> {
        match self.ask(call)? {
            Answer::Flag(flag) => Ok(flag),
            _ => Err(unexpected().into()),
        }
    }

    fn done(&self, call: DictCall) -> Result<(), CallError> {
        self.ask(call)?;
        Ok(())
    }

    /// The number of keys.
    pub fn len(&self) -> Result<usize, CallError> {
        match self.ask(DictCall::Len)? {
            Answer::Number(n) => Ok(n as usize),
            _ => Err(unexpected().into()),
        }
    }

    /// Has it no keys?
    pub fn is_empty(&self) -> Result<bool, CallError> {
        Ok(self.len()? == 0)
    }

    /// A copy of the value of this key.
    pub fn get<Q>(&self, key: &Q) -> Result<Option<V>, CallError>
    where
        K: Borrow<Q>,
        Q: Serialize + ?Sized,
    {
        self.item(DictCall::Get(self::key(key)?))
    }

    /// Is this key there?
    #[doc(alias = "__contains__")]
    #[doc(alias = "has_key")]
    pub fn contains_key<Q>(&self, key: &Q) -> Result<bool, CallError>
    where
        K: Borrow<Q>,
        Q: Serialize + ?Sized,
    {
        self.flag(DictCall::Contains(self::key(key)?))
    }

    /// Puts a value under this key; the one that was there comes back.
    #[doc(alias = "__setitem__")]
    pub fn insert(
        &self,
        key: impl Borrow<K>,
        value: impl Borrow<V>,
    ) -> Result<Option<V>, CallError> {
        let (key, value) = (self::key(key.borrow())?, self.store(value.borrow())?);
        self.item(DictCall::Insert(key, value))
    }

    /// Puts a value under this key if there is none; returns the one that is there then.
    #[doc(alias = "setdefault")]
    pub fn get_or_insert(&self, key: impl Borrow<K>, value: V) -> Result<V, CallError> {
        let stored = self.store(&value)?;
        let there = self.item(DictCall::InsertIfAbsent(self::key(key.borrow())?, stored))?;
        Ok(there.unwrap_or(value))
    }

    /// Takes the value of this key out. A client that dies before it has received it leaves it
    /// there.
    #[doc(alias = "pop")]
    pub fn remove<Q>(&self, key: &Q) -> Result<Option<V>, CallError>
    where
        K: Borrow<Q>,
        Q: Serialize + ?Sized,
    {
        self.item(DictCall::Remove(self::key(key)?))
    }

    /// Takes the newest key out, with its value. A client that dies before it has received them
    /// leaves them there.
    #[doc(alias = "popitem")]
    pub fn pop_last(&self) -> Result<Option<(K, V)>, CallError> {
        match self.ask(DictCall::PopItem)? {
            Answer::Pair(pair) => pair.map(|pair| self.pair_of(&pair)).transpose(),
            _ => Err(unexpected().into()),
        }
    }

    /// Takes all out.
    pub fn clear(&self) -> Result<(), CallError> {
        self.done(DictCall::Clear)
    }

    /// Puts all these in, in one step for everybody else.
    #[doc(alias = "update")]
    pub fn extend(&self, pairs: impl IntoIterator<Item = (K, V)>) -> Result<(), CallError> {
        let mut encoded = Vec::new();
        // Kept until the server has its own references of what is in them.
        let mut kept = Vec::new();
        for (k, v) in pairs {
            encoded.push((key(&k)?, self.store(&v)?));
            kept.push(v);
        }
        self.done(DictCall::Extend(encoded))
    }

    /// All keys, at one moment.
    pub fn keys(&self) -> Result<Vec<K>, CallError> {
        match self.ask(DictCall::Keys)? {
            Answer::Keys(keys) => keys.iter().map(|key| self.key_of(key)).collect(),
            _ => Err(unexpected().into()),
        }
    }

    /// All values, at one moment.
    pub fn values(&self) -> Result<Vec<V>, CallError> {
        Ok(self.items()?.into_iter().map(|(_, value)| value).collect())
    }

    /// All pairs, at one moment.
    pub fn items(&self) -> Result<Vec<(K, V)>, CallError> {
        match self.ask(DictCall::Items)? {
            Answer::Pairs(pairs) => {
                // All are decoded, also after one that is not: each brings its references.
                let all: Vec<_> = pairs.iter().map(|pair| self.pair_of(pair)).collect();
                all.into_iter().collect()
            }
            _ => Err(unexpected().into()),
        }
    }

    /// A copy of all, at one moment.
    #[doc(alias = "copy")]
    pub fn to_map(&self) -> Result<HashMap<K, V>, CallError>
    where
        K: Eq + Hash,
    {
        Ok(self.items()?.into_iter().collect())
    }

    /// The pairs one after the other, fetched in pages. When a key was added or removed
    /// meanwhile, the iteration says so and ends; [`items`](Dict::items) are those of one moment.
    pub fn iter(&self) -> Iter<K, V> {
        Iter {
            dict: self.clone(),
            page: Vec::new().into_iter(),
            next: Some(None),
        }
    }

    /// Puts `new` under this key if what is there is `expected`, in one step; `None` stands for
    /// no value. True if it was.
    pub fn compare_and_set<Q>(
        &self,
        key: &Q,
        expected: Option<&V>,
        new: Option<&V>,
    ) -> Result<bool, CallError>
    where
        K: Borrow<Q>,
        Q: Serialize + ?Sized,
    {
        let expected = expected.map(|v| self.store(v)).transpose()?;
        let call = DictCall::CompareAndSet {
            key: self::key(key)?,
            expected: expected.map(|v| v.bytes),
            new: new.map(|v| self.store(v)).transpose()?,
        };
        self.flag(call)
    }

    /// Replaces the value of this key by what `f` makes of it (`None`: no value), in one step for
    /// everybody else; returns the new one.
    ///
    /// `f` runs here, on a copy, and again if somebody else changed the value meanwhile.
    pub fn update<Q>(
        &self,
        key: &Q,
        mut f: impl FnMut(Option<V>) -> Option<V>,
    ) -> Result<Option<V>, CallError>
    where
        K: Borrow<Q>,
        Q: Serialize + ?Sized,
    {
        let key = self::key(key)?;
        let mut retry = Retry::new();
        loop {
            let there = match self.ask(DictCall::Get(key.clone()))? {
                Answer::Item(there) => there,
                _ => return Err(unexpected().into()),
            };
            let expected = there.as_ref().map(|there| there.bytes.clone());
            let old = there.map(|there| self.decode(&there)).transpose()?;
            let new = f(old);
            let call = DictCall::CompareAndSet {
                key: key.clone(),
                expected,
                new: new.as_ref().map(|new| self.store(new)).transpose()?,
            };
            if self.flag(call)? {
                return Ok(new);
            }
            retry.pause();
        }
    }

    /// The place of this key, full or not.
    pub fn entry(&self, key: K) -> Entry<'_, K, V> {
        Entry { dict: self, key }
    }
}

impl<K, V> Dict<K, V>
where
    K: Serialize + DeserializeOwned,
    V: Number,
{
    /// Replaces the value of this key by what [`Op`] makes of it and `by`, in one step in the
    /// server; returns the value from before. A key that is not there gets `by`.
    ///
    /// # Errors
    ///
    /// [`FetchError`].
    pub fn fetch_by<Q>(&self, key: &Q, op: Op, by: V) -> Result<Option<V>, FetchError>
    where
        K: Borrow<Q>,
        Q: Serialize + ?Sized,
    {
        let call = DictCall::Fetch {
            key: self::key(key)?,
            kind: V::KIND,
            op,
            by: self::key(&by)?,
        };
        match self.ask(call)? {
            Answer::Item(item) => Ok(item.map(|item| self.decode(&item)).transpose()?),
            _ => Err(unexpected().into()),
        }
    }

    /// Adds to the value of this key, in one step in the server; returns the value from before.
    /// A key that is not there gets `by`.
    ///
    /// # Errors
    ///
    /// [`FetchError`].
    pub fn fetch_add<Q>(&self, key: &Q, by: V) -> Result<Option<V>, FetchError>
    where
        K: Borrow<Q>,
        Q: Serialize + ?Sized,
    {
        self.fetch_by(key, Op::Add, by)
    }
}

/// The place of a key; see [`Dict::entry`].
#[must_use = "an entry does nothing by itself"]
#[derive(Debug)]
pub struct Entry<'a, K, V> {
    dict: &'a Dict<K, V>,
    key: K,
}

impl<K, V> Entry<'_, K, V>
where
    K: Serialize + DeserializeOwned,
    V: Serialize + DeserializeOwned,
{
    /// The value; this one is put there if there is none.
    pub fn or_insert(self, value: V) -> Result<V, CallError> {
        self.dict.get_or_insert(self.key, value)
    }

    /// The value; what `make` makes is put there if there is none. (Somebody else may be
    /// faster: then theirs is the value.)
    pub fn or_insert_with(self, make: impl FnOnce() -> V) -> Result<V, CallError> {
        match self.dict.get(&self.key)? {
            Some(there) => Ok(there),
            None => self.dict.get_or_insert(self.key, make()),
        }
    }

    /// The value; the type's default is put there if there is none.
    pub fn or_default(self) -> Result<V, CallError>
    where
        V: Default,
    {
        self.or_insert(V::default())
    }

    /// Changes the value if there is one, else puts `value` there: one step for everybody else.
    /// Returns what is there then.
    pub fn modify_or_insert(self, mut f: impl FnMut(&mut V), value: V) -> Result<V, CallError>
    where
        V: Clone,
    {
        let new = self.dict.update(&self.key, |old| {
            let Some(mut old) = old else {
                return Some(value.clone());
            };
            f(&mut old);
            Some(old)
        })?;
        Ok(new.unwrap_or(value))
    }
}

/// The pairs of a dict, fetched in pages; see [`Dict::iter`].
#[derive(Debug)]
pub struct Iter<K, V> {
    dict: Dict<K, V>,
    page: std::vec::IntoIter<Result<(K, V), CallError>>,
    /// Where to go on, and for which size; `None`: this page was the last.
    next: Option<Option<(u64, u64)>>,
}

impl<K, V> Iterator for Iter<K, V>
where
    K: Serialize + DeserializeOwned,
    V: Serialize + DeserializeOwned,
{
    type Item = Result<(K, V), IterError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(pair) = self.page.next() {
                return Some(pair.map_err(IterError::Call));
            }
            let from = self.next.take()?;
            match self.dict.ask(DictCall::Page { from, most: PAGE }) {
                Ok(Answer::Page { pairs, next, epoch }) => {
                    let all: Vec<_> = pairs.iter().map(|pair| self.dict.pair_of(pair)).collect();
                    self.page = all.into_iter();
                    self.next = next.map(|next| Some((next, epoch)));
                }
                Ok(_) => return Some(Err(unexpected().into())),
                Err(why) => return Some(Err(why.into())),
            }
        }
    }
}

impl<K, V> IntoIterator for &Dict<K, V>
where
    K: Serialize + DeserializeOwned,
    V: Serialize + DeserializeOwned,
{
    type Item = Result<(K, V), IterError>;
    type IntoIter = Iter<K, V>;

    fn into_iter(self) -> Iter<K, V> {
        self.iter()
    }
}
