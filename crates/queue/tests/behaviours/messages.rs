//! Messages that make trouble: by their code, their type or their size.

use common::*;
use multiproc_process::{Exit, Process, test};
use multiproc_queue::codec::Bytes;
use multiproc_queue::{CreateError, GetError, PutError, PutTimeoutError, Queue};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;
use std::time::Duration;

/// Panics while it is serialised, if its number is odd.
#[derive(Debug, PartialEq, Deserialize)]
struct Explosive(u64);

impl Serialize for Explosive {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        assert!(self.0.is_multiple_of(2), "odd numbers explode");
        serializer.serialize_newtype_struct("Explosive", &self.0)
    }
}

pub(crate) fn a_serialiser_that_panics_harms_its_own_put_only() -> Outcome {
    let queue = Queue::<Explosive>::bounded(4)?;
    let caught = catch_unwind(AssertUnwindSafe(|| queue.put(Explosive(1))));
    assert!(caught.is_err());
    assert!(queue.is_empty());
    let child = Process::start(|| queue.put(Explosive(3)))?;
    assert_eq!(ends(&child), Exit::Code(1));
    let child = Process::start(|| queue.put(Explosive(4)))?;
    ends_well(&child);
    queue.put(Explosive(6))?;
    assert_eq!((queue.get()?, queue.get()?), (Explosive(4), Explosive(6)));
    Ok(())
}

static SELF: OnceLock<Queue<Nested>> = OnceLock::new();

/// Puts one less into the same queue while it is serialised, and takes it out again.
#[derive(Debug, PartialEq, Deserialize)]
struct Nested(u64);

impl Serialize for Nested {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let (Some(queue), 1..) = (SELF.get(), self.0) {
            queue.put(Nested(self.0 - 1)).unwrap();
            if self.0 == 3 {
                assert_eq!(queue.get().unwrap(), Nested(0));
            }
        }
        serializer.serialize_newtype_struct("Nested", &self.0)
    }
}

pub(crate) fn a_serialiser_may_use_the_queue_itself() -> Outcome {
    let queue = Queue::<Nested>::bounded(10)?;
    SELF.get_or_init(|| queue.clone());
    let child = Process::start(|| queue.put(Nested(3)))?;
    ends_well(&child);
    assert_eq!(queue.get()?, Nested(1));
    assert_eq!(queue.get()?, Nested(2));
    assert_eq!(queue.get()?, Nested(3));
    assert!(queue.is_empty());
    Ok(())
}

#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct Delicate(pub(crate) u64);

impl<'de> Deserialize<'de> for Delicate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = u64::deserialize(deserializer)?;
        assert!(number != 2, "this number explodes");
        match number {
            1 => Err(serde::de::Error::custom("this number is refused")),
            _ => Ok(Delicate(number)),
        }
    }
}

pub(crate) fn a_deserialiser_that_fails_or_panics_costs_one_message() -> Outcome {
    let queue = Queue::<Delicate>::bounded(4)?;
    let child = Process::start(|| (0..4).try_for_each(|n| queue.put(Delicate(n))))?;
    ends_well(&child);
    assert_eq!(queue.get()?, Delicate(0));
    assert!(matches!(queue.get(), Err(GetError::Decode(_))));
    assert!(catch_unwind(AssertUnwindSafe(|| queue.get())).is_err());
    assert_eq!(queue.get()?, Delicate(3));
    assert!(queue.is_empty());
    Ok(())
}

pub(crate) fn a_named_queue_of_another_type_is_refused_with_both_named() -> Outcome {
    let name = test::unique("typed");
    let queue = Queue::<Vec<u32>>::create(&name)?;
    let child = Process::start(|| {
        let refused = Queue::<String>::open(&name).unwrap_err().to_string();
        assert!(
            refused.contains("Vec<u32>") && refused.contains("String"),
            "{refused}"
        );
        let codec = Queue::<Vec<u8>>::options().codec::<Bytes>().open(&name);
        let refused = codec.unwrap_err().to_string();
        assert!(
            refused.contains("serde") && refused.contains("bytes"),
            "{refused}"
        );
        Queue::<Vec<u32>>::open(&name)
            .unwrap()
            .put(vec![1, 2])
            .unwrap();
    })?;
    ends_well(&child);
    assert_eq!(queue.get()?, [1, 2]);
    Queue::<Vec<u32>>::unlink(&name)?;
    Ok(())
}

pub(crate) fn a_capacity_of_nothing_or_too_much_is_refused() -> Outcome {
    for wrong in [0, 1 << 31, usize::MAX] {
        match Queue::<u64>::bounded(wrong) {
            Err(CreateError::Capacity(n)) => assert_eq!(n, wrong),
            other => return Err(format!("{other:?}").into()),
        }
    }
    let name = test::unique("none");
    assert!(Queue::<u64>::options().capacity(0).create(&name).is_err());
    assert!(
        Queue::<u64>::open(&name).is_err(),
        "nothing half-made is left"
    );
    assert_eq!(
        Queue::<u64>::bounded((1 << 31) - 1)?.capacity(),
        (1 << 31) - 1
    );
    for wrong in [0, (8 << 30) + 1, usize::MAX - 5000] {
        assert!(
            Queue::<u64>::options().reserve(wrong).build().is_err(),
            "{wrong}"
        );
    }
    Ok(())
}

/// A queue of bytes in little memory, and the most bytes that a message may have there.
fn small(reserve: usize) -> Outcome<(Queue<Vec<u8>, Bytes>, usize)> {
    let queue = Queue::<Vec<u8>>::options()
        .reserve(reserve)
        .codec::<Bytes>()
        .build()?;
    match queue.put(vec![7; 2 * reserve]) {
        Err(PutError::TooLarge {
            message,
            bytes,
            most,
        }) => {
            assert!(message == vec![7; 2 * reserve] && bytes == 2 * reserve);
            assert!(most <= reserve);
            Ok((queue, most))
        }
        other => Err(format!("{other:?}").into()),
    }
}

pub(crate) fn a_message_larger_than_the_reserve_comes_back() -> Outcome {
    let (queue, most) = small(64 << 10)?;
    assert!(queue.is_empty());
    let refused = queue.try_put(vec![1; most + 1]).unwrap_err();
    let said = refused.to_string();
    assert!(said.contains(&(most + 1).to_string()) && said.contains(&most.to_string()));
    assert_eq!(refused.into_message().len(), most + 1);
    let refused = queue.put_timeout(vec![1; most + 1], Duration::MAX);
    assert!(matches!(refused, Err(PutTimeoutError::TooLarge { .. })));
    let refused = queue.put_bytes(&vec![1; most + 1]);
    assert!(matches!(
        refused,
        Err(PutError::TooLarge { message: (), .. })
    ));
    queue.put(pattern(1, most))?;
    assert_eq!(number_of(&queue.get()?), 1);
    Ok(())
}

pub(crate) fn the_largest_message_fits_again_and_again() -> Outcome {
    let (queue, most) = small(64 << 10)?;
    for number in 0..20 {
        // The queue is empty each time.
        queue.try_put(pattern(number, most - (number as usize % 3) * most / 4))?;
        assert_eq!(number_of(&queue.get()?), number);
    }
    Ok(())
}
