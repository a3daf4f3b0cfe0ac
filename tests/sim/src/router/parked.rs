//! The parked messages of a lane, in memory and as the store keeps them: what the host's `Waiting` and
//! `KeptParked` do.

use std::collections::{BTreeMap, BTreeSet};

use waypost_core::{Parking, Partition, Place, RetryPolicy, StageName, Trace, Traced};
use waypost_protocol::{Batch, Envelope, Offset};
use waypost_storage::{MessageId, ParkedMessage};

use crate::shared::Shared;

/// What a plugin may ask for at most, and a stored message waits for.
const LONGEST_WAIT_MS: u64 = 86_400_000;

/// A message that waits, as a batch of its own.
#[derive(Debug)]
pub(super) struct Parked {
    pub(super) batch: Traced,
    pub(super) attempts: u32,
    pub(super) first_failure_ms: Option<u64>,
    pub(super) id: Option<MessageId>,
}

/// A parked message that is being tried.
#[derive(Debug)]
pub(super) struct Trial {
    pub(super) place: Place,
    pub(super) attempts: u32,
    pub(super) first_failure_ms: Option<u64>,
    pub(super) id: Option<MessageId>,
}

/// Those of one lane.
#[derive(Debug)]
pub(super) struct Waiting {
    source: Partition,
    pub(super) policy: RetryPolicy,
    parking: Parking<Parked>,
    taken: BTreeSet<MessageId>,
    changes: BTreeMap<MessageId, Option<ParkedMessage>>,
}

impl Waiting {
    pub(super) fn new(source: Partition, policy: RetryPolicy) -> Self {
        let (taken, changes) = (BTreeSet::new(), BTreeMap::new());
        Self { source, policy, parking: Parking::default(), taken, changes }
    }

    /// Puts back what the store kept.
    pub(super) fn restore(&mut self, mut stored: Vec<ParkedMessage>, shared: &Shared) {
        stored.sort_by_key(|message| (message.id.offset, message.id.index));
        for message in stored {
            let ParkedMessage { id, attempts, due_ms, first_failure_ms, batch, .. } = message;
            self.taken.insert(id);
            let trace = Trace { offset: id.offset, index: id.index };
            let key = key_of(&batch);
            let bytes = batch.byte_len();
            let Some(batch) = Traced::new(batch, vec![trace]) else { continue };
            let parked = Parked { batch, attempts, first_failure_ms, id: Some(id) };
            let stage = usize::from(id.stage);
            match key {
                Some(key) if self.parking.holds(stage, Some(&key)) => {
                    self.parking.follow(stage, &key, parked, bytes);
                }
                key => {
                    let wait = due_ms.saturating_sub(shared.wall_ms()).min(LONGEST_WAIT_MS);
                    let due_ms = shared.now_ms + wait;
                    self.parking.park(stage, key.as_deref(), parked, bytes, due_ms);
                }
            }
        }
    }

