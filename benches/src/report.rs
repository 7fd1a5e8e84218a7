//! Tables for people, JSON for programs.
//!
//! The report is one array; each element is one figure of one contender:
//!
//! ```json
//! {"group": "queue-oneway", "what": "1p1c pinned", "who": "pipe", "size": 8, "unit": "msg/s",
//!  "median": 1970000.0, "min": 1900000.0, "max": 2040000.0, "rounds": 5,
//!  "ratio_to": {"crossbeam": {"median": 0.11, "min": 0.10, "max": 0.13}},
//!  "values": [1970000.0, null, 1900000.0], "error": null}
//! ```
//!
//! `what` is the row's work, the percentile of a latency ("awake p99 pinned"), and where it ran. `rounds` counts the rounds
//! that gave a value; `values` has `null` for the others. `ratio_to` holds, per base, the figure divided by the base's
//! in the same round: above 1 is better where the unit is a rate, worse where it is a time. A contender that gave no
//! value at all has `median`, `min` and `max` `null`, and says why in `error`.

use crate::harness::{Entry, Group, Metric, Ratio, Results, RowResult};
use std::fmt::Write;

/// "8 B", "1 KiB", "1 MiB"; nothing for 0.
pub(crate) fn size(bytes: usize) -> String {
    match bytes {
        0 => String::new(),
        n if n.is_multiple_of(1 << 20) => format!("{} MiB", n >> 20),
        n if n.is_multiple_of(1 << 10) => format!("{} KiB", n >> 10),
        n => format!("{n} B"),
    }
}

