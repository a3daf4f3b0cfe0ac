//! Answers that are errors, and who may ask for a change.

use axum::{
    Json,
    extract::FromRequestParts,
    http::{StatusCode, header::AUTHORIZATION, request::Parts},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoResponses, ToSchema};

use super::AdminState;
use crate::{deploy::DeployError, wasm::PluginError};

/// What was asked is not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Refused {
    #[serde(skip)]
    status: StatusCode,
    /// What was wrong and what to do.
    pub(crate) error: String,
}

/// How what asks for the token is refused.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "the document of the interface is made of it")]
pub(super) enum Guarded {
    /// The token is missing or wrong.
    #[response(status = 401)]
    Token(Refused),
}

impl Refused {
    pub(super) fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Self { status, error: error.into() }
    }
}

impl From<DeployError> for Refused {
    fn from(error: DeployError) -> Self {
        let status = match &error {
            DeployError::UnknownPlugin { .. } | DeployError::UnknownStage { .. } => {
                StatusCode::NOT_FOUND
            }
            DeployError::NoVersion { .. } => StatusCode::CONFLICT,
            DeployError::Artefact { source: PluginError::TooLarge { .. }, .. } => {
                StatusCode::PAYLOAD_TOO_LARGE
            }
            DeployError::Store(_) | DeployError::Internal { .. } => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
            DeployError::File { .. }
            | DeployError::Untrusted { .. }
            | DeployError::Artefact { .. }
            | DeployError::Stage { .. } => StatusCode::UNPROCESSABLE_ENTITY,
        };
        Self::new(status, error.to_string())
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (self.status, Json(self)).into_response()
    }
}

/// The request shows the token. It stands before what reads the body, so that nobody else's is read.
pub(super) struct Authorised;

impl FromRequestParts<AdminState> for Authorised {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &AdminState) -> Result<Self, Refused> {
        let header = parts.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        if state.token.is_shown(header) {
            return Ok(Self);
        }
        let text = "show the token in admin.token of the router's state folder, as Authorization: Bearer TOKEN";
        Err(Refused::new(StatusCode::UNAUTHORIZED, text))
    }
}
