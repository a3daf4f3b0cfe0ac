//! What the command tells of streams, and of routes over them that are gone.
#![forbid(unsafe_code)]

use serde_json::{Value, json};
use waypost_tests::{Router, connected, finish, text};

const STREAMS: &str = "
    [storage]
    reserve_bytes = 0
    [[stream]]
    name = 'jobs'
    topics = ['jobs.>']
    fsync = 'none'
    [[stream]]
    name = 'kept'
    topics = ['copied', '$dead.>']
";

const ROUTE: &str = "
    [[route]]
    name = 'copy'
    from = 'jobs.>'
    to = 'copied'
";

async fn asked(router: &Router, arguments: &[&str]) -> Result<Value, String> {
    let arguments = [arguments, &["--output", "json"]].concat();
    let output = finish(connected(router, &arguments), "").await;
    match output.status.success() {
        true => Ok(serde_json::from_slice(&output.stdout).expect("an object")),
        false => Err(text(&output.stderr)),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_are_told_and_what_is_kept_of_a_route_that_is_gone_is_forgotten() {
    let mut router = Router::start(&format!("{STREAMS}{ROUTE}"), &[]).await.expect("it starts");
    let published =
        finish(connected(&router, &["pub", "jobs.a", "--ttl", "1h"]), "1\n2\n3\n").await;
    assert!(published.status.success(), "{}", text(&published.stderr));
    router.until("waypost_route_progress_offset", 3.0).await;

    let list = asked(&router, &["stream", "list"]).await.expect("it tells");
    let (jobs, storage) = (&list["streams"][0], &list["storage"]);
    assert_eq!((&jobs["name"], &jobs["fsync"]), (&json!("jobs"), &json!("none")));
    assert_eq!(list["streams"][1]["fsync"], json!("group"));
    assert!(storage["disk_bytes"].as_u64() > Some(0) && storage["free_bytes"].as_u64() > Some(0));
    assert_eq!(storage["reserve_bytes"], json!(0));
    let show = asked(&router, &["stream", "show", "jobs"]).await.expect("it tells");
    assert_eq!((&show["partitions"][0]["messages"], &show["name"]), (&json!(3), &json!("jobs")));
    let unknown = asked(&router, &["stream", "show", "nothing"]).await.expect_err("it is none");
    assert!(unknown.contains("there are jobs, kept"), "{unknown}");
    assert!(router.log().contains("is unsafe"), "the start names what is not synced");

    let partitions = json!([{ "stream": "jobs", "partition": 0, "progress": 3, "parked": 0 }]);
    let kept = |is_configured: bool| json!({ "route": "copy", "is_configured": is_configured, "partitions": partitions });
    let list = asked(&router, &["route", "list"]).await.expect("it tells");
    assert_eq!(list, json!({ "routes": [kept(true)] }));
    let refused = asked(&router, &["route", "forget", "copy"]).await.expect_err("it runs");
    assert!(refused.contains("take it out of the configuration"), "{refused}");

    router.configure(STREAMS).expect("it is written");
    router.restart().await.expect("it starts");
    let list = asked(&router, &["route", "list"]).await.expect("it tells");
    assert_eq!(list, json!({ "routes": [kept(false)] }));
    assert_eq!(asked(&router, &["route", "forget", "copy"]).await, Ok(kept(false)));
    let list = asked(&router, &["route", "list"]).await.expect("it tells");
    assert_eq!(list, json!({ "routes": [] }));
    let unknown = asked(&router, &["route", "forget", "copy"]).await.expect_err("it is gone");
    assert!(unknown.contains("nothing is kept of a route"), "{unknown}");
    router.stop().await.expect("it drains");
}
