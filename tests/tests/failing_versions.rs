//! Versions of a plugin that fail: messages wait for one that works, and a new one that fails more than the one
//! before it goes by itself.
#![forbid(unsafe_code)]

use std::{collections::VecDeque, fs, time::Duration};

use serde_json::Value;
use waypost_artefacts::stamping;
use waypost_client::{
    Client, Delivered, Message, Outcome, Publisher, PublisherOptions, Subscriber, SubscriberOptions,
};
use waypost_tests::{Router, built_guest, connected, finish, text};

/// For what comes of what was done; the router is one process among many.
const PATIENCE: Duration = Duration::from_secs(120);
/// What the fixed version, or the one that works, appends to each payload.
const BUILD: u32 = 7;
/// What a breaker lets through before it opens.
const FAILURES: usize = 3;

/// A route with one stage, whose plugin is in this mode if it is the hostile one. An open breaker stays open.
fn config(mode: &str) -> String {
    format!(
        "[[route]]\nname = 'load'\nfrom = 'load.in'\nto = 'load.out'\n\
         breaker = {{ failures = {FAILURES}, open_ms = 3600000, max_open_ms = 3600000 }}\n\
         [[route.stage]]\nname = 'harm'\nplugin = 'hostile'\nconfig = {{ mode = '{mode}' }}\n"
    )
}

async fn subscribe(client: &Client, pattern: &str) -> Subscriber {
    client.subscribe(pattern, SubscriberOptions::default()).await.expect("a pattern")
}

async fn next(subscriber: &mut Subscriber) -> Delivered {
    subscriber.recv().await.expect("the stream goes on").expect("without an error")
}

fn message(payload: &str) -> Message<'static> {
    Message::new("load.in", payload.as_bytes().to_vec()).key(b"key".to_vec())
}

/// A payload without what the version that works wrote behind it, and whether that was there.
fn unstamped(delivered: &Delivered) -> (String, bool) {
    let payload = delivered.payload();
    let stamped = payload.strip_suffix(&BUILD.to_le_bytes());
    (text(stamped.unwrap_or(payload)), stamped.is_some())
}

