//! Groups of rows, rows of contenders; rounds; medians and ratios.
//!
//! A row compares contenders that do the same work. Round `r` runs each of its contenders once, starting with
//! number `r`, so that a change of the machine's mood meets all of them. A ratio is always taken within a round.

use crate::channel::Run;
use crate::sys::{self, Outcome, Res};
use hdrhistogram::Histogram;
use std::time::Duration;

/// How a contender runs one row. Called in a process of its own.
pub(crate) type Measure = fn(&Run) -> Res<Outcome>;

/// Rows that belong together; what `--only` names.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) name: &'static str,
    /// One line for the reader.
    pub(crate) about: &'static str,
    pub(crate) rows: Vec<Row>,
}

/// One comparison: a table of the output.
#[derive(Debug)]
pub(crate) struct Row {
    /// What is done, in a word or two.
    pub(crate) what: &'static str,
    /// Bytes per message; 0 where that means nothing.
    pub(crate) size: usize,
    pub(crate) place: Place,
    /// The unit of an [`Outcome::Value`]. Latencies are reported in "us", whatever this says.
    pub(crate) unit: &'static str,
    /// Whom the others are compared with; those that do not take part are passed over.
    pub(crate) bases: &'static [&'static str],
    pub(crate) contenders: Vec<Contender>,
}

/// Who takes part in a row.
#[derive(Debug)]
pub(crate) struct Contender {
    pub(crate) who: &'static str,
    pub(crate) measure: Measure,
}

/// Where the two sides run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Place {
    /// One CPU each.
    Pinned,
    /// Where the scheduler likes.
    Free,
}

impl Place {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Place::Pinned => "pinned",
            Place::Free => "unpinned",
        }
    }
}

/// What a run found.
#[derive(Debug)]
pub(crate) struct Results {
    pub(crate) machine: String,
    pub(crate) quick: bool,
    pub(crate) rows: Vec<RowResult>,
}

/// One row, measured.
#[derive(Debug)]
pub(crate) struct RowResult {
    pub(crate) group: &'static str,
    pub(crate) about: &'static str,
    pub(crate) what: &'static str,
    pub(crate) size: usize,
    pub(crate) place: Place,
    pub(crate) entries: Vec<Entry>,
}

/// One contender in one row.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) who: &'static str,
    /// One figure, or one per percentile.
    pub(crate) metrics: Vec<Metric>,
    /// The latencies of all rounds together.
    pub(crate) latency: Option<Histogram<u64>>,
    /// Why the last round that failed did.
    pub(crate) error: Option<String>,
}

/// One figure of one contender, round by round.
#[derive(Debug)]
pub(crate) struct Metric {
    /// "" or the percentile.
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    /// `None`: that round failed, or some round had too few samples for the percentile.
    pub(crate) values: Vec<Option<f64>>,
    pub(crate) ratios: Vec<Ratio>,
}

/// A figure divided by the base's, round by round.
#[derive(Debug)]
pub(crate) struct Ratio {
    pub(crate) base: &'static str,
    pub(crate) spread: Spread,
}

/// Median and range.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    /// How many values there were.
    pub(crate) count: usize,
}

impl Spread {
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let count = values.len();
        let median = (values[(count - 1) / 2] + values[count / 2]) / 2.0;
        Some(Spread {
            median,
            min,
            max,
            count,
        })
    }
}

impl Metric {
    pub(crate) fn spread(&self) -> Option<Spread> {
        Spread::of(self.values.iter().flatten().copied())
    }
}

/// The groups that `--only` names, or all.
pub(crate) fn select(groups: Vec<Group>, only: &[String]) -> Vec<Group> {
    let wanted = |group: &Group| only.is_empty() || only.iter().any(|name| name == group.name);
    groups.into_iter().filter(wanted).collect()
}

/// The rounds of a run, and how long one measurement takes.
#[derive(Clone, Copy, Debug)]
struct Pace {
    rounds: usize,
    warm: Duration,
    time: Duration,
    limit: Duration,
}

impl Pace {
    fn new(groups: &[Group], quick: bool) -> Self {
        if !quick {
            let (warm, time) = (Duration::from_millis(40), Duration::from_millis(400));
            return Pace {
                rounds: 7,
                warm,
                time,
                limit: Duration::from_secs(10),
            };
        }
        // A quick run takes the same time however many rows there are; starting and ending a measurement is extra.
        let rounds = 5;
        let contenders: usize = groups
            .iter()
            .flat_map(|group| &group.rows)
            .map(|row| row.contenders.len())
            .sum();
        let each = Duration::from_secs(24) / (contenders * rounds).max(1) as u32;
        let each = each.clamp(Duration::from_millis(5), Duration::from_millis(150));
        Pace {
            rounds,
            warm: each / 4,
            time: each * 3 / 4,
            limit: Duration::from_secs(3),
        }
    }
}

/// Runs the groups; `show` is called after each row.
pub(crate) fn run(groups: &[Group], quick: bool, show: &mut dyn FnMut(&RowResult)) -> Results {
    let pace = Pace::new(groups, quick);
    let cpus = sys::two_cpus();
    let mut results = Results {
        machine: machine(),
        quick,
        rows: Vec::new(),
    };
    let (warm, time) = (pace.warm.as_millis(), pace.time.as_millis());
    println!(
        "{}\n{} rounds of {warm} ms warming up and {time} ms measured",
        results.machine, pace.rounds
    );
    for group in groups {
        for row in &group.rows {
            let cpus = match row.place {
                Place::Free => None,
                Place::Pinned if cpus.is_none() => {
                    println!(
                        "\n{} {}: left out, as there is one CPU only",
                        group.name, row.what
                    );
                    continue;
                }
                Place::Pinned => cpus,
            };
            let run = Run {
                size: row.size,
                warm: pace.warm,
                time: pace.time,
                cpus,
            };
            let result = RowResult {
                group: group.name,
                about: group.about,
                what: row.what,
                size: row.size,
                place: row.place,
                entries: entries(row, &run, pace),
            };
            show(&result);
            results.rows.push(result);
        }
    }
    results
}

