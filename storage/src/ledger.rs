//! What a store knows of its partitions, producers and routes, and what a unit changes of it.
//!
//! Both engines decide with this: a request either changes the ledger and gives the effects that the engine
//! is to store, or is refused and changes nothing. Effects are stored in the order in which they were given.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    num::NonZeroU32,
};

use waypost_core::{
    Aged, ClaimVerdict, Extent, GroupName, Partition, ProducerState, Retention, RouteName,
    StreamName, Trimmed, check_claim,
};
use waypost_protocol::{Epoch, Offset, ProducerId};

use crate::{
    Append, Appended, Bounds, CommitError, DeclareError, GroupState, GroupStep, MessageId,
    OpenedProducer, ParkedMessage, Revision, Step, Stored, Unit,
};

/// When a producer was seen is noted this coarsely, in milliseconds, so that a publish does not write it.
const SEEN_STEP_MS: u64 = 60_000;

/// What stands in a partition, and when the newest of it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Place {
    pub(crate) bounds: Bounds,
    pub(crate) last_ingest_ms: u64,
}

/// A stream by the number that stands for its name in keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StreamRecord {
    pub(crate) number: u32,
    pub(crate) partitions: NonZeroU32,
}

/// A producer that was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ProducerRecord {
    pub(crate) epoch: Epoch,
    /// When it was opened or published last, to a minute.
    pub(crate) seen_ms: u64,
}

/// What the engine is to store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Effect {
    Stream(StreamName, StreamRecord),
    Batch(Partition, Stored),
    Place(Partition, Place),
    Producer(ProducerId, Option<ProducerRecord>),
    Claims(Partition, ProducerId, Option<ProducerState>),
    /// How far a route came, or nothing more.
    Progress(RouteName, Partition, Option<Offset>),
    Park(RouteName, Partition, Box<ParkedMessage>),
    Unpark(RouteName, Partition, MessageId),
    /// What is kept of a group, or nothing more.
    Group(GroupName, Partition, Option<Box<(Revision, GroupState)>>),
    /// The batch with this base offset is gone.
    Trim(Partition, Offset),
}

/// Everything but the batches themselves, the parked messages and the positions of groups.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) streams: BTreeMap<StreamName, StreamRecord>,
    pub(crate) places: HashMap<Partition, Place>,
    pub(crate) producers: HashMap<ProducerId, ProducerRecord>,
    pub(crate) claims: HashMap<(Partition, ProducerId), ProducerState>,
    pub(crate) progress: HashMap<(RouteName, Partition), Offset>,
    pub(crate) groups: BTreeMap<(GroupName, Partition), Revision>,
    pub(crate) max_producers: usize,
}

/// What a unit does, before any of it is done.
#[derive(Default)]
struct Draft {
    places: HashMap<Partition, Place>,
    claims: HashMap<(Partition, ProducerId), ProducerState>,
    producers: HashMap<ProducerId, ProducerRecord>,
    batches: Vec<(Partition, Stored)>,
}

impl Ledger {
    pub(crate) fn new(max_producers: usize) -> Self {
        Self { max_producers, ..Self::default() }
    }

    pub(crate) fn declare(
        &mut self,
        stream: StreamName,
        partitions: NonZeroU32,
    ) -> Result<Vec<Effect>, DeclareError> {
        if let Some(record) = self.streams.get(&stream) {
            let (stored, declared) = (record.partitions.get(), partitions.get());
            let same = stored == declared;
            return if same {
                Ok(vec![])
            } else {
                Err(DeclareError::Partitions { stored, declared })
            };
        }
        let highest = self.streams.values().map(|record| record.number).max();
        let number = highest.map_or(0, |highest| highest.saturating_add(1));
        let record = StreamRecord { number, partitions };
        let mut effects = vec![Effect::Stream(stream.clone(), record)];
        for index in 0..partitions.get() {
            let partition = Partition::new(stream.clone(), index);
            effects.push(Effect::Place(partition.clone(), Place::default()));
            self.places.insert(partition, Place::default());
        }
        self.streams.insert(stream, record);
        Ok(effects)
    }

