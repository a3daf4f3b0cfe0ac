//! The writer: one thread that decides and writes, so that one sync carries whatever arrived during the last
//! one.
//!
//! It takes a request, and every further one that waits already, applies them to the ledger in order, and
//! writes their effects as one commit under the next number. Readers and askers hear of it after the sync.
//! The first failure raises the fence: nothing is written after it, and no sync is tried again.
//!
//! Units of streams that are not synced are answered, and shown to readers, before the sync of the commit that carries
//! them, and a commit that carries nothing else is not synced at all. All commits stand in one journal in their order, so that
//! the next sync covers them, and what the loss of power takes is the end. The library moves what fills its memory into
//! tables on its own account, and would make the part of a commit last whose other part was never synced: before it
//! comes to that every commit is synced.

use std::{
    collections::{BTreeSet, HashSet},
    fmt,
    num::NonZeroU32,
    path::PathBuf,
    sync::{
        Arc,
        mpsc::{SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use waypost_core::{Aged, Partition, Retention, RouteName, StreamName};
use waypost_protocol::{Epoch, Offset, ProducerId};

use super::{
    effects::encode,
    keys::{self, CHAIN, PartitionKey},
    shared::Shared,
    space,
    store::{Changes, Space, Store, system_error},
    synced::SyncedFile,
    watch::Watch,
};
use crate::{
    CommitError, CommitNumber, Committed, DeclareError, KeptRoute, OpenedProducer, TrimReport,
    Unit,
    ledger::{Effect, Ledger},
    memory::{FORGET_PRODUCERS, TRIM_BATCHES},
};

/// Commits are slowed down while so much is in memory that is not in tables yet. Under load a keyspace has up to
/// five times 64 MiB there.
const UNWRITTEN_BYTES: u64 = 512 << 20;
/// By how much: a step, and how many at most.
const SLOWED_STEP: Duration = Duration::from_millis(20);
const SLOWED_STEPS: u32 = 50;

/// Every commit is synced while so much is in memory that is not in tables yet: at 64 MiB the library begins to
/// move what one keyspace has there.
const SYNCED_FROM_BYTES: u64 = 48 << 20;

/// What is asked of the writer.
pub(super) enum Request {
    Declare(StreamName, NonZeroU32, Reply<(), DeclareError>),
    OpenProducer(ProducerId, Epoch, u64, Reply<OpenedProducer>),
    ForgetProducers(u64, Reply<u64>),
    ForgetLongestUnseen(usize, HashSet<ProducerId>, Reply<u64>),
    Commit(Unit, Reply<Committed>),
    Trim(Partition, Retention, u64, Reply<TrimReport>),
    ForgetRoute(RouteName, Reply<Vec<KeptRoute>>),
}

pub(super) type Reply<T, E = CommitError> = oneshot::Sender<Result<T, E>>;

/// Whether everything is written into tables after a commit.
fn is_flushed(number: CommitNumber) -> bool {
    number.0.is_multiple_of(u64::from(CHAIN / 4))
}

/// What an asker is told after the commit.
type Answer = Box<dyn FnOnce(Result<CommitNumber, CommitError>) + Send>;

pub(super) struct Writer {
    pub(super) store: Store,
    pub(super) ledger: Ledger,
    pub(super) number: CommitNumber,
    pub(super) shared: Arc<Shared>,
    pub(super) watch: Watch,
    pub(super) synced: Arc<SyncedFile>,
    pub(super) folder: PathBuf,
    pub(super) reserve_bytes: u64,
    pub(super) group_bytes: usize,
    /// The streams that are not synced.
    pub(super) unsynced: BTreeSet<StreamName>,
    /// Something was written and not synced.
    pub(super) is_behind: bool,
}

/// What one commit carries.
#[derive(Default)]
struct Group {
    changes: Changes,
    bytes: usize,
    /// What is told after the write.
    written: Told,
    /// What is told after the sync.
    synced: Told,
    /// The partitions that something is told of after the sync: nothing that follows there is told before.
    awaited: BTreeSet<Partition>,
}

/// What readers and askers are told.
#[derive(Default)]
struct Told {
    effects: Vec<Effect>,
    answers: Vec<Answer>,
}

/// Raises the fence when the writer ends by a panic: nobody would answer any more.
struct PanicFence(Arc<Shared>);

impl Drop for PanicFence {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.fence.raise("the writer panicked");
        }
    }
}

impl Writer {
    /// Shows readers what was found.
    pub(super) fn show_all(&self) {
        for (partition, place) in &self.ledger.places {
            self.shared.show(partition.clone(), place.bounds, |partition| self.key(partition));
        }
    }

    /// Works until the last asker has gone.
    pub(super) fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        let _fence = PanicFence(self.shared.clone());
        let (sync, beside) = self.sync_beside();
        while let Some(first) = requests.blocking_recv() {
            let mut group = Group::default();
            self.take(first, &mut group);
            while group.bytes < self.group_bytes
                && let Ok(next) = requests.try_recv()
            {
                self.take(next, &mut group);
            }
            self.write(group, &sync);
        }
        self.catch_up();
        drop(sync);
        // It ends with its channel; what it could still say stands in the fence.
        drop(beside.map(thread::JoinHandle::join));
        self.watch.end();
    }

    /// Syncs the file with the last number, beside the next commit.
    fn sync_beside(&self) -> (SyncSender<()>, Option<thread::JoinHandle<()>>) {
        // One waiting request is enough: a sync covers whatever was written before it.
        let (sender, receiver) = sync_channel::<()>(1);
        let (synced, fence) = (self.synced.clone(), self.shared.fence.clone());
        let path = self.folder.join("synced");
        let syncs = move || {
            while receiver.recv().is_ok() {
                if let Err(error) = synced.sync() {
                    return fence.raise(&format!("{}: {error}", path.display()));
                }
            }
        };
        let started = thread::Builder::new().name("storage-number".into()).spawn(syncs);
        if let Err(error) = &started {
            self.shared.fence.raise(&format!("a thread did not start: {error}"));
        }
        (sender, started.ok())
    }

    fn take(&mut self, request: Request, group: &mut Group) {
        match request {
            Request::Declare(stream, partitions, reply) => {
                let is_new = !self.ledger.streams.contains_key(&stream);
                let declared = self.open_door(is_new).map_err(DeclareError::from);
                let declared = declared.and_then(|()| self.ledger.declare(stream, partitions));
                self.settle(declared.map(|effects| ((), effects)), reply, group, |(), _| ());
            }
            Request::OpenProducer(producer, epoch, now_ms, reply) => {
                let is_new = !self.ledger.producers.contains_key(&producer);
                let opened = self.open_door(is_new);
                let opened =
                    opened.and_then(|()| self.ledger.open_producer(producer, epoch, now_ms));
                self.settle(opened, reply, group, |opened, _| opened);
            }
            Request::ForgetProducers(idle_since_ms, reply) => {
                let forgotten = self.open_door(false);
                let forgotten = forgotten
                    .map(|()| self.ledger.forget_producers(idle_since_ms, FORGET_PRODUCERS));
                self.settle(forgotten, reply, group, |count, _| count);
            }
            Request::ForgetLongestUnseen(count, spared, reply) => {
                let forgotten = self.open_door(false);
                let forgotten =
                    forgotten.map(|()| self.ledger.forget_longest_unseen(count, &spared));
                self.settle(forgotten, reply, group, |count, _| count);
            }
            Request::Commit(unit, reply) => {
                let is_synced = self.is_synced(&unit);
                let room = match self.open_door(unit.grows()) {
                    // To refuse it for that would say that it is not stored.
                    Err(CommitError::Full { .. }) if self.ledger.stores_nothing(&unit) => Ok(()),
                    room => room,
                };
                let committed = room.and_then(|()| self.ledger.commit(unit));
                let tell = |appends, number| Committed { number, appends };
                self.settle_as(is_synced, committed, reply, group, tell);
            }
            Request::Trim(partition, retention, now_ms, reply) => {
                let trimmed = self.open_door(false);
                let trimmed = trimmed.and_then(|()| self.trim(&partition, retention, now_ms));
                self.settle(trimmed, reply, group, |report, _| report);
            }
            Request::ForgetRoute(route, reply) => {
                let forgotten = self.open_door(false).and_then(|()| self.forget_route(&route));
                self.settle(forgotten, reply, group, |forgotten, _| forgotten);
            }
        }
    }

    /// Whether anything is written at all, and anything that takes space.
    fn open_door(&self, grows: bool) -> Result<(), CommitError> {
        if let Some(reason) = self.shared.fence.reason() {
            return Err(CommitError::Fenced { reason });
        }
        if grows {
            let reserve = self.reserve_bytes;
            // Where the free space is not told, the disk itself is the bound.
            let free = space::free_bytes(&self.folder).unwrap_or(u64::MAX);
            if free < reserve {
                return Err(CommitError::Full { free, reserve });
            }
        }
        Ok(())
    }

    fn trim(
        &mut self,
        partition: &Partition,
        retention: Retention,
        now_ms: u64,
    ) -> Result<(TrimReport, Vec<Effect>), CommitError> {
        let unknown = || CommitError::UnknownPartition(partition.clone());
        let place = self.ledger.places.get(partition).ok_or_else(unknown)?;
        let key = self.key(partition).ok_or_else(unknown)?;
        // What is not on disk yet is not trimmed: it is in this group.
        let oldest: Result<Vec<(Offset, Aged)>, String> = self
            .store
            .index(key, place.bounds.first, place.bounds.next)
            .take(TRIM_BATCHES)
            .collect();
        let oldest = oldest.map_err(CommitError::Unreadable)?;
        let (trimmed, effects) = self.ledger.trim(partition, retention, now_ms, &oldest);
        let first = self.ledger.places.get(partition).map_or(Offset(0), |place| place.bounds.first);
        let more = trimmed.total().batches == TRIM_BATCHES as u64;
        Ok((TrimReport { trimmed, first, more }, effects))
    }

    /// What the route parks in this group is not found: it must not run.
    fn forget_route(
        &mut self,
        route: &RouteName,
    ) -> Result<(Vec<KeptRoute>, Vec<Effect>), CommitError> {
        let mut kept = Vec::new();
        for (source, progress) in self.ledger.read_by(route) {
            let unknown = || CommitError::UnknownPartition(source.clone());
            let ids = self.store.parked_ids(self.key(&source).ok_or_else(unknown)?, route);
            let ids = ids.map_err(|error| CommitError::Unreadable(error.to_string()))?;
            kept.push((source, progress, ids));
        }
        let (mut forgotten, mut effects) = (Vec::new(), Vec::new());
        for (source, progress, ids) in kept {
            let (route, parked) = (route.clone(), ids.len() as u64);
            effects.extend(self.ledger.forget_route(&route, &source, ids));
            forgotten.push(KeptRoute { route, source, progress, parked });
        }
        Ok((forgotten, effects))
    }

    /// Whether the answer to a unit waits for the sync.
    fn is_synced(&self, unit: &Unit) -> bool {
        let appended = unit.appends.iter().map(|append| &append.partition);
        let sources = unit.step.iter().map(|step| &step.source);
        let of_groups = unit.groups.iter().map(|step| &step.source);
        let mut touched = appended.chain(sources).chain(of_groups);
        self.unsynced.is_empty()
            || touched.any(|partition| !self.unsynced.contains(&partition.stream))
    }

    /// As [`settle_as`](Self::settle_as), with an answer that waits for the sync.
    fn settle<T: Send + 'static, R: Send + 'static, E: From<CommitError> + Send + 'static>(
        &self,
        outcome: Result<(T, Vec<Effect>), E>,
        reply: Reply<R, E>,
        group: &mut Group,
        tell: impl FnOnce(T, CommitNumber) -> R + Send + 'static,
    ) {
        self.settle_as(true, outcome, reply, group, tell);
    }

    /// Adds the effects to the group, and the answer to those that are given after its commit.
    fn settle_as<T: Send + 'static, R: Send + 'static, E: From<CommitError> + Send + 'static>(
        &self,
        is_synced: bool,
        outcome: Result<(T, Vec<Effect>), E>,
        reply: Reply<R, E>,
        group: &mut Group,
        tell: impl FnOnce(T, CommitNumber) -> R + Send + 'static,
    ) {
        let mut is_synced = is_synced;
        let outcome = outcome.map(|(value, effects)| {
            let touched = effects.iter().filter_map(|effect| match effect {
                Effect::Place(partition, _) => Some(partition),
                _ => None,
            });
            is_synced |= touched.clone().any(|partition| group.awaited.contains(partition));
            if is_synced {
                group.awaited.extend(touched.cloned());
            }
            let told = if is_synced { &mut group.synced } else { &mut group.written };
            for effect in effects {
                group.bytes = group.bytes.saturating_add(encode(
                    &effect,
                    |each| self.key(each),
                    &mut group.changes,
                ));
                told.effects.push(effect);
            }
            value
        });
        let told = if is_synced { &mut group.synced } else { &mut group.written };
        told.answers.push(Box::new(move |committed| {
            let told = outcome.and_then(|value| Ok(tell(value, committed?)));
            // Whoever asked may have gone.
            drop(reply.send(told));
        }));
    }

    fn write(&mut self, group: Group, sync: &SyncSender<()>) {
        let Group { changes, bytes, written, synced, .. } = group;
        if changes.is_empty() {
            let number = Ok(self.number);
            written.answers.into_iter().chain(synced.answers).for_each(|tell| tell(number.clone()));
            return;
        }
        let filled = self.store.unwritten_bytes().saturating_add(bytes as u64);
        let next = CommitNumber(self.number.0.saturating_add(1));
        let is_synced =
            !synced.effects.is_empty() || filled >= SYNCED_FROM_BYTES || is_flushed(next);
        // Where all wait for the sync, or the library may be about to write tables, it is one with the write.
        let is_apart = is_synced && !written.effects.is_empty() && filled < SYNCED_FROM_BYTES;
        let outcome = self.commit(changes, next, is_synced && !is_apart);
        if !is_synced || is_apart {
            self.tell(written, &outcome);
            self.is_behind = true;
            if !is_synced {
                return synced.answers.into_iter().for_each(|tell| tell(outcome.clone()));
            }
            let outcome = outcome.and_then(|number| self.sync(number));
            self.finish(Told::default(), synced, &outcome, sync);
        } else {
            self.finish(written, synced, &outcome, sync);
        }
    }

    /// The commit is synced, or nothing is any more.
    fn finish(
        &mut self,
        written: Told,
        synced: Told,
        outcome: &Result<CommitNumber, CommitError>,
        sync: &SyncSender<()>,
    ) {
        let noted = outcome.clone().and_then(|number| self.note_synced(number));
        if noted.is_ok() {
            // Full means that a sync is about to begin.
            let _ = sync.try_send(());
        }
        self.tell(written, &noted);
        self.tell(synced, &noted);
    }

    /// Tells readers and askers.
    fn tell(&self, told: Told, outcome: &Result<CommitNumber, CommitError>) {
        if outcome.is_ok() {
            self.shared.publish(told.effects, |partition| self.key(partition));
        }
        told.answers.into_iter().for_each(|tell| tell(outcome.clone()));
    }

    fn commit(
        &mut self,
        mut changes: Changes,
        number: CommitNumber,
        is_synced: bool,
    ) -> Result<CommitNumber, CommitError> {
        // The fence may have been raised since the door was open.
        if let Some(reason) = self.shared.fence.reason() {
            return Err(CommitError::Fenced { reason });
        }
        let value = Bytes::copy_from_slice(&number.0.to_be_bytes());
        changes.insert((Space::State, keys::LAST_COMMIT.to_vec()), Some(value.clone()));
        changes.insert((Space::Commits, keys::chain_slot(number).to_vec()), Some(value));
        self.slow_down();
        let written = self.watch.over(|| self.store.commit(changes, is_synced));
        written.map_err(|error| self.fail_of(&error))?;
        self.number = number;
        Ok(number)
    }

    /// Syncs what was written, up to this commit.
    fn sync(&self, number: CommitNumber) -> Result<CommitNumber, CommitError> {
        let synced = self.watch.over(|| self.store.sync_data());
        synced.map(|()| number).map_err(|error| self.fail_of(&error))
    }

    /// Keeps the number of a commit that is synced.
    fn note_synced(&mut self, number: CommitNumber) -> Result<CommitNumber, CommitError> {
        self.is_behind = false;
        let noted = self.synced.write(number);
        noted.map_err(|error| self.fail("synced", &error))?;
        // Commits that only the journal holds must not outlive their keys in the chain.
        if is_flushed(number) {
            self.store.flush().map_err(|error| self.fail_of(&error))?;
        }
        Ok(number)
    }

    /// Syncs what was not, before the store is closed.
    fn catch_up(&mut self) {
        if self.is_behind && self.shared.fence.reason().is_none() {
            let number = self.sync(self.number);
            // What failed stands in the fence.
            drop(number.and_then(|number| self.note_synced(number)));
        }
    }

    fn fail_of(&self, error: &fjall::Error) -> CommitError {
        match system_error(error) {
            Some(error) => self.fail("streams", &error),
            None => self.fail("streams", error),
        }
    }

    /// Raises the fence, as something of the folder failed.
    fn fail(&self, file: &str, error: &dyn fmt::Display) -> CommitError {
        let reason = format!("{}: {error}", self.folder.join(file).display());
        self.shared.fence.raise(&reason);
        CommitError::Unknown { reason }
    }

    /// Waits for the library to write into tables what fills memory, but not for ever: that only slows down
    /// those who write, and a count that is wrong must not stop them.
    fn slow_down(&self) {
        for _ in 0..SLOWED_STEPS {
            if self.store.unwritten_bytes() < UNWRITTEN_BYTES || self.store.health().is_err() {
                return;
            }
            thread::sleep(SLOWED_STEP);
        }
    }

    fn key(&self, partition: &Partition) -> Option<PartitionKey> {
        let stream = self.ledger.streams.get(&partition.stream)?.number;
        Some(PartitionKey { stream, partition: partition.index.0 })
    }
}
