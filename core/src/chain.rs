//! Routes that feed routes: how far a message may go, and circles that the definitions themselves show.

use std::{
    collections::{HashMap, HashSet, VecDeque, hash_map::Entry},
    num::NonZeroU16,
};

use waypost_protocol::{ConnectionId, ErrorCode, Topic};

use crate::{Destination, RouteDefinition, RouteName, lane_of};

/// Routes that a message may go through.
pub const MAX_HOPS: u8 = 16;

/// How a batch came to a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lineage {
    /// When the router took in what it descends from, in milliseconds since the Unix epoch.
    pub ingest_ms: u64,
    /// The routes that it went through before.
    pub hops: u8,
    /// Its messages are dead letters of the route before.
    pub is_letter: bool,
}

impl Lineage {
    /// Straight from a publisher.
    #[must_use]
    pub fn published(ingest_ms: u64) -> Self {
        Self { ingest_ms, hops: 0, is_letter: false }
    }

    /// The routes that what leaves the route went through.
    #[must_use]
    pub fn hops_behind(self) -> u8 {
        self.hops.saturating_add(1)
    }

    /// What comes out of the route on its way into the next one; `None` when it went through as many as it may.
    #[must_use]
    pub fn onward(self) -> Option<Self> {
        let hops = self.hops_behind();
        (hops < MAX_HOPS).then_some(Self { hops, is_letter: false, ..self })
    }

    /// A dead letter of the route, for this reason, on its way into another; `None` when it feeds none: a letter
    /// about a letter, so that a route that fails on letters does not get its own again, and the letter that ends
    /// a circle.
    #[must_use]
    pub fn letter(self, reason: ErrorCode) -> Option<Self> {
        let is_last = self.is_letter || reason == ErrorCode::HopLimit;
        let next = self.onward().filter(|_| !is_last)?;
        Some(Self { is_letter: true, ..next })
    }
}

/// Which lane of a route a message from another route belongs to: messages with one key share a lane, and those
/// without one that come from the same lane.
#[must_use]
pub fn chained_lane_of(upstream: u16, key: Option<&[u8]>, lanes: NonZeroU16) -> u16 {
    let source = if key.is_some() { 0 } else { u64::from(upstream) };
    lane_of(ConnectionId(source), key, lanes)
}

/// One step of a circle: a route and the topic that it leads to, which the next one takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The route.
    pub route: RouteName,
    /// Its destination.
    pub topic: Topic,
}

/// Circles that messages could never leave, as fixed destinations show. Each route on a circle is in one that is
/// told, the shortest that leads back to it, unless it was in one told before.
#[must_use]
pub fn circles(routes: &[RouteDefinition]) -> Vec<Vec<Link>> {
    let fixed: Vec<(&RouteDefinition, &Topic)> = routes
        .iter()
        .filter_map(|route| match &route.destination {
            Destination::Topic(topic) => Some((route, topic)),
            Destination::FromPlugin => None,
        })
        .collect();
    let next = |from: usize| {
        let topic = fixed.get(from).map(|(_, topic)| topic.as_str());
        fixed.iter().enumerate().filter_map(move |(index, (route, _))| {
            topic.is_some_and(|topic| route.source.matches(topic)).then_some(index)
        })
    };
    let (mut found, mut told) = (Vec::new(), HashSet::new());
    for start in 0..fixed.len() {
        if told.contains(&start) {
            continue;
        }
        let Some(circle) = shortest_back(start, next) else {
            continue;
        };
        told.extend(circle.iter().copied());
        let link = |index: usize| {
            let (route, topic) = fixed.get(index)?;
            Some(Link { route: route.name.clone(), topic: (*topic).clone() })
        };
        found.push(circle.into_iter().filter_map(link).collect());
    }
    found
}

