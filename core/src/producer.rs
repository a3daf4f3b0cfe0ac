//! Which publish of a producer is new, and which was stored before.
//!
//! A producer has an identity, an epoch (which of its lives speaks) and numbers its messages in each
//! partition from zero. It is opened before it publishes; from then on the partition's state decides, and
//! moves in the same atomic write as the data. A batch is seen or new as a whole.

use std::collections::VecDeque;

use waypost_protocol::{Epoch, Offset, Sequence};

/// How many runs a partition remembers of a producer at most. A producer that has a partition to itself
/// needs one, however much it publishes; each batch of somebody else between two of its own begins another.
pub const MAX_RUNS: usize = 256;

/// What a partition remembers of one producer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducerState {
    epoch: Epoch,
    next: Sequence,
    runs: VecDeque<Run>,
}

/// Messages with consecutive sequences that stand at consecutive offsets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// The sequence of the first.
    pub first_sequence: Sequence,
    /// Its offset.
    pub first_offset: Offset,
    /// How many.
    pub messages: u64,
}

/// What a producer says of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// Which life of it speaks.
    pub epoch: Epoch,
    /// The sequence of the batch's first message.
    pub first_sequence: Sequence,
    /// The messages in the batch.
    pub messages: u64,
}

/// What is done with a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClaimVerdict {
    /// It is the next one: append it.
    Append,
    /// It is stored already, and is not stored again.
    Seen {
        /// Where it begins; `None` when that was forgotten after [`MAX_RUNS`] others.
        first_offset: Option<Offset>,
    },
    /// It does not follow what is stored: out of sequence.
    Gap {
        /// The sequence that would.
        expected: Sequence,
    },
    /// A newer life of the producer was opened.
    Fenced {
        /// That life.
        current: Epoch,
    },
    /// The producer, or this life of it, was never opened or was forgotten.
    Unknown,
}

/// Decides on a batch. `opened` is the newest life of the producer that was opened, `known` what the
/// partition remembers of it.
#[must_use]
pub fn check_claim(
    opened: Option<Epoch>,
    known: Option<&ProducerState>,
    claim: &Claim,
) -> ClaimVerdict {
    let Some(current) = opened.filter(|opened| *opened >= claim.epoch) else {
        return ClaimVerdict::Unknown;
    };
    if current > claim.epoch {
        return ClaimVerdict::Fenced { current };
    }
    let known = known.filter(|known| known.epoch == claim.epoch);
    let expected = known.map_or(Sequence(0), |known| known.next);
    if claim.first_sequence == expected && claim.end().is_some() {
        return ClaimVerdict::Append;
    }
    match known.filter(|known| claim.end().is_some_and(|end| end <= known.next)) {
        Some(known) => ClaimVerdict::Seen { first_offset: known.offset_of(claim.first_sequence) },
        None => ClaimVerdict::Gap { expected },
    }
}

impl Claim {
    /// The sequence after its last message; `None` past the end of the numbers.
    fn end(&self) -> Option<Sequence> {
        self.first_sequence.0.checked_add(self.messages).map(Sequence)
    }
}

impl ProducerState {
    /// What is known of a life that has published nothing here.
    #[must_use]
    pub fn new(epoch: Epoch) -> Self {
        Self { epoch, next: Sequence(0), runs: VecDeque::new() }
    }

    /// What was kept: the life, and its runs in order. Runs that no [`record`](Self::record) could have left
    /// give `None`.
    #[must_use]
    pub fn restore(epoch: Epoch, runs: impl IntoIterator<Item = Run>) -> Option<Self> {
        let mut state = Self::new(epoch);
        for run in runs {
            let follows = state.runs.is_empty() || state.next == run.first_sequence;
            state.next = Sequence(run.first_sequence.0.checked_add(run.messages)?);
            run.first_offset.0.checked_add(run.messages)?;
            if !follows || run.messages == 0 {
                return None;
            }
            state.runs.push_back(run);
        }
        (state.runs.len() <= MAX_RUNS).then_some(state)
    }

    /// The life of the producer that this is about.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The sequence that is appended next.
    #[must_use]
    pub fn next(&self) -> Sequence {
        self.next
    }

