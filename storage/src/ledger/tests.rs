//! Bounds that an engine meets too seldom for the suite.

use waypost_protocol::{Producer, Sequence};

use super::*;
use crate::testing::{append, partition};

fn ledger(max_producers: usize) -> Ledger {
    let mut ledger = Ledger::new(max_producers);
    ledger.declare(partition(0).stream, NonZeroU32::MIN).expect("it is new");
    ledger
}

/// What a publish of one message changes.
fn publish(ledger: &mut Ledger, producer: u64, sequence: u64, ingest_ms: u64) -> Vec<Effect> {
    let mut append = append(0, 1, "x", ingest_ms);
    let (id, epoch, first_sequence) = (ProducerId(producer), Epoch(1), Sequence(sequence));
    append.envelope.producer = Some(Producer { id, epoch, first_sequence });
    ledger.commit(Unit::append(append)).expect("it is in sequence").1
}

#[test]
fn producers_are_bounded_and_a_known_one_may_open_again() {
    let mut ledger = ledger(2);
    for id in [1, 2, 2] {
        ledger.open_producer(ProducerId(id), Epoch(1), 0).expect("there is room");
    }
    let third = ledger.open_producer(ProducerId(3), Epoch(1), 0);
    assert_eq!(third, Err(CommitError::TooManyProducers { limit: 2 }));
    assert_eq!(ledger.forget_producers(1, 1).0, 1, "a call forgets as many as it may");
    ledger.open_producer(ProducerId(3), Epoch(1), 0).expect("there is room again");
}

#[test]
fn a_producer_is_forgotten_with_what_the_partitions_remember_of_it() {
    let mut ledger = ledger(2);
    ledger.open_producer(ProducerId(1), Epoch(1), 0).expect("there is room");
    publish(&mut ledger, 1, 0, 5);
    let (count, effects) = ledger.forget_producers(1, 9);
    let expected = vec![
        Effect::Producer(ProducerId(1), None),
        Effect::Claims(partition(0), ProducerId(1), None),
    ];
    assert_eq!((count, effects), (1, expected));
    assert!(ledger.claims.is_empty() && ledger.producers.is_empty());
}

#[test]
fn when_a_producer_was_seen_is_written_once_a_minute() {
    let mut ledger = ledger(2);
    ledger.open_producer(ProducerId(1), Epoch(1), 0).expect("there is room");
    let seen = |effects: &[Effect]| {
        let written = effects.iter().filter_map(|effect| match effect {
            Effect::Producer(_, record) => record.map(|record| record.seen_ms),
            _ => None,
        });
        written.collect::<Vec<_>>()
    };
    for (sequence, ingest_ms, expected) in
        [(0, 59_999, vec![]), (1, 60_000, vec![60_000]), (2, 119_999, vec![]), (3, 7, vec![])]
    {
        let effects = publish(&mut ledger, 1, sequence, ingest_ms);
        assert_eq!(seen(&effects), expected, "at {ingest_ms}");
    }
    assert_eq!(ledger.forget_producers(60_000, 9).0, 0, "it was seen since");
}

#[test]
fn offsets_end_with_their_numbers_and_nothing_is_stored_beyond() {
    let mut ledger = ledger(2);
    let place = ledger.places.get_mut(&partition(0)).expect("it was declared");
    place.bounds.next = Offset(u64::MAX - 1);
    ledger.commit(Unit::append(append(0, 1, "the last", 0))).expect("one is left");
    let before = ledger.places.clone();
    let refused = ledger.commit(Unit::append(append(0, 1, "x", 0)));
    assert_eq!(refused, Err(CommitError::Exhausted(partition(0))));
    assert_eq!(ledger.places, before);
}

#[test]
fn streams_keep_their_numbers_and_a_new_one_gets_the_next() {
    let mut ledger = ledger(2);
    let stream = |name| StreamName::parse(name).expect("a valid name");
    for name in ["b", "a"] {
        ledger.declare(stream(name), NonZeroU32::MIN).expect("it is new");
    }
    let numbers = ["orders", "b", "a"].map(|name| ledger.streams[&stream(name)].number);
    assert_eq!(numbers, [0, 1, 2]);
    assert_eq!(ledger.declare(stream("b"), NonZeroU32::MIN), Ok(vec![]), "it stands already");
}
