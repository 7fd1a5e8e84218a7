//! What we want to reach, and whether a run did: one table, read off the rows.
//!
//! An aim names a contender in a row and compares its median, or the median of its ratio to a base of that row, with
//! a bound. Only pinned rows count: elsewhere the scheduler decides; except for starts, which have no other. Aims whose
//! row or base did not take part are left out.

use crate::harness::{Entry, Place, Results, Spread};
use crate::report::figure;
use std::fmt::Write;

/// One of them.
#[derive(Debug)]
struct Aim {
    what: &'static str,
    group: &'static str,
    /// The row's work.
    row: &'static str,
    /// The row's size.
    size: usize,
    who: &'static str,
    /// `None`: the figure itself counts.
    base: Option<&'static str>,
    bound: Bound,
}

/// Which side of it is good.
#[derive(Clone, Copy, Debug)]
enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

impl Bound {
    fn met(self, value: f64) -> bool {
        match self {
            Bound::AtLeast(bound) => value >= bound,
            Bound::AtMost(bound) => value <= bound,
        }
    }

    fn text(self) -> String {
        match self {
            Bound::AtLeast(bound) => format!(">= {}", figure(bound)),
            Bound::AtMost(bound) => format!("<= {}", figure(bound)),
        }
    }
}

const ONE_WAY: &str = "queue-oneway";
const ROUND_TRIP: &str = "queue-roundtrip";
const KIB: usize = 1 << 10;
const PIPE: &str = "pipe-oneway";
const PIPE_ROUND_TRIP: &str = "pipe-roundtrip";
const START: &str = "start";
const POOL: &str = "pool";
const MANAGER: &str = "manager";

const fn aim(
    what: &'static str,
    (group, row, size): (&'static str, &'static str, usize),
    who: &'static str,
    base: Option<&'static str>,
    bound: Bound,
) -> Aim {
    Aim {
        what,
        group,
        row,
        size,
        who,
        base,
        bound,
    }
}

const AIMS: [Aim; 31] = [
    aim(
        "put and get, 1p1c",
        (ONE_WAY, "1p1c", 8),
        "multiproc plain",
        Some("crossbeam"),
        Bound::AtLeast(1.0),
    ),
    aim(
        "put and get, 1p1c",
        (ONE_WAY, "1p1c", 8),
        "multiproc plain",
        Some("iceoryx2 polling"),
        Bound::AtLeast(5.0),
    ),
    aim(
        "put and get, 1p1c",
        (ONE_WAY, "1p1c", 8),
        "multiproc plain",
        Some("python Queue"),
        Bound::AtLeast(100.0),
    ),
    aim(
        "put and get, 2p2c",
        (ONE_WAY, "2p2c", 8),
        "multiproc plain",
        Some("crossbeam"),
        Bound::AtLeast(0.8),
    ),
    aim(
        "u64 in batches of 64",
        (ONE_WAY, "u64 in batches of 64", 0),
        "multiproc plain x64",
        Some("ideal u64 x64"),
        Bound::AtLeast(0.3),
    ),
    aim(
        "loans of 1 MiB",
        (ONE_WAY, "loans, 8 bytes touched", 0),
        "multiproc 1 MiB",
        Some("multiproc 8 B"),
        Bound::AtLeast(0.5),
    ),
    aim(
        "serde struct of 5 fields",
        (ONE_WAY, "struct of 5 fields", 0),
        "multiproc serde",
        None,
        Bound::AtLeast(4e6),
    ),
    aim(
        "round trip, awake",
        (ROUND_TRIP, "awake", 8),
        "multiproc plain",
        Some("ideal u64"),
        Bound::AtMost(1.25),
    ),
    aim(
        "round trip, asleep",
        (ROUND_TRIP, "asleep", 8),
        "multiproc plain",
        Some("futex"),
        Bound::AtMost(1.15),
    ),
    aim(
        "pipe, 8 B",
        (PIPE, "one way", 8),
        "multiproc bytes",
        Some("ideal bytes"),
        Bound::AtLeast(0.6),
    ),
    aim(
        "pipe, 8 B, plain",
        (PIPE, "one way", 8),
        "multiproc plain",
        Some("ideal bytes"),
        Bound::AtLeast(0.6),
    ),
    aim(
        "pipe, 1 KiB",
        (PIPE, "one way", KIB),
        "multiproc bytes",
        Some("ideal bytes"),
        Bound::AtLeast(0.7),
    ),
    aim(
        "pipe, 64 KiB",
        (PIPE, "one way", 64 * KIB),
        "multiproc bytes",
        Some("ideal bytes"),
        Bound::AtLeast(0.9),
    ),
    aim(
        "pipe, 1 MiB",
        (PIPE, "one way", KIB * KIB),
        "multiproc bytes",
        Some("ideal bytes"),
        Bound::AtLeast(0.9),
    ),
    aim(
        "pipe round trip, awake",
        (PIPE_ROUND_TRIP, "awake", 8),
        "multiproc bytes",
        Some("ideal bytes"),
        Bound::AtMost(1.2),
    ),
    aim(
        "pipe round trip, asleep",
        (PIPE_ROUND_TRIP, "asleep", 8),
        "multiproc bytes",
        Some("futex"),
        Bound::AtMost(1.15),
    ),
    aim(
        "pool apply, awake",
        (POOL, "apply, awake", 8),
        "multiproc",
        Some("multiproc Pipe"),
        Bound::AtMost(5.0),
    ),
    aim(
        "pool apply, asleep",
        (POOL, "apply, asleep", 8),
        "multiproc",
        Some("multiproc Pipe"),
        Bound::AtMost(2.5),
    ),
    aim(
        "pool map, chunk 1",
        (POOL, "map, chunk 1", 0),
        "multiproc",
        None,
        Bound::AtLeast(400e3),
    ),
    aim(
        "  or",
        (POOL, "map, chunk 1", 0),
        "multiproc",
        Some("python Pool"),
        Bound::AtLeast(12.0),
    ),
    aim(
        "pool map, CPU-bound",
        (POOL, "map, 100 us each", 0),
        "multiproc",
        Some("two bare forks"),
        Bound::AtLeast(0.95),
    ),
    aim(
        "wait over 1,000 idle",
        ("wait", "1,000 idle", 0),
        "multiproc wait",
        None,
        Bound::AtMost(100.0),
    ),
    aim(
        "epoll over 1,000 idle",
        ("wait", "1,000 idle", 0),
        "multiproc in epoll",
        None,
        Bound::AtMost(100.0),
    ),
    aim(
        "fork, start and join",
        (START, "a copy", 0),
        "multiproc fork",
        Some("bare fork"),
        Bound::AtMost(1.3),
    ),
    aim(
        "fork with 16 MiB",
        (START, "a copy of 16 MiB", 0),
        "multiproc fork",
        Some("bare fork"),
        Bound::AtMost(1.3),
    ),
    aim(
        "spawn, start and join",
        (START, "the program anew", 0),
        "multiproc spawn",
        Some("posix_spawn"),
        Bound::AtMost(1.5),
    ),
    aim(
        "managed dict, set",
        (MANAGER, "dict set", 0),
        "multiproc",
        None,
        Bound::AtLeast(3e5),
    ),
    aim(
        "managed dict, set",
        (MANAGER, "dict set", 0),
        "multiproc",
        Some("python Manager"),
        Bound::AtLeast(20.0),
    ),
    aim(
        "managed dict, get",
        (MANAGER, "dict get", 0),
        "multiproc",
        None,
        Bound::AtLeast(3e5),
    ),
    aim(
        "managed dict, get",
        (MANAGER, "dict get", 0),
        "multiproc",
        Some("python Manager"),
        Bound::AtLeast(20.0),
    ),
    aim(
        "managed queue, put and get",
        (MANAGER, "queue put, get", 0),
        "multiproc",
        Some("python Manager"),
        Bound::AtLeast(20.0),
    ),
];

