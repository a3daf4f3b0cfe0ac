//! What a lane does with a batch: each stage in order, as the host's `Pipeline` does, one call at a time.

use waypost_core::{Failed, Failure, Folded, Isolation, Partition, Retried, Traced};
use waypost_protocol::{ErrorCode, Offset};

use super::{
    draft::{Collecting, Letters},
    parked::{Parked, Trial, Waiting},
    plugin,
};
use crate::shared::Shared;

/// Messages of a batch before a stage at most.
const PART: usize = 5;
/// Calls that may fail on a batch. There is no breaker here that would open beyond it.
const FAILED_CALLS: u32 = 16;

/// A batch on its way, with what is left of it in the stage that it has come to.
#[derive(Debug)]
pub(super) struct Work {
    position: usize,
    batch: Traced,
    isolation: Isolation,
    first_failure_ms: Option<u64>,
    trial: Option<Trial>,
}

/// What is in work, with what it left behind.
#[derive(Debug, Default)]
pub(super) struct Job {
    work: Vec<Work>,
    letters: Vec<Letters>,
}

/// What a step works with.
pub(super) struct Pipeline<'a> {
    pub(super) source: &'a Partition,
    pub(super) waiting: &'a mut Waiting,
    pub(super) collecting: &'a mut Collecting,
}

impl Job {
    /// A batch that was read.
    pub(super) fn new(batch: Traced) -> Self {
        Self { work: vec![Work::new(0, batch, None)], letters: Vec::new() }
    }

    /// A message that was parked at a stage.
    pub(super) fn trial(stage: usize, batch: Traced, trial: Trial) -> Self {
        Self { work: vec![Work::new(stage, batch, Some(trial))], letters: Vec::new() }
    }

    /// The first message of which something is to be done.
    pub(super) fn first_undone(&self) -> Option<Offset> {
        let first = |work: &Work| {
            let first = u32::try_from(work.isolation.rest().start).ok()?;
            work.batch.trace(first).map(|trace| trace.offset)
        };
        self.work.iter().filter_map(first).min()
    }

    pub(super) fn take_letters(&mut self) -> Vec<Letters> {
        std::mem::take(&mut self.letters)
    }
}

impl Work {
    fn new(position: usize, batch: Traced, trial: Option<Trial>) -> Self {
        let isolation = Isolation::new(batch.batch().len(), FAILED_CALLS);
        Self { position, batch, isolation, first_failure_ms: None, trial }
    }
}

