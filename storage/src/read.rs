//! What is read: chunks of a partition, its bounds, and where its head is.

use tokio::sync::watch;
use waypost_core::Extent;
use waypost_protocol::{Batch, Envelope, Offset};

/// Where a reader begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seek {
    /// At the oldest message that is still there.
    Beginning,
    /// Behind the newest.
    End,
    /// At the first batch that was taken in at this time or later, in milliseconds since the Unix epoch.
    Time(u64),
}

/// How much one read gives at most, and at least one batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadLimit {
    /// Batches.
    pub max_batches: usize,
    /// Bytes of the batches.
    pub max_bytes: usize,
}

impl Default for ReadLimit {
    fn default() -> Self {
        Self { max_batches: 64, max_bytes: 1 << 20 }
    }
}

/// A batch as it was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The offset of its first message.
    pub base: Offset,
    /// What the router knows of it.
    pub envelope: Envelope,
    /// The publisher's bytes.
    pub batch: Batch,
}

impl Stored {
    /// The offset behind its last message.
    #[must_use]
    pub fn end(&self) -> Offset {
        Offset(self.base.0.saturating_add(self.batch.len() as u64))
    }
}

/// Consecutive batches. The first may begin before the offset that was asked for: batches are whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// The batches; none when the reader has caught up.
    pub batches: Vec<Stored>,
    /// The offset to read from next.
    pub next: Offset,
}

/// What a partition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bounds {
    /// The first offset that is still there.
    pub first: Offset,
    /// The offset of the next message.
    pub next: Offset,
    /// What stands between them.
    pub held: Extent,
}

/// Tells a reader that has caught up when there is more.
#[derive(Debug, Clone)]
pub struct Head {
    offset: watch::Receiver<Offset>,
}

impl Head {
    /// A head that follows what is sent: for engines.
    #[must_use]
    pub fn new(offset: watch::Receiver<Offset>) -> Self {
        Self { offset }
    }

    /// The offset of the next message.
    #[must_use]
    pub fn offset(&self) -> Offset {
        *self.offset.borrow()
    }

    /// Waits until messages stand at `offset`; `None` when storage was closed before that.
    pub async fn beyond(&mut self, offset: Offset) -> Option<Offset> {
        self.offset.wait_for(|head| *head > offset).await.ok().map(|head| *head)
    }
}
