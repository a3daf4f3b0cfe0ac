//! Dead letters: seen, replayed and purged by the command, also while the router is killed at random moments. Each
//! letter's message is in the route's stream exactly once then. What is checked is only what the command and clients
//! saw. `WAYPOST_KILLS` says how often the router is killed.
#![forbid(unsafe_code)]

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde_json::{Value, json};
use waypost_client::{From, Message, Outcome, PublisherOptions, SubscriberOptions};
use waypost_tests::{Router, built_guest, connected, finish, text};

/// Far more than any step of this takes; a test that meets it has failed.
const PATIENCE: Duration = Duration::from_secs(120);

/// A route over streams and one over memory topics; their plugin rejects what ends so.
fn config(reject: &str) -> String {
    let stage =
        format!("plugin = 'wavering'\n config = {{ retry = 'z', times = 1, reject = '{reject}' }}");
    format!(
        "
        [storage]
        reserve_bytes = 0
        [[stream]]
        name = 'orders'
        topics = ['orders.>']
        partitions = 4
        [[stream]]
        name = 'kept'
        topics = ['kept.>']
        partitions = 3
        [[stream]]
        name = 'dead'
        topics = ['$dead.waver', '$dead.memory']
        partitions = 2
        [[route]]
        name = 'waver'
        from = 'orders.>'
        to = 'kept.orders'
        [[route.stage]]
        name = 'judge'
        {stage}
        [[route]]
        name = 'memory'
        from = 'quick.>'
        to = 'kept.quick'
        [[route.stage]]
        name = 'judge'
        {stage}
        [[route]]
        name = 'forgetful'
        from = 'lost.>'
        to = 'gone'
        [[route.stage]]
        name = 'judge'
        {stage}
        "
    )
}

async fn start(reject: &str) -> Router {
    let plugins = [("wavering", built_guest("wavering"))];
    Router::start(&config(reject), &plugins).await.expect("the router starts")
}

/// Lets the plugins accept what they rejected.
async fn mend(router: &Router) {
    let applied = "waypost_configuration_reloads_total{outcome=\"applied\"}";
    let before = router.metric(applied).await.expect("it is told");
    router.configure(&config("nothing")).expect("it is written");
    router.until(applied, before + 1.0).await;
}

/// Publishes numbers under a few keys.
async fn publish(router: &Router, topic: &str, numbers: impl Iterator<Item = u64>) {
    let client = router.client().await.expect("a connection");
    let publisher = client.publisher(PublisherOptions::default()).await.expect("a stream");
    let mut receipts = Vec::new();
    for number in numbers {
        let message = Message::new(topic, number.to_string().into_bytes())
            .key((number % 5).to_be_bytes().to_vec())
            .header("trace", b"\xff")
            .expect("a header");
        receipts.push(publisher.publish(message).await.expect("it is taken"));
    }
    for receipt in receipts {
        let outcome = receipt.await;
        assert!(matches!(outcome, Outcome::Committed { .. }), "{outcome:?}");
    }
    publisher.close().await;
    client.close().await;
}

/// How often a stream holds each number, once all of these are there and nothing more comes.
async fn held(router: &Router, topic: &str, expected: &BTreeSet<u64>) -> BTreeMap<u64, u32> {
    let client = router.client().await.expect("a connection");
    let options = SubscriberOptions { from: Some(From::Beginning), ..SubscriberOptions::default() };
    let mut reader = client.subscribe(topic, options).await.expect("a stream keeps it");
    let (mut found, mut missing, mut wait) = (BTreeMap::new(), expected.clone(), PATIENCE);
    while let Ok(message) = tokio::time::timeout(wait, reader.recv()).await {
        let message = message.expect("it goes on").expect("without an error");
        let number = std::str::from_utf8(message.payload()).expect("digits");
        let number = number.parse().expect("a number");
        missing.remove(&number);
        *found.entry(number).or_default() += 1;
        if missing.is_empty() {
            // What is there twice comes by now: no route is behind.
            wait = Duration::from_millis(500);
        }
    }
    client.close().await;
    assert!(missing.is_empty(), "missing on {topic}: {missing:?}");
    found
}

