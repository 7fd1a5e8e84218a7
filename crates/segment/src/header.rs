//! The first 256 bytes of every segment (drawn in the crate's essay).

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use thiserror::Error;

/// Bytes before the body.
pub const HEADER_BYTES: usize = 256;
/// Two builds share a segment if this is the same: it is the toolkit's minor version (10,000 times
/// the major one is added).
pub const LAYOUT_VERSION: u32 = 1;

const MAGIC: u64 = u64::from_ne_bytes(*b"multipr\x01");
const TAG_AT: usize = 64;
const TAG_BYTES: usize = 128;

/// What kind of object a segment holds: checked by whoever attaches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kind {
    /// The type's tag, see [`crate::type_tag`].
    pub tag: String,
    /// Bytes of the part whose size the type fixes (for `Shared<T>`: all of it).
    pub fixed: usize,
    /// Alignment of the body, in bytes; at most 256.
    pub align: usize,
}

/// A header, decoded into private memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The kind of object.
    pub kind: Kind,
    /// Bytes of the body, sparse part included.
    pub body: usize,
    /// Inode of the PID namespace that the segment belongs to.
    pub pid_namespace: u64,
}

/// Why 256 bytes are not the header of a segment that this build understands.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// The magic number is missing.
    #[error("it does not begin as a multiproc segment does")]
    Magic,
    /// Another layout version.
    #[error("it has layout version {found}, and this build reads version {expected}")]
    Version {
        /// The version of this build.
        expected: u32,
        /// The version in the header.
        found: u32,
    },
    /// A field holds a value that no segment can have.
    #[error("its header is damaged: {what} is {value}")]
    Field {
        /// The field.
        what: &'static str,
        /// Its value.
        value: u64,
    },
}

/// FNV-1a, 64 bits: tells long tags apart that begin alike.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |h, b| {
        (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3)
    })
}

fn shown(tag: &str) -> &str {
    let mut end = tag.len().min(TAG_BYTES);
    while !tag.is_char_boundary(end) {
        end -= 1;
    }
    &tag[..end]
}

impl Header {
    /// The header as bytes.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        let tag = shown(&self.kind.tag);
        let mut put = |at: usize, v: u64| bytes[at..at + 8].copy_from_slice(&v.to_ne_bytes());
        put(0, MAGIC);
        put(8, u64::from(LAYOUT_VERSION));
        put(16, self.body as u64);
        put(24, self.kind.align as u64);
        put(32, self.kind.fixed as u64);
        put(40, self.pid_namespace);
        put(48, hash(self.kind.tag.as_bytes()));
        put(56, tag.len() as u64);
        bytes[TAG_AT..TAG_AT + tag.len()].copy_from_slice(tag.as_bytes());
        bytes
    }

    /// Reads a header from a private copy of its bytes. Any bytes give a value or an
    /// error; also returns the hash of the full tag.
    ///
    /// # Errors
    ///
    /// [`HeaderError`] says what does not fit.
    pub fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<(Self, u64), HeaderError> {
        let get = |at: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&bytes[at..at + 8]);
            u64::from_ne_bytes(word)
        };
        let field = |what, at: usize, max: u64| match get(at) {
            value if value <= max => Ok(value as usize),
            value => Err(HeaderError::Field { what, value }),
        };
        if get(0) != MAGIC {
            return Err(HeaderError::Magic);
        }
        if get(8) != u64::from(LAYOUT_VERSION) {
            return Err(HeaderError::Version {
                expected: LAYOUT_VERSION,
                found: get(8) as u32,
            });
        }
        let body = field("the body's size", 16, isize::MAX as u64 / 2)?;
        if body == 0 {
            return Err(HeaderError::Field {
                what: "the body's size",
                value: 0,
            });
        }
        let align = field("the alignment", 24, HEADER_BYTES as u64)?;
        let fixed = field("the fixed part's size", 32, body as u64)?;
        let length = field("the tag's length", 56, TAG_BYTES as u64)?;
        if !align.is_power_of_two() {
            return Err(HeaderError::Field {
                what: "the alignment",
                value: align as u64,
            });
        }
        let tag = String::from_utf8_lossy(&bytes[TAG_AT..TAG_AT + length]).into_owned();
        let kind = Kind { tag, fixed, align };
        Ok((
            Self {
                kind,
                body,
                pid_namespace: get(40),
            },
            get(48),
        ))
    }
}

/// Why a file's header was not read.
pub(crate) enum Unread {
    Io(io::Error),
    Header(HeaderError),
}

impl Header {
    /// The header of a file, and the hash of the full tag.
    pub(crate) fn of_file(file: &File) -> Result<(Self, u64), Unread> {
        let mut bytes = [0; HEADER_BYTES];
        match file.read_exact_at(&mut bytes, 0) {
            Ok(()) => Self::decode(&bytes).map_err(Unread::Header),
            // Shorter than a header, or a directory.
            Err(e)
                if matches!(
                    e.kind(),
                    io::ErrorKind::UnexpectedEof | io::ErrorKind::IsADirectory
                ) =>
            {
                Err(Unread::Header(HeaderError::Magic))
            }
            Err(e) => Err(Unread::Io(e)),
        }
    }
}

impl Kind {
    pub(crate) fn tag_hash(&self) -> u64 {
        hash(self.tag.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        let kind = Kind {
            tag: "Mutex<u64>".into(),
            fixed: 48,
            align: 8,
        };
        Header {
            kind,
            body: 48,
            pid_namespace: 7,
        }
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let (back, hash) = Header::decode(&header().encode()).unwrap();
        assert_eq!(back, header());
        assert_eq!(hash, header().kind.tag_hash());
    }

    #[test]
    fn a_long_tag_is_cut_and_still_told_apart() {
        let mut a = header();
        a.kind.tag = "ä".repeat(100) + "a";
        let mut b = a.clone();
        b.kind.tag = "ä".repeat(100) + "b";
        let (da, ha) = Header::decode(&a.encode()).unwrap();
        let (db, hb) = Header::decode(&b.encode()).unwrap();
        assert_eq!(da, db);
        assert_ne!(ha, hb);
    }

    #[test]
    fn any_flipped_byte_gives_a_header_or_an_error() {
        let good = header().encode();
        for at in 0..HEADER_BYTES {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut bytes = good;
                bytes[at] = value;
                let _ = Header::decode(&bytes);
            }
        }
        assert_eq!(Header::decode(&[0; HEADER_BYTES]), Err(HeaderError::Magic));
    }
}
