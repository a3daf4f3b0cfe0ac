//! What storage keeps of routes over HTTP: of those that run, and of those that were taken out of the configuration.

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use waypost_core::RouteName;
use waypost_storage::KeptRoute;

use super::{
    AdminState,
    answer::{Authorised, Guarded, Refused},
};
use crate::{router::Router, streams::Streams};

/// Every route that something is kept of.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct KeptRouteList {
    /// By name.
    pub(crate) routes: Vec<KeptRouteStatus>,
}

/// What is kept of a route.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct KeptRouteStatus {
    /// The route.
    pub(crate) route: String,
    /// Whether it is configured; otherwise it is kept for when it comes back, or is forgotten.
    pub(crate) is_configured: bool,
    /// The partitions that it read.
    pub(crate) partitions: Vec<KeptPartition>,
}

/// What is kept of a route in a partition.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct KeptPartition {
    /// The stream.
    pub(crate) stream: String,
    /// The partition.
    pub(crate) partition: u32,
    /// The offset that the route reads next.
    pub(crate) progress: u64,
    /// Messages that it parked, whole: they go with it.
    pub(crate) parked: u64,
}

impl KeptRouteStatus {
    /// Those of each route together; what is kept comes by route.
    fn all(kept: Vec<KeptRoute>, is_configured: impl Fn(&RouteName) -> bool) -> Vec<Self> {
        let mut all: Vec<Self> = Vec::new();
        for KeptRoute { route, source, progress, parked } in kept {
            let partition = KeptPartition {
                stream: source.stream.as_str().to_owned(),
                partition: source.index.0,
                progress: progress.0,
                parked,
            };
            match all.last_mut().filter(|last| last.route == route.as_str()) {
                Some(last) => last.partitions.push(partition),
                None => all.push(Self {
                    is_configured: is_configured(&route),
                    route: route.as_str().to_owned(),
                    partitions: vec![partition],
                }),
            }
        }
        all
    }
}

/// What is kept of routes: how far each came, and what it parked.
#[utoipa::path(
    get,
    path = "/api/v1/progress",
    tag = "traffic",
    responses(
        (status = 200, body = KeptRouteList),
        (status = 500, body = Refused),
        (status = 503, body = Refused),
    ),
)]
pub(super) async fn list(State(state): State<AdminState>) -> Result<Json<KeptRouteList>, Refused> {
    let (router, streams) = parts(&state)?;
    let kept = streams.storage().routes().await;
    let kept = kept.map_err(|error| failed(&error.to_string()))?;
    Ok(Json(KeptRouteList { routes: KeptRouteStatus::all(kept, |route| router.has_route(route)) }))
}

/// Forgets a route that was taken out of the configuration: its progress, and what it parked. Says what that was.
#[utoipa::path(
    delete,
    path = "/api/v1/progress/{route}",
    tag = "traffic",
    params(("route" = String, Path, description = "The route's name.")),
    responses(
        (status = 200, body = KeptRouteStatus),
        Guarded,
        (status = 404, body = Refused, description = "Nothing is kept of it."),
        (status = 409, body = Refused, description = "It is configured, or has not ended."),
        (status = 500, body = Refused),
        (status = 503, body = Refused),
    ),
    security(("token" = [])),
)]
pub(super) async fn forget(
    State(state): State<AdminState>,
    _: Authorised,
    Path(route): Path<String>,
) -> Result<Json<KeptRouteStatus>, Refused> {
    let (router, streams) = parts(&state)?;
    let unknown = || {
        let shown: String = route.chars().take(64).collect();
        let text = format!("nothing is kept of a route {shown:?}; /api/v1/progress has what is");
        Refused::new(StatusCode::NOT_FOUND, text)
    };
    let name = RouteName::parse(&route).map_err(|_| unknown())?;
    if router.has_route(&name) {
        let text = format!(
            "the route {name} is configured, or its lanes have not ended; take it out of the configuration first"
        );
        return Err(Refused::new(StatusCode::CONFLICT, text));
    }
    let forgotten = streams.storage().forget_route(name.clone()).await;
    let forgotten = forgotten.map_err(|error| failed(&error.to_string()))?;
    let status = KeptRouteStatus::all(forgotten, |_| false).pop().ok_or_else(unknown)?;
    let parked: u64 = status.partitions.iter().map(|partition| partition.parked).sum();
    let partitions = status.partitions.len();
    tracing::info!(route = %name, partitions, parked, "the route is forgotten");
    Ok(Json(status))
}

fn parts(state: &AdminState) -> Result<(&Router, &Streams), Refused> {
    let (router, _, streams, ..) = state.traffic.of()?;
    Ok((router, streams))
}

fn failed(error: &str) -> Refused {
    Refused::new(StatusCode::INTERNAL_SERVER_ERROR, error)
}

#[cfg(test)]
mod tests {
    use waypost_core::{Partition, StreamName};
    use waypost_protocol::Offset;

    use super::*;

    #[test]
    fn the_partitions_of_a_route_stand_together() {
        let kept = |route: &str, index, progress, parked| KeptRoute {
            route: RouteName::parse(route).expect("a name"),
            source: Partition::new(StreamName::parse("s").expect("a name"), index),
            progress: Offset(progress),
            parked,
        };
        let all = vec![kept("a", 0, 5, 1), kept("a", 2, 6, 0), kept("b", 0, 7, 9)];
        let all = KeptRouteStatus::all(all, |route| route.as_str() == "b");
        let told: Vec<_> = all
            .iter()
            .map(|each| {
                let of = |part: &KeptPartition| (part.partition, part.progress, part.parked);
                (&*each.route, each.is_configured, each.partitions.iter().map(of).collect())
            })
            .collect::<Vec<(&str, bool, Vec<(u32, u64, u64)>)>>();
        let expected = [("a", false, vec![(0, 5, 1), (2, 6, 0)]), ("b", true, vec![(0, 7, 9)])];
        assert_eq!(told, expected);
    }
}
