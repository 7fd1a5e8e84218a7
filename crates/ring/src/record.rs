//! Headers and positions as numbers. Nothing here touches memory.

/// Bytes of a header, and the unit of all offsets.
pub(crate) const UNIT: usize = 8;
const COMMIT: u64 = 1 << 63;
const JUMP: u64 = 1 << 62;
/// The record has descriptors, too; its bytes begin with their tag.
const CARRIES: u64 = 1 << 61;
const SEQ_BITS: u32 = 29;
const SEQ_MASK: u64 = (1 << SEQ_BITS) - 1;
const AT_BITS: u32 = 30;
const AT_MASK: u64 = (1 << AT_BITS) - 1;

/// The most bytes that offsets reach: 2^30 units.
#[cfg(not(loom))]
pub(crate) const MOST_RESERVE: usize = UNIT << 30;

/// What a non-zero header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Header {
    /// A record of so many bytes.
    Record { seq: u32, len: usize, carries: bool },
    /// The chain goes on at this offset (in bytes).
    Jump { target: usize },
    /// Not something that a writer writes.
    Garbage,
}

pub(crate) fn record(seq: u32, len: usize) -> u64 {
    COMMIT | (u64::from(seq) & SEQ_MASK) << 32 | len as u64
}

/// The same of a record that has descriptors.
pub(crate) fn carrying(record: u64) -> u64 {
    record | CARRIES
}

/// Bits of a record's tag; above them, how many of its descriptors are tokens.
const TAG_BITS: u32 = 56;

/// The tag after this one.
pub(crate) fn next_tag(tag: u64) -> u64 {
    (tag.wrapping_add(1) & ((1 << TAG_BITS) - 1)).max(1)
}

/// What a record that has descriptors begins with.
pub(crate) fn label(tag: u64, tokens: u8) -> u64 {
    tag | u64::from(tokens) << TAG_BITS
}

/// Its tag, and how many of its descriptors, the last ones, are tokens.
pub(crate) fn read_label(label: u64) -> (u64, usize) {
    let tag = label & ((1 << TAG_BITS) - 1);
    (tag, (label >> TAG_BITS) as usize)
}

pub(crate) fn jump(target: usize) -> u64 {
    COMMIT | JUMP | (target / UNIT) as u64
}

impl Header {
    #[inline]
    pub(crate) fn read(word: u64) -> Self {
        let low = (word & u64::from(u32::MAX)) as usize;
        match (word & COMMIT != 0, word & JUMP != 0) {
            (true, false) => Self::Record {
                seq: (word >> 32 & SEQ_MASK) as u32,
                len: low,
                carries: word & CARRIES != 0,
            },
            (true, true) if word & (CARRIES | SEQ_MASK << 32) == 0 => {
                Self::Jump { target: low * UNIT }
            }
            _ => Self::Garbage,
        }
    }
}

/// Sequence number and length, if the header is that of a record without descriptors.
#[inline(always)]
pub(crate) fn plain_record(word: u64) -> Option<(u32, usize)> {
    let (seq, len) = ((word >> 32 & SEQ_MASK) as u32, word as u32 as usize);
    (word & (COMMIT | JUMP | CARRIES) == COMMIT).then_some((seq, len))
}

#[inline(always)]
pub(crate) fn seq_of(count: u32) -> u32 {
    count & SEQ_MASK as u32
}

/// Bytes that a record of `len` bytes takes, header included.
#[inline]
pub(crate) fn size(len: usize) -> usize {
    UNIT + len.next_multiple_of(UNIT)
}

/// Where a side stands: an offset (bytes), the run (modulo 4), and records so far (modulo
/// 2^32). One `u64`, so that it moves in one store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) at: usize,
    pub(crate) run: u32,
    pub(crate) items: u32,
}

impl Position {
    #[inline]
    pub(crate) fn read(bits: u64) -> Self {
        Self {
            at: ((bits & AT_MASK) as usize) * UNIT,
            run: (bits >> AT_BITS & 3) as u32,
            items: (bits >> 32) as u32,
        }
    }

    #[inline]
    pub(crate) fn bits(self) -> u64 {
        u64::from(self.items) << 32
            | u64::from(self.run & 3) << AT_BITS
            | (self.at / UNIT) as u64 & AT_MASK
    }

    /// Past a record of `len` bytes.
    #[inline]
    pub(crate) fn after_record(self, len: usize) -> Self {
        Self {
            at: self.at + size(len),
            items: self.items.wrapping_add(1),
            ..self
        }
    }

    pub(crate) fn after_jump(self, target: usize) -> Self {
        Self {
            at: target,
            run: (self.run + 1) & 3,
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_and_positions_come_back() {
        for len in [0, 1, 7, 8, 9, u32::MAX as usize] {
            let carries = false;
            let plain = Header::Record {
                seq: 7,
                len,
                carries,
            };
            assert_eq!(Header::read(record(7, len)), plain);
            let carries = true;
            let with = Header::Record {
                seq: 7,
                len,
                carries,
            };
            assert_eq!(Header::read(carrying(record(7, len))), with);
            assert_eq!(plain_record(record(7, len)), Some((7, len)));
            assert_eq!(plain_record(carrying(record(7, len))), None);
        }
        assert_eq!(Header::read(jump(4096)), Header::Jump { target: 4096 });
        assert_eq!(Header::read(1), Header::Garbage);
        let p = Position {
            at: MOST_RESERVE - UNIT,
            run: 3,
            items: u32::MAX,
        };
        assert_eq!(Position::read(p.bits()), p);
        assert_eq!(p.after_record(0).items, 0);
    }

    #[test]
    fn a_committed_header_is_never_zero() {
        assert_ne!(record(0, 0), 0);
        assert_ne!(jump(0), 0);
    }
}
