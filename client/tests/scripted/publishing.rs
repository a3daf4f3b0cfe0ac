//! Batches, results, and what bounds them.

use std::time::Duration;

use futures_util::FutureExt as _;
use waypost_client::{
    Client, Disconnected, Epoch, ErrorCode, Message, Offset, Outcome, ProducerId, ProducerIdentity,
    PublishError, Publisher, PublisherOptions,
};
use waypost_protocol::{
    Frame,
    frame::{self, Committed, Welcome},
};

use crate::router::{Conversation, Peer, Router, STREAMS, batch, payloads, welcome};

fn options() -> PublisherOptions {
    // A linger that no test waits for.
    let linger = Duration::from_secs(3600);
    PublisherOptions {
        max_batch_messages: 4,
        linger,
        max_in_flight_batches: 2,
        ..PublisherOptions::default()
    }
}

/// A publisher whose stream the router will accept with its first frame.
async fn publisher(client: &Client, options: PublisherOptions) -> Publisher {
    client.publisher(options).await.expect("a stream is free")
}

struct Pair {
    _client: Client,
    publisher: Publisher,
    peer: Peer,
}

async fn pair(router: &Router, options: PublisherOptions) -> Pair {
    let (client, peer) = router.connected(router.options()).await;
    Pair { publisher: publisher(&client, options).await, _client: client, peer }
}

fn message(number: usize) -> Message<'static> {
    Message::new("a.b", number.to_string().into_bytes())
}

#[tokio::test]
async fn messages_travel_in_full_batches_with_all_their_parts() {
    let router = Router::start();
    let Pair { publisher, peer, .. } = &pair(&router, options()).await;
    let mut receipts = Vec::new();
    for number in 0..8 {
        let message = message(number)
            .key(b"k")
            .header("name", number.to_string())
            .expect("it is good")
            .created_ms(1000);
        receipts.push(publisher.publish(message).await.expect("it is good"));
    }
    let mut stream = peer.accept().await;
    for expected in [["0", "1", "2", "3"], ["4", "5", "6", "7"]] {
        let (publish, batch) = stream.next_publish().await;
        assert_eq!(payloads(&batch), expected);
        let first = batch.get(0).expect("it has four");
        assert_eq!(
            (first.topic(), first.key(), first.created_ms()),
            ("a.b", Some(&b"k"[..]), 1000)
        );
        assert_eq!(first.headers().get("name"), Some(first.payload()));
        stream.commit(&publish).await;
    }
    for receipt in receipts {
        assert!(receipt.await.is_committed());
    }
}

#[tokio::test]
async fn a_batch_that_is_not_full_goes_when_it_has_lingered() {
    let router = Router::start();
    let options = PublisherOptions { linger: Duration::from_millis(5), ..options() };
    let Pair { publisher, peer, .. } = &pair(&router, options).await;
    let _receipt = publisher.publish(message(0)).await.expect("it is good");
    let _receipt = publisher.publish(message(1)).await.expect("it is good");
    let (_, batch) = peer.accept().await.next_publish().await;
    assert_eq!(payloads(&batch), ["0", "1"]);
}

#[tokio::test]
async fn publishing_waits_while_enough_is_in_flight() {
    let router = Router::start();
    let Pair { publisher, peer, .. } = &pair(&router, options()).await;
    for number in 0..12 {
        let _receipt = publisher.publish(message(number)).await.expect("two in flight, one open");
    }
    let mut waiting = std::pin::pin!(publisher.publish(message(12)));
    assert!(waiting.as_mut().now_or_never().is_none());
    let mut stream = peer.accept().await;
    let (first, _) = stream.next_publish().await;
    let (second, _) = stream.next_publish().await;
    assert!(waiting.as_mut().now_or_never().is_none(), "being sent is not being answered");
    stream.commit(&first).await;
    let _receipt = waiting.await.expect("there is room");
    stream.commit(&second).await;
    let (third, _) = stream.next_publish().await;
    assert_eq!((second.first_sequence, third.first_sequence), (4, 8));
}

