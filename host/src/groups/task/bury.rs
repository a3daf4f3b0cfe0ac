//! What the group gives up on becomes dead letters, each written at once with the message being done.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use waypost_core::{
    Cause, Dead, DeadLetters, Failure, GroupLedger, GroupName, Partition, StreamDefinition,
};
use waypost_protocol::{
    Batch, ConnectionId, Envelope, ErrorCode, Limits, Offset, Topic, partition_of,
};
use waypost_storage::{Append, ReadError, ReadLimit, Storage, Stored};

use super::Task;
use crate::{
    router::{Origin, Published, Router},
    time::now_ms,
};

/// Letters that are written at once at most.
const MOST_LETTERS: usize = 256;
/// No further letter is written along with these once they are of so many bytes.
const MOST_LETTER_BYTES: usize = 8 << 20;
/// The batch that holds a message.
const ONE: ReadLimit = ReadLimit { max_batches: 1, max_bytes: 1 };
/// After something that may go better later.
const PAUSE: Duration = Duration::from_secs(1);
/// Connections are counted from one: no publisher has this number.
const GROUPS: ConnectionId = ConnectionId(0);

/// Dead letters of one partition.
pub(super) struct Letters {
    pub(super) partition: usize,
    /// The messages that are in the letters.
    pub(super) buried: Vec<Offset>,
    /// Messages that cannot be read any more, or be told of.
    pub(super) gone: Vec<Offset>,
    /// The letters, where a stream keeps them.
    pub(super) appends: Vec<Append>,
}

/// Writes letters.
struct Writer {
    group: GroupName,
    topic: Topic,
    /// The stream that keeps them.
    stream: Option<StreamDefinition>,
    source: Option<Partition>,
    /// By the partition that they go to.
    letters: BTreeMap<u32, DeadLetters>,
    /// The bytes of the messages that are in them.
    bytes: usize,
}

impl Letters {
    fn new(partition: usize) -> Self {
        Self { partition, buried: Vec::new(), gone: Vec::new(), appends: Vec::new() }
    }

    /// All that is done with them.
    pub(super) fn offsets(&self) -> Vec<Offset> {
        self.buried.iter().chain(&self.gone).copied().collect()
    }
}

impl Task {
    /// Begins to bury what is dead, if nothing is being buried.
    pub(super) fn bury(&mut self) {
        if self.burying.is_some() || self.letters.is_some() || self.are_letters_going {
            return;
        }
        let Some(topic) = self.rules.dead_letter.clone() else { return };
        let Some(partition) = self.dying.first().copied() else { return };
        let dead = self.crew.ledger(partition).into_iter().flat_map(GroupLedger::dead);
        let dead: Vec<Dead> = dead.take(MOST_LETTERS).cloned().collect();
        let Some(part) = self.parts.get(partition).filter(|_| !dead.is_empty()) else {
            self.dying.remove(&partition);
            return;
        };
        let streams = &self.groups.0.streams;
        let stream = streams.table().of(topic.as_str()).cloned();
        let source = part.partition().cloned();
        let (group, letters, bytes) = (self.name.clone(), BTreeMap::new(), 0);
        let writer = Writer { group, topic, stream, source: source.clone(), letters, bytes };
        let storage = streams.storage().clone();
        self.burying = Some(match source {
            Some(source) => Box::pin(from_stream(writer, storage, source, partition, dead)),
            None => {
                let held = dead.into_iter().map(|dead| {
                    let stored = part.holding(dead.offset);
                    (dead, stored)
                });
                let (held, router) = (held.collect(), self.groups.0.router.clone());
                Box::pin(from_memory(writer, storage, router, partition, held))
            }
        });
    }
}

/// Letters of messages of a stream, which are read again.
async fn from_stream(
    mut writer: Writer,
    storage: Arc<dyn Storage>,
    source: Partition,
    partition: usize,
    dead: Vec<Dead>,
) -> Letters {
    let mut letters = Letters::new(partition);
    let mut at_hand: Option<Stored> = None;
    for dead in dead {
        if writer.is_full() {
            break;
        }
        let holds = |stored: &Stored| (stored.base..stored.end()).contains(&dead.offset);
        if !at_hand.as_ref().is_some_and(holds) {
            match storage.read(source.clone(), dead.offset, ONE).await {
                Ok(chunk) => at_hand = chunk.batches.into_iter().next(),
                Err(ReadError::Trimmed { .. } | ReadError::Damaged { .. }) => {
                    letters.gone.push(dead.offset);
                    continue;
                }
                Err(error) => {
                    tracing::error!(%error, "a dead letter is not written; trying again");
                    tokio::time::sleep(PAUSE).await;
                    break;
                }
            }
        }
        writer.write(&dead, at_hand.as_ref(), &mut letters);
    }
    letters.appends = writer.appends();
    letters
}

