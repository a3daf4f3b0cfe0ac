//! Deliveries, and the credit that bounds them.

use std::time::Duration;

use futures_util::StreamExt as _;
use waypost_client::{
    Client, Delivered, DeliveredBatch, ErrorCode, SubscribeError, Subscriber, SubscriberOptions,
};
use waypost_protocol::{
    BatchBuilder, Frame, HeadersBuilder,
    frame::{Deliver, Subscribe, Unsubscribe},
};

use crate::router::{Conversation, Peer, Router, batch, payloads};

const CREDIT: SubscriberOptions =
    SubscriberOptions { credit_messages: 10, credit_bytes: 4 << 20, from: None, partition: None };

struct Pair {
    _client: Client,
    subscriber: Subscriber,
    stream: Conversation,
    peer: Peer,
}

async fn pair(router: &Router) -> Pair {
    let (client, peer) = router.connected(router.options()).await;
    let (subscriber, (stream, subscribe)) =
        tokio::join!(client.subscribe("a.>", CREDIT), peer.accept_subscription());
    let expected = Subscribe {
        pattern: "a.>".into(),
        credit_messages: 10,
        credit_bytes: 4 << 20,
        ..Subscribe::default()
    };
    assert_eq!(subscribe, expected);
    Pair { subscriber: subscriber.expect("it stands"), _client: client, stream, peer }
}

fn text(delivered: Option<Result<Delivered, SubscribeError>>) -> String {
    let delivered = delivered.expect("the stream goes on").expect("without an error");
    String::from_utf8_lossy(delivered.payload()).into_owned()
}

fn texts(delivered: Option<Result<DeliveredBatch, SubscribeError>>) -> Vec<String> {
    payloads(&delivered.expect("the stream goes on").expect("without an error").batch)
}

#[tokio::test]
async fn a_message_arrives_with_all_its_parts() {
    let router = Router::start();
    let Pair { mut subscriber, mut stream, .. } = pair(&router).await;
    let (mut builder, mut headers) = (BatchBuilder::new(), HeadersBuilder::new());
    headers.push("name", b"value").expect("it is good");
    builder.push("a.b", Some(b"k"), headers.as_bytes(), b"one", 5).expect("it fits");
    builder.push("a.c", None, &[], b"two", 6).expect("it fits");
    stream.deliver(&builder.finish().expect("there are two")).await;
    let [first, second] = [subscriber.next().await, subscriber.recv().await]
        .map(|message| message.expect("the stream goes on").expect("without an error"));
    assert_eq!((first.topic(), first.key(), first.created_ms()), ("a.b", Some(&b"k"[..]), 5));
    assert_eq!((first.headers().get("name"), first.payload()), (Some(&b"value"[..]), &b"one"[..]));
    assert_eq!((second.topic(), second.key(), second.payload()), ("a.c", None, &b"two"[..]));
    assert_eq!((second.headers().iter().count(), second.envelope().ingest_ms), (0, 42));
}

#[tokio::test]
async fn credit_comes_back_as_messages_are_consumed_and_not_as_they_arrive() {
    let router = Router::start();
    let Pair { mut subscriber, mut stream, .. } = pair(&router).await;
    let (few, more) = (batch(&["0", "1", "2"]), batch(&["3", "4", "5", "6", "7", "8", "9"]));
    stream.deliver(&few).await;
    stream.deliver(&more).await;
    for expected in 0..10 {
        assert_eq!(text(subscriber.recv().await), expected.to_string());
    }
    let Some(Frame::Credit(credit)) = stream.next().await else {
        panic!("what was consumed is granted again");
    };
    // Not one frame for the first batch, which was less than half of the credit.
    let bytes = (few.byte_len() + more.byte_len()) as u64;
    assert_eq!((credit.messages, credit.bytes), (10, bytes));
}

#[tokio::test]
async fn little_that_was_consumed_is_granted_again_after_a_while() {
    let router = Router::start();
    let Pair { mut subscriber, mut stream, .. } = pair(&router).await;
    let one = batch(&["0"]);
    stream.deliver(&one).await;
    assert_eq!(text(subscriber.recv().await), "0");
    let Some(Frame::Credit(credit)) = stream.next().await else {
        panic!("a slow subscriber shows that it lives");
    };
    assert_eq!((credit.messages, credit.bytes), (1, one.byte_len() as u64));
}

#[tokio::test]
async fn batches_come_whole_and_a_begun_one_with_its_rest() {
    let router = Router::start();
    let Pair { mut subscriber, mut stream, .. } = pair(&router).await;
    for payloads in [&["0", "1", "2"], &["3", "4", "5"]] {
        stream.deliver(&batch(payloads)).await;
    }
    assert_eq!(text(subscriber.recv().await), "0");
    assert_eq!(texts(subscriber.next_batch().await), ["1", "2"]);
    assert_eq!(texts(subscriber.next_batch().await), ["3", "4", "5"]);
    let Some(Frame::Credit(credit)) = stream.next().await else {
        panic!("what was consumed is granted again");
    };
    assert_eq!(credit.messages, 6);
}

