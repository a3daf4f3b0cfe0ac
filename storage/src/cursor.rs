//! Reads a partition to its end, and then waits for more.

use std::sync::Arc;

use waypost_core::Partition;
use waypost_protocol::Offset;

use crate::{Chunk, Head, ReadError, ReadLimit, Storage};

/// A reader's place in a partition.
#[derive(Debug)]
pub struct Cursor<S: ?Sized> {
    storage: Arc<S>,
    partition: Partition,
    head: Head,
    next: Offset,
}

impl<S: Storage + ?Sized> Cursor<S> {
    /// A reader that begins at an offset.
    ///
    /// # Errors
    ///
    /// There is no such partition.
    pub fn new(storage: Arc<S>, partition: Partition, from: Offset) -> Result<Self, ReadError> {
        let head = storage.head(&partition)?;
        Ok(Self { storage, partition, head, next: from })
    }

    /// The partition that is read.
    #[must_use]
    pub fn partition(&self) -> &Partition {
        &self.partition
    }

    /// The offset that is read next.
    #[must_use]
    pub fn position(&self) -> Offset {
        self.next
    }

    /// Goes on from another offset, such as the first one after a trim.
    pub fn move_to(&mut self, offset: Offset) {
        self.next = offset;
    }

    /// The next batches, as soon as there are any; `None` when storage was closed. It may be dropped and
    /// called again.
    ///
    /// # Errors
    ///
    /// As [`Storage::read`]; the reader stays where it is.
    pub async fn next(&mut self, limit: ReadLimit) -> Result<Option<Chunk>, ReadError> {
        loop {
            let chunk = self.storage.read(self.partition.clone(), self.next, limit).await?;
            if !chunk.batches.is_empty() {
                self.next = chunk.next;
                return Ok(Some(chunk));
            }
            if self.head.beyond(self.next).await.is_none() {
                return Ok(None);
            }
        }
    }
}
