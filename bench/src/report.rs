//! What was measured, for people and as JSON.

use std::fmt::Write as _;

use serde::Serialize;

use crate::series::{Series, Spread, cpu, per_cpu_second, rate};

/// Everything that one call measured.
#[derive(Debug, Serialize)]
pub(crate) struct Report<'a> {
    pub(crate) series: &'a [Series],
}

/// Each series as a table of two columns.
pub(crate) fn table(series: &[Series]) -> String {
    let mut text = String::new();
    for one in series {
        let Series { scenario, load, runs, .. } = one;
        let pace = load.rate.map_or("as fast as possible".to_owned(), |rate| format!("{rate}/s"));
        // A string takes any text.
        let _ = writeln!(
            text,
            "{}: {}\n{} B, batches of {}, {} connections, {pace}, {} x {} s\n",
            scenario.name(),
            scenario.description(),
            load.size,
            load.batch,
            load.connections,
            runs.len(),
            load.seconds,
        );
        for (name, value) in rows(one) {
            let _ = writeln!(text, "  {name:<28} {value}");
        }
        text.push('\n');
    }
    text
}

fn rows(series: &Series) -> Vec<(&'static str, String)> {
    let mut rows = Vec::new();
    let mut add = |name, spread: Option<Spread>, digits: usize| {
        if let Some(spread) = spread {
            rows.push((name, spread.text(digits)));
        }
    };
    add("messages/s", series.spread(rate), 0);
    add("of the limit", series.of_limit(rate), 2);
    add("of the limit by CPU time", series.of_limit(per_cpu_second), 2);
    add("MB/s", series.spread(|run| Some(run.megabytes_per_s)), 1);
    add("delivered/s", series.spread(|run| run.acknowledged_per_s.map(|_| run.delivered_per_s)), 0);
    add("acknowledged/s", series.spread(|run| run.acknowledged_per_s), 0);
    add("acknowledged p50, µs", series.spread(|run| Some(run.acknowledgement.as_ref()?.p50_us)), 0);
    add("acknowledged p99, µs", series.spread(|run| Some(run.acknowledgement.as_ref()?.p99_us)), 0);
    add("latency mean, µs", series.spread(|run| Some(run.counted.latency.mean_us)), 0);
    add("latency p50, µs", series.spread(|run| Some(run.counted.latency.p50_us)), 0);
    add("latency p90, µs", series.spread(|run| Some(run.counted.latency.p90_us)), 0);
    add("latency p99, µs", series.spread(|run| Some(run.counted.latency.p99_us)), 0);
    add("latency p99.9, µs", series.spread(|run| Some(run.counted.latency.p999_us)), 0);
    add("latency max, µs", series.spread(|run| Some(run.counted.latency.max_us)), 0);
    add("router CPU s/million", series.spread(cpu), 3);
    add("of the limit's", series.of_limit(cpu), 2);
    let memory = |run: &crate::series::Run| Some(run.usage.middle_peak_bytes? as f64 / 1e6);
    add("router peak memory, MB", series.spread(memory), 1);
    let share = |seconds: f64, run: &crate::series::Run| Some(seconds / run.counted.seconds);
    let others = |run: &crate::series::Run| share(run.usage.other_cpu_seconds, run);
    add("processors used by others", series.spread(others), 2);
    add("processors stolen", series.spread(|run| share(run.usage.stolen_seconds, run)), 2);
    for (name, count) in [
        ("sent", series.sum(|run| run.sent)),
        ("lost", series.sum(|run| run.verdict.lost)),
        ("duplicated", series.sum(|run| run.verdict.duplicated)),
        ("out of order", series.sum(|run| run.verdict.out_of_order)),
        ("rejected", series.sum(|run| run.rejected)),
        ("without a result", series.sum(|run| run.unknown)),
    ] {
        rows.push((name, count.to_string()));
    }
    rows
}

impl Spread {
    /// The median, and behind it the smallest and the largest where they differ.
    pub(crate) fn text(&self, digits: usize) -> String {
        let Self { median, least, most } = self;
        if least == most {
            format!("{median:.digits$}")
        } else {
            format!("{median:.digits$}  ({least:.digits$} to {most:.digits$})")
        }
    }
}
