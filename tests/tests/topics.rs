//! A subscriber that takes nothing for a while, on a topic whose oldest messages may be dropped.
#![forbid(unsafe_code)]

use std::time::Duration;

use waypost_client::{Message, Outcome, PublisherOptions, SubscriberOptions};
use waypost_tests::Router;

const QUEUE: usize = 500;
const SENT: usize = 20_000;
/// Far less than it takes to end a subscription that holds somebody.
const CONFIG: &str = r#"
[router]
block_max_ms = 60_000

[queues]
subscription_messages = 500

[[topic]]
pattern = "telemetry.>"
on_full = "drop-oldest"
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_that_was_away_gets_the_newest_in_order_and_nobody_waited_for_it() {
    let router = Router::start(CONFIG, &[]).await.expect("the router starts");
    let client = router.client().await.expect("a connection");
    let options = SubscriberOptions { credit_messages: 10, ..SubscriberOptions::default() };
    let mut subscription = client.subscribe("telemetry.*", options).await.expect("a pattern");

    let publisher = client.publisher(PublisherOptions::default()).await.expect("a publish stream");
    let mut receipts = Vec::new();
    for number in 0..SENT {
        let message = Message::new("telemetry.a", number.to_string().into_bytes());
        receipts.push(publisher.publish(message).await.expect("it is taken"));
    }
    // Were the subscriber waited for, this would take a minute.
    tokio::time::timeout(Duration::from_secs(30), publisher.flush()).await.expect("nobody waits");
    for receipt in receipts {
        assert!(matches!(receipt.await, Outcome::Committed { unrouted: false, .. }));
    }

    let mut found: Vec<usize> = Vec::new();
    while found.last() != Some(&(SENT - 1)) {
        let delivered = subscription.next_batch().await.expect("it goes on").expect("it stands");
        let numbers = delivered.batch.iter().map(|message| {
            String::from_utf8_lossy(message.payload()).parse::<usize>().expect("a number")
        });
        found.extend(numbers);
    }
    assert!(found.is_sorted_by(|before, after| before < after), "the order stays");
    let newest: Vec<usize> = (SENT - QUEUE..SENT).collect();
    assert!(found.ends_with(&newest), "the newest {QUEUE} waited: {found:?}");
    let dropped = router.metric("waypost_topic_dropped_total").await.expect("the admin answers");
    assert_eq!(dropped, (SENT - found.len()) as f64, "each is delivered or counted");
    println!("{} of {SENT} delivered, {dropped} dropped", found.len());
    assert_eq!(router.metric("waypost_slow_consumers_total").await.expect("it answers"), 0.0);
    router.stop().await.expect("it drains");
}
