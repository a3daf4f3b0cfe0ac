//! Reads streams from some place on, for one subscription: what stands there, and then what comes.

use std::{collections::VecDeque, sync::atomic::Ordering};

use futures_util::{StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use waypost_core::{Partition, StreamDefinition};
use waypost_protocol::{
    Batch, Envelope, ErrorCode, Offset, Pattern, SubscriptionId,
    frame::{Position, ReadFrom, Start},
};
use waypost_storage::{Chunk, Cursor, ReadError, ReadLimit, Seek, Storage, Stored};

use super::{Refused, Streams};

/// What is held of a partition at most, beyond its largest batch.
const READ: ReadLimit = ReadLimit { max_batches: 16, max_bytes: 256 << 10 };

/// A cursor, the first offset that is wanted of what it read, and that.
type Read = (Cursor<dyn Storage>, Offset, Result<Option<Chunk>, ReadError>);

/// Partitions that are read side by side, each in its order.
pub struct StreamReader {
    streams: Streams,
    id: SubscriptionId,
    pattern: Pattern,
    reading: FuturesUnordered<BoxFuture<'static, Read>>,
    /// What was read last and is not handed out.
    ready: VecDeque<Stored>,
    /// Where it comes from, and the first offset that is wanted of it.
    source: Option<(Partition, Offset)>,
    /// The cursor that it was read with.
    resting: Option<Cursor<dyn Storage>>,
}

impl std::fmt::Debug for StreamReader {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("StreamReader")
            .field("pattern", &self.pattern)
            .finish_non_exhaustive()
    }
}

impl Streams {
    /// Reads the streams that have topics of a pattern.
    ///
    /// # Errors
    ///
    /// There is none, or it has no such partition or offset.
    pub async fn read(&self, pattern: &Pattern, from: &ReadFrom) -> Result<StreamReader, Refused> {
        let overlaps =
            |stream: &&StreamDefinition| stream.topics.iter().any(|own| own.overlaps(pattern));
        let streams: Vec<&StreamDefinition> = self.0.table.all().iter().filter(overlaps).collect();
        if streams.is_empty() {
            let message = format!("no stream keeps topics of {pattern}");
            return Err(Refused { code: ErrorCode::NoStream, message });
        }
        let of = |stream: &&StreamDefinition| {
            let name = stream.name.clone();
            let indices = stream.partition_indices();
            indices.map(move |index| Partition { stream: name.clone(), index }).collect::<Vec<_>>()
        };
        let mut partitions: Vec<Partition> = streams.iter().flat_map(of).collect();
        if let Some(only) = from.partition {
            partitions.retain(|partition| partition.index.0 == only);
        }
        let counts_in_one = matches!(from.start, Some(Start::Offset(_)));
        if partitions.is_empty() || (counts_in_one && partitions.len() > 1) {
            let message = match from.partition {
                Some(only) => {
                    let found = partitions.len();
                    format!("{pattern} leads to {found} streams with a partition {only}")
                }
                None => format!(
                    "an offset counts in one partition, and {pattern} leads to {}; name one",
                    partitions.len()
                ),
            };
            return Err(Refused { code: ErrorCode::UnknownPartition, message });
        }
        let reading = FuturesUnordered::new();
        for partition in partitions {
            let offset = self.begin(&partition, from).await?;
            let cursor = Cursor::new(self.0.storage.clone(), partition, offset);
            reading.push(read(cursor.map_err(|error| refused(&error))?));
        }
        let (pattern, ready) = (pattern.clone(), VecDeque::new());
        let id = SubscriptionId(self.0.next_reader.fetch_sub(1, Ordering::Relaxed));
        let streams = self.clone();
        Ok(StreamReader { streams, id, pattern, reading, ready, source: None, resting: None })
    }

