//! A lane's instances of its stages, and calls into them.

use std::{sync::Arc, time::Instant};

use prometheus::IntGauge;
use waypost_core::{Folded, RouteName, StageName, fold};
use waypost_protocol::{Batch, Limits};

use super::{
    metrics::RouterMetrics,
    stage::{Stage, StageFailure, StageInstance, StageVersion},
    tap::Taps,
};

/// One instance for each stage, made when it is called for the first time.
pub(super) struct Instances {
    route: RouteName,
    metrics: Arc<RouterMetrics>,
    taps: Arc<Taps>,
    running: Vec<(StageName, Running)>,
}

/// An instance and the version that it is of.
struct Running {
    version: Arc<dyn StageVersion>,
    instance: Box<dyn StageInstance>,
    memory: IntGauge,
    /// What the gauge was told.
    told: i64,
}

impl Running {
    fn tell_memory(&mut self) {
        let bytes = i64::try_from(self.instance.memory_bytes()).unwrap_or(i64::MAX);
        self.memory.add(bytes - std::mem::replace(&mut self.told, bytes));
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.memory.sub(self.told);
    }
}

/// Why nothing came of a call.
pub(super) enum CallFailure {
    /// There is no instance: nothing that the messages are to blame for.
    Start(StageFailure),
    /// The instance failed on the messages.
    Process(StageFailure),
}

impl Instances {
    pub(super) fn new(route: RouteName, metrics: Arc<RouterMetrics>, taps: Arc<Taps>) -> Self {
        Self { route, metrics, taps, running: Vec::new() }
    }

    /// Lets go of those of other stages than these.
    pub(super) fn keep(&mut self, stages: &[Stage]) {
        self.running.retain(|(name, _)| stages.iter().any(|stage| stage.name == *name));
    }

    /// Calls a stage with a batch, and folds its answer. An instance that failed is dropped.
    pub(super) async fn call(
        &mut self,
        stage: &Stage,
        batch: &Batch,
    ) -> Result<Folded, CallFailure> {
        let labels = [self.route.as_str(), stage.name.as_str()];
        let started = Instant::now();
        let place = self.running.iter().position(|(name, _)| *name == stage.name);
        // Whatever an instance is after a failure, no other batch meets it.
        let mut running = match place.map(|place| self.running.swap_remove(place).1) {
            Some(running) if Arc::ptr_eq(&running.version, &stage.version) => running,
            _ => {
                let instance = stage.version.instantiate().await.map_err(CallFailure::Start)?;
                let memory = self.metrics.stage_memory.with_label_values(&labels);
                Running { version: stage.version.clone(), instance, memory, told: 0 }
            }
        };
        let output = running.instance.process(batch).await;
        let seconds = self.metrics.stage_seconds.with_label_values(&labels);
        seconds.observe(started.elapsed().as_secs_f64());
        let output = output.map_err(CallFailure::Process)?;
        let folded = fold(batch, &output, stage.version.output_limits(), Limits::default());
        let folded = folded.map_err(|error| {
            CallFailure::Process(StageFailure { code: error.code(), text: error.to_string() })
        })?;
        running.instance.commit();
        running.tell_memory();
        self.running.push((stage.name.clone(), running));
        self.taps.verdicts(&self.route, stage, batch, &output, &folded);
        Ok(folded)
    }
}
