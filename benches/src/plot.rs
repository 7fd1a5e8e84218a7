//! The page: SVG drawn here, no scripts, nothing from the net.
//!
//! Latencies become curves over the percentile, figures at several sizes become lines over the size, and figures at a
//! single size become bars.

use crate::aims;
use crate::harness::{Results, RowResult};
use crate::report::{figure, size, table, title};
use std::fmt::Write;

const WIDTH: f64 = 820.0;
const HEIGHT: f64 = 380.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 610.0;
const TOP: f64 = 20.0;
const BOTTOM: f64 = 330.0;

const COLOURS: [&str; 24] = [
    "#d62728", "#1f77b4", "#2ca02c", "#9467bd", "#ff7f0e", "#17becf", "#8c564b", "#e377c2",
    "#7f7f7f", "#bcbd22", "#003f5c", "#00a37a", "#ff9896", "#aec7e8", "#98df8a", "#c5b0d5",
    "#ffbb78", "#9edae5", "#c49c94", "#f7b6d2", "#c7c7c7", "#dbdb8d", "#665191", "#a05195",
];

/// A named polyline in data coordinates.
struct Line<'a> {
    name: &'a str,
    colour: &'a str,
    points: Vec<(f64, f64)>,
}

/// A position and its label.
type Tick = (f64, String);

/// The whole page.
pub(crate) fn page(results: &Results) -> String {
    let mut html = String::from(
        "<!DOCTYPE html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>multiproc beside its peers</title>\n<style>\
         body{font:15px/1.5 system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em;background:#fff;color:#222}\
         svg{max-width:100%;height:auto}text{font:12px system-ui,sans-serif;fill:#222}pre{overflow:auto;font-size:12px}\
         </style>\n<h1>multiproc beside its peers</h1>\n",
    );
    let length = if results.quick {
        " A quick run: rough figures."
    } else {
        ""
    };
    let _ = writeln!(
        html,
        "<p>{}.{length} Medians over rounds; compare ratios, not machines.</p>",
        escape(&results.machine)
    );

    // One colour per name, on the whole page.
    let mut names: Vec<&str> = Vec::new();
    for entry in results.rows.iter().flat_map(|row| &row.entries) {
        if !names.contains(&entry.who) {
            names.push(entry.who);
        }
    }
    let colour = |who: &str| {
        COLOURS[names.iter().position(|name| *name == who).unwrap_or(0) % COLOURS.len()]
    };

    let mut group = "";
    let mut drawn: Vec<(&str, &str, &str)> = Vec::new();
    for row in &results.rows {
        if row.group != group {
            group = row.group;
            let _ = writeln!(
                html,
                "<h2>{}</h2>\n<p>{}</p>",
                escape(group),
                escape(row.about)
            );
        }
        if row.entries.iter().any(|entry| entry.latency.is_some()) {
            let _ = writeln!(
                html,
                "<h3>{}: microseconds by percentile</h3>\n{}",
                escape(&title(row)),
                latencies(row, &colour)
            );
            continue;
        }
        // Rows that differ in size only share one drawing.
        let key = (row.group, row.what, row.place.word());
        if drawn.contains(&key) {
            continue;
        }
        drawn.push(key);
        let family: Vec<&RowResult> = results
            .rows
            .iter()
            .filter(|other| (other.group, other.what, other.place.word()) == key)
            .collect();
        let unit = row
            .entries
            .iter()
            .flat_map(|entry| &entry.metrics)
            .map(|metric| metric.unit)
            .next()
            .unwrap_or("");
        let drawing = if family.len() > 1 {
            by_size(&family, &colour)
        } else {
            bars(row, &colour)
        };
        let by = if family.len() > 1 { " by size" } else { "" };
        let _ = writeln!(
            html,
            "<h3>{}, {}, {}: {unit}{by}</h3>\n{drawing}",
            key.0, key.1, key.2
        );
    }
    html += "<h2>Tables</h2>\n<pre>";
    for row in &results.rows {
        html += &escape(&table(row));
    }
    html += &escape(&aims::table(results));
    html + "</pre>\n</html>\n"
}

