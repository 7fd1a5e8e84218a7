//! Managed locks, recursive and not.

use crate::error::{CallError, Failed, Failure, ReleaseError};
use crate::remote::unexpected;
use crate::server::{self, Core, caller::Caller};
use crate::wire::{Answer, Call, Patience};
use crate::{Condition, Handle};
use parking_lot::{Condvar, Mutex};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// A thread of the calling process.
pub(crate) type Thread = u64;

thread_local! {
    static ME: Thread = {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        NEXT.fetch_add(1, Relaxed) // only different numbers are wanted
    };
}

/// A number that no other thread of this process has.
pub(crate) fn this_thread() -> Thread {
    ME.with(|me| *me)
}

/// What a lock can be asked for.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum LockCall {
    Acquire(Thread, Patience),
    Release(Thread),
    IsLocked,
}

/// Who holds it.
#[derive(Clone, Copy, PartialEq)]
struct Holder {
    account: u128,
    thread: Thread,
}

#[derive(Default)]
pub(crate) struct State {
    holder: Option<Holder>,
    count: u32,
    /// Its last holder died with it.
    holder_died: bool,
}

/// A lock in its server.
pub(crate) struct Body {
    pub(crate) state: Mutex<State>,
    pub(crate) free: Condvar,
    recursive: bool,
}

impl State {
    /// True: it is held by this thread now. The caller looks at `holder_died`.
    fn take(&mut self, me: Holder, recursive: bool) -> bool {
        match self.holder {
            None => {
                self.holder = Some(me);
                self.count = 1;
                true
            }
            Some(holder) if recursive && holder == me && self.count < u32::MAX => {
                self.count += 1;
                true
            }
            Some(_) => false,
        }
    }

    /// Gives it up altogether; the levels, if this thread held it.
    fn give_up(&mut self, account: u128, thread: Thread) -> Option<u32> {
        if self.holder != Some(Holder { account, thread }) {
            return None;
        }
        self.holder = None;
        Some(std::mem::take(&mut self.count))
    }
}

impl Body {
    pub(crate) fn new(recursive: bool) -> Self {
        Self {
            state: Mutex::default(),
            free: Condvar::new(),
            recursive,
        }
    }

    pub(crate) fn acquire(
        self: &Arc<Self>,
        caller: &Caller,
        thread: Thread,
        patience: Patience,
    ) -> Result<bool, Failure> {
        let account = caller.account;
        let me = Holder { account, thread };
        let died = caller.wait(&self.state, &self.free, patience, |state| {
            let taken = state.take(me, self.recursive);
            taken.then(|| Ok(std::mem::take(&mut state.holder_died)))
        })?;
        // (The process may live on, and only this connection of it be gone.)
        let lock = self.clone();
        caller.on_loss(move |_| {
            // What it was to hear of a dead holder, the next one hears.
            lock.state.lock().holder_died |= died;
            drop(lock.release(account, thread));
        });
        Ok(died)
    }

    fn release(&self, account: u128, thread: Thread) -> Result<(), Failure> {
        let mut state = self.state.lock();
        let holder = state.holder.ok_or(Failure::NotHeld)?;
        // One that is not recursive is released by anybody.
        if self.recursive && holder != (Holder { account, thread }) {
            return Err(Failure::NotHeld);
        }
        state.count -= 1;
        if state.count == 0 {
            state.holder = None;
            self.free.notify_one();
        }
        Ok(())
    }

    /// For a condition: gives it up altogether. The levels, if this thread held it.
    pub(crate) fn give_up(&self, account: u128, thread: Thread) -> Option<u32> {
        let levels = self.state.lock().give_up(account, thread);
        if levels.is_some() {
            self.free.notify_one();
        }
        levels
    }

    /// For a condition: holds it on so many levels. That its last holder died, the next one who
    /// asks for it hears: a wait has no word for it.
    pub(crate) fn take_back(
        self: &Arc<Self>,
        caller: &Caller,
        thread: Thread,
        levels: u32,
    ) -> Result<(), Failure> {
        let died = self.acquire(caller, thread, None)?;
        let mut state = self.state.lock();
        state.count = levels;
        state.holder_died |= died;
        Ok(())
    }

    /// For a condition: does this thread hold it?
    pub(crate) fn is_held_by(&self, account: u128, thread: Thread) -> bool {
        self.state.lock().holder == Some(Holder { account, thread })
    }
}

impl server::Body for Arc<Body> {
    fn kind(&self) -> &'static str {
        if self.recursive { "RLock" } else { "Lock" }
    }

    fn call(&self, call: Call, caller: &Caller) -> Result<Answer, Failure> {
        let Call::Lock(call) = call else {
            return self.not_mine();
        };
        match call {
            LockCall::Acquire(thread, patience) => {
                self.acquire(caller, thread, patience).map(Answer::Flag)
            }
            LockCall::Release(thread) => {
                self.release(caller.account, thread)?;
                Ok(Answer::Done)
            }
            LockCall::IsLocked => Ok(Answer::Flag(self.state.lock().holder.is_some())),
        }
    }

    fn account_ended(&self, account: u128, _: &Core) {
        let mut state = self.state.lock();
        if state.holder.is_some_and(|holder| holder.account == account) {
            *state = State {
                holder_died: true,
                ..State::default()
            };
            self.free.notify_one();
        }
    }

    fn lock(&self) -> Option<Arc<Body>> {
        Some(self.clone())
    }
}

