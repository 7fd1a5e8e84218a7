//! Giving tasks to a pool.

use crate::call;
use crate::call::said;
use crate::error::{SubmitError, TaskError};
use crate::imap::{Imap, Order};
use crate::owner::{Owner, Parcelled, key_of};
use crate::record::{AnswerHead, TaskHead};
use crate::result::{self, AsyncResult};
use crate::ticket::{Reply, Sink, Ticket};
use multiproc_core::deadline::Deadline;
use multiproc_message::codec::{Codec, Serde, with_scratch};
use multiproc_parcel as parcel;
use multiproc_process::Code;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

/// A way to give tasks to a pool, from any thread: what [`Pool`](crate::Pool) gives by `Deref`, and
/// clones of it, with how a task is to be treated. It does not keep the pool: when that has ended,
/// tasks are refused.
///
/// ```standalone_crate
/// use multiproc_pool::{Pool, TaskError};
/// use std::time::Duration;
///
/// fn slow(seconds: u64) {
///     std::thread::sleep(Duration::from_secs(seconds));
/// }
///
/// let pool = Pool::new(2)?;
/// let patient = pool.timeout(Duration::from_millis(50));
/// assert_eq!(patient.apply(slow, 1_000), Err(TaskError::Timeout)); // and its worker is replaced
/// assert_eq!(patient.retries(2).chunk_size(10).map(|n: u32| n + 1, 0..100)?.len(), 100);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Tasks {
    pub(crate) owner: Arc<Owner>,
    pub(crate) options: Options,
}

/// How a task is to be treated.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Options {
    pub(crate) timeout: Option<Duration>,
    pub(crate) retries: u32,
    pub(crate) chunk: Option<usize>,
    pub(crate) read_ahead: Option<usize>,
}

/// The most records of a map that are on their way at a time, and their bytes, about.
const MOST_RECORDS: usize = 2048;
const MOST_BYTES: usize = 8 << 20;

impl Tasks {
    /// The same pool; a task (a chunk, of maps) that runs for longer than this ends with
    /// [`TaskError::Timeout`], and its worker is killed and replaced. The time counts from its
    /// begin, not while it is queued.
    pub fn timeout(&self, timeout: Duration) -> Self {
        self.with(|options| options.timeout = Some(timeout))
    }

    /// The same pool; a task whose worker dies is tried again, so many times. What it did before
    /// is done twice then. (A task with handles in its arguments is not: they went with the worker.)
    pub fn retries(&self, retries: u32) -> Self {
        self.with(|options| options.retries = retries)
    }

    /// The same pool; maps give so many items to a worker at a time, `imap`s as well. By default
    /// `map` makes about four chunks per worker, `imap` takes items one by one. A chunk of 0 is an
    /// error of the call.
    #[doc(alias = "chunksize")]
    pub fn chunk_size(&self, items: usize) -> Self {
        self.with(|options| options.chunk = Some(items))
    }

    /// The same pool; `imap`s take so many chunks from their iterator before the first of these is
    /// asked for. At least 1; by default 8 for each worker.
    pub fn read_ahead(&self, chunks: usize) -> Self {
        self.with(|options| options.read_ahead = Some(chunks.max(1)))
    }

    fn with(&self, change: impl FnOnce(&mut Options)) -> Self {
        let mut other = self.clone();
        change(&mut other.options);
        other
    }

    /// How many workers the pool has.
    pub fn workers(&self) -> usize {
        self.owner.workers
    }

    /// Why the pool works no more, if so.
    pub fn ended(&self) -> Option<crate::Ended> {
        match self.owner.is_here() {
            true => self.owner.ended(),
            false => None,
        }
    }

    /// Runs `f` on `arguments` in a worker, and gives what it returns.
    ///
    /// *Blocks until* the result is there. *Wakes when* the worker answers. *If a peer dies*: if it
    /// is that worker, [`TaskError::WorkerLost`], after the [retries](Tasks::retries).
    ///
    /// # Errors
    ///
    /// [`TaskError`], where there is no value.
    pub fn apply<A, R>(&self, f: fn(A) -> R, arguments: A) -> Result<R, TaskError>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned + Send + 'static,
    {
        let code = call::name(&self.owner.functions, f);
        self.apply_code(code, arguments)
    }

