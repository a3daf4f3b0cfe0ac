//! What a lane does with a batch that waits for a stage whose breaker is open.

use std::sync::Arc;

use waypost_core::Failed;
use waypost_protocol::ErrorCode;

use super::{
    super::{
        outlet::{End, History, Job},
        plans::Plan,
    },
    Course, Pipeline, Work, enter,
};
use crate::time::now_ms;

impl Pipeline {
    /// Waits while the stage's breaker is open. What the route gave up on before is seen meanwhile; who has waited
    /// meets the stages and versions that there are then. None when nothing is left to call in this stage.
    pub(super) async fn await_breaker(
        &mut self,
        mut item: Work,
        work: &mut Vec<Work>,
        job: &mut Job,
    ) -> Option<Work> {
        loop {
            let mut changes = self.plans.changes();
            let (gate, stage) = (item.gate(), item.course.stages.get(item.position));
            let Some((gate, stage)) = gate.zip(stage) else {
                return Some(item);
            };
            let Err(until) = gate.admit(&stage.version) else {
                return Some(item);
            };
            self.hand_letters(job).await;
            self.flush_through(work, Some(&item)).await;
            match self.plans.of(&self.route) {
                // Its lane is about to be ended, and what is not committed is read again.
                None if self.outlet.is_collecting() => std::future::pending().await,
                None => {
                    self.abandon(item, job);
                    return None;
                }
                Some(current) if !Arc::ptr_eq(&current, &item.course.plan) => {
                    item = self.adopt(item, &current, work)?;
                }
                Some(_) => {
                    tokio::select! {
                        () = tokio::time::sleep_until(until) => {}
                        _ = changes.changed() => {}
                    }
                }
            }
        }
    }

    /// Lets a batch go on as the route runs now. None when the stage that it waited for is gone; what was left to
    /// call there is put before the next one that is not.
    fn adopt(&mut self, mut item: Work, plan: &Arc<Plan>, work: &mut Vec<Work>) -> Option<Work> {
        let stages = &item.course.stages;
        let (behind, ahead) = stages.split_at_checked(item.position).unwrap_or((stages, &[]));
        let resumed = plan.resume(ahead.iter().map(|stage| &stage.name));
        let next = plan.stages.get(resumed.position..).unwrap_or_default();
        let stages = behind.iter().chain(next).cloned().collect();
        let course = Course { plan: plan.clone(), stages };
        if resumed.is_same_stage {
            return Some(Work { course, ..item });
        }
        self.settle(&mut item);
        let rest = item.batch.part(item.isolation.rest());
        enter(work, item.position, rest.into_iter().collect(), &course);
        None
    }

    /// Gives up on what is left of a batch whose route has been taken away.
    fn abandon(&mut self, mut item: Work, job: &mut Job) {
        let first_failure_ms = item.first_failure_ms.unwrap_or_else(now_ms);
        let attempts = item.trial.as_ref().map_or(0, |trial| trial.attempts).saturating_add(1);
        for index in item.isolation.rest() {
            let error = "the plugin failed again and again, and the route was taken out of the configuration \
                         while the message waited for another version";
            let failed = Failed {
                index: u32::try_from(index).unwrap_or(u32::MAX),
                code: ErrorCode::RouteRemoved,
                error: error.to_owned(),
            };
            let history = History { attempts, first_failure_ms };
            self.outlet.bury(job, &item.batch, End::In(item.met()), &failed, history);
        }
        self.settle(&mut item);
    }
}
