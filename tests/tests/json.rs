//! What the command tells programs of what it did, apart from what plugins and messages are.
#![forbid(unsafe_code)]

use std::process::Output;

use serde_json::{Value, json};
use waypost_tests::{Router, connected, finish, text, waypost};

/// The objects on standard output, one a line.
fn objects(output: &Output) -> Vec<Value> {
    let printed = text(&output.stdout);
    printed.lines().map(|line| serde_json::from_str(line).expect("JSON lines")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn pub_tells_each_line_that_was_not_taken_and_then_the_sums() {
    let router = Router::start("[limits]\nmax_message_bytes = 1024\n", &[]).await;
    let router = router.expect("the router starts");
    let publish = connected(&router, &["pub", "in", "--key", "/id", "--output", "json"]);
    // The second is too large for this router, and the last one for any.
    let lines = format!("{{\"id\":1}}\n{}\nc\n{}\n", "b".repeat(2000), "d".repeat(3 << 20));
    let published = finish(publish, lines.leak()).await;
    assert_eq!(published.status.code(), Some(1), "{}", text(&published.stderr));
    let told = objects(&published);
    let [second, last, summary] = told.as_slice() else {
        panic!("two lines are refused: {told:?}");
    };
    let lines = [second, last].map(|told| [&told["line"], &told["outcome"]]);
    assert_eq!(json!(lines), json!([[2, "rejected"], [4, "rejected"]]), "{told:?}");
    assert!(second["error"].as_str().is_some_and(|error| error.contains("1024")), "{second}");
    let expected = json!({
        "committed": 2, "unrouted": 2, "rejected": 2, "unknown": 0, "keyless": 2,
    });
    assert_eq!(summary["summary"], expected);
    assert!(text(&published.stderr).is_empty(), "it is told once");
    router.stop().await.expect("it drains");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_is_told_to_be_good_or_what_is_wrong_with_it_and_where() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("waypost.toml");
    let path = file.to_str().expect("a plain path");
    let write = |text: &str| std::fs::write(&file, text).expect("the folder takes a file");
    let check = || finish(waypost(&["config", "check", "--config", path, "--output", "json"]), "");

    write("[[route]]\nname = 'a'\nfrom = 'a'\nto = 'b'\n[plugins.override.no]\ndeadline_ms = 9\n");
    let good = check().await;
    let told = objects(&good);
    assert_eq!(good.status.code(), Some(0), "{told:?}");
    let [told] = told.as_slice() else { panic!("one object: {told:?}") };
    let counts = ["good", "routes", "stages"].map(|key| &told[key]);
    assert_eq!(json!(counts), json!([true, 1, 0]));
    assert_eq!(told["problems"][0]["severity"], "warning", "no stage uses the plugin");

    write("[listen]\nadress = '127.0.0.1:1'\n");
    let wrong = check().await;
    let told = objects(&wrong);
    assert_eq!(wrong.status.code(), Some(78), "{told:?}");
    let [told] = told.as_slice() else { panic!("one object: {told:?}") };
    let problem = &told["problems"][0];
    assert_eq!((&told["good"], &problem["severity"]), (&json!(false), &json!("error")));
    assert_eq!(problem["place"], json!({ "file": path, "line": 2, "column": 1 }));
    assert!(problem["hint"].as_str().is_some_and(|hint| hint.contains("address")), "{problem}");
    assert!(text(&wrong.stderr).is_empty(), "it is told once");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_value_of_a_configuration_is_told_with_where_it_came_from() {
    let mut show = waypost(&["config", "show", "--output", "json", "--set", "router.threads=2"]);
    show.env("WAYPOST__LISTEN__ADDRESS", "127.0.0.1:1");
    let shown = finish(show, "").await;
    assert!(shown.status.success(), "{}", text(&shown.stderr));
    let expected = [
        json!({ "key": "router.threads", "value": 2, "place": { "flag": "router.threads" } }),
        json!({
            "key": "listen.address",
            "value": "127.0.0.1:1",
            "place": { "variable": "WAYPOST__LISTEN__ADDRESS" },
        }),
    ];
    assert_eq!(objects(&shown), expected);
}
