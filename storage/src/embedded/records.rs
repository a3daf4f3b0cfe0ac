//! The values of the state, as protobuf, so that fields can be added.

use bytes::Bytes;
use prost::Message;
use waypost_core::{
    Extent, FailedMessage, GroupPosition, OffsetRange, ProducerState, Ranges, Run, StageName,
    letter_limits,
};
use waypost_protocol::{Batch, Envelope, Epoch, Limits, Offset, Pattern, Sequence};

use super::keys;
use crate::{
    Bounds, GroupState, ParkedMessage, Revision,
    ledger::{Place, ProducerRecord, StreamRecord},
};

/// A stream.
#[derive(Clone, PartialEq, Message)]
pub(super) struct StreamValue {
    #[prost(uint32, tag = "1")]
    number: u32,
    #[prost(uint32, tag = "2")]
    partitions: u32,
}

/// What stands in a partition.
#[derive(Clone, PartialEq, Message)]
pub(super) struct PlaceValue {
    #[prost(uint64, tag = "1")]
    first: u64,
    #[prost(uint64, tag = "2")]
    next: u64,
    #[prost(uint64, tag = "3")]
    batches: u64,
    #[prost(uint64, tag = "4")]
    messages: u64,
    #[prost(uint64, tag = "5")]
    bytes: u64,
    #[prost(uint64, tag = "6")]
    last_ingest_ms: u64,
}

/// A producer that was opened.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ProducerValue {
    #[prost(uint64, tag = "1")]
    epoch: u64,
    #[prost(uint64, tag = "2")]
    seen_ms: u64,
}

/// What a partition remembers of a producer.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ClaimsValue {
    #[prost(uint64, tag = "1")]
    epoch: u64,
    /// First sequence, first offset and count of each run, one after the other.
    #[prost(uint64, repeated, tag = "2")]
    runs: Vec<u64>,
}

/// A message that waits to be tried again.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ParkedValue {
    #[prost(string, tag = "1")]
    stage: String,
    #[prost(uint32, tag = "2")]
    attempts: u32,
    #[prost(uint64, tag = "3")]
    due_ms: u64,
    #[prost(uint64, optional, tag = "4")]
    first_failure_ms: Option<u64>,
    #[prost(string, tag = "5")]
    error: String,
    #[prost(bytes = "bytes", tag = "6")]
    envelope: Bytes,
    #[prost(fixed32, tag = "7")]
    envelope_checksum: u32,
    #[prost(bytes = "bytes", tag = "8")]
    batch: Bytes,
    #[prost(bool, tag = "9")]
    is_letter: bool,
}

/// What is kept of a group in one partition.
#[derive(Clone, PartialEq, Message)]
pub(super) struct GroupValue {
    #[prost(uint64, tag = "1")]
    revision: u64,
    #[prost(string, tag = "2")]
    pattern: String,
    #[prost(uint64, tag = "3")]
    floor: u64,
    /// How far the first of each range is behind the floor, or behind the last of the one before, and how many
    /// follow it.
    #[prost(uint64, repeated, tag = "4")]
    done: Vec<u64>,
    #[prost(message, repeated, tag = "5")]
    failed: Vec<FailedValue>,
}

/// A message that failed in a group.
#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct FailedValue {
    /// How far it is behind the floor.
    #[prost(uint64, tag = "1")]
    behind: u64,
    #[prost(uint32, tag = "2")]
    failures: u32,
    #[prost(uint64, tag = "3")]
    due_ms: u64,
    #[prost(uint64, tag = "4")]
    first_failure_ms: u64,
    #[prost(fixed64, optional, tag = "5")]
    key: Option<u64>,
}

pub(super) fn encode_stream(record: StreamRecord) -> Vec<u8> {
    StreamValue { number: record.number, partitions: record.partitions.get() }.encode_to_vec()
}

pub(super) fn decode_stream(value: &[u8]) -> Option<StreamRecord> {
    let StreamValue { number, partitions } = StreamValue::decode(value).ok()?;
    Some(StreamRecord { number, partitions: partitions.try_into().ok()? })
}

pub(super) fn encode_place(place: &Place) -> Vec<u8> {
    let Place { bounds: Bounds { first, next, held }, last_ingest_ms } = *place;
    let Extent { batches, messages, bytes } = held;
    let (first, next) = (first.0, next.0);
    PlaceValue { first, next, batches, messages, bytes, last_ingest_ms }.encode_to_vec()
}

pub(super) fn decode_place(value: &[u8]) -> Option<Place> {
    let PlaceValue { first, next, batches, messages, bytes, last_ingest_ms } =
        PlaceValue::decode(value).ok()?;
    let held = Extent { batches, messages, bytes };
    let bounds = Bounds { first: Offset(first), next: Offset(next), held };
    (first <= next).then_some(Place { bounds, last_ingest_ms })
}

