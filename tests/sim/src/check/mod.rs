//! The checker: knows what clients were told and what storage holds, and nothing of how the router came to it.
//!
//! It looks after every step that changed the disk. Each promise is a check of its own: [`publishes`], that what is
//! acknowledged is stored, once and in order; [`route`], that each message that was read is in the outputs, in the
//! dead letters or parked, once; [`group`], that a message is with one member at a time and never again after its
//! acknowledgement was confirmed.

mod group;
mod letters;
mod publishes;
mod route;
mod standing;

use std::collections::BTreeMap;

use group::Groups;
use letters::{Letters, Written};
use publishes::Publishes;
use route::Routes;
use waypost_core::{LeaseId, Partition};
use waypost_protocol::{Epoch, MessageView, Offset, ProducerId, dead_letter};
use waypost_storage::{Bounds, ReadLimit, Stored};

use crate::{
    disk::Disk,
    message::{Content, Fate, Number},
    network::{Connection, Given, Said},
    shared::Layout,
};

/// What became of a publish, as its publisher knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resolution {
    Committed,
    Rejected,
    /// Its publisher was killed, or was forgotten.
    Unknown,
}

/// What happened, in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Tally {
    pub(crate) published: u64,
    pub(crate) acknowledged: u64,
    pub(crate) duplicates: u64,
    pub(crate) outputs: u64,
    pub(crate) dead: u64,
    pub(crate) given: u64,
    pub(crate) confirmed: u64,
    pub(crate) replayed: u64,
    pub(crate) passed: u64,
    pub(crate) lost: u64,
}

pub(crate) struct Checker {
    violation: Option<String>,
    pub(crate) tally: Tally,
    publishes: Publishes,
    routes: Routes,
    groups: Groups,
    written: Letters,
    /// The wall's time.
    wall_ms: u64,
    source: Vec<Partition>,
    outputs: Vec<Partition>,
    letters: Vec<Partition>,
    /// Up to where each partition was looked at.
    seen: BTreeMap<Partition, Offset>,
}

impl Checker {
    pub(crate) fn new(layout: &Layout) -> Self {
        let [source, outputs, letters] =
            [&layout.source, &layout.outputs, &layout.letters].map(Layout::partitions);
        Self {
            violation: None,
            tally: Tally::default(),
            publishes: Publishes::new(source.len()),
            routes: Routes::new(layout.route.clone(), layout.outputs.partitions),
            groups: Groups::new(layout.group.clone(), outputs.len()),
            written: Letters::default(),
            wall_ms: 0,
            source,
            outputs,
            letters,
            seen: BTreeMap::new(),
        }
    }

    /// What was broken first.
    pub(crate) fn violation(&self) -> Option<&str> {
        self.violation.as_deref()
    }

    pub(crate) fn fail(&mut self, violation: String) {
        self.violation.get_or_insert(violation);
    }

    fn note(&mut self, checked: Result<(), String>) {
        if let Err(violation) = checked {
            self.fail(violation);
        }
    }

    /// The wall's time is this now.
    pub(crate) fn clock(&mut self, wall_ms: u64) {
        self.wall_ms = wall_ms;
        self.publishes.clock(wall_ms);
        self.groups.clock(wall_ms);
    }

    /// The route begins with a message that was taken in at a time.
    pub(crate) fn begun(&mut self, message: MessageView<'_>, ingest_ms: u64) {
        let content = Content::read(message);
        let over_ms = content.and_then(|content| content.over_ms(ingest_ms));
        if over_ms.is_some_and(|over_ms| over_ms <= self.wall_ms) {
            self.fail(format!("the route begins with {content:?}, which is over"));
        }
    }

    /// A message is about to be published; gives its number.
    pub(crate) fn publish(
        &mut self,
        identity: (ProducerId, Epoch),
        partition: u32,
        key: Option<[u8; 1]>,
        fate: Fate,
    ) -> Number {
        self.tally.published += 1;
        self.publishes.publish(identity, partition, key.map(|[key]| key), fate)
    }

