//! What the consumer counts: everything for the verdict, and the time between warm-up and end for
//! the rate.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use waypost_client::Batch;

use crate::{
    options::Load,
    tally::{Tally, Verdict},
    workload::sequence,
};

/// What arrived within the window.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Counted {
    pub(crate) seconds: f64,
    pub(crate) messages: u64,
    pub(crate) batch_bytes: u64,
    pub(crate) payload_bytes: u64,
}

/// A border of the window that was passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Passed {
    Begin,
    End,
}

/// Opens with the first batch behind the warm-up, which counts from the first batch at all.
pub(crate) struct Window {
    warm_up: Duration,
    length: Duration,
    state: State,
    tally: Tally,
}

enum State {
    /// Idle => WarmingUp
    Idle,
    /// WarmingUp => Open
    WarmingUp {
        since: Instant,
    },
    /// Open => Closed
    Open {
        since: Instant,
        counted: Counted,
    },
    Closed(Counted),
}

const NOTHING: Counted = Counted { seconds: 0.0, messages: 0, batch_bytes: 0, payload_bytes: 0 };

impl Window {
    pub(crate) fn new(load: &Load) -> Self {
        Self {
            warm_up: Duration::from_secs(load.warm_up.into()),
            length: Duration::from_secs(load.seconds.into()),
            state: State::Idle,
            tally: Tally::default(),
        }
    }

    /// Counts a batch that arrived now. The one that opens the window stands outside of it.
    pub(crate) fn take(&mut self, now: Instant, batch: &Batch) -> anyhow::Result<Option<Passed>> {
        for message in batch.iter() {
            let number = sequence(message.payload()).context("a message without its number")?;
            self.tally.take(number);
        }
        if matches!(self.state, State::Idle) {
            self.state = State::WarmingUp { since: now };
        }
        match &mut self.state {
            State::WarmingUp { since } if now >= *since + self.warm_up => {
                self.state = State::Open { since: now, counted: NOTHING };
                return Ok(Some(Passed::Begin));
            }
            State::Open { since, counted } => {
                counted.messages += batch.len() as u64;
                counted.batch_bytes += batch.byte_len() as u64;
                counted.payload_bytes += batch.payloads().bytes().len() as u64;
                let lasted = now.duration_since(*since);
                if lasted >= self.length {
                    self.state =
                        State::Closed(Counted { seconds: lasted.as_secs_f64(), ..*counted });
                    return Ok(Some(Passed::End));
                }
            }
            _ => {}
        }
        Ok(None)
    }

    pub(crate) fn is_complete(&self, sent: u64) -> bool {
        self.tally.is_complete(sent)
    }

    /// What was counted, and whether everything came.
    pub(crate) fn result(&self, sent: u64) -> anyhow::Result<(Counted, Verdict)> {
        match self.state {
            State::Closed(counted) => Ok((counted, self.tally.verdict(sent))),
            _ => anyhow::bail!("the load ended before the time to measure did"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::Workload;

    #[test]
    fn only_what_lies_within_the_window_counts_for_the_rate() {
        let load = Load { batch: 4, size: 64, seconds: 2, warm_up: 1 };
        let mut workload = Workload::new("bench.in", &load).expect("it is sound");
        let mut window = Window::new(&load);
        let start = Instant::now();
        let mut passed = Vec::new();
        for half in 0..10 {
            let batch = workload.next_batch().expect("it is sound");
            let now = start + Duration::from_millis(500) * half;
            passed.push(window.take(now, &batch).expect("it is numbered"));
        }
        let at = |wanted| passed.iter().position(|passed| *passed == Some(wanted));
        assert_eq!((at(Passed::Begin), at(Passed::End)), (Some(2), Some(6)));
        let (counted, verdict) = window.result(40).expect("it is closed");
        assert_eq!((counted.messages, counted.payload_bytes), (16, 16 * 64));
        assert!((counted.seconds - 2.0).abs() < 1e-9);
        assert_eq!((verdict.received, verdict.lost), (40, 0));
    }
}
