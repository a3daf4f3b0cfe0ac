//! Plugins over HTTP: what runs, deploys and rollbacks.

use axum::{
    Extension, Json,
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize};
use utoipa::{IntoResponses, ToSchema};

use super::{
    AdminState,
    answer::{Authorised, Guarded, Refused},
    body::{Text, TextRefused, Unread, Upload, Uploads, error_of},
    server::Hold,
};
use crate::deploy::{DeployError, Deployed, MAX_SIGNATURE_BYTES, PluginStatus};

/// The header that an artefact's signature is sent in.
pub const SIGNATURE_HEADER: &str = "waypost-signature";

/// Every plugin.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct Plugins {
    /// By name.
    pub(crate) plugins: Vec<PluginStatus>,
}

/// What a deploy did.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct DeployOutcome {
    /// The plugin.
    pub(crate) plugin: String,
    /// Whether the artefact runs since now; otherwise it ran before.
    pub(crate) swapped: bool,
    /// How the plugin runs now.
    pub(crate) status: PluginStatus,
}

/// What a rollback did.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct RollbackOutcome {
    /// The plugin.
    pub(crate) plugin: String,
    /// How the plugin runs now.
    pub(crate) status: PluginStatus,
}

/// How a change of a plugin is refused.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "the document of the interface is made of it")]
enum ChangeRefused {
    /// No route has this plugin or stage.
    #[response(status = 404)]
    Unknown(Refused),
    /// The router could not do it.
    #[response(status = 500)]
    Failed(Refused),
}

/// How a deploy is refused beside that.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "the document of the interface is made of it")]
enum DeployRefused {
    /// The signature is not understood, or the body ends early.
    #[response(status = 400)]
    Signature(Refused),
    /// The artefact did not come in time.
    #[response(status = 408)]
    Slow(Refused),
    /// The artefact is larger than the configuration lets it be.
    #[response(status = 413)]
    TooLarge(Refused),
    /// The artefact is refused; nothing has changed.
    #[response(status = 422)]
    Artefact(Refused),
}

/// What runs: versions, stages with their counts and breakers, what is kept, what was refused.
#[utoipa::path(
    get,
    path = "/api/v1/plugins",
    tag = "plugins",
    responses((status = 200, body = Plugins)),
)]
pub(super) async fn list(State(state): State<AdminState>) -> Json<Plugins> {
    Json(Plugins { plugins: state.deployer.status() })
}

