//! Looking at names from outside: without taking part, and without being noticed.
//!
//! Nothing here maps an object, takes a lock in it or counts as having it open: bytes are
//! copied out by `pread`, who is attached is read from `/proc`, and whether a temporary
//! object is in use is a question to the kernel. [`remove_stale`] alone changes something.
//!
//! If a process dies here: nothing is shared.

use crate::error::OpenError;
use crate::header::{HEADER_BYTES, Header, HeaderError, Unread};
use crate::name::Name;
use crate::segment::open_error;
use crate::temporary::{self, Seen};
use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};

/// A name, and what it names, at the moment of the look.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Named {
    /// The name.
    pub name: String,
    /// What is there.
    pub content: Content,
    /// Bytes of the file: header and body, the sparse part included.
    pub bytes: u64,
    /// Bytes of memory that it takes at this moment.
    pub memory: u64,
    /// Permission bits.
    pub mode: u32,
    /// The user, by number, that it belongs to.
    pub owner: u32,
    /// Its group, by number.
    pub group: u32,
    /// Does it go with the last process that has it open?
    pub temporary: bool,
    /// It is temporary and nobody has it open: nobody can open it any more, and
    /// [`remove_stale`] removes it.
    pub stale: bool,
    /// The processes that map it, as far as `/proc` shows them to this user.
    pub attached: Vec<Attachment>,
    /// Processes that `/proc` hides from this user: `attached` may lack some of them.
    pub hidden: usize,
}

/// What a name names.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Content {
    /// An object, with this header.
    Object(Header),
    /// Something else.
    NotAnObject(HeaderError),
    /// This user may not look into it.
    Unreadable(io::ErrorKind),
}

/// A process that maps an object.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Attachment {
    /// The process.
    pub pid: u32,
    /// Where it has it, in its own addresses.
    pub at: Vec<Range<u64>>,
}

impl Named {
    /// Its header, if it is an object that this user may look into.
    pub fn header(&self) -> Option<&Header> {
        match &self.content {
            Content::Object(header) => Some(header),
            _ => None,
        }
    }

    /// Everything but who is attached, and the file's number.
    fn of(name: Name) -> io::Result<(Self, (u64, u64))> {
        let meta = name.path().symlink_metadata()?;
        let (meta, content, stale) = match Self::opened(&name, &meta) {
            Ok((file, meta)) => {
                let stale = temporary::is_marked(&meta)
                    && temporary::seen(&file).is_ok_and(|seen| seen != Seen::InUse);
                let content = match Header::of_file(&file) {
                    Ok((header, _)) => Content::Object(header),
                    Err(Unread::Header(why)) => Content::NotAnObject(why),
                    Err(Unread::Io(e)) => Content::Unreadable(e.kind()),
                };
                (meta, content, stale)
            }
            Err(None) => (meta, Content::NotAnObject(HeaderError::Magic), false),
            Err(Some(e)) if e.kind() == io::ErrorKind::NotFound => return Err(e),
            Err(Some(e)) => (meta, Content::Unreadable(e.kind()), false),
        };
        let named = Self {
            name: name.as_str().to_owned(),
            content,
            bytes: meta.size(),
            memory: meta.blocks() * 512,
            mode: meta.mode() & 0o777,
            owner: meta.uid(),
            group: meta.gid(),
            temporary: temporary::is_marked(&meta),
            stale,
            attached: Vec::new(),
            hidden: 0,
        };
        Ok((named, (meta.dev(), meta.ino())))
    }

    /// The file, and what it is: not what the name was when it was looked at before. `None`:
    /// it is no file, and opening it might have an effect.
    fn opened(name: &Name, meta: &Metadata) -> Result<(File, Metadata), Option<io::Error>> {
        let kind = meta.file_type();
        if kind.is_fifo() || kind.is_char_device() || kind.is_block_device() || kind.is_symlink() {
            return Err(None);
        }
        let file = name.open_to_read().map_err(Some)?;
        let meta = file.metadata().map_err(Some)?;
        Ok((file, meta))
    }
}

