//! Messages on their way through a route, with which message of a partition each of them comes of.

use std::ops::Range;

use waypost_protocol::{Batch, Offset};

use crate::LetterAddress;

/// What a message comes of. It is the same each time that the route runs over the same input; a dead letter that is
/// replayed is another input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Trace {
    /// The offset of the message that the route read.
    pub offset: Offset,
    /// Which of those that it became; in their order.
    pub index: u32,
}

/// A batch in which each message has its trace, or none has: memory topics have no offsets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Traced {
    batch: Batch,
    traces: Vec<Trace>,
}

impl Trace {
    /// The message that stands at an offset.
    #[must_use]
    pub fn read(offset: Offset) -> Self {
        Self { offset, index: 0 }
    }

    /// The message that a dead letter holds, tried again: what comes of it this time has other numbers than what came
    /// before, and than what comes of another letter.
    #[must_use]
    pub fn tried_again(offset: Offset, letter: &LetterAddress) -> Self {
        let LetterAddress { partition, offset: place } = letter;
        let drawn = (place.0 ^ (u64::from(partition.index.0) << 20)) % (1 << 31);
        // What a route makes of a message at first is numbered from below.
        Self { offset, index: u32::MAX - u32::try_from(drawn).unwrap_or_default() }
    }

    /// What a stage makes of it, one of at most so many.
    fn become_one_of(self, nth: u32, most: u32) -> Self {
        let index = self.index.checked_mul(most).and_then(|index| index.checked_add(nth));
        // Routes that multiply messages beyond all numbers are left with numbers that two may share.
        let drawn = || self.index.wrapping_mul(0x9e37_79b1).wrapping_add(nth).rotate_left(13);
        Self { index: index.unwrap_or_else(drawn), ..self }
    }
}

impl Traced {
    /// A batch of a memory topic.
    #[must_use]
    pub fn untraced(batch: Batch) -> Self {
        Self { batch, traces: Vec::new() }
    }

    /// A batch with the trace of each of its messages, or with none; `None` when there are more or fewer.
    #[must_use]
    pub fn new(batch: Batch, traces: Vec<Trace>) -> Option<Self> {
        let is_whole = traces.is_empty() || batch.len() == traces.len();
        is_whole.then_some(Self { batch, traces })
    }

    /// The messages.
    #[must_use]
    pub fn batch(&self) -> &Batch {
        &self.batch
    }

    /// The trace of each message; none at all for messages of memory topics.
    #[must_use]
    pub fn traces(&self) -> &[Trace] {
        &self.traces
    }

    /// The trace of one message.
    #[must_use]
    pub fn trace(&self, index: u32) -> Option<Trace> {
        self.traces.get(index as usize).copied()
    }

    /// The messages and their traces.
    #[must_use]
    pub fn into_parts(self) -> (Batch, Vec<Trace>) {
        (self.batch, self.traces)
    }

    /// All messages one after the other; the same buffer when there is one piece. `None` when there is no piece, when only
    /// some are traced, or when they are more than a batch can hold.
    #[must_use]
    pub fn join(pieces: &[Self]) -> Option<Self> {
        let batch = Batch::join(pieces.iter().map(Self::batch))?;
        let traces = pieces.iter().flat_map(Self::traces).copied();
        Self::new(batch, traces.collect())
    }

    /// Neighbouring messages; the same buffer when it is all of them.
    #[must_use]
    pub fn part(&self, range: Range<usize>) -> Option<Self> {
        let traces = self.traces.get(range.clone()).unwrap_or_default().to_vec();
        Some(Self { batch: self.batch.part(range)?, traces })
    }

    /// Some messages, in order; the same buffer when it is all of them.
    #[must_use]
    pub fn gather(&self, indices: &[u32]) -> Option<Self> {
        let batch = self.batch.gather(indices)?;
        let traces = indices.iter().filter_map(|index| self.trace(*index)).collect();
        Some(Self { batch, traces })
    }

    /// All messages but these, whose indices stand in order; `None` when nothing is left.
    #[must_use]
    pub fn without(&self, indices: &[u32]) -> Option<Self> {
        if indices.is_empty() {
            return Some(self.clone());
        }
        let all = 0..u32::try_from(self.batch.len()).unwrap_or(u32::MAX);
        let rest: Vec<u32> = all.filter(|index| indices.binary_search(index).is_err()).collect();
        self.gather(&rest)
    }

    /// Another batch of the same messages, one by one, such as under another topic.
    #[must_use]
    pub fn changed(self, change: impl FnOnce(Batch) -> Option<Batch>) -> Option<Self> {
        let Self { batch, traces } = self;
        Some(Self { batch: change(batch)?, traces })
    }

