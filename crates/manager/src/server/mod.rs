//! The server: a table of objects, and a thread for each connection.
//!
//! A connection's thread takes a request, does it, and answers. What waits (a `get` from an
//! empty queue, a lock that is taken) waits in that thread, in slices after which it looks
//! whether its client still lives; so a slow, silent or hostile client costs its own thread and
//! what waits in its own pipe, and keeps nobody else.
//!
//! Locks are taken in this order: the world, one object's state, the table.

pub(crate) mod caller;
pub(crate) mod fuzz;
mod serve;
mod table;
#[cfg(test)]
mod tests;

use crate::error::Failure;
use crate::own::Types;
use crate::remote::{Remote, Route};
use crate::stored::Stored;
use crate::wire::{Answer, Call};
use caller::{Caller, Wire};
use multiproc_core::deadline::Deadline;
use multiproc_core::identity::Identity;
use multiproc_core::wait::SLICE;
use parking_lot::{Mutex, RwLock};
pub(crate) use serve::{Limits, serve};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;
use table::Table;

/// A managed object in its server.
pub(crate) struct Object {
    pub(crate) number: u64,
    pub(crate) tag: String,
    pub(crate) body: Box<dyn Body>,
}

/// What a kind of objects does.
pub(crate) trait Body: Send + Sync {
    fn kind(&self) -> &'static str;

    /// Does what was asked. Whatever waits, waits by [`Caller::wait`].
    fn call(&self, call: Call, caller: &Caller) -> Result<Answer, Failure>;

    /// The objects to which values in it refer, each as often as they do.
    fn references(&self, _each: &mut dyn FnMut(u64)) {}

    /// Lets go of what the process of this account held.
    fn account_ended(&self, _account: u128, _core: &Core) {}

    /// For conditions: the lock, if it is one.
    fn lock(&self) -> Option<Arc<crate::lock::Body>> {
        None
    }

    /// What was asked is nothing for this kind.
    fn not_mine(&self) -> Result<Answer, Failure> {
        Err(Failure::OtherType {
            found: self.kind().into(),
            expected: "object that does this".into(),
        })
    }
}

/// What all threads of a server share.
pub(crate) struct Core {
    pub(crate) nonce: u128,
    /// Who has this number may shut the server down.
    pub(crate) owner: u128,
    pub(crate) limits: Limits,
    pub(crate) types: Types,
    /// This server as its own client, for what its methods are given.
    pub(crate) myself: Arc<Remote>,
    pub(crate) table: Mutex<Table>,
    pub(crate) world: RwLock<()>,
    pub(crate) stopping: AtomicBool,
    /// Who was looked for in this slice: many threads may wait for the same processes.
    looked: Mutex<(Deadline, HashMap<Identity, bool>)>,
    /// Not before then circles are looked for: it takes a twentieth of the time at most.
    next_look: Mutex<Deadline>,
    /// Open connections, by number.
    wires: Mutex<HashMap<u64, Arc<Wire>>>,
    /// Names of memory that goes with the server.
    memory: Mutex<Vec<Memory>>,
}

/// Shared memory that was made for a client.
pub(crate) enum Memory {
    Plain(multiproc_value::SharedMemory),
    List(String, #[allow(dead_code)] multiproc_value::ShareableList),
}

impl Core {
    pub(crate) fn new(
        nonce: u128,
        owner: u128,
        limits: Limits,
        types: Types,
        route: Route,
    ) -> Self {
        Self {
            nonce,
            owner,
            limits,
            types,
            myself: Remote::known(nonce, route),
            table: Mutex::default(),
            world: RwLock::new(()),
            stopping: AtomicBool::new(false),
            looked: Mutex::new((Deadline::NOW, HashMap::new())),
            next_look: Mutex::new(Deadline::NOW),
            wires: Mutex::default(),
            memory: Mutex::default(),
        }
    }

    /// Does this process live, as of half a slice ago at most?
    pub(crate) fn is_alive(&self, process: Identity) -> bool {
        let mut looked = self.looked.lock();
        if looked.0.passed() {
            *looked = (Deadline::after(SLICE / 2), HashMap::new());
        }
        *looked
            .1
            .entry(process)
            .or_insert_with(|| process.is_alive())
    }

    pub(crate) fn put_in(&self, value: &Stored) -> Result<(), Failure> {
        let objects = value.objects();
        if objects.is_empty() {
            return Ok(());
        }
        let mut table = self.table.lock();
        for (n, object) in objects.iter().enumerate() {
            if let Err(gone) = table.inside_more(*object) {
                objects[..n].iter().for_each(|o| table.inside_less(*o));
                return Err(gone);
            }
        }
        Ok(())
    }

    /// This process is given the value, as the arguments of a method.
    pub(crate) fn count_for_myself(&self, value: &Stored) {
        if value.objects().is_empty() {
            return;
        }
        let Ok(me) = crate::remote::account() else {
            return; // then its handles claim for themselves
        };
        let mut table = self.table.lock();
        table.stay_connected(me);
        for object in value.objects() {
            let _ = table.count(me, *object);
        }
    }

    pub(crate) fn discard(&self, value: &Stored) {
        if !value.objects().is_empty() {
            let mut table = self.table.lock();
            value.objects().iter().for_each(|o| table.inside_less(*o));
        }
    }

    /// Lets go of what dead objects refer to. Not under an object's lock.
    pub(crate) fn bury(&self) {
        loop {
            let dead = self.table.lock().take_dead();
            if dead.is_empty() {
                return;
            }
            for object in dead {
                let mut references = Vec::new();
                object.body.references(&mut |next| references.push(next));
                let mut table = self.table.lock();
                references.into_iter().for_each(|o| table.inside_less(o));
            }
        }
    }

    /// What is to be done now and then.
    fn chores(&self) {
        let gone = self.table.lock().gone();
        for account in gone {
            self.end_account(account);
        }
        let suspicious = {
            let mut table = self.table.lock();
            table.sweep();
            table.is_suspicious()
        };
        let mut next_look = self.next_look.lock();
        if suspicious && next_look.passed() {
            let begun = Instant::now();
            let _nobody_moves_anything = self.world.write();
            self.table.lock().collect_circles();
            *next_look = Deadline::after(begun.elapsed() * 20);
        }
        drop(next_look);
        if self.table.lock().has_dead() {
            self.bury();
        }
    }

    /// The process of this account is gone: what it held comes back.
    fn end_account(&self, account: u128) {
        let objects = {
            let mut table = self.table.lock();
            if !table.end(account) {
                return;
            }
            table.all()
        };
        for object in &objects {
            object.body.account_ended(account, self);
        }
        drop(objects);
        self.bury();
    }
}
