//! Gives messages to members, within their credit and their frames.

use std::sync::Arc;

use tokio::sync::mpsc::error::TrySendError;
use waypost_core::{Candidate, Offer};
use waypost_protocol::{Batch, Envelope, ErrorCode, Offset, frame::Lease};
use waypost_storage::Stored;

use super::Task;
use crate::{
    groups::member::{Given, MemberEvent},
    router::Delivery,
    streams::Refused,
};

/// Messages of one delivery at most, so that what is said of each fits its frame.
const MOST_MESSAGES: usize = 4096;

/// Messages that go out together.
struct Picked {
    batch: Batch,
    envelope: Envelope,
    candidates: Vec<Candidate>,
}

impl Task {
    /// Follows an offer: at once, or when the message was read.
    pub(super) fn give(&mut self, offer: &Offer, now_ms: u64) {
        let (partition, member) = (offer.partition, offer.member);
        let Some(seat) = self.seats.get(&member) else { return };
        if seat.events.capacity() <= 1 {
            return self.crew.missed(member, partition);
        }
        let Some(part) = self.parts.get(partition) else { return };
        let Some(stored) = part.holding(offer.offset) else {
            return self.fetch(partition, offer.offset);
        };
        let within = (stored.base, stored.end());
        let candidates = self.crew.candidates(offer, within, MOST_MESSAGES, now_ms);
        let candidates = self.living(partition, &stored, candidates);
        let (Some(seat), Some(part)) = (self.seats.get(&member), self.parts.get(partition)) else {
            return;
        };
        if candidates.is_empty() {
            return;
        }
        let credit = usize::try_from(offer.bytes).unwrap_or(usize::MAX);
        let name = part.partition().map(|source| source.stream.as_str().to_owned());
        let index = part.partition().map_or(0, |source| source.index.0);
        let frame_bytes = seat.frame_bytes;
        let picked = pick(&stored, candidates, credit.min(frame_bytes));
        let Some(Picked { batch, envelope, candidates }) = picked else {
            let alone = usize::try_from(offer.offset.0.saturating_sub(stored.base.0));
            let alone = alone.map_or(0, |from| stored.batch.fitting(from, 1, frame_bytes));
            return if alone > 0 {
                self.crew.missed(member, partition);
            } else {
                let message = "a message is larger than the frame that the client accepts";
                let code = ErrorCode::MessageTooLarge;
                let refused = Refused { code, message: message.to_owned() };
                self.dismiss(&refused, |each| *each == member);
            };
        };
        let envelope = match name {
            Some(stream) => Envelope { stream: Some(stream), partition: index, ..envelope },
            None => envelope,
        };
        let id = self.groups.0.lease_id();
        let offsets: Vec<Offset> = candidates.iter().map(|each| each.offset).collect();
        let bytes = batch.byte_len() as u64;
        self.crew.lease(id, offer, &offsets, bytes, now_ms);
        self.wanting.insert(partition);
        self.count(&candidates);
        let lease = lease(id.0, self.rules.policy().lease_ms, &candidates);
        let given = Given { lease, delivery: Delivery { batch, envelope: Arc::new(envelope) } };
        if let Some(seat) = self.seats.get(&member)
            && let Err(TrySendError::Full(_)) =
                seat.events.try_send(MemberEvent::Given(Box::new(given)))
        {
            // It comes back when its time is over; there was a place a moment ago.
            tracing::error!(group = %self.name, %member, "a delivery found no place");
        }
    }

    /// Passes over those whose time to live ended while they waited.
    fn living(
        &mut self,
        partition: usize,
        stored: &Stored,
        mut candidates: Vec<Candidate>,
    ) -> Vec<Candidate> {
        let (streams, ingest_ms) = (&self.groups.0.streams, stored.envelope.ingest_ms);
        if !streams.has_expired(&stored.batch, ingest_ms) {
            return candidates;
        }
        let indices: Vec<u32> = candidates.iter().filter_map(|each| index(stored, each)).collect();
        let Some(batch) = stored.batch.gather(&indices) else { return candidates };
        let Some(living) = streams.living(&batch, ingest_ms) else { return candidates };
        let mut place = 0_u32;
        let over: Vec<Candidate> = candidates
            .extract_if(.., |_| {
                place += 1;
                living.binary_search(&(place - 1)).is_err()
            })
            .collect();
        self.crew.with_ledger(partition, |ledger| {
            for Candidate { offset, .. } in over {
                ledger.lost(offset, Offset(offset.0.saturating_add(1)));
            }
        });
        self.touch(partition);
        self.crew.look_again(partition);
        candidates
    }

    fn count(&self, candidates: &[Candidate]) {
        let metrics = &self.groups.0.metrics;
        metrics.count(&metrics.delivered, &self.name, candidates.len() as u64);
        let again = candidates.iter().filter(|candidate| candidate.attempt > 1).count();
        if again > 0 {
            metrics.count(&metrics.redelivered, &self.name, again as u64);
        }
    }
}

/// The place of a candidate in its batch.
fn index(stored: &Stored, candidate: &Candidate) -> Option<u32> {
    u32::try_from(candidate.offset.0.saturating_sub(stored.base.0)).ok()
}

/// As many of the candidates as make a batch of at most so many bytes; `None` when not even the first does.
fn pick(stored: &Stored, mut candidates: Vec<Candidate>, bytes: usize) -> Option<Picked> {
    let indices: Vec<u32> = candidates.iter().filter_map(|each| index(stored, each)).collect();
    let gathered = stored.batch.gather(&indices)?;
    let count = if gathered.byte_len() <= bytes {
        gathered.len()
    } else {
        gathered.fitting(0, gathered.len(), bytes)
    };
    candidates.truncate(count);
    let batch = gathered.part(0..count)?;
    let envelope = match stored.envelope.base_offset {
        Some(_) if batch.len() < stored.batch.len() => {
            stored.envelope.gather(indices.get(..count).unwrap_or_default())
        }
        _ => stored.envelope.clone(),
    };
    Some(Picked { batch, envelope, candidates })
}

/// What is said of the messages of a delivery.
fn lease(id: u64, duration_ms: u64, candidates: &[Candidate]) -> Lease {
    let base = candidates.first().map_or(Offset(0), |first| first.offset);
    let behind = |candidate: &Candidate| {
        u32::try_from(candidate.offset.0.saturating_sub(base.0)).unwrap_or(u32::MAX)
    };
    let positions: Vec<u32> = candidates.iter().map(behind).collect();
    let follow = (0..).zip(&positions).all(|(index, position)| index == *position);
    let attempts: Vec<u32> = candidates.iter().map(|candidate| candidate.attempt).collect();
    let is_first = attempts.iter().all(|attempt| *attempt == 1);
    Lease {
        id,
        duration_ms,
        base: base.0,
        positions: if follow { Vec::new() } else { positions },
        attempts: if is_first { Vec::new() } else { attempts },
    }
}
