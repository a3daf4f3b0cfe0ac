//! A router of which every frame is scripted.

use std::{net::Ipv4Addr, sync::Arc};

use bytes::{Bytes, BytesMut};
use quinn::{ConnectionError, Endpoint, TransportConfig, crypto::rustls::QuicServerConfig};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls_pki_types::PrivatePkcs8KeyDer;
use waypost_client::{
    Batch, BatchBuilder, Client, ClientOptions, ConnectError, Envelope, ErrorCode, Limits,
    Reconnect,
};
use waypost_protocol::{
    ALPN, Frame, FrameDecoder, MAX_FRAME_BYTES,
    frame::{
        Committed, Deliver, Hello, Outcome, Publish, PublishResult, Rejected, Subscribe,
        Subscribed, Welcome,
    },
};

/// Streams of a connection at a time.
pub(crate) const STREAMS: u32 = 8;

pub(crate) struct Router {
    pub(crate) endpoint: Endpoint,
    pub(crate) ca_pem: String,
}

/// A client's connection, welcomed.
pub(crate) struct Peer {
    pub(crate) connection: quinn::Connection,
    pub(crate) control: Conversation,
    pub(crate) hello: Hello,
}

/// One stream, as frames.
pub(crate) struct Conversation {
    pub(crate) send: quinn::SendStream,
    receive: quinn::RecvStream,
    decoder: FrameDecoder,
}

impl Router {
    pub(crate) fn start() -> Self {
        Self::speaking(ALPN)
    }

    /// One that speaks this application protocol.
    pub(crate) fn speaking(protocol: &[u8]) -> Self {
        let mut authority = CertificateParams::new(Vec::new()).expect("no names");
        authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        // The same name for each, as development authorities have.
        authority.distinguished_name.push(DnType::CommonName, "Waypost development authority");
        let authority_key = KeyPair::generate().expect("a key");
        let ca_pem = authority.self_signed(&authority_key).expect("a certificate").pem();
        let own = ["localhost", "127.0.0.1"].map(str::to_owned);
        let own = CertificateParams::new(own).expect("good names");
        let own_key = KeyPair::generate().expect("a key");
        let issuer = Issuer::new(authority, authority_key);
        let certificate = own.signed_by(&own_key, &issuer).expect("a certificate");
        let key = PrivatePkcs8KeyDer::from(own_key.serialize_der());

        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("TLS 1.3 is there")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key.into())
            .expect("they go together");
        tls.alpn_protocols = vec![protocol.to_vec()];
        let crypto = QuicServerConfig::try_from(tls).expect("it suits QUIC");
        let mut config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
        let mut transport = TransportConfig::default();
        transport.max_concurrent_bidi_streams(STREAMS.into());
        config.transport_config(Arc::new(transport));
        let endpoint =
            Endpoint::server(config, (Ipv4Addr::LOCALHOST, 0).into()).expect("loopback is free");
        Self { endpoint, ca_pem }
    }

    pub(crate) fn address(&self) -> String {
        self.endpoint.local_addr().expect("it is bound").to_string()
    }

    /// Options with which a client gets here, and comes back without delay.
    pub(crate) fn options(&self) -> ClientOptions {
        let at_once = std::time::Duration::from_millis(1);
        ClientOptions::new(self.address())
            .ca_pem(self.ca_pem.as_bytes())
            .expect("it is a certificate")
            .reconnect(Reconnect { initial: at_once, max: at_once, attempts: None })
    }

    /// The next connection, before any stream.
    pub(crate) async fn accept_bare(&self) -> quinn::Connection {
        let incoming = self.endpoint.accept().await.expect("the endpoint stands");
        incoming.await.expect("the handshake succeeds")
    }

    /// The next connection, welcomed with these words.
    pub(crate) async fn accept_with(&self, welcome: Welcome) -> Peer {
        let connection = self.accept_bare().await;
        let mut control = Conversation::accept(&connection).await;
        let Some(Frame::Hello(hello)) = control.next().await else {
            panic!("a client says hello first");
        };
        control.send(&Frame::Welcome(welcome)).await;
        Peer { connection, control, hello }
    }

    pub(crate) async fn accept(&self) -> Peer {
        self.accept_with(welcome()).await
    }

    /// A client with these options, and its connection as seen from here.
    pub(crate) async fn connected(&self, options: ClientOptions) -> (Client, Peer) {
        let (client, peer) = tokio::join!(Client::connect(options), self.accept());
        (client.expect("it is welcomed"), peer)
    }

    /// What a client gets that is met by `script` instead of a welcome.
    pub(crate) async fn refused(
        &self,
        script: impl AsyncFnOnce(quinn::Connection, Conversation),
    ) -> ConnectError {
        let met = async {
            let connection = self.accept_bare().await;
            let mut control = Conversation::accept(&connection).await;
            assert!(matches!(control.next().await, Some(Frame::Hello(_))));
            script(connection, control).await;
        };
        let (client, ()) = tokio::join!(Client::connect(self.options()), met);
        client.expect_err("it is not welcomed")
    }
}

