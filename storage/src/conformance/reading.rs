//! Appending and reading.

use std::{num::NonZeroU32, sync::Arc};

use waypost_protocol::Offset;

use super::{elsewhere, read_from, store, texts};
use crate::{
    CommitError, Cursor, DeclareError, ReadError, ReadLimit, Seek, Storage, Unit,
    testing::{append, batch, partition},
};

pub(super) async fn batches_come_back_as_they_were_at_consecutive_offsets(storage: &impl Storage) {
    let offsets = [
        store(storage, append(0, 3, "a", 10)).await,
        store(storage, append(1, 1, "other", 10)).await,
        store(storage, append(0, 1, "b", 11)).await,
    ];
    assert_eq!(offsets, [0, 0, 3], "each partition counts for itself");
    let unit = Unit {
        appends: vec![append(0, 2, "c", 9), append(2, 1, "d", 9), append(0, 1, "e", 12)],
        ..Unit::default()
    };
    let committed = storage.commit(unit).await.expect("it is committed");
    assert_eq!(committed.appends.len(), 3);
    let batches = read_from(storage, 0, 0).await;
    let bases: Vec<_> = batches.iter().map(|stored| stored.base.0).collect();
    assert_eq!(
        (bases, texts(&batches)),
        (vec![0, 3, 4, 6], ["a", "b", "c", "e"].map(Into::into).into())
    );
    assert_eq!(batches[0].batch.as_bytes(), batch(3, "a").as_bytes(), "the same bytes");
    let times: Vec<_> = batches.iter().map(|stored| stored.envelope.ingest_ms).collect();
    assert_eq!(times, [10, 11, 11, 12], "a time that went back is moved forward");
    assert!(batches.iter().all(|stored| stored.envelope.base_offset == Some(stored.base)));
    let bounds = storage.bounds(&partition(0)).expect("it exists");
    let bytes = batches.iter().map(|stored| stored.batch.byte_len() as u64).sum();
    assert_eq!((bounds.first, bounds.next), (Offset(0), Offset(7)));
    assert_eq!((bounds.held.batches, bounds.held.messages, bounds.held.bytes), (4, 7, bytes));
}

pub(super) async fn a_read_begins_where_it_is_asked_to_and_keeps_its_limit(storage: &impl Storage) {
    for text in ["a", "b", "c", "d"] {
        store(storage, append(0, 5, text, 0)).await;
    }
    let size = batch(5, "a").byte_len();
    let check = async |from, max_batches, max_bytes, expected: &[&str], next| {
        let limit = ReadLimit { max_batches, max_bytes };
        let chunk = storage.read(partition(0), Offset(from), limit).await.expect("it is there");
        assert_eq!(texts(&chunk.batches), expected, "from {from}");
        assert_eq!(chunk.next, Offset(next));
    };
    check(0, 9, 1 << 20, &["a", "b", "c", "d"], 20).await;
    check(5, 2, 1 << 20, &["b", "c"], 15).await;
    check(9, 9, 1 << 20, &["b", "c", "d"], 20).await;
    check(0, 9, size * 2, &["a", "b"], 10).await;
    check(0, 0, 0, &["a"], 5).await;
    check(20, 9, 1 << 20, &[], 20).await;
    let ahead = storage.read(partition(0), Offset(21), ReadLimit::default()).await;
    assert_eq!(ahead, Err(ReadError::Ahead { partition: partition(0), next: Offset(20) }));
}

pub(super) async fn times_find_the_first_batch_that_is_not_older(storage: &impl Storage) {
    let check = async |seek, expected| {
        let found = storage.seek(partition(0), seek).await;
        assert_eq!(found, Ok(Offset(expected)), "{seek:?}");
    };
    for seek in [Seek::Beginning, Seek::Time(0), Seek::End] {
        check(seek, 0).await;
    }
    for (ingest_ms, messages) in [(100, 1), (100, 7), (200, 3), (300, 1), (300, 1)] {
        store(storage, append(0, messages, "x", ingest_ms)).await;
        store(storage, append(1, messages, "beside", ingest_ms)).await;
    }
    check(Seek::Beginning, 0).await;
    check(Seek::End, 13).await;
    for (ms, expected) in
        [(0, 0), (100, 0), (101, 8), (200, 8), (201, 11), (300, 11), (301, 13), (u64::MAX, 13)]
    {
        check(Seek::Time(ms), expected).await;
    }
}

