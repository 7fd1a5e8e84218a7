//! Managers: clients that die with locks, permits, tasks and waits; and servers that die.

use crate::crowd::{Each, Game, MOST_PLAYERS, Player, Table, crowd, each};
use crate::ledger::{News, WIDE};
use crate::locks::scenario;
use crate::report::Report;
use crate::scenario::{Plan, Scenario};
use crate::storm::PATIENCE;
use multiproc_core::identity::Identity;
use multiproc_manager::{
    BoundedSemaphore, Condition, Dict, Event, GetTimeoutError, JoinableQueue, List, Lock, Manager,
    PutTimeoutError, Queue,
};
use multiproc_segment::{Shareable, Shared};
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::fs;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

/// The ledgers: of what the lock protects, and of what the condition's does.
const LOCK: usize = 0;
const CONDITION: usize = 1;
const PERMITS: u32 = 2;
const TASKS: u64 = 3;
const COINS: u64 = 3;
/// Coins and tasks whose holders are remembered.
const HELD: usize = 1 << 12;
/// Items that enter a list together.
const TOGETHER: usize = 8;
/// How often the parent wakes who waits.
const TENDING: Duration = Duration::from_micros(500);
/// After so many rounds in which it saw no coin it makes another one.
const NO_COIN: u32 = 200;
/// What a server's memory may grow by, from a quarter of the kills on.
const MAY_GROW: u64 = 8 << 20;

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

scenario! {
    /// A manager whose clients die with what they hold, or wait for.
    Managers "manager" Office
}

/// What the clients write down, which no server sees.
#[derive(Shareable)]
#[repr(C)]
struct Books {
    under_lock: [AtomicU64; WIDE],
    under_condition: [AtomicU64; WIDE],
    /// What is waited for with the condition.
    step: AtomicU64,
    permits: [AtomicU64; PERMITS as usize],
    tasks: [AtomicU64; TASKS as usize],
    /// By coin: who has it.
    coins: [AtomicU64; HELD],
    /// By player: 0, or it has asked for a coin, or the coin (plus 2) that it has.
    hand: Each,
    /// By player: additions that it has asked for, and those of which it had the answer.
    tried: Each,
    added: Each,
}

const ASKED: u64 = 1;
const HAS: u64 = 2;

/// Objects of all kinds in one server.
struct Office {
    manager: RefCell<Option<Manager>>,
    server: u32,
    lock: Lock,
    permits: BoundedSemaphore,
    event: Event,
    condition: Condition,
    tasks: JoinableQueue<u64>,
    coins: Queue<u64>,
    letters: Queue<Vec<u8>>,
    counts: Dict<u64, u64>,
    list: List<u64>,
    shelf: Dict<u64, List<u64>>,
    books: Shared<Books>,
    first: Server,
    /// After a quarter of the kills.
    early: Cell<u64>,
    deaths: Cell<u64>,
    tended: Cell<Instant>,
    no_coin: Cell<u32>,
    /// Coins that were made.
    made: Cell<u64>,
    /// Coins that somebody died with, and how many died after they had asked for one.
    in_hand: RefCell<BTreeSet<u64>>,
    asked: Cell<u64>,
}

/// What a server has open.
#[derive(Debug, PartialEq, Eq)]
struct Server {
    objects: u64,
    clients: u64,
    connections: u64,
    descriptors: usize,
    threads: usize,
    mappings: usize,
}

/// The memory of a process, in bytes.
fn memory(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.unwrap_or(0) << 10
}

impl Server {
    fn now(manager: &Manager, pid: u32) -> Result<Self, String> {
        let numbers = manager.numbers().map_err(text)?;
        let entries = |of| fs::read_dir(format!("/proc/{pid}/{of}")).map_or(0, Iterator::count);
        let maps = fs::read_to_string(format!("/proc/{pid}/maps")).map_err(text)?;
        let shared = |line: &&str| line.contains("/memfd:") || line.contains("/dev/shm/");
        Ok(Server {
            objects: numbers.objects,
            clients: numbers.clients,
            connections: numbers.connections,
            descriptors: entries("fd"),
            threads: entries("task"),
            mappings: maps.lines().filter(shared).count(),
        })
    }
}

