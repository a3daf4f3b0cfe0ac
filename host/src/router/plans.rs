//! How each route runs at this moment: its definition, the versions in its stages, and their breakers.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;
use tokio::sync::watch;
use waypost_core::{RouteDefinition, RouteName, StageName};

use super::{
    gate::Gate,
    metrics::RouterMetrics,
    stage::{Stage, is_same},
};

/// The plans of all routes. A lane looks once for each batch, so that one version of each stage processes it;
/// a change of several stages or routes is one step.
#[derive(Debug)]
pub struct Plans {
    all: ArcSwap<All>,
    metrics: Arc<RouterMetrics>,
    changed: watch::Sender<()>,
    /// Held by whoever makes a change out of what is there.
    changing: Mutex<()>,
}

#[derive(Debug, Default)]
struct All {
    by_name: HashMap<RouteName, Arc<Plan>>,
    /// In the order of the configuration.
    in_order: Arc<[Arc<Plan>]>,
}

/// How a route runs.
#[derive(Debug)]
pub struct Plan {
    /// What the configuration says of it.
    pub definition: Arc<RouteDefinition>,
    /// Its stages, in order.
    pub stages: Arc<[Stage]>,
    /// One for each stage.
    gates: Vec<Arc<Gate>>,
}

/// Where a message goes on that waited in a route which has other stages by now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Resumed {
    /// How many stages of the plan it does not meet any more.
    pub(super) position: usize,
    /// The stage that it waited for is there.
    pub(super) is_same_stage: bool,
}

impl Plans {
    /// No route.
    #[must_use]
    pub fn new(metrics: Arc<RouterMetrics>) -> Self {
        let (all, changed, changing) =
            (ArcSwap::default(), watch::Sender::default(), Mutex::default());
        Self { all, metrics, changed, changing }
    }

    /// What the router counts.
    #[must_use]
    pub fn metrics(&self) -> &Arc<RouterMetrics> {
        &self.metrics
    }

    /// The plan of one route, if there is such a route.
    #[must_use]
    pub fn of(&self, route: &RouteName) -> Option<Arc<Plan>> {
        self.all.load().by_name.get(route).cloned()
    }

    /// The plans of all routes, in the order of the configuration.
    #[must_use]
    pub fn all(&self) -> Arc<[Arc<Plan>]> {
        self.all.load().in_order.clone()
    }

    /// Lets versions run in their stages. Those of stages that no route has are left out.
    pub fn swap(&self, versions: &[(RouteName, Stage)]) {
        self.change(None, versions);
    }

    /// Lets there be these routes and no others, and versions run in their stages; the other stages keep what
    /// runs in them.
    pub fn define(&self, routes: &[RouteDefinition], versions: &[(RouteName, Stage)]) {
        self.change(Some(routes), versions);
    }

    /// Takes away what was counted of a route, unless there is one of its name again.
    pub(super) fn forget(&self, route: &RouteName) {
        let _turn = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        if self.of(route).is_none() {
            self.metrics.forget(route);
        }
    }

    fn change(&self, routes: Option<&[RouteDefinition]>, versions: &[(RouteName, Stage)]) {
        let _turn = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.all.load_full();
        let new: HashMap<(&RouteName, &StageName), &Stage> =
            versions.iter().map(|(route, stage)| ((route, &stage.name), stage)).collect();
        let next = |definition: &RouteDefinition| {
            let known = before.by_name.get(&definition.name);
            let stage = |name: &StageName| match new.get(&(&definition.name, name)) {
                Some(stage) => Some((*stage).clone()),
                None => known?.stages.iter().find(|stage| stage.name == *name).cloned(),
            };
            let stages = definition.stages.iter().filter_map(|known| stage(&known.name)).collect();
            self.plan(known, definition, stages)
        };
        let in_order: Arc<[Arc<Plan>]> = match routes {
            Some(routes) => routes.iter().map(next).collect(),
            None => before.in_order.iter().map(|plan| next(&plan.definition)).collect(),
        };
        let by_name =
            in_order.iter().map(|plan| (plan.definition.name.clone(), plan.clone())).collect();
        let after = Arc::new(All { by_name, in_order });
        for plan in before.in_order.iter() {
            let next = after.by_name.get(&plan.definition.name);
            let is_kept = |gate: &Arc<Gate>| {
                next.is_some_and(|next| next.gates.iter().any(|kept| Arc::ptr_eq(kept, gate)))
            };
            plan.gates.iter().filter(|gate| !is_kept(gate)).for_each(|gate| gate.retire());
        }
        self.all.store(after);
        self.changed.send_replace(());
    }

    /// A plan with what stays of the one before; that one itself where nothing is new.
    fn plan(
        &self,
        before: Option<&Arc<Plan>>,
        definition: &RouteDefinition,
        stages: Vec<Stage>,
    ) -> Arc<Plan> {
        if let Some(before) = before
            .filter(|before| *before.definition == *definition && is_same(&before.stages, &stages))
        {
            return before.clone();
        }
        let gate = |stage: &Stage| {
            let known = before.filter(|before| before.definition.breaker == definition.breaker);
            let kept = known.and_then(|known| known.gate(&stage.name));
            kept.cloned().unwrap_or_else(|| {
                let (route, stage) = (definition.name.clone(), stage.name.clone());
                Arc::new(Gate::new(route, stage, definition.breaker, self.metrics.clone()))
            })
        };
        let gates = stages.iter().map(gate).collect();
        Arc::new(Plan { definition: Arc::new(definition.clone()), stages: stages.into(), gates })
    }

    /// Tells of every change from now on.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }
}

impl Plan {
    /// The breaker of a stage.
    pub(super) fn gate(&self, stage: &StageName) -> Option<&Arc<Gate>> {
        let position = self.stages.iter().position(|known| known.name == *stage)?;
        self.gates.get(position)
    }

    /// Where a message goes on that had these stages before it when it began to wait, the first of them to be
    /// met next: at the first that there is, or behind all stages.
    pub(super) fn resume<'a>(&self, ahead: impl Iterator<Item = &'a StageName>) -> Resumed {
        for (number, name) in ahead.enumerate() {
            if let Some(position) = self.stages.iter().position(|stage| stage.name == *name) {
                return Resumed { position, is_same_stage: number == 0 };
            }
        }
        Resumed { position: self.stages.len(), is_same_stage: false }
    }
}
