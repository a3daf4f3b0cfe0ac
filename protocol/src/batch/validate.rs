//! The one place where bytes from outside become a batch.

use super::{
    Batch, Column, HeaderError, Headers,
    layout::{CHECKED_FROM, HEADER_BYTES, LAYOUT_VERSION, Layout, MAGIC},
};
use crate::{ErrorCode, Limits, TopicError, check_topic};

/// Why bytes are no batch, or a message does not go into one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// Fewer bytes than a header.
    #[error("a batch has {0} bytes, its header alone has {HEADER_BYTES}")]
    Truncated(usize),
    /// It does not begin as a batch does.
    #[error("the bytes do not begin with a batch's magic")]
    BadMagic,
    /// A version that this library does not read.
    #[error("the batch has layout version {0}, this side reads version {LAYOUT_VERSION}")]
    UnknownVersion(u16),
    /// Flags that this version does not define.
    #[error("the batch has flags {0:#06x}, version {LAYOUT_VERSION} defines none")]
    UnknownFlags(u16),
    /// The header's numbers do not add up to the length.
    #[error("the batch has {actual} bytes, its header says {stated} and describes {described}")]
    BadLength {
        /// The bytes there are.
        actual: usize,
        /// The length field.
        stated: u32,
        /// What count and regions add up to.
        described: u64,
    },
    /// Not one message.
    #[error("a batch has no message; it must have at least one")]
    Empty,
    /// More messages than agreed.
    #[error("a batch has {count} messages, at most {limit} are agreed")]
    TooManyMessages {
        /// The messages there are.
        count: u32,
        /// The limit.
        limit: u32,
    },
    /// More bytes than agreed.
    #[error("a batch has {bytes} bytes, at most {limit} are agreed")]
    TooManyBytes {
        /// The bytes there are.
        bytes: u64,
        /// The limit.
        limit: u32,
    },
    /// The bytes are not those that were sent.
    #[error("the batch's checksum is {stated:#010x}, its bytes give {computed:#010x}")]
    Checksum {
        /// The checksum field.
        stated: u32,
        /// What the bytes give.
        computed: u32,
    },
    /// End offsets that do not begin at 0, decrease, or do not end at the region's length.
    #[error("the end offsets of the {column} do not divide their region, at message {index}")]
    BadEnds {
        /// Which column.
        column: &'static str,
        /// The first message at fault.
        index: usize,
    },
    /// A bit for no message, or bytes for a key that is absent.
    #[error("the bitmap of keys contradicts the keys at message {0}")]
    BadKeyBitmap(usize),
    /// A topic that breaks the grammar.
    #[error("message {index}: {source}")]
    Topic {
        /// The message.
        index: usize,
        /// The breach.
        source: TopicError,
    },
    /// Headers that break their encoding.
    #[error("message {index}: {source}")]
    Header {
        /// The message.
        index: usize,
        /// The breach.
        source: HeaderError,
    },
    /// More headers than agreed.
    #[error("message {index} has {count} headers, at most {limit} are agreed")]
    TooManyHeaders {
        /// The message.
        index: usize,
        /// The headers there are.
        count: usize,
        /// The limit.
        limit: u16,
    },
    /// A message of more bytes than agreed.
    #[error("message {index} has {bytes} bytes, at most {limit} are agreed")]
    MessageTooLarge {
        /// The message.
        index: usize,
        /// Its topic, key, headers and payload.
        bytes: usize,
        /// The limit.
        limit: u32,
    },
}

impl BatchError {
    /// The code that a peer is told.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::UnknownVersion(_) => ErrorCode::BatchVersion,
            Self::Checksum { .. } => ErrorCode::BatchChecksum,
            Self::TooManyMessages { .. } | Self::TooManyBytes { .. } => ErrorCode::BatchTooLarge,
            Self::Topic { source, .. } => source.code(),
            Self::Header { source: HeaderError::BadName(_), .. } => ErrorCode::BadUtf8,
            Self::TooManyHeaders { .. } => ErrorCode::TooManyHeaders,
            Self::MessageTooLarge { .. } => ErrorCode::MessageTooLarge,
            _ => ErrorCode::BadBatch,
        }
    }
}

