//! One mapping per inode per process, and the parking of those that must stay.

use crate::header::Header;
use crate::local::Local;
use crate::parking;
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
    file: File,
    header: Header,
}

static MAPPINGS: Local<Option<HashMap<Inode, Entry>>> = Local::new(None);

/// A mapped file. Dropped with its last handle: unmapped, or parked (Invariant 5).
pub(crate) struct Mapping {
    parts: ManuallyDrop<Parts>,
    inode: Inode,
}

impl Mapping {
    /// Maps `bytes` of `file`, or gives the mapping that this process has of it already.
    /// `header` is a private copy, checked by the caller.
    pub(crate) fn of(file: File, bytes: usize, header: Header) -> io::Result<Arc<Self>> {
        let meta = file.metadata()?;
        let inode = (meta.dev(), meta.ino());
        MAPPINGS.with(|all| {
            let all = all.get_or_insert_default();
            let parts = match all.remove(&inode) {
                Some(Entry::Live(weak)) => {
                    if let Some(mapping) = weak.upgrade() {
                        all.insert(inode, Entry::Live(weak));
                        return Ok(mapping);
                    }
                    None
                }
                Some(Entry::Parked(parts)) => Some(parts),
                None => None,
            };
            let parts = match parts {
                Some(parts) => parts,
                None => Parts {
                    map: MmapOptions::new()
                        .len(bytes)
                        .no_reserve_swap()
                        .map_raw(&file)?,
                    file,
                    header,
                },
            };
            let mapping = Arc::new(Self {
                parts: ManuallyDrop::new(parts),
                inode,
            });
            all.insert(inode, Entry::Live(Arc::downgrade(&mapping)));
            Ok(mapping)
        })
    }

    pub(crate) fn start(&self) -> *mut u8 {
        self.parts.map.as_mut_ptr()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.parts.map.len()
    }

    pub(crate) fn file(&self) -> &File {
        &self.parts.file
    }

    pub(crate) fn header(&self) -> &Header {
        &self.parts.header
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
