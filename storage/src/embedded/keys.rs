//! The keys: numbers are big-endian, so that a partition's batches stand in order.
//!
//! | keyspace | key | value |
//! | --- | --- | --- |
//! | `log` | stream u32, partition u32, base offset u64 | a batch under its envelope, see [`value`](super::value) |
//! | `index` | the same | messages u32, bytes u32, ingest time u64 |
//! | `commits` | number of the commit modulo [`CHAIN`], u32 | the number, u64 |
//! | `state` | `n` | number of the last commit, u64 |
//! | `state` | `a` | number up to which lost commits were accepted, u64 |
//! | `state` | `s`, name | [`StreamValue`](super::records::StreamValue) |
//! | `state` | `p`, stream u32, partition u32 | [`PlaceValue`](super::records::PlaceValue) |
//! | `state` | `h`, stream u32, partition u32 | offset u64 before which the loss of the end was accepted |
//! | `state` | `i`, producer u64 | [`ProducerValue`](super::records::ProducerValue) |
//! | `state` | `c`, stream u32, partition u32, producer u64 | [`ClaimsValue`](super::records::ClaimsValue) |
//! | `state` | `r`, stream u32, partition u32, route | next offset u64 |
//! | `state` | `g`, length of group u8, group, stream u32, partition u32 | [`GroupValue`](super::records::GroupValue) |
//! | `state` | `q`, stream u32, partition u32, length of route u8, route, offset u64, stage u16, index u32 | [`ParkedValue`](super::records::ParkedValue) |

use waypost_core::{GroupName, RouteName};
use waypost_protocol::{Offset, ProducerId};

use crate::{CommitNumber, MessageId};

/// How many of the last commits leave a key of their own. Their absence is what shows that the journal lost
/// something in its middle.
pub(super) const CHAIN: u32 = 65_536;

pub(super) const LAST_COMMIT: &[u8] = b"n";
pub(super) const ACCEPTED: &[u8] = b"a";
pub(super) const STREAM: u8 = b's';
pub(super) const PLACE: u8 = b'p';
pub(super) const HOLE: u8 = b'h';
pub(super) const PRODUCER: u8 = b'i';
pub(super) const CLAIMS: u8 = b'c';
pub(super) const PROGRESS: u8 = b'r';
pub(super) const PARKED: u8 = b'q';
pub(super) const GROUP: u8 = b'g';

/// A partition by the number of its stream and its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct PartitionKey {
    pub(super) stream: u32,
    pub(super) partition: u32,
}

impl PartitionKey {
    fn bytes(self) -> [u8; 8] {
        let (stream, partition) = (u64::from(self.stream), u64::from(self.partition));
        (stream << 32 | partition).to_be_bytes()
    }

    /// The key of a batch, in `log` and `index`.
    pub(super) fn batch(self, base: Offset) -> [u8; 16] {
        let partition = u128::from(u64::from_be_bytes(self.bytes()));
        (partition << 64 | u128::from(base.0)).to_be_bytes()
    }

    pub(super) fn place(self) -> Vec<u8> {
        self.tagged(PLACE, &[])
    }

    pub(super) fn hole(self) -> Vec<u8> {
        self.tagged(HOLE, &[])
    }

    pub(super) fn claims(self, producer: ProducerId) -> Vec<u8> {
        self.tagged(CLAIMS, &producer.0.to_be_bytes())
    }

    pub(super) fn progress(self, route: &RouteName) -> Vec<u8> {
        self.tagged(PROGRESS, route.as_str().as_bytes())
    }

    /// What the keys of a route's parked messages begin with.
    pub(super) fn parked_by(self, route: &RouteName) -> Vec<u8> {
        // A name has at most 64 bytes.
        let length = u8::try_from(route.as_str().len()).unwrap_or(u8::MAX);
        let mut key = self.tagged(PARKED, &[length]);
        key.extend_from_slice(route.as_str().as_bytes());
        key
    }

    pub(super) fn parked(self, route: &RouteName, id: MessageId) -> Vec<u8> {
        let mut key = self.parked_by(route);
        key.extend_from_slice(&id.offset.0.to_be_bytes());
        key.extend_from_slice(&id.stage.to_be_bytes());
        key.extend_from_slice(&id.index.to_be_bytes());
        key
    }

    /// The key of what is kept of a group.
    pub(super) fn group(self, group: &GroupName) -> Vec<u8> {
        let mut key = group_prefix(group);
        key.extend_from_slice(&self.bytes());
        key
    }

    fn tagged(self, tag: u8, rest: &[u8]) -> Vec<u8> {
        let mut key = vec![tag];
        key.extend_from_slice(&self.bytes());
        key.extend_from_slice(rest);
        key
    }

    /// The partition that a key of `state` names behind its tag, and what follows.
    pub(super) fn split(key: &[u8]) -> Option<(Self, &[u8])> {
        let (stream, rest) = key.get(1..)?.split_first_chunk::<4>()?;
        let (partition, rest) = rest.split_first_chunk::<4>()?;
        let stream = u32::from_be_bytes(*stream);
        Some((Self { stream, partition: u32::from_be_bytes(*partition) }, rest))
    }
}

