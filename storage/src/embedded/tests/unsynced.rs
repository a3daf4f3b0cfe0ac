//! Streams that are not synced: what is acknowledged of them goes on, and what the loss of power takes is the end.

use super::*;
use crate::{Append, Stored, embedded::synced::SyncedFile};

fn unsynced(folder: &Path) -> EmbeddedConfig {
    EmbeddedConfig { unsynced: [partition(0).stream].into(), ..config(folder) }
}

fn open_unsynced(folder: &Path) -> EmbeddedStorage {
    EmbeddedStorage::open(unsynced(folder)).expect("the store opens")
}

/// A batch for a stream that is synced.
fn safe(text: &str) -> Append {
    let stream = StreamName::parse("safe").expect("a valid name");
    Append { partition: Partition::new(stream, 0), ..append(0, 1, text, 0) }
}

/// A store with both streams.
async fn both(folder: &Path) -> EmbeddedStorage {
    let storage = open_unsynced(folder);
    for stream in [partition(0).stream, safe("").partition.stream] {
        storage.declare(stream, NonZeroU32::MIN).await.expect("it is new");
    }
    storage
}

/// The number that is kept apart.
fn noted(folder: &Path) -> u64 {
    let (_, number) = SyncedFile::open(&folder.join("synced")).expect("it is readable");
    number.expect("it is whole").0
}

async fn read(storage: &EmbeddedStorage, partition: &Partition) -> Vec<Stored> {
    let limit = ReadLimit { max_batches: 1000, ..ReadLimit::default() };
    storage.read(partition.clone(), Offset(0), limit).await.expect("it is whole").batches
}

#[tokio::test(flavor = "multi_thread")]
async fn they_keep_what_every_stream_keeps() {
    let folder = tempfile::tempdir().expect("a folder");
    let number = AtomicU32::new(0);
    conformance::check(async || {
        let number = number.fetch_add(1, Ordering::Relaxed);
        open_unsynced(&folder.path().join(number.to_string()))
    })
    .await;
    let kept = tempfile::tempdir().expect("a folder");
    conformance::check_kept(async || open_unsynced(kept.path()), EmbeddedStorage::close).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn their_commits_are_noted_as_synced_with_the_next_that_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let storage = both(folder.path()).await;
    let before = noted(folder.path());
    for number in 0..3 {
        storage.append(append(0, 1, &number.to_string(), 0)).await.expect("it is written");
    }
    assert_eq!(noted(folder.path()), before, "nobody waited for a sync");
    assert_eq!(read(&storage, &partition(0)).await.len(), 3, "readers have them");
    storage.append(safe("x")).await.expect("it is synced");
    assert_eq!(noted(folder.path()), before + 4);
    let mixed = Unit { appends: vec![append(0, 1, "3", 0), safe("y")], ..Unit::default() };
    storage.commit(mixed).await.expect("it is synced");
    assert_eq!(noted(folder.path()), before + 5, "a unit of both waits for the sync");
    storage.append(append(0, 1, "4", 0)).await.expect("it is written");
    storage.close().await;
    assert_eq!(noted(folder.path()), before + 6, "an orderly end loses nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_writers_of_both_kinds_find_each_batch_where_they_were_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let storage = Arc::new(both(folder.path()).await);
    let writers = (0..8).map(|writer| {
        let storage = storage.clone();
        tokio::spawn(async move {
            let mut told = Vec::new();
            for number in 0..20 {
                let text = format!("{writer}-{number}");
                let mut appends = vec![append(0, 1, &text, 0)];
                if (writer + number) % 3 == 0 {
                    appends.push(safe(&text));
                }
                let unit = Unit { appends, ..Unit::default() };
                let committed = storage.commit(unit).await.expect("it is committed");
                told.push((committed.appends, text));
            }
            told
        })
    });
    let mut told = Vec::new();
    for writer in writers.collect::<Vec<_>>() {
        for (appends, text) in writer.await.expect("the writer is well") {
            let Some(Appended::Stored { first_offset }) = appends.first().copied() else {
                panic!("{appends:?}");
            };
            told.push((first_offset.0, text));
        }
    }
    told.sort();
    let found = read(&storage, &partition(0)).await;
    let text = |stored: &Stored| {
        let payload = stored.batch.payloads().get(0).unwrap_or_default();
        String::from_utf8_lossy(payload).into_owned()
    };
    let found: Vec<_> = found.iter().map(|stored| (stored.base.0, text(stored))).collect();
    assert_eq!(found, told);
}

/// Copies what the system has of a store that is open, as a kill would leave it.
fn killed(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("it is made");
    for entry in fs::read_dir(from).expect("it stands") {
        let entry = entry.expect("it is readable");
        let (here, there) = (entry.path(), to.join(entry.file_name()));
        match here.is_dir() {
            true => killed(&here, &there),
            false => drop(fs::copy(&here, &there).expect("it is copied")),
        }
    }
}

/// The bytes of the journal that were written.
fn used(folder: &Path) -> usize {
    let journal = fs::read(folder.join("streams/0.jnl")).expect("the journal stands");
    journal.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_loss_of_power_takes_the_end_of_what_was_not_synced_and_nothing_else() {
    let folder = tempfile::tempdir().expect("a folder");
    let (live, copy) = (folder.path().join("live"), folder.path().join("copy"));
    let storage = both(&live).await;
    for number in 0..4 {
        storage.append(append(0, 2, &number.to_string(), 0)).await.expect("it is written");
    }
    storage.append(safe("x")).await.expect("it is synced, and with it what came before");
    let synced = used(&live);
    for number in 4..12 {
        storage.append(append(0, 2, &number.to_string(), 0)).await.expect("it is written");
    }
    let end = used(&live);
    let mut least = usize::MAX;
    let cuts = (synced..end).step_by(37).chain([end]);
    for (round, cut) in cuts.enumerate() {
        let copy = copy.join(round.to_string());
        killed(&live, &copy);
        let journal = fs::read(copy.join("streams/0.jnl")).expect("the journal stands");
        let kept = journal.get(..cut).unwrap_or_default();
        fs::write(copy.join("streams/0.jnl"), kept).expect("it is writable");
        let storage = EmbeddedStorage::open(unsynced(&copy));
        let storage = storage.unwrap_or_else(|error| panic!("cut at {cut}: {error}"));
        let found = read(&storage, &partition(0)).await;
        let bases = found.iter().map(|stored| stored.base.0);
        assert!(bases.eq((0..found.len() as u64).map(|number| number * 2)), "cut at {cut}");
        assert!((4..=12).contains(&found.len()), "{} stand, cut at {cut}", found.len());
        least = least.min(found.len());
        assert_eq!(read(&storage, &safe("").partition).await.len(), 1);
        let next = storage.append(append(0, 2, "next", 0)).await.expect("it goes on");
        let first_offset = Offset(found.len() as u64 * 2);
        assert_eq!(next, Appended::Stored { first_offset });
        storage.close().await;
    }
    assert_eq!(least, 4, "something was lost");
    // What was synced is missed as ever.
    killed(&live, &copy.join("lost"));
    let path = copy.join("lost/streams/0.jnl");
    let journal = fs::read(&path).expect("the journal stands");
    fs::write(&path, journal.get(..synced - 30).unwrap_or_default()).expect("it is writable");
    let refused = EmbeddedStorage::open(unsynced(&copy.join("lost")));
    assert!(matches!(refused, Err(OpenError::Lost { .. })), "{refused:?}");
    storage.close().await;
}
