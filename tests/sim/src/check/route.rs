//! The route: of each message before its progress every part is in the outputs, in the dead letters or parked, once; of
//! a message behind it nothing is anywhere. The outputs of a key stand in the order of their sources.

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU32,
};

use waypost_core::{Partition, RouteName};
use waypost_protocol::{Offset, partition_of};
use waypost_storage::Stored;

use super::publishes::Publishes;
use crate::{
    disk::Disk,
    message::{Content, Fate, Number, WHOLE},
    router::Router,
};

#[derive(Debug)]
pub(super) struct Routes {
    route: RouteName,
    /// How often each part is in the outputs or in the dead letters.
    done: BTreeMap<(Number, u8), u32>,
    /// What was given up on and came back to its stage: others of its key have gone on meanwhile.
    returned: BTreeSet<(Number, u8)>,
    /// What was passed over because its time to live was over.
    passed: BTreeSet<Number>,
    /// The source of the last output of each key.
    last: BTreeMap<u8, (Offset, u8)>,
    progress: BTreeMap<Partition, Offset>,
    /// How many partitions the outputs have.
    partitions: NonZeroU32,
}

impl Routes {
    pub(super) fn new(route: RouteName, partitions: NonZeroU32) -> Self {
        Self {
            route,
            done: BTreeMap::new(),
            returned: BTreeSet::new(),
            passed: BTreeSet::new(),
            last: BTreeMap::new(),
            progress: BTreeMap::new(),
            partitions,
        }
    }

    /// How many messages were passed over.
    pub(super) fn passed(&self) -> u64 {
        self.passed.len() as u64
    }

    /// Outputs that were not there.
    pub(super) fn put_out(
        &mut self,
        publishes: &Publishes,
        partition: &Partition,
        stored: &Stored,
    ) -> Result<(), String> {
        for message in stored.batch.iter() {
            let content = Content::read(message).ok_or("an output of no message")?;
            if matches!(content.fate, Fate::Drop | Fate::Reject | Fate::Poison) {
                return Err(format!("{content:?} is in the outputs"));
            }
            let due = message.key().map(|key| partition_of(key, self.partitions));
            if due.is_some_and(|due| due != partition.index.0) {
                return Err(format!(
                    "{content:?} is in {partition}, and not where its key belongs"
                ));
            }
            self.finish_part(content)?;
            let publish = publishes.of(content.number)?;
            let source = publish.stored.ok_or("an output of a message that is not stored")?;
            let Some(key) = message.key().and_then(|key| key.first().copied()) else { continue };
            if self.returned.contains(&(content.number, content.part)) {
                continue;
            }
            let place = (source, content.part);
            if let Some(before) = self.last.insert(key, place).filter(|before| *before >= place) {
                return Err(format!("{content:?} of {source} stands behind {before:?} of its key"));
            }
        }
        Ok(())
    }

    /// A dead letter that was not there.
    pub(super) fn buried(
        &mut self,
        publishes: &Publishes,
        content: Content,
        partition: u32,
        offset: Offset,
    ) -> Result<(), String> {
        if matches!(content.fate, Fate::Forward | Fate::Drop | Fate::Emit(_)) {
            return Err(format!("{content:?} is a dead letter"));
        }
        let log = publishes.log(partition);
        let source = usize::try_from(offset.0).ok().and_then(|offset| log.get(offset));
        if source != Some(&content.number) {
            return Err(format!(
                "the letter of {content:?} names {partition}/{offset} as its source"
            ));
        }
        self.finish_part(content)
    }

    /// A dead letter has left: its message is parked again.
    pub(super) fn returned(&mut self, content: Content) {
        let part = (content.number, content.part);
        if let Some(count) = self.done.get_mut(&part) {
            *count -= 1;
        }
        self.returned.insert(part);
    }

    fn finish_part(&mut self, content: Content) -> Result<(), String> {
        let count = self.done.entry((content.number, content.part)).or_default();
        *count += 1;
        if *count > 1 {
            return Err(format!("{content:?} is in outputs and dead letters {count} times"));
        }
        Ok(())
    }

    pub(super) fn look<T>(
        &mut self,
        publishes: &Publishes,
        disk: &Disk<T>,
        source: &[Partition],
    ) -> Result<(), String> {
        for (index, partition) in (0_u32..).zip(source) {
            let progress = disk.progress(&self.route, partition).unwrap_or_default();
            let before = self.progress.insert(partition.clone(), progress).unwrap_or_default();
            if progress < before || progress > disk.bounds(partition).next {
                return Err(format!("progress in {partition} goes from {before} to {progress}"));
            }
            let mut waiting: BTreeMap<(Number, u8), u32> = BTreeMap::new();
            let parked = disk.parked(&self.route, partition);
            if parked.len() > Router::most_parked() {
                return Err(format!("{} messages are parked of {partition}", parked.len()));
            }
            for parked in parked {
                let message = parked.batch.get(0).ok_or("nothing is parked")?;
                let content = Content::read(message).ok_or("no publisher made this")?;
                *waiting.entry((content.number, content.part)).or_default() += 1;
            }
            for (number, offset) in publishes.log(index).iter().zip(0..) {
                let is_read = offset < progress.0;
                self.check(publishes, *number, is_read, &waiting)
                    .map_err(|what| format!("{number:?} at {partition}/{offset}: {what}"))?;
            }
        }
        Ok(())
    }

    fn check(
        &mut self,
        publishes: &Publishes,
        number: Number,
        is_read: bool,
        waiting: &BTreeMap<(Number, u8), u32>,
    ) -> Result<(), String> {
        let count = |part: u8| {
            let of = |counts: &BTreeMap<(Number, u8), u32>| {
                counts.get(&(number, part)).copied().unwrap_or(0)
            };
            of(&self.done) + of(waiting)
        };
        let publish = publishes.of(number)?;
        let fate = publish.fate;
        let parts = fate.parts();
        let whole = count(WHOLE);
        let counts: Vec<u32> = parts.iter().map(|part| count(*part)).collect();
        let is_divided = !parts.contains(&WHOLE);
        let is_nothing = whole == 0 && counts.iter().all(|count| *count == 0);
        if is_read && is_nothing && !parts.is_empty() && publishes.may_be_over(publish) {
            self.passed.insert(number);
            return Ok(());
        }
        if self.passed.contains(&number) {
            return Err("it was passed over, and something comes of it".to_owned());
        }
        let is_right = match is_read {
            false => is_nothing,
            // Before it is divided it may be parked as a whole.
            true if is_divided && whole > 0 => whole == 1 && counts.iter().all(|count| *count == 0),
            true => counts.iter().all(|count| *count == 1),
        };
        match is_right {
            true => Ok(()),
            false if is_read => Err(format!(
                "it was read, and of {fate:?} there is {whole} whole and {counts:?} of its parts"
            )),
            false => Err(format!("it was not read, and there is {whole} whole and {counts:?}")),
        }
    }

    pub(super) fn finish<T>(&self, disk: &Disk<T>, source: &[Partition]) -> Result<(), String> {
        for partition in source {
            let progress = disk.progress(&self.route, partition).unwrap_or_default();
            let (next, parked) = (disk.bounds(partition).next, disk.parked(&self.route, partition));
            if progress != next || !parked.is_empty() {
                let parked = parked.len();
                return Err(format!("{partition}: {progress} of {next}, {parked} parked"));
            }
        }
        Ok(())
    }
}