/// The base offset in a key of `log` or `index`.
pub(super) fn base_of(key: &[u8]) -> Option<Offset> {
    key.last_chunk::<8>().map(|offset| Offset(u64::from_be_bytes(*offset)))
}

/// The identity at the end of a parked message's key.
pub(super) fn parked_id(key: &[u8]) -> Option<MessageId> {
    let (rest, index) = key.split_last_chunk::<4>()?;
    let (rest, stage) = rest.split_last_chunk::<2>()?;
    let offset = base_of(rest)?;
    let (stage, index) = (u16::from_be_bytes(*stage), u32::from_be_bytes(*index));
    Some(MessageId { offset, stage, index })
}

pub(super) fn stream(name: &str) -> Vec<u8> {
    [&[STREAM], name.as_bytes()].concat()
}

pub(super) fn producer(producer: ProducerId) -> Vec<u8> {
    [&[PRODUCER][..], &producer.0.to_be_bytes()].concat()
}

/// What the keys of a group begin with.
pub(super) fn group_prefix(group: &GroupName) -> Vec<u8> {
    // A name has at most 64 bytes.
    let length = u8::try_from(group.as_str().len()).unwrap_or(u8::MAX);
    [&[GROUP, length], group.as_str().as_bytes()].concat()
}

/// The group and the partition in a key of what is kept of a group.
pub(super) fn group_of(key: &[u8]) -> Option<(GroupName, PartitionKey)> {
    let (length, rest) = key.get(1..)?.split_first()?;
    let (name, rest) = rest.split_at_checked(usize::from(*length))?;
    let group = GroupName::parse_stored(std::str::from_utf8(name).ok()?).ok()?;
    let (stream, partition) = rest.split_first_chunk::<4>()?;
    let (stream, partition) = (u32::from_be_bytes(*stream), partition.try_into().ok()?);
    Some((group, PartitionKey { stream, partition: u32::from_be_bytes(partition) }))
}

/// The slot of a commit in `commits`.
pub(super) fn chain_slot(number: CommitNumber) -> [u8; 4] {
    let slot = number.0 % u64::from(CHAIN);
    u32::try_from(slot).unwrap_or_default().to_be_bytes()
}

/// A number that stands alone.
pub(super) fn number_of(value: &[u8]) -> Option<u64> {
    value.try_into().ok().map(u64::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: PartitionKey = PartitionKey { stream: 7, partition: 0x0102_0304 };

    #[test]
    fn the_batches_of_a_partition_stand_in_order_and_apart_from_others() {
        let next = PartitionKey { partition: HERE.partition + 1, ..HERE };
        let keys = [
            HERE.batch(Offset(0)),
            HERE.batch(Offset(255)),
            HERE.batch(Offset(256)),
            HERE.batch(Offset(u64::MAX)),
            next.batch(Offset(0)),
        ];
        assert!(keys.is_sorted());
        assert_eq!(HERE.batch(Offset(9)), *b"\0\0\0\x07\x01\x02\x03\x04\0\0\0\0\0\0\0\x09");
        assert_eq!(base_of(&HERE.batch(Offset(9))), Some(Offset(9)));
    }

    #[test]
    fn keys_of_the_state_name_their_partition_and_the_rest() {
        let route = RouteName::parse("quakes").expect("a valid name");
        let key = HERE.progress(&route);
        assert_eq!(PartitionKey::split(&key), Some((HERE, b"quakes".as_slice())));
        assert_eq!(PartitionKey::split(b"p123"), None);
    }

    #[test]
    fn a_group_has_keys_that_name_it_and_its_partition() {
        let [short, long] =
            ["mail", "mailers"].map(|name| GroupName::parse(name).expect("a valid name"));
        let key = HERE.group(&long);
        assert!(key.starts_with(&group_prefix(&long)) && !key.starts_with(&group_prefix(&short)));
        assert_eq!(group_of(&key), Some((long, HERE)));
        let own = GroupName::of_letters();
        assert_eq!(group_of(&HERE.group(&own)), Some((own, HERE)));
        for cut in [&key[..key.len() - 1], b"g", b"g\x09mail"] {
            assert_eq!(group_of(cut), None);
        }
    }

    #[test]
    fn a_route_whose_name_begins_another_has_parked_messages_of_its_own() {
        let [short, long] =
            ["quake", "quakes"].map(|name| RouteName::parse(name).expect("a valid name"));
        let id = MessageId { offset: Offset(5), stage: 2, index: 3 };
        let key = HERE.parked(&long, id);
        assert!(
            key.starts_with(&HERE.parked_by(&long)) && !key.starts_with(&HERE.parked_by(&short))
        );
        assert_eq!(parked_id(&key), Some(id));
    }
}