proxy! {
    /// A lock in the server. Not recursive, and released by anybody, as in Python.
    ///
    /// When the process that acquired it dies, it is released, and the next one who gets it can
    /// see that: [`LockGuard::owner_died`]. There is nothing to mend in the lock itself: what
    /// it protected may be half done.
    ///
    /// In the same machine, `multiproc::Lock` needs no server.
    ///
    /// ```
    /// # use multiproc_manager::Manager;
    /// let manager = Manager::start()?;
    /// let lock = manager.lock()?;
    /// let held = lock.lock()?;
    /// assert!(!lock.try_acquire()?);
    /// drop(held);
    /// # manager.shut_down()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "AcquirerProxy")]
    pub Lock<>, "Lock"
}

proxy! {
    /// A recursive lock in the server: the thread that holds it may acquire it again, and releases
    /// it as often. No other may.
    ///
    /// When the process of its holder dies, it is released, as a [`Lock`] is.
    pub RLock<>, "RLock"
}

fn acquire(handle: &Arc<Handle>, patience: Patience) -> Result<Option<bool>, CallError> {
    let call = LockCall::Acquire(this_thread(), patience);
    match handle.call(Call::Lock(call)) {
        Ok(Answer::Flag(died)) => Ok(Some(died)),
        Ok(_) => Err(unexpected().into()),
        Err(Failed::There(Failure::NotNow)) => Ok(None),
        Err(other) => Err(other.into()),
    }
}

fn release(handle: &Arc<Handle>) -> Result<(), Failed> {
    handle.call(Call::Lock(LockCall::Release(this_thread())))?;
    Ok(())
}

macro_rules! lock {
    ($name:ident) => {
        impl $name {
            /// *Blocks until* this thread has it. *Wakes when* it is released. *If a peer dies*:
            /// a holder's death releases it; when it is the server, an error within 100 ms.
            ///
            /// # Errors
            ///
            /// [`CallError`].
            pub fn acquire(&self) -> Result<(), CallError> {
                acquire(crate::Proxy::handle(self), None).map(drop)
            }

            /// Takes it if that is possible now; true if so. Waits for the server's answer only.
            ///
            /// # Errors
            ///
            /// [`CallError`].
            pub fn try_acquire(&self) -> Result<bool, CallError> {
                Ok(acquire(crate::Proxy::handle(self), Some(Duration::ZERO))?.is_some())
            }

            /// As `acquire`, but no longer than `timeout`; true if this thread has it then.
            /// *Blocks*, *wakes* and *if a peer dies*: as there.
            ///
            /// # Errors
            ///
            /// [`CallError`].
            pub fn acquire_timeout(&self, timeout: Duration) -> Result<bool, CallError> {
                Ok(acquire(crate::Proxy::handle(self), Some(timeout))?.is_some())
            }

            /// Releases it (one level of it).
            ///
            /// # Errors
            ///
            /// [`ReleaseError`].
            pub fn release(&self) -> Result<(), ReleaseError> {
                Ok(release(crate::Proxy::handle(self))?)
            }

            /// Does anybody hold it?
            ///
            /// # Errors
            ///
            /// [`CallError`].
            #[doc(alias = "locked")]
            pub fn is_locked(&self) -> Result<bool, CallError> {
                match crate::Proxy::handle(self).call(Call::Lock(LockCall::IsLocked))? {
                    Answer::Flag(locked) => Ok(locked),
                    _ => Err(unexpected().into()),
                }
            }

            /// As `acquire`, with a guard that releases it. *Blocks*, *wakes* and *if a peer
            /// dies*: as there.
            ///
            /// # Errors
            ///
            /// [`CallError`].
            pub fn lock(&self) -> Result<LockGuard, CallError> {
                let owner_died = acquire(crate::Proxy::handle(self), None)?.unwrap_or(false);
                Ok(LockGuard::new(
                    crate::Proxy::handle(self).clone(),
                    owner_died,
                ))
            }

            /// As `try_acquire`, with a guard.
            ///
            /// # Errors
            ///
            /// [`CallError`].
            pub fn try_lock(&self) -> Result<Option<LockGuard>, CallError> {
                self.lock_timeout(Duration::ZERO)
            }

            /// As `acquire_timeout`, with a guard. *Blocks*, *wakes* and *if a peer dies*: as
            /// there.
            ///
            /// # Errors
            ///
            /// [`CallError`].
            pub fn lock_timeout(&self, timeout: Duration) -> Result<Option<LockGuard>, CallError> {
                let taken = acquire(crate::Proxy::handle(self), Some(timeout))?;
                Ok(taken.map(|owner_died| {
                    LockGuard::new(crate::Proxy::handle(self).clone(), owner_died)
                }))
            }
        }
    };
}
lock!(Lock);
lock!(RLock);
lock!(Condition);

/// Releases a managed lock when it is dropped, if the server lives.
#[must_use = "a guard that is dropped at once protects nothing"]
pub struct LockGuard {
    handle: Arc<Handle>,
    owner_died: bool,
    /// A lock is released by the thread that acquired it; and not by a forked child.
    generation: u64,
    not_send: std::marker::PhantomData<*const ()>,
}

impl LockGuard {
    fn new(handle: Arc<Handle>, owner_died: bool) -> Self {
        Self {
            handle,
            owner_died,
            generation: multiproc_core::fork::generation(),
            not_send: std::marker::PhantomData,
        }
    }

    /// Did the one who held it before die with it?
    pub fn owner_died(&self) -> bool {
        self.owner_died
    }

    /// Releases it, and tells if that did not work out.
    ///
    /// # Errors
    ///
    /// [`ReleaseError`].
    pub fn release(self) -> Result<(), ReleaseError> {
        let mut this = self;
        this.generation = 0; // not again when it is dropped
        Ok(release(&this.handle)?)
    }
}

impl Drop for LockGuard {
    fn drop(&mut self) {
        if self.generation == multiproc_core::fork::generation() {
            let _ = release(&self.handle);
        }
    }
}

impl fmt::Debug for LockGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LockGuard({:?})", self.handle)
    }
}
