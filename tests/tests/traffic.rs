//! What operators see of a running router's traffic, over its admin interface and with the command.
#![forbid(unsafe_code)]

use serde_json::Value;
use waypost_client::{Message, Outcome, PublisherOptions, SubscriberOptions};
use waypost_tests::{Router, built_guest, connected, finish, text};

const CONFIG: &str = r#"
[[route]]
name = "load"
from = "load.in.*"
to = "load.out"

[[route.stage]]
name = "keep"
plugin = "byte-filter"
"#;

async fn told(router: &Router, path: &str) -> Value {
    let body = router.admin(path).await.expect("it answers");
    serde_json::from_str(&body).expect("JSON")
}

/// What `waypost explain` prints for a topic of this router, and how it ended.
async fn explained(router: &Router, topic: &str) -> (String, Option<i32>) {
    let command = connected(router, &["explain", topic, "--output", "pretty"]);
    let output = finish(command, "").await;
    (text(&output.stdout) + &text(&output.stderr), output.status.code())
}

#[tokio::test]
async fn routes_topics_and_connections_show_what_passes_and_who_listens() {
    let router = Router::start(CONFIG, &[("byte-filter", built_guest("byte-filter"))])
        .await
        .expect("the router starts");
    let client = router.client().await.expect("a connection");
    let options = SubscriberOptions::default();
    let mut subscription = client.subscribe("load.*", options).await.expect("it subscribes");
    let publisher = client.publisher(PublisherOptions::default()).await.expect("a stream");
    for payload in ["\0drop", "keep"] {
        let receipt = publisher.publish(Message::new("load.in.a", payload.as_bytes())).await;
        let receipt = receipt.expect("it is taken");
        assert!(matches!(receipt.await, Outcome::Committed { .. }));
    }
    let delivered = subscription.recv().await.expect("one is kept").expect("it is a message");
    assert_eq!(delivered.topic(), "load.out");

    let routes = told(&router, "/api/v1/routes").await;
    let route = &routes["routes"][0];
    assert_eq!((&route["messages"], &route["outputs"]), (&2.into(), &1.into()), "{route}");
    assert_eq!(
        route["stages"][0]["digest"],
        router.digest_of("byte-filter").await.expect("it runs")
    );
    assert_eq!((&route["held_bytes"], &route["dead_letters"]), (&0.into(), &serde_json::json!({})));

    let topics = told(&router, "/api/v1/topics").await;
    let patterns: Vec<_> = topics["topics"].as_array().into_iter().flatten().collect();
    assert_eq!(
        patterns.iter().map(|topic| &topic["pattern"]).collect::<Vec<_>>(),
        ["load.*", "load.in.*", "load.out"]
    );
    assert_eq!(
        (&patterns[0]["subscriptions"], &patterns[1]["taken_by"][0]),
        (&1.into(), &"load".into())
    );

    let connections = told(&router, "/api/v1/connections").await;
    let connection = &connections["connections"][0];
    assert_eq!(connection["subscriptions"][0]["pattern"], "load.*");
    assert_eq!(connection["streams"], 2, "{connection}");

    let (explanation, code) = explained(&router, "load.in.a").await;
    assert_eq!(code, Some(0), "{explanation}");
    for part in [
        "route load, which takes load.in.*",
        "stage keep: byte-filter",
        "load.out, from load",
        "subscription",
    ] {
        assert!(explanation.contains(part), "{explanation} lacks {part}");
    }
    let (explanation, code) = explained(&router, "other").await;
    assert!(code == Some(0) && explanation.contains("nothing takes it"), "{explanation}");
    let (complaint, code) = explained(&router, "load.*").await;
    assert!(code == Some(2) && complaint.contains("topic"), "{complaint}");

    publisher.close().await;
    drop(subscription);
    client.close().await;
    // The router learns of it when the farewell has reached it.
    let gone = async {
        while told(&router, "/api/v1/connections").await["connections"] != serde_json::json!([]) {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), gone).await.expect("it is gone");
    router.stop().await.expect("it stops");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_behind_a_route_and_a_group_on_it_are_explained() {
    let stream = "[storage]\nreserve_bytes = 0\n[[stream]]\nname = 'kept'\ntopics = ['load.out']\n";
    let router =
        Router::start(&format!("{stream}{CONFIG}"), &[("byte-filter", built_guest("byte-filter"))])
            .await
            .expect("the router starts");
    let publish = finish(connected(&router, &["pub", "load.in.a"]), "keep").await;
    assert!(publish.status.success(), "{}", text(&publish.stderr));
    let take = ["sub", "load.out", "--group", "workers", "--count", "1", "--timeout", "60s"];
    let taken = finish(connected(&router, &take), "").await;
    assert!(taken.status.success(), "{}", text(&taken.stderr));

    let (explanation, code) = explained(&router, "load.in.a").await;
    assert_eq!(code, Some(0), "{explanation}");
    for part in [
        "load.out, from load\n  stream kept, which keeps it: 1 partition, 1 message\n",
        "  group workers, which takes load.out: ",
    ] {
        assert!(explanation.contains(part), "{explanation} lacks {part}");
    }
    assert!(!explanation.contains("nothing takes it"), "{explanation}");
    let explanation = told(&router, "/api/v1/topics/load.in.a").await;
    for (place, name) in [("streams", "kept"), ("groups", "workers")] {
        let [only] = explanation[place].as_array().expect("a list").as_slice() else {
            panic!("one of {place}: {explanation}");
        };
        assert_eq!((&only["topic"], &only["name"]), (&"load.out".into(), &name.into()));
    }
    router.stop().await.expect("it stops");
}

#[tokio::test]
async fn who_taps_sees_each_stages_verdict_and_what_left() {
    let router = Router::start(CONFIG, &[("byte-filter", built_guest("byte-filter"))])
        .await
        .expect("the router starts");
    let tap = |arguments: &[&str]| {
        let mut command = connected(&router, &["tap", "load.>", "--output", "json"]);
        command.args(arguments);
        command
    };
    let refused = finish(tap(&["--route", "nowhere"]), "").await;
    let complaint = text(&refused.stderr);
    assert!(complaint.contains("there is no route nowhere"), "{complaint}");
    assert_eq!(refused.status.code(), Some(1));

    let client = router.client().await.expect("a connection");
    let publisher = client.publisher(PublisherOptions::default()).await.expect("a stream");
    let watching = tokio::spawn(finish(tap(&["--count", "10"]), ""));
    // Whoever watches sees what passes from then on, so it passes again and again.
    while !watching.is_finished() {
        for payload in ["\0drop", "keep"] {
            let receipt = publisher.publish(Message::new("load.in.a", payload.as_bytes())).await;
            let receipt = receipt.expect("it is taken");
            assert!(matches!(receipt.await, Outcome::Committed { .. }));
        }
    }
    let watched = watching.await.expect("it does not panic");
    assert!(watched.status.success(), "{}", text(&watched.stderr));
    let lines = text(&watched.stdout);
    let seen: Vec<Value> =
        lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(seen.len(), 10, "{lines}");
    let became = |payload: &str, event: &str| {
        let own = |sight: &&Value| sight["payload"] == payload && sight["event"] == event;
        seen.iter().find(own).unwrap_or_else(|| panic!("{payload} is not {event} in {lines}"))
    };
    assert_eq!(became("keep", "published")["routes"][0], "load");
    assert_eq!(became("keep", "verdict")["verdict"], "forward");
    assert_eq!(became("\0drop", "verdict")["verdict"], "drop");
    assert_eq!(became("keep", "left")["topic"], "load.out");

    publisher.close().await;
    client.close().await;
    router.stop().await.expect("it stops");
}
