//! Ends: who holds one, who gets it, and when all are gone.

mod board;

use board::until;
use common::{Dice, Outcome, for_ever, in_bare_fork};
use multiproc_core::ends::{End, Ends, Holders, MOST_ENDS, RegisterError};
use multiproc_core::handover;
use multiproc_core::identity::Identity;
use multiproc_process::{Exit, Process, test};
use multiproc_segment::{Shareable, Shared};
use std::io::{Read, Write, pipe};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::*};
use std::time::{Duration, Instant};

test::main! {
    nothing_can_be_said_before_the_first,
    an_end_is_held_until_it_is_closed,
    a_closed_end_stays_closed,
    a_killed_holder_counts_as_gone,
    a_stopped_holder_does_not,
    copies_in_a_forked_child_are_inert,
    a_copy_in_a_child_registers_anew_while_the_parent_holds_it,
    a_copy_in_a_child_is_closed_once_the_parent_closed_it,
    an_end_that_is_handed_over_is_the_childs,
    an_end_handed_to_a_dead_child_is_gone,
    a_full_table_is_an_error_until_somebody_closes,
    a_full_table_of_dead_owners_is_taken_over,
    who_was_taken_over_does_not_close_the_new_ones_end,
    clones_have_slots_of_their_own,
    a_scribbled_table_gives_answers,
    the_first_registration_is_never_seen_as_all_gone,
    an_end_that_moves_between_slots_is_never_seen_as_gone,
    #[timeout(120)]
    racing_registrations_with_kills_own_no_slot_twice,
}

fn table() -> Shared<Ends> {
    Shared::new(Ends::new()).unwrap()
}

fn nothing_can_be_said_before_the_first() -> Outcome {
    let ends = table();
    assert_eq!(ends.holders(), Holders::NeverAny);
    assert!(!ends.all_closed());
    assert_eq!(ends.count_alive(), 0);
    Ok(())
}

fn an_end_is_held_until_it_is_closed() -> Outcome {
    let ends = table();
    let end = ends.register()?;
    assert_eq!(ends.holders(), Holders::Alive);
    assert!(!ends.all_closed());
    end.check(&ends)?;
    let seen = Process::start(|| assert_eq!(ends.holders(), Holders::Alive))?;
    seen.join()?.ok()?;
    assert!(end.close(&ends));
    assert_eq!(ends.holders(), Holders::AllGone);
    assert!(ends.all_closed());
    Ok(())
}

fn a_closed_end_stays_closed() -> Outcome {
    let ends = table();
    let end = ends.register()?;
    assert!(end.close(&ends));
    assert!(!end.close(&ends));
    assert_eq!(end.check(&ends), Err(RegisterError::Closed));
    assert_eq!(End::closed().check(&ends), Err(RegisterError::Closed));
    assert_eq!(end.another(&ends).check(&ends), Err(RegisterError::Closed));
    // Also when its slot is somebody else's by now.
    let next = ends.register()?;
    assert_eq!(end.check(&ends), Err(RegisterError::Closed));
    assert!(!end.close(&ends));
    next.check(&ends)?;
    assert_eq!(ends.holders(), Holders::Alive);
    Ok(())
}

fn a_killed_holder_counts_as_gone() -> Outcome {
    let ends = table();
    let child = Process::start(|| {
        ends.register().unwrap();
        common::kill_me();
    })?;
    assert_eq!(child.join()?, Exit::Signal(libc::SIGKILL));
    assert_eq!(ends.holders(), Holders::AllGone);
    assert!(!ends.all_closed(), "it closed nothing");
    assert_eq!(ends.count_alive(), 0);
    Ok(())
}

fn a_stopped_holder_does_not() -> Outcome {
    let ends = table();
    let child = Process::start(|| {
        ends.register().unwrap();
        // SAFETY: a signal to this very process.
        unsafe { libc::raise(libc::SIGSTOP) };
        for_ever()
    })?;
    // SAFETY: zeroes are a `siginfo_t`; our own child.
    unsafe {
        let mut info = std::mem::zeroed();
        let flags = libc::WSTOPPED | libc::WNOWAIT;
        common::ok(libc::waitid(libc::P_PID, child.pid(), &mut info, flags))?;
    }
    assert_eq!(ends.holders(), Holders::Alive);
    child.kill()?;
    assert_eq!(child.join()?, Exit::Signal(libc::SIGKILL));
    assert_eq!(ends.holders(), Holders::AllGone);
    Ok(())
}