    pub(crate) fn open_producer(
        &mut self,
        producer: ProducerId,
        epoch: Epoch,
        now_ms: u64,
    ) -> Result<(OpenedProducer, Vec<Effect>), CommitError> {
        let known = self.producers.get(&producer).copied();
        match known {
            Some(ProducerRecord { epoch: current, .. }) if current > epoch => {
                return Err(CommitError::ProducerFenced { producer, epoch, current });
            }
            None if self.producers.len() >= self.max_producers => {
                return Err(CommitError::TooManyProducers { limit: self.max_producers });
            }
            _ => {}
        }
        let record = ProducerRecord { epoch, seen_ms: now_ms };
        self.producers.insert(producer, record);
        let resumed = known.is_some_and(|known| known.epoch == epoch);
        let opened = if resumed { OpenedProducer::Resumed } else { OpenedProducer::New };
        Ok((opened, vec![Effect::Producer(producer, Some(record))]))
    }

    /// Forgets producers, and gives their number and at most `limit` of them a call.
    pub(crate) fn forget_producers(
        &mut self,
        idle_since_ms: u64,
        limit: usize,
    ) -> (u64, Vec<Effect>) {
        let idle = self.producers.iter().filter(|(_, record)| record.seen_ms < idle_since_ms);
        let mut idle: Vec<ProducerId> = idle.map(|(id, _)| *id).collect();
        idle.sort_unstable();
        idle.truncate(limit);
        self.forget(&idle)
    }

    /// Forgets those that were not seen for longest, except for those who are there. Gives their number.
    pub(crate) fn forget_longest_unseen(
        &mut self,
        count: usize,
        spared: &HashSet<ProducerId>,
    ) -> (u64, Vec<Effect>) {
        let away = self.producers.iter().filter(|(id, _)| !spared.contains(id));
        let mut away: Vec<_> = away.map(|(id, record)| (record.seen_ms, *id)).collect();
        away.sort_unstable();
        let mut gone: Vec<ProducerId> = away.into_iter().take(count).map(|(_, id)| id).collect();
        gone.sort_unstable();
        self.forget(&gone)
    }

    /// Forgets producers, which are in order.
    fn forget(&mut self, ids: &[ProducerId]) -> (u64, Vec<Effect>) {
        let gone = |id: &ProducerId| ids.binary_search(id).is_ok();
        let claims = self.claims.keys().filter(|(_, id)| gone(id)).cloned();
        let mut claims: Vec<_> = claims.collect();
        claims.sort_unstable();
        let mut effects: Vec<_> = ids.iter().map(|id| Effect::Producer(*id, None)).collect();
        for key in claims {
            self.claims.remove(&key);
            effects.push(Effect::Claims(key.0, key.1, None));
        }
        self.producers.retain(|id, _| !gone(id));
        (ids.len() as u64, effects)
    }

    pub(crate) fn commit(
        &mut self,
        unit: Unit,
    ) -> Result<(Vec<Appended>, Vec<Effect>), CommitError> {
        if let Some(step) = &unit.step {
            self.check_step(step)?;
        }
        unit.groups.iter().try_for_each(|step| self.check_group(step))?;
        let mut draft = Draft::default();
        let mut appended = Vec::with_capacity(unit.appends.len());
        for append in unit.appends {
            appended.push(self.append(append, &mut draft)?);
        }
        let mut effects = self.accept(draft);
        if let Some(step) = unit.step {
            self.take_step(step, &mut effects);
        }
        effects.extend(unit.groups.into_iter().map(|step| self.take_group(step)));
        Ok((appended, effects))
    }

    /// Whether a unit stores nothing: what its producers stored before it only says again, or they may not say it.
    pub(crate) fn stores_nothing(&self, unit: &Unit) -> bool {
        let Unit { appends, step, groups } = unit;
        let is_new = |append: &Append| {
            append.claim().is_none_or(|(producer, claim)| {
                let known = self.claims.get(&(append.partition.clone(), producer));
                let opened = self.producers.get(&producer).map(|record| record.epoch);
                check_claim(opened, known, &claim) == ClaimVerdict::Append
            })
        };
        step.is_none() && groups.is_empty() && !appends.iter().any(is_new)
    }

