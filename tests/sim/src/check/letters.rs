//! Dead letters that leave: each once, and in the write in which its message is where it goes.

use std::collections::BTreeMap;

use waypost_core::{GroupName, Partition};
use waypost_protocol::Offset;

use super::group::is_done;
use crate::{
    disk::Disk,
    message::{Content, Number},
};

/// A letter as it was written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Written {
    pub(super) content: Content,
    pub(super) is_groups: bool,
    has_left: bool,
}

#[derive(Debug, Default)]
pub(super) struct Letters {
    /// By partition, in the order of their offsets.
    written: BTreeMap<Partition, Vec<Written>>,
    /// Of the group's letters that have left, how many more than were published again.
    open: BTreeMap<(Number, u8), i64>,
}

impl Letters {
    pub(super) fn written(&mut self, partition: &Partition, content: Content, is_groups: bool) {
        let written = Written { content, is_groups, has_left: false };
        self.written.entry(partition.clone()).or_default().push(written);
    }

    /// A message that the group gave up on was published again.
    pub(super) fn published(&mut self, content: Content) {
        *self.open.entry((content.number, content.part)).or_default() -= 1;
    }

    /// The letters that have left and had not before.
    pub(super) fn left<T>(&mut self, disk: &Disk<T>) -> Result<Vec<Written>, String> {
        let mut left = Vec::new();
        for kept in disk.group(&GroupName::of_letters()) {
            let position = kept.state.position;
            let log = self.written.entry(kept.source.clone()).or_default();
            let last = position.done.last().map_or(position.floor.0, |last| last.0 + 1);
            if last > log.len() as u64 {
                return Err(format!("{last} letters of {} have left {}", log.len(), kept.source));
            }
            for (letter, offset) in log.iter_mut().zip(0..) {
                match (letter.has_left, is_done(&position, Offset(offset))) {
                    (false, true) => {
                        letter.has_left = true;
                        left.push(*letter);
                    }
                    (true, false) => {
                        let content = letter.content;
                        return Err(format!("the letter of {content:?} had left, and is back"));
                    }
                    _ => {}
                }
            }
        }
        for letter in left.iter().filter(|letter| letter.is_groups) {
            let Content { number, part, .. } = letter.content;
            *self.open.entry((number, part)).or_default() += 1;
        }
        Ok(left)
    }

    /// Each of the group's letters that have left was published again, once.
    pub(super) fn check(&self) -> Result<(), String> {
        match self.open.iter().find(|(_, open)| **open != 0) {
            Some(((number, part), open)) => Err(format!(
                "{open} letters of {number:?}, part {part}, have left and were not published again"
            )),
            None => Ok(()),
        }
    }
}
