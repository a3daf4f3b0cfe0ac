//! The router is killed at random moments while a producer publishes: what is acknowledged is in the stream, nothing
//! is in it twice, and each key keeps its order, for whoever reads meanwhile and for whoever reads afterwards.
//! `WAYPOST_KILLS` says how often.
#![forbid(unsafe_code)]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use serde_json::Value;
use tokio::sync::Notify;
use waypost_client::{
    Client, From, Message, Outcome, PublisherOptions, Subscriber, SubscriberOptions,
};
use waypost_tests::Router;

/// Far more than any step of this takes; a test that meets it has failed.
const PATIENCE: Duration = Duration::from_secs(120);

const CONFIG: &str = "
    [storage]
    reserve_bytes = 0
    [[stream]]
    name = 'orders'
    topics = ['orders.>']
    partitions = 4
";
const KEYS: u64 = 16;

/// What the producer was told, and how it is told to stop.
#[derive(Default)]
struct Producing {
    acknowledged: AtomicU64,
    more: Notify,
    stop: AtomicBool,
}

/// Publishes numbers under changing keys until it is told to stop. Gives those that were acknowledged.
async fn produce(client: Client, producing: Arc<Producing>) -> BTreeSet<u64> {
    let options = PublisherOptions { max_batch_messages: 8, ..PublisherOptions::default() };
    let publisher = client.publisher(options).await.expect("a stream");
    let (mut number, mut told) = (0_u64, tokio::task::JoinSet::new());
    while !producing.stop.load(Ordering::Relaxed) {
        let message = Message::new("orders.eu", number.to_string().into_bytes())
            .key((number % KEYS).to_be_bytes().to_vec());
        let receipt = publisher.publish(message).await.expect("it is taken");
        let producing = producing.clone();
        told.spawn(async move {
            let outcome = receipt.await;
            assert!(matches!(outcome, Outcome::Committed { .. }), "{number}: {outcome:?}");
            producing.acknowledged.fetch_add(1, Ordering::Relaxed);
            producing.more.notify_one();
            number
        });
        number += 1;
    }
    publisher.close().await;
    told.join_all().await.into_iter().collect()
}

/// What a reader saw: the numbers of each key in order, and how often something came twice.
#[derive(Default)]
struct Seen {
    by_key: BTreeMap<Vec<u8>, Vec<u64>>,
    offsets: BTreeSet<(u32, u64)>,
    twice: usize,
}

impl Seen {
    async fn read(&mut self, reader: &mut Subscriber, until: usize) {
        while self.offsets.len() < until {
            let message = tokio::time::timeout(PATIENCE, reader.recv()).await.expect("in time");
            let message = message.expect("it goes on").expect("without an error");
            let offset = message.offset().expect("a stream keeps it");
            if !self.offsets.insert((message.envelope().partition, offset.0)) {
                self.twice += 1;
            }
            let number = std::str::from_utf8(message.payload()).expect("digits");
            let numbers = self.by_key.entry(message.key().expect("a key").to_vec()).or_default();
            numbers.push(number.parse().expect("a number"));
        }
    }

    fn check(&self, acknowledged: &BTreeSet<u64>) {
        let all: Vec<u64> = self.by_key.values().flatten().copied().collect();
        let distinct: BTreeSet<u64> = all.iter().copied().collect();
        let missing: Vec<_> = acknowledged.difference(&distinct).collect();
        assert!(missing.is_empty(), "acknowledged and missing: {missing:?}");
        assert_eq!(self.twice, 0, "delivered twice");
        assert_eq!(all.len(), distinct.len(), "twice in the stream");
        for (key, numbers) in &self.by_key {
            assert!(numbers.is_sorted(), "the order of {key:?} is {numbers:?}");
        }
    }
}

fn from_the_beginning() -> SubscriberOptions {
    SubscriberOptions { from: Some(From::Beginning), ..SubscriberOptions::default() }
}

/// How many messages the router says that it holds.
async fn held(router: &Router) -> usize {
    let text = router.admin("/api/v1/streams").await.expect("it answers");
    let answer: Value = serde_json::from_str(&text).expect("JSON");
    let partitions = answer["streams"][0]["partitions"].as_array().expect("there are some");
    let messages = partitions.iter().filter_map(|partition| partition["messages"].as_u64());
    usize::try_from(messages.sum::<u64>()).expect("it fits")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_acknowledged_is_kept_once_and_in_order_however_often_the_router_is_killed() {
    let kills = std::env::var("WAYPOST_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(3);
    let mut router = Router::start(CONFIG, &[]).await.expect("the router starts");
    let client = router.client().await.expect("a connection");
    let mut along =
        client.subscribe("orders.>", from_the_beginning()).await.expect("a stream keeps it");
    let producing = Arc::new(Producing::default());
    let producer = tokio::spawn(produce(client.clone(), producing.clone()));
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    for _ in 0..kills {
        // Another moment each time: xorshift, so that a run can be had again.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let least = producing.acknowledged.load(Ordering::Relaxed) + 1 + random % 500;
        let acknowledged = async {
            while producing.acknowledged.load(Ordering::Relaxed) < least {
                producing.more.notified().await;
            }
        };
        tokio::time::timeout(PATIENCE, acknowledged).await.expect("the producer goes on");
        router.restart().await.expect("it recovers");
    }
    producing.stop.store(true, Ordering::Relaxed);
    let acknowledged =
        tokio::time::timeout(PATIENCE, producer).await.expect("in time").expect("no panic");
    let total = held(&router).await;
    let (mut meanwhile, mut afterwards) = (Seen::default(), Seen::default());
    meanwhile.read(&mut along, total).await;
    meanwhile.check(&acknowledged);
    let mut fresh =
        client.subscribe("orders.>", from_the_beginning()).await.expect("a stream keeps it");
    afterwards.read(&mut fresh, total).await;
    afterwards.check(&acknowledged);
    println!("kills {kills}, acknowledged {}, stored {total}", acknowledged.len());
    client.close().await;
    router.stop().await.expect("it drains");
}
