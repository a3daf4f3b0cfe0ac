//! What leaves a route: outputs to their destination, and dead letters.
//!
//! What comes of memory topics is [handed on](handing) at once. What comes of a stream is
//! [collected](collecting) until the unit that it belongs to is committed.

mod collecting;
mod handing;
mod letters;

use std::sync::Arc;

pub(super) use collecting::Collecting;
use letters::Letters;
use waypost_core::{Destination, Failed, Failure, Lineage, MAX_HOPS, RouteName, Traced};
use waypost_protocol::{Envelope, ErrorCode};

use super::{chain::Step, fanout::Fanout, stage::Stage};
use crate::time::now_ms;

/// Where a lane's batches leave.
pub(super) struct Outlet {
    route: RouteName,
    /// Which lane of the route.
    lane: u16,
    fanout: Arc<Fanout>,
    way: Way,
}

/// How they leave.
enum Way {
    Handing,
    Collecting(Box<Collecting>),
}

/// What a batch of the lane leaves behind beside its outputs.
pub(super) struct Job {
    pub(super) lineage: Lineage,
    /// Some of what it led to in other routes was lost there.
    pub(super) is_lost: bool,
    /// In the order in which they were given up on.
    letters: Vec<Letters>,
}

/// What is said of messages that leave a route together.
#[derive(Debug, Clone)]
pub(super) struct Label {
    /// As subscribers are told.
    pub(super) envelope: Arc<Envelope>,
    /// How they come into other routes, if they may.
    pub(super) onward: Option<Lineage>,
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

impl Label {
    /// How a stream keeps them, taken in at this time. Those that may go into no route any more say so by their
    /// hops.
    pub(super) fn stored(&self, now_ms: u64) -> Envelope {
        let hops = self.onward.map_or(MAX_HOPS, |onward| onward.hops);
        Envelope { ingest_ms: now_ms, hops, ..Envelope::clone(&self.envelope) }
    }
}

/// Whether they may be kept as one batch.
impl PartialEq for Label {
    fn eq(&self, other: &Self) -> bool {
        let hops = |label: &Self| label.onward.map(|onward| onward.hops);
        hops(self) == hops(other)
            && self.envelope.route == other.envelope.route
            && self.envelope.stages == other.envelope.stages
    }
}

impl Outlet {
    /// Of a lane of memory topics.
    pub(super) fn handing(route: RouteName, lane: u16, fanout: Arc<Fanout>) -> Self {
        Self { route, lane, fanout, way: Way::Handing }
    }

    /// Of the lane of a partition.
    pub(super) fn collecting(
        route: RouteName,
        fanout: Arc<Fanout>,
        collecting: Box<Collecting>,
    ) -> Self {
        let lane = collecting.lane();
        Self { route, lane, fanout, way: Way::Collecting(collecting) }
    }

    pub(super) fn collected(&mut self) -> Option<&mut Collecting> {
        match &mut self.way {
            Way::Handing => None,
            Way::Collecting(collecting) => Some(collecting),
        }
    }

    /// Whether what leaves is collected.
    pub(super) fn is_collecting(&self) -> bool {
        matches!(self.way, Way::Collecting(_))
    }

    /// Gives a batch that has all stages behind it its destination. What other routes take of it is done when
    /// the step is settled.
    pub(super) async fn leave(
        &mut self,
        batch: Traced,
        stages: &[Stage],
        destination: &Destination,
        job: &mut Job,
    ) -> Step {
        let Some(batch) = self.settle(job, batch, stages, destination) else {
            return Step::default();
        };
        let route = self.route.as_str();
        let outputs = self.fanout.metrics.route_outputs.with_label_values(&[route]);
        outputs.inc_by(batch.batch().len() as u64);
        let takers = |topic: &str| self.fanout.takers(topic);
        self.fanout.taps.left(&self.route, batch.batch(), takers);
        let label = self.label(stages, job.lineage, job.lineage.onward());
        if self.is_collecting() {
            self.collect(batch, label, stages, job);
            return Step::default();
        }
        self.hand_on(batch, &label, stages, job).await
    }

    /// Hands on, or collects, the dead letters so far.
    pub(super) async fn deliver_letters(&mut self, job: &mut Job) -> Step {
        let letters = std::mem::take(&mut job.letters);
        match self.collected() {
            Some(collecting) => {
                letters.into_iter().flat_map(Letters::finish).for_each(|it| collecting.push(it));
                Step::default()
            }
            None => self.hand_on_letters(letters, job).await,
        }
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
        if batch.batch().single_topic().is_some_and(|topic| !topic.starts_with('$')) {
            return Some(batch);
        }
        let (mut good, mut failed) = (Vec::new(), Vec::new());
        for (index, message) in (0_u32..).zip(batch.batch().iter()) {
            let topic = message.topic();
            if !topic.starts_with('$') {
                good.push(index);
                continue;
            }
            let error = format!(
                "the message left its route on {topic}, which belongs to the router; a stage must give it a \
                 topic"
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
        self.fanout.taps.dead(&self.route, stage, batch.batch(), failed);
        self.fanout.metrics.dead_letters.with_label_values(&[route, reason]).inc();
        let trace = batch.trace(failed.index);
        let failure = Failure {
            code: failed.code,
            error: failed.error.clone(),
            stage: stage.map(|stage| stage.name.clone()),
            plugin_digest: stage.map(|stage| hex(&stage.version.run().digest)),
            attempts: history.attempts,
            first_failure_ms: history.first_failure_ms,
            last_failure_ms: now_ms(),
        };
        let Some(message) = batch.batch().get(failed.index as usize) else {
            return;
        };
        let onward = job.lineage.letter(failed.code);
        let letters = match job.letters.last_mut() {
            Some(letters) if letters.takes(met, onward) => letters,
            _ => {
                let label = self.label(met, job.lineage, onward);
                job.letters.push(Letters::new(self.route.clone(), met.to_vec(), label));
                let Some(letters) = job.letters.last_mut() else {
                    return;
                };
                letters
            }
        };
        let source = match &self.way {
            Way::Handing => None,
            Way::Collecting(collecting) => Some(collecting.source()),
        };
        letters.push(message, &failure, source.zip(trace));
    }

    /// Makes messages that went through as many routes as they may dead letters.
    fn bury_at_limit(&self, job: &mut Job, batch: &Traced, stages: &[Stage], indices: &[u32]) {
        for &index in indices {
            let topic = batch.batch().get(index as usize).map_or("", |message| message.topic());
            let error = format!(
                "the message went through {MAX_HOPS} routes and left the last one on {topic}, which a route \
                 takes; routes that feed each other in a circle need a stage that gives it another topic"
            );
            let failed = Failed { index, code: ErrorCode::HopLimit, error };
            self.bury(job, batch, End::Behind(stages), &failed, History::begin());
        }
    }

    fn label(&self, stages: &[Stage], lineage: Lineage, onward: Option<Lineage>) -> Label {
        let envelope = Envelope {
            ingest_ms: lineage.ingest_ms,
            hops: lineage.hops_behind(),
            route: Some(self.route.as_str().to_owned()),
            stages: stages.iter().map(|stage| stage.version.run().clone()).collect(),
            ..Envelope::default()
        };
        Label { envelope: Arc::new(envelope), onward }
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
