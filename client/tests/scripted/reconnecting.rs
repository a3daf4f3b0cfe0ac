//! Connections that are lost while something goes on.

use std::time::Duration;

use waypost_client::{
    Client, Disconnected, ErrorCode, Message, Outcome, PublishError, Publisher, PublisherOptions,
    Receipt, Reconnect, Status, SubscribeError, Subscriber, SubscriberOptions,
};
use waypost_protocol::{Frame, frame::GoingAway};

use crate::router::{Conversation, Peer, Router, batch, payloads};

const CREDIT: SubscriberOptions =
    SubscriberOptions { credit_messages: 10, credit_bytes: 4 << 20, from: None, partition: None };

fn pairs() -> PublisherOptions {
    PublisherOptions {
        max_batch_messages: 2,
        linger: Duration::from_secs(3600),
        ..PublisherOptions::default()
    }
}

async fn publish(publisher: &Publisher, numbers: std::ops::Range<usize>) -> Vec<Receipt> {
    let mut receipts = Vec::new();
    for number in numbers {
        let message = Message::new("a.b", number.to_string().into_bytes());
        receipts.push(publisher.publish(message).await.expect("it is good"));
    }
    receipts
}

async fn check_unknown(receipts: Vec<Receipt>, expected: &str) {
    for receipt in receipts {
        let outcome = receipt.await;
        let Outcome::Unknown { reason } = outcome else {
            panic!("{outcome:?} is another outcome");
        };
        assert!(reason.to_string().contains(expected), "{reason}");
    }
}

async fn check_committed(receipts: Vec<Receipt>) {
    for receipt in receipts {
        let outcome = receipt.await;
        assert!(outcome.is_committed(), "{outcome:?}");
    }
}

/// Takes and commits publishes until it has seen so many messages; gives them.
async fn commit(stream: &mut Conversation, count: usize) -> Vec<String> {
    let (mut seen, mut next) = (Vec::new(), 0);
    while seen.len() < count {
        let (publish, batch) = stream.next_publish().await;
        assert_eq!(publish.first_sequence, next, "each stream counts from zero");
        next += u64::from(publish.count);
        stream.commit(&publish).await;
        seen.extend(payloads(&batch));
    }
    seen
}

async fn subscribed(client: &Client, peer: &Peer) -> (Subscriber, Conversation) {
    let (subscriber, (stream, _)) =
        tokio::join!(client.subscribe("a.>", CREDIT), peer.accept_subscription());
    (subscriber.expect("it stands"), stream)
}

async fn next_payloads(subscriber: &mut Subscriber) -> Vec<String> {
    let delivered = subscriber.next_batch().await.expect("the stream goes on");
    payloads(&delivered.expect("without an error").batch)
}

#[tokio::test]
async fn what_was_sent_is_unknown_and_what_was_not_goes_on_the_next_connection() {
    let router = Router::start();
    let (client, peer) = router.connected(router.options()).await;
    let publisher = client.publisher(pairs()).await.expect("a stream is free");
    let sent = publish(&publisher, 0..2).await;
    let mut stream = peer.accept().await;
    stream.next_publish().await;
    let lingering = publish(&publisher, 2..3).await;
    peer.close(ErrorCode::ShuttingDown);
    check_unknown(sent, "SHUTTING_DOWN").await;
    let (peer, later) = tokio::join!(router.accept(), publish(&publisher, 3..6));
    let seen = commit(&mut peer.accept().await, 4).await;
    assert_eq!(seen, ["2", "3", "4", "5"]);
    check_committed(lingering).await;
    check_committed(later).await;
    assert!(matches!(client.status(), Status::Connected { reconnects: 1, .. }));
}

#[tokio::test]
async fn what_was_sent_is_sent_again_where_that_is_wanted() {
    let router = Router::start();
    let (client, peer) = router.connected(router.options()).await;
    let options = PublisherOptions { resend_unknown: true, ..pairs() };
    let publisher = client.publisher(options).await.expect("a stream is free");
    let receipts = publish(&publisher, 0..4).await;
    let mut stream = peer.accept().await;
    let (first, _) = stream.next_publish().await;
    stream.next_publish().await;
    // Lost after the first was answered, and perhaps before the answer came.
    stream.commit(&first).await;
    peer.close(ErrorCode::ShuttingDown);
    let peer = router.accept().await;
    let seen = peer.accept().await.next_publish().await;
    let first_again = payloads(&seen.1) == ["0", "1"];
    assert!(first_again || payloads(&seen.1) == ["2", "3"]);
    assert_eq!(seen.0.first_sequence, 0);
    drop(receipts);
}

