//! The router is killed at random moments while a producer publishes through a durable route: everything that is
//! acknowledged and that the plugin keeps is in the route's stream, nothing is in it twice, and each key keeps its
//! order. What is checked is only what clients saw. `WAYPOST_KILLS` says how often.
#![forbid(unsafe_code)]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::Notify;
use waypost_client::{Client, From, Message, Outcome, PublisherOptions, SubscriberOptions};
use waypost_tests::{Router, built_guest};

/// Far more than any step of this takes; a test that meets it has failed.
const PATIENCE: Duration = Duration::from_secs(120);

const STREAMS: &str = "
    [storage]
    reserve_bytes = 0
    [[stream]]
    name = 'orders'
    topics = ['orders.>']
    partitions = 4
    [[stream]]
    name = 'kept'
    topics = ['kept.>', 'twice.>']
    partitions = 3
    [[stream]]
    name = 'dead'
    topics = ['$dead.>']
";
const KEYS: u64 = 16;

/// The producer: it publishes numbers under changing keys until it is told to stop.
struct Producer {
    acknowledged: Arc<AtomicU64>,
    more: Arc<Notify>,
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<BTreeSet<u64>>,
}

impl Producer {
    fn start(client: Client) -> Self {
        let (acknowledged, more, stop) =
            <(Arc<AtomicU64>, Arc<Notify>, Arc<AtomicBool>)>::default();
        let task = produce(client, acknowledged.clone(), more.clone(), stop.clone());
        Self { acknowledged, more, stop, task: tokio::spawn(task) }
    }

    /// Waits until so many more are acknowledged.
    async fn more(&self, count: u64) {
        let least = self.acknowledged.load(Ordering::Relaxed) + count;
        let acknowledged = async {
            while self.acknowledged.load(Ordering::Relaxed) < least {
                self.more.notified().await;
            }
        };
        tokio::time::timeout(PATIENCE, acknowledged).await.expect("the producer goes on");
    }

    /// The numbers that were acknowledged.
    async fn stop(self) -> BTreeSet<u64> {
        self.stop.store(true, Ordering::Relaxed);
        tokio::time::timeout(PATIENCE, self.task).await.expect("in time").expect("no panic")
    }
}

async fn produce(
    client: Client,
    acknowledged: Arc<AtomicU64>,
    more: Arc<Notify>,
    stop: Arc<AtomicBool>,
) -> BTreeSet<u64> {
    let options = PublisherOptions { max_batch_messages: 8, ..PublisherOptions::default() };
    let publisher = client.publisher(options).await.expect("a stream");
    let (mut number, mut told) = (0_u64, tokio::task::JoinSet::new());
    while !stop.load(Ordering::Relaxed) {
        let message = Message::new("orders.eu", number.to_string().into_bytes())
            .key((number % KEYS).to_be_bytes().to_vec());
        let receipt = publisher.publish(message).await.expect("it is taken");
        let (acknowledged, more) = (acknowledged.clone(), more.clone());
        told.spawn(async move {
            let outcome = receipt.await;
            assert!(matches!(outcome, Outcome::Committed { .. }), "{number}: {outcome:?}");
            acknowledged.fetch_add(1, Ordering::Relaxed);
            more.notify_one();
            number
        });
        number += 1;
    }
    publisher.close().await;
    told.join_all().await.into_iter().collect()
}

/// Another moment each time, so that a run can be had again: xorshift.
struct Moments(u64);

impl Moments {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        1 + self.0 % 400
    }
}

