//! What members say of what they hold.

use tokio::sync::oneshot;
use waypost_core::{GroupLedger, LeaseId, MemberId, OffsetRange, SettleError, Verb};
use waypost_protocol::{
    ErrorCode, Offset,
    frame::{Acknowledge, PlaceRange, Refusal, Settle, Verb as Said},
};

use super::{Task, keep::Waiting};
use crate::groups::member::Answer;

/// Where something was rejected: the partition and the offset.
pub(super) type Rejected = (usize, Offset);

impl Task {
    pub(super) fn settle(
        &mut self,
        member: MemberId,
        acknowledge: Acknowledge,
        reply: oneshot::Sender<Answer>,
    ) {
        let Acknowledge { request, settles } = acknowledge;
        let (mut refusals, mut rejected) = (Vec::new(), Vec::new());
        for (index, settle) in (0..).zip(settles) {
            if let Err(error) = self.settle_one(member, &settle, &mut rejected) {
                let code = code(&error);
                let metrics = &self.groups.0.metrics;
                metrics.refused.with_label_values(&[self.name.as_str(), code.name()]).inc();
                let (lease, code, message) = (settle.lease, code.number(), error.to_string());
                refusals.push(Refusal { settle: index, lease, code, message });
            }
        }
        let answer = Answer { request, refusals };
        if request.is_some() {
            self.answers.push(Waiting::new(self.next_keep(), rejected, answer, reply));
        } else {
            // Whoever spoke may have gone.
            drop(reply.send(answer));
        }
    }

    fn settle_one(
        &mut self,
        member: MemberId,
        settle: &Settle,
        rejected: &mut Vec<Rejected>,
    ) -> Result<(), SettleError> {
        let lease = LeaseId(settle.lease);
        let now_ms = self.clock.now_ms();
        match &settle.verb {
            Some(Said::Extend(extend)) => {
                return self.crew.extend(member, lease, extend.by_ms, now_ms);
            }
            Some(Said::AckThrough(through)) => {
                let settled = self.crew.settle_through(member, lease, Offset(*through))?;
                self.settled(settled, "acknowledged");
                return Ok(());
            }
            _ => {}
        }
        let (verb, how) = match &settle.verb {
            Some(Said::Nack(nack)) => (Verb::Nack { delay_ms: nack.delay_ms }, "returned"),
            Some(Said::Reject(reject)) => {
                (Verb::Reject { reason: reject.reason.clone() }, "rejected")
            }
            _ => (Verb::Ack, "acknowledged"),
        };
        let mut ranges: Vec<OffsetRange> = settle.ranges.iter().map(range).collect();
        if ranges.is_empty() {
            let (_, whole) = self.crew.leased(lease).ok_or(SettleError::StaleLease(lease))?;
            ranges.push(whole);
        }
        let (mut refused, mut is_taken) = (None, false);
        for range in ranges {
            let random = rand::random();
            match self.crew.settle(member, lease, range, &verb, now_ms, random) {
                Ok(settled) => {
                    is_taken = true;
                    if let Verb::Reject { .. } = verb {
                        self.note_rejected(settled.0, range, rejected);
                    }
                    self.settled(settled, how);
                }
                // The lease has ended with the last of it: the rest was settled before, and is passed over.
                Err(SettleError::StaleLease(_)) if is_taken => {}
                Err(error) => drop(refused.get_or_insert(error)),
            }
        }
        refused.map_or(Ok(()), Err)
    }

    fn settled(&mut self, (partition, messages): (usize, usize), how: &str) {
        self.groups.0.metrics.settled(&self.name, how, messages);
        self.touch(partition);
    }

    fn note_rejected(&self, partition: usize, range: OffsetRange, rejected: &mut Vec<Rejected>) {
        let dead = self.crew.ledger(partition).into_iter().flat_map(GroupLedger::dead);
        let within = dead.map(|dead| dead.offset);
        let within = within.filter(|offset| (range.first..=range.last).contains(offset));
        rejected.extend(within.map(|offset| (partition, offset)));
    }
}

fn range(range: &PlaceRange) -> OffsetRange {
    OffsetRange { first: Offset(range.first), last: Offset(range.last) }
}

fn code(error: &SettleError) -> ErrorCode {
    match error {
        SettleError::StaleLease(_) => ErrorCode::StaleLease,
        SettleError::NeverDelivered { .. } => ErrorCode::NeverDelivered,
        SettleError::NoDeadLetters => ErrorCode::NoDeadLetters,
    }
}