/// The router breaks the protocol: the subscriber gets an error and then nothing, and the connection
/// is closed with a code.
async fn check_violation(expected: ErrorCode, script: impl AsyncFnOnce(&mut Conversation)) {
    let router = Router::start();
    let Pair { mut subscriber, mut stream, peer, _client: client } = pair(&router).await;
    script(&mut stream).await;
    let error = subscriber.recv().await.expect("there is an error").expect_err("it is one");
    assert!(error.to_string().contains("broke the protocol"), "{error}");
    assert!(subscriber.recv().await.is_none());
    assert_eq!(peer.closed_with().await, u64::from(expected.number()));
    let again = client.subscribe("a", CREDIT).await.expect_err("there is no connection");
    assert!(matches!(again, SubscribeError::Disconnected(_)), "{again}");
}

#[tokio::test]
async fn what_breaks_the_protocol_ends_in_an_error() {
    let good = batch(&["x"]);
    let (envelope, envelope_crc32c) = waypost_client::Envelope::default().encode();
    let deliver = Deliver { envelope, envelope_crc32c, lease: None };
    check_violation(ErrorCode::UnexpectedFrame, async |stream| {
        stream.send(&Frame::Unsubscribe(Unsubscribe {})).await;
    })
    .await;
    check_violation(ErrorCode::UnexpectedFrame, async |stream| {
        stream.deliver(&batch(&["beyond"; 11])).await;
    })
    .await;
    check_violation(ErrorCode::BadControl, async |stream| {
        let deliver = Deliver { envelope_crc32c: !envelope_crc32c, ..deliver.clone() };
        stream.deliver_with(deliver, good.as_bytes().clone()).await;
    })
    .await;
    check_violation(ErrorCode::BatchChecksum, async |stream| {
        let mut bytes = good.as_bytes().to_vec();
        *bytes.last_mut().expect("it has bytes") ^= 1;
        stream.deliver_with(deliver.clone(), bytes.into()).await;
    })
    .await;
    check_violation(ErrorCode::BadFrame, async |stream| {
        stream.send_bytes(&[0, 0, 0, 0, 7, 1, 0, 0]).await;
    })
    .await;
    check_violation(ErrorCode::BadFrame, async |stream| {
        stream.send_bytes(&[9, 0, 0, 0, 7]).await;
        stream.send.finish().expect("it was open");
    })
    .await;
}

#[tokio::test]
async fn a_refused_subscription_comes_with_the_routers_code() {
    let router = Router::start();
    let (client, peer) = router.connected(router.options()).await;
    let refusing = async {
        let mut stream = peer.accept().await;
        assert!(matches!(stream.next().await, Some(Frame::Subscribe(_))));
        stream.send(&Frame::error(ErrorCode::TooManySubscriptions, "one is enough")).await;
        stream
    };
    let (subscriber, _stream) = tokio::join!(client.subscribe("a", CREDIT), refusing);
    let error = subscriber.expect_err("it is refused");
    let SubscribeError::Rejected { code, message } = &error else {
        panic!("{error} is another error");
    };
    assert!(*code == ErrorCode::TooManySubscriptions && &**message == "one is enough");
}

#[tokio::test]
async fn what_cannot_be_asked_for_is_refused_at_once() {
    let router = Router::start();
    let (client, _peer) = router.connected(router.options()).await;
    let error = client.subscribe("a..b", CREDIT).await.expect_err("it is no pattern");
    assert!(matches!(error, SubscribeError::Pattern(_)), "{error}");
    let large = SubscriberOptions { credit_bytes: 1 << 30, ..CREDIT };
    let error = client.subscribe("a", large).await.expect_err("it is too much");
    assert!(matches!(error, SubscribeError::CreditTooLarge { .. }), "{error}");
}

#[tokio::test]
async fn a_router_that_does_not_answer_is_not_waited_for() {
    let router = Router::start();
    let options = router.options().connect_timeout(Duration::from_secs(1));
    let (client, _peer) = router.connected(options).await;
    let error = client.subscribe("a", CREDIT).await.expect_err("nobody answers");
    assert!(matches!(error, SubscribeError::Timeout { .. }), "{error}");
}

#[tokio::test]
async fn a_subscription_that_the_router_ends_gives_the_reason_once() {
    let router = Router::start();
    let Pair { mut subscriber, mut stream, _client, .. } = pair(&router).await;
    stream.deliver(&batch(&["last"])).await;
    stream.send(&Frame::error(ErrorCode::SlowConsumer, "took nothing")).await;
    assert_eq!(text(subscriber.recv().await), "last");
    let error = subscriber.recv().await.expect("there is a reason").expect_err("it is an error");
    assert!(error.to_string().contains("took nothing"), "{error}");
    assert!(subscriber.recv().await.is_none() && subscriber.next_batch().await.is_none());
}

#[tokio::test]
async fn unsubscribing_waits_until_the_router_has_ended_the_stream() {
    let router = Router::start();
    let Pair { subscriber, mut stream, _client, .. } = pair(&router).await;
    let mut leaving = std::pin::pin!(subscriber.unsubscribe());
    let told = async { stream.next().await };
    let told = tokio::select! {
        told = told => told,
        () = leaving.as_mut() => panic!("the router has not ended the stream"),
    };
    assert!(matches!(told, Some(Frame::Unsubscribe(_))));
    stream.deliver(&batch(&["too late"])).await;
    stream.send.finish().expect("it was open");
    leaving.await;
}

#[tokio::test]
async fn a_dropped_subscriber_ends_its_stream() {
    let router = Router::start();
    let Pair { subscriber, mut stream, _client, peer } = pair(&router).await;
    drop(subscriber);
    assert!(stream.next().await.is_none());
    assert!(peer.connection.close_reason().is_none(), "the connection is the client's");
}
