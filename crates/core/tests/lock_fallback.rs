//! The robust lock where the kernel's list cannot be used.

mod board;

use board::{Board, entry_of, kernel_list, until};
use common::{Outcome, bare_fork, ok, status_of};
use multiproc_core::deadline::Deadline;
use multiproc_process::{Exit, Process, test};
use multiproc_segment::Shared;
use std::time::{Duration, Instant};

test::main! {
    without_the_list_nothing_is_linked,
    a_killed_holder_is_found_without_the_list,
    a_zombie_holder_is_found_without_the_list,
    a_thread_that_ended_holding_is_found_without_the_list,
    who_took_it_from_the_dead_is_not_robbed_without_the_list,
    a_living_holder_is_not_robbed_without_the_list,
    a_living_thread_that_leads_nothing_is_not_robbed_without_the_list,
    a_lock_in_a_new_pid_namespace_is_not_taken_from_the_living,
}

/// Before the first lock of this process, which has one thread so far.
fn without_list() {
    // SAFETY: one thread.
    unsafe { std::env::set_var("MULTIPROC_NO_ROBUST_LIST", "1") };
}

fn without_the_list_nothing_is_linked() -> Outcome {
    without_list();
    let board = Shared::new(Board::new())?;
    let held = board.lock.acquire(Deadline::NEVER)?;
    assert!(!kernel_list().0.contains(&entry_of(&board.lock)));
    drop(held);
    assert!(!board.lock.is_held());
    Ok(())
}

fn a_killed_holder_is_found_without_the_list() -> Outcome {
    without_list();
    let board = Shared::new(Board::new())?;
    for _ in 0..3 {
        let child = Process::start(|| {
            let _held = board.lock.acquire(Deadline::NEVER).unwrap();
            common::kill_me();
        })?;
        assert_eq!(child.join()?, Exit::Signal(libc::SIGKILL));
        assert!(board.lock.acquire(Deadline::NEVER)?.owner_died());
        assert!(!board.lock.acquire(Deadline::NEVER)?.owner_died());
    }
    Ok(())
}

/// Its parent is the one that waits for the lock, and so does not collect it.
fn a_zombie_holder_is_found_without_the_list() -> Outcome {
    without_list();
    let board = Shared::new(Board::new())?;
    let child = bare_fork(|| {
        let _held = board.lock.acquire(Deadline::NEVER).unwrap();
        common::kill_me();
    })?;
    // SAFETY: zeroes are a `siginfo_t`; waits for its end without collecting it.
    unsafe {
        let mut info = std::mem::zeroed();
        let flags = libc::WEXITED | libc::WNOWAIT;
        ok(libc::waitid(
            libc::P_PID,
            child as libc::id_t,
            &mut info,
            flags,
        ))?;
    }
    let held = board.lock.acquire(Deadline::after(Duration::from_secs(5)));
    assert!(
        held.is_ok_and(|held| held.owner_died()),
        "a zombie still counts as the holder"
    );
    assert_eq!(status_of(child)?, libc::SIGKILL);
    Ok(())
}

fn a_thread_that_ended_holding_is_found_without_the_list() -> Outcome {
    without_list();
    let board = Shared::new(Board::new())?;
    std::thread::scope(|scope| {
        scope.spawn(|| std::mem::forget(board.lock.acquire(Deadline::NEVER)));
    });
    assert!(board.lock.acquire(Deadline::NEVER)?.owner_died());
    Ok(())
}

/// Several find at the same time that the holder is dead, and one of them has it.
fn who_took_it_from_the_dead_is_not_robbed_without_the_list() -> Outcome {
    const WAITERS: u32 = 6;
    without_list();
    for _ in 0..10 {
        let board = Shared::new(Board::new())?;
        let holder = Process::start(|| {
            let _held = board.lock.acquire(Deadline::NEVER).unwrap();
            board.word.store(1, Release);
            until(&board.word, 2);
            common::kill_me();
        })?;
        until(&board.word, 1);
        let waiters: Vec<_> = (0..WAITERS)
            .map(|_| {
                Process::start(|| {
                    board.a.fetch_add(1, AcqRel);
                    let held = board.lock.acquire(Deadline::NEVER).unwrap();
                    let alone = board.torn.fetch_add(1, AcqRel) == 0;
                    // As long as the others need for their look at the dead one.
                    let begun = Instant::now();
                    while begun.elapsed() < Duration::from_millis(5) {
                        std::thread::yield_now();
                    }
                    board.torn.fetch_sub(1, AcqRel);
                    drop(held);
                    assert!(alone, "two have the lock");
                })
            })
            .collect::<Result<_, _>>()?;
        while board.a.load(Acquire) < WAITERS.into() {
            std::thread::yield_now();
        }
        board.word.store(2, Release);
        assert_eq!(holder.join()?, Exit::Signal(libc::SIGKILL));
        for waiter in waiters {
            waiter.join()?.ok()?;
        }
    }
    Ok(())
}

const SLICES: Duration = Duration::from_millis(300);

fn a_living_holder_is_not_robbed_without_the_list() -> Outcome {
    without_list();
    let board = Shared::new(Board::new())?;
    let child = Process::start(|| {
        let _held = board.lock.acquire(Deadline::NEVER).unwrap();
        board.word.store(1, Release);
        until(&board.word, 2);
    })?;
    until(&board.word, 1);
    let robbed = board.lock.acquire(Deadline::after(SLICES)).is_ok();
    board.word.store(2, Release);
    child.join()?.ok()?;
    assert!(!robbed);
    assert!(!board.lock.acquire(Deadline::NEVER)?.owner_died());
    Ok(())
}

fn a_living_thread_that_leads_nothing_is_not_robbed_without_the_list() -> Outcome {
    without_list();
    let board = Shared::new(Board::new())?;
    let child = Process::start(|| {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let _held = board.lock.acquire(Deadline::NEVER).unwrap();
                board.word.store(1, Release);
                until(&board.word, 2);
            });
        });
    })?;
    until(&board.word, 1);
    let robbed = board.lock.acquire(Deadline::after(SLICES)).is_ok();
    board.word.store(2, Release);
    child.join()?.ok()?;
    assert!(!robbed);
    Ok(())
}

use std::sync::atomic::Ordering::*;

/// Inherited across a namespace border, which no check at opening sees: thread ids mean
/// others there.
fn a_lock_in_a_new_pid_namespace_is_not_taken_from_the_living() -> Outcome {
    let board = Shared::new(Board::new())?;
    let helper = bare_fork(|| {
        // SAFETY: a number; the helper is there for this alone.
        if unsafe { libc::unshare(libc::CLONE_NEWPID) } == -1 {
            println!(
                "skipped: no PID namespaces here: {}",
                std::io::Error::last_os_error()
            );
            return;
        }
        let held = board.lock.acquire(Deadline::NEVER).unwrap();
        let end = common::in_bare_fork(|| {
            let robbed = board.lock.acquire(Deadline::after(SLICES));
            assert!(robbed.is_err(), "taken from its living holder");
        });
        assert_eq!(end.unwrap(), 0);
        drop(held);
    })?;
    assert_eq!(status_of(helper)?, 0);
    Ok(())
}
