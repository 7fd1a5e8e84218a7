//! The attendant: the thread that calls back, and reads the answers while nobody waits for one.
//!
//! It is there from the first callback, progress hook or poll of a future on, and ends when its handle
//! is taken away. Where it cannot be started, those who wait run the callbacks.

use super::{ALL, ATTENDANT, Owner, State, Waiter};
use crate::ticket::{Job, quietly};
use multiproc_core::deadline::Deadline;
use parking_lot::MutexGuard;
use std::sync::Arc;

impl Owner {
    /// *Blocks until* the callbacks that are due have run. Not on their own thread.
    pub(super) fn finish_jobs(&self, on_their_thread: bool) {
        if on_their_thread {
            return;
        }
        let busy = |state: &State| !state.jobs.is_empty() || state.busy != 0;
        if self.state.lock().attendant.is_none() {
            // It was never there, or could not be started.
            while self.run_job() {}
            return;
        }
        while busy(&self.state.lock()) {
            self.wait_for(ALL, Deadline::NEVER, &|| !busy(&self.state.lock()));
        }
    }

    /// Notes that somebody wants to be called: `job` at once, `watched` when an answer comes.
    pub(crate) fn attend(self: &Arc<Self>, (job, watched): (Option<Job>, bool)) {
        let mut state = self.state.lock();
        state.watched += i64::from(watched);
        state.jobs.extend(job);
        if state.attendant.is_none() && state.ended.is_some() {
            drop(state);
            while self.run_job() {}
            return;
        }
        if state.attendant.is_none() {
            let this = Arc::clone(self);
            let thread = std::thread::Builder::new()
                .name("pool callbacks".to_owned())
                .spawn(move || this.live_as_attendant());
            // Without it, `join` runs the callbacks.
            state.attendant = thread.ok();
        }
        self.wake_in(&state, ATTENDANT);
        // If another thread leads, it files; nothing else is to be done.
    }

    fn live_as_attendant(&self) {
        loop {
            while self.run_job() {}
            let idle = |state: &State| state.jobs.is_empty();
            let state = self.state.lock();
            if !idle(&state) {
                continue;
            }
            if state.ended.is_some() && state.attendant.is_none() {
                return; // joined
            }
            if state.watched > 0 && state.ended.is_none() {
                drop(state);
                let done = || {
                    let state = self.state.lock();
                    !state.jobs.is_empty() || state.watched <= 0 || state.ended.is_some()
                };
                self.wait_for(ATTENDANT, Deadline::NEVER, &done);
            } else {
                self.rest(state);
            }
        }
    }

    /// The attendant sleeps until it is woken: nothing is watched.
    fn rest(&self, mut state: MutexGuard<'_, State>) {
        state.waiters.push(Waiter {
            key: ATTENDANT,
            thread: std::thread::current(),
        });
        drop(state);
        std::thread::park();
        let mut state = self.state.lock();
        let me = std::thread::current().id();
        state.waiters.retain(|w| w.thread.id() != me);
    }

    /// Runs a callback, if one is due.
    pub(super) fn run_job(&self) -> bool {
        let job = {
            let mut state = self.state.lock();
            let job = state.jobs.pop_front();
            state.busy += usize::from(job.is_some());
            job
        };
        let Some(job) = job else {
            return false;
        };
        quietly(job);
        let mut state = self.state.lock();
        state.busy -= 1;
        // Whoever waits for its result looks.
        let waiters = state.waiters.iter().filter(|w| w.key != ATTENDANT);
        waiters.for_each(|w| w.thread.unpark());
        let leading = state.leading;
        drop(state);
        if leading {
            self.answers.ring_all();
        }
        true
    }
}
