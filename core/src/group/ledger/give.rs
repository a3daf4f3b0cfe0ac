//! How messages are given out: what is next, what may go along with it, and the lease that it goes under.

use waypost_protocol::Offset;

use super::{Candidate, GroupLedger, Lease, State};
use crate::group::{LeaseId, MemberId, Ranges};

/// Candidates that are looked at for one member: those that wait for another one are passed over.
const MOST_LOOKED_AT: usize = 1024;

impl GroupLedger {
    /// The first message that a member may be given now.
    pub fn next(&mut self, member: MemberId, now_ms: u64) -> Option<Offset> {
        let (mut behind, mut ready, mut passed) = (Vec::new(), None, 0);
        for offset in self.ready.iter().copied() {
            if !self.is_free(offset) {
                behind.push(offset);
            } else if self.may_have(member, offset) {
                ready = Some(offset);
                break;
            } else {
                passed += 1;
                if passed == MOST_LOOKED_AT {
                    break;
                }
            }
        }
        // One that failed before may come to the head of its line, and is due there.
        for offset in behind {
            self.line_up(offset);
        }
        let due = self.lines.due(now_ms).take(MOST_LOOKED_AT);
        due.filter(|offset| self.may_have(member, *offset)).chain(ready).min()
    }

    /// What a member may be given now of the messages from one offset to before another, in order.
    pub fn candidates(
        &mut self,
        member: MemberId,
        now_ms: u64,
        (from, to): (Offset, Offset),
        most: usize,
    ) -> Vec<Candidate> {
        let within = |offset: &Offset| (from..to).contains(offset);
        let ready = self.ready.range(from..to).copied().take(most.max(MOST_LOOKED_AT));
        let (free, behind): (Vec<Offset>, Vec<Offset>) =
            ready.partition(|offset| self.is_free(*offset));
        // They come before those of their lines that are younger.
        for offset in behind {
            self.line_up(offset);
        }
        let due = self.lines.due(now_ms).take(MOST_LOOKED_AT).filter(within);
        let may_have = |offset: &Offset| self.may_have(member, *offset);
        let mut found: Vec<Offset> = due.filter(may_have).collect();
        found.extend(free.into_iter().filter(may_have));
        found.sort_unstable();
        found.truncate(most);
        let attempt = |offset: Offset| {
            let failures = self.open.get(&offset).map_or(0, |open| open.failures);
            Candidate { offset, attempt: failures.saturating_add(1) }
        };
        found.into_iter().map(attempt).collect()
    }

    /// Gives messages out under a lease that was not used before. Those that are not to be had are left out.
    pub fn lease(
        &mut self,
        lease: LeaseId,
        member: MemberId,
        offsets: impl IntoIterator<Item = Offset>,
        now_ms: u64,
    ) {
        let mut delivered = Ranges::default();
        for offset in offsets {
            let Some(open) = self.open.get_mut(&offset) else { continue };
            match open.state {
                State::Ready => drop(self.ready.remove(&offset)),
                State::Waiting => self.lines.give_out(open.key, offset),
                State::Leased(_) | State::Dead => continue,
            }
            open.state = State::Leased(lease);
            if let Some(key) = open.key.filter(|_| self.is_shared) {
                self.holders.entry(key).or_insert((member, 0)).1 += 1;
            }
            delivered.insert(offset);
        }
        let open = usize::try_from(delivered.count()).unwrap_or(usize::MAX);
        if open == 0 {
            return;
        }
        *self.members.entry(member).or_default() += open;
        let expires_ms = now_ms.saturating_add(self.policy.lease_ms);
        self.expiries.insert((expires_ms, lease));
        self.leases.insert(lease, Lease { member, expires_ms, delivered, open });
    }

    /// Whether no earlier message with its key waits.
    fn is_free(&self, offset: Offset) -> bool {
        self.open.get(&offset).is_some_and(|open| !self.lines.holds(open.key))
    }

    /// Whether no other member holds messages with its key.
    fn may_have(&self, member: MemberId, offset: Offset) -> bool {
        let key = self.open.get(&offset).and_then(|open| open.key);
        let holder = key.and_then(|key| self.holders.get(&key));
        holder.is_none_or(|(holder, _)| *holder == member)
    }

    /// Puts a message that is ready into the line of its key.
    fn line_up(&mut self, offset: Offset) {
        if let Some(open) = self.open.get_mut(&offset) {
            self.ready.remove(&offset);
            open.state = State::Waiting;
            self.lines.wait(open.key, offset, open.due_ms);
        }
    }
}
