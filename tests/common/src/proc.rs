//! What the kernel says of processes.

use std::fs;
use std::time::Duration;

/// The letter that the kernel has for what a process or thread does; `None` when it is gone.
pub fn state_of(pid: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat[stat.rfind(')')? + 1..].trim_start().chars().next()
}

/// Does this process or thread sleep on a futex right now?
pub fn sleeps_on_futex(pid: u32) -> bool {
    sleeps_in(pid, "futex")
}

/// Does it sleep in `poll`?
pub fn sleeps_in_poll(pid: u32) -> bool {
    sleeps_in(pid, "poll")
}

fn sleeps_in(pid: u32, place: &str) -> bool {
    let asleep = state_of(pid) == Some('S');
    // Where the kernel does not tell the place, the state has to do.
    let at = fs::read_to_string(format!("/proc/{pid}/wchan")).unwrap_or_default();
    asleep && (at.is_empty() || at == "0" || at.contains(place))
}

/// How many descriptors this process has open, with the one that this takes.
pub fn open_descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// The memory that a process has in RAM, in bytes.
#[track_caller]
pub fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|line| line.split_whitespace().next());
    kibibytes.unwrap().parse::<u64>().unwrap() << 10
}

/// Has it ended, collected or not?
pub fn is_gone(pid: u32) -> bool {
    matches!(state_of(pid), None | Some('Z' | 'X'))
}

/// The children that the first thread of a process has, dead ones that it has not collected too.
pub fn children_of(pid: u32) -> Vec<u32> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let pids = text.split_whitespace();
    pids.filter_map(|pid| pid.parse().ok()).collect()
}

/// The time on a processor that a process has had, in steps of a hundredth of a second.
#[track_caller]
pub fn cpu_of(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let after = &stat[stat.rfind(')').unwrap() + 1..];
    let times = after.split_whitespace().skip(11).take(2);
    let ticks: u64 = times.map(|ticks| ticks.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 10)
}
