//! What a lane does with messages that are to be tried again.

use std::fmt::Write as _;

use tokio::time::Instant;
use waypost_core::{Failed, Folded, Traced};
use waypost_protocol::ErrorCode;

use super::{
    super::{
        outlet::{End, History, Job},
        parked::{Parked, Trial},
        plans::Resumed,
        stage::Stage,
    },
    Course, Pipeline, Work, enter,
};
use crate::time::now_ms;

/// Parked messages that are tried before the lane looks for new ones.
const MAX_DUE: usize = 64;
const BEHIND_ANOTHER: &str = "it waited behind another with its key";

impl Pipeline {
    /// When the next parked message is due.
    pub(in crate::router) fn next_due(&self) -> Option<Instant> {
        self.waiting.next_due()
    }

    /// Whether so many messages are parked that the lane may take nothing new.
    pub(in crate::router) fn is_full(&self) -> bool {
        self.waiting.is_full()
    }

    /// Tries the parked messages that are due, up to so many that new ones do not wait for long.
    pub(in crate::router) async fn run_due(&mut self) {
        for _ in 0..MAX_DUE {
            let Some((place, parked)) = self.waiting.take_due() else {
                return;
            };
            let Parked { batch, lineage, under, attempts, first_failure_ms, id, .. } = parked;
            let stage = self.waiting.stage_of(&place);
            let ahead = under.stages.iter().map(|stage| &stage.name);
            let Resumed { position, is_same_stage } =
                self.plan.resume(ahead.skip_while(|name| Some(*name) != stage));
            let mut job = Job::new(lineage);
            let mut work = Vec::new();
            enter(&mut work, position, vec![batch], &Course::of(&self.plan));
            match work.first_mut() {
                Some(item) if is_same_stage => {
                    item.trial = Some(Trial { place, attempts, first_failure_ms, id });
                }
                // Where it goes on it has not been tried.
                _ => self.waiting.settled(place, id),
            }
            self.work_off(work, &mut job).await;
        }
    }

    /// To be called before a batch from the lane's queues: looks at how the route runs now, and lets go before it what
    /// is parked at stages that are gone.
    pub(in crate::router) async fn catch_up(&mut self) {
        self.look();
        while self.waiting.is_hasty() {
            self.run_due().await;
        }
    }

    /// The lane is about to end: what is parked becomes dead letters, and nothing is parked any more.
    pub(in crate::router) async fn give_up(&mut self, is_router_stopping: bool) {
        let (code, why) = match self.plans.of(&self.route) {
            _ if is_router_stopping => (ErrorCode::PluginRetry, "the router stopped"),
            None => (ErrorCode::RouteRemoved, "the route was taken out of the configuration"),
            Some(_) => (ErrorCode::RouteRemoved, "the route began anew with other lanes"),
        };
        self.waiting.close(why);
        self.look();
        for (stage, parked) in self.waiting.drain() {
            let mut job = Job::new(parked.lineage);
            let error = if parked.error.is_empty() { BEHIND_ANOTHER } else { &parked.error };
            let error = format!("{why} before the message was tried again: {error}");
            let failed = Failed { index: 0, code, error };
            let first_failure_ms = parked.first_failure_ms.unwrap_or_else(now_ms);
            let history = History { attempts: parked.attempts.max(1), first_failure_ms };
            let stages = self.plan.stages.clone();
            let end = match stages.iter().position(|known| Some(&known.name) == stage.as_ref()) {
                Some(position) => End::In(stages.get(..=position).unwrap_or(&stages)),
                None => End::Behind(&stages),
            };
            self.outlet.bury(&mut job, &parked.batch, end, &failed, history);
            self.hand_letters(&mut job).await;
        }
    }

    /// After a call that succeeded: what was rejected is a dead letter, what is to be tried again is parked,
    /// and what was parked before has gone on.
    pub(super) fn end_or_park(
        &mut self,
        item: &mut Work,
        stage: &Stage,
        called: &Traced,
        folded: &Folded,
        job: &mut Job,
    ) {
        let history = match &item.trial {
            Some(trial) => History {
                attempts: trial.attempts.saturating_add(1),
                first_failure_ms: trial.first_failure_ms.unwrap_or_else(now_ms),
            },
            None => History::begin(),
        };
        for failed in &folded.failed {
            self.outlet.bury(job, called, End::In(item.met()), failed, history);
        }
        for retried in &folded.retried {
            let error = match retried.after_ms {
                0 => "the plugin asked for another try".to_owned(),
                ms => format!("the plugin asked for another try after {ms} ms"),
            };
            let failed = Failed { index: retried.index, code: ErrorCode::PluginRetry, error };
            self.retry(item, stage, called, failed, retried.after_ms, job);
        }
        self.follow(item, called, &folded.following, job);
        self.settle(item);
    }

    /// Lets messages wait behind those with their keys; where nothing may wait any more, it gives up on them.
    pub(super) fn follow(&mut self, item: &Work, batch: &Traced, indices: &[u32], job: &mut Job) {
        let Some(why) = self.waiting.refusal() else {
            if let Some(stage) = item.course.stages.get(item.position) {
                let under = &item.course.plan.definition;
                self.waiting.follow(&stage.name, batch, indices, job.lineage, under);
            }
            return;
        };
        for &index in indices {
            let error = format!("{BEHIND_ANOTHER}; {why}");
            let failed = Failed { index, code: ErrorCode::PluginRetry, error };
            self.outlet.bury(job, batch, End::In(item.met()), &failed, History::begin());
        }
    }

    /// What was parked before has gone on, or ended.
    pub(super) fn settle(&mut self, item: &mut Work) {
        if let Some(trial) = item.trial.take() {
            self.waiting.settled(trial.place, trial.id);
        }
    }

    /// Parks a message to be tried again after at least so long, unless this was its last attempt.
    pub(super) fn retry(
        &mut self,
        item: &mut Work,
        stage: &Stage,
        batch: &Traced,
        mut failed: Failed,
        asked_ms: u64,
        job: &mut Job,
    ) {
        let first = item.trial.as_ref().and_then(|trial| trial.first_failure_ms);
        let first_failure_ms = first.or(item.first_failure_ms).unwrap_or_else(now_ms);
        let attempts = item.trial.as_ref().map_or(0, |trial| trial.attempts).saturating_add(1);
        let Some(alone) = batch.gather(&[failed.index]) else {
            return;
        };
        let is_last = attempts >= self.waiting.policy.attempts;
        if let Some(why) =
            is_last.then_some("no attempt is left").or_else(|| self.waiting.refusal())
        {
            let _ = write!(failed.error, "; it was attempt {attempts}, and {why}");
            let history = History { attempts, first_failure_ms };
            self.outlet.bury(job, batch, End::In(item.met()), &failed, history);
            self.settle(item);
            return;
        }
        let labels = [self.route.as_str(), stage.name.as_str()];
        self.metrics.retries.with_label_values(&labels).inc();
        let trial = item.trial.take().map(|trial| (trial.place, trial.id));
        let (place, id) = trial.map_or((None, None), |(place, id)| (Some(place), id));
        let parked = Parked {
            batch: alone,
            lineage: job.lineage,
            under: item.course.plan.definition.clone(),
            attempts,
            first_failure_ms: Some(first_failure_ms),
            error: failed.error,
            id,
        };
        self.waiting.park(&stage.name, place, parked, asked_ms);
    }
}
