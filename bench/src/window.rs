//! What the consumer counts: everything for the verdict, and the time between warm-up and end for
//! rate and latency.

use std::time::Duration;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use waypost_client::Batch;

use crate::{
    latency::{Latencies, Latency},
    load::Load,
    tally::{Tallies, Verdict},
    workload::Stamp,
};

/// The step of the throughput over time.
pub(crate) const STEP: Duration = Duration::from_millis(100);
/// Steps that are kept: more than the longest measurement has.
const MOST_STEPS: u64 = 6100;

/// The payloads of a batch.
pub(crate) fn payloads(batch: &Batch) -> impl Iterator<Item = &[u8]> {
    batch.iter().map(|message| message.payload())
}

/// What arrived within the window.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Counted {
    pub(crate) seconds: f64,
    pub(crate) messages: u64,
    pub(crate) batch_bytes: u64,
    pub(crate) payload_bytes: u64,
    pub(crate) latency: Latency,
    /// Messages in each tenth of a second.
    pub(crate) timeline: Vec<u64>,
}

/// A border of the window that was passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Passed {
    Begin,
    End,
}

/// Opens with the first batch behind the warm-up, which counts from the first batch at all.
pub(crate) struct Window {
    /// In nanoseconds, as all times here.
    warm_up: u64,
    length: u64,
    state: State,
    tallies: Tallies,
    latencies: Latencies,
}

enum State {
    /// Idle => WarmingUp
    Idle,
    /// WarmingUp => Open
    WarmingUp {
        since: u64,
    },
    /// Open => Closed
    Open {
        since: u64,
        counted: Counted,
    },
    Closed(Counted),
}

impl Window {
    pub(crate) fn new(load: &Load, subscribers: u16) -> anyhow::Result<Self> {
        let nanoseconds = |seconds: f64| (seconds * 1e9) as u64;
        Ok(Self {
            warm_up: nanoseconds(load.warm_up),
            length: nanoseconds(load.seconds),
            state: State::Idle,
            tallies: Tallies::new(subscribers, load.connections),
            latencies: Latencies::new()?,
        })
    }

    /// Counts messages that arrived together at a subscriber, now, and took so many bytes with everything
    /// around them. Those that open the window stand outside of it.
    pub(crate) fn take<'a>(
        &mut self,
        now: u64,
        subscriber: u16,
        payloads: impl Iterator<Item = &'a [u8]>,
        bytes: usize,
    ) -> anyhow::Result<Option<Passed>> {
        let is_open = matches!(self.state, State::Open { .. });
        let (mut messages, mut payload_bytes) = (0, 0);
        // Messages of a batch were due together, and are recorded together.
        let (mut due, mut together) = (0, 0);
        for payload in payloads {
            let stamp = Stamp::read(payload).context("a message that is none of the load's")?;
            let counted = self.tallies.take(subscriber, stamp);
            counted.context("a message of a producer that there is not")?;
            messages += 1;
            payload_bytes += payload.len() as u64;
            if is_open && stamp.due != due {
                self.latencies.record(now.saturating_sub(due), together);
                (due, together) = (stamp.due, 0);
            }
            together += 1;
        }
        if is_open {
            self.latencies.record(now.saturating_sub(due), together);
        }
        Ok(self.pass(now, messages, payload_bytes, bytes as u64))
    }

    fn pass(&mut self, now: u64, messages: u64, payload: u64, bytes: u64) -> Option<Passed> {
        if matches!(self.state, State::Idle) {
            self.state = State::WarmingUp { since: now };
        }
        match &mut self.state {
            State::WarmingUp { since } if now >= *since + self.warm_up => {
                self.state = State::Open { since: now, counted: Counted::default() };
                Some(Passed::Begin)
            }
            State::Open { since, counted } => {
                let lasted = Duration::from_nanos(now.saturating_sub(*since));
                counted.messages += messages;
                counted.batch_bytes += bytes;
                counted.payload_bytes += payload;
                let step = (lasted.as_nanos() / STEP.as_nanos()) as u64;
                while counted.timeline.len() as u64 <= step.min(MOST_STEPS) {
                    counted.timeline.push(0);
                }
                if let Some(last) = counted.timeline.last_mut() {
                    *last += messages;
                }
                if lasted.as_nanos() < self.length.into() {
                    return None;
                }
                let mut counted = std::mem::take(counted);
                counted.seconds = lasted.as_secs_f64();
                counted.latency = self.latencies.summary();
                self.state = State::Closed(counted);
                Some(Passed::End)
            }
            _ => None,
        }
    }

    pub(crate) fn is_complete(&self, sent: &[u64]) -> bool {
        self.tallies.is_complete(sent)
    }

    /// What was counted, and whether everything came.
    pub(crate) fn result(&self, sent: &[u64]) -> anyhow::Result<(Counted, Verdict)> {
        match &self.state {
            State::Closed(counted) => Ok((counted.clone(), self.tallies.verdict(sent))),
            _ => anyhow::bail!("the load ended before the time to measure did"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::Workload;

    #[test]
    fn only_what_lies_within_the_window_counts_for_rate_and_latency() {
        const HALF: u64 = 500_000_000;
        const START: u64 = 1_000_000_000_000;
        let load = Load { batch: 4, size: 80, seconds: 2.0, warm_up: 1.0, ..Load::default() };
        let mut workload = Workload::new("bench.in", &load, 0).expect("it is sound");
        let mut window = Window::new(&load, 1).expect("it is sound");
        let mut passed = Vec::new();
        for half in 0..10 {
            let now = START + HALF * half;
            // Those of the window took a millisecond, the others a second.
            let took = if (3..=6).contains(&half) { 1_000_000 } else { 1_000_000_000 };
            let batch = workload.next_batch(now - took).expect("it is sound");
            passed.push(window.take(now, 0, payloads(&batch), 100).expect("it is numbered"));
        }
        let at = |wanted| passed.iter().position(|passed| *passed == Some(wanted));
        assert_eq!((at(Passed::Begin), at(Passed::End)), (Some(2), Some(6)));
        let (counted, verdict) = window.result(&[40]).expect("it is closed");
        assert_eq!((counted.messages, counted.payload_bytes), (16, 16 * 80));
        assert_eq!(counted.batch_bytes, 4 * 100);
        assert!((counted.seconds - 2.0).abs() < 1e-9);
        assert!((counted.latency.max_us - 1000.0).abs() < 2.0, "{:?}", counted.latency);
        let steps: Vec<_> = [4, 9, 14, 19].map(|step| counted.timeline.get(step)).into();
        assert_eq!(counted.timeline.iter().sum::<u64>(), 16, "{steps:?}");
        assert_eq!((verdict.received, verdict.lost), (40, 0));
    }

    #[test]
    fn a_message_of_somebody_else_is_an_error() {
        let mut window = Window::new(&Load::default(), 1).expect("it is sound");
        assert!(window.take(1, 0, [b"{}".as_slice()].into_iter(), 2).is_err());
    }
}
