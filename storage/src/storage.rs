//! The trait over storage engines.

use std::{collections::HashSet, fmt, num::NonZeroU32};

use futures_core::future::BoxFuture;
use waypost_core::{GroupName, Partition, Retention, RouteName, StreamName, Trimmed};
use waypost_protocol::{Epoch, Offset, ProducerId};

use crate::{
    Append, Appended, Bounds, Chunk, CommitError, Committed, DeclareError, Fence, Head, KeptGroup,
    KeptRoute, MovedBack, ParkedMessage, ReadError, ReadLimit, Seek, Unit,
};

/// How much an engine writes at once or not at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtomicScope {
    /// A whole unit, whatever partitions it touches.
    Store,
    /// What a unit does to one stream. Parts of a unit may be found without the others after a failure; the
    /// route runs again, and the engine skips outputs that it has by their [`MessageId`](crate::MessageId).
    Stream,
    /// Each batch by itself, as before.
    None,
}

/// What an engine promises; printed when the router starts and shown to operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Promises {
    /// The engine's name.
    pub engine: &'static str,
    /// What it writes at once.
    pub scope: AtomicScope,
    /// Whether what is committed outlives the process.
    pub survives_kill: bool,
    /// Whether what is committed outlives the loss of power.
    pub survives_power_loss: bool,
}

impl fmt::Display for AtomicScope {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Store => "a unit is written whole or not at all",
            Self::Stream => "a unit is written whole or not at all within each stream",
            Self::None => "each batch is written by itself",
        })
    }
}

impl fmt::Display for Promises {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outlives = match (self.survives_kill, self.survives_power_loss) {
            (_, true) => "what is acknowledged outlives the process and the loss of power",
            (true, false) => "what is acknowledged outlives the process, not the loss of power",
            (false, false) => "nothing outlives the process",
        };
        write!(formatter, "{}: {}; {outlives}", self.engine, self.scope)
    }
}

/// What an engine takes of a disk that it has for itself or shares with others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskUse {
    /// Bytes that its files take.
    pub stored_bytes: u64,
    /// Bytes that are free for it.
    pub free_bytes: u64,
    /// What takes space is refused as [`Full`](CommitError::Full) while fewer bytes are free.
    pub reserve_bytes: u64,
}

/// What opening a producer found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenedProducer {
    /// It was not known, or this is a new life: its sequences begin with zero in every partition. A producer
    /// that meant to go on has been forgotten, and cannot tell what was stored.
    New,
    /// This life was known: it goes on.
    Resumed,
}

/// What a trim took away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TrimReport {
    /// What went, by the bound that asked for it.
    pub trimmed: Trimmed,
    /// The first offset that is still there.
    pub first: Offset,
    /// Whether more is to go: a trim takes a bounded number of batches, and is then called again.
    pub more: bool,
}

