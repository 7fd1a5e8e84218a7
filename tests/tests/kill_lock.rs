//! Killed at every step of the robust lock: each operation is run by a process that dies by
//! SIGKILL at its first named step, then by one that dies at its second, and so on until one
//! comes through. The survivors must find the lock in order every time: nobody hangs, and what
//! is half done is reported.

use common::{Outcome, blocked_or_gone, start, until};
use multiproc_core::deadline::Deadline;
use multiproc_core::robust::RobustLock;
use multiproc_core::{step, wait};
use multiproc_process::{Process, test};
use multiproc_segment::{Shareable, Shared};
use multiproc_tests::{at_each_step, came_through, victim};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::*};
use std::time::Duration;

test::main! {
    killed_at_each_step_of_acquire_and_release,
    killed_at_each_step_of_a_refused_try,
    #[timeout(120)]
    killed_at_each_step_of_a_contended_acquire,
    #[timeout(120)]
    killed_at_each_step_of_an_acquire_that_times_out,
    #[timeout(120)]
    killed_at_each_step_of_a_release_with_waiters,
    killed_at_each_step_of_recovery,
    #[timeout(120)]
    killed_at_each_step_of_a_release_that_rings,
}

#[derive(Shareable)]
#[repr(C)]
struct World {
    lock: RobustLock,
    // Equal whenever nobody is at work on them.
    a: AtomicU64,
    b: AtomicU64,
    stage: AtomicU32,
    bell: AtomicU32,
    news: AtomicU32,
}

fn world() -> Shared<World> {
    Shared::new(World {
        lock: RobustLock::new(),
        a: AtomicU64::new(0),
        b: AtomicU64::new(0),
        stage: AtomicU32::new(0),
        bell: AtomicU32::new(0),
        news: AtomicU32::new(0),
    })
    .unwrap()
}

impl World {
    /// One change under the lock, after a repair where the last holder died in the middle.
    fn change(&self, owner_died: bool) {
        let (a, b) = (self.a.load(Relaxed), self.b.load(Relaxed));
        assert!(a == b || owner_died, "half done, and nobody said so");
        self.a.store(a + 1, Relaxed);
        step!("test: half done");
        self.b.store(a + 1, Relaxed);
    }

    fn turn(&self) {
        let held = self.lock.acquire(Deadline::NEVER).unwrap();
        self.change(held.owner_died());
    }

    /// What any survivor does, and must be able to.
    fn go_on(&self) {
        self.turn();
        let held = self.lock.acquire(Deadline::NEVER).unwrap();
        assert!(!held.owner_died(), "reported twice");
        assert_eq!(self.a.load(Relaxed), self.b.load(Relaxed));
        drop(held);
        assert!(self.lock.try_acquire().is_some());
    }

    fn has_waiters(&self) -> bool {
        // SAFETY: the word is the lock's first field.
        let word = unsafe { &*(&raw const self.lock).cast::<AtomicU32>() };
        word.load(Relaxed) & 1 << 31 != 0
    }
}

/// Runs `victim` in a child that dies at step `n` of what follows its call of the function
/// that it is given. True if it came through.
fn killed_at(n: u64, victim: impl FnOnce(&dyn Fn())) -> bool {
    came_through(&start(|| {
        victim(&|| step::arm(n));
        step::disarm();
    }))
}

/// A process that has the lock until that stage; stage 1 is that it has it.
fn holding(world: &World, until_stage: u32) -> Process {
    let holder = start(|| {
        let held = world.lock.acquire(Deadline::NEVER).unwrap();
        world.stage.store(1, Release);
        until("the stage of the release", || {
            world.stage.load(Acquire) == until_stage
        });
        world.change(held.owner_died());
    });
    until("stage 1", || world.stage.load(Acquire) == 1);
    holder
}

fn killed_at_each_step_of_acquire_and_release() -> Outcome {
    at_each_step(5, |n| {
        let world = world();
        let through = killed_at(n, |arm| {
            arm();
            world.turn();
        });
        world.go_on();
        through
    });
    Ok(())
}

