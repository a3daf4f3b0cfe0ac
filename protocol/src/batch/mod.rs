//! The batch: many messages in one columnar buffer, the same bytes on the wire, in the log and in
//! the sandbox.
//!
//! All numbers are little-endian. A header of 36 bytes:
//!
//! | at | size | field |
//! | --- | --- | --- |
//! | 0 | 4 | magic `WPBT` |
//! | 4 | 2 | layout version, 1 |
//! | 6 | 2 | flags, 0 |
//! | 8 | 4 | CRC32C of every byte from 12 to the end |
//! | 12 | 4 | length of the whole batch |
//! | 16 | 4 | count of messages, at least 1 |
//! | 20 | 4 | bytes in the region of topics |
//! | 24 | 4 | bytes in the region of keys |
//! | 28 | 4 | bytes in the region of headers |
//! | 32 | 4 | bytes in the region of payloads |
//!
//! and then, without padding:
//!
//! 1. created: `count` u64, milliseconds since the Unix epoch;
//! 2. topics: `count + 1` u32 end offsets of which the first is 0, then the region;
//! 3. keys: a bitmap of `ceil(count / 8)` bytes (bit `i % 8` of byte `i / 8`; unused bits are 0),
//!    end offsets, region; a message without a key has an empty value there;
//! 4. headers: end offsets, region; a value is a run of { name length u8, name, value length u16,
//!    value }, the name being visible ASCII;
//! 5. payloads: end offsets, region.
//!
//! Offsets are relative to their region, never decrease, and the last is the region's length.
//! A [`Batch`] was validated whole when it was made, and is trusted from then on.

mod assemble;
mod builder;
mod column;
mod gather;
mod headers;
mod layout;
mod part;
#[cfg(test)]
mod tests;
mod validate;
mod view;

pub use builder::BatchBuilder;
use bytes::Bytes;
pub use column::{Column, CreatedColumn, KeyColumn};
pub use headers::{HeaderError, Headers, HeadersBuilder};
pub use layout::LAYOUT_VERSION;
use layout::Layout;
pub use validate::BatchError;
pub use view::MessageView;

use crate::Limits;

/// A validated batch; immutable, cheap to clone, never empty.
#[derive(Debug, Clone)]
pub struct Batch {
    bytes: Bytes,
    layout: Layout,
    single_topic: bool,
}

impl Batch {
    /// Validates bytes from outside: bounds, checksum, topic grammar, headers and limits. The bytes
    /// are kept, not copied.
    ///
    /// # Errors
    ///
    /// The first breach that is found, with its place.
    pub fn decode(bytes: Bytes, limits: &Limits) -> Result<Self, BatchError> {
        let layout = validate::header(&bytes, limits)?;
        let mut batch = Self { bytes, layout, single_topic: false };
        batch.single_topic = validate::columns(&batch, limits)?;
        Ok(batch)
    }

    /// The number of messages; at least one.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a batch is never empty")]
    pub fn len(&self) -> usize {
        self.layout.count
    }

    /// The number of bytes of the whole batch.
    #[must_use]
    pub fn byte_len(&self) -> usize {
        self.bytes.len()
    }

    /// The bytes themselves, as on the wire.
    #[must_use]
    pub fn as_bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// One message, or `None` past the end.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<MessageView<'_>> {
        MessageView::of(self, index)
    }

    /// The messages in order.
    pub fn iter(&self) -> impl Iterator<Item = MessageView<'_>> {
        (0..self.len()).filter_map(|index| self.get(index))
    }

    /// The topic of every message, when all have the same.
    #[must_use]
    pub fn single_topic(&self) -> Option<&str> {
        if !self.single_topic {
            return None;
        }
        self.topics().get(0).and_then(|topic| std::str::from_utf8(topic).ok())
    }

    /// The column of creation times.
    #[must_use]
    pub fn created(&self) -> CreatedColumn<'_> {
        CreatedColumn::new(self.slice(self.layout.created()))
    }

    /// The column of topics.
    #[must_use]
    pub fn topics(&self) -> Column<'_> {
        self.column(self.layout.topics())
    }

    /// The column of keys.
    #[must_use]
    pub fn keys(&self) -> KeyColumn<'_> {
        KeyColumn::new(self.slice(self.layout.key_bitmap()), self.column(self.layout.keys()))
    }

    /// The column of headers.
    #[must_use]
    pub fn headers(&self) -> Column<'_> {
        self.column(self.layout.headers())
    }

    /// The column of payloads.
    #[must_use]
    pub fn payloads(&self) -> Column<'_> {
        self.column(self.layout.payloads())
    }

    fn column(&self, span: layout::ColumnSpan) -> Column<'_> {
        Column::new(self.slice(span.ends), self.slice(span.region))
    }

    fn slice(&self, range: std::ops::Range<usize>) -> &[u8] {
        // The layout was checked against the buffer's length, so the range is always inside.
        self.bytes.get(range).unwrap_or_default()
    }
}

impl PartialEq for Batch {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for Batch {}
