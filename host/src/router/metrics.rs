//! What the router counts.

use std::collections::{BTreeMap, HashMap};

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry,
    core::{Collector as _, MetricVec, MetricVecBuilder},
    proto::{Metric, MetricFamily},
};
use waypost_core::{OnFull, RouteDefinition, RouteName, TopicRule, TopicRules};
use waypost_protocol::ErrorCode;

/// Why a call into a plugin fails as a whole.
const CALL_FAILURES: [ErrorCode; 6] = [
    ErrorCode::PluginTrap,
    ErrorCode::PluginTimeout,
    ErrorCode::PluginMemory,
    ErrorCode::PluginOutput,
    ErrorCode::PluginContract,
    ErrorCode::Internal,
];

/// The router's series. Labels are names and patterns from the configuration and error codes, never topics.
#[derive(Debug)]
pub struct RouterMetrics {
    /// Messages that publishers handed in.
    pub received: IntCounter,
    /// Bytes of their batches.
    pub received_bytes: IntCounter,
    /// Messages that matched nothing.
    pub unrouted: IntCounter,
    /// Replies to inboxes that nobody listens on.
    pub dead_inbox_replies: IntCounter,
    /// Requests that nobody was there for.
    pub unanswerable_requests: IntCounter,
    /// Messages put into subscriptions' queues.
    pub delivered: IntCounter,
    /// Subscriptions that stand.
    pub subscriptions: IntGauge,
    /// Subscriptions that were ended for taking nothing.
    pub slow_consumers: IntCounter,
    /// Messages that subscriptions had no room for, by the pattern and policy of their `[[topic]]` table.
    pub topic_dropped: IntCounterVec,
    /// Messages that entered a route.
    pub route_messages: IntCounterVec,
    /// Messages that a stage dropped on purpose.
    pub dropped: IntCounterVec,
    /// Messages that came out of a route.
    pub route_outputs: IntCounterVec,
    /// Dead letters by route and reason.
    pub dead_letters: IntCounterVec,
    /// Dead letters that nobody was subscribed to.
    pub dead_letters_unseen: IntCounterVec,
    /// Calls into plugins that failed as a whole.
    pub stage_failures: IntCounterVec,
    /// The same by plugin, whatever its stages.
    pub plugin_failures: IntCounterVec,
    /// Instances of a stage's plugin that did not start.
    pub stage_start_failures: IntCounterVec,
    /// Bytes of linear memory that the instances of a stage have.
    pub stage_memory: IntGaugeVec,
    /// Messages that were parked to be tried again.
    pub retries: IntCounterVec,
    /// Messages that are parked now, those behind a retry with their key too.
    pub parked: IntGaugeVec,
    /// Breakers that opened.
    pub breaker_opened: IntCounterVec,
    /// 1 while a stage's breaker is open and its messages wait.
    pub breaker_open: IntGaugeVec,
    /// Messages that a stage has given a verdict on.
    pub stage_messages: IntCounterVec,
    /// Messages that a stage's plugin failed on.
    pub stage_failed_messages: IntCounterVec,
    /// Seconds of one call into a plugin.
    pub stage_seconds: HistogramVec,
    /// Messages in a batch that a lane ran.
    pub batch_messages: Histogram,
    /// Versions that were swapped in.
    pub swaps: IntCounterVec,
}

