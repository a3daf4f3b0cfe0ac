//! Letters back to their origin: the topic that they were published on.
//!
//! What a stream keeps is stored in the write in which its letter leaves. What goes to a memory topic is taken by
//! everything behind the topic first, and its letter leaves then: a kill in between has it come twice, never
//! not at all.

use std::collections::BTreeMap;

use tokio::time::{Duration, Instant};
use waypost_core::{
    LETTER_TOPICS, Letter, LetterAddress, Partition, StreamDefinition, letter_limits,
};
use waypost_protocol::{
    Batch, BatchBuilder, BatchError, ConnectionId, Envelope, Limits, MessageView, partition_of,
};
use waypost_storage::{Append, ReadLimit};

use super::{
    Dlq, DlqError, Settled,
    replay::{LONGEST, Replayed, TOO_LATE},
    scan::Found,
};
use crate::{
    router::{Origin, Published},
    time::now_ms,
};

/// How long a memory topic may take to take a message.
const PATIENCE: Duration = Duration::from_secs(20);
/// Connections are counted from one: no publisher has this number.
const OPERATOR: Origin = Origin { connection: ConnectionId(0) };
/// One batch.
const ONE: ReadLimit = ReadLimit { max_batches: 1, max_bytes: 1 };

/// A letter's message on its way out.
pub(super) struct Outgoing {
    message: Batch,
    /// Where it is stored, if a stream keeps its topic.
    partition: Option<Partition>,
}

impl Dlq {
    pub(super) async fn to_origin(
        &self,
        letters: Vec<Found>,
        settled: &Settled,
    ) -> Result<Replayed, DlqError> {
        // What a memory topic takes cannot be taken back: whether the letters may leave is seen before.
        self.steps(&letters, settled)?;
        let mut done = Replayed::default();
        let (mut kept, mut taken) = (Kept::default(), Vec::new());
        let end = Instant::now() + LONGEST;
        for found in letters {
            let Outgoing { message, partition } = match self.way_out(&found).await {
                Ok(outgoing) => outgoing,
                Err(why) => {
                    done.refuse(&found.address, why);
                    continue;
                }
            };
            match partition {
                Some(partition) => match kept.push(partition, &message) {
                    Ok(()) => kept.letters.push(found),
                    Err(error) => done.refuse(&found.address, error.to_string()),
                },
                None if Instant::now() > end => done.refuse(&found.address, TOO_LATE),
                None => match self.hand_out(&message).await {
                    Ok(()) => taken.push(found),
                    Err(why) => done.refuse(&found.address, why),
                },
            }
        }
        let (appends, kept) = kept.finish();
        for (letters, appends) in [(taken, Vec::new()), (kept, appends)] {
            match self.store(&letters, appends).await {
                Ok(()) => done.letters.extend(letters),
                Err(error) => done.fail(&letters, error),
            }
        }
        Ok(done)
    }

    /// Lets letters leave as they stand now: each commit moves what is kept of those that have left.
    async fn store(&self, letters: &[Found], appends: Vec<Append>) -> Result<(), DlqError> {
        let settled = self.settled().await?;
        self.commit(letters, &settled, appends).await
    }

    /// The message of a letter and where it goes, or why it goes nowhere.
    pub(super) async fn way_out(&self, found: &Found) -> Result<Outgoing, String> {
        let letter = found.letter().ok_or("it is no letter")?;
        let message = self.published(&letter).await;
        let message = message.map_err(|error| format!("it cannot be published: {error}"))?;
        let view = message.get(0).ok_or("it holds no message")?;
        let topic = view.topic();
        let partition = match self.0.streams.table().of(topic) {
            // As another letter about the same message it would be replayed twice.
            Some(stream) if topic.starts_with(LETTER_TOPICS) => {
                return Err(format!(
                    "it is about a dead letter, which the stream {} has already; replay that one, or this one --to stage",
                    stream.name
                ));
            }
            Some(stream) => Some(partition_for(stream, view, &letter, &found.address)),
            None if self.0.router.takers_of(topic) == 0 => return Err(nobody_takes(topic)),
            None => None,
        };
        Ok(Outgoing { message, partition })
    }

