//! Builds a batch message by message.

use bytes::{BufMut as _, BytesMut};

use super::{
    Batch, BatchError, Headers, MessageView,
    assemble::{begin, is_repeated, seal},
    layout::Layout,
};
use crate::{Limits, check_topic};

/// Collects messages in columns; [`finish`](Self::finish) gives the batch and begins anew.
#[derive(Debug, Clone)]
pub struct BatchBuilder {
    limits: Limits,
    columns: Columns,
}

impl Default for BatchBuilder {
    fn default() -> Self {
        Self::with_limits(Limits::default())
    }
}

impl BatchBuilder {
    /// An empty builder with the limits of this protocol version.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty builder with the limits that a connection agreed on.
    #[must_use]
    pub fn with_limits(limits: Limits) -> Self {
        Self { limits, columns: Columns::default() }
    }

    /// Appends a message; `headers` are encoded as [`HeadersBuilder`](super::HeadersBuilder) does.
    ///
    /// # Errors
    ///
    /// A message that breaks the grammar or a limit, or that would make the batch too large. The
    /// builder is then unchanged.
    pub fn push(
        &mut self,
        topic: &str,
        key: Option<&[u8]>,
        headers: &[u8],
        payload: &[u8],
        created_ms: u64,
    ) -> Result<(), BatchError> {
        let index = self.len();
        check_topic(topic.as_bytes()).map_err(|source| BatchError::Topic { index, source })?;
        let (headers, count) =
            Headers::check(headers).map_err(|source| BatchError::Header { index, source })?;
        if count > usize::from(self.limits.max_headers) {
            return Err(BatchError::TooManyHeaders {
                index,
                count,
                limit: self.limits.max_headers,
            });
        }
        let key_len = key.map_or(0, <[u8]>::len);
        let bytes = topic.len() + key_len + headers.as_bytes().len() + payload.len();
        if bytes > self.limits.max_message_bytes as usize {
            let limit = self.limits.max_message_bytes;
            return Err(BatchError::MessageTooLarge { index, bytes, limit });
        }
        self.room_for(1, bytes as u64)?;
        self.columns.push(topic.as_bytes(), key, headers.as_bytes(), payload, created_ms);
        Ok(())
    }

    /// Appends a message of a validated batch.
    ///
    /// # Errors
    ///
    /// The batch would be too large. The builder is then unchanged.
    pub fn push_view(&mut self, message: MessageView<'_>) -> Result<(), BatchError> {
        let (key, headers) = (message.key(), message.headers().as_bytes());
        let bytes = message.topic().len()
            + key.map_or(0, <[u8]>::len)
            + headers.len()
            + message.payload().len();
        self.room_for(1, bytes as u64)?;
        let topic = message.topic().as_bytes();
        self.columns.push(topic, key, headers, message.payload(), message.created_ms());
        Ok(())
    }

    /// The number of messages so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.columns.count()
    }

    /// Whether there is no message yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of bytes of the batch as it stands.
    #[must_use]
    pub fn byte_len(&self) -> usize {
        usize::try_from(self.columns.layout().total()).unwrap_or(usize::MAX)
    }

    /// Gives the batch, or `None` when there is no message; the builder is empty afterwards.
    pub fn finish(&mut self) -> Option<Batch> {
        let batch = self.columns.assemble();
        self.columns.clear();
        batch
    }

    fn room_for(&self, messages: usize, bytes: u64) -> Result<(), BatchError> {
        // A message costs 8 bytes of time, 16 of end offsets and at most one of the bitmap.
        let bytes = self.columns.layout().total() + bytes + messages as u64 * 25;
        if bytes > u64::from(self.limits.max_frame_bytes) {
            return Err(BatchError::TooManyBytes { bytes, limit: self.limits.max_frame_bytes });
        }
        let count = u32::try_from(self.len() + messages).unwrap_or(u32::MAX);
        if count > self.limits.max_batch_messages {
            return Err(BatchError::TooManyMessages {
                count,
                limit: self.limits.max_batch_messages,
            });
        }
        Ok(())
    }
}

/// Growing columns, of messages that were checked before.
#[derive(Debug, Clone, Default)]
struct Columns {
    created: Vec<u8>,
    key_bitmap: Vec<u8>,
    topics: GrowingColumn,
    keys: GrowingColumn,
    headers: GrowingColumn,
    payloads: GrowingColumn,
}

/// The end offsets without the leading zero, and the region.
#[derive(Debug, Clone, Default)]
struct GrowingColumn {
    ends: Vec<u8>,
    bytes: Vec<u8>,
}

impl GrowingColumn {
    fn push(&mut self, value: &[u8]) {
        self.bytes.extend_from_slice(value);
        self.push_end(self.bytes.len());
    }

    fn push_end(&mut self, end: usize) {
        // A batch is bounded by the frame limit, which is a u32, before it grows.
        self.ends.extend_from_slice(&u32::try_from(end).unwrap_or(u32::MAX).to_le_bytes());
    }

    fn clear(&mut self) {
        self.ends.clear();
        self.bytes.clear();
    }

    fn write(&self, bytes: &mut BytesMut) {
        bytes.put_u32_le(0);
        bytes.put_slice(&self.ends);
        bytes.put_slice(&self.bytes);
    }
}

impl Columns {
    fn count(&self) -> usize {
        self.created.len() / 8
    }

    fn push(
        &mut self,
        topic: &[u8],
        key: Option<&[u8]>,
        headers: &[u8],
        payload: &[u8],
        created_ms: u64,
    ) {
        self.push_key_bit(key.is_some());
        self.created.extend_from_slice(&created_ms.to_le_bytes());
        self.topics.push(topic);
        self.keys.push(key.unwrap_or_default());
        self.headers.push(headers);
        self.payloads.push(payload);
    }

    /// To be called before the message's creation time is appended, which is what counts them.
    fn push_key_bit(&mut self, present: bool) {
        let index = self.count();
        if index.is_multiple_of(8) {
            self.key_bitmap.push(0);
        }
        if let Some(byte) = self.key_bitmap.last_mut() {
            *byte |= u8::from(present) << (index % 8);
        }
    }

    fn layout(&self) -> Layout {
        Layout {
            count: self.count(),
            topics_len: self.topics.bytes.len(),
            keys_len: self.keys.bytes.len(),
            headers_len: self.headers.bytes.len(),
            payloads_len: self.payloads.bytes.len(),
        }
    }

    fn assemble(&self) -> Option<Batch> {
        let layout = self.layout();
        let mut bytes = begin(layout)?;
        bytes.put_slice(&self.created);
        self.topics.write(&mut bytes);
        bytes.put_slice(&self.key_bitmap);
        self.keys.write(&mut bytes);
        self.headers.write(&mut bytes);
        self.payloads.write(&mut bytes);
        let batch = seal(bytes, layout, false)?;
        let single_topic = is_repeated(batch.topics(), layout.count);
        Some(Batch { single_topic, ..batch })
    }

    fn clear(&mut self) {
        self.created.clear();
        self.key_bitmap.clear();
        for column in [&mut self.topics, &mut self.keys, &mut self.headers, &mut self.payloads] {
            column.clear();
        }
    }
}
