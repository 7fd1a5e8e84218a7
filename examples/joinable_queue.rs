//! A JoinableQueue: four workers do twenty tasks, and `join` returns when all are done.
//! Mirrors Python's `JoinableQueue` with `task_done`; there, a worker that is killed in the
//! middle of a task makes `join` wait for ever. Here the task is delivered again.

use multiproc::{self as mp, JoinableQueue, Process, Queue};
use std::time::Duration;

mod common;

const WORKERS: u32 = 4;
const TASKS: u32 = 20;

fn main() -> mp::Result {
    let options = common::Options::read(&[]);
    let work = options.seconds(0.1);

    // As in Python: `get`, and then `task_done` by hand.
    let jobs = JoinableQueue::<u32>::unbounded()?;
    let workers = Process::builder()
        .daemon(true)
        .start_each(0..WORKERS, |_| {
            while let Ok(job) = jobs.get() {
                std::thread::sleep(work);
                println!("task {job} done by {}", std::process::id());
                if jobs.task_done().is_err() {
                    break;
                }
            }
        })?;
    for job in 0..TASKS {
        jobs.put(job)?;
    }
    jobs.join()?;
    println!("all {TASKS} tasks are done");
    jobs.shut_down();
    mp::join_all(workers)?;

    // A worker is killed in the middle of its task. With `get_task` it is not lost.
    let jobs = JoinableQueue::<u32>::unbounded()?;
    let taken = Queue::<u32>::unbounded()?;
    jobs.put(20)?;
    let victim = Process::builder().daemon(true).start(|| -> mp::Result {
        let task = jobs.get_task()?;
        taken.put(*task)?;
        loop {
            std::thread::sleep(Duration::from_secs(60)); // a task that never ends
        }
    })?;
    println!("task {} is in work", taken.get()?);
    victim.kill()?;
    println!("its worker {}", victim.join()?);

    let other = Process::start(|| -> mp::Result {
        let task = jobs.get_task()?;
        println!("task {} comes again, attempt {}", *task, task.attempt());
        std::thread::sleep(work);
        Ok(()) // done, as the task is dropped
    })?;
    jobs.join()?;
    println!("join returned, {} unfinished", jobs.unfinished());
    mp::join_all([other])?;
    Ok(())
}
