//! Queues as the tests want them.

use multiproc_queue::Queue;
use multiproc_queue::codec::{Bytes, Plain};

pub(crate) type Messages = Queue<Vec<u8>, Bytes>;

pub(crate) const MIB: usize = 1 << 20;

pub(crate) fn bytes_queue() -> Messages {
    let options = Queue::<Vec<u8>>::options();
    options.codec::<Bytes>().build().unwrap()
}

pub(crate) fn numbers() -> Queue<u64, Plain> {
    let options = Queue::<u64>::options();
    options.codec::<Plain>().build().unwrap()
}

pub(crate) fn with<C: multiproc_queue::codec::Codec<u64>>(
    queue: Queue<u64, C>,
    n: u64,
) -> Queue<u64, C> {
    assert_eq!(queue.put_many(0..n).unwrap(), n as usize);
    queue
}
