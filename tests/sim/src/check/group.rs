//! The group: a message is with one member at a time, never again after an acknowledgement of it was confirmed or its
//! dead letter stands; what is kept as done was acknowledged or is a letter; no message overtakes one of its key.

use std::collections::{BTreeMap, BTreeSet};

use waypost_core::{GroupName, GroupPosition, LeaseId};
use waypost_protocol::Offset;
use waypost_storage::Stored;

use super::standing::{Lease, Message, Stand};
use crate::{
    disk::Disk,
    message::Content,
    network::{Connection, Given, Said},
    router::{ATTEMPTS, LEASE_MS, MAX_IN_FLIGHT},
};

#[derive(Debug)]
pub(super) struct Groups {
    group: GroupName,
    /// By partition and offset.
    messages: Vec<Vec<Message>>,
    /// What retention has left of each partition begins here.
    firsts: BTreeMap<usize, Offset>,
    leases: BTreeMap<(Connection, LeaseId), Lease>,
    floors: BTreeMap<usize, Offset>,
    /// What members may still be sent.
    credits: BTreeMap<Connection, u64>,
    /// The wall's time, and the latest that it has shown.
    wall_ms: u64,
    latest_ms: u64,
}

impl Groups {
    pub(super) fn new(group: GroupName, partitions: usize) -> Self {
        let messages = (0..partitions).map(|_| Vec::new()).collect();
        let (floors, credits) = (BTreeMap::new(), BTreeMap::new());
        Self {
            group,
            messages,
            firsts: BTreeMap::new(),
            leases: BTreeMap::new(),
            floors,
            credits,
            wall_ms: 0,
            latest_ms: 0,
        }
    }

    pub(super) fn clock(&mut self, wall_ms: u64) {
        (self.wall_ms, self.latest_ms) = (wall_ms, self.latest_ms.max(wall_ms));
    }

    /// How many messages were passed over.
    pub(super) fn passed(&self) -> u64 {
        self.messages.iter().flatten().filter(|message| message.is_passed).count() as u64
    }

    /// Messages that the group is to be given.
    pub(super) fn stored(&mut self, partition: u32, stored: &Stored) -> Result<(), String> {
        let log = self.messages.get_mut(partition as usize).ok_or("no such partition")?;
        for message in stored.batch.iter() {
            let content = Content::read(message).ok_or("no publisher made this")?;
            log.push(Message {
                key: message.key().and_then(|key| key.first().copied()),
                content,
                stand: Stand::Open,
                is_acked: false,
                is_confirmed: false,
                is_buried: false,
                attempt: 0,
                failures: (0, 0),
                not_before_ms: 0,
                over_ms: content.over_ms(stored.envelope.ingest_ms),
                is_passed: false,
                is_returned: false,
            });
        }
        Ok(())
    }

    fn at(&mut self, partition: usize, offset: Offset) -> Result<&mut Message, String> {
        let index = usize::try_from(offset.0).unwrap_or(usize::MAX);
        let log = self.messages.get_mut(partition);
        log.and_then(|log| log.get_mut(index)).ok_or_else(|| format!("nothing stands at {offset}"))
    }

    pub(super) fn trimmed(&mut self, partition: usize, first: Offset) {
        self.firsts.insert(partition, first);
    }

    /// The group says how many messages it lost before it was done with them.
    pub(super) fn lost(
        &self,
        partition: usize,
        (from, to): (Offset, Offset),
        lost: u64,
    ) -> Result<(), String> {
        let log = self.messages.get(partition).into_iter().flatten().zip(0..);
        let within = log.filter(|(_, offset)| (from.0..to.0).contains(offset));
        let (mut least, mut most) = (0, 0);
        for (message, _) in within {
            let may_be_done = message.is_acked || message.is_buried || message.is_passed;
            let is_open = message.stand == Stand::Open && !message.is_over(self.latest_ms);
            least += u64::from(is_open && !may_be_done && !message.is_given_up());
            most += u64::from(!message.is_confirmed && !message.is_buried);
        }
        match (least..=most).contains(&lost) {
            true => Ok(()),
            false => Err(format!(
                "the group says that it lost {lost} of {from} to {to} in {partition}, of {least} to {most}"
            )),
        }
    }

    fn first(&self, partition: usize) -> Offset {
        self.firsts.get(&partition).copied().unwrap_or_default()
    }

    pub(super) fn granted(&mut self, member: Connection, messages: u64) {
        *self.credits.entry(member).or_default() += messages;
    }

