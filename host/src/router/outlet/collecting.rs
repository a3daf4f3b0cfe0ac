//! What comes of a partition: kept back until it is handed over as a unit.

use waypost_core::{Output, Partition, Progress, Traced, outputs_before};
use waypost_protocol::Offset;

use super::{
    super::{durable::DraftSender, stage::Stage},
    Job, Label, Outlet,
};
use crate::router::durable::{Draft, Leaving, ParkedChange};

/// From so many bytes on, what is through is handed over although the batch that it comes of is not.
const HEAVY_BYTES: usize = 4 << 20;

/// What leaves the lane of a partition, and how far the lane came.
pub(in crate::router) struct Collecting {
    source: Partition,
    outputs: Vec<Output<Label>>,
    bytes: usize,
    progress: Progress,
    drafts: DraftSender,
}

impl Collecting {
    pub(in crate::router) fn new(
        source: Partition,
        progress: Progress,
        drafts: DraftSender,
    ) -> Self {
        Self { source, outputs: Vec::new(), bytes: 0, progress, drafts }
    }

    /// The partition that the lane reads.
    pub(in crate::router) fn source(&self) -> &Partition {
        &self.source
    }

    /// What stands for a lane's number where there are partitions.
    pub(super) fn lane(&self) -> u16 {
        u16::try_from(self.source.index.0).unwrap_or(u16::MAX)
    }

    pub(in crate::router) fn progress(&mut self) -> &mut Progress {
        &mut self.progress
    }

    /// Whether something was collected.
    pub(in crate::router) fn has_outputs(&self) -> bool {
        !self.outputs.is_empty()
    }

    /// Whether so much was collected that it should not wait for the end of a batch.
    pub(in crate::router) fn is_heavy(&self) -> bool {
        self.bytes >= HEAVY_BYTES
    }

    pub(super) fn push(&mut self, output: Output<Label>) {
        self.bytes = self.bytes.saturating_add(output.messages.batch().byte_len());
        self.outputs.push(output);
    }

    /// Hands over everything that comes of messages before `undone`, with what was parked of them; awaits room.
    pub(in crate::router) async fn flush(
        &mut self,
        undone: Option<Offset>,
        parking: Vec<ParkedChange>,
    ) {
        self.flush_with(undone, parking, None).await;
    }

    /// The same, with letters that leave in the same unit.
    pub(in crate::router) async fn flush_with(
        &mut self,
        undone: Option<Offset>,
        parking: Vec<ParkedChange>,
        leaving: Option<Leaving>,
    ) {
        let outputs = match undone {
            None => std::mem::take(&mut self.outputs),
            Some(undone) => outputs_before(&mut self.outputs, undone),
        };
        let left = self.outputs.iter().map(|output| output.messages.batch().byte_len());
        self.bytes = left.sum();
        let advance = self.progress.step(undone);
        let draft = Draft { advance, outputs, parking, leaving };
        if !draft.is_empty() {
            self.drafts.send(draft).await;
        }
    }
}

impl Outlet {
    pub(super) fn collect(&mut self, batch: Traced, label: Label, stages: &[Stage], job: &mut Job) {
        if label.onward.is_none() {
            let streams = self.fanout.streams.table();
            let is_barred = |topic: &str| {
                streams.of(topic).is_none() && !self.fanout.takers(topic).0.is_empty()
            };
            let messages = (0_u32..).zip(batch.batch().iter());
            let barred = messages.filter(|(_, message)| is_barred(message.topic()));
            let barred: Vec<u32> = barred.map(|(index, _)| index).collect();
            self.bury_at_limit(job, &batch, stages, &barred);
        }
        if let Some(collecting) = self.collected() {
            collecting.push(Output { messages: batch, label });
        }
    }
}
