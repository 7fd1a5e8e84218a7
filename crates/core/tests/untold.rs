//! Deaths of which the kernel does not tell, and who never waits for long: found all the same. And
//! identities of those who could not look up their own.

mod board;

use board::until;
use common::{Outcome, bare_fork, kill_me, ok, status_of};
use multiproc_core::deadline::Deadline;
use multiproc_core::ends::{End, Ends};
use multiproc_core::identity::Identity;
use multiproc_core::robust::{RobustGuard, RobustLock};
use multiproc_process::{Exit, Process, test};
use multiproc_segment::{Shareable, Shared};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::*};
use std::time::Duration;

test::main! {
    who_only_tries_finds_a_dead_holder_without_the_list,
    who_never_stays_for_a_slice_finds_a_dead_holder_without_the_list,
    who_only_tries_does_not_rob_the_living_without_the_list,
    who_only_tries_finds_a_holder_that_the_kernel_did_not_walk_to,
    who_has_no_descriptor_to_look_itself_up_is_alive_until_it_has_ended,
    an_end_is_handed_over_also_where_the_child_took_the_last_descriptor,
}

#[derive(Shareable)]
#[repr(C)]
struct World {
    locks: [RobustLock; 2100],
    identity: AtomicU64,
    word: AtomicU32,
}

fn world() -> Shared<World> {
    let world = Box::new(World {
        locks: [const { RobustLock::new() }; 2100],
        identity: AtomicU64::new(0),
        word: AtomicU32::new(0),
    });
    Shared::new(*world).unwrap()
}

/// Before the first lock of this process, which has one thread so far.
fn without_list() {
    // SAFETY: one thread.
    unsafe { std::env::set_var("MULTIPROC_NO_ROBUST_LIST", "1") };
}

fn dies_holding(lock: &RobustLock) -> Outcome {
    let child = Process::start(|| {
        let _held = lock.acquire(Deadline::NEVER).unwrap();
        kill_me();
    })?;
    assert_eq!(child.join()?, Exit::Signal(libc::SIGKILL));
    Ok(())
}

fn polled<'a>(mut look: impl FnMut() -> Option<RobustGuard<'a>>) -> RobustGuard<'a> {
    loop {
        match look() {
            Some(guard) => return guard,
            None => std::thread::yield_now(),
        }
    }
}

fn who_only_tries_finds_a_dead_holder_without_the_list() -> Outcome {
    without_list();
    let w = world();
    let lock = &w.locks[0];
    dies_holding(lock)?;
    let held = polled(|| lock.try_acquire());
    assert!(held.owner_died());
    drop(held);
    assert!(!polled(|| lock.try_acquire()).owner_died());
    Ok(())
}

fn who_never_stays_for_a_slice_finds_a_dead_holder_without_the_list() -> Outcome {
    without_list();
    let w = world();
    for (lock, time) in w
        .locks
        .iter()
        .zip([Duration::ZERO, Duration::from_nanos(1)])
    {
        dies_holding(lock)?;
        let held = polled(|| lock.acquire(Deadline::after(time)).ok());
        assert!(held.owner_died());
    }
    Ok(())
}

fn who_only_tries_does_not_rob_the_living_without_the_list() -> Outcome {
    without_list();
    let w = world();
    let holder = Process::start(|| {
        let _held = w.locks[0].acquire(Deadline::NEVER).unwrap();
        w.word.store(1, Release);
        until(&w.word, 2);
    })?;
    until(&w.word, 1);
    for _ in 0..1_000 {
        assert!(w.locks[0].try_acquire().is_none());
        assert!(w.locks[0].acquire(Deadline::NOW).is_err());
    }
    // Nor its own.
    let mine = w.locks[1].acquire(Deadline::NEVER)?;
    assert!(w.locks[1].try_acquire().is_none());
    drop(mine);
    w.word.store(2, Release);
    holder.join()?.ok()?;
    assert!(!w.locks[0].try_acquire().unwrap().owner_died());
    Ok(())
}

/// It holds more locks than the kernel has patience for.
fn who_only_tries_finds_a_holder_that_the_kernel_did_not_walk_to() -> Outcome {
    let w = world();
    let child = Process::start(|| {
        for lock in &w.locks {
            std::mem::forget(lock.acquire(Deadline::NEVER).unwrap());
        }
        kill_me();
    })?;
    assert_eq!(child.join()?, Exit::Signal(libc::SIGKILL));
    for lock in &w.locks {
        assert!(polled(|| lock.try_acquire()).owner_died());
    }
    Ok(())
}

fn who_has_no_descriptor_to_look_itself_up_is_alive_until_it_has_ended() -> Outcome {
    let w = world();
    let child = bare_fork(|| {
        let none = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        // SAFETY: a limit of this process's own.
        ok(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &none) }).unwrap();
        w.identity.store(Identity::me().to_bits(), Release);
        w.word.store(1, Release);
        until(&w.word, 2);
    })?;
    until(&w.word, 1);
    let identity = Identity::from_bits(w.identity.load(Acquire)).unwrap();
    assert_eq!(identity.pid(), child as u32);
    assert!(identity.is_alive(), "{identity:?}");
    w.word.store(2, Release);
    assert_eq!(status_of(child)?, 0);
    assert!(!identity.is_alive());
    Ok(())
}

/// Closed when it is dropped, unless it is handed over.
struct Held<'a>(&'a Ends, End);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.1.close(self.0);
    }
}

fn an_end_is_handed_over_also_where_the_child_took_the_last_descriptor() -> Outcome {
    let ends = Shared::new(Ends::new())?;
    let few = libc::rlimit {
        rlim_cur: 64,
        rlim_max: 64,
    };
    // SAFETY: a limit of this process's own.
    ok(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &few) })?;
    let mut started = 0;
    for left in 0..32 {
        let held = Held(&ends, ends.register()?);
        let null = || std::fs::File::open("/dev/null").ok();
        let mut all: Vec<_> = std::iter::from_fn(null).collect();
        all.truncate(all.len() - left);
        let child = Process::start(move || {
            assert!(held.1.check(held.0).is_ok(), "closed");
        });
        drop(all);
        if let Ok(child) = child {
            println!("started with {left} descriptors left");
            child.join()?.ok()?;
            started += 1;
        }
        if started == 3 {
            return Ok(());
        }
    }
    panic!("never started");
}