    /// Takes note of what a member is given: no more than it asked for, nor than it may hold.
    fn take_credit(&mut self, to: Connection, messages: usize, now_ms: u64) -> Result<(), String> {
        let credit = self.credits.entry(to).or_default();
        let left = credit.checked_sub(messages as u64);
        *credit =
            left.ok_or_else(|| format!("{to:?} is given {messages}, and asked for {credit}"))?;
        let holds = |message: &&Message| matches!(message.stand, Stand::Held(by, _, until_ms) if by == to && until_ms > now_ms);
        let standing = self.messages.iter().enumerate().flat_map(|(partition, log)| {
            log.iter().skip(usize::try_from(self.first(partition).0).unwrap_or(usize::MAX))
        });
        match standing.filter(holds).count() {
            held if held > MAX_IN_FLIGHT => Err(format!("{to:?} holds {held} messages")),
            _ => Ok(()),
        }
    }

    pub(super) fn given(
        &mut self,
        to: Connection,
        given: &Given,
        now_ms: u64,
        lease_ms: u64,
    ) -> Result<(), String> {
        let (partition, wall_ms) = (given.partition as usize, self.wall_ms);
        for message in &given.messages {
            let offset = message.offset;
            let found = self.at(partition, offset)?;
            let what = format!("{partition}/{offset}, {:?}", found.content);
            if found.content != message.content || found.key != message.key {
                return Err(format!("{what} was given out as {:?}", message.content));
            }
            if found.is_passed || found.is_over(wall_ms) {
                return Err(format!("{what} is given out, and its time to live was over"));
            }
            if found.is_confirmed || found.is_buried {
                let (acked, buried) = (found.is_confirmed, found.is_buried);
                return Err(format!(
                    "{what} is given out again: confirmed {acked}, a dead letter {buried}"
                ));
            }
            match found.stand {
                Stand::Held(holder, _, until_ms) if until_ms > now_ms => {
                    return Err(format!(
                        "{what} goes to {to:?}, and {holder:?} has it until {until_ms}"
                    ));
                }
                Stand::Held(..) => found.failed(),
                Stand::Open | Stand::Settled => {}
            }
            if found.not_before_ms > now_ms {
                return Err(format!("{what} was to wait until {}", found.not_before_ms));
            }
            let (least, most) = found.failures;
            if !(least + 1..=most + 1).contains(&message.attempt) {
                let attempt = message.attempt;
                return Err(format!("{what}, attempt {attempt}, and it failed {least} to {most}"));
            }
            found.failures = (message.attempt - 1, message.attempt - 1);
            found.stand = Stand::Held(to, given.lease, now_ms + lease_ms);
            found.attempt = message.attempt;
            if message.attempt > ATTEMPTS {
                return Err(format!("{what} is given out for the {}th time", message.attempt));
            }
            if let Some(key) = message.key {
                self.check_order(partition, offset, key, now_ms)?;
            }
        }
        self.take_credit(to, given.messages.len(), now_ms)?;
        let offsets = given.messages.iter().map(|message| message.offset).collect();
        let lease = Lease { partition, offsets, otherwise: BTreeSet::new() };
        match self.leases.insert((to, given.lease), lease) {
            Some(_) => Err(format!("{:?} was used twice", given.lease)),
            None => Ok(()),
        }
    }

    /// Every earlier message of the key is done, or with a member for the first time.
    fn check_order(
        &self,
        partition: usize,
        offset: Offset,
        key: u8,
        now_ms: u64,
    ) -> Result<(), String> {
        let first = self.first(partition);
        let place = |offset: Offset| usize::try_from(offset.0).unwrap_or(usize::MAX);
        let log = self.messages.get(partition).map(Vec::as_slice).unwrap_or_default();
        let is_open = |message: &&Message| match message.stand {
            Stand::Open => !message.is_buried,
            Stand::Held(_, _, until_ms) => {
                let is_over = until_ms <= now_ms;
                if is_over { !message.is_given_up() } else { message.is_returned }
            }
            Stand::Settled => false,
        };
        let latest_ms = self.latest_ms;
        let is_before =
            |message: &&Message| message.key == Some(key) && !message.is_over(latest_ms);
        let mut earlier = log.iter().take(place(offset)).skip(place(first)).filter(is_before);
        match earlier.rfind(is_open) {
            Some(earlier) => {
                Err(format!("{partition}/{offset} overtakes {:?} of its key", earlier.content))
            }
            None => Ok(()),
        }
    }

    pub(super) fn received(&self, given: &Given) -> Result<(), String> {
        match given.messages.is_empty() {
            true => Err("a delivery without a message".to_owned()),
            false => Ok(()),
        }
    }

