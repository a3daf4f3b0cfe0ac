//! The members of a group over its partitions: who owns which, who has room, and who is given something next.
//!
//! Over streams a partition has one owner, and moves to another only when nothing of it is held any more. Over
//! memory topics there is one partition that all members share. A member whose lease ran out is given nothing more
//! until it is [heard of](Crew::heard_of): what it owns goes to others meanwhile.
//!
//! After anything that happened the host [polls offers](Crew::poll_offer) until there is none. An offer that it
//! cannot follow at once, because the message must be read first, it comes back to with
//! [`look_again`](Crew::look_again).

mod offers;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use waypost_protocol::Offset;

use super::{
    Candidate, Cause, GroupLedger, LeaseId, MemberId, OffsetRange, SettleError, Verb, assign,
};
use crate::Credit;

/// A message that a member may be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offer {
    /// The place of its partition among the group's.
    pub partition: usize,
    /// Who is to have it.
    pub member: MemberId,
    /// The message: the first of those that may be given out.
    pub offset: Offset,
    /// How many messages the member may be given.
    pub messages: usize,
    /// How many bytes.
    pub bytes: u64,
}

/// Why a member is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CrewError {
    /// The group has as many as it may.
    #[error("the group has {0} members, as many as it may")]
    Full(usize),
}

/// How a member stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stand {
    /// Which.
    pub member: MemberId,
    /// Messages that it holds.
    pub held: usize,
    /// Messages that it holds at most.
    pub max_in_flight: usize,
    /// Partitions that it owns.
    pub partitions: usize,
    /// Whether nothing was heard of it until a lease was over.
    pub is_stalled: bool,
}

/// The members of a group and its partitions.
#[derive(Debug)]
pub struct Crew {
    is_shared: bool,
    max_members: usize,
    members: BTreeMap<MemberId, Member>,
    partitions: Vec<Part>,
    /// Partitions that may have something to give out, each once.
    looking: VecDeque<usize>,
    is_looking: BTreeSet<usize>,
    timers: BTreeSet<(u64, usize)>,
    /// The partitions that each lease is of.
    leases: BTreeMap<LeaseId, usize>,
}

#[derive(Debug)]
struct Member {
    max_in_flight: usize,
    credit: Credit,
    held: usize,
    is_stalled: bool,
    /// Partitions that had something for it when it had no room.
    missed: BTreeSet<usize>,
}

#[derive(Debug)]
struct Part {
    ledger: GroupLedger,
    owner: Option<MemberId>,
    /// Who is to own it once nothing of it is held.
    heir: Option<MemberId>,
    /// How many of the owner's messages were counted here.
    counted: usize,
    timer: Option<u64>,
}

impl Member {
    fn room(&self) -> usize {
        if self.is_stalled || self.credit.bytes() == 0 {
            return 0;
        }
        let credit = usize::try_from(self.credit.messages()).unwrap_or(usize::MAX);
        self.max_in_flight.saturating_sub(self.held).min(credit)
    }
}

impl Crew {
    /// A group without members. Where it is shared, there is one partition.
    #[must_use]
    pub fn new(is_shared: bool, max_members: usize, partitions: Vec<GroupLedger>) -> Self {
        let part = |ledger| Part { ledger, owner: None, heir: None, counted: 0, timer: None };
        Self {
            is_shared,
            max_members,
            members: BTreeMap::new(),
            partitions: partitions.into_iter().map(part).collect(),
            looking: VecDeque::new(),
            is_looking: BTreeSet::new(),
            timers: BTreeSet::new(),
            leases: BTreeMap::new(),
        }
    }

    /// The ledger of a partition.
    #[must_use]
    pub fn ledger(&self, partition: usize) -> Option<&GroupLedger> {
        self.partitions.get(partition).map(|part| &part.ledger)
    }

