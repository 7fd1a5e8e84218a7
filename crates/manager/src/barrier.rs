//! A managed barrier.

use crate::error::{BarrierError, CallError, Failed, Failure};
use crate::remote::unexpected;
use crate::server::{self, Core, caller::Caller};
use crate::wire::{Answer, Call, Patience};
use parking_lot::{Condvar, Mutex};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What a barrier can be asked for.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum BarrierCall {
    /// With an action, the last to come is told to run it, and the others wait on.
    Wait {
        acts: bool,
        patience: Patience,
    },
    /// The action was run: the others may go on.
    Acted,
    Abort,
    Reset,
    State,
}

#[derive(Default)]
struct State {
    /// Changes when all have come, and when those who wait are sent away.
    round: u64,
    waiting: u32,
    broken: bool,
    /// How the last rounds ended: those that were sent away.
    broken_rounds: Vec<u64>,
    /// Who runs the action; nobody passes meanwhile.
    acting: Option<u128>,
}

/// A barrier in its server.
pub(crate) struct Body {
    state: Mutex<State>,
    changed: Condvar,
    parties: u32,
}

impl State {
    fn break_it(&mut self) {
        self.broken = true;
        self.acting = None;
        self.send_away();
    }

    fn send_away(&mut self) {
        if self.waiting > 0 {
            self.broken_rounds.push(self.round);
            // Who still looks is of one of the last rounds.
            if self.broken_rounds.len() > 1024 {
                self.broken_rounds.remove(0);
            }
        }
        self.round += 1;
        self.waiting = 0;
    }

    fn let_pass(&mut self) {
        self.acting = None;
        self.round += 1;
        self.waiting = 0;
    }
}

impl Body {
    pub(crate) fn new(parties: u32) -> Self {
        Self {
            state: Mutex::default(),
            changed: Condvar::new(),
            parties,
        }
    }

    /// The caller's index; for the last one with an action, 0 stands for "run it".
    fn wait(&self, caller: &Caller, acts: bool, patience: Patience) -> Result<u64, Failure> {
        let mut mine = None;
        let waited = caller.wait(&self.state, &self.changed, patience, |state| {
            let Some((round, index)) = mine else {
                if state.broken {
                    return Some(Err(Failure::Broken));
                }
                if state.acting.is_some() {
                    return None; // the round before is not over
                }
                state.waiting += 1;
                let index = state.waiting;
                if index < self.parties {
                    mine = Some((state.round, index));
                    return None;
                }
                match acts {
                    true => state.acting = Some(caller.account),
                    false => {
                        state.let_pass();
                        self.changed.notify_all();
                    }
                }
                return Some(Ok(0));
            };
            if state.round == round {
                return None;
            }
            Some(match state.broken_rounds.contains(&round) {
                true => Err(Failure::Broken),
                false => Ok(u64::from(self.parties - index)),
            })
        });
        match &waited {
            Ok(_) | Err(Failure::Broken) => {}
            // Not in time, or not any more: the others would wait in vain.
            Err(_) => {
                let mut state = self.state.lock();
                let still_waits = mine.is_some_and(|(round, _)| state.round == round);
                if still_waits || mine.is_none() {
                    state.break_it();
                    self.changed.notify_all();
                }
            }
        }
        waited
    }
}

impl server::Body for Body {
    fn kind(&self) -> &'static str {
        "Barrier"
    }

    fn call(&self, call: Call, caller: &Caller) -> Result<Answer, Failure> {
        let Call::Barrier(call) = call else {
            return self.not_mine();
        };
        match call {
            BarrierCall::Wait { acts, patience } => {
                return self.wait(caller, acts, patience).map(Answer::Number);
            }
            BarrierCall::Acted => {
                let mut state = self.state.lock();
                if state.acting != Some(caller.account) {
                    return Err(Failure::Broken);
                }
                state.let_pass();
            }
            BarrierCall::Abort => self.state.lock().break_it(),
            BarrierCall::Reset => {
                let mut state = self.state.lock();
                state.acting = None;
                state.send_away();
                state.broken = false;
            }
            BarrierCall::State => {
                let state = self.state.lock();
                return Ok(Answer::Barrier {
                    waiting: state.waiting,
                    parties: self.parties,
                    broken: state.broken,
                });
            }
        }
        self.changed.notify_all();
        Ok(Answer::Done)
    }

    fn account_ended(&self, account: u128, _: &Core) {
        let mut state = self.state.lock();
        if state.acting == Some(account) {
            state.break_it();
            self.changed.notify_all();
        }
    }
}

