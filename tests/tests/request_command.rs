//! `waypost request` and `waypost reply` as their users run them.
#![forbid(unsafe_code)]

use std::{
    process::Output,
    time::{Duration, Instant},
};

use tokio::task::JoinHandle;
use waypost_tests::{Router, connected, finish, text, waypost};

async fn router() -> Router {
    Router::start("", &[]).await.expect("the router starts")
}

/// A responder that has subscribed.
async fn responder(router: &Router, arguments: &[&str]) -> JoinHandle<Output> {
    let command = connected(router, &[&["reply", "shout.*"], arguments].concat());
    let running = tokio::spawn(finish(command, ""));
    while router.metric("waypost_subscriptions").await.expect("it answers") < 1.0 {
        assert!(!running.is_finished(), "{:?}", running.await);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    running
}

async fn request(router: &Router, arguments: &[&str], input: &'static str) -> Output {
    finish(connected(router, &[&["request"], arguments].concat()), input).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_is_the_reply_to_as_many_requests_as_wanted() {
    let router = router().await;
    let responding = responder(&router, &["--data", "pong", "--count", "2"]).await;
    let raw = request(&router, &["shout.a", "--data", "ping", "--output", "raw"], "").await;
    assert_eq!((raw.status.code(), text(&raw.stdout).as_str()), (Some(0), "pong\n"));
    let json = request(&router, &["shout.b", "--header", "a=b", "--timeout", "60s"], "ping").await;
    let reply: serde_json::Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert_eq!(reply["payload"], "pong");
    let ended = responding.await.expect("no panic");
    assert_eq!(ended.status.code(), Some(0), "{}", text(&ended.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_makes_the_reply_of_the_request() {
    let router = router().await;
    let script = "printf '%s: ' \"$WAYPOST_TOPIC\"; tr a-z A-Z";
    let arguments = ["--count", "1", "--exec", "sh", "-c", script];
    let responding = responder(&router, &arguments).await;
    let replied = request(&router, &["shout.a", "--file", "-", "--output", "raw"], "hello").await;
    assert_eq!(text(&replied.stdout), "shout.a: HELLO\n", "{}", text(&replied.stderr));
    let ended = responding.await.expect("no panic");
    assert_eq!(ended.status.code(), Some(0), "{}", text(&ended.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_without_a_reply_fails_and_says_why() {
    let router = router().await;
    let began = Instant::now();
    let nobody = request(&router, &["nobody", "--data", "x", "--timeout", "1h"], "").await;
    let told = text(&nobody.stderr);
    assert_eq!(nobody.status.code(), Some(1), "{told}");
    assert!(told.contains("NO_RESPONDER") && nobody.stdout.is_empty(), "{told}");
    assert!(began.elapsed() < Duration::from_secs(3600), "it does not wait for the deadline");

    // The command fails, so there is no reply, and the responder goes on.
    let script = "grep -q good && echo yes";
    let responding = responder(&router, &["--count", "1", "--exec", "sh", "-c", script]).await;
    let bad = request(&router, &["shout.a", "--data", "bad", "--timeout", "2s"], "").await;
    let told = text(&bad.stderr);
    assert_eq!(bad.status.code(), Some(1), "{told}");
    assert!(told.contains("no reply within 2s"), "{told}");
    let good = request(&router, &["shout.a", "--data", "good", "--output", "raw"], "").await;
    assert_eq!(text(&good.stdout), "yes\n\n", "{}", text(&good.stderr));
    let told = text(&responding.await.expect("no panic").stderr);
    assert!(told.contains("no reply to a message on shout.a: sh ended with"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_outlives_the_deadline_is_killed() {
    let router = router().await;
    let script = "grep -q now || sleep 3600; echo done";
    let responding = responder(&router, &["--count", "1", "--exec", "sh", "-c", script]).await;
    let late = request(&router, &["shout.a", "--data", "late", "--timeout", "1s"], "").await;
    assert_eq!(late.status.code(), Some(1));
    let good = request(&router, &["shout.a", "--data", "now", "--timeout", "60s"], "").await;
    assert_eq!(good.status.code(), Some(0), "{}", text(&good.stderr));
    let told = text(&responding.await.expect("no panic").stderr);
    assert!(told.contains("its deadline has passed"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_use_is_told_before_anything_is_done() {
    for arguments in [
        &["request"][..],
        &["request", "a..b"],
        &["request", "a", "--timeout", "soon"],
        &["request", "a", "--data", "x", "--file", "y"],
        &["reply", "a"],
        &["reply", "a", "--data", "x", "--exec", "y"],
        &["reply", "a", "--exec"],
    ] {
        let output = finish(waypost(arguments), "").await;
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", text(&output.stderr));
    }
}
