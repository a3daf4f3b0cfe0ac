//! The routes that run, and how they come and go while the router does.
//!
//! A route whose stages, destination or policies change keeps its lanes: they look at its plan for each batch. One
//! that is taken away gets nothing more; its lanes end once they have done what they have. One whose number of lanes
//! changes goes and comes: its new lanes take nothing from publishers before the old ones have ended.

use std::{collections::HashMap, sync::Arc};

use tokio::task::JoinSet;
use waypost_core::{EntryId, RouteName};
use waypost_protocol::Pattern;

use super::{
    fanout::{Fanout, Target},
    lane::{Ended, LaneLimits, Publishing, RouteInlet},
    plans::{Plan, Plans},
};

/// The routes of a router.
#[derive(Debug)]
pub(super) struct Routes {
    /// In the order of the configuration.
    entries: Vec<Entry>,
    /// Those that were taken away and whose lanes are not known to have ended.
    leaving: Vec<(RouteName, Ended)>,
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
}

impl Routes {
    pub(super) fn new(limits: LaneLimits, publishing: Publishing) -> Self {
        let (entries, leaving, lanes) = (Vec::new(), Vec::new(), JoinSet::new());
        Self { entries, leaving, lanes, limits, publishing: Some(publishing) }
    }

    /// Where batches enter all routes.
    pub(super) fn inlets(&self) -> impl Iterator<Item = &Arc<RouteInlet>> {
        self.entries.iter().map(|entry| &entry.inlet)
    }

    /// Lets the routes be those that there are plans for; the table changes in one step. Once the router stops
    /// nothing changes any more.
    pub(super) fn follow(&mut self, plans: &Arc<Plans>, fanout: &Arc<Fanout>) {
        let Some(publishing) = self.publishing.clone() else {
            return;
        };
        while self.lanes.try_join_next().is_some() {}
        self.leaving.retain(|(_, ended)| !ended.is_over());
        let before = std::mem::take(&mut self.entries).into_iter();
        let mut before: HashMap<RouteName, Entry> =
            before.map(|entry| (entry.inlet.name.clone(), entry)).collect();
        fanout.with_table(|table| {
            for plan in plans.all().iter() {
                fanout.metrics.announce(&plan.definition);
                let source = plan.definition.source.clone();
                let inlet = match before.remove(&plan.definition.name) {
                    Some(entry) if entry.inlet.lane_count() == plan.definition.lanes => {
                        if entry.source == source {
                            self.entries.push(entry);
                            continue;
                        }
                        table.remove(entry.id);
                        entry.inlet
                    }
                    replaced => {
                        if let Some(entry) = replaced {
                            table.remove(entry.id);
                            self.leaving.push((entry.inlet.name.clone(), entry.inlet.ended()));
                        }
                        Arc::new(self.start(plan, plans, fanout, &publishing))
                    }
                };
                let id = table.insert(&source, Target::Route(inlet.clone()));
                self.entries.push(Entry { inlet, source, id });
            }
            for (name, entry) in before {
                table.remove(entry.id);
                self.leaving.push((name, entry.inlet.ended()));
            }
        });
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
        let leaving = self.leaving.iter().filter(|(known, _)| known == name);
        let after = leaving.map(|(_, ended)| ended.clone()).collect();
        RouteInlet::start(plan, after, plans, fanout, self.limits, publishing, &mut self.lanes)
    }

    /// Takes nothing more from publishers. Gives the lanes, which end when they are told that nothing comes from
    /// routes either.
    pub(super) fn stop(&mut self) -> JoinSet<()> {
        self.publishing = None;
        self.inlets().for_each(|inlet| inlet.close());
        std::mem::take(&mut self.lanes)
    }
}
