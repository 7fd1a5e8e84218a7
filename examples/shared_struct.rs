//! A struct of one's own in shared memory: a semaphore, a mutex around data, an array of atomics.
//! Mirrors `sharedctypes.Value(Structure)` beside a `Semaphore` and a `Lock`; here it is one object.
//! Ten workers, three at a time inside, keep a common account and a line of their own each.

mod common;

use common::Options;
use multiproc::{self as mp, Mutex, Process, Semaphore, Shareable, Shared};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

const WORKERS: usize = 10;
const PLACES: u32 = 3;

#[derive(Shareable)]
#[repr(C)]
struct Workshop {
    gate: Semaphore,
    /// Jobs done, and what they add up to: changed together, so under one lock.
    account: Mutex<[u64; 2]>,
    inside: AtomicU32,
    most_inside: AtomicU32,
    done_by: [AtomicU32; WORKERS],
}

fn main() -> mp::Result {
    let options = Options::read(&[]);
    let workshop = Shared::new(Workshop {
        gate: Semaphore::new(PLACES),
        account: Mutex::new([0, 0]),
        inside: AtomicU32::new(0),
        most_inside: AtomicU32::new(0),
        done_by: [const { AtomicU32::new(0) }; WORKERS],
    })?;

    let workers = Process::start_each(0..WORKERS, |worker| -> mp::Result {
        for job in 0..5 {
            let _permit = workshop.gate.permit(); // comes back, also if we are killed
            let inside = workshop.inside.fetch_add(1, Relaxed) + 1;
            workshop.most_inside.fetch_max(inside, Relaxed);
            std::thread::sleep(options.seconds(0.05));
            let mut account = workshop.account.lock()?;
            account[0] += 1;
            account[1] += (worker * job) as u64;
            drop(account);
            workshop.done_by[worker].fetch_add(1, Relaxed);
            workshop.inside.fetch_sub(1, Relaxed);
        }
        Ok(())
    })?;
    mp::join_all(workers)?;

    let [jobs, sum] = *workshop.account.lock()?;
    let each: Vec<u32> = workshop.done_by.iter().map(|n| n.load(Relaxed)).collect();
    println!("jobs: {jobs}, sum: {sum}");
    println!("done by each: {each:?}");
    println!(
        "most inside at a time: {} of {PLACES}",
        workshop.most_inside.load(Relaxed)
    );
    Ok(())
}