    /// Has `f` run on `arguments` in a worker. Does not block: where there is no room for more
    /// tasks, that is an error.
    ///
    /// # Errors
    ///
    /// [`SubmitError`] hands the arguments back.
    pub fn apply_async<A, R>(
        &self,
        f: fn(A) -> R,
        arguments: A,
    ) -> Result<AsyncResult<R>, SubmitError<A>>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned + Send + 'static,
    {
        let code = call::name(&self.owner.functions, f);
        self.apply_code_async(code, arguments, false)
    }

    /// Runs `f` on each item, in the workers; the results are in the order of the items.
    ///
    /// Items are encoded and given away chunk by chunk. All are done before this returns, also where
    /// one has no value.
    ///
    /// *Blocks until* all are done. *Wakes when* answers come. *If a peer dies*: if it is a worker,
    /// its chunk has no value, or is tried again.
    ///
    /// # Errors
    ///
    /// The first [`TaskError`], in the order of the items.
    pub fn map<A, R, I>(&self, f: fn(A) -> R, items: I) -> Result<Vec<R>, TaskError>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned + Send + 'static,
        I: IntoIterator<Item = A>,
    {
        self.map_code(call::name(&self.owner.functions, f), items)
    }

    /// Has `f` run on each item, in the workers. Does not block, but for the iterator.
    ///
    /// # Errors
    ///
    /// [`SubmitError`]; then no item runs that has not begun.
    pub fn map_async<A, R, I>(
        &self,
        f: fn(A) -> R,
        items: I,
    ) -> Result<AsyncResult<Vec<R>>, SubmitError<()>>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned + Send + 'static,
        I: IntoIterator<Item = A>,
    {
        self.map_code_async(call::name(&self.owner.functions, f), items)
    }

    /// [`Tasks::map`] for a function of two arguments. (For more, let it take a tuple: `map(|(a, b,
    /// c)| …, items)`.)
    ///
    /// *Blocks*, *wakes* and *if a peer dies*: as there.
    ///
    /// # Errors
    ///
    /// As [`Tasks::map`].
    pub fn starmap<A, B, R, I>(&self, f: fn(A, B) -> R, items: I) -> Result<Vec<R>, TaskError>
    where
        A: Serialize + DeserializeOwned,
        B: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned + Send + 'static,
        I: IntoIterator<Item = (A, B)>,
    {
        self.map_code(call::name_pair(&self.owner.functions, f), items)
    }

    /// [`Tasks::map_async`] for a function of two arguments.
    ///
    /// Does not block, as there.
    ///
    /// # Errors
    ///
    /// As [`Tasks::map_async`].
    pub fn starmap_async<A, B, R, I>(
        &self,
        f: fn(A, B) -> R,
        items: I,
    ) -> Result<AsyncResult<Vec<R>>, SubmitError<()>>
    where
        A: Serialize + DeserializeOwned,
        B: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned + Send + 'static,
        I: IntoIterator<Item = (A, B)>,
    {
        self.map_code_async(call::name_pair(&self.owner.functions, f), items)
    }

    /// Runs `f` on each item, in the workers, as results are asked for: an iterator over the
    /// results, in the order of the items. It takes from `items` no more than is
    /// [read ahead](Tasks::read_ahead), so these may go on for ever.
    ///
    /// Does not wait; the iterator does, in [`Imap::next`](Iterator::next): *blocks until* the
    /// next result is there. *Wakes when* its answer comes. *If a peer dies*: its worker, as
    /// [`Tasks::apply`].
    ///
    /// # Errors
    ///
    /// [`SubmitError::NoChunk`], before anything is taken.
    pub fn imap<A, R, I>(
        &self,
        f: fn(A) -> R,
        items: I,
    ) -> Result<Imap<I::IntoIter, R>, SubmitError<()>>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned + Send + 'static,
        I: IntoIterator<Item = A>,
    {
        let code = call::name(&self.owner.functions, f);
        Imap::new(self, code, items.into_iter(), Order::OfItems)
    }

    /// As [`Tasks::imap`], with results in the order in which they come.
    ///
    /// *Blocks*, *wakes* and *if a peer dies*: as there.
    ///
    /// # Errors
    ///
    /// As [`Tasks::imap`].
    pub fn imap_unordered<A, R, I>(
        &self,
        f: fn(A) -> R,
        items: I,
    ) -> Result<Imap<I::IntoIter, R>, SubmitError<()>>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned + Send + 'static,
        I: IntoIterator<Item = A>,
    {
        let code = call::name(&self.owner.functions, f);
        Imap::new(self, code, items.into_iter(), Order::AsTheyCome)
    }