/// Only one may have what this word stands for.
fn enter(me: &Player<'_>, holder: &AtomicU64) {
    let before = Identity::from_bits(holder.swap(me.identity, SeqCst));
    if before.is_some_and(Identity::is_alive) {
        me.table.words.together.fetch_add(1, SeqCst);
    }
}

fn leave(holder: &AtomicU64) {
    holder.store(0, SeqCst);
}

impl Office {
    fn build() -> Result<Self, String> {
        let manager = Manager::start().map_err(text)?;
        let server = manager.process().map_or(0, |process| process.pid());
        let tasks = manager.joinable_queue().map_err(text)?;
        let coins = manager.queue().map_err(text)?;
        for task in 0..TASKS {
            tasks.put(task).map_err(text)?;
        }
        for coin in 0..COINS {
            coins.put(coin).map_err(text)?;
        }
        let books = Books {
            under_lock: [const { AtomicU64::new(0) }; WIDE],
            under_condition: [const { AtomicU64::new(0) }; WIDE],
            step: AtomicU64::new(0),
            permits: [const { AtomicU64::new(0) }; PERMITS as usize],
            tasks: [const { AtomicU64::new(0) }; TASKS as usize],
            coins: [const { AtomicU64::new(0) }; HELD],
            hand: each(),
            tried: each(),
            added: each(),
        };
        let mut office = Office {
            server,
            lock: manager.lock().map_err(text)?,
            permits: manager.bounded_semaphore(PERMITS).map_err(text)?,
            event: manager.event().map_err(text)?,
            condition: manager.condition().map_err(text)?,
            tasks,
            coins,
            letters: manager.bounded_queue(2).map_err(text)?,
            counts: manager.dict().map_err(text)?,
            list: manager.list().map_err(text)?,
            shelf: manager.dict().map_err(text)?,
            books: Shared::new(books).map_err(text)?,
            first: Server::now(&manager, server)?,
            manager: RefCell::new(Some(manager)),
            early: Cell::new(0),
            deaths: Cell::new(0),
            tended: Cell::new(Instant::now()),
            no_coin: Cell::new(0),
            made: Cell::new(COINS),
            in_hand: RefCell::new(BTreeSet::new()),
            asked: Cell::new(0),
        };
        office.first = office.server_now()?;
        Ok(office)
    }

    fn server_now(&self) -> Result<Server, String> {
        let manager = self.manager.borrow();
        let manager = manager.as_ref().ok_or("the manager was shut down")?;
        Server::now(manager, self.server)
    }

    fn take_lock(&self, me: &mut Player<'_>) -> Result<(), String> {
        let guard = match me.dice.below(4) {
            0 => self.lock.try_lock(),
            1 => self
                .lock
                .lock_timeout(Duration::from_micros(me.dice.below(500))),
            _ => self.lock.lock().map(Some),
        };
        let Some(guard) = guard.map_err(text)? else {
            return Ok(());
        };
        let news = if guard.owner_died() {
            News::Died
        } else {
            News::None
        };
        me.turn(LOCK, &mut &self.books.under_lock[..], news);
        // With other calls under it, it is held for longer.
        me.has_in_hand(LOCK, me.table.words.ledgers[LOCK].entries());
        self.count(me)?;
        me.empty_handed();
        guard.release().map_err(text)
    }

    fn take_permit(&self, me: &mut Player<'_>) -> Result<(), String> {
        let permit = self.permits.permit().map_err(text)?;
        let slot = self.books.permits.iter().find(|slot| {
            let before = slot.load(SeqCst);
            let alive = Identity::from_bits(before).is_some_and(Identity::is_alive);
            !alive
                && slot
                    .compare_exchange(before, me.identity, SeqCst, SeqCst)
                    .is_ok()
        });
        match slot {
            Some(slot) => {
                me.linger();
                leave(slot);
            }
            None => drop(me.table.words.together.fetch_add(1, SeqCst)),
        }
        drop(permit);
        Ok(())
    }

