//! What the bytes of each kind of object say.
//!
//! An object's kind is the type in its header; where the words of that type lie is written down
//! here, as offsets into the body, and the tests compare it with objects in use.
//!
//! ```text
//! a robust lock   0 word (core's `LockWord`), 40 bytes in all
//! Mutex           0 lock   40 damaged                                      also Value, Array
//! RLock           0 lock   40 count u64   48 damaged                       also ReentrantMutex
//! Lock            0 holder u64 (41: awaited)   16 damaged
//! RwLock          0 lock   44 dirty   48 places used   56 places, one u64 each
//! Semaphore       0 value (31: awaited)   12 bound   24 lock   64 places
//! Event           0 word (0: set, 1: awaited)
//! Condition       8 lock   48 places
//! Barrier         0 word (0: broken, 9..: turn)   4 parties   8 lock   48 places
//! a place         0 owner u64   8 ticket u64   16 word u32   (24 bytes)
//! Queue           0 put lock   40 frontier   104 waits for room
//!                 128 get lock   168 head   176 waits for data
//!                 264 shut down   272 joined   280 capacity
//!                 384 producers   8624 consumers
//! a table of ends 44 slots used   48 slots, 16 bytes each: owner u64, generation u64
//! list            0 lock   40 length u64
//! ```
//!
//! Whatever stands there, it is a number: an owner is alive or is not, a count is kept below
//! what the object has room for.

use crate::text::{Json, cut};
use multiproc_core::holder::Holder;
use multiproc_core::identity::Identity;
use multiproc_core::robust::LockWord;
use multiproc_segment::Look;
use std::io;
use std::os::unix::fs::MetadataExt;

/// Somebody who holds something.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Holding {
    /// What.
    pub(crate) what: &'static str,
    /// The process; 0 if it cannot be found.
    pub(crate) pid: u32,
    /// The thread, where it is a thread that holds.
    pub(crate) thread: Option<u32>,
    pub(crate) alive: bool,
}

/// How many wait.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Waiting {
    /// This kind of object has nothing to wait for, or is not known here.
    Unknown,
    Exactly(usize),
    /// So many at least: the object notes that somebody waits, and not how many do.
    AtLeast(usize),
}

/// What an object is doing.
#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(crate) holders: Vec<Holding>,
    pub(crate) waiting: Waiting,
    /// In a few words.
    pub(crate) summary: String,
    /// In full.
    pub(crate) facts: Vec<(&'static str, Json)>,
}

impl State {
    pub(crate) fn unknown() -> Self {
        Self {
            holders: Vec::new(),
            waiting: Waiting::Unknown,
            summary: String::new(),
            facts: Vec::new(),
        }
    }

    /// What the object says that `look` looks at.
    pub(crate) fn of(look: &Look) -> Self {
        let mut reader = Reader {
            look,
            // Numbers of threads and processes mean nothing from another namespace.
            at_home: own_namespace().is_some_and(|own| own == look.header().pid_namespace),
            state: Self::unknown(),
        };
        match reader.read() {
            Ok(()) => reader.state,
            Err(_) => Self {
                summary: "unreadable".into(),
                ..Self::unknown()
            },
        }
    }
}

fn own_namespace() -> Option<u64> {
    Some(std::fs::metadata("/proc/self/ns/pid").ok()?.ino())
}

/// `RwLock<u64, 64>` is an `RwLock` with `u64, 64`.
fn parts(tag: &str) -> (&str, &str) {
    let end = tag.find(['<', ' ']).unwrap_or(tag.len());
    let (base, rest) = tag.split_at(end);
    let inner = rest
        .strip_prefix('<')
        .and_then(|rest| rest.rfind('>').map(|end| &rest[..end]));
    (base, inner.unwrap_or(""))
}

const PLACE: usize = 24;
/// More places than any object in use has: so long a table is read at once.
const MOST_PLACES: usize = 100_000;