async fn until_through(router: &Router) {
    let through = async {
        loop {
            let lag = router.metric("waypost_route_lag_messages").await.expect("it is told");
            let parked = router.metric("waypost_route_partition_parked_messages").await;
            if lag + parked.expect("it is told") < 0.5 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let through = tokio::time::timeout(PATIENCE, through).await;
    through.unwrap_or_else(|_| panic!("the routes do not catch up:\n{}", router.log()));
}

/// What the command says, and whether it ended well.
async fn dlq(router: &Router, arguments: &[&str]) -> (bool, String, String) {
    let output = finish(connected(router, &[&["dlq"], arguments].concat()), "").await;
    (output.status.success(), text(&output.stdout), text(&output.stderr))
}

async fn listed(router: &Router, arguments: &[&str]) -> Vec<Value> {
    let (is_good, out, error) =
        dlq(router, &[&["list", "--output", "json"], arguments].concat()).await;
    assert!(is_good, "{error}");
    out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// Waits until a route has given up on so many messages.
async fn until_dead(router: &Router, route: &str, count: usize) -> Vec<Value> {
    let dead = async {
        loop {
            let letters = listed(router, &["--route", route, "--limit", "100000"]).await;
            if letters.len() >= count {
                return letters;
            }
        }
    };
    tokio::time::timeout(PATIENCE, dead).await.expect("the route gives up on them")
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_are_listed_shown_and_purged_and_what_is_asked_wrongly_is_said() {
    let router = start("7").await;
    publish(&router, "orders.eu", 0..40).await;
    publish(&router, "lost.x", [7].into_iter()).await;
    let letters = until_dead(&router, "waver", 4).await;
    let numbers: BTreeSet<&str> =
        letters.iter().map(|it| it["address"].as_str().expect("one")).collect();
    assert_eq!((letters.len(), numbers.len()), (4, 4));
    for letter in &letters {
        assert_eq!(letter["reason"], json!("PLUGIN_REJECTED"));
        assert_eq!((&letter["stage"], &letter["topic"]), (&json!("judge"), &json!("orders.eu")));
    }
    // Pages of one letter each are the same letters.
    assert_eq!(listed(&router, &["--limit", "2"]).await, letters[..2]);
    assert_eq!(listed(&router, &["--route", "memory"]).await, [json!(null); 0]);
    assert_eq!(listed(&router, &["--reason", "PLUGIN_TRAP"]).await, [json!(null); 0]);
    assert_eq!(listed(&router, &["--until", "1h"]).await, [json!(null); 0]);
    assert_eq!(listed(&router, &["--since", "1h"]).await.len(), 4);
    let (_, out, told) = dlq(&router, &["list", "--output", "pretty"]).await;
    assert!(out.contains("route waver/judge  PLUGIN_REJECTED after 1 attempt  orders.eu"), "{out}");
    assert!(
        told.contains("of forgetful are not kept") && told.contains("[\"$dead.forgetful\"]"),
        "{told}"
    );
    let (_, out, _) = dlq(&router, &["list", "--summary", "--output", "pretty"]).await;
    assert!(out.contains("route waver  PLUGIN_REJECTED  4 letters"), "{out}");

    let first = letters[0]["address"].as_str().expect("an address");
    let (_, out, _) = dlq(&router, &["show", first, "--output", "json"]).await;
    let shown: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(shown["headers"], json!([{ "name": "trace", "value_hex": "ff" }]));
    assert_eq!(
        (&shown["plugin"], &shown["error"]),
        (&json!("wavering"), &json!("it is one that I do not like"))
    );
    let (_, raw, _) = dlq(&router, &["show", first, "--output", "raw"]).await;
    assert_eq!(Some(raw.as_str()), shown["payload"].as_str());
    let (_, out, _) = dlq(&router, &["show", first]).await;
    assert!(out.contains("reason: PLUGIN_REJECTED") && out.contains("header trace: 0xff"), "{out}");

    let refused = [
        (vec!["show", "dead/0"], "write STREAM/PARTITION/OFFSET"),
        (
            vec!["show", "orders/0/0"],
            "no stream \"orders\" keeps dead letters; those that do are dead",
        ),
        (vec!["show", "dead/9/0"], "there is no partition"),
        (vec!["show", "dead/0/999"], "nothing stands at dead/0/999"),
        (vec!["list", "--reason", "NONE"], "there is no reason"),
        (vec!["list", "--stream", "kept"], "keeps dead letters"),
        (vec!["purge", first], "say --yes"),
        (vec!["purge", "--yes"], "or say which by a filter, or --all"),
    ];
    for (arguments, expected) in refused {
        let (is_good, _, told) = dlq(&router, &arguments).await;
        assert!(!is_good && told.contains(expected), "{arguments:?}: {told}");
    }

    let (is_good, _, told) = dlq(&router, &["purge", first, "--yes"]).await;
    assert!(is_good && told.contains("1 letter purged"), "{told}");
    for command in [vec!["show", first], vec!["purge", first, "--yes"], vec!["replay", first]] {
        let (is_good, _, told) = dlq(&router, &command).await;
        assert!(!is_good && told.contains("has left"), "{command:?}: {told}");
    }
    let (_, _, told) = dlq(&router, &["purge", "--route", "waver", "--dry-run"]).await;
    assert!(told.contains("3 letters would be purged"), "{told}");
    let (_, _, told) = dlq(&router, &["purge", "--all", "--yes"]).await;
    assert!(told.contains("3 letters purged"), "{told}");
    assert_eq!(router.metric("waypost_dlq_purged_letters_total").await.expect("it is told"), 4.0);
    assert_eq!(listed(&router, &[]).await, [json!(null); 0]);
    router.stop().await.expect("it drains");
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_of_memory_topics_go_back_to_them_and_say_why_not_to_their_stage() {
    let router = start("7").await;
    publish(&router, "quick.a", 0..20).await;
    let letters = until_dead(&router, "memory", 2).await;
    let (is_good, _, told) = dlq(&router, &["replay", "--route", "memory"]).await;
    assert!(
        !is_good && told.contains("0 letters replayed") && told.contains("--to origin"),
        "{told}"
    );
    assert_eq!(listed(&router, &["--route", "memory"]).await, letters);
    mend(&router).await;
    let (is_good, _, told) = dlq(&router, &["replay", "--route", "memory", "--to", "origin"]).await;
    assert!(is_good && told.contains("2 letters replayed"), "{told}");
    let found = held(&router, "kept.quick", &(0..20).collect()).await;
    assert!(found.values().all(|times| *times == 1) && found.len() == 20, "{found:?}");
    router.stop().await.expect("it drains");
}

/// Another moment each time, so that a run can be had again: xorshift.
struct Moments(u64);

impl Moments {
    fn next(&mut self) -> Duration {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        Duration::from_millis(5 + self.0 % 60)
    }
}

fn kills() -> u32 {
    std::env::var("WAYPOST_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(3)
}

/// Replays one letter after another and kills the router meanwhile; then the rest.
async fn each_is_there_once(to: &str, seed: u64) {
    const COUNT: u64 = 600;
    let mut router = start("7").await;
    let (all, dead) = (0..COUNT, COUNT as usize / 10);
    publish(&router, "orders.eu", all.clone()).await;
    until_dead(&router, "waver", dead).await;
    mend(&router).await;
    let mut moments = Moments(seed);
    for _ in 0..kills() {
        let letters = listed(&router, &["--limit", "100000"]).await;
        let replays = letters.iter().map(|letter| {
            let address = letter["address"].as_str().expect("an address");
            connected(&router, &["dlq", "replay", address, "--to", to])
        });
        let replays: Vec<_> = replays.collect();
        let replaying = tokio::spawn(async move {
            let mut done = 0;
            for replay in replays {
                if !finish(replay, "").await.status.success() {
                    break;
                }
                done += 1;
            }
            done
        });
        let replayed = "waypost_dlq_replayed_letters_total";
        router.until(replayed, 1.0_f64.min(letters.len() as f64)).await;
        // The moment of the kill is the point, not a wait for something.
        tokio::time::sleep(moments.next()).await;
        router.restart().await.expect("it recovers");
        let done = replaying.await.expect("no panic");
        let left = listed(&router, &["--limit", "100000"]).await.len();
        println!(
            "to {to}: of {} letters {done} replayed before the kill, {left} left",
            letters.len()
        );
        assert!(letters.len() - left >= done, "a letter is there again that had left");
    }
    let (is_good, _, told) = dlq(&router, &["replay", "--all", "--to", to]).await;
    assert!(is_good, "{told}");
    assert_eq!(listed(&router, &[]).await, [json!(null); 0]);
    until_through(&router).await;
    let found = held(&router, "kept.orders", &all.clone().collect()).await;
    let twice: Vec<_> = found.iter().filter(|(_, times)| **times != 1).collect();
    assert!(twice.is_empty() && found.len() as u64 == COUNT, "twice: {twice:?}");
    assert_eq!(listed(&router, &[]).await, [json!(null); 0]);
    router.stop().await.expect("it drains");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_back_to_its_stage_is_there_once_however_often_the_router_is_killed() {
    each_is_there_once("stage", 0x2545_f491_4f6c_dd1d).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_back_to_its_origin_is_there_once_however_often_the_router_is_killed() {
    each_is_there_once("origin", 0x9e37_79b9_7f4a_7c15).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_says_what_a_kept_version_makes_of_letters_and_changes_nothing() {
    let router = start("7").await;
    publish(&router, "orders.eu", 0..20).await;
    let letters = until_dead(&router, "waver", 2).await;
    let digest = router.digest_of("wavering").await.expect("it is told");
    let tried = async |version: &str| {
        let arguments = ["replay", "--all", "--dry-run", "--against", version];
        dlq(&router, &[&arguments[..], &["--output", "json"]].concat()).await
    };
    for version in ["active", "1.0.0", &digest[..12]] {
        let (is_good, out, told) = tried(version).await;
        assert!(is_good, "{told}");
        let trials = out.lines().map(|line| serde_json::from_str(line).expect("JSON"));
        let trials: Vec<Value> = trials.collect();
        let addresses: Vec<&Value> = trials.iter().map(|trial| &trial["address"]).collect();
        assert_eq!(addresses, letters.iter().map(|it| &it["address"]).collect::<Vec<_>>());
        let rejected = json!({ "reject": "it is one that I do not like" });
        assert!(trials.iter().all(|trial| trial["verdict"] == rejected), "{trials:?}");
    }
    let (is_good, _, told) = tried("9.9.9").await;
    assert!(
        !is_good && told.contains("no kept version has a digest that begins with 9.9.9"),
        "{told}"
    );
    mend(&router).await;
    let first = letters[0]["address"].as_str().expect("an address");
    let (is_good, _, out) = {
        let arguments = ["replay", first, "--dry-run", "--against", "active"];
        let (is_good, out, told) = dlq(&router, &arguments).await;
        (is_good, told, out)
    };
    assert!(is_good && out.contains("wavering 1.0.0: forward"), "{out}");
    assert_eq!(listed(&router, &[]).await.len(), letters.len());
    router.stop().await.expect("it drains");
}
