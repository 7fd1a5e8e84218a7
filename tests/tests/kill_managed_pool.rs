//! Killed at every step: a manager's server that makes a pool, uses it and ends it. Whoever asks
//! hears of it, and neither the pool's keeper nor a worker outlives the server.

use common::until;
use multiproc_core::step;
use multiproc_manager::{CallError, Manager, PoolError};
use multiproc_process::test;
use std::fs;

test::main! {
    #[timeout(400)]
    a_server_with_a_pool_killed_at_each_step,
}

/// Those that were started by this process, or left to it, and live.
fn children() -> Vec<String> {
    let me = std::process::id().to_string();
    let stats = fs::read_dir("/proc").unwrap().flatten();
    let stats = stats.filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok());
    stats
        .filter(|stat| {
            let mut after = stat[stat.rfind(')').unwrap() + 1..].split_whitespace();
            let (state, parent) = (after.next().unwrap(), after.next().unwrap());
            parent == me && state != "Z"
        })
        .collect()
}

#[track_caller]
fn nobody_is_left(at: u64) {
    let all_gone = format!("all to be gone after step {at}");
    until(&all_gone, || children().is_empty());
}

fn square(n: u64) -> u64 {
    n * n
}

fn some_tasks(manager: &Manager) -> Result<(), PoolError> {
    let pool = manager.pool(1)?;
    assert_eq!(pool.apply(square, 3)?, 9);
    assert_eq!(pool.map(square, 0..3)?, [0, 1, 4]);
    assert_eq!(pool.apply_async(square, 4)?.get()?, 16);
    pool.close()?;
    pool.terminate()?;
    Ok(())
}

fn a_server_with_a_pool_killed_at_each_step() {
    // What its parent leaves behind is this process's.
    nix::sys::prctl::set_child_subreaper(true).unwrap();
    let mut deaths = 0;
    for at in 0.. {
        let server = Manager::builder()
            .initializer(move || step::arm(at))
            .start();
        let done = server.is_ok_and(|manager| {
            let outcome = some_tasks(&manager);
            let gone = Err(PoolError::Call(CallError::ServerGone));
            assert!(
                outcome.is_ok() || outcome == gone,
                "{outcome:?} at step {at}"
            );
            let ended = manager.shut_down();
            outcome.is_ok() && ended.is_ok()
        });
        nobody_is_left(at);
        if done {
            break;
        }
        deaths += 1;
    }
    assert!(
        deaths > 30,
        "only {deaths} steps were passed: are they armed?"
    );
    println!("{deaths} deaths");
}