    fn wait_for_event(&self, me: &mut Player<'_>) -> Result<(), String> {
        match me.dice.below(6) {
            0 => self.event.set().map_err(text),
            1 => self.event.clear().map_err(text),
            2 => {
                let short = Duration::from_micros(me.dice.below(500));
                self.event.wait_timeout(short).map(drop).map_err(text)
            }
            _ => self.event.wait().map_err(text),
        }
    }

    /// What the condition's lock protects is looked at as if nothing were said of deaths: after a
    /// wait, nothing is.
    fn wait_for_step(&self, me: &mut Player<'_>) -> Result<(), String> {
        let step = &self.books.step;
        let guard = self.condition.lock().map_err(text)?;
        if me.dice.once_in(2) {
            step.fetch_add(1, SeqCst);
            let woken = 1 + me.dice.below(3) as u32;
            self.condition.notify(woken).map_err(text)?;
        } else {
            let seen = step.load(SeqCst);
            let passed = || Ok(step.load(SeqCst) > seen || me.table.stopped());
            match me.dice.once_in(4) {
                true => {
                    let short = Duration::from_micros(me.dice.below(500));
                    let over = self.condition.wait_for_timeout(passed, short);
                    over.map(drop).map_err(text)?;
                }
                false => self.condition.wait_for(passed).map_err(text)?,
            }
        }
        me.turn(
            CONDITION,
            &mut &self.books.under_condition[..],
            News::Untold,
        );
        guard.release().map_err(text)
    }

    fn work(&self, me: &mut Player<'_>) -> Result<(), String> {
        let task = self.tasks.get_task().map_err(text)?;
        let holder = &self.books.tasks[*task as usize];
        enter(me, holder);
        me.linger();
        leave(holder);
        task.give_back().map_err(text)
    }

    fn pay(&self, me: &mut Player<'_>) -> Result<(), String> {
        let hand = &self.books.hand[me.who];
        hand.store(ASKED, SeqCst);
        let coin = self.coins.get().map_err(text)?;
        hand.store(HAS + coin, SeqCst);
        let holder = &self.books.coins[coin as usize % HELD];
        enter(me, holder);
        me.linger();
        leave(holder);
        self.coins.put(coin).map_err(text)?;
        hand.store(0, SeqCst);
        Ok(())
    }

    fn write(&self, me: &mut Player<'_>) -> Result<(), String> {
        let short = Duration::from_micros(me.dice.below(500));
        if me.dice.once_in(2) {
            let len = match me.dice.below(16) {
                0 => me.dice.below(300_000),
                _ => me.dice.below(500),
            };
            let letter = vec![(len % 251) as u8; len as usize];
            return match self.letters.put_timeout(letter, short) {
                Ok(()) | Err(PutTimeoutError::Timeout(_)) => Ok(()),
                Err(other) => Err(text(other)),
            };
        }
        match self.letters.get_timeout(short) {
            Ok(letter) => {
                let torn = letter.iter().any(|b| usize::from(*b) != letter.len() % 251);
                me.table.words.torn.fetch_add(torn.into(), SeqCst);
                Ok(())
            }
            Err(GetTimeoutError::Timeout) => Ok(()),
            Err(other) => Err(text(other)),
        }
    }

    fn count(&self, me: &mut Player<'_>) -> Result<(), String> {
        self.books.tried[me.who].fetch_add(1, SeqCst);
        let who = me.who as u64;
        self.counts.fetch_add(&who, 1).map_err(text)?;
        self.books.added[me.who].fetch_add(1, SeqCst);
        if me.dice.once_in(4) {
            // All of them, or none.
            let number = me.dice.roll();
            let three = (1_000..1_003).map(|key| (key, number));
            self.counts.extend(three).map_err(text)?;
            let all = self.counts.items().map_err(text)?;
            let three: Vec<u64> = all
                .into_iter()
                .filter(|(key, _)| *key >= 1_000)
                .map(|(_, n)| n)
                .collect();
            let torn = three.len() != 3 || three.iter().any(|n| *n != three[0]);
            me.table.words.torn.fetch_add(torn.into(), SeqCst);
        }
        Ok(())
    }

