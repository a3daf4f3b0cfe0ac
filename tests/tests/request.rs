//! Requests and replies through a router that is a process of its own.
#![forbid(unsafe_code)]

use std::time::Duration;

use tokio::task::JoinSet;
use waypost_client::{
    Client, ErrorCode, Message, Outcome, PublisherOptions, RequestError, SubscribeError,
    SubscriberOptions,
};
use waypost_tests::{Router, built_plugin};

/// A time that no test waits for.
const LONG: Duration = Duration::from_secs(60);
const DEAD_INBOX: &str = "$inbox.9999-000000000000000000000000000000ff";

async fn router() -> Router {
    Router::start("", &[]).await.expect("the router starts")
}

async fn connected(router: &Router) -> Client {
    router.client().await.expect("a connection")
}

async fn until(router: &Router, series: &str, value: f64) {
    loop {
        let now = router.metric(series).await.expect("it answers");
        if (now - value).abs() < 0.5 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Replies to what a pattern brings with the payload and this suffix; subscribed when this returns.
async fn respond(router: &Router, pattern: &str, suffix: &'static str) -> JoinSet<()> {
    let client = connected(router).await;
    let mut requests =
        client.subscribe(pattern, SubscriberOptions::default()).await.expect("a subscription");
    let publisher = client.publisher(PublisherOptions::default()).await.expect("a stream");
    let mut task = JoinSet::new();
    task.spawn(async move {
        while let Some(request) = requests.recv().await {
            let request = request.expect("the subscription goes on");
            assert!(request.time_left().is_some(), "a request has its deadline");
            let payload = [request.payload(), suffix.as_bytes()].concat();
            drop(publisher.reply(&request, payload).await.expect("it is taken"));
        }
    });
    task
}

async fn ask(client: &Client, topic: &str, payload: &str) -> Result<String, RequestError> {
    let message = Message::new(topic, payload.as_bytes());
    let reply = client.request(message, LONG).await?;
    Ok(String::from_utf8_lossy(reply.payload()).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_requesters_and_two_responders_have_the_right_reply_to_each() {
    let router = router().await;
    let _one = respond(&router, "one.get", " from one").await;
    let _two = respond(&router, "two.get", " from two").await;
    let mut requesters = JoinSet::new();
    for requester in 0..10 {
        let client = connected(&router).await;
        requesters.spawn(async move {
            let asking = (0..100).map(|number| {
                let client = client.clone();
                async move {
                    let responder = ["one", "two"][number % 2];
                    let payload = format!("{requester}.{number}");
                    let reply = ask(&client, &format!("{responder}.get"), &payload).await;
                    assert_eq!(reply.expect("a reply"), format!("{payload} from {responder}"));
                }
            });
            let mut asking: JoinSet<()> = asking.collect();
            while let Some(asked) = asking.join_next().await {
                asked.expect("no panic");
            }
            assert_eq!(client.late_replies(), 0);
            client.close().await;
        });
    }
    while let Some(requester) = requesters.join_next().await {
        requester.expect("no panic");
    }
    // The inboxes have gone, the responders stay.
    until(&router, "waypost_subscriptions", 2.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_nobody_takes_is_told_so_at_once() {
    let router = router().await;
    let client = connected(&router).await;
    let error = ask(&client, "nobody.there", "?").await.expect_err("nobody answers");
    assert!(matches!(error, RequestError::NoResponder { .. }), "{error}");
    let counted = router.metric("waypost_requests_no_responder_total").await;
    assert!((counted.expect("it answers") - 1.0).abs() < 0.5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_taken_and_not_answered_ends_at_its_deadline() {
    let router = router().await;
    let client = connected(&router).await;
    let mut silent =
        client.subscribe("silent", SubscriberOptions::default()).await.expect("a subscription");
    let asked = client.request(Message::new("silent", b"?"), Duration::from_secs(1)).await;
    let error = asked.expect_err("nobody replies");
    assert!(matches!(error, RequestError::DeadlineExceeded { .. }), "{error}");
    let request = silent.recv().await.expect("it goes on").expect("without an error");
    assert_eq!(request.time_left(), Some(Duration::ZERO));
    // Late, but the inbox is still there: it is the client that drops it.
    let publisher = client.publisher(PublisherOptions::default()).await.expect("a stream");
    let receipt = publisher.reply(&request, b"late").await.expect("it is taken");
    assert!(matches!(receipt.await, Outcome::Committed { unrouted: false, .. }));
    while client.late_replies() == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_to_a_dead_inbox_has_no_responder() {
    let router = router().await;
    let client = connected(&router).await;
    let publisher = client.publisher(PublisherOptions::default()).await.expect("a stream");
    let receipt = publisher.publish(Message::new(DEAD_INBOX, b"?")).await.expect("it is taken");
    let Outcome::Rejected { code, .. } = receipt.await else {
        panic!("nobody listens there");
    };
    assert_eq!(code, ErrorCode::NoResponder);
    let counted = router.metric("waypost_replies_no_responder_total").await;
    assert!((counted.expect("it answers") - 1.0).abs() < 0.5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_dies_with_requests_open_leaves_nothing_behind() {
    let router = router().await;
    let responder = connected(&router).await;
    let mut requests = responder
        .subscribe("slow.get", SubscriberOptions::default())
        .await
        .expect("a subscription");
    let requester = connected(&router).await;
    let mut asking: JoinSet<_> = (0..20)
        .map(|_| {
            let requester = requester.clone();
            async move { ask(&requester, "slow.get", "?").await }
        })
        .collect();
    let mut taken = Vec::new();
    while taken.len() < 20 {
        taken.push(requests.recv().await.expect("it goes on").expect("without an error"));
    }
    until(&router, "waypost_subscriptions", 2.0).await;
    drop(requester);
    asking.abort_all();
    while asking.join_next().await.is_some() {}
    until(&router, "waypost_subscriptions", 1.0).await;
    until(&router, "waypost_connections", 1.0).await;

    let publisher = responder.publisher(PublisherOptions::default()).await.expect("a stream");
    for request in &taken {
        let receipt = publisher.reply(request, b"too late").await.expect("it is taken");
        publisher.flush().await;
        assert!(matches!(
            receipt.await,
            Outcome::Rejected { code, .. } if code == ErrorCode::NoResponder
        ));
    }
    drop((requests, publisher, responder));
    until(&router, "waypost_subscriptions", 0.0).await;
    router.stop().await.expect("it drains");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_else_subscribes_to_an_inbox() {
    let router = router().await;
    let responder = connected(&router).await;
    let mut requests = responder
        .subscribe("secret.get", SubscriberOptions::default())
        .await
        .expect("a subscription");
    let mut everything =
        responder.subscribe(">", SubscriberOptions::default()).await.expect("a subscription");
    let publisher = responder.publisher(PublisherOptions::default()).await.expect("a stream");
    let spying = async {
        let request = requests.recv().await.expect("it goes on").expect("without an error");
        let inbox = request.reply_to().expect("it is a request");
        for pattern in [inbox, "$inbox.>", "$inbox.*"] {
            let spied = responder.subscribe(pattern, SubscriberOptions::default()).await;
            let error = spied.expect_err("it is another's");
            assert!(
                matches!(error, SubscribeError::Rejected { code, .. } if code == ErrorCode::Forbidden),
                "{error}"
            );
        }
        drop(publisher.reply(&request, b"for you alone").await.expect("it is taken"));
    };
    let requester = connected(&router).await;
    let (reply, ()) = tokio::join!(ask(&requester, "secret.get", "?"), spying);
    assert_eq!(reply.expect("a reply"), "for you alone");
    let last = Message::new("last", b"");
    drop(publisher.publish(last).await.expect("it is taken"));
    for expected in ["secret.get", "last"] {
        let seen = everything.recv().await.expect("it goes on").expect("without an error");
        assert_eq!(seen.topic(), expected, "no wildcard sees a reply");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_through_a_route_is_answered_behind_it() {
    const CONFIG: &str = r#"
[[route]]
name = "orders"
from = "orders.get"
to = "orders.checked"

[[route.stage]]
name = "open"
plugin = "filter-json"
config = { pointer = "/open", op = "eq", value = true }
"#;
    let router = Router::start(CONFIG, &[("filter-json", built_plugin("filter-json"))])
        .await
        .expect("the router starts");
    let _responder = respond(&router, "orders.checked", " is open").await;
    let client = connected(&router).await;
    let reply = ask(&client, "orders.get", "{\"open\":true}").await.expect("a reply");
    assert_eq!(reply, "{\"open\":true} is open");
    // What the stage drops is taken and never answered.
    let message = Message::new("orders.get", b"{\"open\":false}");
    let error = client.request(message, Duration::from_secs(1)).await.expect_err("it is dropped");
    assert!(matches!(error, RequestError::DeadlineExceeded { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_over_a_router_that_dies_is_unknown_and_the_next_one_is_answered() {
    let mut router = router().await;
    let client = connected(&router).await;
    let mut requests =
        client.subscribe("a.get", SubscriberOptions::default()).await.expect("a subscription");
    let asking = tokio::spawn({
        let client = client.clone();
        async move { ask(&client, "a.get", "?").await }
    });
    requests.recv().await.expect("it goes on").expect("without an error");
    router.restart().await.expect("it starts again");
    let error = asking.await.expect("no panic").expect_err("the connection is lost");
    assert!(matches!(error, RequestError::Unknown { .. }), "{error}");
    drop(requests);
    let _responder = respond(&router, "a.get", "!").await;
    assert_eq!(ask(&client, "a.get", "now").await.expect("a reply"), "now!");
}
