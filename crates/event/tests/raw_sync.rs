//! Our event behind the traits of the package `raw_sync`, in the memory of `shared_memory`.

use common::{Outcome, blocked, kill, until};
use multiproc_core::deadline::Deadline;
use multiproc_event::interop::RawSyncEvent;
use multiproc_process::{Process, test};
use multiproc_segment::Shared;
use raw_sync::Timeout;
use raw_sync::events::{Event as Theirs, EventInit, EventState};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

test::main! {
    what_their_own_event_does_ours_does_too,
    a_set_of_one_with_auto_reset_ends_one_wait,
    an_odd_address_is_padded,
    a_waiter_killed_eats_no_set,
    every_set_of_one_with_auto_reset_is_taken_once,
}

#[repr(align(64))]
struct Memory([u8; 256]);

/// The same checks for both implementations, through the traits alone.
fn what_their_own_event_does_ours_does_too() -> Outcome {
    fn check<E: EventInit>(exact: bool) -> Outcome {
        for auto_reset in [false, true] {
            let mut memory = Memory([0; 256]);
            let at = memory.0.as_mut_ptr();
            assert!(E::size_of(None) >= 4 && E::size_of(Some(at)) <= 256);
            // SAFETY: room for it, ours alone, and longer alive than the boxes.
            let (event, used) = unsafe { E::new(at, auto_reset)? };
            // Theirs uses more than it says.
            assert!(!exact || used == E::size_of(Some(at)));
            // SAFETY: one was just made there.
            let (same, _) = unsafe { E::from_existing(at)? };
            let brief = || Timeout::Val(Duration::from_millis(20));
            let begun = Instant::now();
            assert!(event.wait(brief()).is_err());
            // Theirs fails at once when its nanoseconds overflow.
            assert!(!exact || begun.elapsed() >= Duration::from_millis(20));
            same.set(EventState::Signaled)?;
            event.wait(Timeout::Infinite)?;
            assert_eq!(event.wait(brief()).is_ok(), !auto_reset);
            same.set(EventState::Signaled)?;
            same.set(EventState::Clear)?;
            assert!(event.wait(brief()).is_err());
        }
        Ok(())
    }
    check::<RawSyncEvent>(true)?;
    check::<Theirs>(false)
}

fn a_set_of_one_with_auto_reset_ends_one_wait() -> Outcome {
    let event = Shared::new(RawSyncEvent::auto_reset())?;
    let over = Shared::new(AtomicU64::new(0))?;
    let waiters = Process::start_each(0..3, |_| {
        // SAFETY: `event` lives, and is one.
        let (event, _) = unsafe { RawSyncEvent::from_existing(event.as_ptr()) }.unwrap();
        event.wait(Timeout::Infinite).unwrap();
        over.fetch_add(1, SeqCst);
    })?;
    for n in 1..=3 {
        event.set();
        until("one wait to end", || over.load(SeqCst) >= n);
        std::thread::sleep(Duration::from_millis(60));
        assert_eq!(over.load(SeqCst), n);
    }
    for waiter in waiters {
        waiter.join()?.ok()?;
    }
    Ok(())
}

fn an_odd_address_is_padded() -> Outcome {
    let mut memory = Memory([0; 256]);
    let odd = memory.0[1..].as_mut_ptr();
    // SAFETY: room for it, ours alone, and longer alive than the box.
    let (event, used) = unsafe { RawSyncEvent::new(odd, false)? };
    assert_eq!(used, 3 + 12);
    event.set(EventState::Signaled)?;
    event.wait(Timeout::Infinite)
}

fn a_waiter_killed_eats_no_set() -> Outcome {
    let event = Shared::new(RawSyncEvent::auto_reset())?;
    for _ in 0..20 {
        let doomed = Process::start(|| i32::from(event.wait_until(Deadline::NEVER)))?;
        blocked(&doomed);
        kill(&doomed);
        event.set();
        let next = Process::start(|| {
            assert!(event.wait_until(Deadline::NEVER));
        })?;
        next.join()?.ok()?;
    }
    Ok(())
}

fn every_set_of_one_with_auto_reset_is_taken_once() -> Outcome {
    let (ping, pong) = (
        Shared::new(RawSyncEvent::auto_reset())?,
        Shared::new(RawSyncEvent::auto_reset())?,
    );
    let peer = Process::start(|| {
        for _ in 0..20_000 {
            assert!(ping.wait_until(Deadline::NEVER));
            pong.set();
        }
    })?;
    for _ in 0..20_000 {
        ping.set();
        assert!(pong.wait_until(Deadline::NEVER));
    }
    peer.join()?.ok()?;
    Ok(())
}
