//! The one place to wait: slices, deadlines, and no spinning without a second CPU.

mod board;

use board::until;
use common::Outcome;
use multiproc_core::deadline::Deadline;
use multiproc_core::fd::wait_readable;
use multiproc_core::wait::{self, SLICE, Slept, Spin};
use multiproc_process::{Process, test};
use multiproc_segment::{Shareable, Shared};
use std::io::{Write, pipe};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::*};
use std::time::{Duration, Instant};

test::main! {
    a_changed_word_is_not_slept_on,
    a_sleeper_looks_round_after_each_slice,
    a_deadline_within_a_slice_ends_the_sleep,
    a_sleeper_in_another_process_is_woken,
    signals_keep_nobody_from_looking_round,
    a_blocked_process_wakes_at_most_twenty_times_a_second,
    spinning_is_bounded,
    a_descriptor_is_waited_for,
}

#[derive(Shareable)]
#[repr(C)]
struct Words {
    word: AtomicU32,
    ready: AtomicU32,
    count: AtomicU64,
}

fn words() -> Shared<Words> {
    let zero = Words {
        word: AtomicU32::new(0),
        ready: AtomicU32::new(0),
        count: AtomicU64::new(0),
    };
    Shared::new(zero).unwrap()
}

fn a_changed_word_is_not_slept_on() {
    let words = words();
    assert_eq!(wait::sleep(&words.word, 1, Deadline::NEVER), Slept::Look);
}

fn a_sleeper_looks_round_after_each_slice() {
    let words = words();
    for _ in 0..3 {
        let begun = Instant::now();
        assert_eq!(
            wait::sleep(&words.word, 0, Deadline::NEVER),
            Slept::SliceOver
        );
        assert!(begun.elapsed() >= SLICE);
    }
}

fn a_deadline_within_a_slice_ends_the_sleep() {
    let words = words();
    let patience = SLICE / 3;
    let begun = Instant::now();
    let slept = wait::sleep(&words.word, 0, Deadline::after(patience));
    assert_eq!(slept, Slept::TimedOut);
    assert!(begun.elapsed() >= patience);
    assert_eq!(wait::sleep(&words.word, 0, Deadline::NOW), Slept::TimedOut);
    // One further away than a slice does not.
    let slept = wait::sleep(&words.word, 0, Deadline::after(SLICE * 20));
    assert_eq!(slept, Slept::SliceOver);
}

fn a_sleeper_in_another_process_is_woken() -> Outcome {
    let words = words();
    let sleeper = Process::start(|| {
        words.ready.store(1, Release);
        while wait::sleep(&words.word, 0, Deadline::NEVER) != Slept::Look {}
        assert_eq!(words.word.load(Relaxed), 1);
    })?;
    until(&words.ready, 1);
    words.word.store(1, Release);
    wait::wake_all(&words.word);
    sleeper.join()?.ok()?;
    Ok(())
}

/// However often signals come: a slice is over when it is over.
fn signals_keep_nobody_from_looking_round() -> Outcome {
    extern "C" fn nothing(_: libc::c_int) {}
    let words = words();
    let sleeper = Process::start(|| {
        let handler: extern "C" fn(libc::c_int) = nothing;
        // SAFETY: a handler that does nothing.
        unsafe { libc::signal(libc::SIGUSR1, handler as libc::sighandler_t) };
        words.ready.store(1, Release);
        let slept = wait::sleep(&words.word, 0, Deadline::NEVER);
        assert_eq!(slept, Slept::SliceOver);
    })?;
    until(&words.ready, 1);
    // All the time while it sleeps.
    while sleeper.is_alive() {
        // SAFETY: our own child, not collected.
        unsafe { libc::kill(sleeper.pid() as i32, libc::SIGUSR1) };
        std::thread::yield_now();
    }
    sleeper.join()?.ok()?;
    Ok(())
}

fn a_blocked_process_wakes_at_most_twenty_times_a_second() -> Outcome {
    let words = words();
    let begun = Instant::now();
    let deadline = Deadline::after(SLICE * 6);
    let mut looks = 0;
    while wait::sleep(&words.word, 0, deadline) == Slept::SliceOver {
        looks += 1;
    }
    let slices = begun.elapsed().as_millis() / SLICE.as_millis();
    assert!(looks <= slices, "{looks} looks in {slices} slices");
    Ok(())
}

fn spinning_is_bounded() {
    const WAITS: usize = 2_000;
    let mut pauses = 0;
    for _ in 0..WAITS {
        let mut spin = Spin::new();
        let one = (0..100_000).take_while(|_| spin.again()).count();
        assert!(one <= 3_001, "{one} pauses in one wait");
        pauses += one;
        spin.learn(); // in vain, each of them
    }
    assert!(
        pauses / WAITS < 150,
        "{} pauses per wait in vain",
        pauses / WAITS
    );
    let mut looks = 0;
    let came = wait::patiently(100, || {
        looks += 1;
        false
    });
    assert!(!came && looks <= 100);
}

fn a_descriptor_is_waited_for() -> Outcome {
    let (reader, mut writer) = pipe()?;
    assert!(!wait_readable(reader.as_fd(), Deadline::NOW)?);
    let patience = Duration::from_millis(30);
    let begun = Instant::now();
    assert!(!wait_readable(reader.as_fd(), Deadline::after(patience))?);
    assert!(begun.elapsed() >= patience);
    writer.write_all(b"!")?;
    assert!(wait_readable(reader.as_fd(), Deadline::NEVER)?);
    drop(writer);
    assert!(wait_readable(reader.as_fd(), Deadline::NEVER)?);
    Ok(())
}