/// What the router says of its only plugin.
async fn plugin(router: &Router) -> Value {
    let status = router.admin("/api/v1/plugins").await.expect("the admin server answers");
    let status: Value = serde_json::from_str(&status).expect("it is JSON");
    status["plugins"][0].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_wait_for_a_plugin_that_works_and_a_deploy_drains_them_in_order() {
    const MESSAGES: usize = 2000;
    let hostile = [("hostile", built_guest("hostile"))];
    let router = Router::start(&config("sulk"), &hostile).await.expect("the router starts");
    let client = router.client().await.expect("a connection");
    let (mut out, mut dead) =
        (subscribe(&client, "load.out").await, subscribe(&client, "$dead.load").await);
    let publisher = client.publisher(PublisherOptions::default()).await.expect("a stream");
    let publishing = tokio::spawn(async move {
        let mut receipts = Vec::new();
        for number in 0..MESSAGES {
            let receipt = publisher.publish(message(&number.to_string())).await;
            receipts.push(receipt.expect("it is taken"));
        }
        publisher.flush().await;
        for receipt in receipts {
            assert!(matches!(receipt.await, Outcome::Committed { .. }));
        }
        publisher.close().await;
    });
    router.until("waypost_stage_breaker_opened_total{route=\"load\",stage=\"harm\"}", 1.0).await;
    assert_eq!(plugin(&router).await["stages"][0]["breaker"], "open");
    assert!(!publishing.is_finished(), "the publisher has no result of what waits");

    let folder = tempfile::tempdir().expect("a folder");
    let fixed = folder.path().join("fixed.wasm");
    fs::write(&fixed, stamping(BUILD)).expect("it is written");
    let fixed = fixed.to_str().expect("the path is text");
    let deploy = connected(&router, &["plugin", "deploy", fixed, "--stage", "load/harm"]);
    let said = finish(deploy, "").await;
    assert!(said.status.success(), "{}", text(&said.stderr));

    let (mut lost, mut drained) = (Vec::new(), Vec::new());
    let drain = async {
        while lost.len() + drained.len() < MESSAGES {
            tokio::select! {
                letter = next(&mut dead) => {
                    let (payload, is_stamped) = unstamped(&letter);
                    assert!(!is_stamped, "a dead letter is the message as it was");
                    lost.push(payload);
                }
                delivered = next(&mut out) => {
                    let (payload, is_stamped) = unstamped(&delivered);
                    assert!(is_stamped, "the fixed version processed {payload}");
                    drained.push(payload);
                }
            }
        }
    };
    let drained_all = tokio::time::timeout(PATIENCE, drain).await;
    drained_all.unwrap_or_else(|_| panic!("messages are missing:\n{}", router.log()));
    publishing.await.expect("every publish was committed");
    assert!(lost.len() <= FAILURES, "the others wait: {lost:?}");
    let all = (0..MESSAGES).map(|number| number.to_string());
    let expected: Vec<String> = all.filter(|payload| !lost.contains(payload)).collect();
    assert_eq!(drained, expected);
    assert_eq!(plugin(&router).await["stages"][0]["breaker"], "closed");
    client.close().await;
    router.stop().await.expect("it drains");
}

/// Publishes one message after the other, every fourth of which the hostile guest panics on, and gives their
/// payloads. One at a time, so that a failure always stands between successes and the breaker stays closed.
async fn publish(publisher: &Publisher, first: usize, count: usize) -> Vec<String> {
    let mut published = Vec::new();
    for number in first..first + count {
        let payload = format!("{} {number}", if number % 4 == 3 { "bad" } else { "good" });
        let receipt = publisher.publish(message(&payload)).await.expect("it is taken");
        assert!(matches!(receipt.await, Outcome::Committed { .. }));
        published.push(payload);
    }
    published
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_fails_on_a_share_of_the_messages_is_rolled_back_by_itself() {
    const ROLLED_BACK: &str =
        "waypost_plugin_deploys_total{outcome=\"rolled_back\",plugin=\"hostile\"}";
    let folder = tempfile::tempdir().expect("a folder");
    let works = folder.path().join("works.wasm");
    fs::write(&works, stamping(BUILD)).expect("it is written");
    let router = Router::start(&config("panic"), &[("hostile", works)]).await;
    let router = router.expect("the router starts");
    let good = router.digest_of("hostile").await.expect("it runs");
    let client = router.client().await.expect("a connection");
    let (mut out, mut dead) =
        (subscribe(&client, "load.out").await, subscribe(&client, "$dead.load").await);
    let publisher = client.publisher(PublisherOptions::default()).await.expect("a stream");

    let mut published = publish(&publisher, 0, 100).await;
    let artefact = fs::read(built_guest("hostile")).expect("it is built");
    let answer = router.deploy("hostile", artefact).await.expect("it passes its self-test");
    let bad = answer["status"]["digest"].as_str().expect("a digest").to_owned();
    assert_ne!(bad, good);
    let goes = async {
        while router.metric(ROLLED_BACK).await.expect("a series") < 1.0 {
            published.extend(publish(&publisher, published.len(), 20).await);
        }
    };
    let gone = tokio::time::timeout(PATIENCE, goes).await;
    gone.unwrap_or_else(|_| panic!("it is not rolled back:\n{}", router.log()));
    published.extend(publish(&publisher, published.len(), 100).await);

    assert_eq!(router.metric(ROLLED_BACK).await.expect("a series"), 1.0);
    let log = router.log();
    assert!(log.contains("a new version fails more than the one before it"), "{log}");
    let status = plugin(&router).await;
    let [first, second] = status["versions"].as_array().expect("a list").as_slice() else {
        panic!("two versions are kept: {status}");
    };
    assert_eq!((&status["digest"], &first["digest"]), (&good.clone().into(), &good.into()));
    assert_eq!(
        (&first["via"], &first["rolled_back"]),
        (&"automatic-rollback".into(), &Value::Null)
    );
    assert_eq!((&second["digest"], &second["via"]), (&bad.into(), &"deploy".into()));
    let reason = second["rolled_back"].as_str().expect("it says why");
    assert!(reason.starts_with("it failed on "), "{reason}");

    // Each message came out once, or is a dead letter of the version that failed.
    let (mut letters, mut expected) = (0, VecDeque::from(published.clone()));
    let mut builds = Vec::new();
    while letters + builds.len() < published.len() {
        tokio::select! {
            letter = next(&mut dead) => {
                let (payload, _) = unstamped(&letter);
                assert!(payload.starts_with("bad"), "{payload}");
                let at = expected.iter().position(|known| *known == payload);
                expected.remove(at.expect("it is a dead letter once, and not delivered"));
                letters += 1;
            }
            delivered = next(&mut out) => builds.push(unstamped(&delivered)),
        }
    }
    let payloads: Vec<&String> = builds.iter().map(|(payload, _)| payload).collect();
    assert_eq!(payloads, expected.iter().collect::<Vec<_>>(), "in order");
    builds.dedup_by_key(|(_, is_stamped)| *is_stamped);
    let runs: Vec<bool> = builds.into_iter().map(|(_, is_stamped)| is_stamped).collect();
    assert_eq!(runs, [true, false, true], "one version after the other");
    assert!(letters >= 5, "{letters} failures are enough to go");
    publisher.close().await;
    client.close().await;
    router.stop().await.expect("it drains");
}
