//! A managed queue.

use crate::Handle;
use crate::error::{
    CallError, Failed, Failure, GetError, GetTimeoutError, PutError, PutTimeoutError,
    TaskDoneError, TryGetError, TryPutError,
};
use crate::remote::unexpected;
use crate::server::{self, Core, caller::Caller};
use crate::stored::{Stored, fetch, store};
use crate::wire::{Answer, Call, Patience};
use parking_lot::{Condvar, Mutex};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

/// What a queue can be asked for.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum QueueCall {
    Put(Stored, Patience),
    Get(Patience),
    GetTask(Patience),
    /// Done with the task of this number, or give it to another.
    EndTask {
        number: u64,
        done: bool,
    },
    TaskDone,
    Join(Patience),
    Len,
    Unfinished,
    Capacity,
    ShutDown,
}

struct Entry {
    item: Stored,
    attempt: u32,
}

/// Who has a task.
struct Work {
    account: u128,
    entry: Entry,
}

#[derive(Default)]
struct State {
    entries: VecDeque<Entry>,
    closed: bool,
    unfinished: u64,
    work: HashMap<u64, Work>,
    next_task: u64,
}

struct Shared {
    state: Mutex<State>,
    /// An item came, or the queue was shut down.
    items: Condvar,
    /// An item went.
    room: Condvar,
    /// Nothing is unfinished.
    finished: Condvar,
    capacity: Option<u64>,
}

/// A queue in its server.
pub(crate) struct Body(Arc<Shared>);

impl Body {
    pub(crate) fn new(capacity: Option<u64>) -> Self {
        Self(Arc::new(Shared {
            state: Mutex::default(),
            items: Condvar::new(),
            room: Condvar::new(),
            finished: Condvar::new(),
            capacity,
        }))
    }
}

impl Shared {
    fn has_room(&self, state: &State) -> bool {
        self.capacity
            .is_none_or(|most| (state.entries.len() as u64) < most)
    }

    /// The entry is the next one again.
    fn put_first(&self, core: &Core, entry: Entry) {
        if core.put_in(&entry.item).is_ok() {
            self.state.lock().entries.push_front(entry);
            self.items.notify_one();
        }
    }

    fn get(&self, caller: &Caller, patience: Patience) -> Result<Entry, Failure> {
        caller.wait(&self.state, &self.items, patience, |state| {
            match state.entries.pop_front() {
                Some(Entry { item, attempt }) => {
                    self.room.notify_one();
                    let item = caller.take_out(item);
                    Some(Ok(Entry { item, attempt }))
                }
                None if state.closed => Some(Err(Failure::Closed)),
                None => None,
            }
        })
    }
}