#[tokio::test]
async fn dropping_a_publish_that_waits_takes_nothing() {
    let router = Router::start();
    let options = PublisherOptions { max_batch_messages: 1, max_in_flight_batches: 1, ..options() };
    let Pair { publisher, peer, .. } = &pair(&router, options).await;
    for number in [0, 1] {
        let _receipt = publisher.publish(message(number)).await.expect("it is good");
    }
    assert!(publisher.publish(message(2)).now_or_never().is_none());
    let publishing = publisher.publish(message(3));
    let answering = async {
        let mut stream = peer.accept().await;
        let mut seen = Vec::new();
        for _ in 0..3 {
            let (publish, batch) = stream.next_publish().await;
            stream.commit(&publish).await;
            seen.extend(payloads(&batch));
        }
        seen
    };
    let (receipt, seen) = tokio::join!(publishing, answering);
    assert!(receipt.expect("there is room").await.is_committed());
    assert_eq!(seen, ["0", "1", "3"]);
}

#[tokio::test]
async fn every_outcome_reaches_the_messages_of_its_batch_in_whatever_order_it_comes() {
    let router = Router::start();
    let Pair { publisher, peer, .. } = &pair(&router, options()).await;
    let mut receipts = Vec::new();
    for number in 0..8 {
        receipts.push(publisher.publish(message(number)).await.expect("it is good"));
    }
    let mut stream = peer.accept().await;
    let (first, _) = stream.next_publish().await;
    let (second, _) = stream.next_publish().await;
    stream.reject(&second, ErrorCode::Overloaded).await;
    let committed = Committed { offset: Some(100), duplicate: true, unrouted: true };
    stream.answer(&first, frame::Outcome::Committed(committed)).await;
    let rejected = receipts.split_off(4);
    for (place, receipt) in (100..).zip(receipts) {
        let outcome = receipt.await;
        let Outcome::Committed { offset, duplicate: true, unrouted: true } = outcome else {
            panic!("{outcome:?} is another outcome");
        };
        assert_eq!(offset, Some(Offset(place)));
    }
    for receipt in rejected {
        let outcome = receipt.await;
        let Outcome::Rejected { code, message } = outcome else {
            panic!("{outcome:?} is another outcome");
        };
        assert!(code == ErrorCode::Overloaded && &*message == "as the test says");
    }
}

#[tokio::test]
async fn a_bad_message_is_refused_here_and_its_neighbours_travel() {
    let router = Router::start();
    let Pair { publisher, peer, .. } = &pair(&router, options()).await;
    let _receipt = publisher.publish(message(0)).await.expect("it is good");
    for (bad, expected) in [
        (Message::new("a..b", b"x"), ErrorCode::BadTopic),
        (Message::new("$sys.a", b"x"), ErrorCode::SystemTopic),
        (Message::new("a", vec![0; 2 << 20]), ErrorCode::MessageTooLarge),
    ] {
        let error = publisher.publish(bad).await.expect_err("it is bad");
        assert_eq!(error.code(), Some(expected));
    }
    let _receipt = publisher.publish(message(1)).await.expect("it is good");
    let flushing = publisher.flush();
    let answering = async {
        let mut stream = peer.accept().await;
        let (publish, batch) = stream.next_publish().await;
        stream.commit(&publish).await;
        payloads(&batch)
    };
    let ((), seen) = tokio::join!(flushing, answering);
    assert_eq!(seen, ["0", "1"]);
}

#[tokio::test]
async fn a_prepared_batch_travels_as_it_is() {
    let router = Router::start();
    let Pair { publisher, peer, .. } = &pair(&router, options()).await;
    let prepared = batch(&["x"; 50]);
    let receipt = publisher.publish_batch(prepared.clone()).await.expect("it is good");
    let mut stream = peer.accept().await;
    let (publish, batch) = stream.next_publish().await;
    assert_eq!(batch.as_bytes(), prepared.as_bytes());
    stream.commit(&publish).await;
    assert!(receipt.await.is_committed());
}

#[tokio::test]
async fn closing_waits_for_every_result_and_ends_the_stream() {
    let router = Router::start();
    let Pair { publisher, peer, _client } = pair(&router, options()).await;
    let receipt = publisher.publish(message(0)).await.expect("it is good");
    let mut closing = std::pin::pin!(publisher.close());
    assert!(closing.as_mut().now_or_never().is_none());
    let mut stream = peer.accept().await;
    let (publish, _) = stream.next_publish().await;
    assert!(closing.as_mut().now_or_never().is_none());
    stream.commit(&publish).await;
    closing.await;
    assert!(receipt.await.is_committed());
    assert!(stream.next().await.is_none());
}