    /// What a stage made of it: batches, and for each of their messages the index of the one that it comes of, in
    /// order. A message becomes at most `most`.
    #[must_use]
    pub fn followed_by(&self, batches: Vec<Batch>, sources: &[u32], most: u32) -> Vec<Self> {
        if self.traces.is_empty() {
            return batches.into_iter().map(Self::untraced).collect();
        }
        let (mut before, mut nth) = (None, 0);
        let mut traces = sources.iter().filter_map(|source| {
            nth = if before.replace(*source) == Some(*source) { nth + 1 } else { 0 };
            Some(self.trace(*source)?.become_one_of(nth, most.max(1)))
        });
        let follow = |batch: Batch| {
            let traces = traces.by_ref().take(batch.len()).collect();
            Self { batch, traces }
        };
        batches.into_iter().map(follow).collect()
    }
}

#[cfg(test)]
mod tests {
    use waypost_protocol::BatchBuilder;

    use super::*;

    fn batch(payloads: Range<u64>) -> Batch {
        let mut builder = BatchBuilder::new();
        for payload in payloads {
            builder.push("a", None, &[], &payload.to_be_bytes(), 0).expect("it fits");
        }
        builder.finish().expect("there are messages")
    }

    /// Messages that stand one after another from this offset on.
    fn read(from: u64, count: u64) -> Traced {
        let traces = (from..from + count).map(|offset| Trace::read(Offset(offset))).collect();
        Traced::new(batch(from..from + count), traces).expect("one trace each")
    }

    fn traces(traced: &Traced) -> Vec<(u64, u32)> {
        traced.traces().iter().map(|trace| (trace.offset.0, trace.index)).collect()
    }

    #[test]
    fn messages_keep_their_traces_in_whatever_part_they_go() {
        let whole = read(100, 5);
        let part = whole.part(1..4).expect("three messages");
        assert_eq!(
            (traces(&part), part.batch()),
            (vec![(101, 0), (102, 0), (103, 0)], &batch(101..104))
        );
        let some = part.gather(&[0, 2]).expect("two messages");
        assert_eq!(traces(&some), [(101, 0), (103, 0)]);
        let rest = whole.without(&[0, 3]).expect("three messages");
        assert_eq!(traces(&rest), [(101, 0), (102, 0), (104, 0)]);
        assert_eq!(whole.without(&[0, 1, 2, 3, 4]), None);
        assert_eq!(whole.without(&[]).as_ref(), Some(&whole));
    }

    #[test]
    fn what_a_stage_makes_of_a_message_is_numbered_in_its_order() {
        // The first is dropped, the second becomes three, the third goes on.
        let made = read(10, 3).followed_by(vec![batch(0..2), batch(2..4)], &[1, 1, 1, 2], 4);
        let [first, second] = made.as_slice() else { panic!("two batches") };
        assert_eq!(
            (traces(first), traces(second)),
            (vec![(11, 0), (11, 1)], vec![(11, 2), (12, 0)])
        );
        let again = first.followed_by(vec![batch(0..4)], &[0, 0, 1, 1], 4);
        assert_eq!(traces(&again[0]), [(11, 0), (11, 1), (11, 4), (11, 5)]);
    }

    #[test]
    fn a_message_that_a_letter_brings_back_is_none_of_those_that_came_of_it_before() {
        let letters = ["dead/0/0", "dead/0/1", "dead/1/0", "dead/1/1"];
        let mut seen = traces(&read(7, 1).followed_by(vec![batch(0..200)], &[0; 200], 200)[0]);
        for letter in letters {
            let letter = letter.parse().expect("an address");
            let back = Traced::new(batch(0..1), vec![Trace::tried_again(Offset(7), &letter)]);
            let back = back.expect("one trace");
            let made = back.followed_by(vec![batch(0..200)], &[0; 200], 200);
            seen.extend(traces(&back).into_iter().chain(traces(&made[0])));
        }
        let count = seen.len();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), count);
    }

    #[test]
    fn no_two_messages_of_one_have_the_same_number_as_long_as_there_are_numbers() {
        let mut all = vec![read(0, 1)];
        for _ in 0..4 {
            let next = all.iter().flat_map(|each| {
                let sources: Vec<u32> = (0..u32::try_from(each.batch().len()).expect("few"))
                    .flat_map(|it| [it; 3])
                    .collect();
                each.followed_by(vec![batch(0..sources.len() as u64)], &sources, 200)
            });
            all = next.collect();
        }
        let found: Vec<_> = all.iter().flat_map(traces).collect();
        assert_eq!(found.len(), 81);
        assert!(found.is_sorted_by(|one, next| one < next), "{found:?}");
    }

    #[test]
    fn messages_of_memory_topics_have_no_traces() {
        let untraced = Traced::untraced(batch(0..3));
        let made = untraced.followed_by(vec![batch(0..2)], &[0, 2], 1);
        assert_eq!(made, [Traced::untraced(batch(0..2))]);
        assert_eq!(untraced.part(1..3).map(|part| part.traces().len()), Some(0));
        assert_eq!(untraced.gather(&[0]).map(|part| part.traces().len()), Some(0));
        assert_eq!(Traced::new(batch(0..3), vec![Trace::read(Offset(1))]), None);
    }
}
