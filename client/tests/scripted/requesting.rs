//! Requests, their replies, and the ends without one.

use std::time::Duration;

use waypost_client::{
    Batch, BatchBuilder, Client, ClientOptions, Delivered, Disconnected, ErrorCode, HeadersBuilder,
    Message, PublishError, RequestError, SubscribeError,
};
use waypost_protocol::{
    Frame, Inbox,
    frame::{Committed, GoingAway, Outcome, Publish, Subscribe, Subscribed},
    request,
};

use crate::router::{Conversation, Peer, Router};

/// A time that no test waits for.
const LONG: Duration = Duration::from_secs(3600);

/// The router's ends of the streams that requests are made with.
struct Streams {
    replies: Conversation,
    inbox: String,
    requests: Conversation,
}

fn ask(payload: &'static str) -> Message<'static> {
    Message::new("prices.get", payload.as_bytes())
}

/// What was asked, where the reply is awaited, and under which correlation.
struct Asked {
    payload: String,
    reply_to: String,
    correlation: String,
}

fn asked(batch: &Batch) -> Asked {
    assert_eq!(batch.len(), 1, "a request is a batch of its own");
    let message = batch.get(0).expect("there is one");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let header = |name| text(message.headers().get(name).expect("a request has its headers"));
    let deadline: u64 = header(request::DEADLINE).parse().expect("milliseconds");
    assert!(deadline > message.created_ms());
    Asked {
        payload: text(message.payload()),
        reply_to: header(request::REPLY_TO),
        correlation: header(request::CORRELATION),
    }
}

fn reply(asked: &Asked, payload: &str) -> Batch {
    let mut headers = HeadersBuilder::new();
    headers.push(request::CORRELATION, asked.correlation.as_bytes()).expect("a good header");
    let mut builder = BatchBuilder::new();
    builder
        .push(&asked.reply_to, None, headers.as_bytes(), payload.as_bytes(), 0)
        .expect("it fits");
    builder.finish().expect("there is one")
}

fn text(reply: Result<Delivered, RequestError>) -> String {
    String::from_utf8_lossy(reply.expect("there is a reply").payload()).into_owned()
}

impl Streams {
    /// Takes the inbox and the first request of a client.
    async fn accept(peer: &Peer) -> (Self, Publish, Asked) {
        let mut first = peer.accept().await;
        // After a lost connection either stream may be opened first, but nothing is asked before the
        // inbox stands.
        let (mut replies, frame, other) = tokio::select! {
            frame = first.next() => (first, frame, None),
            mut second = peer.accept() => {
                let frame = second.next().await;
                (second, frame, Some(first))
            }
        };
        let Some(Frame::Subscribe(Subscribe { pattern: inbox, .. })) = frame else {
            panic!("it subscribes to its inbox");
        };
        replies.send(&Frame::Subscribed(Subscribed { subscription_id: 1, joined: None })).await;
        let mut requests = match other {
            Some(other) => other,
            None => peer.accept().await,
        };
        let (publish, batch) = requests.next_publish().await;
        let asked = asked(&batch);
        assert_eq!(asked.reply_to, inbox);
        (Self { replies, inbox, requests }, publish, asked)
    }

    async fn next(&mut self) -> (Publish, Asked) {
        let (publish, batch) = self.requests.next_publish().await;
        (publish, asked(&batch))
    }

    async fn reply(&mut self, asked: &Asked, payload: &str) {
        self.replies.deliver(&reply(asked, payload)).await;
    }
}

async fn connected(router: &Router, options: ClientOptions) -> (Client, Peer) {
    router.connected(options).await
}

#[tokio::test]
async fn a_reply_reaches_its_request_whatever_the_order() {
    let router = Router::start();
    let (client, peer) = connected(&router, router.options()).await;
    let script = async {
        let (mut streams, first, one) = Streams::accept(&peer).await;
        let inbox = Inbox::parse(&streams.inbox).expect("an inbox");
        assert_eq!(inbox.owner.0, 7, "it bears the number of welcome");
        let (second, two) = streams.next().await;
        assert_ne!(one.correlation, two.correlation);
        streams.reply(&two, &format!("re {}", two.payload)).await;
        streams.requests.commit(&first).await;
        streams.requests.commit(&second).await;
        streams.reply(&one, &format!("re {}", one.payload)).await;
        streams
    };
    let (first, second, _streams) =
        tokio::join!(client.request(ask("a"), LONG), client.request(ask("b"), LONG), script);
    assert_eq!((text(first), text(second)), ("re a".into(), "re b".into()));
    assert_eq!(client.late_replies(), 0);
}

#[tokio::test]
async fn the_first_reply_counts_and_later_ones_are_counted() {
    let router = Router::start();
    let (client, peer) = connected(&router, router.options()).await;
    let script = async {
        let (mut streams, publish, one) = Streams::accept(&peer).await;
        streams.requests.commit(&publish).await;
        for payload in ["first", "second", "third"] {
            streams.reply(&one, payload).await;
        }
        streams
    };
    let (first, mut streams) = tokio::join!(client.request(ask("a"), LONG), script);
    assert_eq!(text(first), "first");
    // Replies come in order, so the late ones were seen when this one is.
    let script = async {
        let (_, two) = streams.next().await;
        streams.reply(&two, "other").await;
    };
    let (second, ()) = tokio::join!(client.request(ask("b"), LONG), script);
    assert_eq!(text(second), "other");
    assert_eq!(client.late_replies(), 2);
}

#[tokio::test]
async fn a_request_that_nobody_takes_ends_at_once() {
    let router = Router::start();
    let (client, peer) = connected(&router, router.options()).await;
    let script = async {
        let (mut streams, publish, _) = Streams::accept(&peer).await;
        let unrouted = Committed { unrouted: true, ..Committed::default() };
        streams.requests.answer(&publish, Outcome::Committed(unrouted)).await;
        let (publish, _) = streams.next().await;
        streams.requests.reject(&publish, ErrorCode::NoResponder).await;
        let (publish, _) = streams.next().await;
        streams.requests.reject(&publish, ErrorCode::Overloaded).await;
        streams
    };
    let asking = async {
        for _ in 0..2 {
            let error = client.request(ask("a"), LONG).await.expect_err("nobody answers");
            assert!(matches!(error, RequestError::NoResponder { .. }), "{error}");
            assert!(error.to_string().contains("prices.get"), "{error}");
        }
        let error = client.request(ask("a"), LONG).await.expect_err("it is refused");
        assert!(matches!(error, RequestError::Rejected { .. }), "{error}");
    };
    tokio::join!(asking, script);
}

#[tokio::test]
async fn a_request_without_a_reply_ends_at_its_deadline_and_its_reply_is_late() {
    let router = Router::start();
    let (client, peer) = connected(&router, router.options()).await;
    let script = Streams::accept(&peer);
    let (ended, (mut streams, _, one)) =
        tokio::join!(client.request(ask("a"), Duration::from_secs(1)), script);
    let error = ended.expect_err("nobody replies");
    assert!(matches!(error, RequestError::DeadlineExceeded { .. }), "{error}");
    let script = async {
        let (_, two) = streams.next().await;
        streams.reply(&one, "late").await;
        streams.reply(&two, "in time").await;
    };
    let (second, ()) = tokio::join!(client.request(ask("b"), LONG), script);
    assert_eq!((text(second), client.late_replies()), ("in time".into(), 1));
}

#[tokio::test]
async fn a_request_over_a_lost_connection_is_unknown_and_the_next_one_has_another_inbox() {
    let router = Router::start();
    let (client, peer) = connected(&router, router.options()).await;
    let script = async {
        let (mut streams, publish, one) = Streams::accept(&peer).await;
        // It was taken: only its reply can be missing.
        streams.requests.commit(&publish).await;
        peer.close(ErrorCode::StalledFrame);
        one
    };
    let (ended, one) = tokio::join!(client.request(ask("a"), LONG), script);
    let error = ended.expect_err("its reply reaches nobody");
    assert!(
        matches!(error, RequestError::Unknown { reason: Disconnected::Lost { .. } }),
        "{error}"
    );

    let mut welcome = crate::router::welcome();
    welcome.connection_id = 8;
    let script = async {
        let peer = router.accept_with(welcome).await;
        let (mut streams, _, two) = Streams::accept(&peer).await;
        assert_ne!(one.reply_to, two.reply_to);
        streams.reply(&two, "yes").await;
        (peer, streams)
    };
    let (second, _kept) = tokio::join!(client.request(ask("b"), LONG), script);
    assert_eq!(text(second), "yes");
}

#[tokio::test]
async fn a_router_that_goes_away_still_answers_and_the_next_one_is_asked_next() {
    let router = Router::start();
    let (client, mut peer) = connected(&router, router.options()).await;
    let (answered, first) = tokio::sync::oneshot::channel();
    let script = async {
        let (mut streams, publish, one) = Streams::accept(&peer).await;
        streams.requests.commit(&publish).await;
        let away = GoingAway { reason: "as the test says".into(), deadline_ms: 3_600_000 };
        peer.control.send(&Frame::GoingAway(away)).await;
        assert!(streams.requests.next().await.is_none(), "nothing more is published here");
        let script = async {
            streams.reply(&one, "still here").await;
            first.await.expect("it is answered before the router closes");
            peer.close(ErrorCode::StalledFrame);
            let peer = router.accept().await;
            let (mut streams, _, two) = Streams::accept(&peer).await;
            streams.reply(&two, "the next one").await;
            (peer, streams)
        };
        tokio::join!(client.request(ask("b"), LONG), script)
    };
    let asking = async {
        let reply = text(client.request(ask("a"), LONG).await);
        answered.send(()).expect("the script waits");
        reply
    };
    let (first, (second, _kept)) = tokio::join!(asking, script);
    assert_eq!((first, text(second)), ("still here".into(), "the next one".into()));
}

#[tokio::test]
async fn no_more_requests_wait_than_are_allowed() {
    let router = Router::start();
    let (client, peer) = connected(&router, router.options().max_requests(1)).await;
    let script = async {
        let (mut streams, _, one) = Streams::accept(&peer).await;
        let waiting = client.request(ask("b"), Duration::from_millis(20)).await;
        let error = waiting.expect_err("there is no room in its time");
        assert!(matches!(error, RequestError::DeadlineExceeded { .. }), "{error}");
        streams.reply(&one, "yes").await;
        let (asking, ()) = tokio::join!(client.request(ask("c"), LONG), async {
            let (_, two) = streams.next().await;
            assert_eq!(two.payload, "c", "the one without room was not sent");
            streams.reply(&two, "yes again").await;
        });
        (streams, text(asking))
    };
    let (first, (_streams, second)) = tokio::join!(client.request(ask("a"), LONG), script);
    assert_eq!((text(first), second.as_str()), ("yes".into(), "yes again"));
}

#[tokio::test]
async fn a_refused_inbox_fails_the_request_and_the_next_one_tries_again() {
    let router = Router::start();
    let (client, peer) = connected(&router, router.options()).await;
    let script = async {
        let mut stream = peer.accept().await;
        assert!(matches!(stream.next().await, Some(Frame::Subscribe(_))));
        stream.send(&Frame::error(ErrorCode::TooManySubscriptions, "none is free")).await;
        stream
    };
    let (ended, _stream) = tokio::join!(client.request(ask("a"), LONG), script);
    let error = ended.expect_err("there is no inbox");
    assert!(
        matches!(error, RequestError::Inbox(SubscribeError::Rejected { .. })),
        "{error} is another error"
    );
    let script = async {
        let (mut streams, _, one) = Streams::accept(&peer).await;
        streams.reply(&one, "yes").await;
        streams
    };
    let (second, _streams) = tokio::join!(client.request(ask("b"), LONG), script);
    assert_eq!(text(second), "yes");
}

#[tokio::test]
async fn a_message_that_cannot_be_sent_is_refused_before_it_is() {
    let router = Router::start();
    let (client, peer) = connected(&router, router.options()).await;
    let asking = async {
        for topic in ["a..b", "$dead.a"] {
            let asked = client.request(Message::new(topic, b""), LONG).await;
            let error = asked.expect_err("it is no topic to publish to");
            assert!(
                matches!(
                    error,
                    RequestError::Publish(PublishError::Topic(_) | PublishError::SystemTopic(_))
                ),
                "{error} is another error"
            );
        }
    };
    let ((), _inbox) = tokio::join!(asking, peer.accept_subscription());
}

#[tokio::test]
async fn closing_the_client_ends_its_requests_and_dropping_it_the_connection() {
    let router = Router::start();
    let (client, peer) = connected(&router, router.options()).await;
    let script = async {
        let (mut streams, publish, _) = Streams::accept(&peer).await;
        streams.requests.commit(&publish).await;
        let closing = client.close();
        let saying = async {
            while streams.replies.next().await.is_some() {}
            streams.replies.send.finish().expect("it was open");
            peer.closed_with().await
        };
        tokio::join!(closing, saying).1
    };
    let (ended, code) = tokio::join!(client.request(ask("a"), LONG), script);
    let error = ended.expect_err("it is closed");
    assert!(matches!(error, RequestError::Unknown { .. }), "{error}");
    assert_eq!(code, 0);

    let (client, peer) = connected(&router, router.options()).await;
    let asking = tokio::spawn(async move { client.request(ask("a"), LONG).await.map(|_| ()) });
    let _streams = Streams::accept(&peer).await;
    asking.abort();
    assert_eq!(peer.closed_with().await, 0, "nothing keeps the connection");
}
