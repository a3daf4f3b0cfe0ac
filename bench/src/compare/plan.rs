//! What is compared, and for how long.

use std::time::Duration;

use serde::Serialize;

use crate::{
    load::Load,
    scenario::{Case, Scenario},
};

/// Payloads of this size are what the goals speak of, and what peers are measured with.
pub(super) const MAIN_SIZE: u32 = 128;
const LARGE_SIZE: u32 = 1024;
const SIZES: [u32; 2] = [MAIN_SIZE, LARGE_SIZE];
/// What the field usually asks for; everything at once is measured at this rate too.
pub(super) const FLOOR_RATE: f64 = 50_000.0;
/// In memory; these are compared in every size.
const SCENARIOS: [Scenario; 6] = [
    Scenario::Forward,
    Scenario::Filter,
    Scenario::Chain,
    Scenario::Transform,
    Scenario::Fanout { subscribers: 4 },
    Scenario::Request { in_flight: 64 },
];
/// With streams and groups; a quick comparison leaves out the larger size.
const KEPT: [Scenario; 3] =
    [Scenario::Group { members: 4, durable: false }, Scenario::Durable, Scenario::DurableRoute];

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
    /// Those over which nothing goes.
    pub(super) idle_connections: u16,
    /// Whether every scenario is measured in every size.
    #[serde(skip)]
    every_size: bool,
    /// Whether every scenario is measured at half of its peak, or only those that a goal speaks of.
    #[serde(skip)]
    every_half: bool,
}

impl Plan {
    pub(super) fn full() -> Self {
        Self {
            rounds: 3,
            time_for_rounds: Duration::MAX,
            seconds: 4.0,
            warm_up_seconds: 1.0,
            batch: 64,
            connections: 1,
            idle_connections: 1000,
            every_size: true,
            every_half: true,
        }
    }

    /// Within five minutes on two cores with work of their own.
    pub(super) fn quick() -> Self {
        Self {
            rounds: 3,
            time_for_rounds: Duration::from_secs(100),
            seconds: 1.2,
            warm_up_seconds: 0.5,
            every_size: false,
            every_half: false,
            ..Self::full()
        }
    }

    pub(super) fn load(&self, size: u32) -> Load {
        let Self { batch, connections, seconds, warm_up_seconds: warm_up, .. } = *self;
        Load { batch, size, rate: None, connections, seconds, warm_up }
    }

    pub(super) fn cases(&self) -> Vec<Case> {
        let kept = |size| KEPT.iter().filter(move |_| self.every_size || size == MAIN_SIZE);
        let cases = SIZES.into_iter().flat_map(|size| {
            SCENARIOS.iter().chain(kept(size)).map(move |scenario| (*scenario, size))
        });
        let everything = (Scenario::Everything, LARGE_SIZE);
        let cases = cases.chain([everything]);
        cases.map(|(scenario, size)| Case { scenario, load: self.load(size) }).collect()
    }

    /// Whether the case is measured at the rate that is the floor for it.
    pub(super) fn floor(&self, case: &Case) -> bool {
        case.scenario == Scenario::Everything
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
    fn every_scenario_is_compared_in_every_size_unless_it_is_to_be_quick() {
        let (quick, full) = (Plan::quick(), Plan::full());
        assert_eq!((quick.cases().len(), full.cases().len()), (16, 19));
        assert!(full.cases().iter().all(|case| case.load.rate.is_none()));
        let halves = |plan: &Plan| plan.cases().iter().filter(|case| plan.half(case)).count();
        assert_eq!((halves(&quick), halves(&full)), (1, 19));
    }

    #[test]
    fn everything_at_once_has_a_floor_and_is_in_the_quick_comparison_too() {
        let plan = Plan::quick();
        let floors: Vec<_> = plan.cases().into_iter().filter(|case| plan.floor(case)).collect();
        assert_eq!(floors.len(), 1);
        assert!(floors.iter().all(|case| case.scenario.name() == "everything"));
    }
}
