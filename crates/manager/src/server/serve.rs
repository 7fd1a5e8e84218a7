//! Connections: accepted, served, ended.
//!
//! # If a process dies here
//!
//! The client, before its request is whole: nothing is done. After: it is done, and
//! what the answer would have given it (an item of a queue, a permit) goes back where it came
//! from, unless it was received. Whether it was, the pipe says; over TCP the next request says
//! it, or a word of the client's own that follows the answer, so an item whose receiver dies in
//! between is given again.
//!
//! The server: every client hears of it at once.

use super::caller::{Caller, Undo, Wire};
use super::{Core, Memory, Object};
use crate::error::{Failure, ServeError};
use crate::wire::{Answer, Ask, Call, Hello, Make, Numbers, Request};
use crate::{barrier, condition, dict, event, list, lock, own, pool, queue, semaphore, set};
use multiproc_core::step;
use multiproc_core::wait::SLICE;
use multiproc_pipe::{AcceptError, AcceptTimeoutError, Listener, SendError};
use multiproc_value::{ShareableList, SharedMemory};
use std::cell::Cell;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// What a server allows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) clients: usize,
    pub(crate) connections: usize,
    pub(crate) message: usize,
}

/// How long the threads of a server that stops may take to say good-bye.
const PARTING: Duration = Duration::from_secs(1);

/// Serves until it is told to stop.
///
/// *Blocks until* then. *Wakes when* somebody connects, and each slice. *If a peer dies*: its
/// thread ends, and what it held comes back.
pub(crate) fn serve(core: &Arc<Core>, listener: &Listener) -> Result<(), ServeError> {
    let numbers = AtomicU64::new(0);
    while !core.stopping.load(Relaxed) {
        match listener.accept_timeout::<Answer, Request>(SLICE) {
            Ok(wire) => admit(core, Arc::new(wire), numbers.fetch_add(1, Relaxed)),
            Err(
                AcceptTimeoutError::Timeout | AcceptTimeoutError::Accept(AcceptError::Handshake(_)),
            ) => {}
            Err(AcceptTimeoutError::Accept(AcceptError::Closed)) => break,
            // No descriptors left, above all: others will end, and give theirs back.
            Err(_) => std::thread::sleep(SLICE),
        }
        core.chores();
    }
    listener.close();
    let wires: Vec<_> = core.wires.lock().values().cloned().collect();
    wires.iter().for_each(|wire| wire.close());
    drop(wires);
    let begun = Instant::now();
    while !core.wires.lock().is_empty() && begun.elapsed() < PARTING {
        std::thread::sleep(Duration::from_millis(1));
    }
    for memory in core.memory.lock().drain(..) {
        let name = match &memory {
            Memory::Plain(memory) => memory.name(),
            Memory::List(name, _) => Some(name.as_str()),
        };
        // Somebody else may have removed it.
        let _ = name.map(SharedMemory::unlink);
    }
    Ok(())
}

/// Gives the connection a thread, or says why not.
fn admit(core: &Arc<Core>, wire: Arc<Wire>, number: u64) {
    {
        let mut wires = core.wires.lock();
        if wires.len() >= core.limits.connections {
            drop(wires);
            let why = "it has as many connections as it takes".into();
            let _ = wire.try_send(Answer::Failed(Failure::Refused(why)));
            return;
        }
        wires.insert(number, wire.clone());
    }
    let (its_core, its_wire) = (core.clone(), wire.clone());
    let thread = std::thread::Builder::new().name("connection".into());
    let thread = thread.spawn(move || {
        let ended = Ended(its_core, number);
        attend(&ended.0, &its_wire);
    });
    if let Err(why) = thread {
        let why = format!("it has no thread for one more connection: {why}");
        let _ = wire.try_send(Answer::Failed(Failure::Refused(why)));
        core.wires.lock().remove(&number);
    }
}

/// Takes a connection off the list, however its thread ends.
struct Ended(Arc<Core>, u64);

impl Drop for Ended {
    fn drop(&mut self) {
        let wire = self.0.wires.lock().remove(&self.1);
        drop(wire);
    }
}