#[tokio::test]
async fn the_refusal_of_a_stream_closes_the_publisher_alone() {
    let router = Router::start();
    let Pair { publisher, peer, _client: client } = &pair(&router, options()).await;
    for number in 0..4 {
        let _receipt = publisher.publish(message(number)).await.expect("it is good");
    }
    let mut stream = peer.accept().await;
    stream.next_publish().await;
    let refusal = Frame::error(ErrorCode::Forbidden, "not here");
    stream.send(&refusal).await;
    publisher.flush().await;
    let error = publisher.publish(message(9)).await.expect_err("it is closed");
    assert!(matches!(error, PublishError::Closed(_)), "{error}");
    assert!(error.to_string().contains("not here"), "{error}");
    publisher_works(client, peer).await;
}

#[tokio::test]
async fn an_epoch_that_another_publisher_used_ends_the_publisher_before_it_sends() {
    let router = Router::start();
    let named = frame::Stream { name: "kept".into(), topics: vec!["a.>".into()], partitions: 1 };
    let welcome = Welcome { streams: vec![named], ..welcome() };
    let (client, peer) =
        tokio::join!(Client::connect(router.options()), router.accept_with(welcome));
    let client = client.expect("it is welcomed");
    let identity = ProducerIdentity { id: ProducerId(9), epoch: Epoch(1) };
    let options = PublisherOptions { producer: Some(identity), ..PublisherOptions::default() };
    let publisher = publisher(&client, options).await;
    let receipt = publisher.publish(message(0)).await.expect("it is good");
    let mut stream = peer.accept().await;
    assert!(matches!(stream.next().await, Some(Frame::OpenProducer(_))));
    let opened = frame::ProducerOpened { resumed: true, refused: None };
    stream.send(&Frame::ProducerOpened(opened)).await;
    let Outcome::Unknown { reason: Disconnected::EpochUsed { .. } } = receipt.await else {
        panic!("it was not sent");
    };
    let error = publisher.publish(message(1)).await.expect_err("it is closed");
    assert!(error.to_string().contains("as producer 9 in its epoch 1"), "{error}");
    assert!(stream.next().await.is_none(), "nothing was sent");
}

#[tokio::test]
async fn a_publisher_for_which_the_router_allows_no_stream_is_refused() {
    let router = Router::start();
    let timeout = Duration::from_millis(300);
    let (client, _peer) = router.connected(router.options().connect_timeout(timeout)).await;
    let mut publishers = Vec::new();
    // One of the streams is the control stream.
    for _ in 1..STREAMS {
        publishers.push(publisher(&client, options()).await);
    }
    let error = client.publisher(options()).await.expect_err("there is no stream");
    assert!(error.to_string().contains(ErrorCode::TooManyStreams.name()), "{error}");
    drop(publishers);
}

/// Whether the connection still carries a new publisher.
async fn publisher_works(client: &Client, peer: &Peer) {
    let publisher = publisher(client, PublisherOptions::default()).await;
    let receipt = publisher.publish(message(0)).await.expect("it is good");
    let mut stream: Conversation = peer.accept().await;
    let (publish, _) = stream.next_publish().await;
    stream.commit(&publish).await;
    assert!(receipt.await.is_committed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_tasks_share_a_publisher_and_every_message_has_one_outcome() {
    const TASKS: usize = 8;
    const EACH: usize = 2000;
    let router = Router::start();
    let options = PublisherOptions {
        max_batch_messages: 16,
        max_in_flight_batches: 3,
        ..PublisherOptions::default()
    };
    let Pair { publisher, peer, _client } = pair(&router, options).await;
    let publisher = std::sync::Arc::new(publisher);
    let answering = tokio::spawn(async move {
        let (mut stream, mut seen, mut next) = (peer.accept().await, 0, 0);
        while seen < TASKS * EACH {
            let (publish, batch) = stream.next_publish().await;
            assert_eq!(publish.first_sequence, next);
            next += u64::from(publish.count);
            seen += batch.len();
            stream.commit(&publish).await;
        }
        (peer, stream)
    });
    let publish = |_| {
        let publisher = publisher.clone();
        tokio::spawn(async move {
            let mut receipts = Vec::new();
            for number in 0..EACH {
                receipts.push(publisher.publish(message(number)).await.expect("it is good"));
            }
            for receipt in receipts {
                assert!(receipt.await.is_committed());
            }
        })
    };
    let publishing: Vec<_> = (0..TASKS).map(publish).collect();
    for task in publishing {
        task.await.expect("all are committed");
    }
    answering.await.expect("all were seen");
}
