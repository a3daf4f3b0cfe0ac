//! Where outputs go, and what is joined.

use std::num::NonZeroU32;

use waypost_protocol::{BatchBuilder, Pattern};

use super::*;
use crate::{Fsync, Retention, StreamName, Trace};

fn streams() -> StreamTable {
    let stream = |name, topic, partitions| StreamDefinition {
        name: StreamName::parse(name).expect("a name"),
        topics: vec![Pattern::parse(topic).expect("a pattern")],
        partitions: NonZeroU32::new(partitions).expect("it is not zero"),
        retention: Retention::default(),
        ttl: None,
        fsync: Fsync::default(),
    };
    StreamTable::new(vec![stream("four", "four.>", 4), stream("one", "one", 1)])
}

/// Messages of (topic, key), the first of them with this offset and number as payload.
fn output(label: u8, from: u64, messages: &[(&str, Option<u8>)]) -> Output<u8> {
    let mut builder = BatchBuilder::new();
    for ((topic, key), number) in messages.iter().zip(from..) {
        let key = key.map(|key| [key]);
        let (key, payload) = (key.as_ref().map(|key| &key[..]), number.to_string());
        builder.push(topic, key, &[], payload.as_bytes(), 0).expect("it fits");
    }
    let batch = builder.finish().expect("there are messages");
    let traces = (from..).take(batch.len()).map(|offset| Trace::read(Offset(offset)));
    let messages = Traced::new(batch, traces.collect()).expect("one trace each");
    Output { messages, label }
}

fn told(messages: &Traced) -> String {
    let told = messages.batch().iter().zip(messages.traces()).map(|(message, trace)| {
        let payload = String::from_utf8_lossy(message.payload()).into_owned();
        assert_eq!(payload, trace.offset.0.to_string(), "each has its own trace");
        payload
    });
    told.collect::<Vec<_>>().join(" ")
}

/// What each partition keeps, batch by batch, and what none does.
fn check(outputs: Vec<Output<u8>>, kept: &[(&str, u8, &str)], rest: &[(u8, &str)]) {
    let settled = keep_outputs(outputs, &streams(), 6);
    let found: Vec<_> = settled
        .kept
        .iter()
        .map(|each| (each.partition.to_string(), each.label, told(&each.messages)))
        .collect();
    let expected: Vec<_> =
        kept.iter().map(|(place, label, told)| ((*place).into(), *label, (*told).into())).collect();
    assert_eq!(found, expected);
    let found: Vec<_> =
        settled.rest.iter().map(|each| (each.label, told(&each.messages))).collect();
    let expected: Vec<_> = rest.iter().map(|(label, told)| (*label, (*told).into())).collect();
    assert_eq!(found, expected);
}

/// A key of each of four partitions.
fn keys() -> [u8; 4] {
    let four = NonZeroU32::new(4).expect("four is not zero");
    [0, 1, 2, 3].map(|partition| {
        (0..=255).find(|key| partition_of(&[*key], four) == partition).expect("keys spread")
    })
}

#[test]
fn each_message_goes_to_the_partition_of_its_key_in_order() {
    let [zero, one, two, _] = keys();
    let messages = [
        ("four.a", Some(two)),
        ("four.a", Some(zero)),
        ("four.b", Some(two)),
        ("mem", Some(two)),
        ("one", Some(one)),
        ("four.a", Some(zero)),
    ];
    let kept = [("four/2", 7, "10 12"), ("four/0", 7, "11 15"), ("one/0", 7, "14")];
    check(vec![output(7, 10, &messages)], &kept, &[(7, "13")]);
}

#[test]
fn messages_without_a_key_stay_together() {
    let messages = [("four.a", None), ("four.b", None), ("one", None)];
    check(vec![output(0, 0, &messages)], &[("four/2", 0, "0 1"), ("one/0", 0, "2")], &[]);
}

#[test]
fn outputs_with_the_same_label_are_joined_and_others_are_not() {
    let one = [("one", None)];
    let outputs =
        vec![output(1, 0, &one), output(1, 1, &one), output(2, 2, &one), output(1, 3, &one)];
    check(outputs, &[("one/0", 1, "0 1"), ("one/0", 2, "2"), ("one/0", 1, "3")], &[]);
}

#[test]
fn what_goes_to_one_place_is_the_same_buffer() {
    for (topic, key) in [("mem", None), ("one", Some(1)), ("four.a", Some(1))] {
        let output = output(0, 0, &[(topic, key), (topic, key)]);
        let bytes = output.messages.batch().as_bytes().as_ptr();
        let SettledOutputs { kept, rest } = keep_outputs(vec![output], &streams(), 0);
        let kept = kept.iter().map(|each| &each.messages);
        let mut all = kept.chain(rest.iter().map(|each| &each.messages));
        assert_eq!(all.next().map(|it| it.batch().as_bytes().as_ptr()), Some(bytes), "{topic}");
    }
}

#[test]
fn messages_of_memory_topics_are_joined_as_well() {
    let untraced = || {
        let (batch, _) = output(0, 0, &[("one", None)]).messages.into_parts();
        Output { messages: Traced::untraced(batch), label: 0 }
    };
    let settled = keep_outputs(vec![untraced(), untraced()], &streams(), 0);
    let [kept] = settled.kept.as_slice() else { panic!("{settled:?}") };
    assert_eq!((kept.messages.batch().len(), kept.messages.traces()), (2, &[][..]));
}

#[test]
fn no_joined_batch_outgrows_what_a_batch_may_be() {
    let large = || {
        let mut builder = BatchBuilder::new();
        builder.push("one", None, &[], &vec![0; 700_000], 0).expect("it fits");
        let batch = builder.finish().expect("one message");
        let messages = Traced::new(batch, vec![Trace::read(Offset(0))]).expect("one trace");
        Output { messages, label: 0 }
    };
    let settled = keep_outputs(vec![large(), large(), large()], &streams(), 0);
    assert_eq!(settled.kept.len(), 3);
    let many = [("one", None); 10_000];
    let settled = keep_outputs(vec![output(0, 0, &many), output(0, 0, &many)], &streams(), 0);
    let lengths: Vec<_> = settled.kept.iter().map(|each| each.messages.batch().len()).collect();
    assert_eq!(lengths, [10_000, 10_000]);
}

#[test]
fn what_stands_before_an_offset_is_taken_and_the_others_stay() {
    let messages = [("one", None), ("mem", None), ("one", None)];
    let mut outputs = vec![output(1, 5, &messages), output(2, 8, &messages)];
    let taken = outputs_before(&mut outputs, Offset(7));
    let shown = |outputs: &[Output<u8>]| -> Vec<_> {
        outputs.iter().map(|each| (each.label, told(&each.messages))).collect()
    };
    assert_eq!(shown(&taken), [(1, "5 6".to_owned())]);
    assert_eq!(shown(&outputs), [(1, "7".to_owned()), (2, "8 9 10".to_owned())]);
    assert_eq!(outputs_before(&mut outputs, Offset(0)), []);
    assert_eq!(outputs_before(&mut outputs, Offset(99)).len(), 2);
    assert_eq!(outputs, []);
}
