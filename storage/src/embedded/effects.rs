//! What an effect of the ledger writes.

use bytes::Bytes;
use waypost_core::Partition;

use super::{
    keys::{self, PartitionKey},
    records,
    store::{Changes, Space, encode_index},
    value,
};
use crate::ledger::Effect;

/// Adds what an effect writes, and gives its size.
pub(super) fn encode(
    effect: &Effect,
    key_of: impl Fn(&Partition) -> Option<PartitionKey>,
    changes: &mut Changes,
) -> usize {
    let mut bytes = 0;
    let mut put = |space, key: Vec<u8>, value: Option<Bytes>| {
        bytes += key.len() + value.as_ref().map_or(0, Bytes::len);
        changes.insert((space, key), value);
    };
    let key = match effect {
        Effect::Stream(name, record) => {
            let value = records::encode_stream(*record);
            put(Space::State, keys::stream(name.as_str()), Some(value.into()));
            return bytes;
        }
        Effect::Producer(producer, record) => {
            let value = record.map(|record| records::encode_producer(record).into());
            put(Space::State, keys::producer(*producer), value);
            return bytes;
        }
        Effect::Batch(partition, _)
        | Effect::Place(partition, _)
        | Effect::Claims(partition, ..)
        | Effect::Progress(_, partition, _)
        | Effect::Park(_, partition, _)
        | Effect::Unpark(_, partition, _)
        | Effect::Group(_, partition, _)
        | Effect::Trim(partition, _) => key_of(partition),
    };
    // The ledger gives effects of partitions of declared streams only.
    let Some(key) = key else { return bytes };
    match effect {
        Effect::Stream(..) | Effect::Producer(..) => {}
        Effect::Batch(_, stored) => {
            let place = key.batch(stored.base).to_vec();
            put(Space::Index, place.clone(), Some(encode_index(&stored.aged())));
            put(Space::Log, place, Some(value::encode(stored)));
        }
        Effect::Place(_, place) => {
            put(Space::State, key.place(), Some(records::encode_place(place).into()));
        }
        Effect::Claims(_, producer, state) => {
            let value = state.as_ref().map(|state| records::encode_claims(state).into());
            put(Space::State, key.claims(*producer), value);
        }
        Effect::Progress(route, _, offset) => {
            let value = offset.map(|offset| Bytes::copy_from_slice(&offset.0.to_be_bytes()));
            put(Space::State, key.progress(route), value);
        }
        Effect::Park(route, _, parked) => {
            let value = records::encode_parked(parked).into();
            put(Space::State, key.parked(route, parked.id), Some(value));
        }
        Effect::Unpark(route, _, id) => put(Space::State, key.parked(route, *id), None),
        Effect::Group(group, _, kept) => {
            let encode = |kept: &(_, _)| records::encode_group(kept.0, &kept.1).into();
            put(Space::State, key.group(group), kept.as_deref().map(encode));
        }
        Effect::Trim(_, base) => {
            put(Space::Index, key.batch(*base).to_vec(), None);
            put(Space::Log, key.batch(*base).to_vec(), None);
        }
    }
    bytes
}
