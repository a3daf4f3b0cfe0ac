//! Which batches a stream gives up: by age, bytes and count, oldest first.
//!
//! A batch goes as a whole, once every bound would let it go: a bound on messages keeps at least that many.

/// What a partition keeps. Without any bound it keeps everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retention {
    /// How old a batch may become, in milliseconds since it was taken in.
    pub max_age_ms: Option<u64>,
    /// The bytes of its batches.
    pub max_bytes: Option<u64>,
    /// The messages in them.
    pub max_messages: Option<u64>,
}

/// How much a partition or a part of it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Extent {
    /// Batches.
    pub batches: u64,
    /// Messages in them.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// A stored batch, as far as trimming is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Aged {
    /// Its messages.
    pub messages: u64,
    /// Its bytes.
    pub bytes: u64,
    /// When it was taken in, in milliseconds since the Unix epoch.
    pub ingest_ms: u64,
}

/// What is trimmed, by the bound that asked for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Trimmed {
    /// Too old.
    pub by_age: Extent,
    /// Over the bound on bytes.
    pub by_bytes: Extent,
    /// Over the bound on messages.
    pub by_messages: Extent,
}

impl Extent {
    /// The extent of one batch.
    #[must_use]
    pub fn of(batch: &Aged) -> Self {
        Self { batches: 1, messages: batch.messages, bytes: batch.bytes }
    }

    /// Grows by another.
    pub fn add(&mut self, other: Self) {
        self.batches = self.batches.saturating_add(other.batches);
        self.messages = self.messages.saturating_add(other.messages);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }

    /// Shrinks by a part of it.
    pub fn remove(&mut self, part: Self) {
        self.batches = self.batches.saturating_sub(part.batches);
        self.messages = self.messages.saturating_sub(part.messages);
        self.bytes = self.bytes.saturating_sub(part.bytes);
    }
}

impl Trimmed {
    /// All that is trimmed.
    #[must_use]
    pub fn total(&self) -> Extent {
        let mut total = self.by_age;
        total.add(self.by_bytes);
        total.add(self.by_messages);
        total
    }

    /// Adds what another round trimmed.
    pub fn add(&mut self, other: &Self) {
        self.by_age.add(other.by_age);
        self.by_bytes.add(other.by_bytes);
        self.by_messages.add(other.by_messages);
    }
}

impl Retention {
    /// Takes batches from the front of a partition that holds `held`, as long as a bound asks for it. At most
    /// the batches that the iterator gives are taken. The newest batch goes by age only: bounds smaller than
    /// one batch would otherwise make a committed message vanish at once.
    #[must_use]
    pub fn trim(
        &self,
        held: Extent,
        now_ms: u64,
        oldest_first: impl IntoIterator<Item = Aged>,
    ) -> Trimmed {
        let (mut left, mut trimmed) = (held, Trimmed::default());
        for batch in oldest_first {
            let age = now_ms.saturating_sub(batch.ingest_ms);
            let over = |held: u64, bound: Option<u64>| bound.is_some_and(|bound| held > bound);
            let extent = Extent::of(&batch);
            if over(age, self.max_age_ms) {
                trimmed.by_age.add(extent);
            } else if left.batches > 1 && over(left.bytes, self.max_bytes) {
                trimmed.by_bytes.add(extent);
            } else if left.batches > 1
                && over(left.messages.saturating_sub(batch.messages) + 1, self.max_messages)
            {
                trimmed.by_messages.add(extent);
            } else {
                break;
            }
            left.remove(extent);
        }
        trimmed
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Batches of (messages, bytes, ingest time).
    fn aged(batches: &[(u64, u64, u64)]) -> Vec<Aged> {
        let aged = |&(messages, bytes, ingest_ms)| Aged { messages, bytes, ingest_ms };
        batches.iter().map(aged).collect()
    }

    fn extent(batches: &[Aged]) -> Extent {
        let mut total = Extent::default();
        batches.iter().for_each(|batch| total.add(Extent::of(batch)));
        total
    }

    /// The batches by age, bytes and messages that go at time 100.
    fn check(retention: Retention, batches: &[(u64, u64, u64)], expected: [u64; 3]) {
        let batches = aged(batches);
        let trimmed = retention.trim(extent(&batches), 100, batches.iter().copied());
        let by = [trimmed.by_age, trimmed.by_bytes, trimmed.by_messages];
        assert_eq!(by.map(|extent| extent.batches), expected, "{retention:?}");
    }

    const THREE: [(u64, u64, u64); 3] = [(10, 1000, 40), (10, 1000, 60), (10, 1000, 90)];

    #[test]
    fn without_a_bound_everything_stays() {
        check(Retention::default(), &THREE, [0, 0, 0]);
    }

    #[test]
    fn each_bound_takes_the_oldest_and_keeps_what_it_allows() {
        let age = |max| Retention { max_age_ms: Some(max), ..Retention::default() };
        check(age(60), &THREE, [0, 0, 0]);
        check(age(59), &THREE, [1, 0, 0]);
        check(age(0), &THREE, [3, 0, 0]);
        let bytes = |max| Retention { max_bytes: Some(max), ..Retention::default() };
        check(bytes(3000), &THREE, [0, 0, 0]);
        check(bytes(2999), &THREE, [0, 1, 0]);
        check(bytes(0), &THREE, [0, 2, 0]);
        let messages = |max| Retention { max_messages: Some(max), ..Retention::default() };
        check(messages(21), &THREE, [0, 0, 0]);
        check(messages(20), &THREE, [0, 0, 1]);
        check(messages(0), &THREE, [0, 0, 2]);
    }

    #[test]
    fn a_batch_is_counted_under_the_bound_that_asked_first() {
        let all =
            Retention { max_age_ms: Some(50), max_bytes: Some(1500), max_messages: Some(100) };
        check(all, &THREE, [1, 1, 0]);
    }

    #[test]
    fn a_time_before_the_ingest_makes_nothing_old() {
        let retention = Retention { max_age_ms: Some(0), ..Retention::default() };
        check(retention, &[(1, 1, 200)], [0, 0, 0]);
    }

    proptest! {
        #[test]
        fn what_is_left_keeps_the_bounds_or_is_one_batch(
            sizes in prop::collection::vec((1..50_u64, 1..5000_u64), 1..50),
            max_bytes in prop::option::of(0..100_000_u64),
            max_messages in prop::option::of(0..1000_u64),
        ) {
            let batches: Vec<_> = sizes.iter()
                .map(|&(messages, bytes)| Aged { messages, bytes, ingest_ms: 0 }).collect();
            let retention = Retention { max_age_ms: None, max_bytes, max_messages };
            let held = extent(&batches);
            let gone = retention.trim(held, 0, batches.iter().copied()).total();
            let left = &batches[usize::try_from(gone.batches).expect("few batches")..];
            prop_assert_eq!(gone, extent(&batches[..batches.len() - left.len()]));
            let kept = extent(left);
            prop_assert!(kept.batches == 1 || kept.bytes <= max_bytes.unwrap_or(u64::MAX));
            // At least the messages that the bound allows stay, and no whole batch beyond them.
            let first = left[0].messages;
            if let Some(max) = max_messages {
                prop_assert!(kept.batches == 1 || kept.messages - first < max);
                if max_bytes.is_none() {
                    prop_assert!(kept.messages >= max.min(held.messages));
                }
            }
        }
    }
}