    /// Changes the ledger of a partition: for what is admitted, picked, trimmed and buried.
    pub fn with_ledger<T>(
        &mut self,
        partition: usize,
        change: impl FnOnce(&mut GroupLedger) -> T,
    ) -> Option<T> {
        let changed = change(&mut self.partitions.get_mut(partition)?.ledger);
        self.settle_part(partition);
        Some(changed)
    }

    /// What may go along with an offer, of the messages from one offset to before another.
    pub fn candidates(
        &mut self,
        offer: &Offer,
        within: (Offset, Offset),
        most: usize,
        now_ms: u64,
    ) -> Vec<Candidate> {
        let part = self.partitions.get_mut(offer.partition);
        let most = most.min(offer.messages);
        part.map(|part| part.ledger.candidates(offer.member, now_ms, within, most))
            .unwrap_or_default()
    }

    /// What a lease that has not ended reaches over, and the partition that it is of.
    #[must_use]
    pub fn leased(&self, lease: LeaseId) -> Option<(usize, OffsetRange)> {
        let partition = *self.leases.get(&lease)?;
        let range = self.partitions.get(partition)?.ledger.leased(lease)?;
        Some((partition, range))
    }

    /// Who owns a partition; nobody while members share it.
    #[must_use]
    pub fn owner(&self, partition: usize) -> Option<MemberId> {
        self.partitions.get(partition).and_then(|part| part.owner)
    }

    /// The members, in the order in which they joined.
    pub fn members(&self) -> impl Iterator<Item = Stand> {
        let mut owned: BTreeMap<MemberId, usize> = BTreeMap::new();
        for owner in self.partitions.iter().filter_map(|part| part.owner) {
            *owned.entry(owner).or_default() += 1;
        }
        self.members.iter().map(move |(id, member)| Stand {
            member: *id,
            held: member.held,
            max_in_flight: member.max_in_flight,
            partitions: owned.get(id).copied().unwrap_or(0),
            is_stalled: member.is_stalled,
        })
    }

    /// Whether there is no member.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Lets a member in, whose number is greater than those before.
    ///
    /// # Errors
    ///
    /// There are as many as may be.
    pub fn join(
        &mut self,
        member: MemberId,
        max_in_flight: usize,
        credit: Credit,
    ) -> Result<(), CrewError> {
        if self.members.len() >= self.max_members {
            return Err(CrewError::Full(self.max_members));
        }
        let (held, is_stalled, missed) = (0, false, BTreeSet::new());
        let max_in_flight = max_in_flight.max(1);
        self.members.insert(member, Member { max_in_flight, credit, held, is_stalled, missed });
        self.rebalance();
        Ok(())
    }

    /// Lets a member go; whatever it holds comes back. Without a cause that does not count as failed. Gives how many
    /// messages it was.
    pub fn leave(&mut self, member: MemberId, cause: Option<&Cause>, now_ms: u64) -> usize {
        if self.members.remove(&member).is_none() {
            return 0;
        }
        let mut returned = 0;
        for partition in 0..self.partitions.len() {
            if let Some(part) = self.partitions.get_mut(partition)
                && part.ledger.held_by(member) > 0
            {
                returned += part.ledger.release(member, cause, now_ms);
                self.settle_part(partition);
            }
        }
        self.rebalance();
        returned
    }

    /// Lets everybody start anew over other ledgers: whatever was held under a lease is stale.
    pub fn replace(&mut self, partitions: Vec<GroupLedger>) {
        for (part, ledger) in self.partitions.iter_mut().zip(partitions) {
            (part.ledger, part.counted) = (ledger, 0);
        }
        self.leases.clear();
        for member in self.members.values_mut() {
            member.held = 0;
        }
        for partition in 0..self.partitions.len() {
            self.settle_part(partition);
        }
    }

    /// Adds to what a member may be sent.
    pub fn grant(&mut self, member: MemberId, messages: u64, bytes: u64) {
        if let Some(found) = self.members.get_mut(&member) {
            found.credit.grant(messages, bytes);
            self.make_room(member);
        }
    }