pub(crate) fn welcome() -> Welcome {
    Welcome {
        version: 1,
        limits: Some(Limits::default().into()),
        router_name: "scripted".into(),
        router_version: "0.0.0".into(),
        connection_id: 7,
        key_hash: "xxh3".into(),
        idle_timeout_ms: 30_000,
        streams: Vec::new(),
    }
}

impl Peer {
    /// The next stream that the client opens.
    pub(crate) async fn accept(&self) -> Conversation {
        Conversation::accept(&self.connection).await
    }

    /// The next stream, on which the client subscribes.
    pub(crate) async fn accept_subscription(&self) -> (Conversation, Subscribe) {
        let mut stream = self.accept().await;
        let Some(Frame::Subscribe(subscribe)) = stream.next().await else {
            panic!("it subscribes");
        };
        stream.send(&Frame::Subscribed(Subscribed { subscription_id: 1, joined: None })).await;
        (stream, subscribe)
    }

    pub(crate) fn close(&self, code: ErrorCode) {
        self.connection.close(code.number().into(), b"as the test says");
    }

    /// Waits until the client closes; gives its code.
    pub(crate) async fn closed_with(&self) -> u64 {
        match self.connection.closed().await {
            ConnectionError::ApplicationClosed(close) => close.error_code.into_inner(),
            other => panic!("the client did not close the connection: {other}"),
        }
    }
}

impl Conversation {
    async fn accept(connection: &quinn::Connection) -> Self {
        let (send, receive) = connection.accept_bi().await.expect("a stream");
        Self { send, receive, decoder: FrameDecoder::new(MAX_FRAME_BYTES) }
    }

    pub(crate) async fn send(&mut self, frame: &Frame) {
        let mut bytes = BytesMut::new();
        frame.encode(&mut bytes);
        self.send_bytes(&bytes).await;
    }

    pub(crate) async fn send_bytes(&mut self, bytes: &[u8]) {
        self.send.write_all(bytes).await.expect("the client reads");
    }

    /// The next frame; `None` at the end of the stream, however it ends.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.decoder.poll().expect("the client sends frames") {
                return Some(frame);
            }
            let chunk = self.receive.read_chunk(65_536, true).await.ok()??;
            self.decoder.push(&chunk.bytes);
        }
    }

    /// The next publish, with its batch.
    pub(crate) async fn next_publish(&mut self) -> (Publish, Batch) {
        let Some(Frame::Publish(publish, bytes)) = self.next().await else {
            panic!("it publishes");
        };
        let batch = Batch::decode(bytes, &Limits::default()).expect("a sound batch");
        assert_eq!(batch.len(), publish.count as usize);
        (publish, batch)
    }

    pub(crate) async fn answer(&mut self, publish: &Publish, outcome: Outcome) {
        let Publish { first_sequence, count, .. } = *publish;
        let result = PublishResult { first_sequence, count, outcome: Some(outcome) };
        self.send(&Frame::PublishResult(result)).await;
    }

    pub(crate) async fn commit(&mut self, publish: &Publish) {
        self.answer(publish, Outcome::Committed(Committed::default())).await;
    }

    pub(crate) async fn reject(&mut self, publish: &Publish, code: ErrorCode) {
        let rejected = Rejected { code: code.number(), message: "as the test says".into() };
        self.answer(publish, Outcome::Rejected(rejected)).await;
    }

    pub(crate) async fn deliver(&mut self, batch: &Batch) {
        let (envelope, envelope_crc32c) =
            Envelope { ingest_ms: 42, ..Envelope::default() }.encode();
        self.deliver_with(
            Deliver { envelope, envelope_crc32c, lease: None },
            batch.as_bytes().clone(),
        )
        .await;
    }

    pub(crate) async fn deliver_with(&mut self, deliver: Deliver, batch: Bytes) {
        self.send(&Frame::Deliver(deliver, batch)).await;
    }
}

/// A batch of which the payloads are these texts.
pub(crate) fn batch(payloads: &[&str]) -> Batch {
    let mut builder = BatchBuilder::new();
    for payload in payloads {
        builder.push("a.b", None, &[], payload.as_bytes(), 0).expect("it fits");
    }
    builder.finish().expect("there are messages")
}

pub(crate) fn payloads(batch: &Batch) -> Vec<String> {
    let text = |payload: &[u8]| String::from_utf8_lossy(payload).into_owned();
    batch.iter().map(|message| text(message.payload())).collect()
}