/// A place of a table: who holds it, its ticket, its word.
struct Place {
    owner: u64,
    ticket: u64,
    word: u32,
}

struct Reader<'a> {
    look: &'a Look,
    at_home: bool,
    state: State,
}

impl Reader<'_> {
    fn fixed(&self) -> usize {
        self.look.header().kind.fixed
    }

    fn fact(&mut self, name: &'static str, value: impl Into<Json>) {
        self.state.facts.push((name, value.into()));
    }

    fn read(&mut self) -> io::Result<()> {
        let tag = self.look.header().kind.tag.clone();
        let (base, inner) = parts(&tag);
        match base {
            "Lock" if self.fixed() == 24 => self.lock(),
            "Mutex" | "RawLock" | "RawLockUnpoisoned" => self.mutex(),
            "RobustLock" | "ThreadLock" => self.robust("the lock", 0).map(|_| ()),
            "RLock" | "ReentrantMutex" => self.rlock(),
            "RwLock" => self.rwlock(),
            "Semaphore" | "BoundedSemaphore" => self.semaphore(base),
            "Event" => self.event(),
            "Condition" => self.condition(),
            "Barrier" => self.barrier(),
            "Queue" => self.queue(),
            "Value" | "Array" => {
                if tag.contains("under its own lock") {
                    self.mutex()?;
                }
                self.items(base, inner, 48)
            }
            "RawValue" | "RawArray" => self.items(base, inner, 0),
            _ if base.starts_with("Atomic") => self.atomic(base),
            _ if tag == "a shareable list" => self.list(),
            _ => Ok(()),
        }
    }

    // ---- who ----

    /// A robust lock's holder and whether somebody waits. Returns the word.
    fn robust(&mut self, what: &'static str, at: usize) -> io::Result<LockWord> {
        let word = LockWord::read(self.look.u32(at)?);
        if word.thread != 0 {
            let (pid, alive) = match self.at_home.then(|| Holder::in_word(word)) {
                Some(Holder::Other { pid, .. }) => (pid, pid != 0),
                Some(_) => (std::process::id(), true),
                None => (0, true),
            };
            self.state.holders.push(Holding {
                what,
                pid,
                thread: Some(word.thread),
                alive,
            });
        }
        self.state.waiting = match word.awaited {
            true => Waiting::AtLeast(1),
            false => Waiting::Exactly(0),
        };
        self.state.summary = match (word.thread, word.orphaned) {
            (0, false) => "free",
            (0, true) => "free, its owner died",
            _ => "held",
        }
        .into();
        Ok(word)
    }

    /// The same of a lock that is inside of something else, which nobody holds for long.
    fn inner_lock(&mut self, what: &'static str, at: usize) -> io::Result<()> {
        let before = (self.state.waiting, std::mem::take(&mut self.state.summary));
        self.robust(what, at)?;
        (self.state.waiting, self.state.summary) = before;
        Ok(())
    }

    fn process(&self, owner: u64) -> Option<(u32, bool)> {
        let identity = Identity::from_bits(owner)?;
        let alive = !self.at_home || identity.is_alive();
        Some((identity.pid(), alive))
    }

    fn holds(&mut self, what: &'static str, owner: u64) {
        if let Some((pid, alive)) = self.process(owner) {
            self.state.holders.push(Holding {
                what,
                pid,
                thread: None,
                alive,
            });
        }
    }

    /// The held places of a table that fills the fixed part from `at` on.
    fn places(&self, at: usize, most: usize) -> io::Result<Vec<Place>> {
        let room = self.fixed().saturating_sub(at) / PLACE;
        let mut bytes = vec![0; room.min(most).min(MOST_PLACES) * PLACE];
        self.look.read(at, &mut bytes)?;
        let word = |place: &[u8], at: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&place[at..at + 8]);
            u64::from_ne_bytes(word)
        };
        let all = bytes.chunks_exact(PLACE).map(|place| Place {
            owner: word(place, 0),
            ticket: word(place, 8),
            word: word(place, 16).to_ne_bytes()[..4]
                .try_into()
                .map_or(0, u32::from_ne_bytes),
        });
        Ok(all.filter(|place| place.owner != 0).collect())
    }

    fn damaged(&mut self, at: usize) -> io::Result<()> {
        let damaged = self.look.u32(at)? != 0;
        self.fact("mended", !damaged);
        if damaged {
            self.state.summary.push_str(", not mended");
        }
        Ok(())
    }

    // ---- each kind ----

    fn lock(&mut self) -> io::Result<()> {
        const AWAITED: u64 = 1 << 41;
        let word = self.look.u64(0)?;
        self.state.waiting = match word & AWAITED {
            0 => Waiting::Exactly(0),
            _ => Waiting::AtLeast(1),
        };
        self.holds("the lock", word & !AWAITED);
        self.state.summary = match self.state.holders.first() {
            None => "free".into(),
            Some(holder) if holder.alive => "held".into(),
            Some(_) => "held by a dead process".into(),
        };
        self.damaged(16)
    }

    fn mutex(&mut self) -> io::Result<()> {
        self.robust("the lock", 0)?;
        self.damaged(40)
    }

    fn rlock(&mut self) -> io::Result<()> {
        self.robust("the lock", 0)?;
        let count = self.look.u64(40)?;
        self.fact("count", count);
        if !self.state.holders.is_empty() {
            self.state.summary = format!("held {count} times");
        }
        self.damaged(48)
    }

    fn rwlock(&mut self) -> io::Result<()> {
        self.robust("writing", 0)?;
        let dirty = self.look.u32(44)? != 0 && self.state.holders.is_empty();
        let room = self.fixed().saturating_sub(56) / 8;
        let used = (self.look.u32(48)? as usize).min(room);
        let mut readers = 0_usize;
        for place in 0..used.min(MOST_PLACES) {
            let owner = self.look.u64(56 + 8 * place)? & !(1 << 41);
            readers += usize::from(owner != 0);
            self.holds("reading", owner);
        }
        self.fact("readers", readers);
        self.fact("mended", !dirty);
        if readers > 0 {
            let read = format!("read by {readers}");
            self.state.summary = match self.state.summary.as_str() {
                "held" => read + ", a writer waits or enters",
                _ => read,
            };
        }
        if dirty {
            self.state.summary.push_str(", not mended");
        }
        Ok(())
    }

    fn semaphore(&mut self, base: &str) -> io::Result<()> {
        let state = self.look.u32(0)?;
        let value = state & 0x7fff_ffff;
        self.state.waiting = match state >> 31 {
            0 => Waiting::Exactly(0),
            _ => Waiting::AtLeast(1),
        };
        self.state.summary = format!("value {value}");
        self.fact("value", value);
        if base == "BoundedSemaphore" {
            let bound = self.look.u32(12)?;
            self.fact("bound", bound);
            self.state.summary = format!("value {value} of {bound}");
        }
        let held = self.places(64, MOST_PLACES)?;
        let permits: u64 = held.iter().map(|place| u64::from(place.word)).sum();
        self.fact("permits", permits);
        for place in held {
            self.holds("a permit", place.owner);
        }
        self.inner_lock("the table", 24)
    }

    fn event(&mut self) -> io::Result<()> {
        let word = self.look.u32(0)?;
        let set = word & 1 != 0;
        // Set, it has nobody who waits: the mark is of those who were woken.
        self.state.waiting = match word & 3 {
            2 => Waiting::AtLeast(1),
            _ => Waiting::Exactly(0),
        };
        self.state.summary = if set { "set" } else { "unset" }.into();
        self.fact("set", set);
        Ok(())
    }

    fn condition(&mut self) -> io::Result<()> {
        const WAITING: u32 = 1;
        let held = self.places(48, MOST_PLACES)?;
        let waiting = held.iter().filter(|place| place.word == WAITING).count();
        self.state.waiting = Waiting::Exactly(waiting);
        self.inner_lock("the table", 8)
    }

    fn barrier(&mut self) -> io::Result<()> {
        let (word, parties) = (self.look.u32(0)?, self.look.u32(4)?);
        // 48 bytes, and a place and a lock for each.
        let room = self.fixed().saturating_sub(48) / (PLACE + 40);
        let parties = (parties as usize).min(room);
        let turn = u64::from(word >> 9);
        let there = self.places(48, parties)?;
        let arrived = there.iter().filter(|place| place.ticket == turn).count();
        let broken = word & 1 != 0;
        self.state.waiting = Waiting::Exactly(arrived);
        self.state.summary = format!("{arrived} of {parties} are there");
        if broken {
            self.state.summary.push_str(", broken");
        }
        self.fact("parties", parties);
        self.fact("broken", broken);
        self.inner_lock("the table", 8)
    }

    fn queue(&mut self) -> io::Result<()> {
        let count = |word: u64| (word >> 32) as u32;
        let (head, frontier) = (self.look.u64(168)?, self.look.u64(40)?);
        // Read one after the other: what was taken meanwhile is not a queue of 4 billion.
        let queued = match count(frontier).wrapping_sub(count(head)) {
            queued if queued > u32::MAX / 2 => 0,
            queued => queued,
        };
        let capacity = self.look.u32(280)?;
        let shut = self.look.u32(264)? != 0;
        // Who waits for room or data keeps its lock; others wait for the lock.
        let mut waiting = 0;
        for (what, lock, leader) in [("putting", 0, 104), ("getting", 128, 176)] {
            let held_before = self.state.holders.len();
            let word = self.robust(what, lock)?;
            let waits = self.look.u32(leader)? != 0;
            if waits {
                self.state.holders.truncate(held_before);
            }
            let held = word.thread != 0;
            waiting += usize::from(waits && held) + usize::from(word.awaited && held);
        }
        let joined = self.look.u32(272)?;
        self.state.waiting = match waiting + usize::from(joined != 0) {
            0 => Waiting::Exactly(0),
            some => Waiting::AtLeast(some),
        };
        let (producers, consumers) = (self.ends(384)?, self.ends(8624)?);
        self.fact("queued", queued);
        self.fact("shut_down", shut);
        self.state.summary = format!("{queued} queued");
        if capacity < i32::MAX as u32 {
            self.fact("capacity", capacity);
            self.state.summary = format!("{queued} of {capacity} queued");
        } else {
            self.fact("capacity", Json::Null);
        }
        for (name, ends) in [("producers", producers), ("consumers", consumers)] {
            let pids = ends.into_iter().map(Json::from).collect();
            self.fact(name, Json::List(pids));
        }
        if shut {
            self.state.summary.push_str(", shut down");
        }
        Ok(())
    }

    /// The living holders of a table of registered ends, once for each end.
    fn ends(&self, at: usize) -> io::Result<Vec<u32>> {
        const MOST_ENDS: usize = 512;
        let used = (self.look.u32(at + 44)? as usize).min(MOST_ENDS);
        let mut alive = Vec::new();
        for slot in 0..used {
            if let Some((pid, true)) = self.process(self.look.u64(at + 48 + 16 * slot)?) {
                alive.push(pid);
            }
        }
        Ok(alive)
    }

    fn list(&mut self) -> io::Result<()> {
        self.robust("the lock", 0)?;
        let length = self.look.u64(40)?.min(self.look.header().body as u64 / 8);
        self.fact("length", length);
        self.state.summary = format!("{length} items, {}", self.state.summary);
        Ok(())
    }

    fn atomic(&mut self, base: &str) -> io::Result<()> {
        let name = base.trim_start_matches("Atomic").to_lowercase();
        if let Some(value) = self.numbers(&name, 0, 1)?.pop() {
            self.state.summary = value.clone();
            self.fact("value", value);
        }
        Ok(())
    }

    /// The items of a value or an array, where they are numbers: as they are, without the lock.
    fn items(&mut self, base: &str, inner: &str, at: usize) -> io::Result<()> {
        const SHOWN: usize = 16;
        let mut summary = self.state.summary.clone();
        let width = width(inner);
        if let Some(width) = width {
            let at = at.next_multiple_of(width);
            let count = self.look.header().body.saturating_sub(at) / width;
            let shown = self.numbers(inner, at, count.min(SHOWN))?;
            let few = match base.ends_with("Value") {
                true => shown.concat(),
                false => format!("{count} items"),
            };
            if base.ends_with("Array") {
                self.fact("length", count);
            }
            let more = if count > SHOWN { ", …" } else { "" };
            self.fact("items", format!("{}{more}", shown.join(", ")));
            summary = match summary.as_str() {
                "" => few,
                lock => format!("{few}, {lock}"),
            };
        }
        self.state.summary = cut(&summary, 40);
        Ok(())
    }

    fn numbers(&self, name: &str, at: usize, count: usize) -> io::Result<Vec<String>> {
        let Some(width) = width(name) else {
            return Ok(Vec::new());
        };
        let mut bytes = vec![0; count * width];
        self.look.read(at, &mut bytes)?;
        Ok(bytes
            .chunks_exact(width)
            .map(|item| number(name, item))
            .collect())
    }
}

