//! Numbers that the server can compute with, so that two clients that add lose nothing.

use crate::error::Failure;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// What a number is replaced by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Op {
    /// The sum of both.
    Add,
    /// It, less the other.
    Sub,
    /// The product.
    Mul,
    /// The larger of the two.
    Max,
    /// The smaller of the two.
    Min,
    /// The bits that both have. (For floats: as it is.)
    And,
    /// The bits that one of them has. (For floats: as it is.)
    Or,
    /// The bits that only one of them has. (For floats: as it is.)
    Xor,
}

mod sealed {
    pub trait Sealed {}
}

/// A number type with which the server computes: all integers up to 64 bits, `f32` and `f64`.
pub trait Number: Copy + Serialize + DeserializeOwned + sealed::Sealed {
    #[doc(hidden)]
    const KIND: Kind;

    #[doc(hidden)]
    fn apply(self, op: Op, by: Self) -> Option<Self>;
}

#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Kind {
    U8,
    U16,
    U32,
    U64,
    Usize,
    I8,
    I16,
    I32,
    I64,
    Isize,
    F32,
    F64,
}

macro_rules! integers {
    ($($type:ident $kind:ident),*) => {$(
        impl sealed::Sealed for $type {}

        impl Number for $type {
            const KIND: Kind = Kind::$kind;

            fn apply(self, op: Op, by: Self) -> Option<Self> {
                match op {
                    Op::Add => self.checked_add(by),
                    Op::Sub => self.checked_sub(by),
                    Op::Mul => self.checked_mul(by),
                    Op::Max => Some(self.max(by)),
                    Op::Min => Some(self.min(by)),
                    Op::And => Some(self & by),
                    Op::Or => Some(self | by),
                    Op::Xor => Some(self ^ by),
                }
            }
        }
    )*};
}
integers!(u8 U8, u16 U16, u32 U32, u64 U64, usize Usize);
integers!(i8 I8, i16 I16, i32 I32, i64 I64, isize Isize);

macro_rules! floats {
    ($($type:ident $kind:ident),*) => {$(
        impl sealed::Sealed for $type {}

        impl Number for $type {
            const KIND: Kind = Kind::$kind;

            fn apply(self, op: Op, by: Self) -> Option<Self> {
                Some(match op {
                    Op::Add => self + by,
                    Op::Sub => self - by,
                    Op::Mul => self * by,
                    Op::Max => self.max(by),
                    Op::Min => self.min(by),
                    Op::And | Op::Or | Op::Xor => self,
                })
            }
        }
    )*};
}
floats!(f32 F32, f64 F64);

fn typed<N: Number>(op: Op, item: &[u8], by: &[u8]) -> Result<Vec<u8>, Failure> {
    let number = |bytes: &[u8]| {
        postcard::from_bytes::<N>(bytes)
            .map_err(|_| Failure::Refused("this is not a number of that type".into()))
    };
    let sum = number(item)?
        .apply(op, number(by)?)
        .ok_or(Failure::Overflow)?;
    postcard::to_allocvec(&sum).map_err(|e| Failure::Refused(e.to_string()))
}

/// The bytes of what an item becomes.
pub(crate) fn apply(kind: Kind, op: Op, item: &[u8], by: &[u8]) -> Result<Vec<u8>, Failure> {
    match kind {
        Kind::U8 => typed::<u8>(op, item, by),
        Kind::U16 => typed::<u16>(op, item, by),
        Kind::U32 => typed::<u32>(op, item, by),
        Kind::U64 => typed::<u64>(op, item, by),
        Kind::Usize => typed::<usize>(op, item, by),
        Kind::I8 => typed::<i8>(op, item, by),
        Kind::I16 => typed::<i16>(op, item, by),
        Kind::I32 => typed::<i32>(op, item, by),
        Kind::I64 => typed::<i64>(op, item, by),
        Kind::Isize => typed::<isize>(op, item, by),
        Kind::F32 => typed::<f32>(op, item, by),
        Kind::F64 => typed::<f64>(op, item, by),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_computes_as_the_type_does() {
        let bytes = |n: i64| postcard::to_allocvec(&n).unwrap();
        let of = |op, a, b| apply(Kind::I64, op, &bytes(a), &bytes(b)).unwrap();
        assert_eq!(of(Op::Add, -5, 3), bytes(-2));
        assert_eq!(of(Op::Max, -5, 3), bytes(3));
        assert_eq!(of(Op::Xor, 6, 3), bytes(5));
        let over = apply(Kind::I64, Op::Add, &bytes(i64::MAX), &bytes(1));
        assert_eq!(over, Err(Failure::Overflow));
    }

    #[test]
    fn what_is_no_such_number_is_refused() {
        assert!(matches!(
            apply(Kind::U8, Op::Add, &[1, 2, 3, 4, 5], &[]),
            Err(Failure::Refused(_))
        ));
    }
}
