//! What is measured, as JSON.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{options::Load, tally::Verdict, window::Counted};

/// What the consumer tells the parent.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Event {
    /// It is ready for messages.
    Ready,
    /// The window opened.
    Begin,
    /// The window closed.
    End,
    /// Everything came, or nothing comes any more.
    Result { counted: Counted, verdict: Verdict },
}

/// What the producer tells the parent at its end.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Sent {
    pub(crate) messages: u64,
    /// Messages that the router has certainly not stored.
    pub(crate) rejected: u64,
    /// Messages without a result.
    pub(crate) unknown: u64,
}

/// CPU time within the window.
#[derive(Debug, Serialize)]
pub(crate) struct CpuSeconds {
    pub(crate) producer: f64,
    /// The relay or the router; the router's only when its process was named.
    pub(crate) middle: Option<f64>,
    pub(crate) consumer: f64,
}

/// One measurement.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// `relay` or `forward`.
    pub(crate) benchmark: &'static str,
    #[serde(flatten)]
    pub(crate) load: Load,
    pub(crate) measured_seconds: f64,
    pub(crate) messages_per_second: f64,
    /// Of whole batches, in units of 10^6 bytes.
    pub(crate) megabytes_per_second: f64,
    /// Of payloads alone.
    pub(crate) payload_megabytes_per_second: f64,
    pub(crate) cpu_seconds: CpuSeconds,
    /// CPU time of the relay or router for each message.
    pub(crate) middle_nanoseconds_per_message: Option<f64>,
    /// Over the whole run, warm-up and end included.
    pub(crate) sent: u64,
    pub(crate) rejected: u64,
    pub(crate) unknown: u64,
    #[serde(flatten)]
    pub(crate) verdict: Verdict,
}

/// CPU time used so far: of the producer, of the middle, of the consumer.
pub(crate) type CpuTimes = (Duration, Option<Duration>, Duration);

impl Report {
    pub(crate) fn new(
        benchmark: &'static str,
        load: Load,
        sent: Sent,
        (counted, verdict): (Counted, Verdict),
        (begin, end): (CpuTimes, CpuTimes),
    ) -> Self {
        let used = |begin: Duration, end: Duration| end.saturating_sub(begin).as_secs_f64();
        let middle = begin.1.zip(end.1).map(|(begin, end)| used(begin, end));
        let rate = |number: u64| number as f64 / counted.seconds;
        Self {
            benchmark,
            load,
            measured_seconds: counted.seconds,
            messages_per_second: rate(counted.messages),
            megabytes_per_second: rate(counted.batch_bytes) / 1e6,
            payload_megabytes_per_second: rate(counted.payload_bytes) / 1e6,
            cpu_seconds: CpuSeconds {
                producer: used(begin.0, end.0),
                middle,
                consumer: used(begin.2, end.2),
            },
            middle_nanoseconds_per_message: middle
                .map(|seconds| seconds * 1e9 / counted.messages as f64),
            sent: sent.messages,
            rejected: sent.rejected,
            unknown: sent.unknown,
            verdict,
        }
    }
}

pub(crate) fn print(report: &Report) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string_pretty(report)?);
    Ok(())
}
