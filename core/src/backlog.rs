//! What waits for one subscriber, in order and within bounds, and what is dropped when it is full.
//!
//! Messages that may be dropped in favour of newer ones stand in a line of their own, so that the oldest of them
//! is found at once, however much else waits before it; numbers say in which order the two lines are taken.
//! What a dropped message leaves of its batch stays counted in bytes until the batch is gone, for so long it
//! takes them.

use std::{collections::VecDeque, sync::Arc};

use waypost_protocol::Batch;

use crate::{OnFull, TopicRule};

/// How much a queue holds. One batch is always let into an empty one, however large.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueLimits {
    /// Messages.
    pub messages: usize,
    /// Bytes of batches.
    pub bytes: usize,
}

/// Batches that wait, each with something that goes along.
#[derive(Debug)]
pub struct Backlog<T> {
    limits: QueueLimits,
    kept: VecDeque<Entry<T>>,
    /// Of this only the first may have lost messages.
    droppable: VecDeque<Entry<T>>,
    messages: usize,
    bytes: usize,
    next: u64,
}

#[derive(Debug)]
struct Entry<T> {
    number: u64,
    batch: Batch,
    /// The messages before this one were dropped.
    from: usize,
    rule: Option<Arc<TopicRule>>,
    with: T,
}

/// Messages that were dropped under a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    /// The rule of the dropped messages, not of those that came.
    pub rule: Option<Arc<TopicRule>>,
    /// How many.
    pub messages: usize,
}

/// What became of a batch.
#[derive(Debug)]
pub enum Offered<T> {
    /// As much of it as may wait does.
    Taken {
        /// So many of its messages.
        messages: usize,
        /// What was dropped, of it or of what waited before.
        dropped: Vec<Dropped>,
    },
    /// There is no room, and it may not be dropped.
    Full(Batch, T),
}

impl<T> Backlog<T> {
    /// Nothing waits.
    #[must_use]
    pub fn new(limits: QueueLimits) -> Self {
        let (kept, droppable) = (VecDeque::new(), VecDeque::new());
        Self { limits, kept, droppable, messages: 0, bytes: 0, next: 0 }
    }

    /// Lets a batch wait, all of whose messages this rule holds for.
    pub fn offer(
        &mut self,
        batch: Batch,
        with: T,
        on_full: OnFull,
        rule: Option<Arc<TopicRule>>,
    ) -> Offered<T> {
        let (all, mut dropped) = (batch.len(), Vec::new());
        if on_full == OnFull::DropOldest {
            self.evict(&batch, &mut dropped);
        }
        let part = if self.fits(all, batch.byte_len()) {
            Some(batch)
        } else {
            let messages = self.limits.messages.saturating_sub(self.messages);
            let bytes = self.limits.bytes.saturating_sub(self.bytes);
            match on_full {
                OnFull::Block => return Offered::Full(batch, with),
                OnFull::DropNewest => batch.part(0..batch.fitting(0, messages, bytes)),
                OnFull::DropOldest => batch.part(first_of_last(&batch, messages, bytes)..all),
            }
        };
        let taken = part.as_ref().map_or(0, Batch::len);
        add(&mut dropped, &rule, all - taken);
        if let Some(batch) = part {
            self.push(batch, with, on_full, rule);
        }
        Offered::Taken { messages: taken, dropped }
    }

    /// The batch that has waited longest.
    pub fn take(&mut self) -> Option<(Batch, T)> {
        let is_droppable = match (self.kept.front(), self.droppable.front()) {
            (Some(kept), Some(droppable)) => droppable.number < kept.number,
            (None, Some(_)) => true,
            (_, None) => false,
        };
        let line = if is_droppable { &mut self.droppable } else { &mut self.kept };
        let Entry { batch, from, with, .. } = line.pop_front()?;
        self.messages -= batch.len() - from;
        self.bytes -= batch.byte_len();
        Some((batch.part(from..batch.len())?, with))
    }

    /// How many messages wait, and the bytes of their batches.
    #[must_use]
    pub fn held(&self) -> (usize, usize) {
        (self.messages, self.bytes)
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = Self { next: self.next, ..Self::new(self.limits) };
    }

    fn fits(&self, messages: usize, bytes: usize) -> bool {
        let is_empty = self.kept.is_empty() && self.droppable.is_empty();
        is_empty
            || (self.messages + messages <= self.limits.messages
                && self.bytes + bytes <= self.limits.bytes)
    }

    /// Drops what waits longest of what may be dropped, until the batch fits or nothing such waits.
    fn evict(&mut self, batch: &Batch, dropped: &mut Vec<Dropped>) {
        while !self.fits(batch.len(), batch.byte_len()) {
            let Some(oldest) = self.droppable.front_mut() else {
                return;
            };
            let waiting = oldest.batch.len() - oldest.from;
            let over = (self.messages + batch.len()).saturating_sub(self.limits.messages);
            let has_bytes = self.bytes + batch.byte_len() <= self.limits.bytes;
            add(dropped, &oldest.rule, if has_bytes { over.min(waiting) } else { waiting });
            if has_bytes && over < waiting {
                oldest.from += over;
                self.messages -= over;
                return;
            }
            self.messages -= waiting;
            self.bytes -= oldest.batch.byte_len();
            self.droppable.pop_front();
        }
    }

    fn push(&mut self, batch: Batch, with: T, on_full: OnFull, rule: Option<Arc<TopicRule>>) {
        self.messages += batch.len();
        self.bytes += batch.byte_len();
        let entry = Entry { number: self.next, batch, from: 0, rule, with };
        self.next += 1;
        match on_full {
            OnFull::DropOldest => self.droppable.push_back(entry),
            OnFull::Block | OnFull::DropNewest => self.kept.push_back(entry),
        }
    }
}

/// From which message on the last ones of a batch make one of at most so many messages and bytes.
fn first_of_last(batch: &Batch, messages: usize, bytes: usize) -> usize {
    let (mut low, mut high) = (batch.len().saturating_sub(messages), batch.len());
    while low < high {
        let middle = usize::midpoint(low, high);
        let last = batch.len() - middle;
        if batch.fitting(middle, last, bytes) == last {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    low
}

fn add(dropped: &mut Vec<Dropped>, rule: &Option<Arc<TopicRule>>, messages: usize) {
    match dropped.last_mut() {
        _ if messages == 0 => {}
        Some(last) if last.rule == *rule => last.messages += messages,
        _ => dropped.push(Dropped { rule: rule.clone(), messages }),
    }
}

#[cfg(test)]
mod tests;
