//! Streams over the engine in memory.

use std::{future::poll_fn, num::NonZeroU32, sync::Arc, task::Poll, time::Duration};

use futures_util::FutureExt as _;
use waypost_core::{Partition, Retention, StreamDefinition, StreamName, StreamTable};
use waypost_protocol::{
    Batch, BatchBuilder, Epoch, ErrorCode, Offset, Pattern, ProducerId, Sequence,
};
use waypost_storage::{Appended, EmbeddedConfig, EmbeddedStorage, MemoryStorage, Storage};

use super::*;

const PRODUCER: ProducerId = ProducerId(7);

fn streams(retention: Retention) -> (Streams, Arc<MemoryStorage>) {
    let storage = Arc::new(MemoryStorage::new(2));
    let streams = streams_in(storage.clone(), retention);
    (streams.now_or_never().expect("it is ready at once"), storage)
}

async fn streams_in(storage: Arc<dyn Storage>, retention: Retention) -> Streams {
    let definition = StreamDefinition {
        name: StreamName::parse("orders").expect("a name"),
        topics: vec![Pattern::parse("orders.>").expect("a pattern")],
        partitions: NonZeroU32::MIN,
        retention,
        ttl: None,
        fsync: waypost_core::Fsync::default(),
    };
    let declared = storage.declare(definition.name.clone(), definition.partitions).await;
    declared.expect("it is new");
    let metrics = StreamMetrics::register(&prometheus::Registry::new()).expect("it is empty");
    let table = StreamTable::new(vec![definition]);
    Streams::new(table, storage, 1 << 20, metrics)
}

fn batch(topic: &str) -> Batch {
    let mut builder = BatchBuilder::new();
    builder.push(topic, None, &[], b"x", 0).expect("it fits");
    builder.finish().expect("there is a message")
}

fn target(sequence: Option<u64>) -> StreamTarget<'static> {
    StreamTarget { stream: "orders", partition: 0, sequence: sequence.map(Sequence) }
}

async fn append(
    streams: &Streams,
    session: Option<&ProducerSession>,
    sequence: Option<u64>,
) -> Result<Appended, ErrorCode> {
    let appending = streams.append(session, target(sequence), batch("orders.a")).await;
    let outcome = appending.map_err(|refused| refused.code)?.outcome().await;
    outcome.expect("it is known").map_err(|refused| refused.code)
}

async fn open(streams: &Streams, epoch: u64) -> (ProducerSession, bool) {
    streams.open_producer(PRODUCER, Epoch(epoch)).await.expect("it is let in")
}

fn stored(offset: u64) -> Result<Appended, ErrorCode> {
    Ok(Appended::Stored { first_offset: Offset(offset) })
}

#[tokio::test]
async fn a_batch_that_comes_again_is_a_duplicate_and_one_too_far_is_out_of_sequence() {
    let (streams, _) = streams(Retention::default());
    let (session, resumed) = open(&streams, 0).await;
    assert!(!resumed);
    assert_eq!(append(&streams, Some(&session), Some(0)).await, stored(0));
    let duplicate = Appended::Duplicate { first_offset: Some(Offset(0)) };
    assert_eq!(append(&streams, Some(&session), Some(0)).await, Ok(duplicate));
    let gap = append(&streams, Some(&session), Some(2)).await;
    assert_eq!(gap, Err(ErrorCode::OutOfSequence));
    assert_eq!(append(&streams, None, None).await, stored(1));
    let nobody = append(&streams, None, Some(0)).await;
    assert_eq!(nobody, Err(ErrorCode::UnknownProducer));
}

#[tokio::test]
async fn the_stream_that_opened_a_producer_last_speaks_for_it_alone() {
    let (streams, _) = streams(Retention::default());
    let (first, _) = open(&streams, 0).await;
    let (second, resumed) = open(&streams, 0).await;
    assert!(resumed);
    let overtaken = append(&streams, Some(&first), Some(0)).await;
    assert_eq!(overtaken, Err(ErrorCode::ProducerFenced));
    drop(first);
    assert_eq!(append(&streams, Some(&second), Some(0)).await, stored(0));
}

#[tokio::test]
async fn of_two_streams_that_open_a_producer_at_once_the_later_one_speaks() {
    let (streams, _) = streams(Retention::default());
    let places = u32::try_from(REQUESTS).expect("it is small");
    let all = streams.0.requests.clone().acquire_many_owned(places).await.expect("it is open");
    let mut earlier = std::pin::pin!(streams.open_producer(PRODUCER, Epoch(0)));
    assert!(earlier.as_mut().now_or_never().is_none(), "there is no place");
    drop(all);
    let later = streams.open_producer(PRODUCER, Epoch(0)).now_or_never();
    let (later, _) = later.expect("it is ready at once").expect("it is let in");
    let (earlier, _) = earlier.await.expect("it is let in");
    let overtaken = append(&streams, Some(&earlier), Some(0)).await;
    assert_eq!(overtaken, Err(ErrorCode::ProducerFenced));
    assert_eq!(append(&streams, Some(&later), Some(0)).await, stored(0));
}

#[tokio::test]
async fn a_full_disk_and_a_raised_fence_are_told_as_what_they_are() {
    let (streams, storage) = streams(Retention::default());
    storage.set_full(true);
    assert_eq!(append(&streams, None, None).await, Err(ErrorCode::StorageFull));
    storage.set_full(false);
    assert_eq!(append(&streams, None, None).await, stored(0));
    storage.fence().raise("a test");
    assert_eq!(append(&streams, None, None).await, Err(ErrorCode::StorageFenced));
    streams.stop();
    assert_eq!(append(&streams, None, None).await, Err(ErrorCode::ShuttingDown));
}

