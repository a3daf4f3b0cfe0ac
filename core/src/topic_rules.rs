//! What holds for the messages of a topic when a subscription has no room for them.
//!
//! Rules stand in an order, and the first whose pattern matches a topic holds for it. Where none matches,
//! messages wait for room as long as the router allows.

use std::{fmt, ops::Range};

use waypost_protocol::{Batch, Pattern};

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
}

/// Which rule of several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicRuleId(usize);

/// Rules in their order.
#[derive(Debug, Clone, Default)]
pub struct TopicRules {
    /// Those that held before too: what waits under them is still to be told apart.
    rules: Vec<TopicRule>,
    /// Where those begin that hold.
    begin: usize,
    table: RouteTable<TopicRuleId>,
}

impl TopicRules {
    /// Rules in this order.
    #[must_use]
    pub fn new(rules: Vec<TopicRule>) -> Self {
        Self::default().replaced(rules)
    }

    /// Other rules in this order. What had one of these can still be [looked up](Self::get) there.
    #[must_use]
    pub fn replaced(&self, next: Vec<TopicRule>) -> Self {
        if next == self.all() {
            return self.clone();
        }
        let (mut rules, begin) = (self.rules.clone(), self.rules.len());
        rules.extend(next);
        let mut table = RouteTable::new();
        for (index, rule) in rules.iter().enumerate().skip(begin) {
            table.insert(&rule.pattern, TopicRuleId(index));
        }
        Self { rules, begin, table }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all().is_empty()
    }

    /// The rules in their order.
    #[must_use]
    pub fn all(&self) -> &[TopicRule] {
        self.rules.get(self.begin..).unwrap_or_default()
    }

    /// One of them, or of those before.
    #[must_use]
    pub fn get(&self, id: TopicRuleId) -> Option<&TopicRule> {
        self.rules.get(id.0)
    }

    /// The rule that holds for a topic.
    #[must_use]
    pub fn of(&self, topic: &str) -> Option<TopicRuleId> {
        let mut first = None;
        self.table.for_each_match(topic, |_, &id| {
            first = Some(first.map_or(id, |known: TopicRuleId| known.min(id)));
        });
        first
    }

    /// The parts of a batch, in order, whose neighbouring messages one rule holds for.
    #[must_use]
    pub fn parts(&self, batch: &Batch) -> Vec<(Option<TopicRuleId>, Range<usize>)> {
        if let Some(topic) = batch.single_topic() {
            return vec![(self.of(topic), 0..batch.len())];
        }
        let mut parts: Vec<(Option<TopicRuleId>, Range<usize>)> = Vec::new();
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

    /// Each rule that can never hold, with an earlier one that matches all that it matches.
    pub fn shadowed(&self) -> impl Iterator<Item = (TopicRuleId, TopicRuleId)> {
        self.all().iter().enumerate().filter_map(|(index, rule)| {
            let earlier = self.all().iter().take(index);
            let cover = earlier.enumerate().find(|(_, each)| each.pattern.covers(&rule.pattern));
            let id = |index| TopicRuleId(self.begin + index);
            cover.map(|(cover, _)| (id(index), id(cover)))
        })
    }
}

impl TopicRuleId {
    /// Its place in the order, from zero, where no rules stood before.
    #[must_use]
    pub fn place(self) -> usize {
        self.0
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
        };
        TopicRules::new(patterns.iter().map(rule).collect())
    }

    fn place(rules: &TopicRules, topic: &str) -> Option<usize> {
        rules.of(topic).map(TopicRuleId::place)
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
        let parts: Vec<_> =
            parts.map(|(rule, range)| (rule.map(TopicRuleId::place), range)).collect();
        assert_eq!(parts, [(Some(0), 0..2), (Some(1), 2..3), (None, 3..5), (Some(0), 5..6)]);
    }

    #[test]
    fn a_rule_behind_one_that_covers_it_can_never_hold() {
        let rules = rules(&["a.*", "a.b", "a.>", "b.c", "b.>", "a.b.*"]);
        let shadowed = rules.shadowed().map(|(rule, cover)| (rule.place(), cover.place()));
        assert_eq!(shadowed.collect::<Vec<_>>(), [(1, 0), (5, 2)]);
    }

    #[test]
    fn rules_that_are_replaced_hold_no_more_and_are_still_known() {
        let before = rules(&["a.>", "b"]);
        let known = before.of("a.x").expect("the first holds");
        let after = before.replaced(rules(&["b.>", "a.x"]).all().to_vec());
        let found = after.of("a.x").expect("the second holds");
        assert_eq!(after.get(found).map(|rule| rule.pattern.as_str()), Some("a.x"));
        assert_eq!(after.get(known), before.get(known));
        assert_eq!((after.of("b"), after.of("a.y")), (None, None));
        let again = after.replaced(after.all().to_vec());
        assert_eq!(again.of("a.x"), Some(found), "nothing is new");
        assert_eq!(after.replaced(Vec::new()).of("a.x"), None);
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        for each in OnFull::ALL {
            assert_eq!(OnFull::parse(each.name()), Some(each));
        }
        assert_eq!(OnFull::parse("drop"), None);
    }
}
