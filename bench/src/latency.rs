//! How long messages took, from when they were due to when their consumer had them.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Longer than any measurement.
const MOST_NANOSECONDS: u64 = 3_600_000_000_000;
/// Values are kept to three digits.
const DIGITS: u8 = 3;
/// Points of the curve for each nine of the quantile.
const POINTS_A_NINE: u32 = 4;
const MOST_POINTS: u32 = POINTS_A_NINE * 7;

/// Counts latencies; an HDR histogram, so that the tail is as exact as the middle.
pub(crate) struct Latencies(Histogram<u64>);

impl Latencies {
    pub(crate) fn new() -> anyhow::Result<Self> {
        Ok(Self(Histogram::new_with_bounds(1, MOST_NANOSECONDS, DIGITS)?))
    }

    pub(crate) fn record(&mut self, nanoseconds: u64, messages: u64) {
        // None of a value would still be the largest one.
        if messages > 0 {
            self.0.saturating_record_n(nanoseconds, messages);
        }
    }

    pub(crate) fn summary(&self) -> Latency {
        let at = |quantile: f64| self.0.value_at_quantile(quantile) as f64 / 1e3;
        // Quantiles that the number of messages says nothing about are left out.
        let known = |quantile: &f64| self.0.len() as f64 * (1.0 - quantile) >= 1.0;
        let quantile = |point: u32| 1.0 - 10_f64.powf(-f64::from(point) / f64::from(POINTS_A_NINE));
        Latency {
            mean_us: self.0.mean() / 1e3,
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: self.0.max() as f64 / 1e3,
            curve: (0..MOST_POINTS)
                .map(quantile)
                .filter(known)
                .map(|quantile| (quantile, at(quantile)))
                .collect(),
        }
    }
}

/// The distribution in microseconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Latency {
    pub(crate) mean_us: f64,
    pub(crate) p50_us: f64,
    pub(crate) p90_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) p999_us: f64,
    pub(crate) max_us: f64,
    /// Quantiles with their values, for a curve.
    pub(crate) curve: Vec<(f64, f64)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_what_was_recorded() {
        let mut latencies = Latencies::new().expect("its bounds are sound");
        latencies.record(100_000, 980);
        latencies.record(1_000_000, 19);
        latencies.record(5_000_000, 1);
        let latency = latencies.summary();
        let near = |value: f64, expected: f64| (value / expected - 1.0).abs() < 2e-3;
        assert!(near(latency.p50_us, 100.0) && near(latency.p99_us, 1000.0), "{latency:?}");
        assert!(near(latency.max_us, 5000.0) && near(latency.mean_us, 122.0), "{latency:?}");
        assert_eq!(latency.curve.len(), 3 * POINTS_A_NINE as usize + 1, "a thousand: three nines");
        assert!(latency.curve.is_sorted_by(|one, next| one.1 <= next.1));
    }
}