/// A connection's life.
pub(super) fn attend(core: &Arc<Core>, wire: &Arc<Wire>) {
    let Ok(Request::Hello(Hello { account, process })) = wire.recv() else {
        return;
    };
    step!("server: hello heard");
    let local = !over_tcp(wire);
    let most = core.limits.clients;
    let admitted = core.table.lock().connect(account, process, local, most);
    if let Err(why) = admitted {
        let _ = wire.try_send(Answer::Failed(why));
        return;
    }
    // Also when a method's panic gets as far as here.
    let connected = Connected(core, account);
    if wire.send(Answer::Welcome(core.nonce)).is_err() {
        return;
    }
    step!("server: welcomed");
    let caller = Caller {
        core: core.clone(),
        account,
        process,
        wire: wire.clone(),
        undo: Cell::new(None),
    };
    let mut last = Last::default();
    let mut undo: Option<Undo> = None;
    let mut sent = true;
    while let Ok(request) = wire.recv() {
        step!("server: request taken");
        undo = None; // it has received what it was given, or would not say more
        let answer = match request {
            Request::Received => continue,
            Request::Hello(_) => break,
            Request::Release(object) => {
                if caller.core.table.lock().uncount(account, object) {
                    core.bury();
                }
                continue;
            }
            Request::HandOver { object, heir } => {
                core.table.lock().hand_over(account, object, heir, local);
                continue;
            }
            Request::TakeBack(ticket) => {
                core.table.lock().take_back(ticket);
                core.bury();
                continue;
            }
            Request::Ask(ask) => answer_to(&caller, ask),
            Request::Call { object, call } => perform(&caller, &mut last, object, call),
        };
        step!("server: done");
        undo = caller.undo.take();
        sent = match wire.send(answer.unwrap_or_else(Answer::Failed)) {
            Ok(()) => true,
            Err(SendError::TooLarge { bytes, most, .. }) => {
                undo_now(core, undo.take());
                let failure = Failure::TooLarge { bytes, most };
                wire.send(Answer::Failed(failure)).is_ok()
            }
            Err(SendError::Encode { why, .. }) => {
                undo_now(core, undo.take());
                wire.send(Answer::Failed(Failure::Refused(why))).is_ok()
            }
            Err(_) => false,
        };
        step!("server: answered");
        if !sent || core.stopping.load(Relaxed) {
            break;
        }
    }
    step!("server: connection over");
    if !sent || wire.sender().unreceived() != Some(0) {
        undo_now(core, undo);
    }
    drop(connected);
}

fn over_tcp(wire: &Wire) -> bool {
    wire.sender().unreceived().is_none()
}

fn undo_now(core: &Core, undo: Option<Undo>) {
    if let Some(undo) = undo {
        let _world = core.world.read();
        undo(core);
    }
}

/// A connection that counts for its account.
struct Connected<'a>(&'a Core, u128);

impl Drop for Connected<'_> {
    fn drop(&mut self) {
        let Self(core, account) = *self;
        let gone = core.table.lock().disconnect(account);
        if gone {
            core.end_account(account);
        }
    }
}

/// The object that this connection used last.
#[derive(Default)]
struct Last(Option<Weak<Object>>);

impl Last {
    fn get(&mut self, core: &Core, number: u64) -> Result<Arc<Object>, Failure> {
        if let Some(object) = self.0.as_ref().and_then(Weak::upgrade)
            && object.number == number
        {
            return Ok(object);
        }
        let object = core.table.lock().get(number)?;
        self.0 = Some(Arc::downgrade(&object));
        Ok(object)
    }
}

fn perform(caller: &Caller, last: &mut Last, object: u64, call: Call) -> Result<Answer, Failure> {
    let object = last.get(&caller.core, object)?;
    let answer = object.body.call(call, caller);
    drop(object);
    if caller.core.table.lock().has_dead() {
        caller.core.bury();
    }
    answer
}