impl server::Body for Body {
    fn kind(&self) -> &'static str {
        "Queue"
    }

    fn call(&self, call: Call, caller: &Caller) -> Result<Answer, Failure> {
        let Call::Queue(call) = call else {
            return self.not_mine();
        };
        let shared = &self.0;
        Ok(match call {
            QueueCall::Put(item, patience) => {
                let mut item = Some(item);
                caller.wait(&shared.state, &shared.room, patience, |state| {
                    if state.closed {
                        return Some(Err(Failure::Closed));
                    }
                    if !shared.has_room(state) {
                        return None;
                    }
                    let item = item.take()?;
                    if let Err(why) = caller.put_in(&item) {
                        return Some(Err(why));
                    }
                    state.entries.push_back(Entry { item, attempt: 1 });
                    state.unfinished += 1;
                    shared.items.notify_one();
                    Some(Ok(Answer::Done))
                })?
            }
            QueueCall::Get(patience) => {
                let entry = shared.get(caller, patience)?;
                let (queue, item, attempt) = (shared.clone(), entry.item.clone(), entry.attempt);
                caller.on_loss(move |core| queue.put_first(core, Entry { item, attempt }));
                Answer::Item(Some(entry.item))
            }
            QueueCall::GetTask(patience) => {
                let entry = shared.get(caller, patience)?;
                let _world = caller.world();
                let mut state = shared.state.lock();
                state.next_task += 1;
                let (number, account) = (state.next_task, caller.account);
                let item = entry.item.clone();
                let attempt = entry.attempt;
                // Kept here, too: the one who has it may die.
                let _ = caller.put_in(&entry.item);
                state.work.insert(number, Work { account, entry });
                drop(state);
                let queue = shared.clone();
                caller.on_loss(move |core| queue.end(core, number, None, Ended::NotReceived));
                Answer::Task {
                    item,
                    number,
                    attempt,
                }
            }
            QueueCall::EndTask { number, done } => {
                let how = if done { Ended::Done } else { Ended::GivenBack };
                let _world = caller.world();
                shared.end(&caller.core, number, Some(caller.account), how);
                Answer::Done
            }
            QueueCall::TaskDone => {
                let mut state = shared.state.lock();
                if state.unfinished == 0 {
                    return Err(Failure::NotHeld);
                }
                state.unfinished -= 1;
                if state.unfinished == 0 {
                    shared.finished.notify_all();
                }
                Answer::Done
            }
            QueueCall::Join(patience) => {
                caller.wait(&shared.state, &shared.finished, patience, |state| {
                    (state.unfinished == 0).then_some(Ok(Answer::Done))
                })?
            }
            QueueCall::Len => Answer::Number(shared.state.lock().entries.len() as u64),
            QueueCall::Unfinished => Answer::Number(shared.state.lock().unfinished),
            QueueCall::Capacity => Answer::Number(shared.capacity.unwrap_or(u64::MAX)),
            QueueCall::ShutDown => {
                shared.state.lock().closed = true;
                shared.items.notify_all();
                shared.room.notify_all();
                Answer::Done
            }
        })
    }

    fn references(&self, each: &mut dyn FnMut(u64)) {
        let state = self.0.state.lock();
        let waiting = state.entries.iter();
        for entry in waiting.chain(state.work.values().map(|work| &work.entry)) {
            entry.item.objects().iter().for_each(|object| each(*object));
        }
    }

    fn account_ended(&self, account: u128, core: &Core) {
        let _world = core.world.read();
        let state = self.0.state.lock();
        let its = |(number, work): (&u64, &Work)| (work.account == account).then_some(*number);
        let mut numbers: Vec<u64> = state.work.iter().filter_map(its).collect();
        drop(state);
        // The oldest is the next one.
        numbers.sort_unstable_by(|a, b| b.cmp(a));
        for number in numbers {
            self.0.end(core, number, None, Ended::OwnerDied);
        }
    }
}

/// How the work on a task ended.
#[derive(Clone, Copy, PartialEq)]
enum Ended {
    Done,
    GivenBack,
    OwnerDied,
    NotReceived,
}

impl Shared {
    /// Under the world's lock.
    fn end(&self, core: &Core, number: u64, account: Option<u128>, how: Ended) {
        let mut state = self.state.lock();
        let whose = state.work.get(&number).map(|work| work.account);
        if whose.is_none() || account.is_some_and(|account| Some(account) != whose) {
            return; // it was ended already: by the death of who had it, say
        }
        let Some(Work { mut entry, .. }) = state.work.remove(&number) else {
            return;
        };
        if how == Ended::Done {
            core.discard(&entry.item);
            state.unfinished = state.unfinished.saturating_sub(1);
            if state.unfinished == 0 {
                self.finished.notify_all();
            }
            return;
        }
        if how != Ended::NotReceived {
            entry.attempt = entry.attempt.saturating_add(1);
        }
        state.entries.push_front(entry);
        self.items.notify_one();
    }
}

fn put<T: Serialize>(handle: &Arc<Handle>, item: &T, patience: Patience) -> Result<(), Failed> {
    let item = store(&handle.remote, item)?;
    handle.call(Call::Queue(QueueCall::Put(item, patience)))?;
    Ok(())
}

fn get<T: DeserializeOwned>(handle: &Arc<Handle>, patience: Patience) -> Result<T, Failed> {
    match handle.call(Call::Queue(QueueCall::Get(patience)))? {
        Answer::Item(Some(item)) => Ok(fetch(&handle.remote, &item)?),
        _ => Err(unexpected()),
    }
}

fn number(handle: &Arc<Handle>, call: QueueCall) -> Result<u64, CallError> {
    match handle.call(Call::Queue(call))? {
        Answer::Number(n) => Ok(n),
        _ => Err(unexpected().into()),
    }
}

const AT_ONCE: Patience = Some(Duration::ZERO);

