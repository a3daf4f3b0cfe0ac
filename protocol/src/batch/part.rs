//! Neighbouring messages of a batch as a batch of their own, and how many of them fit.

use std::ops::Range;

use super::{
    Batch,
    assemble::{Run, assemble},
};

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
        assemble(&[Run { batch: self, range }], None)
    }

    /// The bytes of the batch that these messages make.
    fn part_len(&self, range: Range<usize>) -> u64 {
        Run { batch: self, range }.layout().total()
    }
}
