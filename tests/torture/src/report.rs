//! What came of a scenario.

use crate::resources::Resources;
use crate::scenario::{Plan, Scenario};
use std::time::{Duration, Instant};

#[derive(Default)]
pub(crate) struct Report {
    pub(crate) scenario: &'static str,
    pub(crate) kills: u64,
    /// Waits in vain: of a survivor, or for the end of a process.
    pub(crate) hangs: u64,
    pub(crate) lost: u64,
    pub(crate) duplicated: u64,
    pub(crate) torn: u64,
    /// Taken by one who was killed before it could write that down.
    pub(crate) delivered_to_dead: u64,
    /// From a death to the survivors' going on.
    pub(crate) recoveries: Vec<Duration>,
    pub(crate) seconds: f64,
    /// Other figures, said once.
    pub(crate) notes: Vec<String>,
    /// Other promises that broke, one sentence each.
    pub(crate) broken: Vec<String>,
}

impl Report {
    /// Runs the scenario; what it opened must be closed at its end.
    pub(crate) fn of(scenario: &dyn Scenario, plan: &Plan) -> Report {
        let mut report = Report {
            scenario: scenario.name(),
            ..Report::default()
        };
        let (before, begun) = (Resources::now(), Instant::now());
        scenario.run(plan, &mut report);
        report.recoveries.sort();
        report.seconds = begun.elapsed().as_secs_f64();
        let after = Resources::now();
        if after != before && report.hangs == 0 {
            report
                .broken
                .push(format!("left behind: {before:?} at first, then {after:?}"));
        }
        report
    }

    pub(crate) fn keeps_the_promises(&self) -> bool {
        self.hangs + self.lost + self.duplicated + self.torn == 0 && self.broken.is_empty()
    }

    /// So many of a hundred recoveries took no longer, in milliseconds.
    fn recovery(&self, percent: usize) -> f64 {
        let last = self.recoveries.len().saturating_sub(1);
        let at = self.recoveries.get(last * percent / 100);
        at.map_or(0.0, |time| time.as_secs_f64() * 1e3)
    }

    /// One object, on one line. All names are plain words.
    pub(crate) fn json(&self) -> String {
        format!(
            "{{\"scenario\": \"{}\", \"kills\": {}, \"hangs\": {}, \"lost\": {}, \
             \"duplicated\": {}, \"torn\": {}, \"delivered_to_dead\": {}, \
             \"recovery_p50_ms\": {:.3}, \"recovery_p99_ms\": {:.3}, \
             \"max_recovery_ms\": {:.1}, \"seconds\": {:.1}}}",
            self.scenario,
            self.kills,
            self.hangs,
            self.lost,
            self.duplicated,
            self.torn,
            self.delivered_to_dead,
            self.recovery(50),
            self.recovery(99),
            self.recovery(100),
            self.seconds
        )
    }
}

pub(crate) fn array(reports: &[Report]) -> String {
    let objects: Vec<_> = reports.iter().map(Report::json).collect();
    format!("[\n  {}\n]\n", objects.join(",\n  "))
}
