//! The configuration of a running router is reloaded.
#![forbid(unsafe_code)]

use waypost_client::{Message, Outcome, Publisher, PublisherOptions};
use waypost_tests::Router;

const RESTART_KEYS: &str = "waypost_configuration_restart_keys";
const IS_SOUND: &str = "waypost_configuration_last_reload_successful";

/// Waits until so many reloads had this outcome.
async fn until(router: &Router, outcome: &str, count: f64) {
    let series = format!("waypost_configuration_reloads_total{{outcome=\"{outcome}\"}}");
    router.until(&series, count).await;
}

async fn publishes(publisher: &Publisher) {
    let message = Message::new("topic", b"x".as_slice());
    let receipt = publisher.publish(message).await.expect("it is taken");
    assert!(matches!(receipt.await, Outcome::Committed { .. }));
}

fn said(router: &Router, text: &str) -> usize {
    router.log().matches(text).count()
}

#[tokio::test]
async fn what_may_change_holds_at_once_and_what_waits_for_a_restart_is_named() {
    let router = Router::start("listen.max_connections = 1", &[]).await.expect("it starts");
    let client = router.client().await.expect("the first is taken");
    let publisher = client.publisher(PublisherOptions::default()).await.expect("a stream");
    publishes(&publisher).await;
    router.client().await.expect_err("there is room for one");

    // The environment stands over the file in both addresses, as it did at the start.
    router
        .configure("[listen]\nmax_connections = 2\naddress = '127.0.0.1:1'\n[router]\nthreads = 2")
        .expect("it is written");
    until(&router, "applied", 1.0).await;
    let second = router.client().await.expect("there is room for two");
    assert_eq!(router.metric(RESTART_KEYS).await.expect("a series"), 1.0);
    assert_eq!(said(&router, "router.threads"), 1, "{}", router.log());
    assert_eq!(said(&router, "listen.address"), 0, "{}", router.log());
    publishes(&publisher).await;
    second.close().await;

    router.configure("[listen]\nmax_connections = 3").expect("it is written");
    until(&router, "applied", 2.0).await;
    assert_eq!(router.metric(RESTART_KEYS).await.expect("a series"), 0.0);
    client.close().await;
    router.stop().await.expect("it drains");
}

#[tokio::test]
async fn a_wrong_file_changes_nothing_and_says_everything_that_is_wrong() {
    let sound = "[listen]\nmax_connections = 1\n";
    let router = Router::start(sound, &[]).await.expect("it starts");
    let client = router.client().await.expect("the first is taken");
    let publisher = client.publisher(PublisherOptions::default()).await.expect("a stream");
    router
        .configure("[listen]\nmax_connections = 2\nadress = 'x'\n[router]\nthreads = 0\n")
        .expect("it is written");
    until(&router, "refused", 1.0).await;
    assert_eq!(router.metric(IS_SOUND).await.expect("a series"), 0.0);
    for problem in ["did you mean address", "write a whole number from 1 to 1024"] {
        assert_eq!(said(&router, problem), 1, "{problem}:\n{}", router.log());
    }
    router.client().await.expect_err("there is still room for one");
    publishes(&publisher).await;

    // Whoever asks is told again.
    router.signal("HUP").expect("it runs");
    until(&router, "refused", 2.0).await;
    assert_eq!(said(&router, "did you mean address"), 2, "{}", router.log());

    router
        .configure("[listen]\ncertificate = 'none.pem'\nkey = 'none.pem'\nmax_connections = 2")
        .expect("it is written");
    until(&router, "refused", 3.0).await;
    router.client().await.expect_err("all of it was refused for its certificate");

    router.configure(sound).expect("it is written");
    until(&router, "applied", 1.0).await;
    assert_eq!(router.metric(IS_SOUND).await.expect("a series"), 1.0);
    router.signal("HUP").expect("it runs");
    until(&router, "applied", 2.0).await;
    publishes(&publisher).await;
    client.close().await;
    router.stop().await.expect("it drains");
}

#[tokio::test]
async fn a_stream_that_waits_for_a_restart_to_go_is_not_told_to_drop() {
    let orders = "[[stream]]\nname = 'orders'\ntopics = ['orders.>']\n";
    let router = Router::start(orders, &[]).await.expect("it starts");
    let rule = "[[topic]]\npattern = 'orders.>'\non_full = 'drop-newest'\n";
    router.configure(rule).expect("it is written");
    until(&router, "refused", 1.0).await;
    let problem = "topics that the stream orders keeps until the router is started anew";
    assert_eq!(said(&router, problem), 1, "{}", router.log());

    router.configure("").expect("it is written");
    until(&router, "applied", 1.0).await;
    assert!(router.metric(RESTART_KEYS).await.expect("a series") > 0.0);
    router.configure(rule).expect("it is written");
    until(&router, "refused", 2.0).await;
    router.stop().await.expect("it drains");
}
