//! The checker: what clients saw, and what is wrong with it.
//!
//! It is told which messages were sent and acknowledged, and which places of the output were read with what in them.
//! A message is a number with a key; numbers of a key were sent in increasing order.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

/// A place that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The partition.
    pub partition: u32,
    /// The offset in it.
    pub offset: u64,
    /// The key of the message there.
    pub key: u64,
    /// The message.
    pub number: u64,
    /// Whether it is what the route makes of it.
    pub is_worked: bool,
}

/// What clients saw.
#[derive(Debug, Clone, Default)]
pub struct Evidence {
    /// Messages that the producer sent.
    pub sent: BTreeSet<u64>,
    /// Those of which it was told that they are stored.
    pub acked: BTreeSet<u64>,
    /// Whatever the group was given, as often as it was.
    pub output: Vec<Place>,
    /// The places of the output that the group acknowledged, each time that the router confirmed it.
    pub settled: Vec<(u32, u64)>,
    /// The dead letters.
    pub letters: Vec<Place>,
}

/// What is wrong: all zero when nothing is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Findings {
    /// Acknowledged, and neither in the output nor a dead letter.
    pub missing: u64,
    /// At more than one place, or acknowledged by the group more than once.
    pub duplicated: u64,
    /// Behind a later message of their key, or in another partition than others of it.
    pub reordered: u64,
    /// Never sent, not what the route makes of them, or given up on without reason; places that read differently at
    /// another time.
    pub unexpected: u64,
    /// The first few of these, for whoever looks for the reason.
    #[serde(skip)]
    pub examples: Vec<String>,
}

/// How many examples are kept.
const EXAMPLES: usize = 20;

impl Findings {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_good(&self) -> bool {
        *self == Self::default()
    }
}

impl Evidence {
    /// Finds what is wrong. The route rejects some messages, which must be dead letters as they were sent.
    #[must_use]
    pub fn check(&self, is_rejected: impl Fn(u64) -> bool) -> Findings {
        let mut findings = Findings::default();
        let mut found = BTreeMap::<u64, Vec<Place>>::new();
        for (places, are_letters) in [(&self.output, false), (&self.letters, true)] {
            let mut read = BTreeMap::<(u32, u64), Place>::new();
            for place in places {
                let first = read.entry((place.partition, place.offset)).or_insert(*place);
                if first != place {
                    findings.unexpected(format!("{place:?} was {first:?} before"));
                }
            }
            for place in read.values() {
                found.entry(place.number).or_default().push(*place);
                let is_right = self.sent.contains(&place.number)
                    && is_rejected(place.number) == are_letters
                    && place.is_worked != are_letters;
                if !is_right {
                    findings.unexpected(format!("{place:?}, a letter: {are_letters}"));
                }
            }
            findings.order(read.values());
        }
        for number in self.acked.iter().filter(|number| !found.contains_key(number)) {
            findings.missing += 1;
            findings.show(format!("{number} is nowhere"));
        }
        for places in found.values() {
            for again in places.iter().skip(1) {
                findings.duplicated(format!("{again:?} is there again, first at {:?}", places[0]));
            }
        }
        let mut settled = BTreeSet::new();
        for place in &self.settled {
            if !settled.insert(place) {
                findings.duplicated(format!("partition and offset {place:?} acknowledged again"));
            }
        }
        findings
    }
}

impl Findings {
    fn show(&mut self, example: String) {
        if self.examples.len() < EXAMPLES {
            self.examples.push(example);
        }
    }

    fn unexpected(&mut self, example: String) {
        self.unexpected += 1;
        self.show(example);
    }

    fn duplicated(&mut self, example: String) {
        self.duplicated += 1;
        self.show(example);
    }

    /// Finds those that stand behind a later one of their key; the places come by partition and offset.
    fn order<'a>(&mut self, places: impl Iterator<Item = &'a Place>) {
        let mut last = BTreeMap::<u64, (u32, u64)>::new();
        for place in places {
            let (partition, number) = last.entry(place.key).or_insert((place.partition, 0));
            // The same number again is a duplicate.
            if *partition != place.partition || place.number < *number {
                self.reordered += 1;
                self.show(format!("{place:?} stands behind {number} of partition {partition}"));
            }
            *number = place.number.max(*number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(offset: u64, number: u64) -> Place {
        Place { partition: 0, offset, key: number % 2, number, is_worked: true }
    }

    fn letter(offset: u64, number: u64) -> Place {
        Place { is_worked: false, ..place(offset, number) }
    }

    /// Five messages of two keys, of which 7 is rejected.
    fn good() -> Evidence {
        Evidence {
            sent: BTreeSet::from([4, 5, 6, 7, 8]),
            acked: BTreeSet::from([4, 5, 6, 7]),
            output: Vec::from([place(0, 4), place(1, 5), place(2, 6)]),
            settled: Vec::from([(0, 0), (0, 1), (0, 2)]),
            letters: Vec::from([letter(0, 7)]),
        }
    }

    /// What the checker finds when the evidence is spoilt.
    fn found(spoil: impl FnOnce(&mut Evidence)) -> [u64; 4] {
        let mut evidence = good();
        spoil(&mut evidence);
        let found = evidence.check(|number| number == 7);
        [found.missing, found.duplicated, found.reordered, found.unexpected]
    }

    #[test]
    fn nothing_is_found_where_nothing_is_wrong() {
        assert_eq!(found(|_| ()), [0, 0, 0, 0]);
        // Given out again, and stored without an acknowledgement: neither is wrong.
        assert_eq!(found(|it| it.output.push(place(1, 5))), [0, 0, 0, 0]);
        assert_eq!(found(|it| it.output.push(place(3, 8))), [0, 0, 0, 0]);
        assert!(good().check(|number| number == 7).is_good());
    }

    #[test]
    fn what_is_missing_is_found() {
        assert_eq!(found(|it| it.output.retain(|place| place.number != 5)), [1, 0, 0, 0]);
        assert_eq!(found(|it| it.letters.clear()), [1, 0, 0, 0]);
    }

    #[test]
    fn what_is_there_twice_is_found() {
        assert_eq!(found(|it| it.output.push(place(3, 6))), [0, 1, 0, 0]);
        assert_eq!(found(|it| it.letters.push(letter(1, 7))), [0, 1, 0, 0]);
        assert_eq!(found(|it| it.settled.push((0, 1))), [0, 1, 0, 0]);
    }

    #[test]
    fn what_is_out_of_order_is_found() {
        assert_eq!(found(|it| (it.output[0].offset, it.output[2].offset) = (2, 0)), [0, 0, 1, 0]);
        // Messages of different keys may pass each other.
        assert_eq!(found(|it| (it.output[0].offset, it.output[1].offset) = (1, 0)), [0, 0, 0, 0]);
        assert_eq!(found(|it| it.output[2].partition = 1), [0, 0, 1, 0]);
    }

    #[test]
    fn what_nobody_sent_or_made_is_found() {
        assert_eq!(found(|it| it.output.push(place(3, 99))), [0, 0, 0, 1]);
        assert_eq!(found(|it| it.output[1].is_worked = false), [0, 0, 0, 1]);
        // Rejected and in the output; given up on and not rejected.
        assert_eq!(found(|it| it.output.push(place(3, 7))), [0, 1, 0, 1]);
        assert_eq!(found(|it| it.letters.push(letter(1, 8))), [0, 0, 0, 1]);
        // Another message at the same place, later.
        assert_eq!(found(|it| it.output.push(place(1, 8))), [0, 0, 0, 1]);
    }
}
