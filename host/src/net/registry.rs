//! The connections that stand, for operators.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use waypost_protocol::ConnectionId;

use super::identity::Identity;
use crate::time::now_ms;

/// A connection as it stands at this moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ConnectionStatus {
    /// Its number.
    pub id: u64,
    /// The address that it comes from.
    #[schema(value_type = String)]
    pub remote: SocketAddr,
    /// What the client calls itself.
    pub client: String,
    /// The version of the client.
    pub client_version: String,
    /// Since when it stands, in milliseconds since the Unix epoch.
    pub since_ms: u64,
    /// The time of a round trip, in seconds.
    pub rtt_seconds: f64,
    /// Its streams that publish or subscribe.
    pub streams: usize,
    /// Bytes that came from it, with what QUIC and UDP add.
    pub received_bytes: u64,
    /// Bytes that went to it, with what QUIC and UDP add.
    pub sent_bytes: u64,
}

/// The connections that stand.
#[derive(Debug, Default)]
pub struct Connections(Mutex<BTreeMap<ConnectionId, Standing>>);

#[derive(Debug)]
struct Standing {
    connection: quinn::Connection,
    client: String,
    client_version: String,
    since_ms: u64,
    streams: Arc<AtomicUsize>,
}

/// Keeps a connection among those that stand.
#[derive(Debug)]
pub(super) struct Registered {
    connections: Arc<Connections>,
    id: ConnectionId,
    streams: Arc<AtomicUsize>,
}

/// Counts a stream of a connection while it stands.
#[derive(Debug)]
pub(super) struct Streaming(Arc<AtomicUsize>);

impl Connections {
    /// Every connection that has said hello, by number.
    #[must_use]
    pub fn status(&self) -> Vec<ConnectionStatus> {
        let status = |(id, standing): (&ConnectionId, &Standing)| {
            let stats = standing.connection.stats();
            ConnectionStatus {
                id: id.0,
                remote: standing.connection.remote_address(),
                client: standing.client.clone(),
                client_version: standing.client_version.clone(),
                since_ms: standing.since_ms,
                rtt_seconds: stats.path.rtt.as_secs_f64(),
                streams: standing.streams.load(Ordering::Relaxed),
                received_bytes: stats.udp_rx.bytes,
                sent_bytes: stats.udp_tx.bytes,
            }
        };
        self.lock().iter().map(status).collect()
    }

    pub(super) fn register(
        self: &Arc<Self>,
        id: ConnectionId,
        connection: &quinn::Connection,
        identity: &Identity,
        client_version: &str,
    ) -> Registered {
        let Identity::Anonymous { name } = identity;
        let streams = Arc::<AtomicUsize>::default();
        let standing = Standing {
            connection: connection.clone(),
            client: name.clone(),
            client_version: client_version.chars().take(64).collect(),
            since_ms: now_ms(),
            streams: streams.clone(),
        };
        self.lock().insert(id, standing);
        Registered { connections: self.clone(), id, streams }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ConnectionId, Standing>> {
        // No code under the lock panics, so a poisoned map is a whole one.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Registered {
    pub(super) fn stream(&self) -> Streaming {
        self.streams.fetch_add(1, Ordering::Relaxed);
        Streaming(self.streams.clone())
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.connections.lock().remove(&self.id);
    }
}

impl Drop for Streaming {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
