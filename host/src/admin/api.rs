//! The paths of `/api/v1`, and the OpenAPI document that describes them: both are made of the same annotations.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse as _, Response},
    routing::get,
};
use serde_json::json;
use utoipa::{
    Modify, OpenApi,
    openapi::security::{Http, HttpAuthScheme, SecurityScheme},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{AdminState, dlq, groups, plugins, progress, server::PLAIN_PATHS, tap, traffic};

/// Where the document is.
pub(super) const DOCUMENT_PATH: &str = "/api/v1/openapi.json";

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Waypost admin interface",
        description = "What runs in a router, and how that changes. What changes something, or shows what messages \
                       hold, asks for the token in admin.token of the router's state folder.",
    ),
    tags(
        (name = "plugins", description = "Versions of plugins: what runs, deploys, rollbacks."),
        (name = "groups", description = "Groups of consumers: how far they came, and moving them."),
        (name = "dlq", description = "Dead letters: what is kept of them, and letters that leave."),
        (name = "traffic", description = "Routes, topics, streams, connections."),
    ),
    modifiers(&BearerToken),
)]
struct Document;

/// Names the token among the security schemes.
struct BearerToken;

impl Modify for BearerToken {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        document.components.get_or_insert_default().add_security_scheme("token", scheme);
    }
}

/// Everything below `/api/v1`, its document too, and an answer for every path that is none.
pub(super) fn router() -> axum::Router<AdminState> {
    let (router, document) = OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(plugins::list))
        .routes(routes!(plugins::deploy))
        .routes(routes!(plugins::deploy_stage))
        .routes(routes!(plugins::rollback))
        .routes(routes!(traffic::routes))
        .routes(routes!(traffic::topics))
        .routes(routes!(traffic::explain))
        .routes(routes!(traffic::streams))
        .routes(routes!(traffic::connections))
        .routes(routes!(progress::list))
        .routes(routes!(progress::forget))
        .routes(routes!(groups::list))
        .routes(routes!(groups::show, groups::delete))
        .routes(routes!(groups::move_to))
        .routes(routes!(dlq::list))
        .routes(routes!(dlq::count))
        .routes(routes!(dlq::show))
        .routes(routes!(dlq::trial))
        .routes(routes!(dlq::replay))
        .routes(routes!(dlq::purge))
        .routes(routes!(tap::tap))
        .split_for_parts();
    let plain = PLAIN_PATHS.into_iter().chain([DOCUMENT_PATH]).map(str::to_owned);
    let paths: Vec<String> = plain.chain(document.paths.paths.keys().cloned()).collect();
    let unknown = move || std::future::ready(nothing_here(&paths));
    router
        .route(DOCUMENT_PATH, get(move || std::future::ready(Json(document.clone()))))
        .fallback(unknown)
}

fn nothing_here(paths: &[String]) -> Response {
    let body = json!({ "error": "there is nothing here", "paths": paths });
    (StatusCode::NOT_FOUND, Json(body)).into_response()
}
