//! Round trips, a naive model for gather, and bytes that are no batch.

use bytes::Bytes;
use proptest::{collection::vec, option, prelude::*};

use super::*;
use crate::{ErrorCode, Topic};

type Parts = (String, Option<Vec<u8>>, Vec<(String, Vec<u8>)>, Vec<u8>, u64);

fn parts() -> impl Strategy<Value = Parts> {
    let bytes = || vec(any::<u8>(), 0..40);
    let topic = prop_oneof![Just("orders.eu".to_owned()), "[a-z]{1,8}(\\.[A-Z0-9_-]{1,4}){0,3}"];
    (topic, option::of(bytes()), vec(("[!-~]{1,9}", bytes()), 0..4), bytes(), any::<u64>())
}

fn build(messages: &[Parts]) -> Batch {
    let mut builder = BatchBuilder::new();
    for (topic, key, headers, payload, created_ms) in messages {
        let mut encoded = HeadersBuilder::new();
        for (name, value) in headers {
            encoded.push(name, value).expect("names are visible ASCII");
        }
        builder
            .push(topic, key.as_deref(), encoded.as_bytes(), payload, *created_ms)
            .expect("the message is within the limits");
    }
    let expected = builder.byte_len();
    let batch = builder.finish().expect("there is a message");
    assert_eq!(batch.byte_len(), expected);
    batch
}

fn read(batch: &Batch) -> Vec<Parts> {
    let owned = |message: MessageView<'_>| {
        let headers = message.headers().iter();
        (
            message.topic().to_owned(),
            message.key().map(<[u8]>::to_vec),
            headers.map(|(name, value)| (name.to_owned(), value.to_vec())).collect(),
            message.payload().to_vec(),
            message.created_ms(),
        )
    };
    batch.iter().map(owned).collect()
}

fn sample() -> Batch {
    let header = vec![("trace".to_owned(), b"1".to_vec())];
    build(&[
        ("orders.eu".into(), Some(b"k".to_vec()), header, b"first".to_vec(), 7),
        ("orders.us".into(), None, Vec::new(), Vec::new(), 8),
    ])
}

/// Changes one word of the sample and mends its checksum, so that the check behind it is reached.
fn check_word(at: usize, value: u32, expected: ErrorCode) {
    let mut bytes = sample().as_bytes().to_vec();
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
    let checksum = crc32c::crc32c(&bytes[12..]);
    bytes[8..12].copy_from_slice(&checksum.to_le_bytes());
    let error = Batch::decode(bytes.into(), &Limits::default()).expect_err("it is no batch");
    assert_eq!(error.code(), expected, "{error}");
}

#[test]
fn each_wrong_word_of_the_header_has_its_code() {
    check_word(0, 0, ErrorCode::BadBatch);
    check_word(4, 2, ErrorCode::BatchVersion);
    check_word(12, 1, ErrorCode::BadBatch);
    check_word(16, 3, ErrorCode::BadBatch);
    check_word(16, u32::MAX, ErrorCode::BadBatch);
    check_word(20, u32::MAX, ErrorCode::BadBatch);
}

#[test]
fn end_offsets_that_do_not_divide_their_region_are_refused() {
    let topics = 36 + 2 * 8;
    check_word(topics, 1, ErrorCode::BadBatch);
    check_word(topics + 4, 1000, ErrorCode::BadBatch);
    check_word(topics + 8, 3, ErrorCode::BadBatch);
}

#[test]
fn a_topic_against_the_grammar_is_refused() {
    check_word(36 + 2 * 8 + 3 * 4, u32::from_le_bytes(*b"a..b"), ErrorCode::BadTopic);
}

#[test]
fn more_messages_than_agreed_are_refused() {
    let limits = Limits { max_batch_messages: 1, ..Limits::default() };
    let error = Batch::decode(sample().as_bytes().clone(), &limits).expect_err("it has two");
    assert_eq!(error.code(), ErrorCode::BatchTooLarge);
}

#[test]
fn the_builder_refuses_what_is_over_a_limit_and_stays_as_it_was() {
    let limits = Limits { max_message_bytes: 1024, ..Limits::default() };
    let mut builder = BatchBuilder::with_limits(limits);
    let error = builder.push("a", None, &[], &[0; 1024], 0).expect_err("it is too large");
    assert_eq!(error.code(), ErrorCode::MessageTooLarge);
    assert!(builder.is_empty() && builder.finish().is_none());
}

#[test]
fn a_batch_of_one_topic_says_so() {
    let one: Parts = ("orders.eu".into(), None, Vec::new(), Vec::new(), 0);
    let batch = build(&[one.clone(), one]);
    let decoded = Batch::decode(batch.as_bytes().clone(), &Limits::default()).expect("it is one");
    assert_eq!(
        (batch.single_topic(), decoded.single_topic()),
        (Some("orders.eu"), Some("orders.eu"))
    );
    assert_eq!(sample().single_topic(), None);
}

