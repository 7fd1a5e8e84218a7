//! What can be tortured: a registry, to which each crate adds its own.

use crate::report::Report;
use crate::{locks, managed, pipes, pool, queues, servers, sync, tasks};

/// How long and in which order.
pub(crate) struct Plan {
    pub(crate) kills: u64,
    pub(crate) seed: u64,
}

/// Something that processes do together while some of them are killed.
pub(crate) trait Scenario {
    /// What it is called on the command line and in the report.
    fn name(&self) -> &'static str;

    /// Goes through with the plan and enters what it saw in the report.
    fn run(&self, plan: &Plan, report: &mut Report);
}

pub(crate) fn all() -> Vec<Box<dyn Scenario>> {
    vec![
        Box::new(queues::Single),
        Box::new(queues::Batches),
        Box::new(queues::Loans),
        Box::new(queues::Oversize),
        Box::new(queues::Growth),
        Box::new(tasks::Tasks),
        Box::new(pipes::Pipes),
        Box::new(pipes::Handles),
        Box::new(locks::Mutexes),
        Box::new(locks::Locks),
        Box::new(locks::RwLocks),
        Box::new(locks::RLocks),
        Box::new(locks::Values),
        Box::new(sync::Semaphores),
        Box::new(sync::Events),
        Box::new(sync::Conditions),
        Box::new(sync::Barriers),
        Box::new(pool::Workers),
        Box::new(pool::ends::Ends),
        Box::new(managed::Managers),
        Box::new(servers::Servers),
    ]
}
