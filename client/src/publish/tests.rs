//! The outbox on virtual time, against what a router could do.

mod model;
mod streams;

use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::time::Instant;
use waypost_protocol::{
    Batch, BatchBuilder, ErrorCode, Limits,
    frame::{self, Committed, Publish, PublishResult, Rejected},
};

use super::{
    outbox::{Outbox, Transmit},
    *,
};

const LINGER: Duration = Duration::from_millis(10);

fn options() -> PublisherOptions {
    PublisherOptions {
        max_batch_messages: 4,
        linger: LINGER,
        max_in_flight_batches: 2,
        ..PublisherOptions::default()
    }
}

fn identity() -> ProducerIdentity {
    ProducerIdentity { id: ProducerId(1), epoch: Epoch(0) }
}

fn outbox(options: PublisherOptions) -> Outbox {
    Outbox::new(options, Limits::default(), identity())
}

fn message(payload: &[u8]) -> Message<'_> {
    Message::new("a.b", payload)
}

/// Pushes so many messages; gives the receipts of those that found room.
fn push(outbox: &mut Outbox, now: Instant, count: usize) -> Vec<Receipt> {
    let push = |_| outbox.push(now, &message(b"x")).expect("it is a good message");
    (0..count).map_while(push).collect()
}

/// What is written now, as pairs of first sequence and count.
fn transmit(outbox: &mut Outbox, now: Instant) -> Vec<(u64, u32)> {
    let mut written = Vec::new();
    while let Transmit::Frame(publish, bytes) = outbox.poll_transmit(now) {
        let batch = Batch::decode(bytes, &Limits::default()).expect("a sound batch");
        assert_eq!(batch.len(), publish.count as usize);
        written.push((publish.first_sequence, publish.count));
    }
    written
}

fn committed(first_sequence: u64, count: u32) -> PublishResult {
    let outcome = Some(frame::Outcome::Committed(Committed::default()));
    PublishResult { first_sequence, count, outcome }
}

fn settle(outbox: &mut Outbox, result: PublishResult) {
    for (resolver, outcome) in outbox.handle_result(result).expect("it answers a publish") {
        resolver.resolve(outcome);
    }
}

fn outcomes(receipts: Vec<Receipt>) -> Vec<&'static str> {
    let name = |receipt: Receipt| match receipt.now_or_never() {
        None => "pending",
        Some(Outcome::Committed { .. }) => "committed",
        Some(Outcome::Rejected { .. }) => "rejected",
        Some(Outcome::Unknown { .. }) => "unknown",
    };
    receipts.into_iter().map(name).collect()
}

fn lost() -> Disconnected {
    Disconnected::lost("a test")
}

#[test]
fn a_full_batch_goes_at_once_and_the_rest_when_it_has_lingered() {
    let (mut outbox, start) = (outbox(options()), Instant::now());
    push(&mut outbox, start, 6);
    assert_eq!(transmit(&mut outbox, start), [(0, 4)]);
    let Transmit::Wait(Some(due)) = outbox.poll_transmit(start) else {
        panic!("the rest lingers");
    };
    assert_eq!(due, start + LINGER);
    assert_eq!(transmit(&mut outbox, due), [(4, 2)]);
    assert!(matches!(outbox.poll_transmit(due), Transmit::Wait(None)));
}

#[test]
fn without_linger_what_is_there_goes_at_once_or_with_the_next_result() {
    let options =
        PublisherOptions { linger: Duration::ZERO, max_in_flight_batches: 9, ..options() };
    let (mut outbox, now) = (outbox(options), Instant::now());
    for sequence in [0, 1] {
        push(&mut outbox, now, 1);
        assert_eq!(transmit(&mut outbox, now), [(sequence, 1)]);
    }
    push(&mut outbox, now, 3);
    assert!(transmit(&mut outbox, now).is_empty(), "enough is in flight for small ones");
    settle(&mut outbox, committed(0, 1));
    assert_eq!(transmit(&mut outbox, now), [(2, 3)]);
    push(&mut outbox, now, 4);
    assert_eq!(transmit(&mut outbox, now), [(5, 4)], "a full one waits for nothing");
}

