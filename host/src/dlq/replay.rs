//! Letters on their way again: to the stage that failed, or to the topic that they were published on.
//!
//! What a stream keeps is stored in the write in which its letter leaves. What goes to a memory topic is taken by
//! everything behind the topic first, and its letter leaves then: a kill in between has it come twice, never
//! not at all.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use utoipa::ToSchema;
use waypost_core::{Letter, LetterAddress, Partition, StreamDefinition, letter_limits};
use waypost_protocol::{
    Batch, BatchBuilder, BatchError, ConnectionId, Envelope, Limits, MessageView, partition_of,
};
use waypost_storage::{Append, ReadLimit};

use super::{
    Dlq, DlqError, LetterSelection, LettersLeft, RefusedLetter, Settled, leave::Selected,
    scan::Found,
};
use crate::{
    router::{Origin, Published},
    time::now_ms,
};

/// How long a memory topic may take to take a message.
const PATIENCE: Duration = Duration::from_secs(20);
/// After so long nothing further is begun: whoever asked is answered in time.
pub(super) const LONGEST: Duration = Duration::from_secs(60);
/// What is said of letters that it was too late for.
pub(super) const TOO_LATE: &str = "those before it took too long; replay it again";
/// Connections are counted from one: no publisher has this number.
const OPERATOR: Origin = Origin { connection: ConnectionId(0) };
/// One batch.
const ONE: ReadLimit = ReadLimit { max_batches: 1, max_bytes: 1 };

/// Where letters go.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema, clap::ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ReplayTo {
    /// To the stage that failed, of a route over streams.
    #[default]
    Stage,
    /// To the topic that they were published on, as they were published.
    Origin,
}

/// What became of the letters of a replay.
#[derive(Debug, Default)]
pub(super) struct Replayed {
    pub(super) letters: Vec<Found>,
    pub(super) refused: Vec<RefusedLetter>,
}

impl Replayed {
    pub(super) fn refuse(&mut self, address: &LetterAddress, error: impl Into<String>) {
        self.refused.push(RefusedLetter { address: address.to_string(), error: error.into() });
    }
}

impl ReplayTo {
    fn name(self) -> &'static str {
        match self {
            Self::Stage => "stage",
            Self::Origin => "origin",
        }
    }
}

impl Dlq {
    /// Sends letters on their way again; each leaves once that is committed.
    pub(crate) async fn replay(
        &self,
        selection: LetterSelection,
        to: ReplayTo,
        dry_run: bool,
    ) -> Result<LettersLeft, DlqError> {
        let _turn = self.turn().await?;
        let Selected { letters, settled, next, until_ms } = self.select(selection).await?;
        let done = match to {
            _ if dry_run => Replayed { letters, refused: Vec::new() },
            ReplayTo::Origin => self.to_origin(letters, &settled).await?,
            ReplayTo::Stage => self.to_stage(letters, settled).await?,
        };
        let Replayed { letters, refused } = done;
        for Found { address, .. } in letters.iter().filter(|_| !dry_run) {
            let labels = [address.partition.stream.as_str(), to.name()];
            self.0.metrics.replayed.with_label_values(&labels).inc();
        }
        Ok(LettersLeft { letters: letters.len() as u64, next, until_ms, refused })
    }

    async fn to_origin(
        &self,
        letters: Vec<Found>,
        settled: &Settled,
    ) -> Result<Replayed, DlqError> {
        let mut done = Replayed::default();
        let mut kept = Kept::default();
        let end = Instant::now() + LONGEST;
        for found in letters {
            let Some(letter) = found.letter() else { continue };
            let message = match self.published(&letter).await {
                Ok(message) => message,
                Err(error) => {
                    done.refuse(&found.address, format!("it cannot be published: {error}"));
                    continue;
                }
            };
            let Some(view) = message.get(0) else { continue };
            match self.0.streams.table().of(view.topic()) {
                Some(stream) => {
                    let partition = partition_for(stream, view, &letter, &found.address);
                    match kept.push(partition, view) {
                        Ok(()) => kept.letters.push(found),
                        Err(error) => done.refuse(&found.address, error.to_string()),
                    }
                }
                None if Instant::now() > end => done.refuse(&found.address, TOO_LATE),
                None => match self.hand_out(&message).await {
                    Ok(()) => done.letters.push(found),
                    Err(why) => done.refuse(&found.address, why),
                },
            }
        }
        self.commit(&done.letters, settled, Vec::new()).await?;
        // Each commit moves what is kept of letters that have left.
        let settled = self.settled().await?;
        let (appends, letters) = kept.finish();
        self.commit(&letters, &settled, appends).await?;
        done.letters.extend(letters);
        Ok(done)
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
            if let Some(message) = message {
                return Ok(message);
            }
        }
        letter.message()
    }

    /// Publishes a message on its memory topic, and waits until everything behind it has it.
    async fn hand_out(&self, message: &Batch) -> Result<(), String> {
        let topic = message.get(0).map_or("", |message| message.topic());
        if self.0.router.takers_of(topic) == 0 {
            return Err(format!(
                "nobody takes {topic} now; start a route or a subscriber that does, and replay it then"
            ));
        }
        let publish = async {
            let pending = match self.0.router.publish(OPERATOR, message).await {
                Ok(pending) => pending,
                Err(published) => return published,
            };
            pending.outcome().await
        };
        match tokio::time::timeout(PATIENCE, publish).await {
            Ok(Published::Committed { .. }) => Ok(()),
            Ok(Published::Rejected { message, .. }) => Err(message),
            Err(_) => Err(format!(
                "{topic} did not take it within {} s, and may yet; look at what holds its routes up before it is \
                 replayed again",
                PATIENCE.as_secs()
            )),
        }
    }
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
    fn push(&mut self, partition: Partition, message: MessageView<'_>) -> Result<(), BatchError> {
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
