//! Managers whose server is killed while clients call it, or wait in it.

use crate::report::Report;
use crate::scenario::{Plan, Scenario};
use crate::storm::{Dice, PATIENCE, spin, until};
use multiproc_core::step;
use multiproc_manager::{
    BarrierError, CallError, Condition, ConditionError, Dict, GetError, Lock, Manager, Queue,
    StartError,
};
use multiproc_process::{Process, StartError as ProcessError};
use multiproc_segment::Shared;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

/// Those who are at a server when it dies.
const CLIENTS: usize = 4;
/// What half of them may wait for the error.
const PROMISED: Duration = Duration::from_millis(100);

/// Each client is told, and none waits for ever.
pub(crate) struct Servers;

impl Scenario for Servers {
    fn name(&self) -> &'static str {
        "manager-server"
    }

    fn run(&self, plan: &Plan, report: &mut Report) {
        let mut dice = Dice::new(plan.seed);
        let mut seen = Seen::default();
        while report.kills < plan.kills && report.hangs == 0 && report.broken.is_empty() {
            if let Err(why) = one(&mut dice, &mut seen, report) {
                report.broken.push(why);
            }
        }
        report.recoveries.sort();
        let median = report.recoveries.get(report.recoveries.len() / 2);
        if median.is_some_and(|time| *time > PROMISED) {
            let late = format!("half of the clients were told later than after {PROMISED:?}");
            report.broken.push(late);
        }
        let Seen { early, told } = seen;
        report.notes.push(format!(
            "{told} clients were told, {early} servers died before they had any"
        ));
    }
}

#[derive(Default)]
struct Seen {
    /// Servers that died before the clients were started.
    early: u64,
    told: u64,
}

/// The objects of a server.
struct Objects {
    dict: Dict<u64, Vec<u8>>,
    empty: Queue<u64>,
    taken: Lock,
    silent: Condition,
}

impl Objects {
    fn make(manager: &Manager) -> Result<Self, CallError> {
        let objects = Objects {
            dict: manager.dict()?,
            empty: manager.queue()?,
            taken: manager.lock()?,
            silent: manager.condition()?,
        };
        objects.taken.acquire()?;
        Ok(objects)
    }
}

/// What a client does until the server is gone.
fn call(manager: &Manager, objects: &Objects, who: usize, dice: &mut Dice) -> CallError {
    let busy = || -> Result<(), CallError> {
        for n in 0.. {
            let len = if n % 50 == 0 { 200_000 } else { 20 };
            objects.dict.insert(n % 8, vec![7; len])?;
            objects.dict.get(&((n + 1) % 8))?;
            // A new object, and its end.
            manager.list::<u64>()?.push(n)?;
        }
        Ok(())
    };
    // One is always busy, so that every step is reached.
    let kind = if who == 0 { 0 } else { dice.below(7) };
    let ended = match kind {
        0 | 1 => busy(),
        2 => match objects.empty.get() {
            Err(GetError::Call(why)) => Err(why),
            other => panic!("an empty queue gave {other:?}"),
        },
        3 => objects.taken.lock().map(drop),
        4 => {
            let waited = objects.silent.lock().map_err(ConditionError::from);
            match waited.and_then(|_guard| objects.silent.wait()) {
                Err(ConditionError::Call(why)) => Err(why),
                other => panic!("nobody notified, and {other:?}"),
            }
        }
        5 => manager.event().and_then(|event| event.wait()),
        _ => match manager.barrier(2).map_err(BarrierError::from) {
            Ok(barrier) => match barrier.wait() {
                Err(BarrierError::Call(why)) => Err(why),
                other => panic!("nobody else came, and {other:?}"),
            },
            Err(BarrierError::Call(why)) => Err(why),
            Err(other) => panic!("a new barrier: {other:?}"),
        },
    };
    match ended {
        Err(why) => why,
        Ok(()) => panic!("what nobody does was waited for with success: {kind}"),
    }
}

/// A client's life: an error, and the same again.
fn client(
    manager: &Manager,
    objects: &Objects,
    who: usize,
    seed: u64,
    told: impl FnOnce(),
) -> Result<(), String> {
    let first = call(manager, objects, who, &mut Dice::new(seed));
    told();
    let then = objects.dict.len();
    match (&first, &then) {
        (CallError::ServerGone, Err(CallError::ServerGone)) => Ok(()),
        _ => Err(format!(
            "the server is gone, and it says {first:?}, then {then:?}"
        )),
    }
}

/// One server, and one kill.
fn one(dice: &mut Dice, seen: &mut Seen, report: &mut Report) -> Result<(), String> {
    // Few steps lie before it serves, many in a long life.
    let longest = 16 << dice.below(9);
    let step = dice.once_in(2).then(|| dice.below(longest));
    let arm = move || {
        if let Some(step) = step {
            step::arm(step);
        }
    };
    let begun = Instant::now();
    let manager = match Manager::builder().initializer(arm).start() {
        Ok(manager) => manager,
        Err(StartError::Died | StartError::Call(CallError::ServerGone)) if step.is_some() => {
            return early(begun, seen, report);
        }
        Err(other) => return Err(format!("step {step:?}: {other}")),
    };
    let objects = match Objects::make(&manager) {
        Ok(objects) => objects,
        Err(CallError::ServerGone) if step.is_some() => return early(begun, seen, report),
        Err(other) => return Err(format!("step {step:?}: {other}")),
    };
    let told = Shared::new([const { AtomicU64::new(0) }; CLIENTS]).map_err(|e| e.to_string())?;
    let now = || begun.elapsed().as_nanos() as u64;
    let mut clients: Vec<Process> = Vec::new();
    for who in 0..CLIENTS {
        let seed = dice.roll();
        let body = || {
            client(&manager, &objects, who, seed, || {
                told[who].store(now(), SeqCst)
            })
        };
        let started = Process::builder().daemon(true).start(body);
        clients.push(
            started
                .map_err(ProcessError::from)
                .map_err(|e| e.to_string())?,
        );
    }
    let server = manager.process().ok_or("no server")?;
    let died = match step {
        None => {
            spin(dice.below(5_000));
            let at = now();
            let _ = server.kill();
            at
        }
        Some(step) => {
            if !until(|| !server.is_alive()) {
                report.hangs += 1;
                return Err(format!("{server:?} did not reach step {step}"));
            }
            now()
        }
    };
    for (who, client) in clients.iter().enumerate() {
        match client.join_timeout(PATIENCE) {
            Ok(exit) if exit.success() => {
                let late = told[who].load(SeqCst).saturating_sub(died);
                report.recoveries.push(Duration::from_nanos(late));
                seen.told += 1;
            }
            Ok(exit) => report
                .broken
                .push(format!("step {step:?}: client {who} {exit}")),
            Err(_) => {
                report.hangs += 1;
                report
                    .broken
                    .push(format!("step {step:?}: client {who} is not told"));
                drop((client.kill(), client.join_timeout(PATIENCE)));
            }
        }
    }
    if manager.event().is_ok() {
        return Err("a server that is dead has made an event".into());
    }
    drop(objects);
    match manager.shut_down() {
        Ok(()) => Err("a server that is dead was shut down in order".into()),
        Err(_) => {
            report.kills += 1;
            Ok(())
        }
    }
}

/// It died at a step before the clients were there: whoever started it was told.
fn early(begun: Instant, seen: &mut Seen, report: &mut Report) -> Result<(), String> {
    seen.early += 1;
    report.kills += 1;
    match begun.elapsed() > PATIENCE {
        true => Err("who starts a server that dies is told very late".into()),
        false => Ok(()),
    }
}
