//! The endpoint: binds, accepts, and closes.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use quinn::{EndpointConfig, IdleTimeout, TokioRuntime, TransportConfig, VarInt};
use socket2::SockRef;
use tokio::{sync::watch, task::JoinSet};
use waypost_core::{Attempt, IncomingAction, IncomingLoad};
use waypost_protocol::{ConnectionId, ErrorCode};

use super::{
    Connections, NetMetrics, NetSettings, TlsError,
    connection::{self, Entrant},
    listening::{Listening, Prepared, Shown},
    tls::Source,
};
use crate::{groups::Groups, router::Router, streams::Streams, watch::Watcher};

/// Socket buffers; the system may clamp them.
const SOCKET_BUFFER_BYTES: usize = 4 << 20;
/// What one stream may send unread. A frame of the largest size fits.
const STREAM_WINDOW_BYTES: u32 = 16 << 20;
/// What all streams of a connection may send unread.
const CONNECTION_WINDOW_BYTES: u32 = 64 << 20;

/// Why the endpoint does not stand.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The address is reachable by others, and clients prove nothing.
    #[error(
        "listening on {0} would let anyone in: bind a loopback address, or set \
         listen.insecure_no_auth = true if the network is trusted"
    )]
    Unauthenticated(SocketAddr),
    /// The address cannot be bound.
    #[error("cannot listen on {address}: {source}")]
    Address {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// There is no usable certificate.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// The listening endpoint with its connections.
#[derive(Debug)]
pub struct Server {
    endpoint: quinn::Endpoint,
    address: SocketAddr,
    listening: Arc<Listening>,
    watcher: Option<Watcher>,
    shared: Arc<Shared>,
    stopping: watch::Sender<Option<Duration>>,
    accepting: tokio::task::JoinHandle<()>,
}

/// What new connections are taken with once it is [applied](Server::apply).
#[derive(Debug)]
pub struct NetChange {
    settings: NetSettings,
    certificate: Option<Shown>,
}

/// What every connection shares.
#[derive(Debug)]
pub(super) struct Shared {
    /// What holds for new connections.
    pub(super) settings: ArcSwap<NetSettings>,
    pub(super) router: Router,
    pub(super) streams: Streams,
    pub(super) groups: Groups,
    pub(super) metrics: Arc<NetMetrics>,
    pub(super) connections: Arc<Connections>,
    /// The deadline of the shutdown, once there is one.
    pub(super) stopping: watch::Receiver<Option<Duration>>,
}

impl Server {
    /// Binds the address and begins to accept, on the current runtime.
    ///
    /// # Errors
    ///
    /// An address that must not or cannot be bound; no usable certificate.
    pub fn bind(
        settings: NetSettings,
        router: Router,
        (streams, groups): (Streams, Groups),
        metrics: Arc<NetMetrics>,
    ) -> Result<Self, BindError> {
        let wanted = settings.address;
        if !wanted.ip().is_loopback() && !settings.insecure_no_auth {
            return Err(BindError::Unauthenticated(wanted));
        }
        let source = Source::of(settings.tls.as_ref(), &settings.state_folder)?;
        let prepared = Prepared::new(source, transport(&settings), &metrics)?;
        let refused = |source| BindError::Address { address: wanted, source };
        let socket = UdpSocket::bind(wanted).map_err(refused)?;
        enlarge_buffers(&socket);
        let endpoint = quinn::Endpoint::new(
            EndpointConfig::default(),
            Some(prepared.config.clone()),
            socket,
            Arc::new(TokioRuntime),
        )
        .map_err(refused)?;
        let address = endpoint.local_addr().map_err(refused)?;
        let listening = Arc::new(Listening::new(endpoint.clone(), prepared, metrics.clone()));
        let watcher = listening.watch();
        let (stopping, receiver) = watch::channel(None);
        let settings = ArcSwap::from_pointee(settings);
        let connections = Arc::default();
        let shared = Arc::new(Shared {
            settings,
            router,
            streams,
            groups,
            metrics,
            connections,
            stopping: receiver,
        });
        let accepting = tokio::spawn(accept(endpoint.clone(), shared.clone()));
        Ok(Self { endpoint, address, listening, watcher, shared, stopping, accepting })
    }

    /// The address that was bound.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The authority that clients must trust, when the certificate is the development one.
    #[must_use]
    pub fn ca(&self) -> Option<PathBuf> {
        self.listening.ca()
    }

    /// Reads the certificate again, although nothing told of a change. A new one is shown to new connections
    /// from now on; one that cannot be used is logged and counted, and the one before stays.
    pub async fn reload_certificate(&self) {
        self.listening.look().await;
    }

    /// Makes ready what new connections are taken with under other settings; those that stand are not
    /// touched, and neither is the address.
    ///
    /// # Errors
    ///
    /// There is another certificate, which cannot be used.
    pub async fn prepare(&self, settings: NetSettings) -> Result<NetChange, TlsError> {
        let certificate = self.listening.prepare(&settings).await?;
        Ok(NetChange { settings, certificate })
    }

    /// Takes new connections with what was made ready.
    pub fn apply(&mut self, change: NetChange) {
        let NetChange { settings, certificate } = change;
        self.listening.set_transport(transport(&settings));
        self.shared.settings.store(Arc::new(settings));
        if let Some(shown) = certificate {
            self.listening.show(shown);
            self.watcher = self.listening.watch();
        }
    }

    /// The connections that stand.
    #[must_use]
    pub fn connections(&self) -> &Arc<Connections> {
        &self.shared.connections
    }

    /// Takes no more connections and tells every client how long it has.
    pub fn go_away(&self, deadline: Duration) {
        self.listening.close();
        self.stopping.send_replace(Some(deadline));
    }

    /// Waits until every client has gone, for `patience` at most; then closes what is left and waits until
    /// the peers know, for `farewell` at most. To be called after [`go_away`](Self::go_away). Gives whether
    /// every client went by itself.
    pub async fn close(mut self, patience: Duration, farewell: Duration) -> bool {
        let gone = tokio::time::timeout(patience, &mut self.accepting).await.is_ok();
        self.accepting.abort();
        let code = ErrorCode::ShuttingDown;
        self.endpoint.close(VarInt::from_u32(code.number()), code.meaning().as_bytes());
        let _ = tokio::time::timeout(farewell, self.endpoint.wait_idle()).await;
        gone
    }
}

fn transport(settings: &NetSettings) -> TransportConfig {
    let mut transport = TransportConfig::default();
    let idle = u32::try_from(settings.idle_timeout.as_millis()).unwrap_or(u32::MAX);
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(settings.max_streams.saturating_add(1)))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW_BYTES))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW_BYTES))
        .send_window(u64::from(CONNECTION_WINDOW_BYTES))
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(idle))))
        .datagram_receive_buffer_size(None);
    transport
}

