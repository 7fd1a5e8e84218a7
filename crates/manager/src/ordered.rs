//! A map that remembers in which order its keys came, as Python's dicts and no Rust map of std
//! does.

use crate::stored::Blob;
use std::collections::{BTreeMap, HashMap};

#[derive(Debug)]
pub(crate) struct Ordered<V> {
    entries: HashMap<Blob, (u64, V)>,
    order: BTreeMap<u64, Blob>,
    next: u64,
    /// Changes when a key comes or goes.
    epoch: u64,
}

impl<V> Default for Ordered<V> {
    fn default() -> Self {
        Self {
            entries: HashMap::new(),
            order: BTreeMap::new(),
            next: 0,
            epoch: 0,
        }
    }
}

impl<V> Ordered<V> {
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    pub(crate) fn get(&self, key: &[u8]) -> Option<&V> {
        self.entries.get(key).map(|(_, value)| value)
    }

    pub(crate) fn get_mut(&mut self, key: &[u8]) -> Option<&mut V> {
        self.entries.get_mut(key).map(|(_, value)| value)
    }

    /// A key that is there keeps its place. Returns what was there.
    pub(crate) fn insert(&mut self, key: Blob, value: V) -> Option<V> {
        if let Some(old) = self.get_mut(&key.0) {
            return Some(std::mem::replace(old, value));
        }
        self.order.insert(self.next, key.clone());
        self.entries.insert(key, (self.next, value));
        self.next += 1;
        self.epoch += 1;
        None
    }

    pub(crate) fn remove(&mut self, key: &[u8]) -> Option<V> {
        let (at, value) = self.entries.remove(key)?;
        self.order.remove(&at);
        self.epoch += 1;
        Some(value)
    }

    /// The newest.
    pub(crate) fn pop(&mut self) -> Option<(Blob, V)> {
        let (_, key) = self.order.pop_last()?;
        let (_, value) = self.entries.remove(&key)?;
        self.epoch += 1;
        Some((key, value))
    }

    pub(crate) fn clear(&mut self) -> Vec<(Blob, V)> {
        self.order.clear();
        self.epoch += 1;
        self.entries.drain().map(|(k, (_, v))| (k, v)).collect()
    }

    /// From this place in the order on: places, keys and values.
    pub(crate) fn iter_from(&self, from: u64) -> impl Iterator<Item = (u64, &Blob, &V)> {
        let entry = |(at, key): (&u64, &'_ Blob)| Some((*at, self.entries.get_key_value(key)?));
        let entries = self.order.range(from..).filter_map(entry);
        entries.map(|(at, (key, (_, value)))| (at, key, value))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Blob, &V)> {
        self.iter_from(0).map(|(_, key, value)| (key, value))
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.entries.values().map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_keep_their_order() {
        let mut map = Ordered::default();
        let key = |n: u8| Blob::from(vec![n]);
        for n in [3, 1, 2] {
            assert_eq!(map.insert(key(n), n), None);
        }
        assert_eq!(map.insert(key(3), 30), Some(3));
        assert_eq!(map.remove(&[1]), Some(1));
        map.insert(key(1), 10);
        let all: Vec<u8> = map.iter().map(|(_, n)| *n).collect();
        assert_eq!(all, [30, 2, 10]);
        assert_eq!(map.pop(), Some((key(1), 10)));
        assert_eq!(map.clear().len(), 2);
        assert_eq!(map.len(), 0);
    }
}
