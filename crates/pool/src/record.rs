//! What the records of the two rings begin with. Anybody with the pool's memory can write
//! anything there: what is read is checked, or is a number that a table is asked for.

use multiproc_process::{Code, Exit};

/// A task: so many arguments follow, to be run one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TaskHead {
    pub(crate) task: u64,
    /// How often it was put, this time included.
    pub(crate) attempt: u32,
    pub(crate) count: u32,
    /// Time that it may take, in nanoseconds; 0: as long as it likes.
    pub(crate) limit: u64,
    pub(crate) code: Code,
}

impl TaskHead {
    pub(crate) const BYTES: usize = 48;

    pub(crate) fn write(&self, to: &mut Vec<u8>) {
        to.extend_from_slice(&self.task.to_ne_bytes());
        to.extend_from_slice(&self.attempt.to_ne_bytes());
        to.extend_from_slice(&self.count.to_ne_bytes());
        for word in [
            self.limit,
            self.code.via,
            self.code.function,
            self.code.seal,
        ] {
            to.extend_from_slice(&word.to_ne_bytes());
        }
    }

    /// The head of a record; `None` if it is too short for one.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let at = |at: usize| Some(u64::from_ne_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        let half = |at: usize| Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        Some(Self {
            task: at(0)?,
            attempt: half(8)?,
            count: half(12)?,
            limit: at(16)?,
            code: Code {
                via: at(24)?,
                function: at(32)?,
                seal: at(40)?,
            },
        })
    }

    /// A record put once more.
    pub(crate) fn set_attempt(record: &mut [u8], attempt: u32) {
        if let Some(place) = record.get_mut(8..12) {
            place.copy_from_slice(&attempt.to_ne_bytes());
        }
    }
}

/// What an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Kind {
    /// A value or a failure for each argument.
    Values = 0,
    /// The worker died; how, follows.
    Lost = 1,
    TimedOut = 2,
    Cancelled = 3,
    /// The worker could not run it: a sentence follows.
    Refused = 4,
    /// The pool cannot go on: a sentence follows.
    Fatal = 5,
}

/// An answer, to the task of this number as it was put the so-manieth time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AnswerHead {
    pub(crate) task: u64,
    pub(crate) attempt: u32,
    pub(crate) kind: Kind,
}

impl AnswerHead {
    pub(crate) const BYTES: usize = 16;

    pub(crate) fn write(&self, to: &mut Vec<u8>) {
        to.extend_from_slice(&self.task.to_ne_bytes());
        to.extend_from_slice(&self.attempt.to_ne_bytes());
        to.extend_from_slice(&(self.kind as u32).to_ne_bytes());
    }

    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let task = u64::from_ne_bytes(bytes.get(..8)?.try_into().ok()?);
        let attempt = u32::from_ne_bytes(bytes.get(8..12)?.try_into().ok()?);
        let kind = match u32::from_ne_bytes(bytes.get(12..16)?.try_into().ok()?) {
            0 => Kind::Values,
            1 => Kind::Lost,
            2 => Kind::TimedOut,
            3 => Kind::Cancelled,
            4 => Kind::Refused,
            5 => Kind::Fatal,
            _ => return None,
        };
        Some(Self {
            task,
            attempt,
            kind,
        })
    }
}

/// How a worker ended, in five bytes.
pub(crate) fn write_exit(exit: Exit, to: &mut Vec<u8>) {
    let (kind, number) = match exit {
        Exit::Code(n) => (0, n),
        Exit::Signal(n) => (1, n),
    };
    to.push(kind);
    to.extend_from_slice(&number.to_ne_bytes());
}

pub(crate) fn read_exit(bytes: &[u8]) -> Option<Exit> {
    let number = i32::from_ne_bytes(bytes.get(1..5)?.try_into().ok()?);
    match bytes.first()? {
        0 => Some(Exit::Code(number)),
        1 => Some(Exit::Signal(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_come_back_as_they_went() {
        let head = TaskHead {
            task: 7,
            attempt: 2,
            count: 3,
            limit: 4,
            code: Code {
                via: 5,
                function: 6,
                seal: u64::MAX,
            },
        };
        let mut bytes = Vec::new();
        head.write(&mut bytes);
        assert_eq!(bytes.len(), TaskHead::BYTES);
        assert_eq!(TaskHead::read(&bytes), Some(head));
        TaskHead::set_attempt(&mut bytes, 9);
        assert_eq!(TaskHead::read(&bytes).unwrap().attempt, 9);
        assert_eq!(TaskHead::read(&bytes[..47]), None);
        for kind in [
            Kind::Values,
            Kind::Lost,
            Kind::TimedOut,
            Kind::Cancelled,
            Kind::Refused,
            Kind::Fatal,
        ] {
            let head = AnswerHead {
                task: 1 << 40,
                attempt: 1,
                kind,
            };
            let mut bytes = Vec::new();
            head.write(&mut bytes);
            assert_eq!(bytes.len(), AnswerHead::BYTES);
            assert_eq!(AnswerHead::read(&bytes), Some(head));
        }
        assert_eq!(AnswerHead::read(&[255; 16]), None);
    }

    #[test]
    fn exits_come_back_as_they_went() {
        for exit in [Exit::Code(3), Exit::Signal(9)] {
            let mut bytes = Vec::new();
            write_exit(exit, &mut bytes);
            assert_eq!(read_exit(&bytes), Some(exit));
        }
        assert_eq!(read_exit(&[]), None);
        assert_eq!(read_exit(&[9, 0, 0, 0, 0]), None);
    }
}
