//! Opens storage and declares the streams of the configuration.

use std::{collections::BTreeSet, path::PathBuf, sync::Arc};

use waypost_core::{Fsync, StreamName, StreamTable};
use waypost_storage::{
    DeclareError, EmbeddedConfig, EmbeddedStorage, MemoryStorage, MovedBack, OpenError,
    Storage as _,
};

use super::{REQUESTS, StreamMetrics, StreamSettings, Streams};

/// Why streams are not to be had.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// Storage does not open.
    #[error("the storage in {folder} does not open: {source}", folder = folder.display())]
    Open {
        /// Its folder.
        folder: PathBuf,
        /// Why.
        source: OpenError,
    },
    /// Storage lost what it had acknowledged.
    #[error(
        "the storage in {folder} lost what it had acknowledged: {source} by storage.accept_loss = true for \
         one start",
        folder = folder.display()
    )]
    Lost {
        /// Its folder.
        folder: PathBuf,
        /// What is lost.
        source: OpenError,
    },
    /// A stream cannot be declared.
    #[error("the stream {stream} cannot be kept: {source}")]
    Declare {
        /// Which stream.
        stream: StreamName,
        /// Why.
        source: DeclareError,
    },
}

impl Streams {
    /// Opens storage and declares the streams. Without a stream nothing is opened.
    ///
    /// # Errors
    ///
    /// Storage refuses its files, or a stream stands in it with another number of partitions.
    pub async fn open(
        settings: StreamSettings,
        metrics: StreamMetrics,
    ) -> Result<Self, StorageError> {
        let StreamSettings { folder, definitions, queue_bytes, .. } = settings;
        let table = StreamTable::new(definitions);
        if table.is_empty() {
            return Ok(Self::new(table, Arc::new(MemoryStorage::new(1)), queue_bytes, metrics));
        }
        let config = EmbeddedConfig {
            reserve_bytes: settings.reserve_bytes,
            // Places of publishers, and some for what the router does by itself.
            queue: REQUESTS * 2,
            tail_bytes: settings.tail_bytes,
            cache_bytes: settings.cache_bytes,
            max_producers: settings.max_producers,
            accept_loss: settings.accept_loss,
            unsynced: unsynced(&table),
            ..EmbeddedConfig::new(&folder)
        };
        if settings.accept_loss {
            tracing::warn!(
                "storage.accept_loss is set: storage that lost what it acknowledged opens all the same; \
                 remove it after this start"
            );
        }
        // It reads its journal.
        let opened = tokio::task::spawn_blocking(move || EmbeddedStorage::open(config)).await;
        let storage = match opened {
            Ok(Ok(storage)) => Arc::new(storage),
            Ok(Err(source)) => return Err(refused(folder, source)),
            Err(panic) => {
                let source = OpenError::Library { path: folder.clone(), reason: panic.to_string() };
                return Err(StorageError::Open { folder, source });
            }
        };
        for definition in table.all() {
            let stream = definition.name.clone();
            let declared = storage.declare(stream.clone(), definition.partitions).await;
            declared.map_err(|source| StorageError::Declare { stream, source })?;
        }
        for MovedBack { reader, source, from, to } in storage.moved_back() {
            metrics.moved_back.inc();
            tracing::warn!(
                partition = %source, from = from.0, to = to.0,
                "{reader} stood behind the end of what was recovered, and goes on at the end"
            );
        }
        for stream in unsynced(&table) {
            tracing::warn!(
                %stream,
                "stream.fsync = \"none\" is unsafe: the loss of power takes what was acknowledged of this stream"
            );
        }
        tracing::info!(
            folder = %folder.display(),
            streams = table.all().len(),
            "storage is open; {}",
            storage.promises()
        );
        Ok(Self::new(table, storage, queue_bytes, metrics))
    }
}

/// The streams that are not synced before they are acknowledged.
fn unsynced(table: &StreamTable) -> BTreeSet<StreamName> {
    let unsynced = table.all().iter().filter(|stream| stream.fsync == Fsync::None);
    unsynced.map(|stream| stream.name.clone()).collect()
}

fn refused(folder: PathBuf, source: OpenError) -> StorageError {
    match source {
        OpenError::Lost { .. }
        | OpenError::Gap { .. }
        | OpenError::NumberMissing { .. }
        | OpenError::Short { .. } => StorageError::Lost { folder, source },
        source => StorageError::Open { folder, source },
    }
}