fn answer_to(caller: &Caller, ask: Ask) -> Result<Answer, Failure> {
    let (core, account) = (&caller.core, caller.account);
    match ask {
        Ask::Make { what, tag } => make(caller, what, tag).map(Answer::Number),
        Ask::Claim { object, ticket } => {
            let mut table = core.table.lock();
            table.claim(account, caller.process, object, ticket)?;
            Ok(Answer::Done)
        }
        Ask::Travel(object) => core
            .table
            .lock()
            .travel(account, object)
            .map(Answer::Number),
        Ask::Publish { name, object } => core.table.lock().publish(name, object).map(Answer::Flag),
        Ask::Withdraw(name) => {
            let was_there = core.table.lock().withdraw(&name);
            core.bury();
            Ok(Answer::Flag(was_there))
        }
        Ask::Find { name, tag } => find(caller, &name, tag),
        Ask::Memory(size) => memory(core, size),
        Ask::ShareableList(items) => {
            let failed = |e: &dyn std::fmt::Display| Failure::Refused(e.to_string());
            let name = format!(
                "managed-{:032x}",
                crate::remote::random().map_err(|e| failed(&e))?
            );
            let options = ShareableList::options().temporary(true);
            let list = options.create(&name, items);
            let list = list.map_err(|e| failed(&e))?;
            core.memory.lock().push(Memory::List(name.clone(), list));
            Ok(Answer::Text(name))
        }
        Ask::Shutdown(owner) if owner == core.owner => {
            core.stopping.store(true, Relaxed);
            Ok(Answer::Done)
        }
        Ask::Shutdown(_) => Err(Failure::Refused("only its owner shuts it down".into())),
        Ask::Numbers => {
            let table = core.table.lock();
            let (clients, connections) = table.clients();
            Ok(Answer::Numbers(Numbers {
                objects: table.len() as u64,
                clients,
                connections,
            }))
        }
    }
}

fn memory(core: &Core, size: u64) -> Result<Answer, Failure> {
    let refused = |e: &dyn std::fmt::Display| Failure::Refused(e.to_string());
    let size = usize::try_from(size).map_err(|e| refused(&e))?;
    let name = crate::remote::random().map_err(|e: io::Error| refused(&e))?;
    let name = format!("managed-{name:032x}");
    // If the server is killed, the name goes with the last process that has it open.
    let memory = SharedMemory::options().temporary(true).create(&name, size);
    let memory = memory.map_err(|e| refused(&e))?;
    core.memory.lock().push(Memory::Plain(memory));
    Ok(Answer::Text(name))
}

fn find(caller: &Caller, name: &str, tag: String) -> Result<Answer, Failure> {
    let mut table = caller.core.table.lock();
    let Some(number) = table.find(name) else {
        return Err(Failure::NotNow);
    };
    let found = &table.get(number)?.tag;
    if *found != tag {
        return Err(Failure::OtherType {
            found: found.clone(),
            expected: tag,
        });
    }
    table.count(caller.account, number)?;
    Ok(Answer::Number(number))
}

fn make(caller: &Caller, what: Make, tag: String) -> Result<u64, Failure> {
    let body: Box<dyn super::Body> = match what {
        Make::Dict => Box::<dict::Body>::default(),
        Make::List { items, fixed } => {
            let _world = caller.world();
            Box::new(list::Body::new(items, fixed, caller)?)
        }
        Make::Set => Box::<set::Body>::default(),
        Make::Queue { capacity } => Box::new(queue::Body::new(capacity)),
        Make::Event => Box::<event::Body>::default(),
        Make::Lock { recursive } => Box::new(Arc::new(lock::Body::new(recursive))),
        Make::Semaphore { value, bounded } => Box::new(semaphore::Body::new(value, bounded)),
        Make::Condition { lock } => {
            let lock = match lock {
                None => Arc::new(lock::Body::new(true)),
                Some(number) => {
                    let object = caller.core.table.lock().get(number)?;
                    object.body.lock().ok_or_else(|| Failure::OtherType {
                        found: object.body.kind().into(),
                        expected: "Lock".into(),
                    })?
                }
            };
            Box::new(condition::Body::new(lock))
        }
        Make::Barrier { parties } => Box::new(barrier::Body::new(parties)),
        Make::Pool { workers } => Box::new(pool::Body::new(caller, workers)?),
        Make::Own(name) => Box::new(own::Body::new(&caller.core.types, &name)?),
    };
    let object = |number| Object { number, tag, body };
    Ok(caller.core.table.lock().add(caller.account, object))
}