    pub(crate) fn resolved(&mut self, number: Number, resolution: Resolution) {
        let checked = self.publishes.resolved(number, resolution);
        self.note(checked);
    }

    /// A batch was acknowledged: it is on the disk, now.
    pub(crate) fn committed<T>(
        &mut self,
        disk: &Disk<T>,
        numbers: &[Number],
        offset: Option<Offset>,
        is_duplicate: bool,
    ) {
        self.look(disk);
        self.tally.acknowledged += numbers.len() as u64;
        self.tally.duplicates += u64::from(is_duplicate);
        for (number, index) in numbers.iter().zip(0..) {
            let at = offset.map(|offset| Offset(offset.0 + index));
            let checked = self.publishes.committed(*number, at);
            self.note(checked);
        }
    }

    /// The router heard that a member may be sent so many more messages.
    pub(crate) fn granted(&mut self, member: Connection, messages: u64) {
        self.groups.granted(member, messages);
    }

    /// The group gave messages to a member, which holds them for so long.
    pub(crate) fn given(&mut self, to: Connection, given: &Given, now_ms: u64, lease_ms: u64) {
        self.tally.given += given.messages.len() as u64;
        let checked = self.groups.given(to, given, now_ms, lease_ms);
        self.note(checked);
    }

    /// A member was given messages.
    pub(crate) fn received(&mut self, given: &Given) {
        let checked = self.groups.received(given);
        self.note(checked);
    }

    /// A member says something, to whomever hears it.
    pub(crate) fn said(&mut self, member: Connection, lease: LeaseId, said: &Said) {
        self.groups.said(member, lease, said);
    }

    /// The group has heard it, and took it or refused it.
    pub(crate) fn heard(
        &mut self,
        member: Connection,
        lease: LeaseId,
        said: &Said,
        is_taken: bool,
        now_ms: u64,
    ) {
        let checked = self.groups.heard(member, lease, said, is_taken, now_ms);
        self.note(checked);
    }

    /// A member is one no longer.
    pub(crate) fn left(&mut self, member: Connection, is_lost: bool, now_ms: u64) {
        self.groups.left(member, is_lost, now_ms);
    }

    /// An acknowledgement was confirmed: it is on the disk, now.
    pub(crate) fn confirmed<T>(
        &mut self,
        disk: &Disk<T>,
        member: Connection,
        lease: LeaseId,
        offsets: &[Offset],
    ) {
        self.look(disk);
        self.tally.confirmed += offsets.len() as u64;
        let checked = self.groups.confirmed(disk, member, lease, offsets);
        self.note(checked);
    }

    /// The router is gone, and with it whatever it had not stored.
    pub(crate) fn crashed<T>(&mut self, disk: &Disk<T>) {
        self.look(disk);
        self.groups.begin_anew(disk);
    }

    /// The group's task has ended, and everything was kept that it knew; or could not be.
    pub(crate) fn group_ended<T>(&mut self, disk: &Disk<T>) {
        self.look(disk);
        self.groups.begin_anew(disk);
    }

    /// Retention gave up the oldest of an output's partition, beyond so many.
    pub(crate) fn trimmed(
        &mut self,
        partition: &Partition,
        keep: u64,
        before: Bounds,
        after: Bounds,
    ) {
        let (had, has) = (before.held.messages, after.held.messages);
        if has < had.min(keep) || before.next != after.next || after.next.0 - after.first.0 != has {
            self.fail(format!("{partition} is to keep {keep}: {before:?} became {after:?}"));
        }
        self.groups.trimmed(partition.index.0 as usize, after.first);
    }

    /// The group takes note of what retention gave up of what it was not through with.
    pub(crate) fn lost(&mut self, partition: usize, from: Offset, to: Offset, lost: u64) {
        self.tally.lost += lost;
        let checked = self.groups.lost(partition, (from, to), lost);
        self.note(checked);
    }

    /// Looks at the disk.
    pub(crate) fn look<T>(&mut self, disk: &Disk<T>) {
        let checked = self.try_look(disk);
        self.note(checked);
    }