pub(super) fn encode_producer(record: ProducerRecord) -> Vec<u8> {
    ProducerValue { epoch: record.epoch.0, seen_ms: record.seen_ms }.encode_to_vec()
}

pub(super) fn decode_producer(value: &[u8]) -> Option<ProducerRecord> {
    let ProducerValue { epoch, seen_ms } = ProducerValue::decode(value).ok()?;
    Some(ProducerRecord { epoch: Epoch(epoch), seen_ms })
}

pub(super) fn encode_claims(state: &ProducerState) -> Vec<u8> {
    let numbers = |run: Run| [run.first_sequence.0, run.first_offset.0, run.messages];
    let runs = state.runs().flat_map(numbers).collect();
    ClaimsValue { epoch: state.epoch().0, runs }.encode_to_vec()
}

pub(super) fn decode_claims(value: &[u8]) -> Option<ProducerState> {
    let ClaimsValue { epoch, runs } = ClaimsValue::decode(value).ok()?;
    let (runs, rest) = runs.as_chunks::<3>();
    let runs = runs.iter().map(|&[first_sequence, first_offset, messages]| Run {
        first_sequence: Sequence(first_sequence),
        first_offset: Offset(first_offset),
        messages,
    });
    ProducerState::restore(Epoch(epoch), runs).filter(|_| rest.is_empty())
}

pub(super) fn encode_parked(parked: &ParkedMessage) -> Vec<u8> {
    let (envelope, envelope_checksum) = parked.envelope.encode();
    ParkedValue {
        stage: parked.stage.to_string(),
        attempts: parked.attempts,
        due_ms: parked.due_ms,
        first_failure_ms: parked.first_failure_ms,
        error: parked.error.clone(),
        envelope,
        envelope_checksum,
        batch: parked.batch.as_bytes().clone(),
        is_letter: parked.is_letter,
    }
    .encode_to_vec()
}

pub(super) fn decode_parked(key: &[u8], value: Bytes) -> Result<ParkedMessage, String> {
    let id = keys::parked_id(key).ok_or("its key is cut short")?;
    let value = ParkedValue::decode(value).map_err(|error| error.to_string())?;
    let envelope = Envelope::decode(&value.envelope, value.envelope_checksum);
    let batch = Batch::decode(value.batch, &letter_limits(Limits::default()));
    Ok(ParkedMessage {
        id,
        stage: StageName::parse(&value.stage).map_err(|error| error.to_string())?,
        attempts: value.attempts,
        due_ms: value.due_ms,
        first_failure_ms: value.first_failure_ms,
        error: value.error,
        envelope: envelope.map_err(|error| error.to_string())?,
        is_letter: value.is_letter,
        batch: batch.map_err(|error| error.to_string())?,
    })
}

pub(super) fn encode_group(revision: Revision, state: &GroupState) -> Vec<u8> {
    let GroupState { pattern, position: GroupPosition { floor, done, failed } } = state;
    let mut last = floor.0;
    let runs = done.iter().flat_map(|OffsetRange { first, last: end }| {
        let behind = first.0.saturating_sub(last);
        last = end.0;
        [behind, end.0.saturating_sub(first.0)]
    });
    let failed = failed.iter().map(|each| FailedValue {
        behind: each.offset.0.saturating_sub(floor.0),
        failures: each.failures,
        due_ms: each.due_ms,
        first_failure_ms: each.first_failure_ms,
        key: each.key,
    });
    GroupValue {
        revision: revision.0,
        pattern: pattern.to_string(),
        floor: floor.0,
        done: runs.collect(),
        failed: failed.collect(),
    }
    .encode_to_vec()
}

/// Checks that the position says what can be.
pub(super) fn decode_group(value: &[u8]) -> Option<(Revision, GroupState)> {
    let GroupValue { revision, pattern, floor, done, failed } = GroupValue::decode(value).ok()?;
    let (runs, rest) = done.as_chunks::<2>();
    let mut last = floor;
    let ranges = runs.iter().map(|&[behind, more]| {
        let first = last.checked_add(behind)?;
        last = first.checked_add(more)?;
        Some(OffsetRange { first: Offset(first), last: Offset(last) })
    });
    let ranges: Vec<OffsetRange> = ranges.collect::<Option<_>>()?;
    let failed = failed.into_iter().map(|each| {
        Some(FailedMessage {
            offset: Offset(floor.checked_add(each.behind)?),
            key: each.key,
            failures: each.failures,
            due_ms: each.due_ms,
            first_failure_ms: each.first_failure_ms,
        })
    });
    let position = GroupPosition {
        floor: Offset(floor),
        done: Ranges::restore(ranges)?,
        failed: failed.collect::<Option<_>>()?,
    };
    let state = GroupState { pattern: Pattern::parse(&pattern).ok()?, position };
    (rest.is_empty() && state.position.is_sound()).then_some((Revision(revision), state))
}