macro_rules! queue {
    ($name:ident) => {
        impl<T: Serialize + DeserializeOwned> $name<T> {
            /// Puts an item behind the others. When it has returned, the server has the item.
            ///
            /// *Blocks until* there is room. *Wakes when* somebody takes an item, or the queue is
            /// shut down. *If a peer dies*: when it is the server, an error within 100 ms.
            ///
            /// # Errors
            ///
            /// [`PutError`] hands the item back.
            pub fn put(&self, item: T) -> Result<(), PutError<T>> {
                put(&self.handle, &item, None).map_err(|e| PutError::new(item, e))
            }

            /// Puts an item if there is room. Waits for the server's answer only.
            ///
            /// # Errors
            ///
            /// [`TryPutError`] hands the item back.
            #[doc(alias = "put_nowait")]
            pub fn try_put(&self, item: T) -> Result<(), TryPutError<T>> {
                put(&self.handle, &item, AT_ONCE).map_err(|e| TryPutError::new(item, e))
            }

            /// Puts an item. *Blocks until* there is room or `timeout` is over. *Wakes when* and
            /// *if a peer dies*: as `put`.
            ///
            /// # Errors
            ///
            /// [`PutTimeoutError`] hands the item back.
            pub fn put_timeout(
                &self,
                item: T,
                timeout: Duration,
            ) -> Result<(), PutTimeoutError<T>> {
                put(&self.handle, &item, Some(timeout)).map_err(|e| PutTimeoutError::new(item, e))
            }

            /// Takes the first item. One that was on its way to a client that died is the first
            /// again.
            ///
            /// *Blocks until* there is one. *Wakes when* one is put, or the queue is shut down.
            /// *If a peer dies*: when it is the server, an error within 100 ms.
            ///
            /// # Errors
            ///
            /// [`GetError`].
            pub fn get(&self) -> Result<T, GetError> {
                Ok(get(&self.handle, None)?)
            }

            /// Takes the first item if there is one. Waits for the server's answer only.
            ///
            /// # Errors
            ///
            /// [`TryGetError`].
            #[doc(alias = "get_nowait")]
            pub fn try_get(&self) -> Result<T, TryGetError> {
                Ok(get(&self.handle, AT_ONCE)?)
            }

            /// Takes the first item. *Blocks until* there is one or `timeout` is over. *Wakes
            /// when* and *if a peer dies*: as `get`.
            ///
            /// # Errors
            ///
            /// [`GetTimeoutError`].
            pub fn get_timeout(&self, timeout: Duration) -> Result<T, GetTimeoutError> {
                Ok(get(&self.handle, Some(timeout))?)
            }

            /// The number of items, at the moment at which the server looked.
            #[doc(alias = "qsize")]
            pub fn len(&self) -> Result<usize, CallError> {
                Ok(number(&self.handle, QueueCall::Len)? as usize)
            }

            /// Has it no items?
            #[doc(alias = "empty")]
            pub fn is_empty(&self) -> Result<bool, CallError> {
                Ok(self.len()? == 0)
            }

            /// Has it as many items as may be?
            #[doc(alias = "full")]
            pub fn is_full(&self) -> Result<bool, CallError> {
                let most = number(&self.handle, QueueCall::Capacity)?;
                Ok(number(&self.handle, QueueCall::Len)? >= most)
            }

            /// As many items as may be; `None`: any number.
            #[doc(alias = "maxsize")]
            pub fn capacity(&self) -> Result<Option<usize>, CallError> {
                let most = number(&self.handle, QueueCall::Capacity)?;
                Ok((most != u64::MAX).then_some(most as usize))
            }

            /// Closes it for everybody: what is in it can be got, and nothing more put.
            pub fn shut_down(&self) -> Result<(), CallError> {
                self.handle.call(Call::Queue(QueueCall::ShutDown))?;
                Ok(())
            }
        }
    };
}
queue!(Queue);
queue!(JoinableQueue);

proxy! {
    /// A queue in the server, first in, first out.
    ///
    /// In the same machine, `multiproc::Queue` needs no server and is many times faster; this one
    /// can be reached from others, too, and be kept in a dict.
    ///
    /// ```rust,standalone_crate
    /// use multiproc_manager::Manager;
    /// use multiproc_process::Process;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let manager = Manager::start()?;
    /// let queue = manager.queue::<String>()?;
    /// let child = Process::start(|| queue.put("from a child".into()).unwrap())?;
    /// assert_eq!(queue.get()?, "from a child");
    /// child.join()?.ok()?;
    /// manager.shut_down()?;
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias = "multiprocessing.managers.SyncManager.Queue")]
    pub Queue<T>, "Queue"
}

