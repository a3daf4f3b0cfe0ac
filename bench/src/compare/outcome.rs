//! What was found, as the one JSON object that the comparison prints.

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;

use super::{
    Compared, PeerOutcome,
    goals::{self, Goal},
    machine::Setting,
    name,
    peers::Peer,
    plan::{MAIN_SIZE, Plan},
};
use crate::{
    idle::Idle,
    series::{Series, Spread, cpu, per_cpu_second, rate},
};

/// Everything.
#[derive(Debug, Serialize)]
pub(super) struct Outcome<'a> {
    /// Of the bare relay with payloads of 128 bytes, over all rounds.
    pub(super) limit_msgs_per_s: f64,
    pub(super) scenarios: BTreeMap<String, ScenarioFigures>,
    pub(super) peers: BTreeMap<&'static str, PeerFigures>,
    pub(super) idle: IdleFigures,
    pub(super) goals: Vec<Goal>,
    /// Processors that neither the measured processes nor idleness had, as a mean over all runs.
    pub(super) processors_used_by_others: f64,
    pub(super) processors_stolen: f64,
    pub(super) seconds: f64,
    /// Rounds that were made; fewer than planned on a slow machine.
    pub(super) rounds: usize,
    pub(super) setting: &'a Setting,
    pub(super) plan: &'a Plan,
}

/// Of one scenario and size.
#[derive(Debug, Serialize)]
pub(super) struct ScenarioFigures {
    #[serde(skip)]
    pub(super) description: String,
    #[serde(serialize_with = "median")]
    pub(super) msgs_per_s: Spread,
    /// Held against the limit that was measured just before.
    #[serde(serialize_with = "median_if_any")]
    pub(super) of_limit: Option<Spread>,
    /// From the least to the most of the runs.
    pub(super) of_limit_range: Option<(f64, f64)>,
    /// Messages for a second of CPU time of producer, router and consumer together, held against the limit's:
    /// what the share of its rate would be, had they the processors to themselves.
    #[serde(serialize_with = "median_if_any")]
    pub(super) of_limit_by_cpu: Option<Spread>,
    /// The router's CPU time for a message, as a multiple of the relay's.
    #[serde(serialize_with = "median_if_any")]
    pub(super) cpu_of_limit: Option<Spread>,
    pub(super) router_cpu_seconds_per_million: Option<f64>,
    pub(super) router_peak_bytes: Option<u64>,
    /// At a tenth of the peak, from when a message was due.
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
    pub(super) p999_us: f64,
    /// The relay's with the same load.
    pub(super) limit_p50_us: Option<f64>,
    pub(super) limit_p99_us: Option<f64>,
    pub(super) p99_at_half_us: Option<f64>,
    /// From when a message was due to its acknowledgement, at a tenth of the peak.
    pub(super) ack_p50_us: Option<f64>,
    pub(super) ack_p99_us: Option<f64>,
    #[serde(serialize_with = "median_if_any")]
    pub(super) acknowledged_per_s: Option<Spread>,
    pub(super) delivered_per_s: f64,
    /// At the rate that is the floor.
    pub(super) floor: Option<Floor>,
    /// Over all runs, as what follows.
    pub(super) lost: u64,
    pub(super) duplicated: u64,
    pub(super) out_of_order: u64,
}

/// What a scenario does at a rate that is given, rather than at a share of its own peak.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Floor {
    pub(super) msgs_per_s: f64,
    pub(super) mean_us: f64,
    pub(super) p99_us: f64,
    /// In percent of what was sent.
    pub(super) delivered: f64,
}

impl Floor {
    fn of(series: &Series) -> Option<Self> {
        let run = series.runs.first()?;
        let sent = run.sent.max(1) as f64;
        Some(Self {
            msgs_per_s: run.msgs_per_s,
            mean_us: run.counted.latency.mean_us,
            p99_us: run.counted.latency.p99_us,
            delivered: 100.0 - run.verdict.lost as f64 * 100.0 / sent,
        })
    }
}

/// Of one peer.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum PeerFigures {
    Measured {
        #[serde(serialize_with = "median")]
        msgs_per_s: Spread,
        lost: u64,
    },
    Skipped {
        skipped: String,
    },
}

/// Of connections over which nothing goes.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum IdleFigures {
    Measured(Idle),
    Skipped { skipped: String },
}

