//! Durable streams: what keeps them, who publishes to them, and what is given up of them.
//!
//! A batch is acknowledged when storage has it as safe as it [promises](waypost_storage::Promises). Batches of
//! one publish stream reach storage in the order in which they were taken: each takes its place in the
//! writer's queue before the next frame is read. What waits for storage is bounded in bytes and in number,
//! and whoever comes later awaits room.

mod gauges;
mod lifetimes;
mod metrics;
mod open;
mod publish;
mod reader;
mod status;
#[cfg(test)]
mod tests;
mod upkeep;

use std::{
    collections::HashMap,
    fmt,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
pub use gauges::StreamGauges;
pub use metrics::StreamMetrics;
pub use open::StorageError;
pub use publish::{Appending, ProducerSession, Refused, StreamTarget};
pub use reader::StreamReader;
pub use status::{PartitionStatus, StorageStatus, StreamStatus};
use tokio::sync::Semaphore;
pub use upkeep::Upkeep;
use waypost_core::{Lifetimes, StreamDefinition, StreamTable};
use waypost_protocol::{Epoch, ProducerId};
use waypost_storage::{Append, DiskUse, Storage};

/// Requests that wait for storage or for its answer at most. The writer's queue is longer, so that whoever
/// has one of these places never waits for the queue, and order is that of the places.
const REQUESTS: usize = 1024;

/// What streams are kept with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamSettings {
    /// Where storage keeps its files.
    pub folder: PathBuf,
    /// Publishes are refused while fewer bytes are free.
    pub reserve_bytes: u64,
    /// Bytes of batches that wait for storage at most.
    pub queue_bytes: usize,
    /// The newest batches that are kept in memory for readers, in bytes.
    pub tail_bytes: usize,
    /// The cache of what is read from disk, in bytes.
    pub cache_bytes: u64,
    /// Producers that are known at most.
    pub max_producers: usize,
    /// A producer that published nothing for so long is forgotten.
    pub forget_producers_after: Duration,
    /// How often what is no longer kept is trimmed.
    pub trim_interval: Duration,
    /// Opens storage that lost what it had acknowledged.
    pub accept_loss: bool,
    /// The streams; their patterns do not overlap.
    pub definitions: Vec<StreamDefinition>,
}

/// The streams of a router; cheap to clone.
#[derive(Debug, Clone)]
pub struct Streams(Arc<Inner>);

struct Inner {
    table: StreamTable,
    storage: Arc<dyn Storage>,
    metrics: StreamMetrics,
    queue_bytes: usize,
    /// Bytes of batches that may still be handed to storage.
    bytes: Arc<Semaphore>,
    /// Requests that may still be.
    requests: Arc<Semaphore>,
    /// The publish stream that speaks for each producer: the last one that opened it.
    sessions: Mutex<HashMap<ProducerId, Speaking>>,
    next_session: AtomicU64,
    /// Numbers of subscriptions that read streams, from the greatest down: routers count theirs up.
    next_reader: AtomicU64,
    stopping: AtomicBool,
    /// What storage took of its disk when that was looked up last.
    disk_use: Mutex<Option<DiskUse>>,
    /// How long messages live that do not say so, of topics of streams and of others.
    lifetimes: ArcSwap<Lifetimes>,
}

/// The publish stream that speaks for a producer.
#[derive(Debug, Clone, Copy)]
struct Speaking {
    number: u64,
    epoch: Epoch,
    /// When storage was told last that it is there.
    seen_ms: u64,
}

impl fmt::Debug for Inner {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Streams").field("table", &self.table).finish_non_exhaustive()
    }
}

impl Streams {
    /// The streams of a table, in some storage in which they are declared.
    pub(crate) fn new(
        table: StreamTable,
        storage: Arc<dyn Storage>,
        queue_bytes: usize,
        metrics: StreamMetrics,
    ) -> Self {
        table.all().iter().for_each(|stream| metrics.announce(stream));
        let streams = Self(Arc::new(Inner {
            table,
            storage,
            metrics,
            queue_bytes,
            bytes: Arc::new(Semaphore::new(queue_bytes)),
            requests: Arc::new(Semaphore::new(REQUESTS)),
            sessions: Mutex::default(),
            next_session: AtomicU64::new(1),
            next_reader: AtomicU64::new(u64::MAX),
            stopping: AtomicBool::new(false),
            disk_use: Mutex::default(),
            lifetimes: ArcSwap::default(),
        }));
        streams.set_topic_rules(&[]);
        streams
    }

    /// No streams at all.
    #[cfg(test)]
    pub(crate) fn none() -> Self {
        let metrics = StreamMetrics::register(&prometheus::Registry::new());
        let metrics = metrics.expect("an empty registry takes every series");
        let storage = Arc::new(waypost_storage::MemoryStorage::new(1));
        Self::new(StreamTable::default(), storage, 1 << 20, metrics)
    }

    /// Which topics belong to which stream.
    #[must_use]
    pub fn table(&self) -> &StreamTable {
        &self.0.table
    }

    /// What they count.
    #[cfg(test)]
    pub(crate) fn metrics(&self) -> &StreamMetrics {
        &self.0.metrics
    }

    /// What keeps them.
    #[must_use]
    pub fn storage(&self) -> &Arc<dyn Storage> {
        &self.0.storage
    }

    /// Takes note of batches that came out of routes and were stored.
    pub(crate) fn count_outputs(&self, appends: &[Append]) {
        for Append { partition, batch, .. } in appends {
            let (messages, bytes) = (batch.len() as u64, batch.byte_len() as u64);
            self.0.metrics.stored(&partition.stream, messages, bytes);
        }
    }

    /// Takes no more publishes.
    pub fn stop(&self) {
        self.0.stopping.store(true, Ordering::Release);
    }

    /// Commits what storage has taken and closes it, unless somebody else still has these streams.
    pub async fn close(self) {
        // Dropping storage joins its thread, which blocks.
        drop(tokio::task::spawn_blocking(move || drop(self)).await);
    }
}