fn killed_at_each_step_of_a_refused_try() -> Outcome {
    at_each_step(1, |n| {
        let world = world();
        let holder = holding(&world, 2);
        let through = killed_at(n, |arm| {
            arm();
            assert!(world.lock.try_acquire().is_none());
        });
        assert!(
            world.lock.is_held(),
            "released by a death that had nothing to do with it"
        );
        world.stage.store(2, Release);
        holder.join().unwrap().ok().unwrap();
        world.go_on();
        through
    });
    Ok(())
}

fn killed_at_each_step_of_a_contended_acquire() -> Outcome {
    at_each_step(4, |n| {
        let world = world();
        // Until the victim sleeps or is dead, and a second one sleeps too.
        let holder = holding(&world, 3);
        let other = Process::start(|| {
            until("one to wait", || {
                world.has_waiters() || world.stage.load(Acquire) == 3
            });
            world.turn();
        })
        .unwrap();
        let dies = victim(n, || world.turn());
        // Asleep or dead; and where the victim has left its mark, the other one sleeps, too.
        blocked_or_gone(&dies);
        if world.has_waiters() {
            blocked_or_gone(&other);
        }
        world.stage.store(3, Release);
        let through = came_through(&dies);
        for survivor in [holder, other] {
            survivor.join().unwrap().ok().unwrap();
        }
        world.go_on();
        through
    });
    Ok(())
}

fn killed_at_each_step_of_an_acquire_that_times_out() -> Outcome {
    at_each_step(2, |n| {
        let world = world();
        let holder = holding(&world, 2);
        let through = killed_at(n, |arm| {
            arm();
            let deadline = Deadline::after(Duration::from_millis(5));
            assert!(world.lock.acquire(deadline).is_err());
        });
        world.stage.store(2, Release);
        holder.join().unwrap().ok().unwrap();
        world.go_on();
        through
    });
    Ok(())
}

fn killed_at_each_step_of_a_release_with_waiters() -> Outcome {
    at_each_step(2, |n| {
        let world = world();
        let waiters = Process::start_each(0..2, |_| {
            until("stage 1", || world.stage.load(Acquire) == 1);
            world.turn();
        })
        .unwrap();
        let through = killed_at(n, |arm| {
            let held = world.lock.acquire(Deadline::NEVER).unwrap();
            world.stage.store(1, Release);
            until("one to wait", || world.has_waiters());
            world.change(held.owner_died());
            arm();
            drop(held);
        });
        for waiter in waiters {
            waiter.join().unwrap().ok().unwrap();
        }
        world.go_on();
        assert_eq!(world.a.load(Relaxed), 4);
        through
    });
    Ok(())
}

fn killed_at_each_step_of_recovery() -> Outcome {
    at_each_step(5, |n| {
        let world = world();
        assert!(!killed_at(3, |arm| {
            let held = world.lock.acquire(Deadline::NEVER).unwrap();
            world.a.store(1, Relaxed); // half done
            arm();
            std::mem::forget(held);
            (0..4).for_each(|_| step!("test: dead"));
        }));
        assert!(world.lock.is_orphaned());
        let through = killed_at(n, |arm| {
            arm();
            world.turn();
        });
        world.go_on();
        through
    });
    Ok(())
}

fn killed_at_each_step_of_a_release_that_rings() -> Outcome {
    at_each_step(3, |n| {
        let world = world();
        let sleeper = Process::start(|| {
            while world.news.load(Acquire) == 0 {
                let bell = world.bell.load(Acquire);
                world.lock.ask_for_bell();
                world.stage.store(1, Release);
                if world.news.load(Acquire) != 0 {
                    break;
                }
                let _ = wait::sleep(&world.bell, bell, Deadline::NEVER);
            }
        })
        .unwrap();
        until("stage 1", || world.stage.load(Acquire) == 1);
        let through = killed_at(n, |arm| {
            let held = world
                .lock
                .acquire(Deadline::NEVER)
                .unwrap()
                .with_bell(&world.bell);
            world.lock.ask_for_bell();
            world.change(held.owner_died());
            world.news.store(1, Release);
            arm();
            drop(held);
        });
        // The news was there before the release: whoever asked for the bell finds it, rung or
        // not.
        sleeper.join().unwrap().ok().unwrap();
        world.go_on();
        through
    });
    Ok(())
}
