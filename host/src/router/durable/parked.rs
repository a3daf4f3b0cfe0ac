//! What a lane parks, as the store keeps it, and back.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use waypost_core::{Lineage, Partition, RouteDefinition, StageName, Trace, Traced};
use waypost_protocol::{Envelope, Offset};
use waypost_storage::{MessageId, ParkedMessage};

use crate::router::parked::Parked;

/// What the store keeps parked of a lane, and what it is to be told with the next unit.
#[derive(Debug)]
pub(in crate::router) struct KeptParked {
    source: Partition,
    /// The identities that are taken.
    taken: HashSet<MessageId>,
    /// The last that is to be said of each.
    changes: BTreeMap<MessageId, Option<ParkedMessage>>,
}

/// What the store is told of a message: that it is parked, or not any more.
#[derive(Debug)]
pub(in crate::router) struct ParkedChange {
    pub(super) id: MessageId,
    pub(super) parked: Option<ParkedMessage>,
}

impl KeptParked {
    /// With the identities that are parked already.
    pub(in crate::router) fn new(
        source: Partition,
        taken: impl Iterator<Item = MessageId>,
    ) -> Self {
        Self { source, taken: taken.collect(), changes: BTreeMap::new() }
    }

    /// Parks a message at a stage, which stands at this position of the route. It is given its identity,
    /// unless it had one.
    pub(in crate::router) fn park(
        &mut self,
        parked: &mut Parked,
        stage: &StageName,
        position: usize,
        due_ms: u64,
    ) {
        // What is read from a partition has a trace.
        let Some(trace) = parked.batch.trace(0) else {
            return;
        };
        let id = parked.id.unwrap_or_else(|| self.free(trace, position));
        parked.id = Some(id);
        self.taken.insert(id);
        let Lineage { ingest_ms, hops, is_letter } = parked.lineage;
        let envelope = Envelope {
            base_offset: Some(trace.offset),
            ingest_ms,
            hops,
            stream: Some(self.source.stream.as_str().to_owned()),
            partition: self.source.index.0,
            ..Envelope::default()
        };
        let message = ParkedMessage {
            id,
            stage: stage.clone(),
            attempts: parked.attempts,
            due_ms,
            first_failure_ms: parked.first_failure_ms,
            error: parked.error.clone(),
            envelope,
            is_letter,
            batch: parked.batch.batch().clone(),
        };
        self.changes.insert(id, Some(message));
    }

    /// A message waits no longer.
    pub(in crate::router) fn unpark(&mut self, id: MessageId) {
        self.taken.remove(&id);
        self.changes.insert(id, None);
    }

    pub(in crate::router) fn has_changes(&self) -> bool {
        !self.changes.is_empty()
    }

    /// What is to be said of messages whose source stands before `undone`; of all without it.
    pub(in crate::router) fn take(&mut self, undone: Option<Offset>) -> Vec<ParkedChange> {
        let later = undone.map_or_else(BTreeMap::new, |offset| {
            self.changes.split_off(&MessageId { offset, stage: 0, index: 0 })
        });
        let taken = std::mem::replace(&mut self.changes, later).into_iter();
        taken.map(|(id, parked)| ParkedChange { id, parked }).collect()
    }

    /// An identity that nothing else has: almost always the trace's own.
    fn free(&self, trace: Trace, position: usize) -> MessageId {
        let stage = u16::try_from(position).unwrap_or(u16::MAX);
        let mut id = MessageId { offset: trace.offset, stage, index: trace.index };
        while self.taken.contains(&id) {
            id.index = id.index.wrapping_add(1);
        }
        id
    }
}

/// What the store kept, with the stage that each message waits at and when it is due, in the order in which those
/// with one key are to go. Where its stage is gone, a message goes to the one that stands in its place now.
pub(in crate::router) fn restored(
    mut stored: Vec<ParkedMessage>,
    definition: &Arc<RouteDefinition>,
) -> Vec<(StageName, Parked, u64)> {
    stored.sort_by_key(|message| (message.id.offset, message.id.index));
    let restore = |message: ParkedMessage| {
        let ParkedMessage { id, stage, envelope, batch, .. } = message;
        let is_there = definition.stages.iter().any(|known| known.name == stage);
        let in_its_place = definition.stages.get(usize::from(id.stage)).filter(|_| !is_there);
        let trace = Trace { offset: id.offset, index: id.index };
        let Envelope { ingest_ms, hops, .. } = envelope;
        let parked = Parked {
            batch: Traced::new(batch, vec![trace])?,
            lineage: Lineage { ingest_ms, hops, is_letter: message.is_letter },
            under: definition.clone(),
            // In another stage it has not been tried.
            attempts: if in_its_place.is_some() { 0 } else { message.attempts },
            first_failure_ms: message.first_failure_ms.filter(|_| in_its_place.is_none()),
            error: message.error,
            id: Some(id),
        };
        let stage = in_its_place.map_or(stage, |now| now.name.clone());
        Some((stage, parked, message.due_ms))
    };
    stored.into_iter().filter_map(restore).collect()
}

#[cfg(test)]
mod tests;