    /// Takes note that a member is there: it is given something again.
    pub fn heard_of(&mut self, member: MemberId) {
        if let Some(found) = self.members.get_mut(&member)
            && std::mem::take(&mut found.is_stalled)
        {
            self.rebalance();
            self.make_room(member);
        }
    }

    /// Lets a partition be looked at again: an offer of it was followed, or can be now.
    pub fn look_again(&mut self, partition: usize) {
        if partition < self.partitions.len() && self.is_looking.insert(partition) {
            self.looking.push_back(partition);
        }
    }

    /// Takes note that the next message of a partition is larger than a member's credit: it waits for more.
    pub fn missed(&mut self, member: MemberId, partition: usize) {
        if let Some(found) = self.members.get_mut(&member) {
            found.missed.insert(partition);
        }
    }

    /// Gives messages of a partition out, which take so many bytes of the member's credit. Gives how many.
    pub fn lease(
        &mut self,
        lease: LeaseId,
        offer: &Offer,
        offsets: &[Offset],
        bytes: u64,
        now_ms: u64,
    ) -> usize {
        let Offer { partition, member, .. } = *offer;
        let Some(part) = self.partitions.get_mut(partition) else { return 0 };
        let before = part.ledger.held_by(member);
        part.ledger.lease(lease, member, offsets.iter().copied(), now_ms);
        let given = part.ledger.held_by(member) - before;
        self.leases.insert(lease, partition);
        if let Some(found) = self.members.get_mut(&member) {
            let messages = u64::try_from(given).unwrap_or(u64::MAX);
            // The offer was within the credit, so it covers what is given.
            let _ = found.credit.take(messages, bytes);
        }
        self.settle_part(partition);
        given
    }

    /// Takes what a member says of messages that it holds. Gives the partition, and how many it is of.
    ///
    /// # Errors
    ///
    /// As [`GroupLedger::settle`].
    pub fn settle(
        &mut self,
        member: MemberId,
        lease: LeaseId,
        range: OffsetRange,
        verb: &Verb,
        now_ms: u64,
        random: u64,
    ) -> Result<(usize, usize), SettleError> {
        self.on_lease(member, lease, |ledger| {
            ledger.settle(member, lease, range, verb, now_ms, random)
        })
    }

    /// Takes note that everything up to an offset that a member holds in the partition of a lease is done.
    ///
    /// # Errors
    ///
    /// As [`GroupLedger::settle_through`].
    pub fn settle_through(
        &mut self,
        member: MemberId,
        lease: LeaseId,
        through: Offset,
    ) -> Result<(usize, usize), SettleError> {
        self.on_lease(member, lease, |ledger| ledger.settle_through(member, lease, through))
    }

    /// Lets a lease end later.
    ///
    /// # Errors
    ///
    /// It is stale.
    pub fn extend(
        &mut self,
        member: MemberId,
        lease: LeaseId,
        by_ms: Option<u64>,
        now_ms: u64,
    ) -> Result<(), SettleError> {
        let extended =
            self.on_lease(member, lease, |ledger| ledger.extend(member, lease, by_ms, now_ms));
        extended.map(|_| ())
    }

    /// When something happens by itself.
    #[must_use]
    pub fn next_timer_ms(&self) -> Option<u64> {
        self.timers.first().map(|(at_ms, _)| *at_ms)
    }

    /// Lets happen what is due: leases end and messages may be given out again. Gives how many came back.
    pub fn handle_timers(&mut self, now_ms: u64) -> usize {
        let due = self.timers.iter().take_while(|(at_ms, _)| *at_ms <= now_ms);
        let due: Vec<usize> = due.map(|(_, partition)| *partition).collect();
        let (mut count, mut stalled) = (0, false);
        for partition in due {
            let Some(part) = self.partitions.get_mut(partition) else { continue };
            for returned in part.ledger.expire(now_ms) {
                count += returned.messages;
                if let Some(member) = self.members.get_mut(&returned.member) {
                    stalled |= !std::mem::replace(&mut member.is_stalled, true);
                }
            }
            self.settle_part(partition);
            self.rest_timer(partition, now_ms);
        }
        if stalled {
            self.rebalance();
        }
        count
    }

