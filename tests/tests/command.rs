//! The command as its users run it.
#![forbid(unsafe_code)]

use std::{io::Write as _, path::PathBuf, process::Stdio};

use waypost_client::{Message, PublisherOptions};
use waypost_tests::{Router, built_plugin, connected, finish, text, waypost};

const CONFIG: &str = r#"
[[route]]
name = "quakes"
from = "in"
to = "out"

[[route.stage]]
name = "keep"
plugin = "filter-json"
config = { pointer = "/kind", op = "eq", value = "yes" }
"#;

async fn router() -> Router {
    Router::start(CONFIG, &[("filter-json", built_plugin("filter-json"))])
        .await
        .expect("the router starts")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_pub_publishes_sub_prints_with_key_headers_and_versions() {
    let router = router().await;
    let subscribe =
        connected(&router, &["sub", "out", "--count", "2", "--timeout", "60s", "--output", "json"]);
    let subscribing = tokio::spawn(finish(subscribe, ""));
    while router.metric("waypost_subscriptions").await.expect("it answers") < 1.0 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let publish = connected(&router, &["pub", "in", "--key", "/id", "--header", "source=test"]);
    let lines =
        "{\"id\":\"a\",\"kind\":\"yes\"}\n{\"id\":\"b\",\"kind\":\"no\"}\n{\"kind\":\"yes\"}\n";
    let published = finish(publish, lines).await;
    assert!(published.status.success(), "{}", text(&published.stderr));
    assert!(published.stdout.is_empty(), "data alone stands on standard output");
    assert!(text(&published.stderr).contains("3 committed"), "{}", text(&published.stderr));

    let printed = subscribing.await.expect("it does not panic");
    assert!(printed.status.success(), "{}", text(&printed.stderr));
    assert_eq!(text(&printed.stderr), "subscribed to out\n", "whoever waits for it knows when");
    let printed = text(&printed.stdout);
    let messages: Vec<serde_json::Value> =
        printed.lines().map(|line| serde_json::from_str(line).expect("JSON lines")).collect();
    let [first, second] = messages.as_slice() else {
        panic!("two messages are kept: {printed}");
    };
    assert_eq!((&first["topic"], &first["key"]), (&"out".into(), &"a".into()));
    assert_eq!(first["headers"][0]["value"], "test");
    assert_eq!((&first["route"], &first["stages"][0]["stage"]), (&"quakes".into(), &"keep".into()));
    assert!(second.get("key").is_none(), "a line without the pointer has no key");
    router.stop().await.expect("it drains");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_router_is_found_by_its_state_folder_or_where_somebody_says_it_is() {
    let mut router = router().await;
    let (listen, ca) = (router.listen().to_string(), router.ca());
    let elsewhere = tempfile::tempdir().expect("a folder");
    let publish = |state: PathBuf, arguments: &[&str]| {
        let mut command = waypost(&[&["pub", "in"], arguments].concat());
        command.env("WAYPOST_STATE", state);
        finish(command, "{}\n")
    };
    let found = publish(router.state(), &[]).await;
    assert!(found.status.success(), "{}", text(&found.stderr));
    let ca = ca.to_str().expect("a plain path");
    let said = ["--address", &listen, "--ca", ca];
    let said = publish(elsewhere.path().to_owned(), &said).await;
    assert!(said.status.success(), "{}", text(&said.stderr));

    let none = publish(elsewhere.path().to_owned(), &[]).await;
    let told = text(&none.stderr);
    assert_eq!(none.status.code(), Some(1), "{told}");
    assert!(told.contains("endpoints.json") && told.contains("--state"), "{told}");
    router.signal("KILL").expect("it runs");
    router.wait().await.expect("it ends");
    let left = publish(router.state(), &[]).await;
    let told = text(&left.stderr);
    assert_eq!(left.status.code(), Some(1), "{told}");
    assert!(told.contains(&listen) && told.contains("endpoints.json"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_is_read_by_its_topic() {
    let router = router().await;
    let subscribe =
        connected(&router, &["sub", "$dead.quakes", "--count", "1", "--timeout", "60s"]);
    let subscribing = tokio::spawn(finish(subscribe, ""));
    while router.metric("waypost_subscriptions").await.expect("it answers") < 1.0 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let published = finish(connected(&router, &["pub", "in"]), "no JSON\n").await;
    assert!(published.status.success(), "a message that a plugin rejects was still routed");
    let printed = text(&subscribing.await.expect("it does not panic").stdout);
    assert!(printed.contains("PLUGIN_REJECTED") && printed.contains("no JSON"), "{printed}");
    router.stop().await.expect("it drains");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_without_the_wanted_messages_is_a_failure() {
    let router = router().await;
    let command = connected(&router, &["sub", "out", "--count", "1", "--timeout", "50ms"]);
    let output = finish(command, "").await;
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("before 1 message came"), "{}", text(&output.stderr));
    let all_that_came = connected(&router, &["sub", "out", "--timeout", "50ms"]);
    assert!(finish(all_that_came, "").await.status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_use_and_wrong_configuration_have_exit_codes_of_their_own() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("waypost.toml");
    std::fs::write(&file, "[listen]\nadress = \"127.0.0.1:1\"\n[router]\nthreads = \"two\"\n")
        .expect("the folder takes a file");
    let path = file.to_str().expect("a plain path");
    let check = finish(waypost(&["config", "check", "--config", path]), "").await;
    assert_eq!(check.status.code(), Some(78), "{}", text(&check.stderr));
    let problems = text(&check.stderr);
    assert!(
        problems.contains("waypost.toml:2:") && problems.contains("waypost.toml:4:"),
        "{problems}"
    );
    assert!(problems.contains("address"), "the right name is suggested: {problems}");
    assert_eq!(finish(waypost(&["run", "--config", path]), "").await.status.code(), Some(78));
    for usage in [
        &["sub"][..],
        &["sub", "a..b"],
        &["pub", "a.*"],
        &["pub", "$sys.a"],
        &["pub", "a", "--key", "id"],
        &["pub", "a", "--header", "a b=c"],
        &["pub", "a", "--address", "nowhere"],
    ] {
        assert_eq!(finish(waypost(usage), "").await.status.code(), Some(2), "{usage:?}");
    }
    let nowhere = finish(waypost(&["pub", "in", "--ca", "/nowhere/ca.pem"]), "").await;
    assert_eq!(nowhere.status.code(), Some(1));
    assert_eq!(text(&nowhere.stderr).matches("/nowhere/ca.pem").count(), 1, "told once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_a_plugin_refuses_is_a_wrong_configuration_with_its_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("waypost.toml");
    let plugins = folder.path().join("plugins");
    std::fs::create_dir(&plugins).expect("the folder takes a folder");
    std::fs::copy(built_plugin("filter-json"), plugins.join("filter-json.wasm")).expect("a copy");
    std::fs::write(&file, CONFIG.replace("\"eq\"", "\"almost\"")).expect("the folder takes a file");
    let arguments = ["run", "--check", "--config", file.to_str().expect("a plain path")];
    let refused = finish(waypost(&arguments), "").await;
    let told = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(78), "{told}");
    assert!(told.contains("waypost.toml:10:") && told.contains("almost"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_router_on_a_state_folder_is_refused_and_the_first_goes_on() {
    let router = router().await;
    let ca = router.ca();
    let state = ca.ancestors().nth(2).expect("the authority lies in a folder of it");
    let state = format!("router.state_folder={}", state.display());
    let second = ["run", "--set", "listen.address=127.0.0.1:0", "--set", "admin.enabled=false"];
    let second = finish(waypost(&[&second[..], &["--set", &state]].concat()), "").await;
    assert_eq!(second.status.code(), Some(1));
    assert!(text(&second.stderr).contains("router.state_folder"), "{}", text(&second.stderr));
    let endpoints = ca.ancestors().nth(2).expect("as above").join("endpoints.json");
    assert!(endpoints.is_file(), "the first router is still found");
    router.client().await.expect("and answers");
    router.stop().await.expect("it drains");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_stands_still_does_not_keep_sub_from_ending() {
    let router = router().await;
    let mut sub = connected(&router, &["sub", "out", "--timeout", "3s", "--output", "raw"]);
    let mut sub = sub.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it starts");
    while router.metric("waypost_subscriptions").await.expect("it answers") < 1.0 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let client = router.client().await.expect("a connection");
    let publisher = client.publisher(PublisherOptions::default()).await.expect("a stream");
    // More than a pipe holds.
    let payload = format!("{{\"kind\":\"yes\",\"text\":\"{}\"}}", "x".repeat(1000));
    for _ in 0..2000 {
        let message = Message::new("in", payload.as_bytes());
        drop(publisher.publish(message).await.expect("it is taken"));
    }
    publisher.flush().await;
    let status = tokio::task::spawn_blocking(move || {
        let status = sub.wait().expect("it ends");
        // Kept until here: a closed pipe would end it too.
        drop(sub.stdout.take());
        status
    });
    let status = tokio::time::timeout(std::time::Duration::from_secs(30), status).await;
    assert!(status.expect("its time is over").expect("no panic").success());
    client.close().await;
    router.stop().await.expect("it drains");
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn sub_ends_at_once_when_its_output_fails() {
    let router = router().await;
    let full = std::fs::File::options().write(true).open("/dev/full").expect("it is there");
    let mut sub = connected(&router, &["sub", "out", "--output", "raw"]);
    let sub = sub.stdout(full).stderr(Stdio::piped()).spawn().expect("it starts");
    while router.metric("waypost_subscriptions").await.expect("it answers") < 1.0 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    // One message, and no other to wake it.
    let publish = finish(connected(&router, &["pub", "in"]), "{\"kind\":\"yes\"}\n").await;
    assert!(publish.status.success(), "{}", text(&publish.stderr));
    let ended = tokio::task::spawn_blocking(move || sub.wait_with_output().expect("it ends"));
    let ended = tokio::time::timeout(std::time::Duration::from_secs(30), ended).await;
    let output = ended.expect("it ends by itself").expect("no panic");
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    router.stop().await.expect("it drains");
}

#[tokio::test(flavor = "multi_thread")]
async fn pub_says_that_the_router_is_gone_and_gives_up() {
    let mut router = router().await;
    let mut publish = connected(&router, &["pub", "in", "--reconnects", "2"]);
    let mut publish =
        publish.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the command starts");
    let mut stdin = publish.stdin.take().expect("it was piped");
    stdin.write_all(b"{\"kind\":\"yes\"}\n").expect("it reads");
    while router.metric("waypost_publishes_total").await.expect("it answers") < 1.0 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    router.signal("KILL").expect("it runs");
    router.wait().await.expect("it ends");
    let ended = tokio::task::spawn_blocking(move || {
        // Standard input stays open: the command ends by itself.
        for _ in 0..100 {
            if stdin.write_all(b"{}\n").is_err() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(300));
        }
        publish.wait_with_output().expect("the command ends")
    });
    let output = ended.await.expect("no panic");
    let told = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(
        told.contains("the connection to the router ended") && told.contains("unknown"),
        "{told}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_effective_configuration_loads_as_the_same() {
    let shown = finish(waypost(&["config", "show", "--effective"]), "").await;
    assert!(shown.status.success(), "{}", text(&shown.stderr));
    let folder = tempfile::tempdir().expect("a folder");
    let file: PathBuf = folder.path().join("waypost.toml");
    std::fs::write(&file, &shown.stdout).expect("the folder takes a file");
    let check =
        finish(waypost(&["config", "check", "--config", file.to_str().expect("plain")]), "").await;
    assert!(check.status.success(), "{}", text(&check.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_router_has_its_series_and_logs_json_off_a_terminal() {
    let router = router().await;
    let metrics = router.admin("/metrics").await.expect("it answers");
    let names = metrics.lines().filter(|line| line.starts_with("# HELP waypost_")).count();
    assert!(names >= 15, "{names} series:\n{metrics}");
    let log = router.log();
    let first: serde_json::Value =
        serde_json::from_str(log.lines().next().expect("it said something")).expect("JSON lines");
    assert!(first.get("@timestamp").is_some() && first.get("log.level").is_some(), "{first}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_drains_what_was_taken_and_ends_well() {
    let mut router = router().await;
    let client = router.client().await.expect("a connection");
    let mut subscription = client
        .subscribe("out", waypost_client::SubscriberOptions::default())
        .await
        .expect("a pattern");
    let publisher = client.publisher(PublisherOptions::default()).await.expect("a stream");
    let mut receipts = Vec::new();
    for _ in 0..1000 {
        let message = Message::new("in", b"{\"kind\":\"yes\"}".to_vec());
        receipts.push(publisher.publish(message).await.expect("it is taken"));
    }
    publisher.flush().await;
    let mut committed = 0;
    for receipt in receipts {
        committed += usize::from(receipt.await.is_committed());
    }
    assert_eq!(committed, 1000);
    router.signal("TERM").expect("it runs");
    let mut arrived = 0;
    while arrived < committed {
        subscription.recv().await.expect("the stream goes on").expect("without an error");
        arrived += 1;
    }
    client.close().await;
    let status = router.wait().await.expect("it ends");
    assert!(status.success(), "{status}: {}", router.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_the_router_although_a_client_stays() {
    let mut router = router().await;
    let client = router.client().await.expect("a connection");
    // An open subscription that is never given back keeps the connection.
    let publisher = client.publisher(PublisherOptions::default()).await.expect("a stream");
    let flooding = tokio::spawn(async move {
        loop {
            let message = Message::new("nowhere", b"x".to_vec());
            if publisher.publish(message).await.is_err() {
                break;
            }
        }
    });
    router.signal("TERM").expect("it runs");
    while !router.log().contains("draining") {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    // It may have drained by itself by now, and then there is nobody left to signal.
    let _ = router.signal("TERM");
    router.wait().await.expect("it ends");
    flooding.abort();
}
