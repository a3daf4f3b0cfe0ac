//! Streams to whoever subscribes to their topics: what a partition has stored is handed on, in order, once it is as
//! safe as its storage promises.
//!
//! A task reads each partition from its end on. It waits as a publisher of a memory topic would: for subscriptions, as
//! long as each may take nothing. Publishers to the stream wait for none of it, and routes read by themselves.

use std::{sync::Arc, time::Duration};

use tokio::task::JoinSet;
use waypost_core::Partition;
use waypost_protocol::{Envelope, Offset};
use waypost_storage::{Cursor, ReadError, ReadLimit, Storage};

use super::Router;
use crate::streams::Streams;

/// What a partition's task holds at most, beyond its largest batch.
const READ: ReadLimit = ReadLimit { max_batches: 64, max_bytes: 1 << 20 };
/// After a read that failed.
const PAUSE: Duration = Duration::from_secs(1);

/// The tasks of all partitions; dropping it ends them.
#[derive(Debug)]
pub struct Tails(JoinSet<()>);

impl Tails {
    /// Hands on what is stored from now on, on the current runtime.
    #[must_use]
    pub fn start(router: &Router, streams: &Streams) -> Self {
        let mut tails = JoinSet::new();
        for definition in streams.table().all() {
            for index in definition.partition_indices() {
                let partition = Partition { stream: definition.name.clone(), index };
                let storage = streams.storage().clone();
                // Before publishers come, so that nothing is passed over.
                match storage.bounds(&partition).map(|bounds| bounds.next) {
                    Ok(end) => drop(tails.spawn(follow(router.clone(), storage, partition, end))),
                    Err(error) => tracing::error!(%error, "a partition is not handed on"),
                }
            }
        }
        Self(tails)
    }

    /// How many partitions are followed.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether no partition is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

async fn follow(router: Router, storage: Arc<dyn Storage>, partition: Partition, end: Offset) {
    let mut cursor = match Cursor::new(storage, partition.clone(), end) {
        Ok(cursor) => cursor,
        Err(error) => {
            tracing::error!(%error, "a partition is not handed on");
            return;
        }
    };
    loop {
        match cursor.next(READ).await {
            Ok(Some(chunk)) => {
                for stored in chunk.batches {
                    let envelope = Envelope {
                        stream: Some(partition.stream.as_str().to_owned()),
                        partition: partition.index.0,
                        ..stored.envelope
                    };
                    if !router.hand_on(&stored.batch, envelope).await {
                        return;
                    }
                }
            }
            Ok(None) => return,
            Err(error) => _ = pass(&mut cursor, &error, "subscriptions").await,
        }
    }
}

/// Goes on behind what cannot be read any more, and says what is missing and for whom. Says how many messages that
/// is; none when it only waited to try again.
pub(super) async fn pass(cursor: &mut Cursor<dyn Storage>, error: &ReadError, reader: &str) -> u64 {
    let before = cursor.position();
    match error {
        ReadError::Trimmed { first, .. } => {
            tracing::warn!(reader, %error, "retention took messages before they were read");
            cursor.move_to(*first);
        }
        ReadError::Damaged { resume: Some(resume), .. } => {
            tracing::error!(reader, %error, resume = resume.0, "messages are damaged and are passed over");
            cursor.move_to(*resume);
        }
        error => {
            tracing::error!(reader, %error, "a partition cannot be read; trying again");
            tokio::time::sleep(PAUSE).await;
        }
    }
    cursor.position().0.saturating_sub(before.0)
}
