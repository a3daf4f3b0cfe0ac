//! Dead letters over HTTP. What is shown of them is what messages hold, so that all of it asks for the token.

use axum::{
    Json,
    extract::{Path, Query, State, rejection::QueryRejection},
    http::StatusCode,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::time::Duration;
use utoipa::{IntoResponses, ToSchema};
use waypost_core::LetterAddress;

use super::{
    AdminState,
    answer::{Authorised, Guarded, Refused},
    body::{Text, TextRefused},
};
use crate::dlq::{
    Dlq, DlqError, LetterCounts, LetterDetails, LetterPage, LetterSelection, LetterTrials,
    LettersLeft, ReplayTo, Wanted,
};

/// After so long whoever waits for a change is told that it goes on without them: longer than a change takes that is
/// held up by nothing.
const PATIENCE: Duration = Duration::from_secs(120);

/// Letters that are to leave for good.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PurgeLetters {
    /// Which.
    pub(crate) select: LetterSelection,
    /// Only tells how many would.
    #[serde(default)]
    pub(crate) dry_run: bool,
}

/// Letters that a version of their plugin is to be tried on.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TryLetters {
    /// Which.
    pub(crate) select: LetterSelection,
    /// `active`, a version of the plugin's manifest, of which the newest that is kept, or the beginning of a digest.
    pub(crate) version: String,
}

/// Letters that are to go on their way again.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReplayLetters {
    /// Which.
    pub(crate) select: LetterSelection,
    /// Where to.
    #[serde(default)]
    pub(crate) to: ReplayTo,
    /// Only tells how many would.
    #[serde(default)]
    pub(crate) dry_run: bool,
}

/// How a request about letters is refused.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "the document of the interface is made of it")]
enum LettersRefused {
    /// The request is not understood.
    #[response(status = 400)]
    Malformed(Refused),
    /// There is no such letter, stream or partition.
    #[response(status = 404)]
    Unknown(Refused),
    /// The letter was replayed or purged before.
    #[response(status = 409)]
    Left(Refused),
    /// The letter was trimmed.
    #[response(status = 410)]
    Trimmed(Refused),
    /// Storage does not read or write.
    #[response(status = 500)]
    Failed(Refused),
    /// The router is starting, or storage takes nothing.
    #[response(status = 503)]
    Unavailable(Refused),
}

impl From<DlqError> for Refused {
    fn from(error: DlqError) -> Self {
        let status = match &error {
            DlqError::Address(_)
            | DlqError::Reason(_)
            | DlqError::Selection
            | DlqError::TooMany(_) => StatusCode::BAD_REQUEST,
            DlqError::NoStream { .. }
            | DlqError::NoPartition(_)
            | DlqError::NotThere { .. }
            | DlqError::NotALetter(_) => StatusCode::NOT_FOUND,
            DlqError::Left(_) | DlqError::TooScattered(_) => StatusCode::CONFLICT,
            DlqError::Trimmed { .. } => StatusCode::GONE,
            DlqError::Read(_) => StatusCode::INTERNAL_SERVER_ERROR,
            DlqError::Commit(_) | DlqError::Busy => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, error.to_string())
    }
}

/// Dead letters that streams keep, in the order of the streams.
#[utoipa::path(
    get,
    path = "/api/v1/dlq",
    tag = "dlq",
    params(Wanted),
    responses((status = 200, body = LetterPage), Guarded, LettersRefused),
    security(("token" = [])),
)]
pub(super) async fn list(
    State(state): State<AdminState>,
    _: Authorised,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Json<LetterPage>, Refused> {
    Ok(Json(dlq(&state)?.list(asked(wanted)?).await?))
}

/// How many dead letters there are, by who gave up on them and why.
#[utoipa::path(
    get,
    path = "/api/v1/dlq/counts",
    tag = "dlq",
    params(Wanted),
    responses((status = 200, body = LetterCounts), Guarded, LettersRefused),
    security(("token" = [])),
)]
pub(super) async fn count(
    State(state): State<AdminState>,
    _: Authorised,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Json<LetterCounts>, Refused> {
    Ok(Json(dlq(&state)?.count(asked(wanted)?).await?))
}

/// A dead letter whole.
#[utoipa::path(
    get,
    path = "/api/v1/dlq/letters/{stream}/{partition}/{offset}",
    tag = "dlq",
    params(
        ("stream" = String, Path, description = "The stream that keeps it."),
        ("partition" = String, Path, description = "The partition there."),
        ("offset" = String, Path, description = "Its offset there."),
    ),
    responses((status = 200, body = LetterDetails), Guarded, LettersRefused),
    security(("token" = [])),
)]
pub(super) async fn show(
    State(state): State<AdminState>,
    _: Authorised,
    Path((stream, partition, offset)): Path<(String, String, String)>,
) -> Result<Json<LetterDetails>, Refused> {
    let address = format!("{stream}/{partition}/{offset}").parse::<LetterAddress>();
    let address = address.map_err(DlqError::from)?;
    Ok(Json(dlq(&state)?.show(&address).await?))
}

