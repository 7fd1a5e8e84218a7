//! A managed condition.

use crate::error::{CallError, ConditionError, Failed, Failure};
use crate::lock::{self, Thread, this_thread};
use crate::remote::unexpected;
use crate::server::{self, Core, caller::Caller};
use crate::wire::{Answer, Call, Patience};
use parking_lot::{Condvar, Mutex};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a condition can be asked for. Calls about its lock go to the lock.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ConditionCall {
    Wait(Thread, Patience),
    Notify(Thread, u32),
}

#[derive(Default)]
struct State {
    next: u64,
    /// Who waits, in order.
    waiting: VecDeque<u64>,
    /// Who was notified and has not gone on yet.
    notified: Vec<u64>,
}

impl State {
    fn notify(&mut self, n: u32) {
        for _ in 0..n {
            let Some(first) = self.waiting.pop_front() else {
                break;
            };
            self.notified.push(first);
        }
    }

    /// Was it notified? Then it is no more.
    fn goes_on(&mut self, ticket: u64) -> bool {
        let at = self.notified.iter().position(|t| *t == ticket);
        at.map(|at| self.notified.swap_remove(at)).is_some()
    }
}

/// A condition in its server.
pub(crate) struct Body(Arc<Shared>);

struct Shared {
    lock: Arc<lock::Body>,
    state: Mutex<State>,
    changed: Condvar,
}

impl Body {
    pub(crate) fn new(lock: Arc<lock::Body>) -> Self {
        Self(Arc::new(Shared {
            lock,
            state: Mutex::default(),
            changed: Condvar::new(),
        }))
    }
}

impl Shared {
    fn notify(&self, n: u32) {
        self.state.lock().notify(n);
        self.changed.notify_all();
    }

    fn wait(
        self: &Arc<Self>,
        caller: &Caller,
        thread: Thread,
        patience: Patience,
    ) -> Result<bool, Failure> {
        // In line first: whoever gets the lock from us may notify at once.
        let ticket = {
            let mut state = self.state.lock();
            if !self.lock.is_held_by(caller.account, thread) {
                return Err(Failure::NotHeld);
            }
            state.next += 1;
            let ticket = state.next;
            state.waiting.push_back(ticket);
            ticket
        };
        let levels = self.lock.give_up(caller.account, thread);
        let waited = caller.wait(&self.state, &self.changed, patience, |state| {
            state.goes_on(ticket).then_some(Ok(()))
        });
        let notified = match waited {
            Ok(()) => true,
            Err(Failure::NotNow) => {
                let mut state = self.state.lock();
                state.waiting.retain(|t| *t != ticket);
                state.goes_on(ticket)
            }
            Err(gone) => {
                self.pass_on(ticket);
                return Err(gone);
            }
        };
        let back = self.lock.take_back(caller, thread, levels.unwrap_or(1));
        if back.is_err() && notified {
            // It will not do what it was notified for.
            self.notify(1);
        }
        back?;
        let (this, account) = (self.clone(), caller.account);
        caller.on_loss(move |_| {
            // Nor will one that never hears of it.
            this.lock.give_up(account, thread);
            if notified {
                this.notify(1);
            }
        });
        Ok(notified)
    }

    /// A waiter is gone: what it was notified of, another one hears.
    fn pass_on(&self, ticket: u64) {
        let mut state = self.state.lock();
        state.waiting.retain(|t| *t != ticket);
        if state.goes_on(ticket) {
            state.notify(1);
            self.changed.notify_all();
        }
    }
}

impl server::Body for Body {
    fn kind(&self) -> &'static str {
        "Condition"
    }

    fn call(&self, call: Call, caller: &Caller) -> Result<Answer, Failure> {
        let shared = &self.0;
        match call {
            Call::Lock(_) => shared.lock.call(call, caller),
            Call::Condition(ConditionCall::Wait(thread, patience)) => {
                shared.wait(caller, thread, patience).map(Answer::Flag)
            }
            Call::Condition(ConditionCall::Notify(thread, n)) => {
                if !shared.lock.is_held_by(caller.account, thread) {
                    return Err(Failure::NotHeld);
                }
                shared.notify(n);
                Ok(Answer::Done)
            }
            _ => self.not_mine(),
        }
    }

    fn account_ended(&self, account: u128, core: &Core) {
        // (Its own lock, if that is no object of its own; else this is done twice.)
        self.0.lock.account_ended(account, core);
    }
}

