//! Maps whose results are had one by one, while their items are taken from an iterator.

use crate::error::{GetTimeoutError, SubmitError, TaskError};
use crate::owner::key_of;
use crate::tasks::{Chunks, Tasks, results};
use crate::ticket::{Filed, Reply, Sink};
use multiproc_core::deadline::Deadline;
use multiproc_process::Code;
use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::iter::FusedIterator;
use std::sync::Arc;
use std::time::Duration;

/// Chunks that are read ahead for each worker.
const AHEAD: usize = 8;

/// In which order results are given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    OfItems,
    AsTheyCome,
}

/// The results of [`Tasks::imap`] and [`Tasks::imap_unordered`]: an iterator.
///
/// Each `next` *blocks until* the next result is there; *wakes when* a worker answers; *if a peer
/// dies*, a worker, its items have [`TaskError::WorkerLost`] for a result, and the iterator goes on.
///
/// Where the items' iterator panics, the results of what it gave before come first, by whole chunks;
/// then one error, and the end. Dropped early, it leaves what was read ahead to be done in vain.
#[must_use = "nothing is taken from the iterator until results are asked for"]
pub struct Imap<I: Iterator, R> {
    tasks: Tasks,
    code: Code,
    items: Option<Chunks<I>>,
    chunk: usize,
    ahead: usize,
    order: Order,
    stream: Arc<Stream>,
    /// Chunks given away, and how many items each has that is not back.
    given: usize,
    on_their_way: BTreeMap<usize, usize>,
    /// Results that are there.
    ready: VecDeque<Result<R, TaskError>>,
    /// Comes last.
    failed: Option<TaskError>,
}

/// Answers that have come.
#[derive(Default)]
struct Stream(Mutex<BTreeMap<usize, Reply>>);

impl Sink for Stream {
    fn file(self: Arc<Self>, part: usize, reply: Reply) -> Filed {
        self.0.lock().insert(part, reply);
        Filed {
            look: true,
            ..Filed::default()
        }
    }
}

impl<I, R> Imap<I, R>
where
    I: Iterator,
    I::Item: Serialize + DeserializeOwned,
    R: Serialize + DeserializeOwned + Send + 'static,
{
    pub(crate) fn new(
        tasks: &Tasks,
        code: Option<Code>,
        items: I,
        order: Order,
    ) -> Result<Self, SubmitError<()>> {
        tasks.owner.check()?;
        let chunk = tasks.options.chunk.unwrap_or(1);
        if chunk == 0 {
            return Err(SubmitError::NoChunk(()));
        }
        let ahead = tasks.options.read_ahead;
        Ok(Self {
            code: code.ok_or(SubmitError::Function(()))?,
            items: Some(Chunks::new(items)),
            chunk,
            ahead: ahead.unwrap_or(AHEAD * tasks.owner.workers),
            order,
            stream: Arc::default(),
            given: 0,
            on_their_way: BTreeMap::new(),
            ready: VecDeque::new(),
            failed: None,
            tasks: tasks.clone(),
        })
    }

    /// The next result, if it comes in time; `None` at the end. After
    /// [`Timeout`](GetTimeoutError::Timeout) it can be asked for again.
    ///
    /// *Blocks until* it is there, or `timeout` is over. *Wakes when* a worker answers. *If a peer
    /// dies*: as `next`.
    pub fn next_timeout(&mut self, timeout: Duration) -> Option<Result<R, GetTimeoutError>> {
        let next = self.next_by(Deadline::after(timeout))?;
        Some(match next {
            Some(result) => result.map_err(GetTimeoutError::Task),
            None => Err(GetTimeoutError::Timeout),
        })
    }

    /// Outside: the end. Inside: in vain.
    #[allow(clippy::option_option)]
    fn next_by(&mut self, deadline: Deadline) -> Option<Option<Result<R, TaskError>>> {
        loop {
            if let Some(result) = self.ready.pop_front() {
                return Some(Some(result));
            }
            if !self.tasks.owner.is_here() {
                if self.items.take().is_some() || !self.on_their_way.is_empty() {
                    self.failed = Some(TaskError::NotOwner);
                }
                self.on_their_way.clear();
            }
            self.give();
            let Some((first, _)) = self.on_their_way.first_key_value() else {
                return self.failed.take().map(|error| Some(Err(error)));
            };
            let (first, stream, order) = (*first, &self.stream, self.order);
            let there = || match order {
                Order::OfItems => stream.0.lock().contains_key(&first),
                Order::AsTheyCome => !stream.0.lock().is_empty(),
            };
            let key = key_of(&self.stream);
            if !self.tasks.owner.wait_for(key, deadline, &there) {
                return Some(None);
            }
            let answer = match order {
                Order::OfItems => stream.0.lock().remove_entry(&first),
                Order::AsTheyCome => stream.0.lock().pop_first(),
            };
            if let Some((part, reply)) = answer {
                let count = self.on_their_way.remove(&part).unwrap_or(0);
                self.ready.extend(results(reply, count));
            }
        }
    }

    /// Gives items away, as far as is read ahead.
    fn give(&mut self) {
        while self.on_their_way.len() < self.ahead
            && let Some(items) = &mut self.items
        {
            let given = match items.next(self.chunk) {
                Ok(items) if items.is_empty() => Err(None),
                Ok(items) => {
                    let refs: Vec<&I::Item> = items.iter().collect();
                    // Before anything can come back for it.
                    self.on_their_way.insert(self.given, refs.len());
                    let sent = self
                        .tasks
                        .submit(self.code, &refs, &self.stream, self.given, true);
                    sent.map_err(|error| Some(error.into()))
                }
                Err(error) => Err(Some(error)),
            };
            match given {
                Ok(_) => self.given += 1,
                Err(why) => {
                    self.on_their_way.remove(&self.given);
                    self.failed = why;
                    // With what the iterator has.
                    self.items = None;
                }
            }
        }
    }
}

impl<I, R> Iterator for Imap<I, R>
where
    I: Iterator,
    I::Item: Serialize + DeserializeOwned,
    R: Serialize + DeserializeOwned + Send + 'static,
{
    type Item = Result<R, TaskError>;

    fn next(&mut self) -> Option<Self::Item> {
        // A deadline that never comes does not pass.
        self.next_by(Deadline::NEVER)?
    }
}

impl<I, R> FusedIterator for Imap<I, R>
where
    I: Iterator,
    I::Item: Serialize + DeserializeOwned,
    R: Serialize + DeserializeOwned + Send + 'static,
{
}

impl<I: Iterator, R> fmt::Debug for Imap<I, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Imap")
            .field("order", &self.order)
            .field("chunk", &self.chunk)
            .field("on_their_way", &self.on_their_way.len())
            .finish_non_exhaustive()
    }
}
