//! The library's database: its keyspaces, one write to all of them, and what is read of them.

use std::{collections::BTreeMap, error::Error as _, io, path::Path};

use bytes::Bytes;
use fjall::{
    CompressionType, Database, Guard, Keyspace, KeyspaceCreateOptions, KvSeparationOptions,
    PersistMode, config::CompressionPolicy,
};
use waypost_core::{Aged, GroupName, Partition, RouteName};
use waypost_protocol::Offset;

use super::{
    keys::{self, PartitionKey},
    records, value,
};
use crate::{
    Bounds, Chunk, CommitNumber, GroupState, MessageId, ParkedMessage, ReadError, ReadLimit,
    Revision, memory::ChunkBuilder,
};

/// Journals are kept until everything in them stands in tables as well; this bounds what is read at a start.
const JOURNAL_BYTES: u64 = 256 << 20;
/// Values from this size on are written once beside the tree, and never moved by its compaction.
const SEPARATE_FROM_BYTES: u32 = 1024;

/// The keyspaces, in the order in which they are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Space {
    Log,
    Index,
    State,
    Commits,
}

/// What one commit writes: the last value of each key, `None` where it is removed. The library gives all
/// entries of a write the same sequence number, so that no key may stand in it twice.
pub(super) type Changes = BTreeMap<(Space, Vec<u8>), Option<Bytes>>;

/// The error of the system that made the library fail, if one did.
pub(super) fn system_error(error: &fjall::Error) -> Option<io::Error> {
    let mut cause = error.source();
    while let Some(error) = cause {
        let system = error.downcast_ref::<io::Error>();
        if let Some(code) = system.and_then(io::Error::raw_os_error) {
            return Some(io::Error::from_raw_os_error(code));
        }
        cause = error.source();
    }
    None
}

#[derive(Clone)]
pub(super) struct Store {
    database: Database,
    log: Keyspace,
    index: Keyspace,
    state: Keyspace,
    commits: Keyspace,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Store").finish_non_exhaustive()
    }
}

impl Store {
    pub(super) fn open(folder: &Path, cache_bytes: u64) -> fjall::Result<Self> {
        let database = Database::builder(folder)
            .cache_size(cache_bytes)
            .max_journaling_size(JOURNAL_BYTES)
            .manual_journal_persist(true)
            .open()?;
        let plain = || {
            let disabled = CompressionPolicy::disabled();
            KeyspaceCreateOptions::default().data_block_compression_policy(disabled)
        };
        let separated = KvSeparationOptions::default()
            .compression(CompressionType::None)
            .separation_threshold(SEPARATE_FROM_BYTES);
        Ok(Self {
            log: database.keyspace("log", || plain().with_kv_separation(Some(separated)))?,
            index: database.keyspace("index", plain)?,
            state: database.keyspace("state", plain)?,
            commits: database.keyspace("commits", plain)?,
            database,
        })
    }

    fn keyspace(&self, space: Space) -> &Keyspace {
        match space {
            Space::Log => &self.log,
            Space::Index => &self.index,
            Space::State => &self.state,
            Space::Commits => &self.commits,
        }
    }

    /// Writes the changes at once, and with them syncs whatever was written before, if they are to be synced.
    pub(super) fn commit(&self, changes: Changes, is_synced: bool) -> fjall::Result<()> {
        // What is handed to the system outlives the process, though not the loss of power.
        let mode = if is_synced { PersistMode::SyncData } else { PersistMode::Buffer };
        let mut batch = self.database.batch().durability(Some(mode));
        for ((space, key), value) in changes {
            match value {
                Some(value) => batch.insert(self.keyspace(space), key, value),
                None => batch.remove(self.keyspace(space), key),
            }
        }
        batch.commit()
    }

    /// Syncs the journal: what was recovered may be in the memory of the system only.
    pub(super) fn sync(&self) -> fjall::Result<()> {
        self.database.persist(PersistMode::SyncAll)
    }

    /// Syncs what was written without a sync.
    pub(super) fn sync_data(&self) -> fjall::Result<()> {
        self.database.persist(PersistMode::SyncData)
    }

    /// Bytes that are not written into tables yet. The library bounds them only while one of its threads is
    /// free to look.
    pub(super) fn unwritten_bytes(&self) -> u64 {
        self.database.write_buffer_size()
    }

    /// Whether a background thread of the library failed.
    pub(super) fn health(&self) -> fjall::Result<()> {
        self.database.persist(PersistMode::Buffer)
    }

    /// Has everything that stands in the journal only written into tables, in the background.
    pub(super) fn flush(&self) -> fjall::Result<()> {
        for keyspace in [&self.log, &self.index, &self.state, &self.commits] {
            keyspace.rotate_memtable()?;
        }
        Ok(())
    }

