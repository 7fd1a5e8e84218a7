//! A managed list in its server: also what values and arrays are, there of a fixed length.

use crate::error::Failure;
use crate::number::{self, Kind, Op};
use crate::server::{self, Core, caller::Caller};
use crate::stored::{Blob, Stored};
use crate::wire::{Answer, Call};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::sync::Arc;

/// What a list can be asked for.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ListCall {
    Len,
    Get(u64),
    Set(u64, Stored),
    Push(Stored),
    Pop,
    Insert(u64, Stored),
    Remove(u64),
    /// The first item of these bytes, out.
    RemoveItem(Blob),
    Extend(Vec<Stored>),
    Truncate(u64),
    Slice(u64, u64),
    /// Others in place of these; those come back.
    Splice(u64, u64, Vec<Stored>),
    IndexOf(Blob),
    Count(Blob),
    Reverse,
    Swap(u64, u64),
    /// All of them, and the version.
    All,
    /// All others, if the version is still this one.
    Replace(u64, Vec<Stored>),
    CompareAndSet {
        index: u64,
        expected: Blob,
        new: Stored,
    },
    Fetch {
        index: u64,
        kind: Kind,
        op: Op,
        by: Blob,
    },
}

#[derive(Default)]
struct State {
    items: VecDeque<Stored>,
    /// Changes with every change.
    version: u64,
}

/// A list in its server.
pub(crate) struct Body {
    state: Arc<Mutex<State>>,
    fixed: bool,
}

impl ListCall {
    fn changes(&self) -> bool {
        !matches!(
            self,
            Self::Len
                | Self::Get(_)
                | Self::Slice(..)
                | Self::IndexOf(_)
                | Self::Count(_)
                | Self::All
        )
    }

    fn keeps_length(&self) -> bool {
        match self {
            Self::Set(..)
            | Self::Swap(..)
            | Self::Reverse
            | Self::CompareAndSet { .. }
            | Self::Fetch { .. } => true,
            Self::Splice(from, to, items) => to.saturating_sub(*from) == items.len() as u64,
            other => !other.changes(),
        }
    }
}

impl State {
    /// The index of an item that is there.
    fn at(&self, index: u64) -> Result<usize, Failure> {
        self.below(index, self.items.len())
    }

    fn below(&self, index: u64, end: usize) -> Result<usize, Failure> {
        let at = usize::try_from(index).ok().filter(|at| *at < end);
        at.ok_or(Failure::OutOfRange {
            index,
            len: self.items.len() as u64,
        })
    }

    fn range(&self, from: u64, to: u64) -> Result<std::ops::Range<usize>, Failure> {
        let to = self.below(to, self.items.len() + 1)?;
        let from = self.below(from, to + 1)?;
        Ok(from..to)
    }

    fn splice(&mut self, range: std::ops::Range<usize>, items: Vec<Stored>) -> Vec<Stored> {
        let rest = self.items.split_off(range.end);
        let old = self.items.drain(range.start..).collect();
        self.items.extend(items);
        self.items.extend(rest);
        old
    }

    fn position(&self, bytes: &Blob) -> Option<usize> {
        self.items.iter().position(|item| item.bytes == *bytes)
    }
}

fn put_all(caller: &Caller, items: &[Stored]) -> Result<(), Failure> {
    for (n, item) in items.iter().enumerate() {
        if let Err(why) = caller.put_in(item) {
            items[..n].iter().for_each(|item| caller.discard(item));
            return Err(why);
        }
    }
    Ok(())
}

impl Body {
    /// Under the world's lock.
    pub(crate) fn new(items: Vec<Stored>, fixed: bool, caller: &Caller) -> Result<Self, Failure> {
        put_all(caller, &items)?;
        let state = State {
            items: items.into(),
            version: 0,
        };
        Ok(Self {
            state: Arc::new(Mutex::new(state)),
            fixed,
        })
    }

    /// The same for many at once, in place of those that came for them, if these are still there.
    fn splice_back_if_lost(&self, caller: &Caller, at: usize, old: &[Stored], new: Vec<Blob>) {
        let (state, old) = (self.state.clone(), old.to_vec());
        caller.on_loss(move |core: &Core| {
            if old.iter().any(|item| core.put_in(item).is_err()) {
                return; // it refers to what is gone, and its own references are gone with it
            }
            let mut state = state.lock();
            state.version += 1;
            let at = at.min(state.items.len());
            let end = (at + new.len()).min(state.items.len());
            let there = state.items.range(at..end).map(|item| &item.bytes);
            let end = if there.eq(new.iter()) { end } else { at };
            for item in state.splice(at..end, old) {
                core.discard(&item);
            }
        });
    }

    /// What a client that died did not receive is there again, as far as there is such a place.
    fn give_back_if_lost(&self, caller: &Caller, at: usize, item: &Stored) {
        let (state, item) = (self.state.clone(), item.clone());
        caller.on_loss(move |core: &Core| {
            if core.put_in(&item).is_ok() {
                let mut state = state.lock();
                state.version += 1;
                let at = at.min(state.items.len());
                state.items.insert(at, item);
            }
        });
    }
}

