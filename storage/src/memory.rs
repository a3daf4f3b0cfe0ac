//! The engine in memory: the same decisions as the embedded one, and nothing that outlives the process.
//!
//! For tests and for the simulator, which chooses when it fails and how full it is. Every future is ready at
//! once.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    num::NonZeroU32,
    sync::{Mutex, MutexGuard, PoisonError},
};

use futures_core::future::BoxFuture;
use tokio::sync::watch;
use waypost_core::{Aged, GroupName, Partition, Retention, RouteName, StreamName};
use waypost_protocol::{Epoch, Offset, ProducerId};

use crate::{
    AtomicScope, Bounds, Chunk, CommitError, CommitNumber, Committed, DeclareError, Fence,
    GroupState, Head, KeptGroup, KeptRoute, MessageId, OpenedProducer, ParkedMessage, Promises,
    ReadError, ReadLimit, Revision, Seek, Storage, Stored, TrimReport, Unit,
    ledger::{Effect, Ledger},
};

/// The batches that one trim takes at most, as in the embedded engine.
pub(crate) const TRIM_BATCHES: usize = 1024;
/// The producers that one commit forgets at most.
pub(crate) const FORGET_PRODUCERS: usize = 1024;

/// Streams in memory.
#[derive(Debug)]
pub struct MemoryStorage {
    inner: Mutex<Inner>,
    fence: Fence,
}

#[derive(Debug)]
struct Inner {
    ledger: Ledger,
    number: CommitNumber,
    logs: HashMap<Partition, VecDeque<Stored>>,
    heads: HashMap<Partition, watch::Sender<Offset>>,
    parked: BTreeMap<(RouteName, Partition, MessageId), ParkedMessage>,
    groups: BTreeMap<(GroupName, Partition), (Revision, GroupState)>,
    full: bool,
}

impl MemoryStorage {
    /// An empty store that knows at most so many producers.
    #[must_use]
    pub fn new(max_producers: usize) -> Self {
        let inner = Inner {
            ledger: Ledger::new(max_producers),
            number: CommitNumber(0),
            logs: HashMap::new(),
            heads: HashMap::new(),
            parked: BTreeMap::new(),
            groups: BTreeMap::new(),
            full: false,
        };
        Self { inner: Mutex::new(inner), fence: Fence::default() }
    }

    /// Lets it refuse what makes it larger, as a disk below its reserve does, or take it again.
    pub fn set_full(&self, full: bool) {
        self.lock().full = full;
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic of a caller leaves the ledger whole: it is changed after everything was checked.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write<T>(
        &self,
        grows: bool,
        change: impl FnOnce(&mut Inner) -> Result<T, CommitError>,
    ) -> Result<T, CommitError> {
        if let Some(reason) = self.fence.reason() {
            return Err(CommitError::Fenced { reason });
        }
        let mut inner = self.lock();
        inner.check_room(grows)?;
        change(&mut inner)
    }
}

impl Inner {
    fn check_room(&self, grows: bool) -> Result<(), CommitError> {
        match grows && self.full {
            true => Err(CommitError::Full { free: 0, reserve: 1 }),
            false => Ok(()),
        }
    }

    fn store(&mut self, effects: Vec<Effect>) -> CommitNumber {
        if !effects.is_empty() {
            self.number = CommitNumber(self.number.0 + 1);
        }
        for effect in effects {
            self.apply(effect);
        }
        self.number
    }

    fn apply(&mut self, effect: Effect) {
        match effect {
            Effect::Batch(partition, stored) => {
                self.logs.entry(partition).or_default().push_back(stored);
            }
            Effect::Place(partition, place) => {
                let head = self.heads.entry(partition).or_default();
                head.send_if_modified(|offset| {
                    let moved = *offset != place.bounds.next;
                    *offset = place.bounds.next;
                    moved
                });
            }
            Effect::Park(route, source, parked) => {
                self.parked.insert((route, source, parked.id), *parked);
            }
            Effect::Unpark(route, source, id) => drop(self.parked.remove(&(route, source, id))),
            Effect::Group(group, partition, Some(kept)) => {
                self.groups.insert((group, partition), *kept);
            }
            Effect::Group(group, partition, None) => {
                self.groups.remove(&(group, partition));
            }
            Effect::Trim(partition, _) => {
                self.logs.get_mut(&partition).and_then(VecDeque::pop_front);
            }
            // The ledger holds these.
            Effect::Stream(..)
            | Effect::Producer(..)
            | Effect::Claims(..)
            | Effect::Progress(..) => {}
        }
    }

