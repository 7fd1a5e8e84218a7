//! The ring's words in shared memory.

use multiproc_core::const_unless_loom;
use multiproc_core::prim::{AtomicU32, AtomicU64};
use multiproc_core::robust::RobustLock;
#[cfg(not(loom))]
use multiproc_segment::Shareable;

/// What writers share, under the put lock. Lines of its own: readers come here only to ask
/// for the bell.
#[cfg_attr(not(loom), derive(Shareable))]
#[cfg_attr(not(loom), shareable(crate = multiproc_segment))]
#[repr(C, align(128))]
pub(crate) struct PutSide {
    pub(crate) lock: RobustLock,
    /// The frontier, a [`Position`](crate::record::Position). Written after COMMIT.
    pub(crate) frontier: AtomicU64,
    /// Where the frontier's run began, in bytes.
    pub(crate) start: AtomicU64,
    /// The end of the run before it, in bytes.
    pub(crate) top: AtomicU64,
    /// Bytes usable: everything below is allocated.
    pub(crate) window: AtomicU64,
    /// Bytes that may be allocated: the window, and what a dead trim left behind.
    pub(crate) allocated: AtomicU64,
    /// `head` as a writer last read it: saves the trip to the reader's line.
    pub(crate) seen_head: AtomicU64,
    /// The offset below which a record may go at the frontier without another look.
    pub(crate) limit: AtomicU64,
    /// `head` when waiting for the reader to keep the window small was in vain.
    pub(crate) vain_head: AtomicU64,
    /// 1 while the lock's holder waits for room.
    pub(crate) waiting: AtomicU32,
    /// Tag of the last deposit with the courier.
    pub(crate) tag: AtomicU64,
}

/// What readers share, under the get lock.
#[cfg_attr(not(loom), derive(Shareable))]
#[cfg_attr(not(loom), shareable(crate = multiproc_segment))]
#[repr(C, align(128))]
pub(crate) struct GetSide {
    pub(crate) lock: RobustLock,
    /// The next record, a [`Position`](crate::record::Position). Its store is RELEASE.
    pub(crate) head: AtomicU64,
    /// 1 while the lock's holder waits for data.
    pub(crate) waiting: AtomicU32,
}

/// Futexes on which leaders sleep, and what is rarely written.
#[cfg_attr(not(loom), derive(Shareable))]
#[cfg_attr(not(loom), shareable(crate = multiproc_segment))]
#[repr(C, align(128))]
pub(crate) struct Signs {
    /// Changed when data came (or ends of writers changed).
    pub(crate) data: AtomicU32,
    /// Changed when room came (or ends of readers changed).
    pub(crate) room: AtomicU32,
    /// Not 0 once the ring was shut down.
    pub(crate) shut: AtomicU32,
    /// Changed when nothing is unfinished any more.
    pub(crate) finished: AtomicU32,
    /// Not 0 while somebody waits for that.
    pub(crate) joiners: AtomicU32,
    /// Records that a worker has reported done, modulo 2^32.
    pub(crate) done: AtomicU32,
    /// Records that may be queued at a time.
    pub(crate) capacity: AtomicU32,
    /// Not 0 while the window is so large that it is given back when the ring runs empty.
    pub(crate) large: AtomicU32,
    /// Who waits with `poll` for the courier's bell: [`WATCH_DATA`], [`WATCH_ROOM`];
    /// [`WATCH_EVER`].
    pub(crate) watch: AtomicU32,
    /// Bytes that queued records may take, headers included; one larger enters alone.
    pub(crate) cap: AtomicU64,
}

/// The next COMMIT rings. Cleared under the put lock, by the writer that rings.
pub(crate) const WATCH_DATA: u32 = 1;
/// The next RELEASE rings. Cleared under the get lock, by the reader that rings.
pub(crate) const WATCH_ROOM: u32 = 2;
/// Somebody has waited with `poll` once.
pub(crate) const WATCH_EVER: u32 = 4;

/// A ring's words. Its data lies behind a [`Memory`](crate::flow::Memory).
#[cfg_attr(not(loom), derive(Shareable))]
#[cfg_attr(not(loom), shareable(crate = multiproc_segment))]
#[repr(C)]
#[allow(missing_debug_implementations)]
pub struct State {
    pub(crate) put: PutSide,
    pub(crate) get: GetSide,
    pub(crate) signs: Signs,
}

impl State {
    const_unless_loom! {
        /// An empty ring of at most `capacity` records in `cap` bytes, with `window` bytes
        /// allocated.
        pub fn new(capacity: u32, cap: u64, window: u64) -> Self {
            Self {
                put: PutSide {
                    lock: RobustLock::new(),
                    frontier: AtomicU64::new(0),
                    start: AtomicU64::new(0),
                    top: AtomicU64::new(0),
                    window: AtomicU64::new(window),
                    allocated: AtomicU64::new(window),
                    seen_head: AtomicU64::new(0),
                    limit: AtomicU64::new(0),
                    vain_head: AtomicU64::new(u64::MAX),
                    waiting: AtomicU32::new(0),
                    tag: AtomicU64::new(0),
                },
                get: GetSide {
                    lock: RobustLock::new(),
                    head: AtomicU64::new(0),
                    waiting: AtomicU32::new(0),
                },
                signs: Signs {
                    data: AtomicU32::new(0),
                    room: AtomicU32::new(0),
                    shut: AtomicU32::new(0),
                    finished: AtomicU32::new(0),
                    joiners: AtomicU32::new(0),
                    done: AtomicU32::new(0),
                    capacity: AtomicU32::new(capacity),
                    large: AtomicU32::new(0),
                    watch: AtomicU32::new(0),
                    cap: AtomicU64::new(cap),
                },
            }
        }
    }
}
