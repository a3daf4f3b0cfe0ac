//! The routes that run, and how they come and go while the router does.
//!
//! A route whose stages, destination or policies change keeps its lanes: they look at its plan for each batch. One
//! that is taken away gets nothing more; its lanes end once they have done what they have. One whose number of lanes
//! changes goes and comes: its new lanes take nothing from publishers before the old ones have ended.

use std::{collections::HashMap, sync::Arc};

use tokio::{sync::mpsc, task::JoinSet};
use waypost_core::{EntryId, Partition, RouteDefinition, RouteName};
use waypost_protocol::Pattern;

use super::{
    durable::{DurableLane, LaneParts, LaneState, Returning, Stop, partitions_of},
    fanout::{Fanout, Target},
    lane::{Ended, Held, LaneLimits, Publishing, RouteInlet},
    plans::{Plan, Plans},
};

/// The routes of a router.
#[derive(Debug)]
pub(super) struct Routes {
    /// In the order of the configuration.
    entries: Vec<Entry>,
    /// Those that were taken away and whose lanes are not known to have ended.
    leaving: Vec<Leaving>,
    /// The same for lanes of partitions.
    leaving_partitions: Vec<(RouteName, Partition, Ended)>,
    /// All lanes, of routes that leave too.
    lanes: JoinSet<()>,
    limits: LaneLimits,
    /// For lanes to come; none once the router stops.
    publishing: Option<Publishing>,
}

/// A route with its entry in the table.
#[derive(Debug)]
struct Entry {
    inlet: Arc<RouteInlet>,
    source: Pattern,
    id: EntryId,
    /// One for each partition that keeps some of its topics.
    partitions: Vec<DurableLane>,
}

/// A route that was taken away, with what its lanes still hold.
#[derive(Debug)]
struct Leaving {
    name: RouteName,
    ended: Ended,
    held: Held,
}

impl Leaving {
    fn of(inlet: &RouteInlet) -> Self {
        Self { name: inlet.name.clone(), ended: inlet.ended(), held: inlet.held() }
    }
}

impl Routes {
    pub(super) fn new(limits: LaneLimits, publishing: Publishing) -> Self {
        Self {
            entries: Vec::new(),
            leaving: Vec::new(),
            leaving_partitions: Vec::new(),
            lanes: JoinSet::new(),
            limits,
            publishing: Some(publishing),
        }
    }

    /// What is told of the lanes of all partitions.
    pub(super) fn lanes(&self) -> Vec<Arc<LaneState>> {
        let lanes = self.entries.iter().flat_map(|entry| &entry.partitions);
        lanes.map(|lane| lane.state.clone()).collect()
    }

    /// The same with the route of each, in the order of the configuration.
    pub(super) fn named_lanes(&self) -> Vec<(RouteName, Arc<LaneState>)> {
        let lanes = self.entries.iter().flat_map(|entry| {
            let name = &entry.inlet.name;
            entry.partitions.iter().map(|lane| (name.clone(), lane.state.clone()))
        });
        lanes.collect()
    }

    /// How the lane of a route and a partition stands and where what comes back to it goes, if there is one.
    pub(super) fn returns_to(
        &self,
        route: &RouteName,
        partition: &Partition,
    ) -> Option<(Arc<LaneState>, mpsc::Sender<Returning>)> {
        let entry = self.entries.iter().find(|entry| entry.inlet.name == *route)?;
        let lane = entry.partitions.iter().find(|lane| lane.reads(partition))?;
        Some((lane.state.clone(), lane.returns()))
    }

    /// Where batches enter all routes.
    pub(super) fn inlets(&self) -> impl Iterator<Item = &Arc<RouteInlet>> {
        self.entries.iter().map(|entry| &entry.inlet)
    }

    /// Bytes of the batches that wait for lanes of each route or are in their work, those of lanes that leave too.
    pub(super) fn held_bytes(&self) -> HashMap<RouteName, usize> {
        let running = self.inlets().map(|inlet| (&inlet.name, inlet.held().bytes()));
        let leaving = self.leaving.iter().map(|leaving| (&leaving.name, leaving.held.bytes()));
        let mut held = HashMap::new();
        for (name, bytes) in running.chain(leaving) {
            *held.entry(name.clone()).or_default() += bytes;
        }
        held
    }

    /// Whether lanes of a route are at work, of one that was taken away too.
    pub(super) fn is_running(&self, route: &RouteName) -> bool {
        let leaving = self.leaving.iter().map(|leaving| (&leaving.name, &leaving.ended));
        let partitions = self.leaving_partitions.iter().map(|(name, _, ended)| (name, ended));
        self.entries.iter().any(|entry| entry.inlet.name == *route)
            || leaving.chain(partitions).any(|(name, ended)| name == route && !ended.is_over())
    }

