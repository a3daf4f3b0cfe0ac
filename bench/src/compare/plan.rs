//! What is compared, and for how long.

use std::time::Duration;

use serde::Serialize;

use crate::{
    load::Load,
    scenario::{Case, Scenario},
};

/// Payloads of this size are what the goals speak of, and what peers are measured with.
pub(super) const MAIN_SIZE: u32 = 128;
const SIZES: [u32; 2] = [MAIN_SIZE, 1024];
const SCENARIOS: [Scenario; 6] = [
    Scenario::Forward,
    Scenario::Filter,
    Scenario::Chain,
    Scenario::Transform,
    Scenario::Fanout { subscribers: 4 },
    Scenario::Request { in_flight: 64 },
];

/// How much is measured.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Plan {
    #[serde(skip)]
    pub(super) rounds: u32,
    /// After so long no further round begins.
    #[serde(skip)]
    pub(super) time_for_rounds: Duration,
    pub(super) seconds: f64,
    pub(super) warm_up_seconds: f64,
    pub(super) batch: u32,
    pub(super) connections: u16,
    /// Whether every scenario is measured at half of its peak, or only those that a goal speaks of.
    #[serde(skip)]
    every_half: bool,
}

impl Plan {
    pub(super) fn full() -> Self {
        Self {
            rounds: 5,
            time_for_rounds: Duration::MAX,
            seconds: 4.0,
            warm_up_seconds: 1.0,
            batch: 64,
            connections: 1,
            every_half: true,
        }
    }

    /// Within five minutes on two cores with work of their own.
    pub(super) fn quick() -> Self {
        Self {
            rounds: 3,
            time_for_rounds: Duration::from_secs(120),
            seconds: 1.2,
            warm_up_seconds: 0.5,
            every_half: false,
            ..Self::full()
        }
    }

    pub(super) fn load(&self, size: u32) -> Load {
        let Self { batch, connections, seconds, warm_up_seconds: warm_up, .. } = *self;
        Load { batch, size, rate: None, connections, seconds, warm_up }
    }

    pub(super) fn cases(&self) -> Vec<Case> {
        let cases = SIZES
            .into_iter()
            .flat_map(|size| SCENARIOS.into_iter().map(move |scenario| (scenario, size)));
        cases.map(|(scenario, size)| Case { scenario, load: self.load(size) }).collect()
    }

    /// Whether the case is measured at half of its peak.
    pub(super) fn half(&self, case: &Case) -> bool {
        self.every_half || (case.scenario == Scenario::Filter && case.load.size == MAIN_SIZE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_is_compared_in_every_size() {
        let cases = Plan::quick().cases();
        assert_eq!(cases.len(), 12);
        assert!(cases.iter().all(|case| case.load.rate.is_none()));
        let halves = |plan: &Plan| cases.iter().filter(|case| plan.half(case)).count();
        assert_eq!((halves(&Plan::quick()), halves(&Plan::full())), (1, 12));
    }
}
