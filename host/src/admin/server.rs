//! The HTTP server and its answers.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Extension, Json, Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use hyper::{
    Request,
    body::Incoming,
    server::conn::http1,
    service::{Service as _, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use prometheus::{Registry, TextEncoder};
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, watch},
    task::{JoinHandle, JoinSet},
};

use super::{Lifecycle, Phase, Token, Traffic, api, body::Uploads, linger::Lingering};
use crate::deploy::Deployer;

/// The paths beside `/api/v1`.
pub(super) const PLAIN_PATHS: [&str; 4] = ["/metrics", "/healthz", "/readyz", "/version"];

/// Connections at one time.
const MAX_CONNECTIONS: usize = 64;
/// How long a client has for the head of its request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a connection may stand, from its first byte to the last of the answer, unless the answer is held.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(120);
/// How long an answer that was held may take to be sent.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the system has to come by a file descriptor before it is asked again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the answers are made of.
#[derive(Debug, Clone)]
pub struct AdminState {
    /// The one registry of the process.
    pub registry: Registry,
    /// What `/readyz` tells.
    pub lifecycle: Arc<Lifecycle>,
    /// What `/api/v1/plugins` tells and changes.
    pub deployer: Arc<Deployer>,
    /// What `/api/v1/routes`, `topics` and `connections` tell.
    pub traffic: Traffic,
    /// What a change asks for.
    pub token: Token,
}

/// The admin server cannot stand.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The address cannot be bound.
    #[error("the admin server cannot listen on {address}: {source}; set admin.address")]
    Address {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}

/// A running admin server; it ends when it is dropped.
#[derive(Debug)]
pub struct Admin {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Admin {
    /// Binds the address and serves, on the current runtime.
    ///
    /// # Errors
    ///
    /// The address cannot be bound.
    pub async fn start(address: SocketAddr, state: AdminState) -> Result<Self, AdminError> {
        let failed = |source| AdminError::Address { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let bound = listener.local_addr().map_err(failed)?;
        let app = Router::new()
            .route("/metrics", get(metrics))
            .route("/healthz", get(healthz))
            .route("/readyz", get(readyz))
            .route("/version", get(version))
            .merge(api::router())
            .layer(Extension(Uploads::default()))
            .with_state(state);
        let task = tokio::spawn(serve(listener, app));
        Ok(Self { address: bound, task })
    }

    /// The address that was bound.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Serves each connection for one request. They cannot be many, and none can stand for long: an operator's
/// scraper needs a few, and whoever opens more, or says nothing, takes nothing from it for good.
async fn serve(listener: TcpListener, app: Router) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let accepted = async {
            // Never closed. Whoever comes without a place waits in the system's backlog.
            let place = places.clone().acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, stream) = match accepted.await {
            (place, Ok((stream, _))) => (place, stream),
            (_, Err(error)) => {
                tracing::warn!(%error, "the admin server could not accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let hold = Hold::default();
        let service = {
            let (app, hold) = (app.clone(), hold.clone());
            service_fn(move |mut request: Request<Incoming>| {
                request.extensions_mut().insert(hold.clone());
                TowerToHyperService::new(app.clone()).call(request)
            })
        };
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .keep_alive(false)
            .serve_connection(TokioIo::new(Lingering::new(stream)), service);
        connections.spawn(async move {
            let _place = place;
            let mut connection = std::pin::pin!(connection);
            tokio::select! {
                // Whether the other side broke off or was too slow, it is gone.
                _ = &mut connection => {}
                () = hold.over() => {}
            }
        });
    }
}

/// Lets an answer go on for longer than others may.
#[derive(Debug, Clone)]
pub(super) struct Hold(watch::Sender<bool>);

/// While this is there the connection is not ended for its age.
#[derive(Debug)]
pub(super) struct Held(watch::Sender<bool>);

impl Default for Hold {
    fn default() -> Self {
        Self(watch::Sender::new(false))
    }
}

impl Hold {
    pub(super) fn take(&self) -> Held {
        self.0.send_replace(true);
        Held(self.0.clone())
    }

    #[cfg(test)]
    pub(super) fn is_taken(&self) -> bool {
        *self.0.borrow()
    }

    /// The connection has stood for as long as it may.
    async fn over(&self) {
        tokio::time::sleep(REQUEST_TIMEOUT).await;
        let mut held = self.0.subscribe();
        if *held.borrow_and_update() {
            // It never fails: the sender is here.
            let _ = held.wait_for(|held| !held).await;
            tokio::time::sleep(ANSWER_TIMEOUT).await;
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.send_replace(false);
    }
}

async fn metrics(State(state): State<AdminState>) -> Response {
    match TextEncoder::new().encode_to_string(&state.registry.gather()) {
        Ok(text) => ([(CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => {
            (StatusCode::INTERNAL_SERVER_ERROR, format!("the metrics do not encode: {error}\n"))
                .into_response()
        }
    }
}

async fn healthz() -> &'static str {
    "ok\n"
}

async fn readyz(State(state): State<AdminState>) -> (StatusCode, String) {
    let phase = state.lifecycle.phase();
    let status = match phase {
        Phase::Ready => StatusCode::OK,
        Phase::Starting | Phase::Draining => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, format!("{}\n", phase.name()))
}

async fn version() -> Json<Value> {
    Json(json!({
        "name": "waypost",
        "version": env!("CARGO_PKG_VERSION"),
        "protocol": waypost_protocol::frame::PROTOCOL_VERSION,
        "batch_layout": waypost_protocol::LAYOUT_VERSION,
        "plugin_contract": "waypost:plugin@1.0.0",
    }))
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_over_in_time_unless_its_answer_is_held() {
        let start = Instant::now();
        let seconds = || start.elapsed().as_secs();
        Hold::default().over().await;
        assert_eq!(seconds(), 120);
        let hold = Hold::default();
        let held = hold.take();
        let released = async {
            tokio::time::sleep(Duration::from_secs(1000)).await;
            drop(held);
        };
        tokio::join!(hold.over(), released);
        assert_eq!(seconds(), 120 + 1000 + 10, "the answer has time to be sent");
        drop(hold.take());
        hold.over().await;
        assert_eq!(seconds(), 120 + 1000 + 10 + 120, "it was sent long before");
    }
}
