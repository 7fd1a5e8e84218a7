//! Forked children, programs with threads, types of their own.

use crate::watching::*;
use common::*;
use multiproc_manager::{CallError, List, Manager, RemoteError, managed};
use multiproc_process::{Process, join_all};
use std::time::Duration;

#[derive(Default)]
pub(crate) struct Register {
    pub(crate) lists: Vec<List<u32>>,
}

impl Register {
    pub(crate) fn keep(&mut self, list: List<u32>) -> u32 {
        self.lists.push(list);
        self.lists.len() as u32
    }

    pub(crate) fn first(&self) -> Option<List<u32>> {
        self.lists.first().cloned()
    }

    pub(crate) fn forget(&mut self) {
        self.lists.clear();
    }

    pub(crate) fn total(&self) -> Result<u32, String> {
        let sum = |list: &List<u32>| Ok(list.to_vec()?.iter().sum::<u32>());
        let sums: Result<Vec<u32>, CallError> = self.lists.iter().map(sum).collect();
        Ok(sums.map_err(|e| e.to_string())?.iter().sum())
    }

    pub(crate) fn nap(&self, millis: u64) {
        std::thread::sleep(Duration::from_millis(millis));
    }
}

managed! {
    pub(crate) proxy RegisterProxy for Register {
        fn keep(&mut self, list: List<u32>) -> u32;
        fn first(&self) -> Option<List<u32>>;
        fn forget(&mut self);
        fn total(&self) -> Result<u32, String>;
        fn nap(&self, millis: u64);
    }
}

fn serve_registers(seat: multiproc_manager::Seat) -> Result<(), multiproc_manager::ServeError> {
    seat.serve_with(|server| server.register(Register::default))
}

pub(crate) fn a_program_with_threads_starts_a_server_and_registers_there() -> Outcome {
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    std::thread::scope(|scope| -> Outcome {
        scope.spawn(move || stopped.recv());
        let manager = Manager::start()?; // spawned, as there are two threads
        let list = manager.list::<u32>()?;
        list.push(1)?;
        assert_eq!(list.to_vec()?, [1]);
        manager.shut_down()?;
        let refused = Manager::builder().register(Register::default).start();
        assert!(refused.unwrap_err().to_string().contains("thread"));
        let manager = Manager::start_with(serve_registers)?;
        let register = manager.make::<RegisterProxy>()?;
        assert_eq!(register.first()?, None);
        let process = manager.process().unwrap().clone();
        drop(manager);
        assert_eq!(process.exit_code(), Some(0));
        drop(stop);
        Ok(())
    })
}

pub(crate) fn a_fork_with_live_proxies_in_both() -> Outcome {
    let manager = Manager::start()?;
    let list = manager.list::<u32>()?;
    let dict = manager.dict::<u32, List<u32>>()?;
    dict.insert(0, &list)?;
    // Grandchildren, too; each drops what it inherited, and makes its own.
    let children = Process::start_each(0..4, |n| -> Outcome {
        let grandchild = Process::start(|| -> Outcome {
            let own = manager.list()?;
            own.push(n)?;
            dict.insert(n + 10, &own)?;
            Ok(())
        })?;
        list.push(n)?;
        let inner = dict.get(&0)?.unwrap();
        assert_eq!(inner, list);
        drop(inner);
        join_all([grandchild])?;
        Ok(())
    })?;
    for n in 0..100 {
        list.push(100 + n)?;
    }
    join_all(children)?;
    assert_eq!(list.len()?, 104);
    assert_eq!(dict.len()?, 5);
    assert_eq!(dict.get(&12)?.unwrap().to_vec()?, [2]);
    // A copy of the manager in a child that it drops shuts nothing down.
    let child = Process::start(move || drop(manager))?;
    ends_well(&child);
    assert_eq!(list.len()?, 104);
    Ok(())
}

pub(crate) fn proxies_moved_into_children_belong_to_them() -> Outcome {
    let manager = Manager::start()?;
    let go = manager.event()?;
    let done = manager.queue::<Vec<u32>>()?;
    let list = manager.list::<u32>()?;
    list.push(1)?;
    let child = {
        let (go, done) = (&go, &done);
        Process::start(move || {
            go.wait().unwrap();
            done.put(list.to_vec().unwrap()).unwrap();
        })?
    };
    // This process has it no more, and the child has not used it so far.
    objects(&manager, 3);
    go.set()?;
    assert_eq!(done.get()?, [1]);
    ends_well(&child);
    objects(&manager, 2);
    // To a child that dies without having used it.
    go.clear()?;
    let list = manager.list::<u32>()?;
    let child = {
        let go = &go;
        Process::start(move || {
            go.wait().unwrap();
            drop(list);
        })?
    };
    objects(&manager, 3);
    child.kill()?;
    let _ = child.join()?;
    objects(&manager, 2);
    Ok(())
}

pub(crate) fn a_method_that_is_slow_keeps_only_its_own_callers() -> Outcome {
    let manager = Manager::builder().register(Register::default).start()?;
    let (slow, other) = (
        manager.make::<RegisterProxy>()?,
        manager.make::<RegisterProxy>()?,
    );
    let child = Process::start(|| slow.nap(300).unwrap())?;
    sleeps(&child);
    assert_eq!(other.total()?, Ok(0));
    // One who waits for it and dies.
    let waits = Process::start(|| drop(slow.total()))?;
    sleeps(&waits);
    waits.kill()?;
    let _ = waits.join()?;
    assert_eq!(slow.total()?, Ok(0));
    ends_well(&child);
    assert!(matches!(
        Manager::start()?.make::<RegisterProxy>(),
        Err(CallError::Refused(_)) | Err(CallError::Remote(RemoteError::NotExposed { .. }))
    ));
    Ok(())
}

pub(crate) fn a_guard_in_a_forked_child_releases_nothing() -> Outcome {
    let manager = Manager::start()?;
    let (lock, semaphore) = (manager.lock()?, manager.bounded_semaphore(1)?);
    let jobs = manager.joinable_queue::<u8>()?;
    jobs.put(1)?;
    let held = (lock.lock()?, semaphore.permit()?, jobs.get_task()?);
    let mut held = Some(held);
    // A child has a copy of everything, and drops it.
    let child = Process::start(|| drop(held.take()))?;
    ends_well(&child);
    assert!(lock.is_locked()?);
    assert_eq!(semaphore.value()?, 0);
    assert_eq!(jobs.unfinished()?, 1);
    drop(held);
    assert!(!lock.is_locked()?);
    jobs.join()?;
    Ok(())
}
