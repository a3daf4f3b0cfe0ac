//! What operators are told of the routes, their topics and who listens.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use waypost_core::{Destination, MetRoute, RouteDefinition, RouteName, StageName, routes_met};
use waypost_protocol::{Pattern, Topic};

use super::{Plan, Router, RouterMetrics, durable::RoutePartition, outlet::hex, stage::Stage};
use crate::{
    groups::GroupStatus,
    streams::{StreamStatus, Streams},
};

/// A route as it runs at this moment, with what it has counted since the router started.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RouteStatus {
    /// Its name.
    pub name: String,
    /// The pattern of the topics that it takes.
    pub from: String,
    /// Where its messages go; none when its stages say.
    pub to: Option<String>,
    /// How many lanes share its work.
    pub lanes: u16,
    /// Its stages, in order.
    pub stages: Vec<RouteStage>,
    /// Messages that entered it.
    pub messages: u64,
    /// Messages that came out of it.
    pub outputs: u64,
    /// Messages that it gave up on, by reason.
    pub dead_letters: BTreeMap<String, u64>,
    /// Messages that are parked now, to be tried again.
    pub parked: i64,
    /// Bytes of batches that wait for its lanes or are in their work.
    pub held_bytes: u64,
    /// The partitions of streams that it reads, and how far it came there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub partitions: Vec<RoutePartition>,
}

/// A stage of a route, with the version that runs in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RouteStage {
    /// Its plugin.
    pub plugin: String,
    /// The version in the plugin's manifest.
    pub version: String,
    /// SHA-256 of the artefact that runs, in hexadecimal.
    pub digest: String,
    /// What it has counted.
    #[serde(flatten)]
    pub counts: StageStatus,
}

/// A stage since the router started, over all versions that ran in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct StageStatus {
    /// Its route.
    pub route: String,
    /// Its name in the route.
    pub stage: String,
    /// Calls into it, those that failed too.
    pub calls: u64,
    /// Messages that it has given a verdict on.
    pub messages: u64,
    /// Calls that failed as a whole.
    pub failures: u64,
    /// Wall time of all calls, in seconds.
    pub seconds: f64,
    /// Linear memory of all its instances, in bytes.
    pub memory_bytes: u64,
    /// Whether its messages wait.
    pub breaker: BreakerStatus,
}

/// What a stage's breaker is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum BreakerStatus {
    /// Calls go.
    Closed,
    /// The plugin fails again and again: messages wait.
    Open,
}

impl fmt::Display for BreakerStatus {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Closed => "closed",
            Self::Open => "open",
        })
    }
}

impl StageStatus {
    /// What the router has counted of a stage.
    #[must_use]
    pub fn of(route: &RouteName, stage: &StageName, metrics: &RouterMetrics) -> Self {
        let labels = [route.as_str(), stage.as_str()];
        let timed = metrics.stage_seconds.with_label_values(&labels);
        let is_open = metrics.breaker_open.with_label_values(&labels).get() != 0;
        Self {
            route: route.as_str().to_owned(),
            stage: stage.as_str().to_owned(),
            calls: timed.get_sample_count(),
            messages: metrics.stage_messages.with_label_values(&labels).get(),
            failures: metrics.failures_of(labels),
            seconds: timed.get_sample_sum(),
            memory_bytes: metrics
                .stage_memory
                .with_label_values(&labels)
                .get()
                .try_into()
                .unwrap_or(0),
            breaker: if is_open { BreakerStatus::Open } else { BreakerStatus::Closed },
        }
    }
}

/// A pattern that a route takes or leads to, or that someone listens on.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct TopicStatus {
    /// The topic or pattern.
    pub pattern: String,
    /// The routes that take it.
    pub taken_by: Vec<String>,
    /// The routes that lead to it.
    pub led_to_by: Vec<String>,
    /// How many subscriptions have this very pattern.
    pub subscriptions: u64,
    /// Messages that wait for these subscriptions.
    pub waiting_messages: u64,
    /// Bytes of the batches that they are in.
    pub waiting_bytes: u64,
}

/// A subscription as it stands at this moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SubscriptionStatus {
    /// Its number.
    pub id: u64,
    /// The connection that it belongs to.
    pub connection: u64,
    /// What it listens on.
    pub pattern: String,
    /// Messages that wait for it.
    pub waiting_messages: u64,
    /// Bytes of the batches that they are in.
    pub waiting_bytes: u64,
}

