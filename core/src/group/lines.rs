//! Messages that wait to be given out again: by when they are due, and one behind the other where they have a key.
//!
//! A key with a message that failed has a line. Its messages go out in the order of their offsets, one at a
//! time: the next when the last is settled. Other keys go on.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use waypost_protocol::Offset;

/// The messages that wait in one partition.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// What is given out next, by when it is due: messages without a key, and the first of each line of which none
    /// is being tried.
    due: BTreeSet<(u64, Offset)>,
    lines: HashMap<u64, Line>,
    /// When each message without a key is due.
    alone: BTreeMap<Offset, u64>,
}

#[derive(Debug, Default)]
struct Line {
    /// With when each is due.
    waiting: BTreeMap<Offset, u64>,
    /// The one that was given out.
    trying: Option<Offset>,
}

impl Line {
    fn head(&self) -> Option<(u64, Offset)> {
        let (offset, due_ms) = self.waiting.first_key_value()?;
        self.trying.is_none().then_some((*due_ms, *offset))
    }
}

impl Lines {
    /// Whether messages with a key wait behind another.
    pub(super) fn holds(&self, key: Option<u64>) -> bool {
        key.is_some_and(|key| self.lines.contains_key(&key))
    }

    /// Lets a message wait.
    pub(super) fn wait(&mut self, key: Option<u64>, offset: Offset, due_ms: u64) {
        match key {
            None => {
                self.alone.insert(offset, due_ms);
                self.due.insert((due_ms, offset));
            }
            Some(key) => self.change(key, |line| {
                line.trying = line.trying.filter(|trying| *trying != offset);
                line.waiting.insert(offset, due_ms);
            }),
        }
    }

    /// A message that waited is given out.
    pub(super) fn give_out(&mut self, key: Option<u64>, offset: Offset) {
        match key {
            None => self.forget_alone(offset),
            Some(key) => self.change(key, |line| {
                if line.waiting.remove(&offset).is_some() {
                    line.trying = Some(offset);
                }
            }),
        }
    }

    /// A message waits no more, and is not being tried: it is done, or given up.
    pub(super) fn leave(&mut self, key: Option<u64>, offset: Offset) {
        match key {
            None => self.forget_alone(offset),
            Some(key) if self.lines.contains_key(&key) => self.change(key, |line| {
                line.waiting.remove(&offset);
                line.trying = line.trying.filter(|trying| *trying != offset);
            }),
            Some(_) => {}
        }
    }

    /// What is due, in the order in which it became so.
    pub(super) fn due(&self, now_ms: u64) -> impl Iterator<Item = Offset> {
        let due = self.due.iter().take_while(move |(due_ms, _)| *due_ms <= now_ms);
        due.map(|(_, offset)| *offset)
    }

    /// When the next one is due.
    pub(super) fn next_due_ms(&self) -> Option<u64> {
        self.due.first().map(|(due_ms, _)| *due_ms)
    }

    /// When the next one is due of those that are not due yet.
    pub(super) fn next_due_after_ms(&self, now_ms: u64) -> Option<u64> {
        let after = now_ms.checked_add(1)?;
        self.due.range((after, Offset(0))..).next().map(|(due_ms, _)| *due_ms)
    }

    fn forget_alone(&mut self, offset: Offset) {
        if let Some(due_ms) = self.alone.remove(&offset) {
            self.due.remove(&(due_ms, offset));
        }
    }

    fn change(&mut self, key: u64, change: impl FnOnce(&mut Line)) {
        let line = self.lines.entry(key).or_default();
        let before = line.head();
        change(line);
        let after = line.head();
        if line.waiting.is_empty() && line.trying.is_none() {
            self.lines.remove(&key);
        }
        if before != after {
            before.map(|head| self.due.remove(&head));
            self.due.extend(after);
        }
    }
}