    fn try_look<T>(&mut self, disk: &Disk<T>) -> Result<(), String> {
        for (index, partition) in (0_u32..).zip(self.source.clone()) {
            for stored in self.news(disk, &partition)? {
                self.publishes.stored(index, &stored)?;
            }
        }
        // They were seen before: what has become of them meanwhile comes after them.
        for Written { content, is_groups, .. } in self.written.left(disk)? {
            self.tally.replayed += 1;
            if !is_groups {
                self.routes.returned(content);
            }
        }
        for (index, partition) in (0_u32..).zip(self.outputs.clone()) {
            for stored in self.news(disk, &partition)? {
                self.tally.outputs += stored.batch.len() as u64;
                match stored.envelope.route {
                    Some(_) => self.routes.put_out(&self.publishes, &partition, &stored)?,
                    None => self.published_again(&stored)?,
                }
                self.groups.stored(index, &stored)?;
            }
        }
        for partition in self.letters.clone() {
            for stored in self.news(disk, &partition)? {
                self.tally.dead += stored.batch.len() as u64;
                self.letters(&partition, &stored)?;
            }
        }
        self.written.check()?;
        if let Some(wrong) = &disk.wrong {
            return Err(wrong.clone());
        }
        self.routes.look(&self.publishes, disk, &self.source)?;
        self.groups.look(disk)?;
        self.tally.passed = self.routes.passed() + self.groups.passed();
        Ok(())
    }

    /// Messages that the group gave up on came again.
    fn published_again(&mut self, stored: &Stored) -> Result<(), String> {
        for message in stored.batch.iter() {
            let content = Content::read(message).ok_or("an output of no message")?;
            self.written.published(content);
        }
        Ok(())
    }

    /// Dead letters, of the route or the group.
    fn letters(&mut self, at: &Partition, stored: &Stored) -> Result<(), String> {
        for message in stored.batch.iter() {
            let content = Content::read(message).ok_or("a letter of no message")?;
            let headers = message.headers();
            let number = |name: &str| {
                let value = headers.get(name).and_then(|value| std::str::from_utf8(value).ok())?;
                value.parse::<u64>().ok()
            };
            let place = number(dead_letter::PARTITION).zip(number(dead_letter::OFFSET));
            let (partition, offset) = place.ok_or("a letter does not say where it comes from")?;
            let partition = u32::try_from(partition).unwrap_or(u32::MAX);
            let is_groups = headers.get(dead_letter::GROUP).is_some();
            self.written.written(at, content, is_groups);
            match is_groups {
                true => self.groups.buried(partition, Offset(offset), content)?,
                false => self.routes.buried(&self.publishes, content, partition, Offset(offset))?,
            }
        }
        Ok(())
    }

    /// The batches of a partition that were not seen before: each begins where the last one ended.
    fn news<T>(&mut self, disk: &Disk<T>, partition: &Partition) -> Result<Vec<Stored>, String> {
        let seen = self.seen.entry(partition.clone()).or_default();
        let next = disk.bounds(partition).next;
        if next < *seen {
            return Err(format!("{partition} ends at {next}, and ended at {seen} before"));
        }
        let all = ReadLimit { max_batches: usize::MAX, max_bytes: usize::MAX };
        let chunk = disk.read(partition, *seen, all).map_err(|error| error.to_string())?;
        for stored in &chunk.batches {
            if stored.base != *seen || stored.envelope.base_offset != Some(stored.base) {
                let base = stored.base;
                return Err(format!("{partition} goes on at {base} where {seen} comes next"));
            }
            *seen = stored.end();
        }
        Ok(chunk.batches)
    }

    /// What must hold once faults are over and nothing is left to be done.
    pub(crate) fn finish<T>(&mut self, disk: &Disk<T>) {
        self.look(disk);
        let checked = self.publishes.finish();
        self.note(checked);
        let checked = self.routes.finish(disk, &self.source);
        self.note(checked);
        let checked = self.groups.finish(disk);
        self.note(checked);
    }

    /// Whether the group has done with everything.
    pub(crate) fn is_group_done<T>(&self, disk: &Disk<T>) -> bool {
        self.groups.finish(disk).is_ok()
    }
}
