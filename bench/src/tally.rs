//! What arrived, held against what was sent: loss, duplicates, order.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Gaps that are remembered; beyond it the oldest are given up as lost, and whatever fills them later
/// counts as a duplicate.
const MOST_GAPS: usize = 1 << 16;

/// Follows sequence numbers that begin at 0 and should come one after the other.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// One more than the largest number so far.
    next: u64,
    /// Ranges of numbers below that which did not come: first, and behind the last.
    gaps: BTreeMap<u64, u64>,
    given_up: u64,
    received: u64,
    duplicates: u64,
    out_of_order: u64,
}

/// The outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Verdict {
    /// Messages that arrived, duplicates included.
    pub(crate) received: u64,
    /// Messages that were sent and never came; those that were rejected are among them.
    pub(crate) lost: u64,
    /// Messages that came again.
    pub(crate) duplicates: u64,
    /// Messages that came behind one of a larger number.
    pub(crate) out_of_order: u64,
}

impl Tally {
    pub(crate) fn take(&mut self, sequence: u64) {
        self.received += 1;
        if sequence == self.next {
            self.next += 1;
        } else if sequence > self.next {
            self.gaps.insert(self.next, sequence);
            self.next = sequence + 1;
            if self.gaps.len() > MOST_GAPS
                && let Some((first, behind)) = self.gaps.pop_first()
            {
                self.given_up += behind - first;
            }
        } else if self.fill(sequence) {
            self.out_of_order += 1;
        } else {
            self.duplicates += 1;
        }
    }

    /// Whether this number was missing; it is not any more.
    fn fill(&mut self, sequence: u64) -> bool {
        let Some((&first, &behind)) = self.gaps.range(..=sequence).next_back() else {
            return false;
        };
        if sequence >= behind {
            return false;
        }
        self.gaps.remove(&first);
        if first < sequence {
            self.gaps.insert(first, sequence);
        }
        if sequence + 1 < behind {
            self.gaps.insert(sequence + 1, behind);
        }
        true
    }

    /// Whether every one of the messages that were sent has come.
    pub(crate) fn is_complete(&self, sent: u64) -> bool {
        self.next >= sent && self.gaps.is_empty()
    }

    pub(crate) fn verdict(&self, sent: u64) -> Verdict {
        let missing: u64 = self.gaps.iter().map(|(first, behind)| behind - first).sum();
        Verdict {
            received: self.received,
            lost: missing + self.given_up + sent.saturating_sub(self.next),
            duplicates: self.duplicates,
            out_of_order: self.out_of_order,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(arrived: &[u64], sent: u64, [lost, duplicates, out_of_order]: [u64; 3]) {
        let mut tally = Tally::default();
        arrived.iter().for_each(|sequence| tally.take(*sequence));
        let received = arrived.len() as u64;
        let expected = Verdict { received, lost, duplicates, out_of_order };
        assert_eq!(tally.verdict(sent), expected, "{arrived:?} of {sent}");
        assert_eq!(tally.is_complete(sent), lost == 0, "{arrived:?} of {sent}");
    }

    #[test]
    fn every_fault_is_counted_as_what_it_is() {
        check(&[0, 1, 2], 3, [0, 0, 0]);
        check(&[], 2, [2, 0, 0]);
        check(&[1, 2], 3, [1, 0, 0]);
        check(&[0, 1], 3, [1, 0, 0]);
        check(&[0, 4], 5, [3, 0, 0]);
        check(&[0, 0, 1], 2, [0, 1, 0]);
        check(&[1, 0], 2, [0, 0, 1]);
        check(&[1, 0, 0], 2, [0, 1, 1]);
        check(&[0, 5, 3, 2, 3], 6, [2, 1, 2]);
        check(&[4, 1, 3, 2, 0], 5, [0, 0, 4]);
    }

    #[test]
    fn gaps_beyond_the_bound_are_lost() {
        let mut tally = Tally::default();
        let sent = MOST_GAPS as u64 * 2 + 20;
        (1..sent).step_by(2).for_each(|sequence| tally.take(sequence));
        assert_eq!(tally.verdict(sent).lost, sent / 2);
        assert_eq!(tally.gaps.len(), MOST_GAPS);
        assert!(!tally.is_complete(sent));
    }
}