/// All named objects, by name; also those of other users, as far as they let themselves be
/// looked at. Disturbs nobody: see [`Named`] for what it tells.
///
/// Reads the mappings of every process once; what changes meanwhile may be seen half.
///
/// # Errors
///
/// `/dev/shm` or `/proc` cannot be read.
pub fn list() -> io::Result<Vec<Named>> {
    let mut all: Vec<_> = Name::all()?
        .into_iter()
        .filter_map(|name| Named::of(name).ok()) // gone meanwhile
        .collect();
    all.sort_by(|a, b| a.0.name.cmp(&b.0.name));
    attach(&mut all)?;
    Ok(all.into_iter().map(|(named, _)| named).collect())
}

/// One of [`list`], by its name.
///
/// # Errors
///
/// [`OpenError`]: the name is not one, or nothing has it, or `/proc` cannot be read. What this
/// user may not look into is no error.
pub fn look(name: &str) -> Result<Named, OpenError> {
    let error = open_error(name);
    let mut one = vec![Named::of(Name::new(name)?).map_err(&error)?];
    attach(&mut one).map_err(&error)?;
    match one.pop() {
        Some((named, _)) => Ok(named),
        None => Err(OpenError::NotFound(name.into())),
    }
}

/// Fills in who is attached.
fn attach(all: &mut [(Named, (u64, u64))]) -> io::Result<()> {
    let inodes: HashMap<(u64, u64), usize> = all
        .iter()
        .enumerate()
        .map(|(index, (_, inode))| (*inode, index))
        .collect();
    let mut hidden = 0;
    for process in std::fs::read_dir("/proc")? {
        let Some(pid) = process
            .ok()
            .and_then(|p| p.file_name().to_str()?.parse().ok())
        else {
            continue;
        };
        match std::fs::read(format!("/proc/{pid}/maps")) {
            Ok(maps) => {
                // Paths may be of any bytes.
                let maps = String::from_utf8_lossy(&maps);
                for (range, inode) in maps.lines().filter_map(mapped) {
                    if let Some(index) = inodes.get(&inode) {
                        note(&mut all[*index].0.attached, pid, range);
                    }
                }
            }
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => hidden += 1,
            Err(_) => {} // ended meanwhile
        }
    }
    for (named, _) in all {
        named.attached.sort_by_key(|attachment| attachment.pid);
        named.hidden = hidden;
    }
    Ok(())
}

fn note(attached: &mut Vec<Attachment>, pid: u32, range: Range<u64>) {
    match attached.iter_mut().find(|attachment| attachment.pid == pid) {
        Some(attachment) => match attachment.at.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => attachment.at.push(range),
        },
        None => attached.push(Attachment {
            pid,
            at: vec![range],
        }),
    }
}

/// A line of `/proc/PID/maps`: `START-END PERMS OFFSET MAJOR:MINOR INODE PATH`.
fn mapped(line: &str) -> Option<(Range<u64>, (u64, u64))> {
    let mut words = line.split_ascii_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let (major, minor) = words.nth(2)?.split_once(':')?;
    let inode = words.next()?.parse().ok()?;
    let hex = |text| u64::from_str_radix(text, 16).ok();
    let device = libc::makedev(hex(major)? as u32, hex(minor)? as u32);
    (inode != 0).then_some((hex(start)?..hex(end)?, (device, inode)))
}

/// An object's bytes, to be read without taking part. What others write meanwhile may be read
/// half.
#[derive(Debug)]
pub struct Look {
    file: File,
    header: Header,
}

