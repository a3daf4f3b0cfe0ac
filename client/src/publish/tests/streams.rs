//! The outbox with streams: splitting, identity, and what follows from a refusal.

use waypost_protocol::{key_hash, partition_of};

use super::*;

/// A router that keeps `a.>` in four partitions.
fn streams() -> Vec<frame::Stream> {
    vec![frame::Stream { name: "orders".into(), topics: vec!["a.>".into()], partitions: 4 }]
}

fn with_streams() -> Outbox {
    let options = PublisherOptions {
        max_batch_messages: 2,
        max_in_flight_batches: 64,
        linger: Duration::ZERO,
        ..PublisherOptions::default()
    };
    let mut outbox = outbox(options);
    outbox.begin_stream(Limits::default(), &streams());
    outbox
}

/// A key of each partition.
fn key(partition: u32) -> Vec<u8> {
    let four = 4.try_into().expect("four is not zero");
    let mut keys = (0..=u8::MAX).map(|byte| vec![byte]);
    keys.find(|key| partition_of(key, four) == partition).expect("keys spread")
}

fn keyed(outbox: &mut Outbox, partition: u32) -> Receipt {
    let message = Message::new("a.b", b"x").key(key(partition));
    outbox.push(Instant::now(), &message).expect("it is good").expect("there is room")
}

/// What is written now, to a router that knows the producer once it is asked to.
fn written(outbox: &mut Outbox) -> Vec<Publish> {
    written_to(outbox, false)
}

/// What is written now, to a router that knew the producer from an earlier stream.
fn written_again(outbox: &mut Outbox) -> Vec<Publish> {
    written_to(outbox, true)
}

fn written_to(outbox: &mut Outbox, resumed: bool) -> Vec<Publish> {
    let mut written = Vec::new();
    loop {
        match outbox.poll_transmit(Instant::now()) {
            Transmit::Frame(publish, _) => written.push(publish),
            Transmit::Open(_) => outbox.handle_opened(resumed).expect("nobody else speaks"),
            Transmit::Unfit((resolver, outcome)) => resolver.resolve(outcome),
            Transmit::Wait(_) => return written,
        }
    }
}

/// Partition and producer sequence of each.
fn places(written: &[Publish]) -> Vec<(u32, u64)> {
    let place = |publish: &Publish| {
        (publish.partition, publish.producer_sequence.expect("a stream's batch has one"))
    };
    written.iter().map(place).collect()
}

fn rejected(publish: &Publish, code: ErrorCode) -> PublishResult {
    let rejected = Rejected { code: code.number(), message: "no".into() };
    let Publish { first_sequence, count, .. } = *publish;
    PublishResult { first_sequence, count, outcome: Some(frame::Outcome::Rejected(rejected)) }
}

fn stored(publish: &Publish, offset: u64) -> PublishResult {
    let committed = Committed { offset: Some(offset), ..Committed::default() };
    let Publish { first_sequence, count, .. } = *publish;
    PublishResult { first_sequence, count, outcome: Some(frame::Outcome::Committed(committed)) }
}

#[test]
fn keys_are_split_over_partitions_whose_sequences_count_apart() {
    let mut outbox = with_streams();
    for partition in [0, 3, 0, 3, 3, 3] {
        drop(keyed(&mut outbox, partition));
    }
    let written = written(&mut outbox);
    assert_eq!(places(&written), [(0, 0), (3, 0), (3, 2)]);
    assert!(written.iter().all(|publish| publish.stream == "orders" && publish.count == 2));
    let firsts: Vec<u64> = written.iter().map(|publish| publish.first_sequence).collect();
    assert_eq!(firsts, [0, 2, 4], "the stream of frames counts by itself");
}

#[test]
fn memory_topics_go_without_a_producer_and_do_not_wait_for_it() {
    let mut outbox = with_streams();
    drop(keyed(&mut outbox, 1));
    let now = Instant::now();
    assert!(matches!(outbox.poll_transmit(now), Transmit::Open(_)));
    assert!(matches!(outbox.poll_transmit(now), Transmit::Wait(None)));
    drop(outbox.push(now, &Message::new("memory", b"x")).expect("it is good"));
    let Transmit::Frame(publish, _) = outbox.poll_transmit(now) else { panic!("it may go") };
    assert_eq!((publish.stream.as_str(), publish.producer_sequence), ("", None));
    outbox.handle_opened(false).expect("nobody else speaks");
    assert_eq!(places(&written(&mut outbox)), [(1, 0)]);
}

#[test]
fn what_has_no_result_is_sent_again_with_its_sequence() {
    let mut outbox = with_streams();
    let receipts = vec![keyed(&mut outbox, 1), keyed(&mut outbox, 1), keyed(&mut outbox, 2)];
    assert_eq!(places(&written(&mut outbox)), [(1, 0), (2, 0)]);
    assert!(outbox.handle_lost(&lost()).is_empty(), "nothing is unknown");
    outbox.begin_stream(Limits::default(), &streams());
    drop(keyed(&mut outbox, 1));
    let again = written_again(&mut outbox);
    assert_eq!(places(&again), [(1, 0), (2, 0), (1, 2)]);
    for publish in &again {
        settle(&mut outbox, stored(publish, 7));
    }
    assert_eq!(outcomes(receipts), ["committed"; 3]);
}

