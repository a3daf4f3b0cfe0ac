//! What the tests of this crate share.

use waypost_core::{Partition, StreamName};
use waypost_protocol::{Batch, BatchBuilder, Envelope};

use crate::Append;

/// A batch of messages to `orders` with keys `0`, `1`, ... and this payload.
pub(crate) fn batch(messages: usize, payload: &str) -> Batch {
    let mut builder = BatchBuilder::new();
    for index in 0..messages {
        let key = index.to_string();
        let pushed = builder.push("orders", Some(key.as_bytes()), &[], payload.as_bytes(), 1_000);
        pushed.expect("the message keeps the limits");
    }
    builder.finish().expect("the batch has a message")
}

/// A partition of the stream `orders`.
pub(crate) fn partition(index: u32) -> Partition {
    Partition::new(StreamName::parse("orders").expect("a valid name"), index)
}

/// A batch on its way into a partition, taken in at a time.
pub(crate) fn append(index: u32, messages: usize, payload: &str, ingest_ms: u64) -> Append {
    let envelope = Envelope { ingest_ms, ..Envelope::default() };
    Append { partition: partition(index), batch: batch(messages, payload), envelope, origin: None }
}
