//! What new connections are taken with: the certificate and the transport, replaced as a whole.
//!
//! A connection keeps what it was taken with. A certificate that cannot be used changes nothing.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use quinn::{ServerConfig, TransportConfig, crypto::rustls::QuicServerConfig};

use super::{
    NetMetrics, NetSettings, TlsError,
    tls::{self, Fingerprint, Pair, Source},
};
use crate::{
    time::now_ms,
    watch::{LOOK_INTERVAL, Watcher},
};

/// Attempts to connect that wait to be looked at, which is until the accepting task runs; further ones are
/// not answered, and come again.
const MAX_WAITING_ATTEMPTS: usize = 1024;
/// What is kept of one attempt behind its first packet until it is looked at. There is no early data, and the
/// hello of TLS takes two packets with keys for a time of quantum computers.
const ATTEMPT_BYTES: u64 = 16 << 10;
/// What is kept of all of them.
const ATTEMPTS_BYTES: u64 = 4 << 20;

/// The configuration of new connections as it is made at first.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) config: ServerConfig,
    source: Source,
    running: Fingerprint,
}

/// The configuration of new connections, and the endpoint that takes them.
#[derive(Debug)]
pub(super) struct Listening {
    endpoint: quinn::Endpoint,
    metrics: Arc<NetMetrics>,
    state: Mutex<State>,
    /// One look at the certificate at a time.
    looking: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct State {
    /// None once no more connections are taken.
    config: Option<ServerConfig>,
    source: Source,
    running: Fingerprint,
    /// What was said of the files when they were refused last; it is said and counted once.
    refused: Option<String>,
}

/// A certificate that can be shown.
pub(super) struct Shown {
    source: Source,
    crypto: Arc<QuicServerConfig>,
    fingerprint: Fingerprint,
    expires: i64,
    expiry: String,
}

impl Shown {
    /// A certificate that clients take.
    fn new(source: Source, pair: Pair) -> Result<Self, TlsError> {
        if let Some(error) = pair.unfit(now_seconds()) {
            return Err(error);
        }
        let (fingerprint, expires) = (pair.fingerprint, pair.expires());
        let expiry = pair.expiry().to_owned();
        let crypto = Arc::new(tls::server_config(pair)?);
        Ok(Self { source, crypto, fingerprint, expires, expiry })
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source, expiry, .. } = self;
        formatter
            .debug_struct("Shown")
            .field("source", source)
            .field("expiry", expiry)
            .finish_non_exhaustive()
    }
}

impl Prepared {
    /// Reads the certificate that an endpoint starts with. There is no better one, so that one that clients
    /// refuse is taken, and said to be of no use.
    pub(super) fn new(
        source: Source,
        transport: TransportConfig,
        metrics: &NetMetrics,
    ) -> Result<Self, TlsError> {
        let pair = Pair::read(&source.files)?;
        if let Some(error) = pair.unfit(now_seconds()) {
            tracing::error!(%error, "clients will refuse the certificate that the router starts with");
        }
        metrics.certificate_expiry.set(pair.expires());
        let running = pair.fingerprint;
        let mut config = ServerConfig::with_crypto(Arc::new(tls::server_config(pair)?));
        config
            .transport_config(Arc::new(transport))
            .max_incoming(MAX_WAITING_ATTEMPTS)
            .incoming_buffer_size(ATTEMPT_BYTES)
            .incoming_buffer_size_total(ATTEMPTS_BYTES);
        Ok(Self { config, source, running })
    }
}

impl Listening {
    /// Looks after an endpoint that was made with this configuration.
    pub(super) fn new(
        endpoint: quinn::Endpoint,
        prepared: Prepared,
        metrics: Arc<NetMetrics>,
    ) -> Self {
        let Prepared { config, source, running } = prepared;
        let state = State { config: Some(config), source, running, refused: None };
        Self { endpoint, metrics, state: Mutex::new(state), looking: tokio::sync::Mutex::default() }
    }