#[tokio::test]
async fn a_producer_that_is_one_too_many_takes_the_place_of_one_that_is_gone() {
    let (streams, _) = streams(Retention::default());
    let open = async |id| streams.open_producer(ProducerId(id), Epoch(0)).await;
    let (first, _) = open(1).await.expect("there is room");
    drop(open(2).await.expect("there is room"));
    let (third, _) = open(3).await.expect("one is gone");
    let refused = open(4).await.map(|(_, resumed)| resumed).map_err(|refused| refused.code);
    assert_eq!(refused, Err(ErrorCode::TooManyProducers), "both are there");
    assert_eq!(append(&streams, Some(&first), Some(0)).await, stored(0));
    assert_eq!(append(&streams, Some(&third), Some(0)).await, stored(1));
    assert_eq!(streams.0.metrics.forgotten.get(), 1);
}

#[tokio::test]
async fn upkeep_trims_and_forgets_but_not_who_is_there() {
    let retention = Retention { max_age_ms: Some(1000), ..Retention::default() };
    let (streams, storage) = streams(retention);
    let (session, _) = open(&streams, 0).await;
    assert_eq!(append(&streams, Some(&session), Some(0)).await, stored(0));
    let gone = streams.open_producer(ProducerId(8), Epoch(0)).await.expect("it is let in");
    drop(gone);
    let hour = Duration::from_secs(3600);
    let later = crate::time::now_ms() + 2 * 3_600_000;
    streams.upkeep(later, hour).await.expect("it is committed");
    let partition = Partition::new(StreamName::parse("orders").expect("a name"), 0);
    let bounds = storage.bounds(&partition).expect("it is there");
    assert_eq!((bounds.first, bounds.next), (Offset(1), Offset(1)));
    assert_eq!(streams.0.metrics.forgotten.get(), 1);
    assert_eq!(append(&streams, Some(&session), Some(1)).await, stored(1));
}

/// Uses up so much of the turn that the runtime gives the task.
async fn take_of_turn(times: usize) {
    tokio::task::yield_now().await;
    poll_fn(|context| {
        for _ in 0..times {
            if let Poll::Ready(taken) = tokio::task::coop::poll_proceed(context) {
                taken.made_progress();
            }
        }
        Poll::Ready(())
    })
    .await;
}

#[tokio::test]
async fn batches_are_decided_in_their_order_wherever_the_turn_of_the_task_ends() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = EmbeddedConfig { reserve_bytes: 0, ..EmbeddedConfig::new(folder.path()) };
    let storage = Arc::new(EmbeddedStorage::open(config).expect("a new store"));
    let streams = streams_in(storage, Retention::default()).await;
    let (session, _) = open(&streams, 0).await;
    let mut sequence = 0;
    for taken in 100..140 {
        take_of_turn(taken).await;
        let mut both = Vec::new();
        for _ in 0..2 {
            let target = target(Some(sequence));
            let appending = streams.append(Some(&session), target, batch("orders.a")).await;
            both.push((sequence, appending.expect("it is taken")));
            sequence += 1;
        }
        for (sequence, appending) in both {
            let outcome = appending.outcome().await.expect("it is known");
            let first_offset = Offset(sequence);
            assert_eq!(outcome, Ok(Appended::Stored { first_offset }), "{taken} taken");
        }
    }
}

#[tokio::test]
async fn what_streams_hold_and_what_the_disk_has_left_is_told() {
    use prometheus::core::Collector as _;

    let folder = tempfile::tempdir().expect("a folder");
    let config = EmbeddedConfig { reserve_bytes: 4096, ..EmbeddedConfig::new(folder.path()) };
    let storage = Arc::new(EmbeddedStorage::open(config).expect("a new store"));
    let streams = streams_in(storage, Retention::default()).await;
    for _ in 0..3 {
        append(&streams, None, None).await.expect("it is stored");
    }
    let status = streams.storage_status().await.expect("the disk tells");
    assert_eq!(status.reserve_bytes, Some(4096));
    assert!(status.disk_bytes > Some(0) && status.free_bytes > Some(0), "{status:?}");
    assert!(status.promises.contains("the loss of power"), "{status:?}");
    let gauges = StreamGauges::new(streams).expect("the names are right");
    let told = gauges.collect();
    let value = |name: &str| {
        let family = told.iter().find(|family| family.name() == name);
        family.map(|family| family.get_metric()[0].get_gauge().get_value())
    };
    assert_eq!(value("waypost_stream_held_messages"), Some(3.0));
    let bytes = 3.0 * f64::from(u32::try_from(batch("orders.a").byte_len()).expect("it is small"));
    assert_eq!(value("waypost_stream_held_bytes"), Some(bytes));
    assert_eq!(value("waypost_storage_reserve_bytes"), Some(4096.0));
    for name in ["waypost_storage_disk_bytes", "waypost_storage_free_bytes"] {
        assert!(value(name) > Some(0.0), "{name}");
    }
}

#[tokio::test]
async fn streams_without_a_disk_tell_of_none() {
    use prometheus::core::Collector as _;

    let (streams, _) = streams(Retention::default());
    let status = streams.storage_status().await.expect("it is known that there is none");
    assert_eq!((status.disk_bytes, status.free_bytes, status.reserve_bytes), (None, None, None));
    let told = StreamGauges::new(streams).expect("the names are right").collect();
    assert!(told.iter().all(|family| !family.name().starts_with("waypost_storage")));
}