    pub(super) fn state(&self, key: impl AsRef<[u8]>) -> fjall::Result<Option<Bytes>> {
        Ok(self.state.get(key)?.map(Bytes::from))
    }

    /// The entries of the state whose keys begin with this.
    pub(super) fn states(
        &self,
        prefix: &[u8],
    ) -> impl Iterator<Item = fjall::Result<(Bytes, Bytes)>> {
        self.state.prefix(prefix).map(pair)
    }

    /// The commits that left a key of their own.
    pub(super) fn chain(&self) -> impl Iterator<Item = fjall::Result<Option<CommitNumber>>> {
        let number = |guard: Guard| Ok(keys::number_of(&guard.value()?).map(CommitNumber));
        self.commits.iter().map(number)
    }

    /// The batches of a partition from one offset up to another: their base offsets and sizes.
    pub(super) fn index(
        &self,
        key: PartitionKey,
        from: Offset,
        to: Offset,
    ) -> impl DoubleEndedIterator<Item = Result<(Offset, Aged), String>> {
        self.index.range(key.batch(from)..key.batch(to)).map(|guard| {
            let (key, value) = pair(guard).map_err(|error| error.to_string())?;
            let entry = keys::base_of(&key).zip(decode_index(&value));
            entry.ok_or_else(|| "an entry of the index does not decode".to_owned())
        })
    }

    /// The batch that holds an offset.
    fn holding(
        &self,
        key: PartitionKey,
        bounds: Bounds,
        offset: Offset,
    ) -> Result<Option<(Offset, Aged)>, String> {
        let end = Offset(offset.0.saturating_add(1)).min(bounds.next);
        let found = self.index(key, bounds.first, end).next_back().transpose()?;
        Ok(found.filter(|(base, aged)| offset.0 < base.0.saturating_add(aged.messages)))
    }

    /// The first batch that was taken in at a time or later: ingest times never go back.
    pub(super) fn seek(
        &self,
        key: PartitionKey,
        bounds: Bounds,
        ingest_ms: u64,
    ) -> Result<Offset, ReadError> {
        let (mut low, mut high) = (bounds.first, bounds.next);
        while low < high {
            let middle = Offset(low.0 + (high.0 - low.0) / 2);
            match self.holding(key, bounds, middle).map_err(ReadError::Failed)? {
                Some((base, aged)) if aged.ingest_ms < ingest_ms => {
                    low = Offset(base.0.saturating_add(aged.messages));
                }
                Some((base, _)) => high = base.max(low),
                // A hole, which reading will name.
                None => high = middle,
            }
        }
        Ok(high)
    }

    pub(super) fn read(
        &self,
        (partition, key): (&Partition, PartitionKey),
        bounds: Bounds,
        from: Offset,
        limit: ReadLimit,
    ) -> Result<Chunk, ReadError> {
        bounds.check(partition, from)?;
        let mut chunk = ChunkBuilder::new(from, limit);
        if from == bounds.next {
            return Ok(chunk.finish());
        }
        let holding = self.holding(key, bounds, from).map_err(ReadError::Failed)?;
        let mut expected = holding.map_or(from, |(base, _)| base);
        let damaged = |chunk: ChunkBuilder, offset, resume, what: String| {
            // What stands before the damage is given first; the next read begins with it.
            let partition = partition.clone();
            let error = ReadError::Damaged { partition, offset, resume: Some(resume), what };
            Some(chunk.finish()).filter(|chunk| !chunk.batches.is_empty()).ok_or(error)
        };
        for entry in self.index(key, expected, bounds.next) {
            let (base, aged) = entry.map_err(ReadError::Failed)?;
            if base != expected {
                return damaged(chunk, expected, base, "batches are missing".into());
            }
            if !chunk.takes(usize::try_from(aged.bytes).unwrap_or(usize::MAX)) {
                return Ok(chunk.finish());
            }
            expected = Offset(base.0.saturating_add(aged.messages));
            match self.batch(key, base) {
                Ok(stored) if stored.end() == expected => drop(chunk.push(stored)),
                Ok(_) => return damaged(chunk, base, expected, "it has another length".into()),
                Err(what) => return damaged(chunk, base, expected, what),
            }
        }
        if expected < bounds.next {
            return damaged(chunk, expected, bounds.next, "batches are missing".into());
        }
        Ok(chunk.finish())
    }

    fn batch(&self, key: PartitionKey, base: Offset) -> Result<crate::Stored, String> {
        let stored = self.log.get(key.batch(base)).map_err(|error| error.to_string())?;
        let stored = stored.ok_or_else(|| "the batch is missing".to_owned())?;
        value::decode(base, &Bytes::from(stored))
    }

    pub(super) fn progress(
        &self,
        key: PartitionKey,
        route: &RouteName,
    ) -> Result<Option<Offset>, ReadError> {
        let stored = self.state(key.progress(route));
        let stored = stored.map_err(|error| ReadError::Failed(error.to_string()))?;
        Ok(stored.and_then(|stored| keys::number_of(&stored)).map(Offset))
    }