/// Letters of messages of memory topics. They are handed on here, as no position of the group goes with them.
async fn from_memory(
    mut writer: Writer,
    storage: Arc<dyn Storage>,
    router: Router,
    partition: usize,
    held: Vec<(Dead, Option<Stored>)>,
) -> Letters {
    let mut letters = Letters::new(partition);
    for (dead, stored) in &held {
        if writer.is_full() {
            break;
        }
        writer.write(dead, stored.as_ref(), &mut letters);
    }
    let mut failed = None;
    if writer.stream.is_some() {
        for append in writer.appends() {
            failed = failed.or(storage.append(append).await.err().map(|error| error.to_string()));
        }
    } else {
        for batch in writer.batches() {
            let published = match router.publish(Origin { connection: GROUPS }, &batch).await {
                Ok(pending) => pending.outcome().await,
                Err(rejected) => rejected,
            };
            match published {
                // Nobody takes anything any more, and nothing keeps what a group over memory topics has.
                Published::Rejected { code: ErrorCode::ShuttingDown, .. } => {
                    letters.gone.append(&mut letters.buried);
                }
                Published::Rejected { message, .. } => failed = Some(message),
                Published::Committed { .. } => {}
            }
        }
    }
    if let Some(error) = failed {
        tracing::error!(%error, "dead letters are not handed on; trying again");
        tokio::time::sleep(PAUSE).await;
        return Letters::new(partition);
    }
    letters
}

impl Writer {
    fn is_full(&self) -> bool {
        self.bytes >= MOST_LETTER_BYTES
    }

    /// Adds a letter, or notes why there is none.
    fn write(&mut self, dead: &Dead, stored: Option<&Stored>, letters: &mut Letters) {
        let index = |stored: &Stored| dead.offset.0.checked_sub(stored.base.0);
        let message = stored.and_then(|stored| {
            let index = usize::try_from(index(stored)?).ok()?;
            stored.batch.get(index)
        });
        let Some(message) = message else {
            letters.gone.push(dead.offset);
            return;
        };
        let to = match (&self.stream, message.key()) {
            (None, _) => 0,
            (Some(stream), Some(key)) => partition_of(key, stream.partitions),
            (Some(stream), None) => {
                let partitions = u64::from(stream.partitions.get());
                u32::try_from(dead.offset.0 % partitions).unwrap_or_default()
            }
        };
        let (group, topic) = (&self.group, &self.topic);
        let collected = self
            .letters
            .entry(to)
            .or_insert_with(|| DeadLetters::of_group(group, topic, Limits::default()));
        let place = self.source.as_ref().map(|source| (source, dead.offset));
        match collected.push_from(message, &failure(dead), place) {
            Ok(()) => {
                letters.buried.push(dead.offset);
                let key = message.key().map_or(0, <[u8]>::len);
                self.bytes += message.payload().len() + message.headers().as_bytes().len() + key;
            }
            Err(error) => {
                let offset = dead.offset.0;
                tracing::error!(%group, offset, %error, "a message is given up without a dead letter");
                letters.gone.push(dead.offset);
            }
        }
    }

    fn appends(&mut self) -> Vec<Append> {
        let Some(stream) = self.stream.as_ref().map(|stream| stream.name.clone()) else {
            return Vec::new();
        };
        let mut appends = Vec::new();
        for (to, letters) in &mut self.letters {
            appends.extend(letters.finish().into_iter().map(|batch| Append {
                partition: Partition::new(stream.clone(), *to),
                batch,
                envelope: Envelope { ingest_ms: now_ms(), ..Envelope::default() },
                origin: None,
            }));
        }
        appends
    }

    fn batches(&mut self) -> Vec<Batch> {
        self.letters.values_mut().flat_map(DeadLetters::finish).collect()
    }
}

fn failure(dead: &Dead) -> Failure {
    let (code, error) = match &dead.cause {
        Some(Cause::Rejected(reason)) => (ErrorCode::ConsumerRejected, reason.clone()),
        cause => {
            let last = match cause {
                Some(Cause::Expired) => "its lease ran out at last",
                Some(Cause::Lost) => "the connection of its member was lost at last",
                _ => "its member gave it back at last",
            };
            (ErrorCode::AttemptsExhausted, last.to_owned())
        }
    };
    Failure {
        code,
        error,
        stage: None,
        plugin_digest: None,
        attempts: dead.attempts,
        first_failure_ms: dead.first_failure_ms,
        last_failure_ms: dead.last_failure_ms,
    }
}