fn copies_in_a_forked_child_are_inert() -> Outcome {
    let ends = table();
    let end = ends.register()?;
    let child = in_bare_fork(|| assert!(!end.close(&ends)))?;
    assert_eq!(child, 0);
    assert_eq!(ends.holders(), Holders::Alive);
    end.check(&ends)?;
    assert_eq!(ends.count_alive(), 1);
    Ok(())
}

fn a_copy_in_a_child_registers_anew_while_the_parent_holds_it() -> Outcome {
    let ends = table();
    let end = ends.register()?;
    let child = Process::start(|| {
        end.check(&ends).unwrap();
        assert_eq!(ends.count_alive(), 2);
        assert!(end.close(&ends));
        assert_eq!(ends.count_alive(), 1);
    })?;
    child.join()?.ok()?;
    end.check(&ends)?;
    assert_eq!(ends.count_alive(), 1);
    Ok(())
}

fn a_copy_in_a_child_is_closed_once_the_parent_closed_it() -> Outcome {
    let ends = table();
    let end = ends.register()?;
    let (mut go, mut went) = pipe()?;
    let child = Process::start(|| {
        go.read_exact(&mut [0]).unwrap();
        assert_eq!(end.check(&ends), Err(RegisterError::Closed));
        assert!(!end.close(&ends));
    })?;
    assert!(end.close(&ends));
    let next = ends.register()?; // the same slot
    went.write_all(b"!")?;
    child.join()?.ok()?;
    next.check(&ends)?;
    Ok(())
}

fn an_end_that_is_handed_over_is_the_childs() -> Outcome {
    let ends = table();
    let end = ends.register()?;
    let (mut go, mut went) = pipe()?;
    let child = Process::start(|| {
        go.read_exact(&mut [0]).unwrap();
        end.check(&ends).unwrap();
        assert_eq!(ends.count_alive(), 1);
        assert!(end.close(&ends));
        assert!(ends.all_closed());
    })?;
    handover::to(child.pid(), || assert!(!end.close(&ends)));
    assert_eq!(end.check(&ends), Err(RegisterError::Closed));
    assert_eq!(ends.holders(), Holders::Alive);
    assert!(!ends.all_closed());
    went.write_all(b"!")?;
    child.join()?.ok()?;
    assert!(ends.all_closed());
    Ok(())
}

fn an_end_handed_to_a_dead_child_is_gone() -> Outcome {
    for collected in [false, true] {
        let ends = table();
        let end = ends.register()?;
        let child = Process::start(|| ())?;
        let pid = child.pid();
        // SAFETY: zeroes are a `siginfo_t`; our own child, not collected.
        unsafe {
            let mut info = std::mem::zeroed();
            let flags = libc::WEXITED | libc::WNOWAIT;
            common::ok(libc::waitid(libc::P_PID, pid, &mut info, flags))?;
        }
        if collected {
            child.join()?.ok()?;
        }
        handover::to(pid, || end.close(&ends));
        assert_eq!(ends.holders(), Holders::AllGone);
        child.join()?.ok()?;
        assert_eq!(ends.holders(), Holders::AllGone);
    }
    Ok(())
}

fn a_full_table_is_an_error_until_somebody_closes() -> Outcome {
    let ends = table();
    let mut all: Vec<End> = (0..MOST_ENDS).map(|_| ends.register().unwrap()).collect();
    assert_eq!(ends.register().unwrap_err(), RegisterError::Full);
    assert_eq!(
        RegisterError::Full.to_string(),
        "512 ends of this kind are in use already"
    );
    // A clone waits for a place, and says so when it is used.
    let clone = all[0].another(&ends);
    assert_eq!(clone.check(&ends), Err(RegisterError::Full));
    assert!(all.swap_remove(100).close(&ends));
    clone.check(&ends)?;
    assert_eq!(ends.register().unwrap_err(), RegisterError::Full);
    assert_eq!(ends.count_alive(), MOST_ENDS);
    assert!(all.iter().all(|end| end.close(&ends)));
    assert!(clone.close(&ends));
    assert!(ends.all_closed());
    Ok(())
}

