//! Locks, and data with a lock: whoever dies with one, the next is told, and nobody else.

use crate::crowd::{Game, Player, Table, crowd};
use crate::ledger::{Data, Inside, News, WIDE};
use crate::report::Report;
use crate::scenario::{Plan, Scenario};
use crate::storm::PATIENCE;
use multiproc_lock::{AcquireTimeoutError, Lock, Mutex, OwnerDied, RwLock, TryAcquireError};
use multiproc_rlock::ReentrantMutex;
use multiproc_segment::{Shareable, Shared};
use multiproc_value::{Array, Handed, LockError, LockTimeoutError, TryLockError, Value};
use std::fmt::Display;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

/// The ledger of a game that has only one.
const ONE: usize = 0;

/// A guard, and whether its lock told of a death; nothing where it was not had in time.
type Had<G> = Result<Option<(G, News)>, String>;

/// The same of the three ways to take a lock.
trait IntoHad<G> {
    fn had(self) -> Had<G>;
}

impl<G> IntoHad<G> for Result<G, OwnerDied<G>> {
    fn had(self) -> Had<G> {
        Ok(Some(match self {
            Ok(guard) => (guard, News::None),
            Err(OwnerDied(guard)) => (guard, News::Died),
        }))
    }
}

macro_rules! into_had {
    ($($error:ident $(::$in_vain:ident)? $(where $handed:ident)?;)*) => {$(
        impl<G $(: $handed)?> IntoHad<G> for Result<G, $error<G>> {
            fn had(self) -> Had<G> {
                match self {
                    Ok(guard) => Ok(Some((guard, News::None))),
                    Err($error::OwnerDied(guard)) => Ok(Some((guard, News::Died))),
                    $(Err($error::$in_vain) => Ok(None),)?
                    Err(other) => Err(text(other.without_guard())),
                }
            }
        }
    )*};
}

into_had! {
    TryAcquireError::Held;
    AcquireTimeoutError::Timeout;
    LockError where Handed;
    TryLockError::Held where Handed;
    LockTimeoutError::Timeout where Handed;
}

/// After the storm the lock is there.
fn at_last<G>(had: Had<G>) -> Result<(G, News), String> {
    had?.ok_or_else(|| "at the end the lock is not to be had".into())
}

fn text(error: impl Display) -> String {
    error.to_string()
}

/// Takes a lock in one of its ways, mostly by waiting as long as it takes.
macro_rules! take {
    ($me:expr, $lock:expr, $take:ident, $try_take:ident, $take_timeout:ident) => {
        match $me.dice.below(8) {
            0 => $lock.$try_take().had(),
            1 => {
                let short = Duration::from_micros($me.dice.below(300));
                $lock.$take_timeout(short).had()
            }
            _ => $lock.$take().had(),
        }
    };
}