proxy! {
    /// A condition in the server, over a lock of its own ([recursive](crate::RLock)) or over
    /// another managed lock.
    ///
    /// In the same machine, `multiproc::Condition` needs no server.
    ///
    /// ```rust,standalone_crate
    /// use multiproc_manager::Manager;
    /// use multiproc_process::Process;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let manager = Manager::start()?;
    /// let (changed, steps) = (manager.condition()?, manager.value(0)?);
    /// let child = Process::start(|| {
    ///     let _held = changed.lock().unwrap();
    ///     steps.set(3).unwrap();
    ///     changed.notify_all().unwrap();
    /// })?;
    /// let held = changed.lock()?;
    /// changed.wait_for(|| Ok(steps.get()? == 3))?;
    /// drop(held);
    /// child.join()?.ok()?;
    /// manager.shut_down()?;
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias = "ConditionProxy")]
    pub Condition<>, "Condition"
}

impl Condition {
    fn ask(&self, call: ConditionCall) -> Result<Answer, Failed> {
        self.handle.call(Call::Condition(call))
    }

    fn wait_so_long(&self, patience: Patience) -> Result<bool, ConditionError> {
        match self.ask(ConditionCall::Wait(this_thread(), patience))? {
            Answer::Flag(notified) => Ok(notified),
            _ => Err(unexpected().into()),
        }
    }

    /// Releases the lock (all levels), *blocks until* notified, and acquires it again. *Wakes
    /// when* somebody notifies. *If a peer dies*: nothing, and no notification is lost with it; if
    /// it held the lock, the next one who locks it sees that
    /// ([`LockGuard::owner_died`](crate::LockGuard::owner_died)); when it is the server, an error
    /// within 100 ms.
    ///
    /// # Errors
    ///
    /// [`ConditionError`].
    pub fn wait(&self) -> Result<(), ConditionError> {
        self.wait_so_long(None).map(drop)
    }

    /// As [`Condition::wait`], but no longer than `timeout` (and for the lock); true if notified.
    /// *Blocks*, *wakes* and *if a peer dies*: as there.
    ///
    /// # Errors
    ///
    /// [`ConditionError`].
    pub fn wait_timeout(&self, timeout: Duration) -> Result<bool, ConditionError> {
        self.wait_so_long(Some(timeout))
    }

    /// *Blocks until* `ready` is true, which it asks with the lock held, now and after each
    /// notification. *Wakes when* and *if a peer dies*: as [`Condition::wait`].
    ///
    /// # Errors
    ///
    /// [`ConditionError`]; what `ready` fails with.
    pub fn wait_for(
        &self,
        mut ready: impl FnMut() -> Result<bool, CallError>,
    ) -> Result<(), ConditionError> {
        while !ready()? {
            self.wait()?;
        }
        Ok(())
    }

    /// As [`Condition::wait_for`], but no longer than `timeout`; what `ready` said last.
    /// *Blocks*, *wakes* and *if a peer dies*: as there.
    ///
    /// # Errors
    ///
    /// [`ConditionError`]; what `ready` fails with.
    pub fn wait_for_timeout(
        &self,
        mut ready: impl FnMut() -> Result<bool, CallError>,
        timeout: Duration,
    ) -> Result<bool, ConditionError> {
        let begun = Instant::now();
        loop {
            if ready()? {
                return Ok(true);
            }
            let Some(left) = timeout.checked_sub(begun.elapsed()) else {
                return Ok(false);
            };
            self.wait_timeout(left)?;
        }
    }

    /// Wakes one who waits, if anybody does. With the lock held.
    ///
    /// # Errors
    ///
    /// [`ConditionError`].
    #[doc(alias = "notify")]
    pub fn notify_one(&self) -> Result<(), ConditionError> {
        self.notify(1)
    }

    /// Wakes so many who wait. With the lock held.
    ///
    /// # Errors
    ///
    /// [`ConditionError`].
    pub fn notify(&self, n: u32) -> Result<(), ConditionError> {
        Ok(self
            .ask(ConditionCall::Notify(this_thread(), n))
            .map(drop)?)
    }

    /// Wakes all who wait. With the lock held.
    ///
    /// # Errors
    ///
    /// [`ConditionError`].
    pub fn notify_all(&self) -> Result<(), ConditionError> {
        self.notify(u32::MAX)
    }
}
