//! What is shown of semaphores, events, conditions and barriers.

use crate::run::{holding, said, shows};
use common::{Name, Outcome, kill, until};
use multiproc_barrier::Barrier;
use multiproc_condition::Condition;
use multiproc_event::Event;
use multiproc_lock::Mutex;
use multiproc_process::Process;
use multiproc_segment::{Shareable, Shared};
use multiproc_semaphore::{BoundedSemaphore, Semaphore};
use std::sync::atomic::AtomicU32;

pub(crate) fn semaphores_tell_their_value_and_permits() -> Outcome {
    let name = Name::new("semaphore");
    let semaphore = Shared::create(&name, Semaphore::new(5))?;
    shows(
        &name,
        &[("state", "value 5"), ("permits", "0"), ("waiting", "0")],
    );
    let child = holding(|| std::mem::forget(semaphore.permit()));
    let permits = semaphore.permits(2)?;
    let held = format!("a permit by {}", child.pid());
    shows(
        &name,
        &[("state", "value 2"), ("permits", "3"), ("held", &held)],
    );
    kill(&child);
    shows(&name, &[("held", &format!("{held} (dead)"))]);
    drop(permits);
    let name = Name::new("bounded");
    let semaphore = Shared::create(&name, BoundedSemaphore::<3>::sized(1))?;
    semaphore.acquire();
    shows(&name, &[("state", "value 0 of 1"), ("bound", "1")]);
    let waiter = Process::start(|| semaphore.acquire())?;
    until("1 to wait", || {
        said(&["show", &name]).contains("waiting          1 or more")
    });
    semaphore.release()?;
    waiter.join()?.ok()?;
    Ok(())
}

pub(crate) fn events_tell_whether_they_are_set_and_awaited() -> Outcome {
    let name = Name::new("event");
    let event = Shared::create(&name, Event::new())?;
    shows(&name, &[("state", "unset"), ("waiting", "0")]);
    let waiter = Process::start(|| event.wait())?;
    until("1 to wait", || {
        said(&["show", &name]).contains("waiting          1 or more")
    });
    event.set();
    waiter.join()?.ok()?;
    shows(
        &name,
        &[("state", "set"), ("set", "true"), ("waiting", "0")],
    );
    Ok(())
}

#[derive(Shareable)]
#[repr(C)]
pub(crate) struct Pair {
    pub(crate) mutex: Mutex<u32>,
    pub(crate) stop: AtomicU32,
}

pub(crate) fn conditions_and_barriers_tell_how_many_wait() -> Outcome {
    let name = Name::new("condition");
    let condition = Shared::create(&name, Condition::new())?;
    let mutex = Shared::new(Mutex::new(0_u32))?;
    shows(&name, &[("waiting", "0")]);
    let waiters = Process::start_each(0..3, |_| {
        let held = mutex.lock().unwrap();
        drop(condition.wait(held).unwrap());
    })?;
    until("3 to wait", || condition.waiting() == 3);
    shows(&name, &[("waiting", "3")]);
    let held = mutex.lock().unwrap();
    condition.notify_all(&held);
    drop(held);
    for waiter in waiters {
        waiter.join()?.ok()?;
    }
    shows(&name, &[("waiting", "0")]);

    let name = Name::new("barrier");
    let barrier = Shared::create(&name, Barrier::<5>::sized(3))?;
    shows(&name, &[("state", "0 of 3 are there"), ("broken", "false")]);
    let waiters = Process::start_each(0..2, |_| barrier.wait().map(drop))?;
    until("2 to wait", || barrier.waiting() == 2);
    shows(
        &name,
        &[
            ("state", "2 of 3 are there"),
            ("waiting", "2"),
            ("parties", "3"),
        ],
    );
    barrier.wait()?;
    for waiter in waiters {
        waiter.join()?.ok()?;
    }
    shows(&name, &[("state", "0 of 3 are there")]);
    barrier.abort();
    shows(
        &name,
        &[("state", "0 of 3 are there, broken"), ("broken", "true")],
    );
    Ok(())
}
