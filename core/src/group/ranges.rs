//! A set of offsets as ranges, for what is done out of order.

use std::collections::BTreeMap;

use waypost_protocol::Offset;

/// Offsets from one to another, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OffsetRange {
    /// The first.
    pub first: Offset,
    /// The last, not before the first.
    pub last: Offset,
}

/// A set of offsets. Ranges in it neither overlap nor touch.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ranges {
    /// First to last.
    ranges: BTreeMap<u64, u64>,
    count: u64,
}

impl OffsetRange {
    /// A single offset.
    #[must_use]
    pub fn one(offset: Offset) -> Self {
        Self { first: offset, last: offset }
    }
}

impl Ranges {
    /// How many offsets it has.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// How many ranges it has.
    #[must_use]
    pub fn ranges(&self) -> usize {
        self.ranges.len()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Whether it has an offset.
    #[must_use]
    pub fn contains(&self, offset: Offset) -> bool {
        self.range_of(offset.0).is_some()
    }

    /// Adds an offset. Says whether it is new.
    pub fn insert(&mut self, offset: Offset) -> bool {
        let offset = offset.0;
        if self.range_of(offset).is_some() {
            return false;
        }
        let before = offset.checked_sub(1).and_then(|before| self.range_of(before));
        let first = before.map_or(offset, |(first, _)| first);
        let after = offset.checked_add(1).and_then(|after| self.ranges.remove(&after));
        self.ranges.insert(first, after.unwrap_or(offset));
        self.count += 1;
        true
    }

    /// Takes away everything before an offset, and then the offsets that follow it without a gap. Gives the first
    /// that is not in the set.
    pub fn advance(&mut self, from: Offset) -> Offset {
        let kept = self.ranges.split_off(&from.0);
        let below = std::mem::replace(&mut self.ranges, kept);
        let mut next = from.0;
        for (first, last) in below {
            self.count -= last - first + 1;
            next = next.max(last.saturating_add(1));
        }
        while let Some(last) = self.ranges.remove(&next) {
            self.count -= last - next + 1;
            next = last.saturating_add(1);
        }
        Offset(next)
    }

    /// The ranges, in order.
    pub fn iter(&self) -> impl Iterator<Item = OffsetRange> {
        let range = |(first, last): (&u64, &u64)| OffsetRange {
            first: Offset(*first),
            last: Offset(*last),
        };
        self.ranges.iter().map(range)
    }

    /// The last offset.
    #[must_use]
    pub fn last(&self) -> Option<Offset> {
        self.ranges.last_key_value().map(|(_, last)| Offset(*last))
    }

    /// A set of ranges that are in order and do not touch.
    #[must_use]
    pub fn restore(ranges: impl IntoIterator<Item = OffsetRange>) -> Option<Self> {
        let mut restored = Self::default();
        let mut least = 0;
        for OffsetRange { first, last } in ranges {
            if first.0 < least || last < first {
                return None;
            }
            restored.count = restored.count.checked_add((last.0 - first.0).checked_add(1)?)?;
            restored.ranges.insert(first.0, last.0);
            least = last.0.checked_add(2)?;
        }
        Some(restored)
    }

    fn range_of(&self, offset: u64) -> Option<(u64, u64)> {
        let (first, last) = self.ranges.range(..=offset).next_back()?;
        (*last >= offset).then_some((*first, *last))
    }
}

impl FromIterator<Offset> for Ranges {
    fn from_iter<T: IntoIterator<Item = Offset>>(offsets: T) -> Self {
        let mut ranges = Self::default();
        for offset in offsets {
            ranges.insert(offset);
        }
        ranges
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn shown(ranges: &Ranges) -> Vec<(u64, u64)> {
        ranges.iter().map(|range| (range.first.0, range.last.0)).collect()
    }

    #[test]
    fn neighbours_become_one_range_and_the_head_moves_over_what_is_done() {
        let mut ranges: Ranges = [5, 7, 6, 2, 9].into_iter().map(Offset).collect();
        assert_eq!(shown(&ranges), [(2, 2), (5, 7), (9, 9)]);
        assert!(!ranges.insert(Offset(6)));
        assert_eq!((ranges.advance(Offset(5)), shown(&ranges)), (Offset(8), vec![(9, 9)]));
        assert_eq!(ranges.advance(Offset(8)), Offset(8));
        ranges.insert(Offset(8));
        assert_eq!((ranges.advance(Offset(8)), ranges.count()), (Offset(10), 0));
    }

    #[test]
    fn ranges_that_touch_or_go_back_are_not_restored() {
        let range = |first, last| OffsetRange { first: Offset(first), last: Offset(last) };
        let restore = |ranges: &[OffsetRange]| Ranges::restore(ranges.iter().copied());
        assert_eq!(restore(&[range(1, 2), range(4, 4)]).map(|ranges| ranges.count()), Some(3));
        for bad in [
            &[range(1, 2), range(3, 4)][..],
            &[range(4, 4), range(1, 2)],
            &[range(2, 1)],
            &[range(0, u64::MAX)],
        ] {
            assert_eq!(restore(bad), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn it_is_the_set_that_it_stands_for(
            offsets in prop::collection::vec(0..60_u64, 0..80), from in 0..70_u64,
        ) {
            let mut model = BTreeSet::new();
            let mut ranges = Ranges::default();
            for offset in offsets {
                prop_assert_eq!(ranges.insert(Offset(offset)), model.insert(offset));
            }
            prop_assert_eq!(ranges.count(), model.len() as u64);
            prop_assert!((0..70).all(|each| ranges.contains(Offset(each)) == model.contains(&each)));
            let copy = Ranges::restore(ranges.iter());
            prop_assert_eq!(copy.as_ref(), Some(&ranges));
            let next = (from..).find(|each| !model.contains(each));
            prop_assert_eq!(Some(ranges.advance(Offset(from)).0), next);
            let left: BTreeSet<u64> = model.into_iter().filter(|each| Some(*each) > next).collect();
            prop_assert_eq!(ranges.count(), left.len() as u64);
            prop_assert!(left.iter().all(|each| ranges.contains(Offset(*each))));
        }
    }
}
