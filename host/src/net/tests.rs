//! Peers of every manner against a real endpoint on loopback.

mod early;
mod incoming;

use std::{net::Ipv4Addr, path::Path};

use bytes::BytesMut;
use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use waypost_protocol::{
    ALPN, Batch, BatchBuilder, Envelope, ErrorCode, Frame, FrameDecoder, MAX_FRAME_BYTES,
    frame::{Credit, Hello, Outcome, Ping, Publish, Subscribe},
};

use super::*;
use crate::{
    groups::Groups,
    router::{LaneLimits, Plans, Router, RouterMetrics, RouterSettings},
    streams::Streams,
};

struct Running {
    server: Server,
    endpoint: quinn::Endpoint,
    metrics: std::sync::Arc<NetMetrics>,
    _state: tempfile::TempDir,
}

/// No streams, and groups over memory topics.
fn none(router: Router) -> (Streams, Groups) {
    let streams = Streams::none();
    (streams.clone(), Groups::none(streams, router))
}

fn settings(state: &Path) -> NetSettings {
    NetSettings {
        address: (Ipv4Addr::LOCALHOST, 0).into(),
        insecure_no_auth: false,
        tls: None,
        state_folder: state.to_owned(),
        incoming: IncomingPolicy {
            max_connections: 100,
            max_handshakes: 100,
            retry_above_handshakes: 100,
        },
        max_streams: 10,
        max_subscriptions: 1,
        max_in_flight: 8,
        handshake_timeout: Duration::from_millis(200),
        idle_timeout: Duration::from_secs(10),
        stalled_frame_timeout: Duration::from_millis(400),
        limits: Limits::default(),
        queue: QueueLimits { messages: 1000, bytes: 16 << 20 },
    }
}

fn client(ca: &Path, alpn: &[u8]) -> quinn::Endpoint {
    let mut endpoint = quinn::Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).expect("a socket");
    endpoint.set_default_client_config(client_config(ca, alpn));
    endpoint
}

fn client_config(ca: &Path, alpn: &[u8]) -> quinn::ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca).expect("a certificate")).expect("an authority");
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3 is there")
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![alpn.to_vec()];
    let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(tls).expect("it suits QUIC");
    quinn::ClientConfig::new(std::sync::Arc::new(crypto))
}

fn start() -> Running {
    start_with(|_| {})
}

/// Starts with other settings than those of most tests.
fn no_routes(registry: &prometheus::Registry) -> std::sync::Arc<Plans> {
    let metrics = RouterMetrics::register(registry).expect("a new registry");
    std::sync::Arc::new(Plans::new(std::sync::Arc::new(metrics)))
}

fn start_with(set: impl FnOnce(&mut NetSettings)) -> Running {
    let state = tempfile::tempdir().expect("a folder");
    let mut settings = settings(state.path());
    set(&mut settings);
    let registry = prometheus::Registry::new();
    let metrics = std::sync::Arc::new(NetMetrics::register(&registry).expect("a new registry"));
    let router = Router::start(
        no_routes(&registry),
        RouterSettings {
            lane: LaneLimits { batches: 4, bytes: 1 << 20 },
            block_max: Duration::from_millis(300),
            topics: Vec::new(),
        },
        Streams::none(),
    );
    let server = Server::bind(settings, router.clone(), none(router), metrics.clone())
        .expect("loopback is free");
    let endpoint = client(&server.ca().expect("the development authority"), ALPN);
    Running { server, endpoint, metrics, _state: state }
}

struct Conversation {
    send: quinn::SendStream,
    receive: quinn::RecvStream,
    decoder: FrameDecoder,
}

impl Conversation {
    async fn open(connection: &quinn::Connection) -> Self {
        let (send, receive) = connection.open_bi().await.expect("a stream");
        Self { send, receive, decoder: FrameDecoder::new(MAX_FRAME_BYTES) }
    }

    async fn send(&mut self, frame: &Frame) {
        let mut bytes = BytesMut::new();
        frame.encode(&mut bytes);
        self.send.write_all(&bytes).await.expect("the router reads");
    }

    async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.decoder.poll().expect("the router sends frames") {
                return Some(frame);
            }
            let chunk = self.receive.read_chunk(4096, true).await.ok()??;
            self.decoder.push(&chunk.bytes);
        }
    }
}

fn hello() -> Frame {
    Frame::Hello(Hello { versions: vec![1], ..Hello::default() })
}

impl Running {
    async fn connection(&self) -> quinn::Connection {
        let connecting = self.endpoint.connect(self.server.address(), "localhost");
        connecting.expect("a good address").await.expect("the handshake succeeds")
    }

    async fn connected(&self) -> (quinn::Connection, Conversation) {
        let connection = self.connection().await;
        let mut control = Conversation::open(&connection).await;
        control.send(&hello()).await;
        assert!(matches!(control.next().await, Some(Frame::Welcome(_))));
        (connection, control)
    }

