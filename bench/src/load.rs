//! How much of what, for how long.

use clap::Args;
use serde::{Deserialize, Serialize};

use crate::workload::LEAST_BYTES;

/// The load of one measurement.
#[derive(Debug, Clone, Args, Serialize, Deserialize)]
pub(crate) struct Load {
    /// Messages in a batch.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=16_384))]
    pub(crate) batch: u32,
    /// Bytes of a payload, a JSON object with the message's numbers.
    #[arg(long, default_value_t = 128,
        value_parser = clap::value_parser!(u32).range(LEAST_BYTES as i64..=1_048_576))]
    pub(crate) size: u32,
    /// Messages a second; as fast as they are taken, if not said. Each batch is due at its time, and
    /// latency counts from there.
    #[arg(long, value_parser = rate)]
    pub(crate) rate: Option<f64>,
    /// Connections that publish, or that requests are made on.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) connections: u16,
    /// Seconds to measure.
    #[arg(long, default_value_t = 5.0, value_parser = seconds)]
    pub(crate) seconds: f64,
    /// Seconds of the same load before that, which do not count.
    #[arg(long, default_value_t = 2.0, value_parser = seconds)]
    pub(crate) warm_up: f64,
}

impl Default for Load {
    /// What the command line has when nothing is said.
    fn default() -> Self {
        Self { batch: 64, size: 128, rate: None, connections: 1, seconds: 5.0, warm_up: 2.0 }
    }
}

impl Load {
    /// Batches a second for each connection, if there is a rate.
    pub(crate) fn batches_a_second(&self) -> Option<f64> {
        Some(self.rate? / f64::from(self.batch) / f64::from(self.connections))
    }
}

fn rate(text: &str) -> Result<f64, String> {
    bounded(text, 1.0, 1e9)
}

fn seconds(text: &str) -> Result<f64, String> {
    bounded(text, 0.0, 600.0)
}

fn bounded(text: &str, least: f64, most: f64) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "write a number".to_owned())?;
    if (least..=most).contains(&number) {
        Ok(number)
    } else {
        Err(format!("write a number from {least} to {most}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_out_of_range_is_refused_with_the_range() {
        assert_eq!(seconds("1.5"), Ok(1.5));
        assert_eq!(rate("0"), Err("write a number from 1 to 1000000000".to_owned()));
        assert_eq!(seconds("NaN"), Err("write a number from 0 to 600".to_owned()));
        assert!(rate("fast").is_err());
    }
}