    fn on_lease<T>(
        &mut self,
        member: MemberId,
        lease: LeaseId,
        change: impl FnOnce(&mut GroupLedger) -> Result<T, SettleError>,
    ) -> Result<(usize, T), SettleError> {
        self.heard_of(member);
        let stale = SettleError::StaleLease(lease);
        let partition = self.leases.get(&lease).copied().ok_or(stale)?;
        let part = self.partitions.get_mut(partition).ok_or(stale)?;
        let changed = change(&mut part.ledger);
        self.settle_part(partition);
        changed.map(|changed| (partition, changed))
    }

    /// Counts anew what is held of a partition after its ledger has changed, and lets go of it if it is to move.
    fn settle_part(&mut self, partition: usize) {
        let Some(part) = self.partitions.get_mut(partition) else { return };
        for lease in part.ledger.take_ended() {
            self.leases.remove(&lease);
        }
        let mut freed = Vec::new();
        if self.is_shared {
            for (id, member) in &mut self.members {
                let held = part.ledger.held_by(*id);
                if held < std::mem::replace(&mut member.held, held) {
                    freed.push(*id);
                }
            }
        } else if let Some(owner) = part.owner {
            let held = part.ledger.held_by(owner);
            let counted = std::mem::replace(&mut part.counted, held);
            if let Some(member) = self.members.get_mut(&owner) {
                member.held = (member.held + held).saturating_sub(counted);
            }
            if held < counted {
                freed.push(owner);
            }
        }
        self.inherit(partition);
        self.set_timer(partition);
        self.look_again(partition);
        for member in freed {
            self.make_room(member);
        }
    }

    /// Hands a partition to its heir if nothing of it is held.
    fn inherit(&mut self, partition: usize) {
        if let Some(part) = self.partitions.get_mut(partition)
            && part.owner != part.heir
            && part.ledger.held() == 0
        {
            (part.owner, part.counted) = (part.heir, 0);
        }
    }

    fn set_timer(&mut self, partition: usize) {
        let Some(part) = self.partitions.get_mut(partition) else { return };
        let timer = part.ledger.next_timer_ms();
        if part.timer != timer {
            part.timer.map(|before| self.timers.remove(&(before, partition)));
            self.timers.extend(timer.map(|at_ms| (at_ms, partition)));
            part.timer = timer;
        }
    }

    /// A message that is due and that nobody has room for needs no timer until something changes.
    fn rest_timer(&mut self, partition: usize, now_ms: u64) {
        let Some(part) = self.partitions.get_mut(partition) else { return };
        let later = part.ledger.next_timer_after_ms(now_ms);
        if part.timer != later {
            part.timer.map(|before| self.timers.remove(&(before, partition)));
            self.timers.extend(later.map(|at_ms| (at_ms, partition)));
            part.timer = later;
        }
    }

    /// A member can take more: whatever had something for it is looked at again.
    fn make_room(&mut self, member: MemberId) {
        let missed = self.members.get_mut(&member).filter(|member| member.room() > 0);
        let missed = missed.map(|member| std::mem::take(&mut member.missed)).unwrap_or_default();
        for partition in missed {
            self.look_again(partition);
        }
    }

    /// Shares out the partitions among the members that are heard of.
    fn rebalance(&mut self) {
        if !self.is_shared {
            let present = self.members.iter().filter(|(_, member)| !member.is_stalled);
            let present: Vec<MemberId> = present.map(|(id, _)| *id).collect();
            let heirs: Vec<_> = self.partitions.iter().map(|part| part.heir).collect();
            for (part, heir) in self.partitions.iter_mut().zip(assign(&heirs, &present)) {
                part.heir = heir;
            }
        }
        for partition in 0..self.partitions.len() {
            self.inherit(partition);
            self.look_again(partition);
        }
    }
}
