//! A page with charts of what was measured, in one file without scripts.

mod chart;

use std::path::Path;

use anyhow::Context as _;
use chart::{Chart, Line, Scale, escaped};

use crate::{
    series::{Run, Series},
    span::STEP,
};

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:900px;margin:2em auto;padding:0 1em}\
    svg{width:100%;font-size:12px}.grid{stroke:#ddd;fill:none}.line{fill:none;stroke-width:1.8}\
    pre{overflow-x:auto}";

/// Writes it. `text` stands before the charts as it is; latencies and rates are those of the series.
pub(crate) fn write(
    file: &Path,
    text: &str,
    latencies: &[Series],
    rates: &[Series],
) -> anyhow::Result<()> {
    let page = render(text, latencies, rates);
    std::fs::write(file, page).with_context(|| file.display().to_string())
}

fn render(text: &str, latencies: &[Series], rates: &[Series]) -> String {
    let text = escaped(text);
    let latency = latency_chart(latencies);
    let rate = rate_chart(rates);
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>Waypost benchmark</title>\n\
         <style>{STYLE}</style>\n<h1>Waypost benchmark</h1>\n<pre>{text}</pre>\n\
         <h2>Latency from the intended time of sending</h2>\n{latency}\
         <h2>Throughput over time</h2>\n{rate}</html>\n"
    )
}

/// Each series at the run with its middle p99, so that one bad run does not stand for all.
fn latency_chart(series: &[Series]) -> Chart {
    let lines = series.iter().filter_map(|series| {
        let mut runs: Vec<&Run> = series.runs.iter().collect();
        runs.sort_by(|one, other| {
            one.counted.latency.p99_us.total_cmp(&other.counted.latency.p99_us)
        });
        let curve = &runs.get(runs.len() / 2)?.counted.latency.curve;
        // A nine of the quantile is a step.
        let points = curve.iter().map(|(quantile, value)| (-(1.0 - quantile).log10(), *value));
        Some(Line { name: name(series), points: points.collect() })
    });
    let marks = [(0.0, "0"), (1.0, "90 %"), (2.0, "99 %"), (3.0, "99.9 %"), (4.0, "99.99 %")];
    let marks = marks.into_iter().chain([(5.0, "99.999 %"), (6.0, "99.9999 %")]);
    Chart {
        x_label: "share of messages that took at most so long",
        x_marks: marks.map(|(nines, mark)| (nines, mark.to_owned())).collect(),
        y_label: "µs",
        y_scale: Scale::Logarithmic,
        lines: lines.collect(),
    }
}

fn rate_chart(series: &[Series]) -> Chart {
    let lines = series.iter().filter_map(|series| {
        let steps = &series.runs.last()?.counted.timeline;
        // The last step is not whole.
        let whole = steps.iter().take(steps.len().saturating_sub(1));
        let points = (0_u32..).zip(whole).map(|(step, messages)| {
            (f64::from(step) * STEP.as_secs_f64(), *messages as f64 / STEP.as_secs_f64())
        });
        Some(Line { name: name(series), points: points.collect() })
    });
    let longest = series.iter().map(|series| series.load.seconds).fold(0.0, f64::max);
    let step = (longest / 10.0).ceil().max(1.0);
    let marks = (0..=10).map(|mark| f64::from(mark) * step);
    Chart {
        x_label: "seconds",
        x_marks: marks.map(|second| (second, second.to_string())).collect(),
        y_label: "messages/s",
        y_scale: Scale::Linear,
        lines: lines.collect(),
    }
}

fn name(series: &Series) -> String {
    let Series { scenario, load, .. } = series;
    let pace = load.rate.map_or_else(String::new, |rate| format!(", {rate:.0}/s"));
    format!("{} {} B{pace}", scenario.name(), load.size)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        latency::Latency,
        load::Load,
        measure::{Measured, Sent, Usage},
        scenario::{Case, Scenario},
        span::Counted,
        tally::Verdict,
    };

    #[test]
    fn a_page_has_a_line_for_each_series_in_both_charts() {
        let series = [Scenario::Forward, Scenario::Filter].map(|scenario| {
            let mut series = Series::new(&Case { scenario, load: Load::default() });
            let latency = Latency { curve: vec![(0.0, 50.0), (0.9, 900.0)], ..Latency::default() };
            let counted = Counted {
                seconds: 1.0,
                messages: 30,
                latency,
                timeline: vec![10, 20, 0],
                ..Counted::default()
            };
            let (verdict, sent, usage) = (Verdict::default(), Sent::default(), Usage::default());
            series.runs.push(
                Measured { counted, verdict, sent, usage, rated_by_acknowledgements: false }.into(),
            );
            series
        });
        let page = render("a < b", &series, &series);
        assert_eq!(page.matches("class=\"line\"").count(), 4, "{page}");
        assert_eq!(page.matches("filter 128 B").count(), 2);
        assert!(page.contains("<pre>a &lt; b</pre>"));
    }
}
