//! `SimpleQueue`.

use common::*;
use multiproc_process::Process;
use multiproc_queue::{GetError, PutError, SimpleQueue};
use serde::{Deserialize, Serialize, Serializer};
use std::sync::OnceLock;

/// SQ1
pub(crate) fn a_child_sees_a_simple_queue_empty_then_not() -> Outcome {
    let queue = SimpleQueue::<bool>::new()?;
    let (child_turn, parent_turn) = (Counter::new(), Counter::new());
    let child = Process::start(|| {
        child_turn.reach(1);
        for _ in 0..2 {
            queue.put(queue.is_empty().unwrap()).unwrap();
        }
        parent_turn.count();
    })?;
    assert!(queue.is_empty()?);
    child_turn.count();
    parent_turn.reach(1);
    assert!(!queue.is_empty()?);
    assert_eq!((queue.get()?, queue.get()?), (true, false));
    assert!(queue.is_empty()?);
    ends_well(&child);
    Ok(())
}

/// SQ2
pub(crate) fn is_empty_after_close_is_an_error() -> Outcome {
    let unused = SimpleQueue::<u64>::new()?;
    unused.close();
    assert_eq!(unused.is_empty(), Err(GetError::Closed));
    let used = SimpleQueue::<u64>::new()?;
    used.put(1)?;
    ends_well(&Process::start(|| assert_eq!(used.get(), Ok(1)))?);
    used.close();
    assert_eq!(used.is_empty(), Err(GetError::Closed));
    assert_eq!(used.get(), Err(GetError::Closed));
    assert!(matches!(used.put(2), Err(PutError::Closed(2))));
    Ok(())
}

static BEGUN: OnceLock<(Counter, Counter)> = OnceLock::new();

/// Takes its time to be serialised: says that it began, and waits until it may go on.
#[derive(Debug, PartialEq, Deserialize)]
struct Slow(u64);

impl Serialize for Slow {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let (Some((begun, go_on)), 1) = (BEGUN.get(), self.0) {
            begun.count();
            go_on.reach(1);
        }
        serializer.serialize_newtype_struct("Slow", &self.0)
    }
}

/// SQ4: serialised before anything is locked. There is no feeder thread and no pipe to fill.
pub(crate) fn a_simple_queue_has_close_is_empty_get_and_put() -> Outcome {
    let (begun, go_on) = (Counter::new(), Counter::new());
    BEGUN.get_or_init(|| (begun.clone(), go_on.clone()));
    let queue = SimpleQueue::<Slow>::new()?;
    let child = Process::start(|| queue.put(Slow(1)))?;
    begun.reach(1);
    // The child is in the middle of its put.
    for n in 2..5_000 {
        queue.put(Slow(n))?;
    }
    assert_eq!(queue.get()?, Slow(2));
    go_on.count();
    ends_well(&child);
    let mut last = queue.get()?;
    while !queue.is_empty()? {
        last = queue.get()?;
    }
    assert_eq!(last, Slow(1));
    queue.close();
    Ok(())
}