impl server::Body for Body {
    fn kind(&self) -> &'static str {
        "List"
    }

    fn call(&self, call: Call, caller: &Caller) -> Result<Answer, Failure> {
        let Call::List(call) = call else {
            return self.not_mine();
        };
        if self.fixed && !call.keeps_length() {
            return Err(Failure::Refused("its length is fixed".into()));
        }
        let _world = caller.world();
        let mut state = self.state.lock();
        let before = state.version;
        if call.changes() {
            state.version += 1;
        }
        let copied = |item: &Stored| caller.copy_out(item);
        Ok(match call {
            ListCall::Len => Answer::Number(state.items.len() as u64),
            ListCall::Get(index) => {
                let item = usize::try_from(index)
                    .ok()
                    .and_then(|at| state.items.get(at));
                Answer::Item(item.map(copied))
            }
            ListCall::Set(index, item) => {
                let at = state.at(index)?;
                caller.put_in(&item)?;
                let old = std::mem::replace(&mut state.items[at], item);
                Answer::Item(Some(caller.take_out(old)))
            }
            ListCall::Push(item) => {
                caller.put_in(&item)?;
                state.items.push_back(item);
                Answer::Done
            }
            ListCall::Pop => {
                let last = state.items.pop_back();
                if let Some(item) = &last {
                    self.give_back_if_lost(caller, state.items.len(), item);
                }
                Answer::Item(last.map(|item| caller.take_out(item)))
            }
            ListCall::Insert(index, item) => {
                let at = state.below(index, state.items.len() + 1)?;
                caller.put_in(&item)?;
                state.items.insert(at, item);
                Answer::Done
            }
            ListCall::Remove(index) => {
                let at = state.at(index)?;
                let Some(item) = state.items.remove(at) else {
                    return Ok(Answer::Item(None));
                };
                self.give_back_if_lost(caller, at, &item);
                Answer::Item(Some(caller.take_out(item)))
            }
            ListCall::RemoveItem(bytes) => {
                let found = state.position(&bytes);
                if let Some(item) = found.and_then(|at| state.items.remove(at)) {
                    caller.discard(&item);
                }
                Answer::Flag(found.is_some())
            }
            ListCall::Extend(items) => {
                put_all(caller, &items)?;
                state.items.extend(items);
                Answer::Done
            }
            ListCall::Truncate(len) => {
                let len = usize::try_from(len).unwrap_or(usize::MAX);
                let len = len.min(state.items.len());
                for item in state.items.drain(len..) {
                    caller.discard(&item);
                }
                Answer::Done
            }
            ListCall::Slice(from, to) => {
                let range = state.range(from, to)?;
                Answer::Items(state.items.range(range).map(copied).collect())
            }
            ListCall::Splice(from, to, items) => {
                let range = state.range(from, to)?;
                put_all(caller, &items)?;
                let new: Vec<Blob> = items.iter().map(|item| item.bytes.clone()).collect();
                let old = state.splice(range.clone(), items);
                self.splice_back_if_lost(caller, range.start, &old, new);
                Answer::Items(old.into_iter().map(|item| caller.take_out(item)).collect())
            }
            ListCall::IndexOf(bytes) => match state.position(&bytes) {
                Some(at) => Answer::Number(at as u64),
                None => return Err(Failure::NotNow),
            },
            ListCall::Count(bytes) => {
                let same = state.items.iter().filter(|item| item.bytes == bytes);
                Answer::Number(same.count() as u64)
            }
            ListCall::Reverse => {
                state.items.make_contiguous().reverse();
                Answer::Done
            }
            ListCall::Swap(one, other) => {
                let (one, other) = (state.at(one)?, state.at(other)?);
                state.items.swap(one, other);
                Answer::Done
            }
            ListCall::All => {
                Answer::Version(state.version, state.items.iter().map(copied).collect())
            }
            ListCall::Replace(version, items) => {
                if version != before {
                    state.version = before;
                    return Ok(Answer::Flag(false));
                }
                put_all(caller, &items)?;
                let old = std::mem::replace(&mut state.items, items.into());
                old.iter().for_each(|item| caller.discard(item));
                Answer::Flag(true)
            }
            ListCall::CompareAndSet {
                index,
                expected,
                new,
            } => {
                let at = state.at(index)?;
                if state.items[at].bytes != expected {
                    return Ok(Answer::Flag(false));
                }
                caller.put_in(&new)?;
                let old = std::mem::replace(&mut state.items[at], new);
                caller.discard(&old);
                Answer::Flag(true)
            }
            ListCall::Fetch {
                index,
                kind,
                op,
                by,
            } => {
                let at = state.at(index)?;
                let new = number::apply(kind, op, &state.items[at].bytes.0, &by.0)?;
                let old = std::mem::replace(&mut state.items[at], Stored::plain(new));
                Answer::Item(Some(old))
            }
        })
    }

    fn references(&self, each: &mut dyn FnMut(u64)) {
        for item in &self.state.lock().items {
            item.objects().iter().for_each(|object| each(*object));
        }
    }
}