#[test]
fn a_life_that_the_router_knows_from_another_publisher_ends_before_anything_is_sent() {
    let mut outbox = with_streams();
    drop(keyed(&mut outbox, 1));
    assert!(matches!(outbox.poll_transmit(Instant::now()), Transmit::Open(_)));
    let reason = outbox.handle_opened(true).expect_err("it was opened by somebody else");
    let Disconnected::EpochUsed { producer: ProducerId(1), epoch: Epoch(0) } = reason else {
        panic!("{reason} is another reason");
    };
}

#[test]
fn a_life_goes_on_when_the_answer_to_its_first_opening_was_lost() {
    let mut outbox = with_streams();
    let receipt = keyed(&mut outbox, 1);
    assert!(matches!(outbox.poll_transmit(Instant::now()), Transmit::Open(_)));
    drop(outbox.handle_lost(&lost()));
    outbox.begin_stream(Limits::default(), &streams());
    assert!(matches!(outbox.poll_transmit(Instant::now()), Transmit::Open(_)));
    outbox.handle_opened(true).expect("it was asked before");
    let written = written(&mut outbox);
    settle(&mut outbox, stored(&written[0], 7));
    assert_eq!(outcomes(vec![receipt]), ["committed"]);
}

#[test]
fn when_something_sent_fits_no_longer_all_of_it_is_unknown_and_the_next_epoch_is_opened() {
    let mut outbox = with_streams();
    let mut sent = vec![keyed(&mut outbox, 1)];
    assert_eq!(places(&written(&mut outbox)), [(1, 0)]);
    sent.extend([keyed(&mut outbox, 1), keyed(&mut outbox, 1)]);
    assert_eq!(places(&written(&mut outbox)), [(1, 1)]);
    drop(outbox.handle_lost(&lost()));
    let small = Limits { max_batch_messages: 1, ..Limits::default() };
    outbox.begin_stream(small, &streams());
    let later = keyed(&mut outbox, 1);
    let (mut opened, mut written) = (Vec::new(), Vec::new());
    loop {
        match outbox.poll_transmit(Instant::now()) {
            Transmit::Frame(publish, _) => written.push((opened.last().copied(), publish)),
            Transmit::Open(identity) => {
                opened.push(identity.epoch);
                let resumed = identity.epoch == Epoch(0);
                outbox.handle_opened(resumed).expect("nobody else speaks");
            }
            Transmit::Unfit((resolver, outcome)) => resolver.resolve(outcome),
            Transmit::Wait(_) => break,
        }
    }
    assert_eq!(outcomes(sent), ["unknown"; 3]);
    let [(Some(Epoch(1)), publish)] = &*written else { panic!("{written:?}") };
    assert_eq!(publish.producer_sequence, Some(0));
    settle(&mut outbox, stored(publish, 7));
    assert_eq!(outcomes(vec![later]), ["committed"]);
}

#[test]
fn a_producer_that_is_not_opened_has_its_messages_refused_until_it_is() {
    let mut outbox = with_streams();
    let refused = |outbox: &mut Outbox| {
        assert!(matches!(outbox.poll_transmit(Instant::now()), Transmit::Open(_)));
        let why = Rejected { code: ErrorCode::StorageFull.number(), message: "full".into() };
        for (resolver, outcome) in outbox.handle_not_opened(why) {
            resolver.resolve(outcome);
        }
    };
    for _ in 0..2 {
        let receipts = vec![keyed(&mut outbox, 1), keyed(&mut outbox, 1)];
        let routed = outbox.push(Instant::now(), &Message::new("memory", b"x"));
        refused(&mut outbox);
        assert_eq!(outcomes(receipts), ["rejected"; 2]);
        let Transmit::Frame(publish, _) = outbox.poll_transmit(Instant::now()) else {
            panic!("memory topics need no producer");
        };
        settle(&mut outbox, committed(publish.first_sequence, 1));
        assert!(routed.expect("it is good").expect("there is room").now_or_never().is_some());
    }
    let sent = keyed(&mut outbox, 1);
    assert_eq!(places(&written(&mut outbox)), [(1, 0)]);
    drop(outbox.handle_lost(&lost()));
    outbox.begin_stream(Limits::default(), &streams());
    let unsent = keyed(&mut outbox, 2);
    refused(&mut outbox);
    let later = keyed(&mut outbox, 1);
    let first = written(&mut outbox);
    assert_eq!(places(&first), [(2, 0), (1, 0)]);
    first.iter().for_each(|publish| settle(&mut outbox, stored(publish, 7)));
    assert_eq!(outcomes(vec![sent, unsent, later]), ["unknown", "committed", "committed"]);
}

