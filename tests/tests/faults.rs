//! What is beneath the router fails: it ends by itself with the code that says so, names what failed, and after the
//! next start nothing that it acknowledged is missing.
#![forbid(unsafe_code)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde_json::Value;
use waypost_client::{
    Client, Epoch, From, Message, Outcome, ProducerId, ProducerIdentity, Publisher,
    PublisherOptions, SubscriberOptions,
};
use waypost_tests::{Config, Faults, Router, RouterOptions, built};

/// Far more than any of this takes; a test that meets it has failed.
const PATIENCE: Duration = Duration::from_secs(60);

const CONFIG: &str = "
    [storage]
    reserve_bytes = 0
    [[stream]]
    name = 'orders'
    topics = ['orders.>']
    [[stream]]
    name = 'quick'
    topics = ['quick.>']
    fsync = 'none'
";
const PRODUCER: ProducerIdentity = ProducerIdentity { id: ProducerId(7), epoch: Epoch(1) };
/// What the router ends with when storage failed.
const STORAGE: i32 = 75;

async fn launch(faults: Faults) -> Router {
    let config = Config::Text(CONFIG.to_owned());
    let options = RouterOptions { config, faults: Some(faults), ..RouterOptions::default() };
    Router::launch(&built("debug/waypost"), &options).await.expect("it starts")
}

fn faults() -> Faults {
    Faults::new(built("debug/libwaypost_faults.so"))
}

/// Publishes a number, and gives the offset that it was stored at, however long that takes.
async fn publish(publisher: &Publisher, topic: &'static str, number: u64) -> u64 {
    let message = Message::new(topic, number.to_string().into_bytes());
    let receipt = publisher.publish(message).await.expect("it is taken");
    let outcome = tokio::time::timeout(PATIENCE, receipt).await.expect("it is answered in time");
    match outcome {
        Outcome::Committed { offset: Some(offset), .. } => offset.0,
        outcome => panic!("{number}: {outcome:?}"),
    }
}

/// How many messages a stream holds.
async fn held(router: &Router, stream: &str) -> u64 {
    let text = router.admin("/api/v1/streams").await.expect("it answers");
    let answer: Value = serde_json::from_str(&text).expect("JSON");
    let streams = answer["streams"].as_array().expect("there are some");
    let found = streams.iter().find(|each| each["name"] == stream).expect("it is there");
    found["partitions"][0]["messages"].as_u64().expect("a number")
}

/// What is stored under a topic, which must be the numbers up to a count, each once and in order.
async fn check_stored(client: &Client, topic: &str, count: u64) {
    let options = SubscriberOptions { from: Some(From::Beginning), ..SubscriberOptions::default() };
    let mut reader = client.subscribe(topic, options).await.expect("a stream keeps it");
    for number in 0..count {
        let next = tokio::time::timeout(PATIENCE, reader.recv()).await.expect("it comes in time");
        let next = next.expect("the stream goes on").expect("without an error");
        assert_eq!(next.payload(), number.to_string().as_bytes());
    }
}

/// Meets a fault at its next start or while it takes messages, ends with 75, says these words, and goes on at the start
/// behind that.
async fn check(fault: &str, words: &str) {
    let mut router = launch(faults()).await;
    let client = router.client().await.expect("a connection");
    let options = PublisherOptions { producer: Some(PRODUCER), ..PublisherOptions::default() };
    let publisher = client.publisher(options).await.expect("a stream");
    assert_eq!(publish(&publisher, "orders.eu", 0).await, 0);
    router.fail(Some(fault.to_owned())).expect("there are faults");
    let has_recovered = Arc::new(AtomicBool::new(false));
    let told = has_recovered.clone();
    let publishing = tokio::spawn(async move {
        let mut number = 1;
        while !told.load(Ordering::Relaxed) {
            // What has no answer waits for the router's next life.
            assert_eq!(publish(&publisher, "orders.eu", number).await, number, "offsets go on");
            number += 1;
        }
        number
    });
    let status = router.restart_until_end().await.expect("it ends by itself");
    let log = router.log();
    assert_eq!(status.code(), Some(STORAGE), "{fault}: {status}\n{log}");
    let last = log.lines().rfind(|line| line.starts_with("error: ")).unwrap_or_default();
    println!("{fault}: {last}");
    assert!(last.contains(words), "{fault}: {last:?}\n{log}");
    router.fail(None).expect("there are faults");
    router.restart().await.expect("it starts again");
    has_recovered.store(true, Ordering::Relaxed);
    let count = publishing.await.expect("each was stored once");
    assert_eq!(held(&router, "orders").await, count, "{fault}: what was told is what is there");
    check_stored(&client, "orders.>", count).await;
    client.close().await;
    router.stop().await.expect("it drains");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_fails_ends_the_router_with_75_and_loses_nothing() {
    check("eio:write:100", "Input/output error").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_that_fails_ends_the_router_with_75_and_loses_nothing() {
    check("eio:sync:40", "Input/output error").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_ends_the_router_with_75_and_loses_nothing() {
    check("enospc:write:100", "No space left on device").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_system_that_becomes_read_only_ends_the_router_with_75_and_loses_nothing() {
    check("erofs:write:100", "Read-only file system").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_system_that_is_read_only_at_the_start_refuses_it_with_75() {
    check("erofs:open:1", "Read-only file system").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_that_take_half_of_what_they_are_given_are_gone_on_with() {
    let mut router = launch(faults()).await;
    router.fail(Some("short:write:1".to_owned())).expect("there are faults");
    router.restart().await.expect("it starts all the same");
    let client = router.client().await.expect("a connection");
    let publisher = client.publisher(PublisherOptions::default()).await.expect("a stream");
    for number in 0..20 {
        assert_eq!(publish(&publisher, "orders.eu", number).await, number);
    }
    client.close().await;
    router.restart().await.expect("everything is whole");
    let client = router.client().await.expect("a connection");
    check_stored(&client, "orders.>", 20).await;
    client.close().await;
    router.stop().await.expect("it drains");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_loss_of_power_takes_what_was_not_synced_and_nothing_else() {
    let mut router = launch(faults().with_disk()).await;
    let client = router.client().await.expect("a connection");
    let publisher = client.publisher(PublisherOptions::default()).await.expect("a stream");
    for number in 0..3 {
        assert_eq!(publish(&publisher, "orders.eu", number).await, number);
    }
    for number in 0..20 {
        assert_eq!(publish(&publisher, "quick.eu", number).await, number);
    }
    client.close().await;
    router.cut_power().await.expect("there is a disk");
    router.restart().await.expect("it recovers");
    assert_eq!(held(&router, "quick").await, 0, "they were not synced");
    assert_eq!(held(&router, "orders").await, 3);
    let client = router.client().await.expect("a connection");
    check_stored(&client, "orders.>", 3).await;
    client.close().await;
    router.stop().await.expect("it drains");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_start_recovers_outlives_the_loss_of_power_behind_it() {
    let mut router = launch(faults().with_disk()).await;
    let client = router.client().await.expect("a connection");
    let publisher = client.publisher(PublisherOptions::default()).await.expect("a stream");
    for number in 0..20 {
        assert_eq!(publish(&publisher, "quick.eu", number).await, number);
    }
    client.close().await;
    router.restart().await.expect("it recovers");
    assert_eq!(held(&router, "quick").await, 20, "a kill takes nothing");
    router.cut_power().await.expect("there is a disk");
    router.restart().await.expect("it recovers");
    let client = router.client().await.expect("a connection");
    check_stored(&client, "quick.>", 20).await;
    client.close().await;
    router.stop().await.expect("it drains");
}