    fn list(&self, me: &mut Player<'_>) -> Result<(), String> {
        self.list.extend([me.dice.roll(); TOGETHER]).map_err(text)?;
        let all = self.list.to_vec().map_err(text)?;
        let same = |some: &[u64]| some.len() == TOGETHER && some.iter().all(|n| *n == some[0]);
        let torn = !all.chunks(TOGETHER).all(same);
        me.table.words.torn.fetch_add(torn.into(), SeqCst);
        match all.len() > 50 * TOGETHER {
            true => self.list.clear().map_err(text),
            false => Ok(()),
        }
    }

    /// Objects that are kept by other objects.
    fn nest(&self, me: &mut Player<'_>) -> Result<(), String> {
        let place = me.dice.below(4);
        match me.dice.below(3) {
            0 => {
                let list = {
                    let manager = self.manager.borrow();
                    let manager = manager.as_ref().ok_or("no manager")?;
                    manager.list::<u64>().map_err(text)?
                };
                list.push(place).map_err(text)?;
                self.shelf.insert(place, list).map_err(text)?;
            }
            1 => {
                if let Some(list) = self.shelf.get(&place).map_err(text)? {
                    let torn = list.to_vec().map_err(text)? != [place];
                    me.table.words.torn.fetch_add(torn.into(), SeqCst);
                }
            }
            _ => drop(self.shelf.remove(&place).map_err(text)?),
        }
        Ok(())
    }

    fn raise(&self) -> Result<(), String> {
        let guard = self.condition.lock_timeout(PATIENCE).map_err(text)?;
        let guard = guard.ok_or("the condition's lock is not to be had")?;
        self.books.step.fetch_add(1, SeqCst);
        self.condition.notify_all().map_err(text)?;
        guard.release().map_err(text)
    }

    fn make_coin(&self) -> Result<(), String> {
        let coin = self.made.get();
        self.made.set(coin + 1);
        self.coins.put(coin).map_err(text)
    }

    /// Another coin, if all are gone with those who had them.
    fn look_for_coins(&self) -> Result<(), String> {
        let in_hands = self.books.hand.iter().any(|hand| hand.load(SeqCst) >= HAS);
        match in_hands || !self.coins.is_empty().map_err(text)? {
            true => self.no_coin.set(0),
            false => self.no_coin.set(self.no_coin.get() + 1),
        }
        if self.no_coin.get() > NO_COIN {
            self.no_coin.set(0);
            self.make_coin()?;
        }
        Ok(())
    }

    /// Each coin is there once, or with somebody who died.
    fn count_coins(&self, report: &mut Report) -> Result<(), String> {
        let mut found = BTreeSet::new();
        while let Ok(coin) = self.coins.try_get() {
            report.duplicated += u64::from(!found.insert(coin));
        }
        let in_hand = self.in_hand.borrow();
        let gone: Vec<u64> = (0..self.made.get())
            .filter(|c| !found.contains(c))
            .collect();
        let taken = gone.iter().filter(|coin| in_hand.contains(coin)).count() as u64;
        let unseen = gone.len() as u64 - taken;
        report.delivered_to_dead += taken + unseen.min(self.asked.get());
        report.lost += unseen.saturating_sub(self.asked.get());
        report.notes.push(format!(
            "of {} coins {taken} were in dead hands, {unseen} with {} who had just asked",
            self.made.get(),
            self.asked.get()
        ));
        Ok(())
    }

