//! Kills at random moments and at named steps, by the thousand; see README.md.

mod crowd;
mod ledger;
mod locks;
mod managed;
mod pipes;
mod pool;
mod queues;
mod remains;
mod report;
mod resources;
mod scenario;
mod servers;
mod storm;
mod sync;
mod tasks;

use report::Report;
use scenario::{Plan, Scenario};
use std::process::ExitCode;

const USAGE: &str = "usage: torture SCENARIO|all [--kills N] [--seed S] [--json FILE]";

fn names() -> String {
    let names: Vec<_> = scenario::all().iter().map(|s| s.name()).collect();
    names.join(" ")
}

struct Options {
    scenarios: Vec<Box<dyn Scenario>>,
    plan: Plan,
    json: Option<String>,
}

/// Nothing: what was asked for is help.
fn read(words: impl Iterator<Item = String>) -> Result<Option<Options>, String> {
    let (mut chosen, mut json) = (Vec::new(), None);
    let mut plan = Plan {
        kills: 1000,
        seed: 1,
    };
    let mut words = words;
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} needs a value"));
        let number = |text: String| text.parse().map_err(|_| format!("{text} is no number"));
        match &word[..] {
            "--kills" => plan.kills = number(value()?)?,
            "--seed" => plan.seed = number(value()?)?,
            "--json" => json = Some(value()?),
            "--help" | "-h" => return Ok(None),
            "all" => chosen.extend(scenario::all()),
            name => {
                let known = scenario::all().into_iter().find(|s| s.name() == name);
                chosen.push(known.ok_or_else(|| format!("there is no scenario {name}"))?);
            }
        }
    }
    if chosen.is_empty() {
        return Err("which scenario?".into());
    }
    Ok(Some(Options {
        scenarios: chosen,
        plan,
        json,
    }))
}

fn main() -> ExitCode {
    let options = match read(std::env::args().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => {
            println!("{USAGE}\nscenarios: {}", names());
            return ExitCode::SUCCESS;
        }
        Err(why) => {
            eprintln!("{why}\n{USAGE}\nscenarios: {}", names());
            return ExitCode::from(2);
        }
    };
    let Plan { kills, seed } = options.plan;
    println!("seed {seed}, {kills} kills per scenario");
    let mut reports = Vec::new();
    for scenario in &options.scenarios {
        let report = Report::of(scenario.as_ref(), &options.plan);
        println!("{}", report.json());
        for line in report.notes.iter().chain(&report.broken) {
            println!("  {}: {line}", report.scenario);
        }
        reports.push(report);
    }
    if let Some(file) = &options.json
        && let Err(error) = std::fs::write(file, report::array(&reports))
    {
        eprintln!("{file}: {error}");
        return ExitCode::from(2);
    }
    match reports.iter().all(Report::keeps_the_promises) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}
