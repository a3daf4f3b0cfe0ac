//! What the consumer counts: everything for the verdict, and the time between warm-up and end for
//! rate and latency.

use anyhow::Context as _;
use waypost_client::Batch;

use crate::{
    load::Load,
    span::{Counted, Passed, Span, Together},
    tally::{Arrival, Tallies, Verdict},
    workload::Stamp,
};

/// The payloads of a batch.
pub(crate) fn payloads(batch: &Batch) -> impl Iterator<Item = &[u8]> {
    batch.iter().map(|message| message.payload())
}

/// A span, and the accounts of all messages within it and around it.
pub(crate) struct Window {
    span: Span,
    tallies: Tallies,
}

impl Window {
    /// For subscribers that each get everything.
    pub(crate) fn new(load: &Load, subscribers: u16) -> anyhow::Result<Self> {
        let tallies = Tallies::new(subscribers, load.connections);
        Ok(Self { span: Span::new(load)?, tallies })
    }

    /// For members that share everything.
    pub(crate) fn shared(load: &Load) -> anyhow::Result<Self> {
        Ok(Self { span: Span::new(load)?, tallies: Tallies::shared(load.connections) })
    }

    /// Counts messages that arrived together, now, and took so many bytes with everything around them.
    pub(crate) fn take<'a>(
        &mut self,
        now: u64,
        arrival: impl Into<Arrival>,
        payloads: impl Iterator<Item = &'a [u8]>,
        bytes: usize,
    ) -> anyhow::Result<Option<Passed>> {
        let arrival = arrival.into();
        let mut whole = Together { batch_bytes: bytes as u64, ..Together::default() };
        // Messages of a batch were due together, and are recorded together.
        let (mut due, mut together) = (0, 0);
        for payload in payloads {
            let stamp = Stamp::read(payload).context("a message that is none of the load's")?;
            let counted = self.tallies.take(arrival, stamp);
            counted.context("a message of a producer that there is not")?;
            whole.messages += 1;
            whole.payload_bytes += payload.len() as u64;
            if stamp.due != due {
                self.span.record(now.saturating_sub(due), together);
                (due, together) = (stamp.due, 0);
            }
            together += 1;
        }
        self.span.record(now.saturating_sub(due), together);
        Ok(self.span.pass(now, whole))
    }

    pub(crate) fn is_complete(&self, sent: &[u64]) -> bool {
        self.tallies.is_complete(sent)
    }

    /// What was counted, and whether everything came.
    pub(crate) fn result(&self, sent: &[u64]) -> anyhow::Result<(Counted, Verdict)> {
        let counted = self.span.closed();
        let counted = counted.context("the load ended before the time to measure did")?;
        Ok((counted, self.tallies.verdict(sent)))
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
