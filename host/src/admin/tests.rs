//! The admin server over real HTTP on loopback.

use std::{convert::Infallible, net::Ipv4Addr, num::NonZeroU16, path::Path, sync::Arc};

use axum::{
    Extension,
    body::{Body, Bytes},
    extract::{Path as UrlPath, State},
    http::HeaderMap,
};
use futures_util::{FutureExt as _, stream};
use prometheus::Registry;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use waypost_core::{
    BatchPolicy, BreakerPolicy, Destination, PluginName, RetryPolicy, RouteDefinition, RouteName,
    RouteStart, StageDefinition, StageName,
};
use waypost_protocol::Pattern;

use super::{
    answer::Authorised,
    body::{MAX_TEXT_BYTES, Text, Uploads},
    server::Hold,
    *,
};
use crate::{
    deploy::{DeployMetrics, Deployer, DeployerParts, PluginRules, VersionStore},
    net::NetMetrics,
    router::{Plans, RouterMetrics},
    wasm::{Compiler, Sandbox, SandboxMetrics},
};

struct Stand {
    admin: Admin,
    lifecycle: Arc<Lifecycle>,
    folder: tempfile::TempDir,
}

/// How large an artefact may be.
const ARTEFACT_BYTES: usize = 4096;

/// A route with one stage, whose plugin has not been loaded.
fn route() -> RouteDefinition {
    let plugin = PluginName::parse("guest").expect("a name");
    let stage = StageName::parse("only").expect("a name");
    RouteDefinition {
        name: RouteName::parse("route").expect("a name"),
        source: Pattern::parse("in").expect("a pattern"),
        start: RouteStart::End,
        stages: vec![StageDefinition { name: stage, plugin, configuration: "{}".into() }],
        destination: Destination::FromPlugin,
        lanes: NonZeroU16::MIN,
        batch: BatchPolicy::default(),
        breaker: BreakerPolicy::default(),
        retry: RetryPolicy::default(),
    }
}

fn state() -> (AdminState, tempfile::TempDir) {
    let registry = Registry::new();
    let sandbox_metrics = Arc::new(SandboxMetrics::register(&registry).expect("a new registry"));
    let router_metrics = Arc::new(RouterMetrics::register(&registry).expect("a new registry"));
    NetMetrics::register(&registry).expect("a new registry");
    let folder = tempfile::tempdir().expect("a folder");
    let parts = DeployerParts {
        sandbox: Arc::new(
            Sandbox::new(Compiler::InProcess, sandbox_metrics).expect("the engine starts"),
        ),
        store: VersionStore::open(folder.path().join("versions"), 10).expect("it is made"),
        plans: Arc::new(Plans::new(router_metrics)),
        metrics: DeployMetrics::register(&registry).expect("a new registry"),
    };
    let deployer = Deployer::new(parts, Path::new("plugins"), &[route()], |_| {
        let mut rules = PluginRules::default();
        rules.policy.limits.artefact_bytes = ARTEFACT_BYTES;
        rules
    });
    let token = Token::of(folder.path()).expect("it is made");
    let lifecycle = Arc::new(Lifecycle::default());
    let deployer = Arc::new(deployer);
    let traffic = Traffic::default();
    (AdminState { registry, lifecycle, deployer, traffic, token }, folder)
}

async fn stand() -> Stand {
    let (state, folder) = state();
    let lifecycle = state.lifecycle.clone();
    let admin = Admin::start((Ipv4Addr::LOCALHOST, 0).into(), state).await.expect("a free port");
    Stand { admin, lifecycle, folder }
}

impl Stand {
    async fn get(&self, path: &str) -> (u16, String) {
        self.ask(&format!("GET {path} HTTP/1.0\r\n\r\n")).await
    }

    /// Status and body of an answer.
    async fn ask(&self, request: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.admin.address()).await.expect("it listens");
        stream.write_all(request.as_bytes()).await.expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("it answers");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        (status.expect("a status"), body.to_owned())
    }
}

#[tokio::test]
async fn readiness_follows_the_lifecycle_while_health_stays() {
    let stand = stand().await;
    for (phase, status) in [(Phase::Starting, 503), (Phase::Ready, 200), (Phase::Draining, 503)] {
        stand.lifecycle.enter(phase);
        assert_eq!(stand.get("/readyz").await, (status, format!("{}\n", phase.name())));
        assert_eq!(stand.get("/healthz").await.0, 200);
    }
}

