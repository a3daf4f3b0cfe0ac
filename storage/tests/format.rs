//! The fixture: a store of each version of the format that was ever released, as that version wrote it.
//!
//! `fixtures/format-1` was written by `WAYPOST_FIXTURE=FOLDER cargo test -p waypost-storage --test format -- --ignored`
//! when the version was new. It is never written anew: what stands there is what later versions must read.
#![forbid(unsafe_code)]

use std::{
    fs,
    num::NonZeroU32,
    path::{Path, PathBuf},
};

use waypost_core::{
    FailedMessage, GroupName, GroupPosition, Partition, RouteName, StageName, StreamName,
};
use waypost_protocol::{
    Batch, BatchBuilder, Envelope, Epoch, HeadersBuilder, Offset, Pattern, Producer, ProducerId,
    Sequence,
};
use waypost_storage::{
    Append, Appended, EmbeddedConfig, EmbeddedStorage, GroupState, GroupStep, KeptGroup, MessageId,
    OpenError, OpenedProducer, ParkedMessage, ReadLimit, Revision, Step, Storage, Unit,
};

const PRODUCER: ProducerId = ProducerId(7);
const FIXTURE: &str = "tests/fixtures/format-1";

fn partition(index: u32) -> Partition {
    Partition::new(StreamName::parse("orders").expect("a valid name"), index)
}

fn route() -> RouteName {
    RouteName::parse("bills").expect("a valid name")
}

fn group() -> GroupName {
    GroupName::parse("workers").expect("a valid name")
}

/// Two messages: one with everything that a message may have, and one with nothing.
fn batch(number: u64) -> Batch {
    let mut headers = HeadersBuilder::new();
    headers.push("trace", b"\x00\x01\xff").expect("a header");
    let mut builder = BatchBuilder::new();
    let payload = format!("order {number} {}", "x".repeat(1500));
    builder
        .push("orders.eu", Some(b"4711"), headers.as_bytes(), payload.as_bytes(), 1_000 + number)
        .expect("it keeps the limits");
    builder.push("orders.us", None, &[], b"", 0).expect("it keeps the limits");
    builder.finish().expect("it has messages")
}

fn append(number: u64) -> Append {
    let first_sequence = Sequence(number * 2);
    let producer = Some(Producer { id: PRODUCER, epoch: Epoch(3), first_sequence });
    let envelope = Envelope { ingest_ms: 5_000 + number, producer, ..Envelope::default() };
    Append { partition: partition(0), batch: batch(number), envelope, origin: None }
}

fn parked() -> ParkedMessage {
    let mut builder = BatchBuilder::new();
    builder.push("orders.eu", Some(b"4711"), &[], b"parked", 1_000).expect("it keeps the limits");
    ParkedMessage {
        id: MessageId { offset: Offset(1), stage: 0, index: 2 },
        stage: StageName::parse("price").expect("a valid name"),
        attempts: 2,
        due_ms: 9_000,
        first_failure_ms: Some(6_000),
        error: "not yet".to_owned(),
        envelope: Envelope { ingest_ms: 5_000, hops: 1, ..Envelope::default() },
        is_letter: false,
        batch: builder.finish().expect("it has a message"),
    }
}

fn state() -> GroupState {
    let failed = FailedMessage {
        offset: Offset(2),
        key: Some(77),
        failures: 1,
        due_ms: 8_000,
        first_failure_ms: 7_000,
    };
    GroupState {
        pattern: Pattern::parse("orders.>").expect("a valid pattern"),
        position: GroupPosition {
            floor: Offset(2),
            done: [Offset(3), Offset(5)].into_iter().collect(),
            failed: vec![failed],
        },
    }
}

fn open(folder: &Path) -> Result<EmbeddedStorage, OpenError> {
    EmbeddedStorage::open(EmbeddedConfig { reserve_bytes: 0, ..EmbeddedConfig::new(folder) })
}

fn copied(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("it is made");
    for entry in fs::read_dir(from).expect("it stands") {
        let entry = entry.expect("it is readable");
        let (here, there) = (entry.path(), to.join(entry.file_name()));
        if here.is_dir() {
            copied(&here, &there);
        } else {
            fs::copy(&here, &there).expect("it is copied");
        }
    }
}

/// A copy of the fixture, which opening would change.
fn fixture() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("store");
    copied(&Path::new(env!("CARGO_MANIFEST_DIR")).join(FIXTURE), &store);
    (folder, store)
}

/// Has everything written into tables, as the engine does after many commits.
fn into_tables(library: &Path) {
    let database = fjall::Database::builder(library).open().expect("it opens");
    for name in ["log", "index", "state", "commits"] {
        let keyspace = database.keyspace(name, Default::default).expect("it stands");
        keyspace.rotate_memtable_and_wait().expect("it is written");
    }
}

