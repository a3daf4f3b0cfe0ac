//! What a lane does with a batch: each stage in order, then its destination.

mod chained;
mod durable;
mod retry;
mod waiting;

use std::{ops::Range, sync::Arc};

use waypost_core::{BatchPolicy, Failed, Folded, Isolation, Lineage, Report, RouteName, Traced};
use waypost_protocol::Batch;

use super::{
    chain::ChainInbox,
    fanout::Fanout,
    gate::Gate,
    instances::{CallFailure, Instances},
    metrics::RouterMetrics,
    outlet::{End, History, Job, Outlet},
    parked::{Trial, Waiting},
    plans::{Plan, Plans},
    stage::{Stage, StageFailure},
};
use crate::{streams::Streams, time::now_ms};

/// A lane's stages with their instances.
pub(super) struct Pipeline {
    route: RouteName,
    plans: Arc<Plans>,
    /// How the route ran when the lane looked last; it stays when the route is taken away.
    plan: Arc<Plan>,
    metrics: Arc<RouterMetrics>,
    streams: Streams,
    instances: Instances,
    outlet: Outlet,
    waiting: Waiting,
    /// What comes to the lane out of routes.
    inbox: ChainInbox,
}

/// The way of a batch through the route.
#[derive(Clone)]
struct Course {
    plan: Arc<Plan>,
    /// The versions that it met and those of the plan that it will meet.
    stages: Arc<[Stage]>,
}

/// A batch on its way, with what is left of it in the stage that it has come to.
struct Work {
    /// How many stages it has behind it.
    position: usize,
    batch: Traced,
    course: Course,
    isolation: Isolation,
    /// When a call on it failed first.
    first_failure_ms: Option<u64>,
    /// The breaker has let it go.
    is_admitted: bool,
    /// It is one message, which was parked before.
    trial: Option<Trial>,
}

impl Course {
    fn of(plan: &Arc<Plan>) -> Self {
        Self { plan: plan.clone(), stages: plan.stages.clone() }
    }

    /// The breaker of the stage at a position.
    fn gate(&self, position: usize) -> Option<&Gate> {
        let gate = self.plan.gate(&self.stages.get(position)?.name)?;
        Some(gate)
    }
}

impl Work {
    /// The stages that it met, with the one that it has come to.
    fn met(&self) -> &[Stage] {
        let stages = &self.course.stages;
        stages.get(..=self.position).unwrap_or(stages)
    }

    fn gate(&self) -> Option<&Gate> {
        self.course.gate(self.position)
    }

    /// Its isolation, which whoever takes it puts back if something is left of it.
    fn take_isolation(&mut self) -> Isolation {
        std::mem::replace(&mut self.isolation, Isolation::new(1, 1))
    }
}

impl Pipeline {
    pub(super) fn new(
        plan: Arc<Plan>,
        outlet: Outlet,
        inbox: ChainInbox,
        plans: Arc<Plans>,
        fanout: Arc<Fanout>,
    ) -> Self {
        let metrics = fanout.metrics.clone();
        let route = plan.definition.name.clone();
        let instances = Instances::new(route.clone(), metrics.clone(), fanout.taps.clone());
        let waiting = Waiting::new(route.clone(), plan.definition.retry, metrics.clone());
        let streams = fanout.streams.clone();
        let mut pipeline =
            Self { route, plans, plan, metrics, streams, instances, outlet, waiting, inbox };
        pipeline.waiting.set_stages(&pipeline.plan.stages);
        pipeline
    }

    /// Looks at how the route runs now.
    pub(super) fn look(&mut self) {
        let Some(plan) = self.plans.of(&self.route) else {
            return;
        };
        if Arc::ptr_eq(&plan, &self.plan) {
            return;
        }
        self.instances.keep(&plan.stages);
        self.waiting.policy = plan.definition.retry;
        self.waiting.set_stages(&plan.stages);
        self.plan = plan;
    }

    /// Whether the lane looked at how the route runs now, or may do so without that something that is parked at a
    /// stage that is gone is overtaken.
    fn may_look(&self) -> bool {
        let plan = self.plans.of(&self.route);
        plan.is_none_or(|plan| !self.waiting.waits_at_other_than(&plan.stages))
    }

