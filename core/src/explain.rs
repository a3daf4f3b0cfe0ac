//! What a message on a topic meets, as far as the routes say so before there is a message.

use std::collections::{HashSet, VecDeque};

use waypost_protocol::{Inbox, Topic};

use crate::{Destination, MAX_HOPS, RouteDefinition};

/// A route that takes a topic, or what another route makes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetRoute<'a> {
    /// How many routes a message has behind it when it comes here.
    pub hops: u8,
    /// The topic that it has by then.
    pub topic: &'a Topic,
    /// The route.
    pub route: &'a RouteDefinition,
}

/// The routes that a message on this topic meets: those that take it, then those that take what these lead to,
/// and so on, as far as a message may go. What a stage sends elsewhere is known to nobody before it does.
#[must_use]
pub fn routes_met<'a>(topic: &'a Topic, routes: &[&'a RouteDefinition]) -> Vec<MetRoute<'a>> {
    let mut met = Vec::new();
    let mut seen = HashSet::from([topic]);
    let mut next = VecDeque::from([(0, topic)]);
    while let Some((hops, topic)) = next.pop_front() {
        // An inbox leads to its subscription alone.
        if hops == MAX_HOPS || Inbox::covers(topic.as_str()) {
            continue;
        }
        for route in routes.iter().filter(|route| route.source.matches(topic.as_str())) {
            met.push(MetRoute { hops, topic, route });
            if let Destination::Topic(behind) = &route.destination
                && seen.insert(behind)
            {
                next.push_back((hops + 1, behind));
            }
        }
    }
    met
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use waypost_protocol::Pattern;

    use super::*;
    use crate::{BatchPolicy, BreakerPolicy, RetryPolicy, RouteName, RouteStart};

    fn route(name: &str, source: &str, destination: Option<&str>) -> RouteDefinition {
        RouteDefinition {
            name: RouteName::parse(name).expect("a name"),
            source: Pattern::parse(source).expect("a pattern"),
            start: RouteStart::End,
            stages: Vec::new(),
            destination: destination.map_or(Destination::FromPlugin, |topic| {
                Destination::Topic(Topic::parse(topic).expect("a topic"))
            }),
            lanes: NonZeroU16::MIN,
            batch: BatchPolicy::default(),
            breaker: BreakerPolicy::default(),
            retry: RetryPolicy::default(),
        }
    }

    fn check(topic: &str, routes: &[RouteDefinition], expected: &[(u8, &str, &str)]) {
        let topic = Topic::parse(topic).expect("a topic");
        let routes: Vec<_> = routes.iter().collect();
        let met = routes_met(&topic, &routes);
        let met: Vec<_> =
            met.iter().map(|met| (met.hops, met.topic.as_str(), met.route.name.as_str())).collect();
        assert_eq!(met, expected);
    }

    #[test]
    fn a_topic_meets_the_routes_whose_patterns_match_it() {
        let routes = [
            route("exact", "a.b", Some("out")),
            route("wide", "a.>", None),
            route("other", "c", Some("out")),
        ];
        check("a.b", &routes, &[(0, "a.b", "exact"), (0, "a.b", "wide")]);
        check("a.b.c", &routes, &[(0, "a.b.c", "wide")]);
        check("d", &routes, &[]);
    }

    #[test]
    fn what_a_route_leads_to_is_followed() {
        let routes = [
            route("first", "a", Some("b")),
            route("second", "b", Some("c")),
            route("audit", "*", Some("d.all")),
        ];
        check(
            "a",
            &routes,
            &[
                (0, "a", "first"),
                (0, "a", "audit"),
                (1, "b", "second"),
                (1, "b", "audit"),
                (2, "c", "audit"),
            ],
        );
    }

    #[test]
    fn a_message_is_followed_no_further_than_it_may_go() {
        let topic = |number: u8| format!("t{number}");
        let routes: Vec<_> = (0..20)
            .map(|number| route(&topic(number), &topic(number), Some(&topic(number + 1))))
            .collect();
        let routes: Vec<_> = routes.iter().collect();
        let first = Topic::parse("t0").expect("a topic");
        let met = routes_met(&first, &routes);
        assert_eq!(met.last().map(|met| (met.hops, met.topic.as_str())), Some((15, "t15")));
    }

    #[test]
    fn a_ring_is_followed_once() {
        let routes = [route("there", "a", Some("b")), route("back", "b", Some("a"))];
        check("a", &routes, &[(0, "a", "there"), (1, "b", "back")]);
    }

    #[test]
    fn wildcards_do_not_take_what_belongs_to_the_router() {
        let routes = [route("all", ">", Some("out.all")), route("dead", "$dead.x", Some("out.x"))];
        check(
            "$dead.x",
            &routes,
            &[(0, "$dead.x", "dead"), (1, "out.x", "all"), (2, "out.all", "all")],
        );
        check("$inbox.7-000000000000000000000000000000ff", &routes, &[]);
    }
}
