//! What every engine is held to: one suite over the trait.
//!
//! An engine's test calls [`check`] with a function that makes an empty store, and, where commits outlive the
//! process, [`check_kept`] with one that opens the same store again. A failed expectation panics with its
//! place. What depends on the engine is asked of its [promises](Storage::promises).

mod groups;
mod producers;
mod reading;
mod routes;
mod trimming;

use std::{future::Future, num::NonZeroU32, sync::Arc};

use waypost_core::{Partition, StreamName};
use waypost_protocol::{Batch, Offset};

use crate::{
    Append, Appended, CommitError, ReadLimit, Storage, Stored,
    testing::{append, partition},
};

/// Runs everything, each part over a store of its own.
pub async fn check<S: Storage, F: Future<Output = S>>(fresh: impl Fn() -> F) {
    for number in 0.. {
        let storage = Arc::new(fresh().await);
        declare(&*storage).await;
        match number {
            0 => reading::batches_come_back_as_they_were_at_consecutive_offsets(&*storage).await,
            1 => reading::a_read_begins_where_it_is_asked_to_and_keeps_its_limit(&*storage).await,
            2 => reading::times_find_the_first_batch_that_is_not_older(&*storage).await,
            3 => reading::what_does_not_exist_is_refused(&*storage).await,
            4 => reading::a_cursor_waits_for_what_is_appended_later(storage).await,
            5 => reading::concurrent_appends_are_each_stored_once(storage).await,
            6 => producers::each_batch_is_stored_once_and_in_sequence(&*storage).await,
            7 => producers::older_lives_are_fenced_and_forgotten_producers_unknown(&*storage).await,
            8 => producers::a_refused_batch_refuses_its_unit(&*storage).await,
            9 => routes::progress_moves_with_its_outputs_or_not_at_all(&*storage).await,
            10 => routes::parked_messages_come_back_whole_and_in_order(&*storage).await,
            11 => trimming::what_is_trimmed_is_counted_and_gone(&*storage).await,
            12 => trimming::a_partition_that_was_trimmed_empty_goes_on_counting(&*storage).await,
            13 => trimming::a_long_trim_says_that_there_is_more(&*storage).await,
            14 => groups::a_group_moves_with_its_dead_letters_or_not_at_all(&*storage).await,
            15 => groups::what_is_kept_of_groups_is_found_by_name(&*storage).await,
            16 => routes::a_route_that_is_forgotten_leaves_nothing(&*storage).await,
            17 => producers::those_who_are_away_longest_make_room_for_others(&*storage).await,
            18 => a_fence_ends_writing_and_leaves_reading(&*storage).await,
            _ => return,
        }
    }
}

/// For engines whose commits outlive the process: `open` opens the same store each time, after the last one
/// was closed by `close`.
pub async fn check_kept<S: Storage, F: Future<Output = S>, C: Future<Output = ()>>(
    open: impl Fn() -> F,
    close: impl Fn(S) -> C,
) {
    let mut storage = open().await;
    assert!(storage.promises().survives_kill, "an engine that keeps nothing is not asked");
    declare(&storage).await;
    producers::prepare(&storage).await;
    routes::prepare(&storage).await;
    groups::prepare(&storage).await;
    trimming::prepare(&storage).await;
    for round in 0..2 {
        let before = snapshot(&storage).await;
        close(storage).await;
        storage = open().await;
        assert_eq!(snapshot(&storage).await, before, "bounds and batches are kept");
        producers::still_knows(&storage, round).await;
        routes::still_knows(&storage, round).await;
        groups::still_knows(&storage, round).await;
        declare(&storage).await;
    }
}

/// The bounds and batches of every partition.
async fn snapshot(storage: &impl Storage) -> Vec<(crate::Bounds, Vec<Stored>)> {
    let mut all = Vec::new();
    for index in 0..PARTITIONS {
        let bounds = storage.bounds(&partition(index)).expect("it was declared");
        all.push((bounds, read_from(storage, index, bounds.first.0).await));
    }
    all
}

async fn a_fence_ends_writing_and_leaves_reading(storage: &impl Storage) {
    store(storage, append(0, 2, "before", 1)).await;
    storage.fence().raise("a test");
    assert_eq!(storage.fence().raised().await, "a test");
    let refused = storage.append(append(0, 1, "after", 2)).await;
    assert_eq!(refused, Err(CommitError::Fenced { reason: "a test".into() }));
    let opened =
        storage.open_producer(waypost_protocol::ProducerId(1), Default::default(), 0).await;
    assert!(matches!(opened, Err(CommitError::Fenced { .. })));
    let batches = read_from(storage, 0, 0).await;
    assert_eq!(batches.len(), 1, "reads go on");
    assert_eq!(storage.bounds(&partition(0)).expect("it exists").next, Offset(2));
}

const PARTITIONS: u32 = 3;

async fn declare(storage: &impl Storage) {
    let stream = partition(0).stream;
    let partitions = NonZeroU32::new(PARTITIONS).expect("three is not zero");
    storage.declare(stream, partitions).await.expect("the same stream as before, or none");
}

/// The partition of a stream that the suite does not declare.
fn elsewhere() -> Partition {
    Partition::new(StreamName::parse("elsewhere").expect("a valid name"), 0)
}

/// Appends, and gives the offset.
async fn store(storage: &impl Storage, append: Append) -> u64 {
    match storage.append(append).await {
        Ok(Appended::Stored { first_offset }) => first_offset.0,
        other => panic!("it was to be stored: {other:?}"),
    }
}

/// Everything from an offset on.
async fn read_from(storage: &impl Storage, index: u32, from: u64) -> Vec<Stored> {
    let (mut all, mut next) = (Vec::new(), Offset(from));
    loop {
        let read = storage.read(partition(index), next, ReadLimit::default()).await;
        let chunk = read.unwrap_or_else(|error| panic!("from {next}: {error}"));
        if chunk.batches.is_empty() {
            return all;
        }
        next = chunk.next;
        all.extend(chunk.batches);
    }
}

/// The payload of a batch's first message.
fn text(batch: &Batch) -> String {
    let payload = batch.payloads().get(0).unwrap_or_default();
    String::from_utf8_lossy(payload).into_owned()
}

fn texts(batches: &[Stored]) -> Vec<String> {
    batches.iter().map(|stored| text(&stored.batch)).collect()
}