#[test]
fn a_refusal_of_what_was_sent_before_tells_nothing_unless_storage_has_looked() {
    for (code, expected) in [
        (ErrorCode::ProducerFenced, ["unknown", "unknown"]),
        (ErrorCode::UnknownPartition, ["unknown", "unknown"]),
        (ErrorCode::StorageFull, ["rejected", "rejected"]),
    ] {
        let mut outbox = with_streams();
        let receipts = vec![keyed(&mut outbox, 1), keyed(&mut outbox, 1)];
        assert_eq!(places(&written(&mut outbox)), [(1, 0)]);
        drop(outbox.handle_lost(&lost()));
        outbox.begin_stream(Limits::default(), &streams());
        let again = written_again(&mut outbox);
        settle(&mut outbox, rejected(&again[0], code));
        assert_eq!(outcomes(receipts), expected, "{code:?}");
        let fresh = vec![keyed(&mut outbox, 1)];
        let first = written(&mut outbox);
        settle(&mut outbox, rejected(&first[0], code));
        assert_eq!(outcomes(fresh), ["rejected"], "it was sent once");
    }
}

#[test]
fn a_forgotten_producer_leaves_unknown_what_was_sent_and_begins_anew() {
    let mut outbox = with_streams();
    let sent = keyed(&mut outbox, 1);
    assert_eq!(places(&written(&mut outbox)), [(1, 0)]);
    drop(outbox.handle_lost(&lost()));
    outbox.begin_stream(Limits::default(), &streams());
    let later = keyed(&mut outbox, 1);
    assert!(matches!(outbox.poll_transmit(Instant::now()), Transmit::Open(_)));
    outbox.handle_opened(false).expect("nobody else speaks");
    let written = written(&mut outbox);
    assert_eq!(places(&written), [(1, 0)]);
    settle(&mut outbox, stored(&written[0], 7));
    assert_eq!(outcomes(vec![sent, later]), ["unknown", "committed"]);
}

#[test]
fn what_follows_a_refused_batch_takes_its_sequence() {
    let mut outbox = with_streams();
    let receipts: Vec<_> = (0..6).map(|_| keyed(&mut outbox, 1)).collect();
    let first = written(&mut outbox);
    assert_eq!(places(&first), [(1, 0), (1, 2), (1, 4)]);
    settle(&mut outbox, rejected(&first[1], ErrorCode::OutOfSequence));
    settle(&mut outbox, rejected(&first[0], ErrorCode::StorageFull));
    drop([keyed(&mut outbox, 1), keyed(&mut outbox, 1)]);
    assert!(written(&mut outbox).is_empty(), "one is not answered yet");
    settle(&mut outbox, rejected(&first[2], ErrorCode::OutOfSequence));
    let again = written_again(&mut outbox);
    assert_eq!(places(&again), [(1, 0), (1, 2), (1, 4)]);
    settle(&mut outbox, stored(&again[0], 5));
    settle(&mut outbox, stored(&again[1], 7));
    let expected = ["rejected", "rejected", "committed", "committed", "committed", "committed"];
    assert_eq!(outcomes(receipts), expected);
}

#[test]
fn a_batch_that_nothing_else_put_out_of_sequence_is_refused() {
    let mut outbox = with_streams();
    let receipts: Vec<_> = (0..4).map(|_| keyed(&mut outbox, 1)).collect();
    for publish in written(&mut outbox) {
        settle(&mut outbox, rejected(&publish, ErrorCode::OutOfSequence));
    }
    let again = written_again(&mut outbox);
    assert_eq!(places(&again), [(1, 0)]);
    settle(&mut outbox, rejected(&again[0], ErrorCode::OutOfSequence));
    assert_eq!(outcomes(receipts), ["rejected"; 4]);
}

#[test]
fn a_router_that_stops_gets_the_batch_again_at_its_next_start() {
    let mut outbox = with_streams();
    let receipts: Vec<_> = (0..4).map(|_| keyed(&mut outbox, 1)).collect();
    let first = written(&mut outbox);
    settle(&mut outbox, rejected(&first[0], ErrorCode::ShuttingDown));
    assert!(written(&mut outbox).is_empty(), "it takes nothing more");
    assert!(!outbox.is_settled(1));
    drop(outbox.handle_lost(&lost()));
    outbox.begin_stream(Limits::default(), &streams());
    let again = written_again(&mut outbox);
    assert_eq!(places(&again), [(1, 0), (1, 2)]);
    again.iter().for_each(|publish| settle(&mut outbox, stored(publish, 1)));
    assert_eq!(outcomes(receipts), ["committed"; 4]);
}

#[test]
fn a_prepared_batch_belongs_to_one_partition() {
    let mut outbox = with_streams();
    let mut builder = BatchBuilder::new();
    for partition in [0, 1] {
        builder.push("a.b", Some(&key(partition)), &[], b"", 0).expect("it fits");
    }
    let batch = builder.finish().expect("there are messages");
    let refused = outbox.push_batch(&batch).expect_err("it belongs to two");
    assert!(matches!(refused, PublishError::Scattered), "{refused}");
    assert_ne!(key_hash(&key(0)) % 4, key_hash(&key(1)) % 4);
}