fn enlarge_buffers(socket: &UdpSocket) {
    let socket = SockRef::from(socket);
    let wanted = socket
        .set_recv_buffer_size(SOCKET_BUFFER_BYTES)
        .and_then(|()| socket.set_send_buffer_size(SOCKET_BUFFER_BYTES));
    let got = socket.recv_buffer_size().unwrap_or_default();
    if wanted.is_err() || got < SOCKET_BUFFER_BYTES {
        tracing::warn!(
            wanted = SOCKET_BUFFER_BYTES,
            got,
            "the system clamps socket buffers; raise net.core.rmem_max and net.core.wmem_max"
        );
    }
}

async fn accept(endpoint: quinn::Endpoint, shared: Arc<Shared>) {
    let next = AtomicU64::new(1);
    let mut connections = JoinSet::new();
    let mut stopping = shared.stopping.clone();
    loop {
        let incoming = tokio::select! {
            Some(incoming) = endpoint.accept() => incoming,
            _ = stopping.wait_for(Option::is_some) => break,
            else => break,
        };
        while connections.try_join_next().is_some() {}
        if let Some(entrant) = admit(incoming, connections.len(), &next, &shared) {
            connections.spawn(connection::serve(entrant, shared.clone()));
        }
    }
    while connections.join_next().await.is_some() {}
}

/// Lets an attempt in, or sends it away.
fn admit(
    incoming: quinn::Incoming,
    connections: usize,
    next: &AtomicU64,
    shared: &Shared,
) -> Option<Entrant> {
    let settings = shared.settings.load_full();
    let handshakes = usize::try_from(shared.metrics.handshakes.get()).unwrap_or_default();
    let attempt = Attempt {
        is_validated: incoming.remote_address_validated(),
        may_retry: incoming.may_retry(),
    };
    let action = settings.incoming.action(IncomingLoad { connections, handshakes }, attempt);
    shared.metrics.attempt(action);
    match action {
        IncomingAction::Accept => {
            let remote = incoming.remote_address();
            let connecting = match incoming.accept() {
                Ok(connecting) => connecting,
                // TLS has told the peer, in an alert of its own.
                Err(error) => {
                    shared.metrics.error(ErrorCode::HandshakeFailed);
                    tracing::debug!(%remote, %error, "a handshake failed at once");
                    return None;
                }
            };
            let id = ConnectionId(next.fetch_add(1, Ordering::Relaxed));
            return Some(Entrant {
                connecting,
                handshake: shared.metrics.handshake(),
                id,
                settings,
            });
        }
        IncomingAction::Retry => {
            // It fails only where `may_retry` says so.
            let _ = incoming.retry();
        }
        IncomingAction::Refuse => {
            shared.metrics.error(ErrorCode::TooManyConnections);
            incoming.refuse();
        }
        IncomingAction::Ignore => incoming.ignore(),
    }
    None
}