/// Percentiles to the right, each nine as wide as the one before; microseconds upwards, logarithmic.
fn latencies<'a>(row: &'a RowResult, colour: &dyn Fn(&str) -> &'a str) -> String {
    let nines = |quantile: f64| -(1.0 - quantile).log10();
    let mut lines = Vec::new();
    for entry in &row.entries {
        let Some(latency) = &entry.latency else {
            continue;
        };
        // No further than the samples reach.
        let end = (latency.len() as f64).log10().min(5.0);
        let steps = (end * 20.0) as usize;
        let points = (0..=steps).map(|step| step as f64 / 20.0).map(|x| {
            let quantile = 1.0 - 10_f64.powf(-x);
            (
                x,
                latency.value_at_quantile(quantile).max(1) as f64 / 1000.0,
            )
        });
        lines.push(Line {
            name: entry.who,
            colour: colour(entry.who),
            points: points.collect(),
        });
    }
    let ticks = [0.0, 0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999];
    let ticks = ticks.map(|quantile| {
        (
            nines(quantile),
            format!("p{}", (quantile * 1e7_f64).round() / 1e5),
        )
    });
    chart(&lines, &ticks, "percentile")
}

fn by_size<'a>(family: &[&'a RowResult], colour: &dyn Fn(&str) -> &'a str) -> String {
    let mut lines: Vec<Line<'a>> = Vec::new();
    for row in family {
        for entry in &row.entries {
            let Some(spread) = entry.metrics.first().and_then(|metric| metric.spread()) else {
                continue;
            };
            let point = ((row.size.max(1) as f64).log2(), spread.median);
            match lines.iter_mut().find(|line| line.name == entry.who) {
                Some(line) => line.points.push(point),
                None => lines.push(Line {
                    name: entry.who,
                    colour: colour(entry.who),
                    points: vec![point],
                }),
            }
        }
    }
    let ticks: Vec<Tick> = family
        .iter()
        .map(|row| ((row.size.max(1) as f64).log2(), size(row.size)))
        .collect();
    chart(&lines, &ticks, "message size")
}

/// Lines over a linear x and a logarithmic y.
fn chart(lines: &[Line<'_>], ticks: &[Tick], axis: &str) -> String {
    let points = || {
        lines
            .iter()
            .flat_map(|line| &line.points)
            .filter(|point| point.1 > 0.0)
    };
    let Some(low) = points().map(|point| point.1).min_by(f64::total_cmp) else {
        return "<p>Nothing was measured.</p>".to_owned();
    };
    let high = points().map(|point| point.1).fold(low, f64::max);
    let (low, high) = (
        low.log10().floor(),
        high.log10().ceil().max(low.log10().floor() + 1.0),
    );
    let first = points().map(|point| point.0).fold(f64::INFINITY, f64::min);
    let last = points().map(|point| point.0).fold(first + 0.1, f64::max);
    let x = |value: f64| LEFT + (value - first) / (last - first) * (RIGHT - LEFT);
    let y = |value: f64| BOTTOM - (value.log10() - low) / (high - low) * (BOTTOM - TOP);

    let mut svg = open(HEIGHT);
    for decade in low as i32..=high as i32 {
        let value = 10_f64.powi(decade);
        let at = y(value);
        let _ = write!(
            svg,
            "<path d=\"M{LEFT} {at:.1}H{RIGHT}\" stroke=\"#ddd\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 6.0,
            at + 4.0,
            if value < 0.01 {
                format!("{value}")
            } else {
                figure(value)
            }
        );
    }
    for (value, label) in ticks.iter().filter(|tick| tick.0 <= last + 1e-9) {
        let at = x(*value);
        let _ = write!(
            svg,
            "<path d=\"M{at:.1} {TOP}V{BOTTOM}\" stroke=\"#eee\"/><text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{label}</text>",
            BOTTOM + 16.0
        );
    }
    let _ = write!(
        svg,
        "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{axis}</text>",
        (LEFT + RIGHT) / 2.0,
        BOTTOM + 36.0
    );
    for (at, line) in lines.iter().enumerate() {
        let path: Vec<String> = (line.points.iter())
            .filter(|point| point.1 > 0.0)
            .map(|point| format!("{:.1},{:.1}", x(point.0), y(point.1)))
            .collect();
        let colour = line.colour;
        let _ = write!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            path.join(" ")
        );
        if line.points.len() <= 5 {
            for point in &path {
                if let Some((x, y)) = point.split_once(',') {
                    let _ = write!(
                        svg,
                        "<circle cx=\"{x}\" cy=\"{y}\" r=\"3.5\" fill=\"{colour}\"/>"
                    );
                }
            }
        }
        let down = TOP + 10.0 + at as f64 * 20.0;
        let _ = write!(
            svg,
            "<path d=\"M{} {down}h18\" stroke=\"{colour}\" stroke-width=\"4\"/><text x=\"{}\" y=\"{}\">{}</text>",
            RIGHT + 16.0,
            RIGHT + 40.0,
            down + 4.0,
            escape(line.name)
        );
    }
    svg + "</svg>"
}

