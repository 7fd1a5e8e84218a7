//! A managed event.

use crate::error::{CallError, Failed, Failure};
use crate::remote::unexpected;
use crate::server::{self, caller::Caller};
use crate::wire::{Answer, Call, Patience};
use parking_lot::{Condvar, Mutex};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What an event can be asked for.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum EventCall {
    IsSet,
    Set,
    Clear,
    Wait(Patience),
}

#[derive(Default)]
struct State {
    set: bool,
    /// Counts the sets: who waits hears of one also if it was cleared at once.
    sets: u64,
}

/// An event in its server.
#[derive(Default)]
pub(crate) struct Body {
    state: Mutex<State>,
    changed: Condvar,
}

impl server::Body for Body {
    fn kind(&self) -> &'static str {
        "Event"
    }

    fn call(&self, call: Call, caller: &Caller) -> Result<Answer, Failure> {
        let Call::Event(call) = call else {
            return self.not_mine();
        };
        Ok(match call {
            EventCall::IsSet => Answer::Flag(self.state.lock().set),
            EventCall::Set => {
                let mut state = self.state.lock();
                state.set = true;
                state.sets += 1;
                self.changed.notify_all();
                Answer::Done
            }
            EventCall::Clear => {
                self.state.lock().set = false;
                Answer::Done
            }
            EventCall::Wait(patience) => {
                let mut before = None;
                caller.wait(&self.state, &self.changed, patience, |state| {
                    let before = *before.get_or_insert(state.sets);
                    (state.set || state.sets != before).then_some(Ok(Answer::Done))
                })?
            }
        })
    }
}

proxy! {
    /// An event in the server: processes wait until somebody sets it.
    ///
    /// In the same machine, `multiproc::Event` needs no server.
    ///
    /// ```rust,standalone_crate
    /// use multiproc_manager::Manager;
    /// use multiproc_process::Process;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let manager = Manager::start()?;
    /// let go = manager.event()?;
    /// let runner = Process::start(|| go.wait().unwrap())?;
    /// go.set()?;
    /// runner.join()?.ok()?;
    /// manager.shut_down()?;
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias = "EventProxy")]
    pub Event<>, "Event"
}

impl Event {
    fn ask(&self, call: EventCall) -> Result<Answer, Failed> {
        self.handle.call(Call::Event(call))
    }

    /// Is it set?
    pub fn is_set(&self) -> Result<bool, CallError> {
        match self.ask(EventCall::IsSet)? {
            Answer::Flag(set) => Ok(set),
            _ => Err(unexpected().into()),
        }
    }

    /// Sets it: who waits goes on, and who comes later does not wait.
    pub fn set(&self) -> Result<(), CallError> {
        Ok(self.ask(EventCall::Set).map(drop)?)
    }

    /// From now on, who comes waits.
    pub fn clear(&self) -> Result<(), CallError> {
        Ok(self.ask(EventCall::Clear).map(drop)?)
    }

    /// *Blocks until* it is set. *Wakes when* somebody sets it, also if it is cleared at once. *If
    /// a peer dies*: nothing; when it is the server, an error within 100 ms.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn wait(&self) -> Result<(), CallError> {
        Ok(self.ask(EventCall::Wait(None)).map(drop)?)
    }

    /// As [`Event::wait`], but no longer than `timeout`; true if it was set. *Blocks*, *wakes* and
    /// *if a peer dies*: as there.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn wait_timeout(&self, timeout: Duration) -> Result<bool, CallError> {
        match self.ask(EventCall::Wait(Some(timeout))) {
            Ok(_) => Ok(true),
            Err(Failed::There(Failure::NotNow)) => Ok(false),
            Err(other) => Err(other.into()),
        }
    }
}
