//! What operators are told of streams.

use std::sync::PoisonError;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use waypost_core::{Partition, StreamDefinition};
use waypost_protocol::TimeToLive;
use waypost_storage::{DiskUse, ReadError};

use super::Streams;

/// A stream as it stands at this moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StreamStatus {
    /// Its name.
    pub name: String,
    /// The patterns of the topics that it keeps.
    pub topics: Vec<String>,
    /// What it keeps of each partition, by age in milliseconds; without it, whatever its age.
    pub max_age_ms: Option<u64>,
    /// What it keeps of each partition, in bytes; without it, however many.
    pub max_bytes: Option<u64>,
    /// What it keeps of each partition, in messages; without it, however many.
    pub max_messages: Option<u64>,
    /// When a publish is acknowledged: after the sync, `group`, or once it is written, `none`, which is unsafe.
    pub fsync: String,
    /// How long messages live that do not say so themselves, in milliseconds; without it, for ever.
    pub ttl_ms: Option<u64>,
    /// Its partitions, from the first.
    pub partitions: Vec<PartitionStatus>,
}

/// What keeps the streams.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StorageStatus {
    /// The engine, and what it promises.
    pub promises: String,
    /// Bytes that its folder takes on the disk: more than streams hold, as it has journals, and rewrites what was
    /// trimmed later. None where nothing is on a disk here.
    pub disk_bytes: Option<u64>,
    /// Bytes that are free on that disk.
    pub free_bytes: Option<u64>,
    /// Publishes to streams are refused with `STORAGE_FULL` while fewer bytes are free.
    pub reserve_bytes: Option<u64>,
}

/// A partition as it stands at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PartitionStatus {
    /// Its number in the stream, from zero.
    pub partition: u32,
    /// The offset of the oldest message that is still there.
    pub first_offset: u64,
    /// The offset of the next message.
    pub next_offset: u64,
    /// Messages between the two.
    pub messages: u64,
    /// Bytes of their batches.
    pub bytes: u64,
}

impl StreamStatus {
    /// Messages that it keeps.
    #[must_use]
    pub fn held_messages(&self) -> u64 {
        self.partitions.iter().map(|partition| partition.messages).sum()
    }

    /// Bytes of the batches that it keeps.
    #[must_use]
    pub fn held_bytes(&self) -> u64 {
        self.partitions.iter().map(|partition| partition.bytes).sum()
    }
}

impl Streams {
    /// What keeps them, and what it takes of its disk.
    ///
    /// # Errors
    ///
    /// Its disk does not tell.
    pub async fn storage_status(&self) -> Result<StorageStatus, ReadError> {
        let disk = self.look_up_disk_use().await?;
        Ok(StorageStatus {
            promises: self.0.storage.promises().to_string(),
            disk_bytes: disk.map(|disk| disk.stored_bytes),
            free_bytes: disk.map(|disk| disk.free_bytes),
            reserve_bytes: disk.map(|disk| disk.reserve_bytes),
        })
    }

    /// Looks up what storage takes of its disk. This walks through its files.
    pub(super) async fn look_up_disk_use(&self) -> Result<Option<DiskUse>, ReadError> {
        let disk = self.0.storage.disk_use().await?;
        *self.0.disk_use.lock().unwrap_or_else(PoisonError::into_inner) = disk;
        Ok(disk)
    }

    /// What that was the last time.
    pub(super) fn last_disk_use(&self) -> Option<DiskUse> {
        *self.0.disk_use.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every stream, in the order of the configuration.
    #[must_use]
    pub fn status(&self) -> Vec<StreamStatus> {
        self.0.table.all().iter().map(|stream| self.status_of(stream)).collect()
    }

    /// The stream that keeps a topic.
    #[must_use]
    pub fn explain(&self, topic: &str) -> Option<StreamStatus> {
        self.0.table.of(topic).map(|stream| self.status_of(stream))
    }

    fn status_of(&self, stream: &StreamDefinition) -> StreamStatus {
        let StreamDefinition { name, topics, retention, .. } = stream;
        let partitions = stream.partition_indices().filter_map(|index| {
            let partition = Partition { stream: name.clone(), index };
            // It was declared; an engine elsewhere may be out of reach.
            let bounds = self.0.storage.bounds(&partition).ok()?;
            Some(PartitionStatus {
                partition: index.0,
                first_offset: bounds.first.0,
                next_offset: bounds.next.0,
                messages: bounds.held.messages,
                bytes: bounds.held.bytes,
            })
        });
        StreamStatus {
            name: name.as_str().to_owned(),
            topics: topics.iter().map(|pattern| pattern.as_str().to_owned()).collect(),
            max_age_ms: retention.max_age_ms,
            max_bytes: retention.max_bytes,
            max_messages: retention.max_messages,
            fsync: stream.fsync.name().to_owned(),
            ttl_ms: stream.ttl.map(TimeToLive::ms),
            partitions: partitions.collect(),
        }
    }
}
