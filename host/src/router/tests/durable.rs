//! Routes over streams, in storage that lives in memory: it outlives the router, which is dropped in the middle of its
//! work as a kill would end it.

mod failing;
mod passing;
mod retrying;
mod returning;

use std::num::NonZeroU32;

use waypost_core::{Partition, Retention, RouteStart, StreamDefinition, StreamName, StreamTable};
use waypost_protocol::{Offset, partition_of};
use waypost_storage::{Append, MemoryStorage, ParkedMessage, ReadLimit, Storage as _, Stored};

use super::*;
use crate::streams::StreamMetrics;

/// Storage, and routers that come and go on it.
struct Stand {
    storage: Arc<MemoryStorage>,
    table: Vec<StreamDefinition>,
    partitions: NonZeroU32,
}

impl Stand {
    /// The streams `in`, `out` and `dead`, of two partitions each.
    async fn usual() -> Self {
        Self::of(2).await
    }

    /// The streams `in`, `out` and `dead`.
    async fn of(partitions: u32) -> Self {
        let streams = [("in", "in.>"), ("out", "out.>"), ("dead", "$dead.>")];
        let storage = Arc::new(MemoryStorage::new(10));
        let partitions = NonZeroU32::new(partitions).expect("not zero");
        let mut table = Vec::new();
        for (name, topics) in streams {
            let definition = StreamDefinition {
                name: StreamName::parse(name).expect("a name"),
                topics: vec![Pattern::parse(topics).expect("a pattern")],
                partitions,
                retention: Retention::default(),
                ttl: None,
                fsync: waypost_core::Fsync::default(),
            };
            let declared = storage.declare(definition.name.clone(), partitions).await;
            declared.expect("it is new");
            table.push(definition);
        }
        Self { storage, table, partitions }
    }

    /// A router that has begun.
    async fn router(&self, routes: Vec<(RouteDefinition, Stage)>) -> Router {
        let metrics =
            StreamMetrics::register(&prometheus::Registry::new()).expect("a new registry");
        let table = StreamTable::new(self.table.clone());
        let streams = Streams::new(table, self.storage.clone(), 1 << 20, metrics);
        let metrics =
            RouterMetrics::register(&prometheus::Registry::new()).expect("a new registry");
        let plans = Arc::new(Plans::new(Arc::new(metrics)));
        define(&plans, &routes);
        let lane = LaneLimits { batches: 4, bytes: 1 << 20 };
        let settings = RouterSettings { lane, block_max: BLOCK_MAX, topics: Vec::new() };
        let router = Router::start(plans, settings, streams);
        router.begun().await;
        router
    }

    /// Stores messages in `in`, in the partitions of their keys, which are the payloads modulo five.
    async fn put(&self, payloads: impl IntoIterator<Item = u32>) {
        let mut parts = [const { Vec::new() }; 2];
        for payload in payloads {
            let key = (payload % 5).to_string();
            parts[partition_of(key.as_bytes(), self.partitions) as usize].push(payload);
        }
        for (index, payloads) in (0..).zip(parts).filter(|(_, payloads)| !payloads.is_empty()) {
            let envelope = Envelope { ingest_ms: now_ms(), ..Envelope::default() };
            let append = Append {
                partition: partition("in", index),
                batch: batch("in.a", payloads),
                envelope,
                origin: None,
            };
            self.storage.append(append).await.expect("it is stored");
        }
    }

    /// What a partition holds.
    async fn stored(&self, stream: &str, index: u32) -> Vec<Stored> {
        let limit = ReadLimit { max_batches: usize::MAX, max_bytes: usize::MAX };
        let chunk = self.storage.read(partition(stream, index), Offset(0), limit).await;
        chunk.expect("it is readable").batches
    }

    /// The payloads that a stream holds, partition by partition.
    async fn held(&self, stream: &str) -> Vec<String> {
        let mut held = Vec::new();
        for index in 0..self.partitions.get() {
            held.extend(
                self.stored(stream, index).await.iter().flat_map(|each| payloads(&each.batch)),
            );
        }
        held
    }

    /// Waits until a stream holds so many messages, and gives them.
    async fn until(&self, stream: &str, count: usize) -> Vec<String> {
        let mut held = self.held(stream).await;
        for _ in 0..100_000 {
            if held.len() >= count {
                return held;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
            held = self.held(stream).await;
        }
        panic!("{stream} holds {} messages, not {count}", held.len())
    }

    /// The progress of the route `r` in both partitions.
    async fn progress(&self) -> [Option<u64>; 2] {
        let mut found = [None; 2];
        for (index, found) in (0..self.partitions.get()).zip(&mut found) {
            let route = RouteName::parse("r").expect("a name");
            let progress = self.storage.progress(route, partition("in", index)).await;
            *found = progress.expect("it is readable").map(|offset| offset.0);
        }
        found
    }

    /// The attempts of all messages that the route `r` has parked in the store.
    async fn attempts(&self) -> u32 {
        self.all_parked().await.iter().map(|parked| parked.attempts).sum()
    }

    /// How many messages the route `r` has parked in the store.
    async fn parked(&self) -> usize {
        self.all_parked().await.len()
    }

    async fn all_parked(&self) -> Vec<ParkedMessage> {
        let mut parked = Vec::new();
        for index in 0..self.partitions.get() {
            let route = RouteName::parse("r").expect("a name");
            let found = self.storage.parked(route, partition("in", index)).await;
            parked.extend(found.expect("it is readable"));
        }
        parked
    }
}

fn partition(stream: &str, index: u32) -> Partition {
    Partition::new(StreamName::parse(stream).expect("a name"), index)
}

/// The route `r` from the stream `in`, from its beginning on.
fn durable(destination: &str, answer: Answer) -> (RouteDefinition, Stage) {
    let definition = route("r", 1, Some(destination));
    (RouteDefinition { start: RouteStart::Beginning, ..definition }, stage("1", answer))
}

/// Checks that each of these numbers is there once, and that those with one key stand in order.
fn check_once_and_in_order(found: &[String], expected: std::ops::Range<u32>) {
    let numbers: Vec<u32> = found.iter().map(|text| text.parse().expect("a number")).collect();
    let mut sorted = numbers.clone();
    sorted.sort_unstable();
    let expected: Vec<u32> = expected.collect();
    assert!(sorted == expected, "{} found, {} expected", sorted.len(), expected.len());
    for key in 0..5 {
        let of_key: Vec<_> = numbers.iter().filter(|number| *number % 5 == key).collect();
        assert!(of_key.is_sorted(), "the order of {key} is {of_key:?}");
    }
}
