//! The network: one QUIC endpoint, its connections, and their publish and subscription streams.
//!
//! It moves bytes between peers and the router. What a peer may do is decided in [`identity`], what a
//! frame means in the protocol crate, who gets a message in the router.

mod connection;
mod endpoint;
mod frames;
pub mod identity;
mod listening;
mod member;
mod metrics;
mod publish;
mod registry;
mod subscription;
#[cfg(test)]
mod tests;
mod tls;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

pub use endpoint::{BindError, NetChange, Server};
pub use metrics::NetMetrics;
pub use registry::{ConnectionStatus, Connections};
pub use tls::{DEVELOPMENT_CA_FILE, TlsError, TlsFiles};
use waypost_core::IncomingPolicy;
use waypost_protocol::Limits;

use crate::router::QueueLimits;

/// What the endpoint is made with.
#[derive(Debug, Clone)]
pub struct NetSettings {
    /// Where to listen; port 0 takes a free one.
    pub address: SocketAddr,
    /// Says that an address other than loopback may be bound although clients prove nothing.
    pub insecure_no_auth: bool,
    /// The certificate chain and key; a development certificate is made where there is none.
    pub tls: Option<TlsFiles>,
    /// Where the development certificate is kept.
    pub state_folder: PathBuf,
    /// How many may be connected and connecting at a time.
    pub incoming: IncomingPolicy,
    /// Streams of one connection at a time, the control stream not counted.
    pub max_streams: u32,
    /// Subscriptions of one connection at a time.
    pub max_subscriptions: usize,
    /// Publishes of one stream that wait for their result.
    pub max_in_flight: usize,
    /// From the start of a connection to a complete hello.
    pub handshake_timeout: Duration,
    /// A connection on which nothing arrives for so long is closed.
    pub idle_timeout: Duration,
    /// From the first byte of a frame to its last, while we are ready to read.
    pub stalled_frame_timeout: Duration,
    /// What we accept at most.
    pub limits: Limits,
    /// What a subscription's queue holds.
    pub queue: QueueLimits,
}