    fn take_all_tasks(&self) -> Result<(), String> {
        let task = || self.tasks.get_task_timeout(PATIENCE).map_err(text);
        let all = (0..TASKS).map(|_| task()).collect::<Result<Vec<_>, _>>()?;
        let numbers: BTreeSet<u64> = all.iter().map(|task| **task).collect();
        if numbers.len() as u64 != TASKS || !self.tasks.is_empty().map_err(text)? {
            return Err(format!("the tasks are {numbers:?}, and others"));
        }
        for task in all {
            task.done().map_err(text)?;
        }
        match self.tasks.join_timeout(PATIENCE).map_err(text)? {
            true => Ok(()),
            false => Err("tasks are unfinished, and all are done".into()),
        }
    }
}

impl Game for Office {
    const PLAYERS: usize = 5;
    /// The server is to be the same after all of them.
    const ROUND: u64 = 1_000;

    fn new() -> Self {
        Office::build().expect("a manager")
    }

    fn play(&self, me: &mut Player<'_>) -> Result<(), String> {
        match me.dice.below(12) {
            0..3 => self.take_lock(me),
            3 => self.take_permit(me),
            4 => self.wait_for_event(me),
            5 | 6 => self.wait_for_step(me),
            7 => self.work(me),
            8 => self.pay(me),
            9 => self.write(me),
            10 => self.count(me).and_then(|()| self.list(me)),
            _ => self.nest(me),
        }
    }

    fn tend(&self, _: &Table) -> Result<(), String> {
        if self.tended.get().elapsed() < TENDING {
            return Ok(());
        }
        self.tended.set(Instant::now());
        match self.event.is_set().map_err(text)? {
            true => self.event.clear().map_err(text)?,
            false => self.event.set().map_err(text)?,
        }
        self.raise()?;
        self.look_for_coins()
    }

    fn bury(&self, _: &Table, who: usize) -> Result<(), String> {
        match self.books.hand[who].swap(0, SeqCst) {
            0 => {}
            ASKED => self.asked.set(self.asked.get() + 1),
            coin => drop(self.in_hand.borrow_mut().insert(coin - HAS)),
        }
        self.deaths.set(self.deaths.get() + 1);
        if self.deaths.get() == Self::ROUND / 4 {
            self.early.set(memory(self.server));
        }
        Ok(())
    }

    fn stop(&self, _: &Table) {
        let _ = (self.event.set(), self.raise());
        // Who waits for a coin gets one.
        let _ = self.make_coin();
    }

    fn over(&self, table: &Table, report: &mut Report) -> Result<(), String> {
        match self.lock.lock_timeout(PATIENCE).map_err(text)? {
            Some(guard) => guard.release().map_err(text)?,
            None => return Err("at the end the lock is not to be had".into()),
        }
        self.raise()?;
        let begun = Instant::now();
        while self.permits.value().map_err(text)? < PERMITS && begun.elapsed() < PATIENCE {
            std::thread::yield_now();
        }
        let permits = self.permits.value().map_err(text)?;
        if permits != PERMITS {
            return Err(format!("at the end there are {permits} permits"));
        }
        self.take_all_tasks()?;
        self.count_coins(report)?;
        for who in 0..MOST_PLAYERS {
            let count = self.counts.get(&(who as u64)).map_err(text)?.unwrap_or(0);
            let [tried, added] =
                [&self.books.tried, &self.books.added].map(|n| n[who].load(SeqCst));
            table
                .words
                .lost
                .fetch_add(added.saturating_sub(count), SeqCst);
            table
                .words
                .duplicated
                .fetch_add(count.saturating_sub(tried), SeqCst);
        }
        self.shelf.clear().map_err(text)?;
        let begun = Instant::now();
        while self.server_now()? != self.first && begun.elapsed() < PATIENCE {
            std::thread::yield_now();
        }
        let last = self.server_now()?;
        if last != self.first {
            return Err(format!("the server had {:?}, and has {last:?}", self.first));
        }
        let (early, late) = (self.early.get(), memory(self.server));
        report.notes.push(format!(
            "the server had {} KiB early on, {} KiB in the end",
            early >> 10,
            late >> 10
        ));
        if early > 0 && late > early + MAY_GROW {
            return Err("the server's memory grows".into());
        }
        let manager = self.manager.take().ok_or("the manager was shut down")?;
        manager.shut_down().map_err(text)
    }
}
