//! Builds a batch message by message.

use bytes::{BufMut as _, BytesMut};

use super::{
    Batch, BatchError, Column, Headers, MessageView,
    layout::{CHECKED_FROM, LAYOUT_VERSION, Layout, MAGIC},
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

    /// Appends all messages of a validated batch, column by column.
    ///
    /// # Errors
    ///
    /// The batch would be too large. The builder is then unchanged.
    pub fn push_batch(&mut self, batch: &Batch) -> Result<(), BatchError> {
        self.room_for(batch.len(), batch.byte_len() as u64)?;
        self.columns.push_run(batch, 0..batch.len());
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
pub(super) struct Columns {
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

    fn push_run(&mut self, column: Column<'_>, run: std::ops::Range<usize>) {
        let start = column.end(run.start).unwrap_or_default() as usize;
        let end = column.end(run.end).unwrap_or_default() as usize;
        let base = self.bytes.len();
        self.bytes.extend_from_slice(column.bytes().get(start..end).unwrap_or_default());
        for each in column.ends().skip(run.start + 1).take(run.len()) {
            self.push_end(base + each as usize - start);
        }
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
    pub(super) fn count(&self) -> usize {
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

    /// Appends neighbouring messages of a batch with one copy a column.
    pub(super) fn push_run(&mut self, batch: &Batch, run: std::ops::Range<usize>) {
        let keys = batch.keys();
        for index in run.clone() {
            self.push_key_bit(keys.is_present(index));
            self.created
                .extend_from_slice(&batch.created().get(index).unwrap_or_default().to_le_bytes());
        }
        self.topics.push_run(batch.topics(), run.clone());
        self.keys.push_run(keys.column(), run.clone());
        self.headers.push_run(batch.headers(), run.clone());
        self.payloads.push_run(batch.payloads(), run);
    }

    /// Appends all messages of a batch, each under this topic.
    pub(super) fn push_under(&mut self, batch: &Batch, topic: &[u8]) {
        let run = 0..batch.len();
        let keys = batch.keys();
        for (index, created_ms) in batch.created().iter().enumerate() {
            self.push_key_bit(keys.is_present(index));
            self.created.extend_from_slice(&created_ms.to_le_bytes());
            self.topics.push(topic);
        }
        self.keys.push_run(keys.column(), run.clone());
        self.headers.push_run(batch.headers(), run.clone());
        self.payloads.push_run(batch.payloads(), run);
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

    pub(super) fn assemble(&self) -> Option<Batch> {
        let layout = self.layout();
        if layout.count == 0 {
            return None;
        }
        let total = u32::try_from(layout.total()).ok()?;
        let mut bytes = BytesMut::with_capacity(total as usize);
        bytes.put_slice(&MAGIC);
        bytes.put_u16_le(LAYOUT_VERSION);
        bytes.put_u16_le(0);
        bytes.put_u32_le(0);
        bytes.put_u32_le(total);
        for length in [
            layout.count,
            layout.topics_len,
            layout.keys_len,
            layout.headers_len,
            layout.payloads_len,
        ] {
            bytes.put_u32_le(u32::try_from(length).ok()?);
        }
        bytes.put_slice(&self.created);
        self.topics.write(&mut bytes);
        bytes.put_slice(&self.key_bitmap);
        self.keys.write(&mut bytes);
        self.headers.write(&mut bytes);
        self.payloads.write(&mut bytes);
        let checksum = crc32c::crc32c(bytes.get(CHECKED_FROM..)?);
        bytes.get_mut(8..CHECKED_FROM)?.copy_from_slice(&checksum.to_le_bytes());
        let single_topic = self.has_single_topic();
        Some(Batch { bytes: bytes.freeze(), layout, single_topic })
    }

    fn has_single_topic(&self) -> bool {
        let first =
            self.topics.ends.first_chunk().map_or(0, |end| u32::from_le_bytes(*end)) as usize;
        let Some(topic) = self.topics.bytes.get(..first) else {
            return false;
        };
        // Topics of equal length and equal bytes fill the region as repeats of the first.
        self.topics.bytes.len() == first * self.count()
            && self
                .topics
                .ends
                .as_chunks::<4>()
                .0
                .iter()
                .zip(1..)
                .all(|(end, nth)| u32::from_le_bytes(*end) as usize == first * nth)
            && self.topics.bytes.chunks_exact(first.max(1)).all(|each| each == topic)
    }

    fn clear(&mut self) {
        self.created.clear();
        self.key_bitmap.clear();
        for column in [&mut self.topics, &mut self.keys, &mut self.headers, &mut self.payloads] {
            column.clear();
        }
    }
}
