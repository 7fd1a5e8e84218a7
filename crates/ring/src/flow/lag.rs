//! Keeping a little behind in a stream.
//!
//! A reader that follows right behind its writer takes the cache line away that the writer is
//! about to write, for every record: a hundred nanoseconds each. A few records further behind,
//! both work on lines of their own, and a line goes over once. So one who finds nothing, and whose
//! records came fast up to here, looks away for a moment; in the same way a writer that finds no
//! room. In a conversation (a record, an answer, …) records do not come that fast, and nobody
//! looks away.

use multiproc_core::prim;
use std::cell::Cell;
use std::time::{Duration, Instant};

/// A record in less than this is a stream; a round trip takes longer.
const FAST: Duration = Duration::from_nanos(100);
/// How long one looks away: some cache lines' worth of records.
const MOMENT: Duration = Duration::from_nanos(300);

thread_local! {
    /// The side of a ring on which this thread last found nothing, how many records it had got
    /// (put) there, and when.
    static LAST: Cell<Option<(usize, u32, Instant)>> = const { Cell::new(None) };
}

/// This thread found nothing (no room) on this side of a ring, after so many records.
#[cold]
pub(super) fn behind(side: usize, items: u32) {
    if cfg!(loom) {
        return;
    }
    let now = Instant::now();
    let Some((last_side, last_items, then)) = LAST.replace(Some((side, items, now))) else {
        return;
    };
    let came = items.wrapping_sub(last_items);
    if last_side != side || came == 0 || now - then >= FAST.saturating_mul(came) {
        return;
    }
    while now.elapsed() < MOMENT {
        prim::pause();
    }
}
