//! The route table: all patterns that match a topic, found in one pass over its levels.
//!
//! A trie whose edges are levels. A node knows the entries that end there and those whose final `>`
//! begins there. What a look-up costs depends on the topic's levels, not on the number of entries.

use std::collections::HashMap;

use waypost_protocol::{Pattern, PatternLevel};

/// An entry of a table, unique in the table's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntryId(u64);

impl EntryId {
    /// Its number, for peers that are told it.
    #[must_use]
    pub fn number(self) -> u64 {
        self.0
    }
}

/// Patterns, each with a value. A clone shares nothing: a writer changes its own copy and swaps it
/// in while readers go on with the old one.
#[derive(Debug, Clone)]
pub struct RouteTable<T> {
    root: Node<T>,
    patterns: HashMap<EntryId, Pattern>,
    next: u64,
}

#[derive(Debug, Clone)]
struct Node<T> {
    literals: HashMap<Box<str>, Node<T>>,
    one: Option<Box<Node<T>>>,
    here: Vec<(EntryId, T)>,
    rest: Vec<(EntryId, T)>,
}

impl<T> Default for Node<T> {
    fn default() -> Self {
        Self { literals: HashMap::new(), one: None, here: Vec::new(), rest: Vec::new() }
    }
}

impl<T> Default for RouteTable<T> {
    fn default() -> Self {
        Self { root: Node::default(), patterns: HashMap::new(), next: 0 }
    }
}

impl<T> RouteTable<T> {
    /// A table without entries, which matches nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.patterns.len()
    }

    /// Whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Adds an entry. The same pattern may stand there more than once.
    pub fn insert(&mut self, pattern: &Pattern, value: T) -> EntryId {
        let id = EntryId(self.next);
        self.next += 1;
        self.patterns.insert(id, pattern.clone());
        let mut node = &mut self.root;
        for level in pattern.levels() {
            node = match level {
                PatternLevel::Literal(literal) => node.literals.entry(literal.into()).or_default(),
                PatternLevel::One => node.one.get_or_insert_default(),
                PatternLevel::Rest => {
                    node.rest.push((id, value));
                    return id;
                }
            };
        }
        node.here.push((id, value));
        id
    }

    /// Takes an entry out; says whether it was there.
    pub fn remove(&mut self, id: EntryId) -> bool {
        let Some(pattern) = self.patterns.remove(&id) else {
            return false;
        };
        self.root.remove(&mut pattern.levels(), id);
        true
    }

    /// Calls `found` for each entry whose pattern matches the topic, once each, in no set order.
    pub fn for_each_match<'a>(&'a self, topic: &str, mut found: impl FnMut(EntryId, &'a T)) {
        // Wildcards never match a first level of the router, so only the literal edge is taken.
        if topic.starts_with('$') {
            let (first, behind) = split(topic);
            if let Some(node) = self.root.literals.get(first) {
                node.visit(behind, &mut found);
            }
        } else {
            self.root.visit(Some(topic), &mut found);
        }
    }
}

impl<T> Node<T> {
    fn is_unused(&self) -> bool {
        self.literals.is_empty()
            && self.one.is_none()
            && self.here.is_empty()
            && self.rest.is_empty()
    }

    /// Depth is bounded by the number of levels that a topic may have.
    fn visit<'a>(&'a self, topic: Option<&str>, found: &mut impl FnMut(EntryId, &'a T)) {
        let entries = if topic.is_some() { &self.rest } else { &self.here };
        for (id, value) in entries {
            found(*id, value);
        }
        let Some(topic) = topic else {
            return;
        };
        let (first, behind) = split(topic);
        if let Some(node) = self.literals.get(first) {
            node.visit(behind, found);
        }
        if let Some(node) = &self.one {
            node.visit(behind, found);
        }
    }

    fn remove<'p>(&mut self, levels: &mut impl Iterator<Item = PatternLevel<'p>>, id: EntryId) {
        match levels.next() {
            None => self.here.retain(|(each, _)| *each != id),
            Some(PatternLevel::Rest) => self.rest.retain(|(each, _)| *each != id),
            Some(PatternLevel::One) => {
                if let Some(node) = &mut self.one {
                    node.remove(levels, id);
                }
                self.one.take_if(|node| node.is_unused());
            }
            Some(PatternLevel::Literal(literal)) => {
                if let Some(node) = self.literals.get_mut(literal) {
                    node.remove(levels, id);
                    if node.is_unused() {
                        self.literals.remove(literal);
                    }
                }
            }
        }
    }
}

fn split(topic: &str) -> (&str, Option<&str>) {
    topic.split_once('.').map_or((topic, None), |(first, behind)| (first, Some(behind)))
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn matches(table: &RouteTable<usize>, topic: &str) -> Vec<usize> {
        let mut found = Vec::new();
        table.for_each_match(topic, |_, value| found.push(*value));
        found.sort_unstable();
        found
    }

    /// Few names and few levels, so that patterns and topics meet often.
    fn pattern() -> impl Strategy<Value = Pattern> {
        "(\\$a|a|b|\\*)(\\.(a|b|\\*)){0,3}(\\.>)?|>"
            .prop_map(|text| Pattern::parse(&text).expect("the strategy writes patterns"))
    }

    proptest! {
        #[test]
        fn the_table_finds_what_the_definition_says(
            patterns in vec((pattern(), any::<bool>()), 0..40),
            topics in vec("(\\$a|a|b)(\\.(a|b)){0,4}", 1..20),
        ) {
            let mut table = RouteTable::new();
            let entry = |(index, (pattern, _)): (usize, &(Pattern, bool))| table.insert(pattern, index);
            let ids: Vec<EntryId> = patterns.iter().enumerate().map(entry).collect();
            for (id, (_, kept)) in ids.iter().zip(&patterns) {
                if !kept {
                    prop_assert!(table.remove(*id) && !table.remove(*id));
                }
            }
            for topic in &topics {
                let expected = |(_, (pattern, kept)): &(usize, &(Pattern, bool))| *kept && pattern.matches(topic);
                let expected: Vec<usize> =
                    patterns.iter().enumerate().filter(expected).map(|(index, _)| index).collect();
                prop_assert_eq!(matches(&table, topic), expected);
            }
        }

        #[test]
        fn a_table_whose_entries_are_all_removed_keeps_no_node(patterns in vec(pattern(), 0..40)) {
            let mut table = RouteTable::new();
            let ids: Vec<EntryId> = patterns.iter().map(|pattern| table.insert(pattern, 0)).collect();
            for id in ids {
                prop_assert!(table.remove(id));
            }
            prop_assert!(table.is_empty() && table.root.is_unused());
        }
    }
}
