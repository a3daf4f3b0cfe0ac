//! One message of a batch, borrowed.

use super::{Batch, Headers};

/// A message as it stands in its batch; nothing is copied.
#[derive(Debug, Clone, Copy)]
pub struct MessageView<'a> {
    topic: &'a str,
    key: Option<&'a [u8]>,
    headers: Headers<'a>,
    payload: &'a [u8],
    created_ms: u64,
}

impl<'a> MessageView<'a> {
    pub(super) fn of(batch: &'a Batch, index: usize) -> Option<Self> {
        Some(Self {
            topic: std::str::from_utf8(batch.topics().get(index)?).ok()?,
            key: batch.keys().get(index),
            headers: Headers::trusted(batch.headers().get(index)?),
            payload: batch.payloads().get(index)?,
            created_ms: batch.created().get(index)?,
        })
    }

    /// The topic's text; its grammar was checked.
    #[must_use]
    pub fn topic(&self) -> &'a str {
        self.topic
    }

    /// The key, if there is one; an empty key is a key.
    #[must_use]
    pub fn key(&self) -> Option<&'a [u8]> {
        self.key
    }

    /// The headers in the publisher's order.
    #[must_use]
    pub fn headers(&self) -> Headers<'a> {
        self.headers
    }

    /// The payload.
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// When the publisher made it, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn created_ms(&self) -> u64 {
        self.created_ms
    }
}