/// Bytes of a number of that type.
fn width(name: &str) -> Option<usize> {
    match name {
        "u8" | "i8" | "bool" => Some(1),
        "u16" | "i16" => Some(2),
        "u32" | "i32" | "f32" | "char" => Some(4),
        "u64" | "i64" | "f64" | "usize" | "isize" => Some(8),
        _ => None,
    }
}

fn number(name: &str, bytes: &[u8]) -> String {
    let mut wide = [0; 8];
    wide[..bytes.len()].copy_from_slice(bytes);
    // Little-endian or not: the bytes are the lowest ones of a number of their own width.
    let value = match cfg!(target_endian = "little") {
        true => u64::from_le_bytes(wide),
        false => u64::from_be_bytes(wide) >> (64 - 8 * bytes.len()),
    };
    match name {
        "i8" => (value as i8).to_string(),
        "i16" => (value as i16).to_string(),
        "i32" => (value as i32).to_string(),
        "i64" | "isize" => (value as i64).to_string(),
        "f32" => format!("{:?}", f32::from_bits(value as u32)),
        "f64" => format!("{:?}", f64::from_bits(value)),
        "bool" => match value {
            0 => "false".into(),
            1 => "true".into(),
            other => format!("{other} (no bool)"),
        },
        "char" => match char::from_u32(value as u32) {
            Some(c) => format!("{c:?}"),
            None => format!("{value} (no char)"),
        },
        _ => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_have_parts() {
        assert_eq!(parts("Lock"), ("Lock", ""));
        assert_eq!(parts("RwLock<u64, 64>"), ("RwLock", "u64, 64"));
        assert_eq!(parts("Array<f64> (8 bytes, …)"), ("Array", "f64"));
        assert_eq!(parts("a shareable list"), ("a", ""));
        assert_eq!(parts("Mutex<"), ("Mutex", ""));
        assert_eq!(parts(">x<"), (">x", ""));
    }

    #[test]
    fn numbers_of_every_width_are_read() {
        assert_eq!(number("u8", &200_u8.to_ne_bytes()), "200");
        assert_eq!(number("i16", &(-2_i16).to_ne_bytes()), "-2");
        assert_eq!(number("f32", &1.5_f32.to_ne_bytes()), "1.5");
        assert_eq!(number("isize", &(-3_isize).to_ne_bytes()), "-3");
        assert_eq!(number("bool", &[2]), "2 (no bool)");
        assert_eq!(number("char", &0x1b_u32.to_ne_bytes()), "'\\u{1b}'");
        assert_eq!(
            number("char", &u32::MAX.to_ne_bytes()),
            "4294967295 (no char)"
        );
    }
}
