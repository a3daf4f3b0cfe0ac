//! Plugins over HTTP: what runs, deploys and rollbacks.

use axum::{
    Json,
    body::Bytes,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header::AUTHORIZATION},
    response::{IntoResponse, Response},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::Deserialize;
use serde_json::{Value, json};

use super::AdminState;
use crate::deploy::{DeployError, Deployed, MAX_SIGNATURE_BYTES};

/// The header that an artefact's signature is sent in.
pub const SIGNATURE_HEADER: &str = "waypost-signature";

/// What goes wrong with a request that changes something.
pub(super) enum Failure {
    /// The token is missing or wrong.
    Unauthorised,
    /// What was asked is not done.
    Deploy(DeployError),
    /// What was asked is not understood.
    Malformed(String),
}

impl From<DeployError> for Failure {
    fn from(error: DeployError) -> Self {
        Self::Deploy(error)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let (status, text) = match self {
            Self::Unauthorised => (
                StatusCode::UNAUTHORIZED,
                "show the token in admin.token of the router's state folder, as Authorization: \
                 Bearer TOKEN"
                    .to_owned(),
            ),
            Self::Malformed(text) => (StatusCode::BAD_REQUEST, text),
            Self::Deploy(error) => {
                let status = match &error {
                    DeployError::UnknownPlugin { .. } | DeployError::UnknownStage { .. } => {
                        StatusCode::NOT_FOUND
                    }
                    DeployError::NoVersion { .. } => StatusCode::CONFLICT,
                    DeployError::Store(_) | DeployError::Internal { .. } => {
                        StatusCode::INTERNAL_SERVER_ERROR
                    }
                    DeployError::File { .. }
                    | DeployError::Untrusted { .. }
                    | DeployError::Artefact { .. }
                    | DeployError::Stage { .. } => StatusCode::UNPROCESSABLE_ENTITY,
                };
                (status, error.to_string())
            }
        };
        (status, Json(json!({ "error": text }))).into_response()
    }
}

fn authorise(state: &AdminState, headers: &HeaderMap) -> Result<(), Failure> {
    let header = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    if state.token.is_shown(header) { Ok(()) } else { Err(Failure::Unauthorised) }
}

pub(super) async fn list(State(state): State<AdminState>) -> Json<Value> {
    Json(json!({ "plugins": state.deployer.status() }))
}

/// Deploys the body to a plugin.
pub(super) async fn deploy(
    State(state): State<AdminState>,
    Path(plugin): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, Failure> {
    authorise(&state, &headers)?;
    deploy_to(state, plugin, signature(&headers)?, body).await
}

/// Deploys the body to the plugin of a stage.
pub(super) async fn deploy_stage(
    State(state): State<AdminState>,
    Path((route, stage)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, Failure> {
    authorise(&state, &headers)?;
    let plugin = state.deployer.plugin_of(&route, &stage)?;
    deploy_to(state, plugin, signature(&headers)?, body).await
}

/// The text of the artefact's signature, if one was sent.
fn signature(headers: &HeaderMap) -> Result<Option<String>, Failure> {
    let Some(header) = headers.get(SIGNATURE_HEADER) else {
        return Ok(None);
    };
    let malformed = || {
        let text = format!("{SIGNATURE_HEADER} holds the file that minisign -S wrote, in Base64");
        Failure::Malformed(text)
    };
    if header.len() > MAX_SIGNATURE_BYTES {
        return Err(malformed());
    }
    let bytes = BASE64_STANDARD.decode(header).map_err(|_| malformed())?;
    String::from_utf8(bytes).map(Some).map_err(|_| malformed())
}

async fn deploy_to(
    state: AdminState,
    plugin: String,
    signature: Option<String>,
    body: Bytes,
) -> Result<Json<Value>, Failure> {
    // Whoever hangs up in between must not leave a deploy half done.
    let deployer = state.deployer.clone();
    let deploying = tokio::spawn({
        let plugin = plugin.clone();
        async move { deployer.deploy(&plugin, body.to_vec(), signature).await }
    });
    let deployed = deploying.await.map_err(|error| internal(&plugin, &error))??;
    let is_new = matches!(deployed, Deployed::Swapped(_));
    Ok(Json(json!({ "plugin": plugin, "swapped": is_new, "status": status(&state, &plugin) })))
}

/// What to go back to.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rollback {
    /// How the digest begins; the version before the one that runs, if it is not given.
    to: Option<String>,
}

pub(super) async fn rollback(
    State(state): State<AdminState>,
    Path(plugin): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, Failure> {
    authorise(&state, &headers)?;
    let asked =
        if body.is_empty() { Ok(Rollback::default()) } else { serde_json::from_slice(&body) };
    let Rollback { to } = asked
        .map_err(|error| Failure::Malformed(format!("write {{\"to\": \"DIGEST\"}}: {error}")))?;
    let deployer = state.deployer.clone();
    let going = tokio::spawn({
        let plugin = plugin.clone();
        async move { deployer.rollback(&plugin, to.as_deref()).await }
    });
    going.await.map_err(|error| internal(&plugin, &error))??;
    Ok(Json(json!({ "plugin": plugin, "status": status(&state, &plugin) })))
}

fn status(state: &AdminState, plugin: &str) -> Value {
    json!(state.deployer.status().into_iter().find(|status| status.name == plugin))
}

fn internal(plugin: &str, error: &tokio::task::JoinError) -> Failure {
    let reason = error.to_string();
    Failure::Deploy(DeployError::Internal { file: plugin.into(), reason })
}
