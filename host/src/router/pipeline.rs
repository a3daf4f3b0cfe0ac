//! What a lane does with a batch: each stage in order, then its destination.

use std::{collections::HashMap, sync::Arc, time::Instant};

use arc_swap::ArcSwap;
use waypost_core::{
    BatchPolicy, DeadLetters, Destination, Failed, Failure, Folded, RouteDefinition, StageName,
    fold,
};
use waypost_protocol::{Batch, Envelope, ErrorCode, Limits};

use super::{
    fanout::Fanout,
    stage::{Stage, StageFailure, StageInstance, StageVersion},
};
use crate::time::now_ms;

/// The stages of all routes as they run at this moment. A lane looks once for each batch, so that one
/// version of each stage processes it, and a swap of several stages is one step.
#[derive(Debug, Default)]
pub struct StageSet {
    routes: ArcSwap<HashMap<String, Arc<[Stage]>>>,
}

impl StageSet {
    /// The stages of one route, in order.
    #[must_use]
    pub fn of(&self, route: &str) -> Arc<[Stage]> {
        self.routes.load().get(route).cloned().unwrap_or_default()
    }

    /// Replaces the stages of all routes at once.
    pub fn replace(&self, routes: HashMap<String, Arc<[Stage]>>) {
        self.routes.store(Arc::new(routes));
    }

    /// The stages of all routes.
    #[must_use]
    pub fn all(&self) -> Arc<HashMap<String, Arc<[Stage]>>> {
        self.routes.load_full()
    }
}

/// A lane's stages with their instances.
pub(super) struct Pipeline {
    definition: RouteDefinition,
    stages: Arc<StageSet>,
    fanout: Arc<Fanout>,
    instances: Vec<Option<Running>>,
}

/// An instance and the version that it is of.
struct Running {
    version: Arc<dyn StageVersion>,
    instance: Box<dyn StageInstance>,
}

impl Pipeline {
    pub(super) fn new(
        definition: &RouteDefinition,
        stages: Arc<StageSet>,
        fanout: Arc<Fanout>,
    ) -> Self {
        Self { definition: definition.clone(), stages, fanout, instances: Vec::new() }
    }

    /// Runs a batch through the route and hands on what comes of it, awaiting room behind.
    pub(super) async fn run(&mut self, input: Batch, ingest_ms: u64) {
        let route = self.definition.name.clone();
        let metrics = self.fanout.metrics.clone();
        metrics.route_messages.with_label_values(&[route.as_str()]).inc_by(input.len() as u64);
        metrics.batch_messages.observe(input.len() as f64);
        let stages = self.stages.of(route.as_str());
        let mut letters = DeadLetters::new(route.clone(), Limits::default());
        let policy = self.definition.batch;
        let mut rest = vec![input];
        for (position, stage) in stages.iter().enumerate() {
            let mut next = Vec::new();
            for batch in rest.iter().flat_map(|batch| parts(batch, policy)) {
                let folded = self.run_stage(position, stage, &batch).await;
                self.bury(&mut letters, &batch, Some(stage), &folded.failed);
                next.extend(folded.batches);
            }
            rest = next;
        }
        let envelope = Arc::new(Envelope {
            ingest_ms,
            hops: 1,
            route: Some(route.as_str().to_owned()),
            stages: stages.iter().map(|stage| stage.version.run().clone()).collect(),
            ..Envelope::default()
        });
        let settled: Vec<Batch> =
            rest.into_iter().filter_map(|batch| self.settle(&mut letters, batch)).collect();
        for batch in settled {
            let outputs = metrics.route_outputs.with_label_values(&[route.as_str()]);
            outputs.inc_by(batch.len() as u64);
            self.fanout.deliver(&batch, &envelope).await;
        }
        for batch in letters.finish() {
            let unseen = self.fanout.deliver(&batch, &envelope).await;
            metrics.dead_letters_unseen.with_label_values(&[route.as_str()]).inc_by(unseen as u64);
        }
    }