    /// The authority that clients must trust, when the certificate is the development one.
    pub(super) fn ca(&self) -> Option<PathBuf> {
        self.state().source.ca.clone()
    }

    /// Takes no more connections.
    pub(super) fn close(&self) {
        self.state().config = None;
        self.endpoint.set_server_config(None);
    }

    /// Reads the certificate again. A new one is shown to new connections from now on; one that cannot be
    /// used is logged and counted.
    pub(super) async fn look(&self) {
        let _turn = self.looking.lock().await;
        let files = self.state().source.files.clone();
        let read = tokio::task::spawn_blocking(move || Pair::read(&files)).await;
        let read = read.unwrap_or_else(|error| Err(TlsError::Internal(error.to_string())));
        if let Err(error) = read.and_then(|pair| self.take(pair)) {
            self.refuse(&error);
        }
    }

    /// Shows a certificate to new connections, unless it is the one that they are shown already.
    fn take(&self, pair: Pair) -> Result<(), TlsError> {
        let source = self.state().source.clone();
        if self.state().running != pair.fingerprint {
            self.show(Shown::new(source, pair)?);
            self.metrics.certificate_reloads.with_label_values(&["accepted"]).inc();
        }
        self.state().refused = None;
        Ok(())
    }

    /// Reads and checks the certificate of another place, without showing it yet. None when the place is that
    /// of the one that is shown.
    pub(super) async fn prepare(&self, settings: &NetSettings) -> Result<Option<Shown>, TlsError> {
        let (tls, state_folder) = (settings.tls.clone(), settings.state_folder.clone());
        let known = self.state().source.clone();
        let prepare = move || {
            let source = Source::of(tls.as_ref(), &state_folder)?;
            if source == known {
                return Ok(None);
            }
            let pair = Pair::read(&source.files)?;
            Shown::new(source, pair).map(Some)
        };
        let prepared = tokio::task::spawn_blocking(prepare).await;
        prepared.unwrap_or_else(|error| Err(TlsError::Internal(error.to_string())))
    }

    /// Shows a certificate to new connections.
    pub(super) fn show(&self, shown: Shown) {
        let Shown { source, crypto, fingerprint, expires, expiry } = shown;
        let file = source.files.certificate.display().to_string();
        let mut state = self.state();
        let Some(config) = &mut state.config else {
            return;
        };
        config.crypto = crypto;
        self.endpoint.set_server_config(Some(config.clone()));
        (state.source, state.running, state.refused) = (source, fingerprint, None);
        self.metrics.certificate_expiry.set(expires);
        tracing::info!(file, expiry, "new connections are shown a new certificate");
    }

    /// Takes new connections with another transport.
    pub(super) fn set_transport(&self, transport: TransportConfig) {
        let mut state = self.state();
        if let Some(config) = &mut state.config {
            config.transport_config(Arc::new(transport));
            self.endpoint.set_server_config(Some(config.clone()));
        }
    }

    fn refuse(&self, error: &TlsError) {
        let text = error.to_string();
        let mut state = self.state();
        if state.refused.as_ref() != Some(&text) {
            self.metrics.certificate_reloads.with_label_values(&["refused"]).inc();
            tracing::error!(error = text, "a certificate was refused; the one that is shown stays");
            state.refused = Some(text);
        }
    }

    /// Has the certificate looked at after its files changed, on the current runtime.
    pub(super) fn watch(self: &Arc<Self>) -> Option<Watcher> {
        let folders = self.state().source.folders();
        let folders: Vec<&Path> = folders.iter().map(PathBuf::as_path).collect();
        let listening = self.clone();
        let look = move || {
            let listening = listening.clone();
            async move { listening.look().await }
        };
        match Watcher::start(&folders, LOOK_INTERVAL, look) {
            Ok(watcher) => Some(watcher),
            Err(error) => {
                tracing::warn!(
                    %error,
                    "the certificate is not watched; send SIGHUP after it was renewed"
                );
                None
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn now_seconds() -> i64 {
    i64::try_from(now_ms() / 1000).unwrap_or(i64::MAX)
}