    /// The message as it was published, where its stream has it still; otherwise as it was when it failed.
    async fn published(&self, letter: &Letter<'_>) -> Result<Batch, BatchError> {
        if let Some((partition, offset)) = &letter.source {
            let storage = self.0.streams.storage();
            let read = storage.read(partition.clone(), *offset, ONE).await;
            let stored = read.ok().and_then(|chunk| chunk.batches.into_iter().next());
            let message = stored.and_then(|stored| {
                let index = usize::try_from(offset.0.checked_sub(stored.base.0)?).ok()?;
                stored.batch.part(index..index + 1)
            });
            // Where loss was accepted, another message may have been given the offset since.
            let message = message.filter(|message| {
                message.get(0).is_some_and(|message| message.created_ms() == letter.created_ms)
            });
            if let Some(message) = message {
                return Ok(message);
            }
        }
        letter.message()
    }

    /// Publishes a message on its memory topic, and waits until everything behind it has it.
    async fn hand_out(&self, message: &Batch) -> Result<(), String> {
        let topic = message.get(0).map_or("", |message| message.topic());
        let publish = async {
            let pending = match self.0.router.publish(OPERATOR, message).await {
                Ok(pending) => pending,
                Err(published) => return published,
            };
            pending.outcome().await
        };
        match tokio::time::timeout(PATIENCE, publish).await {
            Ok(Published::Committed { unrouted: false }) => Ok(()),
            Ok(Published::Committed { unrouted: true }) => Err(nobody_takes(topic)),
            Ok(Published::Rejected { message, .. }) => Err(message),
            Err(_) => Err(format!(
                "{topic} did not take it within {} s, and may yet; look at what holds its routes up before it is \
                 replayed again",
                PATIENCE.as_secs()
            )),
        }
    }
}

fn nobody_takes(topic: &str) -> String {
    format!("nobody takes {topic} now; start a route or a subscriber that does, and replay it then")
}

/// The partition of a message in the stream of its topic: that of its key; without one that which it came from.
fn partition_for(
    stream: &StreamDefinition,
    message: MessageView<'_>,
    letter: &Letter<'_>,
    address: &LetterAddress,
) -> Partition {
    let source = letter.source.as_ref().map(|(partition, _)| partition);
    let came_from = source.filter(|partition| partition.stream == stream.name);
    let keyless = came_from.unwrap_or(&address.partition).index.0 % stream.partitions;
    let index = message.key().map_or(keyless, |key| partition_of(key, stream.partitions));
    Partition::new(stream.name.clone(), index)
}

/// What streams are to keep, by partition and in order.
#[derive(Default)]
struct Kept {
    parts: BTreeMap<Partition, Part>,
    letters: Vec<Found>,
}

struct Part {
    full: Vec<Batch>,
    open: BatchBuilder,
}

impl Default for Part {
    fn default() -> Self {
        let open = BatchBuilder::with_limits(letter_limits(Limits::default()));
        Self { full: Vec::new(), open }
    }
}

impl Kept {
    fn push(&mut self, partition: Partition, message: &Batch) -> Result<(), BatchError> {
        let message = message.get(0).ok_or(BatchError::Empty)?;
        let part = self.parts.entry(partition).or_default();
        if part.open.push_view(message).is_ok() {
            return Ok(());
        }
        // The batch may be full.
        part.full.extend(part.open.finish());
        part.open.push_view(message)
    }

    fn finish(self) -> (Vec<Append>, Vec<Found>) {
        let ingest_ms = now_ms();
        let appends = self.parts.into_iter().flat_map(|(partition, Part { full, mut open })| {
            let batches = full.into_iter().chain(open.finish());
            batches.map(move |batch| Append {
                partition: partition.clone(),
                batch,
                envelope: Envelope { ingest_ms, ..Envelope::default() },
                origin: None,
            })
        });
        (appends.collect(), self.letters)
    }
}
