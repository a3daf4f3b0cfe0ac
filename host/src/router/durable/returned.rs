//! Messages that a route gave up on and that come back to the stage that failed: the lane parks them, due at once,
//! in the same unit in which their letters leave.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use waypost_core::{Lineage, Partition, RouteName, StageName, Trace, Traced};
use waypost_protocol::Batch;
use waypost_storage::GroupStep;

use crate::{router::Router, time::now_ms};

/// How long a lane may take to come to what comes back.
const PATIENCE: Duration = Duration::from_secs(20);

/// Messages that come back to one lane.
#[derive(Debug)]
pub(crate) struct Returned {
    /// In their order.
    pub(crate) messages: Vec<ReturnedMessage>,
    /// What is committed with them.
    pub(crate) steps: Vec<GroupStep>,
}

/// A message that comes back.
#[derive(Debug)]
pub(crate) struct ReturnedMessage {
    /// The stage that it is to be tried at.
    pub(crate) stage: StageName,
    /// What it comes of.
    pub(crate) trace: Trace,
    /// It came as a dead letter of another route.
    pub(crate) is_letter: bool,
    /// The message as a batch of its own.
    pub(crate) message: Batch,
}

/// Why messages do not come back. Nothing has changed, unless it says otherwise.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ReturnError {
    /// No lane of the route reads the partition.
    #[error("the route {route} does not read {partition} any more; replay it --to origin")]
    NotRead {
        /// The route.
        route: RouteName,
        /// The partition.
        partition: Partition,
    },
    /// The lane stores nothing now.
    #[error("the route {route} stalls in {partition}: {why}; mend that, and try again then")]
    Stalled {
        /// The route.
        route: RouteName,
        /// The partition.
        partition: Partition,
        /// Why.
        why: String,
    },
    /// The route has no such stage.
    #[error("the route {route} has no stage {stage} any more; replay it --to origin")]
    NoStage {
        /// The route.
        route: RouteName,
        /// The stage.
        stage: StageName,
    },
    /// The lane did not come to it.
    #[error(
        "the lane of {0} did not come to it within {seconds} s: it waits for a plugin that works, or has as much \
         parked as it may; see waypost explain, and try again then", seconds = PATIENCE.as_secs()
    )]
    Busy(Partition),
    /// The lane ended before.
    #[error("the lane ended before it was stored; try again")]
    Gone,
    /// The lane ended, and it is to be looked up whether they were stored.
    #[error("it is not known whether it was stored")]
    Unknown,
}

/// What a lane is asked.
#[derive(Debug)]
pub(in crate::router) struct Returning {
    pub(in crate::router) returned: Returned,
    /// Told before anything is changed: nobody waits any more when that fails. What comes back is a stage that
    /// there is none of.
    pub(in crate::router) taken: oneshot::Sender<Result<(), StageName>>,
    pub(in crate::router) committed: oneshot::Sender<()>,
}

/// What is committed with a lane's unit, and who waits for that.
#[derive(Debug)]
pub(in crate::router) struct Leaving {
    pub(in crate::router) steps: Vec<GroupStep>,
    pub(in crate::router) committed: oneshot::Sender<()>,
}

impl ReturnedMessage {
    /// As a lane has it.
    pub(in crate::router) fn traced(self) -> Option<(StageName, Traced, Lineage)> {
        let Self { stage, trace, is_letter, message } = self;
        let traced = Traced::new(message, vec![trace])?;
        Some((stage, traced, Lineage { is_letter, ..Lineage::published(now_ms()) }))
    }
}

impl Router {
    /// Whether there is a lane that would take something back now.
    ///
    /// # Errors
    ///
    /// There is none, or it stores nothing.
    pub(crate) fn takes_back(
        &self,
        route: &RouteName,
        partition: &Partition,
    ) -> Result<(), ReturnError> {
        self.way_to(route, partition).map(drop)
    }

    fn way_to(
        &self,
        route: &RouteName,
        partition: &Partition,
    ) -> Result<mpsc::Sender<Returning>, ReturnError> {
        let (route, partition) = (route.clone(), partition.clone());
        match self.routes().returns_to(&route, &partition) {
            None => Err(ReturnError::NotRead { route, partition }),
            Some((state, lane)) => match state.stalled() {
                Some(why) => Err(ReturnError::Stalled { route, partition, why }),
                None => Ok(lane),
            },
        }
    }

    /// Lets a lane of a route over streams try messages again, and resolves when that is committed.
    ///
    /// # Errors
    ///
    /// There is no such lane or stage, or the lane does not come to it.
    pub(crate) async fn take_back(
        &self,
        route: &RouteName,
        partition: &Partition,
        returned: Returned,
    ) -> Result<(), ReturnError> {
        let lane = self.way_to(route, partition)?;
        let (taken, mut taking) = oneshot::channel();
        let (committed, committing) = oneshot::channel();
        let returning = Returning { returned, taken, committed };
        let answer = tokio::time::timeout(PATIENCE, ask(lane, returning, &mut taking)).await;
        let answer = match answer {
            Ok(answer) => answer,
            // It may have been taken just then.
            Err(_) => {
                taking.close();
                taking.try_recv().map_err(|_| ReturnError::Busy(partition.clone()))
            }
        };
        if let Err(stage) = answer? {
            return Err(ReturnError::NoStage { route: route.clone(), stage });
        }
        committing.await.map_err(|_| ReturnError::Unknown)
    }
}

async fn ask(
    lane: mpsc::Sender<Returning>,
    returning: Returning,
    taking: &mut oneshot::Receiver<Result<(), StageName>>,
) -> Result<Result<(), StageName>, ReturnError> {
    lane.send(returning).await.map_err(|_| ReturnError::Gone)?;
    taking.await.map_err(|_| ReturnError::Gone)
}