    /// The messages of a batch of memory topics whose time to live is not over; `None` when there are none.
    pub(super) fn living_of(&self, batch: Batch, ingest_ms: u64) -> Option<Batch> {
        self.streams.living_of(batch, ingest_ms)
    }

    /// When the lane closes a batch.
    pub(super) fn batch_policy(&self) -> BatchPolicy {
        self.plan.definition.batch
    }

    /// Runs a batch through the route and hands on what comes of it, awaiting room behind. What comes of
    /// its first messages goes all the way, through further routes too, before the next ones are called. Says
    /// whether no other route lost any of it.
    pub(super) async fn run(&mut self, input: Traced, lineage: Lineage) -> bool {
        let entered = self.metrics.route_messages.with_label_values(&[self.route.as_str()]);
        let messages = input.batch().len();
        entered.inc_by(messages as u64);
        self.metrics.batch_messages.observe(messages as f64);
        let mut job = Job::new(lineage);
        let mut work = Vec::new();
        enter(&mut work, 0, vec![input], &Course::of(&self.plan));
        self.work_off(work, &mut job).await;
        !job.is_lost
    }

    async fn work_off(&mut self, mut work: Vec<Work>, job: &mut Job) {
        while let Some(item) = work.pop() {
            if item.position < item.course.stages.len() {
                self.step(item, &mut work, job).await;
            } else {
                let course = &item.course;
                let destination = &course.plan.definition.destination;
                let step = self.outlet.leave(item.batch, &course.stages, destination, job).await;
                self.await_step(&step, job).await;
            }
            self.flush_heavy(&work, job).await;
        }
        self.hand_letters(job).await;
    }

    /// One call into a stage; what comes of it, and what is left to call, is put back.
    async fn step(&mut self, mut item: Work, work: &mut Vec<Work>, job: &mut Job) {
        if !item.is_admitted {
            let Some(admitted) = self.await_breaker(item, work, job).await else {
                return;
            };
            item = Work { is_admitted: true, ..admitted };
        }
        let position = item.position;
        let (Some(stage), Some(part)) =
            (item.course.stages.get(position).cloned(), item.batch.part(item.isolation.part()))
        else {
            return;
        };
        let following = match &item.trial {
            Some(_) => Vec::new(),
            None => self.waiting.following(&stage.name, part.batch()),
        };
        let called = part.without(&following);
        let outcome = match &called {
            Some(called) => self.instances.call(&stage, called.batch()).await,
            None => Ok(Folded::default()),
        };
        match outcome {
            Ok(folded) => {
                if let Some(called) = &called {
                    item.gate().inspect(|gate| gate.succeeded(&stage.version));
                    self.count(&stage, called.batch(), &folded);
                    self.end_or_park(&mut item, &stage, called, &folded, job);
                }
                self.follow(&item, &part, &following, job);
                let course = item.course.clone();
                if let Some(isolation) = item.take_isolation().succeeded() {
                    work.push(Work { isolation, ..item });
                }
                let Folded { batches, sources, .. } = folded;
                let most = stage.version.output_limits().max_emitted_per_message;
                let next = called.map(|called| called.followed_by(batches, &sources, most));
                enter(work, position + 1, next.unwrap_or_default(), &course);
            }
            Err(CallFailure::Start(failure)) => {
                self.tell_failure(&stage, item.gate(), &failure, true);
                let labels = [self.route.as_str(), stage.name.as_str()];
                self.metrics.stage_start_failures.with_label_values(&labels).inc();
                stage.tally.failed();
                item.gate().inspect(|gate| _ = gate.trip(&stage.version));
                work.push(Work { is_admitted: false, ..item });
            }
            Err(CallFailure::Process(failure)) => {
                let first = item.first_failure_ms.unwrap_or_else(now_ms);
                let is_untried = item.isolation.is_untried();
                let (after, rest) = item.take_isolation().failed();
                let is_news = is_untried || after.guilty.is_some();
                self.tell_failure(&stage, item.gate(), &failure, is_news);
                let mut is_admitted = true;
                if let Some((index, attempts)) = after.guilty {
                    let labels = [self.route.as_str(), stage.name.as_str()];
                    self.metrics.stage_failed_messages.with_label_values(&labels).inc();
                    stage.tally.failed();
                    let StageFailure { code, text: error } = failure;
                    let index = u32::try_from(index).unwrap_or(u32::MAX);
                    let failed = Failed { index, code, error };
                    item.first_failure_ms = Some(first);
                    if stage.version.is_deterministic() {
                        let history = History { attempts, first_failure_ms: first };
                        let end = End::In(item.met());
                        self.outlet.bury(job, &item.batch, end, &failed, history);
                        self.settle(&mut item);
                    } else {
                        let batch = item.batch.clone();
                        self.retry(&mut item, &stage, &batch, failed, 0, job);
                    }
                    is_admitted = !item.gate().is_some_and(|gate| gate.failed(&stage.version));
                }
                if after.is_exhausted {
                    item.gate().inspect(|gate| _ = gate.trip(&stage.version));
                    is_admitted = false;
                }
                if let Some(isolation) = rest {
                    let first_failure_ms = Some(first);
                    work.push(Work { isolation, first_failure_ms, is_admitted, ..item });
                }
            }
        }
    }

