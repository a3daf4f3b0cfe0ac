//! Producers and their sequences.

use waypost_protocol::{Epoch, Offset, Producer, ProducerId, Sequence};

use super::{read_from, store, texts};
use crate::{
    Append, Appended, CommitError, OpenedProducer, Storage, Unit,
    testing::{append, partition},
};

const PRODUCER: ProducerId = ProducerId(7);

/// A batch of a producer at time 1000.
fn by(producer: ProducerId, epoch: u64, sequence: u64, index: u32, messages: usize) -> Append {
    let text = format!("{epoch}/{sequence}");
    let mut append = append(index, messages, &text, 1000);
    let (epoch, first_sequence) = (Epoch(epoch), Sequence(sequence));
    append.envelope.producer = Some(Producer { id: producer, epoch, first_sequence });
    append
}

async fn open(
    storage: &impl Storage,
    producer: ProducerId,
    epoch: u64,
    now_ms: u64,
) -> OpenedProducer {
    let opened = storage.open_producer(producer, Epoch(epoch), now_ms).await;
    opened.expect("the life is the newest")
}

fn duplicate(offset: u64) -> Result<Appended, CommitError> {
    Ok(Appended::Duplicate { first_offset: Some(Offset(offset)) })
}

pub(super) async fn each_batch_is_stored_once_and_in_sequence(storage: &impl Storage) {
    assert_eq!(open(storage, PRODUCER, 1, 0).await, OpenedProducer::New);
    store(storage, append(0, 10, "before", 0)).await;
    assert_eq!(store(storage, by(PRODUCER, 1, 0, 0, 3)).await, 10);
    assert_eq!(store(storage, by(PRODUCER, 1, 3, 0, 2)).await, 13);
    assert_eq!(store(storage, by(PRODUCER, 1, 0, 1, 2)).await, 0, "partitions count apart");
    assert_eq!(storage.append(by(PRODUCER, 1, 0, 0, 3)).await, duplicate(10));
    assert_eq!(storage.append(by(PRODUCER, 1, 3, 0, 2)).await, duplicate(13));
    let gap = storage.append(by(PRODUCER, 1, 6, 0, 1)).await;
    let (sent, expected) = (Sequence(6), Sequence(5));
    let partition = partition(0);
    let error = CommitError::OutOfSequence { producer: PRODUCER, partition, sent, expected };
    assert_eq!(gap, Err(error));
    // Both of a unit's batches count, also against each other.
    let appends =
        vec![by(PRODUCER, 1, 5, 0, 1), by(PRODUCER, 1, 6, 0, 1), by(PRODUCER, 1, 5, 0, 1)];
    let unit =
        storage.commit(Unit { appends, ..Unit::default() }).await.expect("it is in sequence");
    assert_eq!(unit.appends.get(2), Some(&Appended::Duplicate { first_offset: Some(Offset(15)) }));
    let read = texts(&read_from(storage, 0, 0).await);
    assert_eq!(read, ["before", "1/0", "1/3", "1/5", "1/6"]);
}

pub(super) async fn older_lives_are_fenced_and_forgotten_producers_unknown(storage: &impl Storage) {
    let unknown = storage.append(by(PRODUCER, 1, 0, 0, 1)).await;
    let epoch = Epoch(1);
    assert_eq!(unknown, Err(CommitError::UnknownProducer { producer: PRODUCER, epoch }));
    assert_eq!(open(storage, PRODUCER, 1, 0).await, OpenedProducer::New);
    store(storage, by(PRODUCER, 1, 0, 0, 4)).await;
    assert_eq!(open(storage, PRODUCER, 1, 0).await, OpenedProducer::Resumed);
    assert_eq!(open(storage, PRODUCER, 2, 0).await, OpenedProducer::New);
    let fenced = CommitError::ProducerFenced { producer: PRODUCER, epoch, current: Epoch(2) };
    assert_eq!(storage.append(by(PRODUCER, 1, 4, 0, 1)).await, Err(fenced.clone()));
    assert_eq!(storage.open_producer(PRODUCER, epoch, 0).await, Err(fenced));
    assert_eq!(store(storage, by(PRODUCER, 2, 0, 0, 1)).await, 4, "a life begins with zero");

    open(storage, ProducerId(8), 1, 200_000).await;
    store(storage, by(ProducerId(8), 1, 0, 0, 1)).await;
    assert_eq!(storage.forget_producers(200_000).await, Ok(1), "the other was seen since");
    let forgotten = storage.append(by(PRODUCER, 2, 1, 0, 1)).await;
    let epoch = Epoch(2);
    assert_eq!(forgotten, Err(CommitError::UnknownProducer { producer: PRODUCER, epoch }));
    assert_eq!(storage.append(by(ProducerId(8), 1, 0, 0, 1)).await, duplicate(5));
    assert_eq!(open(storage, PRODUCER, 2, 0).await, OpenedProducer::New, "it learns of it");
}

pub(super) async fn those_who_are_away_longest_make_room_for_others(storage: &impl Storage) {
    for (id, now_ms) in [(1, 300), (2, 100), (3, 200), (4, 400)] {
        open(storage, ProducerId(id), 1, now_ms).await;
    }
    store(storage, by(ProducerId(3), 1, 0, 0, 1)).await;
    let spared = [ProducerId(2)].into();
    assert_eq!(storage.forget_longest_unseen(2, spared).await, Ok(2), "at 200 and 300");
    for (id, expected) in
        [(1, OpenedProducer::New), (2, OpenedProducer::Resumed), (4, OpenedProducer::Resumed)]
    {
        assert_eq!(open(storage, ProducerId(id), 1, 500).await, expected, "{id}");
    }
    let all = (0..9).map(ProducerId).collect();
    assert_eq!(storage.forget_longest_unseen(9, all).await, Ok(0), "they are there");
}

pub(super) async fn a_refused_batch_refuses_its_unit(storage: &impl Storage) {
    open(storage, PRODUCER, 1, 0).await;
    let appends = vec![append(0, 1, "x", 0), by(PRODUCER, 1, 0, 1, 1), by(PRODUCER, 1, 9, 2, 1)];
    let refused = storage.commit(Unit { appends, ..Unit::default() }).await;
    assert!(matches!(refused, Err(CommitError::OutOfSequence { .. })), "{refused:?}");
    for index in 0..super::PARTITIONS {
        assert!(read_from(storage, index, 0).await.is_empty(), "nothing of it was stored");
    }
    assert_eq!(store(storage, by(PRODUCER, 1, 0, 1, 1)).await, 0);
}

pub(super) async fn prepare(storage: &impl Storage) {
    open(storage, PRODUCER, 3, 5).await;
    store(storage, by(PRODUCER, 3, 0, 1, 3)).await;
}

/// After `round` restarts before this one.
pub(super) async fn still_knows(storage: &impl Storage, round: u64) {
    assert_eq!(storage.append(by(PRODUCER, 3, 0, 1, 3)).await, duplicate(0));
    let fenced = storage.append(by(PRODUCER, 2, 0, 1, 3)).await;
    assert!(matches!(fenced, Err(CommitError::ProducerFenced { .. })), "{fenced:?}");
    assert_eq!(open(storage, PRODUCER, 3, 5).await, OpenedProducer::Resumed);
    assert_eq!(store(storage, by(PRODUCER, 3, 3 + round, 1, 1)).await, 3 + round);
}
