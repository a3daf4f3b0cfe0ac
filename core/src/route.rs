//! Route definitions: what a configuration says of the routes, parsed into what cannot be wrong.

use std::{collections::HashSet, fmt, num::NonZeroU16, sync::Arc};

use waypost_protocol::{Pattern, Topic};

use crate::{BreakerPolicy, Link, RetryPolicy, circles};

/// Why text is no name of a route, stage, stream, group or plugin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no name; names are 1 to 64 characters of a-z 0-9 -")]
pub struct NameError(pub String);

macro_rules! names {
    ($($(#[doc = $doc:literal])+ $name:ident;)+) => {$(
        $(#[doc = $doc])+
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Parses a name.
            ///
            /// # Errors
            ///
            /// Text that is empty, over 64 bytes, or not made of `a-z 0-9 -`.
            pub fn parse(text: &str) -> Result<Self, NameError> {
                if is_name(text) { Ok(Self(text.into())) } else { Err(NameError(text.to_owned())) }
            }

            /// Its text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }
    )+};
}

names! {
    /// The name of a route.
    RouteName;
    /// The name of a stage within its route.
    StageName;
    /// The name of a stream.
    StreamName;
    /// The name of a group of consumers.
    GroupName;
    /// The name of a plugin: its file in the plugin folder without `.wasm`.
    PluginName;
}

fn is_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=64).contains(&text.len()) && text.bytes().all(allowed)
}

impl GroupName {
    /// The name that the router keeps those dead letters under that have left; nobody joins it.
    #[must_use]
    pub fn of_letters() -> Self {
        Self("$dead".into())
    }

    /// Whether the router keeps something of its own under it.
    #[must_use]
    pub fn is_of_router(&self) -> bool {
        self.0.starts_with('$')
    }

    /// Parses a name that was stored, which may be the router's own.
    ///
    /// # Errors
    ///
    /// As [`parse`](Self::parse).
    pub fn parse_stored(text: &str) -> Result<Self, NameError> {
        let own = Self::of_letters();
        if text == own.as_str() { Ok(own) } else { Self::parse(text) }
    }
}

impl RouteName {
    /// The topic that holds what this route gave up on.
    #[must_use]
    pub fn dead_letter_topic(&self) -> String {
        format!("$dead.{self}")
    }
}

/// Where a route's messages go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// All to this topic.
    Topic(Topic),
    /// Each to the topic that a stage gave it.
    FromPlugin,
}

/// Where a new route begins in the streams whose topics it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RouteStart {
    /// With what is stored from then on.
    #[default]
    End,
    /// With the oldest message that is still there.
    Beginning,
}

impl RouteStart {
    /// All of them, in the order in which they are told.
    pub const ALL: [Self; 2] = [Self::End, Self::Beginning];

    /// Its name in configurations.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::End => "end",
            Self::Beginning => "beginning",
        }
    }

    /// What has this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|each| each.name() == name)
    }
}

impl fmt::Display for RouteStart {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// When a lane closes a batch: at whichever bound is met first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchPolicy {
    /// Messages.
    pub max_messages: u32,
    /// Bytes of the batch.
    pub max_bytes: u32,
    /// Milliseconds since its first message; 0 takes what is there and never waits.
    pub linger_ms: u32,
}

impl Default for BatchPolicy {
    fn default() -> Self {
        Self { max_messages: 1024, max_bytes: 1 << 20, linger_ms: 0 }
    }
}

/// One plugin with its configuration inside a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageDefinition {
    /// Unique within its route.
    pub name: StageName,
    /// Which plugin runs.
    pub plugin: PluginName,
    /// What it is configured with, as JSON text.
    pub configuration: String,
}

/// A route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteDefinition {
    /// Unique within the router.
    pub name: RouteName,
    /// Which topics it takes.
    pub source: Pattern,
    /// Where it begins in streams that it has not read before.
    pub start: RouteStart,
    /// What it does with them, in order.
    pub stages: Vec<StageDefinition>,
    /// Where the outcome goes.
    pub destination: Destination,
    /// How many lanes share its work.
    pub lanes: NonZeroU16,
    /// How its lanes form batches.
    pub batch: BatchPolicy,
    /// When the breaker of one of its stages opens.
    pub breaker: BreakerPolicy,
    /// How it tries messages again.
    pub retry: RetryPolicy,
}

