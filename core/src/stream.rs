//! The names of a stream's parts.

use std::fmt;

use crate::StreamName;

/// A partition by its number in its stream, counted from zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct PartitionIndex(pub u32);

impl fmt::Display for PartitionIndex {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// One partition of one stream: where order is total and offsets are counted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition {
    /// Its stream.
    pub stream: StreamName,
    /// Its number there.
    pub index: PartitionIndex,
}

impl Partition {
    /// A partition of a stream.
    #[must_use]
    pub fn new(stream: StreamName, index: u32) -> Self {
        Self { stream, index: PartitionIndex(index) }
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.stream, self.index)
    }
}