    pub(super) fn said(&mut self, member: Connection, lease: LeaseId, said: &Said) {
        let through = match said {
            Said::AckThrough(through) => Some(*through),
            _ => None,
        };
        let of = match through {
            // Whatever it was given of the partition, under this lease or an earlier one.
            Some(_) => {
                let own = self.leases.keys().copied();
                own.filter(|(to, id)| *to == member && *id <= lease).collect()
            }
            None => vec![(member, lease)],
        };
        let named = self.leases.get(&(member, lease)).map(|lease| lease.partition);
        for id in of {
            let Some(lease) = self.leases.get_mut(&id) else { continue };
            let said: Vec<Offset> = match said {
                Said::Extend => Vec::new(),
                Said::AckThrough(through) if Some(lease.partition) == named => {
                    lease.offsets.range(..=*through).copied().collect()
                }
                Said::AckThrough(_) => Vec::new(),
                Said::Ack(offsets) => offsets.clone(),
                Said::Nack(offsets, _) | Said::Reject(offsets) => {
                    let own = offsets.iter().copied();
                    lease.otherwise.extend(own);
                    Vec::new()
                }
            };
            let done: Vec<Offset> =
                said.into_iter().filter(|offset| !lease.otherwise.contains(offset)).collect();
            let partition = lease.partition;
            for offset in done {
                if let Ok(message) = self.at(partition, offset) {
                    message.is_acked = true;
                }
            }
        }
    }

