//! Arbitrary bytes as a batch, as they are and with a header that fits them.
//!
//! What must hold: no panic; every accessor agrees with every other; gathering, cutting, moving to
//! another topic, appending to a builder and building anew give batches that decode to the same
//! messages.
#![no_main]
#![forbid(unsafe_code)]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use waypost_protocol::{Batch, BatchBuilder, Headers, Limits, MessageView, Topic, check_topic};

/// The bytes of the header, of which the first twelve stand outside the checksum.
const HEADER_BYTES: usize = 36;

/// Limits that some of the inputs break.
const SMALL: Limits =
    Limits { max_frame_bytes: 1024, max_batch_messages: 8, max_message_bytes: 256, max_headers: 4 };

fuzz_target!(|bytes: &[u8]| {
    check(Bytes::copy_from_slice(bytes));
    if let Some(mended) = mended(bytes) {
        check(mended);
    }
});

/// The bytes with the length, the length of the payloads and the checksum that make the header fit,
/// so that what stands behind it is reached.
fn mended(bytes: &[u8]) -> Option<Bytes> {
    let mut bytes = bytes.to_vec();
    let length = u32::try_from(bytes.len()).ok()?;
    let word = |at: usize| bytes.get(at..)?.first_chunk().map(|word| u32::from_le_bytes(*word));
    let count = u64::from(word(16)?);
    let fixed = HEADER_BYTES as u64 + count * 8 + count.div_ceil(8) + 16 * (count + 1);
    let regions = u64::from(word(20)?) + u64::from(word(24)?) + u64::from(word(28)?);
    let payloads = u64::from(length).checked_sub(fixed + regions);
    if let Some(payloads) = payloads.and_then(|payloads| u32::try_from(payloads).ok()) {
        bytes.get_mut(32..36)?.copy_from_slice(&payloads.to_le_bytes());
    }
    bytes.get_mut(12..16)?.copy_from_slice(&length.to_le_bytes());
    let checksum = crc32c::crc32c(bytes.get(12..)?);
    bytes.get_mut(8..12)?.copy_from_slice(&checksum.to_le_bytes());
    Some(bytes.into())
}

fn check(bytes: Bytes) {
    let small = Batch::decode(bytes.clone(), &SMALL);
    let Ok(batch) = Batch::decode(bytes.clone(), &Limits::default()) else {
        assert!(small.is_err(), "larger limits refuse nothing that smaller ones allow");
        return;
    };
    assert_eq!(batch.as_bytes(), &bytes);
    assert_eq!(batch.byte_len(), bytes.len());
    check_columns(&batch);
    check_messages(&batch);
    check_gather(&batch);
    check_parts(&batch);
    check_topic_change(&batch);
    check_builders(&batch);
}

fn check_columns(batch: &Batch) {
    let count = batch.len();
    assert!(count > 0);
    assert_eq!(batch.created().bytes().len(), count * 8);
    assert_eq!(batch.created().iter().count(), count);
    assert_eq!(batch.keys().present().len(), count.div_ceil(8));
    let columns = [batch.topics(), batch.keys().column(), batch.headers(), batch.payloads()];
    for column in columns {
        let mut ends = vec![7];
        column.ends_to_vec(&mut ends);
        assert_eq!(ends.len(), count + 1);
        assert_eq!(column.ends_bytes().len(), ends.len() * 4);
        assert_eq!(column.end(count), ends.last().copied());
        let values: Vec<&[u8]> = (0..count).filter_map(|index| column.get(index)).collect();
        assert_eq!(values.len(), count);
        assert_eq!(values.concat(), column.bytes());
    }
    for index in [count, usize::MAX / 8, usize::MAX / 4, usize::MAX / 2, usize::MAX] {
        assert!(batch.get(index).is_none());
        assert!(batch.created().get(index).is_none());
        assert!(batch.keys().get(index).is_none());
        assert!(columns.iter().all(|column| column.get(index).is_none()));
    }
}

fn check_messages(batch: &Batch) {
    assert_eq!(batch.iter().count(), batch.len());
    for (index, message) in batch.iter().enumerate() {
        assert_eq!(check_topic(message.topic().as_bytes()), Ok(message.topic()));
        assert_eq!(batch.keys().is_present(index), message.key().is_some());
        assert_eq!(batch.created().get(index), Some(message.created_ms()));
        let headers: Vec<_> = message.headers().iter().collect();
        let (_, counted) = Headers::check(message.headers().as_bytes()).expect("it was checked");
        assert_eq!(headers.len(), counted);
        for (name, _) in &headers {
            let first = headers.iter().find(|(each, _)| each == name).map(|(_, value)| *value);
            assert_eq!(message.headers().get(name), first);
        }
    }
    let first = batch.iter().next().map(|message| message.topic());
    let single = batch.iter().all(|message| Some(message.topic()) == first);
    assert_eq!(batch.single_topic(), first.filter(|_| single));
}