#[tokio::test]
async fn every_series_has_a_help_text_and_there_are_enough_of_them() {
    let stand = stand().await;
    let (status, text) = stand.get("/metrics").await;
    assert_eq!(status, 200);
    let names = |kind: &str| {
        let lines = text.lines().filter_map(|line| line.strip_prefix(kind));
        lines.filter_map(|line| line.split(' ').next()).map(str::to_owned).collect::<Vec<_>>()
    };
    let (helps, types) = (names("# HELP "), names("# TYPE "));
    assert_eq!(helps, types, "each has both");
    assert!(helps.iter().all(|name| name.starts_with("waypost_")), "{helps:?}");
}

#[tokio::test]
async fn the_interface_answers_in_json_and_names_its_paths() {
    let stand = stand().await;
    let (status, version) = stand.get("/version").await;
    let version: serde_json::Value = serde_json::from_str(&version).expect("JSON");
    assert_eq!((status, version["protocol"].as_u64()), (200, Some(1)));
    let (status, plugins) = stand.get("/api/v1/plugins").await;
    assert_eq!((status, plugins.as_str()), (200, "{\"plugins\":[]}"));
    let (status, nothing) = stand.get("/nothing").await;
    let paths = ["/healthz", "/api/v1/plugins", "/api/v1/topics/{topic}", "/api/v1/openapi.json"];
    assert!(status == 404 && paths.iter().all(|path| nothing.contains(path)), "{nothing}");
}

#[tokio::test]
async fn its_document_describes_every_path_below_the_api() {
    let stand = stand().await;
    let (status, text) = stand.get("/api/v1/openapi.json").await;
    let document: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((status, document["openapi"].as_str()), (200, Some("3.1.0")));
    let paths = document["paths"].as_object().expect("an object");
    for (path, methods) in paths {
        for (method, operation) in methods.as_object().expect("an object") {
            assert!(operation["summary"].is_string(), "{method} {path} says what it does");
            // What changes something or shows messages is guarded, here and in the document.
            let shows_messages = path.ends_with("/tap") || path.starts_with("/api/v1/dlq");
            let guarded = method != "get" || shows_messages;
            assert_eq!(guarded, operation["security"].is_array(), "{method} {path}");
            let asked = path.replace(['{', '}'], "");
            let request = format!("{} {asked} HTTP/1.0\r\n\r\n", method.to_uppercase());
            let (status, _) = stand.ask(&request).await;
            assert!(operation["responses"][status.to_string()].is_object(), "{status} for {path}");
            let takes_body = operation["requestBody"].is_object();
            assert_eq!(takes_body, operation["responses"]["413"].is_object(), "{method} {path}");
            assert!(!guarded || status == 401, "{status} for {path}");
        }
    }
    assert!(paths.len() >= 9, "{paths:?}");
}

#[tokio::test]
async fn traffic_is_told_of_once_there_is_any() {
    let stand = stand().await;
    for path in ["routes", "topics", "topics/a", "connections"] {
        let (status, body) = stand.get(&format!("/api/v1/{path}")).await;
        assert!(status == 503 && body.contains("starting"), "{status} {body}");
    }
}

#[tokio::test]
async fn what_changes_something_asks_for_the_token() {
    let stand = stand().await;
    let token = std::fs::read_to_string(stand.folder.path().join(TOKEN_FILE)).expect("it is there");
    let post = |path: &str, token: &str| {
        format!(
            "POST {path} HTTP/1.0\r\nAuthorization: Bearer {token}\r\nContent-Length: 1\r\n\r\nx"
        )
    };
    for path in
        ["/api/v1/plugins/p/versions", "/api/v1/plugins/p/rollback", "/api/v1/stages/r/s/versions"]
    {
        let (status, body) = stand.ask(&post(path, "guess")).await;
        assert!(status == 401 && body.contains("admin.token"), "{status} {body}");
    }
    let (status, body) = stand.ask(&post("/api/v1/plugins/p/versions", token.trim())).await;
    assert!(status == 404 && body.contains("no stage uses a plugin p"), "{status} {body}");
    let (status, body) = stand.ask(&post("/api/v1/plugins/p/rollback", token.trim())).await;
    assert!(status == 400 && body.contains("DIGEST"), "{status} {body}");
}

