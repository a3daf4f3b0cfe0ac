//! Requests and replies, as the router sees them.

use waypost_protocol::{HeadersBuilder, Inbox, request};

use super::*;

fn inbox(secret: u128) -> String {
    Inbox { owner: ConnectionId(1), secret }.to_string()
}

fn to(topics: &[&str]) -> Batch {
    let mut headers = HeadersBuilder::new();
    headers.push(request::REPLY_TO, inbox(1).as_bytes()).expect("a good header");
    let mut builder = BatchBuilder::new();
    for topic in topics {
        builder.push(topic, None, headers.as_bytes(), b"", 0).expect("it fits");
    }
    builder.finish().expect("there are messages")
}

/// Replies and requests that were counted as nobody's.
fn lost(router: &Router) -> (u64, u64) {
    let metrics = &router.0.fanout.metrics;
    (metrics.dead_inbox_replies.get(), metrics.unanswerable_requests.get())
}

fn no_responder(published: &Published) -> bool {
    matches!(published, Published::Rejected { code: ErrorCode::NoResponder, .. })
}

#[tokio::test(start_paused = true)]
async fn a_reply_reaches_the_inbox_and_nothing_else() {
    let mut thief = route("r", 1, Some("out"));
    thief.source = Pattern::parse("$inbox.>").expect("a pattern");
    let router = router(vec![(thief, stage("1", forward))]);
    let mut requester = subscribe(&router, &inbox(1));
    let (mut all, mut out) = (subscribe(&router, ">"), subscribe(&router, "out"));
    assert_eq!(publish(&router, &to(&[&inbox(1)])).await, COMMITTED);
    assert_eq!(next(&mut requester).await.batch.single_topic(), Some(inbox(1).as_str()));
    router.drain(BLOCK_MAX).await;
    for other in [&mut all, &mut out] {
        assert!(matches!(other.recv().await, Received::Ended(ErrorCode::ShuttingDown)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_dead_inbox_has_no_responder_and_takes_no_neighbour_with_it() {
    let router = router(Vec::new());
    let live = subscribe(&router, &inbox(1));
    assert!(no_responder(&publish(&router, &to(&[&inbox(2)])).await));
    assert!(no_responder(&publish(&router, &to(&[&inbox(2), &inbox(3)])).await));
    let mixed = publish(&router, &to(&[&inbox(2), &inbox(1)])).await;
    assert_eq!(mixed, Published::Committed { unrouted: true });
    assert_eq!(lost(&router), (4, 0));
    drop(live);
    assert!(no_responder(&publish(&router, &to(&[&inbox(1)])).await));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_nobody_takes_is_unrouted_and_counted() {
    let router = router(vec![(route("r", 1, Some("out")), stage("1", forward))]);
    assert_eq!(publish(&router, &to(&["a"])).await, Published::Committed { unrouted: true });
    assert_eq!(lost(&router), (0, 1));
    // A route takes it, and behind the route there is nobody.
    assert_eq!(publish(&router, &to(&["in.a"])).await, COMMITTED);
    assert_eq!(lost(&router), (0, 2));
    // What wants no reply is no request.
    assert_eq!(publish(&router, &batch("a", 0..1)).await, Published::Committed { unrouted: true });
    assert_eq!(lost(&router), (0, 2));
}

#[tokio::test(start_paused = true)]
async fn a_request_keeps_its_headers_through_a_route() {
    let router = router(vec![(route("r", 1, Some("out")), stage("1", forward))]);
    let mut out = subscribe(&router, "out");
    assert_eq!(publish(&router, &to(&["in.a"])).await, COMMITTED);
    let batch = next(&mut out).await.batch;
    let headers = batch.get(0).expect("one message").headers();
    assert_eq!(headers.get(request::REPLY_TO), Some(inbox(1).as_bytes()));
}