    async fn run_stage(&mut self, position: usize, stage: &Stage, batch: &Batch) -> Folded {
        let route = self.definition.name.clone();
        let labels = [route.as_str(), stage.name.as_str()];
        let metrics = self.fanout.metrics.clone();
        let started = Instant::now();
        let outcome = self.call(position, stage, batch).await;
        metrics.stage_seconds.with_label_values(&labels).observe(started.elapsed().as_secs_f64());
        match outcome {
            Ok(folded) => {
                let dropped = metrics.dropped.with_label_values(&labels);
                dropped.inc_by(folded.dropped as u64);
                folded
            }
            Err(failure) => {
                // Whatever the instance is now, no other batch meets it.
                if let Some(place) = self.instances.get_mut(position) {
                    *place = None;
                }
                let [route, name] = labels;
                let reason = failure.code.name();
                metrics.stage_failures.with_label_values(&[route, name, reason]).inc();
                tracing::warn!(route, stage = name, error = %failure, "a plugin failed on a batch");
                let all = 0..u32::try_from(batch.len()).unwrap_or(u32::MAX);
                let failed =
                    |index| Failed { index, code: failure.code, error: failure.text.clone() };
                Folded { failed: all.map(failed).collect(), ..Folded::default() }
            }
        }
    }

    async fn call(
        &mut self,
        position: usize,
        stage: &Stage,
        batch: &Batch,
    ) -> Result<Folded, StageFailure> {
        if self.instances.len() <= position {
            self.instances.resize_with(position + 1, || None);
        }
        let Some(place) = self.instances.get_mut(position) else {
            return Err(StageFailure { code: ErrorCode::Internal, text: "no instance".into() });
        };
        let running = match place {
            Some(running) if Arc::ptr_eq(&running.version, &stage.version) => running,
            _ => {
                let instance = stage.version.instantiate().await?;
                place.insert(Running { version: stage.version.clone(), instance })
            }
        };
        let output = running.instance.process(batch).await?;
        fold(batch, &output, stage.version.output_limits(), Limits::default())
            .map_err(|error| StageFailure { code: error.code(), text: error.to_string() })
    }

    /// Gives every message its destination; those that have none become dead letters.
    fn settle(&self, letters: &mut DeadLetters, batch: Batch) -> Option<Batch> {
        if let Destination::Topic(topic) = &self.definition.destination {
            return batch.with_topic(topic);
        }
        let is_good = |topic: &str| !topic.starts_with('$') && !self.fanout.is_source(topic);
        if batch.single_topic().is_some_and(is_good) {
            return Some(batch);
        }
        let (mut good, mut failed) = (Vec::new(), Vec::new());
        for (index, message) in (0_u32..).zip(batch.iter()) {
            if is_good(message.topic()) {
                good.push(index);
                continue;
            }
            let error = format!(
                "the message left its route on {}, which a route takes; a stage must give it a topic \
                 that no route takes",
                message.topic()
            );
            failed.push(Failed { index, code: ErrorCode::BadDestination, error });
        }
        self.bury(letters, &batch, None, &failed);
        batch.gather(&good)
    }

    fn bury(
        &self,
        letters: &mut DeadLetters,
        batch: &Batch,
        stage: Option<&Stage>,
        failed: &[Failed],
    ) {
        let now = now_ms();
        let route = self.definition.name.as_str();
        let digest = stage.map(|stage| hex(&stage.version.run().digest));
        for each in failed {
            let reason = each.code.name();
            self.fanout.metrics.dead_letters.with_label_values(&[route, reason]).inc();
            let failure = Failure {
                code: each.code,
                error: each.error.clone(),
                stage: stage.map(|stage: &Stage| -> StageName { stage.name.clone() }),
                plugin_digest: digest.clone(),
                attempts: 1,
                first_failure_ms: now,
                last_failure_ms: now,
            };
            let Some(message) = batch.get(each.index as usize) else {
                continue;
            };
            if let Err(error) = letters.push(message, &failure) {
                tracing::error!(route, %error, "a dead letter could not be kept");
            }
        }
    }
}

/// A batch in parts that keep the policy's bounds, however large the publisher or a stage made it.
fn parts(batch: &Batch, policy: BatchPolicy) -> impl Iterator<Item = Batch> {
    let (messages, bytes) = (policy.max_messages as usize, policy.max_bytes as usize);
    let mut from = 0;
    std::iter::from_fn(move || {
        if from >= batch.len() {
            return None;
        }
        // A message that is larger than the bound goes alone.
        let to = from + batch.fitting(from, messages, bytes).max(1);
        let part = batch.part(from..to);
        from = to;
        part
    })
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // A string takes any text.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