#[tokio::test]
async fn a_subscription_goes_on_with_the_credit_that_is_not_held() {
    let router = Router::start();
    let (client, peer) = router.connected(router.options()).await;
    let (mut subscriber, mut stream) = subscribed(&client, &peer).await;
    let held = batch(&["held", "held", "held"]);
    stream.deliver(&batch(&["taken"])).await;
    assert_eq!(next_payloads(&mut subscriber).await, ["taken"]);
    stream.deliver(&held).await;
    // The client has read it when it answers, for then it has read the stream's end as well.
    stream.send.finish().expect("it was open");
    let (mut stream, subscribe) = peer.accept_subscription().await;
    assert_eq!(subscribe.credit_messages, 10 - 3);
    assert_eq!(subscribe.credit_bytes, (4 << 20) - held.byte_len() as u64);
    stream.deliver(&batch(&["later"])).await;
    assert_eq!(next_payloads(&mut subscriber).await, ["held"; 3]);
    assert_eq!(subscriber.reconnects(), 0, "these came before");
    assert_eq!(next_payloads(&mut subscriber).await, ["later"]);
    assert_eq!(subscriber.reconnects(), 1);
    drop(stream);
    peer.close(ErrorCode::ShuttingDown);
    let peer = router.accept().await;
    let (mut stream, _) = peer.accept_subscription().await;
    stream.deliver(&batch(&["latest"])).await;
    assert_eq!(next_payloads(&mut subscriber).await, ["latest"]);
    assert_eq!(subscriber.reconnects(), 2);
}

#[tokio::test]
async fn a_stopping_router_ends_a_subscription_only_until_the_next_one() {
    let router = Router::start();
    let (client, peer) = router.connected(router.options()).await;
    let (mut subscriber, mut stream) = subscribed(&client, &peer).await;
    stream.send(&Frame::error(ErrorCode::ShuttingDown, "stopping")).await;
    peer.close(ErrorCode::ShuttingDown);
    let peer = router.accept().await;
    let (mut stream, _) = peer.accept_subscription().await;
    stream.deliver(&batch(&["later"])).await;
    assert_eq!(next_payloads(&mut subscriber).await, ["later"]);
}

#[tokio::test]
async fn a_router_that_goes_away_answers_what_it_has_and_gets_nothing_new() {
    let router = Router::start();
    let (client, mut peer) = router.connected(router.options()).await;
    let publisher = client.publisher(pairs()).await.expect("a stream is free");
    let sent = publish(&publisher, 0..2).await;
    let mut stream = peer.accept().await;
    let (first, _) = stream.next_publish().await;
    let away = GoingAway { reason: "restart".into(), deadline_ms: 3_600_000 };
    peer.control.send(&Frame::GoingAway(away)).await;
    assert!(stream.next().await.is_none(), "the client ends the stream");
    let later = publish(&publisher, 2..4).await;
    stream.commit(&first).await;
    stream.send.finish().expect("it was open");
    check_committed(sent).await;
    assert_eq!(peer.closed_with().await, 0, "nothing goes on there any more");
    let peer = router.accept().await;
    assert_eq!(commit(&mut peer.accept().await, 2).await, ["2", "3"]);
    check_committed(later).await;
}

#[tokio::test]
async fn a_router_that_goes_away_delivers_until_it_closes() {
    let router = Router::start();
    let (client, mut peer) = router.connected(router.options()).await;
    let (mut subscriber, mut stream) = subscribed(&client, &peer).await;
    let away = GoingAway { reason: "restart".into(), deadline_ms: 3_600_000 };
    peer.control.send(&Frame::GoingAway(away)).await;
    stream.deliver(&batch(&["last"])).await;
    assert_eq!(next_payloads(&mut subscriber).await, ["last"]);
    peer.close(ErrorCode::ShuttingDown);
    let peer = router.accept().await;
    let (mut stream, _) = peer.accept_subscription().await;
    stream.deliver(&batch(&["first"])).await;
    assert_eq!(next_payloads(&mut subscriber).await, ["first"]);
}