/// One bar per contender, with a whisker from min to max.
fn bars<'a>(row: &'a RowResult, colour: &dyn Fn(&str) -> &'a str) -> String {
    let entries = row.entries.iter();
    let bars: Vec<_> = entries
        .filter_map(|entry| {
            Some((
                entry.who,
                entry.metrics.first().and_then(|metric| metric.spread())?,
            ))
        })
        .collect();
    let most = bars
        .iter()
        .map(|(_, spread)| spread.max)
        .fold(f64::MIN_POSITIVE, f64::max);
    let (start, scale) = (170.0, (RIGHT - 170.0) / most);
    let mut svg = open(bars.len() as f64 * 28.0 + 10.0);
    for (at, (who, spread)) in bars.iter().enumerate() {
        let top = 8.0 + at as f64 * 28.0;
        let (middle, text) = (top + 10.0, top + 14.0);
        let _ = write!(
            svg,
            "<text x=\"{}\" y=\"{text}\" text-anchor=\"end\">{}</text>\
             <rect x=\"{start}\" y=\"{top}\" width=\"{:.1}\" height=\"20\" fill=\"{}\"/>\
             <path d=\"M{:.1} {middle}H{:.1}\" stroke=\"#000\"/><text x=\"{}\" y=\"{text}\">{}</text>",
            start - 8.0,
            escape(who),
            spread.median * scale,
            colour(who),
            start + spread.min * scale,
            start + spread.max * scale,
            RIGHT + 16.0,
            figure(spread.median)
        );
    }
    svg + "</svg>"
}

/// A drawing of its own, for a README: messages per second, one by one, 8 bytes each. `None` where that did not run.
pub(crate) fn picture(results: &Results) -> Option<String> {
    let row = results.rows.iter().find(|row| {
        (row.group, row.what, row.size, row.place.word()) == ("queue-oneway", "1p1c", 8, "pinned")
    })?;
    // The colour says whose it is.
    let colour = |who: &str| match who.split(' ').next() {
        Some("multiproc") => COLOURS[0],
        Some("ideal") => COLOURS[8],
        _ => COLOURS[1],
    };
    let style = "<style>text{font:12px system-ui,sans-serif;fill:#222}</style>\
                 <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>";
    let drawing = bars(row, &colour);
    let (open, rest) = drawing.split_at(drawing.find('>')? + 1);
    Some(format!("{open}{style}{rest}\n"))
}

fn open(height: f64) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\">"
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
