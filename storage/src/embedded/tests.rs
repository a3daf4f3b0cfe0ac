//! The engine on a real disk: the suite, restarts, what it refuses to open, and the reserve.

mod unsynced;

use std::{
    fs,
    num::NonZeroU32,
    path::Path,
    sync::atomic::{AtomicU32, Ordering},
};

use waypost_core::GroupPosition;
use waypost_protocol::{Pattern, Producer, Sequence};

use super::*;
use crate::{
    Appended, CommitNumber, GroupState, GroupStep, conformance,
    testing::{append, partition},
};

fn config(folder: &Path) -> EmbeddedConfig {
    EmbeddedConfig { reserve_bytes: 0, ..EmbeddedConfig::new(folder) }
}

fn open(folder: &Path) -> EmbeddedStorage {
    EmbeddedStorage::open(config(folder)).expect("the store opens")
}

/// A store with batches in it, closed again.
async fn written(folder: &Path, batches: usize) {
    let storage = open(folder);
    storage.declare(partition(0).stream, NonZeroU32::MIN).await.expect("it is new");
    for number in 0..batches {
        storage.append(append(0, 1, &number.to_string(), 0)).await.expect("it is stored");
    }
    storage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_keeps_what_every_engine_keeps() {
    let folder = tempfile::tempdir().expect("a folder");
    let number = AtomicU32::new(0);
    conformance::check(async || {
        let number = number.fetch_add(1, Ordering::Relaxed);
        open(&folder.path().join(number.to_string()))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_from_disk_keep_the_same_as_reads_from_memory() {
    let folder = tempfile::tempdir().expect("a folder");
    let number = AtomicU32::new(0);
    conformance::check(async || {
        let number = number.fetch_add(1, Ordering::Relaxed);
        let folder = folder.path().join(number.to_string());
        let config = EmbeddedConfig { tail_bytes: 0, ..config(&folder) };
        EmbeddedStorage::open(config).expect("the store opens")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_groups_are_kept_and_each_is_found_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    written(folder.path(), 1).await;
    let name = |number: u64| GroupName::parse(&format!("g{number}")).expect("a valid name");
    let state = |number: u64| GroupState {
        pattern: Pattern::parse("orders.>").expect("a valid pattern"),
        position: GroupPosition::at(Offset(number)),
    };
    let step = |number: u64| GroupStep {
        group: name(number),
        source: partition(0),
        from: None,
        to: Some(state(number)),
    };
    let storage = open(folder.path());
    storage.append(append(0, 10_000, "x", 0)).await.expect("it is stored");
    for thousand in 0..10 {
        let groups = (thousand * 1000..(thousand + 1) * 1000).map(step).collect();
        storage.commit(Unit { groups, ..Unit::default() }).await.expect("they are new");
    }
    storage.close().await;
    let storage = open(folder.path());
    assert_eq!(storage.groups().await.map(|names| names.len()), Ok(10_000));
    for number in [0, 9_999] {
        let kept = storage.group(name(number)).await.expect("it is readable");
        let expected =
            KeptGroup { source: partition(0), revision: crate::Revision(0), state: state(number) };
        assert_eq!(kept, [expected]);
    }
    storage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_partitions_are_kept_and_each_counts_for_itself() {
    let folder = tempfile::tempdir().expect("a folder");
    let name = |number: u32| StreamName::parse(&format!("s{number}")).expect("a valid name");
    let (streams, each) = (10, NonZeroU32::new(1000).expect("it is not zero"));
    let storage = open(folder.path());
    for stream in 0..streams {
        storage.declare(name(stream), each).await.expect("it is new");
        let append = |index| crate::Append {
            partition: Partition::new(name(stream), index),
            ..append(0, 1 + index as usize % 3, "x", 0)
        };
        let appends = (0..each.get()).map(append).collect();
        storage.commit(Unit { appends, ..Unit::default() }).await.expect("it is stored");
    }
    storage.close().await;
    let storage = open(folder.path());
    for stream in 0..streams {
        for index in 0..each.get() {
            let bounds = storage.bounds(&Partition::new(name(stream), index));
            let next = bounds.expect("it was declared").next;
            assert_eq!(next, Offset(1 + u64::from(index) % 3));
        }
    }
    let last = Partition::new(name(streams - 1), each.get() - 1);
    let read = storage.read(last, Offset(0), ReadLimit::default()).await.expect("it is whole");
    assert_eq!(read.batches.len(), 1);
    storage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_committed_is_there_after_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    conformance::check_kept(async || open(folder.path()), EmbeddedStorage::close).await;
}

#[tokio::test]
async fn what_arrives_during_a_sync_shares_the_next_one() {
    let folder = tempfile::tempdir().expect("a folder");
    written(folder.path(), 1).await;
    let storage = Arc::new(open(folder.path()));
    let units = (0..200).map(|_| {
        let storage = storage.clone();
        tokio::spawn(async move { storage.commit(Unit::append(append(0, 1, "x", 0))).await })
    });
    let mut numbers = BTreeSet::new();
    for unit in units.collect::<Vec<_>>() {
        let committed = unit.await.expect("it is well").expect("it is committed");
        numbers.insert(committed.number);
    }
    // All were sent before the first answer was looked at.
    assert!(numbers.len() < 100, "{} commits", numbers.len());
    let last = numbers.last().map(|number| number.0);
    assert_eq!(last, Some(2 + numbers.len() as u64), "numbers have no gaps");
}

#[tokio::test(flavor = "multi_thread")]
async fn below_the_reserve_only_what_takes_no_space_goes_on() {
    let folder = tempfile::tempdir().expect("a folder");
    written(folder.path(), 2).await;
    let mut of_producer = append(0, 1, "x", 0);
    let (id, epoch, first_sequence) = (ProducerId(1), Epoch(0), Sequence(0));
    of_producer.envelope.producer = Some(Producer { id, epoch, first_sequence });
    let storage = open(folder.path());
    storage.open_producer(id, epoch, 0).await.expect("it is new");
    storage.append(of_producer.clone()).await.expect("there is room");
    storage.close().await;
    let config = EmbeddedConfig { reserve_bytes: u64::MAX, ..config(folder.path()) };
    let storage = EmbeddedStorage::open(config).expect("a full store opens");
    storage.declare(partition(0).stream, NonZeroU32::MIN).await.expect("it stands already");
    let resumed = storage.open_producer(id, epoch, 0).await;
    assert_eq!(resumed, Ok(OpenedProducer::Resumed), "it is known");
    let refused = storage.open_producer(ProducerId(2), epoch, 0).await;
    assert!(matches!(refused, Err(CommitError::Full { .. })), "{refused:?}");
    let other = StreamName::parse("other").expect("a valid name");
    let refused = storage.declare(other, NonZeroU32::MIN).await;
    assert!(matches!(refused, Err(DeclareError::Commit(CommitError::Full { .. }))), "{refused:?}");
    let again = storage.append(of_producer).await;
    let first_offset = Some(Offset(2));
    assert_eq!(again, Ok(Appended::Duplicate { first_offset }), "it is stored");
    let refused = storage.append(append(0, 1, "x", 0)).await;
    let Err(error @ CommitError::Full { reserve: u64::MAX, .. }) = refused else {
        panic!("it was to be refused: {refused:?}");
    };
    assert_eq!(error.code().map(waypost_protocol::ErrorCode::name), Some("STORAGE_FULL"));
    let one = Retention { max_messages: Some(1), ..Retention::default() };
    let report = storage.trim(partition(0), one, 0).await.expect("a trim goes on");
    assert_eq!(report.first, Offset(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_it_takes_of_the_disk_grows_with_what_it_keeps() {
    let folder = tempfile::tempdir().expect("a folder");
    written(folder.path(), 1).await;
    let config = EmbeddedConfig { reserve_bytes: 4096, ..config(folder.path()) };
    let storage = EmbeddedStorage::open(config).expect("the store opens");
    let told = async || storage.disk_use().await.expect("it is readable").expect("it has a disk");
    let before = told().await;
    assert_eq!(before.reserve_bytes, 4096);
    assert!(before.free_bytes > 0, "{before:?}");
    let payload = "x".repeat(1 << 20);
    for _ in 0..4 {
        storage.append(append(0, 1, &payload, 0)).await.expect("it is stored");
    }
    let after = told().await;
    assert!(after.stored_bytes >= before.stored_bytes + (2 << 20), "{before:?} {after:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_is_open_in_one_place() {
    let folder = tempfile::tempdir().expect("a folder");
    let storage = open(folder.path());
    let second = EmbeddedStorage::open(config(folder.path()));
    assert!(matches!(second, Err(OpenError::Locked(_))), "{second:?}");
    storage.close().await;
    open(folder.path());
}

/// Cuts the journal in its middle: the library takes that for the end of what was written.
fn cut_journal(folder: &Path) {
    let path = folder.join("streams/0.jnl");
    let journal = fs::read(&path).expect("the journal stands");
    let used = journal.iter().rposition(|byte| *byte != 0).expect("something was written");
    let file = fs::OpenOptions::new().write(true).open(&path).expect("it is writable");
    file.set_len(used as u64 / 2).expect("it is cut");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_lost_its_newest_commits_names_them_and_opens_when_that_is_accepted() {
    let folder = tempfile::tempdir().expect("a folder");
    written(folder.path(), 20).await;
    cut_journal(folder.path());
    let refused = EmbeddedStorage::open(config(folder.path()));
    let Err(OpenError::Lost { recovered, synced, .. }) = refused else {
        panic!("it was to be refused: {refused:?}");
    };
    // One commit declared the stream.
    assert_eq!(synced, CommitNumber(21));
    assert!((CommitNumber(1)..CommitNumber(21)).contains(&recovered), "{recovered}");
    let accepting = EmbeddedConfig { accept_loss: true, ..config(folder.path()) };
    EmbeddedStorage::open(accepting).expect("the loss is accepted").close().await;
    let storage = open(folder.path());
    let next = storage.bounds(&partition(0)).expect("it exists").next;
    assert_eq!(next.0 + 1, recovered.0, "it goes on where it was recovered");
    storage.append(append(0, 1, "x", 0)).await.expect("it is stored");
}

#[tokio::test(flavor = "multi_thread")]
async fn positions_behind_an_end_that_was_lost_are_moved_back_to_it() {
    let folder = tempfile::tempdir().expect("a folder");
    written(folder.path(), 6).await;
    let route = RouteName::parse("copy").expect("a valid name");
    let group = GroupName::parse("workers").expect("a valid name");
    let (park, unpark) = (Vec::new(), Vec::new());
    let (source, to) = (partition(0), Offset(6));
    let step = crate::Step { route: route.clone(), source, from: None, to, park, unpark };
    let position = GroupPosition {
        floor: Offset(1),
        done: [2, 3, 5].map(Offset).into_iter().collect(),
        failed: Vec::new(),
    };
    let pattern = Pattern::parse("orders").expect("a valid pattern");
    let to = Some(GroupState { pattern, position });
    let groups = vec![GroupStep { group: group.clone(), source: partition(0), from: None, to }];
    let storage = open(folder.path());
    let unit = Unit { step: Some(step), groups, ..Unit::default() };
    storage.commit(unit).await.expect("they are the first steps");
    assert_eq!(storage.moved_back(), []);
    storage.close().await;
    // Two batches go, and with them what says where the partition ends.
    let key = keys::PartitionKey { stream: 0, partition: 0 };
    for base in [4, 5] {
        remove(folder.path(), "log", &key.batch(Offset(base)));
        remove(folder.path(), "index", &key.batch(Offset(base)));
    }
    let held = waypost_core::Extent { batches: 4, messages: 4, bytes: 4 };
    let bounds = Bounds { first: Offset(0), next: Offset(4), held };
    let place = crate::ledger::Place { bounds, last_ingest_ms: 0 };
    insert(folder.path(), "state", &key.place(), &records::encode_place(&place));

    let storage = open(folder.path());
    let moved = storage.moved_back();
    let told = moved.iter().map(|moved| (moved.reader.to_string(), moved.from.0, moved.to.0));
    let expected = [("the group workers".to_owned(), 6, 4), ("the route copy".to_owned(), 6, 4)];
    assert_eq!(told.collect::<Vec<_>>(), expected);
    storage.close().await;
    let storage = open(folder.path());
    assert_eq!(storage.moved_back(), [], "once is enough");
    let progress = storage.progress(route.clone(), partition(0)).await;
    assert_eq!(progress, Ok(Some(Offset(4))));
    let kept = storage.group(group).await.expect("it is readable");
    let done: Vec<_> = kept.iter().flat_map(|kept| kept.state.position.done.iter()).collect();
    let range = waypost_core::OffsetRange { first: Offset(2), last: Offset(3) };
    assert_eq!(
        (done, kept.first().map(|kept| kept.revision)),
        (vec![range], Some(crate::Revision(1)))
    );
    let step = crate::Step {
        route,
        source: partition(0),
        from: Some(Offset(4)),
        to: Offset(5),
        park: Vec::new(),
        unpark: Vec::new(),
    };
    storage.append(append(0, 1, "anew", 0)).await.expect("it is stored");
    let unit = Unit { step: Some(step), ..Unit::default() };
    storage.commit(unit).await.expect("the route goes on at the end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_of_garbage_is_refused_whatever_the_library_makes_of_it() {
    let folder = tempfile::tempdir().expect("a folder");
    written(folder.path(), 20).await;
    let path = folder.path().join("streams/0.jnl");
    let journal = fs::read(&path).expect("the journal stands");
    let used = journal.iter().rposition(|byte| *byte != 0).expect("something was written");
    for seed in 0..20 {
        let mut garbage = journal.clone();
        let mut state = u64::try_from(seed).expect("small") * 2 + 1;
        for byte in garbage.iter_mut().take(used).skip(used / 2 + seed) {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            *byte = state.to_be_bytes()[0];
        }
        fs::write(&path, garbage).expect("it is writable");
        EmbeddedStorage::open(config(folder.path())).expect_err("commits are lost");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_without_its_number_is_not_trusted() {
    let folder = tempfile::tempdir().expect("a folder");
    written(folder.path(), 3).await;
    fs::remove_file(folder.path().join("synced")).expect("it stands");
    let refused = EmbeddedStorage::open(config(folder.path()));
    assert!(matches!(refused, Err(OpenError::NumberMissing { .. })), "{refused:?}");
}

/// Writes an entry, behind the engine's back.
fn insert(folder: &Path, keyspace: &str, key: &[u8], value: &[u8]) {
    let database = fjall::Database::builder(folder.join("streams")).open().expect("it opens");
    let keyspace = database.keyspace(keyspace, Default::default).expect("it stands");
    keyspace.insert(key, value).expect("it is written");
}

/// Removes an entry that was committed, behind the engine's back.
fn remove(folder: &Path, keyspace: &str, key: &[u8]) {
    let database = fjall::Database::builder(folder.join("streams")).open().expect("it opens");
    let keyspace = database.keyspace(keyspace, Default::default).expect("it stands");
    keyspace.remove(key).expect("it is removed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_lost_commits_in_its_middle_names_them() {
    let folder = tempfile::tempdir().expect("a folder");
    written(folder.path(), 9).await;
    for number in [4, 5] {
        remove(folder.path(), "commits", &keys::chain_slot(CommitNumber(number)));
    }
    let refused = EmbeddedStorage::open(config(folder.path()));
    let Err(OpenError::Gap { first, last, count, .. }) = refused else {
        panic!("it was to be refused: {refused:?}");
    };
    assert_eq!((first, last, count), (CommitNumber(4), CommitNumber(5), 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hole_is_named_to_readers_who_can_go_on_behind_it() {
    let folder = tempfile::tempdir().expect("a folder");
    written(folder.path(), 5).await;
    let key = keys::PartitionKey { stream: 0, partition: 0 };
    remove(folder.path(), "log", &key.batch(Offset(2)));
    remove(folder.path(), "index", &key.batch(Offset(2)));
    let storage = open(folder.path());
    let read = async |from| storage.read(partition(0), Offset(from), ReadLimit::default()).await;
    let before = read(0).await.expect("what stands before the hole is given");
    assert_eq!((before.batches.len(), before.next), (2, Offset(2)));
    let Err(ReadError::Damaged { offset, resume, .. }) = read(2).await else {
        panic!("the hole was to be named");
    };
    assert_eq!((offset, resume), (Offset(2), Some(Offset(3))));
    assert_eq!(read(3).await.expect("what stands behind it").batches.len(), 2);
    let four = Retention { max_messages: Some(4), ..Retention::default() };
    let report = storage.trim(partition(0), four, 0).await.expect("it is trimmed");
    assert_eq!(report.first, Offset(1));
    let three = Retention { max_messages: Some(3), ..Retention::default() };
    let report = storage.trim(partition(0), three, 0).await.expect("it is trimmed");
    assert_eq!(report.first, Offset(3), "it begins with a batch, not within the hole");
    let aged = Retention { max_age_ms: Some(1), ..Retention::default() };
    storage.trim(partition(0), aged, 1000).await.expect("it is trimmed");
    storage.close().await;
    let storage = open(folder.path());
    let bounds = storage.bounds(&partition(0)).expect("it exists");
    assert_eq!((bounds.first, bounds.next), (Offset(5), Offset(5)));
}

#[tokio::test(flavor = "multi_thread")]
async fn where_loss_is_accepted_what_is_held_is_counted_anew_and_offsets_are_not_given_again() {
    let folder = tempfile::tempdir().expect("a folder");
    written(folder.path(), 6).await;
    let key = keys::PartitionKey { stream: 0, partition: 0 };
    for base in [0, 2, 5] {
        remove(folder.path(), "log", &key.batch(Offset(base)));
        remove(folder.path(), "index", &key.batch(Offset(base)));
    }
    let refused = EmbeddedStorage::open(config(folder.path()));
    assert!(matches!(refused, Err(OpenError::Short { .. })), "{refused:?}");
    let accepting = EmbeddedConfig { accept_loss: true, ..config(folder.path()) };
    EmbeddedStorage::open(accepting).expect("the loss is accepted").close().await;
    let storage = open(folder.path());
    let bounds = storage.bounds(&partition(0)).expect("it exists");
    let (ends, held) = ((bounds.first, bounds.next), (bounds.held.batches, bounds.held.messages));
    assert_eq!((ends, held), ((Offset(1), Offset(6)), (3, 3)));
    let Err(ReadError::Damaged { resume, .. }) =
        storage.read(partition(0), Offset(5), ReadLimit::default()).await
    else {
        panic!("the end is a hole");
    };
    assert_eq!(resume, Some(Offset(6)));
    // As much as is there is kept.
    let bounded = Retention { max_bytes: Some(bounds.held.bytes), ..Retention::default() };
    let report = storage.trim(partition(0), bounded, 0).await.expect("it is trimmed");
    assert_eq!(report.first, Offset(1));
    let stored = storage.append(append(0, 1, "x", 0)).await;
    assert_eq!(stored, Ok(Appended::Stored { first_offset: Offset(6) }));
    storage.close().await;
    open(folder.path());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_whose_end_contradicts_its_batches_is_not_opened() {
    let folder = tempfile::tempdir().expect("a folder");
    written(folder.path(), 5).await;
    let key = keys::PartitionKey { stream: 0, partition: 0 };
    remove(folder.path(), "index", &key.batch(Offset(4)));
    let refused = EmbeddedStorage::open(config(folder.path()));
    let Err(OpenError::Short { end: Offset(4), next: Offset(5), .. }) = refused else {
        panic!("it was to be refused: {refused:?}");
    };
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_waits_hears_that_the_store_was_closed() {
    let folder = tempfile::tempdir().expect("a folder");
    written(folder.path(), 1).await;
    let storage = open(folder.path());
    let mut head = storage.head(&partition(0)).expect("it exists");
    storage.close().await;
    assert_eq!(head.beyond(Offset(1)).await, None);
}