/// The paths that take a body.
const CHANGES: [&str; 7] = [
    "/api/v1/plugins/guest/versions",
    "/api/v1/stages/route/only/versions",
    "/api/v1/plugins/guest/rollback",
    "/api/v1/groups/g/position",
    "/api/v1/dlq/trial",
    "/api/v1/dlq/replay",
    "/api/v1/dlq/purge",
];

#[tokio::test]
async fn who_does_not_show_the_token_is_answered_before_a_byte_of_the_body_is_there() {
    let stand = stand().await;
    for path in CHANGES {
        let request = format!("POST {path} HTTP/1.0\r\nContent-Length: 1000\r\n\r\n");
        let (status, body) = stand.ask(&request).await;
        assert!(status == 401 && body.contains("admin.token"), "{path}: {status} {body}");
    }
}

#[tokio::test]
async fn whoever_sends_all_of_a_body_that_nobody_reads_hears_the_answer() {
    let stand = stand().await;
    let body = "x".repeat(16 << 20);
    let head = "POST /api/v1/plugins/guest/versions HTTP/1.0\r\nContent-Length:";
    for _ in 0..10 {
        let (status, _) = stand.ask(&format!("{head} {}\r\n\r\n{body}", body.len())).await;
        assert_eq!(status, 401);
    }
}

#[tokio::test]
async fn a_deploy_and_a_rollback_hold_their_connection() {
    let (state, _folder) = state();
    let hold = Hold::default();
    let endless = Body::from_stream(stream::pending::<Result<Bytes, Infallible>>());
    let deploying = plugins::deploy(
        State(state.clone()),
        Authorised,
        Extension(Uploads::default()),
        Extension(hold.clone()),
        UrlPath("guest".to_owned()),
        HeaderMap::new(),
        endless,
    );
    let mut deploying = Box::pin(deploying);
    assert!(deploying.as_mut().now_or_never().is_none());
    assert!(hold.is_taken());
    drop(deploying);
    assert!(!hold.is_taken());
    let (rolling_back, guest) = (Text(Vec::new()), UrlPath("guest".to_owned()));
    let mut rolling_back = Box::pin(plugins::rollback(
        State(state),
        Authorised,
        Extension(hold.clone()),
        guest,
        rolling_back,
    ));
    assert!(rolling_back.as_mut().now_or_never().is_none());
    assert!(hold.is_taken());
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_in_json_which_names_the_limit() {
    let stand = stand().await;
    let token = std::fs::read_to_string(stand.folder.path().join(TOKEN_FILE)).expect("it is there");
    for path in CHANGES {
        let limit = if path.ends_with("/versions") { ARTEFACT_BYTES } else { MAX_TEXT_BYTES };
        let (head, body) = (format!("POST {path} HTTP/1.0"), "x".repeat(limit + 1));
        let request = format!(
            "{head}\r\nAuthorization: Bearer {}\r\nContent-Length: {}\r\n\r\n{body}",
            token.trim(),
            body.len()
        );
        let (status, answer) = stand.ask(&request).await;
        let answer: serde_json::Value = serde_json::from_str(&answer).expect("JSON");
        let error = answer["error"].as_str().expect("it says why");
        let says = format!("has {} bytes, at most {limit} are", limit + 1);
        assert!(status == 413 && error.contains(&says), "{path}: {status} {error}");
    }
    let (_, metrics) = stand.get("/metrics").await;
    let counted = "waypost_plugin_refusals_total{kind=\"too_large\",plugin=\"guest\"} 2";
    assert!(metrics.contains(counted), "{metrics}");
}

#[tokio::test]
async fn whoever_says_nothing_is_let_go_and_takes_nobodys_place_for_good() {
    let stand = stand().await;
    let mut silent = Vec::new();
    // More than there are places.
    for _ in 0..80 {
        silent.push(TcpStream::connect(stand.admin.address()).await.expect("it listens"));
    }
    assert_eq!(stand.get("/healthz").await.0, 200, "a place comes free");
    let mut rest = Vec::new();
    let first = silent.first_mut().expect("there are some");
    first.read_to_end(&mut rest).await.expect("it is closed in order");
}