    fn parked_ids(&self, route: &RouteName, source: &Partition) -> Vec<MessageId> {
        let ids = self.parked.keys().filter(|key| (&key.0, &key.1) == (route, source));
        ids.map(|(_, _, id)| *id).collect()
    }

    fn bounds(&self, partition: &Partition) -> Result<Bounds, ReadError> {
        let place = self.ledger.places.get(partition);
        let place = place.ok_or_else(|| ReadError::UnknownPartition(partition.clone()))?;
        Ok(place.bounds)
    }

    fn read(
        &self,
        partition: &Partition,
        from: Offset,
        limit: ReadLimit,
    ) -> Result<Chunk, ReadError> {
        self.bounds(partition)?.check(partition, from)?;
        let log = self.logs.get(partition).into_iter().flatten();
        let mut chunk = ChunkBuilder::new(from, limit);
        for stored in log.skip_while(|stored| stored.end() <= from) {
            if !chunk.push(stored.clone()) {
                break;
            }
        }
        Ok(chunk.finish())
    }
}

impl Bounds {
    /// Whether a reader may begin at an offset.
    pub(crate) fn check(&self, partition: &Partition, from: Offset) -> Result<(), ReadError> {
        let partition = partition.clone();
        if from < self.first {
            Err(ReadError::Trimmed { partition, first: self.first })
        } else if from > self.next {
            Err(ReadError::Ahead { partition, next: self.next })
        } else {
            Ok(())
        }
    }
}

/// Collects batches up to a limit, and at least one.
pub(crate) struct ChunkBuilder {
    limit: ReadLimit,
    bytes: usize,
    chunk: Chunk,
}

impl ChunkBuilder {
    pub(crate) fn new(from: Offset, limit: ReadLimit) -> Self {
        Self { limit, bytes: 0, chunk: Chunk { batches: Vec::new(), next: from } }
    }

    /// Whether a batch of so many bytes still belongs to the chunk.
    pub(crate) fn takes(&self, bytes: usize) -> bool {
        let Self { limit, chunk: Chunk { batches, .. }, .. } = self;
        let fits = self.bytes.saturating_add(bytes) <= limit.max_bytes;
        batches.is_empty() || (batches.len() < limit.max_batches && fits)
    }

    /// Takes a batch, unless it is over the limit.
    pub(crate) fn push(&mut self, stored: Stored) -> bool {
        let bytes = stored.batch.byte_len();
        let takes = self.takes(bytes);
        if takes {
            self.bytes = self.bytes.saturating_add(bytes);
            self.chunk.next = stored.end();
            self.chunk.batches.push(stored);
        }
        takes
    }

    pub(crate) fn finish(self) -> Chunk {
        self.chunk
    }
}

fn ready<'a, T: Send + 'a>(value: T) -> BoxFuture<'a, T> {
    Box::pin(std::future::ready(value))
}

impl Storage for MemoryStorage {
    fn promises(&self) -> Promises {
        let (scope, engine) = (AtomicScope::Store, "memory");
        Promises { engine, scope, survives_kill: false, survives_power_loss: false }
    }

    fn fence(&self) -> &Fence {
        &self.fence
    }

