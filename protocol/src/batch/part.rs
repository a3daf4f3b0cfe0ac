//! Neighbouring messages of a batch as a batch of their own, and how many of them fit.

use std::ops::Range;

use super::{Batch, Column, builder::Columns, layout::Layout};

impl Batch {
    /// How many messages from `from` on make a batch of at most so many messages and bytes; zero when
    /// not even the first does.
    #[must_use]
    pub fn fitting(&self, from: usize, messages: usize, bytes: usize) -> usize {
        let bytes = bytes as u64;
        let (mut low, mut high) = (0, messages.min(self.len().saturating_sub(from)));
        while low < high {
            let middle = (low + high).div_ceil(2);
            if self.part_len(from..from + middle) <= bytes {
                low = middle;
            } else {
                high = middle - 1;
            }
        }
        low
    }

    /// These messages as a batch; the same buffer when they are all. `None` when there are none, or
    /// the range ends past the last.
    #[must_use]
    pub fn part(&self, range: Range<usize>) -> Option<Self> {
        if range == (0..self.len()) {
            return Some(self.clone());
        }
        if range.end > self.len() || range.is_empty() {
            return None;
        }
        let mut columns = Columns::default();
        columns.push_run(self, range);
        columns.assemble()
    }

    /// The bytes of the batch that these messages make.
    fn part_len(&self, range: Range<usize>) -> u64 {
        let region = |column: Column<'_>| {
            let end = |index| column.end(index).unwrap_or_default();
            end(range.end).saturating_sub(end(range.start)) as usize
        };
        Layout {
            count: range.len(),
            topics_len: region(self.topics()),
            keys_len: region(self.keys().column()),
            headers_len: region(self.headers()),
            payloads_len: region(self.payloads()),
        }
        .total()
    }
}
