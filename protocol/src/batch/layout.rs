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

#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    pub(super) count: usize,
    pub(super) topics_len: usize,
    pub(super) keys_len: usize,
    pub(super) headers_len: usize,
    pub(super) payloads_len: usize,
}

impl Layout {
    /// The length of the whole batch. The parts come from u32, so their sum fits 64 bits.
    pub(super) fn total(&self) -> u64 {
        let count = self.count as u64;
        let ends = (count + 1) * 4;
        let regions = [self.topics_len, self.keys_len, self.headers_len, self.payloads_len];
        HEADER_BYTES as u64
            + count * 8
            + count.div_ceil(8)
            + 4 * ends
            + regions.iter().map(|&length| length as u64).sum::<u64>()
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
