//! Several measurements of one thing, and what they say together.

use serde::Serialize;

use crate::{
    latency::Latency,
    load::Load,
    measure::{Measured, Usage},
    scenario::{Case, Scenario},
    span::Counted,
    tally::Verdict,
};

/// One measurement, as JSON.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Run {
    /// What came to the consumer, or where a publisher's acknowledgement is what counts, these.
    pub(crate) msgs_per_s: f64,
    pub(crate) delivered_per_s: f64,
    /// Missing where nobody acknowledges.
    pub(crate) acknowledged_per_s: Option<f64>,
    /// From when a message was due to its acknowledgement.
    pub(crate) acknowledgement: Option<Latency>,
    /// Of whole batches, in units of 10^6 bytes.
    pub(crate) megabytes_per_s: f64,
    /// CPU seconds of the relay or the router for a million messages.
    pub(crate) middle_cpu_seconds_per_million: Option<f64>,
    #[serde(flatten)]
    pub(crate) counted: Counted,
    #[serde(flatten)]
    pub(crate) usage: Usage,
    /// Over the whole run, warm-up and end included, as everything that follows.
    pub(crate) sent: u64,
    pub(crate) rejected: u64,
    pub(crate) unknown: u64,
    #[serde(flatten)]
    pub(crate) verdict: Verdict,
}

impl From<Measured> for Run {
    fn from(measured: Measured) -> Self {
        let Measured { counted, verdict, sent, usage, rated_by_acknowledgements } = measured;
        let per_second = |counted: &Counted| counted.messages as f64 / counted.seconds;
        let delivered_per_s = per_second(&counted);
        let acknowledged_per_s = sent.acknowledged.as_ref().map(per_second);
        let per_million = |seconds: f64| seconds * 1e6 / counted.messages as f64;
        Self {
            msgs_per_s: acknowledged_per_s
                .filter(|_| rated_by_acknowledgements)
                .unwrap_or(delivered_per_s),
            delivered_per_s,
            acknowledged_per_s,
            acknowledgement: sent.acknowledged.map(|counted| counted.latency),
            megabytes_per_s: counted.batch_bytes as f64 / counted.seconds / 1e6,
            middle_cpu_seconds_per_million: usage.middle_cpu_seconds.map(per_million),
            counted,
            usage,
            sent: sent.messages.iter().sum(),
            rejected: sent.rejected,
            unknown: sent.unknown,
            verdict,
        }
    }
}

/// The middle of some figures, and the smallest and largest of them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

impl Spread {
    /// `None` without figures.
    pub(crate) fn of(figures: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut figures: Vec<f64> =
            figures.into_iter().filter(|figure| figure.is_finite()).collect();
        figures.sort_by(f64::total_cmp);
        let (least, most) = (*figures.first()?, *figures.last()?);
        let (lower, upper) =
            (figures.get((figures.len() - 1) / 2)?, figures.get(figures.len() / 2)?);
        Some(Self { median: (lower + upper) / 2.0, least, most })
    }
}

/// The measurements of one case.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Series {
    pub(crate) scenario: Scenario,
    pub(crate) load: Load,
    pub(crate) runs: Vec<Run>,
    /// The bare relay beside each run.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) limits: Vec<Run>,
}

impl Series {
    pub(crate) fn new(case: &Case) -> Self {
        let Case { scenario, load } = case.clone();
        Self { scenario, load, runs: Vec::new(), limits: Vec::new() }
    }

    pub(crate) fn case(&self) -> Case {
        Case { scenario: self.scenario, load: self.load.clone() }
    }

    pub(crate) fn spread(&self, figure: impl Fn(&Run) -> Option<f64>) -> Option<Spread> {
        Spread::of(self.runs.iter().filter_map(figure))
    }

    /// A figure as a share of the same one of the limit that was measured beside it.
    pub(crate) fn of_limit(&self, figure: impl Fn(&Run) -> Option<f64>) -> Option<Spread> {
        let pairs = self.runs.iter().zip(&self.limits);
        Spread::of(pairs.filter_map(|(run, limit)| Some(figure(run)? / figure(limit)?)))
    }

    /// A count over all runs.
    pub(crate) fn sum(&self, count: impl Fn(&Run) -> u64) -> u64 {
        self.runs.iter().map(count).sum()
    }
}

pub(crate) fn rate(run: &Run) -> Option<f64> {
    Some(run.msgs_per_s)
}

pub(crate) fn cpu(run: &Run) -> Option<f64> {
    run.middle_cpu_seconds_per_million
}

/// Messages for a second of CPU time of all three parts. Where they keep all processors busy and have them
/// to themselves, the rate follows it; where they do not, it says more than the rate.
pub(crate) fn per_cpu_second(run: &Run) -> Option<f64> {
    let Usage { producer_cpu_seconds, middle_cpu_seconds, consumer_cpu_seconds, .. } = run.usage;
    let seconds = producer_cpu_seconds + middle_cpu_seconds? + consumer_cpu_seconds;
    Some(run.counted.messages as f64 / seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_an_even_number_lies_between_two() {
        let spread = |figures: &[f64]| Spread::of(figures.iter().copied());
        let expected = |median, least, most| Some(Spread { median, least, most });
        assert_eq!(spread(&[]), None);
        assert_eq!(spread(&[3.0]), expected(3.0, 3.0, 3.0));
        assert_eq!(spread(&[4.0, 1.0, f64::NAN, 2.0]), expected(2.0, 1.0, 4.0));
        assert_eq!(spread(&[4.0, 1.0, 2.0, 3.0]), expected(2.5, 1.0, 4.0));
    }
}