    /// Parks a message that was given up on before, due at once or behind those with its key.
    pub(super) fn take_back(&mut self, shared: &Shared, stage: &StageName, batch: Traced) {
        let stages = &shared.layout.stages;
        let Some(number) = stages.iter().position(|known| known == stage) else { return };
        let (key, bytes) = (key_of(batch.batch()), batch.batch().byte_len());
        let mut parked = Parked { batch, attempts: 0, first_failure_ms: None, id: None };
        self.keep(&mut parked, number, Some(stage.clone()), shared.wall_ms());
        match key {
            Some(key) if self.parking.holds(number, Some(&key)) => {
                self.parking.follow(number, &key, parked, bytes);
            }
            key => self.parking.park(number, key.as_deref(), parked, bytes, shared.now_ms),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.parking.len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.parking.is_full(&self.policy)
    }

    pub(super) fn next_due_ms(&self) -> Option<u64> {
        self.parking.next_due_ms()
    }

    pub(super) fn take_due(&mut self, now_ms: u64) -> Option<(Place, Parked)> {
        self.parking.take_due(now_ms)
    }

    /// The messages of a batch that must wait at a stage.
    pub(super) fn following(&self, stage: usize, batch: &Batch) -> Vec<u32> {
        let messages = (0_u32..).zip(batch.iter());
        let held = messages.filter(|(_, message)| self.parking.holds(stage, message.key()));
        held.map(|(index, _)| index).collect()
    }

    /// Parks a message that was tried.
    pub(super) fn park(
        &mut self,
        shared: &mut Shared,
        stage: usize,
        trial: Option<Place>,
        mut parked: Parked,
        asked_ms: u64,
    ) {
        let random = shared.random.next();
        let wait_ms = self.policy.delay_ms(parked.attempts, asked_ms, random);
        let name = shared.layout.stages.get(stage).cloned();
        self.keep(&mut parked, stage, name, shared.wall_ms().saturating_add(wait_ms));
        let (bytes, due_ms) = (parked.batch.batch().byte_len(), shared.now_ms + wait_ms);
        match trial {
            Some(place) => self.parking.park_first(place, parked, bytes, due_ms),
            None => {
                let key = key_of(parked.batch.batch());
                self.parking.park(stage, key.as_deref(), parked, bytes, due_ms);
            }
        }
    }

    /// Lets messages wait behind those with their keys.
    pub(super) fn follow(
        &mut self,
        shared: &Shared,
        stage: usize,
        batch: &Traced,
        indices: &[u32],
    ) {
        for index in indices {
            let Some(alone) = batch.gather(&[*index]) else { continue };
            let Some(key) = key_of(alone.batch()) else { continue };
            let bytes = alone.batch().byte_len();
            let mut parked = Parked { batch: alone, attempts: 0, first_failure_ms: None, id: None };
            self.keep(&mut parked, stage, shared.layout.stages.get(stage).cloned(), 0);
            self.parking.follow(stage, &key, parked, bytes);
        }
    }

    /// What was tried has gone on, or ended.
    pub(super) fn settled(&mut self, place: Place, id: Option<MessageId>, now_ms: u64) {
        if let Some(id) = id {
            self.taken.remove(&id);
            self.changes.insert(id, None);
        }
        self.parking.settled(place, now_ms);
    }

    pub(super) fn has_changes(&self) -> bool {
        !self.changes.is_empty()
    }

    /// What the store is to be told of messages before `undone`; of all without it.
    pub(super) fn take_changes(
        &mut self,
        undone: Option<Offset>,
    ) -> Vec<(MessageId, Option<ParkedMessage>)> {
        let later = undone.map_or_else(BTreeMap::new, |offset| {
            self.changes.split_off(&MessageId { offset, stage: 0, index: 0 })
        });
        std::mem::replace(&mut self.changes, later).into_iter().collect()
    }

    fn keep(&mut self, parked: &mut Parked, stage: usize, name: Option<StageName>, due_ms: u64) {
        let (Some(trace), Some(name)) = (parked.batch.trace(0), name) else { return };
        let id = parked.id.unwrap_or_else(|| self.free(trace, stage));
        parked.id = Some(id);
        self.taken.insert(id);
        let message = ParkedMessage {
            id,
            stage: name,
            attempts: parked.attempts,
            due_ms,
            first_failure_ms: parked.first_failure_ms,
            error: String::new(),
            envelope: Envelope {
                base_offset: Some(trace.offset),
                stream: Some(self.source.stream.as_str().to_owned()),
                partition: self.source.index.0,
                ..Envelope::default()
            },
            is_letter: false,
            batch: parked.batch.batch().clone(),
        };
        self.changes.insert(id, Some(message));
    }

    fn free(&self, trace: Trace, stage: usize) -> MessageId {
        let stage = u16::try_from(stage).unwrap_or(u16::MAX);
        let mut id = MessageId { offset: trace.offset, stage, index: trace.index };
        while self.taken.contains(&id) {
            id.index = id.index.wrapping_add(1);
        }
        id
    }
}

fn key_of(batch: &Batch) -> Option<Vec<u8>> {
    batch.get(0).and_then(|message| message.key().map(<[u8]>::to_vec))
}