    fn count(&self, stage: &Stage, called: &Batch, folded: &Folded) {
        let labels = [self.route.as_str(), stage.name.as_str()];
        let seen = self.metrics.stage_messages.with_label_values(&labels);
        seen.inc_by(called.len() as u64);
        stage.tally.decided(called.len() as u64);
        let dropped = self.metrics.dropped.with_label_values(&labels);
        dropped.inc_by(folded.dropped as u64);
    }

    fn tell_failure(
        &self,
        stage: &Stage,
        gate: Option<&Gate>,
        failure: &StageFailure,
        is_news: bool,
    ) {
        let (route, name) = (self.route.as_str(), stage.name.as_str());
        let labels = [route, name, failure.code.name()];
        self.metrics.stage_failures.with_label_values(&labels).inc();
        let labels = [stage.version.run().plugin.as_str(), failure.code.name()];
        self.metrics.plugin_failures.with_label_values(&labels).inc();
        if !is_news {
            tracing::debug!(route, stage = name, error = %failure, "a plugin failed on a part");
            return;
        }
        match gate.map_or(Report::Tell { untold: 0 }, Gate::report) {
            Report::Tell { untold: 0 } => {
                tracing::warn!(route, stage = name, error = %failure, "a plugin failed on a batch");
            }
            Report::Tell { untold } => tracing::warn!(
                route, stage = name, error = %failure, untold,
                "a plugin failed on a batch; further failures before it were not told"
            ),
            Report::Pass => {}
        }
    }
}

/// Puts batches before a stage, the first of them to be taken next, in parts that keep the policy's
/// bounds, however large the publisher or a stage made them.
fn enter(work: &mut Vec<Work>, position: usize, batches: Vec<Traced>, course: &Course) {
    let budget = course.gate(position).map_or(1, Gate::failed_calls);
    for batch in batches.into_iter().rev() {
        let from = work.len();
        for range in parts(batch.batch(), course.plan.definition.batch) {
            let Some(batch) = batch.part(range) else {
                continue;
            };
            let isolation = Isolation::new(batch.batch().len(), budget);
            work.push(Work {
                position,
                batch,
                course: course.clone(),
                isolation,
                first_failure_ms: None,
                is_admitted: false,
                trial: None,
            });
        }
        if let Some(added) = work.get_mut(from..) {
            added.reverse();
        }
    }
}

/// The parts of a batch that keep the policy's bounds.
fn parts(batch: &Batch, policy: BatchPolicy) -> impl Iterator<Item = Range<usize>> {
    let (messages, bytes) = (policy.max_messages as usize, policy.max_bytes as usize);
    let mut from = 0;
    std::iter::from_fn(move || {
        if from >= batch.len() {
            return None;
        }
        // A message that is larger than the bound goes alone.
        let to = from + batch.fitting(from, messages, bytes).max(1);
        Some(std::mem::replace(&mut from, to)..to)
    })
}