    fn check_group(&self, step: &GroupStep) -> Result<(), CommitError> {
        let GroupStep { group, source, from, .. } = step;
        if !self.places.contains_key(source) {
            return Err(CommitError::UnknownPartition(source.clone()));
        }
        let stored = self.groups.get(&(group.clone(), source.clone())).copied();
        if stored == *from {
            return Ok(());
        }
        let (group, partition, expected) = (group.clone(), source.clone(), *from);
        Err(CommitError::GroupMoved { group, partition, expected, stored })
    }

    fn take_group(&mut self, step: GroupStep) -> Effect {
        let GroupStep { group, source, from, to } = step;
        let key = (group.clone(), source.clone());
        let kept = to.map(|state| {
            let next = from.map_or(0, |revision| revision.0.saturating_add(1));
            Box::new((Revision(next), state))
        });
        match &kept {
            Some(kept) => self.groups.insert(key, kept.0),
            None => self.groups.remove(&key),
        };
        Effect::Group(group, source, kept)
    }

    fn check_step(&self, step: &Step) -> Result<(), CommitError> {
        let Step { route, source, from, to, .. } = step;
        if !self.places.contains_key(source) {
            return Err(CommitError::UnknownPartition(source.clone()));
        }
        let (partition, expected) = (source.clone(), *from);
        let stored = self.progress.get(&(route.clone(), source.clone())).copied();
        if stored != expected {
            return Err(CommitError::ProgressMoved { partition, expected, stored });
        }
        match stored.filter(|stored| stored > to) {
            Some(from) => Err(CommitError::ProgressBack { partition, from, to: *to }),
            None => Ok(()),
        }
    }

    fn take_step(&mut self, step: Step, effects: &mut Vec<Effect>) {
        let Step { route, source, from, to, park, unpark } = step;
        if from != Some(to) {
            self.progress.insert((route.clone(), source.clone()), to);
            effects.push(Effect::Progress(route.clone(), source.clone(), Some(to)));
        }
        let unparked = unpark.into_iter();
        effects.extend(unparked.map(|id| Effect::Unpark(route.clone(), source.clone(), id)));
        let parked = park.into_iter().map(Box::new);
        effects.extend(parked.map(|parked| Effect::Park(route.clone(), source.clone(), parked)));
    }

    /// The partitions in which something is kept of a route.
    pub(crate) fn read_by(&self, route: &RouteName) -> Vec<(Partition, Offset)> {
        let own = self.progress.iter().filter(|((name, _), _)| name == route);
        let mut read: Vec<_> = own.map(|((_, source), to)| (source.clone(), *to)).collect();
        read.sort_unstable();
        read
    }

    /// Forgets a route in a partition, with what it parked there.
    pub(crate) fn forget_route(
        &mut self,
        route: &RouteName,
        source: &Partition,
        parked: impl IntoIterator<Item = MessageId>,
    ) -> Vec<Effect> {
        self.progress.remove(&(route.clone(), source.clone()));
        let unpark = |id| Effect::Unpark(route.clone(), source.clone(), id);
        let mut effects: Vec<Effect> = parked.into_iter().map(unpark).collect();
        effects.push(Effect::Progress(route.clone(), source.clone(), None));
        effects
    }

