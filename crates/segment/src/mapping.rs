//! One mapping per inode per process, and the parking of those that must stay.

use crate::header::Header;
use crate::local::Local;
use crate::parking;
use crate::temporary::Attached;
use memmap2::{MmapOptions, MmapRaw};
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::mem::ManuallyDrop;
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, Weak};

type Inode = (u64, u64);

enum Entry {
    Live(Weak<Mapping>),
    Parked(Parts),
}

struct Parts {
    map: MmapRaw,
    // Behind the map: a temporary object's name may go when this does.
    held: Held,
    header: Header,
}

/// The file behind a mapping.
pub(crate) enum Held {
    /// One whose name, if any, is nobody's business here.
    Plain(File),
    /// A temporary object's.
    Temporary(Attached),
}

impl Held {
    pub(crate) fn file(&self) -> &File {
        match self {
            Self::Plain(file) => file,
            Self::Temporary(attached) => attached.file(),
        }
    }
}

static MAPPINGS: Local<Option<HashMap<Inode, Entry>>> = Local::new(None);

/// A mapped file. Dropped with its last handle: unmapped, or parked (Invariant 5).
pub(crate) struct Mapping {
    parts: ManuallyDrop<Parts>,
    inode: Inode,
}

impl Mapping {
    /// Maps `bytes` of a file, or gives the mapping that this process has of it already.
    /// `header` is a private copy, checked by the caller.
    pub(crate) fn of(held: Held, bytes: usize, header: Header) -> io::Result<Arc<Self>> {
        let meta = held.file().metadata()?;
        let inode = (meta.dev(), meta.ino());
        // What is not needed is dropped when the lock is free again.
        let (mapping, _unneeded) = MAPPINGS.with(|all| {
            let all = all.get_or_insert_default();
            let entry = all.remove(&inode);
            if let Some(Entry::Live(weak)) = &entry
                && let Some(mapping) = weak.upgrade()
            {
                all.extend(entry.map(|entry| (inode, entry)));
                return (Ok(mapping), Some(held));
            }
            let (parts, unneeded) = match entry {
                Some(Entry::Parked(parts)) => (parts, Some(held)),
                _ => match MmapOptions::new()
                    .len(bytes)
                    .no_reserve_swap()
                    .map_raw(held.file())
                {
                    Ok(map) => (Parts { map, held, header }, None),
                    Err(e) => return (Err(e), Some(held)),
                },
            };
            let mapping = Arc::new(Self {
                parts: ManuallyDrop::new(parts),
                inode,
            });
            all.insert(inode, Entry::Live(Arc::downgrade(&mapping)));
            (Ok(mapping), unneeded)
        });
        mapping
    }

    pub(crate) fn start(&self) -> *mut u8 {
        self.parts.map.as_mut_ptr()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.parts.map.len()
    }

    pub(crate) fn file(&self) -> &File {
        self.parts.held.file()
    }

    pub(crate) fn header(&self) -> &Header {
        &self.parts.header
    }

    pub(crate) fn is_temporary(&self) -> bool {
        matches!(self.parts.held, Held::Temporary(_))
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: taken once, here; `self` is not used afterwards.
        let parts = unsafe { ManuallyDrop::take(&mut self.parts) };
        let inode = self.inode;
        let gone = MAPPINGS.with(|all| {
            let all = all.get_or_insert_default();
            // Another mapping of this inode may have been made between the last handle's
            // end and now; then the entry is not ours.
            let ours =
                matches!(all.get(&inode), Some(Entry::Live(weak)) if weak.strong_count() == 0);
            if ours {
                all.remove(&inode);
            }
            if !parking::must_stay(parts.map.as_ptr() as usize, parts.map.len()) {
                return Some(parts);
            }
            if ours {
                all.insert(inode, Entry::Parked(parts));
            } else {
                std::mem::forget(parts);
            }
            None
        });
        drop(gone);
    }
}
