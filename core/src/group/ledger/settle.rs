//! How what a member holds leaves it: settled, expired, or released.

use waypost_protocol::{Offset, dead_letter as header};

use super::{GroupLedger, Returned, State};
use crate::{
    dead_letter::cut,
    group::{Cause, LeaseId, MemberId, OffsetRange, SettleError, Verb},
};

/// A lease is extended and a message delayed by no longer than a day.
const LONGEST_ASKED_MS: u64 = 86_400_000;

impl GroupLedger {
    /// Takes what a member says of the messages of a lease in a range; both ends must have been delivered under
    /// it. What is settled already is passed over. Gives how many messages it holds of. `random` is drawn
    /// uniformly.
    ///
    /// # Errors
    ///
    /// The lease is stale, an end of the range was not delivered, or there is no place for dead letters. Nothing was
    /// changed.
    pub fn settle(
        &mut self,
        member: MemberId,
        lease: LeaseId,
        range: OffsetRange,
        verb: &Verb,
        now_ms: u64,
        random: u64,
    ) -> Result<usize, SettleError> {
        self.check(member, lease, [range.first, range.last])?;
        if matches!(verb, Verb::Reject { .. }) && !self.policy.buries {
            return Err(SettleError::NoDeadLetters);
        }
        let held = self.held_in(range, |id| id == lease);
        for offset in &held {
            self.let_go(*offset, lease);
            match verb {
                Verb::Ack => self.finish(*offset),
                Verb::Nack { delay_ms } => {
                    let failures = self.open.get(offset).map_or(0, |open| open.failures);
                    let drawn =
                        || self.policy.retry.delay_ms(failures.saturating_add(1), 0, random);
                    let asked = delay_ms.map(|asked| asked.min(LONGEST_ASKED_MS));
                    let wait = asked.unwrap_or_else(drawn);
                    self.fail(*offset, Cause::Nacked, now_ms, Some(wait));
                }
                Verb::Reject { reason } => {
                    // Each message has its own, so that it is no longer than its letter can tell.
                    let reason = cut(reason, header::MAX_ERROR_BYTES).to_owned();
                    self.fail(*offset, Cause::Rejected(reason), now_ms, None);
                }
            }
        }
        Ok(held.len())
    }

    /// Takes note that everything that a member was given up to an offset, under this lease or an earlier one, is done.
    /// The lease that is named must have that offset. What is given out again under a later lease may not have reached
    /// the member when it spoke.
    ///
    /// # Errors
    ///
    /// The lease is stale, or the offset was not delivered under it.
    pub fn settle_through(
        &mut self,
        member: MemberId,
        lease: LeaseId,
        through: Offset,
    ) -> Result<usize, SettleError> {
        self.check(member, lease, [through])?;
        let own = |id: LeaseId| {
            id <= lease && self.leases.get(&id).is_some_and(|lease| lease.member == member)
        };
        let held = self.held_in(OffsetRange { first: Offset(0), last: through }, own);
        for offset in &held {
            if let Some(State::Leased(lease)) = self.open.get(offset).map(|open| open.state) {
                self.let_go(*offset, lease);
            }
            self.finish(*offset);
        }
        Ok(held.len())
    }

    /// Lets a lease end later: this long from now, or as long as a new one.
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
        self.check(member, lease, [])?;
        let by_ms = by_ms.unwrap_or(self.policy.lease_ms).clamp(1, LONGEST_ASKED_MS);
        if let Some(found) = self.leases.get_mut(&lease) {
            self.expiries.remove(&(found.expires_ms, lease));
            found.expires_ms = now_ms.saturating_add(by_ms);
            self.expiries.insert((found.expires_ms, lease));
        }
        Ok(())
    }

    /// Takes back what leases held whose time is over.
    pub fn expire(&mut self, now_ms: u64) -> Vec<Returned> {
        let mut returned = Vec::new();
        while self.expiries.first().is_some_and(|(expires_ms, _)| *expires_ms <= now_ms)
            && let Some((_, lease)) = self.expiries.pop_first()
        {
            returned.extend(self.take_back(lease, Some(&Cause::Expired), now_ms));
        }
        returned
    }

    /// Takes back whatever a member holds, and gives how many messages. Without a cause nothing of it counts as
    /// failed.
    pub fn release(&mut self, member: MemberId, cause: Option<&Cause>, now_ms: u64) -> usize {
        let own = self.leases.iter().filter(|(_, lease)| lease.member == member);
        let mut own: Vec<LeaseId> = own.map(|(id, _)| *id).collect();
        own.sort_unstable();
        let returned = own.into_iter().filter_map(|id| self.take_back(id, cause, now_ms));
        returned.map(|returned| returned.messages).sum()
    }

    /// Whether a lease is a member's, and had these offsets.
    fn check<const N: usize>(
        &self,
        member: MemberId,
        id: LeaseId,
        offsets: [Offset; N],
    ) -> Result<(), SettleError> {
        let lease = self.leases.get(&id).filter(|lease| lease.member == member);
        let lease = lease.ok_or(SettleError::StaleLease(id))?;
        match offsets.into_iter().find(|offset| !lease.delivered.contains(*offset)) {
            Some(offset) => Err(SettleError::NeverDelivered { lease: id, offset }),
            None => Ok(()),
        }
    }

    /// The offsets in a range that are held under certain leases.
    fn held_in(&self, range: OffsetRange, of: impl Fn(LeaseId) -> bool) -> Vec<Offset> {
        let OffsetRange { first, last } = range;
        if last < first {
            return Vec::new();
        }
        let open = self.open.range(first..=last);
        let held = open.filter(|(_, open)| matches!(open.state, State::Leased(id) if of(id)));
        held.map(|(offset, _)| *offset).collect()
    }

    fn let_go(&mut self, offset: Offset, lease: LeaseId) {
        let key = self.open.get(&offset).and_then(|open| open.key);
        self.unlease(lease, key);
    }

    fn take_back(&mut self, id: LeaseId, cause: Option<&Cause>, now_ms: u64) -> Option<Returned> {
        let lease = self.leases.get(&id)?;
        let member = lease.member;
        let ranges: Vec<OffsetRange> = lease.delivered.iter().collect();
        let held = ranges.into_iter().flat_map(|range| self.held_in(range, |held| held == id));
        let held: Vec<Offset> = held.collect();
        for offset in &held {
            self.let_go(*offset, id);
            match cause {
                Some(cause) => self.fail(*offset, cause.clone(), now_ms, None),
                None => self.put_back(*offset),
            }
        }
        Some(Returned { member, messages: held.len() })
    }

    /// A message that is new, or was given out and did not fail, waits for its turn.
    pub(super) fn put_back(&mut self, offset: Offset) {
        let Some(open) = self.open.get_mut(&offset) else { return };
        if self.lines.holds(open.key) {
            open.state = State::Waiting;
            self.lines.wait(open.key, offset, open.due_ms);
        } else {
            open.state = State::Ready;
            self.ready.insert(offset);
        }
    }
}