/// Three or four digits, and a letter for the thousands of a rate.
pub(crate) fn figure(value: f64) -> String {
    let (value, letter) = match value.abs() {
        v if v >= 1e9 => (value / 1e9, "G"),
        v if v >= 1e6 => (value / 1e6, "M"),
        v if v >= 1e4 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    let digits = match value.abs() {
        v if v >= 100.0 => 0,
        v if v >= 10.0 => 1,
        _ => 2,
    };
    format!("{value:.digits$}{letter}")
}

/// Three decimals below ten: most ratios are near one.
fn ratio(value: f64) -> String {
    if value < 10.0 {
        format!("{value:.3}")
    } else {
        figure(value)
    }
}

/// What `--list` prints.
pub(crate) fn list(groups: &[Group]) -> String {
    let mut text = String::new();
    for group in groups {
        let _ = writeln!(text, "{}: {}", group.name, group.about);
        for row in &group.rows {
            let who: Vec<_> = row
                .contenders
                .iter()
                .map(|contender| contender.who)
                .collect();
            let size = size(row.size);
            let title = [row.what, &size, row.place.word()]
                .into_iter()
                .filter(|part| !part.is_empty())
                .collect::<Vec<_>>()
                .join(" ");
            let _ = writeln!(text, "  {title:32} {}", who.join(", "));
        }
    }
    text
}

/// The title of a row, as the tables and the page show it.
pub(crate) fn title(row: &RowResult) -> String {
    let parts = [
        row.group.to_owned(),
        row.what.to_owned(),
        size(row.size),
        row.place.word().to_owned(),
    ];
    parts
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(", ")
}

/// One row as an aligned table.
pub(crate) fn table(row: &RowResult) -> String {
    let mut bases: Vec<&str> = Vec::new();
    for ratio in row
        .entries
        .iter()
        .flat_map(|entry| &entry.metrics)
        .flat_map(|metric| &metric.ratios)
    {
        if !bases.contains(&ratio.base) {
            bases.push(ratio.base);
        }
    }
    let sample = row
        .entries
        .iter()
        .find(|entry| entry.error.is_none())
        .or(row.entries.first());
    let metrics = sample.map_or(&[][..], |entry| &entry.metrics);
    let main = metrics.first().map_or("", |metric| metric.unit);
    let name = metrics.first().map_or("", |metric| metric.name);

    let mut lines = vec![vec![
        String::new(),
        format!("{main} {name}"),
        "min".to_owned(),
        "max".to_owned(),
    ]];
    lines[0].extend(
        metrics
            .iter()
            .skip(1)
            .map(|metric| format!("{} {}", metric.unit, metric.name)),
    );
    lines[0].extend(bases.iter().map(|base| format!("/ {base} (min..max)")));
    for entry in &row.entries {
        lines.push(line(entry, &bases));
    }
    let columns = lines[0].len();
    let widths: Vec<usize> = (0..columns)
        .map(|at| {
            lines
                .iter()
                .filter_map(|line| line.get(at))
                .map(String::len)
                .max()
                .unwrap_or(0)
        })
        .collect();

    let mut text = format!("\n{}\n", title(row));
    for (line, entry) in lines
        .iter()
        .zip(std::iter::once(None).chain(row.entries.iter().map(Some)))
    {
        let _ = write!(text, "  {:<width$}", line[0], width = widths[0]);
        for (cell, width) in line.iter().zip(&widths).skip(1) {
            let _ = write!(text, "  {cell:>width$}");
        }
        match entry.and_then(|entry| entry.error.as_ref()) {
            Some(error) => {
                let _ = writeln!(text, "  FAILED: {error}");
            }
            None => text.push('\n'),
        }
    }
    text
}

fn line(entry: &Entry, bases: &[&str]) -> Vec<String> {
    let mut cells = vec![entry.who.to_owned()];
    let Some(main) = entry.metrics.first() else {
        return cells;
    };
    match main.spread() {
        Some(spread) => cells.extend([spread.median, spread.min, spread.max].map(figure)),
        None => cells.extend(["-"; 3].map(str::to_owned)),
    }
    let others = entry.metrics.iter().skip(1).map(Metric::spread);
    cells
        .extend(others.map(|spread| spread.map_or("-".to_owned(), |spread| figure(spread.median))));
    for base in bases {
        cells.push(match main.ratios.iter().find(|ratio| ratio.base == *base) {
            Some(Ratio { spread, .. }) => {
                let [median, min, max] = [spread.median, spread.min, spread.max].map(ratio);
                format!("{median} ({min}..{max})")
            }
            None => "-".to_owned(),
        });
    }
    cells
}

/// The whole report.
pub(crate) fn markdown(results: &Results) -> String {
    let rough = if results.quick {
        " A quick run: rough figures."
    } else {
        ""
    };
    let mut text = format!(
        "{}.{rough} Medians over rounds.\n\n```text\n",
        results.machine
    );
    for row in &results.rows {
        text += &table(row);
    }
    text += &crate::aims::table(results);
    text + "```\n"
}

/// The same, for programs.
pub(crate) fn json(results: &Results) -> String {
    let mut elements = Vec::new();
    for row in &results.rows {
        for entry in &row.entries {
            elements.extend(
                entry
                    .metrics
                    .iter()
                    .map(|metric| element(row, entry, metric)),
            );
        }
    }
    format!("[\n{}\n]\n", elements.join(",\n"))
}

fn element(row: &RowResult, entry: &Entry, metric: &Metric) -> String {
    let what = [row.what, metric.name, row.place.word()];
    let what = what
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(" ");
    let spread = metric.spread();
    let ratios: Vec<String> = (metric.ratios.iter())
        .map(|Ratio { base, spread }| {
            let [median, min, max] = [spread.median, spread.min, spread.max].map(number);
            format!(
                "{}: {{\"median\": {median}, \"min\": {min}, \"max\": {max}}}",
                string(base)
            )
        })
        .collect();
    let values: Vec<String> = metric.values.iter().map(|value| optional(*value)).collect();
    format!(
        "  {{\"group\": {}, \"what\": {}, \"who\": {}, \"size\": {}, \"unit\": {}, \"median\": {}, \"min\": {}, \"max\": {}, \
         \"rounds\": {}, \"ratio_to\": {{{}}}, \"values\": [{}], \"error\": {}}}",
        string(row.group),
        string(&what),
        string(entry.who),
        row.size,
        string(metric.unit),
        optional(spread.map(|spread| spread.median)),
        optional(spread.map(|spread| spread.min)),
        optional(spread.map(|spread| spread.max)),
        spread.map_or(0, |spread| spread.count),
        ratios.join(", "),
        values.join(", "),
        entry.error.as_deref().map_or("null".to_owned(), string),
    )
}

fn optional(value: Option<f64>) -> String {
    value.map_or("null".to_owned(), number)
}

/// JSON knows no infinity.
fn number(value: f64) -> String {
    if value.is_finite() {
        format!("{value:?}")
    } else {
        "null".to_owned()
    }
}

fn string(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(quoted, "\\u{:04x}", c as u32);
            }
            c => quoted.push(c),
        }
    }
    quoted + "\""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_figures_are_short() {
        assert_eq!([8, 1 << 10, 1 << 20].map(size), ["8 B", "1 KiB", "1 MiB"]);
        assert_eq!(
            [0.363, 12.84, 504.2, 9_999.0, 1.97e6].map(figure),
            ["0.36", "12.8", "504", "9999", "1.97M"]
        );
    }

    #[test]
    fn strings_are_escaped() {
        assert_eq!(string("a \"b\"\n"), r#""a \"b\"\u000a""#);
    }
}