#[test]
fn a_batch_is_full_by_its_bytes_and_a_large_message_goes_alone() {
    let mut outbox = outbox(PublisherOptions {
        max_batch_messages: 100,
        max_batch_bytes: 1000,
        max_in_flight_batches: 10,
        ..options()
    });
    let now = Instant::now();
    for bytes in [400, 400, 5000, 10] {
        let payload = vec![0; bytes];
        let taken = outbox.push(now, &message(&payload)).expect("it is good");
        assert!(taken.is_some(), "there is room");
    }
    assert_eq!(transmit(&mut outbox, now + LINGER), [(0, 2), (2, 1), (3, 1)]);
}

#[test]
fn nothing_is_taken_beyond_what_may_be_in_flight_and_one_open_batch() {
    let (mut outbox, now) = (outbox(options()), Instant::now());
    assert_eq!(push(&mut outbox, now, 100).len(), 3 * 4);
    assert_eq!(transmit(&mut outbox, now + LINGER), [(0, 4), (4, 4)]);
    settle(&mut outbox, committed(4, 4));
    assert_eq!(push(&mut outbox, now, 100).len(), 0, "the first is still in flight");
    settle(&mut outbox, committed(0, 4));
    assert_eq!(push(&mut outbox, now, 100).len(), 2 * 4);
}

#[test]
fn bytes_in_flight_are_bounded_and_one_batch_always_goes() {
    let mut outbox = outbox(PublisherOptions { max_in_flight_bytes: 1, ..options() });
    let now = Instant::now();
    assert_eq!(push(&mut outbox, now, 100).len(), 2 * 4);
    assert_eq!(transmit(&mut outbox, now + LINGER), [(0, 4)]);
    settle(&mut outbox, committed(0, 4));
    assert_eq!(transmit(&mut outbox, now), [(4, 4)], "room lets the open batch go");
}

#[test]
fn a_prepared_batch_keeps_its_place_in_the_order() {
    let (mut outbox, now) = (outbox(options()), Instant::now());
    push(&mut outbox, now, 1);
    let mut builder = BatchBuilder::new();
    for _ in 0..9 {
        builder.push("a.b", None, &[], b"x", 0).expect("it fits");
    }
    let batch = builder.finish().expect("there are messages");
    let receipt = outbox.push_batch(&batch).expect("it is good").expect("there is room");
    assert_eq!(transmit(&mut outbox, now), [(0, 1), (1, 9)]);
    assert!(outbox.push_batch(&batch).expect("it is good").is_none(), "two are in flight");
    settle(&mut outbox, committed(1, 9));
    assert_eq!(outcomes(vec![receipt]), ["committed"]);
}

fn check_refused(message: Message<'_>, expected: ErrorCode) {
    let limits = Limits {
        max_message_bytes: 2000,
        max_frame_bytes: 4096,
        max_headers: 1,
        ..Limits::default()
    };
    let (mut outbox, now) = (Outbox::new(options(), limits, identity()), Instant::now());
    let good = push(&mut outbox, now, 1);
    let error = outbox.push(now, &message).expect_err("it is a bad message");
    assert_eq!(error.code(), Some(expected), "{error}");
    assert_eq!(transmit(&mut outbox, now + LINGER), [(0, 1)], "its neighbour goes without it");
    settle(&mut outbox, committed(0, 1));
    assert_eq!(outcomes(good), ["committed"]);
}

