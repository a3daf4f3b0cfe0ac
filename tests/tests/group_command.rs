//! What the command does with groups: being a member, and seeing, moving and deleting them.
#![forbid(unsafe_code)]

use serde_json::{Value, json};
use waypost_tests::{Router, connected, finish, text};

const CONFIG: &str = "
    [storage]
    reserve_bytes = 0
    [[stream]]
    name = 'jobs'
    topics = ['jobs.>']
";

/// Runs it to its end, which is to be a good one, and gives standard output.
async fn run(router: &Router, arguments: &[&str], input: &'static str) -> String {
    let output = finish(connected(router, arguments), input).await;
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// The payloads that a member takes, as many as are asked for.
async fn take(router: &Router, count: &str) -> Vec<String> {
    let arguments = [
        "sub",
        "jobs.>",
        "--group",
        "workers",
        "--count",
        count,
        "--timeout",
        "60s",
        "--output",
        "raw",
    ];
    run(router, &arguments, "").await.lines().map(str::to_owned).collect()
}

async fn asked(router: &Router, arguments: &[&str]) -> Value {
    let arguments = [&["group"], arguments, &["--output", "json"]].concat();
    serde_json::from_str(&run(router, &arguments, "").await).expect("an object")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_acknowledges_what_it_printed_and_the_next_one_goes_on() {
    let router = Router::start(CONFIG, &[]).await.expect("the router starts");
    run(&router, &["pub", "jobs.mail"], "a\nb\nc\nd\n").await;
    assert_eq!(take(&router, "2").await, ["a", "b"]);
    assert_eq!(take(&router, "1").await, ["c"]);

    let list = asked(&router, &["list"]).await;
    let [group] = list["groups"].as_array().expect("a list").as_slice() else {
        panic!("one group: {list}");
    };
    assert_eq!((&group["name"], &group["pattern"]), (&json!("workers"), &json!("jobs.>")));
    assert_eq!((&group["lag"], &group["partitions"][0]["offset"]), (&json!(1), &json!(3)));
    assert_eq!(asked(&router, &["show", "workers"]).await["is_durable"], json!(true));

    let moved = asked(&router, &["reset", "workers", "--to", "1"]).await;
    assert_eq!(moved, json!({ "group": "workers" }));
    assert_eq!(take(&router, "3").await, ["b", "c", "d"]);
    asked(&router, &["reset", "workers", "--to", "beginning"]).await;
    assert_eq!(take(&router, "1").await, ["a"]);

    let beyond = finish(connected(&router, &["group", "reset", "workers", "--to", "9"]), "").await;
    let told = text(&beyond.stderr);
    assert!(beyond.status.code() == Some(1) && told.contains("holds offsets from 0"), "{told}");
    asked(&router, &["delete", "workers"]).await;
    let unknown = finish(connected(&router, &["group", "show", "workers"]), "").await;
    let told = text(&unknown.stderr);
    assert!(unknown.status.code() == Some(1) && told.contains("there is no group"), "{told}");
    assert_eq!(asked(&router, &["list"]).await, json!({ "groups": [] }));
    router.stop().await.expect("it drains");
}

#[tokio::test(flavor = "multi_thread")]
async fn lag_is_told_as_a_metric_while_nobody_is_in_the_group() {
    let router = Router::start(CONFIG, &[]).await.expect("the router starts");
    run(&router, &["pub", "jobs.mail"], "a\n").await;
    assert_eq!(take(&router, "1").await, ["a"]);
    run(&router, &["pub", "jobs.mail"], "b\nc\n").await;
    router.until("waypost_group_lag_messages", 2.0).await;
    let delivered = router.metric("waypost_group_delivered_messages_total").await;
    assert!(delivered.expect("the router tells it") >= 1.0);
    assert_eq!(router.metric("waypost_group_members").await.expect("the router tells it"), 0.0);
    router.stop().await.expect("it drains");
}