    fn declare(
        &self,
        stream: StreamName,
        partitions: NonZeroU32,
    ) -> BoxFuture<'_, Result<(), DeclareError>> {
        let declared = self.write(false, |inner| {
            inner.check_room(!inner.ledger.streams.contains_key(&stream))?;
            Ok(inner.ledger.declare(stream, partitions).map(|effects| {
                inner.store(effects);
            }))
        });
        ready(declared.map_err(DeclareError::from).and_then(|declared| declared))
    }

    fn open_producer(
        &self,
        producer: ProducerId,
        epoch: Epoch,
        now_ms: u64,
    ) -> BoxFuture<'_, Result<OpenedProducer, CommitError>> {
        ready(self.write(false, |inner| {
            inner.check_room(!inner.ledger.producers.contains_key(&producer))?;
            let (opened, effects) = inner.ledger.open_producer(producer, epoch, now_ms)?;
            inner.store(effects);
            Ok(opened)
        }))
    }

    fn forget_producers(&self, idle_since_ms: u64) -> BoxFuture<'_, Result<u64, CommitError>> {
        ready(self.write(false, |inner| {
            let (count, effects) = inner.ledger.forget_producers(idle_since_ms, FORGET_PRODUCERS);
            inner.store(effects);
            Ok(count)
        }))
    }

    fn forget_longest_unseen(
        &self,
        count: usize,
        spared: HashSet<ProducerId>,
    ) -> BoxFuture<'_, Result<u64, CommitError>> {
        ready(self.write(false, |inner| {
            let (count, effects) = inner.ledger.forget_longest_unseen(count, &spared);
            inner.store(effects);
            Ok(count)
        }))
    }

    fn commit(&self, unit: Unit) -> BoxFuture<'_, Result<Committed, CommitError>> {
        ready(self.write(false, |inner| {
            inner.check_room(unit.grows() && !inner.ledger.stores_nothing(&unit))?;
            let (appends, effects) = inner.ledger.commit(unit)?;
            Ok(Committed { number: inner.store(effects), appends })
        }))
    }

    fn trim(
        &self,
        partition: Partition,
        retention: Retention,
        now_ms: u64,
    ) -> BoxFuture<'_, Result<TrimReport, CommitError>> {
        ready(self.write(false, |inner| {
            let unknown = |_| CommitError::UnknownPartition(partition.clone());
            inner.bounds(&partition).map_err(unknown)?;
            let log = inner.logs.get(&partition).into_iter().flatten();
            let oldest: Vec<_> =
                log.take(TRIM_BATCHES).map(|stored| (stored.base, stored.aged())).collect();
            let (trimmed, effects) = inner.ledger.trim(&partition, retention, now_ms, &oldest);
            inner.store(effects);
            let Bounds { first, .. } = inner.bounds(&partition).map_err(unknown)?;
            let more = trimmed.total().batches == TRIM_BATCHES as u64;
            Ok(TrimReport { trimmed, first, more })
        }))
    }

    fn bounds(&self, partition: &Partition) -> Result<Bounds, ReadError> {
        self.lock().bounds(partition)
    }

    fn head(&self, partition: &Partition) -> Result<Head, ReadError> {
        let inner = self.lock();
        let head = inner.heads.get(partition);
        let head = head.ok_or_else(|| ReadError::UnknownPartition(partition.clone()))?;
        Ok(Head::new(head.subscribe()))
    }

    fn seek(&self, partition: Partition, seek: Seek) -> BoxFuture<'_, Result<Offset, ReadError>> {
        let inner = self.lock();
        ready(inner.bounds(&partition).map(|bounds| match seek {
            Seek::Beginning => bounds.first,
            Seek::End => bounds.next,
            Seek::Time(ms) => {
                let mut log = inner.logs.get(&partition).into_iter().flatten();
                let found = log.find(|stored| stored.envelope.ingest_ms >= ms);
                found.map_or(bounds.next, |stored| stored.base)
            }
        }))
    }

    fn read(
        &self,
        partition: Partition,
        from: Offset,
        limit: ReadLimit,
    ) -> BoxFuture<'_, Result<Chunk, ReadError>> {
        ready(self.lock().read(&partition, from, limit))
    }

    fn progress(
        &self,
        route: RouteName,
        source: Partition,
    ) -> BoxFuture<'_, Result<Option<Offset>, ReadError>> {
        ready(Ok(self.lock().ledger.progress.get(&(route, source)).copied()))
    }

    fn parked(
        &self,
        route: RouteName,
        source: Partition,
    ) -> BoxFuture<'_, Result<Vec<ParkedMessage>, ReadError>> {
        let inner = self.lock();
        let parked = inner.bounds(&source).map(|_| {
            let of_route = |(key, _): &(&(RouteName, Partition, MessageId), _)| {
                (&key.0, &key.1) == (&route, &source)
            };
            inner.parked.iter().filter(of_route).map(|(_, parked)| parked.clone()).collect()
        });
        ready(parked)
    }

    fn routes(&self) -> BoxFuture<'_, Result<Vec<KeptRoute>, ReadError>> {
        let inner = self.lock();
        let kept = inner.ledger.progress.iter().map(|((route, source), progress)| KeptRoute {
            route: route.clone(),
            source: source.clone(),
            progress: *progress,
            parked: inner.parked_ids(route, source).len() as u64,
        });
        let mut kept: Vec<KeptRoute> = kept.collect();
        kept.sort_unstable_by(|one, other| {
            (&one.route, &one.source).cmp(&(&other.route, &other.source))
        });
        ready(Ok(kept))
    }

    fn forget_route(&self, route: RouteName) -> BoxFuture<'_, Result<Vec<KeptRoute>, CommitError>> {
        ready(self.write(false, |inner| {
            let mut forgotten = Vec::new();
            for (source, progress) in inner.ledger.read_by(&route) {
                let ids = inner.parked_ids(&route, &source);
                let (route, parked) = (route.clone(), ids.len() as u64);
                let effects = inner.ledger.forget_route(&route, &source, ids);
                inner.store(effects);
                forgotten.push(KeptRoute { route, source, progress, parked });
            }
            Ok(forgotten)
        }))
    }

    fn groups(&self) -> BoxFuture<'_, Result<Vec<GroupName>, ReadError>> {
        let mut names: Vec<_> = self.lock().groups.keys().map(|(name, _)| name.clone()).collect();
        names.dedup();
        ready(Ok(names))
    }

    fn group(&self, group: GroupName) -> BoxFuture<'_, Result<Vec<KeptGroup>, ReadError>> {
        let inner = self.lock();
        let own = inner.groups.iter().filter(|((name, _), _)| *name == group);
        let kept = own.map(|((_, source), (revision, state))| KeptGroup {
            source: source.clone(),
            revision: *revision,
            state: state.clone(),
        });
        ready(Ok(kept.collect()))
    }
}

