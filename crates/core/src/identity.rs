//! Who is alive: processes told apart by pid *and* start time.
//!
//! A pid alone is given to somebody else sooner or later; pid and start time are not. A
//! zombie is dead: its memory is gone and its robust locks were walked. A stopped process
//! is alive, however long it stays so: nobody is declared dead by a clock.
//!
//! ```text
//! bits  63..42  pid (Linux gives at most 2^22)
//!       41..0   start time, clock ticks since boot (field 22 of /proc/PID/stat); 0: unknown
//! ```
//!
//! If a process dies here: nothing is shared; an identity is a number.

use std::fmt;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

const START_BITS: u32 = 42;
const START_MASK: u64 = (1 << START_BITS) - 1;

/// A process, told apart from all others of this boot and PID namespace.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity(NonZeroU64);

// 0 = not looked up yet. Reset in a forked child. Relaxed: a number without memory behind it.
static ME: AtomicU64 = AtomicU64::new(0);

struct Stat {
    start: u64,
    /// The thread of this very id has ended.
    #[cfg_attr(loom, allow(dead_code))] // a model asks itself
    ended: bool,
    /// The whole process has.
    dead: bool,
}

/// What /proc/PID/stat says (or /proc/TID/stat, of one thread).
///
/// # Errors
///
/// There is no such process, none that /proc shows us, or no way to look just now (no
/// descriptor left, say): [`pid_exists`] tells more.
fn stat(pid: u32) -> std::io::Result<Stat> {
    use std::io::{Error, ErrorKind::InvalidData, Read};
    let mut bytes = [0; 1024];
    let n = std::fs::File::open(format!("/proc/{pid}/stat"))?.read(&mut bytes)?;
    parse(&bytes[..n]).ok_or_else(|| Error::from(InvalidData))
}

fn parse(bytes: &[u8]) -> Option<Stat> {
    // The name is in brackets and may hold anything, brackets too: go by the last one.
    let end = bytes.iter().rposition(|b| *b == b')')?;
    let rest = std::str::from_utf8(&bytes[end + 1..]).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?;
    let threads: i64 = fields.nth(16)?.parse().ok()?;
    let start: u64 = fields.nth(1)?.parse().ok()?;
    let ended = matches!(state, "Z" | "X" | "x");
    // A leader that ended while other threads go on looks like a zombie, and is not one.
    let dead = ended && (state != "Z" || threads <= 1);
    Some(Stat { start, ended, dead })
}

impl Identity {
    /// This process.
    pub fn me() -> Self {
        match NonZeroU64::new(ME.load(Relaxed)) {
            Some(bits) => Self(bits),
            None => Self::look_me_up(),
        }
    }

    #[cold]
    fn look_me_up() -> Self {
        crate::fork::watch();
        let pid = std::process::id();
        // Without /proc, or a descriptor to look with, the start time is unknown (0), and the
        // pid has to do: here, and for all who look at us.
        let me = Self::new(pid, stat(pid).map_or(0, |s| s.start));
        ME.store(me.0.get(), Relaxed);
        me
    }

    pub(crate) fn forget_me() {
        ME.store(0, Relaxed);
    }

    fn new(pid: u32, start: u64) -> Self {
        let bits = u64::from(pid) << START_BITS | start & START_MASK;
        Self(NonZeroU64::new(bits).unwrap_or(NonZeroU64::MIN))
    }

    /// The process that has this pid now, zombies included.
    pub fn of(pid: u32) -> Option<Self> {
        if pid == 0 || pid >= 1 << 22 {
            return None;
        }
        Some(Self::new(pid, stat(pid).ok()?.start))
    }

    /// Its process id.
    pub fn pid(self) -> u32 {
        (self.0.get() >> START_BITS) as u32
    }

    fn start(self) -> u64 {
        self.0.get() & START_MASK
    }

    /// Is this very process still there? A zombie is not; a stopped one is.
    pub fn is_alive(self) -> bool {
        if self.0.get() == ME.load(Relaxed) {
            return true;
        }
        match stat(self.pid()) {
            Ok(s) => !s.dead && (self.start() == 0 || self.start() == s.start & START_MASK),
            // Not to be seen is not dead: /proc may hide other users' processes, or this
            // process may have no descriptor left to look with.
            Err(_) => self.pid() != 0 && pid_exists(self.pid()),
        }
    }

    /// As a number that is never 0, for shared memory.
    pub fn to_bits(self) -> u64 {
        self.0.get()
    }

    /// From shared memory; any bits but 0 are an identity (perhaps nobody's).
    pub fn from_bits(bits: u64) -> Option<Self> {
        NonZeroU64::new(bits).map(Self)
    }
}

/// Is there a thread of this id, and has it not ended? (A zombie still has its id, but
/// nothing that it held will it ever release.) Says nothing about *which*.
#[cfg_attr(loom, allow(dead_code))] // a model asks itself
pub(crate) fn thread_is_there(tid: u32) -> bool {
    stat(tid).map_or_else(|_| pid_exists(tid), |s| !s.ended)
}

/// Is there a process or thread of this id, zombies included? Says nothing about *which*.
fn pid_exists(pid: u32) -> bool {
    // SAFETY: signal 0 only asks.
    let r = unsafe { libc::kill(pid as libc::pid_t, 0) };
    r == 0 || std::io::Error::last_os_error().raw_os_error() != Some(libc::ESRCH)
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pid {} (started at tick {})", self.pid(), self.start())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i_am_alive_and_have_my_pid() {
        let me = Identity::me();
        assert_eq!(me.pid(), std::process::id());
        assert_eq!(Identity::of(me.pid()), Some(me));
        assert!(me.is_alive());
        assert_eq!(Identity::from_bits(me.to_bits()), Some(me));
    }

    #[test]
    fn a_pid_with_another_start_time_is_somebody_else() {
        let me = Identity::me();
        let reused = Identity::from_bits(me.to_bits() ^ 1).unwrap();
        assert_eq!(reused.pid(), me.pid());
        assert!(!reused.is_alive());
    }

    #[test]
    fn a_zombie_is_dead() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let id = Identity::of(child.id());
        // Wait for its end without reaping it.
        // SAFETY: a zeroed siginfo_t is a valid out-parameter.
        let mut info = unsafe { std::mem::zeroed() };
        let flags = libc::WEXITED | libc::WNOWAIT;
        // SAFETY: `info` is ours; the pid is our child's.
        let r = unsafe { libc::waitid(libc::P_PID, child.id(), &mut info, flags) };
        assert_eq!(r, 0);
        assert!(!id.unwrap().is_alive());
        child.wait().unwrap();
        assert!(!id.unwrap().is_alive());
    }

    #[test]
    fn garbage_is_nobody() {
        assert_eq!(Identity::from_bits(0), None);
        for bits in [1, u64::MAX, 1 << 63, START_MASK] {
            assert!(!Identity::from_bits(bits).unwrap().is_alive());
        }
    }
}
