//! One partition of a group: what was read of it and is not given out, and reading on.

use std::collections::VecDeque;

use futures_util::future::BoxFuture;
use waypost_core::{GroupLedger, GroupMessage, Partition};
use waypost_protocol::{Offset, key_hash};
use waypost_storage::{Chunk, Cursor, ReadError, ReadLimit, Revision, Storage, Stored};

use super::Task;
use crate::router::{Delivery, Subscription};

/// What is read of a partition at once, beyond its largest batch, and held before it is given out.
const READ: ReadLimit = ReadLimit { max_batches: 16, max_bytes: 256 << 10 };
/// What a group over memory topics holds of them, in bytes; what comes beyond it waits with its publishers.
const MEMORY_BYTES: usize = 8 << 20;
/// A batch that is read for what is given out again.
const ONE: ReadLimit = ReadLimit { max_batches: 1, max_bytes: 1 };
/// After a read that failed.
const PAUSE: std::time::Duration = std::time::Duration::from_secs(1);

/// Where the messages of a partition come from.
#[derive(Debug)]
pub(in crate::groups) enum Source {
    /// A partition of a stream, with the revision that is kept of the group there.
    Stream { partition: Partition, revision: Revision },
    /// All memory topics of the pattern.
    Memory(Box<Subscription>),
}

/// A partition as the task has it.
pub(in crate::groups) struct Part {
    pub(in crate::groups) source: Source,
    /// The offset behind the last message that was read.
    pub(super) next: Offset,
    /// Batches in order that were read and have messages that are not given out; of memory topics those that have
    /// messages that are not done.
    window: VecDeque<Stored>,
    bytes: usize,
    /// The batch that was read last for what is given out again.
    again: Option<Stored>,
    cursor: Option<Cursor<dyn Storage>>,
    is_reading: bool,
    is_fetching: bool,
    /// Counts how often its ledger began anew: what was read or kept for an earlier one is passed over.
    pub(super) life: u64,
    /// The changes of its ledger that are kept.
    pub(super) kept: u64,
    /// Whether it was said that retention took messages before the group was done with them.
    pub(in crate::groups) is_behind: bool,
}

/// What a read came to.
pub(super) struct Read {
    partition: usize,
    life: u64,
    /// The cursor, where it read on; otherwise the offset that was wanted.
    cursor: Result<Cursor<dyn Storage>, Offset>,
    chunk: Result<Option<Chunk>, ReadError>,
}

impl Part {
    pub(in crate::groups) fn new(source: Source) -> Self {
        Self {
            source,
            next: Offset(0),
            window: VecDeque::new(),
            bytes: 0,
            again: None,
            cursor: None,
            is_reading: false,
            is_fetching: false,
            life: 0,
            kept: 0,
            is_behind: false,
        }
    }

    pub(super) fn is_memory(&self) -> bool {
        matches!(self.source, Source::Memory(_))
    }

    pub(super) fn partition(&self) -> Option<&Partition> {
        match &self.source {
            Source::Stream { partition, .. } => Some(partition),
            Source::Memory(_) => None,
        }
    }

    /// Its ledger begins anew, at another place.
    pub(super) fn begin_anew(&mut self) {
        self.window.clear();
        (self.bytes, self.again, self.cursor) = (0, None, None);
        (self.is_reading, self.is_fetching, self.is_behind) = (false, false, false);
        self.life += 1;
        // Nothing of the new one is kept.
        self.kept = u64::MAX;
    }

    /// The batch that holds an offset, if it is at hand.
    pub(super) fn holding(&self, offset: Offset) -> Option<Stored> {
        let holds = |stored: &&Stored| (stored.base..stored.end()).contains(&offset);
        let at = self.window.partition_point(|stored| stored.end() <= offset);
        let found = self.window.get(at).filter(holds).or(self.again.as_ref().filter(holds));
        found.cloned()
    }

    /// Forgets batches of which nothing before `to` is needed.
    pub(super) fn forget_before(&mut self, to: Option<Offset>) {
        while self.window.front().is_some_and(|first| to.is_none_or(|to| first.end() <= to)) {
            if let Some(gone) = self.window.pop_front() {
                self.bytes = self.bytes.saturating_sub(gone.batch.byte_len());
            }
        }
    }

