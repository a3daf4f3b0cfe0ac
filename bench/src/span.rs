//! The time that counts: what arrives between warm-up and end, with its rate and its latency.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    latency::{Latencies, Latency},
    load::Load,
};

/// The step of the throughput over time.
pub(crate) const STEP: Duration = Duration::from_millis(100);
/// Steps that are kept: more than the longest measurement has.
const MOST_STEPS: u64 = 6100;

/// What came within the span.
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

/// What came at one moment.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Together {
    pub(crate) messages: u64,
    pub(crate) payload_bytes: u64,
    /// With everything around the payloads.
    pub(crate) batch_bytes: u64,
}

/// A border of the span that was passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Passed {
    Begin,
    End,
}

/// Opens with the first batch behind the warm-up, which counts from the first batch at all.
pub(crate) struct Span {
    /// In nanoseconds, as all times here.
    warm_up: u64,
    length: u64,
    state: State,
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

impl Span {
    pub(crate) fn new(load: &Load) -> anyhow::Result<Self> {
        let nanoseconds = |seconds: f64| (seconds * 1e9) as u64;
        Ok(Self {
            warm_up: nanoseconds(load.warm_up),
            length: nanoseconds(load.seconds),
            state: State::Idle,
            latencies: Latencies::new()?,
        })
    }

    pub(crate) fn is_open(&self) -> bool {
        matches!(self.state, State::Open { .. })
    }

    /// So many messages took so long, if the span is open.
    pub(crate) fn record(&mut self, nanoseconds: u64, messages: u64) {
        if self.is_open() {
            self.latencies.record(nanoseconds, messages);
        }
    }

    /// Counts what came now. What opens the span stands outside of it.
    pub(crate) fn pass(&mut self, now: u64, together: Together) -> Option<Passed> {
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
                counted.messages += together.messages;
                counted.batch_bytes += together.batch_bytes;
                counted.payload_bytes += together.payload_bytes;
                counted.seconds = lasted.as_secs_f64();
                let step = (lasted.as_nanos() / STEP.as_nanos()) as u64;
                while counted.timeline.len() as u64 <= step.min(MOST_STEPS) {
                    counted.timeline.push(0);
                }
                if let Some(last) = counted.timeline.last_mut() {
                    *last += together.messages;
                }
                if lasted.as_nanos() < self.length.into() {
                    return None;
                }
                self.state = State::Closed(std::mem::take(counted));
                Some(Passed::End)
            }
            _ => None,
        }
    }

    /// What was counted, once the span is closed.
    pub(crate) fn closed(&self) -> Option<Counted> {
        matches!(self.state, State::Closed(_)).then(|| self.so_far()).flatten()
    }

    /// What was counted up to the last message, although the span may not be over.
    pub(crate) fn so_far(&self) -> Option<Counted> {
        match &self.state {
            State::Open { counted, .. } | State::Closed(counted) if counted.seconds > 0.0 => {
                Some(Counted { latency: self.latencies.summary(), ..counted.clone() })
            }
            _ => None,
        }
    }
}