fn entries(row: &Row, run: &Run, pace: Pace) -> Vec<Entry> {
    let count = row.contenders.len();
    let mut outcomes: Vec<Vec<Result<Outcome, String>>> = (0..count).map(|_| Vec::new()).collect();
    for round in 0..pace.rounds {
        for turn in 0..count {
            let at = (round + turn) % count;
            // Who failed once fails again, and each time may last as long as the watchdog.
            let outcome = match outcomes[at]
                .iter()
                .find_map(|outcome| outcome.as_ref().err())
            {
                Some(error) => Err(error.clone()),
                None => sys::isolated(pace.limit, || (row.contenders[at].measure)(run)),
            };
            outcomes[at].push(outcome);
        }
    }

    let mut entries: Vec<Entry> = (row.contenders.iter().zip(outcomes))
        .map(|(contender, outcomes)| entry(contender.who, row, outcomes))
        .collect();
    for at in 0..count {
        for metric in 0..entries[at].metrics.len() {
            let ratios = row.bases.iter().filter_map(|&base| {
                let values = &entries[at].metrics[metric].values;
                let base_values = &entries
                    .iter()
                    .find(|entry| entry.who == base)?
                    .metrics
                    .get(metric)?
                    .values;
                let ratio =
                    |(value, base): (&Option<f64>, &Option<f64>)| Some((*value)? / (*base)?);
                let spread = Spread::of(values.iter().zip(base_values).filter_map(ratio))?;
                Some(Ratio { base, spread })
            });
            entries[at].metrics[metric].ratios = ratios.collect();
        }
    }
    entries
}

fn entry(who: &'static str, row: &Row, outcomes: Vec<Result<Outcome, String>>) -> Entry {
    let metric = |name, unit| Metric {
        name,
        unit,
        values: Vec::new(),
        ratios: Vec::new(),
    };
    let mut value = vec![metric("", row.unit)];
    if row.unit == "msg/s" && row.size >= 1 << 10 {
        value.push(metric("", "GiB/s"));
    }
    let mut percentiles = vec![
        metric("p50", "us"),
        metric("p99", "us"),
        metric("p999", "us"),
    ];
    let mut latency: Option<Histogram<u64>> = None;
    let mut error = None;
    let mut fewest = u64::MAX;
    for outcome in outcomes {
        match outcome {
            Ok(Outcome::Value(figure)) => {
                value[0].values.push(Some(figure));
                if let Some(gib) = value.get_mut(1) {
                    gib.values
                        .push(Some(figure * row.size as f64 / (1 << 30) as f64));
                }
            }
            Ok(Outcome::Latency(round)) => {
                fewest = fewest.min(round.len());
                for (metric, quantile) in percentiles.iter_mut().zip([0.5, 0.99, 0.999]) {
                    metric
                        .values
                        .push(Some(round.value_at_quantile(quantile) as f64 / 1000.0));
                }
                let all = latency.get_or_insert_with(sys::histogram);
                all.add(&round).expect("both resize themselves");
            }
            Err(why) => {
                error = Some(why);
                value
                    .iter_mut()
                    .chain(&mut percentiles)
                    .for_each(|metric| metric.values.push(None));
            }
        }
    }
    // A percentile needs some samples beyond it, in every round, or the rounds that have them would stand for all.
    for (metric, enough) in percentiles.iter_mut().zip([1, 100, 1000]) {
        if fewest < enough {
            metric.values.iter_mut().for_each(|value| *value = None);
        }
    }
    let metrics = if latency.is_some() {
        percentiles
    } else {
        value
    };
    Entry {
        who,
        metrics,
        latency,
        error,
    }
}

/// The CPU, the kernel, and how many CPUs we may use: without them no figure means anything.
fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let info = read("/proc/cpuinfo");
    let model = info
        .lines()
        .find(|line| line.starts_with("model name"))
        .and_then(|line| line.split_once(": "));
    let model = model.map_or("unknown CPU", |(_, model)| model);
    let kernel = read("/proc/sys/kernel/osrelease");
    let cpus = std::thread::available_parallelism().map_or(1, |n| n.get());
    format!("{cpus} x {model}, Linux {}", kernel.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spread_of_some_and_none() {
        let spread = Spread::of([3.0, 1.0, 2.0, 10.0]).unwrap();
        assert_eq!(
            (spread.median, spread.min, spread.max, spread.count),
            (2.5, 1.0, 10.0, 4)
        );
        assert_eq!(Spread::of([]), None);
    }

    #[test]
    fn a_failed_round_leaves_a_gap() {
        let row = Row {
            what: "",
            size: 8,
            place: Place::Free,
            unit: "msg/s",
            bases: &[],
            contenders: Vec::new(),
        };
        let entry = entry(
            "x",
            &row,
            vec![
                Ok(Outcome::Value(2.0)),
                Err("hung".to_owned()),
                Ok(Outcome::Value(4.0)),
            ],
        );
        assert_eq!(entry.metrics[0].values, [Some(2.0), None, Some(4.0)]);
        assert_eq!(entry.metrics[0].spread().unwrap().median, 3.0);
        assert_eq!(entry.error.as_deref(), Some("hung"));
    }
}
