//! What holds for the messages of a topic when a subscription has no room for them.
//!
//! Rules stand in an order, and the first whose pattern matches a topic holds for it. Where none matches,
//! messages wait for room as long as the router allows.

use std::{fmt, ops::Range, sync::Arc};

use waypost_protocol::{Batch, Pattern, TimeToLive};

use crate::RouteTable;

/// What happens to a message that a subscription has no room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnFull {
    /// It waits, and with it whoever publishes.
    #[default]
    Block,
    /// It is dropped.
    DropNewest,
    /// What waits longest is dropped in its favour, of what may be dropped so itself.
    DropOldest,
}

impl OnFull {
    /// All of them, in the order in which they are told.
    pub const ALL: [Self; 3] = [Self::Block, Self::DropNewest, Self::DropOldest];

    /// Its name in configurations and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Block => "block",
            Self::DropNewest => "drop-newest",
            Self::DropOldest => "drop-oldest",
        }
    }

    /// What has this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|each| each.name() == name)
    }
}

impl fmt::Display for OnFull {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// A rule for the topics of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicRule {
    /// Which topics.
    pub pattern: Pattern,
    /// What happens to a message without room.
    pub on_full: OnFull,
    /// How long a subscription may take nothing while such a message waits, in milliseconds.
    pub block_max_ms: u64,
    /// How long messages live that do not say so themselves.
    pub ttl: Option<TimeToLive>,
}

/// Rules in their order. Whatever waits under one has it by itself, so that others may stand here meanwhile.
#[derive(Debug, Clone, Default)]
pub struct TopicRules {
    rules: Vec<Arc<TopicRule>>,
    /// The places of the rules.
    table: RouteTable<usize>,
}

impl TopicRules {
    /// Rules in this order.
    #[must_use]
    pub fn new(rules: Vec<TopicRule>) -> Self {
        let mut table = RouteTable::new();
        for (place, rule) in rules.iter().enumerate() {
            table.insert(&rule.pattern, place);
        }
        Self { rules: rules.into_iter().map(Arc::new).collect(), table }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The rules in their order.
    #[must_use]
    pub fn all(&self) -> &[Arc<TopicRule>] {
        &self.rules
    }

    /// The rule that holds for a topic.
    #[must_use]
    pub fn of(&self, topic: &str) -> Option<&Arc<TopicRule>> {
        let mut first = None;
        self.table.for_each_match(topic, |_, &place| {
            first = Some(first.map_or(place, |known: usize| known.min(place)));
        });
        self.rules.get(first?)
    }

    /// The parts of a batch, in order, whose neighbouring messages one rule holds for.
    #[must_use]
    pub fn parts(&self, batch: &Batch) -> Vec<(Option<&Arc<TopicRule>>, Range<usize>)> {
        if let Some(topic) = batch.single_topic() {
            return vec![(self.of(topic), 0..batch.len())];
        }
        let mut parts: Vec<(Option<&Arc<TopicRule>>, Range<usize>)> = Vec::new();
        let mut before = None;
        for (index, message) in batch.iter().enumerate() {
            let topic = message.topic();
            let rule = match before {
                Some((known, rule)) if known == topic => rule,
                _ => self.of(topic),
            };
            before = Some((topic, rule));
            match parts.last_mut() {
                Some((last, range)) if *last == rule => range.end = index + 1,
                _ => parts.push((rule, index..index + 1)),
            }
        }
        parts
    }

    /// The place of each rule that can never hold, with that of an earlier one that matches all that it matches.
    pub fn shadowed(&self) -> impl Iterator<Item = (usize, usize)> {
        self.rules.iter().enumerate().filter_map(|(place, rule)| {
            let mut earlier = self.rules.iter().take(place);
            let cover = earlier.position(|each| each.pattern.covers(&rule.pattern));
            cover.map(|cover| (place, cover))
        })
    }
}

#[cfg(test)]
mod tests {
    use waypost_protocol::BatchBuilder;

    use super::*;

    fn rules(patterns: &[&str]) -> TopicRules {
        let rule = |text: &&str| TopicRule {
            pattern: Pattern::parse(text).expect("a pattern"),
            on_full: OnFull::DropOldest,
            block_max_ms: 1,
            ttl: None,
        };
        TopicRules::new(patterns.iter().map(rule).collect())
    }

    /// The place of a rule among others that differ.
    fn place_of(rules: &TopicRules, rule: Option<&Arc<TopicRule>>) -> Option<usize> {
        rules.all().iter().position(|known| Some(known) == rule)
    }

    fn place(rules: &TopicRules, topic: &str) -> Option<usize> {
        place_of(rules, rules.of(topic))
    }

    #[test]
    fn the_first_rule_that_matches_holds() {
        let rules = rules(&["a.b", "a.*", "a.b.>", "a.>"]);
        assert_eq!(place(&rules, "a.b"), Some(0));
        assert_eq!(place(&rules, "a.c"), Some(1));
        assert_eq!(place(&rules, "a.b.c"), Some(2));
        assert_eq!(place(&rules, "a.c.d"), Some(3));
        assert_eq!(place(&rules, "b"), None);
        assert_eq!(place(&rules, "$dead.a"), None);
    }

    #[test]
    fn a_batch_is_parted_where_another_rule_begins() {
        let rules = rules(&["a.>", "b"]);
        let mut builder = BatchBuilder::new();
        for topic in ["a.x", "a.y", "b", "c", "c", "a.x"] {
            builder.push(topic, None, &[], b"", 0).expect("it fits");
        }
        let batch = builder.finish().expect("there are messages");
        let parts = rules.parts(&batch).into_iter();
        let parts: Vec<_> = parts.map(|(rule, range)| (place_of(&rules, rule), range)).collect();
        assert_eq!(parts, [(Some(0), 0..2), (Some(1), 2..3), (None, 3..5), (Some(0), 5..6)]);
    }

    #[test]
    fn a_rule_behind_one_that_covers_it_can_never_hold() {
        let rules = rules(&["a.*", "a.b", "a.>", "b.c", "b.>", "a.b.*"]);
        assert_eq!(rules.shadowed().collect::<Vec<_>>(), [(1, 0), (5, 2)]);
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        for each in OnFull::ALL {
            assert_eq!(OnFull::parse(each.name()), Some(each));
        }
        assert_eq!(OnFull::parse("drop"), None);
    }
}