impl Stored {
    /// As trimming sees it.
    pub(crate) fn aged(&self) -> Aged {
        let messages = self.batch.len() as u64;
        let bytes = self.batch.byte_len() as u64;
        Aged { messages, bytes, ingest_ms: self.envelope.ingest_ms }
    }
}

#[cfg(test)]
mod tests {
    use waypost_protocol::{Producer, Sequence};

    use super::*;
    use crate::{Appended, conformance, testing::append};

    #[tokio::test]
    async fn it_keeps_what_every_engine_keeps() {
        conformance::check(async || MemoryStorage::new(100)).await;
    }

    #[tokio::test]
    async fn a_full_store_refuses_what_takes_space_until_there_is_room() {
        let storage = MemoryStorage::new(100);
        let append = || append(0, 1, "x", 0);
        let one = NonZeroU32::MIN;
        let stream = append().partition.stream;
        storage.declare(stream.clone(), one).await.expect("it is new");
        storage.set_full(true);
        let refused = storage.append(append()).await;
        assert!(matches!(refused, Err(CommitError::Full { .. })), "{refused:?}");
        storage.declare(stream, one).await.expect("it stands already");
        let other = StreamName::parse("other").expect("a valid name");
        let refused = storage.declare(other, one).await;
        assert!(matches!(refused, Err(DeclareError::Commit(CommitError::Full { .. }))));
        storage.trim(append().partition, Retention::default(), 0).await.expect("a trim goes on");
        storage.set_full(false);
        storage.append(append()).await.expect("there is room");
    }

    #[tokio::test]
    async fn what_was_stored_and_comes_again_is_never_refused_for_want_of_room() {
        let storage = MemoryStorage::new(100);
        let (one, producer) = (NonZeroU32::MIN, ProducerId(1));
        let by = |sequence: u64| {
            let (epoch, first_sequence) = (Epoch(0), Sequence(sequence));
            let mut append = append(0, 1, "x", 0);
            append.envelope.producer = Some(Producer { id: producer, epoch, first_sequence });
            append
        };
        storage.declare(by(0).partition.stream, one).await.expect("it is new");
        storage.open_producer(producer, Epoch(0), 0).await.expect("it is new");
        storage.append(by(0)).await.expect("there is room");
        storage.set_full(true);
        let again = storage.append(by(0)).await;
        assert_eq!(again, Ok(Appended::Duplicate { first_offset: Some(Offset(0)) }));
        let next = storage.append(by(1)).await;
        assert!(matches!(next, Err(CommitError::Full { .. })), "{next:?}");
        storage.open_producer(producer, Epoch(1), 0).await.expect("it is newer, and known");
        let unknown = storage.open_producer(ProducerId(2), Epoch(0), 0).await;
        assert!(matches!(unknown, Err(CommitError::Full { .. })), "{unknown:?}");
        let fenced = storage.append(by(0)).await;
        assert!(matches!(fenced, Err(CommitError::ProducerFenced { .. })), "{fenced:?}");
    }
}
