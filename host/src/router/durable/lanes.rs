//! The lanes of a route's partitions, and how they come and go.

use std::sync::Arc;

use futures_util::future::join;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};
use waypost_core::{Partition, RouteStart, StreamDefinition};
use waypost_protocol::{Offset, Pattern};
use waypost_storage::ReadError;

use super::{
    KeptParked, LaneState, Returning,
    begin::{Begun, begin},
    commit::Commits,
    draft::drafts,
    lane::Lane,
    reading::Reading,
    restored,
};
use crate::{
    router::{
        chain::ChainInbox,
        fanout::Fanout,
        lane::{Ended, Publishing},
        outlet::{Collecting, Outlet},
        pipeline::Pipeline,
        plans::{Plan, Plans},
    },
    streams::Streams,
};

/// Bytes of units of a lane on their way into storage.
const UNIT_BYTES: usize = 16 << 20;

/// A lane that runs.
#[derive(Debug)]
pub(in crate::router) struct DurableLane {
    pub(in crate::router) state: Arc<LaneState>,
    stop: watch::Sender<Stop>,
    returns: mpsc::Sender<Returning>,
    ended: Ended,
}

/// Whether a lane is to end, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::router) enum Stop {
    No,
    /// The router stops.
    Router,
    /// The route takes the partition no more.
    Removed,
}

/// What a lane is made of.
pub(in crate::router) struct LaneParts {
    pub(in crate::router) plan: Arc<Plan>,
    pub(in crate::router) plans: Arc<Plans>,
    pub(in crate::router) fanout: Arc<Fanout>,
    pub(in crate::router) state: Arc<LaneState>,
    /// Where it begins if it has not read the partition before.
    pub(in crate::router) start: Offset,
    /// Lanes of the same route and partition that may still be at work.
    pub(in crate::router) after: Vec<Ended>,
    /// Held while it may still hand something on.
    pub(in crate::router) publishing: Publishing,
}

impl LaneParts {
    /// For a partition, which a new route begins with what is there at this moment.
    pub(in crate::router) fn new(
        plan: &Arc<Plan>,
        plans: &Arc<Plans>,
        fanout: &Arc<Fanout>,
        partition: Partition,
        after: Vec<Ended>,
        publishing: &Publishing,
    ) -> Result<Self, ReadError> {
        let bounds = fanout.streams.storage().bounds(&partition)?;
        let start = match plan.definition.start {
            RouteStart::End => bounds.next,
            RouteStart::Beginning => bounds.first,
        };
        Ok(Self {
            plan: plan.clone(),
            plans: plans.clone(),
            fanout: fanout.clone(),
            state: Arc::new(LaneState::new(partition)),
            start,
            after,
            publishing: publishing.clone(),
        })
    }

    /// Starts the lane on the current runtime.
    pub(in crate::router) fn start(self, tasks: &mut JoinSet<()>) -> DurableLane {
        let (running, ended) = Ended::pair();
        let (stop, stopped) = watch::channel(Stop::No);
        let (returns, returning) = mpsc::channel(1);
        let state = self.state.clone();
        tasks.spawn(async move {
            self.run(stopped, returning).await;
            drop(running);
        });
        DurableLane { state, stop, returns, ended }
    }

    async fn run(mut self, stopped: watch::Receiver<Stop>, returns: mpsc::Receiver<Returning>) {
        let mut stop = stopped.clone();
        let (route, partition) = (self.plan.definition.name.clone(), self.state.partition.clone());
        let begun = async {
            for ended in &mut self.after {
                ended.wait().await;
            }
            begin(&self).await
        };
        let begun = tokio::select! {
            begun = begun => begun,
            _ = stop.wait_for(|stop| *stop != Stop::No) => return,
        };
        let Self { plan, plans, fanout, state, publishing, .. } = self;
        let (drafts, received) = drafts(UNIT_BYTES);
        let commits = Commits {
            route: route.clone(),
            fanout: fanout.clone(),
            state: state.clone(),
            stop: stopped,
        };
        let reading = async {
            let Begun { progress, parked } = begun;
            let from = progress.read();
            let reading = Reading::new(route.clone(), &fanout.streams, state.clone(), from);
            let collecting = Collecting::new(partition.clone(), progress, drafts);
            let outlet = Outlet::collecting(route.clone(), fanout.clone(), Box::new(collecting));
            let changes = plans.changes();
            let mut pipeline = Pipeline::new(plan, outlet, ChainInbox::default(), plans, fanout);
            let taken = parked.iter().map(|message| message.id);
            let kept = KeptParked::new(partition.clone(), taken);
            pipeline.restore(kept, |definition| restored(parked, definition));
            let lane = Lane { pipeline, reading, changes, returns, state: state.clone() };
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop != Stop::No) => {}
                () = lane.run() => {}
            }
        };
        join(reading, commits.run(received)).await;
        if *stop.borrow() == Stop::Removed {
            let (parked, progress) = (state.parked(), state.progress());
            tracing::warn!(
                %route, %partition, parked, ?progress,
                "the route does not take this partition any more; its progress and what it parked stay in storage, \
                 for a route of that name that takes it again"
            );
        }
        drop(publishing);
    }
}

impl DurableLane {
    /// Whether it reads a partition.
    pub(in crate::router) fn reads(&self, partition: &Partition) -> bool {
        self.state.partition == *partition
    }

    /// Ends it as soon as what it handed over is committed.
    pub(in crate::router) fn stop(&self, why: Stop) {
        self.stop.send_replace(why);
    }

    /// Where what comes back to it goes.
    pub(in crate::router) fn returns(&self) -> mpsc::Sender<Returning> {
        self.returns.clone()
    }

    pub(in crate::router) fn ended(&self) -> Ended {
        self.ended.clone()
    }
}

/// The partitions whose streams keep some topic of a pattern.
pub(in crate::router) fn partitions_of(streams: &Streams, source: &Pattern) -> Vec<Partition> {
    let of = |stream: &StreamDefinition| {
        let name = stream.name.clone();
        let indices = stream.partition_indices();
        indices.map(move |index| Partition { stream: name.clone(), index })
    };
    streams.table().overlapping(source).flat_map(of).collect()
}
