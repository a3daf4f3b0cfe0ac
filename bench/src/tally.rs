//! What arrived, held against what was sent: loss, duplicates, order.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::workload::{KEYS, Stamp};

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
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Verdict {
    /// Messages that arrived, duplicates included.
    pub(crate) received: u64,
    /// Messages that were sent and never came; those that were rejected are among them.
    pub(crate) lost: u64,
    /// Messages that came again.
    pub(crate) duplicated: u64,
    /// Messages that came behind one of a larger number of the same producer, and of the same key where order
    /// is promised for keys alone.
    pub(crate) out_of_order: u64,
}

impl Verdict {
    /// Both together.
    #[must_use]
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            received: self.received + other.received,
            lost: self.lost + other.lost,
            duplicated: self.duplicated + other.duplicated,
            out_of_order: self.out_of_order + other.out_of_order,
        }
    }
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
            duplicated: self.duplicates,
            out_of_order: self.out_of_order,
        }
    }
}

/// Whom a message came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// One of those that each get everything.
    Subscriber(u16),
    /// Any of those that share everything.
    Member {
        /// Whether it was given out before, and has lost its place in the order.
        again: bool,
    },
}

impl From<u16> for Arrival {
    fn from(subscriber: u16) -> Self {
        Self::Subscriber(subscriber)
    }
}

/// What each subscriber had of each producer, or what members had together.
#[derive(Debug)]
pub(crate) struct Tallies {
    tallies: Vec<Tally>,
    producers: usize,
    keys: Option<KeyOrder>,
}

/// The order of each producer's keys among members: each may have its own part of the messages, but one key has one
/// order.
#[derive(Debug)]
struct KeyOrder {
    /// For each producer and key, one more than its largest number so far.
    next: Vec<u64>,
    out_of_order: u64,
}

impl KeyOrder {
    fn take(&mut self, Stamp { producer, sequence, .. }: Stamp) {
        let place = u64::from(producer) * KEYS + sequence % KEYS;
        if let Some(next) = usize::try_from(place).ok().and_then(|place| self.next.get_mut(place)) {
            if sequence < *next {
                self.out_of_order += 1;
            } else {
                *next = sequence + 1;
            }
        }
    }
}

impl Tallies {
    /// For members that share everything.
    pub(crate) fn shared(producers: u16) -> Self {
        let keys =
            KeyOrder { next: vec![0; usize::from(producers) * KEYS as usize], out_of_order: 0 };
        Self { keys: Some(keys), ..Self::new(1, producers) }
    }

    /// For subscribers that each get everything.
    pub(crate) fn new(subscribers: u16, producers: u16) -> Self {
        let (subscribers, producers) = (usize::from(subscribers), usize::from(producers));
        let tallies =
            std::iter::repeat_with(Tally::default).take(subscribers * producers).collect();
        Self { tallies, producers, keys: None }
    }

    /// Counts a message; `None` when there is no such subscriber or producer.
    pub(crate) fn take(&mut self, arrival: impl Into<Arrival>, stamp: Stamp) -> Option<()> {
        let producer = usize::from(stamp.producer);
        let subscriber = match arrival.into() {
            Arrival::Subscriber(subscriber) => subscriber,
            Arrival::Member { again } => {
                if let Some(keys) = self.keys.as_mut().filter(|_| !again) {
                    keys.take(stamp);
                }
                0
            }
        };
        let place = usize::from(subscriber) * self.producers + producer;
        let tally = self.tallies.get_mut(place).filter(|_| producer < self.producers)?;
        tally.take(stamp.sequence);
        Some(())
    }

    /// Whether everything came that the producers sent.
    pub(crate) fn is_complete(&self, sent: &[u64]) -> bool {
        self.with_sent(sent).all(|(tally, sent)| tally.is_complete(sent))
    }

    pub(crate) fn verdict(&self, sent: &[u64]) -> Verdict {
        let all = self.with_sent(sent).map(|(tally, sent)| tally.verdict(sent));
        let sum = all.fold(Verdict::default(), Verdict::and);
        match &self.keys {
            Some(KeyOrder { out_of_order, .. }) => Verdict { out_of_order: *out_of_order, ..sum },
            None => sum,
        }
    }

    fn with_sent(&self, sent: &[u64]) -> impl Iterator<Item = (&Tally, u64)> {
        self.tallies.iter().zip(sent.iter().copied().cycle())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(arrived: &[u64], sent: u64, [lost, duplicated, out_of_order]: [u64; 3]) {
        let mut tally = Tally::default();
        arrived.iter().for_each(|sequence| tally.take(*sequence));
        let received = arrived.len() as u64;
        let expected = Verdict { received, lost, duplicated, out_of_order };
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

    #[test]
    fn each_subscriber_has_its_own_account_of_each_producer() {
        let mut tallies = Tallies::new(2, 2);
        let stamp = |producer, sequence| Stamp { due: 0, producer, sequence };
        for (subscriber, producer, sequence) in [(0, 0, 0), (0, 1, 0), (1, 1, 1), (1, 0, 0)] {
            assert_eq!(tallies.take(subscriber, stamp(producer, sequence)), Some(()));
        }
        assert_eq!(tallies.take(0, stamp(2, 0)), None);
        assert_eq!(tallies.take(2, stamp(0, 0)), None);
        let expected = Verdict { received: 4, lost: 2, duplicated: 0, out_of_order: 0 };
        assert_eq!(tallies.verdict(&[1, 2]), expected);
        assert!(!tallies.is_complete(&[1, 2]));
        tallies.take(0, stamp(1, 1));
        tallies.take(1, stamp(1, 0));
        assert!(tallies.is_complete(&[1, 2]));
    }

    #[test]
    fn members_share_one_account_and_each_key_has_an_order_unless_it_comes_again() {
        let mut tallies = Tallies::shared(1);
        let stamp = |sequence| Stamp { due: 0, producer: 0, sequence };
        let mut take = |sequence, again| {
            tallies.take(Arrival::Member { again }, stamp(sequence));
            let Verdict { lost, duplicated, out_of_order, .. } = tallies.verdict(&[KEYS + 2]);
            (lost, duplicated, out_of_order)
        };
        take(1, false);
        assert_eq!(take(0, false), (KEYS, 0, 0), "keys of other members may overtake");
        assert_eq!(take(KEYS + 1, false), (KEYS - 1, 0, 0));
        assert_eq!(take(1, true), (KEYS - 1, 1, 0));
        assert_eq!(take(1, false), (KEYS - 1, 2, 1));
    }
}
