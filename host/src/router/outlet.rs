//! What leaves a route: outputs to their destination, and dead letters.

use std::sync::Arc;

use waypost_core::{
    DeadLetters, Destination, Failed, Failure, Lineage, MAX_HOPS, RouteName, Traced,
};
use waypost_protocol::{Envelope, ErrorCode, Limits};

use super::{
    chain::Step,
    fanout::{Fanout, Onward},
    stage::{Stage, is_same},
};
use crate::time::now_ms;

/// Where a lane's batches leave.
#[derive(Clone)]
pub(super) struct Outlet {
    route: RouteName,
    /// Which lane of the route.
    lane: u16,
    fanout: Arc<Fanout>,
}

/// What a batch of the lane leaves behind beside its outputs.
pub(super) struct Job {
    pub(super) lineage: Lineage,
    /// Some of what it led to in other routes was lost there.
    pub(super) is_lost: bool,
    /// In the order in which they were given up on.
    letters: Vec<Letters>,
}

/// Dead letters that met the same versions and go on in the same way.
struct Letters {
    /// The stages that they met.
    met: Vec<Stage>,
    /// How they come into other routes, if they may.
    onward: Option<Lineage>,
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
    /// A batch that came so.
    pub(super) fn new(lineage: Lineage) -> Self {
        Self { lineage, is_lost: false, letters: Vec::new() }
    }
}

impl Outlet {
    pub(super) fn new(route: RouteName, lane: u16, fanout: Arc<Fanout>) -> Self {
        Self { route, lane, fanout }
    }

    /// Gives a batch that has all stages behind it its destination. What other routes take of it is done when
    /// the step is settled.
    pub(super) async fn leave(
        &self,
        batch: Traced,
        stages: &[Stage],
        destination: &Destination,
        job: &mut Job,
    ) -> Step {
        let step = Step::default();
        let envelope = self.envelope(stages, job.lineage);
        let Some(batch) = self.settle(job, batch, stages, destination) else {
            return step;
        };
        let route = self.route.as_str();
        let outputs = self.fanout.metrics.route_outputs.with_label_values(&[route]);
        outputs.inc_by(batch.batch().len() as u64);
        let takers = |topic: &str| self.fanout.takers(topic);
        self.fanout.taps.left(&self.route, batch.batch(), takers);
        let onward = Onward { lineage: job.lineage.onward(), lane: self.lane, step: &step };
        let delivered = self.fanout.deliver(batch.batch(), &envelope, onward).await;
        for index in delivered.barred {
            let topic = batch.batch().get(index as usize).map_or("", |message| message.topic());
            let error = format!(
                "the message went through {MAX_HOPS} routes and left the last one on {topic}, which a route \
                 takes; routes that feed each other in a circle need a stage that gives it another topic"
            );
            let failed = Failed { index, code: ErrorCode::HopLimit, error };
            self.bury(job, &batch, End::Behind(stages), &failed, History::begin());
        }
        step
    }

    /// Gives every message its destination; those that have none become dead letters.
    fn settle(
        &self,
        job: &mut Job,
        batch: Traced,
        stages: &[Stage],
        destination: &Destination,
    ) -> Option<Traced> {
        if let Destination::Topic(topic) = destination {
            return batch.changed(|batch| batch.with_topic(topic));
        }
        let streams = &self.fanout.streams;
        let may_leave = |topic: &str| !topic.starts_with('$') && streams.of(topic).is_none();
        if batch.batch().single_topic().is_some_and(may_leave) {
            return Some(batch);
        }
        let (mut good, mut failed) = (Vec::new(), Vec::new());
        for (index, message) in (0_u32..).zip(batch.batch().iter()) {
            let topic = message.topic();
            if may_leave(topic) {
                good.push(index);
                continue;
            }
            let error = match streams.of(topic) {
                Some(stream) => format!(
                    "the message left its route on {topic}, which the stream {} keeps; what leaves a route is not \
                     stored",
                    stream.name
                ),
                None => format!(
                    "the message left its route on {topic}, which belongs to the router; a stage must give it a \
                     topic"
                ),
            };
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
        batch: &Traced,
        end: End<'_>,
        failed: &Failed,
        history: History,
    ) {
        let (met, stage) = match end {
            End::In(met) => (met, met.last()),
            End::Behind(met) => (met, None),
        };
        let route = self.route.as_str();
        let reason = failed.code.name();
        let batch = batch.batch();
        self.fanout.taps.dead(&self.route, stage, batch, failed);
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
        let onward = job.lineage.letter(failed.code);
        let letters = match job.letters.last_mut() {
            Some(letters) if is_same(&letters.met, met) && letters.onward == onward => letters,
            _ => {
                let envelope = self.envelope(met, job.lineage);
                let letters = DeadLetters::new(self.route.clone(), Limits::default());
                job.letters.push(Letters { met: met.to_vec(), onward, envelope, letters });
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

    /// Hands on the dead letters so far.
    pub(super) async fn deliver_letters(&self, job: &mut Job) -> Step {
        let step = Step::default();
        let route = self.route.as_str();
        for Letters { onward, envelope, mut letters, .. } in std::mem::take(&mut job.letters) {
            for batch in letters.finish() {
                let onward = Onward { lineage: onward, lane: self.lane, step: &step };
                let delivered = self.fanout.deliver(&batch, &envelope, onward).await;
                let counter = self.fanout.metrics.dead_letters_unseen.with_label_values(&[route]);
                counter.inc_by(delivered.unseen as u64);
            }
        }
        step
    }

    fn envelope(&self, stages: &[Stage], lineage: Lineage) -> Arc<Envelope> {
        Arc::new(Envelope {
            ingest_ms: lineage.ingest_ms,
            hops: lineage.hops_behind(),
            route: Some(self.route.as_str().to_owned()),
            stages: stages.iter().map(|stage| stage.version.run().clone()).collect(),
            ..Envelope::default()
        })
    }
}

/// Bytes as two digits each.
pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // A string takes any text.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
