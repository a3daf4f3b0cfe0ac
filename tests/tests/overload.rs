//! A publisher that is far faster than a plugin: the router holds little of it, and other routes go on.
#![forbid(unsafe_code)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;
use waypost_client::{Client, Message, Outcome, PublisherOptions, Subscriber, SubscriberOptions};
use waypost_tests::{Router, built_guest};

/// Between two messages on the quick route.
const PACE: Duration = Duration::from_millis(2);
const OVERLOAD: Duration = Duration::from_secs(30);
/// What the queues of the slow route may hold in all, and some room for the allocator.
const GROWTH_BYTES: u64 = 48 << 20;
const CONFIG: &str = r#"
[[route]]
name = "slow"
from = "slow.in"
to = "slow.out"
batch = { max_messages = 16 }

[[route.stage]]
name = "compute"
plugin = "slow"
config = { rounds = 3000000 }

[[route]]
name = "quick"
from = "quick.in"
to = "quick.out"

[[route.stage]]
name = "keep"
plugin = "byte-filter"
"#;

/// Publishes as fast as it is allowed to, without waiting for results; gives how many were taken.
async fn flood(client: Client, enough: Arc<AtomicBool>) -> u64 {
    let publisher = client.publisher(PublisherOptions::default()).await.expect("a publish stream");
    let mut taken = 0;
    while !enough.load(Ordering::Relaxed) {
        let message = Message::new("slow.in", vec![b'x'; 128]);
        match tokio::time::timeout(Duration::from_millis(100), publisher.publish(message)).await {
            // Nobody waits for the receipt: what matters here is what the router holds.
            Ok(receipt) => drop(receipt.expect("it is taken")),
            Err(_) => continue,
        }
        taken += 1;
    }
    // Dropped, not closed: to flush it would take the slow plugin minutes.
    taken
}

async fn count(mut subscription: Subscriber, counter: Arc<AtomicU64>) {
    while let Some(Ok(delivered)) = subscription.next_batch().await {
        counter.fetch_add(delivered.batch.len() as u64, Ordering::Relaxed);
    }
}

/// Offers messages to the quick route at a steady rate; gives how many were committed.
async fn offer(client: &Client, during: Duration) -> u64 {
    let publisher = client.publisher(PublisherOptions::default()).await.expect("a publish stream");
    let mut clock = tokio::time::interval(PACE);
    let mut receipts = Vec::new();
    let end = Instant::now() + during;
    // An interval that was missed is made up for, so the rate holds unless the router does not.
    while Instant::now() < end {
        clock.tick().await;
        let message = Message::new("quick.in", vec![b'x'; 128]);
        receipts.push(publisher.publish(message).await.expect("it is taken"));
    }
    let committed = receipts.len() as u64;
    publisher.flush().await;
    for receipt in receipts {
        assert!(matches!(receipt.await, Outcome::Committed { unrouted: false, .. }));
    }
    publisher.close().await;
    committed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publisher_faster_than_a_plugin_costs_no_memory_and_no_other_route() {
    let plugins = [("slow", built_guest("slow")), ("byte-filter", built_guest("byte-filter"))];
    let router = Router::start(CONFIG, &plugins).await.expect("the router starts");
    let client = router.client().await.expect("a connection");
    let (slow, quick) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    for (pattern, counter) in [("slow.out", &slow), ("quick.out", &quick)] {
        let subscription = client.subscribe(pattern, SubscriberOptions::default()).await;
        tokio::spawn(count(subscription.expect("a pattern"), counter.clone()));
    }
    let calm = offer(&client, Duration::from_secs(5)).await;

    let enough = Arc::new(AtomicBool::new(false));
    let flooding = router.client().await.expect("a connection");
    let flooding = tokio::spawn(flood(flooding, enough.clone()));
    // The queues fill first; what counts is what comes after.
    let mut during = offer(&client, Duration::from_secs(5)).await;
    let before = router.memory_bytes().expect("it runs");
    let mut most = before;
    let end = Instant::now() + OVERLOAD - Duration::from_secs(5);
    while Instant::now() < end {
        during += offer(&client, Duration::from_secs(1)).await;
        most = most.max(router.memory_bytes().expect("it runs"));
    }
    enough.store(true, Ordering::Relaxed);
    let taken = flooding.await.expect("the flood ends well");
    let (slow, quick) = (slow.load(Ordering::Relaxed), quick.load(Ordering::Relaxed));
    let (calm_rate, rate) = (calm as f64 / 5.0, during as f64 / OVERLOAD.as_secs_f64());
    println!(
        "slow route: {slow} messages came out, {taken} were taken from the publisher; \
         quick route: {rate:.0}/s beside {calm_rate:.0}/s in calm; \
         memory {} MiB when the queues were full, {} MiB at most afterwards",
        before >> 20,
        most >> 20
    );
    assert!(slow > 0, "the slow route works");
    assert!(most < before + GROWTH_BYTES, "memory grew from {before} to {most}");
    assert!(during > 0 && quick >= calm + during, "every quick message arrived");
    let dead = router.metric("waypost_dead_letters_total").await.expect("the admin server answers");
    assert_eq!(dead, 0.0, "slowness is no failure");
}
