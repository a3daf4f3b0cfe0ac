//! What is wanted, as ratios of one comparison.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{
    outcome::{PeerFigures, ScenarioFigures},
    plan::FLOOR_RATE,
};
use crate::idle::Idle;

/// A goal and what was found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Goal {
    pub(super) goal: &'static str,
    pub(super) wanted: f64,
    /// Missing when a part of it was not measured.
    pub(super) measured: Option<f64>,
    /// Whether the figure is to be at most what is wanted, rather than at least.
    #[serde(skip)]
    pub(super) at_most: bool,
    pub(super) met: Option<bool>,
}

type Scenarios = BTreeMap<String, ScenarioFigures>;
type Peers = BTreeMap<&'static str, PeerFigures>;

/// Holds the figures against all goals.
pub(super) fn check(scenarios: &Scenarios, peers: &Peers, idle: Option<&Idle>) -> Vec<Goal> {
    let forward = scenarios.get("forward/128");
    let filter = scenarios.get("filter/128");
    let chain = scenarios.get("chain/128");
    let durable = scenarios.get("durable/128");
    let durable_route = scenarios.get("durable-route/128");
    let everything = scenarios.get("everything/1024");
    let floor = everything.and_then(|everything| everything.floor);
    let times = |figures: Option<&ScenarioFigures>, peer: &str| match peers.get(peer) {
        Some(PeerFigures::Measured { msgs_per_s, .. }) => {
            Some(figures?.msgs_per_s.median / msgs_per_s.median)
        }
        _ => None,
    };
    let of_limit = |figures: Option<&ScenarioFigures>| Some(figures?.of_limit?.median);
    let cpu = filter.and_then(|filter| Some(filter.cpu_of_limit?.median));
    let least = |goal, wanted, measured| goal_of(goal, wanted, measured, false);
    let most = |goal, wanted, measured| goal_of(goal, wanted, measured, true);
    vec![
        least("forward: share of the limit's rate", 0.80, of_limit(forward)),
        least("filter: share of the limit's rate", 0.75, of_limit(filter)),
        least("chain of four filters: share of the limit's rate", 0.60, of_limit(chain)),
        least(
            "filter: times NATS with TLS and a filter process",
            5.0,
            times(filter, "nats-tls-filter"),
        ),
        least(
            "filter: times NATS in plaintext and a filter process",
            2.0,
            times(filter, "nats-filter"),
        ),
        most("filter: router CPU for a message, times the bare relay's", 1.3, cpu),
        most("filter: p50 at a tenth of its peak, µs", 150.0, filter.map(|filter| filter.p50_us)),
        most("filter: p99 at a tenth of its peak, µs", 1000.0, filter.map(|filter| filter.p99_us)),
        most(
            "filter: p99 at half of its peak, µs",
            5000.0,
            filter.and_then(|filter| filter.p99_at_half_us),
        ),
        least("durable: share of the limit's rate", 0.60, of_limit(durable)),
        least(
            "durable: times JetStream with a sync before each acknowledgement",
            100.0,
            times(durable, "jetstream-sync-always"),
        ),
        least("durable: times JetStream with its lazy sync", 1.0, times(durable, "jetstream-lazy")),
        least("durable-route: share of the limit's rate", 0.30, of_limit(durable_route)),
        least(
            "everything at once, 1024 B: messages a second",
            FLOOR_RATE,
            everything.map(|everything| everything.msgs_per_s.median),
        ),
        most(
            "everything at once, 1024 B: mean latency at 50,000 a second, µs",
            10_000.0,
            floor.map(|floor| floor.mean_us),
        ),
        least(
            "everything at once, 1024 B: delivered at 50,000 a second, %",
            99.99,
            floor.map(|floor| floor.delivered),
        ),
        most(
            "an idle connection: router memory beside what QUIC takes, bytes",
            8192.0,
            idle.map(|idle| idle.own_bytes),
        ),
    ]
}

fn goal_of(goal: &'static str, wanted: f64, measured: Option<f64>, at_most: bool) -> Goal {
    let met = |measured: f64| if at_most { measured <= wanted } else { measured >= wanted };
    Goal { goal, wanted, measured, at_most, met: measured.map(met) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_is_met_on_its_own_side() {
        let met = |measured, at_most| goal_of("", 1.0, measured, at_most).met;
        assert_eq!((met(Some(1.0), false), met(Some(1.0), true)), (Some(true), Some(true)));
        assert_eq!((met(Some(0.9), false), met(Some(0.9), true)), (Some(false), Some(true)));
        assert_eq!(met(None, true), None);
    }

    #[test]
    fn what_was_not_measured_meets_nothing_and_fails_nothing() {
        let goals = check(&BTreeMap::new(), &BTreeMap::new(), None);
        assert_eq!(goals.len(), 17);
        assert!(goals.iter().all(|goal| goal.met.is_none()));
    }
}