fn a_full_table_of_dead_owners_is_taken_over() -> Outcome {
    let ends = table();
    let mine = ends.register()?;
    let child = Process::start(|| {
        for _ in 1..MOST_ENDS {
            ends.register().unwrap();
        }
        common::kill_me();
    })?;
    assert_eq!(child.join()?, Exit::Signal(libc::SIGKILL));
    let new: Vec<End> = (1..MOST_ENDS).map(|_| ends.register().unwrap()).collect();
    assert_eq!(ends.register().unwrap_err(), RegisterError::Full);
    assert_eq!(ends.count_alive(), MOST_ENDS);
    assert!(new.iter().all(|end| end.close(&ends)));
    mine.check(&ends)?;
    assert_eq!(ends.count_alive(), 1);
    Ok(())
}

/// A peer could have written our slot away; or a slot was taken over by mistake.
fn who_was_taken_over_does_not_close_the_new_ones_end() -> Outcome {
    let ends = table();
    let mine = ends.register()?;
    let slots = slots_of(&ends);
    // As a take-over does it: another generation, another owner.
    slots[0].generation.fetch_add(1, Relaxed);
    assert!(
        !mine.close(&ends),
        "the generation is not the one it remembers"
    );
    assert_eq!(slots[0].owner.load(Relaxed), Identity::me().to_bits());
    Ok(())
}

struct Slot {
    owner: AtomicU64,
    generation: AtomicU64,
}

/// The table's slots, by the documented layout: a lock of 40 bytes, two words, the slots.
fn slots_of(ends: &Shared<Ends>) -> &[Slot; MOST_ENDS] {
    assert_eq!(size_of::<Ends>(), 48 + 16 * MOST_ENDS);
    // SAFETY: inside the segment; atomics.
    unsafe { &*ends.segment().body().add(48).cast() }
}

fn clones_have_slots_of_their_own() -> Outcome {
    let ends = table();
    let one = ends.register()?;
    let two = one.another(&ends);
    assert_eq!(ends.count_alive(), 2);
    assert!(one.close(&ends));
    two.check(&ends)?;
    assert_eq!(ends.holders(), Holders::Alive);
    assert!(two.close(&ends));
    assert!(ends.all_closed());
    Ok(())
}

fn a_scribbled_table_gives_answers() -> Outcome {
    let ends = table();
    let mut random = Dice::new(0x5c);
    let words = size_of::<Ends>() / 4;
    for _ in 0..300 {
        let end = ends.register();
        for _ in 0..200 {
            // All but the lock, which has a test of its own.
            let at = 10 + random.below(words as u64 - 10) as usize;
            // SAFETY: inside the segment.
            let word = unsafe { &*ends.segment().body().cast::<AtomicU32>().add(at) };
            word.store(random.below(1 << 32) as u32, Relaxed);
        }
        let _ = (ends.all_closed(), ends.holders());
        if let Ok(end) = end {
            let _ = end.check(&ends);
            let _ = end.another(&ends).close(&ends);
            end.close(&ends);
        }
    }
    Ok(())
}

/// A consumer that looks while the first producer registers must not see the end of file.
fn the_first_registration_is_never_seen_as_all_gone() -> Outcome {
    const TABLES: usize = 300;
    let tables: Vec<Shared<Ends>> = (0..TABLES).map(|_| table()).collect();
    let at = Shared::new(AtomicU32::new(0))?;
    let done = Shared::new(AtomicU32::new(0))?;
    let registrar = Process::start(|| {
        for (n, ends) in tables.iter().enumerate() {
            until(&at, n as u32 + 1);
            ends.register().unwrap();
            done.store(n as u32 + 1, Release);
        }
        until(&at, u32::MAX);
    })?;
    let mut wrong = 0;
    for (n, ends) in tables.iter().enumerate() {
        at.store(n as u32 + 1, Release);
        while done.load(Acquire) != n as u32 + 1 {
            let closed = ends.all_closed();
            let holders = ends.holders();
            wrong += usize::from(closed || holders == Holders::AllGone);
        }
        assert_eq!(ends.holders(), Holders::Alive);
    }
    at.store(u32::MAX, Release);
    registrar.join()?.ok()?;
    assert_eq!(
        wrong, 0,
        "looks that showed all ends gone while the first one came"
    );
    Ok(())
}

