//! Live messages over HTTP: one JSON object a line, for as long as whoever watches reads.

use std::{convert::Infallible, time::Duration};

use axum::{
    body::{Body, Bytes},
    extract::{Extension, Query, State},
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse as _, Response},
};
use serde::{Deserialize, Serialize};
use tokio::{sync::mpsc, time::Instant};
use utoipa::ToSchema;
use waypost_protocol::Pattern;

use super::{
    AdminState,
    answer::{Authorised, Guarded, Refused},
    server::Hold,
};
use crate::router::{Sight, Tap, TapFilter};

/// Lines that wait for the connection.
const MAX_WAITING: usize = 64;
/// How long whoever watches may read nothing.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is said how many messages were passed over.
const REPORT: Duration = Duration::from_secs(1);
/// How often an empty line finds out whether anybody is still there.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// What to watch.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Watched {
    /// The pattern of the topics that messages have where they are seen.
    #[param(example = "quakes.>")]
    pattern: String,
    /// Only in this route.
    route: Option<String>,
    /// Messages a second at most, 1 to 10000.
    #[serde(default = "default_rate")]
    per_second: u32,
    /// How much of a payload is shown, 0 to 4096.
    #[serde(default = "default_payload_bytes")]
    payload_bytes: u32,
}

fn default_rate() -> u32 {
    1000
}

fn default_payload_bytes() -> u32 {
    256
}

/// A line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum TapLine {
    /// A message as it was seen.
    Seen(Box<Sight>),
    /// Messages that passed meanwhile without being looked at.
    PassedOver {
        /// How many.
        passed_over: u64,
    },
}

/// Live messages with each stage's verdict, one JSON object a line, without end. What passes faster than it may be
/// shown is passed over and counted; no route is ever held up.
#[utoipa::path(
    get,
    path = "/api/v1/tap",
    tag = "traffic",
    params(Watched),
    responses(
        (status = 200, body = TapLine, content_type = "application/x-ndjson"),
        (status = 400, body = Refused, description = "The request is not understood."),
        Guarded,
        (status = 404, body = Refused, description = "There is no such route."),
        (status = 429, body = Refused, description = "As many watch as may."),
        (status = 503, body = Refused, description = "The router is starting."),
    ),
    security(("token" = [])),
)]
pub(super) async fn tap(
    State(state): State<AdminState>,
    _: Authorised,
    Extension(hold): Extension<Hold>,
    watched: Result<Query<Watched>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, Refused> {
    let bad = |text: String| Refused::new(StatusCode::BAD_REQUEST, text);
    let Query(watched) = watched.map_err(|error| bad(error.body_text()))?;
    let filter = filter(watched).map_err(bad)?;
    let (router, ..) = state.traffic.of()?;
    if let Some(route) = &filter.route
        && !router.route_status().iter().any(|status| status.name == *route)
    {
        return Err(Refused::new(StatusCode::NOT_FOUND, format!("there is no route {route}")));
    }
    let Some(tap) = router.tap(filter) else {
        let text = "eight watch already; end one of them first";
        return Err(Refused::new(StatusCode::TOO_MANY_REQUESTS, text));
    };
    let (lines, waiting) = mpsc::channel(MAX_WAITING);
    tokio::spawn(async move {
        let _held = hold.take();
        feed(tap, lines).await;
    });
    let body = futures_util::stream::unfold(waiting, async |mut waiting| {
        let line = waiting.recv().await?;
        Some((Ok::<Bytes, Infallible>(line), waiting))
    });
    Ok(([(CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(body)).into_response())
}

fn filter(watched: Watched) -> Result<TapFilter, String> {
    let Watched { pattern, route, per_second, payload_bytes } = watched;
    let pattern = Pattern::parse(&pattern).map_err(|error| error.to_string())?;
    if !(1..=10_000).contains(&per_second) {
        return Err("per_second is a number from 1 to 10000".to_owned());
    }
    if payload_bytes > 4096 {
        return Err("payload_bytes is a number from 0 to 4096".to_owned());
    }
    Ok(TapFilter { pattern, route, per_second, payload_bytes: payload_bytes as usize })
}

/// Hands on what the tap sees until nobody reads it any more.
async fn feed(mut tap: Tap, lines: mpsc::Sender<Bytes>) {
    let mut report = tokio::time::interval(REPORT);
    let mut heartbeat = Instant::now() + HEARTBEAT;
    loop {
        let line = tokio::select! {
            sight = tap.next() => match sight {
                Some(sight) => Some(TapLine::Seen(Box::new(sight))),
                None => return,
            },
            _ = report.tick() => match tap.take_passed_over() {
                0 if Instant::now() < heartbeat => continue,
                0 => None,
                passed_over => Some(TapLine::PassedOver { passed_over }),
            },
        };
        heartbeat = Instant::now() + HEARTBEAT;
        let mut text = match line.map(|line| serde_json::to_vec(&line)).transpose() {
            Ok(text) => text.unwrap_or_default(),
            Err(error) => {
                tracing::error!(%error, "a message that was watched cannot be shown");
                return;
            }
        };
        text.push(b'\n');
        match lines.send_timeout(text.into(), PATIENCE).await {
            Ok(()) => {}
            Err(_) => return,
        }
    }
}
