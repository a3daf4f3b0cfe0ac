//! QUIC with the same TLS, windows and buffers as the router's endpoint, so that the bare relay
//! shows what the router could reach. The sizes are those of `host/src/net/endpoint.rs`.

use std::{
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    sync::Arc,
    time::Duration,
};

use quinn::{
    Endpoint, EndpointConfig, IdleTimeout, TokioRuntime, TransportConfig, VarInt,
    crypto::rustls::{QuicClientConfig, QuicServerConfig},
};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, PrivatePkcs8KeyDer},
};
use serde::{Deserialize, Serialize};
use socket2::SockRef;

const ALPN: &[u8] = b"waypost-bench/1";
const SERVER_NAME: &str = "localhost";
const SOCKET_BUFFER_BYTES: usize = 4 << 20;
const STREAM_WINDOW_BYTES: u32 = 16 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 64 << 20;
/// A peer that died is noticed before the whole measurement is given up.
const IDLE_TIMEOUT_MS: u32 = 10_000;

/// A certificate for one measurement, and its key.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Certificate {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Certificate {
    pub(crate) fn generate() -> anyhow::Result<Self> {
        let made = rcgen::generate_simple_self_signed([SERVER_NAME.to_owned()])?;
        let (certificate, key) = (made.cert.der().to_vec(), made.signing_key.serialize_der());
        Ok(Self { certificate, key })
    }

    fn der(&self) -> CertificateDer<'static> {
        self.certificate.clone().into()
    }
}

/// An endpoint on a free port of loopback that connections are made to.
pub(crate) fn listen(certificate: &Certificate) -> anyhow::Result<Endpoint> {
    let key = PrivatePkcs8KeyDer::from(certificate.key.clone());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der()], key.into())?;
    tls.alpn_protocols = vec![ALPN.to_vec()];
    let crypto = QuicServerConfig::try_from(tls)?;
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    config.transport_config(Arc::new(transport()));
    endpoint(Some(config))
}

/// A connection to such an endpoint, with the endpoint that carries it.
pub(crate) async fn connect(
    address: SocketAddr,
    certificate: &Certificate,
) -> anyhow::Result<(Endpoint, quinn::Connection)> {
    let mut authorities = RootCertStore::empty();
    authorities.add(certificate.der())?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(authorities)
        .with_no_client_auth();
    tls.alpn_protocols = vec![ALPN.to_vec()];
    let mut config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
    config.transport_config(Arc::new(transport()));
    let endpoint = endpoint(None)?;
    let connection = endpoint.connect_with(config, address, SERVER_NAME)?.await?;
    Ok((endpoint, connection))
}

fn endpoint(config: Option<quinn::ServerConfig>) -> anyhow::Result<Endpoint> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let buffers = SockRef::from(&socket);
    // The system may clamp them, as it does for the router, which warns of it.
    let _ = buffers.set_recv_buffer_size(SOCKET_BUFFER_BYTES);
    let _ = buffers.set_send_buffer_size(SOCKET_BUFFER_BYTES);
    Ok(Endpoint::new(EndpointConfig::default(), config, socket, Arc::new(TokioRuntime))?)
}

fn transport() -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(1))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW_BYTES))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW_BYTES))
        .send_window(u64::from(CONNECTION_WINDOW_BYTES))
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(IDLE_TIMEOUT_MS))))
        .keep_alive_interval(Some(Duration::from_secs(3)))
        .datagram_receive_buffer_size(None);
    transport
}