    pub(crate) fn apply_code<A, R>(&self, code: Option<Code>, arguments: A) -> Result<R, TaskError>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned + Send + 'static,
    {
        self.apply_code_async(code, arguments, true)
            .map_err(SubmitError::without_arguments)?
            .get()
    }

    pub(crate) fn apply_code_async<A, R>(
        &self,
        code: Option<Code>,
        arguments: A,
        wait: bool,
    ) -> Result<AsyncResult<R>, SubmitError<A>>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned + Send + 'static,
    {
        let ticket = Ticket::new(one::<R>);
        let Some(code) = code else {
            return Err(SubmitError::Function(arguments));
        };
        let part = ticket.add_part(1);
        let submitted = self.submit(code, &[&arguments], &ticket, part, wait);
        match submitted {
            Ok(Sent { task, .. }) => {
                // Sealed before anybody looks: nobody has it yet. An answer may be there already.
                let filed = ticket.seal();
                self.owner.tell(key_of(&ticket), filed);
                let mut tasks = result::Tasks::default();
                tasks.add(task);
                Ok(AsyncResult::new(Arc::clone(&self.owner), ticket, tasks))
            }
            Err(error) => Err(error.with(arguments).0),
        }
    }

    /// Encodes a chunk and puts it.
    pub(crate) fn submit<A: Serialize + DeserializeOwned, S: Sink + 'static>(
        &self,
        code: Code,
        items: &[&A],
        sink: &Arc<S>,
        part: usize,
        wait: bool,
    ) -> Result<Sent, SubmitError<()>> {
        self.owner.check()?;
        with_scratch(|record| {
            TaskHead {
                task: 0, // put there by `submit`
                attempt: 1,
                count: items.len() as u32,
                limit: self.options.timeout.map_or(0, nanoseconds),
                code,
            }
            .write(record);
            let (encoded, parcel) = parcel::pack(|| {
                items
                    .iter()
                    .try_for_each(|item| <Serde as Codec<A>>::encode(item, record))
            });
            encoded.map_err(|why| SubmitError::Encode((), why))?;
            let bytes = record.len();
            let sink = Arc::clone(sink) as Arc<dyn Sink>;
            let parcelled = Parcelled { record, parcel };
            let retries = self.options.retries;
            let task = self.owner.submit(sink, part, parcelled, retries, wait)?;
            Ok(Sent { task, bytes })
        })
    }

    pub(crate) fn map_code<A, R, I>(
        &self,
        code: Option<Code>,
        items: I,
    ) -> Result<Vec<R>, TaskError>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned + Send + 'static,
        I: IntoIterator<Item = A>,
    {
        self.feed(code, items, true)?.get()
    }

    pub(crate) fn map_code_async<A, R, I>(
        &self,
        code: Option<Code>,
        items: I,
    ) -> Result<AsyncResult<Vec<R>>, SubmitError<()>>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned + Send + 'static,
        I: IntoIterator<Item = A>,
    {
        match self.feed(code, items, false) {
            Ok(result) => Ok(result),
            Err(TaskError::NotSubmitted(error)) => Err(error),
            Err(error) => Err(SubmitError::Encode((), error.to_string())),
        }
    }

    /// Gives the items away, chunk by chunk; with `wait` no more at a time than keep the workers
    /// busy.
    fn feed<A, R, I>(
        &self,
        code: Option<Code>,
        items: I,
        wait: bool,
    ) -> Result<AsyncResult<Vec<R>>, TaskError>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned + Send + 'static,
        I: IntoIterator<Item = A>,
    {
        let code = code.ok_or(SubmitError::Function(()))?;
        if self.options.chunk == Some(0) {
            return Err(SubmitError::NoChunk(()).into());
        }
        self.owner.check()?;
        let mut items = Chunks::new(items.into_iter());
        let chunk = match self.options.chunk {
            Some(chunk) => chunk,
            None => {
                let len = items.len()?;
                len.div_ceil(4 * self.owner.workers).max(1)
            }
        };
        let ticket = Ticket::new(all::<R>);
        let mut tasks = result::Tasks::default();
        let mut fed = 0;
        let mut room = MOST_RECORDS;
        let fed_all = loop {
            let items = match items.next(chunk) {
                Ok(items) if items.is_empty() => break Ok(()),
                Ok(items) => items,
                Err(error) => break Err(error),
            };
            let refs: Vec<&A> = items.iter().collect();
            let part = ticket.add_part(items.len());
            match self.submit(code, &refs, &ticket, part, wait) {
                Ok(Sent { task, bytes }) => {
                    tasks.add(task);
                    let most = MOST_BYTES / bytes.max(1);
                    let most = most.clamp(
                        4 * self.owner.workers,
                        MOST_RECORDS.max(4 * self.owner.workers),
                    );
                    room = room.min(most);
                }
                Err(error) => {
                    ticket.drop_part();
                    break Err(error.into());
                }
            }
            fed += 1;
            if wait && fed % (room / 2).max(1) == 0 {
                let done = || ticket.is_down_to(room / 2);
                self.owner.wait_for(key_of(&ticket), Deadline::NEVER, &done);
            }
        };
        match fed_all {
            Ok(()) => {
                let filed = ticket.seal();
                self.owner.tell(key_of(&ticket), filed);
                Ok(AsyncResult::new(Arc::clone(&self.owner), ticket, tasks))
            }
            Err(error) => {
                self.owner.cancel(tasks.ranges());
                Err(error)
            }
        }
    }
}