proxy! {
    /// A [`Queue`] that counts what is unfinished, so that one can wait for it.
    pub JoinableQueue<T>, "JoinableQueue"
}

impl<T: Serialize + DeserializeOwned> JoinableQueue<T> {
    /// One item that was got is done.
    ///
    /// # Errors
    ///
    /// [`TaskDoneError`].
    pub fn task_done(&self) -> Result<(), TaskDoneError> {
        self.handle.call(Call::Queue(QueueCall::TaskDone))?;
        Ok(())
    }

    /// Items that were put and are not done.
    pub fn unfinished(&self) -> Result<usize, CallError> {
        Ok(number(&self.handle, QueueCall::Unfinished)? as usize)
    }

    /// *Blocks until* all that was put is done. *Wakes when* the last is. *If a peer dies*: a
    /// task whose process died is given to another; what was got by `get` and never marked as
    /// done stays unfinished. When it is the server, an error within 100 ms.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn join(&self) -> Result<(), CallError> {
        self.handle.call(Call::Queue(QueueCall::Join(None)))?;
        Ok(())
    }

    /// As [`join`](JoinableQueue::join), but no longer than `timeout`. False if something is
    /// unfinished then. *Blocks*, *wakes* and *if a peer dies*: as there.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn join_timeout(&self, timeout: Duration) -> Result<bool, CallError> {
        match self
            .handle
            .call(Call::Queue(QueueCall::Join(Some(timeout))))
        {
            Ok(_) => Ok(true),
            Err(Failed::There(Failure::NotNow)) => Ok(false),
            Err(other) => Err(other.into()),
        }
    }

    fn task(&self, patience: Patience) -> Result<Task<T>, Failed> {
        match self
            .handle
            .call(Call::Queue(QueueCall::GetTask(patience)))?
        {
            Answer::Task {
                item,
                number,
                attempt,
            } => {
                let ticket = Ticket {
                    handle: self.handle.clone(),
                    number: Some(number),
                };
                // One that cannot be decoded is given back by the ticket.
                let item = fetch(&self.handle.remote, &item)?;
                Ok(Task {
                    item,
                    attempt,
                    ticket,
                })
            }
            _ => Err(unexpected()),
        }
    }

    /// Takes the first item as a task, which is done when it is dropped; if this process dies
    /// before, another gets it. *Blocks*, *wakes* and *if a peer dies*: as
    /// [`get`](JoinableQueue::get).
    ///
    /// # Errors
    ///
    /// [`GetError`].
    pub fn get_task(&self) -> Result<Task<T>, GetError> {
        Ok(self.task(None)?)
    }

    /// As [`get_task`](JoinableQueue::get_task), but no longer than `timeout`. *Blocks*, *wakes*
    /// and *if a peer dies*: as there.
    ///
    /// # Errors
    ///
    /// [`GetTimeoutError`].
    pub fn get_task_timeout(&self, timeout: Duration) -> Result<Task<T>, GetTimeoutError> {
        Ok(self.task(Some(timeout))?)
    }
}

/// What ends a task, by its drop.
struct Ticket {
    handle: Arc<Handle>,
    number: Option<u64>,
}

impl Ticket {
    fn end(&mut self, done: bool) -> Result<(), CallError> {
        if let Some(number) = self.number.take() {
            let call = QueueCall::EndTask { number, done };
            self.handle.call(Call::Queue(call))?;
        }
        Ok(())
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        // Given back where nobody has said that it is done; gone with the server.
        let _ = self.end(false);
    }
}

/// An item that this process works on. Done when it is dropped; given to another if this process
/// dies, or panics here.
#[must_use = "a task that is dropped is done"]
pub struct Task<T> {
    item: T,
    attempt: u32,
    ticket: Ticket,
}

impl<T> Task<T> {
    /// 1, and one more each time that somebody who had it died or gave it back.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// It is done.
    ///
    /// # Errors
    ///
    /// [`CallError`]: nobody will know.
    pub fn done(mut self) -> Result<(), CallError> {
        self.ticket.end(true)
    }

    /// Somebody else is to do it.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn give_back(mut self) -> Result<(), CallError> {
        self.ticket.end(false)
    }
}

impl<T> Deref for Task<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.item
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        let _ = self.ticket.end(!std::thread::panicking());
    }
}

impl<T: fmt::Debug> fmt::Debug for Task<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task")
            .field("item", &self.item)
            .field("attempt", &self.attempt)
            .finish_non_exhaustive()
    }
}
