//! The QUIC endpoint below a connection: TLS, windows, socket.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    sync::Arc,
    time::Duration,
};

use quinn::{
    Endpoint, EndpointConfig, IdleTimeout, TokioRuntime, TransportConfig, VarInt,
    crypto::rustls::QuicClientConfig,
};
use rustls::RootCertStore;
use socket2::SockRef;
use waypost_protocol::ALPN;

use crate::ConnectError;

/// Socket buffers; the system may clamp them.
const SOCKET_BUFFER_BYTES: usize = 4 << 20;
/// What one stream may be sent unread; the byte credit of one subscription stays below it.
pub(crate) const STREAM_WINDOW_BYTES: u32 = 16 << 20;
/// What all streams may be sent unread, so that no delivery blocks a publish result.
const CONNECTION_WINDOW_BYTES: u32 = 64 << 20;
/// Well below any sensible idle timeout of a router.
pub(crate) const KEEP_ALIVE: Duration = Duration::from_secs(3);
/// Three keep-alives without an answer: the router is gone.
const IDLE_TIMEOUT_MS: u32 = 10_000;

/// What connections are made with: TLS 1.3, our application protocol, no early data.
pub(crate) fn config(authorities: RootCertStore) -> Result<quinn::ClientConfig, ConnectError> {
    let unfit = |error: &dyn std::error::Error| ConnectError::Tls(error.to_string());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| unfit(&error))?
        .with_root_certificates(authorities)
        .with_no_client_auth();
    tls.alpn_protocols = vec![ALPN.to_vec()];
    // Early data can be replayed by whoever saw it; a publish must not be.
    tls.enable_early_data = false;
    let crypto = QuicClientConfig::try_from(tls).map_err(|error| unfit(&error))?;
    let mut config = quinn::ClientConfig::new(Arc::new(crypto));
    config.transport_config(Arc::new(transport()));
    Ok(config)
}

fn transport() -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW_BYTES))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW_BYTES))
        .send_window(u64::from(CONNECTION_WINDOW_BYTES))
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(IDLE_TIMEOUT_MS))))
        .datagram_receive_buffer_size(None);
    transport
}

/// An endpoint that reaches addresses of this one's family.
pub(crate) fn endpoint(remote: SocketAddr) -> io::Result<Endpoint> {
    let local: SocketAddr = match remote {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(local)?;
    enlarge_buffers(&socket);
    Endpoint::new(EndpointConfig::default(), None, socket, Arc::new(TokioRuntime))
}

fn enlarge_buffers(socket: &UdpSocket) {
    let socket = SockRef::from(socket);
    let wanted = socket
        .set_recv_buffer_size(SOCKET_BUFFER_BYTES)
        .and_then(|()| socket.set_send_buffer_size(SOCKET_BUFFER_BYTES));
    let got = socket.recv_buffer_size().unwrap_or_default();
    if wanted.is_err() || got < SOCKET_BUFFER_BYTES {
        // Said once more by the router, loudly; here it would be said by every client.
        tracing::debug!(
            wanted = SOCKET_BUFFER_BYTES,
            got,
            "the system clamps socket buffers; raise net.core.rmem_max and net.core.wmem_max"
        );
    }
}
