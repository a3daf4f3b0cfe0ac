//! Looks again at what partitions hold, where loss was accepted.
//!
//! What a partition holds is counted as it is written and trimmed, and those counts outlive batches that were lost. They
//! are taken anew from the index, so that retention goes by what is there. Offsets are not given to other messages: a
//! partition of which the end is lost goes on where it would have, and keeps what stands before as a hole.

use bytes::Bytes;
use waypost_core::Extent;
use waypost_protocol::Offset;

use super::{
    keys::PartitionKey,
    records,
    store::{Changes, Space, Store},
};
use crate::{Bounds, ledger::Ledger};

/// Brings the ledger and what is stored of it in line with the batches that are there.
pub(super) fn look_again(store: &Store, ledger: &mut Ledger) -> Result<(), String> {
    let mut changes = Changes::new();
    for (partition, place) in &mut ledger.places {
        let stream = ledger.streams.get(&partition.stream).map_or(0, |record| record.number);
        let key = PartitionKey { stream, partition: partition.index.0 };
        let (mut first, mut end, mut held) = (None, place.bounds.first, Extent::default());
        for entry in store.index(key, place.bounds.first, Offset(u64::MAX)) {
            let (base, aged) = entry?;
            first.get_or_insert(base);
            end = Offset(base.0.saturating_add(aged.messages));
            held.add(Extent::of(&aged));
        }
        let next = place.bounds.next.max(end);
        let found = Bounds { first: first.unwrap_or(next), next, held };
        if found != place.bounds {
            place.bounds = found;
            changes.insert((Space::State, key.place()), Some(records::encode_place(place).into()));
        }
        if first.is_some() && end < next {
            let value = Bytes::copy_from_slice(&next.0.to_be_bytes());
            changes.insert((Space::State, key.hole()), Some(value));
        }
    }
    if changes.is_empty() {
        return Ok(());
    }
    store.commit(changes, true).map_err(|error| error.to_string())
}
