//! Pools that are made, used and ended in every way, one after the other: nothing of them stays.

use super::{children_of, kill_process, patiently};
use crate::report::Report;
use crate::resources::Resources;
use crate::scenario::{Plan, Scenario};
use crate::storm::{Dice, PATIENCE, spin, until};
use common::is_gone;
use multiproc_core::step;
use multiproc_pool::{AsyncResult, Ended, GetTimeoutError, JoinError, Pool, TaskError};
use multiproc_process::{Exit, Process, StartError};
use nix::unistd::{Pid, setpgid};
use std::fs;
use std::time::{Duration, Instant};

/// A pool ends by one of these; the last three are kills.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Close,
    Terminate,
    Drop,
    KillWorkers,
    KillKeeper,
    KillOwner,
}

/// Steps of an owner at one of which it dies; beyond them, at any moment.
const OWNER_STEPS: u64 = 200;

/// `Pool`: made, used, ended. Every task has its outcome, no process and no descriptor stays.
pub(crate) struct Ends;

impl Scenario for Ends {
    fn name(&self) -> &'static str {
        "pool_ends"
    }

    fn run(&self, plan: &Plan, report: &mut Report) {
        let mut dice = Dice::new(plan.seed);
        let mut before = None;
        let mut pools = 0;
        while report.kills < plan.kills && report.hangs == 0 && report.broken.is_empty() {
            let way = match dice.below(10) {
                0 => Way::Close,
                1 => Way::Terminate,
                2 => Way::Drop,
                3..5 => Way::KillWorkers,
                5..7 => Way::KillKeeper,
                _ => Way::KillOwner,
            };
            let result = match way {
                Way::KillOwner => kill_owner(&mut dice, report),
                _ => one(way, &mut dice, report),
            };
            if let Err(why) = result {
                report.broken.push(format!("{way:?}: {why}"));
            }
            pools += 1;
            let after = Resources::now();
            // The first ones leave what a process has once.
            if pools > 5 && report.hangs == 0 {
                let before = before.get_or_insert_with(Resources::now);
                if *before != after {
                    let grown = format!("pool {pools} ({way:?}): {before:?}, then {after:?}");
                    report.broken.push(grown);
                }
            }
        }
        report.notes.push(format!("{pools} pools"));
    }
}

fn double((number, micros): (u64, u64)) -> u64 {
    spin(micros);
    2 * number
}

type Load = (Vec<AsyncResult<u64>>, AsyncResult<Vec<u64>>);

/// Some tasks and a map, open.
fn load(pool: &Pool, dice: &mut Dice) -> Result<Load, String> {
    let mut item = |number| (number, dice.below(200));
    let singles = (0..8).map(|number| pool.apply_async(double, item(number)));
    let singles: Result<Vec<_>, _> = singles.collect();
    let items: Vec<_> = (0..50).map(&mut item).collect();
    let many = pool.map_async(double, items).map_err(|e| e.to_string())?;
    let mut singles = singles.map_err(|e| e.to_string())?;
    if dice.once_in(2) {
        // With callbacks there is one thread more.
        let called = singles
            .pop()
            .map(|single| single.callback(|_| ()).error_callback(|_| ()));
        singles.extend(called);
    }
    Ok((singles, many))
}

/// How it went on, where there is no value.
fn is_due(way: Way, error: &TaskError) -> bool {
    match error {
        TaskError::WorkerLost {
            exit: Exit::Signal(9),
            attempts: 1,
        } => way == Way::KillWorkers,
        TaskError::PoolEnded(Ended::KeeperDied) => way == Way::KillKeeper,
        TaskError::PoolEnded(Ended::Terminated) => matches!(way, Way::Terminate | Way::Drop),
        _ => false,
    }
}

/// Every task has its outcome, and the right one.
fn check(way: Way, (singles, many): Load, report: &mut Report) -> Result<(), String> {
    for (number, single) in (0..).zip(singles) {
        match single.get_timeout(PATIENCE) {
            Ok(value) if value == 2 * number => {}
            Ok(_) => report.torn += 1,
            Err(GetTimeoutError::Task(error)) if is_due(way, &error) => {}
            Err(GetTimeoutError::Timeout) => report.hangs += 1,
            Err(error) => return Err(format!("task {number}: {error} ({error:?})")),
        }
    }
    match many.get_timeout(PATIENCE) {
        Ok(values) if values.iter().copied().eq((0..50).map(|n| 2 * n)) => {}
        Ok(_) => report.torn += 1,
        Err(GetTimeoutError::Task(error)) if is_due(way, &error) => {}
        Err(GetTimeoutError::Timeout) => report.hangs += 1,
        Err(error) => return Err(format!("the map: {error} ({error:?})")),
    }
    Ok(())
}

