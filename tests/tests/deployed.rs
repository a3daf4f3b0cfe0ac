//! Versions of a plugin in a running router, as an operator sees and changes them with the command.
#![forbid(unsafe_code)]

use std::{
    fs,
    io::Read as _,
    net::{Ipv4Addr, TcpListener},
    path::Path,
    process::Output,
};

use serde_json::Value;
use waypost_artefacts::Signer;
use waypost_client::{Message, Outcome, PublisherOptions};
use waypost_tests::{Router, another_build, built_guest, connected, finish, text, waypost};

const CONFIG: &str = r#"
[[route]]
name = "load"
from = "load.in"
to = "load.out"

[[route.stage]]
name = "keep"
plugin = "byte-filter"
"#;

/// Runs `waypost plugin` against a router, away from the test's own task.
async fn plugin(router: &Router, arguments: &[&str]) -> Output {
    let mut command = connected(router, &["plugin"]);
    command.args(arguments);
    let run = move || command.output().expect("the command runs");
    tokio::task::spawn_blocking(run).await.expect("it does not panic")
}

/// What the command says, on standard error.
async fn said(router: &Router, arguments: &[&str], code: i32) -> String {
    let Output { status, stdout, stderr } = plugin(router, arguments).await;
    let text = String::from_utf8_lossy(&stderr).into_owned();
    assert_eq!(status.code(), Some(code), "{arguments:?}: {text}");
    assert!(stdout.is_empty(), "what is no data stands elsewhere");
    text
}

/// What the command tells as JSON.
async fn done(router: &Router, arguments: &[&str]) -> Value {
    let arguments = [arguments, &["--output", "json"]].concat();
    let Output { status, stdout, stderr } = plugin(router, &arguments).await;
    assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
    serde_json::from_slice(&stdout).expect("one JSON object")
}

async fn listed(router: &Router) -> Value {
    done(router, &["list"]).await["plugins"][0].clone()
}

fn path(path: &Path) -> &str {
    path.to_str().expect("the path is text")
}

#[tokio::test]
async fn an_operator_deploys_lists_and_rolls_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let artefact = fs::read(built_guest("byte-filter")).expect("it was built");
    let second = folder.path().join("byte-filter.wasm");
    fs::write(&second, another_build(&artefact, 2)).expect("it is written");
    let garbage = folder.path().join("garbage");
    fs::write(&garbage, "no plugin").expect("it is written");

    let mut router = Router::start(CONFIG, &[("byte-filter", built_guest("byte-filter"))])
        .await
        .expect("the router starts");
    let first_digest = router.digest_of("byte-filter").await.expect("it runs");

    let text = said(&router, &["deploy", path(&garbage), "--stage", "load/keep"], 1).await;
    assert!(text.contains("no WebAssembly"), "{text}");
    let text = said(&router, &["deploy", path(&garbage), "--stage", "load/kept"], 1).await;
    assert!(text.contains("there is no stage load/kept; the stages are load/keep"), "{text}");
    let text = said(&router, &["rollback", "byte-filter"], 1).await;
    assert!(text.contains("no version before"), "{text}");
    assert_eq!(router.digest_of("byte-filter").await.expect("it runs"), first_digest);

    let text = said(&router, &["deploy", path(&second)], 0).await;
    assert!(text.contains("runs in load/keep"), "{text}");
    let note = "byte-filter: its artefact calls itself waypost-guest-byte-filter";
    assert_eq!(text.lines().nth(1), Some(note), "{text}");
    assert_eq!(text.lines().count(), 2, "nothing is drawn where there is no terminal: {text:?}");
    let again = done(&router, &["deploy", path(&second)]).await;
    assert_eq!((&again["plugin"], &again["swapped"]), (&"byte-filter".into(), &false.into()));
    let second_digest = router.digest_of("byte-filter").await.expect("it runs");
    assert_ne!(second_digest, first_digest);
    let text = said(&router, &["deploy", path(&second), "--stage", "load/keep"], 0).await;
    assert!(text.contains("runs already"), "{text}");

    let client = router.client().await.expect("a connection");
    let publisher = client.publisher(PublisherOptions::default()).await.expect("a stream");
    let receipt =
        publisher.publish(Message::new("load.in", b"x".as_slice())).await.expect("it is taken");
    assert!(matches!(receipt.await, Outcome::Committed { .. }));
    publisher.close().await;
    client.close().await;
    let plugin = listed(&router).await;
    let stage = &plugin["stages"][0];
    assert_eq!((&stage["messages"], &stage["breaker"]), (&1.into(), &"closed".into()));
    assert_eq!(plugin["versions"].as_array().map(Vec::len), Some(2));

    let text = said(&router, &["rollback", "byte-filter"], 0).await;
    assert!(text.contains("runs again"), "{text}");
    assert_eq!(router.digest_of("byte-filter").await.expect("it runs"), first_digest);
    let prefix = &second_digest[..10];
    let back = done(&router, &["rollback", "byte-filter", "--to", prefix]).await;
    assert_eq!(back["plugin"], "byte-filter");
    let text = said(&router, &["rollback", "byte-filter", "--to", prefix], 1).await;
    assert!(text.contains("runs already"), "{text}");
    router.restart().await.expect("it starts again");
    assert_eq!(router.digest_of("byte-filter").await.expect("it runs"), second_digest);
    router.stop().await.expect("it drains");
}

