//! Plugins are replaced while messages flow: every message by exactly one version, none lost, none twice,
//! in order.
#![forbid(unsafe_code)]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use waypost_client::{Client, Message, Outcome, PublisherOptions, SubscriberOptions};
use waypost_tests::{Router, another_build, built_guest};

const SWAPS: u8 = 40;
const PUBLISHERS: u8 = 2;
const CONFIG: &str = r#"
[[route]]
name = "load"
from = "load.in"
to = "load.out"
lanes = 2

[[route.stage]]
name = "keep"
plugin = "byte-filter"
"#;

/// Publishes numbered messages as fast as they are taken until told to stop; gives how many.
async fn publish(client: Client, publisher: u8, enough: Arc<AtomicBool>) -> u64 {
    let sender = client.publisher(PublisherOptions::default()).await.expect("a publish stream");
    let mut receipts = std::collections::VecDeque::new();
    let mut number = 0_u64;
    while !enough.load(Ordering::Relaxed) {
        let mut payload = vec![1, publisher];
        payload.extend(number.to_le_bytes());
        payload.resize(128, b'x');
        let message = Message::new("load.in", payload).key([publisher].to_vec());
        receipts.push_back(sender.publish(message).await.expect("it is taken"));
        number += 1;
        if receipts.len() > 10_000 {
            let receipt = receipts.pop_front().expect("there are many");
            assert!(matches!(receipt.await, Outcome::Committed { unrouted: false, .. }));
        }
    }
    sender.flush().await;
    for receipt in receipts {
        assert!(matches!(receipt.await, Outcome::Committed { unrouted: false, .. }));
    }
    sender.close().await;
    client.close().await;
    number
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forty_swaps_under_full_load_lose_nothing_double_nothing_and_keep_the_order() {
    let router = Router::start(CONFIG, &[("byte-filter", built_guest("byte-filter"))])
        .await
        .expect("the router starts");
    let subscriber = router.client().await.expect("a connection");
    let mut subscription =
        subscriber.subscribe("load.out", SubscriberOptions::default()).await.expect("a pattern");
    let enough = Arc::new(AtomicBool::new(false));
    let mut publishing = Vec::new();
    for publisher in 0..PUBLISHERS {
        let client = router.client().await.expect("a connection");
        publishing.push(tokio::spawn(publish(client, publisher, enough.clone())));
    }

    // Counts each publisher's messages, and notes which versions processed them.
    let counting = tokio::spawn(async move {
        let mut next = BTreeMap::from_iter((0..PUBLISHERS).map(|publisher| (publisher, 0_u64)));
        let mut versions = BTreeSet::new();
        let mut goal: Option<u64> = None;
        let (tell_goal, mut goals) = tokio::sync::mpsc::channel::<u64>(1);
        let task = async move {
            while goal != Some(next.values().sum()) {
                let delivered = tokio::select! {
                    delivered = subscription.next_batch() => delivered,
                    Some(told) = goals.recv() => {
                        goal = Some(told);
                        continue;
                    }
                };
                let delivered = delivered.expect("the stream goes on").expect("without an error");
                let [run] = delivered.envelope.stages.as_slice() else {
                    panic!("the envelope names one version of the one stage");
                };
                versions.insert(run.digest);
                for message in delivered.batch.iter() {
                    let payload = message.payload();
                    let number = u64::from_le_bytes(payload[2..10].try_into().expect("8 bytes"));
                    let expected = next.get_mut(&payload[1]).expect("a publisher of ours");
                    assert_eq!(number, *expected, "of publisher {}", payload[1]);
                    *expected += 1;
                }
            }
            versions
        };
        (tell_goal, tokio::spawn(task))
    });
    let (tell_goal, counting) = counting.await.expect("it was started");

    let original = router.artefact("byte-filter").expect("it was put there");
    for number in 0..SWAPS {
        let before = router.digest_of("byte-filter").await.expect("the admin server answers");
        router.put("byte-filter", &another_build(&original, number)).expect("it is written");
        while router.digest_of("byte-filter").await.expect("the admin server answers") == before {
            assert!(!counting.is_finished(), "a message was lost, doubled or out of order");
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }
    enough.store(true, Ordering::Relaxed);
    let mut published = 0;
    for each in publishing {
        published += each.await.expect("the publisher ends well");
    }
    tell_goal.send(published).await.expect("the counter still counts");
    let versions = counting.await.expect("nothing was lost, doubled or out of order");
    let swaps = router.metric("waypost_stage_swaps_total").await.expect("a series");
    assert_eq!(swaps, f64::from(SWAPS));
    println!("{published} messages, {} versions processed some of them", versions.len());
    assert!(versions.len() > usize::from(SWAPS / 2), "traffic met most versions");
    subscriber.close().await;
    router.stop().await.expect("it drains");
}