/// A record that was put.
pub(crate) struct Sent {
    pub(crate) task: u64,
    pub(crate) bytes: usize,
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).max(1)
}

/// An iterator of the user's, which may panic, chunk by chunk.
pub(crate) struct Chunks<I: Iterator> {
    items: I,
    /// Taken already, to know how many there are.
    taken: std::vec::IntoIter<I::Item>,
}

impl<I: Iterator> Chunks<I> {
    pub(crate) fn new(items: I) -> Self {
        Self {
            items,
            taken: Vec::new().into_iter(),
        }
    }

    /// How many there are; where the iterator does not say, they are taken from it now.
    fn len(&mut self) -> Result<usize, TaskError> {
        if let (least, Some(most)) = self.items.size_hint()
            && least == most
        {
            return Ok(most);
        }
        let all = careful(|| self.items.by_ref().collect::<Vec<_>>())?;
        let len = all.len();
        self.taken = all.into_iter();
        Ok(len)
    }

    /// The next ones, none at the end. If the iterator panics, what it gave before for this chunk is
    /// dropped.
    pub(crate) fn next(&mut self, chunk: usize) -> Result<Vec<I::Item>, TaskError> {
        careful(|| {
            let mut items: Vec<I::Item> = self.taken.by_ref().take(chunk).collect();
            if items.is_empty() {
                items = self.items.by_ref().take(chunk).collect();
            }
            items
        })
    }
}

/// Runs the user's iterator.
fn careful<R>(f: impl FnOnce() -> R) -> Result<R, TaskError> {
    catch_unwind(AssertUnwindSafe(f)).map_err(|panic| {
        let said = said(&*panic);
        std::mem::forget(panic);
        TaskError::Input(said)
    })
}

/// The results in a reply.
pub(crate) fn results<R: DeserializeOwned>(
    reply: Reply,
    count: usize,
) -> Vec<Result<R, TaskError>> {
    match reply {
        Reply::Values(bytes, descriptors) => {
            let rest = bytes.get(AnswerHead::BYTES..).unwrap_or_default();
            call::results(rest, descriptors, count)
        }
        Reply::Failure(error) => (0..count).map(|_| Err(error.clone())).collect(),
    }
}

/// The result of a task.
fn one<R: DeserializeOwned>(mut replies: Vec<(Reply, usize)>) -> Result<R, TaskError> {
    let (reply, count) = replies.pop().ok_or(TaskError::Taken)?;
    results(reply, count).pop().unwrap_or(Err(TaskError::Taken))
}

/// The results of a map.
fn all<R: DeserializeOwned>(replies: Vec<(Reply, usize)>) -> Result<Vec<R>, TaskError> {
    let len = replies.iter().map(|(_, count)| count).sum();
    let mut all = Vec::with_capacity(len);
    for (reply, count) in replies {
        for result in results(reply, count) {
            all.push(result?);
        }
    }
    Ok(all)
}

impl fmt::Debug for Tasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tasks")
            .field("workers", &self.owner.workers)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}
