//! The HTTP server and its answers.

use std::{io, net::SocketAddr, sync::Arc};

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use prometheus::{Registry, TextEncoder};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

use super::{Lifecycle, Phase};
use crate::deploy::Deployer;

/// What the answers are made of.
#[derive(Debug, Clone)]
pub struct AdminState {
    /// The one registry of the process.
    pub registry: Registry,
    /// What `/readyz` tells.
    pub lifecycle: Arc<Lifecycle>,
    /// What `/api/v1/plugins` tells.
    pub deployer: Arc<Deployer>,
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
            .route("/api/v1/plugins", get(plugins))
            .fallback(unknown)
            .with_state(state);
        let task = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, app).await {
                tracing::error!(%error, "the admin server ended");
            }
        });
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

async fn plugins(State(state): State<AdminState>) -> Json<Value> {
    Json(json!({ "plugins": state.deployer.status() }))
}

async fn unknown() -> (StatusCode, Json<Value>) {
    let paths = ["/metrics", "/healthz", "/readyz", "/version", "/api/v1/plugins"];
    (StatusCode::NOT_FOUND, Json(json!({ "error": "there is nothing here", "paths": paths })))
}
