//! What the writer tells readers: bounds, heads and the newest batches, each after its sync.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError, RwLock},
};

use tokio::sync::watch;
use waypost_core::Partition;
use waypost_protocol::Offset;

use super::{keys::PartitionKey, tail::TailCache};
use crate::{Bounds, Fence, Head, ReadError, ledger::Effect};

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) fence: Fence,
    partitions: RwLock<HashMap<Partition, Shown>>,
    tail: Mutex<TailCache>,
}

#[derive(Debug)]
struct Shown {
    key: PartitionKey,
    bounds: Bounds,
    head: watch::Sender<Offset>,
}

impl Shared {
    pub(super) fn new(tail_bytes: usize) -> Self {
        Self {
            fence: Fence::default(),
            partitions: RwLock::default(),
            tail: Mutex::new(TailCache::new(tail_bytes)),
        }
    }

    /// Shows what was committed. The batches come first: who hears of a new head finds them in memory.
    pub(super) fn publish(
        &self,
        effects: Vec<Effect>,
        key: impl Fn(&Partition) -> Option<PartitionKey>,
    ) {
        let mut places = Vec::new();
        let mut tail = self.tail();
        for effect in effects {
            match effect {
                Effect::Batch(partition, stored) => tail.push(partition, stored),
                Effect::Place(partition, place) => places.push((partition, place.bounds)),
                _ => {}
            }
        }
        drop(tail);
        for (partition, bounds) in places {
            self.show(partition, bounds, &key);
        }
    }

    pub(super) fn show(
        &self,
        partition: Partition,
        bounds: Bounds,
        key: impl Fn(&Partition) -> Option<PartitionKey>,
    ) {
        let mut partitions = self.partitions.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(shown) = partitions.get_mut(&partition) {
            shown.bounds = bounds;
            shown.head.send_if_modified(|head| std::mem::replace(head, bounds.next) != bounds.next);
        } else if let Some(key) = key(&partition) {
            let head = watch::Sender::new(bounds.next);
            partitions.insert(partition, Shown { key, bounds, head });
        }
    }

    pub(super) fn place(&self, partition: &Partition) -> Result<(PartitionKey, Bounds), ReadError> {
        self.shown(partition, |shown| (shown.key, shown.bounds))
    }

    /// The partitions that keys stand for.
    pub(super) fn by_key(&self) -> HashMap<PartitionKey, Partition> {
        let partitions = self.partitions.read().unwrap_or_else(PoisonError::into_inner);
        partitions.iter().map(|(partition, shown)| (shown.key, partition.clone())).collect()
    }

    pub(super) fn head(&self, partition: &Partition) -> Result<Head, ReadError> {
        self.shown(partition, |shown| Head::new(shown.head.subscribe()))
    }

    pub(super) fn tail(&self) -> MutexGuard<'_, TailCache> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shown<T>(
        &self,
        partition: &Partition,
        look: impl FnOnce(&Shown) -> T,
    ) -> Result<T, ReadError> {
        let partitions = self.partitions.read().unwrap_or_else(PoisonError::into_inner);
        let shown = partitions.get(partition).map(look);
        shown.ok_or_else(|| ReadError::UnknownPartition(partition.clone()))
    }

    /// Lets those who wait on a head know that nothing comes any more.
    pub(super) fn close(&self) {
        self.partitions.write().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