/// Streams in some engine, on this machine or elsewhere.
///
/// A stream is declared before it is used, a producer opened before it publishes. What was committed is seen
/// by every later read, and by the readers that wait on a [`Head`]. Times are arguments, in milliseconds
/// since the Unix epoch. Futures may be dropped; a unit that was handed in may be committed all the same.
pub trait Storage: Send + Sync + 'static {
    /// What the engine promises.
    fn promises(&self) -> Promises;

    /// The engine's fence.
    fn fence(&self) -> &Fence;

    /// What the engine takes of its disk; `None` of one that has no disk here.
    ///
    /// # Errors
    ///
    /// The engine failed.
    fn disk_use(&self) -> BoxFuture<'_, Result<Option<DiskUse>, ReadError>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    /// Makes a stream, or finds it as it is, for which it needs no room.
    ///
    /// # Errors
    ///
    /// It stands with another number of partitions, or cannot be stored.
    fn declare(
        &self,
        stream: StreamName,
        partitions: NonZeroU32,
    ) -> BoxFuture<'_, Result<(), DeclareError>>;

    /// Makes a life of a producer known and fences its older ones. One that is known already needs no room.
    ///
    /// # Errors
    ///
    /// A newer life was opened before, too many are open, or it cannot be stored.
    fn open_producer(
        &self,
        producer: ProducerId,
        epoch: Epoch,
        now_ms: u64,
    ) -> BoxFuture<'_, Result<OpenedProducer, CommitError>>;

    /// Forgets producers that published nothing and were not opened since a time, and says how many. They
    /// are told [`UnknownProducer`](CommitError::UnknownProducer) from then on. A call takes a bounded number
    /// of them: it is repeated until it says none.
    ///
    /// # Errors
    ///
    /// It cannot be stored.
    fn forget_producers(&self, idle_since_ms: u64) -> BoxFuture<'_, Result<u64, CommitError>>;

    /// Forgets the producers that published nothing and were not opened for longest, to make room for others, and says
    /// how many those were; `spared` are there and stay.
    ///
    /// # Errors
    ///
    /// It cannot be stored.
    fn forget_longest_unseen(
        &self,
        count: usize,
        spared: HashSet<ProducerId>,
    ) -> BoxFuture<'_, Result<u64, CommitError>>;

    /// Commits a unit. The answer comes when it is as safe as the engine [promises](Self::promises).
    ///
    /// # Errors
    ///
    /// Nothing of the unit was stored, except with [`CommitError::Unknown`], which leaves that open.
    fn commit(&self, unit: Unit) -> BoxFuture<'_, Result<Committed, CommitError>>;

    /// Commits one batch by itself.
    ///
    /// # Errors
    ///
    /// As [`commit`](Self::commit).
    fn append(&self, append: Append) -> BoxFuture<'_, Result<Appended, CommitError>> {
        Box::pin(async move {
            let committed = self.commit(Unit::append(append)).await?;
            let first = committed.appends.first().copied();
            first
                .ok_or_else(|| CommitError::Unknown { reason: "the engine lost its answer".into() })
        })
    }

    /// Takes the oldest batches that a retention no longer keeps.
    ///
    /// # Errors
    ///
    /// There is no such partition, or it cannot be stored.
    fn trim(
        &self,
        partition: Partition,
        retention: Retention,
        now_ms: u64,
    ) -> BoxFuture<'_, Result<TrimReport, CommitError>>;

    /// What a partition holds.
    ///
    /// # Errors
    ///
    /// There is no such partition.
    fn bounds(&self, partition: &Partition) -> Result<Bounds, ReadError>;

    /// Follows the end of a partition.
    ///
    /// # Errors
    ///
    /// There is no such partition.
    fn head(&self, partition: &Partition) -> Result<Head, ReadError>;

    /// The offset to begin at.
    ///
    /// # Errors
    ///
    /// There is no such partition, or the engine failed.
    fn seek(&self, partition: Partition, seek: Seek) -> BoxFuture<'_, Result<Offset, ReadError>>;

    /// Reads batches from the one that holds `from`. At the end of the partition it gives none at once;
    /// [`Cursor`](crate::Cursor) waits for more.
    ///
    /// # Errors
    ///
    /// What was asked for was trimmed, is not there yet or is damaged, or the engine failed.
    fn read(
        &self,
        partition: Partition,
        from: Offset,
        limit: ReadLimit,
    ) -> BoxFuture<'_, Result<Chunk, ReadError>>;

    /// The offset that a route reads next in a partition; `None` before its first step.
    ///
    /// # Errors
    ///
    /// The engine failed.
    fn progress(
        &self,
        route: RouteName,
        source: Partition,
    ) -> BoxFuture<'_, Result<Option<Offset>, ReadError>>;

    /// What a route parked in a partition, by its identity.
    ///
    /// # Errors
    ///
    /// There is no such partition, something is damaged, or the engine failed.
    fn parked(
        &self,
        route: RouteName,
        source: Partition,
    ) -> BoxFuture<'_, Result<Vec<ParkedMessage>, ReadError>>;

    /// What is kept of routes, by route and partition, whether they are configured or not.
    ///
    /// # Errors
    ///
    /// Something is damaged, or the engine failed.
    fn routes(&self) -> BoxFuture<'_, Result<Vec<KeptRoute>, ReadError>>;

    /// Forgets a route that does not run: its progress and what it parked, in all partitions. Gives what that was;
    /// nothing of one that is not kept.
    ///
    /// # Errors
    ///
    /// It cannot be read or stored; then nothing is forgotten.
    fn forget_route(&self, route: RouteName) -> BoxFuture<'_, Result<Vec<KeptRoute>, CommitError>>;

    /// The positions that were moved back when the store was opened.
    fn moved_back(&self) -> Vec<MovedBack> {
        Vec::new()
    }

    /// The groups that something is kept of, by name.
    ///
    /// # Errors
    ///
    /// The engine failed.
    fn groups(&self) -> BoxFuture<'_, Result<Vec<GroupName>, ReadError>>;

    /// What is kept of a group, by partition; nothing of one that does not exist.
    ///
    /// # Errors
    ///
    /// Something is damaged, or the engine failed.
    fn group(&self, group: GroupName) -> BoxFuture<'_, Result<Vec<KeptGroup>, ReadError>>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn promises_are_told_in_a_sentence() {
        let check = |scope, survives_kill, survives_power_loss, expected: &str| {
            let engine = "x";
            let promises = Promises { engine, scope, survives_kill, survives_power_loss };
            assert_eq!(promises.to_string(), expected);
        };
        let all = "x: a unit is written whole or not at all; what is acknowledged outlives the process \
                   and the loss of power";
        check(AtomicScope::Store, true, true, all);
        check(
            AtomicScope::None,
            false,
            false,
            "x: each batch is written by itself; nothing outlives the process",
        );
    }
}
