//! A router that is killed and comes back: its clients go on by themselves.
#![forbid(unsafe_code)]

use std::time::Duration;

use waypost_client::{
    Client, ClientOptions, Message, Outcome, Publisher, PublisherOptions, Reconnect, Subscriber,
    SubscriberOptions,
};
use waypost_tests::Router;

/// Far more than any of this takes; a test that meets it has failed.
const PATIENCE: Duration = Duration::from_secs(60);

async fn committed(publisher: &Publisher, payload: &str) -> bool {
    let message = Message::new("topic", payload.as_bytes().to_vec());
    publisher.publish(message).await.expect("it is taken").await.is_committed()
}

/// Publishes until a message is committed and arrives.
async fn until_it_arrives(publisher: &Publisher, subscriber: &mut Subscriber) {
    let arrives = async {
        loop {
            // Between the publisher's new stream and the subscriber's there is nobody to deliver to.
            if committed(publisher, "again").await
                && let Ok(Some(message)) =
                    tokio::time::timeout(Duration::from_millis(200), subscriber.recv()).await
            {
                message.expect("the subscription goes on");
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, arrives).await.expect("the clients go on");
}

#[tokio::test(flavor = "multi_thread")]
async fn publishers_and_subscribers_go_on_after_the_router_was_killed() {
    let mut router = Router::start("", &[]).await.expect("the router starts");
    let client = router.client().await.expect("a connection");
    let mut subscriber =
        client.subscribe("topic", SubscriberOptions::default()).await.expect("a pattern");
    let publisher = client.publisher(PublisherOptions::default()).await.expect("a stream");
    assert!(committed(&publisher, "before").await);
    let first = subscriber.recv().await.expect("the stream goes on").expect("without an error");
    assert_eq!(first.payload(), b"before");
    router.restart().await.expect("it starts again");
    until_it_arrives(&publisher, &mut subscriber).await;
    assert_eq!(subscriber.reconnects(), 1);
    client.close().await;
    router.stop().await.expect("it drains");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_may_not_reconnect_ends_with_an_error_and_leaves_nothing_open() {
    let mut router = Router::start("", &[]).await.expect("the router starts");
    let options = ClientOptions::new(router.listen().to_string())
        .ca_file(router.ca())
        .expect("the authority stands")
        .reconnect(Reconnect::never());
    let client = Client::connect(options).await.expect("a connection");
    let mut subscriber =
        client.subscribe("topic", SubscriberOptions::default()).await.expect("a pattern");
    let publisher = client.publisher(PublisherOptions::default()).await.expect("a stream");
    assert!(committed(&publisher, "before").await);
    router.signal("KILL").expect("it runs");
    router.wait().await.expect("it is gone");
    let ends = async {
        // Every publish resolves, and not as committed: nobody is there any more.
        while let Ok(receipt) = publisher.publish(Message::new("topic", b"x".to_vec())).await {
            assert!(matches!(receipt.await, Outcome::Unknown { .. }));
        }
        while let Some(message) = subscriber.recv().await {
            if message.is_err() {
                break;
            }
        }
        assert!(subscriber.recv().await.is_none(), "an error is the last thing");
    };
    tokio::time::timeout(PATIENCE, ends).await.expect("everything ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_that_did_not_sign_is_named_as_the_reason() {
    let router = Router::start("", &[]).await.expect("the router starts");
    let stranger = Router::start("", &[]).await.expect("another router starts");
    let options = ClientOptions::new(router.listen().to_string()).ca_file(stranger.ca());
    let refused = Client::connect(options.expect("an authority")).await.expect_err("no trust");
    assert!(refused.to_string().contains("--ca"), "{refused}");
}