impl RouterMetrics {
    /// Makes the series and registers them.
    ///
    /// # Errors
    ///
    /// A series of the same name is registered already.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counter = |name: &str, help: &str| IntCounter::new(name, help);
        let by = |name: &str, help: &str, labels: &[&str]| {
            IntCounterVec::new(Opts::new(name, help), labels)
        };
        let seconds = HistogramOpts::new(
            "waypost_stage_call_seconds",
            "Wall time of one call into a plugin, for a whole batch",
        )
        .buckets(prometheus::exponential_buckets(1e-5, 4.0, 10)?);
        let messages = HistogramOpts::new(
            "waypost_lane_batch_messages",
            "Messages in a batch that a lane ran",
        )
        .buckets(prometheus::exponential_buckets(1.0, 4.0, 8)?);
        let metrics = Self {
            received: counter(
                "waypost_messages_received_total",
                "Messages that publishers handed in",
            )?,
            received_bytes: counter("waypost_received_bytes_total", "Bytes of received batches")?,
            unrouted: counter(
                "waypost_messages_unrouted_total",
                "Messages that matched no route and no subscription",
            )?,
            dead_inbox_replies: counter(
                "waypost_replies_no_responder_total",
                "Replies to an inbox that nobody listens on: they came late, or the requester has gone",
            )?,
            unanswerable_requests: counter(
                "waypost_requests_no_responder_total",
                "Requests that no subscription took, before or behind a route",
            )?,
            delivered: counter(
                "waypost_messages_delivered_total",
                "Messages put into the queues of subscriptions",
            )?,
            subscriptions: IntGauge::new("waypost_subscriptions", "Subscriptions that stand")?,
            slow_consumers: counter(
                "waypost_slow_consumers_total",
                "Subscriptions that were ended because they took nothing",
            )?,
            topic_dropped: by(
                "waypost_topic_dropped_total",
                "Messages that were dropped because a subscription had no room for them",
                &["pattern", "on_full"],
            )?,
            route_messages: by(
                "waypost_route_messages_total",
                "Messages that entered a route",
                &["route"],
            )?,
            dropped: by(
                "waypost_stage_dropped_total",
                "Messages that a stage dropped on purpose",
                &["route", "stage"],
            )?,
            route_outputs: by(
                "waypost_route_outputs_total",
                "Messages that came out of a route",
                &["route"],
            )?,
            dead_letters: by(
                "waypost_dead_letters_total",
                "Dead letters by reason",
                &["route", "reason"],
            )?,
            dead_letters_unseen: by(
                "waypost_dead_letters_unseen_total",
                "Dead letters that nobody was subscribed to",
                &["route"],
            )?,
            stage_failures: by(
                "waypost_stage_failures_total",
                "Calls into plugins that failed as a whole",
                &["route", "stage", "reason"],
            )?,
            plugin_failures: by(
                "waypost_plugin_failures_total",
                "Calls into a plugin that failed as a whole, in all its stages",
                &["plugin", "reason"],
            )?,
            stage_start_failures: by(
                "waypost_stage_start_failures_total",
                "Instances of a stage's plugin that did not start",
                &["route", "stage"],
            )?,
            stage_memory: IntGaugeVec::new(
                Opts::new(
                    "waypost_stage_memory_bytes",
                    "Linear memory of all instances of a stage's plugin",
                ),
                &["route", "stage"],
            )?,
            stage_messages: by(
                "waypost_stage_messages_total",
                "Messages that a stage has given a verdict on",
                &["route", "stage"],
            )?,
            stage_failed_messages: by(
                "waypost_stage_failed_messages_total",
                "Messages that a stage's plugin failed on, each found guilty alone",
                &["route", "stage"],
            )?,
            retries: by(
                "waypost_stage_retries_total",
                "Times that a message was parked to be tried again",
                &["route", "stage"],
            )?,
            parked: IntGaugeVec::new(
                Opts::new(
                    "waypost_route_parked_messages",
                    "Messages that wait to be tried again, or behind one with their key",
                ),
                &["route"],
            )?,
            breaker_opened: by(
                "waypost_stage_breaker_opened_total",
                "Times that a stage's breaker opened because its plugin failed again and again",
                &["route", "stage"],
            )?,
            breaker_open: IntGaugeVec::new(
                Opts::new(
                    "waypost_stage_breaker_open",
                    "1 while a stage's breaker is open or tries whether the plugin works again",
                ),
                &["route", "stage"],
            )?,
            stage_seconds: HistogramVec::new(seconds, &["route", "stage"])?,
            batch_messages: Histogram::with_opts(messages)?,
            swaps: by(
                "waypost_stage_swaps_total",
                "Versions of a stage that were swapped in while it ran",
                &["route", "stage"],
            )?,
        };
        metrics.register_all(registry)?;
        Ok(metrics)
    }

    /// Makes a route's series stand at zero before its first message, so that a rate over them has a
    /// beginning.
    pub(super) fn announce(&self, route: &RouteDefinition) {
        let name = route.name.as_str();
        for each in [&self.route_messages, &self.route_outputs, &self.dead_letters_unseen] {
            each.with_label_values(&[name]);
        }
        self.parked.with_label_values(&[name]);
        for stage in &route.stages {
            let labels = [name, stage.name.as_str()];
            self.dropped.with_label_values(&labels);
            self.stage_messages.with_label_values(&labels);
            self.stage_failed_messages.with_label_values(&labels);
            self.swaps.with_label_values(&labels);
            self.retries.with_label_values(&labels);
            self.breaker_opened.with_label_values(&labels);
            self.breaker_open.with_label_values(&labels);
            self.stage_start_failures.with_label_values(&labels);
            self.stage_memory.with_label_values(&labels);
            let _ = self.failures_of(labels);
            self.stage_seconds.with_label_values(&labels);
        }
    }

    /// Makes the series of the rules that drop stand at zero.
    pub(super) fn announce_rules(&self, rules: &TopicRules) {
        for rule in rules.all().iter().filter(|rule| rule.on_full != OnFull::Block) {
            self.topic_dropped.with_label_values(&[rule.pattern.as_str(), rule.on_full.name()]);
        }
    }

    /// Takes away the series of rules that hold no more. What still waits under one and is dropped brings its
    /// series back.
    pub(super) fn forget_rules(&self, before: &TopicRules, now: &TopicRules) {
        let is_same = |one: &TopicRule, other: &TopicRule| {
            one.pattern == other.pattern && one.on_full == other.on_full
        };
        for rule in before.all() {
            if !now.all().iter().any(|kept| is_same(kept, rule)) {
                let labels = [rule.pattern.as_str(), rule.on_full.name()];
                // There is none of a rule that makes messages wait.
                let _ = self.topic_dropped.remove_label_values(&labels);
            }
        }
    }

    /// Takes away every series of a route that is no more.
    pub(super) fn forget(&self, route: &RouteName) {
        let name = route.as_str();
        for each in [
            &self.route_messages,
            &self.dropped,
            &self.route_outputs,
            &self.dead_letters,
            &self.dead_letters_unseen,
            &self.stage_failures,
            &self.stage_start_failures,
            &self.stage_messages,
            &self.stage_failed_messages,
            &self.swaps,
            &self.retries,
            &self.breaker_opened,
        ] {
            forget_in(each, name);
        }
        for each in [&self.parked, &self.stage_memory, &self.breaker_open] {
            forget_in(each, name);
        }
        forget_in(&self.stage_seconds, name);
    }

    /// A route's dead letters by reason.
    #[must_use]
    pub fn dead_letters_of(&self, route: &str) -> BTreeMap<String, u64> {
        let labelled = |metric: &Metric, name: &str| {
            let label = metric.get_label().iter().find(|label| label.name() == name);
            label.map(|label| label.value().to_owned())
        };
        let families = self.dead_letters.collect();
        let series = families.iter().flat_map(MetricFamily::get_metric);
        series
            .filter(|metric| labelled(metric, "route").as_deref() == Some(route))
            .filter_map(|metric| labelled(metric, "reason"))
            .map(|reason| {
                let counted = self.dead_letters.with_label_values(&[route, &reason]).get();
                (reason, counted)
            })
            .collect()
    }

    /// Calls into a stage of a route that failed, whatever for.
    #[must_use]
    pub fn failures_of(&self, route_and_stage: [&str; 2]) -> u64 {
        let [route, stage] = route_and_stage;
        let failures = |code: ErrorCode| {
            self.stage_failures.with_label_values(&[route, stage, code.name()]).get()
        };
        CALL_FAILURES.into_iter().map(failures).sum()
    }

    fn register_all(&self, registry: &Registry) -> Result<(), prometheus::Error> {
        for each in [
            &self.received,
            &self.received_bytes,
            &self.unrouted,
            &self.dead_inbox_replies,
            &self.unanswerable_requests,
            &self.delivered,
            &self.slow_consumers,
        ] {
            registry.register(Box::new(each.clone()))?;
        }
        for each in [
            &self.topic_dropped,
            &self.route_messages,
            &self.dropped,
            &self.route_outputs,
            &self.dead_letters,
            &self.dead_letters_unseen,
            &self.stage_failures,
            &self.plugin_failures,
            &self.stage_start_failures,
            &self.stage_messages,
            &self.stage_failed_messages,
            &self.swaps,
            &self.retries,
            &self.breaker_opened,
        ] {
            registry.register(Box::new(each.clone()))?;
        }
        registry.register(Box::new(self.parked.clone()))?;
        registry.register(Box::new(self.stage_memory.clone()))?;
        registry.register(Box::new(self.breaker_open.clone()))?;
        registry.register(Box::new(self.subscriptions.clone()))?;
        registry.register(Box::new(self.stage_seconds.clone()))?;
        registry.register(Box::new(self.batch_messages.clone()))
    }
}

/// Takes away the series of one route.
fn forget_in<B: MetricVecBuilder>(series: &MetricVec<B>, route: &str) {
    for family in series.collect() {
        for metric in family.get_metric() {
            let labels = metric.get_label().iter().map(|label| (label.name(), label.value()));
            let labels: HashMap<&str, &str> = labels.collect();
            if labels.get("route") == Some(&route) {
                // They were there a moment ago; whoever took them away meanwhile did what is wanted.
                let _ = series.remove(&labels);
            }
        }
    }
}
