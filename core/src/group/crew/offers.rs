//! Who is given what next.

use super::{Crew, Member, Offer};
use crate::group::{MemberId, MemberLoad, share};

impl Crew {
    /// What a member may be given now. Each partition is looked at in its turn.
    pub fn poll_offer(&mut self, now_ms: u64) -> Option<Offer> {
        while let Some(partition) = self.looking.pop_front() {
            self.is_looking.remove(&partition);
            let offer = match self.is_shared {
                true => self.offer_shared(partition, now_ms),
                false => self.offer_owned(partition, now_ms),
            };
            if offer.is_some() {
                return offer;
            }
        }
        None
    }

    fn offer_owned(&mut self, partition: usize, now_ms: u64) -> Option<Offer> {
        let part = self.partitions.get_mut(partition)?;
        let owner = part.owner.filter(|owner| Some(*owner) == part.heir)?;
        let member = self.members.get_mut(&owner)?;
        let offset = part.ledger.next(owner, now_ms)?;
        let (messages, bytes) = (member.room(), member.credit.bytes());
        if messages == 0 {
            member.missed.insert(partition);
            return None;
        }
        Some(Offer { partition, member: owner, offset, messages, bytes })
    }

    fn offer_shared(&mut self, partition: usize, now_ms: u64) -> Option<Offer> {
        let part = self.partitions.get_mut(partition)?;
        let load = |(id, member): (&MemberId, &Member)| MemberLoad {
            member: *id,
            held: member.held,
            room: member.room(),
        };
        let mut loads: Vec<MemberLoad> = self.members.iter().map(load).collect();
        let mut passed = Vec::new();
        while let Some((member, messages)) = share(part.ledger.waiting(), &loads) {
            if let Some(offset) = part.ledger.next(member, now_ms) {
                let bytes = self.members.get(&member)?.credit.bytes();
                return Some(Offer { partition, member, offset, messages, bytes });
            }
            // What is there waits for another member.
            loads.retain(|load| load.member != member);
            passed.push(member);
        }
        for (id, member) in &mut self.members {
            if !passed.contains(id) {
                member.missed.insert(partition);
            }
        }
        None
    }
}
