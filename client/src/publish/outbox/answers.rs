//! What the router's answers, and their absence, mean for what was sent.

use std::sync::Arc;

use waypost_protocol::{
    ErrorCode,
    frame::{PublishResult, Rejected},
};

use super::{Outbox, Resolved, Sealed};
use crate::{
    Disconnected, RouterCode,
    publish::{placement::Destination, producer::Followed, receipt::Outcome},
};

impl Outbox {
    /// Takes a result of the stream.
    ///
    /// # Errors
    ///
    /// A result that answers nothing that was sent, or says nothing; in words for the router.
    pub(in super::super) fn handle_result(
        &mut self,
        result: PublishResult,
    ) -> Result<Vec<Resolved>, String> {
        let first = result.first_sequence;
        let place = self.in_flight.binary_search_by_key(&first, |sent| sent.first_sequence);
        let found = place.ok().and_then(|place| self.in_flight.get_mut(place));
        let Some(sent) = found else {
            return Err(format!("a result for sequence {first}, at which no publish began"));
        };
        let count = sent.sealed.as_ref().map(|sealed| sealed.batch.len());
        if count != usize::try_from(result.count).ok() {
            let count = count.unwrap_or(0);
            return Err(format!("a result for {} messages, {count} wait for one", result.count));
        }
        let outcome =
            Outcome::of_result(result).ok_or("a result that is neither committed nor rejected")?;
        let sealed = sent.sealed.take().ok_or("a second result for a publish")?;
        while self.in_flight.front().is_some_and(|sent| sent.sealed.is_none()) {
            self.in_flight.pop_front();
        }
        Ok(self.follow(sealed, outcome))
    }

    /// What an outcome means for its batch, and for those behind it in a partition.
    fn follow(&mut self, sealed: Sealed, outcome: Outcome) -> Vec<Resolved> {
        let (destination, mut resolved) = (sealed.destination, Vec::new());
        let Some(place) = sealed.place else {
            self.sealed_bytes -= sealed.batch.byte_len();
            return vec![(sealed.resolver, outcome)];
        };
        let followed = match &outcome {
            Outcome::Rejected { code, message } if *code == ErrorCode::OutOfSequence => {
                let message = message.to_string();
                self.producer.out_of_sequence(sealed, message)
            }
            Outcome::Rejected { code, .. }
                if *code == ErrorCode::ShuttingDown || *code == ErrorCode::StorageFenced =>
            {
                self.producer.postponed(sealed);
                Followed::default()
            }
            Outcome::Rejected { code, message } if sealed.is_again && !has_looked(*code) => {
                self.sealed_bytes -= sealed.batch.byte_len();
                let reason = Disconnected::lost(format!(
                    "it was sent before, and what became of that was not said: {message}"
                ));
                resolved.push((sealed.resolver, Outcome::Unknown { reason }));
                // Had it not been stored, those behind it would be refused as out of sequence.
                self.producer.stored(destination)
            }
            outcome => {
                self.sealed_bytes -= sealed.batch.byte_len();
                resolved.push((sealed.resolver, outcome.clone()));
                match outcome {
                    Outcome::Rejected { .. } => self.producer.refused(destination, place),
                    _ => self.producer.stored(destination),
                }
            }
        };
        self.queue_again(followed.again);
        if let Some((sealed, message)) = followed.refused {
            self.sealed_bytes -= sealed.batch.byte_len();
            let code = ErrorCode::OutOfSequence.into();
            resolved.push((sealed.resolver, Outcome::Rejected { code, message: message.into() }));
        }
        resolved
    }

    /// The router takes no producer that it does not know yet: what waits for that is refused, and what comes later
    /// has it asked anew.
    pub(in super::super) fn handle_not_opened(&mut self, why: Rejected) -> Vec<Resolved> {
        self.producer.not_opened();
        let (code, message) = (RouterCode::from_number(why.code), Arc::<str>::from(why.message));
        let (routed, stored): (Vec<_>, Vec<_>) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(|sealed| sealed.destination == Destination::Memory);
        self.waiting = routed.into();
        let refuse = |sealed: Sealed| {
            self.sealed_bytes -= sealed.batch.byte_len();
            let outcome = match self.producer.has_lost(&sealed) {
                true => lost_from_sight(),
                false => Outcome::Rejected { code, message: message.clone() },
            };
            (sealed.resolver, outcome)
        };
        stored.into_iter().map(refuse).collect()
    }

    /// The stream is lost. What was sent to a stream is sent again with its identity; what was sent to memory
    /// topics is unknown, or is to be sent again.
    pub(in super::super) fn handle_lost(&mut self, reason: &Disconnected) -> Vec<Resolved> {
        let sent = self.in_flight.drain(..).filter_map(|sent| sent.sealed);
        let (mut stored, routed): (Vec<_>, Vec<_>) =
            sent.partition(|sealed| sealed.place.is_some());
        stored.iter_mut().for_each(|sealed| sealed.is_again = true);
        let mut again = self.producer.lost(stored);
        let mut resolved = Vec::new();
        if self.options.resend_unknown {
            again.extend(routed);
        } else {
            for Sealed { batch, resolver, .. } in routed {
                self.sealed_bytes -= batch.byte_len();
                resolved.push((resolver, Outcome::Unknown { reason: reason.clone() }));
            }
        }
        self.queue_again(again);
        resolved
    }

    /// A batch of which it cannot be known any more whether it was stored.
    pub(super) fn take_lost(&mut self) -> Option<Resolved> {
        let place = self.waiting.iter().position(|sealed| self.producer.has_lost(sealed))?;
        let Sealed { batch, resolver, .. } = self.waiting.remove(place)?;
        self.sealed_bytes -= batch.byte_len();
        Some((resolver, lost_from_sight()))
    }

    /// Puts what was sent before in front of what was not.
    fn queue_again(&mut self, mut again: Vec<Sealed>) {
        again.sort_unstable_by_key(|sealed| sealed.ordinal);
        again.into_iter().rev().for_each(|sealed| self.waiting.push_front(sealed));
    }
}

fn lost_from_sight() -> Outcome {
    let reason = Disconnected::lost("the router does not know any more what it stored");
    Outcome::Unknown { reason }
}

/// Whether whoever refuses a batch so has looked whether it is stored.
fn has_looked(code: RouterCode) -> bool {
    code == ErrorCode::OutOfSequence || code == ErrorCode::StorageFull
}