impl Look {
    /// At the object of that name; needs permission to read it, no more.
    ///
    /// # Errors
    ///
    /// [`OpenError`]: nothing there, no permission, no object.
    pub fn at(name: &str) -> Result<Self, OpenError> {
        let checked = Name::new(name)?;
        let error = open_error(name);
        let meta = checked.path().symlink_metadata().map_err(&error)?;
        let not_a_segment = |why| OpenError::NotASegment {
            name: name.into(),
            why,
        };
        let (file, _) = Named::opened(&checked, &meta)
            .map_err(|e| e.map_or_else(|| not_a_segment(HeaderError::Magic), &error))?;
        match Header::of_file(&file) {
            Ok((header, _)) => Ok(Self { file, header }),
            Err(Unread::Header(why)) => Err(not_a_segment(why)),
            Err(Unread::Io(e)) => Err(error(e)),
        }
    }

    /// What it is.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Copies `to.len()` bytes of the body out, from `at` on.
    ///
    /// # Errors
    ///
    /// They lie outside of the body, or of the file.
    pub fn read(&self, at: usize, to: &mut [u8]) -> io::Result<()> {
        match at.checked_add(to.len()) {
            Some(end) if end <= self.header.body => {
                self.file.read_exact_at(to, (HEADER_BYTES + at) as u64)
            }
            _ => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    /// The 4-byte word at `at` of the body.
    ///
    /// # Errors
    ///
    /// As [`Look::read`].
    pub fn u32(&self, at: usize) -> io::Result<u32> {
        let mut bytes = [0; 4];
        self.read(at, &mut bytes)?;
        Ok(u32::from_ne_bytes(bytes))
    }

    /// The 8-byte word at `at` of the body.
    ///
    /// # Errors
    ///
    /// As [`Look::read`].
    pub fn u64(&self, at: usize) -> io::Result<u64> {
        let mut bytes = [0; 8];
        self.read(at, &mut bytes)?;
        Ok(u64::from_ne_bytes(bytes))
    }
}

/// Removes the names of temporary objects that nobody has open, as far as they are this
/// user's, and tells which. Touches nothing else: neither what is in use, also by somebody
/// who attaches at this moment, nor what was not made temporary.
///
/// # Errors
///
/// `/dev/shm` cannot be read.
pub fn remove_stale() -> io::Result<Vec<String>> {
    let mut removed = Vec::new();
    for name in Name::all()? {
        let meta = name.path().symlink_metadata();
        let marked = meta.is_ok_and(|meta| temporary::is_marked(&meta));
        // Gone meanwhile, or another user's.
        let Some(file) = marked.then(|| name.open().ok()).flatten() else {
            continue;
        };
        if file
            .metadata()
            .is_ok_and(|meta| temporary::is_marked(&meta))
            && temporary::seen(&file).is_ok_and(|seen| seen != Seen::InUse)
            && temporary::remove_unused(&file, Some(&name)).is_ok_and(|removed| removed)
        {
            removed.push(name.as_str().to_owned());
        }
    }
    removed.sort();
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_maps_are_read() {
        let line = "7f00-7f10 rw-s 00000000 00:1a 4711       /dev/shm/multiproc.a b (deleted)";
        let device = libc::makedev(0, 0x1a);
        assert_eq!(mapped(line), Some((0x7f00..0x7f10, (device, 4711))));
        assert_eq!(mapped("7f00-7f10 rw-p 00000000 00:00 0"), None);
        for garbage in [
            "",
            "7f00",
            "x-y rw-p 0 0:0 1",
            "1-2 rw-p 0 0 1",
            "1-2 rw-p 0 0:0 x",
        ] {
            assert_eq!(mapped(garbage), None);
        }
    }

    #[test]
    fn neighbours_are_one_mapping() {
        let mut attached = Vec::new();
        note(&mut attached, 1, 0..10);
        note(&mut attached, 1, 10..20);
        note(&mut attached, 1, 30..40);
        note(&mut attached, 2, 0..10);
        assert_eq!(attached[0].at, [0..20, 30..40]);
        assert_eq!(attached.len(), 2);
    }
}
