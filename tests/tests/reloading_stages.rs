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

use tokio::{sync::oneshot, task::JoinHandle};
use waypost_artefacts::Guest;
use waypost_client::{
    Client, Message, Outcome, PublisherOptions, Receipt, Subscriber, SubscriberOptions,
};
use waypost_tests::{Router, built_guest};

const RELOADS: u8 = 20;
/// Messages have so many keys in turns.
const KEYS: u64 = 50;
/// The end of what the route that comes and goes delivers.
const END: u8 = 9;

/// Whether the route `beside` stands after so many reloads. It comes and goes: never twice in a row.
fn has_beside(count: u8) -> bool {
    count.is_multiple_of(3)
}

/// A route that takes the same messages, and whose plugin asks now and then that it is tried again; its stage's
/// configuration is another each time.
fn again(count: u8) -> String {
    format!(
        "[[route]]\nname = 'again'\nfrom = 'load.in'\nto = 'again'\nretry = {{ first_ms = 0, attempts = 30 }}\n\
         [[route.stage]]\nname = 'again'\nplugin = 'again'\nconfig = {{ count = {count} }}\n"
    )
}

/// A guest that asks with every fourth call that the first message is tried again after a millisecond.
fn asks_for_retries() -> Vec<u8> {
    let definitions = r#"
        (global $calls (mut i32) (i32.const 0))
        (func (export "cabi_post_process") (param i32) (global.set $top (i32.const 4096)))"#;
    let process = r#"
        (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
        (local.set $at (call $answer (local.get $count)))
        (if (i32.eqz (i32.and (global.get $calls) (i32.const 3))) (then
            (i32.store8 (i32.load (local.get $at)) (i32.const 3))
            (i64.store offset=8 (i32.load (local.get $at)) (i64.const 1))))
        (local.get $at)"#;
    Guest { definitions: definitions.into(), ..Guest::process(process) }.artefact()
}

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
    if has_beside(count) {
        text += "[[route]]\nname = 'beside'\nfrom = 'load.in'\nto = 'beside'\n";
        text += &stage("beside");
    }
    text + &again(count)
}

/// A configuration whose stage drops payloads that begin with a byte, written as TOML.
fn dropping(byte: &str) -> String {
    let load = format!(
        "[[route]]\nname = 'load'\nfrom = 'load.in'\nto = 'load.out'\n\
         [[route.stage]]\nname = 'keep'\nplugin = 'byte-filter'\nconfig = {{ drop = {byte} }}\n"
    );
    load + &again(0)
}

fn message(first: u8, number: u64) -> Message<'static> {
    let mut payload = vec![first];
    payload.extend(number.to_le_bytes());
    Message::new("load.in", payload).key((number % KEYS).to_le_bytes().to_vec())
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

async fn subscribe(client: &Client, topic: &str) -> Subscriber {
    client.subscribe(topic, SubscriberOptions::default()).await.expect("a pattern")
}

fn number_of(payload: &[u8]) -> u64 {
    u64::from_le_bytes(payload[1..9].try_into().expect("8 bytes"))
}

/// Follows a route that takes every message: each comes out once, in the order of its key. Ends with as many as it is then told.
fn follow(
    mut subscription: Subscriber,
    mut goal: oneshot::Receiver<u64>,
) -> JoinHandle<Subscriber> {
    tokio::spawn(async move {
        let (mut next, mut count, mut known) = ((0..KEYS).collect::<Vec<_>>(), 0, None);
        while known != Some(count) {
            let delivered = tokio::select! {
                delivered = subscription.next_batch() => delivered,
                told = &mut goal, if known.is_none() => {
                    known = Some(told.expect("the test goes on"));
                    continue;
                }
            };
            let delivered = delivered.expect("the stream goes on").expect("without an error");
            for message in delivered.batch.iter() {
                let number = number_of(message.payload());
                let next = &mut next[(number % KEYS) as usize];
                assert_eq!(number, *next);
                (*next, count) = (*next + KEYS, count + 1);
            }
        }
        subscription
    })
}