#[ignore = "it writes the fixture of a new version"]
#[tokio::test(flavor = "multi_thread")]
async fn writes_a_fixture() {
    let Some(folder) = std::env::var_os("WAYPOST_FIXTURE").map(PathBuf::from) else { return };
    let storage = open(&folder).expect("a new store");
    let two = NonZeroU32::new(2).expect("two is not zero");
    storage.declare(partition(0).stream, two).await.expect("it is new");
    storage.open_producer(PRODUCER, Epoch(3), 4_000).await.expect("it is new");
    for number in 0..3 {
        storage.append(append(number)).await.expect("it is in sequence");
    }
    let (from, to, park, unpark) = (None, Offset(3), vec![parked()], vec![]);
    let step = Step { route: route(), source: partition(0), from, to, park, unpark };
    let unit = Unit { step: Some(step), ..Unit::default() };
    storage.commit(unit).await.expect("it is the first step");
    storage.close().await;
    into_tables(&folder.join("streams"));
    // The rest stands in the journal only.
    let storage = open(&folder).expect("it stands");
    storage.append(append(3)).await.expect("it is in sequence");
    let (from, to) = (None, Some(state()));
    let groups = vec![GroupStep { group: group(), source: partition(0), from, to }];
    storage.commit(Unit { groups, ..Unit::default() }).await.expect("it is the first step");
    storage.close().await;
    // Journals are allocated ahead; what was not written is of no use here.
    for entry in fs::read_dir(folder.join("streams")).expect("it stands") {
        let path = entry.expect("it is readable").path();
        if path.extension().is_some_and(|extension| extension == "jnl") {
            let bytes = fs::read(&path).expect("it is readable");
            let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            fs::write(&path, bytes.get(..used).unwrap_or_default()).expect("it is writable");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_in_the_fixture_is_read_and_goes_on() {
    let (_folder, store) = fixture();
    for round in 0..2 {
        let storage = open(&store).expect("an earlier version is readable");
        let bounds = storage.bounds(&partition(0)).expect("it was declared");
        assert_eq!((bounds.first, bounds.next), (Offset(0), Offset(8 + round * 2)));
        assert_eq!(storage.bounds(&partition(1)).expect("it was declared").next, Offset(0));
        let read = storage.read(partition(0), Offset(0), ReadLimit::default()).await;
        for (number, stored) in (0_u64..4).zip(&read.expect("it is whole").batches) {
            assert_eq!(stored.batch, batch(number), "the same bytes");
            assert_eq!(stored.envelope.ingest_ms, 5_000 + number);
            assert_eq!(stored.envelope.producer, append(number).envelope.producer);
        }
        let progress = storage.progress(route(), partition(0)).await;
        assert_eq!(progress, Ok(Some(Offset(3))));
        assert_eq!(storage.parked(route(), partition(0)).await, Ok(vec![parked()]));
        assert_eq!(storage.groups().await, Ok(vec![group()]));
        let (source, revision) = (partition(0), Revision(0));
        let kept = KeptGroup { source, revision, state: state() };
        assert_eq!(storage.group(group()).await, Ok(vec![kept]));
        let opened = storage.open_producer(PRODUCER, Epoch(3), 4_000).await;
        assert_eq!(opened, Ok(OpenedProducer::Resumed));
        let again = storage.append(append(3)).await;
        assert_eq!(again, Ok(Appended::Duplicate { first_offset: Some(Offset(6)) }));
        let next = storage.append(append(4 + round)).await;
        assert_eq!(next, Ok(Appended::Stored { first_offset: Offset(8 + round * 2) }));
        storage.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_of_a_later_version_is_left_as_it_is() {
    let (_folder, store) = fixture();
    fs::write(store.join("format"), "waypost-storage 2\n").expect("it is writable");
    let journals = |store: &Path| {
        let entries = fs::read_dir(store.join("streams")).expect("it stands");
        let sizes =
            entries.map(|entry| entry.and_then(|entry| entry.metadata()).map(|it| it.len()));
        sizes.collect::<Result<Vec<_>, _>>().expect("they are readable")
    };
    let before = journals(&store);
    let refused = open(&store).expect_err("it is of a later version");
    assert!(matches!(refused, OpenError::Newer { found: 2, known: 1, .. }), "{refused}");
    let told = refused.to_string();
    assert!(told.contains("version 2") && told.contains("run the version that wrote it"), "{told}");
    assert_eq!(journals(&store), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_another_router_holds_is_refused_until_it_lets_go() {
    let (_folder, store) = fixture();
    let holder = open(&store).expect("nobody holds it");
    let refused = open(&store).expect_err("it is held");
    assert!(matches!(refused, OpenError::Locked(_)), "{refused}");
    assert!(refused.to_string().contains("open in another process"), "{refused}");
    holder.append(append(4)).await.expect("whoever holds it goes on");
    holder.close().await;
    open(&store).expect("it was let go").close().await;
}
