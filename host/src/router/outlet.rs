//! What leaves a route: outputs to their destination, and dead letters.

use std::sync::Arc;

use waypost_core::{DeadLetters, Destination, Failed, Failure, RouteDefinition};
use waypost_protocol::{Batch, Envelope, ErrorCode, Limits};

use super::{fanout::Fanout, stage::Stage};
use crate::time::now_ms;

/// Where a lane's batches leave.
#[derive(Clone)]
pub(super) struct Outlet {
    definition: RouteDefinition,
    fanout: Arc<Fanout>,
}

/// What a batch of the lane leaves behind beside its outputs.
pub(super) struct Job {
    pub(super) ingest_ms: u64,
    /// In the order in which they were given up on.
    letters: Vec<Letters>,
}

/// Dead letters that met the same versions.
struct Letters {
    /// How many stages they met.
    met: usize,
    envelope: Arc<Envelope>,
    letters: DeadLetters,
}

/// Where a message came to its end, with the stages that it met.
#[derive(Debug, Clone, Copy)]
pub(super) enum End<'a> {
    /// In the last of these stages.
    In(&'a [Stage]),
    /// Behind all of them.
    Behind(&'a [Stage]),
}

/// How a message came to its end.
#[derive(Debug, Clone, Copy)]
pub(super) struct History {
    pub(super) attempts: u32,
    pub(super) first_failure_ms: u64,
}

impl History {
    /// It failed now, for the first time.
    pub(super) fn begin() -> Self {
        Self { attempts: 1, first_failure_ms: now_ms() }
    }
}

impl Job {
    /// A batch that came at this time.
    pub(super) fn new(ingest_ms: u64) -> Self {
        Self { ingest_ms, letters: Vec::new() }
    }
}

impl Outlet {
    pub(super) fn new(definition: RouteDefinition, fanout: Arc<Fanout>) -> Self {
        Self { definition, fanout }
    }

    /// Gives a batch that has all stages behind it its destination.
    pub(super) async fn leave(&self, batch: Batch, stages: &[Stage], job: &mut Job) {
        let envelope = self.envelope(stages, job.ingest_ms);
        let Some(batch) = self.settle(job, batch, stages) else {
            return;
        };
        let route = self.definition.name.as_str();
        let outputs = self.fanout.metrics.route_outputs.with_label_values(&[route]);
        outputs.inc_by(batch.len() as u64);
        self.fanout.deliver(&batch, &envelope).await;
    }

    /// Gives every message its destination; those that have none become dead letters.
    fn settle(&self, job: &mut Job, batch: Batch, stages: &[Stage]) -> Option<Batch> {
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
        for each in &failed {
            self.bury(job, &batch, End::Behind(stages), each, History::begin());
        }
        batch.gather(&good)
    }

    /// Makes a message a dead letter.
    pub(super) fn bury(
        &self,
        job: &mut Job,
        batch: &Batch,
        end: End<'_>,
        failed: &Failed,
        history: History,
    ) {
        let (met, stage) = match end {
            End::In(met) => (met, met.last()),
            End::Behind(met) => (met, None),
        };
        let route = self.definition.name.as_str();
        let reason = failed.code.name();
        self.fanout.metrics.dead_letters.with_label_values(&[route, reason]).inc();
        let failure = Failure {
            code: failed.code,
            error: failed.error.clone(),
            stage: stage.map(|stage| stage.name.clone()),
            plugin_digest: stage.map(|stage| hex(&stage.version.run().digest)),
            attempts: history.attempts,
            first_failure_ms: history.first_failure_ms,
            last_failure_ms: now_ms(),
        };
        let Some(message) = batch.get(failed.index as usize) else {
            return;
        };
        let letters = match job.letters.last_mut() {
            Some(letters) if letters.met == met.len() => letters,
            _ => {
                let envelope = self.envelope(met, job.ingest_ms);
                let letters = DeadLetters::new(self.definition.name.clone(), Limits::default());
                job.letters.push(Letters { met: met.len(), envelope, letters });
                let Some(letters) = job.letters.last_mut() else {
                    return;
                };
                letters
            }
        };
        if let Err(error) = letters.letters.push(message, &failure) {
            tracing::error!(route, %error, "a dead letter could not be kept");
        }
    }

    /// Hands on the dead letters so far. To be called before the job's messages meet other versions.
    pub(super) async fn deliver_letters(&self, job: &mut Job) {
        let route = self.definition.name.as_str();
        for Letters { envelope, mut letters, .. } in std::mem::take(&mut job.letters) {
            for batch in letters.finish() {
                let unseen = self.fanout.deliver(&batch, &envelope).await;
                let counter = self.fanout.metrics.dead_letters_unseen.with_label_values(&[route]);
                counter.inc_by(unseen as u64);
            }
        }
    }

    fn envelope(&self, stages: &[Stage], ingest_ms: u64) -> Arc<Envelope> {
        Arc::new(Envelope {
            ingest_ms,
            hops: 1,
            route: Some(self.definition.name.as_str().to_owned()),
            stages: stages.iter().map(|stage| stage.version.run().clone()).collect(),
            ..Envelope::default()
        })
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // A string takes any text.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