    /// Its runs, oldest first: what is kept of it.
    #[must_use]
    pub fn runs(&self) -> impl ExactSizeIterator<Item = Run> + '_ {
        self.runs.iter().copied()
    }

    /// Records a batch that [`check_claim`] let in, at the offset where it was appended. A claim of a newer
    /// life begins the state anew.
    pub fn record(&mut self, claim: &Claim, first_offset: Offset) {
        if claim.epoch != self.epoch {
            *self = Self::new(claim.epoch);
        }
        self.next = Sequence(claim.first_sequence.0.saturating_add(claim.messages));
        let offset_follows =
            |run: &Run| first_offset.0.checked_sub(run.first_offset.0) == Some(run.messages);
        match self.runs.back_mut() {
            Some(last) if offset_follows(last) => last.messages += claim.messages,
            _ => self.runs.push_back(Run {
                first_sequence: claim.first_sequence,
                first_offset,
                messages: claim.messages,
            }),
        }
        if self.runs.len() > MAX_RUNS {
            self.runs.pop_front();
        }
    }

    fn offset_of(&self, sequence: Sequence) -> Option<Offset> {
        self.runs.iter().rev().find_map(|run| {
            let into = sequence.0.checked_sub(run.first_sequence.0)?;
            (into < run.messages).then(|| Offset(run.first_offset.0 + into))
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn claim(epoch: u64, first: u64, messages: u64) -> Claim {
        Claim { epoch: Epoch(epoch), first_sequence: Sequence(first), messages }
    }

    /// A state after batches of (first sequence, messages, offset) in life 2.
    fn state(batches: &[(u64, u64, u64)]) -> ProducerState {
        let mut state = ProducerState::new(Epoch(2));
        for (first, messages, offset) in batches {
            state.record(&claim(2, *first, *messages), Offset(*offset));
        }
        state
    }

    fn check(known: Option<&ProducerState>, claim: Claim, expected: ClaimVerdict) {
        assert_eq!(check_claim(Some(Epoch(2)), known, &claim), expected, "{claim:?}");
    }

    fn seen(offset: u64) -> ClaimVerdict {
        ClaimVerdict::Seen { first_offset: Some(Offset(offset)) }
    }

    #[test]
    fn the_next_batch_is_appended_and_a_stored_one_is_seen_where_it_stands() {
        let state = state(&[(0, 10, 100), (10, 5, 110), (15, 5, 200)]);
        check(Some(&state), claim(2, 20, 1), ClaimVerdict::Append);
        check(Some(&state), claim(2, 0, 10), seen(100));
        check(Some(&state), claim(2, 10, 5), seen(110));
        check(Some(&state), claim(2, 15, 5), seen(200));
        assert_eq!(state.runs().len(), 2, "what stands together is one run");
    }

    #[test]
    fn what_does_not_follow_or_is_only_partly_stored_is_out_of_sequence() {
        let state = state(&[(0, 10, 100)]);
        let gap = ClaimVerdict::Gap { expected: Sequence(10) };
        check(Some(&state), claim(2, 11, 1), gap);
        check(Some(&state), claim(2, 5, 6), gap);
        check(Some(&state), claim(2, 10, u64::MAX), gap);
    }

    #[test]
    fn a_producer_begins_each_partition_and_each_life_with_zero() {
        let older = ProducerState::new(Epoch(1));
        for known in [None, Some(&older)] {
            check(known, claim(2, 0, 3), ClaimVerdict::Append);
            check(known, claim(2, 3, 3), ClaimVerdict::Gap { expected: Sequence(0) });
        }
    }

    #[test]
    fn an_older_life_is_fenced_and_one_that_nobody_opened_is_unknown() {
        let state = state(&[(0, 10, 100)]);
        check(Some(&state), claim(1, 0, 10), ClaimVerdict::Fenced { current: Epoch(2) });
        check(Some(&state), claim(3, 0, 10), ClaimVerdict::Unknown);
        assert_eq!(check_claim(None, Some(&state), &claim(2, 10, 1)), ClaimVerdict::Unknown);
        assert_eq!(check_claim(None, None, &claim(2, 0, 1)), ClaimVerdict::Unknown);
    }

    #[test]
    fn runs_are_bounded_and_what_they_forget_is_still_seen() {
        let batches: Vec<_> = (0..=MAX_RUNS as u64).map(|n| (n, 1, n * 2)).collect();
        let state = state(&batches);
        assert_eq!(state.runs().len(), MAX_RUNS);
        check(Some(&state), claim(2, 0, 1), ClaimVerdict::Seen { first_offset: None });
        check(Some(&state), claim(2, 1, 1), seen(2));
    }

    #[test]
    fn runs_that_could_not_have_been_recorded_are_not_restored() {
        let run = |first, offset, messages| Run {
            first_sequence: Sequence(first),
            first_offset: Offset(offset),
            messages,
        };
        for runs in [
            vec![run(0, 0, 0)],
            vec![run(0, 0, 2), run(3, 9, 1)],
            vec![run(1, 0, u64::MAX)],
            vec![run(0, 1, u64::MAX)],
        ] {
            assert_eq!(ProducerState::restore(Epoch(1), runs.clone()), None, "{runs:?}");
        }
    }

    proptest! {
        #[test]
        fn every_batch_is_found_at_its_offset_also_after_it_was_kept_and_restored(
            batches in prop::collection::vec((1..20_u64, 0..3_u64), 1..MAX_RUNS),
        ) {
            let (mut sequence, mut offset, mut stored) = (0, 0, Vec::new());
            for (messages, others) in batches {
                offset += others;
                stored.push((sequence, messages, offset));
                (sequence, offset) = (sequence + messages, offset + messages);
            }
            let state = state(&stored);
            let restored = ProducerState::restore(state.epoch(), state.runs());
            prop_assert_eq!(restored.as_ref(), Some(&state));
            for (first, messages, offset) in stored {
                check(restored.as_ref(), claim(2, first, messages), seen(offset));
            }
        }
    }
}
