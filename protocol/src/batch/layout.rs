//! Where each part of a batch stands, computed from the header's five numbers.

use std::ops::Range;

/// The layout version that this library writes and reads.
pub const LAYOUT_VERSION: u16 = 1;

pub(super) const MAGIC: [u8; 4] = *b"WPBT";
pub(super) const HEADER_BYTES: usize = 36;
/// The checksum covers everything behind itself.
pub(super) const CHECKED_FROM: usize = 12;

/// The places of the end offsets and of the region of one column.
pub(super) struct ColumnSpan {
    pub(super) ends: Range<usize>,
    pub(super) region: Range<usize>,
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Layout {
    pub(super) count: usize,
    pub(super) topics_len: usize,
    pub(super) keys_len: usize,
    pub(super) headers_len: usize,
    pub(super) payloads_len: usize,
}

impl Layout {
    /// The length of the whole batch.
    pub(super) fn total(&self) -> u64 {
        let count = self.count as u64;
        // What comes from the u32 of one batch fits; many batches joined may not.
        let fixed = count.saturating_mul(24).saturating_add(count.div_ceil(8));
        let regions = [self.topics_len, self.keys_len, self.headers_len, self.payloads_len];
        let regions = regions.iter().fold(0_u64, |sum, &length| sum.saturating_add(length as u64));
        (HEADER_BYTES as u64 + 16).saturating_add(fixed).saturating_add(regions)
    }

    /// The layout of a batch with the messages of both.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            count: self.count.saturating_add(other.count),
            topics_len: self.topics_len.saturating_add(other.topics_len),
            keys_len: self.keys_len.saturating_add(other.keys_len),
            headers_len: self.headers_len.saturating_add(other.headers_len),
            payloads_len: self.payloads_len.saturating_add(other.payloads_len),
        }
    }

    pub(super) fn created(&self) -> Range<usize> {
        HEADER_BYTES..HEADER_BYTES + self.count * 8
    }

    pub(super) fn topics(&self) -> ColumnSpan {
        self.span(self.created().end, self.topics_len)
    }

    pub(super) fn key_bitmap(&self) -> Range<usize> {
        let start = self.topics().region.end;
        start..start + self.count.div_ceil(8)
    }

    pub(super) fn keys(&self) -> ColumnSpan {
        self.span(self.key_bitmap().end, self.keys_len)
    }

    pub(super) fn headers(&self) -> ColumnSpan {
        self.span(self.keys().region.end, self.headers_len)
    }

    pub(super) fn payloads(&self) -> ColumnSpan {
        self.span(self.headers().region.end, self.payloads_len)
    }

    fn span(&self, start: usize, region_len: usize) -> ColumnSpan {
        let region = start + (self.count + 1) * 4;
        ColumnSpan { ends: start..region, region: region..region + region_len }
    }
}