    /// What a peer's bytes close its connection with, while a neighbour is not disturbed.
    async fn check_closed(&self, shaken: bool, bytes: &[u8], expected: ErrorCode) {
        let (_neighbour, mut undisturbed) = self.connected().await;
        let before = self.metrics.errors.with_label_values(&[expected.name()]).get();
        let (connection, _control) = if shaken {
            let (connection, control) = self.connected().await;
            (connection, Some(control))
        } else {
            (self.connection().await, None)
        };
        let mut stream = Conversation::open(&connection).await;
        stream.send.write_all(bytes).await.expect("the router reads");
        let quinn::ConnectionError::ApplicationClosed(close) = connection.closed().await else {
            panic!("the router did not close the connection");
        };
        assert_eq!(close.error_code.into_inner(), u64::from(expected.number()), "{close}");
        assert_eq!(self.metrics.errors.with_label_values(&[expected.name()]).get(), before + 1);
        undisturbed.send(&Frame::Ping(Ping { nonce: 7 })).await;
        assert!(matches!(undisturbed.next().await, Some(Frame::Pong(pong)) if pong.nonce == 7));
    }
}

fn batch(topic: &str, count: usize) -> Batch {
    let mut builder = BatchBuilder::new();
    for _ in 0..count {
        builder.push(topic, None, &[], b"payload", 0).expect("it fits");
    }
    builder.finish().expect("there are messages")
}

fn publish(first_sequence: u64, batch: &Batch) -> Frame {
    let count = u32::try_from(batch.len()).expect("a small batch");
    Frame::Publish(
        Publish { first_sequence, count, ..Publish::default() },
        batch.as_bytes().clone(),
    )
}

fn encoded(frame: &Frame) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    frame.encode(&mut bytes);
    bytes.to_vec()
}

fn subscribe(pattern: &str, credit_messages: u64) -> Frame {
    Frame::Subscribe(Subscribe {
        pattern: pattern.into(),
        credit_messages,
        credit_bytes: 4 << 20,
        ..Subscribe::default()
    })
}

#[tokio::test]
async fn what_is_published_is_delivered_within_the_credit_and_committed() {
    let running = start();
    let (connection, _control) = running.connected().await;
    let mut subscription = Conversation::open(&connection).await;
    subscription.send(&subscribe("a.*", 2)).await;
    assert!(matches!(subscription.next().await, Some(Frame::Subscribed(_))));
    let mut publisher = Conversation::open(&connection).await;
    publisher.send(&publish(0, &batch("a.b", 3))).await;
    let Some(Frame::PublishResult(result)) = publisher.next().await else {
        panic!("a publish has a result");
    };
    assert!(matches!(result.outcome, Some(Outcome::Committed(outcome)) if !outcome.unrouted));
    let mut sizes = Vec::new();
    for _ in 0..2 {
        let Some(Frame::Deliver(deliver, bytes)) = subscription.next().await else {
            panic!("the messages are delivered");
        };
        Envelope::decode(&deliver.envelope, deliver.envelope_crc32c).expect("a sound envelope");
        sizes.push(Batch::decode(bytes, &Limits::default()).expect("a sound batch").len());
        subscription.send(&Frame::Credit(Credit { messages: 5, bytes: 0 })).await;
    }
    assert_eq!(sizes, [2, 1], "two were within the first grant");
}

#[tokio::test]
async fn what_breaks_the_protocol_closes_the_connection_with_its_number() {
    let running = start();
    let other_version = Frame::Hello(Hello { versions: vec![9], ..Hello::default() });
    let one = batch("a", 1);
    let mut flipped = encoded(&publish(0, &one));
    *flipped.last_mut().expect("a frame has bytes") ^= 1;
    let wrong_count = Frame::Publish(
        Publish { first_sequence: 0, count: 2, ..Publish::default() },
        one.as_bytes().clone(),
    );
    for (shaken, bytes, expected) in [
        (false, encoded(&other_version), ErrorCode::UnsupportedVersion),
        (false, encoded(&subscribe("a", 1)), ErrorCode::UnexpectedFrame),
        (false, vec![1, 0, 0], ErrorCode::HandshakeTimeout),
        (true, encoded(&hello()), ErrorCode::UnexpectedFrame),
        (true, vec![0, 0, 0, 0, 99, 0, 0, 0], ErrorCode::UnknownFrame),
        (true, vec![0xff, 0xff, 0xff, 0xff, 3, 0, 0, 0], ErrorCode::FrameTooLarge),
        (true, vec![9, 0, 0, 0, 3], ErrorCode::StalledFrame),
        (true, flipped, ErrorCode::BatchChecksum),
        (true, encoded(&wrong_count), ErrorCode::CountMismatch),
        (true, encoded(&publish(5, &one)), ErrorCode::SequenceGap),
    ] {
        running.check_closed(shaken, &bytes, expected).await;
    }
}

