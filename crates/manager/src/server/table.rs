//! Who refers to what.
//!
//! An object is kept by references from outside (accounts of processes, tickets of messages on
//! their way, published names, heirs of a hand-over) and from inside (values that other objects
//! keep). Without any it is gone at once; with some from inside only, the next round of chores
//! looks whether anything that is referred to from outside still leads to it.
//!
//! # Invariants
//!
//! 1. Each count is changed by who moves the reference, under this table's lock; a value's move
//!    into, out of or between objects happens under the world's reading lock, which the look for
//!    circles takes for writing.
//! 2. The number of an object is never given away again.

use super::Object;
use crate::error::Failure;
use multiproc_core::deadline::Deadline;
use multiproc_core::identity::Identity;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

/// How long a message may be on its way after its sender's end.
const LINGER: Duration = Duration::from_secs(60);

#[derive(Default)]
pub(crate) struct Table {
    next: u64,
    objects: HashMap<u64, Entry>,
    accounts: HashMap<u128, Account>,
    names: HashMap<String, u64>,
    tickets: HashMap<u64, Ticket>,
    handed: Vec<Handed>,
    /// Tickets whose sender has ended.
    lingering: Vec<(Deadline, u64)>,
    dead: Vec<Arc<Object>>,
    suspicious: bool,
}

struct Entry {
    object: Arc<Object>,
    outside: u64,
    inside: u64,
}

/// How long a process that lives may be without a connection: one broke, and it connects anew.
const RECONNECT: Duration = Duration::from_secs(1);

/// What a process has.
struct Account {
    process: u64,
    /// Is it one of this machine, which can be looked for?
    local: bool,
    connections: usize,
    /// Without a connection: when it is taken for gone.
    until: Deadline,
    references: HashMap<u64, u64>,
}

impl Account {
    fn is_gone(&self) -> bool {
        self.connections == 0
            && (self.until.passed()
                || self.local && !Identity::from_bits(self.process).is_some_and(Identity::is_alive))
    }
}

/// A message on its way.
struct Ticket {
    object: u64,
    account: u128,
}

/// A reference of a child that has not claimed it yet.
struct Handed {
    object: u64,
    heir: u64,
    /// Is the heir a process of this machine, which can be looked for?
    local: bool,
}

impl Table {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// A new object, with a reference of this account's.
    pub(crate) fn add(&mut self, account: u128, make: impl FnOnce(u64) -> Object) -> u64 {
        let number = self.number();
        let entry = Entry {
            object: Arc::new(make(number)),
            outside: 0,
            inside: 0,
        };
        self.objects.insert(number, entry);
        let _ = self.count(account, number);
        number
    }

    pub(crate) fn get(&self, object: u64) -> Result<Arc<Object>, Failure> {
        let entry = self.objects.get(&object).ok_or(Failure::ObjectGone)?;
        Ok(entry.object.clone())
    }

    pub(crate) fn len(&self) -> usize {
        self.objects.len()
    }

    /// All objects there are.
    pub(crate) fn all(&self) -> Vec<Arc<Object>> {
        self.objects.values().map(|e| e.object.clone()).collect()
    }

    fn outside_more(&mut self, object: u64) -> Result<(), Failure> {
        let entry = self.objects.get_mut(&object).ok_or(Failure::ObjectGone)?;
        entry.outside += 1;
        Ok(())
    }

    fn outside_less(&mut self, object: u64) {
        if let Some(entry) = self.objects.get_mut(&object) {
            entry.outside = entry.outside.saturating_sub(1);
            let left = (entry.outside, entry.inside);
            self.is_less(object, left);
        }
    }

    /// One more value keeps the object.
    pub(crate) fn inside_more(&mut self, object: u64) -> Result<(), Failure> {
        let entry = self.objects.get_mut(&object).ok_or(Failure::ObjectGone)?;
        entry.inside += 1;
        Ok(())
    }

