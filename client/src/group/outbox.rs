//! What a member says of messages, on its way to the router. Pure.
//!
//! Acknowledgements of one lease are said together, as ranges. A frame is bounded, and so is what waits: each message
//! that a member holds is settled once.

use std::collections::{BTreeMap, VecDeque};

use waypost_protocol::frame::{Acknowledge, PlaceRange, Settle, Verb};

/// Settles that one frame carries at most; all of it must fit the frame's control part.
const MOST_SETTLES: usize = 256;
/// Ranges that they have at most.
const MOST_RANGES: usize = 1024;

/// What is not said yet.
#[derive(Debug)]
pub(super) struct Outbox<T> {
    /// Places that are done, by their lease.
    acks: BTreeMap<u64, Vec<u64>>,
    /// Everything else, with who waits for the answer.
    others: VecDeque<(Settle, Option<T>)>,
    /// Those who wait for what a frame said, by its request.
    asked: BTreeMap<u64, Vec<(u32, T)>>,
    next_request: u64,
}

/// Who waits, and how what he said ended: with a code and a text, if it does not hold.
pub(super) type Told<T> = Vec<(T, Result<(), (u32, String)>)>;

impl<T> Default for Outbox<T> {
    fn default() -> Self {
        let (acks, others, asked) = (BTreeMap::new(), VecDeque::new(), BTreeMap::new());
        Self { acks, others, asked, next_request: 1 }
    }
}

impl<T> Outbox<T> {
    /// A place is done, and nobody waits for the answer.
    pub(super) fn ack(&mut self, lease: u64, place: u64) {
        self.acks.entry(lease).or_default().push(place);
    }

    /// Something else is said, or somebody waits.
    pub(super) fn say(&mut self, settle: Settle, waiting: Option<T>) {
        self.others.push_back((settle, waiting));
    }

    /// The next frame, if there is something to say.
    pub(super) fn next_frame(&mut self) -> Option<Acknowledge> {
        let (mut settles, mut waiting, mut ranges) = (Vec::new(), Vec::new(), 0);
        while settles.len() < MOST_SETTLES && ranges < MOST_RANGES {
            let Some((lease, places)) = self.acks.pop_first() else { break };
            let mut own = merged(places);
            let rest = own.split_off(own.len().min(MOST_RANGES - ranges));
            if !rest.is_empty() {
                let places = rest.iter().flat_map(|range| range.first..=range.last);
                self.acks.insert(lease, places.collect());
            }
            ranges += own.len();
            settles.push(Settle { lease, ranges: own, verb: Some(Verb::Ack(true)) });
        }
        // A text of a reject is bounded by who makes it.
        let mut texts = 0;
        while settles.len() < MOST_SETTLES && texts < MOST_TEXT_BYTES {
            let Some((settle, asked)) = self.others.pop_front() else { break };
            if let Some(Verb::Reject(reject)) = &settle.verb {
                texts += reject.reason.len();
            }
            if let Some(asked) = asked {
                waiting.push((u32::try_from(settles.len()).unwrap_or(u32::MAX), asked));
            }
            settles.push(settle);
        }
        if settles.is_empty() {
            return None;
        }
        let mut request = None;
        if !waiting.is_empty() {
            request = Some(self.next_request);
            self.asked.insert(self.next_request, waiting);
            self.next_request += 1;
        }
        Some(Acknowledge { request, settles })
    }

    /// Those who waited for a frame, with what is refused of it.
    pub(super) fn answered(
        &mut self,
        request: u64,
        refused: &BTreeMap<u32, (u32, String)>,
    ) -> Told<T> {
        let asked = self.asked.remove(&request).unwrap_or_default();
        let told = asked
            .into_iter()
            .map(|(settle, waiting)| (waiting, refused.get(&settle).cloned().map_or(Ok(()), Err)));
        told.collect()
    }

    /// Forgets everything, as the stream on which it made sense is gone. Who waits is not told anything any more.
    pub(super) fn clear(&mut self) {
        self.acks.clear();
        self.others.clear();
        self.asked.clear();
    }
}

/// Bytes of texts from which on a frame carries no further one.
const MOST_TEXT_BYTES: usize = 16 << 10;

/// Places as ranges.
fn merged(mut places: Vec<u64>) -> Vec<PlaceRange> {
    places.sort_unstable();
    let mut ranges: Vec<PlaceRange> = Vec::new();
    for place in places {
        match ranges.last_mut() {
            Some(range) if place <= range.last.saturating_add(1) => range.last = place,
            _ => ranges.push(PlaceRange { first: place, last: place }),
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nack(lease: u64) -> Settle {
        Settle { lease, verb: Some(Verb::Ack(true)), ..Settle::default() }
    }

    #[test]
    fn acknowledgements_of_a_lease_go_together_and_ask_for_no_answer() {
        let mut outbox = Outbox::<()>::default();
        for place in [7, 5, 6, 9, 5] {
            outbox.ack(1, place);
        }
        outbox.ack(2, 1);
        let frame = outbox.next_frame().expect("there is something to say");
        let range = |first, last| PlaceRange { first, last };
        let said: Vec<_> = frame.settles.iter().map(|settle| settle.ranges.clone()).collect();
        assert_eq!(said, [vec![range(5, 7), range(9, 9)], vec![range(1, 1)]]);
        assert_eq!((frame.request, outbox.next_frame()), (None, None));
    }

    #[test]
    fn who_waits_is_told_what_became_of_what_he_said() {
        let mut outbox = Outbox::default();
        outbox.ack(9, 0);
        outbox.say(nack(1), Some("one"));
        outbox.say(nack(2), None);
        outbox.say(nack(3), Some("three"));
        let frame = outbox.next_frame().expect("there is something to say");
        assert_eq!((frame.request, frame.settles.len()), (Some(1), 4));
        let refused = BTreeMap::from([(3, (318, "stale".to_owned()))]);
        let told = outbox.answered(1, &refused);
        assert_eq!(told, [("one", Ok(())), ("three", Err((318, "stale".to_owned())))]);
        assert!(outbox.answered(1, &refused).is_empty(), "each is told once");
    }

    #[test]
    fn a_frame_is_bounded_and_the_rest_follows() {
        let mut outbox = Outbox::<()>::default();
        for place in 0..3000 {
            outbox.ack(1, place * 2);
        }
        for _ in 0..300 {
            outbox.say(nack(2), None);
        }
        let (mut ranges, mut settles) = (0, 0);
        while let Some(frame) = outbox.next_frame() {
            let count: usize = frame.settles.iter().map(|settle| settle.ranges.len()).sum();
            assert!(count <= MOST_RANGES && frame.settles.len() <= MOST_SETTLES);
            ranges += count;
            settles += frame.settles.iter().filter(|settle| settle.ranges.is_empty()).count();
        }
        assert_eq!((ranges, settles), (3000, 300));
    }
}
