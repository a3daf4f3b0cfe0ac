//! What a subscriber is handed. Nothing is copied: it points into the batch that arrived.

use std::sync::Arc;

use waypost_protocol::{Batch, Envelope, Headers, MessageView, Offset};

/// A batch as the router delivered it, with what the router says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveredBatch {
    /// The messages; at least one.
    pub batch: Batch,
    /// What the router knows of them.
    pub envelope: Arc<Envelope>,
}

/// One message of a delivered batch; cheap to clone. It keeps its whole batch in memory.
#[derive(Debug, Clone)]
pub struct Delivered {
    batch: Arc<DeliveredBatch>,
    index: usize,
}

impl Delivered {
    /// The message at a place that the batch has.
    pub(crate) fn new(batch: Arc<DeliveredBatch>, index: usize) -> Self {
        Self { batch, index }
    }

    /// The topic.
    #[must_use]
    pub fn topic(&self) -> &str {
        let topic = self.batch.batch.topics().get(self.index).unwrap_or_default();
        // The batch was validated when it arrived.
        std::str::from_utf8(topic).unwrap_or_default()
    }

    /// The key, if there is one; an empty key is a key.
    #[must_use]
    pub fn key(&self) -> Option<&[u8]> {
        self.batch.batch.keys().get(self.index)
    }

    /// The headers in the publisher's order.
    #[must_use]
    pub fn headers(&self) -> Headers<'_> {
        self.view().map(|message| message.headers()).unwrap_or_default()
    }

    /// The payload.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        self.batch.batch.payloads().get(self.index).unwrap_or_default()
    }

    /// When the publisher made it, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn created_ms(&self) -> u64 {
        self.batch.batch.created().get(self.index).unwrap_or_default()
    }

    /// What the router knows of its batch.
    #[must_use]
    pub fn envelope(&self) -> &Arc<Envelope> {
        &self.batch.envelope
    }

    /// Its place in its partition, when a stream keeps it.
    #[must_use]
    pub fn offset(&self) -> Option<Offset> {
        self.batch.envelope.offset_of(self.index)
    }

    fn view(&self) -> Option<MessageView<'_>> {
        self.batch.batch.get(self.index)
    }
}