/// Deploys an artefact to a plugin: to all of its stages, or to none.
#[utoipa::path(
    post,
    path = "/api/v1/plugins/{plugin}/versions",
    tag = "plugins",
    params(
        ("plugin" = String, Path, description = "A plugin that a stage uses."),
        ("waypost-signature" = Option<String>, Header, description = "The artefact's minisign signature, in Base64."),
    ),
    request_body(content = Vec<u8>, content_type = "application/wasm", description = "The artefact."),
    responses((status = 200, body = DeployOutcome), Guarded, ChangeRefused, DeployRefused),
    security(("token" = [])),
)]
pub(super) async fn deploy(
    State(state): State<AdminState>,
    _: Authorised,
    Extension(uploads): Extension<Uploads>,
    Extension(hold): Extension<Hold>,
    Path(plugin): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<DeployOutcome>, Refused> {
    // Compiling may take longer than others may take to answer, and so may the deploys before it.
    let _held = hold.take();
    deploy_to(&state, &uploads, plugin, &headers, body).await
}

/// Deploys an artefact to the plugin of a stage.
#[utoipa::path(
    post,
    path = "/api/v1/stages/{route}/{stage}/versions",
    tag = "plugins",
    params(
        ("route" = String, Path, description = "A route."),
        ("stage" = String, Path, description = "One of its stages."),
        ("waypost-signature" = Option<String>, Header, description = "The artefact's minisign signature, in Base64."),
    ),
    request_body(content = Vec<u8>, content_type = "application/wasm", description = "The artefact."),
    responses((status = 200, body = DeployOutcome), Guarded, ChangeRefused, DeployRefused),
    security(("token" = [])),
)]
pub(super) async fn deploy_stage(
    State(state): State<AdminState>,
    _: Authorised,
    Extension(uploads): Extension<Uploads>,
    Extension(hold): Extension<Hold>,
    Path((route, stage)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<DeployOutcome>, Refused> {
    let _held = hold.take();
    let plugin = state.deployer.plugin_of(&route, &stage)?;
    deploy_to(&state, &uploads, plugin, &headers, body).await
}

/// The text of the artefact's signature, if one was sent.
fn signature(headers: &HeaderMap) -> Result<Option<String>, Refused> {
    let Some(header) = headers.get(SIGNATURE_HEADER) else {
        return Ok(None);
    };
    let malformed = || {
        let text = format!("{SIGNATURE_HEADER} holds the file that minisign -S wrote, in Base64");
        Refused::new(StatusCode::BAD_REQUEST, text)
    };
    if header.len() > MAX_SIGNATURE_BYTES {
        return Err(malformed());
    }
    let bytes = BASE64_STANDARD.decode(header).map_err(|_| malformed())?;
    String::from_utf8(bytes).map(Some).map_err(|_| malformed())
}

async fn deploy_to(
    state: &AdminState,
    uploads: &Uploads,
    plugin: String,
    headers: &HeaderMap,
    body: Body,
) -> Result<Json<DeployOutcome>, Refused> {
    let limit = state.deployer.artefact_bytes(&plugin)?;
    let signature = signature(headers)?;
    let read = uploads.read(body, limit).await.map_err(|unread| match unread {
        Unread::TooLarge(bytes) => state.deployer.refuse_unread(&plugin, bytes, limit).into(),
        Unread::Broken(error) => error_of(&error),
        Unread::Slow => {
            let text =
                "the artefact did not come in time; deploy it from a place nearer to the router";
            Refused::new(StatusCode::REQUEST_TIMEOUT, text)
        }
    });
    let Upload { bytes, place } = read?;
    // Whoever hangs up in between must not leave a deploy half done.
    let deployer = state.deployer.clone();
    let deploying = tokio::spawn({
        let plugin = plugin.clone();
        async move {
            let deployed = deployer.deploy(&plugin, bytes, signature).await;
            drop(place);
            deployed
        }
    });
    let deployed = deploying.await.map_err(|error| internal(&plugin, error))??;
    let swapped = matches!(deployed, Deployed::Swapped(_));
    let status = status(state, &plugin)?;
    Ok(Json(DeployOutcome { plugin, swapped, status }))
}

/// What to go back to.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Rollback {
    /// How the digest begins; the version before the one that runs, if it is not given.
    to: Option<String>,
}

/// Goes back to a version that ran before.
#[utoipa::path(
    post,
    path = "/api/v1/plugins/{plugin}/rollback",
    tag = "plugins",
    params(("plugin" = String, Path, description = "A plugin that a stage uses.")),
    request_body(content = Option<Rollback>, description = "What to go back to; the version before, without a body."),
    responses(
        (status = 200, body = RollbackOutcome),
        Guarded,
        ChangeRefused,
        (status = 400, body = Refused, description = "The request is not understood."),
        TextRefused,
        (status = 409, body = Refused, description = "There is nothing to go back to."),
    ),
    security(("token" = [])),
)]
pub(super) async fn rollback(
    State(state): State<AdminState>,
    _: Authorised,
    Extension(hold): Extension<Hold>,
    Path(plugin): Path<String>,
    Text(body): Text,
) -> Result<Json<RollbackOutcome>, Refused> {
    let _held = hold.take();
    let asked =
        if body.is_empty() { Ok(Rollback::default()) } else { serde_json::from_slice(&body) };
    let Rollback { to } = asked.map_err(|error| {
        let text = format!("write {{\"to\": \"DIGEST\"}}: {error}");
        Refused::new(StatusCode::BAD_REQUEST, text)
    })?;
    let deployer = state.deployer.clone();
    let going = tokio::spawn({
        let plugin = plugin.clone();
        async move { deployer.rollback(&plugin, to.as_deref()).await }
    });
    going.await.map_err(|error| internal(&plugin, error))??;
    let status = status(&state, &plugin)?;
    Ok(Json(RollbackOutcome { plugin, status }))
}

fn status(state: &AdminState, plugin: &str) -> Result<PluginStatus, Refused> {
    let found = state.deployer.status().into_iter().find(|status| status.name == plugin);
    // What was just deployed runs.
    found.ok_or_else(|| internal(plugin, "it does not run"))
}

fn internal(plugin: &str, reason: impl ToString) -> Refused {
    DeployError::Internal { file: plugin.into(), reason: reason.to_string() }.into()
}