fn median<S: serde::Serializer>(spread: &Spread, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(spread.median)
}

fn median_if_any<S: serde::Serializer>(
    spread: &Option<Spread>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    spread.map(|spread| spread.median).serialize(serializer)
}

impl<'a> Outcome<'a> {
    pub(super) fn new(
        compared: &[Compared],
        peers: &[(Peer, PeerOutcome)],
        idle: Result<Idle, String>,
        setting: &'a Setting,
        plan: &'a Plan,
        lasted: Duration,
    ) -> Self {
        let scenarios =
            compared.iter().map(|one| (name(&one.peak), ScenarioFigures::of(one))).collect();
        let peers = peers.iter().map(|(peer, outcome)| (peer.name(), PeerFigures::of(outcome)));
        let peers = peers.collect();
        let limits = compared.iter().filter(|one| one.peak.load.size == MAIN_SIZE);
        let limits = limits.flat_map(|one| &one.peak.limits).filter_map(rate);
        let runs = || compared.iter().flat_map(|one| one.peak.runs.iter().chain(&one.peak.limits));
        let measured: f64 = runs().map(|run| run.counted.seconds).sum();
        let others: f64 = runs().map(|run| run.usage.other_cpu_seconds).sum();
        let stolen: f64 = runs().map(|run| run.usage.stolen_seconds).sum();
        Self {
            limit_msgs_per_s: Spread::of(limits).map_or(0.0, |spread| spread.median),
            goals: goals::check(&scenarios, &peers, idle.as_ref().ok()),
            scenarios,
            peers,
            idle: match idle {
                Ok(idle) => IdleFigures::Measured(idle),
                Err(skipped) => IdleFigures::Skipped { skipped },
            },
            processors_used_by_others: others / measured,
            processors_stolen: stolen / measured,
            seconds: lasted.as_secs_f64(),
            rounds: compared.iter().map(|one| one.peak.runs.len()).min().unwrap_or(0),
            setting,
            plan,
        }
    }
}

const NOTHING: Spread = Spread { median: 0.0, least: 0.0, most: 0.0 };

impl ScenarioFigures {
    fn of(compared: &Compared) -> Self {
        let Compared { peak, tenth, half, floor } = compared;
        let of_limit = peak.of_limit(rate);
        let acknowledgement = tenth.runs.first().and_then(|run| run.acknowledgement.clone());
        let latency = tenth.runs.first().map(|run| run.counted.latency.clone()).unwrap_or_default();
        let limit = tenth.limits.first().map(|run| &run.counted.latency);
        let all: Vec<&Series> = [Some(peak), Some(tenth), half.as_ref(), floor.as_ref()]
            .into_iter()
            .flatten()
            .collect();
        let sum = |count: fn(&crate::tally::Verdict) -> u64| {
            all.iter().map(|series| series.sum(|run| count(&run.verdict))).sum()
        };
        Self {
            description: peak.scenario.description(),
            msgs_per_s: peak.spread(rate).unwrap_or(NOTHING),
            of_limit,
            of_limit_range: of_limit.map(|spread| (spread.least, spread.most)),
            of_limit_by_cpu: peak.of_limit(per_cpu_second),
            cpu_of_limit: peak.of_limit(cpu),
            router_cpu_seconds_per_million: peak.spread(cpu).map(|spread| spread.median),
            router_peak_bytes: peak.runs.iter().filter_map(|run| run.usage.middle_peak_bytes).max(),
            p50_us: latency.p50_us,
            p99_us: latency.p99_us,
            p999_us: latency.p999_us,
            limit_p50_us: limit.map(|latency| latency.p50_us),
            limit_p99_us: limit.map(|latency| latency.p99_us),
            p99_at_half_us: half
                .as_ref()
                .and_then(|half| Some(half.runs.first()?.counted.latency.p99_us)),
            ack_p50_us: acknowledgement.as_ref().map(|latency| latency.p50_us),
            ack_p99_us: acknowledgement.as_ref().map(|latency| latency.p99_us),
            acknowledged_per_s: peak.spread(|run| run.acknowledged_per_s),
            delivered_per_s: peak
                .spread(|run| Some(run.delivered_per_s))
                .map_or(0.0, |spread| spread.median),
            floor: floor.as_ref().and_then(Floor::of),
            lost: sum(|verdict| verdict.lost),
            duplicated: sum(|verdict| verdict.duplicated),
            out_of_order: sum(|verdict| verdict.out_of_order),
        }
    }
}

