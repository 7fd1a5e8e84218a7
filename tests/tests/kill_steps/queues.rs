//! Queues, and whether they work.

use common::*;
use multiproc_queue::{Queue, TryGetError};

/// Everything queued, and then a sign that both sides work.
#[track_caller]
pub(crate) fn drain(queue: &Queue<u64>) -> Vec<u64> {
    let expected = queue.len();
    let mut got = Vec::new();
    loop {
        match queue.try_get() {
            Ok(n) => got.push(n),
            Err(TryGetError::Empty) => break,
            Err(error) => panic!("after {got:?}: {error}"),
        }
    }
    assert_eq!(
        got.len(),
        expected,
        "len() before the drain, which gave {got:?}"
    );
    got
}

/// Other processes can use the queue as if nothing had happened.
#[track_caller]
pub(crate) fn works(queue: &Queue<u64>) {
    assert_eq!(queue.len(), 0);
    let reader = start(|| {
        assert_eq!(queue.get().unwrap(), 1_000);
        assert_eq!(queue.get().unwrap(), 1_001);
    });
    let writer = start(|| queue.put(1_000));
    ends_well(&writer);
    queue.put_timeout(1_001, PATIENCE).unwrap();
    ends_well(&reader);
    for n in 0..3 * queue.capacity().min(10) as u64 {
        queue.put_timeout(n, PATIENCE).unwrap();
        assert_eq!(queue.get_timeout(PATIENCE).unwrap(), n);
    }
    assert_eq!((queue.len(), queue.try_get()), (0, Err(TryGetError::Empty)));
}

pub(crate) fn with(numbers: &[u64], capacity: usize) -> Queue<u64> {
    let queue = Queue::bounded(capacity).unwrap();
    numbers.iter().for_each(|&n| queue.put(n).unwrap());
    queue
}
