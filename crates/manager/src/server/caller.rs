//! The client whose request a thread of the server is serving.

use super::Core;
use crate::error::Failure;
use crate::stored::Stored;
use crate::wire::{Answer, Patience, Request};
use multiproc_core::deadline::Deadline;
use multiproc_core::wait::SLICE;
use multiproc_pipe::{Connection, Ready};
use parking_lot::{Condvar, Mutex, RwLockReadGuard};
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

pub(crate) type Wire = Connection<Answer, Request>;

/// What is to be done if the client never receives the answer.
pub(crate) type Undo = Box<dyn FnOnce(&Core) + Send>;

pub(crate) struct Caller {
    pub(crate) core: Arc<Core>,
    pub(crate) account: u128,
    pub(crate) process: u64,
    pub(crate) wire: Arc<Wire>,
    pub(crate) undo: Cell<Option<Undo>>,
}

impl Caller {
    /// Held while values move.
    pub(crate) fn world(&self) -> RwLockReadGuard<'_, ()> {
        self.core.world.read()
    }

    /// Undoes what this call did, should its answer never be received.
    pub(crate) fn on_loss(&self, undo: impl FnOnce(&Core) + Send + 'static) {
        self.undo.set(Some(Box::new(undo)));
    }

    /// The value goes into an object.
    pub(crate) fn put_in(&self, value: &Stored) -> Result<(), Failure> {
        self.core.put_in(value)
    }

    /// An object has the value no more, and nobody else has it.
    pub(crate) fn discard(&self, value: &Stored) {
        self.core.discard(value);
    }

    /// The client gets a copy of the value.
    pub(crate) fn copy_out(&self, value: &Stored) -> Stored {
        if !value.objects().is_empty() {
            let mut table = self.core.table.lock();
            for object in value.objects() {
                // It is there: a value refers to it.
                let _ = table.count(self.account, *object);
            }
        }
        value.clone()
    }

    /// The client gets the value, and the object has it no more.
    pub(crate) fn take_out(&self, value: Stored) -> Stored {
        let value = self.copy_out(&value);
        self.discard(&value);
        value
    }

    /// Does anybody still wait for the answer?
    fn is_waited_for(&self) -> bool {
        let mut alive = |process| self.core.is_alive(process);
        // It says nothing while it waits: what could come is the end.
        !self.core.stopping.load(Relaxed) && !self.wire.is_ready(Some(&mut alive))
    }

    /// For what waits in another way.
    ///
    /// # Errors
    ///
    /// Nobody waits for the answer any more.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        match self.is_waited_for() {
            true => Ok(()),
            false => Err(Failure::Refused("nobody waits for the answer".into())),
        }
    }

    /// Tries until it works out. *Blocks until* it does or patience is over. *Wakes when* the
    /// condition variable is notified. *If a peer dies*: when it is the client, gives up after
    /// a slice.
    pub(crate) fn wait<T, R>(
        &self,
        state: &Mutex<T>,
        changed: &Condvar,
        patience: Patience,
        mut attempt: impl FnMut(&mut T) -> Option<Result<R, Failure>>,
    ) -> Result<R, Failure> {
        let deadline = patience.map_or(Deadline::NEVER, Deadline::after);
        loop {
            let world = self.world();
            let mut held = state.lock();
            if let Some(done) = attempt(&mut held) {
                return done;
            }
            if deadline.passed() {
                return Err(Failure::NotNow);
            }
            drop(world);
            let slice = deadline.remaining().map_or(SLICE, |left| left.min(SLICE));
            let timed_out = changed.wait_for(&mut held, slice).timed_out();
            drop(held);
            if timed_out {
                self.check()?;
            }
        }
    }
}