impl PeerFigures {
    fn of(outcome: &PeerOutcome) -> Self {
        match outcome {
            PeerOutcome::Measured(series) => Self::Measured {
                msgs_per_s: series.spread(rate).unwrap_or(NOTHING),
                lost: series.sum(|run| run.verdict.lost),
            },
            PeerOutcome::Skipped(why) => Self::Skipped { skipped: why.clone() },
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::{
        measure::{Measured, Sent, Usage},
        scenario::{Case, Scenario},
        series::Run,
        span::Counted,
        tally::Verdict,
    };

    fn run(messages: u64, cpu: f64) -> Run {
        let counted = Counted { seconds: 2.0, messages, ..Counted::default() };
        let usage = Usage { middle_cpu_seconds: Some(cpu), ..Usage::default() };
        let verdict = Verdict { lost: 1, ..Verdict::default() };
        let sent = Sent::default();
        let rated_by_acknowledgements = false;
        Measured { counted, verdict, sent, usage, rated_by_acknowledgements }.into()
    }

    #[test]
    fn the_object_has_what_others_read_from_it() {
        let plan = Plan::quick();
        let series = |runs: &[(u64, f64)]| {
            let case = Case { scenario: Scenario::Filter, load: plan.load(MAIN_SIZE) };
            let mut series = Series::new(&case);
            series.runs.extend(runs.iter().map(|(messages, cpu)| run(*messages, *cpu)));
            series
        };
        let mut peak = series(&[(300, 1.2), (320, 1.6), (100, 0.5)]);
        peak.limits.extend([run(400, 1.6), run(400, 1.0), run(400, 1.0)]);
        let (mut tenth, floor) = (series(&[(30, 0.1)]), Some(series(&[(40, 0.1)])));
        tenth.limits.push(run(30, 0.1));
        let compared = [Compared { peak, tenth, half: None, floor }];
        let peers = [
            (Peer::NatsFilter, PeerOutcome::Measured(series(&[(40, 1.0)]))),
            (Peer::JetStreamLazy, PeerOutcome::Skipped("it is not there".to_owned())),
        ];
        let setting = Setting::default();
        let idle = Idle {
            connections: 1000,
            router_bytes: 30_000.0,
            bare_bytes: 25_000.0,
            own_bytes: 5000.0,
        };
        let outcome =
            Outcome::new(&compared, &peers, Ok(idle), &setting, &plan, Duration::from_secs(9));
        let object = serde_json::to_value(&outcome).expect("it has a form");

        assert_eq!(object["limit_msgs_per_s"], 200.0);
        let filter = &object["scenarios"]["filter/128"];
        assert_eq!((&filter["msgs_per_s"], &filter["of_limit"]), (&150.0.into(), &0.75.into()));
        assert_eq!(filter["of_limit_range"], serde_json::json!([0.25, 0.8]));
        // For a message: 1.0, 2.0 and 2.0 times the limit's.
        assert_eq!(filter["cpu_of_limit"], 2.0);
        assert_eq!(filter["lost"], 5);
        assert_eq!(filter["floor"]["msgs_per_s"], 20.0);
        for name in ["p50_us", "p99_us", "limit_p50_us", "duplicated", "out_of_order"] {
            assert!(filter[name].is_number(), "{name}");
        }
        assert_eq!(object["peers"]["nats-filter"]["msgs_per_s"], 20.0);
        assert_eq!(object["peers"]["jetstream-lazy"]["skipped"], "it is not there");
        assert_eq!(object["idle"]["own_bytes"], 5000.0);
        let goals = object["goals"].as_array().expect("they are listed");
        let met = |text: &str| {
            let goal = goals
                .iter()
                .find(|goal| goal["goal"].as_str().is_some_and(|goal| goal.starts_with(text)));
            goal.map_or(Value::Null, |goal| goal["met"].clone())
        };
        assert_eq!(met("filter: share"), true);
        assert_eq!(met("filter: times NATS in plaintext"), true);
        assert_eq!(met("filter: router CPU"), false);
        assert_eq!(met("an idle connection"), true);
        assert_eq!(met("forward"), Value::Null);
    }
}