/// Follows the route that comes and goes until the end is published: while it stands each message comes out once, in
/// order. Gives how many runs of messages without a gap there were.
fn follow_beside(mut subscription: Subscriber) -> JoinHandle<usize> {
    tokio::spawn(async move {
        let (mut runs, mut last) = (0, None);
        loop {
            let delivered = subscription.recv().await.expect("the stream goes on");
            let delivered = delivered.expect("without an error");
            if delivered.payload()[0] == END {
                return runs;
            }
            let number = number_of(delivered.payload());
            assert!(last.is_none_or(|last| last < number), "{number} after {last:?}");
            runs += usize::from(last.is_none_or(|last| last + 1 != number));
            last = Some(number);
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_reloads_under_load_lose_nothing_double_nothing_and_keep_the_order() {
    let folder = tempfile::tempdir().expect("a folder");
    let asking = folder.path().join("again.wasm");
    std::fs::write(&asking, asks_for_retries()).expect("the folder takes a file");
    let plugins = [("byte-filter", built_guest("byte-filter")), ("again", asking)];
    let router = Router::start(&dropping("2"), &plugins).await.expect("the router starts");
    let subscriber = router.client().await.expect("a connection");
    let (mut counting, mut goals) = (Vec::new(), Vec::new());
    for topic in ["load.out", "again"] {
        let (tell, goal) = oneshot::channel();
        counting.push(follow(subscribe(&subscriber, topic).await, goal));
        goals.push(tell);
    }
    let beside = follow_beside(subscribe(&subscriber, "beside").await);
    let enough = Arc::new(AtomicBool::new(false));
    let client = router.client().await.expect("a connection");
    let publishing = tokio::spawn(publish(client, enough.clone()));

    for count in 1..=RELOADS {
        router.configure(&changing(count)).expect("it is written");
        until(&router, "applied", count).await;
        let failed = beside.is_finished() || counting.iter().any(JoinHandle::is_finished);
        assert!(!failed, "a message was lost, doubled or out of order");
    }
    router.configure(&dropping("2")).expect("it is written");
    until(&router, "applied", RELOADS + 1).await;
    router.configure(&dropping("'no byte'")).expect("it is written");
    until(&router, "refused", 1).await;
    assert!(router.log().contains("load/keep"), "{}", router.log());
    enough.store(true, Ordering::Relaxed);
    let published = publishing.await.expect("the publisher ends well");
    for goal in goals {
        goal.send(published).expect("the counter still counts");
    }
    let mut subscriptions = Vec::new();
    for each in counting {
        subscriptions.push(each.await.expect("nothing was lost, doubled or out of order"));
    }
    let client = router.client().await.expect("a connection");
    let sender = client.publisher(PublisherOptions::default()).await.expect("a publish stream");
    let committed = async |receipt: Receipt| {
        assert!(matches!(receipt.await, Outcome::Committed { .. }));
    };
    committed(sender.publish(Message::new("beside", vec![END])).await.expect("it is taken")).await;
    let runs = beside.await.expect("nothing was doubled or out of order");
    let came = (1..=RELOADS).filter(|count| has_beside(*count)).count();
    assert!(runs <= came, "{runs} runs of a route that came {came} times: some of it was lost");
    let retries = "waypost_stage_retries_total{route=\"again\",stage=\"again\"}";
    let retries = router.metric(retries).await.expect("a series");
    assert!(retries > f64::from(RELOADS), "messages waited to be tried again: {retries}");
    println!("{published} messages, {retries} tried again, {runs} runs beside");

    // What the last good configuration says holds: 2 is dropped and 3 is not.
    for first in [2, 3] {
        committed(sender.publish(message(first, 0)).await.expect("it is taken")).await;
    }
    let kept = subscriptions[0].recv().await.expect("the stream goes on");
    assert_eq!(kept.expect("without an error").payload()[0], 3);
    sender.close().await;
    client.close().await;
    subscriber.close().await;
    router.stop().await.expect("it drains");
}