#[tokio::test]
async fn a_router_that_goes_away_and_does_not_close_is_left_at_its_deadline() {
    let router = Router::start();
    let (client, mut peer) = router.connected(router.options()).await;
    let (_subscriber, _stream) = subscribed(&client, &peer).await;
    let away = GoingAway { reason: "restart".into(), deadline_ms: 1 };
    peer.control.send(&Frame::GoingAway(away)).await;
    assert_eq!(peer.closed_with().await, 0);
    router.accept().await.accept_subscription().await;
}

/// Everything ends with this reason, for good.
async fn check_ended(
    client: &Client,
    publisher: &Publisher,
    subscriber: &mut Subscriber,
    receipts: Vec<Receipt>,
    expected: &str,
) {
    let error = subscriber.recv().await.expect("there is a reason").expect_err("it is an error");
    assert!(matches!(error, SubscribeError::Disconnected(_)), "{error}");
    assert!(error.to_string().contains(expected), "{error}");
    assert!(subscriber.recv().await.is_none());
    for receipt in receipts {
        assert!(matches!(receipt.await, Outcome::Unknown { .. }));
    }
    publisher.flush().await;
    let refused = publisher.publish(Message::new("a", b"x")).await.expect_err("it is closed");
    assert!(matches!(refused, PublishError::Closed(_)), "{refused}");
    let Status::Disconnected(reason) = client.status() else {
        panic!("there is no connection");
    };
    assert!(reason.to_string().contains(expected), "{reason}");
    client.publisher(pairs()).await.expect_err("there is no connection");
    client.subscribe("a", CREDIT).await.expect_err("there is no connection");
}

/// A connection with something going on that `end` ends for good.
async fn check_end(
    router: &Router,
    reconnect: Reconnect,
    expected: &str,
    end: impl AsyncFnOnce(&Router, Peer),
) {
    let options = router.options().reconnect(reconnect).connect_timeout(Duration::from_millis(300));
    let (client, peer) = router.connected(options).await;
    let publisher = client.publisher(pairs()).await.expect("a stream is free");
    let mut receipts = publish(&publisher, 0..2).await;
    let mut stream = peer.accept().await;
    stream.next_publish().await;
    let (mut subscriber, _subscription) = subscribed(&client, &peer).await;
    receipts.extend(publish(&publisher, 2..3).await);
    end(router, peer).await;
    check_ended(&client, &publisher, &mut subscriber, receipts, expected).await;
}

fn soon(attempts: u32) -> Reconnect {
    let delay = Duration::from_millis(1);
    Reconnect { initial: delay, max: Duration::from_secs(3600), attempts: Some(attempts) }
}

#[tokio::test]
async fn without_another_attempt_everything_ends_with_the_connection() {
    check_end(&Router::start(), Reconnect::never(), "lost", async |_, peer| {
        peer.close(ErrorCode::ShuttingDown);
    })
    .await;
}

#[tokio::test]
async fn after_the_last_attempt_everything_ends() {
    check_end(&Router::start(), soon(2), "2 attempts", async |router, peer| {
        router.endpoint.set_server_config(None);
        peer.close(ErrorCode::ShuttingDown);
    })
    .await;
}

#[tokio::test]
async fn a_reason_that_no_attempt_mends_is_not_tried_again() {
    for code in [ErrorCode::UnsupportedVersion, ErrorCode::Unauthenticated, ErrorCode::BadBatch] {
        check_end(&Router::start(), soon(1000), code.name(), async |_, peer| peer.close(code))
            .await;
    }
}

#[tokio::test]
async fn a_router_that_refuses_the_next_connection_is_not_asked_again() {
    check_end(&Router::start(), soon(1000), "UNAUTHENTICATED", async |router, peer| {
        peer.close(ErrorCode::ShuttingDown);
        let connection = router.accept_bare().await;
        connection.close(ErrorCode::Unauthenticated.number().into(), b"");
    })
    .await;
}

#[tokio::test]
async fn closing_without_a_connection_waits_for_none() {
    let router = Router::start();
    let hour = Duration::from_secs(3600);
    let slow = Reconnect { initial: hour, max: hour, attempts: None };
    let (client, peer) = router.connected(router.options().reconnect(slow)).await;
    let publisher = client.publisher(pairs()).await.expect("a stream is free");
    let receipts = publish(&publisher, 0..3).await;
    peer.close(ErrorCode::ShuttingDown);
    peer.connection.closed().await;
    client.close().await;
    check_unknown(receipts, "").await;
    assert!(matches!(client.status(), Status::Disconnected(Disconnected::Closed)));
}