macro_rules! scenario {
    ($(#[$doc:meta])* $scenario:ident $name:literal $game:ident) => {
        $(#[$doc])*
        pub(crate) struct $scenario;

        impl Scenario for $scenario {
            fn name(&self) -> &'static str {
                $name
            }

            fn run(&self, plan: &Plan, report: &mut Report) {
                crowd::<$game>(plan, report);
            }
        }
    };
}
pub(crate) use scenario;

/// After the storm: what the lock protects is whole, or one is told.
fn at_rest<D: Data + ?Sized>(
    table: &Table,
    ledger: usize,
    data: &D,
    news: News,
) -> Result<(), String> {
    let dead = table.words.ledgers[ledger].look_inside() != Inside::Nobody;
    match news == News::None && (dead || !data.is_whole()) {
        true => Err("at the end the data is torn, and nobody says so".into()),
        false => Ok(()),
    }
}

scenario! {
    /// `Mutex`.
    Mutexes "mutex" OverMutex
}

struct OverMutex(Shared<Mutex<[u64; WIDE]>>);

impl Game for OverMutex {
    const PLAYERS: usize = 4;

    fn new() -> Self {
        OverMutex(Shared::new(Mutex::new([0; WIDE])).expect("shared memory"))
    }

    fn play(&self, me: &mut Player<'_>) -> Result<(), String> {
        if let Some((mut held, news)) = take!(me, self.0, lock, try_lock, lock_timeout)? {
            me.turn(ONE, &mut held[..], news);
            if news == News::Died {
                held.mended();
            }
        }
        Ok(())
    }

    fn over(&self, table: &Table, _: &mut Report) -> Result<(), String> {
        let (held, news) = at_last(self.0.lock_timeout(PATIENCE).had())?;
        at_rest(table, ONE, &held[..], news)
    }
}

scenario! {
    /// `Lock`: with a guard, or without.
    Locks "lock" OverLock
}

#[derive(Shareable)]
#[repr(C)]
struct Beside {
    lock: Lock,
    data: [AtomicU64; WIDE],
}

struct OverLock(Shared<Beside>);

impl Game for OverLock {
    const PLAYERS: usize = 4;

    fn new() -> Self {
        let beside = Beside {
            lock: Lock::new(),
            data: [const { AtomicU64::new(0) }; WIDE],
        };
        OverLock(Shared::new(beside).expect("shared memory"))
    }

    fn play(&self, me: &mut Player<'_>) -> Result<(), String> {
        let Beside { lock, data } = &*self.0;
        if me.dice.once_in(4) {
            let news = match lock.acquire() {
                Ok(()) => News::None,
                Err(OwnerDied(guard)) => {
                    guard.keep();
                    News::Died
                }
            };
            me.turn(ONE, &mut &data[..], news);
            if news == News::Died {
                lock.mended();
            }
            return lock.release().map_err(text);
        }
        if let Some((mut held, news)) = take!(me, lock, lock, try_lock, lock_timeout)? {
            me.turn(ONE, &mut &data[..], news);
            if news == News::Died {
                held.mended();
            }
        }
        Ok(())
    }

    fn over(&self, table: &Table, _: &mut Report) -> Result<(), String> {
        let (_held, news) = at_last(self.0.lock.lock_timeout(PATIENCE).had())?;
        at_rest(table, ONE, &&self.0.data[..], news)
    }
}

scenario! {
    /// `RwLock`: as many read as write.
    RwLocks "rwlock" OverRwLock
}

struct OverRwLock(Shared<RwLock<[u64; WIDE], 8>>);

impl OverRwLock {
    fn read(&self, me: &mut Player<'_>) -> Result<(), String> {
        // Who is told of a death knows nothing of the data, and leaves it to the next writer.
        let Some((held, News::None)) = take!(me, self.0, read, try_read, read_timeout)? else {
            return Ok(());
        };
        let words = &me.table.words;
        let ledger = &words.ledgers[ONE];
        me.has_in_hand(ONE, ledger.entries());
        let inside = ledger.look_inside();
        let first = held[0];
        let whole = held[..].is_whole();
        me.linger();
        let changed = !std::hint::black_box(&held)
            .iter()
            .all(|word| *word == first);
        match inside {
            Inside::Alive => words.together.fetch_add(1, SeqCst),
            _ if whole && changed => words.together.fetch_add(1, SeqCst),
            Inside::Dead => words.torn.fetch_add(1, SeqCst),
            Inside::Nobody => words.torn.fetch_add(u64::from(!whole), SeqCst),
        };
        me.empty_handed();
        Ok(())
    }
}

impl Game for OverRwLock {
    const PLAYERS: usize = 5;

    fn new() -> Self {
        OverRwLock(Shared::new(RwLock::with_places([0; WIDE])).expect("shared memory"))
    }

    fn play(&self, me: &mut Player<'_>) -> Result<(), String> {
        if me.dice.once_in(2) {
            return self.read(me);
        }
        if let Some((mut held, news)) = take!(me, self.0, write, try_write, write_timeout)? {
            me.turn(ONE, &mut held[..], news);
            if news == News::Died {
                held.mended();
            }
        }
        Ok(())
    }

    fn over(&self, table: &Table, _: &mut Report) -> Result<(), String> {
        let (held, news) = at_last(self.0.write_timeout(PATIENCE).had())?;
        at_rest(table, ONE, &held[..], news)?;
        drop(held);
        match self.0.readers() {
            0 => Ok(()),
            n => Err(format!("{n} readers are left, and all have ended")),
        }
    }
}

scenario! {
    /// `ReentrantMutex`: taken up to four times over.
    RLocks "rlock" OverRLock
}

struct OverRLock(Shared<ReentrantMutex<[u64; WIDE]>>);

impl Game for OverRLock {
    const PLAYERS: usize = 4;

    fn new() -> Self {
        OverRLock(Shared::new(ReentrantMutex::new([0; WIDE])).expect("shared memory"))
    }

    fn play(&self, me: &mut Player<'_>) -> Result<(), String> {
        let Some((mut held, news)) = take!(me, self.0, lock, try_lock, lock_timeout)? else {
            return Ok(());
        };
        let mut more = Vec::new();
        for _ in 0..me.dice.below(4) {
            let again = take!(me, self.0, lock, try_lock, lock_timeout)?;
            more.push(again.ok_or("the holder did not get it once more")?.0);
        }
        let levels = 1 + more.len() as u64;
        if self.0.count() != levels {
            return Err(format!("{} levels, not {levels}", self.0.count()));
        }
        me.turn(ONE, &mut &held.as_array_of_cells()[..], news);
        drop(more);
        if news == News::Died {
            held.mended();
        }
        Ok(())
    }

    fn over(&self, table: &Table, _: &mut Report) -> Result<(), String> {
        let (held, news) = at_last(self.0.lock_timeout(PATIENCE).had())?;
        if self.0.count() != 1 {
            return Err(format!("{} levels, not 1", self.0.count()));
        }
        at_rest(table, ONE, &&held.as_array_of_cells()[..], news)
    }
}

scenario! {
    /// `Value` and `Array`: with their guards, and in one copy.
    Values "value" OverValue
}

struct OverValue {
    value: Value<[u64; WIDE]>,
    array: Array<u64>,
    /// Only ever copied in and out.
    copied: Value<[u64; WIDE]>,
}

const IN_VALUE: usize = 0;
const IN_ARRAY: usize = 1;

macro_rules! guarded {
    ($me:expr, $cells:expr, $ledger:expr) => {{
        if let Some((mut held, news)) = take!($me, $cells, lock, try_lock, lock_timeout)? {
            $me.turn($ledger, &mut held[..], news);
            if news == News::Died {
                held.mended();
            }
        }
        Ok(())
    }};
}

impl OverValue {
    /// Reads all in one copy: whole, or one is told.
    fn look(&self, me: &Player<'_>) -> Result<(), String> {
        let all = [
            (self.copied.get().map(Vec::from)).map_err(LockError::without_guard),
            (self.value.get().map(Vec::from)).map_err(LockError::without_guard),
            self.array.to_vec().map_err(LockError::without_guard),
        ];
        for copy in all {
            match copy {
                Ok(words) => {
                    let torn = u64::from(!words[..].is_whole());
                    me.table.words.torn.fetch_add(torn, SeqCst);
                }
                Err(LockError::OwnerDied(())) => {}
                Err(other) => return Err(text(other)),
            }
        }
        Ok(())
    }

    fn set(&self, me: &mut Player<'_>) -> Result<(), String> {
        let words = [me.dice.below(1 << 20); WIDE];
        match self.copied.set(words) {
            Ok(()) => {}
            Err(LockError::OwnerDied(mut guard)) => {
                *guard = words;
                guard.mended();
            }
            Err(other) => return Err(text(other.without_guard())),
        }
        Ok(())
    }
}

impl Game for OverValue {
    const PLAYERS: usize = 4;

    fn new() -> Self {
        OverValue {
            value: Value::new([0; WIDE]).expect("shared memory"),
            array: Array::zeroed(32).expect("shared memory"),
            copied: Value::new([0; WIDE]).expect("shared memory"),
        }
    }

    fn play(&self, me: &mut Player<'_>) -> Result<(), String> {
        match me.dice.below(4) {
            0 => self.look(me),
            1 => self.set(me),
            2 => guarded!(me, self.array, IN_ARRAY),
            _ => guarded!(me, self.value, IN_VALUE),
        }
    }

    fn over(&self, table: &Table, _: &mut Report) -> Result<(), String> {
        let (held, news) = at_last(self.value.lock_timeout(PATIENCE).had())?;
        at_rest(table, IN_VALUE, &held[..], news)?;
        let (held, news) = at_last(self.array.lock_timeout(PATIENCE).had())?;
        at_rest(table, IN_ARRAY, &held[..], news)
    }
}