#[test]
fn a_bad_message_is_refused_with_the_routers_code_and_harms_no_neighbour() {
    let header = |message: Message<'static>| message.header("name", "value").expect("it is good");
    check_refused(Message::new("a..b", b"x"), ErrorCode::BadTopic);
    check_refused(Message::new("$dead.a", b"x"), ErrorCode::SystemTopic);
    check_refused(Message::new("a", vec![0; 2000]), ErrorCode::MessageTooLarge);
    check_refused(header(header(Message::new("a", b"x"))), ErrorCode::TooManyHeaders);
    let error = Message::new("a", b"x").header("na me", "value").expect_err("a space");
    assert_eq!(error.code(), Some(ErrorCode::BadUtf8));
}

#[test]
fn a_message_that_no_frame_could_carry_is_refused() {
    let limits = Limits { max_frame_bytes: 4096, ..Limits::default() };
    let mut outbox = Outbox::new(options(), limits, identity());
    let large = vec![0; 5000];
    let error = outbox.push(Instant::now(), &message(&large)).expect_err("it is too large");
    assert_eq!(error.code(), Some(ErrorCode::MessageTooLarge));
    push(&mut outbox, Instant::now(), 1);
    let error = outbox.push(Instant::now(), &message(&large)).expect_err("it is too large");
    assert_eq!(error.code(), Some(ErrorCode::MessageTooLarge));
}

#[test]
fn a_prepared_batch_that_the_router_would_refuse_is_refused() {
    let limits = Limits { max_batch_messages: 1, ..Limits::default() };
    let mut outbox = Outbox::new(options(), limits, identity());
    let batch = |topic: &str, count| {
        let mut builder = BatchBuilder::new();
        for _ in 0..count {
            builder.push(topic, None, &[], b"x", 0).expect("it fits");
        }
        builder.finish().expect("there are messages")
    };
    for (batch, expected) in
        [(batch("a", 2), ErrorCode::BatchTooLarge), (batch("$sys.a", 1), ErrorCode::SystemTopic)]
    {
        let error = outbox.push_batch(&batch).expect_err("it is a bad batch");
        assert_eq!(error.code(), Some(expected));
    }
}

#[test]
fn a_rejection_is_that_of_every_message_of_the_batch() {
    let (mut outbox, now) = (outbox(options()), Instant::now());
    let receipts = push(&mut outbox, now, 4);
    transmit(&mut outbox, now);
    let code = ErrorCode::Overloaded.number();
    let rejected = frame::Outcome::Rejected(Rejected { code, message: "full".into() });
    settle(&mut outbox, PublishResult { outcome: Some(rejected), ..committed(0, 4) });
    assert_eq!(outcomes(receipts), ["rejected"; 4]);
}

#[test]
fn a_result_that_answers_nothing_is_the_routers_mistake() {
    let (mut outbox, now) = (outbox(options()), Instant::now());
    push(&mut outbox, now, 8);
    transmit(&mut outbox, now);
    for result in [
        committed(1, 4),
        committed(0, 3),
        committed(100, 4),
        PublishResult { outcome: None, ..committed(0, 4) },
    ] {
        outbox.handle_result(result).expect_err("nothing waits for it");
    }
    settle(&mut outbox, committed(4, 4));
    outbox.handle_result(committed(4, 4)).expect_err("it was answered");
}

#[test]
fn what_was_sent_is_unknown_after_a_loss_and_the_rest_goes_on() {
    let (mut outbox, now) = (outbox(options()), Instant::now());
    let sent = push(&mut outbox, now, 4);
    transmit(&mut outbox, now);
    let unsent = push(&mut outbox, now, 5);
    for (resolver, outcome) in outbox.handle_lost(&lost()) {
        resolver.resolve(outcome);
    }
    assert_eq!(outcomes(sent), ["unknown"; 4]);
    outbox.begin_stream(Limits::default(), &[]);
    assert_eq!(transmit(&mut outbox, now + LINGER), [(0, 4), (4, 1)], "counted anew");
    settle(&mut outbox, committed(0, 4));
    settle(&mut outbox, committed(4, 1));
    assert_eq!(outcomes(unsent), ["committed"; 5]);
}