#[tokio::test]
async fn what_a_peer_may_not_do_is_told_on_its_stream_alone() {
    let running = start();
    let (connection, _control) = running.connected().await;
    let mut standing = Conversation::open(&connection).await;
    standing.send(&subscribe("a", 1)).await;
    assert!(matches!(standing.next().await, Some(Frame::Subscribed(_))));
    let poor = Frame::Subscribe(Subscribe {
        pattern: "a".into(),
        credit_messages: 1,
        credit_bytes: 1,
        ..Subscribe::default()
    });
    for (frame, expected) in [
        (subscribe("a..b", 1), ErrorCode::BadPattern),
        (poor, ErrorCode::CreditTooSmall),
        (subscribe("$inbox.>", 1), ErrorCode::Forbidden),
        (subscribe("b", 1), ErrorCode::TooManySubscriptions),
    ] {
        let mut stream = Conversation::open(&connection).await;
        stream.send(&frame).await;
        let Some(Frame::Error(error)) = stream.next().await else {
            panic!("the refusal is told");
        };
        assert_eq!(ErrorCode::from_number(error.code), Some(expected), "{}", error.message);
    }
    let mut publisher = Conversation::open(&connection).await;
    for (sequence, topic, expected) in
        [(0, "$dead.a", ErrorCode::SystemTopic), (1, "$inbox.gone", ErrorCode::NoResponder)]
    {
        publisher.send(&publish(sequence, &batch(topic, 1))).await;
        let Some(Frame::PublishResult(result)) = publisher.next().await else {
            panic!("a publish has a result");
        };
        let Some(Outcome::Rejected(rejected)) = result.outcome else {
            panic!("{topic} takes nothing");
        };
        assert_eq!(rejected.code, expected.number());
    }
}

#[tokio::test]
async fn another_application_protocol_gets_no_connection() {
    let running = start();
    let stranger = client(&running.server.ca().expect("the authority"), b"http/1.1");
    let connecting = stranger.connect(running.server.address(), "localhost").expect("an address");
    connecting.await.expect_err("the handshake fails");
    let failed = || running.metrics.errors.with_label_values(&["HANDSHAKE_FAILED"]).get();
    while failed() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_subscriber_that_grants_no_more_credit_is_told_that_it_was_too_slow() {
    let running = start();
    let (connection, _control) = running.connected().await;
    let mut subscription = Conversation::open(&connection).await;
    subscription.send(&subscribe("a", 1)).await;
    assert!(matches!(subscription.next().await, Some(Frame::Subscribed(_))));
    let mut publisher = Conversation::open(&connection).await;
    // More than the queue holds: the third waits for room, which nobody makes.
    for first_sequence in [0, 600, 1200] {
        publisher.send(&publish(first_sequence, &batch("a", 600))).await;
    }
    assert!(matches!(subscription.next().await, Some(Frame::Deliver(..))));
    let Some(Frame::Error(error)) = subscription.next().await else {
        panic!("the end is told");
    };
    assert_eq!(ErrorCode::from_number(error.code), Some(ErrorCode::SlowConsumer));
    for _ in 0..3 {
        assert!(matches!(publisher.next().await, Some(Frame::PublishResult(_))));
    }
}

#[tokio::test]
async fn an_address_that_others_reach_is_refused_without_the_word_insecure() {
    let state = tempfile::tempdir().expect("a folder");
    let mut open = settings(state.path());
    open.address = (Ipv4Addr::UNSPECIFIED, 0).into();
    let running = start();
    let registry = prometheus::Registry::new();
    let metrics = std::sync::Arc::new(NetMetrics::register(&registry).expect("a new registry"));
    let router = Router::start(
        no_routes(&registry),
        RouterSettings {
            lane: LaneLimits { batches: 1, bytes: 1 },
            block_max: Duration::from_secs(1),
            topics: Vec::new(),
        },
        Streams::none(),
    );
    let refused = Server::bind(open, router.clone(), none(router), metrics)
        .expect_err("anyone could come in");
    assert!(matches!(refused, BindError::Unauthenticated(_)), "{refused}");
    drop(running);
}

#[tokio::test]
async fn a_stopping_router_says_so_on_the_control_stream() {
    let running = start();
    let (_connection, mut control) = running.connected().await;
    running.server.go_away(Duration::from_secs(3));
    assert!(
        matches!(control.next().await, Some(Frame::GoingAway(away)) if away.deadline_ms == 3000)
    );
    running.server.close(Duration::from_secs(5), Duration::from_secs(1)).await;
    assert!(control.next().await.is_none());
}
