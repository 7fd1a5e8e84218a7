//! What an owner waits for: the answers to one task, or to the chunks of a map, until they are the
//! result.
//!
//! ```text
//!   open ──last answer──▶ arrived ──▶ (lent to the callbacks) ──▶ ready ──▶ taken
//! ```
//!
//! Answers are decoded by whoever asks first: a callback, or `get`.

use crate::error::TaskError;
use parking_lot::Mutex;
use std::any::Any;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::*};
use std::task::Waker;

/// The answer to one record.
#[derive(Debug)]
pub(crate) enum Reply {
    /// A value or a failure for each argument, behind the head.
    Values(Vec<u8>, Vec<OwnedFd>),
    /// The same error for all.
    Failure(TaskError),
}

/// Where an answer goes.
pub(crate) trait Sink: Send + Sync {
    /// Takes the answer to this part.
    fn file(self: Arc<Self>, part: usize, reply: Reply) -> Filed;
}

/// Something to be run in the callbacks' thread.
pub(crate) type Job = Box<dyn FnOnce() + Send>;

/// What an answer brought about.
#[derive(Default)]
pub(crate) struct Filed {
    /// Those who wait for this can look.
    pub(crate) look: bool,
    /// For the callbacks' thread.
    pub(crate) job: Option<Job>,
    /// Somebody had asked to be called, and now has been.
    pub(crate) unwatched: bool,
}

/// How far a map has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Items that are done.
    pub done: usize,
    /// All of them.
    pub total: usize,
}

/// What is called with a result.
pub(crate) type Callback<T> = Box<dyn FnOnce(&T) + Send>;

/// What is called as a map comes on.
pub(crate) type Hook = Box<dyn FnMut(Progress) + Send>;

/// Makes the result of the answers, each of which is to so many arguments.
pub(crate) type Decode<T> = fn(Vec<(Reply, usize)>) -> Result<T, TaskError>;

pub(crate) struct Ticket<T> {
    /// The result can be had. Release when set. PAIRS done.
    done: AtomicBool,
    cell: Mutex<Inside<T>>,
    decode: Decode<T>,
}

struct Inside<T> {
    state: State<T>,
    /// Of each part: the answer, and how many arguments it has.
    parts: Vec<(Option<Reply>, usize)>,
    /// Parts without an answer.
    left: usize,
    /// Items in all parts, and in those with an answer.
    items: usize,
    items_done: usize,
    /// No part is added any more.
    sealed: bool,
    /// Until then: whoever adds parts waits for no more than this without an answer.
    wake_at: usize,
    callback: Option<Callback<T>>,
    error_callback: Option<Callback<TaskError>>,
    progress: Option<Hook>,
    /// A look at the progress is due in the callbacks' thread.
    progress_due: bool,
    waker: Option<Waker>,
    watched: bool,
}

enum State<T> {
    Open,
    Arrived,
    /// With the callbacks.
    Lent,
    Ready(Result<T, TaskError>),
    Taken,
}

