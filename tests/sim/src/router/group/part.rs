//! One partition of the group: what was read of it and is not given out.

use std::collections::VecDeque;

use waypost_core::{GroupMessage, Living, Partition};
use waypost_protocol::{Offset, key_hash};
use waypost_storage::{ReadError, ReadLimit, Revision, Stored};

use crate::shared::{Event, Shared};

/// What is read at once.
const READ: ReadLimit = ReadLimit { max_batches: 2, max_bytes: 1 << 20 };
/// A batch that is read for what is given out again.
const ONE: ReadLimit = ReadLimit { max_batches: 1, max_bytes: 1 };
/// Batches that are held before they are given out.
const MOST_BATCHES: usize = 4;

#[derive(Debug)]
pub(super) struct Part {
    /// The task that it is of: reads outlive their tasks here.
    task: u64,
    pub(super) source: Partition,
    pub(super) revision: Revision,
    /// The changes of its ledger that are kept.
    pub(super) kept: u64,
    window: VecDeque<Stored>,
    again: Option<Stored>,
    cursor: Offset,
    /// It reads, or waits until there is something to read.
    is_reading: bool,
    is_scheduled: bool,
    is_fetching: bool,
}

impl Part {
    pub(super) fn new(task: u64, source: Partition, revision: Revision) -> Self {
        Self {
            task,
            source,
            revision,
            kept: 0,
            window: VecDeque::new(),
            again: None,
            cursor: Offset(0),
            is_reading: false,
            is_scheduled: false,
            is_fetching: false,
        }
    }

    /// The batch that holds an offset, if it is at hand.
    pub(super) fn holding(&self, offset: Offset) -> Option<Stored> {
        let holds = |stored: &&Stored| (stored.base..stored.end()).contains(&offset);
        let at = self.window.partition_point(|stored| stored.end() <= offset);
        let found = self.window.get(at).filter(holds).or(self.again.as_ref().filter(holds));
        found.cloned()
    }

    pub(super) fn forget_before(&mut self, to: Option<Offset>) {
        while self.window.front().is_some_and(|first| to.is_none_or(|to| first.end() <= to)) {
            self.window.pop_front();
        }
    }

    pub(super) fn read_on(&mut self, shared: &mut Shared, partition: usize, from: Offset) {
        if self.is_reading || self.window.len() >= MOST_BATCHES {
            return;
        }
        self.cursor = from.max(self.cursor);
        self.is_reading = true;
        self.look(shared, partition);
    }

    /// Reads once there is something.
    pub(super) fn look(&mut self, shared: &mut Shared, partition: usize) {
        let has_more = shared.disk.bounds(&self.source).next > self.cursor;
        if self.is_reading && has_more && !self.is_scheduled {
            self.is_scheduled = true;
            // Some reads take long.
            let most_ms = if shared.random.chance(50) { 100 } else { 5 };
            shared.within(most_ms, Event::GroupRead { task: self.task, partition, wanted: None });
        }
    }

    /// Reads the batch that holds an offset which is to be given out again.
    pub(super) fn fetch(&mut self, shared: &mut Shared, partition: usize, offset: Offset) {
        if !self.is_fetching {
            self.is_fetching = true;
            shared.within(5, Event::GroupRead { task: self.task, partition, wanted: Some(offset) });
        }
    }

    /// Gives the messages that were read anew, and whether each lives; `None` where retention gave up what was to be
    /// read.
    pub(super) fn read(
        &mut self,
        shared: &mut Shared,
        wanted: Option<Offset>,
    ) -> Option<Vec<(GroupMessage, bool)>> {
        let (from, limit) = match wanted {
            Some(offset) => (offset, ONE),
            None => (self.cursor, READ),
        };
        let chunk = match shared.disk.read(&self.source, from, limit) {
            Ok(chunk) => chunk,
            Err(error) => {
                if !matches!(error, ReadError::Trimmed { .. }) {
                    shared.checker.fail(format!("the group cannot read: {error}"));
                }
                match wanted {
                    Some(_) => self.is_fetching = false,
                    None => (self.is_reading, self.is_scheduled) = (false, false),
                }
                return None;
            }
        };
        if wanted.is_some() {
            self.is_fetching = false;
            self.again = chunk.batches.into_iter().next();
            return Some(Vec::new());
        }
        (self.is_reading, self.is_scheduled) = (false, false);
        self.cursor = chunk.next;
        let messages = chunk.batches.iter().flat_map(|stored| messages(shared, stored)).collect();
        self.window.extend(chunk.batches);
        Some(messages)
    }

    /// What is read next is not before this.
    pub(super) fn move_to(&mut self, cursor: Offset) {
        self.cursor = self.cursor.max(cursor);
    }
}

fn messages(shared: &Shared, stored: &Stored) -> Vec<(GroupMessage, bool)> {
    let (wall_ms, ingest_ms) = (shared.wall_ms(), stored.envelope.ingest_ms);
    let living = shared.layout.lifetimes.living(&stored.batch, ingest_ms, wall_ms);
    let lives = |index: u32| match &living {
        Living::All => true,
        Living::Only(living) => living.binary_search(&index).is_ok(),
    };
    let keys = (0..stored.batch.len()).map(|index| stored.batch.keys().get(index));
    let offsets = (stored.base.0..).map(Offset);
    let message = |(offset, key): (Offset, Option<&[u8]>)| GroupMessage {
        offset,
        key: key.map(key_hash),
        ingest_ms,
    };
    offsets.zip(keys).map(message).zip((0..).map(lives)).collect()
}