    pub(super) fn parked(
        &self,
        (partition, key): (&Partition, PartitionKey),
        route: &RouteName,
    ) -> Result<Vec<ParkedMessage>, ReadError> {
        let prefix = key.parked_by(route);
        let entries = self.states(&prefix).map(|entry| {
            let (key, value) = entry.map_err(|error| ReadError::Failed(error.to_string()))?;
            records::decode_parked(&key, value).map_err(|what| ReadError::Damaged {
                partition: partition.clone(),
                offset: keys::parked_id(&key).map_or(Offset(0), |id| id.offset),
                resume: None,
                what: format!("a parked message: {what}"),
            })
        });
        entries.collect()
    }

    /// The identities of what a route parked in a partition.
    pub(super) fn parked_ids(
        &self,
        key: PartitionKey,
        route: &RouteName,
    ) -> fjall::Result<Vec<MessageId>> {
        let prefix = key.parked_by(route);
        let ids =
            self.state.prefix(&prefix).map(|guard| guard.key().map(|key| keys::parked_id(&key)));
        let ids: Vec<Option<MessageId>> = ids.collect::<Result<_, _>>()?;
        Ok(ids.into_iter().flatten().collect())
    }

    /// What is kept of routes: the partition, how far each came, and how much it parked.
    pub(super) fn routes(&self) -> Result<Vec<(PartitionKey, RouteName, Offset, u64)>, ReadError> {
        let failed = |error: fjall::Error| ReadError::Failed(error.to_string());
        let kept = self.states(&[keys::PROGRESS]).map(|entry| {
            let (key, value) = entry.map_err(failed)?;
            let damaged = || ReadError::Failed(format!("the state {key:?} does not decode"));
            let (place, name) = PartitionKey::split(&key).ok_or_else(damaged)?;
            let name = std::str::from_utf8(name).ok().and_then(|name| RouteName::parse(name).ok());
            let route = name.ok_or_else(damaged)?;
            let progress = keys::number_of(&value).map(Offset).ok_or_else(damaged)?;
            let parked = self.parked_ids(place, &route).map_err(failed)?.len() as u64;
            Ok((place, route, progress, parked))
        });
        kept.collect()
    }

    /// The groups that something is kept of.
    pub(super) fn groups(&self) -> Result<Vec<GroupName>, ReadError> {
        let names = self.states(&[keys::GROUP]).map(|entry| {
            let (key, _) = entry.map_err(|error| ReadError::Failed(error.to_string()))?;
            let damaged = || ReadError::Failed(format!("the state {key:?} does not decode"));
            keys::group_of(&key).map(|(group, _)| group).ok_or_else(damaged)
        });
        let mut names: Vec<GroupName> = names.collect::<Result<_, _>>()?;
        names.dedup();
        // Keys begin with the length of the name.
        names.sort_unstable();
        Ok(names)
    }

    /// What is kept of a group.
    pub(super) fn group(
        &self,
        group: &GroupName,
    ) -> Result<Vec<(PartitionKey, Revision, GroupState)>, ReadError> {
        let prefix = keys::group_prefix(group);
        let kept = self.states(&prefix).map(|entry| {
            let (key, value) = entry.map_err(|error| ReadError::Failed(error.to_string()))?;
            let found = keys::group_of(&key).zip(records::decode_group(&value));
            let found = found.map(|((_, place), (revision, state))| (place, revision, state));
            let damaged =
                || ReadError::Failed(format!("what is kept of the group {group} is damaged"));
            found.ok_or_else(damaged)
        });
        kept.collect()
    }
}

fn pair(guard: Guard) -> fjall::Result<(Bytes, Bytes)> {
    let (key, value) = guard.into_inner()?;
    Ok((Bytes::from(key), Bytes::from(value)))
}

/// The value of an entry of the index.
pub(super) fn encode_index(aged: &Aged) -> Bytes {
    // A batch is bounded by the protocol's limits, which fit.
    let [messages, bytes] =
        [aged.messages, aged.bytes].map(|number| u32::try_from(number).unwrap_or(u32::MAX));
    let sizes = [messages.to_be_bytes(), bytes.to_be_bytes()].concat();
    [&sizes[..], &aged.ingest_ms.to_be_bytes()].concat().into()
}

fn decode_index(value: &[u8]) -> Option<Aged> {
    let (messages, rest) = value.split_first_chunk::<4>()?;
    let (bytes, rest) = rest.split_first_chunk::<4>()?;
    let number = |bytes: &[u8; 4]| u64::from(u32::from_be_bytes(*bytes));
    let ingest_ms = keys::number_of(rest)?;
    Some(Aged { messages: number(messages), bytes: number(bytes), ingest_ms })
}