pub(super) async fn what_does_not_exist_is_refused(storage: &impl Storage) {
    for unknown in [elsewhere(), partition(super::PARTITIONS)] {
        let append = crate::Append { partition: unknown.clone(), ..append(0, 1, "x", 0) };
        let refused = storage.append(append).await;
        assert_eq!(refused, Err(CommitError::UnknownPartition(unknown.clone())));
        let error = ReadError::UnknownPartition(unknown.clone());
        let read = storage.read(unknown.clone(), Offset(0), ReadLimit::default()).await;
        assert_eq!(read, Err(error.clone()));
        assert_eq!(storage.seek(unknown.clone(), Seek::End).await, Err(error.clone()));
        assert_eq!(storage.bounds(&unknown), Err(error.clone()));
        assert_eq!(storage.head(&unknown).err(), Some(error));
    }
    let more = NonZeroU32::new(super::PARTITIONS + 1).expect("four is not zero");
    let refused = storage.declare(partition(0).stream, more).await;
    assert_eq!(refused, Err(DeclareError::Partitions { stored: 3, declared: 4 }));
}

pub(super) async fn a_cursor_waits_for_what_is_appended_later<S: Storage>(storage: Arc<S>) {
    store(&*storage, append(0, 2, "a", 0)).await;
    let mut cursor = Cursor::new(storage.clone(), partition(0), Offset(1)).expect("it exists");
    let next = async |cursor: &mut Cursor<S>| {
        let chunk = cursor.next(ReadLimit::default()).await.expect("it is readable");
        texts(&chunk.expect("storage is open").batches)
    };
    assert_eq!(next(&mut cursor).await, ["a"]);
    let writing = async {
        store(&*storage, append(1, 1, "beside", 0)).await;
        store(&*storage, append(0, 1, "b", 0)).await
    };
    // The cursor is asked first, and finds nothing yet.
    let (found, offset) = join(next(&mut cursor), writing).await;
    assert_eq!((found, offset), (vec!["b".to_owned()], 2));
    assert_eq!(cursor.position(), Offset(3));
    cursor.move_to(Offset(0));
    assert_eq!(next(&mut cursor).await, ["a", "b"]);
}

/// Both, each when it can go on.
async fn join<A, B>(first: impl Future<Output = A>, second: impl Future<Output = B>) -> (A, B) {
    let (mut first, mut second) = (Box::pin(first), Box::pin(second));
    let (mut found, mut wrote) = (None, None);
    std::future::poll_fn(|context| {
        if found.is_none()
            && let std::task::Poll::Ready(value) = first.as_mut().poll(context)
        {
            found = Some(value);
        }
        if wrote.is_none()
            && let std::task::Poll::Ready(value) = second.as_mut().poll(context)
        {
            wrote = Some(value);
        }
        match (found.take(), wrote.take()) {
            (Some(found), Some(wrote)) => std::task::Poll::Ready((found, wrote)),
            (one, other) => {
                (found, wrote) = (one, other);
                std::task::Poll::Pending
            }
        }
    })
    .await
}

pub(super) async fn concurrent_appends_are_each_stored_once<S: Storage>(storage: Arc<S>) {
    let writers = (0..8).map(|writer| {
        let storage = storage.clone();
        tokio::spawn(async move {
            let mut offsets = Vec::new();
            for number in 0..16 {
                let text = format!("{writer}-{number}");
                offsets.push((store(&*storage, append(0, 2, &text, 0)).await, text));
            }
            offsets
        })
    });
    let mut stored = Vec::new();
    for writer in writers.collect::<Vec<_>>() {
        stored.extend(writer.await.expect("the writer is well"));
    }
    stored.sort();
    let read = read_from(&*storage, 0, 0).await;
    let read: Vec<_> = read.iter().map(|one| (one.base.0, super::text(&one.batch))).collect();
    assert_eq!(read, stored, "each stands where its writer was told");
    assert!(read.iter().map(|(base, _)| *base).eq((0..128).map(|number| number * 2)));
}
