//! Topics that are kept: what is acknowledged is there, once, whatever becomes of the router.
#![forbid(unsafe_code)]

use std::time::Duration;

use waypost_client::{
    Epoch, From, Message, Outcome, ProducerId, ProducerIdentity, Publisher, PublisherOptions,
    Receipt, SubscriberOptions,
};
use waypost_tests::Router;

/// Far more than any of this takes; a test that meets it has failed.
const PATIENCE: Duration = Duration::from_secs(60);

const CONFIG: &str = "
    [storage]
    reserve_bytes = 0
    [[stream]]
    name = 'orders'
    topics = ['orders.>']
    partitions = 2
";

fn order(key: u8, payload: &str) -> Message<'static> {
    Message::new("orders.eu", payload.as_bytes().to_vec()).key(vec![key])
}

async fn publish(publisher: &Publisher, message: Message<'_>) -> Receipt {
    publisher.publish(message).await.expect("it is taken")
}

fn offset(outcome: &Outcome) -> u64 {
    match outcome {
        Outcome::Committed { offset: Some(offset), duplicate: false, .. } => offset.0,
        other => panic!("{other:?} is not stored"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_stored_with_its_offset_and_then_delivered() {
    let router = Router::start(CONFIG, &[]).await.expect("the router starts");
    let client = router.client().await.expect("a connection");
    let mut subscriber =
        client.subscribe("orders.*", SubscriberOptions::default()).await.expect("a pattern");
    let publisher = client.publisher(PublisherOptions::default()).await.expect("a stream");
    for expected in 0..3 {
        let outcome = publish(&publisher, order(7, &expected.to_string())).await.await;
        assert_eq!(offset(&outcome), expected);
    }
    for expected in 0..3 {
        let message = tokio::time::timeout(PATIENCE, subscriber.recv()).await.expect("in time");
        let message = message.expect("the stream goes on").expect("without an error");
        assert_eq!(message.payload(), expected.to_string().as_bytes());
        assert_eq!(message.offset().map(|offset| offset.0), Some(expected));
        assert_eq!(message.envelope().stream.as_deref(), Some("orders"));
    }
    client.close().await;
    router.stop().await.expect("it drains");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_goes_on_with_its_offsets_after_the_router_was_killed() {
    let mut router = Router::start(CONFIG, &[]).await.expect("the router starts");
    let client = router.client().await.expect("a connection");
    let publisher = client.publisher(PublisherOptions::default()).await.expect("a stream");
    assert_eq!(offset(&publish(&publisher, order(7, "before")).await.await), 0);
    let (_, receipt) = tokio::join!(router.restart(), publish(&publisher, order(7, "during")));
    let during = tokio::time::timeout(PATIENCE, receipt).await.expect("the publisher goes on");
    // It was stored before the kill without a result, or is stored now.
    let Outcome::Committed { offset: Some(during), .. } = during else { panic!("{during:?}") };
    assert_eq!(during.0, 1);
    assert_eq!(offset(&publish(&publisher, order(7, "after")).await.await), 2);
    client.close().await;
    router.stop().await.expect("it drains");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_life_of_a_producer_ends_the_older_one() {
    let router = Router::start(CONFIG, &[]).await.expect("the router starts");
    let client = router.client().await.expect("a connection");
    let life = |epoch| PublisherOptions {
        producer: Some(ProducerIdentity { id: ProducerId(9), epoch: Epoch(epoch) }),
        ..PublisherOptions::default()
    };
    let older = client.publisher(life(1)).await.expect("a stream");
    assert_eq!(offset(&publish(&older, order(7, "older")).await.await), 0);
    let newer = client.publisher(life(2)).await.expect("a stream");
    assert_eq!(offset(&publish(&newer, order(7, "newer")).await.await), 1);
    let refused = publish(&older, order(7, "too late")).await.await;
    assert!(refused.to_string_lossy().contains("PRODUCER_FENCED"), "{refused:?}");
    router.stop().await.expect("it drains");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_publisher_with_the_same_epoch_ends_instead_of_losing_what_it_publishes() {
    let router = Router::start(CONFIG, &[]).await.expect("the router starts");
    let client = router.client().await.expect("a connection");
    let life = || PublisherOptions {
        producer: Some(ProducerIdentity { id: ProducerId(9), epoch: Epoch(1) }),
        ..PublisherOptions::default()
    };
    let first = client.publisher(life()).await.expect("a stream");
    assert_eq!(offset(&publish(&first, order(7, "first")).await.await), 0);
    first.close().await;
    let second = client.publisher(life()).await.expect("a stream");
    let outcome = publish(&second, order(7, "second")).await.await;
    let text = outcome.to_string_lossy();
    assert!(text.contains("begin each life of a publisher with a greater epoch"), "{outcome:?}");
    client.close().await;
    router.stop().await.expect("it drains");
}

#[tokio::test(flavor = "multi_thread")]
async fn below_its_reserve_the_router_starts_and_gives_what_it_has() {
    let mut router = Router::start(CONFIG, &[]).await.expect("the router starts");
    let client = router.client().await.expect("a connection");
    let publisher = client.publisher(PublisherOptions::default()).await.expect("a stream");
    assert_eq!(offset(&publish(&publisher, order(7, "kept")).await.await), 0);
    // More than any disk has.
    let below = CONFIG.replace("reserve_bytes = 0", "reserve_bytes = 1000000000000000");
    router.configure(&below).expect("it is written");
    router.restart().await.expect("it needs no room for the streams that it has");
    let from = SubscriberOptions { from: Some(From::Beginning), ..SubscriberOptions::default() };
    let other = router.client().await.expect("a connection");
    let mut subscriber = other.subscribe("orders.*", from).await.expect("a pattern");
    let message = tokio::time::timeout(PATIENCE, subscriber.recv()).await.expect("in time");
    let message = message.expect("the stream goes on").expect("without an error");
    assert_eq!(message.payload(), b"kept");
    let refused = publish(&publisher, order(7, "known")).await.await;
    assert!(refused.to_string_lossy().contains("STORAGE_FULL"), "{refused:?}");
    let late = other.publisher(PublisherOptions::default()).await.expect("a stream");
    for _ in 0..2 {
        let refused = publish(&late, order(7, "unknown")).await.await;
        assert!(refused.to_string_lossy().contains("STORAGE_FULL"), "{refused:?}");
        let routed = publish(&late, Message::new("memory", b"x")).await.await;
        assert!(routed.is_committed(), "{routed:?}");
    }
    router.configure(CONFIG).expect("it is written");
    router.restart().await.expect("the router starts");
    assert_eq!(offset(&publish(&late, order(7, "again")).await.await), 1);
    client.close().await;
    router.stop().await.expect("it drains");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_that_is_one_too_many_is_told_so_and_may_use_memory_topics() {
    let config = CONFIG.replace("[storage]", "[storage]\n    max_producers = 1");
    let router = Router::start(&config, &[]).await.expect("the router starts");
    let client = router.client().await.expect("a connection");
    let first = client.publisher(PublisherOptions::default()).await.expect("a stream");
    assert_eq!(offset(&publish(&first, order(7, "first")).await.await), 0);
    let second = client.publisher(PublisherOptions::default()).await.expect("a stream");
    let refused = publish(&second, order(7, "second")).await.await;
    assert!(refused.to_string_lossy().contains("TOO_MANY_PRODUCERS"), "{refused:?}");
    let routed = publish(&second, Message::new("memory", b"x")).await.await;
    assert!(routed.is_committed(), "{routed:?}");
    assert_eq!(offset(&publish(&first, order(7, "first")).await.await), 1);
    client.close().await;
    router.stop().await.expect("it drains");
}

#[tokio::test(flavor = "multi_thread")]
async fn other_partitions_than_are_stored_are_a_fault_of_the_configuration() {
    let mut router = Router::start(CONFIG, &[]).await.expect("the router starts");
    router.configure(&CONFIG.replace("partitions = 2", "partitions = 3")).expect("it is written");
    let error = router.restart().await.expect_err("keys would change their partitions");
    let text = format!("{error:#}");
    assert!(text.contains("has 2 partitions and is declared with 3"), "{text}");
    assert!(text.contains("78"), "{text}");
}

/// What an outcome says, for a test that looks for a word.
trait Said {
    fn to_string_lossy(&self) -> String;
}

impl Said for Outcome {
    fn to_string_lossy(&self) -> String {
        match self {
            Outcome::Rejected { code, message } => format!("{code}: {message}"),
            Outcome::Unknown { reason } => reason.to_string(),
            Outcome::Committed { .. } => String::new(),
        }
    }
}
