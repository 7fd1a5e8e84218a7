//! Tasks: done, and waited for.

use crate::forms::MOMENT;
use common::*;
use multiproc_process::{Process, join_all};
use multiproc_queue::{JoinTimeoutError, JoinableQueue, TaskDoneError};
use std::time::{Duration, Instant};

/// J1
pub(crate) fn join_returns_when_four_workers_have_done_ten_tasks() -> Outcome {
    let queue = JoinableQueue::<u64>::bounded(20)?;
    let done = Counter::new();
    let begun = Instant::now();
    let workers = Process::builder().daemon(true).start_each(0..4, |_| {
        while let Ok(_task) = queue.get() {
            std::thread::sleep(Duration::from_millis(50));
            done.count();
            queue.task_done().unwrap();
        }
    })?;
    for n in 0..10 {
        queue.put(n)?;
    }
    queue.join()?;
    assert_eq!(done.get(), 10);
    assert!(
        begun.elapsed() >= Duration::from_millis(149),
        "ten tasks are three rounds of four"
    );
    assert_eq!((queue.len(), queue.unfinished()), (0, 0));
    queue.shut_down();
    join_all(workers)?;
    Ok(())
}

/// J2
pub(crate) fn join_with_nothing_unfinished_returns_at_once() -> Outcome {
    let queue = JoinableQueue::<u64>::unbounded()?;
    queue.join()?;
    queue.join_timeout(Duration::ZERO)?;
    queue.put(1)?;
    queue.get()?;
    queue.task_done()?;
    queue.join()?;
    queue.join_timeout(Duration::ZERO)?;
    Ok(())
}

/// J4
pub(crate) fn join_right_after_put_waits() -> Outcome {
    let queue = JoinableQueue::<u64>::unbounded()?;
    queue.put(1)?;
    let joiner = Process::start(|| queue.join())?;
    blocked(&joiner);
    let one = JoinTimeoutError::Timeout { unfinished: 1 };
    assert_eq!(queue.join_timeout(Duration::ZERO), Err(one));
    let begun = Instant::now();
    assert_eq!(queue.join_timeout(MOMENT), Err(one));
    assert!(begun.elapsed() + Duration::from_millis(1) >= MOMENT);
    queue.get()?;
    assert_eq!(queue.join_timeout(Duration::ZERO), Err(one));
    assert!(joiner.is_alive());
    queue.task_done()?;
    ends_well(&joiner);
    Ok(())
}

/// J5, our way: `join` looks again when it wakes.
pub(crate) fn a_put_between_zero_and_the_wake_up_extends_join() -> Outcome {
    let queue = JoinableQueue::<u64>::unbounded()?;
    queue.put(1)?;
    let joiner = Process::start(|| queue.join())?;
    blocked(&joiner);
    // Stopped, it cannot look between the two.
    send_signal(&joiner, libc::SIGSTOP);
    until("the joiner to stop", || state_of(joiner.pid()) == Some('T'));
    queue.task_done()?;
    assert_eq!(queue.unfinished(), 0);
    queue.put(2)?;
    send_signal(&joiner, libc::SIGCONT);
    blocked(&joiner);
    assert_eq!(joiner.try_join()?, None);
    queue.task_done()?;
    ends_well(&joiner);
    Ok(())
}

pub(crate) fn task_done_once_too_often_is_an_error() -> Outcome {
    let queue = JoinableQueue::<u64>::bounded(3)?;
    assert_eq!(queue.task_done(), Err(TaskDoneError::TooMany));
    queue.put(1)?;
    let child = Process::start(|| {
        queue.get().unwrap();
        queue.task_done().unwrap();
        assert_eq!(queue.task_done(), Err(TaskDoneError::TooMany));
    })?;
    ends_well(&child);
    assert_eq!(queue.unfinished(), 0);
    queue.put(2)?;
    assert_eq!(queue.unfinished(), 1);
    Ok(())
}

pub(crate) fn task_done_once_too_often_is_an_error_also_while_a_put_waits() -> Outcome {
    let queue = JoinableQueue::<u64>::bounded(1)?;
    queue.put(1)?;
    let producer = Process::start(|| queue.put(2))?;
    blocked(&producer);
    queue.task_done()?;
    let worker = Process::start(|| {
        assert_eq!(queue.task_done(), Err(TaskDoneError::TooMany));
    })?;
    ends_well(&worker);
    assert_eq!((queue.get()?, queue.get()?), (1, 2));
    ends_well(&producer);
    assert_eq!(queue.unfinished(), 1);
    Ok(())
}
