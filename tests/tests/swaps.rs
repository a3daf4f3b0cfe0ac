//! Plugins are replaced while messages flow: every message by exactly one version, none lost, none twice,
//! in order.
//!
//! `WAYPOST_SWAPS` sets how often, 40 times without it; `WAYPOST_BINARY` another build of the command.
#![forbid(unsafe_code)]

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use waypost_client::{Client, Message, Outcome, PublisherOptions, SubscriberOptions};
use waypost_tests::{Config, Router, RouterOptions, another_build, built, built_guest};

const SWAPS: u32 = 40;
/// How long the same load runs before the first swap, to compare with.
const QUIET: Duration = Duration::from_secs(2);
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

/// How often a plugin is replaced.
fn swaps() -> u32 {
    let set = std::env::var("WAYPOST_SWAPS").ok();
    set.map_or(SWAPS, |text| text.parse().expect("WAYPOST_SWAPS is a number"))
}

async fn router() -> Router {
    let binary = std::env::var_os("WAYPOST_BINARY").map(PathBuf::from);
    let options = RouterOptions {
        config: Config::Text(CONFIG.to_owned()),
        plugins: vec![("byte-filter".to_owned(), built_guest("byte-filter"))],
    };
    let binary = binary.unwrap_or_else(|| built("debug/waypost"));
    Router::launch(&binary, &options).await.expect("the router starts")
}

/// What 99 of 100 do not exceed.
fn p99(waits: &[Duration]) -> Duration {
    let mut sorted = waits.to_vec();
    sorted.sort();
    sorted.get(sorted.len() * 99 / 100).copied().unwrap_or_default()
}

/// Publishes numbered messages as fast as they are taken until told to stop; gives how many.
async fn publish(client: Client, publisher: u8, origin: Instant, enough: Arc<AtomicBool>) -> u64 {
    let sender = client.publisher(PublisherOptions::default()).await.expect("a publish stream");
    let mut receipts = std::collections::VecDeque::new();
    let mut number = 0_u64;
    while !enough.load(Ordering::Relaxed) {
        let mut payload = vec![1, publisher];
        payload.extend(number.to_le_bytes());
        payload.extend((origin.elapsed().as_nanos() as u64).to_le_bytes());
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
async fn swaps_under_full_load_lose_nothing_double_nothing_and_keep_the_order() {
    let (swaps, origin) = (swaps(), Instant::now());
    let router = router().await;
    let subscriber = router.client().await.expect("a connection");
    let mut subscription =
        subscriber.subscribe("load.out", SubscriberOptions::default()).await.expect("a pattern");
    let enough = Arc::new(AtomicBool::new(false));
    let mut publishing = Vec::new();
    for publisher in 0..PUBLISHERS {
        let client = router.client().await.expect("a connection");
        publishing.push(tokio::spawn(publish(client, publisher, origin, enough.clone())));
    }

    // Counts each publisher's messages, and notes which versions processed them. How long a sample of them
    // took is kept with when it was published.
    let counting = tokio::spawn(async move {
        let mut next = BTreeMap::from_iter((0..PUBLISHERS).map(|publisher| (publisher, 0_u64)));
        let (mut versions, mut waits) = (BTreeSet::new(), Vec::new());
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
                let word = |payload: &[u8], from: usize| {
                    let bytes = payload[from..from + 8].try_into();
                    u64::from_le_bytes(bytes.expect("8 bytes"))
                };
                for (index, message) in delivered.batch.iter().enumerate() {
                    let payload = message.payload();
                    let number = word(payload, 2);
                    if index == 0 {
                        let published = Duration::from_nanos(word(payload, 10));
                        waits.push((published, origin.elapsed().saturating_sub(published)));
                    }
                    let expected = next.get_mut(&payload[1]).expect("a publisher of ours");
                    assert_eq!(number, *expected, "of publisher {}", payload[1]);
                    *expected += 1;
                }
            }
            (versions, waits)
        };
        (tell_goal, tokio::spawn(task))
    });
    let (tell_goal, counting) = counting.await.expect("it was started");

    let original = router.artefact("byte-filter").expect("it was put there");
    tokio::time::sleep(QUIET).await;
    let first_swap = origin.elapsed();
    for number in 0..swaps {
        let before = router.digest_of("byte-filter").await.expect("the admin server answers");
        router.put("byte-filter", &another_build(&original, number)).expect("it is written");
        while router.digest_of("byte-filter").await.expect("the admin server answers") == before {
            assert!(!counting.is_finished(), "a message was lost, doubled or out of order");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    let last_swap = origin.elapsed();
    enough.store(true, Ordering::Relaxed);
    let mut published = 0;
    for each in publishing {
        published += each.await.expect("the publisher ends well");
    }
    tell_goal.send(published).await.expect("the counter still counts");
    let (versions, waits) = counting.await.expect("nothing was lost, doubled or out of order");
    let counted = router.metric("waypost_stage_swaps_total").await.expect("a series");
    assert_eq!(counted, f64::from(swaps));
    let of = |from: Duration, to: Duration| {
        let within = waits.iter().filter(|(published, _)| (from..to).contains(published));
        p99(&within.map(|(_, wait)| *wait).collect::<Vec<_>>())
    };
    println!(
        "{published} messages, {} versions processed some of them; {swaps} swaps in {:?}; p99 {:?} quiet, {:?} \
         under swaps",
        versions.len(),
        last_swap - first_swap,
        of(Duration::ZERO, first_swap),
        of(first_swap, last_swap),
    );
    assert!(versions.len() as u32 > swaps / 2, "traffic met most versions");
    subscriber.close().await;
    router.stop().await.expect("it drains");
}
