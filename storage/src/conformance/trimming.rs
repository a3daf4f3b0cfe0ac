//! Retention.

use waypost_core::{Extent, Retention};
use waypost_protocol::Offset;

use super::{read_from, store, texts};
use crate::{
    ReadError, ReadLimit, Seek, Storage, Unit,
    testing::{append, batch, partition},
};

const MESSAGES: Retention = Retention { max_age_ms: None, max_bytes: None, max_messages: Some(4) };

pub(super) async fn what_is_trimmed_is_counted_and_gone(storage: &impl Storage) {
    for (text, ingest_ms) in [("a", 10), ("b", 20), ("c", 30), ("d", 40), ("e", 50)] {
        store(storage, append(0, 2, text, ingest_ms)).await;
    }
    let bytes = batch(2, "a").byte_len() as u64;
    let retention =
        Retention { max_age_ms: Some(35), max_bytes: Some(bytes * 3), max_messages: Some(4) };
    let kept = storage.trim(partition(0), Retention::default(), 1_000).await.expect("it exists");
    assert_eq!(kept.trimmed.total(), Extent::default(), "without a bound everything stays");
    let report = storage.trim(partition(0), retention, 50).await.expect("it exists");
    let one = Extent { batches: 1, messages: 2, bytes };
    let trimmed = report.trimmed;
    assert_eq!([trimmed.by_age, trimmed.by_bytes, trimmed.by_messages], [one, one, one]);
    assert_eq!((report.first, report.more), (Offset(6), false));
    let bounds = storage.bounds(&partition(0)).expect("it exists");
    assert_eq!((bounds.first, bounds.next), (Offset(6), Offset(10)));
    assert_eq!(bounds.held, Extent { batches: 2, messages: 4, bytes: bytes * 2 });
    assert_eq!(texts(&read_from(storage, 0, 6).await), ["d", "e"]);
    for gone in [0, 5] {
        let read = storage.read(partition(0), Offset(gone), ReadLimit::default()).await;
        assert_eq!(read, Err(ReadError::Trimmed { partition: partition(0), first: Offset(6) }));
    }
    assert_eq!(storage.seek(partition(0), Seek::Time(0)).await, Ok(Offset(6)));
    assert_eq!(storage.seek(partition(0), Seek::Beginning).await, Ok(Offset(6)));
    let again = storage.trim(partition(0), retention, 50).await.expect("it exists");
    assert_eq!(again.trimmed.total(), Extent::default());
    storage.trim(super::elsewhere(), retention, 50).await.expect_err("there is no such partition");
}

pub(super) async fn a_partition_that_was_trimmed_empty_goes_on_counting(storage: &impl Storage) {
    store(storage, append(0, 3, "old", 10)).await;
    let age = Retention { max_age_ms: Some(0), ..Retention::default() };
    storage.trim(partition(0), age, 1_000).await.expect("it exists");
    assert!(read_from(storage, 0, 3).await.is_empty());
    assert_eq!(storage.seek(partition(0), Seek::Beginning).await, Ok(Offset(3)));
    assert_eq!(store(storage, append(0, 1, "new", 5)).await, 3);
    let batches = read_from(storage, 0, 3).await;
    assert_eq!(batches.first().map(|stored| stored.envelope.ingest_ms), Some(10));
}

pub(super) async fn a_long_trim_says_that_there_is_more(storage: &impl Storage) {
    let appends = (0..2500).map(|_| append(0, 1, "x", 0)).collect();
    storage.commit(Unit { appends, ..Unit::default() }).await.expect("it is committed");
    let one = Retention { max_messages: Some(1), ..Retention::default() };
    let mut gone = 0;
    loop {
        let report = storage.trim(partition(0), one, 0).await.expect("it exists");
        gone += report.trimmed.total().batches;
        assert_eq!(report.first, Offset(gone));
        if !report.more {
            break;
        }
    }
    assert_eq!(gone, 2499);
    assert_eq!(read_from(storage, 0, 2499).await.len(), 1);
}

pub(super) async fn prepare(storage: &impl Storage) {
    for text in ["a", "b", "c", "d", "e"] {
        store(storage, append(2, 2, text, 0)).await;
    }
    let report = storage.trim(partition(2), MESSAGES, 0).await.expect("it exists");
    assert_eq!(report.first, Offset(6));
    store(storage, append(0, 1, "trimmed empty", 0)).await;
    let age = Retention { max_age_ms: Some(0), ..Retention::default() };
    storage.trim(partition(0), age, 1_000).await.expect("it exists");
}