/// What a message is, to compare by.
type Parts<'a> = (&'a str, Option<&'a [u8]>, &'a [u8], &'a [u8], u64);

fn parts<'a>(message: MessageView<'a>) -> Parts<'a> {
    let headers = message.headers().as_bytes();
    (message.topic(), message.key(), headers, message.payload(), message.created_ms())
}

/// Holds a batch that was made here against the messages that it must have.
fn check_made<'a>(made: &'a Batch, expected: impl Iterator<Item = Parts<'a>>) {
    assert!(made.iter().map(parts).eq(expected));
    let limits =
        Limits { max_batch_messages: u32::MAX, max_frame_bytes: u32::MAX, ..Limits::default() };
    let decoded = Batch::decode(made.as_bytes().clone(), &limits).expect("what we make is sound");
    assert_eq!(decoded.single_topic(), made.single_topic());
}

fn check_gather(batch: &Batch) {
    let count = u32::try_from(batch.len()).expect("it was limited");
    let pick = crc32c::crc32c(batch.as_bytes());
    let some: Vec<u32> = (0..count).filter(|index| pick >> (index % 32) & 1 == 1).collect();
    let all: Vec<u32> = (0..count).collect();
    let back: Vec<u32> = (0..count).rev().collect();
    let twice: Vec<u32> = all.iter().chain(&all).copied().collect();
    for indices in [some, all, back, twice] {
        let Some(made) = batch.gather(&indices) else {
            assert!(indices.is_empty());
            continue;
        };
        let at = |index: &u32| batch.get(*index as usize).map(parts);
        check_made(&made, indices.iter().filter_map(at));
    }
    assert!(batch.gather(&[0, count]).is_none());
    assert!(batch.gather(&[u32::MAX]).is_none());
}

/// A part that fits is as large as allowed, and one message more would not fit.
fn check_parts(batch: &Batch) {
    let (count, pick) = (batch.len(), crc32c::crc32c(batch.as_bytes()) as usize);
    let (from, messages, bytes) = (pick % count, pick / 7 % count + 1, batch.byte_len() * 2 / 3);
    let fitting = batch.fitting(from, messages, bytes);
    let part = |length| batch.part(from..from + length);
    match part(fitting) {
        Some(made) => {
            assert!(fitting <= messages && made.byte_len() <= bytes);
            check_made(&made, batch.iter().skip(from).take(fitting).map(parts));
        }
        None => assert_eq!(fitting, 0),
    }
    if fitting < messages
        && let Some(longer) = part(fitting + 1)
    {
        assert!(longer.byte_len() > bytes);
    }
    assert_eq!(batch.fitting(count, messages, bytes), 0);
    assert_eq!(batch.fitting(usize::MAX, usize::MAX, usize::MAX), 0);
    assert!(batch.part(0..count + 1).is_none() && batch.part(count..usize::MAX).is_none());
}

fn check_topic_change(batch: &Batch) {
    let first = batch.get(0).expect("there is a message").topic();
    for topic in [first, "elsewhere", "$dead.quakes"] {
        let topic = Topic::parse(topic).expect("a topic");
        let made = batch.with_topic(&topic).expect("it is small");
        let expected = batch.iter().map(parts).map(|mut parts| {
            parts.0 = topic.as_str();
            parts
        });
        check_made(&made, expected);
        assert_eq!(made.single_topic(), Some(topic.as_str()));
    }
}

fn check_builders(batch: &Batch) {
    let twice = Batch::join([batch, batch]).expect("it is small");
    check_made(&twice, batch.iter().chain(batch.iter()).map(parts));

    let mut builder = BatchBuilder::new();
    batch.iter().for_each(|message| builder.push_view(message).expect("it is small"));
    assert_eq!(builder.finish().as_ref(), Some(batch), "a batch has one encoding");

    for (topic, key, headers, payload, created_ms) in batch.iter().map(parts) {
        builder.push(topic, key, headers, payload, created_ms).expect("it is small");
    }
    assert_eq!(builder.byte_len(), batch.byte_len());
    assert_eq!(builder.finish().as_ref(), Some(batch), "a batch has one encoding");
    assert!(builder.is_empty());
}
