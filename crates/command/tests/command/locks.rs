//! What is shown of locks.

use crate::run::{holding, pid, said, shows};
use common::{Name, Outcome, kill, until};
use multiproc_core::robust::RobustLock;
use multiproc_lock::{Lock, Mutex, RawLock, RwLock};
use multiproc_process::Process;
use multiproc_rlock::{RLock, ReentrantMutex};
use multiproc_segment::Shared;

pub(crate) fn locks_tell_who_holds_them() -> Outcome {
    let name = Name::new("lock");
    let lock = Shared::create(&name, Lock::new())?;
    shows(
        &name,
        &[("state", "free"), ("waiting", "0"), ("mended", "true")],
    );
    lock.acquire().unwrap();
    shows(
        &name,
        &[
            ("state", "held"),
            ("held", &format!("the lock by {}", pid())),
        ],
    );
    let waiter = Process::start(|| drop(lock.acquire()))?;
    until("1 to wait", || {
        said(&["show", &name]).contains("waiting          1 or more")
    });
    lock.release()?;
    waiter.join()?.ok()?;

    let name = Name::new("mutex");
    let mutex = Shared::create(&name, Mutex::new([7_u64; 4]))?;
    shows(&name, &[("kind", "Mutex<[u64; 4]>"), ("state", "free")]);
    let child = holding(|| {
        std::mem::forget(mutex.lock().unwrap());
    });
    shows(&name, &[("state", "held"), ("waiting", "0")]);
    let shown = said(&["show", &name]);
    assert!(
        shown.contains(&format!("the lock by {}", child.pid())),
        "{shown}"
    );
    let waiter = Process::start(|| drop(mutex.lock()))?;
    until("1 to wait", || {
        said(&["show", &name]).contains("waiting          1 or more")
    });
    kill(&child);
    waiter.join()?.ok()?;
    shows(&name, &[("state", "free, not mended"), ("mended", "false")]);

    let name = Name::new("raw");
    let _raw = Shared::create(&name, RawLock::new())?;
    shows(&name, &[("state", "free")]);
    let name = Name::new("robust");
    let robust = Shared::create(&name, RobustLock::new())?;
    let held = robust.try_acquire().unwrap();
    shows(&name, &[("state", "held")]);
    drop(held);
    Ok(())
}

pub(crate) fn a_lock_tells_that_its_owner_died() -> Outcome {
    let name = Name::new("died");
    let mutex = Shared::create(&name, Mutex::new(0_u64))?;
    kill(&holding(|| std::mem::forget(mutex.lock().unwrap())));
    shows(&name, &[("state", "free, its owner died")]);
    let name = Name::new("died too");
    let lock = Shared::create(&name, Lock::new())?;
    let child = holding(|| lock.acquire().unwrap());
    let dead = child.pid();
    kill(&child);
    shows(
        &name,
        &[
            ("state", "held by a dead process"),
            ("held", &format!("the lock by {dead} (dead)")),
        ],
    );
    // Nothing was repaired by looking.
    assert!(lock.is_locked() && lock.acquire().is_err());
    Ok(())
}

pub(crate) fn recursive_locks_tell_how_often() -> Outcome {
    let name = Name::new("rlock");
    let lock = Shared::create(&name, RLock::new())?;
    shows(&name, &[("state", "free"), ("count", "0")]);
    for _ in 0..3 {
        lock.acquire().unwrap();
    }
    shows(&name, &[("state", "held 3 times"), ("count", "3")]);
    let name = Name::new("reentrant");
    let mutex = Shared::create(&name, ReentrantMutex::new(0_u32))?;
    let _held = mutex.lock().unwrap();
    shows(
        &name,
        &[("kind", "ReentrantMutex<u32>"), ("state", "held 1 times")],
    );
    Ok(())
}

pub(crate) fn readers_and_writers_are_told() -> Outcome {
    let name = Name::new("rwlock");
    let lock = Shared::create(&name, RwLock::new([0_u64; 3]))?;
    shows(&name, &[("state", "free"), ("readers", "0")]);
    let (one, two) = (lock.read().unwrap(), lock.read().unwrap());
    let reading = format!("reading by {}", pid());
    shows(
        &name,
        &[("state", "read by 2"), ("readers", "2"), ("held", &reading)],
    );
    drop((one, two));
    let writing = lock.write().unwrap();
    shows(&name, &[("state", "held"), ("mended", "true")]);
    drop(writing);
    kill(&holding(|| std::mem::forget(lock.write().unwrap())));
    shows(
        &name,
        &[
            ("state", "free, its owner died, not mended"),
            ("mended", "false"),
        ],
    );
    let name = Name::new("places");
    let lock = Shared::create(&name, RwLock::<u8, 3>::with_places(0))?;
    let _reading = lock.read().unwrap();
    shows(&name, &[("state", "read by 1")]);
    Ok(())
}
