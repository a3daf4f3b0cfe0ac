//! What comes of a partition, kept back until it is committed with the progress: the host's `Collecting` and `Draft`.

use waypost_core::{
    Advance, DeadLetters, Failure, Output, Partition, Progress, RouteName, SettledOutputs, Trace,
    Traced, keep_outputs, outputs_before,
};
use waypost_protocol::{Envelope, Limits, MessageView, Offset};
use waypost_storage::{Append, MessageId, Origin, ParkedMessage, Step, Unit};

use crate::shared::Layout;

/// What is said of messages that leave the route together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Label {
    /// The stages that they met.
    pub(super) stages: u16,
    pub(super) is_letter: bool,
}

/// What is to be committed at once.
#[derive(Debug)]
pub(super) struct Composed {
    pub(super) unit: Unit,
    pub(super) advance: Advance,
}

/// What leaves the lane, and how far the lane came.
#[derive(Debug)]
pub(super) struct Collecting {
    outputs: Vec<Output<Label>>,
    pub(super) progress: Progress,
}

/// Dead letters of one job.
#[derive(Debug)]
pub(super) struct Letters {
    letters: DeadLetters,
    traces: Vec<Trace>,
    stages: u16,
}

impl Letters {
    pub(super) fn new(route: &RouteName, stages: u16) -> Self {
        let letters = DeadLetters::new(route.clone(), Limits::default());
        Self { letters, traces: Vec::new(), stages }
    }

    pub(super) fn stages(&self) -> u16 {
        self.stages
    }

    pub(super) fn push(
        &mut self,
        message: MessageView<'_>,
        failure: &Failure,
        source: &Partition,
        trace: Trace,
    ) {
        let pushed = self.letters.push_from(message, failure, Some((source, trace.offset)));
        pushed.expect("a small letter fits");
        self.traces.push(trace);
    }

    fn finish(mut self) -> Vec<Output<Label>> {
        let (stages, mut traces) = (self.stages, self.traces.into_iter());
        let batches = self.letters.finish().into_iter();
        let output = |batch: waypost_protocol::Batch| {
            let traces = traces.by_ref().take(batch.len()).collect();
            let messages = Traced::new(batch, traces)?;
            Some(Output { messages, label: Label { stages, is_letter: true } })
        };
        batches.filter_map(output).collect()
    }
}

impl Collecting {
    pub(super) fn new(progress: Progress) -> Self {
        Self { outputs: Vec::new(), progress }
    }

    pub(super) fn has_outputs(&self) -> bool {
        !self.outputs.is_empty()
    }

    pub(super) fn push(&mut self, messages: Traced, stages: u16) {
        self.outputs.push(Output { messages, label: Label { stages, is_letter: false } });
    }

    pub(super) fn push_letters(&mut self, letters: Vec<Letters>) {
        self.outputs.extend(letters.into_iter().flat_map(Letters::finish));
    }

    /// Everything that comes of messages before `undone`, or of all; `None` when that changes nothing.
    pub(super) fn flush(
        &mut self,
        layout: &Layout,
        source: &Partition,
        undone: Option<Offset>,
        parking: Vec<(MessageId, Option<ParkedMessage>)>,
        wall_ms: u64,
    ) -> Option<Composed> {
        let outputs = match undone {
            None => std::mem::take(&mut self.outputs),
            Some(undone) => outputs_before(&mut self.outputs, undone),
        };
        let advance = self.progress.step(undone);
        if advance.from == advance.to && outputs.is_empty() && parking.is_empty() {
            return None;
        }
        let SettledOutputs { kept, rest } = keep_outputs(outputs, &layout.table, source.index.0);
        assert!(rest.is_empty(), "everything that leaves the route has a stream");
        let origin = |label: &Label, traces: &[Trace]| Origin {
            route: layout.route.clone(),
            source: source.clone(),
            messages: traces
                .iter()
                .map(|trace| MessageId {
                    offset: trace.offset,
                    stage: label.stages,
                    index: trace.index,
                })
                .collect(),
        };
        let appends = kept.into_iter().map(|kept| {
            let origin = Some(origin(&kept.label, kept.messages.traces()));
            let (batch, _) = kept.messages.into_parts();
            let envelope = Envelope {
                ingest_ms: wall_ms,
                route: Some(layout.route.as_str().to_owned()),
                ..Envelope::default()
            };
            Append { partition: kept.partition, batch, envelope, origin }
        });
        let (mut park, mut unpark) = (Vec::new(), Vec::new());
        for (id, parked) in parking {
            match parked {
                Some(parked) => park.push(parked),
                None => unpark.push(id),
            }
        }
        let step = Step {
            route: layout.route.clone(),
            source: source.clone(),
            from: Some(advance.from),
            to: advance.to,
            park,
            unpark,
        };
        let appends = appends.collect();
        Some(Composed { unit: Unit { appends, step: Some(step), ..Unit::default() }, advance })
    }
}