    fn push(&mut self, stored: Stored) {
        self.next = stored.end();
        self.bytes += stored.batch.byte_len();
        self.window.push_back(stored);
    }

    /// Takes a delivery of memory topics, whose messages are counted here.
    pub(super) fn take_in(&mut self, delivery: &Delivery, now_ms: u64) -> Vec<GroupMessage> {
        let (batch, envelope) = (delivery.batch.clone(), (*delivery.envelope).clone());
        let stored = Stored { base: self.next, envelope, batch };
        let messages = messages(&stored, now_ms);
        self.push(stored);
        messages
    }
}

/// The messages of a batch as the ledger sees them.
fn messages(stored: &Stored, ingest_ms: u64) -> Vec<GroupMessage> {
    let keys = (0..stored.batch.len()).map(|index| stored.batch.keys().get(index));
    let offsets = (stored.base.0..).map(Offset);
    let message = |(offset, key): (Offset, Option<&[u8]>)| GroupMessage {
        offset,
        key: key.map(key_hash),
        ingest_ms,
    };
    offsets.zip(keys).map(message).collect()
}

impl Task {
    /// Whether more is to be taken of memory topics.
    pub(super) fn wants_memory(&mut self) -> bool {
        let has_room = self.crew.ledger(0).is_some_and(GroupLedger::has_room);
        let floor = self.crew.ledger(0).map(GroupLedger::floor);
        let Some(part) = self.parts.first_mut().filter(|part| part.is_memory()) else {
            return false;
        };
        part.forget_before(floor);
        if let Source::Memory(subscription) = &part.source {
            // However long members take: routes and groups may hold publishers up without limit.
            subscription.progress();
        }
        has_room && part.bytes < MEMORY_BYTES
    }

    /// Reads on in a partition that somebody owns, if there is room.
    pub(super) fn read_on(&mut self, partition: usize) {
        let is_owned = self.crew.owner(partition).is_some();
        let Some(ledger) = self.crew.ledger(partition) else { return };
        let (has_room, from, ready) = (ledger.has_room(), ledger.cursor(), ledger.first_ready());
        let Some(part) = self.parts.get_mut(partition) else { return };
        let Some(source) = part.partition().cloned() else { return };
        part.forget_before(ready);
        if !is_owned || !has_room || part.is_reading || part.bytes >= READ.max_bytes {
            return;
        }
        let storage = self.groups.0.streams.storage();
        let cursor = match part.cursor.take() {
            Some(cursor) => Ok(cursor),
            None => Cursor::new(storage.clone(), source, from),
        };
        match cursor {
            Ok(mut cursor) => {
                // What was given up is not read.
                cursor.move_to(from.max(cursor.position()));
                part.is_reading = true;
                let life = part.life;
                self.reads.push(Box::pin(async move {
                    let chunk = cursor.next(READ).await;
                    if let Err(ReadError::Failed(_)) = &chunk {
                        tokio::time::sleep(PAUSE).await;
                    }
                    Read { partition, life, cursor: Ok(cursor), chunk }
                }));
            }
            Err(error) => self.stall(&error),
        }
    }

