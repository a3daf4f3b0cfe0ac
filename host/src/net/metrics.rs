//! What the network counts.

use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};
use waypost_core::IncomingAction;
use waypost_protocol::ErrorCode;

/// The network's series.
#[derive(Debug)]
pub struct NetMetrics {
    /// Connections that stand.
    pub connections: IntGauge,
    /// Connections that were accepted.
    pub accepted: IntCounter,
    /// Attempts to connect by what became of them.
    pub attempts: IntCounterVec,
    /// Handshakes that are under way.
    pub handshakes: IntGauge,
    /// Streams that stand.
    pub streams: IntGauge,
    /// Errors that peers were told, by code.
    pub errors: IntCounterVec,
    /// Publish frames by outcome.
    pub publishes: IntCounterVec,
    /// Bytes of delivered batches.
    pub delivered_bytes: IntCounter,
    /// When the certificate expires that new connections are shown.
    pub certificate_expiry: IntGauge,
    /// Certificates that were put in the place of the one before, by outcome.
    pub certificate_reloads: IntCounterVec,
}

impl NetMetrics {
    /// Makes the series and registers them.
    ///
    /// # Errors
    ///
    /// A series of the same name is registered already.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let metrics = Self {
            connections: IntGauge::new("waypost_connections", "Connections that stand")?,
            accepted: IntCounter::new("waypost_connections_total", "Connections accepted")?,
            attempts: IntCounterVec::new(
                Opts::new(
                    "waypost_connection_attempts_total",
                    "Attempts to connect by what became of them",
                ),
                &["action"],
            )?,
            handshakes: IntGauge::new(
                "waypost_handshakes",
                "Connections that have not yet sent a complete hello",
            )?,
            streams: IntGauge::new(
                "waypost_streams",
                "Publish and subscription streams that stand",
            )?,
            errors: IntCounterVec::new(
                Opts::new("waypost_peer_errors_total", "Errors that peers were told, by code"),
                &["code"],
            )?,
            publishes: IntCounterVec::new(
                Opts::new("waypost_publishes_total", "Publish frames by outcome"),
                &["outcome"],
            )?,
            delivered_bytes: IntCounter::new(
                "waypost_delivered_bytes_total",
                "Bytes of batches that were written to subscribers",
            )?,
            certificate_expiry: IntGauge::new(
                "waypost_certificate_expiry_timestamp_seconds",
                "When the certificate expires that new connections are shown, since the Unix epoch",
            )?,
            certificate_reloads: IntCounterVec::new(
                Opts::new(
                    "waypost_certificate_reloads_total",
                    "Certificates that were put in the place of the one before, by outcome",
                ),
                &["outcome"],
            )?,
        };
        for outcome in ["accepted", "refused"] {
            metrics.certificate_reloads.with_label_values(&[outcome]);
        }
        for action in ["accepted", "retried", "refused", "ignored"] {
            metrics.attempts.with_label_values(&[action]);
        }
        for outcome in ["committed", "rejected"] {
            metrics.publishes.with_label_values(&[outcome]);
        }
        registry.register(Box::new(metrics.connections.clone()))?;
        registry.register(Box::new(metrics.accepted.clone()))?;
        registry.register(Box::new(metrics.attempts.clone()))?;
        registry.register(Box::new(metrics.handshakes.clone()))?;
        registry.register(Box::new(metrics.streams.clone()))?;
        registry.register(Box::new(metrics.errors.clone()))?;
        registry.register(Box::new(metrics.publishes.clone()))?;
        registry.register(Box::new(metrics.delivered_bytes.clone()))?;
        registry.register(Box::new(metrics.certificate_expiry.clone()))?;
        registry.register(Box::new(metrics.certificate_reloads.clone()))?;
        Ok(metrics)
    }

    pub(super) fn attempt(&self, action: IncomingAction) {
        let action = match action {
            IncomingAction::Accept => "accepted",
            IncomingAction::Retry => "retried",
            IncomingAction::Refuse => "refused",
            IncomingAction::Ignore => "ignored",
        };
        self.attempts.with_label_values(&[action]).inc();
    }

    /// Counts a handshake until the guard is dropped.
    pub(super) fn handshake(&self) -> Standing {
        Standing::new(&self.handshakes)
    }

    /// Counts a connection until the guard is dropped, however its task ends.
    pub(super) fn connected(&self) -> Standing {
        self.accepted.inc();
        Standing::new(&self.connections)
    }

    /// Counts a stream until the guard is dropped, however its task ends.
    pub(super) fn stream(&self) -> Standing {
        Standing::new(&self.streams)
    }

    pub(super) fn error(&self, code: ErrorCode) {
        self.errors.with_label_values(&[code.name()]).inc();
    }
}

/// One more of a gauge while it lives.
pub(super) struct Standing(IntGauge);

impl Standing {
    fn new(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        self.0.dec();
    }
}
