//! Groups over HTTP: what they are and how far they came, and what an operator changes of it.

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use waypost_core::GroupName;
use waypost_protocol::{
    ErrorCode,
    frame::{ReadFrom, Start},
};

use super::{
    AdminState,
    answer::{Authorised, Guarded, Refused},
    body::{Text, TextRefused},
};
use crate::{
    groups::{GroupStatus, Groups},
    streams,
};

/// Every group.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct GroupList {
    /// By name.
    pub(crate) groups: Vec<GroupStatus>,
}

/// Where a group is to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum GroupPlace {
    /// At the oldest message that is still there.
    Beginning,
    /// Behind everything that is there.
    End,
    /// At an offset, where the group has one partition.
    Offset(u64),
    /// At what came at this time or later, in milliseconds since the Unix epoch.
    TimeMs(u64),
}

/// Where a group is to go on, in all its partitions.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MoveGroup {
    /// The place.
    pub(crate) to: GroupPlace,
}

/// What became of a group.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct GroupOutcome {
    /// The group.
    pub(crate) group: String,
}

impl From<GroupPlace> for ReadFrom {
    fn from(place: GroupPlace) -> Self {
        let start = match place {
            GroupPlace::Beginning => Some(Start::Beginning(true)),
            GroupPlace::End => None,
            GroupPlace::Offset(offset) => Some(Start::Offset(offset)),
            GroupPlace::TimeMs(ms) => Some(Start::TimeMs(ms)),
        };
        Self { start, ..Self::default() }
    }
}

impl From<streams::Refused> for Refused {
    fn from(refused: streams::Refused) -> Self {
        let streams::Refused { code, message } = refused;
        let status = match code {
            ErrorCode::UnknownGroup => StatusCode::NOT_FOUND,
            ErrorCode::OffsetOutOfRange | ErrorCode::UnknownPartition | ErrorCode::NoStream => {
                StatusCode::UNPROCESSABLE_ENTITY
            }
            ErrorCode::Overloaded
            | ErrorCode::ShuttingDown
            | ErrorCode::StorageFull
            | ErrorCode::StorageFenced => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, message)
    }
}

/// Every group, with its members and how far it came.
#[utoipa::path(
    get,
    path = "/api/v1/groups",
    tag = "groups",
    responses((status = 200, body = GroupList), (status = 503, body = Refused)),
)]
pub(super) async fn list(State(state): State<AdminState>) -> Result<Json<GroupList>, Refused> {
    Ok(Json(GroupList { groups: groups(&state)?.status() }))
}

/// One group.
#[utoipa::path(
    get,
    path = "/api/v1/groups/{group}",
    tag = "groups",
    params(("group" = String, Path, description = "The group's name.")),
    responses(
        (status = 200, body = GroupStatus),
        (status = 404, body = Refused, description = "There is no such group."),
        (status = 503, body = Refused),
    ),
)]
pub(super) async fn show(
    State(state): State<AdminState>,
    Path(group): Path<String>,
) -> Result<Json<GroupStatus>, Refused> {
    let group = named(&group)?;
    groups(&state)?.status_of(&group).map(Json).ok_or_else(|| unknown(group.as_str()))
}

/// Lets a group go on from another place. What its members hold is not theirs any more.
#[utoipa::path(
    post,
    path = "/api/v1/groups/{group}/position",
    tag = "groups",
    params(("group" = String, Path, description = "The group's name.")),
    request_body = MoveGroup,
    responses(
        (status = 200, body = GroupOutcome),
        Guarded,
        (status = 400, body = Refused, description = "The request is not understood."),
        (status = 404, body = Refused, description = "There is no such group."),
        TextRefused,
        (status = 422, body = Refused, description = "The group has no such place."),
        (status = 503, body = Refused),
    ),
    security(("token" = [])),
)]
pub(super) async fn move_to(
    State(state): State<AdminState>,
    _: Authorised,
    Path(group): Path<String>,
    Text(body): Text,
) -> Result<Json<GroupOutcome>, Refused> {
    let group = named(&group)?;
    let MoveGroup { to } = serde_json::from_slice(&body).map_err(|error| {
        let text = format!(
            "write {{\"to\": \"beginning\"}}, \"end\", {{\"offset\": N}} or {{\"time_ms\": N}}: {error}"
        );
        Refused::new(StatusCode::BAD_REQUEST, text)
    })?;
    let groups = groups(&state)?.clone();
    // Whoever hangs up in between must not leave it half done.
    let moving = tokio::spawn({
        let group = group.clone();
        async move { groups.move_to(&group, &to.into()).await }
    });
    moving.await.map_err(internal)??;
    Ok(Json(GroupOutcome { group: group.as_str().to_owned() }))
}

/// Forgets a group. Its members are told, and whoever joins begins a new one.
#[utoipa::path(
    delete,
    path = "/api/v1/groups/{group}",
    tag = "groups",
    params(("group" = String, Path, description = "The group's name.")),
    responses(
        (status = 200, body = GroupOutcome),
        Guarded,
        (status = 404, body = Refused, description = "There is no such group."),
        (status = 503, body = Refused),
    ),
    security(("token" = [])),
)]
pub(super) async fn delete(
    State(state): State<AdminState>,
    _: Authorised,
    Path(group): Path<String>,
) -> Result<Json<GroupOutcome>, Refused> {
    let group = named(&group)?;
    let groups = groups(&state)?.clone();
    let deleting = tokio::spawn({
        let group = group.clone();
        async move { groups.delete(&group).await }
    });
    deleting.await.map_err(internal)??;
    Ok(Json(GroupOutcome { group: group.as_str().to_owned() }))
}

fn groups(state: &AdminState) -> Result<&Groups, Refused> {
    let (.., groups, _) = state.traffic.of()?;
    Ok(groups)
}

/// A name that cannot be one is not the name of a group.
fn named(group: &str) -> Result<GroupName, Refused> {
    GroupName::parse(group).map_err(|_| unknown(group))
}

fn unknown(group: &str) -> Refused {
    let shown: String = group.chars().take(64).collect();
    let text = format!("there is no group {shown:?}; /api/v1/groups has those that there are");
    Refused::new(StatusCode::NOT_FOUND, text)
}

fn internal(error: tokio::task::JoinError) -> Refused {
    Refused::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
}
