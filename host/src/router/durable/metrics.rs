//! What the lanes of partitions tell operators, looked up when they ask.

use prometheus::{
    IntCounterVec, IntGaugeVec, Opts,
    core::{Collector, Desc},
    proto::MetricFamily,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use waypost_core::RouteName;

use super::LaneState;
use crate::{router::Router, streams::Streams, time::now_ms};

const LABELS: [&str; 3] = ["route", "stream", "partition"];

/// How far a route came in a partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RoutePartition {
    /// The stream.
    pub stream: String,
    /// The partition.
    pub partition: u32,
    /// The offset that the route reads next, as it is stored; none while it begins.
    pub progress: Option<u64>,
    /// The offset of the next message of the partition.
    pub end: u64,
    /// Messages between them.
    pub lag: u64,
    /// For how long the oldest message waits that was read and is not through, in milliseconds.
    pub oldest_ms: u64,
    /// Messages that wait in the store for another try, or behind one with their key.
    pub parked: u64,
    /// Units that were committed since the router started.
    pub commits: u64,
    /// Messages that were gone before the route read them.
    pub missed: u64,
    /// Why nothing is committed, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stalled: Option<String>,
}

impl RoutePartition {
    pub(in crate::router) fn of(lane: &LaneState, streams: &Streams) -> Self {
        let bounds = streams.storage().bounds(&lane.partition).ok();
        let progress = lane.progress().map(|offset| offset.0);
        let end = bounds.map_or(0, |bounds| bounds.next.0);
        let age = |ingest_ms| now_ms().saturating_sub(ingest_ms);
        Self {
            stream: lane.partition.stream.as_str().to_owned(),
            partition: lane.partition.index.0,
            progress,
            end,
            lag: progress.map_or(0, |progress| end.saturating_sub(progress)),
            oldest_ms: lane.oldest_ms().map_or(0, age),
            parked: lane.parked(),
            commits: lane.commits(),
            missed: lane.missed(),
            stalled: lane.stalled(),
        }
    }
}

/// The series of all lanes of partitions.
pub struct LaneMetrics {
    router: Router,
    progress: IntGaugeVec,
    lag: IntGaugeVec,
    oldest: IntGaugeVec,
    parked: IntGaugeVec,
    stalled: IntGaugeVec,
    commits: IntCounterVec,
    missed: IntCounterVec,
}

impl LaneMetrics {
    /// The series of a router's lanes.
    ///
    /// # Errors
    ///
    /// None, as long as their names are right.
    pub fn new(router: Router) -> Result<Self, prometheus::Error> {
        let gauge = |name, help| IntGaugeVec::new(Opts::new(name, help), &LABELS);
        let counter = |name, help| IntCounterVec::new(Opts::new(name, help), &LABELS);
        Ok(Self {
            router,
            progress: gauge(
                "waypost_route_progress_offset",
                "The offset that a route reads next in a partition, as it is stored",
            )?,
            lag: gauge(
                "waypost_route_lag_messages",
                "Messages of a partition that a route is not through with",
            )?,
            oldest: gauge(
                "waypost_route_oldest_unprocessed_milliseconds",
                "For how long the oldest message waits that a route has read and is not through with",
            )?,
            parked: gauge(
                "waypost_route_partition_parked_messages",
                "Messages that wait in the store for another try, or behind one with their key",
            )?,
            stalled: gauge(
                "waypost_route_stalled",
                "1 while nothing that a route makes of a partition is stored",
            )?,
            commits: counter(
                "waypost_route_commits_total",
                "Units that a route committed: outputs, dead letters and parked messages with its progress",
            )?,
            missed: counter(
                "waypost_route_missed_messages_total",
                "Messages that were trimmed or damaged before a route read them",
            )?,
        })
    }

    fn gauges(&self) -> [&IntGaugeVec; 5] {
        [&self.progress, &self.lag, &self.oldest, &self.parked, &self.stalled]
    }

    fn set(&self, route: &RouteName, lane: &RoutePartition) {
        let partition = lane.partition.to_string();
        let labels = [route.as_str(), &lane.stream, &partition];
        let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let values = [
            lane.progress.unwrap_or(0),
            lane.lag,
            lane.oldest_ms,
            lane.parked,
            u64::from(lane.stalled.is_some()),
        ];
        for (gauge, value) in self.gauges().into_iter().zip(values) {
            gauge.with_label_values(&labels).set(signed(value));
        }
        self.commits.with_label_values(&labels).inc_by(lane.commits);
        self.missed.with_label_values(&labels).inc_by(lane.missed);
    }
}

impl Collector for LaneMetrics {
    fn desc(&self) -> Vec<&Desc> {
        let gauges = self.gauges().into_iter().flat_map(Collector::desc);
        gauges.chain(self.commits.desc()).chain(self.missed.desc()).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        // Lanes come and go: none is told that has gone.
        self.gauges().into_iter().for_each(IntGaugeVec::reset);
        [&self.commits, &self.missed].into_iter().for_each(IntCounterVec::reset);
        for (route, lane) in self.router.lane_status() {
            self.set(&route, &lane);
        }
        let gauges = self.gauges().into_iter().flat_map(Collector::collect);
        gauges.chain(self.commits.collect()).chain(self.missed.collect()).collect()
    }
}