    /// Where reading begins in a partition.
    async fn begin(&self, partition: &Partition, from: &ReadFrom) -> Result<Offset, Refused> {
        let own = |position: &&Position| {
            position.stream == partition.stream.as_str() && position.partition == partition.index.0
        };
        let offset = match (from.positions.iter().find(own), from.start) {
            (Some(position), _) => Offset(position.offset),
            (None, Some(Start::Offset(offset))) => Offset(offset),
            (None, start) => {
                let seek = match start {
                    Some(Start::TimeMs(ms)) => Seek::Time(ms),
                    Some(Start::Beginning(_)) => Seek::Beginning,
                    _ => Seek::End,
                };
                let found = self.0.storage.seek(partition.clone(), seek).await;
                return found.map_err(|error| refused(&error));
            }
        };
        let bounds = self.0.storage.bounds(partition).map_err(|error| refused(&error))?;
        let (first, next) = (bounds.first, bounds.next);
        if offset < first || offset > next {
            let message =
                format!("{partition} holds offsets from {first} to before {next}, not {offset}");
            return Err(Refused { code: ErrorCode::OffsetOutOfRange, message });
        }
        Ok(offset)
    }
}

fn read(mut cursor: Cursor<dyn Storage>) -> BoxFuture<'static, Read> {
    Box::pin(async move {
        let wanted = cursor.position();
        let chunk = cursor.next(READ).await;
        (cursor, wanted, chunk)
    })
}

impl StreamReader {
    /// What it is known by.
    #[must_use]
    pub fn id(&self) -> SubscriptionId {
        self.id
    }

    /// The next messages of the pattern, with where they stand. `None` when storage was closed. Dropping the
    /// future loses nothing.
    ///
    /// # Errors
    ///
    /// What comes next was trimmed, or cannot be read.
    pub async fn next(&mut self) -> Option<Result<(Batch, Envelope), Refused>> {
        loop {
            while let Some(stored) = self.ready.pop_front() {
                let ingest_ms = stored.envelope.ingest_ms;
                let Some((batch, envelope)) = self.select(stored) else { continue };
                let Some(living) = self.streams.living(&batch, ingest_ms) else {
                    return Some(Ok((batch, envelope)));
                };
                if let Some(part) = batch.gather(&living) {
                    return Some(Ok((part, envelope.gather(&living))));
                }
            }
            if let Some(cursor) = self.resting.take() {
                self.reading.push(read(cursor));
            }
            let (cursor, wanted, chunk) = self.reading.next().await?;
            match chunk {
                Ok(Some(chunk)) => {
                    self.ready = chunk.batches.into();
                    self.source = Some((cursor.partition().clone(), wanted));
                    self.resting = Some(cursor);
                }
                // Storage is closed.
                Ok(None) => return None,
                Err(error) => return Some(Err(refused(&error))),
            }
        }
    }

    /// The messages of a batch that are wanted, if any are.
    fn select(&self, stored: Stored) -> Option<(Batch, Envelope)> {
        let (partition, wanted) = self.source.as_ref()?;
        let Stored { base, envelope, batch } = stored;
        let envelope = Envelope {
            base_offset: Some(base),
            stream: Some(partition.stream.as_str().to_owned()),
            partition: partition.index.0,
            ..envelope
        };
        let read_before = wanted.0.saturating_sub(base.0);
        let whole = batch.single_topic().map(|topic| self.pattern.matches(topic));
        if read_before == 0 && whole == Some(true) {
            return Some((batch, envelope));
        }
        let is_wanted = |index: u32, topic: &str| {
            u64::from(index) >= read_before && whole.unwrap_or_else(|| self.pattern.matches(topic))
        };
        let indices = (0_u32..).zip(batch.iter());
        let indices = indices.filter(|(index, message)| is_wanted(*index, message.topic()));
        let indices: Vec<u32> = indices.map(|(index, _)| index).collect();
        if indices.len() == batch.len() {
            return Some((batch, envelope));
        }
        batch.gather(&indices).map(|part| (part, envelope.gather(&indices)))
    }
}

fn refused(error: &ReadError) -> Refused {
    let code = match error {
        ReadError::UnknownPartition(_) => ErrorCode::UnknownPartition,
        ReadError::Trimmed { .. } | ReadError::Ahead { .. } => ErrorCode::OffsetOutOfRange,
        _ => ErrorCode::Internal,
    };
    let message = match error {
        ReadError::Damaged { resume: Some(resume), .. } => {
            format!("{error}; what lies before {resume} is lost, from there on it can be read")
        }
        error => error.to_string(),
    };
    Refused { code, message }
}