impl<T: Send + 'static> Ticket<T> {
    pub(crate) fn new(decode: Decode<T>) -> Arc<Self> {
        Arc::new(Self {
            done: AtomicBool::new(false),
            cell: Mutex::new(Inside {
                state: State::Open,
                parts: Vec::new(),
                left: 0,
                items: 0,
                items_done: 0,
                sealed: false,
                wake_at: 0,
                callback: None,
                error_callback: None,
                progress: None,
                progress_due: false,
                waker: None,
                watched: false,
            }),
            decode,
        })
    }

    /// One more part, of so many arguments: its number.
    pub(crate) fn add_part(&self, count: usize) -> usize {
        let mut cell = self.cell.lock();
        cell.parts.push((None, count));
        cell.left += 1;
        cell.items += count;
        cell.parts.len() - 1
    }

    /// The last part will have no answer: it was not put.
    pub(crate) fn drop_part(&self) {
        let mut cell = self.cell.lock();
        if let Some((_, count)) = cell.parts.pop() {
            cell.left -= 1;
            cell.items -= count;
        }
    }

    /// Are no more parts than this without an answer? If not, who waits is told when it is so.
    pub(crate) fn is_down_to(&self, left: usize) -> bool {
        let mut cell = self.cell.lock();
        cell.wake_at = left;
        cell.left <= left
    }

    /// There are no more parts.
    pub(crate) fn seal(self: &Arc<Self>) -> Filed {
        let mut cell = self.cell.lock();
        cell.sealed = true;
        self.look(&mut cell)
    }

    /// Can the result be had?
    #[inline]
    pub(crate) fn is_done(&self) -> bool {
        self.done.load(Acquire) // PAIRS done
    }

    /// Has the last answer come?
    fn look(self: &Arc<Self>, cell: &mut Inside<T>) -> Filed {
        if !matches!(cell.state, State::Open) || !cell.sealed || cell.left != 0 {
            let mut filed = Filed {
                look: !cell.sealed && cell.left <= cell.wake_at,
                ..Filed::default()
            };
            if cell.progress.is_some() && !cell.progress_due && matches!(cell.state, State::Open) {
                cell.progress_due = true;
                let this = Arc::clone(self);
                filed.job = Some(Box::new(move || this.show_progress()));
            }
            return filed;
        }
        cell.state = State::Arrived;
        let unwatched = std::mem::take(&mut cell.watched);
        let called = cell.callback.is_some()
            || cell.error_callback.is_some()
            || cell.progress.is_some()
            || cell.waker.is_some();
        if called {
            let this = Arc::clone(self);
            return Filed {
                look: false,
                job: Some(Box::new(move || this.call_back())),
                unwatched,
            };
        }
        self.done.store(true, Release); // PAIRS done
        Filed {
            look: true,
            job: None,
            unwatched,
        }
    }

    fn decoded(&self, cell: &mut Inside<T>) -> Result<T, TaskError> {
        let parts = std::mem::take(&mut cell.parts);
        let parts = parts.into_iter();
        let filled = parts.filter_map(|(reply, count)| Some((reply?, count)));
        (self.decode)(filled.collect())
    }

    /// In the callbacks' thread: how far it is.
    fn show_progress(&self) {
        let mut cell = self.cell.lock();
        cell.progress_due = false;
        let Some(mut hook) = cell.progress.take() else {
            return;
        };
        let now = cell.progress_now();
        drop(cell);
        quietly(|| hook(now));
        self.cell.lock().progress = Some(hook);
    }

    /// In the callbacks' thread: the result is there.
    fn call_back(&self) {
        let mut cell = self.cell.lock();
        let now = cell.progress_now();
        let result = match std::mem::replace(&mut cell.state, State::Lent) {
            State::Arrived => self.decoded(&mut cell),
            State::Ready(result) => result,
            other => {
                cell.state = other;
                return;
            }
        };
        let progress = cell.progress.take();
        let (callback, error_callback) = (cell.callback.take(), cell.error_callback.take());
        let waker = cell.waker.take();
        drop(cell);
        if let Some(mut hook) = progress {
            quietly(|| hook(now));
        }
        match (&result, callback, error_callback) {
            (Ok(value), Some(callback), _) => quietly(|| callback(value)),
            (Err(error), _, Some(callback)) => quietly(|| callback(error)),
            _ => {}
        }
        self.cell.lock().state = State::Ready(result);
        self.done.store(true, Release); // PAIRS done
        if let Some(waker) = waker {
            quietly(|| waker.wake());
        }
    }

    /// Changes who is called. What is to be done about it: a job, if the result is there already;
    /// and whether this is watched from now on.
    fn ask(self: &Arc<Self>, change: impl FnOnce(&mut Inside<T>)) -> (Option<Job>, bool) {
        let mut cell = self.cell.lock();
        change(&mut cell);
        match cell.state {
            State::Open => {
                let watched = !std::mem::replace(&mut cell.watched, true);
                (None, watched)
            }
            // The callbacks run already, or the result is gone: `ask` is for whoever has it.
            State::Lent | State::Taken => (None, false),
            State::Arrived | State::Ready(_) => {
                // Again not to be had, until they have been called.
                self.done.store(false, Relaxed);
                let this = Arc::clone(self);
                (Some(Box::new(move || this.call_back())), false)
            }
        }
    }

    pub(crate) fn set_callback(self: &Arc<Self>, callback: Callback<T>) -> (Option<Job>, bool) {
        self.ask(|cell| cell.callback = Some(callback))
    }

    pub(crate) fn set_error_callback(
        self: &Arc<Self>,
        callback: Callback<TaskError>,
    ) -> (Option<Job>, bool) {
        self.ask(|cell| cell.error_callback = Some(callback))
    }

    pub(crate) fn set_progress(self: &Arc<Self>, hook: Hook) -> (Option<Job>, bool) {
        self.ask(|cell| cell.progress = Some(hook))
    }

    /// Has this waker called; `None` if the result is there.
    pub(crate) fn set_waker(self: &Arc<Self>, waker: &Waker) -> Option<bool> {
        let mut cell = self.cell.lock();
        if self.is_done() {
            return None;
        }
        cell.waker = Some(waker.clone());
        let open = matches!(cell.state, State::Open);
        Some(open && !std::mem::replace(&mut cell.watched, true))
    }

    /// The result, once it is done.
    pub(crate) fn take(&self) -> Result<T, TaskError> {
        let mut cell = self.cell.lock();
        match std::mem::replace(&mut cell.state, State::Taken) {
            State::Arrived => {
                let parts = std::mem::take(&mut cell.parts);
                // The user's `Deserialize` runs without the lock.
                drop(cell);
                let filled = parts.into_iter();
                let filled = filled.filter_map(|(reply, count)| Some((reply?, count)));
                (self.decode)(filled.collect())
            }
            State::Ready(result) => result,
            State::Taken => Err(TaskError::Taken),
            other => {
                cell.state = other;
                Err(TaskError::Taken)
            }
        }
    }

    /// Is it a value? Only once it is done.
    pub(crate) fn is_value(&self) -> bool {
        let mut cell = self.cell.lock();
        if matches!(cell.state, State::Arrived) {
            let result = self.decoded(&mut cell);
            cell.state = State::Ready(result);
        }
        matches!(cell.state, State::Ready(Ok(_)))
    }
}

impl<T> Inside<T> {
    fn progress_now(&self) -> Progress {
        Progress {
            done: self.items_done,
            total: self.items,
        }
    }
}

impl<T: Send + 'static> Sink for Ticket<T> {
    fn file(self: Arc<Self>, part: usize, reply: Reply) -> Filed {
        let mut cell = self.cell.lock();
        match cell.parts.get_mut(part) {
            Some((place @ None, count)) => {
                *place = Some(reply);
                let count = *count;
                cell.left -= 1;
                cell.items_done += count;
            }
            // Failed as a whole.
            _ => return Filed::default(),
        }
        self.look(&mut cell)
    }
}

/// Runs something of the user's. Its panic is printed by the hook, and ends there.
pub(crate) fn quietly(f: impl FnOnce()) {
    if let Err(panic) = std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)) {
        // Its destructor might panic again.
        std::mem::forget::<Box<dyn Any + Send>>(panic);
    }
}