    /// One value less keeps the object.
    pub(crate) fn inside_less(&mut self, object: u64) {
        if let Some(entry) = self.objects.get_mut(&object) {
            entry.inside = entry.inside.saturating_sub(1);
            let left = (entry.outside, entry.inside);
            self.is_less(object, left);
        }
    }

    fn is_less(&mut self, object: u64, left: (u64, u64)) {
        match left {
            (0, 0) => {
                let gone = self.objects.remove(&object);
                self.dead.extend(gone.map(|entry| entry.object));
            }
            (0, _) => self.suspicious = true,
            _ => {}
        }
    }

    /// Objects to which nobody refers any more: what they refer to is to be let go.
    pub(crate) fn take_dead(&mut self) -> Vec<Arc<Object>> {
        std::mem::take(&mut self.dead)
    }

    pub(crate) fn has_dead(&self) -> bool {
        !self.dead.is_empty()
    }

    pub(crate) fn is_suspicious(&self) -> bool {
        self.suspicious
    }

    /// Objects that refer to each other, and nobody outside to them, are dead. Under the world's
    /// writing lock.
    pub(crate) fn collect_circles(&mut self) {
        self.suspicious = false;
        let outside = |(number, entry): (&u64, &Entry)| (entry.outside > 0).then_some(*number);
        let mut to_visit: Vec<u64> = self.objects.iter().filter_map(outside).collect();
        let mut reached: HashSet<u64> = to_visit.iter().copied().collect();
        while let Some(number) = to_visit.pop() {
            if let Some(entry) = self.objects.get(&number) {
                entry.object.body.references(&mut |next| {
                    if reached.insert(next) {
                        to_visit.push(next);
                    }
                });
            }
        }
        let gone = self
            .objects
            .extract_if(|number, _| !reached.contains(number));
        self.dead.extend(gone.map(|(_, entry)| entry.object));
    }

    /// One more reference of this account's.
    pub(crate) fn count(&mut self, account: u128, object: u64) -> Result<(), Failure> {
        let Some(its) = self.accounts.get_mut(&account) else {
            return Err(Failure::Refused("this process is not connected".into()));
        };
        let entry = self.objects.get_mut(&object).ok_or(Failure::ObjectGone)?;
        entry.outside += 1;
        *its.references.entry(object).or_insert(0) += 1;
        Ok(())
    }

    /// One reference of this account's less, if it has one.
    pub(crate) fn uncount(&mut self, account: u128, object: u64) -> bool {
        let references = self.accounts.get_mut(&account).map(|a| &mut a.references);
        let Some(references) = references else {
            return false;
        };
        let Some(count) = references.get_mut(&object) else {
            return false;
        };
        *count -= 1;
        if *count == 0 {
            references.remove(&object);
        }
        self.outside_less(object);
        true
    }

    /// One more connection of this account's; the number of accounts stays below `most`.
    pub(crate) fn connect(
        &mut self,
        account: u128,
        process: u64,
        local: bool,
        most: usize,
    ) -> Result<(), Failure> {
        let clients = self.accounts.len();
        if !self.accounts.contains_key(&account) && clients >= most {
            let why = format!("it has {clients} clients already");
            return Err(Failure::Refused(why));
        }
        let account = self.accounts.entry(account).or_insert_with(|| Account {
            process,
            local,
            connections: 0,
            until: Deadline::NEVER,
            references: HashMap::new(),
        });
        account.connections += 1;
        Ok(())
    }

    /// The server's own account, which lasts.
    pub(crate) fn stay_connected(&mut self, account: u128) {
        if !self.accounts.contains_key(&account) {
            let _ = self.connect(account, 0, false, usize::MAX);
        }
    }

    /// One connection less. True: it was the last of a process that is dead, whose account is to
    /// be [ended](Table::end) now.
    pub(crate) fn disconnect(&mut self, account: u128) -> bool {
        let Some(its) = self.accounts.get_mut(&account) else {
            return false;
        };
        its.connections -= 1;
        its.until = Deadline::after(RECONNECT);
        its.is_gone()
    }