/// What a kept version of a plugin says of dead letters, with the configuration of the stage that they failed at. Nothing
/// is delivered.
#[utoipa::path(
    post,
    path = "/api/v1/dlq/trial",
    tag = "dlq",
    request_body = TryLetters,
    responses((status = 200, body = LetterTrials), Guarded, TextRefused, LettersRefused),
    security(("token" = [])),
)]
pub(super) async fn trial(
    State(state): State<AdminState>,
    _: Authorised,
    Text(body): Text,
) -> Result<Json<LetterTrials>, Refused> {
    let TryLetters { select, version } = understood(&body)?;
    let version: String = version.chars().take(128).collect();
    Ok(Json(dlq(&state)?.trial(select, &version, &state.deployer).await?))
}

/// Sends dead letters on their way again; each leaves once that is committed. Those that cannot go there stay, and
/// are told with the reason.
#[utoipa::path(
    post,
    path = "/api/v1/dlq/replay",
    tag = "dlq",
    request_body = ReplayLetters,
    responses((status = 200, body = LettersLeft), Guarded, TextRefused, LettersRefused),
    security(("token" = [])),
)]
pub(super) async fn replay(
    State(state): State<AdminState>,
    _: Authorised,
    Text(body): Text,
) -> Result<Json<LettersLeft>, Refused> {
    let ReplayLetters { select, to, dry_run } = understood(&body)?;
    let dlq = dlq(&state)?.clone();
    changed(async move { dlq.replay(select, to, dry_run).await }).await
}

/// Lets dead letters leave for good.
#[utoipa::path(
    post,
    path = "/api/v1/dlq/purge",
    tag = "dlq",
    request_body = PurgeLetters,
    responses((status = 200, body = LettersLeft), Guarded, TextRefused, LettersRefused),
    security(("token" = [])),
)]
pub(super) async fn purge(
    State(state): State<AdminState>,
    _: Authorised,
    Text(body): Text,
) -> Result<Json<LettersLeft>, Refused> {
    let PurgeLetters { select, dry_run } = understood(&body)?;
    let dlq = dlq(&state)?.clone();
    changed(async move { dlq.purge(select, dry_run).await }).await
}

fn dlq(state: &AdminState) -> Result<&Dlq, Refused> {
    let (.., dlq) = state.traffic.of()?;
    Ok(dlq)
}

fn asked(wanted: Result<Query<Wanted>, QueryRejection>) -> Result<Wanted, Refused> {
    let bad = |error: QueryRejection| Refused::new(StatusCode::BAD_REQUEST, error.body_text());
    wanted.map(|Query(wanted)| wanted).map_err(bad)
}

fn understood<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refused> {
    serde_json::from_slice(body).map_err(|error| {
        let text = format!(
            "write {{\"select\": {{\"letters\": [\"STREAM/PARTITION/OFFSET\"]}}}} or {{\"select\": {{\"filter\": \
             {{\"route\": \"NAME\"}}}}}}: {error}"
        );
        Refused::new(StatusCode::BAD_REQUEST, text)
    })
}

/// Waits for a change. Whoever hangs up in between does not leave it half done, and who would wait for storage that
/// takes nothing is told.
async fn changed<T: Send + 'static>(
    change: impl Future<Output = Result<T, DlqError>> + Send + 'static,
) -> Result<Json<T>, Refused> {
    let changed = tokio::time::timeout(PATIENCE, tokio::spawn(change)).await;
    let changed = changed.map_err(|_| {
        let text = format!(
            "it is not done after {} s, as storage or a lane takes nothing: see /api/v1/routes. It goes on once that is mended, \
             unless the router ends before",
            PATIENCE.as_secs()
        );
        Refused::new(StatusCode::SERVICE_UNAVAILABLE, text)
    })?;
    let internal = |error: tokio::task::JoinError| {
        Refused::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
    };
    Ok(Json(changed.map_err(internal)??))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_for_storage_that_takes_nothing_is_told_and_the_change_goes_on() {
        let (go_on, going) = tokio::sync::oneshot::channel();
        let (done, is_done) = tokio::sync::oneshot::channel();
        let change = async move {
            going.await.expect("it is told");
            done.send(()).expect("somebody waits");
            Ok(LettersLeft::default())
        };
        let refused = changed(change).await.expect_err("it takes too long");
        let shown = format!("{refused:?}");
        assert!(shown.contains("it is not done after 120 s"), "{shown}");
        go_on.send(()).expect("it waits");
        is_done.await.expect("it is done");
    }
}