/// The shortest way from a node back to it, beginning with it.
fn shortest_back<I: Iterator<Item = usize>>(
    start: usize,
    next: impl Fn(usize) -> I,
) -> Option<Vec<usize>> {
    let mut before = HashMap::new();
    let mut queue = VecDeque::from([start]);
    while let Some(node) = queue.pop_front() {
        for other in next(node) {
            if other == start {
                let mut way = vec![node];
                while let Some(&node) = way.last().filter(|node| **node != start) {
                    way.extend(before.get(&node));
                }
                way.reverse();
                return Some(way);
            }
            if let Entry::Vacant(entry) = before.entry(other) {
                entry.insert(node);
                queue.push_back(other);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use waypost_protocol::Pattern;

    use super::*;
    use crate::{BatchPolicy, BreakerPolicy, RetryPolicy, RouteStart};

    fn route(name: &str, source: &str, destination: &str) -> RouteDefinition {
        RouteDefinition {
            name: RouteName::parse(name).expect("a name"),
            source: Pattern::parse(source).expect("a pattern"),
            start: RouteStart::End,
            stages: Vec::new(),
            destination: match destination {
                "" => Destination::FromPlugin,
                topic => Destination::Topic(Topic::parse(topic).expect("a topic")),
            },
            lanes: NonZeroU16::MIN,
            batch: BatchPolicy::default(),
            breaker: BreakerPolicy::default(),
            retry: RetryPolicy::default(),
        }
    }

    /// Routes as `name source destination`; circles as `name>topic` steps.
    fn check(routes: &[&str], expected: &[&str]) {
        let parse = |text: &&str| {
            let mut words = text.split(' ');
            let mut word = || words.next().unwrap_or_default();
            route(word(), word(), word())
        };
        let routes: Vec<RouteDefinition> = routes.iter().map(parse).collect();
        let found: Vec<String> = circles(&routes)
            .iter()
            .map(|circle| {
                let links = circle.iter().map(|link| format!("{}>{}", link.route, link.topic));
                links.collect::<Vec<_>>().join(" ")
            })
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn routes_may_feed_each_other_as_long_as_none_feeds_itself() {
        check(&["a in.a mid", "b mid out", "c mid.> out", "d out end"], &[]);
    }

    #[test]
    fn a_circle_is_told_whole_and_once() {
        check(&["a a b", "b b c", "c c a"], &["a>b b>c c>a"]);
        check(&["a in.> in.again"], &["a>in.again"]);
        check(&["x start a", "a a b", "b b a", "y a out"], &["a>b b>a"]);
    }

    #[test]
    fn separate_circles_are_told_each_and_joint_ones_by_the_shortest() {
        check(&["a a b", "b b a", "c c d", "d d c"], &["a>b b>a", "c>d d>c"]);
        check(&["a a b", "b b a", "c b a"], &["a>b b>a", "c>a a>b"]);
    }

    #[test]
    fn a_topic_that_a_stage_gives_shows_no_circle() {
        check(&["a a b", "b b "], &[]);
    }

    #[test]
    fn a_message_goes_through_as_many_routes_as_it_may_and_no_more() {
        let mut lineage = Some(Lineage::published(5));
        let mut routes = 0;
        while let Some(at) = lineage {
            routes += 1;
            assert_eq!((at.hops_behind(), at.ingest_ms), (routes, 5));
            lineage = at.onward();
        }
        assert_eq!(routes, MAX_HOPS);
    }

    #[test]
    fn a_letter_feeds_a_route_once_and_what_comes_of_it_goes_on() {
        let failed = Lineage::published(5);
        let letter = failed.letter(ErrorCode::PluginTrap).expect("it feeds routes");
        assert_eq!(letter, Lineage { ingest_ms: 5, hops: 1, is_letter: true });
        assert_eq!(letter.letter(ErrorCode::PluginTrap), None);
        let onward = letter.onward().expect("it is far from the limit");
        assert!(!onward.is_letter && onward.letter(ErrorCode::PluginTrap).is_some());
        assert_eq!(failed.letter(ErrorCode::HopLimit), None);
        let last = Lineage { hops: MAX_HOPS - 1, ..failed };
        assert_eq!(last.letter(ErrorCode::PluginTrap), None);
    }

    #[test]
    fn messages_from_another_route_share_a_lane_by_key_or_by_the_lane_they_came_from() {
        let lanes = NonZeroU16::new(16).expect("not zero");
        for upstream in 0..8 {
            assert_eq!(
                chained_lane_of(upstream, Some(b"k"), lanes),
                chained_lane_of(0, Some(b"k"), lanes)
            );
        }
        let used: HashSet<u16> =
            (0..64).map(|upstream| chained_lane_of(upstream, None, lanes)).collect();
        assert!(used.len() > 4, "those without a key spread");
    }
}