    /// Processes that are gone: their accounts are to be ended.
    pub(crate) fn gone(&self) -> Vec<u128> {
        let gone = self.accounts.iter().filter(|(_, its)| its.is_gone());
        gone.map(|(account, _)| *account).collect()
    }

    /// Lets go of what the account had, if it has not connected anew.
    pub(crate) fn end(&mut self, account: u128) -> bool {
        if !self.accounts.get(&account).is_some_and(Account::is_gone) {
            return false;
        }
        let references = self.accounts.remove(&account).map(|a| a.references);
        for (object, count) in references.into_iter().flatten() {
            (0..count).for_each(|_| self.outside_less(object));
        }
        // What it had sent may still arrive.
        let until = Deadline::after(LINGER);
        let its = self.tickets.iter().filter(|(_, t)| t.account == account);
        self.lingering
            .extend(its.map(|(ticket, _)| (until, *ticket)));
        true
    }

    pub(crate) fn clients(&self) -> (u64, u64) {
        let connections = self.accounts.values().map(|a| a.connections as u64).sum();
        (self.accounts.len() as u64, connections)
    }

    /// A message with a reference sets off.
    pub(crate) fn travel(&mut self, account: u128, object: u64) -> Result<u64, Failure> {
        self.outside_more(object)?;
        let number = self.number();
        self.tickets.insert(number, Ticket { object, account });
        Ok(number)
    }

    /// A message was not sent.
    pub(crate) fn take_back(&mut self, ticket: u64) {
        if let Some(ticket) = self.tickets.remove(&ticket) {
            self.outside_less(ticket.object);
        }
    }

    /// A reference arrives: by a message, a hand-over, or from who knows the number.
    pub(crate) fn claim(
        &mut self,
        account: u128,
        process: u64,
        object: u64,
        ticket: Option<u64>,
    ) -> Result<(), Failure> {
        self.count(account, object)?;
        let mine = |handed: &Handed| (handed.object, handed.heir) == (object, process);
        if let Some(ticket) = ticket {
            self.take_back(ticket);
        } else if let Some(at) = self.handed.iter().position(mine) {
            self.handed.swap_remove(at);
            self.outside_less(object);
        }
        Ok(())
    }

    /// A reference of this account's is another process's, once that has claimed it.
    pub(crate) fn hand_over(&mut self, account: u128, object: u64, heir: u64, local: bool) {
        if self.outside_more(object).is_err() {
            return;
        }
        if !self.uncount(account, object) {
            self.outside_less(object);
            return;
        }
        self.handed.push(Handed {
            object,
            heir,
            local,
        });
    }

    pub(crate) fn publish(&mut self, name: String, object: u64) -> Result<bool, Failure> {
        if self.names.contains_key(&name) {
            return Ok(false);
        }
        self.outside_more(object)?;
        self.names.insert(name, object);
        Ok(true)
    }

    pub(crate) fn withdraw(&mut self, name: &str) -> bool {
        let object = self.names.remove(name);
        if let Some(object) = object {
            self.outside_less(object);
        }
        object.is_some()
    }

    pub(crate) fn find(&self, name: &str) -> Option<u64> {
        self.names.get(name).copied()
    }

    /// Lets go of what dead heirs would have had, and of messages that nobody has taken.
    pub(crate) fn sweep(&mut self) {
        let alive = |handed: &Handed| {
            let heir = Identity::from_bits(handed.heir);
            !handed.local || heir.is_some_and(Identity::is_alive)
        };
        let handed = std::mem::take(&mut self.handed);
        let (kept, gone): (Vec<_>, Vec<_>) = handed.into_iter().partition(alive);
        self.handed = kept;
        for handed in gone {
            self.outside_less(handed.object);
        }
        let lingering = std::mem::take(&mut self.lingering);
        let (over, on_their_way): (Vec<_>, Vec<_>) =
            lingering.into_iter().partition(|(until, _)| until.passed());
        self.lingering = on_their_way;
        for (_, ticket) in over {
            self.take_back(ticket);
        }
    }
}