    /// Reads the batch that holds an offset which is to be given out again.
    pub(super) fn fetch(&mut self, partition: usize, offset: Offset) {
        let Some(part) = self.parts.get_mut(partition) else { return };
        let Some(source) = part.partition().cloned().filter(|_| !part.is_fetching) else { return };
        part.is_fetching = true;
        let life = part.life;
        let storage = self.groups.0.streams.storage().clone();
        let read: BoxFuture<'static, Read> = Box::pin(async move {
            let chunk = storage.read(source, offset, ONE).await;
            if let Err(ReadError::Failed(_)) = &chunk {
                tokio::time::sleep(PAUSE).await;
            }
            Read { partition, life, cursor: Err(offset), chunk: chunk.map(Some) }
        });
        self.reads.push(read);
    }

    pub(super) fn read(&mut self, read: Read) {
        let Read { partition, life, cursor, chunk } = read;
        let current = self.parts.get_mut(partition).filter(|part| part.life == life);
        let Some(part) = current else { return };
        let wanted = match cursor {
            Ok(cursor) => {
                part.is_reading = false;
                part.cursor = Some(cursor);
                None
            }
            Err(offset) => {
                part.is_fetching = false;
                Some(offset)
            }
        };
        match chunk {
            Ok(Some(chunk)) if wanted.is_some() => part.again = chunk.batches.into_iter().next(),
            Ok(Some(chunk)) => {
                for stored in chunk.batches {
                    self.admit(partition, stored);
                }
            }
            // Storage is closed: the router ends.
            Ok(None) => return,
            Err(error) => self.pass(partition, wanted, &error),
        }
        self.touch(partition);
        self.crew.look_again(partition);
    }

    /// Takes the messages of a batch that was read; those of other topics, and those whose time to live is over, are
    /// passed over.
    fn admit(&mut self, partition: usize, stored: Stored) {
        let messages = messages(&stored, stored.envelope.ingest_ms);
        let single = stored.batch.single_topic().map(|topic| self.pattern.matches(topic));
        let matches = |index: usize| match single {
            Some(matches) => matches,
            None => {
                let message = stored.batch.get(index);
                message.is_some_and(|message| self.pattern.matches(message.topic()))
            }
        };
        let living = self.groups.0.streams.living(&stored.batch, stored.envelope.ingest_ms);
        let lives = |index: usize| {
            let index = u32::try_from(index).unwrap_or(u32::MAX);
            living.as_ref().is_none_or(|living| living.binary_search(&index).is_ok())
        };
        self.crew.with_ledger(partition, |ledger| {
            for (index, message) in messages.into_iter().enumerate() {
                match matches(index) && lives(index) {
                    true => ledger.admit(message),
                    false => ledger.skip(message.offset),
                }
            }
        });
        if let Some(part) = self.parts.get_mut(partition) {
            part.push(stored);
        }
    }

    /// Goes on behind what cannot be read any more, and says what is missing.
    fn pass(&mut self, partition: usize, wanted: Option<Offset>, error: &ReadError) {
        match error {
            ReadError::Trimmed { .. } => self.follow_retention(partition),
            ReadError::Damaged { offset, resume: Some(resume), .. } => {
                let (from, to) = (wanted.unwrap_or(*offset).min(*offset), *resume);
                let lost = self.crew.with_ledger(partition, |ledger| ledger.lost(from, to));
                let (group, lost) = (&self.name, lost.unwrap_or(0));
                tracing::error!(%group, %error, lost, "messages are damaged and are not given out");
                self.groups.0.metrics.count(&self.groups.0.metrics.lost, group, lost);
                self.move_cursor(partition);
            }
            error => self.stall(error),
        }
    }

    /// Takes note of what retention gave up.
    pub(super) fn follow_retention(&mut self, partition: usize) {
        let Some(part) = self.parts.get_mut(partition) else { return };
        let Some(source) = part.partition().cloned() else { return };
        let Ok(bounds) = self.groups.0.streams.storage().bounds(&source) else { return };
        let floor = self.crew.ledger(partition).map(GroupLedger::floor);
        if floor.is_none_or(|floor| bounds.first <= floor) {
            part.is_behind &= floor != Some(bounds.next);
            return;
        }
        let lost = self.crew.with_ledger(partition, |ledger| ledger.trimmed(bounds.first));
        let lost = lost.unwrap_or(0);
        self.groups.0.metrics.count(&self.groups.0.metrics.lost, &self.name, lost);
        if lost > 0 && !std::mem::replace(&mut part.is_behind, true) {
            let (group, first) = (&self.name, bounds.first.0);
            tracing::warn!(
                %group, partition = %source, first, lost,
                "retention took messages before the group was done with them"
            );
        }
        self.move_cursor(partition);
        self.touch(partition);
    }

    fn move_cursor(&mut self, partition: usize) {
        let to = self.crew.ledger(partition).map(GroupLedger::cursor);
        if let Some((part, to)) = self.parts.get_mut(partition).zip(to)
            && let Some(cursor) = &mut part.cursor
        {
            cursor.move_to(to);
        }
    }

    fn stall(&self, error: &ReadError) {
        let group = &self.name;
        tracing::error!(%group, %error, "a partition cannot be read; trying again");
    }
}
