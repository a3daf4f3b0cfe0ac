//! Closing and dropping: nothing is left unresolved, and nothing is left running.

use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _};
use waypost_client::{
    Disconnected, ErrorCode, Message, Outcome, PublishError, PublisherOptions, Status,
    SubscriberOptions,
};
use waypost_protocol::{
    Frame,
    frame::{Committed, Outcome as Committing, PublishResult},
};

use crate::router::{Conversation, Router, batch};

fn lingering() -> PublisherOptions {
    PublisherOptions { linger: Duration::from_secs(3600), ..PublisherOptions::default() }
}

fn message() -> Message<'static> {
    Message::new("a.b", b"x")
}

#[tokio::test]
async fn closing_the_client_ends_everything_in_good_order() {
    let router = Router::start();
    let (client, peer) = router.connected(router.options()).await;
    let (subscriber, (mut subscription, _)) = tokio::join!(
        client.subscribe("a", SubscriberOptions::default()),
        peer.accept_subscription()
    );
    let publisher = client.publisher(lingering()).await.expect("a stream is free");
    let mut subscriber = subscriber.expect("it stands");
    let receipt = publisher.publish(message()).await.expect("it is good");
    let mut closing = std::pin::pin!(client.close());
    assert!(closing.as_mut().now_or_never().is_none());
    let script = async {
        assert!(matches!(subscription.next().await, Some(Frame::Unsubscribe(_))));
        subscription.deliver(&batch(&["last"])).await;
        subscription.send.finish().expect("it was open");
        let mut stream = peer.accept().await;
        let (publish, _) = stream.next_publish().await;
        stream.commit(&publish).await;
        peer.closed_with().await
    };
    let ((), code) = tokio::join!(closing, script);
    assert_eq!(code, 0);
    assert!(receipt.await.is_committed());
    let last = subscriber.next().await.expect("it was delivered").expect("without an error");
    assert_eq!(last.payload(), b"last");
    assert!(subscriber.next().await.is_none(), "a wished end is no error");
    let error = publisher.publish(message()).await.expect_err("it is closed");
    assert!(matches!(error, PublishError::Closed(Disconnected::Closed)), "{error}");
    assert!(matches!(client.status(), Status::Disconnected(Disconnected::Closed)));
}

#[tokio::test]
async fn a_dropped_publisher_leaves_no_message_without_an_outcome() {
    let router = Router::start();
    let (client, peer) = router.connected(router.options()).await;
    let publisher = client.publisher(lingering()).await.expect("a stream is free");
    let prepared = publisher.publish_batch(batch(&["x"])).await.expect("it is good");
    let mut stream = peer.accept().await;
    stream.next_publish().await;
    let open = publisher.publish(message()).await.expect("it is good");
    drop(publisher);
    for receipt in [prepared, open] {
        assert!(matches!(receipt.await, Outcome::Unknown { reason: Disconnected::Closed }));
    }
    assert!(stream.next().await.is_none(), "its stream ends");
    assert!(peer.connection.close_reason().is_none(), "and the connection stays");
    drop(client);
}

#[tokio::test]
async fn the_connection_ends_with_the_last_handle() {
    let router = Router::start();
    let (client, peer) = router.connected(router.options()).await;
    let publisher = client.publisher(lingering()).await.expect("a stream is free");
    drop(client);
    let receipt = publisher.publish_batch(batch(&["x"])).await.expect("it is good");
    let mut stream = peer.accept().await;
    let (publish, _) = stream.next_publish().await;
    stream.commit(&publish).await;
    assert!(receipt.await.is_committed(), "a publisher keeps the connection");
    drop(publisher);
    assert_eq!(peer.closed_with().await, 0);
}

#[tokio::test]
async fn no_task_outlives_its_handles() {
    let router = Router::start();
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    let (client, peer) = router.connected(router.options()).await;
    let (subscriber, _stream) = tokio::join!(
        client.subscribe("a", SubscriberOptions::default()),
        peer.accept_subscription()
    );
    let publisher = client.publisher(lingering()).await.expect("a stream is free");
    assert!(tasks() > before);
    drop((client, publisher, subscriber.expect("it stands")));
    peer.closed_with().await;
    drop(peer);
    router.endpoint.wait_idle().await;
    while tasks() > before {
        tokio::task::yield_now().await;
    }
}

/// The router breaks the protocol on a publisher's stream: what has no result is unknown, and the
/// connection is closed with a code.
async fn check_violation(expected: ErrorCode, script: impl AsyncFnOnce(&mut Conversation)) {
    let router = Router::start();
    let (client, peer) = router.connected(router.options()).await;
    let publisher = client.publisher(lingering()).await.expect("a stream is free");
    let receipt = publisher.publish_batch(batch(&["x", "y"])).await.expect("it is good");
    let mut stream = peer.accept().await;
    stream.next_publish().await;
    script(&mut stream).await;
    let outcome = receipt.await;
    let Outcome::Unknown { reason: Disconnected::Violation { code, .. } } = outcome else {
        panic!("{outcome:?} is another outcome");
    };
    assert_eq!(code, expected);
    assert_eq!(peer.closed_with().await, u64::from(expected.number()));
    let error = publisher.publish(message()).await.expect_err("it is closed");
    assert!(matches!(error, PublishError::Closed(Disconnected::Violation { .. })), "{error}");
    client.publisher(lingering()).await.expect_err("there is no connection");
}

fn result(first_sequence: u64, count: u32) -> Frame {
    let outcome = Some(Committing::Committed(Committed::default()));
    Frame::PublishResult(PublishResult { first_sequence, count, outcome })
}

#[tokio::test]
async fn what_breaks_the_protocol_ends_in_an_error() {
    let nothing = Frame::PublishResult(PublishResult { count: 2, ..PublishResult::default() });
    for frame in [result(1, 2), result(0, 3), nothing, Frame::Pong(Default::default())] {
        check_violation(ErrorCode::UnexpectedFrame, async |stream| stream.send(&frame).await).await;
    }
    check_violation(ErrorCode::BadControl, async |stream| {
        stream.send_bytes(&[1, 0, 0, 0, 4, 0, 1, 0, 0xff]).await;
    })
    .await;
    check_violation(ErrorCode::FrameTooLarge, async |stream| {
        stream.send_bytes(&[0xff, 0xff, 0xff, 0xff, 4, 0, 0, 0]).await;
    })
    .await;
}

#[tokio::test]
async fn a_frame_that_has_no_place_on_the_control_stream_closes_the_connection() {
    let router = Router::start();
    let (client, mut peer) = router.connected(router.options()).await;
    peer.control.send(&result(0, 1)).await;
    assert_eq!(peer.closed_with().await, u64::from(ErrorCode::UnexpectedFrame.number()));
    client.publisher(lingering()).await.expect_err("there is no connection");
}

#[tokio::test]
async fn an_error_on_the_control_stream_ends_the_client_with_its_code() {
    let router = Router::start();
    let (client, mut peer) = router.connected(router.options()).await;
    peer.control.send(&Frame::error(ErrorCode::Unauthenticated, "the token expired")).await;
    peer.closed_with().await;
    let error = client.publisher(lingering()).await.expect_err("there is no connection");
    assert!(error.to_string().contains("the token expired"), "{error}");
}