/// What a message on a topic would meet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Explanation {
    /// The topic.
    pub topic: String,
    /// The streams that keep it on its way: on this topic, or on one that a route leads to.
    pub streams: Vec<ExplainedStream>,
    /// The routes that take it, then those that take what these lead to, and so on.
    pub routes: Vec<ExplainedRoute>,
    /// Who gets it on its way.
    pub subscriptions: Vec<ExplainedSubscription>,
    /// The groups that one member each gets it of.
    pub groups: Vec<ExplainedGroup>,
}

impl Explanation {
    /// The topics in the order in which the message gets them, with the routes that give them.
    pub(crate) fn topics(&self) -> Vec<(&str, Vec<&str>)> {
        let mut topics = vec![(self.topic.as_str(), Vec::new())];
        for ExplainedRoute { route, .. } in &self.routes {
            let Some(to) = route.to.as_deref() else {
                continue;
            };
            let name = route.name.as_str();
            match topics.iter_mut().find(|(topic, _)| *topic == to) {
                Some((_, origins)) if origins.contains(&name) => {}
                Some((_, origins)) => origins.push(name),
                None => topics.push((to, vec![name])),
            }
        }
        topics
    }

    /// The same with the streams and groups that have something to do with its topics.
    pub(crate) fn with(self, streams: &Streams, groups: Vec<GroupStatus>) -> Self {
        let topics: Vec<String> =
            self.topics().into_iter().map(|(topic, _)| topic.to_owned()).collect();
        let kept = topics.iter().filter_map(|topic| {
            Some(ExplainedStream { topic: topic.clone(), stream: streams.explain(topic)? })
        });
        let taken = topics.iter().flat_map(|topic| {
            let takers = groups.iter().filter(|group| takes(&group.pattern, topic));
            takers.map(|group| ExplainedGroup { topic: topic.clone(), group: group.clone() })
        });
        Self { streams: kept.collect(), groups: taken.collect(), ..self }
    }
}

/// A stream that would keep a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ExplainedStream {
    /// The topic that the message has by then.
    pub topic: String,
    /// The stream.
    #[serde(flatten)]
    pub stream: StreamStatus,
}

/// A group that would take a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ExplainedGroup {
    /// The topic that the message has by then.
    pub topic: String,
    /// The group.
    #[serde(flatten)]
    pub group: GroupStatus,
}

/// A route that a message would meet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ExplainedRoute {
    /// How many routes the message has behind it by then.
    pub hops: u8,
    /// The topic that it has by then.
    pub topic: String,
    /// The route.
    #[serde(flatten)]
    pub route: RouteStatus,
}

/// A subscription that a message would reach.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ExplainedSubscription {
    /// The topic that the message has by then.
    pub topic: String,
    /// The subscription.
    #[serde(flatten)]
    pub subscription: SubscriptionStatus,
}

/// What a route holds, and where it is.
#[derive(Default)]
struct Held {
    bytes: usize,
    partitions: Vec<RoutePartition>,
}

fn takes(pattern: &str, topic: &str) -> bool {
    Pattern::parse(pattern).is_ok_and(|pattern| pattern.matches(topic))
}

impl Router {
    /// Every route, in the order of the configuration.
    #[must_use]
    pub fn route_status(&self) -> Vec<RouteStatus> {
        let held = self.held();
        self.0.plans.all().iter().map(|plan| self.status_of(plan, &held)).collect()
    }

    /// Every subscription, by number.
    #[must_use]
    pub fn subscription_status(&self) -> Vec<SubscriptionStatus> {
        let mut all: Vec<_> = self
            .listeners()
            .iter()
            .map(|(id, listener)| {
                let (messages, bytes) = listener.queue.held();
                SubscriptionStatus {
                    id: id.number(),
                    connection: listener.connection.0,
                    pattern: listener.pattern.as_str().to_owned(),
                    waiting_messages: messages as u64,
                    waiting_bytes: bytes as u64,
                }
            })
            .collect();
        all.sort_unstable_by_key(|subscription| subscription.id);
        all
    }