/// Checks everything that the header says, and the checksum.
pub(super) fn header(bytes: &[u8], limits: &Limits) -> Result<Layout, BatchError> {
    let truncated = || BatchError::Truncated(bytes.len());
    let header: &[u8; HEADER_BYTES] = bytes.first_chunk().ok_or_else(truncated)?;
    let word = |at: usize| {
        u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
    };
    let half = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
    if !header.starts_with(&MAGIC) {
        return Err(BatchError::BadMagic);
    }
    if half(4) != LAYOUT_VERSION {
        return Err(BatchError::UnknownVersion(half(4)));
    }
    if half(6) != 0 {
        return Err(BatchError::UnknownFlags(half(6)));
    }
    let layout = Layout {
        count: word(16) as usize,
        topics_len: word(20) as usize,
        keys_len: word(24) as usize,
        headers_len: word(28) as usize,
        payloads_len: word(32) as usize,
    };
    let (actual, stated, described) = (bytes.len(), word(12), layout.total());
    if actual as u64 != described || u64::from(stated) != described {
        return Err(BatchError::BadLength { actual, stated, described });
    }
    if word(16) == 0 {
        return Err(BatchError::Empty);
    }
    if word(16) > limits.max_batch_messages {
        return Err(BatchError::TooManyMessages {
            count: word(16),
            limit: limits.max_batch_messages,
        });
    }
    if described > u64::from(limits.max_frame_bytes) {
        return Err(BatchError::TooManyBytes { bytes: described, limit: limits.max_frame_bytes });
    }
    let (stated, computed) = (word(8), crc32c::crc32c(&bytes[CHECKED_FROM..]));
    if stated != computed {
        return Err(BatchError::Checksum { stated, computed });
    }
    Ok(layout)
}

/// Checks every column; says whether all messages have the same topic.
pub(super) fn columns(batch: &Batch, limits: &Limits) -> Result<bool, BatchError> {
    ends("topics", batch.topics())?;
    ends("keys", batch.keys().column())?;
    ends("headers", batch.headers())?;
    ends("payloads", batch.payloads())?;
    keys(batch)?;
    let single_topic = topics(batch)?;
    headers(batch, limits)?;
    sizes(batch, limits)?;
    Ok(single_topic)
}

fn ends(name: &'static str, column: Column<'_>) -> Result<(), BatchError> {
    let mut last = 0;
    for (index, end) in column.ends().enumerate() {
        if end < last || (index == 0 && end != 0) {
            return Err(BatchError::BadEnds { column: name, index: index.saturating_sub(1) });
        }
        last = end;
    }
    if last as usize == column.bytes().len() {
        Ok(())
    } else {
        let index = (column.ends_bytes().len() / 4).saturating_sub(2);
        Err(BatchError::BadEnds { column: name, index })
    }
}

fn keys(batch: &Batch) -> Result<(), BatchError> {
    let keys = batch.keys();
    for index in 0..batch.len() {
        if !keys.is_present(index) && keys.column().get(index).is_none_or(|key| !key.is_empty()) {
            return Err(BatchError::BadKeyBitmap(index));
        }
    }
    let padding = batch.len()..keys.present().len() * 8;
    match padding.into_iter().find(|&index| keys.is_present(index)) {
        Some(index) => Err(BatchError::BadKeyBitmap(index)),
        None => Ok(()),
    }
}

fn topics(batch: &Batch) -> Result<bool, BatchError> {
    let topics = batch.topics();
    let mut checked = None;
    let mut single = true;
    for index in 0..batch.len() {
        let topic = topics.get(index).unwrap_or_default();
        // Neighbours mostly share a topic: comparing is cheaper than walking the grammar again.
        if checked == Some(topic) {
            continue;
        }
        check_topic(topic).map_err(|source| BatchError::Topic { index, source })?;
        single &= checked.is_none();
        checked = Some(topic);
    }
    Ok(single)
}

fn headers(batch: &Batch, limits: &Limits) -> Result<(), BatchError> {
    let column = batch.headers();
    if column.bytes().is_empty() {
        return Ok(());
    }
    for index in 0..batch.len() {
        let bytes = column.get(index).unwrap_or_default();
        let (_, count) =
            Headers::check(bytes).map_err(|source| BatchError::Header { index, source })?;
        if count > usize::from(limits.max_headers) {
            return Err(BatchError::TooManyHeaders { index, count, limit: limits.max_headers });
        }
    }
    Ok(())
}

fn sizes(batch: &Batch, limits: &Limits) -> Result<(), BatchError> {
    // A batch under the limit of one message has no message over it.
    if batch.byte_len() <= limits.max_message_bytes as usize {
        return Ok(());
    }
    for (index, message) in batch.iter().enumerate() {
        let bytes = message.topic().len()
            + message.key().map_or(0, <[u8]>::len)
            + message.headers().as_bytes().len()
            + message.payload().len();
        if bytes > limits.max_message_bytes as usize {
            let limit = limits.max_message_bytes;
            return Err(BatchError::MessageTooLarge { index, bytes, limit });
        }
    }
    Ok(())
}