/// Why routes do not stand together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouteSetError {
    /// Two routes have one name.
    #[error("two routes are named {0}; give each its own name")]
    DuplicateRoute(RouteName),
    /// Two stages of a route have one name.
    #[error("route {route} has two stages named {stage}; give each its own name")]
    DuplicateStage {
        /// The route.
        route: RouteName,
        /// The name that stands twice.
        stage: StageName,
    },
    /// The destination belongs to the router.
    #[error(
        "route {route} leads to {topic}, which belongs to the router; choose a topic without $"
    )]
    SystemDestination {
        /// The route.
        route: RouteName,
        /// Its destination.
        topic: Topic,
    },
    /// Routes feed each other in a circle, which no message could leave.
    #[error("routes lead in a circle: {}; let one of them lead elsewhere", told(.0))]
    Circle(Vec<Link>),
    /// No stage could give the messages a topic.
    #[error("route {0} has neither a destination nor a stage that could give one; set destination")]
    NoDestination(RouteName),
}

/// Everything that keeps these routes from standing together; nothing when they do.
#[must_use]
pub fn check_routes(routes: &[RouteDefinition]) -> Vec<RouteSetError> {
    let mut errors = Vec::new();
    let mut names = HashSet::new();
    for route in routes {
        if !names.insert(&route.name) {
            errors.push(RouteSetError::DuplicateRoute(route.name.clone()));
        }
        check_stages(route, &mut errors);
        check_destination(route, &mut errors);
    }
    errors.extend(circles(routes).into_iter().map(RouteSetError::Circle));
    errors
}

fn told(circle: &[Link]) -> String {
    let steps = circle.iter().map(|Link { route, topic }| format!("{route} leads to {topic}"));
    let first = circle.first().map_or("", |link| link.route.as_str());
    format!("{}, which {first} takes", steps.collect::<Vec<_>>().join(", "))
}

fn check_stages(route: &RouteDefinition, errors: &mut Vec<RouteSetError>) {
    let mut names = HashSet::new();
    for stage in &route.stages {
        if !names.insert(&stage.name) {
            let (route, stage) = (route.name.clone(), stage.name.clone());
            errors.push(RouteSetError::DuplicateStage { route, stage });
        }
    }
}

fn check_destination(route: &RouteDefinition, errors: &mut Vec<RouteSetError>) {
    let name = route.name.clone();
    match &route.destination {
        Destination::FromPlugin if route.stages.is_empty() => {
            errors.push(RouteSetError::NoDestination(name));
        }
        Destination::Topic(topic) if topic.is_system() => {
            let topic = topic.clone();
            errors.push(RouteSetError::SystemDestination { route: name, topic });
        }
        Destination::FromPlugin | Destination::Topic(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(
        name: &str,
        source: &str,
        destination: Option<&str>,
        stages: &[&str],
    ) -> RouteDefinition {
        RouteDefinition {
            name: RouteName::parse(name).expect("a name"),
            source: Pattern::parse(source).expect("a pattern"),
            start: RouteStart::End,
            stages: stages
                .iter()
                .map(|stage| StageDefinition {
                    name: StageName::parse(stage).expect("a name"),
                    plugin: PluginName::parse("filter-json").expect("a name"),
                    configuration: "{}".into(),
                })
                .collect(),
            destination: destination.map_or(Destination::FromPlugin, |topic| {
                Destination::Topic(Topic::parse(topic).expect("a topic"))
            }),
            lanes: NonZeroU16::MIN,
            batch: BatchPolicy::default(),
            breaker: BreakerPolicy::default(),
            retry: RetryPolicy::default(),
        }
    }

    fn check(routes: &[RouteDefinition], expected: &[&str]) {
        let found: Vec<String> = check_routes(routes).iter().map(ToString::to_string).collect();
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.contains(expected), "{found} does not say {expected}");
        }
    }

    #[test]
    fn routes_that_stand_together_have_no_errors() {
        check(
            &[
                route("a", "in.>", Some("out"), &[]),
                route("b", "in.*", None, &["s"]),
                route("c", "out", Some("end"), &[]),
            ],
            &[],
        );
    }

    #[test]
    fn everything_wrong_is_said_at_once() {
        check(
            &[
                route("a", "in", Some("$dead.a"), &["s", "s"]),
                route("a", "other", Some("other"), &[]),
                route("c", "third", None, &[]),
            ],
            &[
                "two stages named s",
                "belongs to the router",
                "two routes",
                "neither",
                "circle: a leads to other, which a takes",
            ],
        );
    }

    #[test]
    fn routes_that_feed_each_other_in_a_circle_are_refused_with_the_whole_of_it() {
        check(
            &[route("a", "in.>", Some("in.again"), &[])],
            &["circle: a leads to in.again, which a takes; let"],
        );
        check(
            &[route("a", "a", Some("b"), &[]), route("b", "*", Some("a"), &[])],
            &["circle: a leads to b, b leads to a, which a takes; let"],
        );
    }

    #[test]
    fn names_are_short_and_plain() {
        for text in ["", "A", "a b", "a.b", "a_b", &"x".repeat(65)] {
            assert_eq!(RouteName::parse(text), Err(NameError(text.to_owned())));
        }
    }
}