#[test]
fn what_was_sent_is_sent_again_in_order_where_that_is_wanted() {
    let mut outbox = outbox(PublisherOptions { resend_unknown: true, ..options() });
    let now = Instant::now();
    let receipts = push(&mut outbox, now, 9);
    assert_eq!(transmit(&mut outbox, now), [(0, 4), (4, 4)]);
    settle(&mut outbox, committed(4, 4));
    assert_eq!(outbox.handle_lost(&lost()).len(), 0);
    outbox.begin_stream(Limits::default(), &[]);
    assert_eq!(transmit(&mut outbox, now + LINGER), [(0, 4), (4, 1)]);
    settle(&mut outbox, committed(0, 4));
    settle(&mut outbox, committed(4, 1));
    assert_eq!(outcomes(receipts), ["committed"; 9]);
}

#[test]
fn what_a_new_router_could_not_take_is_rejected_here() {
    let (mut outbox, now) = (outbox(options()), Instant::now());
    let receipts = push(&mut outbox, now, 6);
    let small = Limits { max_batch_messages: 2, ..Limits::default() };
    outbox.begin_stream(small, &[]);
    let Transmit::Unfit((resolver, outcome)) = outbox.poll_transmit(now) else {
        panic!("four messages do not fit");
    };
    resolver.resolve(outcome);
    assert_eq!(transmit(&mut outbox, now), [(0, 2)]);
    settle(&mut outbox, committed(0, 2));
    let expected = [["rejected"; 4].as_slice(), &["committed"; 2]].concat();
    assert_eq!(outcomes(receipts), expected);
    assert_eq!(push(&mut outbox, now, 3).len(), 3);
    assert_eq!(transmit(&mut outbox, now + LINGER), [(2, 2), (4, 1)], "built for the new limits");
}

#[test]
fn a_flush_hurries_what_is_there_and_ends_when_that_is_settled() {
    let (mut outbox, now) = (outbox(options()), Instant::now());
    push(&mut outbox, now, 5);
    let mark = outbox.hurry();
    assert_eq!(transmit(&mut outbox, now), [(0, 4), (4, 1)]);
    push(&mut outbox, now, 1);
    settle(&mut outbox, committed(4, 1));
    assert!(!outbox.is_settled(mark));
    settle(&mut outbox, committed(0, 4));
    assert!(outbox.is_settled(mark), "what came later is not waited for");
    assert!(transmit(&mut outbox, now).is_empty(), "nor hurried");
}

#[test]
fn a_closed_outbox_takes_nothing_and_finishes_what_it_has() {
    let (mut outbox, now) = (outbox(options()), Instant::now());
    push(&mut outbox, now, 1);
    outbox.close();
    let error = outbox.push(now, &message(b"x")).expect_err("it is closed");
    assert!(matches!(error, PublishError::Closed(Disconnected::Closed)), "{error}");
    assert_eq!(transmit(&mut outbox, now), [(0, 1)]);
    assert!(!outbox.is_finished());
    settle(&mut outbox, committed(0, 1));
    assert!(outbox.is_finished());
}

#[test]
fn a_failed_outbox_leaves_nothing_unresolved() {
    let (mut outbox, now) = (outbox(options()), Instant::now());
    let receipts = push(&mut outbox, now, 11);
    assert_eq!(receipts.len(), 11);
    let Transmit::Frame(Publish { first_sequence: 0, .. }, _) = outbox.poll_transmit(now) else {
        panic!("one is sent");
    };
    for (resolver, outcome) in outbox.fail(&lost()) {
        resolver.resolve(outcome);
    }
    assert_eq!(outcomes(receipts), ["unknown"; 11]);
    assert!(outbox.is_finished());
    let error = outbox.push(now, &message(b"x")).expect_err("it is dead");
    assert!(matches!(error, PublishError::Closed(Disconnected::Lost { .. })), "{error}");
}