fn one(way: Way, dice: &mut Dice, report: &mut Report) -> Result<(), String> {
    let workers = 1 + dice.below(3) as usize;
    let pool = Pool::new(workers).map_err(|error| error.to_string())?;
    let keeper = pool.keeper_pid();
    let (mut all, _) = children_of(keeper);
    if all.len() != workers {
        return Err(format!("{} workers in place of {workers}", all.len()));
    }
    let open = load(&pool, dice)?;
    spin(dice.below(1_000));
    let begun = Instant::now();
    match way {
        Way::KillWorkers => {
            let killed = all.iter().filter(|pid| kill_process(**pid)).count();
            report.kills += killed as u64;
        }
        Way::KillKeeper => report.kills += u64::from(kill_process(keeper)),
        _ => {}
    }
    all.push(keeper);
    // In half of the cases the outcomes come first, in the other half the end does.
    let first = way == Way::KillWorkers || way == Way::KillKeeper;
    let open = match first && dice.once_in(2) {
        true => {
            check(way, open, report)?;
            report.recoveries.push(begun.elapsed());
            None
        }
        false => Some(open),
    };
    let joined = patiently(move || match way {
        Way::Terminate => Some(pool.terminate().join()),
        Way::Drop => {
            drop(pool);
            None
        }
        _ => Some(pool.close().join()),
    });
    match joined {
        None => {
            report.hangs += 1;
            return Err("its end does not come".to_owned());
        }
        Some(None | Some(Ok(()))) if way != Way::KillKeeper => {}
        // Everything was done before anybody looked for the keeper.
        Some(Some(Ok(()))) => {}
        Some(Some(Err(JoinError::Ended(Ended::KeeperDied)))) if way == Way::KillKeeper => {}
        Some(other) => return Err(format!("join: {other:?}")),
    }
    if let Some(open) = open {
        check(way, open, report)?;
    }
    match until(|| all.iter().all(|pid| is_gone(*pid))) {
        true => Ok(()),
        false => Err("it has ended, and processes of it live on".to_owned()),
    }
}

/// The living members of a process group.
fn members(group: i32) -> usize {
    let entries = fs::read_dir("/proc").expect("/proc").flatten();
    let stats = entries.filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok());
    let is_member = |stat: &String| {
        let mut fields = stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .split_whitespace();
        let (state, group_of_it) = (fields.next(), fields.nth(1));
        !matches!(state, Some("Z" | "X")) && group_of_it == Some(&group.to_string()[..])
    };
    stats.filter(is_member).count()
}

/// An owner that makes one pool after the other, until it dies; so do all its keepers and workers.
fn kill_owner(dice: &mut Dice, report: &mut Report) -> Result<(), String> {
    let seed = dice.roll();
    let at_a_step = dice.once_in(2).then(|| dice.below(OWNER_STEPS));
    let owner = Process::builder().daemon(true).start(|| {
        let _ = setpgid(Pid::from_raw(0), Pid::from_raw(0));
        let mut dice = Dice::new(seed);
        if let Some(step) = at_a_step {
            // Its keeper and workers have that, too, and so die at some step themselves.
            step::arm(step);
        }
        loop {
            // Without a keeper or workers: again.
            if let Ok(pool) = Pool::new(1 + dice.below(3) as usize)
                && let Ok(open) = load(&pool, &mut dice)
                && dice.once_in(2)
            {
                let _ = open.1.get();
                let _ = pool.close().join();
            }
        }
    });
    let owner = owner.map_err(StartError::from).map_err(|e| e.to_string())?;
    let group = owner.pid() as i32;
    std::thread::sleep(Duration::from_micros(dice.below(20_000)));
    let begun = Instant::now();
    let _ = owner.kill(); // an error: a step was faster
    match owner.join_timeout(PATIENCE) {
        Ok(Exit::Signal(9)) => report.kills += 1,
        Ok(other) => return Err(format!("the owner ended: {other}")),
        Err(_) => {
            report.hangs += 1;
            return Err("a killed owner lives on".to_owned());
        }
    }
    match until(|| members(group) == 0) {
        true => report.recoveries.push(begun.elapsed()),
        false => return Err("its owner is dead, and processes of it live on".to_owned()),
    }
    Ok(())
}