/// A line per aim that the run can tell about; nothing if there is none.
pub(crate) fn table(results: &Results) -> String {
    let mut text = String::new();
    for aim in &AIMS {
        let rows = results.rows.iter();
        for row in rows.filter(|row| {
            (row.place == Place::Pinned || aim.group == START)
                && (row.group, row.what, row.size) == (aim.group, aim.row, aim.size)
        }) {
            let Some(entry) = row.entries.iter().find(|entry| entry.who == aim.who) else {
                continue;
            };
            let took_part = |base| row.entries.iter().any(|entry| entry.who == base);
            let line = match reached(entry, aim.base) {
                Some(spread) => {
                    let [figure, min, max] = [spread.median, spread.min, spread.max].map(figure);
                    let word = verdict(aim.bound, spread);
                    format!("{word:<9}{figure} ({min}..{max})")
                }
                None if entry.error.is_some() && aim.base.is_none_or(took_part) => {
                    "FAILED".to_owned()
                }
                None => continue,
            };
            let unit = entry.metrics.first().map_or("", |metric| metric.unit);
            let base = aim.base.map_or(unit.to_owned(), |base| format!("/ {base}"));
            let bound = aim.bound.text();
            let _ = writeln!(text, "  {:<26}{base:<20}{bound:<9}{line}", aim.what);
        }
    }
    if text.is_empty() {
        text
    } else {
        format!(
            "\naims: the median over rounds, and the range (\"?\": some rounds say otherwise)\n{text}"
        )
    }
}

/// What the median says, and whether all rounds agree.
fn verdict(bound: Bound, spread: Spread) -> &'static str {
    let agreed = bound.met(spread.min) == bound.met(spread.max);
    match (bound.met(spread.median), agreed) {
        (true, true) => "met",
        (true, false) => "met?",
        (false, true) => "missed",
        (false, false) => "missed?",
    }
}

/// The first figure, or its ratio to `base`. Of latencies, that is the median.
fn reached(entry: &Entry, base: Option<&str>) -> Option<Spread> {
    let metric = entry.metrics.first()?;
    match base {
        None => metric.spread(),
        Some(base) => {
            let ratio = metric.ratios.iter().find(|ratio| ratio.base == base)?;
            Some(ratio.spread)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::Group;

    /// Whoever renames a row or a contender renames it here, too.
    #[test]
    fn every_aim_has_its_row() {
        let groups: Vec<Group> = crate::groups();
        for aim in &AIMS {
            let found = groups
                .iter()
                .filter(|group| group.name == aim.group)
                .flat_map(|group| &group.rows)
                .filter(|row| (row.what, row.size) == (aim.row, aim.size))
                .filter(|row| aim.base.is_none_or(|base| row.bases.contains(&base)))
                .flat_map(|row| &row.contenders)
                .any(|contender| contender.who == aim.who);
            assert!(found, "{aim:?}");
        }
    }

    #[test]
    fn bounds_have_two_sides() {
        assert!(Bound::AtLeast(1.0).met(1.0) && !Bound::AtLeast(1.0).met(0.9));
        assert!(Bound::AtMost(1.0).met(1.0) && !Bound::AtMost(1.0).met(1.1));
    }
}