#[test]
fn there_is_nothing_past_the_end_not_even_where_a_place_would_overflow() {
    let batch = sample();
    for index in [batch.len(), usize::MAX / 8, usize::MAX / 4, usize::MAX] {
        assert!(batch.get(index).is_none() && batch.created().get(index).is_none());
        assert!(batch.topics().get(index).is_none() && batch.keys().get(index).is_none());
    }
}

#[test]
fn gathering_everything_keeps_the_buffer() {
    let batch = sample();
    let all = batch.gather(&[0, 1]).expect("both are there");
    assert_eq!(all.as_bytes().as_ptr(), batch.as_bytes().as_ptr());
    assert!(batch.gather(&[]).is_none() && batch.gather(&[2]).is_none());
}

proptest! {
    #[test]
    fn parts_that_fit_are_within_the_bounds_and_make_up_the_whole(
        messages in vec(parts(), 1..20),
        most in 1..8_usize,
        bytes in 150..600_usize,
    ) {
        let batch = build(&messages);
        let (mut from, mut found) = (0, Vec::new());
        while from < batch.len() {
            let count = batch.fitting(from, most, bytes);
            prop_assert!(count <= most);
            if from + count < batch.len() && count < most {
                let longer = batch.part(from..from + count + 1).expect("it is within the batch");
                prop_assert!(longer.byte_len() > bytes, "one more does not fit");
            }
            let part = batch.part(from..from + count.max(1)).expect("it is within the batch");
            prop_assert!(count == 0 || part.byte_len() <= bytes);
            prop_assert_eq!(Batch::decode(part.as_bytes().clone(), &Limits::default()), Ok(part.clone()));
            found.extend(read(&part));
            from += count.max(1);
        }
        prop_assert_eq!(found, messages);
    }

    #[test]
    fn what_was_built_is_what_is_read(messages in vec(parts(), 1..40)) {
        let batch = build(&messages);
        let decoded = Batch::decode(batch.as_bytes().clone(), &Limits::default()).unwrap();
        prop_assert_eq!(decoded.single_topic(), batch.single_topic());
        prop_assert_eq!(read(&decoded), messages);
    }

    #[test]
    fn gather_is_a_pick_by_index(messages in vec(parts(), 1..40), picks in vec(any::<prop::sample::Index>(), 1..40)) {
        let batch = build(&messages);
        let indices: Vec<u32> = picks.iter().map(|pick| pick.index(messages.len()) as u32).collect();
        let expected: Vec<Parts> = indices.iter().map(|&index| messages[index as usize].clone()).collect();
        let gathered = batch.gather(&indices).unwrap();
        let decoded = Batch::decode(gathered.as_bytes().clone(), &Limits::default()).unwrap();
        prop_assert_eq!(decoded.single_topic(), gathered.single_topic());
        prop_assert_eq!(read(&decoded), expected.clone());
        prop_assert_eq!(gathered, build(&expected));
    }

    #[test]
    fn batches_one_behind_the_other_are_one_batch(first in vec(parts(), 1..20), second in vec(parts(), 1..150)) {
        let joined = Batch::join([&build(&first), &build(&second)]).unwrap();
        let both: Vec<Parts> = first.into_iter().chain(second).collect();
        let expected = build(&both);
        prop_assert_eq!(joined.single_topic(), expected.single_topic());
        prop_assert_eq!(joined, expected);
    }

    #[test]
    fn under_another_topic_all_else_stays(messages in vec(parts(), 1..150)) {
        let topic = Topic::parse("some.where").unwrap();
        let moved = build(&messages).with_topic(&topic).unwrap();
        let expected: Vec<Parts> =
            messages.into_iter().map(|message| (topic.as_str().to_owned(), message.1, message.2, message.3, message.4)).collect();
        prop_assert_eq!(moved.single_topic(), Some(topic.as_str()));
        prop_assert_eq!(moved, build(&expected));
    }

    #[test]
    fn any_changed_byte_is_refused(messages in vec(parts(), 1..8), at in any::<prop::sample::Index>(), change in 1..=255_u8) {
        let mut bytes = build(&messages).as_bytes().to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= change;
        prop_assert!(Batch::decode(bytes.into(), &Limits::default()).is_err());
    }

    #[test]
    fn arbitrary_columns_under_a_right_checksum_never_panic(messages in vec(parts(), 1..8), changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let mut bytes = build(&messages).as_bytes().to_vec();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        let checksum = crc32c::crc32c(&bytes[12..]);
        bytes[8..12].copy_from_slice(&checksum.to_le_bytes());
        if let Ok(batch) = Batch::decode(Bytes::from(bytes), &Limits::default()) {
            prop_assert_eq!(batch.iter().count(), batch.len());
        }
    }
}

#[test]
fn another_topic_changes_nothing_else() {
    let topic = Topic::parse("elsewhere").expect("a topic");
    let moved = sample().with_topic(&topic).expect("it fits");
    assert_eq!(moved.single_topic(), Some("elsewhere"));
    let mut expected = read(&sample());
    for parts in &mut expected {
        parts.0 = "elsewhere".into();
    }
    assert_eq!(read(&moved), expected);
    Batch::decode(moved.as_bytes().clone(), &Limits::default()).expect("it is sound");
}