    fn append(&self, append: Append, draft: &mut Draft) -> Result<Appended, CommitError> {
        let claim = append.claim();
        let Append { partition, batch, mut envelope, .. } = append;
        let place = draft.places.get(&partition).or_else(|| self.places.get(&partition)).copied();
        let Some(mut place) = place else {
            return Err(CommitError::UnknownPartition(partition));
        };
        let base = place.bounds.next;
        let messages = batch.len() as u64;
        let Some(next) = base.0.checked_add(messages) else {
            return Err(CommitError::Exhausted(partition));
        };
        if let Some((producer, claim)) = claim {
            let key = (partition.clone(), producer);
            let known = draft.claims.get(&key).or_else(|| self.claims.get(&key));
            let opened = self.producers.get(&producer).copied();
            match check_claim(opened.map(|record| record.epoch), known, &claim) {
                ClaimVerdict::Append => {}
                ClaimVerdict::Seen { first_offset } => {
                    return Ok(Appended::Duplicate { first_offset });
                }
                ClaimVerdict::Gap { expected } => {
                    let sent = claim.first_sequence;
                    return Err(CommitError::OutOfSequence { producer, partition, sent, expected });
                }
                ClaimVerdict::Fenced { current } => {
                    let epoch = claim.epoch;
                    return Err(CommitError::ProducerFenced { producer, epoch, current });
                }
                ClaimVerdict::Unknown => {
                    return Err(CommitError::UnknownProducer { producer, epoch: claim.epoch });
                }
            }
            let mut state = known.cloned().unwrap_or_else(|| ProducerState::new(claim.epoch));
            state.record(&claim, base);
            draft.claims.insert(key, state);
            let seen_ms = opened.map_or(0, |record| record.seen_ms).max(envelope.ingest_ms);
            draft.producers.insert(producer, ProducerRecord { epoch: claim.epoch, seen_ms });
        }
        envelope.base_offset = Some(base);
        envelope.ingest_ms = envelope.ingest_ms.max(place.last_ingest_ms);
        place.last_ingest_ms = envelope.ingest_ms;
        place.bounds.next = Offset(next);
        let bytes = batch.byte_len() as u64;
        place.bounds.held.add(Extent { batches: 1, messages, bytes });
        draft.places.insert(partition.clone(), place);
        draft.batches.push((partition, Stored { base, envelope, batch }));
        Ok(Appended::Stored { first_offset: base })
    }

    fn accept(&mut self, draft: Draft) -> Vec<Effect> {
        let Draft { places, claims, producers, batches } = draft;
        let batches =
            batches.into_iter().map(|(partition, stored)| Effect::Batch(partition, stored));
        let mut effects: Vec<Effect> = batches.collect();
        for (partition, place) in places {
            effects.push(Effect::Place(partition.clone(), place));
            self.places.insert(partition, place);
        }
        for ((partition, producer), state) in claims {
            effects.push(Effect::Claims(partition.clone(), producer, Some(state.clone())));
            self.claims.insert((partition, producer), state);
        }
        for (producer, record) in producers {
            let known = self.producers.get(&producer).map_or(0, |known| known.seen_ms);
            if record.seen_ms.saturating_sub(known) >= SEEN_STEP_MS {
                effects.push(Effect::Producer(producer, Some(record)));
                self.producers.insert(producer, record);
            }
        }
        effects
    }

    /// Takes the oldest batches of a partition; `oldest` are its first ones with their base offsets.
    pub(crate) fn trim(
        &mut self,
        partition: &Partition,
        retention: Retention,
        now_ms: u64,
        oldest: &[(Offset, Aged)],
    ) -> (Trimmed, Vec<Effect>) {
        let Some(place) = self.places.get_mut(partition) else {
            return (Trimmed::default(), Vec::new());
        };
        let held = place.bounds.held;
        let trimmed = retention.trim(held, now_ms, oldest.iter().map(|(_, aged)| *aged));
        let total = trimmed.total();
        if total.batches == 0 {
            return (trimmed, Vec::new());
        }
        let count = usize::try_from(total.batches).unwrap_or(usize::MAX);
        place.bounds.held.remove(total);
        // What was lost between batches is passed over, so that a reader from the beginning meets a batch.
        let last = oldest.get(count.saturating_sub(1));
        let end = last.map_or(place.bounds.first, |(base, aged)| {
            Offset(base.0.saturating_add(aged.messages))
        });
        place.bounds.first = match oldest.get(count) {
            Some((base, _)) => *base,
            None if place.bounds.held.batches == 0 => place.bounds.next,
            None => end,
        };
        let gone = oldest.iter().take(count);
        let mut effects: Vec<_> =
            gone.map(|(base, _)| Effect::Trim(partition.clone(), *base)).collect();
        effects.push(Effect::Place(partition.clone(), *place));
        (trimmed, effects)
    }
}