    /// Every pattern that a route takes or leads to, or that someone listens on, in alphabetical order.
    #[must_use]
    pub fn topic_status(&self) -> Vec<TopicStatus> {
        let mut topics: BTreeMap<String, TopicStatus> = BTreeMap::new();
        for plan in self.0.plans.all().iter() {
            let RouteDefinition { name, source, destination, .. } = &*plan.definition;
            let name = name.as_str().to_owned();
            topics.entry(source.as_str().to_owned()).or_default().taken_by.push(name.clone());
            if let Destination::Topic(topic) = destination {
                topics.entry(topic.as_str().to_owned()).or_default().led_to_by.push(name);
            }
        }
        for subscription in self.subscription_status() {
            let topic = topics.entry(subscription.pattern).or_default();
            topic.subscriptions += 1;
            topic.waiting_messages += subscription.waiting_messages;
            topic.waiting_bytes += subscription.waiting_bytes;
        }
        topics.into_iter().map(|(pattern, topic)| TopicStatus { pattern, ..topic }).collect()
    }

    /// The routes and subscriptions that a message on this topic would meet, as far as that is known before there is
    /// one.
    #[must_use]
    pub fn explain(&self, topic: &Topic) -> Explanation {
        let plans = self.0.plans.all();
        let definitions: Vec<_> = plans.iter().map(|plan| &*plan.definition).collect();
        let held = self.held();
        let met = routes_met(topic, &definitions);
        let routes = met.iter().filter_map(|MetRoute { hops, topic, route }| {
            let plan = plans.iter().find(|plan| plan.definition.name == route.name)?;
            let topic = topic.as_str().to_owned();
            Some(ExplainedRoute { hops: *hops, topic, route: self.status_of(plan, &held) })
        });
        let mut topics = BTreeSet::from([topic]);
        topics.extend(met.iter().filter_map(|met| match &met.route.destination {
            Destination::Topic(topic) => Some(topic),
            Destination::FromPlugin => None,
        }));
        let all = self.subscription_status();
        let reached = topics.iter().flat_map(|topic| {
            let listens = |each: &&SubscriptionStatus| takes(&each.pattern, topic.as_str());
            let subscriptions = all.iter().filter(listens);
            subscriptions.map(|subscription| ExplainedSubscription {
                topic: topic.as_str().to_owned(),
                subscription: subscription.clone(),
            })
        });
        Explanation {
            topic: topic.as_str().to_owned(),
            streams: Vec::new(),
            routes: routes.collect(),
            subscriptions: reached.collect(),
            groups: Vec::new(),
        }
    }

    /// How far each route came in each partition that it reads.
    pub(super) fn lane_status(&self) -> Vec<(RouteName, RoutePartition)> {
        let lanes = self.routes().named_lanes();
        let streams = &self.0.fanout.streams;
        lanes.into_iter().map(|(name, lane)| (name, RoutePartition::of(&lane, streams))).collect()
    }

    fn held(&self) -> HashMap<RouteName, Held> {
        let mut held: HashMap<RouteName, Held> = HashMap::new();
        for (name, bytes) in self.routes().held_bytes() {
            held.entry(name).or_default().bytes = bytes;
        }
        for (name, partition) in self.lane_status() {
            held.entry(name).or_default().partitions.push(partition);
        }
        held
    }

    fn status_of(&self, plan: &Plan, held: &HashMap<RouteName, Held>) -> RouteStatus {
        let RouteDefinition { name, source, destination, lanes, .. } = &*plan.definition;
        let metrics = &self.0.fanout.metrics;
        let stage = |stage: &Stage| {
            let run = stage.version.run();
            RouteStage {
                plugin: run.plugin.clone(),
                version: run.version.clone(),
                digest: hex(&run.digest),
                counts: StageStatus::of(name, &stage.name, metrics),
            }
        };
        let labels = [name.as_str()];
        RouteStatus {
            name: name.as_str().to_owned(),
            from: source.as_str().to_owned(),
            to: match destination {
                Destination::Topic(topic) => Some(topic.as_str().to_owned()),
                Destination::FromPlugin => None,
            },
            lanes: lanes.get(),
            stages: plan.stages.iter().map(stage).collect(),
            messages: metrics.route_messages.with_label_values(&labels).get(),
            outputs: metrics.route_outputs.with_label_values(&labels).get(),
            dead_letters: metrics.dead_letters_of(name.as_str()),
            parked: metrics.parked.with_label_values(&labels).get(),
            held_bytes: held.get(name).map_or(0, |held| held.bytes as u64),
            partitions: held.get(name).map(|held| held.partitions.clone()).unwrap_or_default(),
        }
    }
}
