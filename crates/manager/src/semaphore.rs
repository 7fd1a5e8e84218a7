//! Managed semaphores, bounded and not.

use crate::Handle;
use crate::error::{CallError, Failed, Failure, ReleasePermitError};
use crate::remote::unexpected;
use crate::server::{self, Core, caller::Caller};
use crate::wire::{Answer, Call, Patience};
use parking_lot::{Condvar, Mutex};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// What a semaphore can be asked for. A permit comes back with its process.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum SemaphoreCall {
    Acquire { permit: bool, patience: Patience },
    Release { permit: bool },
    Value,
}

/// As in Python.
const MOST: u32 = i32::MAX as u32;

struct State {
    value: u32,
    /// Permits, by account.
    permits: HashMap<u128, u32>,
}

struct Shared {
    state: Mutex<State>,
    free: Condvar,
    bound: u32,
}

/// A semaphore in its server.
pub(crate) struct Body(Arc<Shared>);

impl Body {
    pub(crate) fn new(value: u32, bounded: bool) -> Self {
        let value = value.min(MOST);
        Self(Arc::new(Shared {
            state: Mutex::new(State {
                value,
                permits: HashMap::new(),
            }),
            free: Condvar::new(),
            bound: if bounded { value } else { MOST },
        }))
    }
}

impl Shared {
    /// `permit`: whose it was, if it was one.
    fn release(&self, permit: Option<u128>) -> Result<(), Failure> {
        let mut state = self.state.lock();
        if let Some(account) = permit {
            match state.permits.get_mut(&account) {
                Some(held @ 1..) => *held -= 1,
                _ => return Err(Failure::NotHeld),
            }
        }
        if state.value >= self.bound {
            return Err(Failure::NotHeld);
        }
        state.value += 1;
        self.free.notify_one();
        Ok(())
    }
}

impl server::Body for Body {
    fn kind(&self) -> &'static str {
        "Semaphore"
    }

    fn call(&self, call: Call, caller: &Caller) -> Result<Answer, Failure> {
        let Call::Semaphore(call) = call else {
            return self.not_mine();
        };
        let shared = &self.0;
        let account = caller.account;
        match call {
            SemaphoreCall::Acquire { permit, patience } => {
                caller.wait(&shared.state, &shared.free, patience, |state| {
                    state.value = state.value.checked_sub(1)?;
                    if permit {
                        *state.permits.entry(account).or_insert(0) += 1;
                    }
                    Some(Ok(()))
                })?;
                let shared = shared.clone();
                caller.on_loss(move |_| drop(shared.release(permit.then_some(account))));
                Ok(Answer::Done)
            }
            SemaphoreCall::Release { permit } => {
                shared.release(permit.then_some(account))?;
                Ok(Answer::Done)
            }
            SemaphoreCall::Value => Ok(Answer::Number(shared.state.lock().value.into())),
        }
    }

    fn account_ended(&self, account: u128, _: &Core) {
        let held = self.0.state.lock().permits.get(&account).copied();
        for _ in 0..held.unwrap_or(0) {
            let _ = self.0.release(Some(account));
        }
        self.0.state.lock().permits.remove(&account);
    }
}

proxy! {
    /// A semaphore in the server.
    ///
    /// [`permit`](Semaphore::permit) gives a guard, whose permit comes back also when the process
    /// dies; plain [`acquire`](Semaphore::acquire) and [`release`](Semaphore::release) are nobody's
    /// in particular, as in Python.
    ///
    /// In the same machine, `multiproc::Semaphore` needs no server.
    pub Semaphore<>, "Semaphore"
}

proxy! {
    /// A [`Semaphore`] that refuses to be released above the value with which it was made.
    pub BoundedSemaphore<>, "BoundedSemaphore"
}

fn acquire(handle: &Arc<Handle>, permit: bool, patience: Patience) -> Result<bool, CallError> {
    let call = SemaphoreCall::Acquire { permit, patience };
    match handle.call(Call::Semaphore(call)) {
        Ok(_) => Ok(true),
        Err(Failed::There(Failure::NotNow)) => Ok(false),
        Err(other) => Err(other.into()),
    }
}

fn release(handle: &Arc<Handle>, permit: bool) -> Result<(), Failed> {
    handle.call(Call::Semaphore(SemaphoreCall::Release { permit }))?;
    Ok(())
}

macro_rules! semaphore {
    ($name:ident) => {
        impl $name {
            /// *Blocks until* the value is above 0, and lowers it. *Wakes when* somebody releases.
            /// *If a peer dies*: its permits come back; when it is the server, an error within
            /// 100 ms.
            ///
            /// # Errors
            ///
            /// [`CallError`].
            pub fn acquire(&self) -> Result<(), CallError> {
                acquire(&self.handle, false, None).map(drop)
            }

            /// Lowers the value if it is above 0; true if so. Waits for the server's answer only.
            ///
            /// # Errors
            ///
            /// [`CallError`].
            pub fn try_acquire(&self) -> Result<bool, CallError> {
                acquire(&self.handle, false, Some(Duration::ZERO))
            }

            /// As `acquire`, but no longer than `timeout`; true if the value was lowered.
            /// *Blocks*, *wakes* and *if a peer dies*: as there.
            ///
            /// # Errors
            ///
            /// [`CallError`].
            pub fn acquire_timeout(&self, timeout: Duration) -> Result<bool, CallError> {
                acquire(&self.handle, false, Some(timeout))
            }

            /// Raises the value.
            ///
            /// # Errors
            ///
            /// [`ReleasePermitError`].
            pub fn release(&self) -> Result<(), ReleasePermitError> {
                Ok(release(&self.handle, false)?)
            }

            /// The value.
            ///
            /// # Errors
            ///
            /// [`CallError`].
            #[doc(alias = "get_value")]
            pub fn value(&self) -> Result<u32, CallError> {
                match self.handle.call(Call::Semaphore(SemaphoreCall::Value))? {
                    Answer::Number(n) => Ok(n as u32),
                    _ => Err(unexpected().into()),
                }
            }

            /// As `acquire`, with a guard that releases, also by this process's death. *Blocks*,
            /// *wakes* and *if a peer dies*: as there.
            ///
            /// # Errors
            ///
            /// [`CallError`].
            pub fn permit(&self) -> Result<Permit, CallError> {
                acquire(&self.handle, true, None)?;
                Ok(Permit::new(self.handle.clone()))
            }

            /// As [`permit`](Self::permit), but no longer than `timeout`. *Blocks*, *wakes* and
            /// *if a peer dies*: as there.
            ///
            /// # Errors
            ///
            /// [`CallError`].
            pub fn permit_timeout(&self, timeout: Duration) -> Result<Option<Permit>, CallError> {
                let taken = acquire(&self.handle, true, Some(timeout))?;
                Ok(taken.then(|| Permit::new(self.handle.clone())))
            }
        }
    };
}
semaphore!(Semaphore);
semaphore!(BoundedSemaphore);

/// One of a managed semaphore; comes back when it is dropped, or this process dies.
#[must_use = "a permit that is dropped at once permits nothing"]
pub struct Permit {
    handle: Arc<Handle>,
    /// A forked child's copy is none.
    generation: u64,
}

impl Permit {
    fn new(handle: Arc<Handle>) -> Self {
        Self {
            handle,
            generation: multiproc_core::fork::generation(),
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.generation == multiproc_core::fork::generation() {
            let _ = release(&self.handle, true);
        }
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Permit({:?})", self.handle)
    }
}