    /// Lets the routes be those that there are plans for; the table changes in one step. Once the router stops
    /// nothing changes any more.
    pub(super) fn follow(&mut self, plans: &Arc<Plans>, fanout: &Arc<Fanout>) {
        let Some(publishing) = self.publishing.clone() else {
            return;
        };
        while self.lanes.try_join_next().is_some() {}
        self.leaving.retain(|leaving| !leaving.ended.is_over());
        self.leaving_partitions.retain(|(.., ended)| !ended.is_over());
        let before = std::mem::take(&mut self.entries).into_iter();
        let mut before: HashMap<RouteName, Entry> =
            before.map(|entry| (entry.inlet.name.clone(), entry)).collect();
        fanout.with_table(|table| {
            for plan in plans.all().iter() {
                fanout.metrics.announce(&plan.definition);
                let source = plan.definition.source.clone();
                let mut partitions = Vec::new();
                let inlet = match before.remove(&plan.definition.name) {
                    Some(entry) if entry.inlet.lane_count() == plan.definition.lanes => {
                        if entry.source == source {
                            self.entries.push(entry);
                            continue;
                        }
                        table.remove(entry.id);
                        partitions = entry.partitions;
                        entry.inlet
                    }
                    replaced => {
                        if let Some(entry) = replaced {
                            table.remove(entry.id);
                            partitions = entry.partitions;
                            self.leaving.push(Leaving::of(&entry.inlet));
                        }
                        Arc::new(self.start(plan, plans, fanout, &publishing))
                    }
                };
                let id = table.insert(&source, Target::Route(inlet.clone()));
                let partitions =
                    self.follow_partitions(partitions, plan, plans, fanout, &publishing);
                self.entries.push(Entry { inlet, source, id, partitions });
            }
            for (name, entry) in before {
                table.remove(entry.id);
                let mut lanes = vec![entry.inlet.ended()];
                for lane in entry.partitions {
                    self.leave(&name, &lane);
                    lanes.push(lane.ended());
                }
                self.leaving.push(Leaving::of(&entry.inlet));
                self.lanes.spawn(forget(name, lanes, plans.clone()));
            }
        });
    }

    /// Gives the lanes of the partitions that a route takes now: those that run go on, others begin or end.
    fn follow_partitions(
        &mut self,
        before: Vec<DurableLane>,
        plan: &Arc<Plan>,
        plans: &Arc<Plans>,
        fanout: &Arc<Fanout>,
        publishing: &Publishing,
    ) -> Vec<DurableLane> {
        let RouteDefinition { name, source, .. } = &*plan.definition;
        let wanted = partitions_of(&fanout.streams, source);
        let (mut lanes, gone): (Vec<_>, Vec<_>) =
            before.into_iter().partition(|lane| wanted.iter().any(|each| lane.reads(each)));
        gone.iter().for_each(|lane| self.leave(name, lane));
        for partition in wanted {
            if lanes.iter().any(|lane| lane.reads(&partition)) {
                continue;
            }
            let leaving = self.leaving_partitions.iter();
            let leaving = leaving.filter(|(route, each, _)| route == name && *each == partition);
            let after = leaving.map(|(.., ended)| ended.clone()).collect();
            match LaneParts::new(plan, plans, fanout, partition, after, publishing) {
                Ok(parts) => lanes.push(parts.start(&mut self.lanes)),
                Err(error) => tracing::error!(route = %name, %error, "a partition is not read"),
            }
        }
        lanes
    }

    /// Ends a lane whose route takes its partition no more.
    fn leave(&mut self, route: &RouteName, lane: &DurableLane) {
        lane.stop(Stop::Removed);
        let partition = lane.state.partition.clone();
        self.leaving_partitions.push((route.clone(), partition, lane.ended()));
    }

    /// Starts a route's lanes, behind all lanes that were of this route before.
    fn start(
        &mut self,
        plan: &Arc<Plan>,
        plans: &Arc<Plans>,
        fanout: &Arc<Fanout>,
        publishing: &Publishing,
    ) -> RouteInlet {
        let name = &plan.definition.name;
        let leaving = self.leaving.iter().filter(|leaving| leaving.name == *name);
        let after = leaving.map(|leaving| leaving.ended.clone()).collect();
        RouteInlet::start(plan, after, plans, fanout, self.limits, publishing, &mut self.lanes)
    }

    /// Takes nothing more from publishers. Gives the lanes, which end when they are told that nothing comes from
    /// routes either.
    pub(super) fn stop(&mut self) -> JoinSet<()> {
        self.publishing = None;
        self.inlets().for_each(|inlet| inlet.close());
        let partitions = self.entries.iter().flat_map(|entry| &entry.partitions);
        partitions.for_each(|lane| lane.stop(Stop::Router));
        std::mem::take(&mut self.lanes)
    }
}

/// Takes away what was counted of a route once its lanes, which still count, have ended.
async fn forget(route: RouteName, lanes: Vec<Ended>, plans: Arc<Plans>) {
    for mut ended in lanes {
        ended.wait().await;
    }
    plans.forget(&route);
}
