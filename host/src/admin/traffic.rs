//! What is routed and for whom, over HTTP: routes, topics, connections.

use std::sync::{Arc, OnceLock};

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use waypost_protocol::Topic;

use super::{AdminState, answer::Refused};
use crate::{
    dlq::Dlq,
    groups::Groups,
    net::{ConnectionStatus, Connections},
    router::{Explanation, RouteStatus, Router, SubscriptionStatus, TopicStatus},
    streams::{StorageStatus, StreamStatus, Streams},
};

/// What there is to tell of once the router routes. The admin server stands before that.
#[derive(Debug, Clone, Default)]
pub struct Traffic(Arc<OnceLock<Parts>>);

type Parts = (Router, Arc<Connections>, Streams, Groups, Dlq);

impl Traffic {
    /// The router routes from now on.
    pub fn begin(
        &self,
        router: Router,
        connections: Arc<Connections>,
        (streams, groups, dlq): (Streams, Groups, Dlq),
    ) {
        // A process starts one router.
        let _ = self.0.set((router, connections, streams, groups, dlq));
    }

    pub(super) fn of(&self) -> Result<&Parts, Refused> {
        self.0.get().ok_or_else(|| {
            let text = "the router is starting; ask again when /readyz says ready";
            Refused::new(StatusCode::SERVICE_UNAVAILABLE, text)
        })
    }
}

/// Every route.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct Routes {
    /// In the order of the configuration.
    pub(crate) routes: Vec<RouteStatus>,
}

/// Every topic and pattern that something is known of.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct Topics {
    /// In alphabetical order.
    pub(crate) topics: Vec<TopicStatus>,
}

/// Every stream.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct StreamList {
    /// In the order of the configuration.
    pub(crate) streams: Vec<StreamStatus>,
    /// What keeps them.
    pub(crate) storage: StorageStatus,
}

/// Every connection.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct ConnectionList {
    /// By number.
    pub(crate) connections: Vec<ConnectionWithSubscriptions>,
}

/// A connection with its subscriptions.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct ConnectionWithSubscriptions {
    /// The connection.
    #[serde(flatten)]
    pub(crate) connection: ConnectionStatus,
    /// Its subscriptions.
    pub(crate) subscriptions: Vec<SubscriptionStatus>,
}

/// Every route, with its stages and what they counted.
#[utoipa::path(
    get,
    path = "/api/v1/routes",
    tag = "traffic",
    responses((status = 200, body = Routes), (status = 503, body = Refused)),
)]
pub(super) async fn routes(State(state): State<AdminState>) -> Result<Json<Routes>, Refused> {
    let (router, ..) = state.traffic.of()?;
    Ok(Json(Routes { routes: router.route_status() }))
}

/// Every pattern that a route takes or leads to, or that someone listens on.
#[utoipa::path(
    get,
    path = "/api/v1/topics",
    tag = "traffic",
    responses((status = 200, body = Topics), (status = 503, body = Refused)),
)]
pub(super) async fn topics(State(state): State<AdminState>) -> Result<Json<Topics>, Refused> {
    let (router, ..) = state.traffic.of()?;
    Ok(Json(Topics { topics: router.topic_status() }))
}

/// What a message on a topic would meet: streams, routes, stages, subscriptions and groups.
#[utoipa::path(
    get,
    path = "/api/v1/topics/{topic}",
    tag = "traffic",
    params(("topic" = String, Path, description = "A topic, without wildcards.")),
    responses(
        (status = 200, body = Explanation),
        (status = 400, body = Refused),
        (status = 503, body = Refused),
    ),
)]
pub(super) async fn explain(
    State(state): State<AdminState>,
    Path(topic): Path<String>,
) -> Result<Json<Explanation>, Refused> {
    let (router, _, streams, groups, _) = state.traffic.of()?;
    let topic = Topic::parse(&topic)
        .map_err(|error| Refused::new(StatusCode::BAD_REQUEST, error.to_string()))?;
    Ok(Json(router.explain(&topic).with(streams, groups.status())))
}

/// Every stream, with what its partitions hold, and what all of them take of the disk.
#[utoipa::path(
    get,
    path = "/api/v1/streams",
    tag = "traffic",
    responses(
        (status = 200, body = StreamList),
        (status = 500, body = Refused),
        (status = 503, body = Refused),
    ),
)]
pub(super) async fn streams(State(state): State<AdminState>) -> Result<Json<StreamList>, Refused> {
    let (_, _, streams, ..) = state.traffic.of()?;
    let storage = streams.storage_status().await;
    let storage = storage
        .map_err(|error| Refused::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    Ok(Json(StreamList { streams: streams.status(), storage }))
}

/// Every connection, with its subscriptions.
#[utoipa::path(
    get,
    path = "/api/v1/connections",
    tag = "traffic",
    responses((status = 200, body = ConnectionList), (status = 503, body = Refused)),
)]
pub(super) async fn connections(
    State(state): State<AdminState>,
) -> Result<Json<ConnectionList>, Refused> {
    let (router, connections, ..) = state.traffic.of()?;
    let mut subscriptions = router.subscription_status();
    let with_subscriptions = |connection: ConnectionStatus| {
        let own = |subscription: &mut SubscriptionStatus| subscription.connection == connection.id;
        let subscriptions = subscriptions.extract_if(.., own).collect();
        ConnectionWithSubscriptions { connection, subscriptions }
    };
    let connections = connections.status().into_iter().map(with_subscriptions).collect();
    Ok(Json(ConnectionList { connections }))
}