impl Pipeline<'_> {
    /// One call, or one batch that leaves. Says whether something is left to do.
    pub(super) fn step(&mut self, shared: &mut Shared, job: &mut Job) -> bool {
        let Some(item) = job.work.pop() else { return false };
        if item.position < shared.layout.stages.len() {
            self.call(shared, item, job);
        } else if let Some(batch) =
            item.batch.changed(|batch| batch.with_topic(&shared.layout.destination))
        {
            let stages = u16::try_from(item.position).unwrap_or(u16::MAX);
            self.collecting.push(batch, stages);
        }
        !job.work.is_empty()
    }

    fn call(&mut self, shared: &mut Shared, mut item: Work, job: &mut Job) {
        let position = item.position;
        let Some(part) = item.batch.part(item.isolation.part()) else { return };
        let following = match &item.trial {
            Some(_) => Vec::new(),
            None => self.waiting.following(position, part.batch()),
        };
        let called = part.without(&following);
        let outcome = match &called {
            Some(called) => plugin::call(position, called.batch(), &mut shared.random),
            None => Ok(Folded::default()),
        };
        match outcome {
            Ok(folded) => {
                if let Some(called) = &called {
                    self.end_or_park(shared, &mut item, called, &folded, job);
                }
                self.waiting.follow(shared, position, &part, &following);
                let isolation = std::mem::replace(&mut item.isolation, Isolation::new(1, 1));
                if let Some(isolation) = isolation.succeeded() {
                    job.work.push(Work { isolation, ..item });
                }
                let Folded { batches, sources, .. } = folded;
                let most = plugin::MOST_EMITTED;
                let next = called.map(|called| called.followed_by(batches, &sources, most));
                let next = next.unwrap_or_default();
                let parts: Vec<Traced> = next.iter().flat_map(parts).collect();
                let parts = parts.into_iter().rev();
                job.work.extend(parts.map(|part| Work::new(position + 1, part, None)));
            }
            Err(error) => self.failed(shared, item, error, job),
        }
    }

    /// The plugin failed on the batch: the guilty message is a dead letter, the rest is called again.
    fn failed(&mut self, shared: &mut Shared, mut item: Work, error: String, job: &mut Job) {
        let first_ms = item.first_failure_ms.unwrap_or_else(|| shared.wall_ms());
        let isolation = std::mem::replace(&mut item.isolation, Isolation::new(1, 1));
        let (after, rest) = isolation.failed();
        if let Some((index, attempts)) = after.guilty {
            let index = u32::try_from(index).unwrap_or(u32::MAX);
            let failed = Failed { index, code: ErrorCode::PluginTrap, error };
            self.bury(shared, job, &item, &item.batch, &failed, (attempts, first_ms));
            self.settle(shared, &mut item);
        }
        if let Some(isolation) = rest {
            job.work.push(Work { isolation, first_failure_ms: Some(first_ms), ..item });
        }
    }

    fn end_or_park(
        &mut self,
        shared: &mut Shared,
        item: &mut Work,
        called: &Traced,
        folded: &Folded,
        job: &mut Job,
    ) {
        let trial = item.trial.as_ref();
        let attempts = trial.map_or(0, |trial| trial.attempts).saturating_add(1);
        let first_ms = trial.and_then(|trial| trial.first_failure_ms);
        let history = (attempts, first_ms.unwrap_or_else(|| shared.wall_ms()));
        for failed in &folded.failed {
            self.bury(shared, job, item, called, failed, history);
        }
        for retried in &folded.retried {
            self.retry(shared, item, called, *retried, history, job);
        }
        self.waiting.follow(shared, item.position, called, &folded.following);
        self.settle(shared, item);
    }

    fn retry(
        &mut self,
        shared: &mut Shared,
        item: &mut Work,
        batch: &Traced,
        retried: Retried,
        history: (u32, u64),
        job: &mut Job,
    ) {
        let (attempts, first_failure_ms) = history;
        let Some(alone) = batch.gather(&[retried.index]) else { return };
        if attempts >= self.waiting.policy.attempts {
            let error = "no attempt is left".to_owned();
            let failed = Failed { index: retried.index, code: ErrorCode::PluginRetry, error };
            self.bury(shared, job, item, batch, &failed, history);
            return self.settle(shared, item);
        }
        let trial = item.trial.take().map(|trial| (trial.place, trial.id));
        let (place, id) = trial.map_or((None, None), |(place, id)| (Some(place), id));
        let first_failure_ms = Some(first_failure_ms);
        let parked = Parked { batch: alone, attempts, first_failure_ms, id };
        self.waiting.park(shared, item.position, place, parked, retried.after_ms);
    }

    /// What was parked before has gone on, or ended.
    fn settle(&mut self, shared: &Shared, item: &mut Work) {
        if let Some(trial) = item.trial.take() {
            self.waiting.settled(trial.place, trial.id, shared.now_ms);
        }
    }

    fn bury(
        &mut self,
        shared: &Shared,
        job: &mut Job,
        item: &Work,
        batch: &Traced,
        failed: &Failed,
        (attempts, first_failure_ms): (u32, u64),
    ) {
        let failure = Failure {
            code: failed.code,
            error: failed.error.clone(),
            stage: shared.layout.stages.get(item.position).cloned(),
            plugin_digest: None,
            attempts,
            first_failure_ms,
            last_failure_ms: shared.wall_ms(),
        };
        let message = batch.batch().get(failed.index as usize);
        let (Some(message), Some(trace)) = (message, batch.trace(failed.index)) else { return };
        let stages = u16::try_from(item.position + 1).unwrap_or(u16::MAX);
        if job.letters.last().is_none_or(|last| last.stages() != stages) {
            job.letters.push(Letters::new(&shared.layout.route, stages));
        }
        if let Some(letters) = job.letters.last_mut() {
            letters.push(message, &failure, self.source, trace);
        }
    }
}

/// The parts of a batch that keep the bound, as the host's lanes split what a stage made larger.
fn parts(batch: &Traced) -> Vec<Traced> {
    let starts = (0..batch.batch().len()).step_by(PART);
    let part = |from: usize| batch.part(from..(from + PART).min(batch.batch().len()));
    starts.filter_map(part).collect()
}
