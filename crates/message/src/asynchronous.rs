//! Messages awaited, on tokio: no thread, and no look without a reason.
//!
//! Who awaits something tries; where there is nothing, it arms the bell (as [`ready::wait`] does),
//! and awaits that something *happens* to the courier: by edges, on a duplicate of its descriptor.
//! Others may share the courier and take the bell away before this task runs; it happened all the
//! same. After 50 ms in which nothing did, it looks at who is alive: for a peer that was killed
//! nobody rings.
//!
//! ```text
//! try · nothing: arm · still nothing: await an edge, or the end of a slice · forget the edge · try …
//! ```
//!
//! The edge is forgotten before the try: one that comes later ends the next wait at once.
//!
//! A message is taken (put) by a try, and the future completes with it in the same poll: a future
//! that is dropped has taken (put) nothing.
//!
//! If a process dies here: as in [`ready`].
//!
//! [`ready`]: crate::ready
//! [`ready::wait`]: crate::ready::wait

use crate::ready::Ready;
use multiproc_core::fd::TICK;
use multiproc_core::identity::Identity;
use multiproc_core::wait::SLICE;
use multiproc_ring::Ring;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task::{coop, yield_now};
use tokio::time;

/// Awaits what `attempt` gives of `object`; nothing as long as it is empty.
#[doc(hidden)]
pub async fn got<O: Ready + ?Sized, R>(object: &O, mut attempt: impl FnMut() -> Option<R>) -> R {
    coop::consume_budget().await;
    let mut bell = Bell::default();
    let mut thorough = false;
    loop {
        // Asked first, as an attempt that finds nothing costs a look at who is alive. That is due
        // also where no future ever lives for a slice.
        let look = || thorough || object.look_is_due();
        let ready =
            object.is_ready(None) || look() && object.is_ready(Some(&mut Identity::is_alive));
        if ready && let Some(got) = attempt() {
            return got;
        }
        thorough = !bell.rings(object.courier(), || object.arm(false)).await;
    }
}

/// Awaits that `attempt` puts something into `ring`; nothing as long as it is full.
#[doc(hidden)]
pub async fn put<R>(ring: &Ring, mut attempt: impl FnMut() -> Option<R>) -> R {
    coop::consume_budget().await;
    let mut bell = Bell::default();
    loop {
        let seen = ring.head_seen();
        if let Some(put) = attempt() {
            return put;
        }
        bell.rings(ring.courier(), || ring.arm_room(seen)).await;
    }
}

/// Awaits that `attempt` writes something to a socket; nothing as long as that is full.
#[doc(hidden)]
pub async fn written<R>(socket: BorrowedFd<'_>, mut attempt: impl FnMut() -> Option<R>) -> R {
    coop::consume_budget().await;
    let mut bell = Bell::default();
    loop {
        if let Some(put) = attempt() {
            return put;
        }
        bell.rings(Some(socket), || true).await;
    }
}

/// How often somebody else may be faster before this task gives way for longer: he holds what is
/// there, and nobody rings when he lets it go.
const FASTER: u32 = 16;

/// What a task waits for.
#[derive(Default)]
struct Bell {
    /// A duplicate: one descriptor can be registered once, and tasks may share an object.
    courier: Option<AsyncFd<OwnedFd>>,
    /// Times in a row that it was not worth waiting.
    in_vain: u32,
    /// Ticks without a courier.
    ticks: u32,
}

impl Bell {
    /// After an attempt that found nothing: arms, and waits until it is time for the next one.
    /// False: at the end of a slice, so look at who is alive, too.
    async fn rings(&mut self, courier: Option<BorrowedFd<'_>>, arm: impl FnOnce() -> bool) -> bool {
        let Some(courier) = courier else {
            return self.tick().await;
        };
        if !arm() {
            self.in_vain += 1;
            match self.in_vain.checked_sub(FASTER) {
                None => yield_now().await,
                Some(n) => time::sleep(Duration::from_millis(1 << n.min(5))).await,
            }
            return true;
        }
        self.in_vain = 0;
        let registered = match &self.courier {
            Some(registered) => registered,
            None => match register(courier) {
                Ok(registered) => self.courier.insert(registered),
                // No descriptors are left: as if there were no courier.
                Err(_) => return self.tick().await,
            },
        };
        match time::timeout(SLICE, registered.ready(ANY)).await {
            Ok(Ok(mut guard)) => {
                guard.clear_ready();
                true
            }
            // The runtime goes down: this is its last round.
            Ok(Err(_)) => {
                yield_now().await;
                true
            }
            Err(_) => false,
        }
    }

    /// Without anything that could ring: a tick, and once a slice a thorough look.
    async fn tick(&mut self) -> bool {
        time::sleep(TICK).await;
        self.ticks += 1;
        !self
            .ticks
            .is_multiple_of((SLICE.as_millis() / TICK.as_millis()) as u32)
    }
}

/// Any change of the socket counts. Bells that were taken away have made it writable.
const ANY: Interest = Interest::READABLE.add(Interest::WRITABLE);

// What tokio would rather have is `unsafe`, for types whose descriptor is not their own. This one's
// is.
#[allow(deprecated)]
fn register(courier: BorrowedFd<'_>) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(courier.try_clone_to_owned()?, ANY)
}
