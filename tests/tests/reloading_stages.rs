//! Routes and their stages change while messages flow: none is lost, doubled or out of order, and a plugin
//! that refuses one keeps all as it was.
#![forbid(unsafe_code)]

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use waypost_client::{Client, Message, Outcome, PublisherOptions, SubscriberOptions};
use waypost_tests::{Router, built_guest};

const RELOADS: u8 = 20;

/// A route whose lanes, stages and stages' configuration are others each time, and a second one that comes and
/// goes. None of it drops payloads that begin with 1.
fn changing(count: u8) -> String {
    let byte = if count.is_multiple_of(2) { "2" } else { "3" };
    let stage = |name: &str| {
        format!(
            "[[route.stage]]\nname = '{name}'\nplugin = 'byte-filter'\nconfig = {{ drop = {byte} }}\n"
        )
    };
    let lanes = count / 2 % 3 + 1;
    let mut text = format!(
        "[[route]]\nname = 'load'\nfrom = '{}.in'\nto = 'load.out'\nlanes = {lanes}\n",
        if count % 5 < 3 { "load" } else { "*" },
    );
    if count % 4 > 1 {
        text += &stage("before");
    }
    text += &stage("keep");
    if count.is_multiple_of(3) {
        text += "[[route]]\nname = 'beside'\nfrom = 'load.in'\nto = 'beside'\n";
        text += &stage("beside");
    }
    text
}

/// A configuration whose stage drops payloads that begin with a byte, written as TOML.
fn dropping(byte: &str) -> String {
    format!(
        "[[route]]\nname = 'load'\nfrom = 'load.in'\nto = 'load.out'\n\
         [[route.stage]]\nname = 'keep'\nplugin = 'byte-filter'\nconfig = {{ drop = {byte} }}\n"
    )
}

fn message(first: u8, number: u64) -> Message<'static> {
    let mut payload = vec![first];
    payload.extend(number.to_le_bytes());
    Message::new("load.in", payload).key(b"key".to_vec())
}

/// Publishes numbered messages that no configuration drops, as fast as they are taken, until told to stop.
async fn publish(client: Client, enough: Arc<AtomicBool>) -> u64 {
    let sender = client.publisher(PublisherOptions::default()).await.expect("a publish stream");
    let (mut receipts, mut number) = (VecDeque::new(), 0);
    while !enough.load(Ordering::Relaxed) || !receipts.is_empty() {
        if !enough.load(Ordering::Relaxed) {
            receipts.push_back(sender.publish(message(1, number)).await.expect("it is taken"));
            number += 1;
        } else {
            sender.flush().await;
        }
        if receipts.len() > 10_000 || enough.load(Ordering::Relaxed) {
            let receipt = receipts.pop_front().expect("there is one");
            assert!(matches!(receipt.await, Outcome::Committed { unrouted: false, .. }));
        }
    }
    sender.close().await;
    client.close().await;
    number
}

/// Waits until so many reloads had this outcome.
async fn until(router: &Router, outcome: &str, count: u8) {
    let series = format!("waypost_configuration_reloads_total{{outcome=\"{outcome}\"}}");
    router.until(&series, f64::from(count)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_reloads_under_load_lose_nothing_double_nothing_and_keep_the_order() {
    let plugins = [("byte-filter", built_guest("byte-filter"))];
    let router = Router::start(&dropping("2"), &plugins).await.expect("the router starts");
    let subscriber = router.client().await.expect("a connection");
    let mut subscription =
        subscriber.subscribe("load.out", SubscriberOptions::default()).await.expect("a pattern");
    let enough = Arc::new(AtomicBool::new(false));
    let client = router.client().await.expect("a connection");
    let publishing = tokio::spawn(publish(client, enough.clone()));
    let (tell_goal, mut goals) = tokio::sync::mpsc::channel::<u64>(1);
    let counting = tokio::spawn(async move {
        let (mut next, mut goal) = (0, None);
        while goal != Some(next) {
            let delivered = tokio::select! {
                delivered = subscription.next_batch() => delivered,
                Some(told) = goals.recv() => {
                    goal = Some(told);
                    continue;
                }
            };
            let delivered = delivered.expect("the stream goes on").expect("without an error");
            for message in delivered.batch.iter() {
                let number = message.payload()[1..9].try_into().expect("8 bytes");
                assert_eq!(u64::from_le_bytes(number), next);
                next += 1;
            }
        }
        subscription
    });

    for count in 1..=RELOADS {
        router.configure(&changing(count)).expect("it is written");
        until(&router, "applied", count).await;
        assert!(!counting.is_finished(), "a message was lost, doubled or out of order");
    }
    router.configure(&dropping("2")).expect("it is written");
    until(&router, "applied", RELOADS + 1).await;
    router.configure(&dropping("'no byte'")).expect("it is written");
    until(&router, "refused", 1).await;
    assert!(router.log().contains("load/keep"), "{}", router.log());
    enough.store(true, Ordering::Relaxed);
    let published = publishing.await.expect("the publisher ends well");
    tell_goal.send(published).await.expect("the counter still counts");
    let mut subscription = counting.await.expect("nothing was lost, doubled or out of order");
    println!("{published} messages");

    // What the last good configuration says holds: 2 is dropped and 3 is not.
    let client = router.client().await.expect("a connection");
    let sender = client.publisher(PublisherOptions::default()).await.expect("a publish stream");
    for first in [2, 3] {
        let receipt = sender.publish(message(first, 0)).await.expect("it is taken");
        assert!(matches!(receipt.await, Outcome::Committed { .. }));
    }
    let kept = subscription.recv().await.expect("the stream goes on").expect("without an error");
    assert_eq!(kept.payload()[0], 3);
    sender.close().await;
    client.close().await;
    subscriber.close().await;
    router.stop().await.expect("it drains");
}
