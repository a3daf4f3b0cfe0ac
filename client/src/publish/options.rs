//! How a publisher batches, and how much of it may be under way.

use std::time::Duration;

use super::ProducerIdentity;

/// What a publisher is made with. A number below one is taken for one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublisherOptions {
    /// A batch with so many messages is sent.
    pub max_batch_messages: usize,
    /// A batch of about so many bytes is sent. A larger message goes alone.
    pub max_batch_bytes: usize,
    /// How long the first message of a batch waits for more; the timer's steps are milliseconds.
    /// With zero a batch goes at once while little is in flight, and otherwise with the next result
    /// or when it is full, so that batches grow with the load and no timer is involved.
    pub linger: Duration,
    /// Batches that are sent or ready, and have no result yet. When there are so many, publishing
    /// waits once another batch is full.
    pub max_in_flight_batches: usize,
    /// Their bytes. One batch is allowed whatever its size.
    pub max_in_flight_bytes: usize,
    /// Whether what was sent to memory topics without a result is sent again on the next connection. They know
    /// no producer, so that it may then arrive twice; without this it ends as
    /// [`Outcome::Unknown`](crate::Outcome::Unknown). What was sent to a stream is always sent again, and is
    /// stored once.
    pub resend_unknown: bool,
    /// Under which identity messages for streams are stored; a random one unless given. Whoever gives one
    /// begins each life of its publisher with a greater epoch, which fences those before it; what became of the
    /// messages of a life that was killed stands in the stream, before the first message of the next. A publisher that comes back to a router with smaller limits, with a batch
    /// on its way that these no longer allow, goes on in the next epoch by itself.
    pub producer: Option<ProducerIdentity>,
}

impl Default for PublisherOptions {
    /// Batches of 1024 messages or 128 KiB without linger; 64 of them or 8 MiB in flight; nothing
    /// is sent twice.
    fn default() -> Self {
        Self {
            max_batch_messages: 1024,
            max_batch_bytes: 128 << 10,
            linger: Duration::ZERO,
            max_in_flight_batches: 64,
            max_in_flight_bytes: 8 << 20,
            resend_unknown: false,
            producer: None,
        }
    }
}
