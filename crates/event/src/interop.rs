//! Our event behind the traits of the package `raw_sync` (feature `raw_sync`).
//!
//! ```
//! use multiproc_event::interop::RawSyncEvent;
//! use multiproc_segment::Shared;
//! use raw_sync::{Timeout, events::{EventImpl, EventInit, EventState}};
//!
//! // A program that knows `raw_sync` only: memory from somewhere, and the type by its trait.
//! fn wait_on<E: EventInit>(memory: *mut u8) -> Result<(), Box<dyn std::error::Error>> {
//!     // SAFETY: an event of that type lies there.
//!     let (event, _) = unsafe { E::from_existing(memory)? };
//!     event.wait(Timeout::Infinite)
//! }
//!
//! let go = Shared::new(RawSyncEvent::manual_reset())?; // ours
//! go.set();
//! wait_on::<RawSyncEvent>(go.as_ptr())?;
//! assert!(go.event().is_set());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # States
//!
//! Without auto-reset it is the event in it. With it, `token` says whether one wait may be over;
//! the event is only the bell:
//!
//! ```text
//! set     token = 1; event set          wait    token 1 -> 0: mine; tidy
//! tidy    event cleared;                        event set without a token: tidy
//!         token = 1? event set again            else sleep on the event, for a slice
//! ```
//!
//! Invariant: when nobody is in `set` or `tidy`, the event is set if `token` is 1. Both change
//! the event's word by one atomic operation each, after (set) or before (tidy) they touch the
//! token: so one of the two sees the other.
//!
//! # If a process dies here
//!
//! In `set`, before the event is set: the others find the token within a slice. In `tidy`: the
//! event is set without a token, and the next waiter tidies; or the token is there without the
//! event, as before. Having taken the token: gone with it, as any message with its reader.
#![allow(unsafe_code)]

use crate::Event;
use multiproc_core::deadline::Deadline;
use multiproc_core::wait::SLICE;
use multiproc_segment::Shareable;
use raw_sync::Timeout;
use raw_sync::events::{EventImpl, EventInit, EventState};
use std::error::Error;
use std::sync::atomic::{AtomicU32, Ordering::*};

/// An event with `raw_sync`'s choice of resetting itself; 12 bytes.
#[derive(Debug, Shareable)]
#[shareable(crate = multiproc_segment)]
#[repr(C)]
pub struct RawSyncEvent {
    event: Event,
    token: AtomicU32,
    auto_reset: AtomicU32,
}

impl RawSyncEvent {
    /// An event that stays set until it is cleared.
    pub const fn manual_reset() -> Self {
        Self::with(false)
    }

    /// An event of which each `set` ends one wait.
    pub const fn auto_reset() -> Self {
        Self::with(true)
    }

    const fn with(auto_reset: bool) -> Self {
        Self {
            event: Event::new(),
            token: AtomicU32::new(0),
            auto_reset: AtomicU32::new(auto_reset as u32),
        }
    }

    /// The event itself. Of one with auto-reset, only [`RawSyncEvent::set`],
    /// [`RawSyncEvent::clear`] and [`RawSyncEvent::wait_until`] keep both in step.
    pub fn event(&self) -> &Event {
        &self.event
    }

    /// Where `EventInit::from_existing` finds it.
    pub fn as_ptr(&self) -> *mut u8 {
        std::ptr::from_ref(self).cast_mut().cast()
    }

    /// Ends the waits; of one with auto-reset, one wait.
    pub fn set(&self) {
        // Release. PAIRS raw-sync-token; the event's own Release comes after it.
        self.token.store(1, Release);
        self.event.set();
    }

    /// From now on, waits wait.
    pub fn clear(&self) {
        self.token.store(0, Relaxed);
        self.event.clear();
    }

    fn tidy(&self) {
        self.event.clear();
        // Acquire. PAIRS raw-sync-token, by the event's word in between.
        if self.token.load(Acquire) == 1 {
            self.event.set();
        }
    }

    /// *Blocks until* the event is set (true) or the deadline passes (false). *Wakes when*
    /// somebody sets it. *If a peer dies*: nothing changes.
    #[must_use = "false: the event was not set in time"]
    pub fn wait_until(&self, deadline: Deadline) -> bool {
        // Relaxed: never changes. A peer's garbage counts as true.
        if self.auto_reset.load(Relaxed) == 0 {
            return self.event.wait_until(deadline);
        }
        loop {
            // AcqRel. PAIRS raw-sync-token.
            if self.token.swap(0, AcqRel) == 1 {
                self.tidy();
                return true;
            }
            if deadline.passed() {
                return false;
            }
            if self.event.is_set() {
                self.tidy();
            }
            // Whatever it says: the token decides.
            let _ = self
                .event
                .wait_until(Deadline::after(SLICE).sooner(deadline));
        }
    }
}

/// What `raw_sync` gets: the address of an event, which its contract keeps valid.
struct At(*const RawSyncEvent);

impl At {
    fn get(&self) -> &RawSyncEvent {
        // SAFETY: whoever made this promised an event there, for as long as it is used (the
        // contract of `EventInit`). Peers may write any bits: they are an event.
        unsafe { &*self.0 }
    }
}

impl EventInit for RawSyncEvent {
    fn size_of(address: Option<*mut u8>) -> usize {
        let most = align_of::<Self>() - 1;
        let padding = address.map_or(most, |address| address.align_offset(align_of::<Self>()));
        padding + size_of::<Self>()
    }

    unsafe fn new(
        memory: *mut u8,
        auto_reset: bool,
    ) -> Result<(Box<dyn EventImpl>, usize), Box<dyn Error>> {
        let used = Self::size_of(Some(memory));
        let place = memory.wrapping_add(used - size_of::<Self>()).cast::<Self>();
        // SAFETY: the caller promises `size_of` bytes that nobody uses yet; aligned by the
        // padding. If this process dies here, the other side sees an event in one of its
        // states: any bits are.
        unsafe { place.write(Self::with(auto_reset)) };
        Ok((Box::new(At(place)), used))
    }

    unsafe fn from_existing(
        memory: *mut u8,
    ) -> Result<(Box<dyn EventImpl>, usize), Box<dyn Error>> {
        let used = Self::size_of(Some(memory));
        let place = memory.wrapping_add(used - size_of::<Self>()).cast::<Self>();
        Ok((Box::new(At(place)), used))
    }
}

impl EventImpl for At {
    fn wait(&self, timeout: Timeout) -> Result<(), Box<dyn Error>> {
        let deadline = match timeout {
            Timeout::Infinite => Deadline::NEVER,
            Timeout::Val(time) => Deadline::after(time),
        };
        match self.get().wait_until(deadline) {
            true => Ok(()),
            false => Err("the event was not set in time".into()),
        }
    }

    fn set(&self, state: EventState) -> Result<(), Box<dyn Error>> {
        match state {
            EventState::Clear => self.get().clear(),
            EventState::Signaled => self.get().set(),
        }
        Ok(())
    }
}
