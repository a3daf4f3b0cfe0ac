//! Messages whose time to live is over: nobody is handed them, and nothing waits for them.
#![forbid(unsafe_code)]

use std::time::{Duration, SystemTime};

use waypost_client::{
    Client, ErrorCode, From, MemberOptions, Message, Outcome, PublisherOptions, SubscriberOptions,
};
use waypost_tests::Router;

/// Far more than any of this takes; a test that meets it has failed.
const PATIENCE: Duration = Duration::from_secs(60);

const STREAMS: &str = "
    [storage]
    reserve_bytes = 0
    [[stream]]
    name = 'jobs'
    topics = ['jobs.>']
    [[stream]]
    name = 'brief'
    topics = ['brief.>']
    ttl_ms = 1
    [[stream]]
    name = 'kept'
    topics = ['copied', '$dead.>']
";

const ROUTE: &str = "
    [[route]]
    name = 'copy'
    from = 'jobs.>'
    to = 'copied'
    start = 'beginning'
";

/// Publishes one message and gives its outcome.
async fn publish(client: &Client, message: Message<'_>) -> Outcome {
    let publisher = client.publisher(PublisherOptions::default()).await.expect("a stream");
    let receipt = publisher.publish(message).await.expect("it is taken");
    let outcome = receipt.await;
    publisher.close().await;
    outcome
}

async fn stored(client: &Client, message: Message<'_>) {
    let outcome = publish(client, message).await;
    assert!(matches!(outcome, Outcome::Committed { .. }), "{outcome:?}");
}

/// Waits until the clock that the router has too shows another millisecond, and one more.
async fn clock_moves_on() {
    let before = SystemTime::now();
    while before.elapsed().is_ok_and(|elapsed| elapsed <= Duration::from_millis(2)) {
        tokio::task::yield_now().await;
    }
}

/// The next payloads of a pattern, from the oldest that is there, with their offsets.
async fn read(client: &Client, pattern: &str, count: usize) -> Vec<(String, u64)> {
    let options = SubscriberOptions { from: Some(From::Beginning), ..SubscriberOptions::default() };
    let mut subscriber = client.subscribe(pattern, options).await.expect("a stream keeps it");
    let mut read = Vec::new();
    for _ in 0..count {
        let next = tokio::time::timeout(PATIENCE, subscriber.recv()).await.expect("in time");
        let message = next.expect("it goes on").expect("without an error");
        let text = String::from_utf8_lossy(message.payload()).into_owned();
        read.push((text, message.offset().expect("a stream counts").0));
    }
    read
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_over_goes_to_nobody_and_holds_nobody_up() {
    let mut router = Router::start(STREAMS, &[]).await.expect("the router starts");
    let client = router.client().await.expect("a connection");
    let short = Duration::from_millis(1);
    let job = |text: &'static str| Message::new("jobs.a", text.as_bytes()).key(b"one".as_slice());
    stored(&client, job("over").ttl(short).expect("a time to live")).await;
    stored(&client, job("for ever")).await;
    stored(&client, job("over").ttl(short).expect("a time to live")).await;
    let hour = Duration::from_secs(3600);
    stored(&client, job("for an hour").ttl(hour).expect("a time to live")).await;
    stored(&client, job("over").ttl(short).expect("a time to live")).await;
    stored(&client, Message::new("brief.a", b"over".as_slice())).await;
    let own = Message::new("brief.a", b"for an hour".as_slice());
    stored(&client, own.ttl(hour).expect("a time to live")).await;
    clock_moves_on().await;

    let expected = [("for ever".to_owned(), 1), ("for an hour".to_owned(), 3)];
    assert_eq!(read(&client, "jobs.>", 2).await, expected);
    assert_eq!(read(&client, "brief.>", 1).await, [("for an hour".to_owned(), 1)]);

    let member = client.join("workers", "jobs.>", MemberOptions::default()).await;
    let mut member = member.expect("it is let in");
    for (text, offset) in &expected {
        let next = tokio::time::timeout(PATIENCE, member.recv()).await.expect("in time");
        let delivery = next.expect("it goes on").expect("without an error");
        assert_eq!(delivery.payload(), text.as_bytes());
        assert_eq!(delivery.offset().map(|offset| offset.0), Some(*offset));
        delivery.ack_confirmed().await.expect("the lease holds");
    }
    // Everything is done, with what was passed over in front and behind.
    let done = async {
        while !router
            .admin("/api/v1/groups/workers")
            .await
            .expect("it tells")
            .contains("\"offset\":5")
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, done).await.expect("the group passes over what is over");
    drop(member);
    assert!(router.metric("waypost_expired_messages_total").await.expect("it tells") >= 7.0);

    client.close().await;
    router.configure(&format!("{STREAMS}{ROUTE}")).expect("it is written");
    router.restart().await.expect("it starts");
    router.until("waypost_route_progress_offset", 5.0).await;
    let client = router.client().await.expect("a connection");
    let copied = read(&client, "copied", 2).await;
    assert_eq!(copied, [("for ever".to_owned(), 0), ("for an hour".to_owned(), 1)]);
    assert!(router.metric("waypost_expired_messages_total").await.expect("it tells") >= 3.0);
    client.close().await;
    router.stop().await.expect("it drains");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_to_live_that_is_none_is_refused_with_its_place() {
    let router = Router::start(STREAMS, &[]).await.expect("the router starts");
    let client = router.client().await.expect("a connection");
    for topic in ["jobs.a", "memory"] {
        for bad in ["0", "soon", "-5", "1.5", "99999999999999"] {
            let message = Message::new(topic, b"x".as_slice()).header("wp-ttl", bad);
            let outcome = publish(&client, message.expect("a header")).await;
            let Outcome::Rejected { code, message } = outcome else { panic!("{bad}: {outcome:?}") };
            assert_eq!(code, ErrorCode::BadTtl);
            assert!(message.contains("message 0: wp-ttl is") && message.contains(bad), "{message}");
        }
    }
    Message::new("jobs.a", b"x".as_slice()).ttl(Duration::ZERO).expect_err("it would be over");
    client.close().await;
    router.stop().await.expect("it drains");
}
