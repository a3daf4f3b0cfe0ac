//! The newest batches of all partitions in memory, so that readers who keep up never touch the disk.

use std::collections::{HashMap, VecDeque};

use waypost_core::Partition;
use waypost_protocol::Offset;

use crate::{Chunk, ReadLimit, Stored, memory::ChunkBuilder};

/// Batches by partition, up to a number of bytes; the oldest of all go first.
#[derive(Debug)]
pub(super) struct TailCache {
    max_bytes: usize,
    bytes: usize,
    partitions: HashMap<Partition, VecDeque<Stored>>,
    /// The partition of each batch, in the order in which they came.
    order: VecDeque<Partition>,
}

impl TailCache {
    pub(super) fn new(max_bytes: usize) -> Self {
        Self { max_bytes, bytes: 0, partitions: HashMap::new(), order: VecDeque::new() }
    }

    /// Adds the batch that follows the last one of its partition.
    pub(super) fn push(&mut self, partition: Partition, stored: Stored) {
        self.bytes = self.bytes.saturating_add(stored.batch.byte_len());
        self.order.push_back(partition.clone());
        self.partitions.entry(partition).or_default().push_back(stored);
        while self.bytes > self.max_bytes {
            let Some(oldest) = self.order.pop_front() else { break };
            let batches = self.partitions.get_mut(&oldest);
            let Some(gone) = batches.and_then(VecDeque::pop_front) else { break };
            self.bytes = self.bytes.saturating_sub(gone.batch.byte_len());
        }
    }

    /// The batches from the one that holds `from` up to `until`; `None` if that is not here. Batches come here before
    /// the partition's bounds say that they stand, and a reader that ran ahead of those would be turned away next.
    pub(super) fn read(
        &self,
        partition: &Partition,
        from: Offset,
        until: Offset,
        limit: ReadLimit,
    ) -> Option<Chunk> {
        let batches = self.partitions.get(partition)?;
        let start = batches.partition_point(|stored| stored.end() <= from);
        batches.get(start).filter(|stored| stored.base <= from)?;
        let mut chunk = ChunkBuilder::new(from, limit);
        for stored in batches.range(start..).take_while(|stored| stored.base < until) {
            if !chunk.push(stored.clone()) {
                break;
            }
        }
        Some(chunk.finish())
    }
}

#[cfg(test)]
mod tests {
    use waypost_protocol::Envelope;

    use super::*;
    use crate::testing::{batch, partition};

    fn stored(base: u64, messages: usize) -> Stored {
        let envelope = Envelope { base_offset: Some(Offset(base)), ..Envelope::default() };
        Stored { base: Offset(base), envelope, batch: batch(messages, "x") }
    }

    /// The base offsets that a read gives.
    fn bases(cache: &TailCache, index: u32, from: u64, max_batches: usize) -> Option<Vec<u64>> {
        let limit = ReadLimit { max_batches, ..ReadLimit::default() };
        let chunk = cache.read(&partition(index), Offset(from), Offset(u64::MAX), limit)?;
        Some(chunk.batches.iter().map(|stored| stored.base.0).collect())
    }

    #[test]
    fn nothing_is_read_beyond_what_is_said_to_stand() {
        let mut cache = TailCache::new(1 << 20);
        for base in [0, 2, 4] {
            cache.push(partition(0), stored(base, 2));
        }
        let read = |from, until| {
            let limit = ReadLimit::default();
            cache.read(&partition(0), Offset(from), Offset(until), limit).map(|chunk| chunk.next)
        };
        assert_eq!(read(0, 4), Some(Offset(4)));
        assert_eq!(read(3, 4), Some(Offset(4)));
        assert_eq!(read(0, 6), Some(Offset(6)));
    }

    #[test]
    fn a_read_begins_with_the_batch_that_holds_its_offset() {
        let mut cache = TailCache::new(1 << 20);
        for base in [10, 15, 20] {
            cache.push(partition(0), stored(base, 5));
        }
        assert_eq!(bases(&cache, 0, 10, 9), Some(vec![10, 15, 20]));
        assert_eq!(bases(&cache, 0, 17, 9), Some(vec![15, 20]));
        assert_eq!(bases(&cache, 0, 17, 1), Some(vec![15]));
        assert_eq!(bases(&cache, 0, 9, 9), None, "what comes before is on disk");
        assert_eq!(bases(&cache, 0, 25, 9), None, "what comes after is not there yet");
        assert_eq!(bases(&cache, 1, 10, 9), None);
    }

    #[test]
    fn the_oldest_of_all_partitions_goes_first() {
        let size = stored(0, 5).batch.byte_len();
        let mut cache = TailCache::new(size * 2);
        cache.push(partition(0), stored(0, 5));
        cache.push(partition(1), stored(0, 5));
        cache.push(partition(1), stored(5, 5));
        assert_eq!(bases(&cache, 0, 0, 9), None);
        assert_eq!(bases(&cache, 1, 0, 9), Some(vec![0, 5]));
        cache.push(partition(0), stored(5, 5));
        assert_eq!(bases(&cache, 1, 0, 9), None);
        assert_eq!(bases(&cache, 1, 5, 9), Some(vec![5]));
        assert_eq!(cache.bytes, size * 2);
    }
}
