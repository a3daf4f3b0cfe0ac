//! A plugin is replaced while messages flow through two stages of it: every message by exactly one version in
//! both, none lost, none twice, in order.
//!
//! What processed a message is not taken from the router's word: every build writes its own number into what it
//! emits, in each stage. `WAYPOST_SWAPS=500` has the plugin replaced 500 times, which takes a few minutes with a
//! debug build; without it it is 200 times. `WAYPOST_BINARY` is another build of the command.
#![forbid(unsafe_code)]

use std::{
    collections::{BTreeMap, VecDeque},
    fs,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::oneshot;
use waypost_artefacts::stamping;
use waypost_client::{
    Client, DeliveredBatch, Message, Outcome, PublisherOptions, SubscriberOptions,
};
use waypost_tests::{Config, Router, RouterOptions, built};

const SWAPS: u32 = 200;
/// One of so many comes through the plugin folder, which is looked at a while after it changed; the others are
/// handed in.
const BY_FOLDER: u32 = 25;
/// How long the same load runs before the first swap, to compare with.
const QUIET: Duration = Duration::from_secs(2);
const PUBLISHERS: u8 = 2;
const PAYLOAD_BYTES: usize = 128;
const CONFIG: &str = r#"
[[route]]
name = "load"
from = "load.in"
to = "load.out"
lanes = 2

[[route.stage]]
name = "first"
plugin = "stamp"

[[route.stage]]
name = "second"
plugin = "stamp"
"#;

/// How often the plugin is replaced.
fn swaps() -> u32 {
    let set = std::env::var("WAYPOST_SWAPS").ok();
    set.map_or(SWAPS, |text| text.parse().expect("WAYPOST_SWAPS is a number"))
}

/// A router that runs build 0.
async fn router() -> Router {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("stamp.wasm");
    fs::write(&file, stamping(0)).expect("it is written");
    let binary = std::env::var_os("WAYPOST_BINARY").map(PathBuf::from);
    let options = RouterOptions {
        config: Config::Text(CONFIG.to_owned()),
        plugins: vec![("stamp".to_owned(), file)],
        faults: None,
    };
    let binary = binary.unwrap_or_else(|| built("debug/waypost"));
    Router::launch(&binary, &options).await.expect("the router starts")
}

/// What 99 of 100 do not exceed.
fn p99(waits: &[Duration]) -> Duration {
    let mut sorted = waits.to_vec();
    sorted.sort();
    sorted.get(sorted.len() * 99 / 100).copied().unwrap_or_default()
}

/// Publishes numbered messages as fast as they are taken until told to stop; gives how many.
async fn publish(client: Client, publisher: u8, origin: Instant, enough: Arc<AtomicBool>) -> u64 {
    let sender = client.publisher(PublisherOptions::default()).await.expect("a publish stream");
    let mut receipts = VecDeque::new();
    let mut number = 0_u64;
    while !enough.load(Ordering::Relaxed) {
        let mut payload = vec![1, publisher];
        payload.extend(number.to_le_bytes());
        payload.extend((origin.elapsed().as_nanos() as u64).to_le_bytes());
        payload.resize(PAYLOAD_BYTES, b'x');
        let message = Message::new("load.in", payload).key([publisher].to_vec());
        receipts.push_back(sender.publish(message).await.expect("it is taken"));
        number += 1;
        if receipts.len() > 10_000 {
            let receipt = receipts.pop_front().expect("there are many");
            assert!(matches!(receipt.await, Outcome::Committed { unrouted: false, .. }));
        }
    }
    sender.flush().await;
    for receipt in receipts {
        assert!(matches!(receipt.await, Outcome::Committed { unrouted: false, .. }));
    }
    sender.close().await;
    client.close().await;
    number
}

/// What came out of one publisher's messages.
#[derive(Debug, Clone, Copy, Default)]
struct Stream {
    /// The number of the message that comes next.
    next: u64,
    /// The build that processed the one before.
    build: u32,
}

/// Holds everything that is delivered against what must be.
#[derive(Debug)]
struct Checker {
    origin: Instant,
    streams: BTreeMap<u8, Stream>,
    /// The digest that the router names for each build that processed something.
    builds: BTreeMap<u32, Vec<u8>>,
    /// When a sample was published, and how long it took.
    waits: Vec<(Duration, Duration)>,
}

impl Checker {
    fn new(origin: Instant) -> Self {
        let streams = (0..PUBLISHERS).map(|publisher| (publisher, Stream::default())).collect();
        Self { origin, streams, builds: BTreeMap::new(), waits: Vec::new() }
    }

    fn counted(&self) -> u64 {
        self.streams.values().map(|stream| stream.next).sum()
    }

    fn take(&mut self, delivered: &DeliveredBatch) {
        let [first, second] = delivered.envelope.stages.as_slice() else {
            panic!("the envelope names a version for each of the two stages");
        };
        for (index, message) in delivered.batch.iter().enumerate() {
            let payload = message.payload();
            assert_eq!(payload.len(), PAYLOAD_BYTES + 8, "each stage wrote its number, once");
            let stamp = |at: usize| {
                let bytes = payload[PAYLOAD_BYTES + at..][..4].try_into();
                u32::from_le_bytes(bytes.expect("4 bytes"))
            };
            let build = stamp(0);
            assert_eq!(build, stamp(4), "one build processed it in both stages");
            let named = self.builds.entry(build).or_insert_with(|| first.digest.to_vec());
            assert_eq!(*named, first.digest.to_vec(), "the envelope names build {build}");
            let word = |from: usize| {
                let bytes = payload[from..][..8].try_into();
                u64::from_le_bytes(bytes.expect("8 bytes"))
            };
            if index == 0 {
                let published = Duration::from_nanos(word(10));
                self.waits.push((published, self.origin.elapsed().saturating_sub(published)));
            }
            let stream = self.streams.get_mut(&payload[1]).expect("a publisher of ours");
            assert_eq!(word(2), stream.next, "of publisher {}", payload[1]);
            assert!(build >= stream.build, "build {build} after build {}", stream.build);
            *stream = Stream { next: stream.next + 1, build };
        }
        assert_eq!(first.digest, second.digest, "the envelope names one version");
    }

    /// What 99 of 100 that were published in this time did not exceed.
    fn p99(&self, from: Duration, to: Duration) -> Duration {
        let within = self.waits.iter().filter(|(published, _)| (from..to).contains(published));
        p99(&within.map(|(_, wait)| *wait).collect::<Vec<_>>())
    }
}

/// Checks what is delivered until as many messages came as it is then told.
async fn check(router: &Router, origin: Instant, mut goal: oneshot::Receiver<u64>) -> Checking {
    let client = router.client().await.expect("a connection");
    let subscription = client.subscribe("load.out", SubscriberOptions::default()).await;
    let mut subscription = subscription.expect("a pattern");
    tokio::spawn(async move {
        let (mut checker, mut known) = (Checker::new(origin), None);
        while known != Some(checker.counted()) {
            tokio::select! {
                delivered = subscription.next_batch() => {
                    let delivered = delivered.expect("the stream goes on");
                    checker.take(&delivered.expect("without an error"));
                }
                told = &mut goal, if known.is_none() => {
                    known = Some(told.expect("the test goes on"));
                }
            }
        }
        client.close().await;
        checker
    })
}

type Checking = tokio::task::JoinHandle<Checker>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn swaps_under_full_load_lose_nothing_double_nothing_and_keep_the_order() {
    let (swaps, origin) = (swaps(), Instant::now());
    let router = router().await;
    let (tell_goal, goal) = oneshot::channel();
    let checking = check(&router, origin, goal).await;
    let enough = Arc::new(AtomicBool::new(false));
    let mut publishing = Vec::new();
    for publisher in 0..PUBLISHERS {
        let client = router.client().await.expect("a connection");
        publishing.push(tokio::spawn(publish(client, publisher, origin, enough.clone())));
    }

    tokio::time::sleep(QUIET).await;
    let first_swap = origin.elapsed();
    for number in 1..=swaps {
        let artefact = stamping(number);
        if number % BY_FOLDER == 0 {
            let before = router.digest_of("stamp").await.expect("the admin server answers");
            router.put("stamp", &artefact).expect("it is written");
            while router.digest_of("stamp").await.expect("the admin server answers") == before {
                assert!(!checking.is_finished(), "what was delivered is not as it must be");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        } else {
            let answer = router.deploy("stamp", artefact).await.expect("it is taken");
            assert_eq!(answer["swapped"], true, "{answer}");
        }
        assert!(!checking.is_finished(), "what was delivered is not as it must be");
    }
    let last_swap = origin.elapsed();
    enough.store(true, Ordering::Relaxed);
    let mut published = 0;
    for each in publishing {
        published += each.await.expect("the publisher ends well");
    }
    tell_goal.send(published).expect("what was delivered is as it must be");
    let checker = checking.await.expect("what was delivered is as it must be");
    println!(
        "{published} messages, {} builds processed some of them; {swaps} swaps in {:?}; p99 {:?} quiet, {:?} \
         under swaps",
        checker.builds.len(),
        last_swap - first_swap,
        checker.p99(Duration::ZERO, first_swap),
        checker.p99(first_swap, last_swap),
    );
    let counted = router.metric("waypost_stage_swaps_total").await.expect("a series");
    assert_eq!(counted, f64::from(2 * swaps), "each swap is one of both stages");
    let dead = router.metric("waypost_dead_letters_total").await.expect("a series");
    assert_eq!(dead, 0.0, "{}", router.log());
    assert!(checker.builds.len() as u32 > swaps / 2, "traffic met most builds");
    router.stop().await.expect("it drains");
}
