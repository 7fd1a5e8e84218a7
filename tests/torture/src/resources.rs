//! What this process has open, to be compared before and after.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Resources {
    descriptors: usize,
    /// Of shared segments.
    mappings: usize,
    /// Bytes behind open segments.
    memory: u64,
    children: usize,
}

fn of_a_segment(place: &str) -> bool {
    place.contains("/memfd:") || place.contains("/dev/shm/")
}

/// Bytes of memory behind the segments that this process has open.
pub(crate) fn memory() -> u64 {
    let mut inodes = BTreeMap::new();
    for entry in fs::read_dir("/proc/self/fd").expect("/proc").flatten() {
        let place = fs::read_link(entry.path()).unwrap_or_default();
        if of_a_segment(&place.to_string_lossy())
            && let Ok(meta) = fs::metadata(entry.path())
        {
            inodes.insert((meta.dev(), meta.ino()), meta.blocks() * 512);
        }
    }
    inodes.values().sum()
}

/// Descriptors that a process has open.
pub(crate) fn descriptors_of(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

impl Resources {
    pub(crate) fn now() -> Self {
        let maps = fs::read_to_string("/proc/self/maps").expect("/proc");
        let me = std::process::id();
        let children = format!("/proc/self/task/{me}/children");
        let children = fs::read_to_string(children).unwrap_or_default();
        Resources {
            descriptors: fs::read_dir("/proc/self/fd").expect("/proc").count(),
            mappings: maps.lines().filter(|line| of_a_segment(line)).count(),
            memory: memory(),
            children: children.split_whitespace().count(),
        }
    }
}