/// A clone in another slot, and the original closed: there is an end at every moment.
fn an_end_that_moves_between_slots_is_never_seen_as_gone() -> Outcome {
    let ends = table();
    let ready = Shared::new(AtomicU32::new(0))?;
    let mover = Process::start(|| {
        let mut end = ends.register().unwrap();
        // Some distance between the two, for a look takes time.
        let fillers: Vec<End> = (0..50).map(|_| ends.register().unwrap()).collect();
        let high = ends.register().unwrap();
        assert!(fillers.iter().all(|end| end.close(&ends)));
        end.close(&ends);
        end = high;
        ready.store(1, Release);
        while ready.load(Relaxed) == 1 {
            let low = end.another(&ends);
            end.close(&ends);
            // And up again: fill what is below.
            let fillers: Vec<End> = (0..50).map(|_| ends.register().unwrap()).collect();
            end = low.another(&ends);
            low.close(&ends);
            assert!(fillers.iter().all(|end| end.close(&ends)));
        }
    })?;
    until(&ready, 1);
    let until = Instant::now() + Duration::from_secs(2);
    let (mut looks, mut wrong) = (0_u64, 0_u64);
    while Instant::now() < until {
        wrong += u64::from(ends.all_closed());
        wrong += u64::from(ends.holders() != Holders::Alive);
        looks += 2;
    }
    ready.store(2, Release);
    mover.join()?.ok()?;
    assert_eq!(wrong, 0, "of {looks} looks showed no end");
    Ok(())
}

#[derive(Shareable)]
#[repr(C)]
struct Claims {
    ends: Ends,
    // Who thinks that a slot is his, by slot.
    claimed: [AtomicU64; MOST_ENDS],
    clashes: AtomicU32,
    registered: AtomicU32,
}

fn racing_registrations_with_kills_own_no_slot_twice() -> Outcome {
    let claims = Shared::new(Claims {
        ends: Ends::new(),
        claimed: [const { AtomicU64::new(0) }; MOST_ENDS],
        clashes: AtomicU32::new(0),
        registered: AtomicU32::new(0),
    })?;
    let race = || {
        let me = Identity::me();
        let mut random = Dice::new(u64::from(std::process::id()) << 8 | 1);
        let mut held: Vec<(End, usize)> = Vec::new();
        loop {
            if held.len() < 150 && random.below(3) > 0 {
                let Ok(end) = claims.ends.register() else {
                    continue;
                };
                let index: usize = format!("{end:?}")
                    .split_once("index: ")
                    .and_then(|(_, rest)| rest.split(|c: char| !c.is_ascii_digit()).next())
                    .and_then(|digits| digits.parse().ok())
                    .unwrap();
                let before = claims.claimed[index].swap(me.to_bits(), AcqRel);
                let clash = Identity::from_bits(before).is_some_and(|other| other.is_alive());
                claims.clashes.fetch_add(u32::from(clash), Relaxed);
                claims.registered.fetch_add(1, Relaxed);
                held.push((end, index));
            } else if !held.is_empty() {
                let (end, index) = held.swap_remove(random.below(held.len() as u64) as usize);
                claims.claimed[index].store(0, Release);
                if !end.close(&claims.ends) {
                    claims.clashes.fetch_add(1, Relaxed);
                }
            }
        }
    };
    let mut random = Dice::new(0xe4d);
    let mut racers: Vec<Process> = (0..4).map(|_| Process::start(race).unwrap()).collect();
    for _ in 0..300 {
        std::thread::sleep(Duration::from_micros(random.below(5_000))); // a random moment
        let n = random.below(4) as usize;
        racers[n].kill()?;
        assert_eq!(racers[n].join()?, Exit::Signal(libc::SIGKILL));
        racers[n] = Process::start(race)?;
    }
    for racer in &racers {
        racer.kill()?;
        assert_eq!(racer.join()?, Exit::Signal(libc::SIGKILL));
    }
    assert_eq!(claims.clashes.load(Relaxed), 0);
    assert_eq!(claims.ends.holders(), Holders::AllGone);
    println!(
        "300 kills over {} registrations",
        claims.registered.load(Relaxed)
    );
    Ok(())
}