fn kills() -> u32 {
    std::env::var("WAYPOST_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(3)
}

/// What a stream holds: the numbers of each key, in order.
#[derive(Default)]
struct Found(BTreeMap<Vec<u8>, Vec<u64>>);

impl Found {
    /// Reads a stream until all of these are there, and whatever else is.
    async fn read(client: &Client, pattern: &str, expected: &BTreeSet<u64>) -> Self {
        let options =
            SubscriberOptions { from: Some(From::Beginning), ..SubscriberOptions::default() };
        let mut reader = client.subscribe(pattern, options).await.expect("a stream keeps it");
        let (mut found, mut missing) = (Self::default(), expected.clone());
        let mut wait = PATIENCE;
        while let Ok(message) = tokio::time::timeout(wait, reader.recv()).await {
            let message = message.expect("it goes on").expect("without an error");
            let number = std::str::from_utf8(message.payload()).expect("digits");
            let number = number.parse().expect("a number");
            missing.remove(&number);
            found.0.entry(message.key().expect("a key").to_vec()).or_default().push(number);
            if missing.is_empty() {
                // What is there twice comes by now: the route is through.
                wait = Duration::from_millis(500);
            }
        }
        assert!(missing.is_empty(), "acknowledged and missing in {pattern}: {missing:?}");
        found
    }

    /// Checks that nothing is there twice, and nothing but these; gives their number.
    fn check(&self, pattern: &str, allowed: impl Fn(u64) -> bool, is_ordered: bool) -> usize {
        let all: Vec<u64> = self.0.values().flatten().copied().collect();
        let distinct: BTreeSet<u64> = all.iter().copied().collect();
        assert_eq!(all.len(), distinct.len(), "twice in {pattern}");
        let foreign: Vec<_> = distinct.iter().filter(|number| !allowed(**number)).collect();
        assert!(foreign.is_empty(), "{pattern} holds {foreign:?}");
        for (key, numbers) in self.0.iter().filter(|_| is_ordered) {
            assert!(numbers.is_sorted(), "the order of {key:?} in {pattern} is {numbers:?}");
        }
        all.len()
    }
}

/// Waits until no route is behind any more.
async fn until_through(router: &Router) {
    let through = async {
        loop {
            let lag = router.metric("waypost_route_lag_messages").await;
            let parked = router.metric("waypost_route_partition_parked_messages").await;
            if lag.expect("it is told") + parked.expect("it is told") < 0.5 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let through = tokio::time::timeout(PATIENCE, through).await;
    through.unwrap_or_else(|_| panic!("the routes do not catch up:\n{}", router.log()));
}

fn without(numbers: &BTreeSet<u64>, digits: &[u64]) -> BTreeSet<u64> {
    numbers.iter().filter(|number| !digits.contains(&(*number % 10))).copied().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_durable_route_keeps_is_there_once_and_in_order_however_often_the_router_is_killed()
{
    // The plugin drops what begins with a nine; a second route reads what the first one stored.
    let config = format!(
        "{STREAMS}
        [[route]]
        name = 'keep'
        from = 'orders.>'
        to = 'kept.orders'
        [[route.stage]]
        plugin = 'byte-filter'
        config = {{ drop = 57 }}
        [[route]]
        name = 'again'
        from = 'kept.orders'
        to = 'twice.orders'
        "
    );
    let plugins = [("byte-filter", built_guest("byte-filter"))];
    let mut router = Router::start(&config, &plugins).await.expect("the router starts");
    let client = router.client().await.expect("a connection");
    let producer = Producer::start(client.clone());
    let mut moments = Moments(0x2545_f491_4f6c_dd1d);
    for _ in 0..kills() {
        producer.more(moments.next()).await;
        router.restart().await.expect("it recovers");
    }
    let acknowledged = producer.stop().await;
    until_through(&router).await;
    let is_kept = |number: &u64| !number.to_string().starts_with('9');
    let expected: BTreeSet<u64> = acknowledged.iter().filter(|it| is_kept(it)).copied().collect();
    for pattern in ["kept.>", "twice.>"] {
        let found = Found::read(&client, pattern, &expected).await;
        let count = found.check(pattern, |number| is_kept(&number), true);
        println!("kills {}, acknowledged {}, in {pattern} {count}", kills(), acknowledged.len());
    }
    client.close().await;
    router.stop().await.expect("it drains");
}

#[tokio::test(flavor = "multi_thread")]
async fn retries_and_dead_letters_outlive_kills_and_a_key_keeps_its_order() {
    let config = format!(
        "{STREAMS}
        [[route]]
        name = 'waver'
        from = 'orders.>'
        to = 'kept.orders'
        retry = {{ attempts = 1000, first_ms = 5, max_ms = 50 }}
        [[route.stage]]
        plugin = 'wavering'
        config = {{ retry = '3', times = 2, reject = '7' }}
        "
    );
    let plugins = [("wavering", built_guest("wavering"))];
    let mut router = Router::start(&config, &plugins).await.expect("the router starts");
    let client = router.client().await.expect("a connection");
    let producer = Producer::start(client.clone());
    let mut moments = Moments(0x9e37_79b9_7f4a_7c15);
    for _ in 0..kills() {
        producer.more(moments.next()).await;
        router.restart().await.expect("it recovers");
    }
    let acknowledged = producer.stop().await;
    until_through(&router).await;
    let kept = Found::read(&client, "kept.>", &without(&acknowledged, &[7])).await;
    let count = kept.check("kept.>", |number| number % 10 != 7, true);
    let dead: BTreeSet<u64> =
        acknowledged.iter().filter(|number| *number % 10 == 7).copied().collect();
    let letters = Found::read(&client, "$dead.waver", &dead).await;
    let given_up = letters.check("$dead.waver", |number| number % 10 == 7, true);
    println!(
        "kills {}, acknowledged {}, kept {count}, dead {given_up}",
        kills(),
        acknowledged.len()
    );
    client.close().await;
    router.stop().await.expect("it drains");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_that_goes_and_comes_back_changed_passes_nothing_over_and_does_nothing_twice() {
    let config = |drop: u8, lanes: u8| {
        format!(
            "{STREAMS}
            [[route]]
            name = 'keep'
            from = 'orders.>'
            to = 'kept.orders'
            lanes = {lanes}
            [[route.stage]]
            plugin = 'byte-filter'
            config = {{ drop = {drop} }}
            "
        )
    };
    let plugins = [("byte-filter", built_guest("byte-filter"))];
    // Each is another configuration of the plugin, and none drops anything: payloads begin with digits.
    let mut router = Router::start(&config(0, 1), &plugins).await.expect("the router starts");
    let client = router.client().await.expect("a connection");
    let producer = Producer::start(client.clone());
    let applied = "waypost_configuration_reloads_total{outcome=\"applied\"}";
    let mut moments = Moments(0x1234_5678_9abc_def1);
    for round in 0..6_u8 {
        producer.more(moments.next()).await;
        let before = router.metric(applied).await.expect("it is told");
        let text =
            if round % 3 == 1 { STREAMS.to_owned() } else { config(round + 1, 1 + round % 2) };
        router.configure(&text).expect("it is written");
        router.until(applied, before + 1.0).await;
        if round == 3 {
            router.restart().await.expect("it recovers");
        }
    }
    let acknowledged = producer.stop().await;
    until_through(&router).await;
    let found = Found::read(&client, "kept.>", &acknowledged).await;
    let count = found.check("kept.>", |_| true, true);
    println!("acknowledged {}, kept {count}", acknowledged.len());
    client.close().await;
    router.stop().await.expect("it drains");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_whose_dead_letters_would_be_kept_only_after_a_restart_waits_for_it() {
    let stream = "
        [storage]
        reserve_bytes = 0
        [[stream]]
        name = 'orders'
        topics = ['orders.>']
    ";
    let router = Router::start(stream, &[]).await.expect("the router starts");
    let text = format!(
        "{stream}
        [[stream]]
        name = 'dead'
        topics = ['$dead.>']
        [[route]]
        name = 'pass'
        from = 'orders.>'
        to = 'passed'
        "
    );
    router.configure(&text).expect("it is written");
    router.until("waypost_configuration_reloads_total{outcome=\"refused\"}", 1.0).await;
    let log = router.log();
    assert!(log.contains("$dead.pass, comes with the next start"), "{log}");
    router.stop().await.expect("it drains");
}