#[tokio::test]
async fn who_has_no_token_or_no_router_is_told_so() {
    let router = Router::start(CONFIG, &[("byte-filter", built_guest("byte-filter"))])
        .await
        .expect("the router starts");
    let folder = tempfile::tempdir().expect("a folder");
    let token = folder.path().join("token");
    fs::write(&token, "guess").expect("it is written");
    let text = said(&router, &["rollback", "byte-filter", "--token-file", path(&token)], 1).await;
    assert!(text.contains("admin.token"), "{text}");
    // The answers come although most of the artefact was not read, or is too much.
    let large = folder.path().join("large");
    fs::write(&large, vec![0; 40 << 20]).expect("it is written");
    let deploy = ["deploy", path(&large), "--plugin", "byte-filter"];
    let text = said(&router, &[&deploy[..], &["--token-file", path(&token)]].concat(), 1).await;
    assert!(text.contains("show the token in admin.token"), "{text}");
    let text = said(&router, &deploy, 1).await;
    assert!(text.contains("has 41943040 bytes, at most 16777216 are allowed"), "{text}");
    let nowhere = folder.path().join("nowhere");
    let text = said(&router, &["list", "--state", path(&nowhere)], 1).await;
    assert!(text.contains("no router runs with the state folder"), "{text}");
    router.stop().await.expect("it drains");
}

#[tokio::test]
async fn whoever_loses_the_connection_during_a_deploy_is_told_that_it_may_go_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str| {
        let file = folder.path().join(name);
        fs::write(&file, "any").expect("it is written");
        file
    };
    let (artefact, token) = (file("byte-filter.wasm"), file("token"));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = listener.local_addr().expect("it is bound").to_string();
    let hangs_up = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("the command comes");
        // The request is there.
        stream.read_exact(&mut [0; 64]).expect("it has a head");
    });
    let mut command = waypost(&["plugin", "deploy", path(&artefact), "--admin", &address]);
    command.args(["--token-file", path(&token)]);
    let Output { status, stderr, .. } = finish(command, "").await;
    let text = text(&stderr);
    assert!(!status.success() && text.contains("may still be going on"), "{text}");
    assert!(text.contains("`waypost plugin list`"), "{text}");
    hangs_up.join().expect("it does not panic");
}

#[tokio::test]
async fn where_signatures_are_asked_for_the_command_sends_the_one_that_lies_beside_the_artefact() {
    let (signer, stranger) = (Signer::generate(), Signer::generate());
    let folder = tempfile::tempdir().expect("a folder");
    let artefact = fs::read(built_guest("byte-filter")).expect("it was built");
    let put = |name: &str, bytes: &[u8]| {
        let file = folder.path().join(name);
        fs::write(&file, bytes).expect("it is written");
        file
    };
    let first = put("byte-filter.wasm", &artefact);
    let config = format!("[plugins]\ntrusted_keys = [\"{}\"]\n{CONFIG}", signer.public_key());
    let refused = Router::start(&config, &[("byte-filter", first.clone())]).await;
    let error = refused.expect_err("nobody has signed it").to_string();
    assert!(error.contains("byte-filter.wasm.minisig"), "{error}");

    let signature = put("byte-filter.wasm.minisig", signer.sign(&artefact).as_bytes());
    let router = Router::start(&config, &[("byte-filter", first)]).await;
    let router = router.expect("its signature is good");
    fs::remove_file(signature).expect("it was there");
    let second = another_build(&artefact, 2);
    let file = put("byte-filter.wasm", &second);
    let text = said(&router, &["deploy", path(&file)], 1).await;
    assert!(text.contains("--signature"), "{text}");
    let forged = put("forged", stranger.sign(&second).as_bytes());
    let text = said(&router, &["deploy", path(&file), "--signature", path(&forged)], 1).await;
    assert!(text.contains("a key that plugins.trusted_keys does not name"), "{text}");
    let text = said(&router, &["deploy", path(&file), "--signature", "nowhere"], 1).await;
    assert!(text.contains("nowhere cannot be read"), "{text}");
    let signed = put("byte-filter.wasm.minisig", signer.sign(&second).as_bytes());
    said(&router, &["deploy", path(&file)], 0).await;
    fs::remove_file(signed).expect("it was there");
    said(&router, &["rollback", "byte-filter"], 0).await;
    router.stop().await.expect("it drains");
}