proxy! {
    /// A barrier in the server: so many go on together.
    ///
    /// A process that dies while it waits breaks it, as one that gives up does.
    ///
    /// In the same machine, `multiproc::Barrier` needs no server.
    ///
    /// ```
    /// # use multiproc_manager::Manager;
    /// let manager = Manager::start()?;
    /// let alone = manager.barrier(1)?;
    /// assert_eq!(alone.wait()?, 0);
    /// # manager.shut_down()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "BarrierProxy")]
    pub Barrier<>, "Barrier"
}

impl Barrier {
    fn ask(&self, call: BarrierCall) -> Result<Answer, Failed> {
        self.handle.call(Call::Barrier(call))
    }

    fn wait_so_long(&self, acts: bool, patience: Patience) -> Result<usize, BarrierError> {
        match self.ask(BarrierCall::Wait { acts, patience })? {
            Answer::Number(index) => Ok(index as usize),
            _ => Err(unexpected().into()),
        }
    }

    fn state(&self) -> Result<(u32, u32, bool), CallError> {
        match self.ask(BarrierCall::State)? {
            Answer::Barrier {
                waiting,
                parties,
                broken,
            } => Ok((waiting, parties, broken)),
            _ => Err(unexpected().into()),
        }
    }

    /// *Blocks until* all have come; returns another index for each of them, 0 for one. *Wakes
    /// when* the last comes, or it is broken. *If a peer dies*: one that waited in it breaks it;
    /// when it is the server, an error within 100 ms.
    ///
    /// # Errors
    ///
    /// [`BarrierError`].
    pub fn wait(&self) -> Result<usize, BarrierError> {
        self.wait_so_long(false, None)
    }

    /// As [`Barrier::wait`], but no longer than `timeout`, after which it is broken. *Blocks*,
    /// *wakes* and *if a peer dies*: as there.
    ///
    /// # Errors
    ///
    /// [`BarrierError`].
    pub fn wait_timeout(&self, timeout: Duration) -> Result<usize, BarrierError> {
        self.wait_so_long(false, Some(timeout))
    }

    /// As [`Barrier::wait`]; the one that comes last runs `action`, before anybody goes on. If it
    /// panics, or its process dies, the barrier is broken. All who come have to bring an action.
    /// *Blocks*, *wakes* and *if a peer dies*: as there.
    ///
    /// # Errors
    ///
    /// [`BarrierError`].
    pub fn wait_with(&self, action: impl FnOnce()) -> Result<usize, BarrierError> {
        let index = self.wait_so_long(true, None)?;
        if index == 0 {
            let broken = Broken(self);
            action();
            std::mem::forget(broken);
            self.ask(BarrierCall::Acted)?;
        }
        Ok(index)
    }

    /// Breaks it: all who wait get an error, and all who come, until it is reset.
    pub fn abort(&self) -> Result<(), CallError> {
        Ok(self.ask(BarrierCall::Abort).map(drop)?)
    }

    /// As new; those who wait get an error.
    pub fn reset(&self) -> Result<(), CallError> {
        Ok(self.ask(BarrierCall::Reset).map(drop)?)
    }

    /// How many have to come.
    pub fn parties(&self) -> Result<u32, CallError> {
        Ok(self.state()?.1)
    }

    /// How many have come.
    #[doc(alias = "n_waiting")]
    pub fn waiting(&self) -> Result<u32, CallError> {
        Ok(self.state()?.0)
    }

    /// Is it broken?
    #[doc(alias = "broken")]
    pub fn is_broken(&self) -> Result<bool, CallError> {
        Ok(self.state()?.2)
    }
}

/// An action that did not come to its end.
struct Broken<'a>(&'a Barrier);

impl Drop for Broken<'_> {
    fn drop(&mut self) {
        let _ = self.0.abort();
    }
}