    pub(super) fn heard(
        &mut self,
        member: Connection,
        lease: LeaseId,
        said: &Said,
        is_taken: bool,
        now_ms: u64,
    ) -> Result<(), String> {
        if !is_taken {
            return Ok(());
        }
        let Some(found) = self.leases.get(&(member, lease)) else {
            return Err(format!("{member:?} never had {lease:?}, and was believed: {said:?}"));
        };
        let partition = found.partition;
        let (offsets, becomes): (Vec<Offset>, _) = match said {
            Said::Extend => {
                let until_ms = now_ms + LEASE_MS;
                (found.offsets.iter().copied().collect(), Stand::Held(member, lease, until_ms))
            }
            Said::AckThrough(through) => {
                let own = self
                    .leases
                    .iter()
                    .filter(|((to, _), lease)| *to == member && lease.partition == partition);
                let offsets = own.flat_map(|(_, lease)| lease.offsets.range(..=*through));
                (offsets.copied().collect(), Stand::Settled)
            }
            Said::Ack(offsets) | Said::Reject(offsets) => (offsets.clone(), Stand::Settled),
            Said::Nack(offsets, _) => (offsets.clone(), Stand::Open),
        };
        let is_failed = becomes == Stand::Open;
        for offset in offsets {
            let message = self.at(partition, offset)?;
            let is_meant = |under: LeaseId| match said {
                Said::AckThrough(_) => under <= lease,
                _ => under == lease,
            };
            // What is settled already is passed over.
            let Stand::Held(to, under, until_ms) = message.stand else { continue };
            if to != member || !is_meant(under) {
                continue;
            }
            let is_given_up = is_failed && message.is_given_up();
            message.stand = if is_given_up { Stand::Settled } else { becomes };
            message.is_returned |= is_failed;
            match said {
                _ if until_ms <= now_ms => message.failures.1 += 1,
                Said::Nack(_, delay_ms) => {
                    message.failed();
                    message.not_before_ms = now_ms + delay_ms.unwrap_or(0);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// A member is one no longer; what it had failed if it was lost, or its time was over before.
    pub(super) fn left(&mut self, member: Connection, is_lost: bool, now_ms: u64) {
        for message in self.messages.iter_mut().flatten() {
            if let Stand::Held(holder, _, until_ms) = message.stand
                && holder == member
            {
                let is_failed = is_lost || until_ms <= now_ms;
                let is_given_up = is_failed && message.is_given_up();
                message.stand = if is_given_up { Stand::Settled } else { Stand::Open };
                // It may have left before the group saw that its time was over.
                let (least, most) = message.failures;
                message.failures = (least + u32::from(is_lost), most + u32::from(is_failed));
            }
        }
        self.credits.remove(&member);
    }

    pub(super) fn confirmed<T>(
        &mut self,
        disk: &Disk<T>,
        member: Connection,
        lease: LeaseId,
        offsets: &[Offset],
    ) -> Result<(), String> {
        let kept = self.positions(disk);
        let own = self.leases.get(&(member, lease)).ok_or("an answer to what nobody said")?;
        let (partition, otherwise) = (own.partition, own.otherwise.clone());
        for offset in offsets.iter().filter(|offset| !otherwise.contains(offset)) {
            let is_kept = kept.get(&partition).is_some_and(|kept| is_done(kept, *offset));
            let message = self.at(partition, *offset)?;
            if !is_kept {
                return Err(format!("{:?} was confirmed before it was kept", message.content));
            }
            message.is_confirmed = true;
        }
        Ok(())
    }

    /// A dead letter of the group stands.
    pub(super) fn buried(
        &mut self,
        partition: u32,
        offset: Offset,
        content: Content,
    ) -> Result<(), String> {
        let message = self.at(partition as usize, offset)?;
        if message.content != content {
            return Err(format!("the letter of {content:?} names another message, at {offset}"));
        }
        if std::mem::replace(&mut message.is_buried, true) {
            return Err(format!("{content:?} is two dead letters of the group"));
        }
        if message.is_confirmed {
            return Err(format!("{content:?} is a dead letter after it was acknowledged"));
        }
        Ok(())
    }

    /// The group goes on from what is kept: what members held is with nobody, and what was not kept is open.
    pub(super) fn begin_anew<T>(&mut self, disk: &Disk<T>) {
        let kept = self.positions(disk);
        for (partition, log) in self.messages.iter_mut().enumerate() {
            for (message, offset) in log.iter_mut().zip(0..) {
                let position = kept.get(&partition);
                let failed = position.map_or(&[][..], |kept| &kept.failed);
                let failed = failed.iter().find(|failed| failed.offset.0 == offset);
                let failures = failed.map_or(0, |failed| failed.failures);
                let is_done = failures >= ATTEMPTS
                    || position.is_some_and(|kept| is_done(kept, Offset(offset)));
                (message.failures, message.not_before_ms) = ((failures, failures), 0);
                message.stand = if is_done { Stand::Settled } else { Stand::Open };
                message.is_returned = false;
            }
        }
    }

    fn positions<T>(&self, disk: &Disk<T>) -> BTreeMap<usize, GroupPosition> {
        let kept = disk.group(&self.group).into_iter();
        let position =
            |kept: waypost_storage::KeptGroup| (kept.source.index.0 as usize, kept.state.position);
        kept.map(position).collect()
    }

    /// What is kept as done was acknowledged, or is a letter; and each letter is kept as done.
    pub(super) fn look<T>(&mut self, disk: &Disk<T>) -> Result<(), String> {
        for (partition, position) in self.positions(disk) {
            if !position.is_sound() {
                return Err(format!("an unsound position is kept: {position:?}"));
            }
            let before = self.floors.insert(partition, position.floor).unwrap_or_default();
            if position.floor < before {
                return Err(format!("the group goes back from {before} to {}", position.floor));
            }
            let (latest_ms, first) = (self.latest_ms, self.first(partition));
            let log = self.messages.get_mut(partition).map(Vec::as_mut_slice).unwrap_or_default();
            let last = position.done.last().map_or(position.floor.0, |last| last.0 + 1);
            if last > log.len() as u64 {
                return Err(format!("the group has done with {last} of {}", log.len()));
            }
            for (message, offset) in log.iter_mut().zip(0..) {
                let is_done = is_done(&position, Offset(offset));
                let content = message.content;
                let is_right = message.is_acked || message.is_buried || Offset(offset) < first;
                if is_done && !is_right {
                    message.is_passed |= message.is_over(latest_ms);
                }
                if is_done && !is_right && !message.is_passed {
                    return Err(format!("{content:?} is kept as done, and nobody said so"));
                }
                if !is_done && message.is_buried {
                    return Err(format!("{content:?} is a dead letter, and is not kept as done"));
                }
                if !is_done && message.is_confirmed {
                    return Err(format!("{content:?} was confirmed, and is not kept as done"));
                }
            }
        }
        Ok(())
    }

    pub(super) fn finish<T>(&self, disk: &Disk<T>) -> Result<(), String> {
        let kept = self.positions(disk);
        for (partition, log) in self.messages.iter().enumerate() {
            let floor = kept.get(&partition).map_or(Offset(0), |position| position.floor);
            if floor.0 != log.len() as u64 {
                return Err(format!("the group came to {floor} of {} in {partition}", log.len()));
            }
        }
        Ok(())
    }
}

pub(super) fn is_done(position: &GroupPosition, offset: Offset) -> bool {
    offset < position.floor || position.done.contains(offset)
}
